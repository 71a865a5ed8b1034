/* SPDX-License-Identifier: MIT */
#include "conn_out.h"

#include <stdint.h>
#include <string.h>

#include "error.h"
#include "frame.h"

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
        out->messages++;
        out->bytes += message->length;
    }
    tm_mutex_unlock(&out->lock);
    return r;
}

/* With the lock held: whether a message of that size may just be put into the box. */
static bool may_just_wait(const tcpmsg_conn *conn, size_t size, int flags)
{
    const tm_out *out = &conn->out;
    if (out->error || out->shut)
        return false;
    if (conn->keeper)
        return tm_kept_may_just_wait(conn, size);
    return flags == TCPMSG_MORE && tm_outbox_fits(&out->box, size, out->leaving);
}

/*
 * With the lock held: the prefix is written in place, with room for the longest. The short way of
 * most small messages; for what it doesn't take, send_message does all there is to do.
 */
static bool just_wait(tcpmsg_conn *conn, const void *bytes, size_t length, int flags)
{
    tm_out *out = &conn->out;
    uint8_t prefix[TCPMSG_PREFIX_MAX];
    size_t room = sizeof prefix + length;
    if (!may_just_wait(conn, room, flags))
        return false;
    int prefix_len = tm_frame_encode(&conn->settings->framing, length, prefix);
    uint8_t *place = prefix_len < 0 ? NULL : tm_outbox_place(&out->box, room);
    if (!place)
        return false;
    memcpy(place, prefix, sizeof prefix);
    if (length > 0)
        memcpy(place + prefix_len, bytes, length);
    tm_outbox_came(&out->box, (size_t)prefix_len + length);
    out->messages++;
    out->bytes += length;
    return true;
}

static bool is_soon_done(tcpmsg_conn *conn, const void *bytes, size_t length, int flags)
{
    if (length > TM_HOLD_MOST || length > conn->settings->max_message)
        return false;
    tm_mutex_lock(&conn->out.lock);
    bool waits = just_wait(conn, bytes, length, flags);
    tm_mutex_unlock(&conn->out.lock);
    return waits;
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
    r = tm_frame_encode(&conn->settings->framing, message.length, message.prefix);
    if (r < 0)
        return r;
    message.prefix_len = (size_t)r;
    return send_message(conn, &message, send_deadline(conn, flags), flags);
}

int tcpmsg_send(tcpmsg_conn *conn, const void *message, size_t length, int flags)
{
    bool good = conn && (message || length == 0) && !(flags & ~(TCPMSG_DONTWAIT | TCPMSG_MORE));
    if (good && (flags & TCPMSG_MORE || tm_is_kept(conn)) &&
        is_soon_done(conn, message, length, flags))
        return 0;
    struct iovec part = {(void *)message, length};
    return tcpmsg_sendv(conn, &part, 1, flags);
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
