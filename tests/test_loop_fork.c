/* SPDX-License-Identifier: MIT */
/* A child of fork has a copy of a loop and no thread of it: whatever it does with that copy, the
 * parent's loop and its peers don't notice. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { GUESTS = 5 };

static int let_go(void *arg)
{
    struct looper *looper = arg;
    tcpmsg_loop_close(looper->loop);
    return 0;
}

static int stop_and_let_go(void *arg)
{
    struct looper *looper = arg;
    tcpmsg_loop_stop(looper->loop);
    tcpmsg_loop_close(looper->loop);
    return 0;
}

static int stop_only(void *arg)
{
    struct looper *looper = arg;
    tcpmsg_loop_stop(looper->loop);
    return 0;
}

/* What the child's copies hold back is the parent's to send. */
static int drop_references(void *arg)
{
    struct looper *looper = arg;
    for (int i = 0; i < GUESTS; i++)
        tcpmsg_conn_unref(looper->seen[i]->conn);
    tcpmsg_loop_close(looper->loop);
    return 0;
}

static void the_parent_goes_on(enum transport transport, bool running, int (*body)(void *arg))
{
    struct looper *looper = looper_open(TCPMSG_LOOP_OPTIONS(.threads = 2));
    int raws[GUESTS], fresh;
    looper_listen(looper, transport, &echo, NULL);
    if (running) {
        looper_start(looper);
        for (int i = 0; i < GUESTS; i++) {
            struct seen *seen;
            raws[i] = looper_guest(looper, &seen);
            tcpmsg_conn_ref(seen->conn);
            assert_true(raw_send(raws[i], "before") && raw_gets(raws[i], "before"));
        }
    }
    assert_int_equal(in_child(body, looper), 0);
    if (!running) {
        for (int i = 0; i < GUESTS; i++)
            assert_true((raws[i] = raw_reach(looper->address)) >= 0);
        looper_start(looper);
    }
    for (int i = 0; i < GUESTS; i++) {
        assert_true(raw_send(raws[i], "after") && raw_gets(raws[i], "after"));
        assert_true(raw_has_nothing(raws[i]));
    }
    assert_true((fresh = raw_reach(looper->address)) >= 0);
    assert_true(raw_send(fresh, "hello") && raw_gets(fresh, "hello"));
    looper_settle(looper);
    assert_int_equal(atomic_load(&looper->count), GUESTS + 1);
    close(fresh);
    for (int i = 0; i < GUESTS; i++) {
        close(raws[i]);
        if (running)
            tcpmsg_conn_unref(looper_seen(looper, i)->conn);
    }
    looper_finish(looper);
}

static void in_every_way(int (*body)(void *arg))
{
    for (enum transport transport = 0; transport < TRANSPORTS; transport++)
        the_parent_goes_on(transport, true, body);
}

static void promise_9_close_in_a_child_only_lets_go(void **state)
{
    (void)state;
    in_every_way(let_go);
    the_parent_goes_on(UNIX, false, let_go);
}

static void promise_9_stop_in_a_child_is_not_the_parents(void **state)
{
    (void)state;
    in_every_way(stop_only);
    in_every_way(stop_and_let_go);
    the_parent_goes_on(TCP, false, stop_and_let_go);
}

static void promise_9_a_childs_references_only_let_go(void **state)
{
    (void)state;
    in_every_way(drop_references);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_9_close_in_a_child_only_lets_go),
        cmocka_unit_test(promise_9_stop_in_a_child_is_not_the_parents),
        cmocka_unit_test(promise_9_a_childs_references_only_let_go),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
