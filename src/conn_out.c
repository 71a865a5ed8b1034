/* SPDX-License-Identifier: MIT */
#include "conn_out.h"

#include <stdint.h>

#include "error.h"

int tm_out_end_locked(tcpmsg_conn *conn, int error)
{
    int none = 0;
    atomic_compare_exchange_strong(&conn->out.error, &none, error);
    conn->out.hold_most = 0;
    tm_out_wake_waiting(conn);
    return conn->out.error;
}

static void add_up(tcpmsg_conn *conn, uint32_t messages, uint64_t bytes)
{
    tm_keeper *keeper = conn->keeper;
    conn->out.messages += messages;
    conn->out.bytes += bytes;
    if (keeper) {
        tm_counter_share(&keeper->messages, messages);
        tm_counter_share(&keeper->bytes, bytes);
    }
}

void tm_out_settle(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    if (out->new_messages > 0)
        add_up(conn, out->new_messages, out->new_bytes);
    out->new_messages = out->new_bytes = 0;
}

void tm_out_count_any(tcpmsg_conn *conn, size_t length)
{
    if (conn->out.new_bytes > TM_FEW_BYTES)
        tm_out_settle(conn);
    if (length > TM_FEW_BYTES)
        add_up(conn, 1, length);
    else
        tm_out_count(&conn->out, length);
    if (conn->out.box.len == 0 && conn->keeper)
        tm_out_settle(conn); /* it has left already */
}

void tm_out_end(tcpmsg_conn *conn, int error)
{
    tm_mutex_lock(&conn->out.lock);
    tm_out_end_locked(conn, error);
    tm_mutex_unlock(&conn->out.lock);
}

int tm_out_error_met(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    tm_mutex_lock(&out->lock);
    while (out->in_call) { /* it never blocks */
        tm_mutex_unlock(&out->lock);
        tm_socket_wait(NULL, 0, tm_now() + TM_MS);
        tm_mutex_lock(&out->lock);
    }
    int error = out->error;
    tm_mutex_unlock(&out->lock);
    return error;
}

static bool wait_turn(tcpmsg_conn *conn, int64_t deadline)
{
    tm_out *out = &conn->out;
    tm_waiting_of(conn)->senders++;
    bool in_time = tm_condition_wait(&tm_waiting_of(conn)->out_turn, &out->lock, deadline);
    if (--tm_waiting_of(conn)->senders == 0)
        out->offered = false;
    return in_time;
}

/*
 * With the lock held: gets the turn, or makes it needless. 1: the caller has it to take. Else the
 * call's answer: it is done, its message waits in the queue for the thread that writes (and is
 * NULL in *put from then on), or it may not wait any longer.
 */
static int get_turn(tcpmsg_conn *conn, tm_put *put)
{
    tm_out *out = &conn->out;
    bool waited = false, in_time = true;
    for (;;) {
        bool queued = waited && !put->message;
        if (queued && tm_out_is_done(out, put))
            return 0;
        if (out->error && queued && out->in_call) {
            wait_turn(conn, TM_FOREVER); /* the call may be writing it all the same */
            continue;
        }
        if (out->error)
            return out->error;
        if (put->message && out->shut)
            return TCPMSG_ECLOSED;
        if (!put->message && tm_out_is_done(out, put))
            return 0;
        if (!out->busy && (!out->offered || waited))
            return 1;
        if (put->message && tm_out_fits(out, put->message)) {
            if (tm_outbox_add(&out->box, put->message) < 0)
                return TCPMSG_ENOMEM;
            put->message = NULL;
            put->target = tm_outbox_end(&out->box);
            if (out->busy && out->staying)
                return 0;
        }
        if (put->flags & TCPMSG_DONTWAIT)
            return TCPMSG_EAGAIN;
        if (!in_time)
            return TCPMSG_ETIMEDOUT;
        in_time = wait_turn(conn, put->deadline);
        waited = true;
    }
}

/*
 * Without the turn, which is free: whoever was offered it, too, is on their way. The last to leave
 * takes along what others have queued, for which its own call may have to wait.
 */
