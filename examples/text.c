/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ssize_t lines_take(struct lines *lines, char **line)
{
    size_t count = lines->end - lines->start;
    if (count == 0)
        return lines->ended ? LINES_END : LINES_NONE;

    char *start = lines->data + lines->start;
    char *newline = memchr(start + lines->seen, '\n', count - lines->seen);
    size_t length;
    if (newline != NULL) {
        length = (size_t)(newline - start);
    } else if (count > lines->limit) {
        length = lines->limit + 1;
    } else if (lines->ended) {
        length = count;
        lines->cut_short = true;
    } else {
        lines->seen = count;
        return LINES_NONE;
    }
    *line = start;
    lines->start += length + (newline != NULL);
    lines->seen = 0;
    return (ssize_t)length;
}

/* Moves what is left to the front, and doubles the room if that does not help. */
static int make_room(struct lines *lines)
{
    if (lines->start > 0) {
        memmove(lines->data, lines->data + lines->start, lines->end - lines->start);
        lines->end -= lines->start;
        lines->start = 0;
    }
    if (lines->end < lines->room)
        return 0;

    size_t room = lines->room == 0 ? 1 << 16 : 2 * lines->room;
    char *data = realloc(lines->data, room);
    if (data == NULL)
        return -1;
    lines->data = data;
    lines->room = room;
    return 0;
}

int lines_fill(struct lines *lines)
{
    if (make_room(lines) != 0)
        return -1;
    ssize_t count = read(lines->fd, lines->data + lines->end, lines->room - lines->end);
    if (count < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : -1;
    lines->end += (size_t)count;
    lines->ended = count == 0;
    return 0;
}

size_t text_character(const char *text, size_t size, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* shorter forms would do */
    const unsigned char *bytes = (const unsigned char *)text;
    unsigned first = bytes[0];
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

    if (length == 0 || length > size || first > 0xf4)
        return 0;
    uint32_t value = length == 1 ? first : first & (0x7fu >> length);
    for (size_t at = 1; at < length; at++) {
        if ((bytes[at] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (bytes[at] & 0x3f);
    }
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *point = value;
    return length;
}

void text_print(FILE *file, const char *text, size_t size)
{
    size_t length;
    for (size_t at = 0; at < size; at += length) {
        uint32_t point = 0;
        length = text_character(text + at, size - at, &point);
        if (length == 0 || (point >= 0x80 && point < 0xa0)) {
            /* A byte that is no UTF-8, or a control character of ISO 6429's second set. */
            length += length == 0;
            putc('?', file);
        } else if ((point < 0x20 && point != '\t') || point == 0x7f) {
            putc('^', file);
            putc((int)(point ^ 0x40), file);
        } else {
            fwrite(text + at, 1, length, file);
        }
    }
}
