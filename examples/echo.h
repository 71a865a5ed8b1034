/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_ECHO_H
#define EXAMPLES_ECHO_H

#include <stdbool.h>
#include <sys/types.h>

#include <tcpmsg/tcpmsg.h>

/*
 * What an echo server does with its clients in anybody's loop: with_poll.c, with_libuv.c and
 * with_libevent.c are three of them. Nothing here waits, so that no client holds up the others.
 */

struct echo {
    tcpmsg_conn *conn;
    const void *message; /* has come, and there was no room to send it back; or NULL */
    ssize_t length;      /* of it, or why there is none */
};

/* Listens at argv[1], and prints where. NULL when it can't, which is told on standard error. */
tcpmsg_listener *echo_listen(int argc, char **argv);

/* Sends back what has come, as far as can be without waiting. False when that was all. */
bool echo_turn(struct echo *echo);

/* POLLIN, POLLOUT: when the next turn is due, level-triggered. Changes with each turn. */
short echo_events(const struct echo *echo);

/* Closes the connection; tells of all ends but the usual one. */
void echo_end(struct echo *echo);

#endif
