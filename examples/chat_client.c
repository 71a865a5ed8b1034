/* SPDX-License-Identifier: MIT */
/*
 * chat_client: sends each line as a message, and prints each message that comes as a line.
 *
 * One thread and one poll, for the connection and standard input. It never waits for one of them
 * alone, so that no server can bring it to a standstill: neither one that answers before it has
 * heard all, nor one that is slow to listen.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tcpmsg/tcpmsg.h>

#include "cli.h"
#include "prompt.h"
#include "text.h"

/* So many messages are printed at most before it looks whether something was typed. */
enum { TURN = 1000 };

/* What ends a chat, besides the library's errors, which are negative; errno says why. */
enum { INPUT_FAILED = 1, OUTPUT_FAILED };

struct chat {
    tcpmsg_conn *conn;
    bool by_hand; /* standard input is a terminal, */
    bool editing; /* and one that can show a prompt: lines come from there, */
    struct prompt prompt;
    struct lines lines; /* and else from here */
    char *line;         /* the line to be sent next, */
    ssize_t length;     /* of so many bytes; or LINES_NONE, or LINES_END */
    bool said_all;      /* the sending has ended */
    bool on_terminal;   /* standard output is a terminal */
    bool newline_due;   /* the newline of what was printed last */
    uint64_t sent;      /* messages */
    uint64_t received;
};

static const char help[] =
    "Usage: chat_client [OPTIONS] [ADDRESS]\n"
    "\n"
    "Sends each line of standard input as a message, and prints each message that comes as a\n"
    "line. ADDRESS is host:port, [v6]:port, :port (this machine) or unix:/path; without it, it\n"
    "is 127.0.0.1:5000.\n"
    "\n"
    "On a terminal, \"exit\" or Ctrl-D ends the conversation. Elsewhere only the end of the input\n"
    "does, and \"exit\" is a line like any other: against an echo server,\n"
    "\"chat_client < file | cmp - file\" holds for every file.\n"
    "\n"
    "  --max-message N  the longest message, in bytes (16777216)\n"
    "  --help           print this, and leave\n"
    "  --version        print the version, and leave\n"
    "\n"
    "The status is 0 when both sides came to the end of what they had to say, else 1.\n";

/* The next line to send; answers as lines_take. */
static ssize_t take_line(struct chat *chat)
{
    ssize_t length = chat->editing ? prompt_take(&chat->prompt, &chat->line)
                                   : lines_take(&chat->lines, &chat->line);
    if (chat->by_hand && length == 4 && memcmp(chat->line, "exit", 4) == 0)
        return LINES_END;
    return length;
}

static int send_line(struct chat *chat)
{
    /* MORE: short lines are gathered, and leave together when send_lines flushes. */
    int error =
        tcpmsg_send(chat->conn, chat->line, (size_t)chat->length, TCPMSG_DONTWAIT | TCPMSG_MORE);
    if (error == TCPMSG_EMSGSIZE && chat->by_hand) {
        prompt_hide(&chat->prompt);
        printf("(not sent: %s)\n", tcpmsg_strerror(error));
    } else if (error != 0) {
        return error;
    } else {
        chat->sent++;
    }
    chat->length = LINES_NONE;
    return 0;
}

static int say_no_more(struct chat *chat)
{
    /* A shutdown waits until all is out, which may need us to read: so the waiting comes first. */
    int error = tcpmsg_flush(chat->conn, TCPMSG_DONTWAIT);
    if (error == 0)
        error = tcpmsg_shutdown(chat->conn);
    if (error == 0) {
        chat->said_all = true;
        chat->editing = false;
        prompt_close(&chat->prompt);
    }
    return error;
}

/* Sends the lines that are here. Returns 0, TCPMSG_EAGAIN, or what ended the sending. */
static int send_lines(struct chat *chat)
{
    while (!chat->said_all) {
        if (chat->length == LINES_NONE)
            chat->length = take_line(chat);
        if (chat->length == LINES_NONE)
            return tcpmsg_flush(chat->conn, TCPMSG_DONTWAIT);
        int error = chat->length == LINES_END ? say_no_more(chat) : send_line(chat);
        if (error != 0)
            return error;
    }
    return 0;
}

static void print_message(struct chat *chat, const char *message, size_t length)
{
    prompt_hide(&chat->prompt);
    if (chat->newline_due)
        putchar('\n');
    if (chat->on_terminal)
        text_print(stdout, message, length);
    else
        fwrite(message, 1, length, stdout);
    chat->received++;
    /* To a last line without a newline, the answer (if it is the last one) has none either. */
    chat->newline_due = !chat->on_terminal && chat->lines.cut_short && chat->received == chat->sent;
    if (!chat->newline_due)
        putchar('\n');
}

