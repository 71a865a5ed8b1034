/* SPDX-License-Identifier: MIT */
#include "conn_client.h"
#include "conn_in.h"

#include <errno.h>
#include <stdint.h>

#include "error.h"
#include "frame.h"

/* How long a receiver sleeps at a time when nothing can wake it, or the system lacks memory. */
#define NAP (20 * TM_MS)

void tm_in_nudge(tcpmsg_conn *conn)
{
    if (conn->waits && tm_waiting_of(conn)->asleep)
        tm_wake_signal(&tm_waiting_of(conn)->wake);
}

void tm_in_end(tcpmsg_conn *conn, int error)
{
    tm_waiting *waiting = tm_waiting_of(conn);
    int none = 0;
    if (conn->waits)
        tm_mutex_lock(&waiting->lock);
    atomic_compare_exchange_strong(&conn->in.error, &none, error);
    if (!conn->waits)
        return;
    if (waiting->waiting > 0)
        tm_condition_broadcast(&waiting->in_turn);
    tm_mutex_unlock(&waiting->lock);
    tm_in_nudge(conn);
}

/* With the turn: ends the receiving, and tells how far the message had come. */
static int end_here(tcpmsg_conn *conn, const tm_receive *receive, int error)
{
    tm_conn_tell_ending_here(conn, error, receive->direct);
    tm_in_end(conn, error);
    tm_buffer_free(&conn->in.buffer);
    return conn->in.error;
}

/* The read answered 0 or an error: the receiving is over, for a reason to be told truly. */
static int end_of_stream(tcpmsg_conn *conn, const tm_receive *receive, ssize_t answer)
{
    if (answer < 0) {
        int error = tm_conn_os_error(conn, answer);
        int told = end_here(conn, receive, error);
        tm_out_end(conn, error);
        return told;
    }
    /* The system gives a reset to one call alone; to the next it looks like a clean end. */
    int met = tm_out_error_met(conn);
    if (met != 0 && met != TCPMSG_ECANCELED)
        return end_here(conn, receive, met);
    if (conn->awaits_client)
        return end_here(conn, receive, tm_client_end(conn));
    bool inside = tm_buffer_len(&conn->in.buffer) > 0;
    return end_here(conn, receive, inside ? TCPMSG_ETRUNCATED : TCPMSG_EOF);
}

/*
 * Sleeps until something may have come, or a deadline has passed. Meanwhile our own output goes
 * on: a peer that waits for it would never send what we wait for.
 */
static void sleep_until(tcpmsg_conn *conn, int64_t deadline, bool no_memory)
{
    tm_waiting *waiting = tm_waiting_of(conn);
    bool can_wake = waiting->wake.read_fd >= 0 || tm_wake_open(&waiting->wake) == 0;
    waiting->asleep = can_wake;
    enum tm_push left = tm_out_push(conn);
    struct pollfd fds[2] = {
        {.fd = no_memory ? -1 : conn->fd,
         .events = left == TM_PUSH_WAIT ? POLLIN | POLLOUT : POLLIN},
        {.fd = waiting->wake.read_fd, .events = POLLIN},
    };
    if (!can_wake || no_memory || left == TM_PUSH_REST)
        deadline = tm_sooner(deadline, tm_now() + NAP);
    if (!conn->in.error)
        tm_socket_wait(fds, can_wake ? 2 : 1, deadline);
    waiting->asleep = false;
    if (fds[1].revents)
        tm_wake_clear(&waiting->wake);
}

/*
 * Whether a read may sleep itself, for a moment, which saves the call that polls. Nobody wakes it
 * but the socket: a rest that another thread's send leaves meanwhile, or a close, waits for it.
 */
static bool may_nap(tcpmsg_conn *conn, int64_t deadline)
{
    tm_waiting *waiting = tm_waiting_of(conn);
    if (waiting->naps == TM_NAPS_NEVER || conn->settings->linger_ms * TM_MS < TM_SOCKET_NAP)
        return false; /* a close would have to wait for it */
    if (deadline != TM_FOREVER && deadline - tm_now() < TM_SOCKET_NAP)
        return false;
    if (waiting->naps == TM_NAPS_UNTRIED)
        waiting->naps =
            tm_socket_may_nap(conn->fd, !waiting->attached) ? TM_NAPS_WORK : TM_NAPS_NEVER;
    return waiting->naps == TM_NAPS_WORK && !conn->in.error;
}

