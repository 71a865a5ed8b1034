/* SPDX-License-Identifier: MIT */
#ifndef TM_OUTBOX_H
#define TM_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "message.h"
#include "pool.h"

/*
 * How many bytes may wait without being pushed: what TCPMSG_MORE holds back. 64 KiB as one segment
 * carries them where segments are that large (an IP packet's 65535 bytes, less 20 for IP and 32
 * for TCP with timestamps): a few bytes more would cost a second segment for each write.
 */
#define TM_HOLD_MOST ((size_t)65535 - 20 - 32)

/* Memory that stays where it is while a system call reads its bytes and others are added. */
typedef struct tm_chunk {
    struct tm_chunk *next;
    size_t start; /* the first byte that has not left */
    size_t end;   /* behind the last byte */
    size_t capacity;
    uint8_t bytes[];
} tm_chunk;

/*
 * Bytes on their way out, in order. They are copied once, when they come.
 * Invariant: no chunk of the row is empty, and `len` counts the bytes of all of them.
 */
typedef struct tm_outbox {
    tm_chunk *last;    /* of a ring: the first is next; or NULL */
    tm_chunk *spare;   /* a row of empty ones, kept for what comes next; or NULL */
    size_t len;        /* bytes that wait */
    uint64_t position; /* bytes that have left */
} tm_outbox;

bool tm_outbox_valid(const tm_outbox *box);

static inline tm_chunk *tm_outbox_first(const tm_outbox *box)
{
    return box->last ? box->last->next : NULL;
}

/* The one behind it, or NULL. */
static inline tm_chunk *tm_outbox_next(const tm_outbox *box, const tm_chunk *chunk)
{
    return chunk == box->last ? NULL : chunk->next;
}

/* The position at which all that is here now will have left. */
static inline uint64_t tm_outbox_end(const tm_outbox *box)
{
    return box->position + box->len;
}

/* Whether `size` more bytes may wait, beside `leaving` ones that are being written. */
static inline bool tm_outbox_fits(const tm_outbox *box, size_t size, size_t leaving)
{
    size_t held = box->len - leaving;
    return held < TM_HOLD_MOST && size <= TM_HOLD_MOST - held;
}

/* Whether the last chunk does for `size` bytes. */
static inline bool tm_outbox_has_room(const tm_outbox *box, size_t size)
{
    const tm_chunk *last = box->last;
    return last && last->capacity - last->end >= size;
}

/* A place for `size` bytes in a row; NULL without memory. tm_outbox_came makes them part of it. */
uint8_t *tm_outbox_new_place(tm_outbox *box, size_t size);

static inline uint8_t *tm_outbox_place(tm_outbox *box, size_t size)
{
    if (tm_outbox_has_room(box, size))
        return box->last->bytes + box->last->end;
    return tm_outbox_new_place(box, size);
}

static inline void tm_outbox_came(tm_outbox *box, size_t size)
{
    box->last->end += size;
    box->len += size;
}

/* A whole message, which is not empty on the wire, to the end; 0 or TCPMSG_ENOMEM. */
int tm_outbox_add(tm_outbox *box, tm_message *message);

/* Room for a message that may have to be kept: a spare chunk, or a new one. NULL: no memory. */
tm_chunk *tm_outbox_room(tm_outbox *box, size_t size);

/* The rest of a message that has begun, in front of all that waits. */
void tm_outbox_keep(tm_outbox *box, tm_message *message, tm_chunk *room);

/* Describes the first bytes, at most `limit`, in at most `most` parts; their number. */
int tm_outbox_parts(const tm_outbox *box, size_t limit, struct iovec *parts, int most);

/* The first `count` bytes have left. */
void tm_outbox_left(tm_outbox *box, size_t count);

/* An empty chunk becomes a spare one; NULL is fine. */
void tm_outbox_spare(tm_outbox *box, tm_chunk *chunk);

/* Gives back all spare chunks but one: the largest that is not larger than TCPMSG_MORE fills. */
void tm_outbox_trim(tm_outbox *box);

/* The spare chunks come from a pool and go back to it, when so many bytes are about to be added. */
void tm_outbox_borrow(tm_outbox *box, tm_pool *pool, size_t size);
void tm_outbox_return(tm_outbox *box, tm_pool *pool);

/* Drops what has not left, as if it had never come. */
void tm_outbox_free(tm_outbox *box);

#endif
