/* SPDX-License-Identifier: MIT */
/* Promise 7: threads share a connection. */
#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 4, EACH = 150, LONGEST = 60000 };

/* A message that tells whose it is, which one, and how it goes on. */
struct head {
    uint32_t who;
    uint32_t which;
};

static size_t patterned(uint8_t *to, uint32_t who, uint32_t which)
{
    struct head head = {.who = who, .which = which};
    size_t rest = which % 5 == 0 ? which % 7 : (size_t)which * 7919 % (LONGEST - sizeof head);
    memcpy(to, &head, sizeof head);
    fill(to + sizeof head, rest, who * 1000 + which);
    return sizeof head + rest;
}

/* Whole, and the one that it says it is; then `*head` is its head. */
static bool is_patterned(const uint8_t *message, ssize_t length, struct head *head)
{
    static _Thread_local uint8_t wanted[LONGEST];
    if (length < (ssize_t)sizeof *head)
        return false;
    memcpy(head, message, sizeof *head);
    return patterned(wanted, head->who, head->which) == (size_t)length &&
           memcmp(wanted, message, (size_t)length) == 0;
}

/* What an early end left is pushed by nobody once the last call has returned. */
static ssize_t flush_all(tcpmsg_conn *conn)
{
    int result;
    do
        result = tcpmsg_flush(conn, 0);
    while (result == TCPMSG_ETIMEDOUT);
    return result;
}

static ssize_t send_each(struct call *call)
{
    uint8_t *message = malloc(LONGEST);
    int result = 0;
    for (uint32_t i = 0; i < EACH && result == 0; i++) {
        size_t length = patterned(message, call->seed, i);
        do {
            result = tcpmsg_send(call->conn, message, length, (int)(i % 4));
            if (result == TCPMSG_EAGAIN)
                result = tcpmsg_send(call->conn, message, length, 0);
        } while (result == TCPMSG_ETIMEDOUT);
        memset(message, 0, length);
    }
    free(message);
    return result == 0 ? flush_all(call->conn) : result;
}

