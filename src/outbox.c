/* SPDX-License-Identifier: MIT */
#include "outbox.h"

#include <stdlib.h>

#include "error.h"

#define CHUNK_FIRST ((size_t)2 << 10)
#define CHUNK_GROWTH 4

bool tm_outbox_valid(const tm_outbox *box)
{
    size_t len = 0;
    const tm_chunk *last = NULL;
    for (const tm_chunk *chunk = box->first; chunk; last = chunk, chunk = chunk->next) {
        if (chunk->start >= chunk->end || chunk->end > chunk->capacity)
            return false;
        len += chunk->end - chunk->start;
    }
    return last == box->last && len == box->len && len <= box->accepted;
}

static tm_chunk *make_chunk(size_t capacity)
{
    if (capacity > SIZE_MAX - sizeof(tm_chunk))
        return NULL;
    tm_chunk *chunk = malloc(sizeof *chunk + capacity);
    if (chunk)
        *chunk = (tm_chunk){.capacity = capacity};
    return chunk;
}

/* The spare chunk if it is large enough, else a new one that is as large as is good for `size`. */
static tm_chunk *get_chunk(tm_outbox *box, size_t size)
{
    tm_chunk *spare = box->spare;
    if (spare && spare->capacity >= size) {
        box->spare = NULL;
        return spare;
    }
    size_t capacity = box->last ? CHUNK_GROWTH * box->last->capacity : CHUNK_FIRST;
    if (capacity > TM_HOLD_MOST)
        capacity = TM_HOLD_MOST;
    return make_chunk(size > capacity ? size : capacity);
}

static void append(tm_outbox *box, tm_chunk *chunk)
{
    if (box->last)
        box->last->next = chunk;
    else
        box->first = chunk;
    box->last = chunk;
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
    room->next = box->first;
    box->first = room;
    if (!box->last)
        box->last = room;
    box->len += rest;
    box->accepted += rest;
}

int tm_outbox_parts(const tm_outbox *box, size_t limit, struct iovec *parts, int most)
{
    int count = 0;
    for (tm_chunk *chunk = box->first; chunk && limit > 0 && count < most; chunk = chunk->next) {
        size_t len = chunk->end - chunk->start;
        if (len > limit)
            len = limit;
        parts[count++] = (struct iovec){chunk->bytes + chunk->start, len};
        limit -= len;
    }
    return count;
}

void tm_chunk_reuse(tm_chunk **spare, tm_chunk *chunk)
{
    if (!chunk)
        return;
    if (chunk->capacity > TM_SPARE_MOST || (*spare && (*spare)->capacity >= chunk->capacity)) {
        free(chunk);
        return;
    }
    free(*spare);
    *chunk = (tm_chunk){.capacity = chunk->capacity};
    *spare = chunk;
}

void tm_outbox_left(tm_outbox *box, size_t count)
{
    box->len -= count;
    while (count > 0) {
        tm_chunk *chunk = box->first;
        size_t len = chunk->end - chunk->start;
        if (count < len) {
            chunk->start += count;
            return;
        }
        count -= len;
        box->first = chunk->next;
        if (!box->first)
            box->last = NULL;
        tm_chunk_reuse(&box->spare, chunk);
    }
}

static void drop_spare(tm_outbox *box)
{
    free(box->spare);
    box->spare = NULL;
}

void tm_outbox_trim(tm_outbox *box)
{
    if (box->spare && box->spare->capacity > TM_HOLD_MOST)
        drop_spare(box);
}

void tm_outbox_free(tm_outbox *box)
{
    box->accepted -= box->len;
    box->len = 0;
    while (box->first) {
        tm_chunk *next = box->first->next;
        free(box->first);
        box->first = next;
    }
    box->last = NULL;
    drop_spare(box);
}
