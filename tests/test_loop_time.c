/* SPDX-License-Identifier: MIT */
/* The clocks of a loop's connections: idle, message, send; and when they stand still. A clock may
 * be late on a machine under load, never early. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LIMIT = 150, LATE = 5000 };

/* It stalled, by this clock, `since` then. */
static void expect_stalled(struct seen *seen, int64_t since)
{
    assert_code(seen_end(seen), TCPMSG_ESTALLED);
    int64_t took = now_ms() - since;
    if (took < LIMIT - 1 || took > LIMIT + LATE)
        fail_msg("stalled after %d ms", (int)took);
    assert_string_not_equal(seen->story, "");
}

/* The time is asked once a pass: who is let in by the one that opens the door counts from before. */
static struct looper *serve(enum transport transport, const struct acts *acts, int idle_ms)
{
    struct looper *looper =
        looper_serve(transport, acts, TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = idle_ms), NULL);
    looper_settle(looper);
    return looper;
}

static void a_silent_connection_is_idle(void **state)
{
    (void)state;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = serve(transport, &echo, LIMIT);
        struct seen *seen;
        int64_t since = now_ms();
        int raw = looper_guest(looper, &seen);
        expect_stalled(seen, since);
        assert_int_not_equal(read_end(raw), ETIMEDOUT);
        close(raw);
        raw = looper_guest(looper, &seen);
        since = now_ms();
        if (raw_send(raw, "hello") && raw_gets(raw, "hello"))
            expect_stalled(seen, since);
        close(raw);
        looper_finish(looper);
    }
}

/* Any byte, one that makes no message and one of ours too, is a sign of life. */
static void any_byte_of_either_side_is_a_sign_of_life(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct looper *looper =
            looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = 4 * LIMIT), NULL);
        struct seen *seen;
        int64_t longest = 0, last = now_ms(), begin = last;
        int raw = looper_guest(looper, &seen);
        assert_true(write_all(raw, "\0\0\1\0", 4));
        while (last - begin < 10 * LIMIT && atomic_load(&seen->closes) == 0) {
            if (way == 0)
                send(raw, "x", 1, MSG_NOSIGNAL);
            else
                (void)seen_send(seen, "x", 1, 0);
            looper_settle(looper);
            sleep_ms(LIMIT / 2);
            int64_t now = now_ms();
            longest = now - last > longest ? now - last : longest;
            last = now;
        }
        /* Unless it was this thread that had a long sleep. */
        if (longest < 2 * LIMIT)
            assert_int_equal(atomic_load(&seen->closes), 0);
        close(raw);
        looper_finish(looper);
    }
}

/* An absolute limit: a byte now and then does not stretch it. */
static void a_slow_sender_is_stalled(void **state)
{
    (void)state;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        for (int size = 1; size < 8; size += 6) {
            struct looper *looper =
                looper_serve(transport, &echo, NULL, TCPMSG_OPTIONS(.message_timeout_ms = LIMIT));
            struct seen *seen;
            int raw = looper_guest(looper, &seen);
            int64_t since = now_ms();
            assert_true(write_all(raw, "\0\0\1\0xyz", (size_t)size));
            while (atomic_load(&seen->closes) == 0 && now_ms() - since < WAIT_MS) {
                send(raw, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
                sleep_ms(20);
            }
            expect_stalled(seen, since);
            close(raw);
            looper_finish(looper);
        }
    }
}

/* The clock is of one message: it stands still between them, and is wound up for each. */
static void between_messages_no_message_is_late(void **state)
{
    (void)state;
    struct looper *looper =
        looper_serve(TCP, &echo, NULL, TCPMSG_OPTIONS(.message_timeout_ms = 4 * LIMIT));
    struct seen *seen;
    int raw = looper_guest(looper, &seen), attempts = 0;
    sleep_ms(5 * LIMIT);
    assert_int_equal(atomic_load(&seen->closes), 0);
    /* Four messages, one after the other, each in two halves within its own time. */
    for (int i = 0; i < 4; i++) {
        int64_t before = now_ms();
        assert_true(write_all(raw, "\0\0\0\4ab", 6));
        sleep_ms(2 * LIMIT);
        assert_true(write_all(raw, "cd", 2));
        if (now_ms() - before < 3 * LIMIT)
            assert_true(raw_gets(raw, "abcd"));
        else if (!raw_gets(raw, "abcd") && attempts++ < 5) {
            close(raw);
            raw = looper_guest(looper, &seen);
        }
    }
    close(raw);
    looper_finish(looper);
}

static void pause_after_the_first(struct seen *seen, const void *message, size_t length)
{
    echo.on_message(seen, message, length);
    if (atomic_load(&seen->messages) == 1 && tcpmsg_pause(seen->conn) != 0)
        looper_fault(seen->looper, "pause in a callback");
}

/* Half a message behind the one that pauses, and silence: both clocks would strike. */
static void while_paused_the_clocks_stand_still(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = pause_after_the_first};
    struct looper *looper =
        looper_serve(TCP, &acts, TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = 4 * LIMIT),
                     TCPMSG_OPTIONS(.message_timeout_ms = 3 * LIMIT));
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    assert_true(write_all(raw, "\0\0\0\1a\0\0\0\4bc", 11));
    assert_true(raw_gets(raw, "a"));
    sleep_ms(8 * LIMIT);
    assert_int_equal(atomic_load(&seen->closes), 0);
    assert_true(write_all(raw, "de", 2));
    looper_settle(looper);
    assert_int_equal(atomic_load(&seen->messages), 1);
    assert_int_equal(tcpmsg_resume(seen->conn), 0);
    assert_true(raw_gets(raw, "bcde"));
    assert_code(seen_end(seen), TCPMSG_ESTALLED);
    close(raw);
    looper_finish(looper);
}