/* Prints what has come. Returns 0, TCPMSG_EAGAIN, or what ended the chat. */
static int print_messages(struct chat *chat)
{
    ssize_t length = 0;
    for (int count = 0; length >= 0 && count < TURN; count++) {
        const void *message;
        length = tcpmsg_recv_view(chat->conn, &message, TCPMSG_DONTWAIT);
        if (length >= 0)
            print_message(chat, message, (size_t)length);
        if (ferror(stdout))
            return OUTPUT_FAILED;
    }
    if (fflush(stdout) != 0)
        return OUTPUT_FAILED;
    return length < 0 ? (int)length : 0;
}

/* Waits until there is something to send, to receive or to read; reads. */
static int wait_and_read(struct chat *chat)
{
    bool unsent = chat->length >= 0;
    bool want_line = chat->length == LINES_NONE;
    struct pollfd fds[] = {
        {.fd = tcpmsg_conn_fd(chat->conn), .events = tcpmsg_conn_events(chat->conn)},
        {.fd = want_line ? STDIN_FILENO : -1, .events = POLLIN},
    };
    if (unsent)
        fds[0].events |= POLLOUT;
    int timeout_ms = tcpmsg_next_length(chat->conn) == TCPMSG_EAGAIN ? -1 : 0;
    if (poll(fds, 2, timeout_ms) <= 0 || fds[1].revents == 0)
        return 0;
    if (chat->editing)
        prompt_fill(&chat->prompt);
    else if (lines_fill(&chat->lines) != 0)
        return INPUT_FAILED;
    return 0;
}

/* Returns what ended it: TCPMSG_EOF when all is well. */
static int converse(struct chat *chat)
{
    for (;;) {
        int sending = send_lines(chat);
        int receiving = print_messages(chat);
        /* When both have ended, the receiving knows better why. */
        if (receiving != 0 && receiving != TCPMSG_EAGAIN)
            return receiving;
        if (sending != 0 && sending != TCPMSG_EAGAIN)
            return sending;
        if (chat->editing)
            prompt_show(&chat->prompt);
        int failed = wait_and_read(chat);
        if (failed != 0)
            return failed;
    }
}

/* The exit status; a sentence if something is wrong. */
static int tell_end(const struct chat *chat, int end, int os_error)
{
    const char *why = tcpmsg_conn_why(chat->conn);

    if (end == TCPMSG_EOF && chat->said_all)
        return EXIT_SUCCESS;
    if (end == INPUT_FAILED || end == OUTPUT_FAILED)
        fprintf(stderr, "chat_client: standard %s: %s\n", end == INPUT_FAILED ? "input" : "output",
                strerror(os_error)); /* NOLINT(concurrency-mt-unsafe): there is one thread */
    else
        fprintf(stderr, "chat_client: %s\n", why[0] != '\0' ? why : tcpmsg_strerror(end));
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct cli cli = {.program = "chat_client",
                      .help = help,
                      .address = "127.0.0.1:5000",
                      .max_message = 16 << 20};
    struct chat chat = {.length = LINES_NONE};
    char why[512] = "";

    cli_read(&cli, argc, argv);
    signal(SIGPIPE, SIG_IGN); /* for standard output; the library raises none */
    const tcpmsg_options *options =
        TCPMSG_OPTIONS(.max_message = cli.max_message, .why = why, .why_size = sizeof why);
    int error = tcpmsg_dial(&chat.conn, cli.address, options);
    if (error != 0) {
        fprintf(stderr, "chat_client: %s\n", why[0] != '\0' ? why : tcpmsg_strerror(error));
        return EXIT_FAILURE;
    }
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    chat.lines = (struct lines){.fd = STDIN_FILENO, .limit = cli.max_message};
    chat.by_hand = isatty(STDIN_FILENO);
    chat.on_terminal = isatty(STDOUT_FILENO);
    chat.editing = prompt_open();
    if (chat.editing)
        printf("connected to %s; \"exit\" ends the conversation\n", cli.address);

    int end = converse(&chat);
    int os_error = errno;
    if (chat.editing)
        prompt_close(&chat.prompt);
    int status = tell_end(&chat, end, os_error);
    tcpmsg_close(chat.conn);
    free(chat.lines.data);
    return status;
}
