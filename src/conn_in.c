/* SPDX-License-Identifier: MIT */
#include "conn_in.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "frame.h"

#define READ_MOST ((size_t)256 << 10) /* what one read asks for when they keep coming back full */

/* So much missing of a message is worth a read straight into the caller's memory. */
#define DIRECT_LEAST ((size_t)32 << 10)

/* ... which takes along at most so much of what follows it. */
#define DIRECT_BEHIND ((size_t)4 << 10)

ssize_t tm_in_deliver_direct(tm_in *in, const tm_receive *receive, const tm_head *head)
{
    size_t beginning = head->length - receive->direct;
    memcpy(receive->memory, tm_buffer_head(&in->buffer) + head->prefix, beginning);
    tm_buffer_consume(&in->buffer, head->prefix + beginning);
    in->message_limit = 0;
    return (ssize_t)head->length;
}

/* Reads into the buffer, which grows with what has arrived and shrinks back after a giant. */
static ssize_t read_buffered(tcpmsg_conn *conn, size_t missing, bool *drained)
{
    tm_in *in = &conn->in;
    size_t len = tm_buffer_len(&in->buffer), read_size = conn->waiting->read_size;
    size_t wanted = missing < len ? missing : len;
    if (wanted < read_size)
        wanted = read_size;
    if (len == 0 && in->buffer.capacity > 2 * READ_MOST)
        tm_buffer_free(&in->buffer);
    if (tm_buffer_reserve(&in->buffer, wanted) < 0 && tm_buffer_room(&in->buffer) == 0)
        return -ENOMEM;
    size_t room = tm_buffer_room(&in->buffer);
    struct iovec part = {tm_buffer_tail(&in->buffer), room};
    ssize_t n = tm_socket_read(conn->fd, &part, 1);
    if (n > 0)
        in->buffer.end += (size_t)n;
    *drained = n > 0 && (size_t)n < room;
    if (n > 0 && !*drained && read_size < READ_MOST)
        conn->waiting->read_size = 2 * read_size;
    return n;
}

/*
 * Reads straight into the caller's memory, and a little of what follows into the buffer. A call
 * that may have to leave early has room in the buffer first, for all that it may have to keep.
 */
static ssize_t read_direct(tcpmsg_conn *conn, tm_receive *receive, const tm_head *head,
                           bool *drained)
{
    tm_in *in = &conn->in;
    size_t arrived = head->arrived + receive->direct;
    size_t wanted = head->length - arrived;
    if (receive->deadline != TM_FOREVER) {
        size_t step = arrived > READ_MOST ? arrived : READ_MOST;
        wanted = wanted < step ? wanted : step;
        if (tm_buffer_reserve(&in->buffer, receive->direct + wanted) < 0)
            return -ENOMEM;
    }
    struct iovec parts[2] = {{receive->memory + arrived, wanted}};
    size_t behind = 0;
    if (arrived + wanted == head->length && tm_buffer_reserve(&in->buffer, DIRECT_BEHIND) == 0) {
        behind = DIRECT_BEHIND;
        parts[1] = (struct iovec){tm_buffer_tail(&in->buffer), behind};
    }
    ssize_t n = tm_socket_read(conn->fd, parts, behind > 0 ? 2 : 1);
    if (n <= 0)
        return n;
    *drained = (size_t)n < wanted + behind;
    size_t direct = (size_t)n < wanted ? (size_t)n : wanted;
    receive->direct += direct;
    in->buffer.end += (size_t)n - direct;
    return n;
}

ssize_t tm_in_read(tcpmsg_conn *conn, tm_receive *receive, const tm_head *head, bool *drained)
{
    size_t missing = head->prefix > 0 ? head->length - head->arrived - receive->direct : 0;
    bool direct = head->prefix > 0 && !receive->view && !(receive->flags & TCPMSG_PEEK) &&
                  receive->size >= head->length;
    if (receive->direct > 0 || (direct && missing >= DIRECT_LEAST))
        return read_direct(conn, receive, head, drained);
    return read_buffered(conn, missing, drained);
}

void tm_in_keep_direct(tm_in *in, tm_receive *receive, const tm_head *head)
{
    if (receive->direct > 0)
        tm_buffer_append(&in->buffer, receive->memory + head->arrived, receive->direct);
    receive->direct = 0;
}
