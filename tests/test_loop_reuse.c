/* SPDX-License-Identifier: MIT */
/* Events of a descriptor that was closed and reused in the same pass never reach the wrong
 * connection. All the ends come in one pass; the first callback ends the others and puts new
 * connections in their places, whose numbers are theirs if these are free already. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OLD = 12, ROUNDS = 10 };

/* How the old connections' ends are made, and how the first callback ends them itself. */
static const struct way {
    bool resets;
    bool closes;
    bool later; /* the new ones come from a posted call, in the same pass or the next */
} ways[] = {{false, false, false}, {true, false, false}, {false, true, false},
            {true, true, false},   {false, false, true}, {true, false, true}};

static const struct way *way;
static struct seen *old_ones[OLD];
static tcpmsg_conn *new_ones[OLD];
static atomic_int swapped;
static struct acts fresh_acts;

static void put_new_ones(void *arg)
{
    struct looper *looper = arg;
    for (int i = 0; i < OLD; i++)
        if (looper_add(looper, new_ones[i], &fresh_acts) != 0)
            looper_fault(looper, "add in a callback");
}

/* The new sockets are made here, so that they can have the old ones' numbers. */
static int new_raws[OLD];

static void make_new_ones(struct looper *looper)
{
    for (int i = 0; i < OLD; i++) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0 ||
            tcpmsg_attach(&new_ones[i], ends[0], NULL) != 0) {
            looper_fault(looper, "no new connections");
            return;
        }
        new_raws[i] = ends[1];
    }
    if (way->later) {
        if (tcpmsg_loop_post(looper->loop, put_new_ones, looper) != 0)
            looper_fault(looper, "post in a callback");
    } else {
        put_new_ones(looper);
    }
}

static void swap_all(struct seen *seen)
{
    if (atomic_exchange(&swapped, 1))
        return;
    for (int i = 0; i < OLD; i++) {
        if (!old_ones[i] || old_ones[i] == seen) /* without memory they don't all come */
            continue;
        if (way->closes)
            (void)tcpmsg_close(old_ones[i]->conn);
        else
            tcpmsg_abort(old_ones[i]->conn);
    }
    make_new_ones(seen->looper);
}

static void swap_at_message(struct seen *seen, const void *message, size_t length)
{
    (void)message;
    (void)length;
    swap_all(seen);
}

static const struct acts swapping = {.on_message = swap_at_message, .on_close = swap_all};

static void swap_once(struct looper *looper)
{
    int raws[OLD], holes[OLD], first = atomic_load(&looper->count);
    for (int i = 0; i < OLD; i++) {
        raws[i] = looper_guest(looper, &old_ones[i]);
        tcpmsg_conn_ref(old_ones[i]->conn);
    }
    atomic_store(&swapped, 0);
    looper_hold(looper);
    for (int i = 0; i < OLD; i++) {
        if (i % 3 == 0)
            assert_true(raw_send(raws[i], "x"));
        if (way->resets)
            raw_reset(raws[i]);
        else
            close(raws[i]);
        holes[i] = dup(STDERR_FILENO); /* this number is not for a new one */
    }
    looper_go_on(looper);
    assert_true(reaches(&looper->count, first + 2 * OLD));
    looper_settle(looper);
    for (int i = 0; i < OLD; i++) {
        struct seen *fresh = looper_seen(looper, first + OLD + i);
        assert_int_equal(atomic_load(&fresh->messages), 0);
        assert_int_equal(atomic_load(&fresh->closes), 0);
        assert_true(raw_send(new_raws[i], "hello") && raw_gets(new_raws[i], "hello"));
        (void)seen_end(old_ones[i]);
        tcpmsg_conn_unref(old_ones[i]->conn);
    }
    for (int i = 0; i < OLD; i++) {
        close(holes[i]);
        close(new_raws[i]);
    }
    for (int i = 0; i < OLD; i++)
        assert_code(seen_end(looper_seen(looper, first + OLD + i)), TCPMSG_EOF);
}

static void an_event_of_the_old_does_not_reach_the_new(void **state)
{
    (void)state;
    fresh_acts = echo;
    for (way = ways; way < ways + COUNT(ways); way++) {
        struct looper *looper = looper_serve(TCP, &swapping, NULL, NULL);
        for (int round = 0; round < ROUNDS; round++)
            swap_once(looper);
        looper_finish(looper);
    }
}

/* The same through accept: new guests, who come in the pass in which the old ones go. */
static void who_comes_while_others_go_is_not_taken_for_them(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    int raws[OLD], next[OLD];
    for (int i = 0; i < OLD; i++)
        raws[i] = looper_guest(looper, NULL);
    for (int round = 0; round < 4 * ROUNDS; round++) {
        looper_hold(looper);
        for (int i = 0; i < OLD; i++) {
            if (i % 2)
                raw_reset(raws[i]);
            else
                close(raws[i]);
            assert_true((next[i] = raw_reach(looper->address)) >= 0);
            if (i % 3 == 0)
                assert_true(raw_send(next[i], "hello"));
        }
        looper_go_on(looper);
        assert_true(reaches(&looper->count, (round + 2) * OLD));
        looper_settle(looper);
        for (int i = 0; i < OLD; i++) {
            assert_true(i % 3 == 0 || raw_send(next[i], "hello"));
            assert_true(raw_gets(next[i], "hello"));
            raws[i] = next[i];
        }
    }
    for (int i = 0; i < OLD; i++)
        close(raws[i]);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_of_the_old_does_not_reach_the_new),
        cmocka_unit_test(who_comes_while_others_go_is_not_taken_for_them),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
