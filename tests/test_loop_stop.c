/* SPDX-License-Identifier: MIT */
/* stop, from wherever it comes: what is queued is sent, everybody has their end, run returns. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static atomic_int calls;

static void count_call(void *arg)
{
    (void)arg;
    atomic_fetch_add(&calls, 1);
}

/* After stop nothing new begins, and nothing has changed hands. */
static void expect_canceled(struct looper *looper)
{
    tcpmsg_conn *conn;
    tcpmsg_listener *listener;
    int raw;
    int before = atomic_load(&calls), count = atomic_load(&looper->count);
    pair(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_listen(&listener, "127.0.0.1:0", NULL), 0);
    assert_code(looper_add(looper, conn, &nothing), TCPMSG_ECANCELED);
    assert_code(looper_dial(looper, "127.0.0.1:1", NULL, &nothing), TCPMSG_ECANCELED);
    assert_code(tcpmsg_loop_listen(looper->loop, listener, TCPMSG_CALLBACKS(.on_open = NULL), NULL),
                TCPMSG_ECANCELED);
    assert_code(tcpmsg_loop_post(looper->loop, count_call, NULL), TCPMSG_ECANCELED);
    assert_code(tcpmsg_loop_after(looper->loop, 0, count_call, NULL), TCPMSG_ECANCELED);
    char text[8];
    assert_true(raw_send(raw, "mine"));
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 4);
    tcpmsg_close(conn);
    close(raw);
    tcpmsg_listener_close(listener);
    assert_int_equal(atomic_load(&calls), before);
    assert_int_equal(atomic_load(&looper->count), count);
}

static void a_stop_before_the_run_is_remembered(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    looper_listen(looper, TCP, &echo, NULL);
    tcpmsg_loop_stop(looper->loop);
    tcpmsg_loop_stop(looper->loop);
    expect_canceled(looper);
    looper_start(looper);
    looper_stop(looper);
    assert_int_equal(raw_reach(looper->address), -1);
    assert_int_equal(atomic_load(&looper->count), 0);
    looper_finish(looper);
}

/* What was accepted before the stop is run; what is not due is dropped. */
static void what_was_posted_before_the_stop_is_run(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    int before = atomic_load(&calls);
    for (int i = 0; i < 10; i++)
        assert_int_equal(tcpmsg_loop_post(looper->loop, count_call, NULL), 0);
    assert_int_equal(tcpmsg_loop_after(looper->loop, 60000, count_call, NULL), 0);
    tcpmsg_loop_stop(looper->loop);
    looper_start(looper);
    looper_stop(looper);
    assert_int_equal(atomic_load(&calls), before + 10);
    looper_finish(looper);
    assert_int_equal(atomic_load(&calls), before + 10);
}

/* Added before, it has both of its calls or none; the peer sees an end either way. */
static void a_connection_added_before_the_stop_ends(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    assert_int_equal(looper_add(looper, conn, &echo), 0);
    tcpmsg_loop_stop(looper->loop);
    looper_start(looper);
    looper_stop(looper);
    if (atomic_load(&looper->count) > 0)
        assert_int_equal(atomic_load(&looper->seen[0]->opens), 1);
    looper_finish(looper);
    assert_int_not_equal(read_end(raw), ETIMEDOUT);
    close(raw);
}

static _Atomic(tcpmsg_loop *) stopped_by_signal;
static atomic_int errno_kept;

static void stop_in_handler(int number)
{
    (void)number;
    int interrupted = errno;
    errno = 12345;
    tcpmsg_loop_stop(stopped_by_signal);
    atomic_store(&errno_kept, errno == 12345);
    errno = interrupted;
}

/* The signal strikes a thread that waits in its loop, or that works, or another one. */
static void a_signal_handler_stops_it(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = stop_in_handler}, old;
    assert_int_equal(sigaction(SIGUSR2, &action, &old), 0);
    for (int way = 0; way < 3; way++) {
        struct looper *looper = looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.threads = 2), NULL);
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        stopped_by_signal = looper->loop;
        atomic_store(&errno_kept, 0);
        if (way == 1)
            looper_hold(looper);
        if (way == 2)
            assert_int_equal(raise(SIGUSR2), 0);
        else
            assert_int_equal(pthread_kill(looper->thread, SIGUSR2), 0);
        assert_true(reaches(&errno_kept, 1));
        if (way == 1)
            looper_go_on(looper);
        assert_code(seen_end(seen), TCPMSG_ECANCELED);
        looper_stop(looper);
        close(raw);
        looper_finish(looper);
    }
    assert_int_equal(sigaction(SIGUSR2, &old, NULL), 0);
}

