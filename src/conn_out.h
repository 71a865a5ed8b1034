/* SPDX-License-Identifier: MIT */
#ifndef TM_CONN_OUT_H
#define TM_CONN_OUT_H

#include "conn.h"

/* What one call wants out. */
typedef struct tm_put {
    tm_message *message; /* NULL for a flush, and once it has joined the queue */
    tm_chunk *room;      /* for the message's rest: had before its first byte leaves */
    uint64_t target;     /* then: how many of the accepted bytes are to be out */
    int64_t deadline;
    int flags;
} tm_put;

/*
 * The one way out, with the sending lock held: a message, or (with tm_out_put_accepted) all that
 * was accepted so far. A message that fits joins the queue while another thread writes.
 */
int tm_out_put(tcpmsg_conn *conn, tm_put put);
int tm_out_put_accepted(tcpmsg_conn *conn, int64_t deadline, int flags);

static inline bool tm_out_fits(const tm_out *out, const tm_message *message)
{
    return tm_outbox_fits(&out->box, tm_message_size(message), out->leaving);
}

#endif
