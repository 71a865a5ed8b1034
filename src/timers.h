/* SPDX-License-Identifier: MIT */
#ifndef TM_TIMERS_H
#define TM_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Any number of timers, each set, moved and stopped in constant time: a hierarchy of wheels
 * (Varghese and Lauck, 1987) whose finest tick is a millisecond. Times are nanoseconds; nothing
 * here asks a clock. A timer is never early, and late by a tick at most.
 */
#define TM_TIMERS_BITS 6
#define TM_TIMERS_SLOTS (1 << TM_TIMERS_BITS)
#define TM_TIMERS_LEVELS 8 /* no time is beyond: an int64_t has fewer than 2^44 milliseconds */

/* Inside of what it belongs to. All zero: not set. */
typedef struct tm_timer {
    struct tm_timer *next; /* NULL: not set */
    struct tm_timer *prev;
    int64_t due;
} tm_timer;

/*
 * A tick is a number of digits, TM_TIMERS_BITS each. A timer is on the level of the highest digit
 * in which its tick differs from the present one, in the slot that this digit says; so the lowest
 * level that has any has the first, and comes before all others.
 */
typedef struct tm_timers {
    uint64_t tick;                                      /* all before it has been taken */
    uint64_t used[TM_TIMERS_LEVELS];                    /* a bit for each slot that has timers */
    tm_timer slots[TM_TIMERS_LEVELS * TM_TIMERS_SLOTS]; /* heads of rings; due: none is before */
} tm_timers;

void tm_timers_init(tm_timers *timers, int64_t now);

/* Sets it, or moves it; INT64_MAX stops it. What is due already comes with the next take. */
void tm_timers_set(tm_timers *timers, tm_timer *timer, int64_t due);
void tm_timers_stop(tm_timers *timers, tm_timer *timer);

static inline bool tm_timer_is_set(const tm_timer *timer)
{
    return timer->next;
}

/*
 * When to take next: the tick at which the first timer is to be taken, or earlier when one has
 * been stopped or moved that was before it. INT64_MAX when none is set. After a take that gave
 * NULL it is later than that take's `now`.
 */
int64_t tm_timers_next(const tm_timers *timers);

/*
 * The next timer that is due at `now`, stopped; NULL when there is no more. Those of an earlier
 * tick come first. Between two takes any timer may be set or stopped.
 */
tm_timer *tm_timers_take(tm_timers *timers, int64_t now);

#endif
