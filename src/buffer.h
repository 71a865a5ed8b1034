/* SPDX-License-Identifier: MIT */
#ifndef TM_BUFFER_H
#define TM_BUFFER_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Bytes in a row that are taken at the head and added at the tail.
 * Invariant: start <= end <= capacity, and base is NULL exactly when capacity is 0.
 */
typedef struct tm_buffer {
    uint8_t *base;
    size_t start; /* the first byte that has not been taken */
    size_t end;   /* behind the last byte */
    size_t capacity;
} tm_buffer;

bool tm_buffer_valid(const tm_buffer *buffer);

static inline size_t tm_buffer_len(const tm_buffer *buffer)
{
    return buffer->end - buffer->start;
}

static inline uint8_t *tm_buffer_head(const tm_buffer *buffer)
{
    return buffer->base + buffer->start;
}

static inline uint8_t *tm_buffer_tail(const tm_buffer *buffer)
{
    return buffer->base + buffer->end;
}

/* How many bytes can be added without tm_buffer_reserve. */
static inline size_t tm_buffer_room(const tm_buffer *buffer)
{
    return buffer->capacity - buffer->end;
}

/* Takes `count` bytes from the head; an emptied buffer begins anew at its base. */
static inline void tm_buffer_consume(tm_buffer *buffer, size_t count)
{
    buffer->start += count;
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
}

/* Makes room for `room` more bytes, moving what there is; 0 or TCPMSG_ENOMEM (then unchanged). */
int tm_buffer_reserve(tm_buffer *buffer, size_t room);

/* Adds bytes for which there is room. */
static inline void tm_buffer_append(tm_buffer *buffer, const void *bytes, size_t count)
{
    assert(count <= tm_buffer_room(buffer));
    if (count > 0)
        memcpy(tm_buffer_tail(buffer), bytes, count);
    buffer->end += count;
}

void tm_buffer_swap(tm_buffer *one, tm_buffer *other);

/* Gives the memory back; the buffer is empty and usable again. */
void tm_buffer_free(tm_buffer *buffer);

#endif
