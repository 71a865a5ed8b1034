/* SPDX-License-Identifier: MIT */
/* Several threads serve one loop, and others close, abort, send to and hold its connections. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 4, GUESTS = 200 };

/* How many of them each thread has; the answer is how many threads. */
static int shares(struct looper *looper, int count, int share[16])
{
    pthread_t threads[16];
    int known = 0;
    memset(share, 0, 16 * sizeof share[0]);
    for (int i = 0; i < count; i++) {
        struct seen *seen = looper_seen(looper, i);
        int at = 0;
        while (at < known && !pthread_equal(threads[at], seen->thread))
            at++;
        if (at == known)
            threads[known++] = seen->thread;
        share[at]++;
    }
    return known;
}

static void expect_even(struct looper *looper, int count)
{
    int share[16];
    int known = shares(looper, count, share);
    assert_int_equal(known, THREADS);
    for (int i = 0; i < THREADS; i++) {
        print_message("thread %d: %d of %d\n", i, share[i], count);
        assert_true(share[i] >= count / THREADS / 2 && share[i] <= count / THREADS * 2);
    }
}

static void connections_are_spread_evenly(void **state)
{
    (void)state;
    static int raws[GUESTS];
    struct looper *looper = looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.threads = THREADS), NULL);
    for (int i = 0; i < GUESTS; i++)
        assert_true((raws[i] = raw_reach(looper->address)) >= 0);
    assert_true(reaches(&looper->count, GUESTS));
    expect_even(looper, GUESTS);
    for (int i = 0; i < GUESTS; i++)
        assert_true(raw_send(raws[i], "hello"));
    for (int i = 0; i < GUESTS; i++) {
        assert_true(raw_gets(raws[i], "hello"));
        close(raws[i]);
    }
    looper_finish(looper);
}

static void what_is_added_is_spread_too(void **state)
{
    (void)state;
    static int raws[GUESTS];
    struct looper *looper = looper_open(TCPMSG_LOOP_OPTIONS(.threads = THREADS));
    for (int i = 0; i < GUESTS; i++) {
        tcpmsg_conn *conn;
        pair_unix(&conn, &raws[i], NULL);
        if (i == GUESTS / 2)
            looper_start(looper);
        assert_int_equal(looper_add(looper, conn, &echo), 0);
    }
    assert_true(reaches(&looper->count, GUESTS));
    expect_even(looper, GUESTS);
    for (int i = 0; i < GUESTS; i++) {
        assert_true(raw_send(raws[i], "hello") && raw_gets(raws[i], "hello"));
        close(raws[i]);
    }
    looper_finish(looper);
}

/* A callback that takes long holds up its own thread only. */
static void hold_own_thread(struct seen *seen, const void *message, size_t length)
{
    if (length == 4) {
        int64_t deadline = now_ms() + WAIT_MS;
        atomic_store(&seen->mark, 1);
        while (atomic_load(&seen->mark) == 1 && now_ms() < deadline)
            sleep_ms(1);
    }
    echo.on_message(seen, message, length);
}

static void one_threads_long_callback_leaves_the_others(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = hold_own_thread};
    struct looper *looper = looper_serve(TCP, &acts, TCPMSG_LOOP_OPTIONS(.threads = 2), NULL);
    struct seen *seen[10];
    int raws[10], answered = 0;
    for (int i = 0; i < 10; i++)
        raws[i] = looper_guest(looper, &seen[i]);
    assert_true(raw_send(raws[0], "hold"));
    assert_true(reaches(&seen[0]->mark, 1));
    for (int i = 1; i < 10; i++)
        if (!pthread_equal(seen[i]->thread, seen[0]->thread)) {
            assert_true(raw_send(raws[i], "x") && raw_gets(raws[i], "x"));
            answered++;
        }
    assert_true(answered > 0);
    atomic_store(&seen[0]->mark, 2);
    assert_true(raw_gets(raws[0], "hold"));
    for (int i = 0; i < 10; i++)
        close(raws[i]);
    looper_finish(looper);
}

