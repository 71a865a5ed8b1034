/* SPDX-License-Identifier: MIT */
#include "outbox.h"

#include "error.h"

int tm_outbox_grow(tm_outbox *box, size_t size)
{
    size_t len = tm_buffer_len(&box->queue);
    size_t room = len > size ? len : size; /* doubling */
    return tm_buffer_reserve(&box->queue, room < TM_HOLD_MOST - len ? room : TM_HOLD_MOST - len);
}

int tm_outbox_add(tm_outbox *box, tm_message *message)
{
    size_t size = tm_message_size(message);
    if (tm_buffer_room(&box->queue) < size && tm_outbox_grow(box, size) < 0)
        return TCPMSG_ENOMEM;
    tm_message_keep(message, &box->queue);
    box->accepted += size;
    return 0;
}

void tm_outbox_keep(tm_outbox *box, tm_message *message)
{
    box->accepted += tm_message_size(message) - message->sent;
    tm_message_keep(message, &box->batch);
}

int tm_outbox_collect(tm_outbox *box)
{
    size_t len = tm_buffer_len(&box->queue);
    if (tm_buffer_len(&box->batch) == 0) {
        tm_buffer_swap(&box->batch, &box->queue);
    } else if (len > 0) {
        if (tm_buffer_reserve(&box->batch, len) < 0)
            return TCPMSG_ENOMEM;
        tm_buffer_append(&box->batch, tm_buffer_head(&box->queue), len);
        tm_buffer_consume(&box->queue, len);
    }
    return 0;
}

static void trim(tm_buffer *buffer)
{
    if (tm_buffer_len(buffer) == 0 && buffer->capacity > 2 * TM_HOLD_MOST)
        tm_buffer_free(buffer);
}

void tm_outbox_trim(tm_outbox *box)
{
    trim(&box->batch);
    trim(&box->queue);
}

void tm_outbox_free(tm_outbox *box)
{
    box->accepted -= tm_outbox_len(box);
    tm_buffer_free(&box->batch);
    tm_buffer_free(&box->queue);
}
