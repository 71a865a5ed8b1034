/* SPDX-License-Identifier: MIT */
/* Random scripts that follow from a seed, told well enough when they fail: the seed, the step, and
 * what was done last. The environment's TESTS_SEED replays one, TESTS_STEPS says how many steps. */
#ifndef TESTS_MODEL_H
#define TESTS_MODEL_H

#include "support.h"

/* A row of numbers that follows from a seed; each thread and each purpose has one of its own. */
struct dice {
    uint64_t state;
};

struct dice dice_from(uint64_t seed, uint64_t purpose);
uint64_t dice_roll(struct dice *dice);
size_t dice_below(struct dice *dice, size_t count);                /* 0 to count - 1 */
size_t dice_between(struct dice *dice, size_t least, size_t most); /* both of them, too */
bool dice_chance(struct dice *dice, unsigned percent);

/* What chance does in faults.c, in this thread, follows from this seed from now on. */
void dice_for_faults(uint64_t seed);

/* The standard one, or the environment's; and one from the clock, unless the environment has one.
 * False: there is nothing to be played. The seed is printed. */
bool seed_fixed(uint64_t *seed);
bool seed_new(uint64_t *seed);

/* The environment's TESTS_WEATHER adds faults of its own to every call; it is "" otherwise. */
bool weather_is_fair(void);

/*
 * A round is one connection's life; a seed's rounds are those of the seeds that follow it, so that
 * the seed of the round that failed plays it at once. A round that hangs is a failure, too.
 */
void round_begin(uint64_t seed);
void round_end(void);
uint64_t round_seed(void);

/* Rounds of a seed and of those that follow it, until the environment's steps, or so many, are
 * played; `play_round` is told how many are left. Prints how many rounds and how long they took. */
void play_rounds(uint64_t seed, long everyday, void (*play_round)(uint64_t seed, long left));

/* A step of this thread's script begins; what is done in it, and what came of it. */
void step_begin(void);
void steps_done(long count); /* by other threads */
void step_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void step_answer(ssize_t answer);
void step_keep(void);   /* the last note is told whatever comes after it */
void step_forget(void); /* the last note is of no interest */

/* Prints the seed, the step and the last notes, and fails the test. Not for other threads. */
_Noreturn void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Bytes that follow from a number, at most CONTENT_MOST: they are there, and only to be read. */
#define CONTENT_MOST ((size_t)512 << 10)
const uint8_t *content_of(uint64_t number);

/* Bytes that the library has allocated and not freed; what it asks for is refused so often. */
long memory_held(void);
void memory_refuse(int percent);

#endif
