/* SPDX-License-Identifier: MIT */
/* Promise 7's other half: any thread may abort or close; and who owns a connection. */
#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t blocked_send(struct call *call)
{
    return tcpmsg_send(call->conn, "x", 1, 0);
}

static ssize_t blocked_giant(struct call *call)
{
    uint8_t *giant = calloc(1, 4 * MIB);
    int result = tcpmsg_send(call->conn, giant, 4 * MIB, 0);
    free(giant);
    return result;
}

static ssize_t blocked_flush(struct call *call)
{
    return tcpmsg_flush(call->conn, 0);
}

static ssize_t blocked_shutdown(struct call *call)
{
    return tcpmsg_shutdown(call->conn);
}

static ssize_t blocked_recv(struct call *call)
{
    char text[8];
    return tcpmsg_recv(call->conn, text, sizeof text, 0);
}

static ssize_t blocked_view(struct call *call)
{
    const void *view;
    return tcpmsg_recv_view(call->conn, &view, TCPMSG_PEEK);
}

static ssize_t (*const blocked[])(struct call *) = {
    blocked_send, blocked_giant, blocked_flush, blocked_shutdown, blocked_recv, blocked_view,
};

static void expect_canceled(tcpmsg_conn *conn)
{
    char text[8];
    const void *view;
    for (int flags = 0; flags < 2; flags++) {
        assert_code(tcpmsg_send(conn, "x", 1, flags), TCPMSG_ECANCELED);
        assert_code(tcpmsg_sendv(conn, NULL, 0, flags | TCPMSG_MORE), TCPMSG_ECANCELED);
        assert_code(tcpmsg_flush(conn, flags), TCPMSG_ECANCELED);
        assert_code(tcpmsg_recv(conn, text, sizeof text, flags), TCPMSG_ECANCELED);
        assert_code(tcpmsg_recv_view(conn, &view, flags | TCPMSG_PEEK), TCPMSG_ECANCELED);
        assert_code(tcpmsg_next_length(conn), TCPMSG_ECANCELED);
        assert_code(tcpmsg_shutdown(conn), TCPMSG_ECANCELED);
    }
    assert_int_equal(tcpmsg_conn_events(conn), 0);
}

static void promise_7_abort_wakes_every_call(void **state)
{
    (void)state;
    for (int unix_socket = 0; unix_socket < 2; unix_socket++) {
        for (size_t i = 0; i < COUNT(blocked); i++) {
            struct call call = {.body = blocked[i]};
            if (unix_socket)
                pair_unix(&call.conn, &call.raw, NULL);
            else
                pair_small(&call.conn, &call.raw, NULL);
            jam(call.conn);
            call_start_asleep(&call);
            tcpmsg_abort(call.conn);
            assert_code(call_finish(&call), TCPMSG_ECANCELED);
            expect_canceled(call.conn);
            tcpmsg_abort(call.conn);
            int64_t before = now_ms();
            assert_code(tcpmsg_close(call.conn), TCPMSG_ECANCELED);
            assert_true(now_ms() - before < 1500);
            close(call.raw);
        }
    }
}

/* A small message may have joined the queue of a thread that writes: its answer was 0 at once. */
static void promise_7_abort_wakes_all_at_once(void **state)
{
    (void)state;
    static ssize_t (*const bodies[])(struct call *) = {
        blocked_giant, blocked_recv, blocked_flush, blocked_view, blocked_send, blocked_recv,
    };
    struct call calls[4 * COUNT(bodies)];
    tcpmsg_conn *conn;
    int raw;
    pair_small(&conn, &raw, NULL);
    jam(conn);
    for (size_t i = 0; i < COUNT(calls); i++) {
        calls[i] = (struct call){.body = bodies[i % COUNT(bodies)], .conn = conn};
        if (calls[i].body == blocked_send)
            call_start(&calls[i]);
        else
            call_start_asleep(&calls[i]);
    }
    tcpmsg_abort(conn);
    for (size_t i = 0; i < COUNT(calls); i++) {
        ssize_t answer = call_finish(&calls[i]);
        assert_true(answer == TCPMSG_ECANCELED || (answer == 0 && calls[i].body == blocked_send));
    }
    tcpmsg_close(conn);
    close(raw);
}

/* Whole messages that are already here are not told after an abort. */
static void an_abort_ends_both_directions_at_once(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    pair(&conn, &raw, NULL);
    assert_true(raw_send(raw, "hello") && raw_send(raw, "world"));
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
    tcpmsg_abort(conn);
    expect_canceled(conn);
    tcpmsg_close(conn);
    close(raw);
    tcpmsg_abort(NULL);
}

