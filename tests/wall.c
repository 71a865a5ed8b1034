/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "wall.h"

#include <linux/futex.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

#define SECOND INT64_C(1000000000)
#define YEAR (INT64_C(366) * 24 * 3600)

/* A wait that is to end later than this is for a time of another clock. */
#define LONGEST (30 * 24 * 3600 * SECOND)

atomic_bool look_ups_hang;
static atomic_long asked, waited;
static _Atomic int64_t ahead; /* nanoseconds */

/* ld(1), --wrap: the library's calls come to __wrap_, __real_ are the system's. */
int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __real_gettimeofday(struct timeval *now, void *zone);
time_t __real_time(time_t *now);
long __real_syscall(long number, ...);
int __real_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until);
int __real_pthread_condattr_setclock(pthread_condattr_t *attributes, clockid_t clock);
int __real_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **found);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_gettimeofday(struct timeval *now, void *zone);
time_t __wrap_time(time_t *now);
long __wrap_syscall(long number, ...);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until);
int __wrap_pthread_condattr_setclock(pthread_condattr_t *attributes, clockid_t clock);
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **found);

long wall_asked(void)
{
    return atomic_load(&asked);
}

long timed_waits(void)
{
    return atomic_load(&waited);
}

void leap(int64_t seconds)
{
    atomic_fetch_add(&ahead, seconds * SECOND);
}

static int64_t true_ns(void)
{
    struct timespec now;
    __real_clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

int64_t true_ms(void)
{
    return true_ns() / 1000000;
}

/* There and back, further each time. */
static time_t jumping(time_t now)
{
    long times = atomic_fetch_add(&asked, 1);
    int64_t years = times % 40 + 1;
    return (time_t)((int64_t)now + (times % 2 ? years : -years) * YEAR);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    int r = __real_clock_gettime(clock, now);
    if (clock == CLOCK_MONOTONIC) {
        int64_t at = true_ns() + atomic_load(&ahead);
        *now = (struct timespec){.tv_sec = (time_t)(at / SECOND), .tv_nsec = (long)(at % SECOND)};
    } else if (clock != CLOCK_THREAD_CPUTIME_ID && clock != CLOCK_PROCESS_CPUTIME_ID) {
        now->tv_sec = jumping(now->tv_sec);
    }
    return r;
}

int __wrap_gettimeofday(struct timeval *now, void *zone)
{
    int r = __real_gettimeofday(now, zone);
    now->tv_sec = jumping(now->tv_sec);
    return r;
}

time_t __wrap_time(time_t *now)
{
    time_t at = jumping(__real_time(NULL));
    if (now)
        *now = at;
    return at;
}

/* The moment of the clock that leaps, as the system's clock will have it. */
static struct timespec told_truly(const struct timespec *until)
{
    int64_t now = true_ns();
    atomic_fetch_add(&waited, 1);
    int64_t at = (int64_t)until->tv_sec * SECOND + until->tv_nsec - atomic_load(&ahead);
    if (at - now > LONGEST || until->tv_sec < 0)
        atomic_fetch_add(&asked, 1);
    if (at < 0)
        at = 0;
    return (struct timespec){.tv_sec = (time_t)(at / SECOND), .tv_nsec = (long)(at % SECOND)};
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until)
{
    struct timespec truly = told_truly(until);
    return __real_pthread_cond_timedwait(cond, mutex, &truly);
}

int __wrap_pthread_condattr_setclock(pthread_condattr_t *attributes, clockid_t clock)
{
    if (clock != CLOCK_MONOTONIC)
        atomic_fetch_add(&asked, 1);
    return __real_pthread_condattr_setclock(attributes, clock);
}

static long futex(va_list *arguments)
{
    void *word = va_arg(*arguments, void *);
    int operation = va_arg(*arguments, int);
    unsigned value = va_arg(*arguments, unsigned);
    const struct timespec *until = va_arg(*arguments, const struct timespec *);
    void *other = va_arg(*arguments, void *);
    unsigned bits = va_arg(*arguments, unsigned);
    struct timespec truly;
    if (until && operation & FUTEX_CLOCK_REALTIME)
        atomic_fetch_add(&asked, 1);
    if (until && (operation & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET) {
        truly = told_truly(until);
        until = &truly;
    }
    return __real_syscall(SYS_futex, word, operation, value, until, other, bits);
}

long __wrap_syscall(long number, ...)
{
    va_list arguments;
    long r;
    va_start(arguments, number);
    if (number == SYS_futex) {
        r = futex(&arguments);
    } else { /* none of the others has more */
        long one = va_arg(arguments, long), two = va_arg(arguments, long);
        r = __real_syscall(number, one, two, va_arg(arguments, long));
    }
    va_end(arguments);
    return r;
}

int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **found)
{
    while (!(hints->ai_flags & AI_NUMERICHOST) && atomic_load(&look_ups_hang))
        sleep_ms(1);
    return __real_getaddrinfo(host, port, hints, found);
}
