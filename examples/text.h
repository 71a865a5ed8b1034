/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_TEXT_H
#define EXAMPLES_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Lines in, and text out that can do a terminal no harm. */

/* What taking a line answers when there is none. */
#define LINES_NONE (-1) /* none yet: fill, and ask again */
#define LINES_END (-2)  /* none any more */

/* The lines that come from a descriptor. Begin with {.fd = …, .limit = …}; free(data) at last. */
struct lines {
    int fd;
    size_t limit; /* a longer line may come in pieces, each of limit + 1 bytes */
    char *data;   /* what was read and not taken is data[start..end) of room bytes */
    size_t start; /* start <= end <= room */
    size_t end;
    size_t room;
    size_t seen;    /* so many bytes after start are known to hold no newline */
    bool ended;     /* there is no more to read */
    bool cut_short; /* the last line, which was taken, had no newline */
};

/*
 * The next line, without its newline; its length, or one of the answers above. Never waits.
 * The line is good until the next lines_fill.
 */
ssize_t lines_take(struct lines *lines, char **line);

/* Reads once, which may wait. Returns 0, or -1 with errno. */
int lines_fill(struct lines *lines);

/*
 * The length in bytes of the UTF-8 character that text begins with, and its code point.
 * 0: the first of these bytes (there must be one) begins no character.
 */
size_t text_character(const char *text, size_t size, uint32_t *point);

/* Prints text in which control characters show (ESC as ^[) and do nothing, but for tabs. */
void text_print(FILE *file, const char *text, size_t size);

#endif
