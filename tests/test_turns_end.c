/* SPDX-License-Identifier: MIT */
/* An end that meets other threads' turns: each one is told the truth, and nobody waits for ever. */
#define _GNU_SOURCE
#include "peer.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SEND_TIMEOUT_MS = 300, LINGER_MS = 600 };

/* Where it hangs, the test shall fail and not hang too. */
static ssize_t finished(struct call *call, ssize_t answer)
{
    atomic_store(&call->stop, true);
    return answer;
}

static ssize_t send_giant(struct call *call)
{
    uint8_t *giant = calloc(1, 4 * MIB);
    int result = tcpmsg_send(call->conn, giant, 4 * MIB, 0);
    free(giant);
    return finished(call, result);
}

static ssize_t shut_down(struct call *call)
{
    return finished(call, tcpmsg_shutdown(call->conn));
}

static ssize_t close_own(struct call *call)
{
    return finished(call, tcpmsg_close(call->conn));
}

static ssize_t abort_it(struct call *call)
{
    tcpmsg_abort(call->conn);
    return finished(call, 0);
}

static bool has_finished(void *arg)
{
    struct call *call = arg;
    return atomic_load(&call->stop);
}

static ssize_t finish_in_time(struct call *call)
{
    assert_true(eventually(has_finished, call));
    return call_finish(call);
}

/* A message that nobody reads has the turn, for as long as its sender's limit allows. */
static void begin_giant(struct call *giant, int *raw, int linger_ms)
{
    *giant = (struct call){.body = send_giant};
    pair_small(&giant->conn, raw,
               TCPMSG_OPTIONS(.send_timeout_ms = SEND_TIMEOUT_MS, .linger_ms = linger_ms));
    call_start(giant);
    assert_true(wait_events(*raw, POLLIN, WAIT_MS) & POLLIN);
}

static void promise_9_a_shutdown_beside_a_sender_ends_in_time(void **state)
{
    (void)state;
    static struct call giant, shutting;
    int raw;
    begin_giant(&giant, &raw, LINGER_MS);
    assert_int_equal(tcpmsg_conn_set_timeouts(giant.conn, LINGER_MS, 0), 0);
    shutting = (struct call){.body = shut_down, .conn = giant.conn};
    call_start(&shutting);
    assert_code(finish_in_time(&shutting), TCPMSG_ETIMEDOUT);
    assert_int_equal(finish_in_time(&giant), 0);
    assert_code(tcpmsg_close(giant.conn), TCPMSG_ETIMEDOUT);
    close(raw);
}

/* The message is accepted when its sender's limit comes, its rest is the close's to send. */
static void promise_9_a_close_beside_a_sender_ends_in_time(void **state)
{
    (void)state;
    static struct call giant, closing;
    int raw;
    begin_giant(&giant, &raw, LINGER_MS);
    tcpmsg_conn_ref(giant.conn);
    closing = (struct call){.body = close_own, .conn = giant.conn};
    call_start(&closing);
    assert_code(finish_in_time(&closing), TCPMSG_ETIMEDOUT);
    ssize_t sent = finish_in_time(&giant);
    assert_true(sent == 0 || sent == TCPMSG_ECANCELED);
    tcpmsg_conn_unref(giant.conn);
    close(raw);
}

/* The sender has left with its message accepted; who waits for the rest must not keep the lock. */
static void promise_9_an_abort_beside_both_returns(void **state)
{
    (void)state;
    static ssize_t (*const bodies[])(struct call *) = {shut_down, close_own};
    static struct call giant, ending, aborting;
    int raw;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        begin_giant(&giant, &raw, WAIT_MS);
        assert_int_equal(tcpmsg_conn_set_timeouts(giant.conn, WAIT_MS, 0), 0);
        tcpmsg_conn_ref(giant.conn);
        ending = (struct call){.body = bodies[i], .conn = giant.conn};
        aborting = (struct call){.body = abort_it, .conn = giant.conn};
        call_start(&ending);
        assert_int_equal(finish_in_time(&giant), 0);
        call_start(&aborting);
        assert_int_equal(finish_in_time(&aborting), 0);
        assert_code(finish_in_time(&ending), TCPMSG_ECANCELED);
        if (bodies[i] != close_own)
            tcpmsg_close(giant.conn);
        tcpmsg_conn_unref(giant.conn);
        close(raw);
    }
}