static void leave(tcpmsg_conn *conn, const tm_put *put, int answer)
{
    tm_out *out = &conn->out;
    tm_put rest = {
        .target = tm_outbox_end(&out->box), .deadline = put->deadline, .flags = put->flags};
    if (answer < 0)
        rest.flags = TCPMSG_DONTWAIT;
    if (tm_out_others_wait(conn))
        tm_out_wake_waiting(conn);
    else if (!out->error && out->box.len > 0)
        tm_out_lead(conn, rest);
}

int tm_out_put(tcpmsg_conn *conn, tm_put put)
{
    tm_out *out = &conn->out;
    bool is_send = put.message;
    int r = get_turn(conn, &put);
    bool queued = is_send && !put.message;
    if (r == 1 && put.message) {
        put.room = tm_outbox_room(&out->box, tm_message_size(put.message));
        r = put.room ? 1 : TCPMSG_ENOMEM;
    }
    if (r == 1)
        r = tm_out_lead(conn, put);
    else if (!out->busy)
        leave(conn, &put, r);
    if (!out->busy && out->unattended)
        tm_in_nudge(conn); /* the receiver that sleeps looks after it */
    if (!queued || r == 0)
        return r;
    /* A queued message is accepted, whatever keeps its call from waiting until it is out. */
    return tm_out_is_done(out, &put) ? 0 : out->error;
}

int tm_out_put_accepted(tcpmsg_conn *conn, int64_t deadline, int flags)
{
    tm_put put = {.target = tm_outbox_end(&conn->out.box), .deadline = deadline, .flags = flags};
    return tm_out_put(conn, put);
}

enum tm_push tm_out_push_locked(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    enum tm_push left = TM_PUSH_DONE;
    bool fin_is_due = out->shut && !out->fin;
    if (!out->busy && !out->error && (out->box.len > 0 || fin_is_due)) {
        int r = tm_out_lead(conn,
                            (tm_put){.target = tm_outbox_end(&out->box), .flags = TCPMSG_DONTWAIT});
        if (!out->error && out->box.len > 0)
            left = r == TCPMSG_ENOMEM ? TM_PUSH_REST : TM_PUSH_WAIT;
        out->unattended = left != TM_PUSH_DONE;
    }
    return left;
}

bool tm_out_is_empty(tcpmsg_conn *conn)
{
    tm_mutex_lock(&conn->out.lock);
    bool empty = conn->out.box.len == 0;
    tm_mutex_unlock(&conn->out.lock);
    return empty;
}

enum tm_push tm_out_push(tcpmsg_conn *conn)
{
    tm_mutex_lock(&conn->out.lock);
    enum tm_push left = tm_out_push_locked(conn);
    tm_mutex_unlock(&conn->out.lock);
    return left;
}

int tm_out_flush(tcpmsg_conn *conn, int64_t deadline, int flags)
{
    tm_mutex_lock(&conn->out.lock);
    bool kept = tm_is_kept(conn);
    int r = kept ? 0 : tm_out_put_accepted(conn, deadline, flags);
    tm_mutex_unlock(&conn->out.lock);
    return kept ? tm_kept_flush(conn, false) : r;
}

int tm_out_shutdown(tcpmsg_conn *conn, int64_t deadline)
{
    tm_out *out = &conn->out;
    bool in_time = true;
    int r = 0;
    tm_mutex_lock(&out->lock);
    if (tm_is_kept(conn)) {
        tm_mutex_unlock(&out->lock);
        return tm_kept_flush(conn, true);
    }
    out->shut = true;
    out->hold_most = 0;
    tm_out_wake_waiting(conn);
    while (r == 0 && !out->fin) {
        /* A message that another thread leads is accepted only once that thread leaves it. */
        r = tm_out_put_accepted(conn, deadline, 0);
        if (r < 0 || out->fin || out->error)
            break; /* it may have waited, and a close have taken the turn for good */
        if (!out->busy)
            tm_out_fin_if_due(conn);
        else if (in_time)
            in_time = wait_turn(conn, deadline);
        else
            r = TCPMSG_ETIMEDOUT;
    }
    if (r == 0)
        r = out->error;
    tm_mutex_unlock(&out->lock);
    return r;
}

void tm_out_take_turn(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    tm_mutex_lock(&out->lock);
    if (out->busy)
        tm_socket_end_both(conn->fd); /* wakes a thread that waits to write */
    while (out->busy)
        wait_turn(conn, TM_FOREVER);
    out->busy = true;
    tm_mutex_unlock(&out->lock);
}
