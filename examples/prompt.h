/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_PROMPT_H
#define EXAMPLES_PROMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "text.h"

/*
 * A line editor on one row of the terminal, which lets other text be printed above that row while
 * a line is being typed. Knows UTF-8, backspace, Ctrl-U, Ctrl-W and Ctrl-D. One in a program.
 */
struct prompt {
    char *text; /* the line so far */
    size_t length;
    size_t room;
    char keys[4096]; /* what was typed and not yet looked at is keys[at..count) */
    size_t at;
    size_t count;
    int escape;   /* how far inside an escape sequence, such as an arrow key sends */
    bool ended;   /* Ctrl-D, or the terminal is gone */
    bool shown;   /* the row is on the terminal, */
    bool changed; /* but not as the line is now */
};

/* Takes over the terminal; false where there is none that can do this (see terminal_take). */
bool prompt_open(void);

/* Erases the row, gives the terminal back, and frees the line. */
void prompt_close(struct prompt *prompt);

/* The next line that was typed; answers as lines_take. It is good until the next prompt_take. */
ssize_t prompt_take(struct prompt *prompt, char **line);

/* Reads keys once, which may wait, but not before prompt_take has answered LINES_NONE. */
void prompt_fill(struct prompt *prompt);

/* Erases the row, so that something else can be printed. */
void prompt_hide(struct prompt *prompt);

/* Draws the row where the cursor is, unless it is there; a line too wide shows its end. */
void prompt_show(struct prompt *prompt);

#endif
