/* SPDX-License-Identifier: MIT */
/* post and after: each call once, on the first thread, in order, in time, and hurting nobody. */
#define _GNU_SOURCE
#include "guest.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { POSTERS = 4, EACH = 3000 };

/* What the calls of one poster tell; they run on one thread. */
struct diary {
    struct looper *looper;
    int next; /* the number of its next call */
    bool in_order;
    bool at_home; /* on the loop's first thread */
    atomic_int count;
};

struct entry {
    struct diary *diary;
    int number;
};

static void write_diary(void *arg)
{
    struct entry *entry = arg;
    struct diary *diary = entry->diary;
    diary->in_order &= entry->number == diary->next++;
    diary->at_home &= pthread_equal(pthread_self(), diary->looper->home) != 0;
    atomic_fetch_add(&diary->count, 1);
}

static struct diary new_diary(struct looper *looper)
{
    return (struct diary){.looper = looper, .in_order = true, .at_home = true};
}

struct poster {
    struct call call;
    struct diary diary;
    struct entry entries[EACH];
};

static ssize_t post_each(struct call *call)
{
    struct poster *poster = (struct poster *)(void *)call;
    ssize_t failed = 0;
    for (int i = 0; i < EACH; i++) {
        poster->entries[i] = (struct entry){&poster->diary, i};
        failed +=
            tcpmsg_loop_post(poster->diary.looper->loop, write_diary, &poster->entries[i]) != 0;
    }
    return failed;
}

static void thousands_of_posts_run_once_and_in_order(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads += 3) {
        struct looper *looper =
            looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.threads = threads), NULL);
        struct poster *posters = calloc(POSTERS, sizeof *posters);
        for (int i = 0; i < POSTERS; i++) {
            posters[i].diary = new_diary(looper);
            posters[i].call.body = post_each;
            call_start(&posters[i].call);
        }
        for (int i = 0; i < POSTERS; i++) {
            assert_int_equal(call_finish(&posters[i].call), 0);
            assert_true(reaches(&posters[i].diary.count, EACH));
        }
        looper_settle(looper);
        looper_stop(looper);
        for (int i = 0; i < POSTERS; i++) {
            assert_int_equal(atomic_load(&posters[i].diary.count), EACH);
            assert_true(posters[i].diary.in_order && posters[i].diary.at_home);
        }
        looper_finish(looper);
        free(posters);
    }
}

static void posts_before_the_run_are_run_first(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    struct diary diary = new_diary(looper);
    struct entry entries[100];
    for (int i = 0; i < 100; i++) {
        entries[i] = (struct entry){&diary, i};
        assert_int_equal(tcpmsg_loop_post(looper->loop, write_diary, &entries[i]), 0);
    }
    assert_int_equal(atomic_load(&diary.count), 0);
    looper_start(looper);
    assert_true(reaches(&diary.count, 100));
    assert_true(diary.in_order);
    looper_finish(looper);
}

/* Under way, one sleeps long enough that several are due at once. */
static void after_runs_in_the_order_of_time_and_never_early(void **state)
{
    (void)state;
    static const int order[] = {3, 0, 4, 1, 2};
    for (int held = 0; held < 2; held++) {
        struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
        struct diary diary = new_diary(looper);
        struct entry entries[5];
        int64_t begin = now_ms();
        if (held)
            looper_hold(looper);
        for (int i = 0; i < 5; i++) {
            entries[i] = (struct entry){&diary, order[i]};
            assert_int_equal(
                tcpmsg_loop_after(looper->loop, order[i] * 60, write_diary, &entries[i]), 0);
        }
        if (held) {
            sleep_ms(200);
            assert_int_equal(atomic_load(&diary.count), 0);
            looper_go_on(looper);
        }
        for (int i = 0; i < 5; i++) {
            assert_true(reaches(&diary.count, i + 1));
            assert_true(now_ms() - begin >= i * 60 - 1 && now_ms() - begin < i * 60 + 5000);
        }
        looper_stop(looper);
        assert_true(diary.in_order && diary.at_home);
        assert_int_equal(atomic_load(&diary.count), 5);
        looper_finish(looper);
    }
}

static struct call_time {
    int64_t due;
    atomic_int early;
    atomic_int count;
} times[5000];

static void check_time(void *arg)
{
    struct call_time *time = arg;
    if (now_ms() < time->due - 1)
        atomic_fetch_add(&time->early, 1);
    atomic_fetch_add(&time->count, 1);
}

static void thousands_of_timers_each_in_its_time(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    unsigned seed = 7;
    for (size_t i = 0; i < COUNT(times); i++) {
        int ms = i % 10 == 0 ? 0 : rand_r(&seed) % 700;
        times[i].due = now_ms() + ms;
        assert_int_equal(tcpmsg_loop_after(looper->loop, ms, check_time, &times[i]), 0);
    }
    assert_int_equal(tcpmsg_loop_after(looper->loop, INT_MAX, check_time, &times[0]), 0);
    assert_int_equal(tcpmsg_loop_after(looper->loop, 3600 * 1000, check_time, &times[0]), 0);
    for (size_t i = 0; i < COUNT(times); i++)
        assert_true(reaches(&times[i].count, 1));
    looper_finish(looper);
    for (size_t i = 0; i < COUNT(times); i++) {
        assert_int_equal(atomic_load(&times[i].early), 0);
        assert_int_equal(atomic_load(&times[i].count), 1);
    }
}

