/* SPDX-License-Identifier: MIT */
/* Deadlines, and a condition that waits for them, by the monotonic clock. */
#define _GNU_SOURCE
#include "clock.h"
#include "shortage.h"

#include <errno.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

#define SECOND (1000 * TM_MS)

static void the_clock_never_goes_back(void **state)
{
    (void)state;
    int64_t last = tm_now();
    for (int i = 0; i < 10000; i++) {
        int64_t now = tm_now();
        assert_true(now >= last);
        last = now;
    }
}

static int64_t monotonic(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

static void it_is_the_monotonic_clock(void **state)
{
    (void)state;
    int64_t before = monotonic(), now = tm_now(), after = monotonic();
    assert_true(before <= now && now <= after);
}

static void a_deadline_is_so_many_milliseconds_from_now(void **state)
{
    (void)state;
    static const int waits[] = {0, 1, 1000, INT_MAX};
    for (size_t i = 0; i < COUNT(waits); i++) {
        int64_t before = tm_now(), deadline = tm_deadline(waits[i]), after = tm_now();
        assert_true(deadline >= before + waits[i] * TM_MS);
        assert_true(deadline <= after + waits[i] * TM_MS);
    }
}

static void a_negative_time_is_for_ever(void **state)
{
    (void)state;
    assert_true(tm_deadline(-1) == TM_FOREVER);
    assert_true(tm_deadline(INT_MIN) == TM_FOREVER);
    assert_int_equal(tm_left_ms(TM_FOREVER), -1);
    assert_false(tm_passed(TM_FOREVER));
}

static void the_sooner_of_two(void **state)
{
    (void)state;
    assert_true(tm_sooner(1, 2) == 1);
    assert_true(tm_sooner(2, 1) == 1);
    assert_true(tm_sooner(TM_FOREVER, 5) == 5);
}

/* Rounded up: poll(2) must not wake before the deadline, and then again and again. */
static void what_is_left_is_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(tm_left_ms(tm_now()), 0);
    assert_int_equal(tm_left_ms(tm_now() - SECOND), 0);
    assert_int_equal(tm_left_ms(0), 0);
    int64_t before = tm_now(), deadline = before + SECOND + 1;
    int left = tm_left_ms(deadline);
    int64_t took = tm_now() - before;
    assert_true(left <= 1001);
    assert_true(left * TM_MS >= SECOND + 1 - took);
    assert_int_equal(tm_left_ms(TM_FOREVER - 1), INT_MAX);
}

static void a_deadline_has_passed_once_it_is_there(void **state)
{
    (void)state;
    assert_true(tm_passed(0));
    assert_true(tm_passed(tm_now()));
    assert_false(tm_passed(tm_now() + 100 * SECOND));
    int64_t deadline = tm_deadline(5);
    while (tm_left_ms(deadline) > 0)
        assert_true(tm_now() < deadline + 100 * SECOND);
    assert_true(tm_passed(deadline));
}

/* What two threads share here. */
struct room {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool open;
};

static void room_begin(struct room *room)
{
    room->open = false;
    assert_int_equal(pthread_mutex_init(&room->lock, NULL), 0);
    assert_int_equal(tm_cond_init(&room->cond), 0);
    pthread_mutex_lock(&room->lock);
}

static void room_end(struct room *room)
{
    pthread_mutex_unlock(&room->lock);
    pthread_cond_destroy(&room->cond);
    pthread_mutex_destroy(&room->lock);
}

static void a_condition_waits_until_its_deadline_and_no_shorter(void **state)
{
    (void)state;
    struct room room;
    room_begin(&room);
    int64_t deadline = tm_deadline(20);
    int rounds = 0;
    for (; tm_cond_wait(&room.cond, &room.lock, deadline); rounds++)
        assert_true(tm_now() < deadline);
    assert_true(rounds < 10); /* it slept, and did not only ask what time it is */
    assert_true(tm_now() >= deadline);
    assert_true(tm_now() < deadline + WAIT_MS * TM_MS);
    assert_false(tm_cond_wait(&room.cond, &room.lock, tm_now() - SECOND));
    assert_false(tm_cond_wait(&room.cond, &room.lock, 0));
    room_end(&room);
}

static void *open_room(void *arg)
{
    struct room *room = arg;
    pthread_mutex_lock(&room->lock);
    room->open = true;
    pthread_cond_signal(&room->cond);
    pthread_mutex_unlock(&room->lock);
    return NULL;
}

static void expect_woken(int64_t deadline)
{
    struct room room;
    pthread_t thread;
    room_begin(&room);
    assert_int_equal(pthread_create(&thread, NULL, open_room, &room), 0);
    while (!room.open)
        assert_true(tm_cond_wait(&room.cond, &room.lock, deadline));
    pthread_mutex_unlock(&room.lock);
    pthread_join(thread, NULL);
    pthread_mutex_lock(&room.lock);
    room_end(&room);
}

static void a_signal_wakes_it_before_the_deadline(void **state)
{
    (void)state;
    expect_woken(tm_deadline(WAIT_MS));
    expect_woken(TM_FOREVER);
}

static void a_condition_that_the_system_has_no_room_for(void **state)
{
    (void)state;
    pthread_cond_t cond;
    call_fails(CALL_pthread_condattr_init, ENOMEM, 1);
    assert_int_equal(tm_cond_init(&cond), ENOMEM);
    assert_int_equal(calls_failed(), 1);
    call_fails(CALL_pthread_cond_init, EAGAIN, 1);
    assert_int_equal(tm_cond_init(&cond), EAGAIN);
    assert_int_equal(calls_failed(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_never_goes_back),
        cmocka_unit_test(it_is_the_monotonic_clock),
        cmocka_unit_test(a_deadline_is_so_many_milliseconds_from_now),
        cmocka_unit_test(a_negative_time_is_for_ever),
        cmocka_unit_test(the_sooner_of_two),
        cmocka_unit_test(what_is_left_is_rounded_up),
        cmocka_unit_test(a_deadline_has_passed_once_it_is_there),
        cmocka_unit_test(a_condition_waits_until_its_deadline_and_no_shorter),
        cmocka_unit_test(a_signal_wakes_it_before_the_deadline),
        cmocka_unit_test(a_condition_that_the_system_has_no_room_for),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
