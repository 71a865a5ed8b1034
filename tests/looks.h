/* SPDX-License-Identifier: MIT */
/* A program that is linked with looks.c and ld's --wrap for poll, epoll_wait and kevent has them
 * counted: who spins looks for events without end, who rests hardly does. No clock of the
 * processor is needed for that, which other programs, sanitizers and valgrind all run slow. */
#ifndef TESTS_LOOKS_H
#define TESTS_LOOKS_H

#include <stdbool.h>
#include <stdint.h>

/* How often anybody has looked. */
long looks(void);

/* Whether that was at most 20 times a second since then, and a few times more. */
bool has_rested(long looks_before, int64_t ms);

/* Sleeps that long; whether all others rested as well. */
bool all_rest(int ms);

#endif