static void a_tcp_peer_sees_a_reset_at_once(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    for (int held = 0; held < 3; held++) {
        pair(&conn, &raw, NULL);
        if (held == 1)
            assert_int_equal(tcpmsg_send(conn, "held", 4, TCPMSG_MORE), 0);
        if (held == 2)
            assert_int_equal(tcpmsg_shutdown(conn), 0);
        tcpmsg_abort(conn);
        assert_true(wait_events(raw, 0, WAIT_MS) & (POLLERR | POLLHUP));
        int error = 0;
        socklen_t size = sizeof error;
        assert_int_equal(getsockopt(raw, SOL_SOCKET, SO_ERROR, &error, &size), 0);
        assert_true(error == ECONNRESET || (held == 2 && error == EPIPE));
        tcpmsg_close(conn);
        close(raw);
    }
}

static void a_unix_peer_sees_an_end_at_once(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(conn, "held", 4, TCPMSG_MORE), 0);
    tcpmsg_abort(conn);
    assert_true(wait_events(raw, POLLIN, WAIT_MS) != 0);
    char byte;
    ssize_t got = recv(raw, &byte, 1, MSG_DONTWAIT);
    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
    tcpmsg_close(conn);
    close(raw);
}

/* The threads hold references of their own: close ends their calls, and spoils no memory. */
static void close_ends_the_calls_of_others(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(blocked); i++) {
        struct call call = {.body = blocked[i]};
        pair_small(&call.conn, &call.raw, TCPMSG_OPTIONS(.linger_ms = 50));
        jam(call.conn);
        tcpmsg_conn_ref(call.conn);
        call_start_asleep(&call);
        assert_code(tcpmsg_close(call.conn), TCPMSG_ETIMEDOUT);
        ssize_t answer = call_finish(&call);
        print_message("closed under a call: %s\n", tcpmsg_error_name((int)answer));
        assert_true(answer == TCPMSG_ECANCELED || answer == TCPMSG_ECLOSED);
        assert_true(blocked[i](&call) < 0);
        tcpmsg_conn_unref(call.conn);
        close(call.raw);
    }
}

static ssize_t close_own(struct call *call)
{
    return tcpmsg_close(call->conn);
}

/* Each drops its own reference; one of them ends the connection. */
static void several_close_at_once(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct call calls[4];
        tcpmsg_conn *conn;
        int raw;
        pair(&conn, &raw, NULL);
        assert_int_equal(tcpmsg_send(conn, "last", 4, TCPMSG_MORE), 0);
        for (size_t i = 0; i < COUNT(calls); i++) {
            calls[i] = (struct call){.body = close_own, .conn = conn};
            if (i > 0)
                tcpmsg_conn_ref(conn);
        }
        for (size_t i = 0; i < COUNT(calls); i++)
            call_start(&calls[i]);
        for (size_t i = 0; i < COUNT(calls); i++)
            assert_int_equal(call_finish(&calls[i]), 0);
        assert_true(raw_gets(raw, "last"));
        assert_int_equal(read_end(raw), 0);
        close(raw);
    }
}

static void calls_after_close_answer_errors(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[TCPMSG_ADDRESS_MAX];
    const void *view;
    tcpmsg_info info;
    pair(&conn, &raw, NULL);
    assert_true(raw_send(raw, "unread"));
    assert_int_equal(tcpmsg_send(conn, "hello", 5, 0), 0);
    tcpmsg_conn_set_data(conn, text);
    assert_ptr_equal(tcpmsg_conn_ref(conn), conn);
    assert_int_equal(tcpmsg_close(conn), 0);
    assert_int_equal(tcpmsg_conn_fd(conn), -1);
    assert_int_equal(tcpmsg_conn_events(conn), 0);
    assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_ECANCELED);
    assert_code(tcpmsg_recv_view(conn, &view, TCPMSG_DONTWAIT), TCPMSG_ECANCELED);
    assert_code(tcpmsg_next_length(conn), TCPMSG_ECANCELED);
    int sent = tcpmsg_send(conn, "x", 1, 0);
    assert_true(sent == TCPMSG_ECLOSED || sent == TCPMSG_ECANCELED);
    assert_true(tcpmsg_flush(conn, 0) <= 0);
    assert_true(tcpmsg_shutdown(conn) <= 0);
    assert_code(tcpmsg_conn_local(conn, text, sizeof text), TCPMSG_ECANCELED);
    int peer = tcpmsg_conn_peer(conn, text, sizeof text);
    assert_true(peer == 0 || peer == TCPMSG_ECANCELED);
    assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
    assert_int_equal(info.messages_sent, 1);
    assert_non_null(info.tcp_state);
    assert_ptr_equal(tcpmsg_conn_data(conn), text);
    tcpmsg_abort(conn);
    tcpmsg_conn_unref(conn);
    close(raw);
}

