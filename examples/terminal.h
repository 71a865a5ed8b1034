/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_TERMINAL_H
#define EXAMPLES_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

/* The terminal, set so that each key comes as it is typed and is not shown by itself. */

/*
 * Takes over the terminal, until it is given back or the program ends, by a signal too. Ctrl-C
 * remains a signal; Ctrl-Z is a key. False, and nothing is done, where standard input and output
 * are not a terminal that can erase a row.
 */
bool terminal_take(void);

/* Leaves the terminal as it was found; so does exit. */
void terminal_give_back(void);

/* What Ctrl-Z does: gives the terminal back until the shell lets the program go on. */
void terminal_suspend(void);

/* How wide it is at present. */
size_t terminal_columns(void);

#endif
