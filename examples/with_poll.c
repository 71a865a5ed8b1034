/* SPDX-License-Identifier: MIT */
/*
 * with_poll [ADDRESS]: an echo server for many clients, driven by nothing but poll(2).
 *
 * Before each poll(2), every connection is asked what it waits for; when poll has something to
 * tell of it, it gets a turn. SIGINT and SIGTERM stop the server.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "echo.h"

enum { SIGNALS, LISTENER, CLIENTS }; /* in the row of poll(2) */
enum { MOST = 1000 };                /* more clients than that wait until one leaves */

static struct echo clients[MOST];
static struct pollfd fds[CLIENTS + MOST];
static size_t count;
static tcpmsg_listener *listener;
static int signal_pipe[2];
static bool resting; /* out of descriptors, in which case a poll for POLLIN would spin */

static void accept_all(void)
{
    tcpmsg_conn *conn;
    int error = 0;
    while (count < MOST && (error = tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT)) == 0)
        clients[count++] = (struct echo){.conn = conn};
    resting = error == TCPMSG_EMFILE;
}

static void wait_for_something(void)
{
    fds[SIGNALS] = (struct pollfd){.fd = signal_pipe[0], .events = POLLIN};
    fds[LISTENER] = (struct pollfd){.fd = tcpmsg_listener_fd(listener), .events = POLLIN};
    if (resting || count == MOST)
        fds[LISTENER].fd = -1; /* one that poll(2) passes over */
    for (size_t i = 0; i < count; i++) {
        fds[CLIENTS + i].fd = tcpmsg_conn_fd(clients[i].conn);
        fds[CLIENTS + i].events = echo_events(&clients[i]);
    }
    while (poll(fds, CLIENTS + count, resting ? 100 : -1) < 0 && errno == EINTR)
        continue;
}

static void serve(void)
{
    do {
        wait_for_something();
        /* From the last to the first: who leaves gives its place to one that had its turn. */
        for (size_t i = count; i-- > 0;) {
            /* Whatever came, POLLERR and POLLHUP too: the connection's own calls tell the rest. */
            if (fds[CLIENTS + i].revents != 0 && !echo_turn(&clients[i])) {
                echo_end(&clients[i]);
                clients[i] = clients[--count];
            }
        }
        if (resting || fds[LISTENER].revents != 0)
            accept_all();
    } while (fds[SIGNALS].revents == 0);
}

static void on_signal(int number)
{
    (void)number;
    if (write(signal_pipe[1], "", 1) < 0) {
        /* It can't be but full: then poll(2) knows. */
    }
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    if (pipe(signal_pipe) != 0)
        return EXIT_FAILURE;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    listener = echo_listen(argc, argv);
    if (listener == NULL)
        return EXIT_FAILURE;

    serve();
    while (count > 0)
        echo_end(&clients[--count]);
    tcpmsg_listener_close(listener);
    return EXIT_SUCCESS;
}
