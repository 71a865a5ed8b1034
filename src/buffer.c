/* SPDX-License-Identifier: MIT */
#include "buffer.h"

#include <stdlib.h>

#include "error.h"

bool tm_buffer_valid(const tm_buffer *buffer)
{
    const tm_row *row = buffer->row;
    return !row || (row->start <= row->end && row->end <= row->capacity);
}

static void move_to_base(tm_row *row)
{
    if (row->start == 0)
        return;
    memmove(row->bytes, row->bytes + row->start, row->end - row->start);
    row->end -= row->start;
    row->start = 0;
}

int tm_buffer_reserve(tm_buffer *buffer, size_t room)
{
    if (tm_buffer_room(buffer) >= room)
        return 0;
    size_t len = tm_buffer_len(buffer);
    if (room > SIZE_MAX - sizeof(tm_row) - len)
        return TCPMSG_ENOMEM;
    if (buffer->row)
        move_to_base(buffer->row);
    if (len + room <= tm_buffer_capacity(buffer))
        return 0;
    tm_row *row = realloc(buffer->row, tm_buffer_memory(len + room));
    if (!row)
        return TCPMSG_ENOMEM;
    *row = (tm_row){.end = len, .capacity = len + room};
    buffer->row = row;
    assert(tm_buffer_valid(buffer));
    return 0;
}

void tm_buffer_free(tm_buffer *buffer)
{
    free(buffer->row);
    buffer->row = NULL;
}
