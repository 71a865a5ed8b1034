/* SPDX-License-Identifier: MIT */
#ifndef TM_OUTBOX_H
#define TM_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "message.h"

/*
 * How many bytes may wait without being pushed: what TCPMSG_MORE holds back. 64 KiB as one segment
 * carries them where segments are that large (an IP packet's 65535 bytes, less 20 for IP and 32
 * for TCP with timestamps): a few bytes more would cost a second segment for each write.
 */
#define TM_HOLD_MOST ((size_t)65535 - 20 - 32)

/*
 * Bytes on their way out, in order: `batch` first, which a system call may be reading just now,
 * then `queue`, which takes what is accepted meanwhile.
 */
typedef struct tm_outbox {
    tm_buffer batch;
    tm_buffer queue;
    uint64_t accepted; /* bytes that ever came in */
} tm_outbox;

static inline size_t tm_outbox_len(const tm_outbox *box)
{
    return tm_buffer_len(&box->batch) + tm_buffer_len(&box->queue);
}

/* How many of the bytes that ever came in have left. */
static inline uint64_t tm_outbox_position(const tm_outbox *box)
{
    return box->accepted - tm_outbox_len(box);
}

/* Whether `size` more bytes may wait; a batch that is being written does not count. */
static inline bool tm_outbox_fits(const tm_outbox *box, size_t size, bool writing)
{
    size_t held = writing ? tm_buffer_len(&box->queue) : tm_outbox_len(box);
    return held < TM_HOLD_MOST && size <= TM_HOLD_MOST - held;
}

/* Room in the queue for `size` bytes that fit; 0 or TCPMSG_ENOMEM. */
int tm_outbox_grow(tm_outbox *box, size_t size);

/* A whole message to the end of the queue, where it fits; 0 or TCPMSG_ENOMEM. */
int tm_outbox_add(tm_outbox *box, tm_message *message);

/* The rest of a message to the end of the batch, where there is room. */
void tm_outbox_keep(tm_outbox *box, tm_message *message);

/* Makes the queue part of the batch; 0 or TCPMSG_ENOMEM, which an empty batch never gives. */
int tm_outbox_collect(tm_outbox *box);

/* Gives back what an emptied buffer holds beyond what TCPMSG_MORE fills. */
void tm_outbox_trim(tm_outbox *box);

/* Drops what has not left, as if it had never come. */
void tm_outbox_free(tm_outbox *box);

#endif
