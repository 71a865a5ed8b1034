/* SPDX-License-Identifier: MIT */
/* Descriptors of somebody else in the same process: threads open and close them all the time, so
 * that a number which the library has given up is theirs at once. Each is full of known bytes, and
 * looked at before it is closed. A program that is linked with sentinels.c and ld's --wrap for its
 * calls has each call of the library's looked at, too: none may be about a sentinel. */
#ifndef TESTS_SENTINELS_H
#define TESTS_SENTINELS_H

#include <stdatomic.h>

void sentinels_begin(void);

/* The threads are gone, and so are all sentinels; fails the test when one was meddled with. */
void sentinels_end(void);

/* Set by a thread for itself: becomes true when it is about to poll inside of the library. */
extern _Thread_local atomic_bool *polling;

/* How many allocations nobody has freed yet. */
long allocations(void);

#endif
