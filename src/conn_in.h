/* SPDX-License-Identifier: MIT */
#ifndef TM_CONN_IN_H
#define TM_CONN_IN_H

#include <string.h>

#include "conn.h"
#include "error.h"
#include "frame.h"
#include "probe.h"

/* One receive. `direct` bytes of the payload are in the caller's memory, behind the buffer's. */
typedef struct tm_receive {
    uint8_t *memory;
    size_t size;
    const void **view;
    int flags;
    size_t direct;
    int64_t deadline;
    int64_t spin_until;
    bool naps;   /* the next read may sleep for a moment */
    bool napped; /* ... and one has, since the last bytes came */
} tm_receive;

/* The message at the buffer's head, as far as it has come. */
typedef struct tm_head {
    size_t prefix;
    size_t length;
    size_t arrived; /* of the payload, in the buffer; more when it is whole */
} tm_head;

/*
 * The receiving buffer, for the thread that has it to itself: the holder of the turn, or of the
 * lock while there is none. Nothing here waits.
 */

/*
 * 1: the message that begins here, with what follows it `count` bytes, is whole; 0: not yet; else
 * what is wrong with it. All of `head` is 0 when there is no whole prefix.
 */
static inline int tm_look(const tm_codec *codec, const uint8_t *bytes, size_t count, tm_head *head)
{
    *head = (tm_head){0};
    if (count == 0)
        return 0;
    int prefix = tm_frame_decode(codec, bytes, count, &head->length);
    if (prefix <= 0)
        return prefix;
    head->prefix = (size_t)prefix;
    head->arrived = count - head->prefix;
    return head->arrived >= head->length;
}

/* The same of the message at the buffer's head. */
static inline int tm_in_look(const tcpmsg_conn *conn, tm_head *head)
{
    const tm_buffer *buffer = &conn->in.buffer;
    return tm_look(&conn->settings->codec, tm_buffer_head(buffer), tm_buffer_len(buffer), head);
}

/* A message was received: these two are written by one thread at a time. */
static inline void tm_in_count(tcpmsg_conn *conn, size_t length)
{
    tm_in *in = &conn->in;
    TM_PROBE(received, conn, length);
    tm_counter_add(&in->messages, 1);
    tm_counter_add(&in->bytes, length);
}

/*
 * With the lock held, which it lets go meanwhile: takes the turn, and reads and waits until there
 * is a message (conn_wait.c).
 */
ssize_t tm_in_receive(tcpmsg_conn *conn, tm_receive receive);

/* Behind a proxy, without waiting: 0 when its client is known; TCPMSG_EAGAIN, or what recv says. */
int tm_in_meet(tcpmsg_conn *conn);

/* Hands out the whole message at the buffer's head; its length, or TCPMSG_EBUFSIZE. */
static inline ssize_t tm_in_deliver(tcpmsg_conn *conn, const tm_receive *receive,
                                    const tm_head *head)
{
    tm_in *in = &conn->in;
    const uint8_t *payload = tm_buffer_head(&in->buffer) + head->prefix;
    in->message_limit = 0;
    if (receive->view)
        *receive->view = payload;
    else if (receive->size < head->length)
        return TCPMSG_EBUFSIZE;
    else if (head->length > 0)
        memcpy(receive->memory, payload, head->length);
    if (!(receive->flags & TCPMSG_PEEK))
        tm_buffer_consume(&in->buffer, head->prefix + head->length);
    return (ssize_t)head->length;
}

/* The rest of the message is in the caller's memory already: its beginning joins it. */
ssize_t tm_in_deliver_direct(tm_in *in, const tm_receive *receive, const tm_head *head);

/* One read of what is missing, or a nap; its answer. *drained: the socket has no more now. */
ssize_t tm_in_read(tcpmsg_conn *conn, tm_receive *receive, const tm_head *head, bool *drained);

/* What was just received tells how long the next one may be. */
void tm_in_expect(tcpmsg_conn *conn, ssize_t received);

/* A call that leaves early keeps what it read; the room was had before. */
void tm_in_keep_direct(tm_in *in, tm_receive *receive, const tm_head *head);

#endif
