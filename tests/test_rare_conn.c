/* SPDX-License-Identifier: MIT */
/* A connection at the moments that are hard to meet by chance. */
#define _GNU_SOURCE
#include "conn.h"
#include "looper.h"
#include "rare.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LARGE = 100 * 1024 };

/* Where the system does not tell what is acknowledged, the peer's own end is the best sign. */
static void promise_9_without_a_word_of_the_system_the_peers_end_counts(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
    rare_fails(RARE_ioctl, SIOCOUTQ, ENOTTY, 0, 1 << 20);
    assert_int_equal(tcpmsg_send(conn, "last words", 10, 0), 0);
    assert_int_equal(shutdown(raw, SHUT_WR), 0);
    assert_int_equal(tcpmsg_close(conn), 0);
    assert_true(rare_over() > 0);
    assert_true(raw_gets(raw, "last words"));
    close(raw);

    pair(&conn, &raw, TCPMSG_OPTIONS(.linger_ms = 50));
    rare_fails(RARE_ioctl, SIOCOUTQ, ENOTTY, 0, 1 << 20);
    assert_int_equal(tcpmsg_send(conn, "last words", 10, 0), 0);
    assert_code(tcpmsg_close(conn), TCPMSG_ETIMEDOUT);
    rare_over();
    close(raw);
}

/* All of it is the system's, and stays so: the peer's is full. */
static void promise_9_what_the_peer_does_not_take_in_is_waited_for_within_the_limit(void **state)
{
    (void)state;
    static uint8_t message[150 * KIB];
    tcpmsg_conn *conn;
    int raw, unsent = 0;
    pair_small(&conn, &raw, TCPMSG_OPTIONS(.linger_ms = 100, .send_timeout_ms = WAIT_MS));
    int room = (int)MIB;
    assert_int_equal(setsockopt(tcpmsg_conn_fd(conn), SOL_SOCKET, SO_SNDBUF, &room, sizeof room),
                     0);
    assert_int_equal(tcpmsg_send(conn, message, sizeof message, 0), 0);
    assert_int_equal(ioctl(tcpmsg_conn_fd(conn), SIOCOUTQ, &unsent), 0);
    assert_true(unsent > 0);
    int64_t begun = now_ms();
    assert_code(tcpmsg_close(conn), TCPMSG_ETIMEDOUT);
    assert_in_range(now_ms() - begun, 90, 5000);
    close(raw);
}

/* It has nothing more to say, and does not read either: no reason to spin. */
static void promise_9_a_jammed_output_whose_peer_has_ended(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair_small(&conn, &raw, TCPMSG_OPTIONS(.linger_ms = 200));
    jam(conn);
    assert_int_equal(shutdown(raw, SHUT_WR), 0);
    assert_true(wait_events(tcpmsg_conn_fd(conn), POLLIN, WAIT_MS) != 0);
    assert_code(tcpmsg_close(conn), TCPMSG_ETIMEDOUT);
    rare_over();
    close(raw);
}

static tcpmsg_conn *aborted;

static int abort_in_recv(const struct rare *now)
{
    if (now->call == RARE_recv && !now->behind)
        tcpmsg_abort(aborted);
    return 0;
}

/* What the system says then is the abort's doing, and no end. */
static void an_abort_inside_of_a_read_is_told_as_one(void **state)
{
    (void)state;
    void (*const pairs[])(tcpmsg_conn **, int *, const tcpmsg_options *) = {pair, pair_unix};
    for (size_t i = 0; i < COUNT(pairs); i++) {
        char buffer[16];
        int raw;
        pairs[i](&aborted, &raw, NULL);
        rarely = abort_in_recv;
        assert_code(tcpmsg_recv(aborted, buffer, sizeof buffer, 0), TCPMSG_ECANCELED);
        rare_over();
        tcpmsg_close(aborted);
        close(raw);
    }
}