/* A receive that may wait, and has nothing yet. */
static void begin_to_read(tcpmsg_conn *conn, tm_receive *receive, bool *drained)
{
    tm_waiting *waiting = tm_waiting_of(conn);
    bool slept = waiting->slept;
    waiting->slept = false;
    if (conn->settings->spin_us > 0)
        return;
    /* What is queued leaves only when there is something to wait for. */
    receive->naps = may_nap(conn, receive->deadline) && tm_out_is_empty(conn);
    receive->napped = receive->naps;
    /* Who had to sleep for the last message finds the socket empty: a read would be wasted. */
    *drained = slept && !receive->naps && !tm_passed(receive->deadline);
}

/* The peer keeps us waiting for the rest of a message: from the first time on its clock runs. */
static bool message_is_late(tcpmsg_conn *conn)
{
    tm_in *in = &conn->in;
    int ms = conn->settings->message_timeout_ms;
    if (in->message_limit == 0 && ms != TCPMSG_NO_LIMIT && tm_buffer_len(&in->buffer) > 0)
        in->message_limit = tm_deadline(ms);
    return in->message_limit != 0 && tm_passed(in->message_limit);
}

static bool may_spin(tcpmsg_conn *conn, tm_receive *receive)
{
    if (conn->settings->spin_us == 0)
        return false;
    if (receive->spin_until == 0 || conn->out.unattended)
        tm_out_push(conn);
    if (receive->spin_until == 0) {
        receive->spin_until = tm_now() + conn->settings->spin_us * INT64_C(1000);
        return true;
    }
    return tm_now() < receive->spin_until;
}

/* Nothing to read: waits. 0 to try again, or why not. */
static int wait_for_more(tcpmsg_conn *conn, tm_receive *receive)
{
    if (message_is_late(conn))
        return end_here(conn, receive, TCPMSG_ESTALLED);
    if (receive->flags & TCPMSG_DONTWAIT || tm_passed(receive->deadline)) {
        tm_out_push(conn);
        return receive->flags & TCPMSG_DONTWAIT ? TCPMSG_EAGAIN : TCPMSG_ETIMEDOUT;
    }
    if (may_spin(conn, receive))
        return 0;
    int64_t limit = conn->in.message_limit;
    int64_t deadline = limit ? tm_sooner(limit, receive->deadline) : receive->deadline;
    tm_waiting_of(conn)->slept = true;
    receive->naps =
        !receive->napped && may_nap(conn, deadline) && tm_out_push(conn) == TM_PUSH_DONE;
    if (receive->naps)
        receive->napped = true;
    else
        sleep_until(conn, deadline, false);
    return 0;
}

/* After a read: 0 to look again, or what the call answers. */
static int after_read(tcpmsg_conn *conn, tm_receive *receive, ssize_t n)
{
    if (n > 0) {
        receive->naps = receive->napped = false;
        return 0;
    }
    if (n == -EAGAIN)
        return wait_for_more(conn, receive);
    if (n != -ENOMEM && n != -ENOBUFS)
        return end_of_stream(conn, receive, n);
    if (receive->deadline != TM_FOREVER || receive->direct == 0)
        return TCPMSG_ENOMEM;
    /* What was read straight into the caller's memory has no other place: wait for memory. */
    sleep_until(conn, TM_FOREVER, true);
    return 0;
}

/* With the turn: until it is known whose connection it is. 0, or what the call answers. */
static int meet_client(tcpmsg_conn *conn, tm_receive *receive)
{
    int r = 0;
    while (r == 0 && conn->awaits_client) {
        if (conn->in.error)
            return conn->in.error;
        ssize_t n = tm_client_read(conn);
        int known = n > 0 ? tm_client_look(conn) : 0;
        r = known < 0 ? end_here(conn, receive, known) : after_read(conn, receive, n);
    }
    return r;
}

