/* SPDX-License-Identifier: MIT */
#ifndef TM_MUTEX_H
#define TM_MUTEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "hints.h"

/*
 * A mutex and a condition of four bytes each where there is futex(2), so that many idle
 * connections cost little, and a lock that nobody else wants one instruction. Elsewhere they are
 * pthread's; with TM_PTHREAD_LOCKS here, too, for the tests. Waits go by the monotonic clock; one
 * may end early, as with pthread_cond_wait(3).
 */
#if defined(__linux__) && !defined(TM_PTHREAD_LOCKS)
#define TM_FUTEX
#endif

#ifdef TM_FUTEX

typedef struct tm_mutex {
    atomic_uint state; /* 0: free, 1: locked, 2: locked, and somebody may sleep for it */
} tm_mutex;

typedef struct tm_condition {
    atomic_uint round; /* each broadcast begins a new one */
} tm_condition;

TM_SELDOM void tm_mutex_lock_slowly(tm_mutex *mutex);
TM_SELDOM void tm_mutex_wake(tm_mutex *mutex);

static inline bool tm_mutex_trylock(tm_mutex *mutex)
{
    unsigned nobody = 0;
    return atomic_compare_exchange_strong_explicit(&mutex->state, &nobody, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline void tm_mutex_lock(tm_mutex *mutex)
{
    if (!tm_mutex_trylock(mutex))
        tm_mutex_lock_slowly(mutex);
}

static inline void tm_mutex_unlock(tm_mutex *mutex)
{
    if (atomic_exchange_explicit(&mutex->state, 0, memory_order_release) == 2)
        tm_mutex_wake(mutex);
}

#else

typedef struct tm_mutex {
    pthread_mutex_t pthread;
} tm_mutex;

typedef struct tm_condition {
    pthread_cond_t pthread;
} tm_condition;

static inline bool tm_mutex_trylock(tm_mutex *mutex)
{
    return pthread_mutex_trylock(&mutex->pthread) == 0;
}

static inline void tm_mutex_lock(tm_mutex *mutex)
{
    pthread_mutex_lock(&mutex->pthread);
}

static inline void tm_mutex_unlock(tm_mutex *mutex)
{
    pthread_mutex_unlock(&mutex->pthread);
}

#endif

/* Of zeroed memory. 0 or TCPMSG_ENOMEM. */
int tm_mutex_init(tm_mutex *mutex);
void tm_mutex_destroy(tm_mutex *mutex);

int tm_condition_init(tm_condition *condition);
void tm_condition_destroy(tm_condition *condition);

/* With the mutex locked, which it lets go meanwhile; false once the deadline has passed. */
bool tm_condition_wait(tm_condition *condition, tm_mutex *mutex, int64_t deadline);
void tm_condition_signal(tm_condition *condition);
void tm_condition_broadcast(tm_condition *condition);

#endif
