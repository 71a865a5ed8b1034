/* SPDX-License-Identifier: MIT */
/* What a thread that leaves its turn at sending owes to those that came meanwhile. Each write is
 * held at a gate, so that the others come just then. */
#define _GNU_SOURCE
#include "conn.h"
#include "peer.h"
#include "shortage.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of the library's writes, how many have come to the gate, and how many it lets through. */
static atomic_int writes_come, writes_let;

static void wait_at_gate(void)
{
    int own = atomic_fetch_add(&writes_come, 1);
    while (own >= atomic_load(&writes_let))
        sleep_ms(1);
}

static void shut_gate(void)
{
    atomic_store(&writes_come, 0);
    atomic_store(&writes_let, 0);
    before_write = wait_at_gate;
}

static bool has_come(void *arg)
{
    const int *count = arg;
    return atomic_load(&writes_come) == *count;
}

/* Lets all writes through but the last of so many, and waits until that one is there. */
static void hold_write(int count)
{
    atomic_store(&writes_let, count - 1);
    assert_true(eventually(has_come, &count));
}

/* For the threads that are under way; once they are through, take_gate_away. */
static void open_gate(void)
{
    atomic_store(&writes_let, INT_MAX);
}

static void take_gate_away(void)
{
    before_write = NULL;
}

static void end(tcpmsg_conn *conn, int raw)
{
    assert_int_equal(tcpmsg_close(conn), 0);
    assert_int_equal(read_end(raw), 0);
    close(raw);
}

static ssize_t send_first(struct call *call)
{
    return tcpmsg_send(call->conn, "first", 5, 0);
}

static ssize_t send_waiting(struct call *call)
{
    return tcpmsg_send(call->conn, "waiting", 7, 0);
}

static ssize_t flush(struct call *call)
{
    return tcpmsg_flush(call->conn, 0);
}

static ssize_t flush_at_once(struct call *call)
{
    return tcpmsg_flush(call->conn, TCPMSG_DONTWAIT);
}

/* The turn is free for the flush, which is done already: who writes what came last? */
static void promise_1_what_was_sent_beside_a_flush_goes_out(void **state)
{
    (void)state;
    struct call first = {.body = send_first}, flushing = {.body = flush};
    int raw;
    pair(&first.conn, &raw, NULL);
    flushing.conn = first.conn;
    shut_gate();
    call_start(&first);
    hold_write(1);
    assert_int_equal(tcpmsg_send(first.conn, "second", 6, 0), 0);
    hold_write(2);
    call_start_asleep(&flushing);
    assert_int_equal(tcpmsg_send(first.conn, "third", 5, 0), 0);
    open_gate();
    assert_int_equal(call_finish(&first), 0);
    assert_int_equal(call_finish(&flushing), 0);
    take_gate_away();
    assert_true(raw_gets(raw, "first") && raw_gets(raw, "second") && raw_gets(raw, "third"));
    end(first.conn, raw);
}

/* One of two that waited writes for both: the other one's call is done when it gets the turn. */
static void promise_1_what_was_sent_beside_waiting_senders_goes_out(void **state)
{
    (void)state;
    struct call pushing = {.body = flush_at_once}, waiting[2];
    int raw;
    pair(&pushing.conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(pushing.conn, "held", 4, TCPMSG_MORE), 0);
    shut_gate();
    call_start(&pushing);
    hold_write(1);
    for (size_t i = 0; i < COUNT(waiting); i++) {
        waiting[i] = (struct call){.body = send_waiting, .conn = pushing.conn};
        call_start_asleep(&waiting[i]);
    }
    hold_write(2);
    assert_int_equal(tcpmsg_send(pushing.conn, "last", 4, 0), 0);
    open_gate();
    assert_int_equal(call_finish(&pushing), 0);
    for (size_t i = 0; i < COUNT(waiting); i++)
        assert_int_equal(call_finish(&waiting[i]), 0);
    take_gate_away();
    assert_true(raw_gets(raw, "held") && raw_gets(raw, "waiting") && raw_gets(raw, "waiting"));
    assert_true(raw_gets(raw, "last"));
    end(pushing.conn, raw);
}

