/* SPDX-License-Identifier: MIT */
/* Promise 1: whole or not at all; and what a send refuses. */
#define _GNU_SOURCE
#include "peer.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Ends the sending, and compares all that the peer then sees with what was accepted. */
static void expect_exactly(tcpmsg_conn *conn, struct reader *reader, struct wire *accepted)
{
    assert_int_equal(tcpmsg_conn_set_timeouts(conn, TCPMSG_NO_LIMIT, 0), 0);
    reader_start(reader, reader->fd);
    int shut = tcpmsg_shutdown(conn);
    reader_finish(reader);
    assert_int_equal(shut, 0);
    assert_int_equal(reader->end, 0);
    assert_true(wire_equal(&reader->got, accepted));
    assert_int_equal(tcpmsg_close(conn), 0);
    close(reader->fd);
    wire_free(&reader->got);
    wire_free(accepted);
}

/* Sends to a peer that reads a little now and then, until `refusals` sends were refused. */
static void send_until_refused(tcpmsg_conn *conn, struct reader *reader, struct wire *accepted,
                               int flags, int refusals)
{
    static const size_t sizes[] = {1, 0, 3, 1000, 65535, 7, 65536, 100000, 20, 300000, 4096};
    uint8_t *message = malloc(300000);
    uint64_t sent = 0;
    assert_non_null(message);
    for (uint32_t i = 0; refusals > 0; i++) {
        size_t length = sizes[i % COUNT(sizes)];
        fill(message, length, i);
        int result = tcpmsg_send(conn, message, length, flags | (i % 3 ? 0 : TCPMSG_MORE));
        if (result == 0) {
            wire_add_message(accepted, NULL, message, length);
            sent++;
        } else {
            assert_int_equal(result, flags ? TCPMSG_EAGAIN : TCPMSG_ETIMEDOUT);
            if (--refusals % 5 == 0)
                raw_take(reader->fd, &reader->got, 77777);
        }
        memset(message, 0xEE, length);
        assert_true(accepted->count < 256 * MIB);
    }
    free(message);
    tcpmsg_info info;
    assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
    assert_int_equal(info.messages_sent, sent);
}

static void promise_1_whole_or_nothing_under_dontwait(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    struct reader reader = {0};
    struct wire accepted = {0};
    pair_small(&conn, &reader.fd, NULL);
    send_until_refused(conn, &reader, &accepted, TCPMSG_DONTWAIT, 200);
    expect_exactly(conn, &reader, &accepted);
}

static void promise_1_whole_or_nothing_under_timeouts(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    struct reader reader = {0};
    struct wire accepted = {0};
    pair_small(&conn, &reader.fd, TCPMSG_OPTIONS(.send_timeout_ms = 2));
    send_until_refused(conn, &reader, &accepted, 0, 100);
    expect_exactly(conn, &reader, &accepted);
}

static void promise_1_whole_or_nothing_under_a_storm_of_signals(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    struct reader reader = {0};
    struct wire accepted = {0};
    pair_unix(&conn, &reader.fd, TCPMSG_OPTIONS(.send_timeout_ms = 5));
    storm_begin();
    send_until_refused(conn, &reader, &accepted, 0, 40);
    storm_end();
    assert_true(storm_signals() > 0);
    expect_exactly(conn, &reader, &accepted);
}

