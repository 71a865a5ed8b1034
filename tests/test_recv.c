/* SPDX-License-Identifier: MIT */
/* Receiving: recv, recv_view, PEEK, next_length; promise 6, and how long a view is good. */
#define _GNU_SOURCE
#include "peer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The ways to take one message. */
enum way { RECV, VIEW, PEEK_RECV, PEEK_VIEW, SMALL_FIRST, LENGTH_FIRST, WAYS };

static uint8_t taken[MIB];

/* Takes the next message in one way into `taken`: its length, or the error. */
static ssize_t take(tcpmsg_conn *conn, enum way way, int flags)
{
    const void *view = NULL;
    ssize_t peeked = 0;
    if (way == PEEK_RECV)
        peeked = tcpmsg_recv(conn, taken, sizeof taken, flags | TCPMSG_PEEK);
    if (way == PEEK_VIEW)
        peeked = tcpmsg_recv_view(conn, &view, flags | TCPMSG_PEEK);
    if (way == SMALL_FIRST && tcpmsg_recv(conn, NULL, 0, flags) == 0)
        return 0;
    if (way == LENGTH_FIRST)
        tcpmsg_next_length(conn);
    if (peeked < 0)
        return peeked;
    if (way != VIEW)
        return tcpmsg_recv(conn, taken, sizeof taken, flags);
    ssize_t length = tcpmsg_recv_view(conn, &view, flags);
    if (length >= 0)
        assert_non_null(view);
    if (length > 0)
        memcpy(taken, view, (size_t)length);
    return length;
}

static const size_t sizes[] = {0,     1,     2,     3,     4,     5,     100,   127, 128,
                               129,   0,     251,   252,   253,   254,   255,   256, 1000,
                               16383, 16384, 65532, 65533, 65535, 65536, 70000, 9};

static void feed(struct wire *wire, const tcpmsg_framing *framing, size_t longest)
{
    for (uint32_t i = 0; i < COUNT(sizes); i++)
        if (sizes[i] <= longest)
            wire_add_filled(wire, framing, sizes[i], i);
}

static void expect_feed(tcpmsg_conn *conn, enum way way, size_t longest)
{
    for (uint32_t i = 0; i < COUNT(sizes); i++) {
        if (sizes[i] > longest)
            continue;
        assert_int_equal(take(conn, way, 0), sizes[i]);
        assert_true(is_filled(taken, sizes[i], i));
    }
    assert_code(take(conn, way, 0), TCPMSG_EOF);
}

static ssize_t write_and_end(struct call *call)
{
    struct wire wire = {0};
    feed(&wire, &framings[call->seed], framing_limit(&framings[call->seed], MIB));
    bool written = write_all(call->raw, wire.bytes, wire.count);
    wire_free(&wire);
    shutdown(call->raw, SHUT_WR);
    return written;
}

static void every_framing_whole_in_every_way(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < framings_count; i++) {
        for (enum way way = 0; way < WAYS; way++) {
            tcpmsg_conn *conn;
            struct call writer = {.body = write_and_end, .seed = i};
            pair(&conn, &writer.raw, TCPMSG_OPTIONS(.framing = framings[i]));
            call_start(&writer);
            expect_feed(conn, way, framing_limit(&framings[i], MIB));
            assert_true(call_finish(&writer));
            assert_int_equal(tcpmsg_close(conn), 0);
            close(writer.raw);
        }
    }
}

/* After each byte that is not a message's last: EAGAIN; after the last: the message. */
static void feed_byte_by_byte(const tcpmsg_framing *framing, enum way way)
{
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, TCPMSG_OPTIONS(.framing = *framing));
    for (uint32_t i = 0; i < COUNT(sizes); i++) {
        if (sizes[i] > framing_limit(framing, 300))
            continue;
        struct wire wire = {0};
        wire_add_filled(&wire, framing, sizes[i], i);
        for (size_t at = 0; at < wire.count; at++) {
            assert_code(take(conn, way, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
            assert_code(tcpmsg_next_length(conn), TCPMSG_EAGAIN);
            assert_int_equal(write(raw, wire.bytes + at, 1), 1);
            assert_code(tcpmsg_next_length(conn), TCPMSG_EAGAIN);
        }
        assert_int_equal(take(conn, way, TCPMSG_DONTWAIT), sizes[i]);
        assert_true(is_filled(taken, sizes[i], i));
        wire_free(&wire);
    }
    close(raw);
    assert_code(take(conn, way, TCPMSG_DONTWAIT), TCPMSG_EOF);
    tcpmsg_close(conn);
}

static void every_framing_byte_by_byte_in_every_way(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < framings_count; i++)
        for (enum way way = 0; way < WAYS; way++)
            feed_byte_by_byte(&framings[i], way);
}

