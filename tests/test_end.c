/* SPDX-License-Identifier: MIT */
/* Promise 3: the end is told truly. Clean, inside a message, reset and stall are four answers,
 * they stay, and the whole messages that came before come first. */
#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Every kind of receive gives the same error, again and again. */
static void expect_end(tcpmsg_conn *conn, int error)
{
    char text[8], *kept = text;
    const void *view = kept;
    for (int times = 0; times < 2; times++) {
        assert_string_equal(tcpmsg_error_name((int)tcpmsg_recv(conn, text, sizeof text, 0)),
                            tcpmsg_error_name(error));
        for (int flags = 0; flags <= 5; flags++) {
            if (flags & TCPMSG_MORE)
                continue;
            assert_int_equal(tcpmsg_recv_view(conn, &view, flags), error);
            assert_int_equal(tcpmsg_recv(conn, text, sizeof text, flags), error);
            assert_int_equal(tcpmsg_recv(conn, NULL, 0, flags), error);
        }
        assert_int_equal(tcpmsg_next_length(conn), error);
        assert_ptr_equal(view, kept);
        assert_int_equal(tcpmsg_conn_events(conn) & POLLIN, 0);
        assert_string_not_equal(tcpmsg_conn_why(conn), "");
    }
}

/* Feeds two whole messages and `part` bytes of a third. */
static void feed(int raw, size_t part)
{
    assert_true(raw_send(raw, "first") && raw_send(raw, "second"));
    assert_true(write_all(raw, "\0\0\0\7third..", part));
}

static void expect_whole_ones(tcpmsg_conn *conn)
{
    char text[8];
    const void *view;
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
    assert_memory_equal(text, "first", 5);
    assert_int_equal(tcpmsg_recv_view(conn, &view, TCPMSG_PEEK), 6);
    assert_int_equal(tcpmsg_next_length(conn), 6);
    assert_int_equal(tcpmsg_recv(conn, text, 5, 0), TCPMSG_EBUFSIZE);
    assert_int_equal(tcpmsg_recv_view(conn, &view, 0), 6);
    assert_memory_equal(view, "second", 6);
}

static void promise_3_clean_end(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    for (int unix_socket = 0; unix_socket < 2; unix_socket++) {
        (unix_socket ? pair_unix : pair)(&conn, &raw, NULL);
        close(raw);
        expect_end(conn, TCPMSG_EOF);
        tcpmsg_close(conn);
        (unix_socket ? pair_unix : pair)(&conn, &raw, NULL);
        feed(raw, 0);
        close(raw);
        expect_whole_ones(conn);
        expect_end(conn, TCPMSG_EOF);
        tcpmsg_close(conn);
    }
}

/* The peer has only ended its own sending: ours goes on. */
static void promise_3_clean_end_leaves_the_sending(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    shutdown(raw, SHUT_WR);
    expect_end(conn, TCPMSG_EOF);
    assert_int_equal(tcpmsg_send(conn, "still here", 10, 0), 0);
    assert_true(raw_gets(raw, "still here"));
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
}

static void promise_3_end_inside_a_message(void **state)
{
    (void)state;
    for (int unix_socket = 0; unix_socket < 2; unix_socket++) {
        for (size_t part = 1; part < 11; part++) {
            tcpmsg_conn *conn;
            int raw;
            (unix_socket ? pair_unix : pair)(&conn, &raw, NULL);
            feed(raw, part);
            close(raw);
            expect_whole_ones(conn);
            expect_end(conn, TCPMSG_ETRUNCATED);
            tcpmsg_close(conn);
        }
    }
}

static void promise_3_reset(void **state)
{
    (void)state;
    for (size_t part = 0; part < 11; part += 3) {
        tcpmsg_conn *conn;
        int raw;
        tcpmsg_info info;
        pair(&conn, &raw, NULL);
        feed(raw, part);
        raw_reset(raw);
        expect_whole_ones(conn);
        expect_end(conn, TCPMSG_ERESET);
        assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
        assert_int_equal(info.os_error, ECONNRESET);
        tcpmsg_close(conn);
    }
}

static void send_until_reset(tcpmsg_conn *conn)
{
    int result = 0;
    for (int64_t until = now_ms() + WAIT_MS; result == 0 && now_ms() < until;)
        result = tcpmsg_send(conn, "x", 1, 0);
    assert_code(result, TCPMSG_ERESET);
}

/* The system tells a reset to one call only, here to a send; receive would see a clean end. */
static void promise_3_reset_that_a_send_met(void **state)
{
    (void)state;
    for (int part = 0; part < 11; part += 5) {
        for (int seen = 0; seen < 2; seen++) {
            tcpmsg_conn *conn;
            int raw;
            char text[8];
            pair(&conn, &raw, NULL);
            feed(raw, (size_t)part);
            if (seen)
                assert_int_equal(tcpmsg_recv(conn, text, sizeof text, TCPMSG_PEEK), 5);
            raw_reset(raw);
            send_until_reset(conn);
            assert_true(tcpmsg_conn_events(conn) & POLLIN);
            expect_whole_ones(conn);
            expect_end(conn, TCPMSG_ERESET);
            assert_code(tcpmsg_close(conn), TCPMSG_ERESET);
        }
    }
}

/* A peer that closes, and answers what still comes with a reset. */
static void promise_3_reset_after_a_clean_end(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    feed(raw, 0);
    close(raw);
    send_until_reset(conn);
    expect_whole_ones(conn);
    expect_end(conn, TCPMSG_ERESET);
    tcpmsg_close(conn);
    pair(&conn, &raw, NULL);
    close(raw);
    expect_end(conn, TCPMSG_EOF);
    send_until_reset(conn);
    expect_end(conn, TCPMSG_EOF);
    tcpmsg_close(conn);
}

