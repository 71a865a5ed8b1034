/* SPDX-License-Identifier: MIT */
#ifndef TM_MESSAGE_H
#define TM_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <tcpmsg/frame.h>

/*
 * A message on its way out of the caller's memory. Invariant: `sent` counts the bytes of prefix
 * and payload that are out, and (part, offset) is where the rest of the payload begins.
 */
typedef struct tm_message {
    const struct iovec *parts;
    int count;
    int part;
    size_t offset;
    size_t length; /* of the payload */
    size_t sent;
    size_t prefix_len;
    uint8_t prefix[TCPMSG_PREFIX_MAX];
} tm_message;

static inline size_t tm_message_size(const tm_message *message)
{
    return message->prefix_len + message->length;
}

static inline bool tm_message_is_out(const tm_message *message)
{
    return message->sent == tm_message_size(message);
}

/* Describes the rest in at most `most` parts, for one system call; their number. */
int tm_message_rest(const tm_message *message, struct iovec *parts, int most);

/* Counts the next `count` bytes as out. */
void tm_message_advance(tm_message *message, size_t count);

/* Copies a message that has not begun to `row`, as one that is all payload in one part there. */
void tm_message_line_up(const tm_message *message, uint8_t *row, tm_message *copy,
                        struct iovec *part);

/* Copies the rest to where there is room for it; the message is out then. */
void tm_message_keep(tm_message *message, uint8_t *place);

#endif
