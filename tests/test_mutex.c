/* SPDX-License-Identifier: MIT */
/* What stands on futex(2): a wait sleeps until its deadline, or until it is woken. */
#include "support.h"

#include <pthread.h>
#include <unistd.h>

#include "clock.h"
#include "mutex.h"

enum { LIMIT_MS = 300, EARLY_MOST = 100 };

struct gate {
    tm_mutex lock;
    tm_condition opened;
    bool open;
};

static void gate_make(struct gate *gate)
{
    *gate = (struct gate){.open = false};
    assert_int_equal(tm_mutex_init(&gate->lock), 0);
    assert_int_equal(tm_condition_init(&gate->opened), 0);
}

static void gate_break(struct gate *gate)
{
    tm_condition_destroy(&gate->opened);
    tm_mutex_destroy(&gate->lock);
}

/* How often it woke before the gate was open, or the deadline was there. */
static int wait_at(struct gate *gate, int64_t deadline)
{
    int early = 0;
    tm_mutex_lock(&gate->lock);
    while (!gate->open && tm_condition_wait(&gate->opened, &gate->lock, deadline))
        early++;
    tm_mutex_unlock(&gate->lock);
    return early;
}

/* Whatever part of a second the deadline is at: it is asleep till then, and does not ask again. */
static void a_wait_sleeps_until_its_deadline(void **state)
{
    (void)state;
    struct gate gate;
    gate_make(&gate);
    for (int i = 0; i < 4; i++) {
        int64_t deadline = tm_deadline(LIMIT_MS);
        assert_in_range(wait_at(&gate, deadline), 0, EARLY_MOST);
        assert_true(tm_now() >= deadline);
    }
    gate_break(&gate);
}

static void a_deadline_that_has_passed_is_not_waited_for(void **state)
{
    (void)state;
    struct gate gate;
    gate_make(&gate);
    assert_int_equal(wait_at(&gate, tm_now()), 0);
    gate_break(&gate);
}

static void *open_gate(void *arg)
{
    struct gate *gate = arg;
    tm_mutex_lock(&gate->lock);
    gate->open = true;
    tm_condition_broadcast(&gate->opened);
    tm_mutex_unlock(&gate->lock);
    return NULL;
}

static void who_is_woken_does_not_wait_for_the_deadline(void **state)
{
    (void)state;
    const int64_t deadlines[] = {TM_FOREVER, tm_deadline(WAIT_MS)};
    for (size_t i = 0; i < COUNT(deadlines); i++) {
        struct gate gate;
        pthread_t opener;
        gate_make(&gate);
        tm_mutex_lock(&gate.lock);
        assert_int_equal(pthread_create(&opener, NULL, open_gate, &gate), 0);
        while (!gate.open)
            assert_true(tm_condition_wait(&gate.opened, &gate.lock, deadlines[i]));
        tm_mutex_unlock(&gate.lock);
        pthread_join(opener, NULL);
        gate_break(&gate);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_sleeps_until_its_deadline),
        cmocka_unit_test(a_deadline_that_has_passed_is_not_waited_for),
        cmocka_unit_test(who_is_woken_does_not_wait_for_the_deadline),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