static void many_messages_of_one_write(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    struct wire wire = {0};
    for (uint32_t i = 0; i < 5000; i++)
        wire_add_filled(&wire, NULL, i % 23, i);
    pair(&conn, &raw, NULL);
    assert_true(write_all(raw, wire.bytes, wire.count));
    for (uint32_t i = 0; i < 5000; i++) {
        assert_int_equal(take(conn, i % WAYS, 0), i % 23);
        assert_true(is_filled(taken, i % 23, i));
    }
    assert_code(take(conn, RECV, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    tcpmsg_info info;
    assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
    assert_int_equal(info.messages_received, 5000);
    assert_int_equal(info.bytes_received, wire.count - 4 * 5000);
    wire_free(&wire);
    tcpmsg_close(conn);
    close(raw);
}

static void an_empty_message_is_a_message(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char byte = 'u';
    const void *view = NULL;
    pair(&conn, &raw, NULL);
    for (int i = 0; i < 4; i++)
        assert_true(raw_send(raw, ""));
    assert_int_equal(tcpmsg_recv(conn, NULL, 0, 0), 0);
    assert_int_equal(tcpmsg_recv(conn, &byte, 0, TCPMSG_PEEK), 0);
    assert_int_equal(tcpmsg_next_length(conn), 0);
    assert_int_equal(tcpmsg_recv(conn, &byte, 1, 0), 0);
    assert_int_equal(byte, 'u');
    assert_int_equal(tcpmsg_recv_view(conn, &view, TCPMSG_PEEK), 0);
    assert_non_null(view);
    view = NULL;
    assert_int_equal(tcpmsg_recv_view(conn, &view, 0), 0);
    assert_non_null(view);
    assert_int_equal(tcpmsg_recv(conn, NULL, 0, 0), 0);
    assert_code(tcpmsg_recv(conn, NULL, 0, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    tcpmsg_close(conn);
    close(raw);
}

static void promise_6_too_small_a_buffer_loses_nothing(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[16];
    pair(&conn, &raw, NULL);
    assert_true(raw_send(raw, "0123456789") && raw_send(raw, "next"));
    for (int flags = 0; flags <= TCPMSG_PEEK; flags += TCPMSG_PEEK) {
        assert_code(tcpmsg_recv(conn, text, 9, flags), TCPMSG_EBUFSIZE);
        assert_int_equal(tcpmsg_next_length(conn), 10);
        assert_code(tcpmsg_recv(conn, NULL, 0, flags | TCPMSG_DONTWAIT), TCPMSG_EBUFSIZE);
    }
    assert_string_equal(tcpmsg_conn_why(conn), "");
    assert_int_equal(tcpmsg_recv(conn, text, 10, 0), 10);
    assert_memory_equal(text, "0123456789", 10);
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 4);
    assert_memory_equal(text, "next", 4);
    tcpmsg_close(conn);
    close(raw);
}

static ssize_t write_giant(struct call *call)
{
    struct wire wire = {0};
    wire_add_filled(&wire, NULL, 4 * MIB, call->seed);
    bool written = write_all(call->raw, wire.bytes, wire.count) && raw_send(call->raw, "next");
    wire_free(&wire);
    return written;
}

static void promise_6_a_giant_waits_for_its_buffer(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    struct call writer = {.body = write_giant, .seed = 5};
    size_t length = 4 * MIB;
    uint8_t *giant = malloc(length);
    assert_non_null(giant);
    pair(&conn, &writer.raw, NULL);
    call_start(&writer);
    assert_code(tcpmsg_recv(conn, giant, 1000, 0), TCPMSG_EBUFSIZE);
    assert_int_equal(tcpmsg_next_length(conn), length);
    assert_code(tcpmsg_recv(conn, giant, length - 1, TCPMSG_DONTWAIT), TCPMSG_EBUFSIZE);
    assert_int_equal(tcpmsg_recv(conn, giant, length, TCPMSG_DONTWAIT), length);
    assert_true(is_filled(giant, length, 5));
    assert_int_equal(tcpmsg_recv(conn, giant, length, 0), 4);
    assert_memory_equal(giant, "next", 4);
    assert_true(call_finish(&writer));
    free(giant);
    tcpmsg_close(conn);
    close(writer.raw);
}

/* While it is not wholly here, its length is not known to next_length: so no EBUFSIZE yet. */
static void promise_6_ebufsize_and_next_length_agree(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[5];
    pair_unix(&conn, &raw, NULL);
    assert_true(write_all(raw, "\0\0\0\5he", 6));
    ssize_t result = tcpmsg_recv(conn, text, 3, TCPMSG_DONTWAIT);
    if (result == TCPMSG_EBUFSIZE)
        assert_int_equal(tcpmsg_next_length(conn), 5);
    else
        assert_code(result, TCPMSG_EAGAIN);
    assert_true(write_all(raw, "llo", 3));
    assert_code(tcpmsg_recv(conn, text, 3, 0), TCPMSG_EBUFSIZE);
    assert_int_equal(tcpmsg_next_length(conn), 5);
    assert_int_equal(tcpmsg_recv(conn, text, 5, 0), 5);
    assert_memory_equal(text, "hello", 5);
    tcpmsg_close(conn);
    close(raw);
}

static void a_view_is_good_until_the_next_receive(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    struct call writer = {.body = write_giant, .seed = 3};
    const void *first = NULL, *again = NULL;
    uint8_t block[1000] = {0};
    tcpmsg_info info;
    struct wire wire = {0};
    pair(&conn, &writer.raw, NULL);
    wire_add_filled(&wire, NULL, 50000, 1);
    wire_add_filled(&wire, NULL, 6, 2);
    assert_true(write_all(writer.raw, wire.bytes, wire.count));
    call_start(&writer);
    assert_int_equal(tcpmsg_recv_view(conn, &first, TCPMSG_PEEK), 50000);
    assert_int_equal(tcpmsg_next_length(conn), 50000);
    assert_true(is_filled(first, 50000, 1));
    assert_int_equal(tcpmsg_recv_view(conn, &again, 0), 50000);
    for (int i = 0; i < 50; i++) {
        tcpmsg_next_length(conn);
        tcpmsg_conn_events(conn);
        assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
        assert_int_equal(tcpmsg_send(conn, block, sizeof block, TCPMSG_DONTWAIT), 0);
        assert_int_equal(tcpmsg_flush(conn, TCPMSG_DONTWAIT), 0);
    }
    assert_true(is_filled(again, 50000, 1));
    assert_int_equal(tcpmsg_recv_view(conn, &again, 0), 6);
    assert_true(is_filled(again, 6, 2));
    assert_int_equal(tcpmsg_recv_view(conn, &again, 0), 4 * MIB);
    assert_true(is_filled(again, 4 * MIB, 3));
    assert_true(call_finish(&writer));
    wire_free(&wire);
    tcpmsg_close(conn);
    close(writer.raw);
}

static void wrong_arguments_are_einval_and_harmless(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    const void *view = text;
    pair(&conn, &raw, NULL);
    assert_true(raw_send(raw, "hello"));
    static const int unknown[] = {TCPMSG_MORE, 8, 0x40000000, -1, TCPMSG_PEEK | 16};
    for (size_t i = 0; i < COUNT(unknown); i++) {
        assert_code(tcpmsg_recv(conn, text, sizeof text, unknown[i]), TCPMSG_EINVAL);
        assert_code(tcpmsg_recv_view(conn, &view, unknown[i]), TCPMSG_EINVAL);
    }
    assert_code(tcpmsg_recv(conn, NULL, 8, 0), TCPMSG_EINVAL);
    assert_code(tcpmsg_recv_view(conn, NULL, 0), TCPMSG_EINVAL);
    assert_code(tcpmsg_recv(NULL, text, 8, 0), TCPMSG_EINVAL);
    assert_code(tcpmsg_recv_view(NULL, &view, 0), TCPMSG_EINVAL);
    assert_code(tcpmsg_next_length(NULL), TCPMSG_EINVAL);
    assert_int_equal(tcpmsg_recv(conn, text, 5, 0), 5);
    assert_code(tcpmsg_recv_view(conn, &view, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    assert_ptr_equal(view, text);
    tcpmsg_close(conn);
    close(raw);
}

/* Random messages in random pieces, taken in random ways: what comes out is what went in. */
static void any_split_any_way(unsigned seed)
{
    tcpmsg_conn *conn;
    int raw;
    struct wire wire = {0};
    size_t lengths[60], at = 0;
    for (uint32_t i = 0; i < COUNT(lengths); i++) {
        lengths[i] = (size_t)rand_r(&seed) % (rand_r(&seed) % 8 ? 300 : 150000);
        wire_add_filled(&wire, NULL, lengths[i], i);
    }
    pair_unix(&conn, &raw, NULL);
    for (uint32_t next = 0; next < COUNT(lengths);) {
        size_t piece = (size_t)rand_r(&seed) % (rand_r(&seed) % 3 ? 20 : 40000);
        if (piece > wire.count - at)
            piece = wire.count - at;
        ssize_t sent = piece ? send(raw, wire.bytes + at, piece, MSG_DONTWAIT) : 0;
        at += sent > 0 ? (size_t)sent : 0;
        ssize_t got = take(conn, (enum way)(rand_r(&seed) % WAYS), TCPMSG_DONTWAIT);
        if (got == TCPMSG_EAGAIN)
            continue;
        assert_int_equal(got, lengths[next]);
        assert_true(is_filled(taken, lengths[next], next));
        next++;
    }
    wire_free(&wire);
    tcpmsg_close(conn);
    close(raw);
}

static void promise_2_any_split_any_way(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 40; seed++)
        any_split_any_way(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_framing_whole_in_every_way),
        cmocka_unit_test(every_framing_byte_by_byte_in_every_way),
        cmocka_unit_test(many_messages_of_one_write),
        cmocka_unit_test(an_empty_message_is_a_message),
        cmocka_unit_test(promise_6_too_small_a_buffer_loses_nothing),
        cmocka_unit_test(promise_6_a_giant_waits_for_its_buffer),
        cmocka_unit_test(promise_6_ebufsize_and_next_length_agree),
        cmocka_unit_test(a_view_is_good_until_the_next_receive),
        cmocka_unit_test(wrong_arguments_are_einval_and_harmless),
        cmocka_unit_test(promise_2_any_split_any_way),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