/* A reference outlives the connection, the loop's run and the loop: calls answer errors. */
static void a_reference_is_good_after_the_end(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.threads = 2), NULL);
    tcpmsg_conn *conns[2];
    char text[TCPMSG_ADDRESS_MAX];
    for (int way = 0; way < 2; way++) {
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        conns[way] = tcpmsg_conn_ref(seen->conn);
        assert_true(raw_send(raw, "hello") && raw_gets(raw, "hello"));
        close(raw);
        assert_code(seen_end(seen), TCPMSG_EOF);
        if (way == 1)
            looper_finish(looper);
        tcpmsg_conn *conn = conns[way];
        tcpmsg_info info;
        for (int times = 0; times < 3; times++) {
            assert_true(tcpmsg_send(conn, "x", 1, times % 2) < 0);
            assert_int_not_equal(tcpmsg_send(conn, "x", 1, 0), TCPMSG_EAGAIN);
            assert_true(tcpmsg_recv(conn, text, sizeof text, times % 2) < 0);
            assert_true(tcpmsg_pause(conn) < 0 && tcpmsg_resume(conn) < 0);
            assert_int_equal(tcpmsg_conn_fd(conn), -1);
            assert_string_not_equal(tcpmsg_conn_why(conn), "");
            assert_int_equal(tcpmsg_conn_peer(conn, text, sizeof text), 0);
            assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
            assert_true(info.messages_received == 1 && info.messages_sent == 1);
            (void)tcpmsg_flush(conn, times % 2);
            (void)tcpmsg_shutdown(conn);
            (void)tcpmsg_conn_events(conn);
            (void)tcpmsg_next_length(conn);
            tcpmsg_abort(conn);
            (void)tcpmsg_close(conn); /* drops nothing: this connection was a loop's */
        }
    }
    tcpmsg_conn_unref(conns[0]);
    tcpmsg_conn_unref(conns[1]);
}

/* The storm: whoever is there, under a lock of the test's own. */
enum { SHELVES = 64, WRECKERS = 3 };

static pthread_mutex_t shelf_lock = PTHREAD_MUTEX_INITIALIZER;
static tcpmsg_conn *shelf[SHELVES];
static atomic_bool over;
static atomic_int strays; /* opened and not closed */

static void put_on_shelf(struct seen *seen)
{
    size_t at = (size_t)atomic_fetch_add(&strays, 1) * 7;
    pthread_mutex_lock(&shelf_lock);
    for (size_t i = 0; i < SHELVES; i++)
        if (!shelf[(at + i) % SHELVES]) {
            shelf[(at + i) % SHELVES] = tcpmsg_conn_ref(seen->conn);
            break;
        }
    pthread_mutex_unlock(&shelf_lock);
}

static tcpmsg_conn *take_from_shelf(unsigned *seed, bool keep)
{
    size_t at = (size_t)rand_r(seed) % SHELVES;
    pthread_mutex_lock(&shelf_lock);
    tcpmsg_conn *conn = shelf[at];
    if (conn && keep)
        tcpmsg_conn_ref(conn);
    else
        shelf[at] = NULL;
    pthread_mutex_unlock(&shelf_lock);
    return conn;
}

static void answer_or_not(struct seen *seen, const void *message, size_t length)
{
    if (length % 7 != 3)
        (void)seen_send(seen, message, length, 0);
    if (length % 50 == 49)
        (void)tcpmsg_pause(seen->conn);
    if (length % 97 == 96)
        (void)tcpmsg_close(seen->conn);
}

static void strike_off(struct seen *seen)
{
    if (atomic_load(&seen->opens) > 0) /* a dial may fail */
        atomic_fetch_sub(&strays, 1);
}

static const struct acts stormy = {
    .on_open = put_on_shelf, .on_message = answer_or_not, .on_close = strike_off};

/* One of the things that can be done to somebody else's connection. */
static void wreck(tcpmsg_conn *conn, unsigned *seed)
{
    static const uint8_t bytes[100000];
    tcpmsg_info info;
    char text[TCPMSG_ADDRESS_MAX];
    int roll = rand_r(seed) % 100;
    int result = 0;
    if (roll < 60)
        result = tcpmsg_send(conn, bytes, roll < 3 ? sizeof bytes : (size_t)roll, roll % 3);
    else if (roll < 68)
        result = tcpmsg_pause(conn);
    else if (roll < 80)
        result = tcpmsg_resume(conn);
    else if (roll < 84)
        result = tcpmsg_close(conn);
    else if (roll < 87)
        tcpmsg_abort(conn);
    else if (roll < 90)
        result = tcpmsg_shutdown(conn);
    else if (roll < 93)
        result = tcpmsg_flush(conn, 0);
    else if (roll < 96)
        result = tcpmsg_conn_info(conn, &info, sizeof info);
    else
        result = tcpmsg_conn_peer(conn, text, sizeof text) + (int)*tcpmsg_conn_why(conn);
    (void)result;
}

