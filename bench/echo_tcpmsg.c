/* SPDX-License-Identifier: MIT */
/* Sends every message back: the whole server, on tcpmsg_loop. */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <stdio.h>

#include <tcpmsg/loop.h>

#include "bench.h"
#include "echo.h"

static tcpmsg_loop *loop;

static void stop(int signal_number)
{
    (void)signal_number;
    tcpmsg_loop_stop(loop);
}

/* A server that only answers meets no TCPMSG_EAGAIN; of other errors on_close would tell. */
static void send_back(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    (void)arg;
    bench_require(tcpmsg_send(conn, message, length, 0) != TCPMSG_EAGAIN,
                  "the answer was refused: TCPMSG_EAGAIN");
}

static void announce(const tcpmsg_listener *listener)
{
    char address[TCPMSG_ADDRESS_MAX];
    bench_ours(tcpmsg_listener_address(listener, address, sizeof(address)),
               "tcpmsg_listener_address");
    printf("listening on %s\n", address);
    fflush(stdout);
}

static void stop_at_signals(void)
{
    struct sigaction action = {.sa_handler = stop, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

int main(int argc, char **argv)
{
    long threads = 1;
    long spin_us = 0;
    long message_timeout_ms = 0;
    bool poll = false;
    const echo_option options[] = {
        {.name = "--threads", .number = &threads, .least = 1},
        {.name = "--spin-us", .number = &spin_us, .least = 0},
        {.name = "--message-timeout", .number = &message_timeout_ms, .least = 0},
        {.name = "--poll", .flag = &poll},
        {.name = NULL},
    };
    const char *address =
        echo_command_line(argc, argv, options, "127.0.0.1:0",
                          "usage: echo_tcpmsg [--threads N] [--spin-us N] [--message-timeout MS]\n"
                          "                   [--poll] [ADDRESS]\n");

    tcpmsg_listener *listener;
    bench_ours(tcpmsg_loop_open(
                   &loop, TCPMSG_LOOP_OPTIONS(.threads = (int)threads, .spin_us = (int)spin_us,
                                              .poller = poll ? TCPMSG_POLLER_POLL : 0)),
               "tcpmsg_loop_open");
    stop_at_signals();
    bench_ours(tcpmsg_listen(&listener, address,
                             TCPMSG_OPTIONS(.message_timeout_ms = (int)message_timeout_ms)),
               "tcpmsg_listen");
    announce(listener);
    bench_ours(tcpmsg_loop_listen(loop, listener, TCPMSG_CALLBACKS(.on_message = send_back), NULL),
               "tcpmsg_loop_listen");
    bench_ours(tcpmsg_loop_run(loop), "tcpmsg_loop_run");
    tcpmsg_loop_close(loop);
    return 0;
}
