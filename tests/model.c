/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "model.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NOTES = 48, NOTE_SIZE = 128, HANG_SECONDS = 60 };

static uint64_t seed_now;
static long step_now, rounds_in_all;
static atomic_long steps_in_all;
static char notes[NOTES][NOTE_SIZE];
static char first_note[NOTE_SIZE];
static size_t notes_made;
static _Thread_local struct dice faults_dice;

/* SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators"). */
uint64_t dice_roll(struct dice *dice)
{
    uint64_t x = dice->state += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

struct dice dice_from(uint64_t seed, uint64_t purpose)
{
    struct dice dice = {seed}, other = {purpose};
    dice.state = dice_roll(&dice) ^ dice_roll(&other);
    return dice;
}

size_t dice_below(struct dice *dice, size_t count)
{
    return (size_t)(dice_roll(dice) % count);
}

size_t dice_between(struct dice *dice, size_t least, size_t most)
{
    return least + dice_below(dice, most - least + 1);
}

bool dice_chance(struct dice *dice, unsigned percent)
{
    return dice_below(dice, 100) < percent;
}

void dice_for_faults(uint64_t seed)
{
    faults_dice = dice_from(seed, 99);
}

/* ld's --wrap brings the chances of faults.c here. */
int __wrap_rand_r(unsigned *seed);

int __wrap_rand_r(unsigned *seed)
{
    (void)seed;
    return (int)(dice_roll(&faults_dice) >> 33);
}

static bool seed_given(uint64_t *seed)
{
    const char *text = getenv("TESTS_SEED");
    if (!text || !*text)
        return false;
    *seed = strtoull(text, NULL, 0);
    return true;
}

static bool seed_told(uint64_t seed)
{
    print_message("TESTS_SEED=0x%" PRIx64 "\n", seed);
    return true;
}

bool seed_fixed(uint64_t *seed)
{
    if (!seed_given(seed))
        *seed = UINT64_C(0x5EED);
    return seed_told(*seed);
}

bool seed_new(uint64_t *seed)
{
    struct timespec now;
    if (seed_given(seed))
        return false;
    clock_gettime(CLOCK_REALTIME, &now);
    struct dice dice = {(uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec +
                        ((uint64_t)getpid() << 40)};
    *seed = dice_roll(&dice);
    return seed_told(*seed);
}

static long steps_to_play(long everyday)
{
    const char *text = getenv("TESTS_STEPS");
    return text && *text ? strtol(text, NULL, 0) : everyday;
}

static void tell(void)
{
    size_t first = notes_made > NOTES ? notes_made - NOTES : 0;
    if (first > 0)
        print_error("  %s\n", first_note);
    for (size_t i = first; i < notes_made; i++)
        print_error("  %s\n", notes[i % NOTES]);
    print_error("TESTS_SEED=0x%" PRIx64 " plays it again; it failed at step %ld\n", seed_now,
                step_now);
}

bool weather_is_fair(void)
{
    const char *text = getenv("TESTS_WEATHER");
    return !text || !*text;
}

/* Not what a signal handler may do, but there is nothing more to lose. */
static void hangs(int number)
{
    (void)number;
    tell();
    print_error("it hangs\n");
    _exit(1);
}

void round_begin(uint64_t seed)
{
    seed_now = seed;
    step_now = 0;
    notes_made = 0;
    first_note[0] = '\0';
    rounds_in_all++;
    dice_for_faults(seed);
    signal(SIGALRM, hangs);
    alarm(HANG_SECONDS);
}

void round_end(void)
{
    alarm(HANG_SECONDS);
}

uint64_t round_seed(void)
{
    return seed_now;
}

static long rounds_played(void)
{
    return rounds_in_all;
}

void step_begin(void)
{
    step_now++;
    steps_done(1);
}

void steps_done(long count)
{
    atomic_fetch_add(&steps_in_all, count);
}

static long steps_played(void)
{
    return atomic_load(&steps_in_all);
}

void step_note(const char *format, ...)
{
    char *note = notes[notes_made++ % NOTES];
    int used = snprintf(note, NOTE_SIZE, "%5ld ", step_now);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(note + used, NOTE_SIZE - (size_t)used, format, arguments);
    va_end(arguments);
}

void step_answer(ssize_t answer)
{
    char *note = notes[(notes_made + NOTES - 1) % NOTES];
    size_t used = strlen(note);
    if (answer < 0)
        snprintf(note + used, NOTE_SIZE - used, ": %s", tcpmsg_error_name((int)answer));
    else
        snprintf(note + used, NOTE_SIZE - used, ": %zd", answer);
}

void step_keep(void)
{
    memcpy(first_note, notes[(notes_made - 1) % NOTES], NOTE_SIZE);
}

void step_forget(void)
{
    notes_made--;
}

void model_fail(const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    tell();
    fail_msg("%s", text);
    abort(); /* not reached: cmocka has jumped away */
}

enum { TABLE = 1 << 20 };

const uint8_t *content_of(uint64_t number)
{
    static uint8_t table[TABLE];
    static atomic_bool filled;
    if (!atomic_load(&filled)) {
        struct dice dice = {1};
        for (size_t i = 0; i < TABLE; i++)
            table[i] = (uint8_t)dice_roll(&dice);
        atomic_store(&filled, true);
    }
    struct dice dice = {number};
    return table + dice_below(&dice, TABLE - CONTENT_MOST);
}

void play_rounds(uint64_t seed, long everyday, void (*play_round)(uint64_t seed, long left))
{
    long steps = steps_to_play(everyday), before = steps_played(), rounds = rounds_played();
    int64_t began = now_ms();
    content_of(0); /* before there are threads */
    for (uint64_t i = 0; steps_played() - before < steps; i++)
        play_round(seed + i, steps - (steps_played() - before));
    print_message("%ld steps in %ld rounds, in %lld ms\n", steps_played() - before,
                  rounds_played() - rounds, (long long)(now_ms() - began));
}