/* It sleeps as long as there is to wait; a sooner call from another thread wakes it. */
static void a_sooner_call_wakes_a_long_sleep(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    struct diary diary = new_diary(looper);
    struct entry late = {&diary, 99}, soon = {&diary, 0};
    assert_int_equal(tcpmsg_loop_after(looper->loop, 100000, write_diary, &late), 0);
    looper_settle(looper);
    assert_int_equal(tcpmsg_loop_after(looper->loop, 30, write_diary, &soon), 0);
    assert_true(reaches(&diary.count, 1));
    assert_true(diary.in_order);
    looper_finish(looper);
    assert_int_equal(atomic_load(&diary.count), 1);
}

/* A call that posts itself again and again: there is time for the others all the same. */
struct again {
    struct looper *looper;
    int way;
    atomic_int count;
    atomic_int enough;
};

static void again_and_again(void *arg)
{
    struct again *again = arg;
    tcpmsg_loop *loop = again->looper->loop;
    atomic_fetch_add(&again->count, 1);
    if (atomic_load(&again->enough))
        return;
    int result = again->way ? tcpmsg_loop_after(loop, 0, again_and_again, again)
                            : tcpmsg_loop_post(loop, again_and_again, again);
    if (result != 0 && result != TCPMSG_ECANCELED)
        looper_fault(again->looper, "a post in a callback");
}

static void calls_that_call_for_more_starve_nobody(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
        struct again again = {.looper = looper, .way = way};
        int raw = looper_guest(looper, NULL);
        assert_int_equal(tcpmsg_loop_post(looper->loop, again_and_again, &again), 0);
        for (int i = 0; i < 50; i++)
            assert_true(raw_send(raw, "ping") && raw_gets(raw, "ping"));
        assert_true(reaches(&again.count, 50));
        if (way)
            atomic_store(&again.enough, 1);
        close(raw);
        looper_finish(looper);
    }
}

/* From on_message; and the call sends on the connection, which it holds a reference to. */
static void send_later(void *arg)
{
    struct seen *seen = arg;
    (void)seen_send(seen, "later", 5, 0);
    tcpmsg_conn_unref(seen->conn);
}

static void answer_later(struct seen *seen, const void *message, size_t length)
{
    tcpmsg_loop *loop = seen->looper->loop;
    (void)message;
    tcpmsg_conn_ref(seen->conn);
    int result = length == 4 ? tcpmsg_loop_post(loop, send_later, seen)
                             : tcpmsg_loop_after(loop, 20, send_later, seen);
    if (result != 0)
        looper_fault(seen->looper, "a post in a callback");
}

static void callbacks_may_post(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = answer_later};
    for (int threads = 1; threads <= 4; threads += 3) {
        struct looper *looper =
            looper_serve(TCP, &acts, TCPMSG_LOOP_OPTIONS(.threads = threads), NULL);
        int raws[8];
        for (int i = 0; i < 8; i++) {
            raws[i] = looper_guest(looper, NULL);
            assert_true(raw_send(raws[i], i % 2 ? "post" : "after"));
        }
        for (int i = 0; i < 8; i++) {
            assert_true(raw_gets(raws[i], "later"));
            close(raws[i]);
        }
        looper_settle(looper);
        looper_finish(looper);
    }
}

/* Signals are the caller's: threads that the loop made don't take them. */
static atomic_int open_masks;

static void look_at_the_mask(struct seen *seen)
{
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    if (pthread_equal(pthread_self(), seen->looper->home))
        return;
    if (!sigismember(&mask, SIGINT) || !sigismember(&mask, SIGTERM) ||
        !sigismember(&mask, SIGUSR1) || !sigismember(&mask, SIGALRM))
        atomic_fetch_add(&open_masks, 1);
    atomic_store(&seen->mark, 1);
}

static void promise_10_its_threads_have_signals_blocked(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = look_at_the_mask};
    struct looper *looper = looper_serve(TCP, &acts, TCPMSG_LOOP_OPTIONS(.threads = 4), NULL);
    int raws[40], elsewhere = 0;
    for (int i = 0; i < 40; i++)
        raws[i] = looper_guest(looper, NULL);
    looper_stop(looper);
    for (int i = 0; i < 40; i++) {
        elsewhere += atomic_load(&looper_seen(looper, i)->mark);
        close(raws[i]);
    }
    looper_finish(looper);
    assert_true(elsewhere > 0);
    assert_int_equal(atomic_load(&open_masks), 0);
}

/* Signals at every millisecond: nothing is lost, no clock stops. */
static void a_storm_of_signals_changes_nothing(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    struct diary diary = new_diary(looper);
    struct entry entry = {&diary, 0};
    int raw = looper_guest(looper, NULL);
    storm_begin();
    assert_int_equal(tcpmsg_loop_after(looper->loop, 100, write_diary, &entry), 0);
    for (uint32_t i = 0; i < 100; i++)
        assert_true(raw_send_filled(raw, i * 500, i) && raw_gets_filled(raw, i * 500, i));
    assert_true(reaches(&diary.count, 1));
    storm_end();
    close(raw);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thousands_of_posts_run_once_and_in_order),
        cmocka_unit_test(posts_before_the_run_are_run_first),
        cmocka_unit_test(after_runs_in_the_order_of_time_and_never_early),
        cmocka_unit_test(thousands_of_timers_each_in_its_time),
        cmocka_unit_test(a_sooner_call_wakes_a_long_sleep),
        cmocka_unit_test(calls_that_call_for_more_starve_nobody),
        cmocka_unit_test(callbacks_may_post),
        cmocka_unit_test(promise_10_its_threads_have_signals_blocked),
        cmocka_unit_test(a_storm_of_signals_changes_nothing),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
