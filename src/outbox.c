/* SPDX-License-Identifier: MIT */
#include "outbox.h"

#include <assert.h>
#include <stdlib.h>

#include "error.h"

#define CHUNK_FIRST ((size_t)2 << 10)
#define CHUNK_GROWTH 4

bool tm_outbox_valid(const tm_outbox *box)
{
    size_t len = 0;
    for (const tm_chunk *chunk = tm_outbox_first(box); chunk; chunk = tm_outbox_next(box, chunk)) {
        if (chunk->start >= chunk->end || chunk->end > chunk->capacity)
            return false;
        len += chunk->end - chunk->start;
    }
    return len == box->len;
}

/* An empty chunk in memory of that size. */
static tm_chunk *chunk_in(void *memory, size_t size)
{
    tm_chunk *chunk = memory;
    if (chunk)
        *chunk = (tm_chunk){.capacity = size - sizeof *chunk};
    return chunk;
}

/* How much memory is good for a new chunk that is to hold `size` bytes; 0: there can't be any. */
static size_t memory_for(const tm_outbox *box, size_t size)
{
    size_t capacity = box->last ? CHUNK_GROWTH * box->last->capacity : CHUNK_FIRST;
    if (capacity > TM_HOLD_MOST)
        capacity = TM_HOLD_MOST;
    if (size > capacity)
        capacity = size;
    return capacity > SIZE_MAX - sizeof(tm_chunk) ? 0 : tm_piece_size(sizeof(tm_chunk) + capacity);
}

/* Where the first spare chunk hangs that is large enough, or NULL. */
static tm_chunk **find_spare(tm_outbox *box, size_t size)
{
    for (tm_chunk **at = &box->spare; *at; at = &(*at)->next)
        if ((*at)->capacity >= size)
            return at;
    return NULL;
}

/* A spare chunk if one is large enough, else a new one. */
static tm_chunk *get_chunk(tm_outbox *box, size_t size)
{
    tm_chunk **at = find_spare(box, size);
    if (at) {
        tm_chunk *spare = *at;
        *at = spare->next;
        spare->next = NULL;
        return spare;
    }
    size_t memory = memory_for(box, size);
    return memory == 0 ? NULL : chunk_in(malloc(memory), memory);
}

static void prepend(tm_outbox *box, tm_chunk *chunk)
{
    chunk->next = chunk;
    if (box->last) {
        chunk->next = box->last->next;
        box->last->next = chunk;
    } else {
        box->last = chunk;
    }
}

static void append(tm_outbox *box, tm_chunk *chunk)
{
    prepend(box, chunk);
    box->last = chunk;
}

static tm_chunk *take_first(tm_outbox *box)
{
    tm_chunk *first = box->last->next;
    box->last->next = first->next;
    if (first == box->last)
        box->last = NULL;
    return first;
}

uint8_t *tm_outbox_new_place(tm_outbox *box, size_t size)
{
    tm_chunk *chunk = get_chunk(box, size);
    if (!chunk)
        return NULL;
    append(box, chunk);
    return chunk->bytes;
}

int tm_outbox_add(tm_outbox *box, tm_message *message)
{
    size_t size = tm_message_size(message);
    uint8_t *place = tm_outbox_place(box, size);
    if (!place)
        return TCPMSG_ENOMEM;
    tm_message_keep(message, place);
    tm_outbox_came(box, size);
    return 0;
}

tm_chunk *tm_outbox_room(tm_outbox *box, size_t size)
{
    return get_chunk(box, size);
}

void tm_outbox_keep(tm_outbox *box, tm_message *message, tm_chunk *room)
{
    size_t rest = tm_message_size(message) - message->sent;
    tm_message_keep(message, room->bytes);
    room->end = rest;
    prepend(box, room);
    box->len += rest;
}

int tm_outbox_parts(const tm_outbox *box, size_t limit, struct iovec *parts, int most)
{
    int count = 0;
    tm_chunk *chunk = tm_outbox_first(box);
    for (; chunk && limit > 0 && count < most; chunk = tm_outbox_next(box, chunk)) {
        size_t len = chunk->end - chunk->start;
        if (len > limit)
            len = limit;
        parts[count++] = (struct iovec){chunk->bytes + chunk->start, len};
        limit -= len;
    }
    return count;
}

void tm_outbox_spare(tm_outbox *box, tm_chunk *chunk)
{
    if (!chunk)
        return;
    *chunk = (tm_chunk){.next = box->spare, .capacity = chunk->capacity};
    box->spare = chunk;
}

void tm_outbox_left(tm_outbox *box, size_t count)
{
    box->len -= count;
    box->position += count;
    while (count > 0) {
        tm_chunk *chunk = tm_outbox_first(box);
        assert(chunk);
        size_t len = chunk->end - chunk->start;
        if (count < len) {
            chunk->start += count;
            return;
        }
        count -= len;
        tm_outbox_spare(box, take_first(box));
    }
}

void tm_outbox_trim(tm_outbox *box)
{
    tm_chunk *kept = NULL;
    while (box->spare) {
        tm_chunk *chunk = box->spare, *dropped = chunk;
        box->spare = chunk->next;
        if (chunk->capacity < 2 * TM_HOLD_MOST && (!kept || chunk->capacity > kept->capacity)) {
            dropped = kept;
            kept = chunk;
        }
        free(dropped);
    }
    tm_outbox_spare(box, kept);
}

void tm_outbox_borrow(tm_outbox *box, tm_pool *pool, size_t size)
{
    if (tm_outbox_has_room(box, size) || find_spare(box, size))
        return;
    size_t memory = memory_for(box, size);
    if (memory > 0)
        tm_outbox_spare(box, chunk_in(tm_pool_get(pool, memory), memory));
}

void tm_outbox_return(tm_outbox *box, tm_pool *pool)
{
    while (box->spare) {
        tm_chunk *chunk = box->spare;
        box->spare = chunk->next;
        tm_pool_give(pool, chunk, sizeof *chunk + chunk->capacity);
    }
}

void tm_outbox_free(tm_outbox *box)
{
    box->len = 0;
    while (box->last)
        tm_outbox_spare(box, take_first(box));
    while (box->spare) {
        tm_chunk *next = box->spare->next;
        free(box->spare);
        box->spare = next;
    }
}