static void promise_7_any_number_send(void **state)
{
    (void)state;
    tcpmsg_conn *one, *other;
    struct call calls[THREADS];
    uint32_t next[THREADS] = {0};
    pair_conns(&one, &other, TCPMSG_OPTIONS(.send_timeout_ms = 3));
    for (uint32_t i = 0; i < THREADS; i++) {
        calls[i] = (struct call){.body = send_each, .conn = one, .seed = i};
        call_start(&calls[i]);
    }
    for (int i = 0; i < THREADS * EACH; i++) {
        const void *message;
        struct head head = {0};
        ssize_t length = tcpmsg_recv_view(other, &message, 0);
        assert_true(is_patterned(message, length, &head));
        assert_true(head.who < THREADS);
        assert_int_equal(head.which, next[head.who]++);
        if (i == THREADS * EACH / 2)
            sleep_ms(30);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(call_finish(&calls[i]), 0);
    assert_int_equal(tcpmsg_close(one), 0);
    tcpmsg_close(other);
}

static ssize_t recv_eight(struct call *call)
{
    char text[8];
    return tcpmsg_recv(call->conn, text, sizeof text, 0);
}

enum { TRIES = 400 };

static bool sent_by[THREADS][TRIES], seen_of[THREADS][TRIES];

/* Each try is another message; what was refused is not tried again. */
static ssize_t try_each(struct call *call)
{
    uint8_t *message = malloc(LONGEST);
    for (uint32_t i = 0; i < TRIES; i++) {
        size_t length = patterned(message, call->seed, i);
        int result = tcpmsg_send(call->conn, message, length, (int)(i / 2 % 4));
        sent_by[call->seed][i] = result == 0;
        memset(message, 0, length);
        if (result != 0 && result != TCPMSG_ETIMEDOUT && result != TCPMSG_EAGAIN)
            break;
    }
    free(message);
    return 0;
}

/* A slow reader: the senders' clocks strike at any place. Its answer is how many came. */
static ssize_t read_slowly(struct call *call)
{
    const void *message;
    struct head head, last[THREADS];
    ssize_t length, count = 0;
    memset(last, 0xFF, sizeof last);
    while ((length = tcpmsg_recv_view(call->conn, &message, 0)) >= 0) {
        if (!is_patterned(message, length, &head) || head.who >= THREADS || head.which >= TRIES)
            return TCPMSG_EPROTO;
        if (head.which <= last[head.who].which && last[head.who].which < TRIES)
            return TCPMSG_EPROTO;
        last[head.who] = head;
        seen_of[head.who][head.which] = true;
        if (++count % 16 == 0)
            sleep_ms(5);
    }
    return length == TCPMSG_EOF ? count : length;
}

static void promise_1_whole_or_nothing_by_several_threads(void **state)
{
    (void)state;
    struct call calls[THREADS], reader = {.body = read_slowly}, waiting = {.body = recv_eight};
    pair_conns_unix(&waiting.conn, &reader.conn, TCPMSG_OPTIONS(.send_timeout_ms = 2));
    call_start(&reader);
    call_start(&waiting);
    for (uint32_t i = 0; i < THREADS; i++) {
        calls[i] = (struct call){.body = try_each, .conn = waiting.conn, .seed = i};
        call_start(&calls[i]);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(call_finish(&calls[i]), 0);
    assert_int_equal(tcpmsg_conn_set_timeouts(waiting.conn, TCPMSG_NO_LIMIT, 0), 0);
    assert_int_equal(tcpmsg_shutdown(waiting.conn), 0);
    ssize_t count = call_finish(&reader);
    assert_true(count > 0);
    for (uint32_t i = 0; i < THREADS; i++)
        for (uint32_t which = 0; which < TRIES; which++)
            assert_int_equal(seen_of[i][which], sent_by[i][which]);
    print_message("%zd of %d were accepted\n", count, THREADS * TRIES);
    tcpmsg_close(reader.conn);
    assert_code(call_finish(&waiting), TCPMSG_EOF);
    tcpmsg_close(waiting.conn);
}

static ssize_t send_giant(struct call *call)
{
    uint8_t *giant = calloc(1, 4 * MIB);
    int result = tcpmsg_send(call->conn, giant, 4 * MIB, 0);
    free(giant);
    return result;
}

/* Waiting for another thread's giant to be out counts too. */
static void promise_2_waiting_for_a_turn_to_send_counts(void **state)
{
    (void)state;
    struct call first = {.body = send_giant};
    struct wire wanted = {0};
    struct reader reader = {0};
    static uint8_t giant[2 * 1024 * 1024];
    pair_small(&first.conn, &first.raw, NULL);
    call_start_asleep(&first);
    assert_int_equal(tcpmsg_conn_set_timeouts(first.conn, 60, 0), 0);
    for (int i = 0; i < 2; i++) {
        int64_t before = now_ms();
        assert_code(tcpmsg_send(first.conn, giant, sizeof giant, 0), TCPMSG_ETIMEDOUT);
        assert_true(now_ms() - before >= 59 && now_ms() - before < 5000);
    }
    assert_code(tcpmsg_send(first.conn, giant, sizeof giant, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    wire_add(&wanted, "\0\100\0\0", 4);
    for (int i = 0; i < 2; i++)
        wire_add(&wanted, giant, sizeof giant);
    reader_start(&reader, first.raw);
    assert_int_equal(call_finish(&first), 0);
    assert_int_equal(tcpmsg_close(first.conn), 0);
    reader_finish(&reader);
    assert_true(wire_equal(&reader.got, &wanted));
    wire_free(&reader.got);
    wire_free(&wanted);
    close(first.raw);
}

enum { SHARED = 2000 };

static atomic_int taken[SHARED];

/* Takes what there is until the end, each thread in a way of its own. */
static ssize_t take_turns(struct call *call)
{
    uint8_t *message = malloc(LONGEST);
    ssize_t length;
    do {
        struct head head;
        if (call->seed == 1)
            tcpmsg_next_length(call->conn);
        size_t room = call->seed == 2 ? 16 : LONGEST;
        length = tcpmsg_recv(call->conn, message, room, call->seed == 3 ? TCPMSG_DONTWAIT : 0);
        if (length == TCPMSG_EBUFSIZE)
            length = tcpmsg_recv(call->conn, message, LONGEST, TCPMSG_DONTWAIT);
        if (length == TCPMSG_EAGAIN)
            sched_yield();
        else if (length >= 0 && is_patterned(message, length, &head) && head.which < SHARED)
            atomic_fetch_add(&taken[head.which], 1);
    } while (length >= 0 || length == TCPMSG_EAGAIN || length == TCPMSG_ETIMEDOUT);
    free(message);
    return length;
}

static void promise_7_receivers_take_turns(void **state)
{
    (void)state;
    tcpmsg_conn *one, *other;
    struct call calls[THREADS];
    uint8_t *message = malloc(LONGEST);
    assert_non_null(message);
    pair_conns(&one, &other, TCPMSG_OPTIONS(.recv_timeout_ms = 2));
    for (uint32_t i = 0; i < THREADS; i++) {
        calls[i] = (struct call){.body = take_turns, .conn = other, .seed = i};
        call_start(&calls[i]);
    }
    for (uint32_t i = 0; i < SHARED; i++) {
        size_t length = patterned(message, 9, i);
        assert_int_equal(tcpmsg_send(one, message, length, i % 3 ? TCPMSG_MORE : 0), 0);
    }
    assert_int_equal(tcpmsg_shutdown(one), 0);
    for (uint32_t i = 0; i < THREADS; i++)
        assert_code(call_finish(&calls[i]), TCPMSG_EOF);
    for (uint32_t i = 0; i < SHARED; i++)
        assert_int_equal(taken[i], 1);
    free(message);
    tcpmsg_close(one);
    tcpmsg_close(other);
}

static void promise_7_waiting_for_ones_turn_counts(void **state)
{
    (void)state;
    struct call first = {.body = recv_eight};
    char text[8];
    const void *view;
    pair(&first.conn, &first.raw, NULL);
    call_start_asleep(&first);
    int64_t before = now_ms();
    assert_code(tcpmsg_recv(first.conn, text, sizeof text, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    assert_code(tcpmsg_recv_view(first.conn, &view, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    assert_code(tcpmsg_next_length(first.conn), TCPMSG_EAGAIN);
    assert_int_equal(tcpmsg_conn_set_timeouts(first.conn, 0, 80), 0);
    storm_begin();
    assert_code(tcpmsg_recv(first.conn, text, sizeof text, 0), TCPMSG_ETIMEDOUT);
    storm_end();
    assert_true(now_ms() - before >= 79 && now_ms() - before < 10000);
    assert_true(raw_send(first.raw, "hello"));
    assert_int_equal(call_finish(&first), 5);
    assert_int_equal(tcpmsg_close(first.conn), 0);
    close(first.raw);
}

/* The turn passes on: what a second thread waits for is not lost with the first one's end. */
static void promise_7_the_turn_passes_on(void **state)
{
    (void)state;
    struct call calls[THREADS];
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    for (int i = 0; i < THREADS; i++) {
        calls[i] = (struct call){.body = recv_eight, .conn = conn};
        call_start_asleep(&calls[i]);
    }
    for (int i = 0; i < THREADS - 1; i++)
        assert_true(raw_send(raw, "hello"));
    close(raw);
    int messages = 0, ends = 0;
    for (int i = 0; i < THREADS; i++) {
        ssize_t answer = call_finish(&calls[i]);
        messages += answer == 5;
        ends += answer == TCPMSG_EOF;
    }
    assert_int_equal(messages, THREADS - 1);
    assert_int_equal(ends, 1);
    tcpmsg_close(conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_7_any_number_send),
        cmocka_unit_test(promise_1_whole_or_nothing_by_several_threads),
        cmocka_unit_test(promise_2_waiting_for_a_turn_to_send_counts),
        cmocka_unit_test(promise_7_receivers_take_turns),
        cmocka_unit_test(promise_7_waiting_for_ones_turn_counts),
        cmocka_unit_test(promise_7_the_turn_passes_on),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
