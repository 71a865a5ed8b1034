/* SPDX-License-Identifier: MIT */
/* How few system calls a loop takes: what a pass brings leaves in one for each connection, and
 * other threads wake it once. */
#define _GNU_SOURCE
#include "faults.h"
#include "guest.h"

#include <string.h>
#include <unistd.h>

enum { SENDERS = 16 };

/* The loop's wake-ups are writes, all else that a test writes is sent. */
static atomic_long wakeups;

ssize_t __real_write(int fd, const void *bytes, size_t count);
ssize_t __wrap_write(int fd, const void *bytes, size_t count);

ssize_t __wrap_write(int fd, const void *bytes, size_t count)
{
    if (count == sizeof(uint64_t))
        atomic_fetch_add(&wakeups, 1);
    return __real_write(fd, bytes, count);
}

static _Atomic(struct seen *) target;

static void send_to_target(struct seen *seen, const void *message, size_t length)
{
    struct seen *to = atomic_load(&target);
    (void)seen;
    (void)seen_send(to, message, length, 0);
}

/* The seam is set, and set back, while the loop makes no call. */
static void count_from_now(struct seen *const *seen, int count)
{
    faults_begin(&(struct faults){0});
    for (int i = 0; i < count; i++)
        faults_on(tcpmsg_conn_fd(seen[i]->conn));
}

static long writes_until_now(struct looper *looper)
{
    looper_settle(looper);
    looper_hold(looper);
    long writes = writes_made;
    faults_end();
    looper_go_on(looper);
    return writes;
}

/* Callbacks of many connections, one pass, one connection that they send to. */
static void what_a_pass_brings_to_one_leaves_in_one_write(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = send_to_target};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &acts, NULL, NULL);
        int raws[SENDERS];
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        atomic_store(&target, seen);
        for (int i = 0; i < SENDERS; i++)
            raws[i] = looper_guest(looper, NULL);
        looper_settle(looper);
        looper_hold(looper);
        for (int i = 0; i < SENDERS; i++)
            assert_true(raw_send(raws[i], "gathered"));
        count_from_now(&seen, 1);
        looper_go_on(looper);
        for (int i = 0; i < SENDERS; i++)
            assert_true(raw_gets(raw, "gathered"));
        assert_int_equal(writes_until_now(looper), 1);
        for (int i = 0; i < SENDERS; i++)
            close(raws[i]);
        close(raw);
        looper_finish(looper);
    }
}

/* All that one read brought is answered with one write, and it took no second read to do so. */
static void what_one_read_brings_is_answered_in_one_write(void **state)
{
    (void)state;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &echo, NULL, NULL);
        struct wire wire = {0};
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        for (int i = 0; i < SENDERS; i++)
            wire_add_message(&wire, NULL, "gathered", 8);
        looper_hold(looper);
        count_from_now(&seen, 1);
        assert_true(write_all(raw, wire.bytes, wire.count));
        looper_go_on(looper);
        for (int i = 0; i < SENDERS; i++)
            assert_true(raw_gets(raw, "gathered"));
        assert_int_equal(writes_until_now(looper), 1);
        assert_int_equal(reads_made, 1);
        close(raw);
        wire_free(&wire);
        looper_finish(looper);
    }
}

/* While the loop is busy, many sends of another thread, to one and to many connections. */
static void sends_of_another_thread_wake_the_loop_once(void **state)
{
    (void)state;
    enum { CONNS = 8, EACH = 20 };
    struct looper *looper = looper_serve(UNIX, &nothing, NULL, NULL);
    struct seen *seen[CONNS];
    int raws[CONNS];
    for (int i = 0; i < CONNS; i++)
        raws[i] = looper_guest(looper, &seen[i]);
    looper_settle(looper);
    looper_hold(looper);
    count_from_now(seen, CONNS);
    atomic_store(&wakeups, 0);
    for (int i = 0; i < CONNS; i++)
        for (int message = 0; message < EACH; message++)
            assert_int_equal(tcpmsg_send(seen[i]->conn, "from outside", 12, 0), 0);
    assert_int_equal(wakeups, 1);
    assert_int_equal(writes_made, 0);
    looper_go_on(looper);
    for (int i = 0; i < CONNS; i++)
        for (int message = 0; message < EACH; message++)
            assert_true(raw_gets(raws[i], "from outside"));
    assert_int_equal(writes_until_now(looper), CONNS);
    for (int i = 0; i < CONNS; i++)
        close(raws[i]);
    looper_finish(looper);
}

