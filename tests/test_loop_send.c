/* SPDX-License-Identifier: MIT */
/* Sending on a loop's connection, from its callbacks, from others', and from other threads. */
#define _GNU_SOURCE
#include "guest.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void greet(struct seen *seen)
{
    (void)seen_send(seen, "welcome", 7, 0);
}

static void on_open_may_send(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = greet, .on_message = echo.on_message};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &acts, NULL, NULL);
        int raw = raw_reach(looper->address);
        assert_true(raw_send(raw, "hello"));
        assert_true(raw_gets(raw, "welcome") && raw_gets(raw, "hello"));
        close(raw);
        looper_finish(looper);
    }
}

static void answer_after_the_end(struct seen *seen)
{
    (void)seen_send(seen, "too late", 8, 0);
}

/* Nothing that is accepted is lost, so nothing can be accepted. */
static void promise_1_a_send_in_on_close_is_an_error(void **state)
{
    (void)state;
    const struct acts acts = {.on_close = answer_after_the_end};
    struct looper *looper = looper_serve(TCP, &acts, NULL, NULL);
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    shutdown(raw, SHUT_WR);
    assert_int_equal(read_end(raw), 0);
    assert_code(seen_end(seen), TCPMSG_EOF);
    assert_int_equal(atomic_load(&seen->refused), 1);
    assert_int_not_equal(atomic_load(&seen->last), TCPMSG_EAGAIN);
    close(raw);
    looper_finish(looper);
}

enum { MEMBERS = 10, ROUNDS = 20 };

/* All members, whoever they are; on_close takes one out. One thread: no lock. */
static struct seen *members[MEMBERS];

static void join_chat(struct seen *seen)
{
    for (int i = 0; i < MEMBERS; i++)
        if (!members[i]) {
            members[i] = seen;
            return;
        }
}

static void tell_all(struct seen *seen, const void *message, size_t length)
{
    for (int i = 0; i < MEMBERS; i++)
        if (members[i] && seen_send(members[i], message, length, 0) != 0)
            looper_fault(seen->looper, "a member is not told");
}

static void leave_chat(struct seen *seen)
{
    for (int i = 0; i < MEMBERS; i++)
        if (members[i] == seen)
            members[i] = NULL;
    for (int i = 0; i < MEMBERS; i++)
        if (members[i])
            (void)seen_send(members[i], "left", 4, 0);
}

static void callbacks_send_to_other_connections(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = join_chat, .on_message = tell_all, .on_close = leave_chat};
    struct looper *looper = looper_serve(TCP, &acts, NULL, NULL);
    int raws[MEMBERS];
    for (int i = 0; i < MEMBERS; i++)
        raws[i] = looper_guest(looper, NULL);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        assert_true(raw_send_filled(raws[round % MEMBERS], round * 100, round));
        for (int i = 0; i < MEMBERS; i++)
            assert_true(raw_gets_filled(raws[i], round * 100, round));
    }
    close(raws[0]);
    for (int i = 1; i < MEMBERS; i++)
        assert_true(raw_gets(raws[i], "left"));
    for (int i = 1; i < MEMBERS; i++)
        close(raws[i]);
    looper_finish(looper);
}

/* The loop sleeps, and is woken by each send. */
static void promise_7_another_thread_sends_at_any_time(void **state)
{
    (void)state;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &nothing, NULL, NULL);
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        for (uint32_t i = 0; i < 200; i++) {
            assert_int_equal(tcpmsg_send(seen->conn, "ping", 4, i % 2 ? TCPMSG_DONTWAIT : 0), 0);
            assert_true(raw_gets(raw, "ping"));
        }
        close(raw);
        looper_finish(looper);
    }
}

enum { SENDERS = 4, EACH = 300 };

/* "who", "which", and a tail of some length that follows from both. */
static size_t signed_message(uint8_t *to, uint32_t who, uint32_t which)
{
    size_t rest = which % 50 == 0 ? 100000 : which * 7919u % 3000;
    memcpy(to, &who, 4);
    memcpy(to + 4, &which, 4);
    fill(to + 8, rest, who * 1000 + which);
    return 8 + rest;
}