static void stop_it(struct seen *seen)
{
    if (atomic_load(&seen->mark) == 0)
        tcpmsg_loop_stop(seen->looper->loop);
    atomic_store(&seen->mark, 1);
}

static void stop_at_message(struct seen *seen, const void *message, size_t length)
{
    (void)seen_send(seen, message, length, 0);
    stop_it(seen);
    (void)seen_send(seen, message, length, 0);
}

/* Some other connections are there, that have no part in it. */
static void every_callback_may_stop_it(void **state)
{
    (void)state;
    const struct acts acts[] = {
        {.on_open = stop_it}, {.on_message = stop_at_message}, {.on_close = stop_it}};
    for (int way = 0; way < 3; way++) {
        struct looper *looper = looper_open(TCPMSG_LOOP_OPTIONS(.threads = 1 + way % 2));
        tcpmsg_conn *conns[3], *conn;
        int raws[3], raw;
        for (int i = 0; i < 3; i++) {
            pair(&conns[i], &raws[i], NULL);
            assert_int_equal(looper_add(looper, conns[i], &echo), 0);
        }
        looper_start(looper);
        for (int i = 0; i < 3; i++)
            assert_true(raw_send(raws[i], "x") && raw_gets(raws[i], "x"));
        pair(&conn, &raw, NULL);
        assert_int_equal(looper_add(looper, conn, &acts[way]), 0);
        if (way == 1)
            assert_true(raw_send(raw, "stop") && raw_gets(raw, "stop"));
        if (way == 2)
            shutdown(raw, SHUT_WR);
        assert_int_not_equal(read_end(raw), ETIMEDOUT);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(read_end(raws[i]), 0);
            close(raws[i]);
        }
        close(raw);
        assert_int_equal(pthread_join(looper->thread, NULL), 0);
        looper->joined = true;
        assert_int_equal(looper->answer, 0);
        for (int i = 0; i < 3; i++)
            assert_code(looper_seen(looper, i)->why, TCPMSG_ECANCELED);
        looper_finish(looper);
    }
}

/* 3 MiB that the peer begins to read when the stop has long been called. */
static void what_is_queued_is_sent_before_the_end(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = small_output};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper =
            looper_serve(transport, &acts, TCPMSG_LOOP_OPTIONS(.high_water = 8 * MIB),
                         TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
        struct seen *seen;
        struct wire wire = {0};
        int raw = looper_guest_small(looper, &seen);
        for (uint32_t i = 0; i < 30; i++) {
            wire_add_filled(&wire, NULL, 100000, i);
            assert_int_equal(tcpmsg_send(seen->conn, wire.bytes + wire.count - 100000, 100000, 0),
                             0);
        }
        tcpmsg_loop_stop(looper->loop);
        sleep_ms(50);
        for (uint32_t i = 0; i < 30; i++)
            assert_true(raw_gets_filled(raw, 100000, i));
        assert_int_equal(read_end(raw), 0);
        assert_code(seen_end(seen), TCPMSG_ECANCELED);
        close(raw);
        wire_free(&wire);
        looper_finish(looper);
    }
}

/* Input that nobody reads any more does not kill what is on its way. */
static void unread_input_does_not_kill_what_is_queued(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &nothing, NULL, NULL);
    struct seen *seen;
    static uint8_t block[4096];
    int raw = looper_guest(looper, &seen);
    looper_hold(looper);
    assert_int_equal(tcpmsg_send(seen->conn, "goodbye", 7, 0), 0);
    tcpmsg_loop_stop(looper->loop);
    assert_true(write_all(raw, block, sizeof block));
    looper_go_on(looper);
    assert_true(raw_gets(raw, "goodbye"));
    assert_int_equal(read_end(raw), 0);
    close(raw);
    looper_finish(looper);
}

/* Nobody reads: the linger of each is the end of it, and they don't add up. */
static void the_linger_is_the_longest_that_a_stop_takes(void **state)
{
    (void)state;
    enum { DEAF = 20 };
    const struct acts acts = {.on_open = small_output};
    struct looper *looper = looper_serve(TCP, &acts, NULL, TCPMSG_OPTIONS(.linger_ms = 300));
    uint8_t *block = calloc(1, 4 * MIB);
    int raws[DEAF];
    for (int i = 0; i < DEAF; i++) {
        struct seen *seen;
        raws[i] = looper_guest_small(looper, &seen);
        assert_int_equal(tcpmsg_send(seen->conn, block, MIB, 0), 0);
    }
    int64_t before = now_ms();
    looper_stop(looper);
    assert_true(now_ms() - before < 5000);
    for (int i = 0; i < DEAF; i++) {
        assert_code(looper->seen[i]->why, TCPMSG_ECANCELED);
        close(raws[i]);
    }
    free(block);
    looper_finish(looper);
}

