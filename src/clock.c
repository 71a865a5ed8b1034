/* SPDX-License-Identifier: MIT */
#include "clock.h"

#include <limits.h>
#include <time.h>

#define SECOND INT64_C(1000000000)

int64_t tm_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

int64_t tm_deadline(int ms)
{
    return ms < 0 ? TM_FOREVER : tm_now() + ms * TM_MS;
}

int tm_left_ms(int64_t deadline)
{
    if (deadline == TM_FOREVER)
        return -1;
    int64_t left = deadline - tm_now();
    if (left <= 0)
        return 0;
    int64_t ms = (left + TM_MS - 1) / TM_MS;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

bool tm_passed(int64_t deadline)
{
    return deadline != TM_FOREVER && tm_now() >= deadline;
}

#ifndef __APPLE__

int tm_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    int r = pthread_condattr_init(&attributes);
    if (r != 0)
        return r;
    r = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (r == 0)
        r = pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
    return r;
}

static void wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline)
{
    struct timespec until = {.tv_sec = (time_t)(deadline / SECOND), .tv_nsec = deadline % SECOND};
    pthread_cond_timedwait(cond, mutex, &until);
}

#else /* no pthread_condattr_setclock: short naps by the wall clock, judged by the monotonic one */

int tm_cond_init(pthread_cond_t *cond)
{
    return pthread_cond_init(cond, NULL);
}

static void wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline)
{
    struct timespec until;
    int64_t nap = tm_sooner(deadline - tm_now(), 50 * TM_MS);
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t wall = (int64_t)until.tv_sec * SECOND + until.tv_nsec + (nap > 0 ? nap : 0);
    until = (struct timespec){.tv_sec = (time_t)(wall / SECOND), .tv_nsec = wall % SECOND};
    pthread_cond_timedwait(cond, mutex, &until);
}

#endif

bool tm_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline)
{
    if (deadline == TM_FOREVER) {
        pthread_cond_wait(cond, mutex);
        return true;
    }
    wait_until(cond, mutex, deadline);
    return tm_now() < deadline;
}
