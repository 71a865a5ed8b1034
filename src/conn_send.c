/* SPDX-License-Identifier: MIT */
#include "conn_out.h"

#include <stdint.h>
#include <string.h>

#include "error.h"
#include "frame.h"
#include "hints.h"
#include "probe.h"

static int64_t send_deadline(const tcpmsg_conn *conn, int flags)
{
    return flags & TCPMSG_DONTWAIT ? TM_FOREVER : tm_deadline(conn->send_timeout_ms);
}

/* With the lock held: the message joins the queue, for which it pushes out what is there. */
static int join_queue(tcpmsg_conn *conn, tm_message *message, int64_t deadline, int flags)
{
    tm_out *out = &conn->out;
    while (!tm_out_fits(out, message)) {
        int r = tm_out_put_accepted(conn, deadline, flags);
        if (r < 0 && (out->error || !tm_out_fits(out, message)))
            return r;
    }
    return out->shut ? TCPMSG_ECLOSED : tm_outbox_add(&out->box, message);
}

static int send_locked(tcpmsg_conn *conn, tm_message *message, int64_t deadline, int flags)
{
    tm_out *out = &conn->out;
    if (out->error)
        return out->error;
    if (out->shut)
        return TCPMSG_ECLOSED;
    if (conn->keeper)
        return tm_kept_send(conn, message, flags);
    if (flags & TCPMSG_MORE && tm_message_size(message) <= TM_HOLD_MOST)
        return join_queue(conn, message, deadline, flags);
    return tm_out_put(conn, (tm_put){.message = message, .deadline = deadline, .flags = flags});
}

static int send_message(tcpmsg_conn *conn, tm_message *message, int64_t deadline, int flags)
{
    tm_out *out = &conn->out;
    tm_mutex_lock(&out->lock);
    int r = send_locked(conn, message, deadline, flags);
    if (r == 0) {
        TM_PROBE(sent, conn, message->length);
        tm_out_count_any(conn, message->length);
    }
    tm_mutex_unlock(&out->lock);
    return r;
}

static inline bool may_hold(const tcpmsg_conn *conn, size_t room, int flags)
{
    const tm_out *out = &conn->out;
    if (!tm_outbox_has_room(&out->box, room))
        return false;
    if (flags == TCPMSG_MORE && out->box.len + room <= out->hold_most)
        return true;
    return conn->keeper && tm_kept_may_hold(conn, room);
}

/*
 * The short way of most small messages, with the lock held: they are copied behind others that
 * wait. False when there is more to it. The copy comes last, when little else is in registers.
 */
static inline bool hold(tcpmsg_conn *conn, const void *bytes, size_t length, int flags)
{
    tm_out *out = &conn->out;
    if (!may_hold(conn, TCPMSG_PREFIX_MAX + length, flags))
        return false;
    uint8_t *place = out->box.last->bytes + out->box.last->end;
    int prefix = tm_frame_encode(&conn->settings->codec, length, place);
    if (prefix < 0)
        return false;
    tm_outbox_came(&out->box, (size_t)prefix + length);
    tm_out_count(out, length);
    TM_PROBE(sent, conn, length);
    memcpy(place + prefix, bytes, length);
    return true;
}

static int sum_parts(const struct iovec *parts, int count, size_t *length)
{
    if (count < 0 || (count > 0 && !parts))
        return TCPMSG_EINVAL;
    for (int i = 0; i < count; i++) {
        if (!parts[i].iov_base && parts[i].iov_len > 0)
            return TCPMSG_EINVAL;
        if (parts[i].iov_len > SIZE_MAX - *length)
            return TCPMSG_EMSGSIZE;
        *length += parts[i].iov_len;
    }
    return 0;
}

int tcpmsg_sendv(tcpmsg_conn *conn, const struct iovec *parts, int count, int flags)
{
    if (!conn || flags & ~(TCPMSG_DONTWAIT | TCPMSG_MORE))
        return TCPMSG_EINVAL;
    tm_message message = {.parts = parts, .count = count};
    int r = sum_parts(parts, count, &message.length);
    if (r < 0)
        return r;
    if (message.length > conn->settings->max_message)
        return TCPMSG_EMSGSIZE;
    r = tm_frame_encode(&conn->settings->codec, message.length, message.prefix);
    if (r < 0)
        return r;
    message.prefix_len = (size_t)r;
    return send_message(conn, &message, send_deadline(conn, flags), flags);
}

static TM_SELDOM int send_row(tcpmsg_conn *conn, const void *message, size_t length, int flags)
{
    struct iovec part = {(void *)message, length};
    return tcpmsg_sendv(conn, &part, 1, flags);
}

int tcpmsg_send(tcpmsg_conn *conn, const void *message, size_t length, int flags)
{
    bool small = message && conn && length <= TM_HOLD_MOST;
    bool may_wait = small && (flags == TCPMSG_MORE || (flags == 0 && tm_is_kept(conn)));
    if (may_wait && tm_mutex_trylock(&conn->out.lock)) {
        bool waits = hold(conn, message, length, flags);
        tm_mutex_unlock(&conn->out.lock);
        if (waits)
            return 0;
    }
    return send_row(conn, message, length, flags);
}

int tcpmsg_flush(tcpmsg_conn *conn, int flags)
{
    if (!conn || flags & ~TCPMSG_DONTWAIT)
        return TCPMSG_EINVAL;
    return tm_out_flush(conn, send_deadline(conn, flags), flags);
}

int tcpmsg_shutdown(tcpmsg_conn *conn)
{
    return conn ? tm_out_shutdown(conn, tm_deadline(conn->send_timeout_ms)) : TCPMSG_EINVAL;
}
