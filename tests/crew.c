/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include "crew.h"

#include <pthread.h>
#include <stdlib.h>

#include "support.h"

static struct {
    pthread_barrier_t start;
    pthread_barrier_t end;
    pthread_t threads[HANDS];
    crew_job *job; /* NULL: the work is over */
    unsigned seed;
} crew;

static atomic_long tallies[TALLIES];

static void *work(void *arg)
{
    int hand = (int)(intptr_t)arg;
    unsigned seed = crew.seed + (unsigned)hand;
    for (;;) {
        pthread_barrier_wait(&crew.start);
        if (!crew.job)
            return NULL;
        crew.job(hand, &seed);
        pthread_barrier_wait(&crew.end);
    }
}

void crew_begin(unsigned seed)
{
    crew.seed = seed * HANDS;
    assert_int_equal(pthread_barrier_init(&crew.start, NULL, HANDS + 1), 0);
    assert_int_equal(pthread_barrier_init(&crew.end, NULL, HANDS + 1), 0);
    for (intptr_t i = 0; i < HANDS; i++)
        assert_int_equal(pthread_create(&crew.threads[i], NULL, work, (void *)i), 0);
}

void crew_round(crew_job *job)
{
    crew.job = job;
    pthread_barrier_wait(&crew.start);
    pthread_barrier_wait(&crew.end);
}

void crew_end(void)
{
    crew.job = NULL;
    pthread_barrier_wait(&crew.start);
    for (int i = 0; i < HANDS; i++)
        assert_int_equal(pthread_join(crew.threads[i], NULL), 0);
    pthread_barrier_destroy(&crew.start);
    pthread_barrier_destroy(&crew.end);
}

unsigned chance(unsigned *seed, unsigned below)
{
    return (unsigned)rand_r(seed) % below;
}

void dawdle(unsigned *seed)
{
    static atomic_int idle;
    for (unsigned turns = chance(seed, 3) ? chance(seed, 2000) : 0; turns > 0; turns--)
        atomic_fetch_add_explicit(&idle, 1, memory_order_relaxed);
}

void tally(enum tallied what)
{
    atomic_fetch_add_explicit(&tallies[what], 1, memory_order_relaxed);
}

long tallied(void)
{
    long sum = 0;
    for (int i = 0; i < TALLIES; i++)
        sum += atomic_load(&tallies[i]);
    return sum;
}

void tally_begin(void)
{
    for (int i = 0; i < TALLIES; i++)
        atomic_store(&tallies[i], 0);
}

void tally_print(void)
{
    static const char *const names[] = {"sends",   "receives", "closes", "aborts",
                                        "accepts", "dials",    "others"};
    for (int i = 0; i < TALLIES; i++)
        print_message("%ld %s%s", atomic_load(&tallies[i]), names[i],
                      i == TALLIES - 1 ? "\n" : ", ");
}