static ssize_t send_signed(struct call *call)
{
    uint8_t *message = malloc(200000);
    int result = 0;
    for (uint32_t i = 0; i < EACH && result == 0; i++) {
        size_t length = signed_message(message, call->seed, i);
        while ((result = tcpmsg_send(call->conn, message, length, 0)) == TCPMSG_EAGAIN)
            sleep_ms(1);
        memset(message, 0xEE, length);
    }
    free(message);
    return result;
}

static void promise_7_messages_of_many_threads_are_whole_and_in_order(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &nothing, NULL, NULL);
    struct seen *seen;
    struct call calls[SENDERS];
    uint32_t next[SENDERS] = {0};
    uint8_t *message = malloc(200000), *wanted = malloc(200000);
    int raw = looper_guest(looper, &seen);
    for (uint32_t i = 0; i < SENDERS; i++) {
        calls[i] = (struct call){.body = send_signed, .conn = seen->conn, .seed = i};
        call_start(&calls[i]);
    }
    for (int i = 0; i < SENDERS * EACH; i++) {
        uint8_t prefix[4];
        uint32_t who;
        assert_true(read_all(raw, prefix, 4));
        size_t length = (size_t)prefix[1] << 16 | (size_t)prefix[2] << 8 | prefix[3];
        assert_true(prefix[0] == 0 && length < 200000 && read_all(raw, message, length));
        memcpy(&who, message, 4);
        assert_true(who < SENDERS);
        assert_int_equal(signed_message(wanted, who, next[who]++), length);
        assert_memory_equal(message, wanted, length);
    }
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(call_finish(&calls[i]), 0);
    free(message);
    free(wanted);
    close(raw);
    looper_finish(looper);
}

/* Many in one callback, small beside large: they leave in order, and the memory is the caller's
 * again at once. */
static void send_a_lot(struct seen *seen, const void *message, size_t length)
{
    (void)message;
    (void)length;
    uint8_t *bytes = malloc(300000);
    for (uint32_t i = 0; i < 300; i++) {
        size_t size = i % 30 == 7 ? 70000 + i * 700 : i * i % 900;
        fill(bytes, size, i);
        (void)seen_send(seen, bytes, size, i % 3 == 1 ? TCPMSG_MORE : 0);
        memset(bytes, 0xEE, size);
    }
    free(bytes);
}

static void what_one_callback_sends_leaves_in_order(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = send_a_lot};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper =
            looper_serve(transport, &acts, TCPMSG_LOOP_OPTIONS(.high_water = 64 * MIB), NULL);
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        assert_true(raw_send(raw, "go"));
        for (uint32_t i = 0; i < 300; i++)
            assert_true(raw_gets_filled(raw, i % 30 == 7 ? 70000 + i * 700 : i * i % 900, i));
        assert_true(raw_has_nothing(raw));
        assert_int_equal(atomic_load(&seen->refused), 0);
        close(raw);
        looper_finish(looper);
    }
}

static void hold_back(struct seen *seen, const void *message, size_t length)
{
    (void)seen_send(seen, message, length, TCPMSG_MORE);
    if (length == 5 && tcpmsg_flush(seen->conn, 0) != 0)
        looper_fault(seen->looper, "a flush in a callback");
}

/* A loop's connection is always receiving: what a callback holds back leaves when it is over. */
static void promise_8_more_in_a_callback_is_never_forgotten(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = hold_back};
    struct looper *looper = looper_serve(TCP, &acts, NULL, NULL);
    int raw = looper_guest(looper, NULL);
    assert_true(raw_send(raw, "flush") && raw_gets(raw, "flush"));
    assert_true(raw_send(raw, "held back") && raw_gets(raw, "held back"));
    close(raw);
    looper_finish(looper);
}

static void promise_8_more_of_another_thread_leaves_with_a_flush(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &nothing, NULL, NULL);
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    for (uint32_t i = 0; i < 50; i++)
        assert_int_equal(tcpmsg_send(seen->conn, &"0123456789"[i % 10], 1, TCPMSG_MORE), 0);
    assert_int_equal(tcpmsg_flush(seen->conn, TCPMSG_DONTWAIT), 0);
    for (uint32_t i = 0; i < 50; i++)
        assert_true(raw_gets(raw, (char[]){"0123456789"[i % 10], '\0'}));
    close(raw);
    looper_finish(looper);
}