/* Nobody closed it: the last unref does, without waiting. */
static void the_last_unref_lets_go(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw, before = open_descriptors();
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            pair_unix(&conn, &raw, NULL);
        else
            pair_small(&conn, &raw, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
        if (i == 1)
            jam(conn);
        assert_ptr_equal(tcpmsg_conn_ref(conn), conn);
        int64_t begin = now_ms();
        tcpmsg_conn_unref(conn);
        assert_true(tcpmsg_conn_fd(conn) >= 0);
        tcpmsg_conn_unref(conn);
        assert_true(now_ms() - begin < WAIT_MS / 2);
        if (i != 1)
            assert_int_equal(read_end(raw), 0);
        close(raw);
    }
    assert_int_equal(open_descriptors(), before);
    assert_null(tcpmsg_conn_ref(NULL));
    tcpmsg_conn_unref(NULL);
}

/* Everything at once, ended at a moment of chance: for the sanitizers to watch. */
static ssize_t hammer(struct call *call)
{
    uint8_t *bytes = calloc(1, 70000);
    char text[TCPMSG_ADDRESS_MAX];
    const void *view;
    unsigned seed = call->seed;
    tcpmsg_info info;
    for (ssize_t result = 0; !atomic_load(&call->stop);) {
        size_t length = (size_t)rand_r(&seed) % (rand_r(&seed) % 4 ? 100 : 70000);
        switch (call->seed % 4) {
        case 0:
            result = tcpmsg_send(call->conn, bytes, length, (int)(length % 4));
            break;
        case 1:
            result = tcpmsg_recv(call->conn, bytes, length, (int)(length % 2));
            break;
        case 2:
            result = tcpmsg_recv_view(call->conn, &view, (int)(length % 2));
            break;
        default:
            tcpmsg_conn_events(call->conn);
            tcpmsg_next_length(call->conn);
            tcpmsg_conn_why(call->conn);
            tcpmsg_conn_fd(call->conn);
            tcpmsg_conn_peer(call->conn, text, sizeof text);
            tcpmsg_conn_info(call->conn, &info, sizeof info);
            tcpmsg_conn_set_timeouts(call->conn, 1 + (int)length % 5, 1 + (int)length % 7);
            result = tcpmsg_flush(call->conn, TCPMSG_DONTWAIT);
        }
        if (result == TCPMSG_ECANCELED || result == TCPMSG_EOF || result == TCPMSG_ERESET)
            break;
    }
    free(bytes);
    tcpmsg_conn_unref(call->conn);
    return 0;
}

static void promise_7_everything_at_once(void **state)
{
    (void)state;
    for (int round = 0; round < 12; round++) {
        struct call calls[10];
        tcpmsg_conn *ends[2];
        pair_conns(&ends[0], &ends[1], TCPMSG_OPTIONS(.send_timeout_ms = 2, .linger_ms = 20));
        for (uint32_t i = 0; i < COUNT(calls); i++) {
            calls[i] = (struct call){.body = hammer, .seed = i / 2};
            calls[i].conn = tcpmsg_conn_ref(ends[i % 2]);
            call_start(&calls[i]);
        }
        sleep_ms(round * 3);
        if (round % 3 == 0)
            tcpmsg_abort(ends[0]);
        if (round % 3 == 1)
            tcpmsg_shutdown(ends[0]);
        tcpmsg_close(ends[0]);
        for (uint32_t i = 0; i < COUNT(calls); i += 2)
            atomic_store(&calls[i].stop, true);
        sleep_ms(round % 4);
        tcpmsg_close(ends[1]);
        for (uint32_t i = 0; i < COUNT(calls); i++)
            atomic_store(&calls[i].stop, true);
        for (uint32_t i = 0; i < COUNT(calls); i++)
            call_finish(&calls[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_7_abort_wakes_every_call),
        cmocka_unit_test(promise_7_abort_wakes_all_at_once),
        cmocka_unit_test(an_abort_ends_both_directions_at_once),
        cmocka_unit_test(a_tcp_peer_sees_a_reset_at_once),
        cmocka_unit_test(a_unix_peer_sees_an_end_at_once),
        cmocka_unit_test(close_ends_the_calls_of_others),
        cmocka_unit_test(several_close_at_once),
        cmocka_unit_test(calls_after_close_answer_errors),
        cmocka_unit_test(the_last_unref_lets_go),
        cmocka_unit_test(promise_7_everything_at_once),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