static void large_from(int raw, uint32_t seed)
{
    struct wire wire = {0};
    wire_add_filled(&wire, NULL, LARGE, seed);
    assert_true(write_all(raw, wire.bytes, wire.count));
    wire_free(&wire);
}

/* Memory that would only have spared a call or a copy: without it all is the same. */
static void without_memory_large_messages_come_all_the_same(void **state)
{
    (void)state;
    uint8_t *message = malloc(LARGE);
    const void *view;
    tcpmsg_conn *conn;
    int raw;
    assert_non_null(message);
    for (int after = 0; after < 3; after++) {
        pair(&conn, &raw, NULL);
        for (uint32_t seed = 0; seed < 3; seed++) {
            large_from(raw, seed);
            rare_fails(RARE_realloc, -1, ENOMEM, after, 1);
            ssize_t n = tcpmsg_recv(conn, message, LARGE, 0);
            rare_over();
            if (n == TCPMSG_ENOMEM)
                n = tcpmsg_recv(conn, message, LARGE, 0);
            assert_int_equal(n, LARGE);
            assert_true(is_filled(message, LARGE, seed));
        }
        large_from(raw, 9); /* as long as the last, and yet it is a view that is asked for */
        assert_int_equal(tcpmsg_recv_view(conn, &view, 0), LARGE);
        assert_true(is_filled(view, LARGE, 9));
        assert_int_equal(tcpmsg_close(conn), 0);
        close(raw);
    }
    free(message);
}

/* The peer's first bytes behind a message are seen only once that message is gone. */
static void next_length_tells_of_a_prefix_that_is_none(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0, 0, 0, 1, 'x', 0xff, 0xff, 0xff, 0xff};
    char buffer[4];
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    assert_true(write_all(raw, bytes, sizeof bytes));
    assert_int_equal(tcpmsg_recv(conn, buffer, sizeof buffer, 0), 1);
    assert_code(tcpmsg_next_length(conn), TCPMSG_EMSGSIZE);
    assert_code(tcpmsg_recv(conn, buffer, sizeof buffer, 0), TCPMSG_EMSGSIZE);
    assert_code(tcpmsg_next_length(conn), TCPMSG_EMSGSIZE);
    tcpmsg_close(conn);
    close(raw);
}

static void a_message_too_long_for_the_prefix_is_not_held_back_either(void **state)
{
    (void)state;
    static const char message[300];
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, TCPMSG_OPTIONS(.framing = {.width = 1}));
    assert_int_equal(tcpmsg_send(conn, "a", 1, TCPMSG_MORE), 0);
    assert_code(tcpmsg_send(conn, message, sizeof message, TCPMSG_MORE), TCPMSG_EMSGSIZE);
    assert_int_equal(tcpmsg_send(conn, "b", 1, 0), 0);
    char got[4];
    assert_true(read_all(raw, got, sizeof got));
    assert_memory_equal(got, "\1a\1b", 4);
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
}

/* The socket took a part of what is held back: now the next one fits, and that is all there is. */
static void what_fits_by_then_is_held_back_though_the_socket_is_full(void **state)
{
    (void)state;
    static uint8_t block[KIB];
    tcpmsg_conn *conn;
    int raw, sent = 0;
    struct wire wanted = {0}, got = {0};
    pair(&conn, &raw, NULL);
    rare_most = 10 * KIB;
    for (; sent < 70; sent++) {
        assert_int_equal(tcpmsg_send(conn, block, sizeof block, TCPMSG_MORE | TCPMSG_DONTWAIT), 0);
        wire_add_message(&wanted, NULL, block, sizeof block);
    }
    rare_over();
    assert_int_equal(tcpmsg_close(conn), 0);
    raw_take(raw, &got, wanted.count + 1);
    assert_true(wire_equal(&got, &wanted));
    wire_free(&got);
    wire_free(&wanted);
    close(raw);
}

static ssize_t hold_one_more(struct call *call)
{
    return tcpmsg_send(call->conn, "one more", 8, TCPMSG_MORE);
}

