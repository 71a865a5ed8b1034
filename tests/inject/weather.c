/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "weather.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THUNDER (SIGRTMIN + 3)
#define MILLISECOND 1000000

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define DESCRIPTORS 65536
#define SMALL_DROPS 2000
#define LARGE_DROP 16384

static enum weather forecast;
static atomic_uint drops[DESCRIPTORS];
static sigset_t thunder;
static pthread_key_t over;

enum weather weather(void)
{
    return forecast;
}

/* Scattered: with each tenth call, the same one of two that take turns would always fail. */
bool in_fog(void)
{
    static atomic_uint turns;
    if (forecast != FOG)
        return false;
    uint32_t turn = atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed);
    return (turn * UINT32_C(2654435769) >> 16) % 10 != 0;
}

/* Megabytes in drops would take the kernel minutes. */
size_t drop_of(int fd, size_t count)
{
    if (forecast != DROPS || count <= 1 || fd < 0 || fd >= DESCRIPTORS)
        return count;
    unsigned number = atomic_fetch_add_explicit(&drops[fd], 1, memory_order_relaxed);
    size_t most = number < SMALL_DROPS ? 1 : 1 + number * 7919 % LARGE_DROP;
    return count < most ? count : most;
}

void dry(int fd)
{
    if (fd >= 0 && fd < DESCRIPTORS)
        atomic_store_explicit(&drops[fd], 0, memory_order_relaxed);
}

static void heard(int signal)
{
    (void)signal;
}

static void stop_timer(void *timer)
{
    timer_delete((timer_t)((intptr_t)timer - 1));
}

/* Each thread has its own timer, from its first call to its end. */
static void start_timer(void)
{
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = THUNDER};
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    struct itimerspec each = {{0, MILLISECOND}, {0, MILLISECOND}};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
        abort();
    timer_settime(timer, 0, &each, NULL);
    pthread_setspecific(over, (void *)((intptr_t)timer + 1));
}

/* The test's own calls hear nothing of it. */
void storm_in(void)
{
    if (forecast != STORM)
        return;
    if (!pthread_getspecific(over))
        start_timer();
    pthread_sigmask(SIG_UNBLOCK, &thunder, NULL);
}

void storm_out(void)
{
    if (forecast == STORM)
        pthread_sigmask(SIG_BLOCK, &thunder, NULL);
}

static void begin_storm(void)
{
    struct sigaction action = {.sa_handler = heard};
    sigemptyset(&thunder);
    sigaddset(&thunder, THUNDER);
    pthread_sigmask(SIG_BLOCK, &thunder, NULL);
    sigaction(THUNDER, &action, NULL);
    pthread_key_create(&over, stop_timer);
}

__attribute__((constructor)) static void read_forecast(void)
{
    const char *said = getenv("TESTS_WEATHER");
    if (!said)
        return;
    forecast = strcmp(said, "drops") == 0   ? DROPS
               : strcmp(said, "fog") == 0   ? FOG
               : strcmp(said, "storm") == 0 ? STORM
                                            : FAIR;
    if (forecast == STORM)
        begin_storm();
}
