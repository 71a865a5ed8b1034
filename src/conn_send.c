/* SPDX-License-Identifier: MIT */
#include "conn.h"

#include <stdint.h>

#include "error.h"
#include "frame.h"

static int64_t send_deadline(const tcpmsg_conn *conn, int flags)
{
    return flags & TCPMSG_DONTWAIT ? TM_FOREVER : tm_deadline(conn->send_timeout_ms);
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
    return tm_out_send(conn, &message, send_deadline(conn, flags), flags);
}

int tcpmsg_send(tcpmsg_conn *conn, const void *message, size_t length, int flags)
{
    if (conn && flags == TCPMSG_MORE && (message || length == 0) &&
        tm_out_hold(conn, message, length))
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