/* A deadline that comes in the middle: accepted, its rest kept, the caller's memory free again. */
static void send_giant(const tcpmsg_options *options, int flags)
{
    tcpmsg_conn *conn;
    struct reader reader = {0};
    struct wire accepted = {0};
    size_t length = 8 * MIB;
    uint8_t *giant = malloc(length);
    assert_non_null(giant);
    fill(giant, length, 1);
    pair_small(&conn, &reader.fd, options);
    int64_t before = now_ms();
    assert_int_equal(tcpmsg_send(conn, giant, length, flags), 0);
    int64_t took = now_ms() - before;
    assert_true(took < WAIT_MS && (flags || took >= options->send_timeout_ms - 1));
    wire_add_message(&accepted, NULL, giant, length);
    free(giant);
    assert_code(tcpmsg_flush(conn, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    for (int i = 0; i < 20; i++)
        assert_int_equal(tcpmsg_send(conn, "x", 1, flags),
                         flags ? TCPMSG_EAGAIN : TCPMSG_ETIMEDOUT);
    expect_exactly(conn, &reader, &accepted);
}

static void promise_1_first_part_out_is_accepted(void **state)
{
    (void)state;
    send_giant(TCPMSG_OPTIONS(.send_timeout_ms = 30), 0);
    send_giant(TCPMSG_OPTIONS(.send_timeout_ms = 30), TCPMSG_DONTWAIT);
}

static ssize_t dribble_reads(struct call *call)
{
    char byte[100];
    while (!atomic_load(&call->stop)) {
        if (recv(call->raw, byte, sizeof byte, MSG_DONTWAIT) == 0)
            break;
        sleep_ms(1);
    }
    return 0;
}

static void promise_2_send_timeout_is_for_the_whole_call(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    static const uint8_t block[4 * 1024 * 1024];
    pair_unix(&conn, &raw, TCPMSG_OPTIONS(.send_timeout_ms = 100, .linger_ms = TCPMSG_NO_LINGER));
    struct call dribble = {.body = dribble_reads, .raw = raw};
    call_start(&dribble);
    storm_begin();
    for (int i = 0; i < 3; i++) {
        int64_t before = now_ms();
        int result = i < 2 ? tcpmsg_send(conn, block, sizeof block, 0) : tcpmsg_flush(conn, 0);
        int64_t took = now_ms() - before;
        assert_int_equal(result, i == 0 ? 0 : TCPMSG_ETIMEDOUT);
        assert_true(took >= 99 && took < 5000);
    }
    storm_end();
    atomic_store(&dribble.stop, true);
    call_finish(&dribble);
    tcpmsg_abort(conn);
    tcpmsg_close(conn);
    close(raw);
}

static void promise_1_any_count_of_parts_is_one_message(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    struct reader reader = {0};
    struct wire accepted = {0}, whole = {0};
    static struct iovec parts[2000];
    uint8_t bytes[600];
    fill(bytes, sizeof bytes, 7);
    pair(&conn, &reader.fd, NULL);
    assert_int_equal(tcpmsg_sendv(conn, NULL, 0, 0), 0);
    assert_int_equal(tcpmsg_sendv(conn, parts, 0, TCPMSG_MORE), 0);
    wire_add_message(&accepted, NULL, NULL, 0);
    wire_add_message(&accepted, NULL, NULL, 0);
    for (size_t i = 0; i < COUNT(parts); i++) {
        size_t length = i % 3 == 0 ? 0 : i % 256;
        parts[i] = (struct iovec){.iov_base = length ? bytes + i % 300 : NULL, .iov_len = length};
        wire_add(&whole, bytes + i % 300, length);
    }
    for (int flags = 0; flags < 4; flags++) {
        assert_int_equal(tcpmsg_sendv(conn, parts, COUNT(parts), flags), 0);
        wire_add_message(&accepted, NULL, whole.bytes, whole.count);
    }
    assert_int_equal(tcpmsg_sendv(conn, parts + 1, 1, 0), 0);
    wire_add_message(&accepted, NULL, bytes + 1, 1);
    assert_int_equal(tcpmsg_sendv(conn, parts, 1, 0), 0);
    wire_add_message(&accepted, NULL, NULL, 0);
    wire_free(&whole);
    expect_exactly(conn, &reader, &accepted);
}

static void promise_1_parts_of_a_giant_survive_a_full_socket(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    struct reader reader = {0};
    struct wire accepted = {0}, whole = {0};
    static struct iovec parts[1500];
    static uint8_t bytes[5000];
    fill(bytes, sizeof bytes, 9);
    pair_small(&conn, &reader.fd, NULL);
    for (size_t i = 0; i < COUNT(parts); i++) {
        parts[i] = (struct iovec){.iov_base = bytes + i, .iov_len = i * 2 + 1};
        wire_add(&whole, bytes + i, i * 2 + 1);
    }
    assert_int_equal(tcpmsg_sendv(conn, parts, COUNT(parts), TCPMSG_DONTWAIT), 0);
    wire_add_message(&accepted, NULL, whole.bytes, whole.count);
    memset(bytes, 0, sizeof bytes);
    memset(parts, 0, sizeof parts);
    wire_free(&whole);
    expect_exactly(conn, &reader, &accepted);
}

static void promise_1_too_long_is_refused_and_harmless(void **state)
{
    (void)state;
    static const struct {
        tcpmsg_framing framing;
        size_t max_message, longest;
    } cases[] = {
        {{0}, 100, 100},
        {{0}, 0, 16 * 1024 * 1024},
        {{.width = 1}, 0, 255},
        {{.width = 2}, 0, 65535},
        {{.width = 2}, 300, 300},
        {{.width = 1, .counts_prefix = 1}, 0, 254},
        {{.width = 2, .counts_prefix = 1}, 0, 65533},
        {{.width = TCPMSG_VARINT}, 500, 500},
        {{.width = 8}, 1, 1},
    };
    uint8_t *bytes = calloc(1, 16 * MIB + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < COUNT(cases); i++) {
        tcpmsg_conn *conn;
        struct reader reader = {0};
        struct wire accepted = {0};
        pair(&conn, &reader.fd,
             TCPMSG_OPTIONS(.framing = cases[i].framing, .max_message = cases[i].max_message));
        reader_start(&reader, reader.fd);
        size_t longest = cases[i].longest;
        struct iovec parts[] = {{bytes, longest}, {bytes, 1}};
        for (int flags = 0; flags < 4; flags++) {
            assert_code(tcpmsg_send(conn, bytes, longest + 1, flags), TCPMSG_EMSGSIZE);
            assert_code(tcpmsg_sendv(conn, parts, 2, flags), TCPMSG_EMSGSIZE);
        }
        assert_int_equal(tcpmsg_send(conn, bytes, longest, 0), 0);
        wire_add_message(&accepted, &cases[i].framing, bytes, longest);
        assert_code(tcpmsg_send(conn, bytes, longest + 1, 0), TCPMSG_EMSGSIZE);
        assert_int_equal(tcpmsg_send(conn, NULL, 0, 0), 0);
        wire_add_message(&accepted, &cases[i].framing, NULL, 0);
        assert_string_equal(tcpmsg_conn_why(conn), "");
        assert_int_equal(tcpmsg_shutdown(conn), 0);
        reader_finish(&reader);
        assert_true(wire_equal(&reader.got, &accepted));
        tcpmsg_close(conn);
        close(reader.fd);
        wire_free(&reader.got);
        wire_free(&accepted);
    }
    free(bytes);
}

static void promise_1_a_sum_over_size_max_is_too_long(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char byte[2] = "ab";
    struct iovec wraps[] = {{byte, 2}, {byte, SIZE_MAX}, {byte, 1}};
    struct iovec half[] = {{byte, (size_t)SSIZE_MAX}, {byte, 2}};
    pair(&conn, &raw, TCPMSG_OPTIONS(.max_message = SSIZE_MAX, .framing.width = 8));
    assert_code(tcpmsg_sendv(conn, wraps, 3, 0), TCPMSG_EMSGSIZE);
    assert_code(tcpmsg_sendv(conn, wraps, 2, 0), TCPMSG_EMSGSIZE);
    assert_code(tcpmsg_sendv(conn, half, 2, 0), TCPMSG_EMSGSIZE);
    assert_code(tcpmsg_send(conn, byte, SIZE_MAX, 0), TCPMSG_EMSGSIZE);
    assert_true(raw_has_nothing(raw));
    assert_int_equal(tcpmsg_send(conn, "ok", 2, 0), 0);
    uint8_t got[10];
    assert_true(read_all(raw, got, sizeof got));
    assert_memory_equal(got, "\0\0\0\0\0\0\0\2ok", sizeof got);
    tcpmsg_close(conn);
    close(raw);
}

static void wrong_arguments_are_einval_and_harmless(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    struct iovec hole[] = {{NULL, 0}, {NULL, 3}};
    pair(&conn, &raw, NULL);
    static const int unknown[] = {TCPMSG_PEEK, 8, 16, 0x40000000, -1, TCPMSG_MORE | 32};
    for (size_t i = 0; i < COUNT(unknown); i++) {
        assert_code(tcpmsg_send(conn, "x", 1, unknown[i]), TCPMSG_EINVAL);
        assert_code(tcpmsg_sendv(conn, NULL, 0, unknown[i]), TCPMSG_EINVAL);
        assert_code(tcpmsg_flush(conn, unknown[i]), TCPMSG_EINVAL);
    }
    assert_code(tcpmsg_flush(conn, TCPMSG_MORE), TCPMSG_EINVAL);
    assert_code(tcpmsg_send(conn, NULL, 1, 0), TCPMSG_EINVAL);
    assert_code(tcpmsg_sendv(conn, hole, -1, 0), TCPMSG_EINVAL);
    assert_code(tcpmsg_sendv(conn, NULL, 1, 0), TCPMSG_EINVAL);
    assert_code(tcpmsg_sendv(conn, hole, 2, 0), TCPMSG_EINVAL);
    assert_code(tcpmsg_send(NULL, "x", 1, 0), TCPMSG_EINVAL);
    assert_code(tcpmsg_sendv(NULL, hole, 1, 0), TCPMSG_EINVAL);
    assert_code(tcpmsg_flush(NULL, 0), TCPMSG_EINVAL);
    assert_true(raw_has_nothing(raw));
    assert_int_equal(tcpmsg_send(conn, "fine", 4, 0), 0);
    assert_true(raw_gets(raw, "fine"));
    tcpmsg_close(conn);
    close(raw);
}

static void send_after_shutdown_is_eclosed(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    pair(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(conn, "last", 4, TCPMSG_MORE), 0);
    assert_int_equal(tcpmsg_shutdown(conn), 0);
    for (int flags = 0; flags < 4; flags++) {
        assert_code(tcpmsg_send(conn, "late", 4, flags), TCPMSG_ECLOSED);
        assert_code(tcpmsg_sendv(conn, NULL, 0, flags), TCPMSG_ECLOSED);
    }
    assert_true(raw_gets(raw, "last"));
    assert_int_equal(read_end(raw), 0);
    assert_true(raw_send(raw, "answer"));
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 6);
    assert_string_equal(tcpmsg_conn_why(conn), "");
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
}

/* The signal's disposition is the default: a SIGPIPE would kill this program. */
static void expect_reset(tcpmsg_conn *conn)
{
    int result = 0;
    sigset_t pending;
    for (int64_t until = now_ms() + WAIT_MS; result == 0 && now_ms() < until;)
        result = tcpmsg_send(conn, "x", 1, 0);
    assert_code(result, TCPMSG_ERESET);
    for (int flags = 0; flags < 4; flags++)
        assert_code(tcpmsg_send(conn, "x", 1, flags), TCPMSG_ERESET);
    assert_code(tcpmsg_flush(conn, 0), TCPMSG_ERESET);
    assert_code(tcpmsg_shutdown(conn), TCPMSG_ERESET);
    assert_string_not_equal(tcpmsg_conn_why(conn), "");
    sigpending(&pending);
    assert_false(sigismember(&pending, SIGPIPE));
    assert_code(tcpmsg_close(conn), TCPMSG_ERESET);
}

static void promise_10_a_gone_peer_is_ereset_without_sigpipe(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    signal(SIGPIPE, SIG_DFL);
    pair(&conn, &raw, NULL);
    raw_reset(raw);
    expect_reset(conn);
    pair(&conn, &raw, NULL);
    close(raw);
    expect_reset(conn);
    pair_unix(&conn, &raw, NULL);
    close(raw);
    expect_reset(conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_1_whole_or_nothing_under_dontwait),
        cmocka_unit_test(promise_1_whole_or_nothing_under_timeouts),
        cmocka_unit_test(promise_1_whole_or_nothing_under_a_storm_of_signals),
        cmocka_unit_test(promise_1_first_part_out_is_accepted),
        cmocka_unit_test(promise_2_send_timeout_is_for_the_whole_call),
        cmocka_unit_test(promise_1_any_count_of_parts_is_one_message),
        cmocka_unit_test(promise_1_parts_of_a_giant_survive_a_full_socket),
        cmocka_unit_test(promise_1_too_long_is_refused_and_harmless),
        cmocka_unit_test(promise_1_a_sum_over_size_max_is_too_long),
        cmocka_unit_test(wrong_arguments_are_einval_and_harmless),
        cmocka_unit_test(send_after_shutdown_is_eclosed),
        cmocka_unit_test(promise_10_a_gone_peer_is_ereset_without_sigpipe),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
