/* SPDX-License-Identifier: MIT */
/* Taking turns at sending, at the moments that are hard to meet by chance. */
#define _GNU_SOURCE
#include "conn_out.h"
#include "peer.h"
#include "shortage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GIANT = 4 << 20, LARGE = 100000 };

static ssize_t send_filled(struct call *call, size_t length)
{
    uint8_t *message = calloc(1, length);
    fill(message, length, call->seed);
    int result = tcpmsg_send(call->conn, message, length, 0);
    free(message);
    return result;
}

static ssize_t send_giant(struct call *call)
{
    return send_filled(call, GIANT);
}

static ssize_t send_large(struct call *call)
{
    return send_filled(call, LARGE);
}

static ssize_t shut_down(struct call *call)
{
    return tcpmsg_shutdown(call->conn);
}

/* A connection whose turn a giant has that nobody reads. */
static void begin_giant(struct call *giant, int *raw)
{
    *giant = (struct call){.body = send_giant, .seed = 1};
    pair_unix(&giant->conn, raw, NULL);
    call_start_asleep(giant);
}

/* The peer reads it, and it was sent. */
static void finish_giant(struct call *giant, int raw)
{
    uint8_t *bytes = malloc(4 + GIANT);
    assert_non_null(bytes);
    assert_true(read_all(raw, bytes, 4 + GIANT));
    assert_true(is_filled(bytes + 4, GIANT, 1));
    free(bytes);
    assert_int_equal(call_finish(giant), 0);
}

static void end(tcpmsg_conn *conn, int raw)
{
    assert_int_equal(tcpmsg_close(conn), 0);
    assert_int_equal(read_end(raw), 0);
    close(raw);
}

static void a_message_that_waits_is_refused_by_a_shutdown(void **state)
{
    (void)state;
    struct call giant, large, shutting;
    int raw;
    begin_giant(&giant, &raw);
    large = (struct call){.body = send_large, .conn = giant.conn, .seed = 2};
    call_start_asleep(&large);
    shutting = (struct call){.body = shut_down, .conn = giant.conn};
    call_start(&shutting);
    assert_code(call_finish(&large), TCPMSG_ECLOSED);
    finish_giant(&giant, raw);
    assert_int_equal(call_finish(&shutting), 0);
    assert_int_equal(read_end(raw), 0);
    end(giant.conn, raw);
}

static void a_shutdown_waits_for_the_turn_within_its_limit(void **state)
{
    (void)state;
    struct call giant;
    int raw;
    begin_giant(&giant, &raw);
    assert_int_equal(tcpmsg_conn_set_timeouts(giant.conn, 20, 0), 0);
    assert_code(tcpmsg_shutdown(giant.conn), TCPMSG_ETIMEDOUT);
    assert_code(tcpmsg_send(giant.conn, "x", 1, 0), TCPMSG_ECLOSED);
    finish_giant(&giant, raw);
    assert_int_equal(tcpmsg_shutdown(giant.conn), 0);
    end(giant.conn, raw);
}

static void promise_1_no_memory_to_queue_behind_another(void **state)
{
    (void)state;
    struct call giant;
    int raw;
    begin_giant(&giant, &raw);
    call_fails(CALL_malloc, ENOMEM, 1);
    assert_code(tcpmsg_send(giant.conn, "refused", 7, 0), TCPMSG_ENOMEM);
    assert_int_equal(calls_failed(), 1);
    assert_int_equal(tcpmsg_send(giant.conn, "queued", 6, 0), 0);
    finish_giant(&giant, raw);
    assert_true(raw_gets(raw, "queued"));
    end(giant.conn, raw);
}

static ssize_t send_giant_and_large(struct call *call)
{
    ssize_t result = send_giant(call);
    return result == 0 ? send_large(call) : result;
}

static ssize_t read_it_all(struct call *call)
{
    return read_end(call->raw);
}

/* The thread that the turn is left to has no memory to use it: the next one must not wait for it.
 * Which of the two that is is chance, so it is tried a few times. */
static void a_turn_that_was_not_used_is_passed_on(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct call both = {.body = send_giant_and_large}, refused = {.body = send_large};
        struct call reader = {.body = read_it_all};
        pair_unix(&both.conn, &reader.raw, NULL);
        refused.conn = both.conn;
        call_start_asleep(&both);
        call_start_asleep(&refused);
        call_fails(CALL_malloc, ENOMEM, 1);
        call_start(&reader);
        ssize_t one = call_finish(&refused), other = call_finish(&both);
        assert_int_equal(calls_failed(), 1);
        assert_code(one < 0 ? one : other, TCPMSG_ENOMEM);
        assert_int_equal(one < 0 ? other : one, 0);
        assert_int_equal(tcpmsg_close(both.conn), 0);
        assert_int_equal(call_finish(&reader), 0);
        close(reader.raw);
    }
}

