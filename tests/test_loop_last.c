/* SPDX-License-Identifier: MIT */
/* What comes last is not lost: messages before a reset, what MORE held back at the mark, bytes that
 * went or had come when a clock is looked at, a call that is due while the loop spins. */
#define _GNU_SOURCE
#include "guest.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MANY = 5000 };

/* All at once, and then a reset. */
static void send_many_and_reset(int raw)
{
    struct wire wire = {0};
    for (uint32_t i = 0; i < MANY; i++)
        wire_add_message(&wire, NULL, &i, sizeof i);
    assert_true(write_all(raw, wire.bytes, wire.count));
    raw_reset(raw);
    wire_free(&wire);
}

/* How many of them the system still gives to one who receives. */
static int received(void)
{
    tcpmsg_conn *conn;
    char message[4];
    ssize_t result;
    int raw, count = 0;
    pair(&conn, &raw, NULL);
    send_many_and_reset(raw);
    while ((result = tcpmsg_recv(conn, message, sizeof message, 0)) >= 0)
        count++;
    assert_code(result, TCPMSG_ERESET);
    tcpmsg_close(conn);
    return count;
}

static void answer_long(struct seen *seen, const void *message, size_t length)
{
    static const uint8_t block[1000];
    (void)message;
    (void)length;
    (void)seen_send(seen, block, sizeof block, 0);
}

/* More than one turn of them; that an answer meets the reset first changes nothing. */
static void promise_3_a_reset_comes_after_all_that_had_arrived(void **state)
{
    (void)state;
    const struct acts acts[] = {nothing, echo, {.on_message = answer_long}};
    int wanted = received();
    for (size_t i = 0; i < COUNT(acts); i++) {
        struct seen *seen;
        struct looper *looper = looper_serve(TCP, &acts[i], NULL, NULL);
        int raw = looper_guest(looper, &seen);
        looper_hold(looper);
        send_many_and_reset(raw);
        looper_go_on(looper);
        assert_code(seen_end(seen), TCPMSG_ERESET);
        assert_int_equal(atomic_load(&seen->messages), wanted);
        looper_finish(looper);
    }
}

/* While its output is over the mark nothing is read; what waits there for that comes first, too. */
static void promise_3_a_reset_of_one_that_is_held_back_comes_last(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = small_output, .on_message = answer_long};
    int wanted = received();
    struct looper *looper =
        looper_serve(TCP, &acts, TCPMSG_LOOP_OPTIONS(.high_water = 100000), NULL);
    struct seen *seen;
    struct wire wire = {0};
    int raw = looper_guest_small(looper, &seen);
    for (uint32_t i = 0; i < MANY; i++)
        wire_add_message(&wire, NULL, &i, sizeof i);
    assert_true(write_all(raw, wire.bytes, wire.count));
    looper_settle(looper);
    assert_in_range(atomic_load(&seen->messages), 1, MANY - 1);
    assert_int_equal(atomic_load(&seen->closes), 0);
    raw_reset(raw);
    assert_code(seen_end(seen), TCPMSG_ERESET);
    assert_int_equal(atomic_load(&seen->messages), wanted);
    wire_free(&wire);
    looper_finish(looper);
}

/* What is held back for more to follow may be over the mark at once: then nothing more can. */
static void what_more_holds_back_leaves_above_the_mark(void **state)
{
    (void)state;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        static uint8_t block[2000], got[2004];
        struct looper *looper =
            looper_serve(transport, &nothing, TCPMSG_LOOP_OPTIONS(.high_water = 1000), NULL);
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        looper_settle(looper);
        looper_hold(looper);
        assert_int_equal(tcpmsg_send(seen->conn, block, sizeof block, TCPMSG_MORE), 0);
        assert_code(tcpmsg_send(seen->conn, "x", 1, 0), TCPMSG_EAGAIN);
        looper_go_on(looper);
        assert_true(read_all(raw, got, sizeof got));
        assert_true(reaches(&seen->drains, 1));
        assert_int_equal(tcpmsg_send(seen->conn, "x", 1, 0), 0);
        assert_true(raw_gets(raw, "x"));
        close(raw);
        looper_finish(looper);
    }
}

