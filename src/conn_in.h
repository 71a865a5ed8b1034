/* SPDX-License-Identifier: MIT */
#ifndef TM_CONN_IN_H
#define TM_CONN_IN_H

#include "conn.h"

/* One receive. `direct` bytes of the payload are in the caller's memory, behind the buffer's. */
typedef struct tm_receive {
    uint8_t *memory;
    size_t size;
    const void **view;
    int flags;
    size_t direct;
    int64_t deadline;
    int64_t spin_until;
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

/* 1: the message `skip` bytes into the buffer is whole; 0: not yet; else what is wrong with it. */
int tm_in_look(const tcpmsg_conn *conn, size_t skip, tm_head *head);

/* Drops what the last view delivered. */
void tm_in_end_view(tm_in *in);

/* Hands out the whole message at the buffer's head; its length, or TCPMSG_EBUFSIZE. */
ssize_t tm_in_deliver(tm_in *in, const tm_receive *receive, const tm_head *head);

/* The rest of the message is in the caller's memory already: its beginning joins it. */
ssize_t tm_in_deliver_direct(tm_in *in, const tm_receive *receive, const tm_head *head);

/* One read of what is missing; tm_socket_read's answer. *drained: the socket has no more now. */
ssize_t tm_in_read(tcpmsg_conn *conn, tm_receive *receive, const tm_head *head, bool *drained);

/* A call that leaves early keeps what it read; the room was had before. */
void tm_in_keep_direct(tm_in *in, tm_receive *receive, const tm_head *head);

#endif
