/* SPDX-License-Identifier: MIT */
/* Timers: never early, late by a tick at most, in their order, whatever the clock jumps. */
#define _GNU_SOURCE
#include "support.h"
#include "timers.h"

#include <stdlib.h>
#include <unistd.h>

#define MS INT64_C(1000000)
#define DAY (INT64_C(86400000) * MS)
#define YEAR (365 * DAY)

static tm_timers timers;

static void expect_none(int64_t now)
{
    assert_null(tm_timers_take(&timers, now));
    assert_true(tm_timers_next(&timers) > now);
}

static void expect_taken(const tm_timer *timer, int64_t now)
{
    assert_ptr_equal(tm_timers_take(&timers, now), timer);
    assert_false(tm_timer_is_set(timer));
}

static void without_timers_there_is_nothing_to_wait_for(void **state)
{
    (void)state;
    static const int64_t moments[] = {0, 1, MS, DAY, 100 * YEAR, INT64_MAX};
    tm_timers_init(&timers, 0);
    for (size_t i = 0; i < COUNT(moments); i++) {
        assert_true(tm_timers_next(&timers) == INT64_MAX);
        assert_null(tm_timers_take(&timers, moments[i]));
    }
    assert_true(tm_timers_next(&timers) == INT64_MAX);
}

static void a_timer_comes_once_and_is_stopped_then(void **state)
{
    (void)state;
    tm_timer timer = {0};
    tm_timers_init(&timers, DAY);
    assert_false(tm_timer_is_set(&timer));
    tm_timers_set(&timers, &timer, DAY + 7 * MS);
    assert_true(tm_timer_is_set(&timer));
    assert_true(tm_timers_next(&timers) == DAY + 7 * MS);
    expect_none(DAY);
    expect_none(DAY + 7 * MS - 1);
    expect_taken(&timer, DAY + 7 * MS);
    expect_none(DAY + 7 * MS);
    assert_true(tm_timers_next(&timers) == INT64_MAX);
}

static void a_timer_between_two_ticks_waits_for_the_second(void **state)
{
    (void)state;
    tm_timer timer = {0};
    tm_timers_init(&timers, MS / 2);
    tm_timers_set(&timers, &timer, 5 * MS + 1);
    assert_true(tm_timers_next(&timers) == 6 * MS);
    expect_none(5 * MS + 1);
    expect_none(6 * MS - 1);
    expect_taken(&timer, 6 * MS);
}

static void what_is_due_already_comes_with_the_next_take(void **state)
{
    (void)state;
    static const int64_t starts[] = {0, 64 * MS, DAY + MS / 3, 200 * YEAR};
    static const int64_t ago[] = {0, 1, MS, 64 * MS, DAY, 90 * YEAR};
    tm_timer timer = {0};
    for (size_t i = 0; i < COUNT(starts); i++)
        for (size_t k = 0; k < COUNT(ago); k++) {
            int64_t now = starts[i] / MS * MS;
            tm_timers_init(&timers, starts[i]);
            assert_null(tm_timers_take(&timers, starts[i]));
            tm_timers_set(&timers, &timer, now - ago[k]);
            assert_true(tm_timers_next(&timers) <= starts[i]);
            expect_taken(&timer, starts[i]);
        }
}

static void a_stopped_timer_does_not_come(void **state)
{
    (void)state;
    tm_timer one = {0}, other = {0};
    tm_timers_init(&timers, 0);
    tm_timers_stop(&timers, &one);
    tm_timers_set(&timers, &one, 3 * MS);
    tm_timers_set(&timers, &other, 3 * MS);
    tm_timers_stop(&timers, &one);
    tm_timers_stop(&timers, &one);
    assert_false(tm_timer_is_set(&one));
    expect_taken(&other, 3 * MS);
    tm_timers_set(&timers, &one, 5 * MS);
    tm_timers_set(&timers, &one, INT64_MAX);
    assert_false(tm_timer_is_set(&one));
    assert_true(tm_timers_next(&timers) == INT64_MAX);
    expect_none(YEAR);
}

static void a_timer_that_is_set_again_moves(void **state)
{
    (void)state;
    tm_timer timer = {0};
    tm_timers_init(&timers, 0);
    tm_timers_set(&timers, &timer, 5 * MS);
    tm_timers_set(&timers, &timer, 2 * DAY);
    expect_none(DAY);
    tm_timers_set(&timers, &timer, DAY + MS);
    assert_true(tm_timers_next(&timers) <= DAY + MS);
    expect_taken(&timer, DAY + MS);
    expect_none(3 * DAY);
}