static ssize_t shut_down(struct call *call)
{
    return tcpmsg_shutdown(call->conn);
}

/* ... and the thread that waited to hold back one more comes too late. */
static void a_shutdown_refuses_who_waits_to_hold_back(void **state)
{
    (void)state;
    struct call holding = {.body = hold_one_more}, shutting = {.body = shut_down};
    int raw;
    pair_small(&holding.conn, &raw, NULL);
    jam(holding.conn);
    call_start_asleep(&holding);
    shutting.conn = holding.conn;
    call_start_asleep(&shutting);
    struct reader reader = {0};
    reader_start(&reader, raw);
    assert_code(call_finish(&holding), TCPMSG_ECLOSED);
    assert_int_equal(call_finish(&shutting), 0);
    reader_finish(&reader);
    wire_free(&reader.got);
    assert_int_equal(tcpmsg_close(holding.conn), 0);
}

static tcpmsg_conn *busy;
static atomic_int to_queue;

/* While a thread writes, another one queues, which here is the same. */
static int queue_in_send(const struct rare *now)
{
    static char small[KIB];
    if (now->call == RARE_send && !now->behind && atomic_fetch_sub(&to_queue, 1) > 0)
        assert_int_equal(tcpmsg_send(busy, small, sizeof small, TCPMSG_DONTWAIT), 0);
    return 0;
}

/* A message that fills its segments, so that nothing of it is held back. */
static void a_full_segment_takes_along_what_was_queued_meanwhile(void **state)
{
    (void)state;
    static uint8_t message[2 * TM_HOLD_MOST - 4], got[2 * TM_HOLD_MOST + 4 + KIB];
    int raw;
    pair_unix(&busy, &raw, NULL);
    to_queue = 1;
    rarely = queue_in_send;
    assert_int_equal(tcpmsg_send(busy, message, sizeof message, TCPMSG_MORE), 0);
    rare_over();
    assert_int_equal(tcpmsg_flush(busy, 0), 0);
    assert_true(read_all(raw, got, sizeof got));
    assert_true(raw_has_nothing(raw));
    assert_int_equal(tcpmsg_close(busy), 0);
    close(raw);
}

/* The system takes what was queued in pieces: the thread that stays writes them all. */
static void what_was_queued_leaves_piece_by_piece(void **state)
{
    (void)state;
    static uint8_t got[3 * (4 + KIB)], message[KIB];
    int raw;
    pair_unix(&busy, &raw, NULL);
    to_queue = 2;
    rare_most = 300;
    rarely = queue_in_send;
    assert_int_equal(tcpmsg_send(busy, message, sizeof message, 0), 0);
    rare_over();
    assert_true(read_all(raw, got, sizeof got));
    assert_int_equal(tcpmsg_close(busy), 0);
    close(raw);
}

static atomic_int hold, held;

static int hold_in_send(const struct rare *now)
{
    int64_t deadline = now_ms() + WAIT_MS;
    if (now->call != RARE_send || now->behind)
        return 0;
    atomic_fetch_add(&held, 1);
    while (atomic_load(&hold) && now_ms() < deadline)
        sleep_ms(1);
    return 0;
}

static ssize_t send_small(struct call *call)
{
    return tcpmsg_send(call->conn, "small", 5, 0);
}

/* An abort while one thread writes, and another's message waits that the call may be writing. */
static void promise_1_an_abort_waits_for_the_call_that_may_write_what_is_queued(void **state)
{
    (void)state;
    struct call first = {.body = send_small}, second = {.body = send_small};
    int raw;
    pair_unix(&first.conn, &raw, TCPMSG_OPTIONS(.send_timeout_ms = WAIT_MS));
    second.conn = first.conn;
    hold = 1;
    held = 0;
    rarely = hold_in_send;
    call_start(&first);
    assert_true(reaches(&held, 1));
    call_start_asleep(&second);
    tcpmsg_abort(first.conn);
    sleep_ms(50); /* the second one looks, and waits again */
    hold = 0;
    assert_true(call_finish(&first) < 0);
    assert_code(call_finish(&second), TCPMSG_ECANCELED);
    rare_over();
    tcpmsg_close(first.conn);
    close(raw);
}

