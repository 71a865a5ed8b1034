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

static ssize_t read_parts(const tcpmsg_conn *conn, const tm_receive *receive, struct iovec *parts,
                          int count)
{
    return receive->naps ? tm_socket_nap(conn->fd, parts, count)
                         : tm_socket_read(conn->fd, parts, count);
}

/* Reads into the buffer, which grows with what has arrived and shrinks back after a giant. */
static ssize_t read_buffered(tcpmsg_conn *conn, const tm_receive *receive, size_t missing,
                             bool *drained)
{
    tm_in *in = &conn->in;
    size_t len = tm_buffer_len(&in->buffer), read_size = tm_waiting_of(conn)->read_size;
    size_t wanted = missing < len ? missing : len;
    if (wanted < read_size)
        wanted = read_size;
    if (len == 0 && tm_buffer_capacity(&in->buffer) > 2 * READ_MOST)
        tm_buffer_free(&in->buffer);
    if (tm_buffer_reserve(&in->buffer, wanted) < 0 && tm_buffer_room(&in->buffer) == 0)
        return -ENOMEM;
    size_t room = tm_buffer_room(&in->buffer);
    struct iovec part = {tm_buffer_tail(&in->buffer), room};
    ssize_t n = read_parts(conn, receive, &part, 1);
    if (n > 0)
        tm_buffer_came(&in->buffer, (size_t)n);
    *drained = n > 0 && (size_t)n < room;
    if (n > 0 && !*drained && read_size < READ_MOST)
        tm_waiting_of(conn)->read_size = 2 * read_size;
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
    ssize_t n = read_parts(conn, receive, parts, behind > 0 ? 2 : 1);
    if (n <= 0)
        return n;
    *drained = (size_t)n < wanted + behind;
    size_t direct = (size_t)n < wanted ? (size_t)n : wanted;
    receive->direct += direct;
    tm_buffer_came(&in->buffer, (size_t)n - direct);
    return n;
}

/* Puts bytes into a row that begins with `at` others, behind these; the room is there. */
static void insert(tm_buffer *buffer, size_t at, const uint8_t *bytes, size_t count)
{
    uint8_t *place = tm_buffer_head(buffer) + at;
    memmove(place + count, place, tm_buffer_len(buffer) - at);
    memcpy(place, bytes, count);
    tm_buffer_came(buffer, count);
}

/*
 * With nothing in the buffer: reads as if the next message were as long as the last one, whose
 * payload has its place in the caller's memory. What turns out not to belong there moves.
 */
static ssize_t read_expected(tcpmsg_conn *conn, tm_receive *receive, bool *drained)
{
    tm_buffer *buffer = &conn->in.buffer;
    size_t width = conn->settings->codec.width, length = tm_waiting_of(conn)->expected;
    size_t wanted = length < READ_MOST ? length : READ_MOST;
    size_t behind = wanted == length ? DIRECT_BEHIND : 0;
    struct iovec parts[3] = {
        {tm_buffer_tail(buffer), width},
        {receive->memory, wanted},
        {tm_buffer_tail(buffer) + width, behind},
    };
    ssize_t n = read_parts(conn, receive, parts, behind > 0 ? 3 : 2);
    if (n <= 0)
        return n;
    *drained = (size_t)n < width + wanted + behind;
    size_t prefix = (size_t)n < width ? (size_t)n : width;
    size_t direct = (size_t)n - prefix < wanted ? (size_t)n - prefix : wanted;
    tm_buffer_came(buffer, (size_t)n - direct);
    tm_head head;
    tm_in_look(conn, &head);
    if (head.prefix > 0 && head.length == length)
        receive->direct = direct;
    else
        insert(buffer, prefix, receive->memory, direct);
    return n;
}

/* Whether that is likely to spare a copy; there is room for all that may have to move. */
static bool expects(tcpmsg_conn *conn, const tm_receive *receive)
{
    const tm_codec *codec = &conn->settings->codec;
    size_t length = tm_waiting_of(conn)->expected;
    tm_buffer *buffer = &conn->in.buffer;
    if (length == 0 || length > receive->size || receive->flags & TCPMSG_PEEK)
        return false; /* a view has no size */
    return codec->width != TCPMSG_VARINT && tm_buffer_len(buffer) == 0 &&
           tm_buffer_reserve(buffer, codec->width + READ_MOST + DIRECT_BEHIND) == 0;
}

void tm_in_expect(tcpmsg_conn *conn, ssize_t received)
{
    if (received >= 0)
        tm_waiting_of(conn)->expected = (size_t)received >= DIRECT_LEAST ? (size_t)received : 0;
}

ssize_t tm_in_read(tcpmsg_conn *conn, tm_receive *receive, const tm_head *head, bool *drained)
{
    if (receive->direct == 0 && expects(conn, receive))
        return read_expected(conn, receive, drained);
    size_t missing = head->prefix > 0 ? head->length - head->arrived - receive->direct : 0;
    bool direct = head->prefix > 0 && !receive->view && !(receive->flags & TCPMSG_PEEK) &&
                  receive->size >= head->length;
    if (receive->direct > 0 || (direct && missing >= DIRECT_LEAST))
        return read_direct(conn, receive, head, drained);
    return read_buffered(conn, receive, missing, drained);
}

void tm_in_keep_direct(tm_in *in, tm_receive *receive, const tm_head *head)
{
    if (receive->direct > 0)
        tm_buffer_append(&in->buffer, receive->memory + head->arrived, receive->direct);
    receive->direct = 0;
}
