/* SPDX-License-Identifier: MIT */
#include "conn_in.h"

/* With the lock held: the message that is here already, or TCPMSG_EAGAIN. */
static inline ssize_t take(tcpmsg_conn *conn, const tm_receive *receive)
{
    tm_in *in = &conn->in;
    tm_head head;
    if (tm_is_kept(conn))
        return TCPMSG_EINVAL;
    if (conn->waiting->busy)
        return TCPMSG_EAGAIN;
    tm_in_end_view(conn);
    if (in->error)
        return in->error;
    return tm_in_look(conn, 0, &head) == 1 ? tm_in_deliver(conn, receive, &head) : TCPMSG_EAGAIN;
}

static inline ssize_t receive_message(tcpmsg_conn *conn, const tm_receive *receive)
{
    tm_waiting *waiting = conn->waiting;
    if (!waiting)
        return TCPMSG_EINVAL; /* a loop's, from the start */
    tm_mutex_lock(&waiting->lock);
    ssize_t n = take(conn, receive);
    if (n == TCPMSG_EAGAIN)
        n = tm_in_receive(conn, *receive);
    if (n >= 0 && !(receive->flags & TCPMSG_PEEK))
        tm_in_count(&conn->in, (size_t)n);
    tm_mutex_unlock(&waiting->lock);
    return n;
}

ssize_t tcpmsg_recv(tcpmsg_conn *conn, void *buffer, size_t size, int flags)
{
    if (!conn || (!buffer && size > 0) || flags & ~(TCPMSG_DONTWAIT | TCPMSG_PEEK))
        return TCPMSG_EINVAL;
    const tm_receive receive = {.memory = buffer, .size = size, .flags = flags};
    return receive_message(conn, &receive);
}

ssize_t tcpmsg_recv_view(tcpmsg_conn *conn, const void **message, int flags)
{
    if (!conn || !message || flags & ~(TCPMSG_DONTWAIT | TCPMSG_PEEK))
        return TCPMSG_EINVAL;
    const tm_receive receive = {.view = message, .flags = flags};
    return receive_message(conn, &receive);
}

ssize_t tcpmsg_next_length(const tcpmsg_conn *conn)
{
    if (!conn || !conn->waiting)
        return TCPMSG_EINVAL;
    tm_waiting *waiting = conn->waiting;
    tm_head head;
    tm_mutex_lock(&waiting->lock);
    ssize_t n = tm_is_kept(conn) ? TCPMSG_EINVAL : conn->in.error;
    if (n == 0 && waiting->busy)
        n = TCPMSG_EAGAIN;
    if (n == 0) {
        int whole = tm_in_look(conn, waiting->viewed, &head);
        n = whole == 1 ? (ssize_t)head.length : whole == 0 ? TCPMSG_EAGAIN : whole;
    }
    tm_mutex_unlock(&waiting->lock);
    return n;
}
