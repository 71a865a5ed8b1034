/* SPDX-License-Identifier: MIT */
/* A program that is linked with wall.c and ld's --wrap for its calls has a wall clock that jumps by
 * years at each look, and a monotonic one that leaps ahead when the test says so. */
#ifndef TESTS_WALL_H
#define TESTS_WALL_H

#include <stdatomic.h>
#include <stdint.h>

/* How often anybody has asked for the wall clock, or was about to wait for a time of it. */
long wall_asked(void);

/* How often anybody has begun to wait for a moment: who has the wrong clock does so on and on. */
long timed_waits(void);

/* From now on the monotonic clock is so much further; what waits in the system sleeps on. */
void leap(int64_t seconds);

/* Milliseconds of the clock that does not leap. */
int64_t true_ms(void);

/* While it is set, look-ups of names don't come back. */
extern atomic_bool look_ups_hang;

#endif