static void half_close(struct seen *seen, const void *message, size_t length)
{
    if (atomic_load(&seen->messages) == 1) {
        (void)seen_send(seen, message, length, TCPMSG_MORE);
        if (tcpmsg_shutdown(seen->conn) != 0 || tcpmsg_shutdown(seen->conn) != 0)
            looper_fault(seen->looper, "a shutdown in a callback");
    }
    if (tcpmsg_send(seen->conn, message, length, 0) != TCPMSG_ECLOSED)
        looper_fault(seen->looper, "a send after shutdown");
}

static void shutdown_ends_the_sending_alone(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = half_close};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &acts, NULL, NULL);
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        assert_true(raw_send(raw, "last"));
        assert_true(raw_gets(raw, "last"));
        assert_int_equal(read_end(raw), 0);
        assert_true(raw_send(raw, "and") && raw_send(raw, "more"));
        seen_messages(seen, 3);
        assert_int_equal(atomic_load(&seen->closes), 0);
        shutdown(raw, SHUT_WR);
        assert_code(seen_end(seen), TCPMSG_EOF);
        close(raw);
        looper_finish(looper);
    }
}

static void no_receive_on_a_loops_connection(struct seen *seen)
{
    char byte;
    const void *view;
    for (int flags = 0; flags < 2; flags++) {
        if (tcpmsg_recv(seen->conn, &byte, 1, flags) != TCPMSG_EINVAL)
            looper_fault(seen->looper, "a recv");
        if (tcpmsg_recv_view(seen->conn, &view, flags) != TCPMSG_EINVAL)
            looper_fault(seen->looper, "a recv_view");
    }
}

static void try_nonsense(struct seen *seen, const void *message, size_t length)
{
    tcpmsg_conn *conn = seen->conn;
    struct iovec parts[2] = {{(void *)message, length}, {NULL, 0}};
    if (tcpmsg_send(conn, message, length, TCPMSG_PEEK) != TCPMSG_EINVAL ||
        tcpmsg_send(conn, message, length, INT_MIN) != TCPMSG_EINVAL ||
        tcpmsg_send(conn, NULL, 1, 0) != TCPMSG_EINVAL ||
        tcpmsg_sendv(conn, parts, -1, 0) != TCPMSG_EINVAL ||
        tcpmsg_sendv(conn, NULL, 1, 0) != TCPMSG_EINVAL ||
        tcpmsg_flush(conn, TCPMSG_PEEK) != TCPMSG_EINVAL)
        looper_fault(seen->looper, "nonsense is sent");
    static const uint8_t long_one[101];
    if (tcpmsg_send(conn, long_one, 101, 0) != TCPMSG_EMSGSIZE)
        looper_fault(seen->looper, "too long a message is sent");
    if (tcpmsg_sendv(conn, parts, 2, 0) != 0 || tcpmsg_sendv(conn, NULL, 0, 0) != 0 ||
        tcpmsg_send(conn, NULL, 0, 0) != 0)
        looper_fault(seen->looper, "parts are not sent");
    no_receive_on_a_loops_connection(seen);
}

static void nonsense_is_refused_and_harms_nobody(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = no_receive_on_a_loops_connection,
                              .on_message = try_nonsense};
    struct looper *looper = looper_serve(TCP, &acts, NULL, TCPMSG_OPTIONS(.max_message = 100));
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    no_receive_on_a_loops_connection(seen);
    for (int i = 0; i < 2; i++) {
        assert_true(raw_send(raw, "parts"));
        assert_true(raw_gets(raw, "parts") && raw_gets(raw, "") && raw_gets(raw, ""));
    }
    assert_true(raw_has_nothing(raw));
    close(raw);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_open_may_send),
        cmocka_unit_test(promise_1_a_send_in_on_close_is_an_error),
        cmocka_unit_test(callbacks_send_to_other_connections),
        cmocka_unit_test(promise_7_another_thread_sends_at_any_time),
        cmocka_unit_test(promise_7_messages_of_many_threads_are_whole_and_in_order),
        cmocka_unit_test(what_one_callback_sends_leaves_in_order),
        cmocka_unit_test(promise_8_more_in_a_callback_is_never_forgotten),
        cmocka_unit_test(promise_8_more_of_another_thread_leaves_with_a_flush),
        cmocka_unit_test(shutdown_ends_the_sending_alone),
        cmocka_unit_test(nonsense_is_refused_and_harms_nobody),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
