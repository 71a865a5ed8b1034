/* SPDX-License-Identifier: MIT */
/* A connection that says nothing costs next to nothing: no memory to speak of, no time at all. */
#define _GNU_SOURCE
#include "guest.h"
#include "looks.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 4000, EACH = 300, ROW = 32 }; /* epoll(7) alone needs no row of all of them */

static int raws[MOST];
static atomic_int opened, echoed, closed;

/* Callbacks that need no memory of their own. */
static void on_open(tcpmsg_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
    atomic_fetch_add(&opened, 1);
}

static void on_message(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    (void)arg;
    if (tcpmsg_send(conn, message, length, 0) == 0)
        atomic_fetch_add(&echoed, 1);
}

static void on_close(tcpmsg_conn *conn, int why, void *arg)
{
    (void)conn;
    (void)why;
    (void)arg;
    atomic_fetch_add(&closed, 1);
}

/* At once, or when what the thread held for all of them has gone back, soon. */
static void expect_cheap(const char *when, size_t before, int count)
{
    const char *poller = getenv("TESTS_POLLER");
    size_t wanted = EACH + (poller && strcmp(poller, "epoll") != 0 ? ROW : 0);
    size_t most = before + wanted * (size_t)count;
    for (int64_t end = now_ms() + WAIT_MS; allocated_bytes() > most && now_ms() < end;)
        sleep_ms(1);
    size_t each = (allocated_bytes() - before) / (size_t)count;
    print_message("%s: %zu bytes for each of %d connections\n", when, each, count);
    assert_true(each <= wanted);
}

/* Each a message: in pieces, so that its beginning had to be kept for a while. */
static void everybody_talks(struct looper *looper, int count, size_t length)
{
    struct wire wire = {0};
    wire_add_filled(&wire, NULL, length, 1);
    for (int i = 0; i < count; i++)
        assert_true(write_all(raws[i], wire.bytes, wire.count / 2));
    looper_settle(looper);
    for (int i = 0; i < count; i++)
        assert_true(write_all(raws[i], wire.bytes + wire.count / 2, wire.count - wire.count / 2));
    wire_free(&wire);
    for (int i = 0; i < count; i++)
        assert_true(raw_gets_filled(raws[i], length, 1));
    looper_settle(looper);
}

static void open_many(struct looper *looper, const tcpmsg_callbacks *callbacks, int count)
{
    tcpmsg_listener *listener;
    atomic_store(&opened, 0);
    atomic_store(&echoed, 0);
    atomic_store(&closed, 0);
    assert_int_equal(
        tcpmsg_listen(&listener, "127.0.0.1:0", TCPMSG_OPTIONS(.message_timeout_ms = 3600 * 1000)),
        0);
    assert_int_equal(tcpmsg_listener_address(listener, looper->address, TCPMSG_ADDRESS_MAX), 0);
    assert_int_equal(tcpmsg_loop_listen(looper->loop, listener, callbacks, NULL), 0);
    looper_start(looper);
    looper_settle(looper);
    for (int i = 0; i < count; i++) {
        assert_true((raws[i] = raw_reach(looper->address)) >= 0);
        if (i % 500 == 0)
            assert_true(reaches(&opened, i + 1));
    }
    assert_true(reaches(&opened, count));
    looper_settle(looper);
}

static void thousands_of_silent_connections(void **state)
{
    (void)state;
    const tcpmsg_callbacks callbacks = {.size = sizeof callbacks,
                                        .on_open = on_open,
                                        .on_message = on_message,
                                        .on_close = on_close};
    int room = raise_descriptors() / 2 - 100, count = room < MOST ? room : MOST;
    struct looper *looper = looper_open(TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = 3600 * 1000));
    size_t before = allocated_bytes();
    open_many(looper, &callbacks, count);
    expect_cheap("silent", before, count);
    assert_true(all_rest(500));
    for (size_t length = 10; length <= 10000; length *= 31) {
        everybody_talks(looper, count, length);
        expect_cheap("silent again", before, count);
    }
    assert_int_equal(atomic_load(&echoed), 3 * count);
    assert_true(all_rest(500));
    for (int i = 0; i < count; i++)
        close(raws[i]);
    assert_true(reaches(&closed, count));
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thousands_of_silent_connections),
    };
    if (SANITIZED) {
        print_message("a sanitizer's memory is not the users': not run\n");
        return 77;
    }
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