enum { IDLE_MS = 800, LARGE = 100000 };

/* Times of the loop's own thread. */
static int64_t sent_at, closed_at;

static void send_large(void *arg)
{
    static const uint8_t block[LARGE];
    struct looper *looper = arg;
    struct seen *seen = looper->seen[0];
    if (atomic_load(&seen->closes) > 0 || seen_send(seen, block, LARGE, 0) != 0)
        looper_fault(looper, "it was too late to send");
    sent_at = now_ms();
}

static void send_large_soon(struct seen *seen)
{
    struct looper *looper = seen->looper;
    if (tcpmsg_loop_after(looper->loop, IDLE_MS / 2, send_large, looper) != 0)
        looper_fault(looper, "after in a callback");
}

static void note_end(struct seen *seen)
{
    (void)seen;
    closed_at = now_ms();
}

/* The message goes straight from the sender's memory, and the loop has nothing to write. */
static void what_went_at_once_begins_the_idle_time_anew(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = send_large_soon, .on_close = note_end};
    struct looper *looper =
        looper_serve(UNIX, &acts, TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = IDLE_MS), NULL);
    struct seen *seen;
    struct reader reader = {0};
    int raw = looper_guest(looper, &seen);
    reader_start(&reader, raw);
    assert_code(seen_end(seen), TCPMSG_ESTALLED);
    reader_finish(&reader);
    assert_int_equal(reader.got.count, LARGE + 4);
    assert_true(closed_at - sent_at >= IDLE_MS - 5);
    wire_free(&reader.got);
    close(raw);
    looper_finish(looper);
}

/* More than one pass takes up are ready, and their clocks run out in it: what they sent in time
 * and we did not read is no silence. */
static void who_had_sent_in_time_is_not_idle(void **state)
{
    (void)state;
    enum { CROWD = 300, LONG_MS = 2500 };
    static int raws[CROWD];
    struct looper *looper =
        looper_serve(UNIX, &nothing, TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = LONG_MS), NULL);
    for (int i = 0; i < CROWD; i++)
        assert_true((raws[i] = raw_reach(looper->address)) >= 0);
    assert_true(reaches(&looper->count, CROWD));
    looper_hold(looper);
    for (int i = 0; i < CROWD; i++)
        assert_true(raw_send(raws[i], "in time"));
    sleep_ms(LONG_MS + 100);
    looper_go_on(looper);
    for (int i = 0; i < CROWD; i++)
        seen_messages(looper_seen(looper, i), 1);
    for (int i = 0; i < CROWD; i++)
        close(raws[i]);
    looper_finish(looper);
}

static void note_call(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

/* It would spin for longer than this test waits. */
static void a_loop_that_spins_runs_what_is_due(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(
        TCP, &echo, TCPMSG_LOOP_OPTIONS(.spin_us = 2 * WAIT_MS * 1000, .idle_timeout_ms = IDLE_MS),
        NULL);
    atomic_int called = 0;
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    assert_int_equal(tcpmsg_loop_after(looper->loop, 20, note_call, &called), 0);
    assert_true(reaches(&called, 1));
    assert_code(seen_end(seen), TCPMSG_ESTALLED);
    close(raw);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_3_a_reset_comes_after_all_that_had_arrived),
        cmocka_unit_test(promise_3_a_reset_of_one_that_is_held_back_comes_last),
        cmocka_unit_test(what_more_holds_back_leaves_above_the_mark),
        cmocka_unit_test(what_went_at_once_begins_the_idle_time_anew),
        cmocka_unit_test(who_had_sent_in_time_is_not_idle),
        cmocka_unit_test(a_loop_that_spins_runs_what_is_due),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
