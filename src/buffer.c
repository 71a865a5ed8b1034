/* SPDX-License-Identifier: MIT */
#include "buffer.h"

#include <stdlib.h>

#include "error.h"

bool tm_buffer_valid(const tm_buffer *buffer)
{
    return buffer->start <= buffer->end && buffer->end <= buffer->capacity &&
           (buffer->base == NULL) == (buffer->capacity == 0);
}

static void move_to_base(tm_buffer *buffer)
{
    if (buffer->start == 0)
        return;
    memmove(buffer->base, tm_buffer_head(buffer), tm_buffer_len(buffer));
    buffer->end -= buffer->start;
    buffer->start = 0;
}

int tm_buffer_reserve(tm_buffer *buffer, size_t room)
{
    if (tm_buffer_room(buffer) >= room)
        return 0;
    size_t len = tm_buffer_len(buffer);
    if (room > SIZE_MAX - len)
        return TCPMSG_ENOMEM;
    move_to_base(buffer);
    if (len + room <= buffer->capacity)
        return 0;
    uint8_t *base = realloc(buffer->base, len + room);
    if (!base)
        return TCPMSG_ENOMEM;
    buffer->base = base;
    buffer->capacity = len + room;
    assert(tm_buffer_valid(buffer));
    return 0;
}

void tm_buffer_swap(tm_buffer *one, tm_buffer *other)
{
    tm_buffer kept = *one;
    *one = *other;
    *other = kept;
}

void tm_buffer_free(tm_buffer *buffer)
{
    free(buffer->base);
    *buffer = (tm_buffer){0};
}
