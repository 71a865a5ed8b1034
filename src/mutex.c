/* SPDX-License-Identifier: MIT */
#include "mutex.h"

#include "error.h"

#ifdef TM_FUTEX

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

/* Sleeps while the word has the value, till somebody wakes it, a signal, or the deadline. */
static void sleep_on(atomic_uint *word, unsigned value, int64_t deadline)
{
    /* The kernel's timespec, which stays as it is where time_t grows to 64 bits. */
    const struct {
        __kernel_long_t sec, nsec;
    } until = {(__kernel_long_t)(deadline / SECOND), (__kernel_long_t)(deadline % SECOND)};
    /* futex(2): with a bit set the time is absolute, by CLOCK_MONOTONIC. */
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value,
            deadline == TM_FOREVER ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
}

static void wake(atomic_uint *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* Who has slept leaves the state at 2: it can't know whether others still do (Drepper, 2011). */
void tm_mutex_lock_slowly(tm_mutex *mutex)
{
    while (atomic_exchange_explicit(&mutex->state, 2, memory_order_acquire) != 0)
        sleep_on(&mutex->state, 2, TM_FOREVER);
}

/* The mutex is free already, and perhaps gone: the address alone is used. */
void tm_mutex_wake(tm_mutex *mutex)
{
    wake(&mutex->state, 1);
}

int tm_mutex_init(tm_mutex *mutex)
{
    atomic_init(&mutex->state, 0);
    return 0;
}

void tm_mutex_destroy(tm_mutex *mutex)
{
    (void)mutex;
}

int tm_condition_init(tm_condition *condition)
{
    atomic_init(&condition->round, 0);
    return 0;
}

void tm_condition_destroy(tm_condition *condition)
{
    (void)condition;
}

bool tm_condition_wait(tm_condition *condition, tm_mutex *mutex, int64_t deadline)
{
    unsigned round = atomic_load_explicit(&condition->round, memory_order_relaxed);
    tm_mutex_unlock(mutex);
    sleep_on(&condition->round, round, deadline);
    tm_mutex_lock(mutex);
    return !tm_passed(deadline);
}

static void begin_round(tm_condition *condition, int sleepers)
{
    atomic_fetch_add_explicit(&condition->round, 1, memory_order_relaxed);
    wake(&condition->round, sleepers);
}

void tm_condition_signal(tm_condition *condition)
{
    begin_round(condition, 1);
}

void tm_condition_broadcast(tm_condition *condition)
{
    begin_round(condition, INT_MAX);
}

#else

int tm_mutex_init(tm_mutex *mutex)
{
    return pthread_mutex_init(&mutex->pthread, NULL) == 0 ? 0 : TCPMSG_ENOMEM;
}

void tm_mutex_destroy(tm_mutex *mutex)
{
    pthread_mutex_destroy(&mutex->pthread);
}

int tm_condition_init(tm_condition *condition)
{
    return tm_cond_init(&condition->pthread) == 0 ? 0 : TCPMSG_ENOMEM;
}

void tm_condition_destroy(tm_condition *condition)
{
    pthread_cond_destroy(&condition->pthread);
}

bool tm_condition_wait(tm_condition *condition, tm_mutex *mutex, int64_t deadline)
{
    return tm_cond_wait(&condition->pthread, &mutex->pthread, deadline);
}

void tm_condition_signal(tm_condition *condition)
{
    pthread_cond_signal(&condition->pthread);
}

void tm_condition_broadcast(tm_condition *condition)
{
    pthread_cond_broadcast(&condition->pthread);
}

#endif
