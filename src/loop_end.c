/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <errno.h>

#include "conn_out.h"
#include "error.h"
#include "socket.h"

/* How long between two looks at what is acknowledged: it doubles up to the longest. */
#define NAP_FIRST TM_MS
#define NAP_LAST (20 * TM_MS)

/* How the peer sees the end when there is nothing to wait for any more. */
static bool is_harsh(int why)
{
    switch (why) {
    case TCPMSG_ERESET:
    case TCPMSG_EUNREACHABLE:
    case TCPMSG_ESYSTEM:
    case TCPMSG_ENOMEM:
        return true;
    default:
        return false;
    }
}

/* Who gave up on output that makes no progress must not leave the system to try for ever. */
static void give_up_output(tcpmsg_conn *conn)
{
    tm_out_end(conn, TCPMSG_ESTALLED);
    tm_mutex_lock(&conn->out.lock);
    if (conn->tcp)
        tm_socket_reset(conn->fd);
    tm_mutex_unlock(&conn->out.lock);
}

void tm_member_end(tm_thread *thread, tm_member *member, int why)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    int linger_ms = conn->settings->linger_ms;
    if (member->stage == TM_DIALING) {
        tm_dial_drop(thread, member);
        tm_conn_tell_plainly(conn, TCPMSG_LOG_INFO, "the loop was stopped");
        tm_member_finish(thread, member, why);
        return;
    }
    if (member->stage == TM_JOINING) { /* its client is not known yet */
        tm_member_finish(thread, member, why);
        return;
    }
    if (member->stage != TM_OPEN)
        return;
    if (why == TCPMSG_ESTALLED && member->blocked)
        give_up_output(conn);
    if (is_harsh(why) || conn->out.error) {
        tm_member_finish(thread, member, why ? why : conn->out.error);
        return;
    }
    if (why == TCPMSG_EOF)
        tm_conn_tell_ending_here(conn, why, 0);
    tm_conn_tell_plainly(conn, TCPMSG_LOG_INFO,
                         why == TCPMSG_ECANCELED ? "the loop was stopped"
                                                 : "this program closed the connection");
    member->stage = TM_ENDING;
    member->why = (int16_t)why;
    member->peer_ended = conn->in.error == TCPMSG_EOF || conn->in.error == TCPMSG_ETRUNCATED;
    member->u.linger_until = tm_now() + linger_ms * TM_MS; /* the pass may have begun long ago */
    member->blocked = NAP_FIRST;
    tm_mutex_lock(&conn->out.lock);
    conn->out.shut = true;
    conn->closing = true;
    tm_mutex_unlock(&conn->out.lock);
    tm_in_end(conn, TCPMSG_ECANCELED);
    tm_member_give_back(thread, member);
    tm_member_tend_ending(thread, member);
}

/*
 * 0: the peer has all of it, or will: what it ended itself is not waited for, since no input of
 * ours can make its last messages a reset. TCPMSG_EAGAIN, or what ended the sending.
 */
static int look(tcpmsg_conn *conn, tm_member *member, enum tm_push left)
{
    if (conn->out.error)
        return conn->out.error;
    if (left != TM_PUSH_DONE || !conn->tcp) { /* a peer that writes first would never read */
        ssize_t n = tm_socket_discard(conn->fd);
        member->peer_ended = member->peer_ended || n == 0 || (n < 0 && n != -EAGAIN);
    }
    if (left != TM_PUSH_DONE)
        return TCPMSG_EAGAIN;
    if (!conn->tcp || member->why == TCPMSG_EOF || member->why == TCPMSG_ETRUNCATED)
        return 0;
    bool peer_ended = member->peer_ended;
    int r = tm_conn_look_acknowledged(conn, &peer_ended);
    member->peer_ended = peer_ended;
    return r;
}

void tm_member_tend_ending(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    enum tm_push left = tm_out_push(conn);
    int r = look(conn, member, left);
    int why = member->why;
    if (r == TCPMSG_EAGAIN && thread->now < member->u.linger_until) {
        short events =
            (short)((left == TM_PUSH_WAIT ? POLLOUT : 0) | (member->peer_ended ? 0 : POLLIN));
        if (events != 0)
            tm_thread_watch(thread, &member->source, events);
        else
            tm_poller_drop(thread->poller, &member->source.watch); /* it would tell POLLHUP */
        tm_timers_set(&thread->timers, &member->source.timer,
                      tm_sooner(member->u.linger_until, thread->now + member->blocked));
        member->blocked = tm_sooner(2 * member->blocked, NAP_LAST);
        return;
    }
    if (r == TCPMSG_ECANCELED)
        why = r; /* it was aborted after all */
    else if (why == 0 && r < 0)
        why = r == TCPMSG_EAGAIN ? TCPMSG_ETIMEDOUT : r;
    if (r < 0 && r != TCPMSG_ECANCELED)
        tm_conn_log_loss(conn, r == TCPMSG_EAGAIN ? TCPMSG_ETIMEDOUT : r);
    tm_member_finish(thread, member, why);
}

/* Nobody can ask for attention any more; true when somebody had done so before. */
static bool retire(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    tm_out_end(conn, TCPMSG_ECANCELED);
    tm_in_end(conn, TCPMSG_ECANCELED);
    tm_poller_drop(thread->poller, &member->source.watch);
    tm_timers_stop(&thread->timers, &member->source.timer);
    tm_link_remove(&member->link);
    tm_member_give_back(thread, member);
    tm_mutex_lock(&conn->out.lock);
    tm_out_settle(conn);
    bool attended = conn->out.attended;
    conn->out.attended = true;
    conn->out.shut = true;
    conn->closing = true;
    if (!conn->out.busy)
        tm_outbox_free(&conn->out.box);
    tm_mutex_unlock(&conn->out.lock);
    return attended;
}

void tm_member_part(tcpmsg_conn *conn)
{
    tm_out_end(conn, TCPMSG_ECANCELED);
    tm_in_end(conn, TCPMSG_ECANCELED);
    tm_mutex_lock(&conn->out.lock);
    int fd = conn->fd;
    conn->fd = -1;
    tm_mutex_unlock(&conn->out.lock);
    tm_socket_close(fd);
}

void tm_member_finish(tm_thread *thread, tm_member *member, int why)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    tcpmsg_loop *loop = thread->loop;
    const tcpmsg_callbacks *callbacks = &member->service->callbacks;
    bool known = member->stage != TM_JOINING || member->added;
    tm_conn_tell_plainly(conn, TCPMSG_LOG_WARNING, tcpmsg_strerror(why));
    tm_member_count_end(thread, member, why);
    member->stage = TM_OVER;
    bool attended = retire(thread, member);
    if (known && callbacks->on_close)
        callbacks->on_close(conn, why, member->service->arg);
    tm_member_part(conn);
    tm_service_unref(member->service);
    thread->count--;
    if (loop->count-- >= loop->max_conns) {
        tm_mutex_lock(&loop->threads->lock);
        loop->doors_wait = true;
        tm_thread_nudge(loop->threads);
        tm_mutex_unlock(&loop->threads->lock);
    }
    if (!attended)
        tcpmsg_conn_unref(conn);
}
