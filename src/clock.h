/* SPDX-License-Identifier: MIT */
#ifndef TM_CLOCK_H
#define TM_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Times are nanoseconds of the monotonic clock; setting the wall clock changes none of them. */
#define TM_FOREVER INT64_MAX
#define TM_MS INT64_C(1000000)

int64_t tm_now(void);

/* The moment `ms` milliseconds from now; a negative ms is TM_FOREVER. */
int64_t tm_deadline(int ms);

static inline int64_t tm_sooner(int64_t one, int64_t other)
{
    return one < other ? one : other;
}

/* What is left until a deadline, for poll(2): rounded up, 0 when it has passed, -1 for ever. */
int tm_left_ms(int64_t deadline);

/* True when the deadline has passed; the clock is not asked when there is none. */
bool tm_passed(int64_t deadline);

/* A condition that waits by the monotonic clock. tm_cond_wait: false once the deadline passed. */
int tm_cond_init(pthread_cond_t *cond);
bool tm_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline);

#endif