/* It waits for the peer: to take bytes that are still here, or to acknowledge the last. */
static void promise_9_an_abort_during_a_close_is_told(void **state)
{
    (void)state;
    static struct call closing;
    int raw;
    for (int all_out = 0; all_out < 2; all_out++) {
        closing = (struct call){.body = close_own};
        pair_small(&closing.conn, &raw, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
        jam(closing.conn);
        if (all_out) {
            struct wire dropped = {0};
            while (tcpmsg_flush(closing.conn, TCPMSG_DONTWAIT) == TCPMSG_EAGAIN)
                raw_take(raw, &dropped, KIB);
            wire_free(&dropped);
        }
        tcpmsg_conn_ref(closing.conn);
        call_start_asleep(&closing);
        int64_t before = now_ms();
        tcpmsg_abort(closing.conn);
        assert_code(finish_in_time(&closing), TCPMSG_ECANCELED);
        assert_true(now_ms() - before < WAIT_MS / 2);
        assert_code(tcpmsg_send(closing.conn, "x", 1, 0), TCPMSG_ECANCELED);
        tcpmsg_conn_unref(closing.conn);
        close(raw);
    }
}

/* The peer has to finish its own writing before it reads. */
static void promise_9_a_reply_arrives_though_both_sides_are_full(void **state)
{
    (void)state;
    static const uint8_t block[64 * 1024];
    static struct call closing;
    struct reader reader = {0};
    tcpmsg_info info;
    int raw;
    closing = (struct call){.body = close_own};
    pair_small(&closing.conn, &raw, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
    while (send(raw, block, sizeof block, MSG_DONTWAIT) > 0)
        continue;
    jam(closing.conn);
    tcpmsg_conn_ref(closing.conn);
    call_start(&closing);
    for (int i = 0; i < 16; i++)
        assert_true(write_all(raw, block, sizeof block));
    reader_start(&reader, raw);
    assert_int_equal(finish_in_time(&closing), 0);
    reader_finish(&reader);
    assert_int_equal(reader.end, 0);
    assert_int_equal(tcpmsg_conn_info(closing.conn, &info, sizeof info), 0);
    assert_int_equal(reader.got.count, info.bytes_sent + 4 * info.messages_sent);
    wire_free(&reader.got);
    tcpmsg_conn_unref(closing.conn);
    close(raw);
}

static ssize_t send_until_it_ends(struct call *call)
{
    static const uint8_t message[4000];
    int result;
    while ((result = tcpmsg_send(call->conn, message, sizeof message, 0)) == 0)
        continue;
    return result;
}

static ssize_t receive_until_it_ends(struct call *call)
{
    const void *view;
    ssize_t length;
    while ((length = tcpmsg_recv_view(call->conn, &view, 0)) >= 0)
        continue;
    return length;
}

#ifdef SANITIZED_THREADS
enum { ROUNDS = 60 };
#else
enum { ROUNDS = 300 };
#endif

/* The system tells it only once, to either of the two: both have to know. */
static void promise_3_a_reset_is_told_whoever_meets_it(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct call sending = {.body = send_until_it_ends};
        struct call receiving = {.body = receive_until_it_ends};
        struct wire read = {0};
        int raw;
        pair(&sending.conn, &raw, NULL);
        receiving.conn = sending.conn;
        call_start(&receiving);
        call_start(&sending);
        for (int i = 0; i < 20; i++) {
            assert_true(wait_events(raw, POLLIN, WAIT_MS) != 0);
            raw_take(raw, &read, 64 * KIB);
        }
        wire_free(&read);
        raw_reset(raw);
        assert_code(call_finish(&receiving), TCPMSG_ERESET);
        assert_code(call_finish(&sending), TCPMSG_ERESET);
        assert_code(tcpmsg_close(sending.conn), TCPMSG_ERESET);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_9_a_shutdown_beside_a_sender_ends_in_time),
        cmocka_unit_test(promise_9_a_close_beside_a_sender_ends_in_time),
        cmocka_unit_test(promise_9_an_abort_beside_both_returns),
        cmocka_unit_test(promise_9_an_abort_during_a_close_is_told),
        cmocka_unit_test(promise_9_a_reply_arrives_though_both_sides_are_full),
        cmocka_unit_test(promise_3_a_reset_is_told_whoever_meets_it),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
