/* SPDX-License-Identifier: MIT */
/* Promise 2: a timeout spoils nothing, wherever in a prefix or a payload it struck. */
#define _GNU_SOURCE
#include "peer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint8_t *filler(size_t length, uint32_t seed)
{
    static uint8_t bytes[64 * 1024];
    fill(bytes, length, seed);
    return bytes;
}

/* How a receive is cut short before the message is whole. */
enum cut { DONTWAIT_RECV, TIMED_RECV, DONTWAIT_VIEW, TIMED_VIEW, PEEK, TOO_SMALL, CUTS };

static void cut_short(tcpmsg_conn *conn, enum cut cut)
{
    uint8_t buffer[1000];
    const void *view;
    if (cut == DONTWAIT_RECV)
        assert_code(tcpmsg_recv(conn, buffer, sizeof buffer, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    if (cut == TIMED_RECV)
        assert_code(tcpmsg_recv(conn, buffer, sizeof buffer, 0), TCPMSG_ETIMEDOUT);
    if (cut == DONTWAIT_VIEW)
        assert_code(tcpmsg_recv_view(conn, &view, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    if (cut == TIMED_VIEW)
        assert_code(tcpmsg_recv_view(conn, &view, 0), TCPMSG_ETIMEDOUT);
    if (cut == PEEK)
        assert_code(tcpmsg_recv(conn, buffer, 1000, TCPMSG_PEEK), TCPMSG_ETIMEDOUT);
    if (cut == TOO_SMALL)
        assert_true(tcpmsg_recv(conn, NULL, 0, TCPMSG_DONTWAIT) < 0);
    memset(buffer, 0xA5, sizeof buffer);
}

static void expect_message(tcpmsg_conn *conn, bool by_view, const uint8_t *wanted, size_t length)
{
    uint8_t buffer[1000];
    const void *message = buffer;
    ssize_t got =
        by_view ? tcpmsg_recv_view(conn, &message, 0) : tcpmsg_recv(conn, buffer, sizeof buffer, 0);
    assert_int_equal(got, length);
    assert_memory_equal(message, wanted, length);
}

static void timeout_at_offset(const tcpmsg_framing *framing, enum cut cut, size_t offset)
{
    tcpmsg_conn *conn;
    int raw;
    struct wire wire = {0};
    const uint8_t *message = filler(20, (uint32_t)offset);
    pair_unix(&conn, &raw, TCPMSG_OPTIONS(.framing = *framing, .recv_timeout_ms = 1));
    wire_add_message(&wire, framing, message, 20);
    size_t one = wire.count;
    wire_add_message(&wire, framing, message, 20);
    assert_true(write_all(raw, wire.bytes, offset));
    for (size_t done = offset / one; done > 0; done--)
        expect_message(conn, done % 2, message, 20);
    cut_short(conn, cut);
    cut_short(conn, cut);
    assert_true(write_all(raw, wire.bytes + offset, wire.count - offset));
    assert_int_equal(tcpmsg_conn_set_timeouts(conn, 0, WAIT_MS), 0);
    for (size_t done = offset / one; done < 2; done++)
        expect_message(conn, (done + offset) % 2, message, 20);
    wire_free(&wire);
    tcpmsg_close(conn);
    close(raw);
}

static void promise_2_timeout_at_every_offset(void **state)
{
    (void)state;
    for (size_t i = 0; i < framings_count; i++) {
        uint8_t prefix[TCPMSG_PREFIX_MAX];
        size_t total = 2 * (model_prefix(&framings[i], 20, prefix) + 20);
        for (enum cut cut = 0; cut < CUTS; cut++)
            for (size_t offset = 0; offset < total; offset++)
                timeout_at_offset(&framings[i], cut, offset);
    }
}

/* A giant that comes in pieces, each met by a receive that times out, each with a buffer of its
 * own: those that came before are not touched again. */
static void giant_in_pieces(bool unix_socket, size_t piece)
{
    enum { OLD = 3 };
    tcpmsg_conn *conn;
    int raw;
    const void *view;
    size_t length = 4 * MIB;
    uint8_t *old[OLD] = {NULL}, *canary = malloc(length), *buffer = NULL;
    struct wire wire = {0};
    memset(canary, 0x5A, length);
    (unix_socket ? pair_unix : pair)(&conn, &raw, TCPMSG_OPTIONS(.recv_timeout_ms = 1));
    wire_add_filled(&wire, NULL, length, 4);
    for (size_t at = 0, turn = 0; at < wire.count; at += piece, turn++) {
        size_t count = wire.count - at < piece ? wire.count - at : piece;
        if (turn % 7 == 3)
            assert_code(tcpmsg_recv_view(conn, &view, 0), TCPMSG_ETIMEDOUT);
        if (turn % 7 == 5)
            assert_true(tcpmsg_recv(conn, NULL, 0, TCPMSG_DONTWAIT) < 0);
        buffer = malloc(length);
        assert_non_null(buffer);
        assert_code(tcpmsg_recv(conn, buffer, length, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
        free(buffer);
        buffer = malloc(length);
        assert_code(tcpmsg_recv(conn, buffer, length, 0), TCPMSG_ETIMEDOUT);
        memset(buffer, 0x5A, length);
        assert_true(write_all(raw, wire.bytes + at, count));
        if (old[turn % OLD])
            assert_int_equal(memcmp(old[turn % OLD], canary, length), 0);
        free(old[turn % OLD]);
        old[turn % OLD] = buffer;
    }
    buffer = malloc(length);
    assert_int_equal(tcpmsg_conn_set_timeouts(conn, 0, WAIT_MS), 0);
    assert_int_equal(tcpmsg_recv(conn, buffer, length, 0), length);
    assert_true(is_filled(buffer, length, 4));
    for (int i = 0; i < OLD; i++)
        if (old[i])
            assert_int_equal(memcmp(old[i], canary, length), 0);
    assert_true(raw_send(raw, "next"));
    assert_int_equal(tcpmsg_recv(conn, buffer, length, 0), 4);
    for (int i = 0; i < OLD; i++)
        free(old[i]);
    free(buffer);
    free(canary);
    wire_free(&wire);
    tcpmsg_close(conn);
    close(raw);
}

static void promise_2_old_buffers_are_never_touched(void **state)
{
    (void)state;
    giant_in_pieces(false, 50001);
    giant_in_pieces(true, 100003);
}

static ssize_t dribble_writes(struct call *call)
{
    struct wire wire = {0};
    wire_add_filled(&wire, NULL, 50000, 6);
    size_t at = 0;
    while (!atomic_load(&call->stop)) {
        send(call->raw, wire.bytes + at++, 1, MSG_NOSIGNAL);
        sleep_ms(1);
    }
    bool written = write_all(call->raw, wire.bytes + at, wire.count - at);
    wire_free(&wire);
    return written;
}

static void promise_2_nothing_stretches_a_timeout(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    struct call dribble = {.body = dribble_writes};
    static uint8_t buffer[50000];
    const void *view;
    pair(&conn, &dribble.raw, TCPMSG_OPTIONS(.recv_timeout_ms = 100));
    call_start(&dribble);
    storm_begin();
    for (int i = 0; i < 4; i++) {
        int64_t before = now_ms();
        ssize_t result =
            i % 2 ? tcpmsg_recv_view(conn, &view, 0) : tcpmsg_recv(conn, buffer, sizeof buffer, 0);
        int64_t took = now_ms() - before;
        assert_code(result, TCPMSG_ETIMEDOUT);
        assert_true(took >= 99 && took < 5000);
    }
    assert_true(storm_signals() > 0);
    storm_end();
    atomic_store(&dribble.stop, true);
    assert_true(call_finish(&dribble));
    assert_int_equal(tcpmsg_conn_set_timeouts(conn, 0, WAIT_MS), 0);
    assert_int_equal(tcpmsg_recv(conn, buffer, sizeof buffer, 0), sizeof buffer);
    assert_true(is_filled(buffer, sizeof buffer, 6));
    tcpmsg_close(conn);
    close(dribble.raw);
}

/* A spinning receive keeps the same limit, and finds what comes. */
static void promise_2_spin_keeps_the_limit(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    pair(&conn, &raw, TCPMSG_OPTIONS(.recv_timeout_ms = 40, .spin_us = 30 * 1000 * 1000));
    int64_t before = now_ms();
    assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_ETIMEDOUT);
    int64_t took = now_ms() - before;
    assert_true(took >= 39 && took < 5000);
    before = now_ms();
    assert_code(tcpmsg_recv(conn, text, sizeof text, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    assert_true(now_ms() - before < 5000);
    assert_true(raw_send(raw, "hello"));
    assert_int_equal(tcpmsg_conn_set_timeouts(conn, 0, WAIT_MS), 0);
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
    tcpmsg_close(conn);
    close(raw);
}

/* Both directions cut short in turn, in every combination: neither stream is spoilt. */
static void promise_2_both_directions_cut_in_turn(void **state)
{
    (void)state;
    tcpmsg_conn *one, *other;
    static uint8_t buffer[64 * 1024];
    uint32_t sent = 0, received = 0;
    unsigned seed = 1;
    pair_conns_unix(&one, &other, TCPMSG_OPTIONS(.send_timeout_ms = 1, .recv_timeout_ms = 1));
    while (received < 300) {
        size_t length = sent * 997 % sizeof buffer;
        int result = tcpmsg_send(one, filler(length, sent), length, (int)(sent % 4));
        if (result == 0)
            sent++;
        else
            assert_int_equal(result, (sent % 2) ? TCPMSG_EAGAIN : TCPMSG_ETIMEDOUT);
        assert_true(tcpmsg_recv(one, buffer, sizeof buffer, TCPMSG_DONTWAIT) < 0);
        if (rand_r(&seed) % 2)
            continue;
        ssize_t got = tcpmsg_recv(other, buffer, sizeof buffer, 0);
        if (got == TCPMSG_ETIMEDOUT)
            continue;
        assert_int_equal(got, received * 997 % sizeof buffer);
        assert_true(is_filled(buffer, (size_t)got, received++));
    }
    tcpmsg_abort(one);
    tcpmsg_close(one);
    tcpmsg_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_2_timeout_at_every_offset),
        cmocka_unit_test(promise_2_old_buffers_are_never_touched),
        cmocka_unit_test(promise_2_nothing_stretches_a_timeout),
        cmocka_unit_test(promise_2_spin_keeps_the_limit),
        cmocka_unit_test(promise_2_both_directions_cut_in_turn),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