/* And go on afterwards: who sends the rest of it never is stalled all the same. */
static void after_resume_the_clocks_go_on(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = pause_after_the_first};
    for (int clock = 0; clock < 2; clock++) {
        struct looper *looper =
            looper_serve(TCP, &acts, TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = clock ? 0 : LIMIT),
                         TCPMSG_OPTIONS(.message_timeout_ms = clock ? LIMIT : 0));
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        assert_true(write_all(raw, "\0\0\0\1a\0\0\0\4bc", 11));
        assert_true(raw_gets(raw, "a"));
        sleep_ms(2 * LIMIT);
        assert_int_equal(atomic_load(&seen->closes), 0);
        assert_int_equal(tcpmsg_resume(seen->conn), 0);
        assert_code(seen_end(seen), TCPMSG_ESTALLED);
        assert_int_equal(atomic_load(&seen->messages), 1);
        close(raw);
        looper_finish(looper);
    }
}

static void answer_with_much(struct seen *seen, const void *message, size_t length)
{
    static const uint8_t much[256 * 1024];
    (void)message;
    (void)length;
    while (seen_send(seen, much, sizeof much, 0) == 0)
        continue;
}

/* It is not the peer that is silent: it waits for us to read. */
static void over_the_mark_the_idle_clock_stands_still(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = small_output, .on_message = answer_with_much};
    struct looper *looper =
        looper_serve(TCP, &acts, TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = LIMIT), NULL);
    struct seen *seen;
    int raw = looper_guest_small(looper, &seen);
    assert_true(raw_send(raw, "go"));
    seen_messages(seen, 1);
    sleep_ms(4 * LIMIT);
    assert_int_equal(atomic_load(&seen->closes), 0);
    close(raw);
    looper_finish(looper);
}

static void output_without_progress_is_stalled(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = small_output, .on_message = answer_with_much};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper =
            looper_serve(transport, &acts, NULL, TCPMSG_OPTIONS(.send_timeout_ms = LIMIT));
        struct seen *seen;
        int raw = looper_guest_small(looper, &seen);
        int64_t since = now_ms();
        assert_true(raw_send(raw, "go"));
        expect_stalled(seen, since);
        close(raw);
        looper_finish(looper);
    }
}

/* Slow, but on its way; and what is not sent at all does not stall. */
static void output_with_progress_is_not_stalled(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = small_output, .on_message = answer_with_much};
    struct looper *looper =
        looper_serve(TCP, &acts, NULL, TCPMSG_OPTIONS(.send_timeout_ms = 4 * LIMIT));
    struct seen *seen;
    int64_t longest = 0;
    static uint8_t dropped[16 * 1024];
    int raw = looper_guest_small(looper, &seen), silent = looper_guest(looper, NULL);
    assert_true(raw_send(raw, "go"));
    int64_t begin = now_ms(), last = begin;
    while (last - begin < 8 * LIMIT) {
        assert_true(read_all(raw, dropped, sizeof dropped));
        sleep_ms(LIMIT / 2);
        int64_t now = now_ms();
        longest = now - last > longest ? now - last : longest;
        last = now;
        if (longest >= 2 * LIMIT)
            break;
        assert_int_equal(atomic_load(&seen->closes), 0);
    }
    assert_true(longest >= 2 * LIMIT || raw_has_nothing(silent));
    close(raw);
    close(silent);
    looper_finish(looper);
}

static int64_t struck_since;

static void note_the_time(struct seen *seen)
{
    atomic_store(&seen->mark, (int)(now_ms() - struck_since));
}

/* Hundreds of clocks, some of them moved: each strikes for its own connection, none too early. */
static void many_clocks_strike_each_for_its_own(void **state)
{
    (void)state;
    enum { CLOCKS = 300 };
    static int raws[CLOCKS];
    static int64_t since[CLOCKS];
    const struct acts acts = {.on_message = echo.on_message, .on_close = note_the_time};
    struct looper *looper = serve(TCP, &acts, 4 * LIMIT);
    struck_since = now_ms();
    for (int i = 0; i < CLOCKS; i++) {
        since[i] = now_ms() - struck_since;
        raws[i] = looper_guest(looper, NULL);
    }
    /* Every other one gives a sign of life, if it is not too late for that. */
    for (int i = 0; i < CLOCKS; i += 2) {
        int64_t before = now_ms() - struck_since;
        if (raw_send(raws[i], "x") && raw_gets(raws[i], "x"))
            since[i] = before;
    }
    for (int i = 0; i < CLOCKS; i++) {
        struct seen *seen = looper_seen(looper, i);
        assert_code(seen_end(seen), TCPMSG_ESTALLED);
        assert_true(atomic_load(&seen->mark) - since[i] >= 4 * LIMIT - 1);
        close(raws[i]);
    }
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_connection_is_idle),
        cmocka_unit_test(any_byte_of_either_side_is_a_sign_of_life),
        cmocka_unit_test(a_slow_sender_is_stalled),
        cmocka_unit_test(between_messages_no_message_is_late),
        cmocka_unit_test(while_paused_the_clocks_stand_still),
        cmocka_unit_test(after_resume_the_clocks_go_on),
        cmocka_unit_test(over_the_mark_the_idle_clock_stands_still),
        cmocka_unit_test(output_without_progress_is_stalled),
        cmocka_unit_test(output_with_progress_is_not_stalled),
        cmocka_unit_test(many_clocks_strike_each_for_its_own),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
