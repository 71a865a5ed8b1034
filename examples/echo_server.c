/* SPDX-License-Identifier: MIT */
/*
 * echo_server: sends every message back, or with --reply shows it to an operator who answers.
 *
 * A listener and four callbacks, which a loop calls: each does what it can at once and returns,
 * for the other clients are waiting. For a client that is silent, nothing is kept here.
 */
#define _POSIX_C_SOURCE 200809L

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tcpmsg/tcpmsg.h>

#include "cli.h"
#include "log.h"
#include "operator.h"

static tcpmsg_loop *loop;
static bool verbose;
static bool reply;

static const char help[] =
    "Usage: echo_server [OPTIONS] [ADDRESS]\n"
    "\n"
    "Sends every message back to the client that it came from, for any number of clients.\n"
    "ADDRESS is host:port, [v6]:port, :port (every interface), unix:/path or fd:N (a listening\n"
    "socket that was handed down); port 0 asks for a free one. Without it, it is 127.0.0.1:5000.\n"
    "It is printed once the server listens.\n"
    "\n"
    "  --verbose          print who says what\n"
    "  --reply            send nothing back: print each message with its sender, and send each\n"
    "                     line of standard input to everyone; \"exit\" or its end stops it\n"
    "  --max-message N    the longest message, in bytes (16777216)\n"
    "  --threads N        so many serve the clients, up to 1024 (1)\n"
    "  --idle-timeout MS  end a client when nothing has come from it or gone to it for so many\n"
    "                     milliseconds (never)\n"
    "  --max-conns N      so many clients at once; others wait until one leaves (any number)\n"
    "  --proxy            clients come through a proxy that says whose they are, in a header of\n"
    "                     the PROXY protocol, version 1 or 2\n"
    "  --reuse-port       share the port with other servers that say so, too\n"
    "  --help             print this, and leave\n"
    "  --version          print the version, and leave\n"
    "\n"
    "SIGINT and SIGTERM stop the server; what it has answered by then is still sent.\n";

static void on_open(tcpmsg_conn *conn, void *arg)
{
    (void)arg;
    if (reply && operator_meet(conn) != 0) {
        log_event(conn, "turned away: out of memory");
        tcpmsg_close(conn);
    } else if (verbose || reply) {
        log_event(conn, "connected");
    }
}

/*
 * The answer is never refused with TCPMSG_EAGAIN: from a client that does not read its answers,
 * the loop does not read either. Without memory, a client would miss one answer and get the next;
 * it is better off without any. All other errors have ended the connection: on_close tells.
 */
static void on_message(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    (void)arg;
    if (verbose || reply)
        log_message(conn, message, length);
    if (!reply && tcpmsg_send(conn, message, length, 0) == TCPMSG_ENOMEM) {
        log_event(conn, "cut off, as there is no memory for its answer");
        tcpmsg_abort(conn);
    }
}

/* After a send was TCPMSG_EAGAIN, there is room again: only the operator's can be. */
static void on_drain(tcpmsg_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
    operator_room();
}

static void on_close(tcpmsg_conn *conn, int why, void *arg)
{
    (void)arg;
    if (reply)
        operator_part_with(conn);
    /* These come from our own close, abort or stop. */
    bool ours = why == 0 || why == TCPMSG_ETIMEDOUT || why == TCPMSG_ECANCELED;
    bool usual = why == TCPMSG_EOF || why == TCPMSG_ESTALLED;
    if (!ours && (!usual || verbose || reply))
        log_event(conn, tcpmsg_conn_why(conn));
}

/* May be called in a handler (signal-safety(7)), as tcpmsg_loop_stop may. */
static void on_signal(int number)
{
    (void)number;
    tcpmsg_loop_stop(loop);
}

static void stop_at_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* The exit status of a failure, which is told in a sentence. */
static int fail(const char *sentence)
{
    fprintf(stderr, "echo_server: %s\n", sentence);
    return EXIT_FAILURE;
}

/* Gives the loop a listener, and prints where it listens. */
static int listen_at(const char *address, tcpmsg_options options)
{
    char text[512] = "";
    tcpmsg_listener *listener;

    options.why = text;
    options.why_size = sizeof text;
    int error = tcpmsg_listen(&listener, address, &options);
    if (error != 0)
        return fail(text[0] != '\0' ? text : tcpmsg_strerror(error));
    tcpmsg_listener_address(listener, text, sizeof text);
    error = tcpmsg_loop_listen(loop, listener,
                               TCPMSG_CALLBACKS(.on_open = on_open, .on_message = on_message,
                                                .on_drain = on_drain, .on_close = on_close),
                               NULL);
    if (error != 0) {
        tcpmsg_listener_close(listener);
        return fail(tcpmsg_strerror(error));
    }
    stop_at_signals();
    printf("listening on %s\n", text);
    fflush(stdout);
    return EXIT_SUCCESS;
}

/* From the first client to the last. */
static int serve(size_t max_message)
{
    int error = reply ? operator_start(loop, max_message) : 0;
    if (error != 0)
        return fail(strerror(error)); /* NOLINT(concurrency-mt-unsafe): there is one thread yet */
    error = tcpmsg_loop_run(loop);
    if (reply)
        operator_end();
    return error == 0 ? EXIT_SUCCESS : fail(tcpmsg_strerror(error));
}

int main(int argc, char **argv)
{
    bool proxy = false, reuse_port = false;
    int threads = 0, idle_timeout_ms = 0, max_conns = 0; /* 0: the library's default */
    const struct cli_option options[] = {
        {.name = "--verbose", .given = &verbose},
        {.name = "--reply", .given = &reply},
        {.name = "--threads", .number = &threads, .most = 1024},
        {.name = "--idle-timeout", .number = &idle_timeout_ms, .most = INT_MAX},
        {.name = "--max-conns", .number = &max_conns, .most = INT_MAX},
        {.name = "--proxy", .given = &proxy},
        {.name = "--reuse-port", .given = &reuse_port},
        {.name = NULL},
    };
    struct cli cli = {.program = "echo_server",
                      .help = help,
                      .options = options,
                      .address = "127.0.0.1:5000",
                      .max_message = 16 << 20};

    cli_read(&cli, argc, argv);
    signal(SIGPIPE, SIG_IGN); /* for standard output; the library raises none */
    int error = tcpmsg_loop_open(&loop, TCPMSG_LOOP_OPTIONS(.threads = threads,
                                                            .idle_timeout_ms = idle_timeout_ms,
                                                            .max_conns = max_conns));
    if (error != 0)
        return fail(tcpmsg_strerror(error));
    int status = listen_at(cli.address, (tcpmsg_options){.size = sizeof(tcpmsg_options),
                                                         .max_message = cli.max_message,
                                                         .proxy_protocol = proxy,
                                                         .reuse_port = reuse_port});
    if (status == EXIT_SUCCESS)
        status = serve(cli.max_message);
    tcpmsg_loop_close(loop);
    return status;
}
