/* SPDX-License-Identifier: MIT */
#include "conn.h"

#include <errno.h>
#include <unistd.h>

#include "error.h"

/* How long close sleeps between two looks at what is acknowledged: it doubles up to the longest. */
#define LOOK_FIRST (TM_MS / 2)
#define LOOK_LAST (20 * TM_MS)

/* In a forked child: the locks may be held by threads that do not exist here. */
static bool in_maker(const tcpmsg_conn *conn)
{
    return conn->maker == getpid();
}

void tcpmsg_abort(tcpmsg_conn *conn)
{
    if (!conn || !in_maker(conn))
        return;
    tm_conn_tell_plainly(conn, TCPMSG_LOG_INFO, "this program aborted the connection");
    tm_out_end(conn, TCPMSG_ECANCELED);
    tm_in_end(conn, TCPMSG_ECANCELED);
    tm_mutex_lock(&conn->out.lock);
    if (conn->fd >= 0) {
        if (conn->tcp)
            tm_socket_reset(conn->fd);
        else
            tm_socket_end_both(conn->fd);
    }
    if (tm_is_kept(conn))
        tm_kept_attend(conn);
    tm_mutex_unlock(&conn->out.lock);
}

int tm_conn_look_acknowledged(tcpmsg_conn *conn, bool *peer_ended)
{
    ssize_t unacked = tm_socket_unacked(conn->fd);
    bool at_end = conn->in.error == TCPMSG_EOF; /* nothing is unread, and nothing comes */
    ssize_t n = at_end ? 0 : tm_socket_discard(conn->fd);
    if (unacked == 0 || (unacked == 1 && conn->out.fin_counts))
        return 0;
    if (n == 0) {
        *peer_ended = true;
        n = tm_socket_pending_error(conn->fd); /* a reset behind the peer's FIN reads as an end */
    }
    if (conn->out.error)
        return conn->out.error;
    if (n < 0 && n != -EAGAIN)
        return tm_conn_os_error(conn, n);
    /* Where the system does not tell, the peer's own end is the best sign there is. */
    return unacked < 0 && *peer_ended ? 0 : TCPMSG_EAGAIN;
}

/* With the receiving turn, after the FIN: waits until the peer's TCP has all of the messages. */
static int await_acknowledged(tcpmsg_conn *conn, int64_t deadline)
{
    bool peer_ended = false;
    int64_t nap = LOOK_FIRST;
    for (;;) {
        int r = tm_conn_look_acknowledged(conn, &peer_ended);
        if (r != TCPMSG_EAGAIN)
            return r;
        if (tm_passed(deadline))
            return TCPMSG_ETIMEDOUT;
        /* Once the peer has ended, the socket is readable for ever. */
        struct pollfd fd = {.fd = conn->fd, .events = POLLIN};
        tm_socket_wait(&fd, peer_ended ? 0 : 1, tm_sooner(deadline, tm_now() + nap));
        nap = tm_sooner(2 * nap, LOOK_LAST);
    }
}

/* Only the first to close ends the connection; true for it. */
static bool begin_close(tcpmsg_conn *conn)
{
    tm_mutex_lock(&conn->out.lock);
    bool first = !conn->closing && !tm_is_kept(conn);
    conn->closing = conn->closing || first;
    tm_mutex_unlock(&conn->out.lock);
    return first;
}

/* With both turns: nobody else uses the descriptor, and nobody will. */
static void close_socket(tcpmsg_conn *conn)
{
    tm_mutex_lock(&conn->out.lock);
    int fd = conn->fd;
    conn->fd = -1;
    tm_mutex_unlock(&conn->out.lock);
    tm_socket_close(fd);
}

/*
 * With the receiving turn: flushes and sends FIN. What comes meanwhile is dropped already, since a
 * peer that has to finish its own writing first would never read.
 */
static int flush_and_shut(tcpmsg_conn *conn, int64_t deadline)
{
    bool peer_ended = false;
    for (;;) {
        int r = tm_out_shutdown(conn, tm_now());
        bool no_memory = r == TCPMSG_ENOMEM;
        if (no_memory)
            r = TCPMSG_ETIMEDOUT;
        if (r != TCPMSG_ETIMEDOUT || tm_passed(deadline))
            return r;
        ssize_t n = tm_socket_discard(conn->fd);
        peer_ended = peer_ended || (n <= 0 && n != -EAGAIN);
        struct pollfd fd = {.fd = conn->fd, .events = peer_ended ? POLLOUT : POLLIN | POLLOUT};
        tm_socket_wait(&fd, no_memory ? 0 : 1, tm_sooner(deadline, tm_now() + LOOK_LAST));
    }
}

static int end_connection(tcpmsg_conn *conn, int64_t deadline)
{
    tm_conn_tell_plainly(conn, TCPMSG_LOG_INFO, "this program closed the connection");
    tm_in_end(conn, TCPMSG_ECANCELED);
    tm_in_take_turn(conn);
    int r = flush_and_shut(conn, deadline);
    if (r == 0 && conn->tcp)
        r = await_acknowledged(conn, deadline);
    else if (r == 0)
        tm_socket_discard(conn->fd);
    tm_out_end(conn, TCPMSG_ECANCELED);
    tm_out_take_turn(conn);
    close_socket(conn);
    return r;
}

/*
 * In a forked child: closes its copy of the descriptors. A buffer that another thread was changing
 * at the moment of the fork may be half changed for ever, so its memory is left alone.
 */
static void leave_to_parent(tcpmsg_conn *conn)
{
    tm_waiting *waiting = tm_waiting_of(conn);
    bool quiet = tm_mutex_trylock(&conn->out.lock) && !conn->out.busy;
    if (quiet && conn->waits)
        quiet = tm_mutex_trylock(&waiting->lock) && !waiting->busy;
    if (quiet) {
        tm_conn_let_go(conn);
        return;
    }
    tm_socket_close(conn->fd);
    if (conn->waits)
        tm_wake_close(&waiting->wake);
}

static bool drop_reference(tcpmsg_conn *conn)
{
    return atomic_fetch_sub_explicit(&conn->refs, 1, memory_order_acq_rel) == 1;
}

/* In a forked child, a close of what is not kept. */
static void close_copy(tcpmsg_conn *conn)
{
    tm_socket_close(conn->fd);
    conn->fd = -1;
    if (drop_reference(conn))
        leave_to_parent(conn);
}

void tcpmsg_conn_unref(tcpmsg_conn *conn)
{
    if (!conn || !drop_reference(conn))
        return;
    if (!in_maker(conn)) {
        leave_to_parent(conn);
        return;
    }
    if (!tm_is_kept(conn) && begin_close(conn))
        end_connection(conn, tm_now());
    tm_conn_free(conn);
}

int tcpmsg_close(tcpmsg_conn *conn)
{
    int r = 0;
    if (!conn)
        return 0;
    if (!in_maker(conn)) {
        if (!tm_is_kept(conn))
            close_copy(conn);
        return 0;
    }
    if (!tm_is_kept(conn) && begin_close(conn))
        r = end_connection(conn, tm_deadline(conn->settings->linger_ms));
    if (r < 0 && r != TCPMSG_ECANCELED)
        tm_conn_log_loss(conn, r);
    if (tm_is_kept(conn)) /* or since we looked */
        tm_kept_close(conn);
    else if (drop_reference(conn))
        tm_conn_free(conn);
    return r;
}