/* Whoever waits until `next` finds the timer at its own tick, and wakes for nothing else. */
static void each_comes_at_its_tick_across_every_carry(void **state)
{
    (void)state;
    static const int64_t starts[] = {0,
                                     1,
                                     62,
                                     63,
                                     64,
                                     4095,
                                     4096,
                                     262143,
                                     (INT64_C(1) << 30) - 1,
                                     (INT64_C(1) << 36) - 2,
                                     INT64_C(9000000000000)};
    for (size_t i = 0; i < COUNT(starts); i++)
        for (int64_t away = 1; away < INT64_C(1) << 37; away += away / 3 + 1) {
            tm_timer timer = {0};
            int64_t due = (starts[i] + away) * MS;
            tm_timers_init(&timers, starts[i] * MS);
            tm_timers_set(&timers, &timer, due);
            assert_true(tm_timers_next(&timers) == due);
            expect_none(due - 1);
            assert_true(tm_timers_next(&timers) == due);
            expect_taken(&timer, due);
        }
}

/* Who was to come before it, and does not, costs a few wake-ups at most. */
static void one_that_was_stopped_may_wake_for_another(void **state)
{
    (void)state;
    for (int64_t due = 2; due < YEAR / MS; due += due / 3 + 1) {
        tm_timer stopped = {0}, timer = {0};
        int64_t next;
        int wakes = 0;
        tm_timers_init(&timers, 0);
        tm_timers_set(&timers, &timer, due * MS);
        tm_timers_set(&timers, &stopped, due / 2 * MS);
        tm_timers_stop(&timers, &stopped);
        while ((next = tm_timers_next(&timers)) < due * MS) {
            assert_true(++wakes < TM_TIMERS_LEVELS);
            expect_none(next);
        }
        assert_true(next == due * MS);
        expect_taken(&timer, due * MS);
    }
}

static void all_of_one_tick_come_in_it(void **state)
{
    (void)state;
    tm_timer crowd[1000] = {0};
    tm_timers_init(&timers, 0);
    for (size_t i = 0; i < COUNT(crowd); i++)
        tm_timers_set(&timers, &crowd[i], DAY - (int64_t)i * 997 % MS);
    expect_none(DAY - 1);
    for (size_t i = 0; i < COUNT(crowd); i++)
        assert_non_null(tm_timers_take(&timers, DAY));
    expect_none(DAY);
}

/* Tick by tick, any of these would take longer than the test may. */
static void a_jump_of_the_clock_is_one_step(void **state)
{
    (void)state;
    tm_timer first = {0}, second = {0}, third = {0};
    tm_timers_init(&timers, 0);
    for (int64_t now = 0; now < 250 * YEAR; now += 20 * YEAR) {
        tm_timers_set(&timers, &third, now + 19 * YEAR);
        tm_timers_set(&timers, &first, now + 1);
        tm_timers_set(&timers, &second, now + DAY);
        int64_t then = now + 20 * YEAR;
        expect_taken(&first, then);
        expect_taken(&second, then);
        expect_taken(&third, then);
        expect_none(then);
        tm_timers_set(&timers, &first, then + MS); /* near by now: waited for in one step, too */
        assert_true(tm_timers_next(&timers) == then + MS);
    }
}

static void the_end_of_time_is_never_reached_early(void **state)
{
    (void)state;
    tm_timer timer = {0}, last = {0};
    tm_timers_init(&timers, 0);
    tm_timers_set(&timers, &last, INT64_MAX - 1);
    tm_timers_set(&timers, &timer, INT64_MAX - MS);
    assert_true(tm_timers_next(&timers) > INT64_MAX - 2 * MS);
    expect_none(INT64_MAX - 2 * MS);
    expect_taken(&timer, INT64_MAX);
    assert_null(tm_timers_take(&timers, INT64_MAX - 2));
    assert_true(tm_timer_is_set(&last));
    assert_true(tm_timers_next(&timers) == INT64_MAX);
    tm_timers_stop(&timers, &last);
    assert_true(tm_timers_next(&timers) == INT64_MAX);
}

static void between_two_takes_anything_may_be_set_or_stopped(void **state)
{
    (void)state;
    tm_timer due[5] = {0}, late = {0};
    tm_timers_init(&timers, 0);
    for (int i = 0; i < 5; i++)
        tm_timers_set(&timers, &due[i], (100 + i) * MS);
    expect_taken(&due[0], DAY);
    tm_timers_stop(&timers, &due[1]);
    tm_timers_set(&timers, &due[2], 2 * DAY);
    tm_timers_set(&timers, &due[0], 103 * MS + 1);
    expect_taken(&due[3], DAY);
    tm_timers_set(&timers, &late, 50 * MS);
    expect_taken(&late, DAY);
    expect_taken(&due[4], DAY);
    expect_taken(&due[0], DAY);
    expect_none(DAY);
    expect_taken(&due[2], 2 * DAY);
}

static void a_clock_that_stands_or_goes_back_takes_nothing(void **state)
{
    (void)state;
    tm_timer timer = {0};
    tm_timers_init(&timers, DAY);
    assert_null(tm_timers_take(&timers, DAY));
    tm_timers_set(&timers, &timer, DAY + MS);
    assert_null(tm_timers_take(&timers, 0));
    assert_null(tm_timers_take(&timers, DAY));
    expect_taken(&timer, DAY + MS);
}

/* The same as a plain array in which each timer has the tick that it is to come in. */
#define CROWD 60
#define STEPS 300000
#define UNSET INT64_MAX

