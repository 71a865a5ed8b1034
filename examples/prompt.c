/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "prompt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "terminal.h"

#define SIGN "> "
#define ERASE_ROW "\r\033[K"

enum { CTRL_D = 4, CTRL_U = 21, CTRL_W = 23, CTRL_Z = 26, ESC = 27, DELETE = 127 };

bool prompt_open(void)
{
    return terminal_take();
}

void prompt_close(struct prompt *prompt)
{
    prompt_hide(prompt);
    fflush(stdout);
    terminal_give_back();
    free(prompt->text);
}

/* The columns that a character takes. Taken too wide, it only leaves less of a long line to see. */
static size_t width(uint32_t point)
{
    static const struct {
        uint32_t first, last;
        size_t columns;
    } unusual[] = {
        {0x300, 0x36f, 0},     {0x1100, 0x115f, 2},   {0x200b, 0x200f, 0}, {0x20d0, 0x20ff, 0},
        {0x231a, 0x2bff, 2},   {0x2e80, 0xa4cf, 2},   {0xac00, 0xd7a3, 2}, {0xf900, 0xfaff, 2},
        {0xfe00, 0xfe0f, 0},   {0xfe30, 0xfe6f, 2},   {0xff00, 0xff60, 2}, {0xffe0, 0xffe6, 2},
        {0x1f000, 0x1faff, 2}, {0x20000, 0x3fffd, 2},
    };
    for (size_t at = 0; at < sizeof unusual / sizeof unusual[0]; at++) {
        if (point >= unusual[at].first && point <= unusual[at].last)
            return unusual[at].columns;
    }
    return 1;
}

/* Where the character that ends before `end` begins. */
static size_t before(const char *text, size_t end)
{
    size_t start = end - 1;
    while (start > 0 && end - start < 4 && ((unsigned char)text[start] & 0xc0) == 0x80)
        start--;
    uint32_t point;
    return text_character(text + start, end - start, &point) == end - start ? start : end - 1;
}

/* Where the last part of the text begins that fits into so many columns. */
static size_t tail(const char *text, size_t length, size_t room)
{
    size_t start = length;
    while (start > 0) {
        size_t next = before(text, start);
        uint32_t point = '?';
        (void)text_character(text + next, start - next, &point);
        size_t needs = width(point);
        if (needs > room)
            break;
        room -= needs;
        start = next;
    }
    return start;
}

/* Draws the row: the sign, and the line from `start` on. */
static void draw(const struct prompt *prompt, size_t start)
{
    size_t length;
    fputs(ERASE_ROW SIGN, stdout);
    for (size_t at = start; at < prompt->length; at += length) {
        uint32_t point;
        length = text_character(prompt->text + at, prompt->length - at, &point);
        length += length == 0;
        if (prompt->text[at] == '\t')
            putchar(' ');
        else
            text_print(stdout, prompt->text + at, length);
    }
}

void prompt_show(struct prompt *prompt)
{
    /* The last column stays free: terminals differ in where they go from there. */
    size_t all = terminal_columns();
    size_t room = all > sizeof SIGN ? all - sizeof SIGN : 0;

    if (!prompt->shown || prompt->changed)
        draw(prompt, tail(prompt->text, prompt->length, room));
    fflush(stdout);
    prompt->shown = true;
    prompt->changed = false;
}

/* Leaves the line on the terminal, all of it however wide it is, and goes on below it. */
static void end_row(struct prompt *prompt)
{
    draw(prompt, 0);
    putchar('\n');
    fflush(stdout);
    prompt->shown = false;
}

static void suspend(struct prompt *prompt)
{
    end_row(prompt);
    terminal_suspend();
}

void prompt_hide(struct prompt *prompt)
{
    if (prompt->shown)
        fputs(ERASE_ROW, stdout);
    prompt->shown = false;
}

static void insert(struct prompt *prompt, char key)
{
    if (prompt->length == prompt->room) {
        size_t room = prompt->room == 0 ? 256 : 2 * prompt->room;
        char *text = realloc(prompt->text, room);
        if (text == NULL) {
            putchar('\a');
            return;
        }
        prompt->text = text;
        prompt->room = room;
    }
    prompt->text[prompt->length++] = key;
}

static void erase_word(struct prompt *prompt)
{
    while (prompt->length > 0 && prompt->text[prompt->length - 1] == ' ')
        prompt->length--;
    while (prompt->length > 0 && prompt->text[prompt->length - 1] != ' ')
        prompt->length--;
}

/* ESC and a key, or ESC [ and what follows up to a letter: keys that mean nothing here. */
static bool in_escape(struct prompt *prompt, unsigned char key)
{
    enum { OUTSIDE, BEGUN, INSIDE };
    int was = prompt->escape;

    if (key < ' ')
        prompt->escape = key == ESC ? BEGUN : OUTSIDE;
    else if (was == BEGUN)
        prompt->escape = key == '[' || key == 'O' ? INSIDE : OUTSIDE;
    else if (was == INSIDE && key >= '@' && key <= '~')
        prompt->escape = OUTSIDE;
    return key < ' ' ? key == ESC : was != OUTSIDE;
}

static void edit(struct prompt *prompt, char key)
{
    if (key == CTRL_U)
        prompt->length = 0;
    else if (key == CTRL_W)
        erase_word(prompt);
    else if (key == '\b' || key == DELETE)
        prompt->length = prompt->length > 0 ? before(prompt->text, prompt->length) : 0;
    else if (key == CTRL_Z)
        suspend(prompt);
    else if ((unsigned char)key >= ' ' || key == '\t')
        insert(prompt, key);
    prompt->changed = true;
}

ssize_t prompt_take(struct prompt *prompt, char **line)
{
    while (prompt->at < prompt->count && !prompt->ended) {
        char key = prompt->keys[prompt->at++];
        if (in_escape(prompt, (unsigned char)key))
            continue;
        if (key == '\n') {
            size_t length = prompt->length;
            end_row(prompt);
            prompt->length = 0;
            *line = prompt->text;
            return (ssize_t)length;
        }
        if (key == CTRL_D)
            prompt->ended = prompt->length == 0;
        else
            edit(prompt, key);
    }
    return prompt->ended ? LINES_END : LINES_NONE;
}

void prompt_fill(struct prompt *prompt)
{
    ssize_t count = read(STDIN_FILENO, prompt->keys, sizeof prompt->keys);
    bool nothing_yet = count < 0 && (errno == EINTR || errno == EAGAIN);

    prompt->at = 0;
    prompt->count = count > 0 ? (size_t)count : 0;
    prompt->ended = count <= 0 && !nothing_yet;
}