/* Whatever state they are in: paused, full, closing, half a message, dialling. */
static void every_connection_has_its_end(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads += 3) {
        struct looper *looper = looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.threads = threads),
                                             TCPMSG_OPTIONS(.linger_ms = 100));
        int raws[30];
        for (int i = 0; i < 30; i++) {
            struct seen *seen;
            raws[i] = looper_guest(looper, &seen);
            if (i % 5 == 0)
                assert_int_equal(tcpmsg_pause(seen->conn), 0);
            if (i % 5 == 1)
                assert_true(write_all(raws[i], "\0\0\1\0abc", 7));
            if (i % 5 == 2)
                assert_int_equal(tcpmsg_shutdown(seen->conn), 0);
            if (i % 5 == 3)
                assert_int_equal(tcpmsg_close(seen->conn), 0);
        }
        for (int i = 0; i < 30; i++) {
            assert_int_equal(looper_dial(looper, looper->address, NULL, &echo), 0);
            assert_int_equal(looper_dial(looper, "localhost:1", NULL, &nothing), 0);
        }
        looper_stop(looper);
        expect_canceled(looper);
        for (int i = 0; i < 30; i++) {
            assert_int_not_equal(read_end(raws[i]), ETIMEDOUT);
            close(raws[i]);
        }
        assert_int_equal(raw_reach(looper->address), -1);
        looper_finish(looper);
    }
}

static void a_unix_door_is_gone_with_the_loop(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(UNIX, &echo, NULL, NULL);
    int raw = looper_guest(looper, NULL);
    assert_int_equal(access(looper->address + 5, F_OK), 0);
    looper_stop(looper);
    assert_int_equal(access(looper->address + 5, F_OK), -1);
    close(raw);
    looper_finish(looper);
}

static void a_loop_runs_once(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    looper_settle(looper);
    assert_code(tcpmsg_loop_run(looper->loop), TCPMSG_EINVAL);
    int raw = looper_guest(looper, NULL);
    assert_true(raw_send(raw, "x") && raw_gets(raw, "x"));
    looper_stop(looper);
    assert_code(tcpmsg_loop_run(looper->loop), TCPMSG_EINVAL);
    tcpmsg_loop_stop(looper->loop);
    close(raw);
    looper_finish(looper);
}

/* Closed without a run: nothing is called, and nothing is left behind. */
static void a_loop_that_never_ran_lets_go_of_all(void **state)
{
    (void)state;
    int descriptors = open_descriptors(), before = atomic_load(&calls);
    struct looper *looper = looper_open(TCPMSG_LOOP_OPTIONS(.threads = 3));
    tcpmsg_conn *conn;
    int raw;
    looper_listen(looper, TCP, &echo, NULL);
    int client = raw_reach(looper->address);
    pair(&conn, &raw, NULL);
    assert_int_equal(looper_add(looper, conn, &echo), 0);
    assert_int_equal(looper_dial(looper, looper->address, NULL, &echo), 0);
    assert_int_equal(tcpmsg_loop_post(looper->loop, count_call, NULL), 0);
    assert_int_equal(tcpmsg_loop_after(looper->loop, 1, count_call, NULL), 0);
    sleep_ms(5);
    looper_finish(looper);
    assert_int_equal(atomic_load(&calls), before);
    assert_int_not_equal(read_end(raw), ETIMEDOUT);
    assert_int_not_equal(read_end(client), ETIMEDOUT);
    close(raw);
    close(client);
    assert_int_equal(open_descriptors(), descriptors);
    tcpmsg_loop_close(NULL);
    tcpmsg_loop_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_before_the_run_is_remembered),
        cmocka_unit_test(what_was_posted_before_the_stop_is_run),
        cmocka_unit_test(a_connection_added_before_the_stop_ends),
        cmocka_unit_test(a_signal_handler_stops_it),
        cmocka_unit_test(every_callback_may_stop_it),
        cmocka_unit_test(what_is_queued_is_sent_before_the_end),
        cmocka_unit_test(unread_input_does_not_kill_what_is_queued),
        cmocka_unit_test(the_linger_is_the_longest_that_a_stop_takes),
        cmocka_unit_test(every_connection_has_its_end),
        cmocka_unit_test(a_unix_door_is_gone_with_the_loop),
        cmocka_unit_test(a_loop_runs_once),
        cmocka_unit_test(a_loop_that_never_ran_lets_go_of_all),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
