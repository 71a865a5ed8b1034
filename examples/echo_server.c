/* SPDX-License-Identifier: MIT */
/*
 * echo_server: sends every message back, or with --reply shows it to an operator who answers.
 * Each client has a thread of its own, which waits for a message or for the order to stop.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tcpmsg/tcpmsg.h>

#include "cli.h"
#include "clients.h"
#include "stop.h"
#include "text.h"

enum {
    REST_MS = 100,      /* after an accept that failed */
    PATIENCE_MS = 1000, /* --reply: with a client that does not read */
    GRACE_S = 2,        /* for clients that don't stop talking when the server is to stop */
    LIMIT_S = 5,        /* for clients that don't read then */
};

static bool verbose;
static bool reply;

static const char help[] =
    "Usage: echo_server [OPTIONS] [ADDRESS]\n"
    "\n"
    "Sends every message back to the client that it came from, for any number of clients.\n"
    "ADDRESS is host:port, [v6]:port, :port (every interface) or unix:/path; port 0 asks for a\n"
    "free one. Without it, it is 127.0.0.1:5000. It is printed once the server listens.\n"
    "\n"
    "  --verbose        print who says what\n"
    "  --reply          send nothing back: print each message with its sender, and send each\n"
    "                   line of standard input to everyone; \"exit\" or its end stops it\n"
    "  --max-message N  the longest message, in bytes (16777216)\n"
    "  --help           print this, and leave\n"
    "  --version        print the version, and leave\n"
    "\n"
    "SIGINT and SIGTERM stop the server; what it has received is answered first.\n";

/* One call at a time, so that no two clients share a line. */
static void show(const struct client *client, const char *message, size_t length)
{
    flockfile(stdout);
    printf("%s: ", client->name);
    text_print(stdout, message, length);
    putchar('\n');
    fflush(stdout);
    funlockfile(stdout);
}

/* Takes all messages that have come. Returns TCPMSG_EAGAIN, or the error that ends the client. */
static int answer(const struct client *client)
{
    tcpmsg_conn *conn = client->conn;
    const void *message;
    ssize_t length;

    while ((length = tcpmsg_recv_view(conn, &message, TCPMSG_DONTWAIT)) >= 0) {
        if (verbose || reply)
            show(client, message, (size_t)length);
        if (!reply) {
            /* When the next one is here already, their answers can leave together. */
            int more = tcpmsg_next_length(conn) >= 0 ? TCPMSG_MORE : 0;
            int error = tcpmsg_send(conn, message, (size_t)length, more);
            if (error != 0)
                return error;
        }
        if (stop_since() >= GRACE_S)
            return TCPMSG_EAGAIN;
    }
    return (int)length;
}

/* A client's thread. When it is told to stop, it still answers what has come by then. */
static void *serve(void *arg)
{
    struct client *client = arg;
    tcpmsg_conn *conn = client->conn;
    bool told = verbose || reply;
    bool running;
    int end;

    if (told)
        clients_tell_of(client, "connected");
    do {
        running = stop_or_ready(tcpmsg_conn_fd(conn), tcpmsg_conn_events(conn), -1);
        end = answer(client);
    } while (running && end == TCPMSG_EAGAIN);

    if (end != TCPMSG_EAGAIN && end != TCPMSG_ECANCELED && (told || end != TCPMSG_EOF)) {
        const char *why = tcpmsg_conn_why(conn);
        clients_tell_of(client, why[0] != '\0' ? why : tcpmsg_strerror(end));
    }
    clients_remove(client);
    return NULL;
}

static void welcome(tcpmsg_conn *conn)
{
    struct client *client = clients_add(conn);
    if (client == NULL) {
        fprintf(stderr, "echo_server: a client is turned away: out of memory\n");
        tcpmsg_close(conn);
        return;
    }
    pthread_t thread;
    int error = pthread_create(&thread, NULL, serve, client);
    if (error != 0) {
        clients_tell_of(client, "turned away, as there is no thread for it");
        clients_remove(client);
        return;
    }
    pthread_detach(thread);
}

/* Returns when the server is to stop. */
static void accept_clients(tcpmsg_listener *listener)
{
    int error = 0;
    while (stop_or_ready(tcpmsg_listener_fd(listener), POLLIN, -1)) {
        tcpmsg_conn *conn;
        int before = error;
        error = tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT);
        if (error == 0) {
            welcome(conn);
        } else if (error != TCPMSG_EAGAIN) {
            if (error != before)
                fprintf(stderr, "echo_server: accept: %s\n", tcpmsg_strerror(error));
            stop_or_ready(-1, 0, REST_MS);
        }
    }
}

/* The operator's thread: what is typed goes to everyone. */
static void *operate(void *arg)
{
    struct lines *lines = arg;
    char *line;
    ssize_t length;

    while ((length = lines_take(lines, &line)) != LINES_END) {
        if (length == LINES_NONE) {
            if (!stop_or_ready(lines->fd, POLLIN, -1) || lines_fill(lines) != 0)
                break;
        } else if (length == 4 && memcmp(line, "exit", 4) == 0) {
            break;
        } else {
            clients_send(line, (size_t)length);
        }
    }
    stop_everybody();
    return NULL;
}

static int accept_beside_operator(tcpmsg_listener *listener, size_t max_message)
{
    struct lines lines = {.fd = STDIN_FILENO, .limit = max_message};
    pthread_t operator;

    if (pthread_create(&operator, NULL, operate, &lines) != 0) {
        fprintf(stderr, "echo_server: there is no thread for the operator\n");
        return EXIT_FAILURE;
    }
    accept_clients(listener);
    pthread_join(operator, NULL);
    free(lines.data);
    return EXIT_SUCCESS;
}

/* From the first client to the last; closes the listener. */
static int run(tcpmsg_listener *listener, size_t max_message)
{
    int status = EXIT_SUCCESS;
    if (reply)
        status = accept_beside_operator(listener, max_message);
    else
        accept_clients(listener);
    tcpmsg_listener_close(listener);
    clients_finish(LIMIT_S);
    return status;
}

int main(int argc, char **argv)
{
    static const struct cli_flag flags[] = {
        {"--verbose", &verbose}, {"--reply", &reply}, {NULL, NULL}};
    struct cli cli = {.program = "echo_server",
                      .help = help,
                      .flags = flags,
                      .address = "127.0.0.1:5000",
                      .max_message = 16 << 20};
    char text[512] = "";
    tcpmsg_listener *listener;

    cli_read(&cli, argc, argv);
    signal(SIGPIPE, SIG_IGN); /* for standard output; the library raises none */
    if (stop_prepare() != 0) {
        perror("echo_server");
        return EXIT_FAILURE;
    }
    const tcpmsg_options *options =
        TCPMSG_OPTIONS(.max_message = cli.max_message, .send_timeout_ms = reply ? PATIENCE_MS : 0,
                       .why = text, .why_size = sizeof text);
    int error = tcpmsg_listen(&listener, cli.address, options);
    if (error != 0) {
        fprintf(stderr, "echo_server: %s\n", text[0] != '\0' ? text : tcpmsg_strerror(error));
        return EXIT_FAILURE;
    }
    tcpmsg_listener_address(listener, text, sizeof text);
    printf("listening on %s\n", text);
    fflush(stdout);
    return run(listener, cli.max_message);
}
