/* SPDX-License-Identifier: MIT */
/* A dial that is given up while its name is looked up: the look-up's thread ends by itself, frees
 * all, and tells nobody any more. */
#define _GNU_SOURCE
#include "clock.h"
#include "dialer.h"
#include "shortage.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How often a dial is given up, each time a little later than the last one. */
#define MANY 300

#define SHORT_LIMIT_MS 50

/* How long a notice that is under way is kept there; the end has to be seen waiting for it. */
#define WHILE_MS 30

static const tm_settings settings = {.connect_timeout_ms = WAIT_MS};

static bool a_look_up_is_held(void *arg)
{
    (void)arg;
    return held_look_ups > 0;
}

/* It is told by the number of allocations, so a test begins with none. */
static bool all_freed(void *arg)
{
    (void)arg;
    return allocations() == 0;
}

/* The answer of the first step: 0, but for a look-up that is quicker than the step. */
static int try_begin(tm_dialer *dialer, tm_dial_notify *notify, void *arg)
{
    int fd;
    tm_sockaddr peer;
    assert_int_equal(tm_dialer_begin(dialer, "localhost:1", &settings, notify, arg), 0);
    return tm_dialer_step(dialer, &fd, &peer);
}

/* Begins a look-up that waits until hold_look_ups is cleared. */
static void begin_held(tm_dialer *dialer, tm_dial_notify *notify, void *arg)
{
    hold_look_ups = true;
    assert_int_equal(try_begin(dialer, notify, arg), 0);
}

static void count(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void a_dial_that_has_not_begun_to_look_up_is_given_up(void **state)
{
    (void)state;
    tm_dialer dialer;
    atomic_int notices = 0;
    assert_int_equal(tm_dialer_begin(&dialer, "localhost:1", &settings, count, &notices), 0);
    assert_int_equal(allocations(), 0);
    tm_dialer_end(&dialer);
    assert_int_equal(notices, 0);
}

static void no_notice_comes_after_the_end(void **state)
{
    (void)state;
    tm_dialer dialer;
    atomic_int notices = 0;
    begin_held(&dialer, count, &notices);
    assert_true(eventually(a_look_up_is_held, NULL));
    tm_dialer_end(&dialer);
    memset(&dialer, 0xff, sizeof dialer);
    assert_true(allocations() > 0);
    hold_look_ups = false;
    assert_true(eventually(all_freed, NULL));
    assert_int_equal(notices, 0);
}

/* What was found and nobody has asked for. */
static void an_answer_that_nobody_takes_is_freed(void **state)
{
    (void)state;
    tm_dialer dialer;
    atomic_int notices = 0;
    begin_held(&dialer, count, &notices);
    hold_look_ups = false;
    tm_dialer_wait(&dialer);
    assert_int_equal(notices, 1);
    tm_dialer_end(&dialer);
    assert_true(eventually(all_freed, NULL));
    assert_int_equal(notices, 1);
}

/* With somebody to notify or without: out of time it is given up by the step already. */
static void promise_11_the_limit_covers_the_look_up(void **state)
{
    (void)state;
    static const tm_settings in_a_hurry = {.connect_timeout_ms = SHORT_LIMIT_MS};
    tm_dial_notify *const notified[] = {count, NULL};
    for (size_t i = 0; i < COUNT(notified); i++) {
        tm_dialer dialer;
        int fd, result;
        tm_sockaddr peer;
        atomic_int notices = 0;
        hold_look_ups = true;
        assert_int_equal(
            tm_dialer_begin(&dialer, "localhost:1", &in_a_hurry, notified[i], &notices), 0);
        while ((result = tm_dialer_step(&dialer, &fd, &peer)) == 0)
            tm_dialer_wait(&dialer);
        assert_int_equal(result, TCPMSG_ETIMEDOUT);
        assert_true(tm_now() >= dialer.deadline);
        tm_dialer_end(&dialer);
        assert_string_equal(tm_dialer_story(&dialer), "the look-up of \"localhost\" took too long");
        hold_look_ups = false;
        assert_true(eventually(all_freed, NULL));
        assert_int_equal(notices, 0);
    }
}

static void write_into(void *arg)
{
    ++*(int *)arg;
}

/* Whoever is notified may be gone a moment later: it is freed right after the end. */
static void an_end_at_any_moment_is_the_end(void **state)
{
    (void)state;
    for (int i = 0; i < MANY; i++) {
        tm_dialer dialer;
        int *notices = calloc(1, sizeof *notices);
        int64_t later = tm_now() + i * TM_MS / 200;
        assert_non_null(notices);
        try_begin(&dialer, write_into, notices);
        while (!tm_passed(later))
            continue;
        tm_dialer_end(&dialer);
        assert_true(*notices <= 1);
        free(notices);
    }
    assert_true(eventually(all_freed, NULL));
}

/* A notice that takes its time. */
struct notice {
    atomic_bool begun;
    atomic_bool may_return;
    atomic_bool returned;
};

static void take_time(void *arg)
{
    struct notice *notice = arg;
    notice->begun = true;
    while (!notice->may_return)
        sleep_ms(1);
    notice->returned = true;
}

static bool has_begun(void *arg)
{
    return ((struct notice *)arg)->begun;
}

static void *let_it_return(void *arg)
{
    sleep_ms(WHILE_MS);
    ((struct notice *)arg)->may_return = true;
    return NULL;
}

static void an_end_waits_for_a_notice_under_way(void **state)
{
    (void)state;
    tm_dialer dialer;
    pthread_t thread;
    struct notice notice = {0};
    begin_held(&dialer, take_time, &notice);
    hold_look_ups = false;
    assert_true(eventually(has_begun, &notice));
    assert_int_equal(pthread_create(&thread, NULL, let_it_return, &notice), 0);
    tm_dialer_end(&dialer);
    assert_true(notice.returned);
    pthread_join(thread, NULL);
    assert_true(eventually(all_freed, NULL));
}

static int end_in_the_child(void *dialer)
{
    alarm(WAIT_MS / 1000);
    tm_dialer_end(dialer);
    return 0;
}

/* There the look-up's thread is none, and its lock may be taken for ever. */
static void a_forked_child_only_lets_go(void **state)
{
    (void)state;
    tm_dialer dialer;
    struct notice notice = {0};
    begin_held(&dialer, take_time, &notice);
    hold_look_ups = false;
    assert_true(eventually(has_begun, &notice));
    int result = in_child(end_in_the_child, &dialer);
    notice.may_return = true;
    tm_dialer_end(&dialer);
    assert_int_equal(result, 0);
    assert_true(eventually(all_freed, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dial_that_has_not_begun_to_look_up_is_given_up),
        cmocka_unit_test(no_notice_comes_after_the_end),
        cmocka_unit_test(an_answer_that_nobody_takes_is_freed),
        cmocka_unit_test(promise_11_the_limit_covers_the_look_up),
        cmocka_unit_test(an_end_at_any_moment_is_the_end),
        cmocka_unit_test(an_end_waits_for_a_notice_under_way),
        cmocka_unit_test(a_forked_child_only_lets_go),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
