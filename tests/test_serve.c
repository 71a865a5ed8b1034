/* SPDX-License-Identifier: MIT */
/* Promise 8's other half: a receive that waits serves both directions, so that nobody ever waits
 * for something in a buffer of their own. */
#define _GNU_SOURCE
#include "peer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t recv_eight(struct call *call)
{
    char text[8];
    return tcpmsg_recv(call->conn, text, sizeof text, 0);
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

static ssize_t answer_requests(struct call *call)
{
    char text[64];
    for (;;) {
        ssize_t length = tcpmsg_recv(call->conn, text, sizeof text, 0);
        if (length < 0)
            return length;
        if (tcpmsg_send(call->conn, text, (size_t)length, TCPMSG_MORE) != 0)
            return 1;
    }
}

static void promise_8_requests_with_more_do_not_deadlock(void **state)
{
    (void)state;
    struct call server = {.body = answer_requests};
    tcpmsg_conn *client;
    char text[64];
    pair_conns(&client, &server.conn, NULL);
    call_start(&server);
    for (uint32_t i = 0; i < 500; i++) {
        for (uint32_t burst = 0; burst <= i % 3; burst++) {
            fill(text, 40, i + burst);
            assert_int_equal(tcpmsg_send(client, text, 40, TCPMSG_MORE), 0);
        }
        for (uint32_t burst = 0; burst <= i % 3; burst++) {
            assert_int_equal(tcpmsg_recv(client, text, sizeof text, 0), 40);
            assert_true(is_filled(text, 40, i + burst));
        }
    }
    assert_int_equal(tcpmsg_close(client), 0);
    assert_code(call_finish(&server), TCPMSG_EOF);
    tcpmsg_close(server.conn);
}

enum { GIANT = 8 * 1024 * 1024, ROUNDS = 3 };

/* Both sides send a giant first and receive then: only a receive can bring it all across. */
static ssize_t exchange_giants(struct call *call)
{
    uint8_t *giant = malloc(GIANT);
    ssize_t result = 0;
    for (uint32_t round = 0; round < ROUNDS && result == 0; round++) {
        fill(giant, GIANT, round);
        do
            result = tcpmsg_send(call->conn, giant, GIANT, 0);
        while (result == TCPMSG_ETIMEDOUT);
        memset(giant, 0, GIANT);
        if (result == 0)
            result = tcpmsg_recv(call->conn, giant, GIANT, 0);
        if (result == GIANT)
            result = is_filled(giant, GIANT, round) ? 0 : 1;
    }
    free(giant);
    return result == 0 ? flush_all(call->conn) : result;
}

static void promise_8_a_receive_serves_the_sending(void **state)
{
    (void)state;
    for (int unix_socket = 0; unix_socket < 2; unix_socket++) {
        struct call one = {.body = exchange_giants}, other = one;
        (unix_socket ? pair_conns_unix : pair_conns)(&one.conn, &other.conn,
                                                     TCPMSG_OPTIONS(.send_timeout_ms = 20));
        call_start(&one);
        call_start(&other);
        assert_int_equal(call_finish(&one), 0);
        assert_int_equal(call_finish(&other), 0);
        tcpmsg_shutdown(one.conn);
        assert_int_equal(tcpmsg_close(other.conn), 0);
        tcpmsg_close(one.conn);
    }
}

enum { READ_FIRST = 2 * 1024 * 1024 };

static ssize_t read_and_answer(struct call *call)
{
    uint8_t *bytes = malloc(READ_FIRST);
    bool done = read_all(call->raw, bytes, READ_FIRST) && raw_send(call->raw, "hello");
    free(bytes);
    return done;
}

/* A thread that already waits in a receive takes over what another's early end leaves. */
static void promise_8_a_waiting_receive_takes_over(void **state)
{
    (void)state;
    struct call waiting = {.body = recv_eight};
    struct wire wanted = {0}, got = {0};
    pair_small(&waiting.conn, &waiting.raw, NULL);
    call_start_asleep(&waiting);
    wire_add_filled(&wanted, NULL, 3 * MIB, 1);
    wire_add_filled(&got, NULL, 3 * MIB, 2);
    int sent = tcpmsg_send(waiting.conn, wanted.bytes + 4, 3 * MIB, TCPMSG_DONTWAIT);
    bool all = read_all(waiting.raw, got.bytes, got.count);
    assert_true(raw_send(waiting.raw, "hello"));
    assert_int_equal(call_finish(&waiting), 5);
    assert_int_equal(sent, 0);
    assert_true(all && wire_equal(&got, &wanted));
    wire_free(&got);
    wire_free(&wanted);
    assert_int_equal(tcpmsg_close(waiting.conn), 0);
    close(waiting.raw);
}

/* A spin is a way of waiting: what an early end left goes out meanwhile. */
static void promise_8_a_spinning_receive_serves_too(void **state)
{
    (void)state;
    struct call answering = {.body = read_and_answer};
    static uint8_t giant[READ_FIRST];
    tcpmsg_conn *conn;
    pair_unix(&conn, &answering.raw,
              TCPMSG_OPTIONS(.spin_us = WAIT_MS * 1000, .recv_timeout_ms = WAIT_MS / 2));
    assert_int_equal(tcpmsg_send(conn, giant, sizeof giant, TCPMSG_DONTWAIT), 0);
    call_start(&answering);
    struct call receiving = {.body = recv_eight, .conn = conn};
    assert_int_equal(recv_eight(&receiving), 5);
    assert_true(call_finish(&answering));
    tcpmsg_close(conn);
    close(answering.raw);
}

/* An error of sending is not the receive's answer while the peer still speaks. */
static void promise_8_sending_errors_are_not_receives_answer(void **state)
{
    (void)state;
    struct call waiting = {.body = recv_eight};
    pair_unix(&waiting.conn, &waiting.raw, NULL);
    shutdown(waiting.raw, SHUT_RD);
    assert_code(tcpmsg_send(waiting.conn, "x", 1, 0), TCPMSG_ERESET);
    assert_true(raw_send(waiting.raw, "hello"));
    assert_int_equal(recv_eight(&waiting), 5);
    tcpmsg_close(waiting.conn);
    close(waiting.raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_8_requests_with_more_do_not_deadlock),
        cmocka_unit_test(promise_8_a_receive_serves_the_sending),
        cmocka_unit_test(promise_8_a_waiting_receive_takes_over),
        cmocka_unit_test(promise_8_a_spinning_receive_serves_too),
        cmocka_unit_test(promise_8_sending_errors_are_not_receives_answer),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