static struct model {
    tm_timer timers[CROWD];
    int64_t ticks[CROWD]; /* UNSET: not set */
    int64_t present;      /* a tick; all before it has been taken */
    int64_t now;
    unsigned seed;
} model;

static int64_t random_below(int64_t limit)
{
    uint64_t high = (uint64_t)rand_r(&model.seed), low = (uint64_t)rand_r(&model.seed);
    return (int64_t)((high << 31 | low) % (uint64_t)limit);
}

/* Short ones mostly, but of every order of magnitude: up to 36 years. */
static int64_t random_span(void)
{
    return random_below(INT64_C(1) << (10 + random_below(51)));
}

static size_t model_first(void)
{
    size_t first = 0;
    for (size_t i = 1; i < CROWD; i++)
        if (model.ticks[i] < model.ticks[first])
            first = i;
    return first;
}

static void model_set(size_t i)
{
    int64_t due = model.now + random_span() * (random_below(8) ? 1 : -1);
    int64_t tick = due > 0 ? (due + MS - 1) / MS : 0;
    model.ticks[i] = tick > model.present ? tick : model.present;
    tm_timers_set(&timers, &model.timers[i], due);
    assert_true(tm_timer_is_set(&model.timers[i]));
}

static void model_stop(size_t i)
{
    model.ticks[i] = UNSET;
    tm_timers_stop(&timers, &model.timers[i]);
    assert_false(tm_timer_is_set(&model.timers[i]));
}

/* One more, or none, exactly as the array has it; false when none. */
static bool model_take(void)
{
    int64_t first = model.ticks[model_first()], present = model.now / MS;
    tm_timer *timer = tm_timers_take(&timers, model.now);
    if (!timer) {
        assert_true(first > present);
        model.present = present;
        return false;
    }
    size_t i = (size_t)(timer - model.timers);
    assert_true(timer->due <= model.now);
    assert_true(model.ticks[i] == first && first <= present);
    assert_false(tm_timer_is_set(timer));
    model.present = first;
    model.ticks[i] = UNSET;
    return true;
}

static void model_check_next(bool taken)
{
    int64_t next = tm_timers_next(&timers), first = model.ticks[model_first()];
    assert_true((next == INT64_MAX) == (first == UNSET));
    if (first != UNSET)
        assert_true(next <= first * MS);
    if (taken)
        assert_true(next > model.now);
}

/* On to the next tick that matters, just before it, or anywhere. */
static void model_move_clock(void)
{
    int64_t next = tm_timers_next(&timers), kind = random_below(4);
    int64_t to = kind == 0 || next == INT64_MAX ? model.now + random_span() : next - (kind == 1);
    if (to > model.now)
        model.now = to;
}

static void model_step(void)
{
    size_t i = (size_t)random_below(CROWD);
    int64_t kind = random_below(16);
    if (kind < 6)
        model_set(i);
    else if (kind < 8)
        model_stop(i);
    else if (kind < 12)
        model_check_next(!model_take());
    else if (kind < 15)
        model_move_clock();
    else
        while (model_take())
            continue;
    if (kind < 8 || kind == 15)
        model_check_next(kind == 15);
}

static void model_begin(int64_t now)
{
    model.now = now;
    model.present = now / MS;
    tm_timers_init(&timers, now);
    for (size_t i = 0; i < CROWD; i++) {
        model.timers[i] = (tm_timer){0};
        model.ticks[i] = UNSET;
    }
}

static void any_sequence_goes_as_with_a_plain_array(void **state)
{
    (void)state;
    const char *given = getenv("TEST_SEED");
    model.seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)(now_ms() * 31 + getpid());
    print_message("TEST_SEED=%u\n", model.seed);
    model_begin(0);
    for (int i = 0; i < STEPS; i++) {
        if (model.now > 150 * YEAR || random_below(5000) == 0)
            model_begin(random_below(2) ? 0 : random_span());
        model_step();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_timers_there_is_nothing_to_wait_for),
        cmocka_unit_test(a_timer_comes_once_and_is_stopped_then),
        cmocka_unit_test(a_timer_between_two_ticks_waits_for_the_second),
        cmocka_unit_test(what_is_due_already_comes_with_the_next_take),
        cmocka_unit_test(a_stopped_timer_does_not_come),
        cmocka_unit_test(a_timer_that_is_set_again_moves),
        cmocka_unit_test(each_comes_at_its_tick_across_every_carry),
        cmocka_unit_test(one_that_was_stopped_may_wake_for_another),
        cmocka_unit_test(all_of_one_tick_come_in_it),
        cmocka_unit_test(a_jump_of_the_clock_is_one_step),
        cmocka_unit_test(the_end_of_time_is_never_reached_early),
        cmocka_unit_test(between_two_takes_anything_may_be_set_or_stopped),
        cmocka_unit_test(a_clock_that_stands_or_goes_back_takes_nothing),
        cmocka_unit_test(any_sequence_goes_as_with_a_plain_array),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
