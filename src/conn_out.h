/* SPDX-License-Identifier: MIT */
#ifndef TM_CONN_OUT_H
#define TM_CONN_OUT_H

#include "conn.h"

_Static_assert(TM_HOLD_MOST <= UINT16_MAX, "hold_most has no room for it");

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

/* All that the call wants out is out. */
static inline bool tm_out_is_done(const tm_out *out, const tm_put *put)
{
    return put->message ? tm_message_is_out(put->message) : out->box.position >= put->target;
}

/* Whether threads wait for the turn, or for their bytes. */
static inline bool tm_out_others_wait(const tcpmsg_conn *conn)
{
    return conn->waits && tm_waiting_of(conn)->senders > 0;
}

static inline void tm_out_wake_waiting(tcpmsg_conn *conn)
{
    if (tm_out_others_wait(conn))
        tm_condition_broadcast(&tm_waiting_of(conn)->out_turn);
}

/* With the lock held: ends the sending, if it has not ended, and lets the waiting know. */
int tm_out_end_locked(tcpmsg_conn *conn, int error);

/*
 * Takes the free turn, writes, and frees it. What was queued goes before a message; one that has
 * begun is accepted, for whose rest there is room. A thread that holds back a rest does not stay.
 */
int tm_out_lead(tcpmsg_conn *conn, tm_put put);

/* With the turn, or the lock while nobody has it. */
void tm_out_fin_if_due(tcpmsg_conn *conn);

/*
 * With the lock: a message was accepted, which is counted in few bits at first, and added up when
 * something is written, or at once when nothing waits for that (tm_out_count_any). That spares
 * memory of each connection, and instructions of each message.
 */
static inline void tm_out_count(tm_out *out, size_t length)
{
    out->new_messages++;
    out->new_bytes += (uint32_t)length;
}

/* The same of any length, and while any number of bytes wait. */
void tm_out_count_any(tcpmsg_conn *conn, size_t length);
void tm_out_settle(tcpmsg_conn *conn);

static inline bool tm_out_fits(const tm_out *out, const tm_message *message)
{
    return tm_outbox_fits(&out->box, tm_message_size(message), out->leaving);
}

#endif
