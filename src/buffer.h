/* SPDX-License-Identifier: MIT */
#ifndef TM_BUFFER_H
#define TM_BUFFER_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Bytes in a row that are taken at the head and added at the tail. An empty buffer is a pointer:
 * what else there is to know lies with the bytes.
 * Invariant: start <= end <= capacity.
 */
typedef struct tm_row {
    size_t start; /* the first byte that has not been taken */
    size_t end;   /* behind the last byte */
    size_t capacity;
    uint8_t bytes[];
} tm_row;

typedef struct tm_buffer {
    tm_row *row; /* NULL: it has no memory */
} tm_buffer;

bool tm_buffer_valid(const tm_buffer *buffer);

static inline size_t tm_buffer_len(const tm_buffer *buffer)
{
    return buffer->row ? buffer->row->end - buffer->row->start : 0;
}

static inline size_t tm_buffer_capacity(const tm_buffer *buffer)
{
    return buffer->row ? buffer->row->capacity : 0;
}

/* How many bytes can be added without tm_buffer_reserve. */
static inline size_t tm_buffer_room(const tm_buffer *buffer)
{
    return buffer->row ? buffer->row->capacity - buffer->row->end : 0;
}

/* Head and tail of a buffer that has memory, else NULL. */
static inline uint8_t *tm_buffer_head(const tm_buffer *buffer)
{
    return buffer->row ? buffer->row->bytes + buffer->row->start : NULL;
}

static inline uint8_t *tm_buffer_tail(const tm_buffer *buffer)
{
    return buffer->row ? buffer->row->bytes + buffer->row->end : NULL;
}

/* Takes `count` bytes from the head; an emptied buffer begins anew at its first byte. */
static inline void tm_buffer_consume(tm_buffer *buffer, size_t count)
{
    tm_row *row = buffer->row;
    if (count == 0)
        return;
    row->start += count;
    if (row->start == row->end)
        row->start = row->end = 0;
}

/* Drops what there is, and keeps the memory. */
static inline void tm_buffer_clear(tm_buffer *buffer)
{
    tm_buffer_consume(buffer, tm_buffer_len(buffer));
}

/* Makes room for `room` more bytes, moving what there is; 0 or TCPMSG_ENOMEM (then unchanged). */
int tm_buffer_reserve(tm_buffer *buffer, size_t room);

/* `count` bytes were written to the tail, where there was room for them. */
static inline void tm_buffer_came(tm_buffer *buffer, size_t count)
{
    assert(count <= tm_buffer_room(buffer));
    if (count > 0)
        buffer->row->end += count;
}

/* Adds bytes for which there is room. */
static inline void tm_buffer_append(tm_buffer *buffer, const void *bytes, size_t count)
{
    if (count > 0)
        memcpy(buffer->row->bytes + buffer->row->end, bytes, count);
    tm_buffer_came(buffer, count);
}

/* The memory of a buffer that holds so many bytes; one in such memory, as malloc(3) gives it. */
static inline size_t tm_buffer_memory(size_t capacity)
{
    return sizeof(tm_row) + capacity;
}

static inline tm_buffer tm_buffer_in(void *memory, size_t size)
{
    tm_row *row = memory;
    if (row)
        *row = (tm_row){.capacity = size - sizeof *row};
    return (tm_buffer){row};
}

/* How much memory it holds. */
static inline size_t tm_buffer_held(const tm_buffer *buffer)
{
    return buffer->row ? tm_buffer_memory(buffer->row->capacity) : 0;
}

/* Gives the memory back; the buffer is empty and usable again. */
void tm_buffer_free(tm_buffer *buffer);

#endif
