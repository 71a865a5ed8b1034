/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <unistd.h>

#include "clock.h"
#include "conn.h"
#include "conn_client.h"
#include "error.h"
#include "listener.h"
#include "log.h"
#include "socket.h"

bool tm_accept_is_passing(int answer)
{
    switch (-answer) {
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EPERM:
#ifdef EHOSTDOWN
    case EHOSTDOWN:
#endif
#ifdef ENONET
    case ENONET:
#endif
        return true;
    default:
        return false;
    }
}

static bool is_shortage(int answer)
{
    return answer == -EMFILE || answer == -ENFILE || answer == -ENOBUFS || answer == -ENOMEM;
}

void tm_accept_own(tcpmsg_listener *listener, tcpmsg_conn *conn, int fd, const tm_sockaddr *peer)
{
    tm_conn_own(conn, fd, peer);
    if (listener->naps == TM_NAPS_UNTRIED)
        listener->naps = tm_socket_has_limit(fd) ? TM_NAPS_WORK : TM_NAPS_NEVER;
    if (conn->waits && listener->naps == TM_NAPS_WORK)
        tm_waiting_of(conn)->naps = TM_NAPS_WORK;
    if (conn->tcp && !listener->tuned)
        tm_socket_tune(fd, listener->settings);
    tm_client_await(conn);
    tm_accept_log(listener, 0);
    tm_conn_log_opening(conn, "accepted");
}

void tm_accept_log(tcpmsg_listener *listener, int answer)
{
    char room[TM_ERRNO_TEXT_MOST];
    bool fails = answer < 0;
    if (atomic_exchange(&listener->rests, fails) == fails)
        return;
    if (fails)
        tm_log(listener->settings, TCPMSG_LOG_WARNING, NULL, "nobody can be accepted for now: %s",
               tm_errno_text(-answer, room));
    else
        tm_log(listener->settings, TCPMSG_LOG_INFO, NULL, "connections are accepted again");
}

/* Waits for a connection, or with `rest` for better times; an abort ends both. */
static void wait_for_one(tcpmsg_listener *listener, bool rest)
{
    bool can_wake = tm_listener_own_wake(listener) == 0;
    struct pollfd fds[2] = {
        {.fd = can_wake ? listener->wake.read_fd : -1, .events = POLLIN},
        {.fd = listener->fd, .events = POLLIN},
    };
    if (!listener->canceled)
        tm_socket_wait(fds, rest ? 1 : 2,
                       rest || !can_wake ? tm_now() + TM_ACCEPT_REST : TM_FOREVER);
}

/* The next connection's socket, or an error of the library's. */
static int next_socket(tcpmsg_listener *listener, tm_sockaddr *peer, int flags)
{
    for (int failures = 0; !listener->canceled;) {
        int r = tm_socket_accept(listener->fd, peer);
        if (r >= 0)
            return r;
        bool passing = tm_accept_is_passing(r), none = r == -EAGAIN;
        if (flags & TCPMSG_DONTWAIT || (!passing && !none && !is_shortage(r)))
            return tm_error_from_errno(-r);
        failures = passing ? failures + 1 : 0;
        if (!none && (!passing || failures > TM_ACCEPT_FAILURES))
            tm_accept_log(listener, r);
        if (!passing || failures > TM_ACCEPT_FAILURES)
            wait_for_one(listener, !none);
    }
    return TCPMSG_ECANCELED;
}

static int accept_inside(tcpmsg_listener *listener, tcpmsg_conn **out, int flags)
{
    tm_sockaddr peer;
    tcpmsg_conn *conn = tm_conn_make(listener->settings);
    while (!conn && !(flags & TCPMSG_DONTWAIT) && !listener->canceled) {
        wait_for_one(listener, true);
        conn = tm_conn_make(listener->settings);
    }
    if (!conn)
        return listener->canceled ? TCPMSG_ECANCELED : TCPMSG_ENOMEM;
    int fd = next_socket(listener, &peer, flags);
    if (fd < 0) {
        tm_conn_free(conn);
        return fd;
    }
    tm_accept_own(listener, conn, fd, &peer);
    *out = conn;
    return 0;
}

int tcpmsg_accept(tcpmsg_listener *listener, tcpmsg_conn **out, int flags)
{
    if (!listener || !out || flags & ~TCPMSG_DONTWAIT)
        return TCPMSG_EINVAL;
    if (listener->canceled)
        return TCPMSG_ECANCELED;
    if (listener->maker != getpid())
        return accept_inside(listener, out, flags); /* nobody's close waits for it */
    pthread_mutex_lock(&listener->lock);
    listener->inside++;
    pthread_mutex_unlock(&listener->lock);
    int r = accept_inside(listener, out, flags);
    pthread_mutex_lock(&listener->lock);
    if (--listener->inside == 0)
        pthread_cond_broadcast(&listener->left);
    pthread_mutex_unlock(&listener->lock);
    return r;
}
