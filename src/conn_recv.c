/* SPDX-License-Identifier: MIT */
#include "conn_in.h"
#include "hints.h"

/* With the lock held: the message that is here already, or TCPMSG_EAGAIN. */
static inline ssize_t take(tcpmsg_conn *conn, const tm_receive *receive)
{
    tm_in *in = &conn->in;
    tm_head head;
    if (tm_is_kept(conn))
        return TCPMSG_EINVAL;
    if (tm_waiting_of(conn)->busy)
        return TCPMSG_EAGAIN;
    if (in->error)
        return in->error;
    return tm_in_look(conn, &head) == 1 ? tm_in_deliver(conn, receive, &head) : TCPMSG_EAGAIN;
}

static inline ssize_t receive_message(tcpmsg_conn *conn, const tm_receive *receive)
{
    tm_waiting *waiting = tm_waiting_of(conn);
    if (!conn->waits)
        return TCPMSG_EINVAL; /* a loop's, from the start */
    tm_mutex_lock(&waiting->lock);
    ssize_t n = take(conn, receive);
    if (n == TCPMSG_EAGAIN)
        n = tm_in_receive(conn, *receive);
    if (n >= 0 && !(receive->flags & TCPMSG_PEEK))
        tm_in_count(conn, (size_t)n);
    tm_mutex_unlock(&waiting->lock);
    return n;
}

static TM_SELDOM ssize_t view_slowly(tcpmsg_conn *conn, const void **message, int flags)
{
    if (!conn || !message || flags & ~(TCPMSG_DONTWAIT | TCPMSG_PEEK))
        return TCPMSG_EINVAL;
    const tm_receive receive = {.view = message, .flags = flags};
    return receive_message(conn, &receive);
}

ssize_t tcpmsg_recv(tcpmsg_conn *conn, void *buffer, size_t size, int flags)
{
    if (!conn || (!buffer && size > 0) || flags & ~(TCPMSG_DONTWAIT | TCPMSG_PEEK))
        return TCPMSG_EINVAL;
    const tm_receive receive = {.memory = buffer, .size = size, .flags = flags};
    return receive_message(conn, &receive);
}

/* The short way of most, with the lock held: it is here already. False when there is more to it. */
static inline bool view_here(tcpmsg_conn *conn, const void **message, size_t *length)
{
    tm_in *in = &conn->in;
    tm_buffer *buffer = &in->buffer;
    const tm_codec *codec = &conn->settings->codec;
    if (tm_is_kept(conn) || tm_waiting_of(conn)->busy || in->error)
        return false;
    size_t have = tm_buffer_len(buffer);
    const uint8_t *bytes = tm_buffer_head(buffer);
    if (!tm_frame_decode_fixed(codec, bytes, have, length) || have - codec->width < *length)
        return false;
    *message = bytes + codec->width;
    in->message_limit = 0;
    tm_buffer_consume(buffer, codec->width + *length);
    tm_in_count(conn, *length);
    return true;
}

ssize_t tcpmsg_recv_view(tcpmsg_conn *conn, const void **message, int flags)
{
    bool simple = conn && message && !(flags & ~TCPMSG_DONTWAIT) && conn->waits;
    if (simple && tm_mutex_trylock(&tm_waiting_of(conn)->lock)) {
        size_t length;
        bool here = view_here(conn, message, &length);
        tm_mutex_unlock(&tm_waiting_of(conn)->lock);
        if (here)
            return (ssize_t)length;
    }
    return view_slowly(conn, message, flags);
}

ssize_t tcpmsg_next_length(const tcpmsg_conn *conn)
{
    if (!conn || !conn->waits)
        return TCPMSG_EINVAL;
    tm_waiting *waiting = tm_waiting_of(conn);
    tm_head head;
    tm_mutex_lock(&waiting->lock);
    ssize_t n = tm_is_kept(conn) ? TCPMSG_EINVAL : conn->in.error;
    if (n == 0 && waiting->busy)
        n = TCPMSG_EAGAIN;
    if (n == 0) {
        int whole = tm_in_look(conn, &head);
        n = whole == 1 ? (ssize_t)head.length : whole == 0 ? TCPMSG_EAGAIN : whole;
    }
    tm_mutex_unlock(&waiting->lock);
    return n;
}