static void note_post(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void posts_of_another_thread_wake_the_loop_once(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &nothing, NULL, NULL);
    atomic_int posted = 0;
    looper_hold(looper);
    atomic_store(&wakeups, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(tcpmsg_loop_post(looper->loop, note_post, &posted), 0);
    assert_int_equal(wakeups, 1);
    looper_go_on(looper);
    assert_true(reaches(&posted, 100));
    looper_finish(looper);
}

/* In the loop's own thread nobody has to be woken. */
static void a_callback_that_sends_wakes_nobody(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(UNIX, &echo, NULL, NULL);
    int raw = looper_guest(looper, NULL);
    looper_settle(looper);
    atomic_store(&wakeups, 0);
    for (int i = 0; i < 20; i++)
        assert_true(raw_send(raw, "ping") && raw_gets(raw, "ping"));
    assert_int_equal(wakeups, 0);
    close(raw);
    looper_finish(looper);
}

static void answer_and_count(struct seen *seen, const void *message, size_t length)
{
    (void)seen_send(seen, message, length, 0);
    atomic_store(&seen->mark, (int)writes_made);
}

/* What is long leaves at once, from its sender's memory. */
static void a_long_answer_is_one_write_at_once(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = answer_and_count};
    struct looper *looper = looper_serve(UNIX, &acts, NULL, NULL);
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    looper_hold(looper);
    count_from_now(&seen, 1);
    looper_go_on(looper);
    assert_true(raw_send_filled(raw, 70000, 3));
    assert_true(raw_gets_filled(raw, 70000, 3));
    assert_int_equal(writes_until_now(looper), 1);
    assert_int_equal(atomic_load(&seen->mark), 1);
    close(raw);
    looper_finish(looper);
}

enum { LONG_ONES = 2, LONG = 66000, SEGMENT = 65483 };

static long out_after[LONG_ONES];

static void answer_and_note(struct seen *seen, const void *message, size_t length)
{
    (void)seen_send(seen, message, length, 0);
    out_after[atomic_fetch_add(&seen->mark, 1) % LONG_ONES] = bytes_out;
}

/* While others of the same read follow, a long answer leaves in full segments; the last whole. */
static void long_answers_to_one_read_leave_in_full_segments(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = answer_and_note};
    struct looper *looper = looper_serve(UNIX, &acts, NULL, NULL);
    struct wire wire = {0};
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    for (uint32_t i = 0; i < LONG_ONES; i++)
        wire_add_filled(&wire, NULL, LONG, i);
    looper_hold(looper);
    count_from_now(&seen, 1);
    assert_true(write_all(raw, wire.bytes, wire.count));
    looper_go_on(looper);
    for (uint32_t i = 0; i < LONG_ONES; i++)
        assert_true(raw_gets_filled(raw, LONG, i));
    assert_int_equal(writes_until_now(looper), LONG_ONES);
    assert_int_equal(reads_made, 1);
    assert_int_equal(out_after[0], SEGMENT);
    assert_int_equal(out_after[1], wire.count);
    close(raw);
    wire_free(&wire);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_pass_brings_to_one_leaves_in_one_write),
        cmocka_unit_test(what_one_read_brings_is_answered_in_one_write),
        cmocka_unit_test(sends_of_another_thread_wake_the_loop_once),
        cmocka_unit_test(posts_of_another_thread_wake_the_loop_once),
        cmocka_unit_test(a_callback_that_sends_wakes_nobody),
        cmocka_unit_test(a_long_answer_is_one_write_at_once),
        cmocka_unit_test(long_answers_to_one_read_leave_in_full_segments),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