static ssize_t receive(struct call *call)
{
    char text[8];
    return tcpmsg_recv(call->conn, text, sizeof text, 0);
}

/* A second receiver has the first one, which sleeps, look after what is queued. */
static void promise_8_who_waits_for_its_turn_leaves_the_output_to_the_first(void **state)
{
    (void)state;
    struct call first = {.body = receive};
    struct reader reader = {0};
    char text[8];
    int raw;
    pair_small(&first.conn, &raw, NULL);
    jam(first.conn);
    call_start_asleep(&first);
    assert_code(tcpmsg_recv(first.conn, text, sizeof text, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    reader_start(&reader, raw);
    assert_true(raw_send(raw, "hello"));
    assert_int_equal(call_finish(&first), 5);
    assert_int_equal(tcpmsg_close(first.conn), 0);
    reader_finish(&reader);
    assert_int_equal(reader.end, 0);
    wire_free(&reader.got);
    close(raw);
}

/* The system has no memory for what a receiver sends on its way to sleep: it tries again. */
static void promise_8_what_is_held_back_leaves_once_there_is_memory(void **state)
{
    (void)state;
    struct call call = {.body = receive};
    int raw;
    pair(&call.conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(call.conn, "held", 4, TCPMSG_MORE), 0);
    rare_fails(RARE_send, -1, ENOBUFS, 0, 3);
    call_start(&call);
    assert_true(raw_gets(raw, "held"));
    assert_int_equal(rare_over(), 3);
    assert_true(raw_send(raw, "hello"));
    assert_int_equal(call_finish(&call), 5);
    assert_int_equal(tcpmsg_close(call.conn), 0);
    close(raw);
}

static int abort_in_send(const struct rare *now)
{
    if (now->call == RARE_send && !now->behind)
        tcpmsg_abort(aborted);
    return 0;
}

/* What it had held back leaves, it has no more to do, and then it does not fall asleep. */
static void an_abort_just_before_the_sleep_is_not_slept_over(void **state)
{
    (void)state;
    char text[8];
    int raw;
    pair(&aborted, &raw, NULL);
    assert_int_equal(tcpmsg_send(aborted, "held", 4, TCPMSG_MORE), 0);
    rarely = abort_in_send;
    assert_code(tcpmsg_recv(aborted, text, sizeof text, 0), TCPMSG_ECANCELED);
    rare_over();
    tcpmsg_close(aborted);
    close(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_9_without_a_word_of_the_system_the_peers_end_counts),
        cmocka_unit_test(promise_9_what_the_peer_does_not_take_in_is_waited_for_within_the_limit),
        cmocka_unit_test(promise_9_a_jammed_output_whose_peer_has_ended),
        cmocka_unit_test(an_abort_inside_of_a_read_is_told_as_one),
        cmocka_unit_test(without_memory_large_messages_come_all_the_same),
        cmocka_unit_test(next_length_tells_of_a_prefix_that_is_none),
        cmocka_unit_test(a_message_too_long_for_the_prefix_is_not_held_back_either),
        cmocka_unit_test(what_fits_by_then_is_held_back_though_the_socket_is_full),
        cmocka_unit_test(a_shutdown_refuses_who_waits_to_hold_back),
        cmocka_unit_test(a_full_segment_takes_along_what_was_queued_meanwhile),
        cmocka_unit_test(what_was_queued_leaves_piece_by_piece),
        cmocka_unit_test(promise_1_an_abort_waits_for_the_call_that_may_write_what_is_queued),
        cmocka_unit_test(promise_8_who_waits_for_its_turn_leaves_the_output_to_the_first),
        cmocka_unit_test(promise_8_what_is_held_back_leaves_once_there_is_memory),
        cmocka_unit_test(an_abort_just_before_the_sleep_is_not_slept_over),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
