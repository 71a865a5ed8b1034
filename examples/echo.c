/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "echo.h"

#include <poll.h>
#include <stdio.h>

/* Without linger: a close that waits for one client's acknowledgements would hold up the others. */
tcpmsg_listener *echo_listen(int argc, char **argv)
{
    char text[512] = "";
    tcpmsg_listener *listener;
    int error = tcpmsg_listen(
        &listener, argc > 1 ? argv[1] : "127.0.0.1:5000",
        TCPMSG_OPTIONS(.linger_ms = TCPMSG_NO_LINGER, .why = text, .why_size = sizeof text));
    if (error != 0) {
        fprintf(stderr, "%s: %s\n", argv[0], text[0] != '\0' ? text : tcpmsg_strerror(error));
        return NULL;
    }
    tcpmsg_listener_address(listener, text, sizeof text);
    printf("listening on %s\n", text);
    fflush(stdout);
    return listener;
}

/* False when there is none, or no room for its echo. It stays: a view is good until the next one. */
static bool echo_one(struct echo *echo)
{
    if (echo->message == NULL)
        echo->length = tcpmsg_recv_view(echo->conn, &echo->message, TCPMSG_DONTWAIT);
    if (echo->length < 0 || tcpmsg_send(echo->conn, echo->message, (size_t)echo->length,
                                        TCPMSG_DONTWAIT | TCPMSG_MORE) != 0)
        return false;
    echo->message = NULL;
    return true;
}

/*
 * Reads the socket once, and then the whole messages that the library has: of those, no poll would
 * tell. Of what is still in the socket it will, when the others have had their turns.
 */
bool echo_turn(struct echo *echo)
{
    while (echo_one(echo) && tcpmsg_next_length(echo->conn) != TCPMSG_EAGAIN)
        continue;

    int error = tcpmsg_flush(echo->conn, TCPMSG_DONTWAIT); /* what MORE and earlier turns left */
    if (error != 0)
        return error == TCPMSG_EAGAIN;
    /* Who has ended its sending, or spoken nonsense, still got its answers: now it is let go. */
    return echo->message != NULL || tcpmsg_next_length(echo->conn) == TCPMSG_EAGAIN;
}

/*
 * Nothing more is read from a client that does not read. And a send that was TCPMSG_EAGAIN has
 * left nothing to be written, so that POLLOUT is ours to ask for.
 */
short echo_events(const struct echo *echo)
{
    return echo->message != NULL ? POLLOUT : tcpmsg_conn_events(echo->conn);
}

void echo_end(struct echo *echo)
{
    const char *why = tcpmsg_conn_why(echo->conn); /* "" as long as nothing has ended */
    if (why[0] != '\0' && tcpmsg_next_length(echo->conn) != TCPMSG_EOF)
        fprintf(stderr, "%s\n", why);
    tcpmsg_close(echo->conn);
}