/* With the turn, without the lock: the path that every receive takes that has to read. */
static ssize_t receive_turn(tcpmsg_conn *conn, tm_receive *receive)
{
    tm_in *in = &conn->in;
    bool drained = false;
    if (conn->awaits_client) {
        int r = meet_client(conn, receive);
        if (r < 0)
            return r;
    }
    if (tm_buffer_len(&in->buffer) == 0 && !(receive->flags & TCPMSG_DONTWAIT))
        begin_to_read(conn, receive, &drained);
    for (;;) {
        tm_head head;
        int whole = tm_in_look(conn, &head);
        if (in->error)
            return in->error;
        if (whole < 0)
            return end_here(conn, receive, whole);
        if (whole)
            return tm_in_deliver(conn, receive, &head);
        if (receive->direct > 0 && head.arrived + receive->direct >= head.length)
            return tm_in_deliver_direct(in, receive, &head);
        ssize_t n = drained ? -EAGAIN : tm_in_read(conn, receive, &head, &drained);
        if (n <= 0)
            drained = false;
        else if (!(receive->flags & TCPMSG_DONTWAIT) && tm_passed(receive->deadline))
            drained = true; /* unless that was all of it, the call ends here */
        int r = after_read(conn, receive, n);
        if (r < 0) {
            if (!in->error)
                tm_in_keep_direct(in, receive, &head);
            return r;
        }
    }
}

/* With the lock held: waits until no other thread receives. */
static int get_turn(tcpmsg_conn *conn, int flags, int64_t deadline)
{
    tm_waiting *waiting = tm_waiting_of(conn);
    if (waiting->busy) {
        /* This thread, too, must not wait for something in its own buffer. */
        waiting->waiting++; /* no loop takes the connection over meanwhile */
        tm_mutex_unlock(&waiting->lock);
        if (tm_out_push(conn) != TM_PUSH_DONE)
            tm_in_nudge(conn);
        tm_mutex_lock(&waiting->lock);
        waiting->waiting--;
    }
    while (waiting->busy) {
        if (conn->in.error)
            return conn->in.error;
        if (flags & TCPMSG_DONTWAIT)
            return TCPMSG_EAGAIN;
        waiting->waiting++;
        bool in_time = tm_condition_wait(&waiting->in_turn, &waiting->lock, deadline);
        waiting->waiting--;
        if (!in_time && waiting->busy)
            return TCPMSG_ETIMEDOUT;
    }
    waiting->busy = true;
    return 0;
}

static void free_turn(tm_waiting *waiting)
{
    waiting->busy = false;
    if (waiting->waiting > 0)
        tm_condition_signal(&waiting->in_turn);
}

void tm_in_take_turn(tcpmsg_conn *conn)
{
    tm_waiting *waiting = tm_waiting_of(conn);
    tm_mutex_lock(&waiting->lock);
    while (waiting->busy) {
        waiting->waiting++;
        tm_condition_wait(&waiting->in_turn, &waiting->lock, TM_FOREVER);
        waiting->waiting--;
    }
    waiting->busy = true;
    tm_mutex_unlock(&waiting->lock);
}

int tm_in_meet(tcpmsg_conn *conn)
{
    tm_waiting *waiting = tm_waiting_of(conn);
    tm_receive receive = {.flags = TCPMSG_DONTWAIT};
    tm_mutex_lock(&waiting->lock);
    int r = tm_is_kept(conn) ? TCPMSG_EAGAIN : get_turn(conn, receive.flags, 0);
    if (r == 0) {
        tm_mutex_unlock(&waiting->lock);
        r = meet_client(conn, &receive);
        tm_mutex_lock(&waiting->lock);
        free_turn(waiting);
    }
    tm_mutex_unlock(&waiting->lock);
    return r;
}

ssize_t tm_in_receive(tcpmsg_conn *conn, tm_receive receive)
{
    tm_waiting *waiting = tm_waiting_of(conn);
    receive.deadline = receive.flags & TCPMSG_DONTWAIT ? 0 : tm_deadline(waiting->recv_timeout_ms);
    int r = get_turn(conn, receive.flags, receive.deadline);
    if (r < 0)
        return r;
    tm_mutex_unlock(&waiting->lock);
    ssize_t n = receive_turn(conn, &receive);
    tm_in_expect(conn, n);
    tm_mutex_lock(&waiting->lock);
    free_turn(waiting);
    return n;
}