static ssize_t wreck_all(struct call *call)
{
    unsigned seed = call->seed;
    while (!atomic_load(&over)) {
        bool keep = rand_r(&seed) % 8 != 0;
        tcpmsg_conn *conn = take_from_shelf(&seed, keep);
        for (int times = rand_r(&seed) % 6; conn && times >= 0; times--)
            wreck(conn, &seed);
        tcpmsg_conn_unref(conn);
    }
    return 0;
}

/* Guests come, talk, and go in every way; and others are dialled and added. */
static void one_guest(struct looper *looper, unsigned *seed)
{
    static uint8_t dropped[4096];
    uint8_t message[204] = {0};
    tcpmsg_conn *conn;
    int raw = raw_reach(looper->address), fd = -1;
    int kind = rand_r(seed) % 10;
    if (kind == 0)
        (void)!looper_dial(looper, looper->address, NULL, &stormy);
    if (kind == 1) {
        pair_unix(&conn, &fd, NULL);
        assert_int_equal(looper_add(looper, conn, &stormy), 0);
    }
    for (int i = rand_r(seed) % 20; i > 0 && raw >= 0; i--) {
        size_t length = (size_t)(message[3] = (uint8_t)(rand_r(seed) % 200));
        send(raw, message, 4 + length, MSG_NOSIGNAL | MSG_DONTWAIT);
        recv(raw, dropped, sizeof dropped, MSG_DONTWAIT);
    }
    if (kind % 3 == 0 && raw >= 0)
        raw_reset(raw);
    else if (raw >= 0)
        close(raw);
    if (fd >= 0)
        close(fd);
}

static void clear_shelf(void)
{
    for (int i = 0; i < SHELVES; i++) {
        pthread_mutex_lock(&shelf_lock);
        tcpmsg_conn *conn = shelf[i];
        shelf[i] = NULL;
        pthread_mutex_unlock(&shelf_lock);
        tcpmsg_abort(conn);
        tcpmsg_conn_unref(conn);
    }
}

static void promise_7_a_storm_of_calls_from_other_threads(void **state)
{
    (void)state;
    struct call wreckers[WRECKERS];
    unsigned seed = 1;
    int descriptors = open_descriptors();
    int64_t end = now_ms() + 1000 * (int64_t)test_seconds(3);
    while (now_ms() < end) {
        struct looper *looper =
            looper_open(TCPMSG_LOOP_OPTIONS(.threads = THREADS, .high_water = 64 * KIB,
                                            .idle_timeout_ms = 500));
        looper_listen(looper, TCP, &stormy, TCPMSG_OPTIONS(.linger_ms = 50));
        looper_start(looper);
        atomic_store(&over, false);
        for (unsigned i = 0; i < WRECKERS; i++) {
            wreckers[i] = (struct call){.body = wreck_all, .seed = seed++};
            call_start(&wreckers[i]);
        }
        for (int i = 0; i < LOOPER_MOST / 4 && now_ms() < end; i++)
            one_guest(looper, &seed);
        if (seed % 2)
            looper_stop(looper);
        atomic_store(&over, true);
        for (int i = 0; i < WRECKERS; i++)
            call_finish(&wreckers[i]);
        clear_shelf();
        looper_finish(looper);
        clear_shelf();
        assert_int_equal(atomic_load(&strays), 0);
    }
    assert_int_equal(open_descriptors(), descriptors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_spread_evenly),
        cmocka_unit_test(what_is_added_is_spread_too),
        cmocka_unit_test(one_threads_long_callback_leaves_the_others),
        cmocka_unit_test(a_reference_is_good_after_the_end),
        cmocka_unit_test(promise_7_a_storm_of_calls_from_other_threads),
    };
    alarm((unsigned)(TEST_SECONDS + test_seconds(0)));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