/* A peer that closes with our message unread resets: its last words still come first. */
static void promise_3_reset_by_unread_input(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(conn, "unread", 6, 0), 0);
    assert_true(wait_events(raw, POLLIN, WAIT_MS) & POLLIN);
    feed(raw, 5);
    close(raw);
    expect_whole_ones(conn);
    expect_end(conn, TCPMSG_ERESET);
    tcpmsg_close(conn);
}

static void promise_3_stall(void **state)
{
    (void)state;
    for (size_t part = 1; part < 11; part += 3) {
        tcpmsg_conn *conn;
        int raw;
        pair(&conn, &raw, TCPMSG_OPTIONS(.message_timeout_ms = 60));
        int64_t before = now_ms();
        feed(raw, part);
        expect_whole_ones(conn);
        char byte;
        assert_code(tcpmsg_recv(conn, &byte, 1, 0), TCPMSG_ESTALLED);
        int64_t took = now_ms() - before;
        assert_true(took >= 59 && took < 5000);
        expect_end(conn, TCPMSG_ESTALLED);
        assert_true(says_number(tcpmsg_conn_why(conn), 60));
        assert_int_equal(tcpmsg_send(conn, "too slow", 8, 0), 0);
        assert_true(raw_gets(raw, "too slow"));
        tcpmsg_close(conn);
        close(raw);
    }
}

/* The message's clock runs between a first byte and a last, and through many calls. */
static void promise_3_stall_clock_is_the_messages(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    pair(&conn, &raw, TCPMSG_OPTIONS(.message_timeout_ms = 100, .recv_timeout_ms = 250));
    assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_ETIMEDOUT);
    assert_true(raw_send(raw, "hello"));
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
    assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_ETIMEDOUT);
    assert_int_equal(tcpmsg_conn_set_timeouts(conn, 0, 10), 0);
    int64_t begin = now_ms();
    ssize_t result = TCPMSG_ETIMEDOUT;
    for (int i = 0; result == TCPMSG_ETIMEDOUT && now_ms() < begin + WAIT_MS; i++) {
        assert_true(write_all(raw, i == 0 ? "\0\0\0\377" : "....", i == 0 ? 4 : 1));
        result = tcpmsg_recv(conn, text, sizeof text, 0);
    }
    assert_code(result, TCPMSG_ESTALLED);
    assert_true(now_ms() - begin >= 99);
    tcpmsg_close(conn);
    close(raw);
}

/* RFC 5482: what was sent has stayed unacknowledged for too long, here before a shut window. */
static void promise_3_user_timeout_is_a_stall(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    tcpmsg_info info;
    pair_small(&conn, &raw, TCPMSG_OPTIONS(.user_timeout_ms = 1500));
    assert_true(raw_send(raw, "first") && raw_send(raw, "second"));
    jam(conn);
    assert_code(tcpmsg_send(conn, "x", 1, 0), TCPMSG_ESTALLED);
    expect_whole_ones(conn);
    expect_end(conn, TCPMSG_ESTALLED);
    assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
    assert_int_equal(info.os_error, ETIMEDOUT);
    assert_code(tcpmsg_close(conn), TCPMSG_ESTALLED);
    close(raw);
}

/* Who only ever polls and receives with DONTWAIT learns of the stall too. */
static void promise_3_stall_is_told_to_dontwait(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    pair_unix(&conn, &raw, TCPMSG_OPTIONS(.message_timeout_ms = 50));
    assert_true(write_all(raw, "\0\0\0\3a", 5));
    assert_code(tcpmsg_recv(conn, text, sizeof text, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    sleep_ms(60);
    assert_code(tcpmsg_recv(conn, text, sizeof text, TCPMSG_DONTWAIT), TCPMSG_ESTALLED);
    expect_end(conn, TCPMSG_ESTALLED);
    tcpmsg_close(conn);
    close(raw);
}

/* Whatever was announced: an end that comes instead of a giant is told, and nothing hangs. */
static void promise_3_end_inside_a_giant(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    uint8_t *giant = calloc(1, 16 * MIB);
    assert_non_null(giant);
    for (int reset = 0; reset < 2; reset++) {
        pair(&conn, &raw, TCPMSG_OPTIONS(.recv_timeout_ms = 20));
        assert_true(write_all(raw, "\1\0\0\0", 4) && write_all(raw, giant, 100000));
        assert_code(tcpmsg_recv(conn, giant, 16 * MIB, 0), TCPMSG_ETIMEDOUT);
        if (reset)
            raw_reset(raw);
        else
            close(raw);
        assert_int_equal(tcpmsg_conn_set_timeouts(conn, 0, WAIT_MS), 0);
        assert_int_equal(tcpmsg_recv(conn, giant, 16 * MIB, 0),
                         reset ? TCPMSG_ERESET : TCPMSG_ETRUNCATED);
        expect_end(conn, reset ? TCPMSG_ERESET : TCPMSG_ETRUNCATED);
        tcpmsg_close(conn);
    }
    free(giant);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_3_clean_end),
        cmocka_unit_test(promise_3_clean_end_leaves_the_sending),
        cmocka_unit_test(promise_3_end_inside_a_message),
        cmocka_unit_test(promise_3_reset),
        cmocka_unit_test(promise_3_reset_that_a_send_met),
        cmocka_unit_test(promise_3_reset_after_a_clean_end),
        cmocka_unit_test(promise_3_reset_by_unread_input),
        cmocka_unit_test(promise_3_stall),
        cmocka_unit_test(promise_3_stall_clock_is_the_messages),
        cmocka_unit_test(promise_3_stall_is_told_to_dontwait),
        cmocka_unit_test(promise_3_user_timeout_is_a_stall),
        cmocka_unit_test(promise_3_end_inside_a_giant),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