/* A connection with a message left from before, and one that was held back after it. */
static void pair_with_a_rest(tcpmsg_conn **conn, int *raw)
{
    pair_unix(conn, raw, NULL);
    tm_outbox *box = &(*conn)->out.box;
    void *place = tm_outbox_place(box, 8);
    assert_non_null(place);
    memcpy(place, "\0\0\0\4left", 8);
    tm_outbox_came(box, 8);
    assert_int_equal(tcpmsg_send(*conn, "held", 4, TCPMSG_MORE), 0);
}

/* Also of what is in two pieces. */
static void a_flush_needs_no_memory(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair_with_a_rest(&conn, &raw);
    call_fails(CALL_malloc, ENOMEM, 1000);
    assert_int_equal(tcpmsg_flush(conn, 0), 0);
    assert_int_equal(calls_failed(), 0);
    call_fails(CALL_malloc, ENOMEM, 0);
    assert_true(raw_gets(raw, "left") && raw_gets(raw, "held"));
    end(conn, raw);
}

static void promise_1_no_memory_for_a_message_leaves_what_was_before_it(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair_with_a_rest(&conn, &raw);
    call_fails(CALL_malloc, ENOMEM, 1);
    assert_code(tcpmsg_send(conn, "refused", 7, 0), TCPMSG_ENOMEM);
    assert_int_equal(calls_failed(), 1);
    assert_int_equal(tcpmsg_send(conn, "sent", 4, 0), 0);
    assert_true(raw_gets(raw, "left") && raw_gets(raw, "held") && raw_gets(raw, "sent"));
    end(conn, raw);
}

static tcpmsg_conn *busy_conn;
static int added;

/* As another thread would that never rests. */
static void add_another(void)
{
    if (tcpmsg_send(busy_conn, "more", 4, TCPMSG_MORE) == 0)
        added++;
}

/* Others that queue without end while a thread writes don't keep it for ever. */
static void a_sender_is_let_go(void **state)
{
    (void)state;
    int raw;
    pair_unix(&busy_conn, &raw, NULL);
    before_write = add_another;
    assert_int_equal(tcpmsg_send(busy_conn, "first", 5, 0), 0);
    before_write = NULL;
    assert_true(added > 1 && added < 1000);
    assert_int_equal(tcpmsg_flush(busy_conn, 0), 0);
    assert_true(raw_gets(raw, "first"));
    for (int i = 0; i < added; i++)
        assert_true(raw_gets(raw, "more"));
    assert_true(raw_has_nothing(raw));
    end(busy_conn, raw);
}

static struct call hearing;

static ssize_t hear(struct call *call)
{
    char text[8];
    return tcpmsg_recv(call->conn, text, sizeof text, 0);
}

/* The peer leaves, and a receive sees its end, while a send is inside the system call. */
static void peer_leaves(void)
{
    before_write = NULL;
    close(hearing.raw);
    call_start(&hearing);
    sleep_ms(30);
}

/* The system tells one call alone that the peer is gone: the receive waits to hear it. */
static void promise_3_what_a_send_is_about_to_meet_receive_tells(void **state)
{
    (void)state;
    hearing = (struct call){.body = hear};
    pair_unix(&hearing.conn, &hearing.raw, NULL);
    before_write = peer_leaves;
    assert_code(tcpmsg_send(hearing.conn, "x", 1, 0), TCPMSG_ERESET);
    assert_code(call_finish(&hearing), TCPMSG_ERESET);
    assert_code(tcpmsg_close(hearing.conn), TCPMSG_ERESET);
}

/* What no test has the memory to send. */
static void messages_of_any_length_are_counted(void **state)
{
    (void)state;
    static const size_t lengths[] = {TM_FEW_BYTES, TM_FEW_BYTES, 3 * TM_FEW_BYTES, 7, TM_FEW_BYTES};
    tcpmsg_conn *conn;
    tcpmsg_info info;
    uint64_t bytes = 0;
    int raw;
    pair(&conn, &raw, NULL);
    for (uint64_t i = 0; i < 5 * COUNT(lengths); i++) {
        size_t length = lengths[i % COUNT(lengths)];
        tm_mutex_lock(&conn->out.lock);
        tm_out_count_any(conn, length);
        tm_mutex_unlock(&conn->out.lock);
        bytes += length;
        assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
        assert_true(info.bytes_sent == bytes && info.messages_sent == i + 1);
    }
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_that_waits_is_refused_by_a_shutdown),
        cmocka_unit_test(a_shutdown_waits_for_the_turn_within_its_limit),
        cmocka_unit_test(promise_1_no_memory_to_queue_behind_another),
        cmocka_unit_test(a_turn_that_was_not_used_is_passed_on),
        cmocka_unit_test(a_flush_needs_no_memory),
        cmocka_unit_test(promise_1_no_memory_for_a_message_leaves_what_was_before_it),
        cmocka_unit_test(a_sender_is_let_go),
        cmocka_unit_test(promise_3_what_a_send_is_about_to_meet_receive_tells),
        cmocka_unit_test(messages_of_any_length_are_counted),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