/* Its sender is still at it for the others' sake. */
static void promise_1_an_abort_takes_back_no_message_that_is_out(void **state)
{
    (void)state;
    struct call first = {.body = send_first};
    int raw;
    pair(&first.conn, &raw, NULL);
    shut_gate();
    call_start(&first);
    hold_write(1);
    assert_int_equal(tcpmsg_send(first.conn, "second", 6, 0), 0);
    hold_write(2);
    assert_true(raw_gets(raw, "first"));
    tcpmsg_abort(first.conn);
    open_gate();
    assert_int_equal(call_finish(&first), 0);
    take_gate_away();
    assert_code(tcpmsg_close(first.conn), TCPMSG_ECANCELED);
    close(raw);
}

enum { SEND_TIMEOUT_MS = 1000 };

static ssize_t send_giant(struct call *call)
{
    uint8_t *giant = calloc(1, 4 * MIB);
    int result = tcpmsg_send(call->conn, giant, 4 * MIB, 0);
    free(giant);
    return result;
}

static struct call giant;

/* At the second write, for which the limit is over, an abort begins whose reset is yet to come. */
static void begin_abort(void)
{
    if (atomic_fetch_add(&writes_come, 1) == 1)
        tm_out_end(giant.conn, TCPMSG_ECANCELED);
}

static void promise_1_an_abort_during_the_last_write_is_told(void **state)
{
    (void)state;
    int raw;
    giant = (struct call){.body = send_giant};
    pair_unix(&giant.conn, &raw, TCPMSG_OPTIONS(.send_timeout_ms = SEND_TIMEOUT_MS));
    atomic_store(&writes_come, 0);
    before_write = begin_abort;
    assert_code(send_giant(&giant), TCPMSG_ECANCELED);
    before_write = NULL;
    assert_int_equal(writes_come, 2);
    tcpmsg_abort(giant.conn);
    assert_code(tcpmsg_close(giant.conn), TCPMSG_ECANCELED);
    close(raw);
}

/* The socket behind the library's back: how many bytes it took. */
static size_t fill_socket(tcpmsg_conn *conn)
{
    static const uint8_t block[16 * 1024];
    size_t count = 0;
    ssize_t took;
    while ((took = send(tcpmsg_conn_fd(conn), block, sizeof block, MSG_DONTWAIT)) > 0)
        count += (size_t)took;
    assert_int_equal(errno, EAGAIN);
    return count;
}

static void drop(int raw, size_t count)
{
    uint8_t *bytes = malloc(count);
    assert_non_null(bytes);
    assert_true(read_all(raw, bytes, count));
    free(bytes);
}

enum { LEFT = 40000, HELD = 20000 };

/* One message was left by a flush that could not wait, another one was held back since. */
static void promise_1_a_flush_without_memory_keeps_the_connection(void **state)
{
    (void)state;
    static uint8_t left[LEFT], held[HELD];
    struct wire wanted = {0};
    struct reader reader = {0};
    tcpmsg_conn *conn;
    int raw;
    fill(left, sizeof left, 1);
    fill(held, sizeof held, 2);
    wire_add_message(&wanted, NULL, left, sizeof left);
    wire_add_message(&wanted, NULL, held, sizeof held);
    pair_unix(&conn, &raw, NULL);
    size_t filled = fill_socket(conn);
    assert_int_equal(tcpmsg_send(conn, left, sizeof left, TCPMSG_MORE), 0);
    assert_code(tcpmsg_flush(conn, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    assert_int_equal(tcpmsg_send(conn, held, sizeof held, TCPMSG_MORE), 0);
    drop(raw, filled);
    call_fails(CALL_malloc, ENOMEM, 1000);
    assert_int_equal(tcpmsg_flush(conn, 0), 0);
    call_fails(CALL_malloc, ENOMEM, 0);
    assert_string_equal(tcpmsg_conn_why(conn), "");
    reader_start(&reader, raw);
    assert_int_equal(tcpmsg_close(conn), 0);
    reader_finish(&reader);
    assert_true(wire_equal(&reader.got, &wanted));
    wire_free(&reader.got);
    wire_free(&wanted);
    close(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_1_what_was_sent_beside_a_flush_goes_out),
        cmocka_unit_test(promise_1_what_was_sent_beside_waiting_senders_goes_out),
        cmocka_unit_test(promise_1_an_abort_takes_back_no_message_that_is_out),
        cmocka_unit_test(promise_1_an_abort_during_the_last_write_is_told),
        cmocka_unit_test(promise_1_a_flush_without_memory_keeps_the_connection),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
