/* SPDX-License-Identifier: MIT */
#include "message.h"

#include <string.h>

int tm_message_rest(const tm_message *message, struct iovec *parts, int most)
{
    int count = 0;
    if (message->sent < message->prefix_len)
        parts[count++] = (struct iovec){(void *)(message->prefix + message->sent),
                                        message->prefix_len - message->sent};
    size_t offset = message->offset;
    for (int i = message->part; i < message->count && count < most; i++, offset = 0)
        if (message->parts[i].iov_len > offset)
            parts[count++] = (struct iovec){(uint8_t *)message->parts[i].iov_base + offset,
                                            message->parts[i].iov_len - offset};
    return count;
}

void tm_message_advance(tm_message *message, size_t count)
{
    size_t prefix_left =
        message->sent < message->prefix_len ? message->prefix_len - message->sent : 0;
    message->sent += count;
    count -= count < prefix_left ? count : prefix_left;
    while (count > 0) {
        size_t part_left = message->parts[message->part].iov_len - message->offset;
        if (count < part_left) {
            message->offset += count;
            return;
        }
        count -= part_left;
        message->part++;
        message->offset = 0;
    }
}

void tm_message_line_up(const tm_message *message, uint8_t *row, tm_message *copy,
                        struct iovec *part)
{
    size_t len = message->prefix_len;
    memcpy(row, message->prefix, len);
    for (int i = 0; i < message->count; i++) {
        if (message->parts[i].iov_len > 0)
            memcpy(row + len, message->parts[i].iov_base, message->parts[i].iov_len);
        len += message->parts[i].iov_len;
    }
    *part = (struct iovec){row, len};
    *copy = (tm_message){.parts = part, .count = 1, .length = len};
}

void tm_message_keep(tm_message *message, uint8_t *place)
{
    if (message->sent < message->prefix_len) {
        size_t count = message->prefix_len - message->sent;
        memcpy(place, message->prefix + message->sent, count);
        place += count;
    }
    for (; message->part < message->count; message->part++, message->offset = 0) {
        const struct iovec *part = &message->parts[message->part];
        if (part->iov_len == message->offset)
            continue;
        size_t count = part->iov_len - message->offset;
        memcpy(place, (const uint8_t *)part->iov_base + message->offset, count);
        place += count;
    }
    message->sent = tm_message_size(message);
}
