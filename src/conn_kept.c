/* SPDX-License-Identifier: MIT */
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

/* In the keeper's own thread, where the turn is always free: what the socket takes at once. */
static int send_directly(tcpmsg_conn *conn, tm_message *message)
{
    bool may =
        message->length >= DIRECT_LEAST && !conn->out.unattended && conn->keeper->is_here(conn);
    if (!may)
        return TCPMSG_EAGAIN;
    return tm_out_put(conn, (tm_put){.message = message, .flags = TCPMSG_DONTWAIT});
}

int tm_kept_send(tcpmsg_conn *conn, tm_message *message, int flags)
{
    tm_out *out = &conn->out;
    if (out->box.len > conn->keeper->high_water) {
        out->refused = true;
        return TCPMSG_EAGAIN;
    }
    int r = send_directly(conn, message);
    if (r == TCPMSG_EAGAIN)
        r = tm_outbox_add(&out->box, message);
    bool hold = flags & TCPMSG_MORE && out->box.len <= TM_HOLD_MOST;
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
