/* SPDX-License-Identifier: MIT */
#include "conn_in.h"
#include "conn_out.h"

#include "error.h"

/* From this size on a message goes straight from its sender's memory, if the socket takes it. */
#define DIRECT_LEAST ((size_t)64 << 10)

void tm_kept_attend(tcpmsg_conn *conn)
{
    if (conn->out.attended)
        return;
    conn->out.attended = true;
    conn->keeper->attend(conn);
}

void tm_kept_reclaim(tcpmsg_conn *conn)
{
    tm_keeper *keeper = conn->keeper;
    tm_outbox_return(&conn->out.box, &keeper->pool);
}

/* In the keeper's own thread, where the turn is always free: what the socket takes at once. */
static int send_directly(tcpmsg_conn *conn, tm_message *message)
{
    tm_keeper *keeper = conn->keeper;
    if (message->length < DIRECT_LEAST || conn->out.unattended)
        return TCPMSG_EAGAIN;
    int more = keeper->delivers_more == conn ? TCPMSG_MORE : 0; /* full segments, for now */
    return tm_out_put(conn, (tm_put){.message = message, .flags = TCPMSG_DONTWAIT | more});
}

int tm_kept_send(tcpmsg_conn *conn, tm_message *message, int flags)
{
    tm_out *out = &conn->out;
    if (out->box.len > conn->keeper->high_water) {
        out->refused = true;
        out->over = true;
        return TCPMSG_EAGAIN;
    }
    tm_outbox_borrow(&out->box, &conn->keeper->pool, tm_message_size(message));
    bool here = conn->keeper->is_here(conn);
    int r = here ? send_directly(conn, message) : TCPMSG_EAGAIN;
    out->went = out->went || r == 0;
    if (r == TCPMSG_EAGAIN)
        r = tm_outbox_add(&out->box, message);
    if (out->box.len > conn->keeper->high_water)
        out->over = true;
    /* In its own thread all that a pass brings leaves together anyway. */
    bool hold = !here && flags & TCPMSG_MORE && out->box.len <= TM_HOLD_MOST && !out->over;
    if (out->error || (r == 0 && !hold))
        tm_kept_attend(conn);
    return r;
}

int tm_kept_flush(tcpmsg_conn *conn, bool and_shut)
{
    tm_out *out = &conn->out;
    tm_mutex_lock(&out->lock);
    int r = out->error;
    if (r == 0) {
        out->shut = out->shut || and_shut;
        tm_kept_attend(conn);
    }
    tm_mutex_unlock(&out->lock);
    return r;
}

void tm_kept_close(tcpmsg_conn *conn)
{
    tm_mutex_lock(&conn->out.lock);
    if (!conn->closing && !conn->out.error)
        tm_kept_attend(conn);
    conn->closing = true;
    conn->out.shut = true;
    tm_mutex_unlock(&conn->out.lock);
}

/* With both locks: whether it can be taken over now. */
static int may_keep(const tcpmsg_conn *conn)
{
    const tm_waiting *waiting = tm_waiting_of(conn);
    if (tm_is_kept(conn))
        return TCPMSG_EINVAL;
    if (conn->closing || conn->out.error == TCPMSG_ECANCELED || conn->in.error == TCPMSG_ECANCELED)
        return TCPMSG_ECANCELED;
    bool in_use = conn->out.busy || waiting->senders > 0 || waiting->busy || waiting->waiting > 0;
    return in_use ? TCPMSG_EINVAL : 0;
}

int tm_conn_keep(tcpmsg_conn *conn, tm_keeper *keeper)
{
    if (!conn->waits)
        return TCPMSG_EINVAL; /* it was made for another keeper */
    tm_mutex_lock(&conn->out.lock);
    tm_mutex_lock(&tm_waiting_of(conn)->lock);
    int r = may_keep(conn);
    if (r == 0) {
        if (tm_buffer_len(&conn->in.buffer) == 0)
            tm_buffer_free(&conn->in.buffer);
        tm_out_settle(conn); /* what went before is not its affair */
        conn->out.hold_most = 0;
        conn->out.attended = true; /* it will be, once its keeper knows what to do */
        atomic_store_explicit(&conn->keeper, keeper, memory_order_release);
    }
    tm_mutex_unlock(&tm_waiting_of(conn)->lock);
    tm_mutex_unlock(&conn->out.lock);
    return r;
}
