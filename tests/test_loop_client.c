/* SPDX-License-Identifier: MIT */
/* A loop behind a proxy: nobody is opened before it is known who it is. */
#define _GNU_SOURCE
#include "guest.h"
#include "reach.h"
#include "shortage.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE "PROXY TCP4 192.0.2.1 198.51.100.2 4000 80\r\n"
#define CLIENT "192.0.2.1:4000"

static bool tell(int raw, const char *text)
{
    return write_all(raw, text, strlen(text));
}

/* In on_open already. */
static void note_client(struct seen *seen)
{
    char text[TCPMSG_ADDRESS_MAX];
    if (tcpmsg_conn_peer(seen->conn, text, sizeof text) == 0 && strcmp(text, CLIENT) == 0)
        atomic_fetch_add(&seen->mark, 1);
}

static struct looper *serve(const tcpmsg_loop_options *loop_options, const tcpmsg_options *options)
{
    static struct acts acts;
    tcpmsg_options own = *options;
    acts = (struct acts){.on_open = note_client, .on_message = echo.on_message};
    own.proxy_protocol = 1;
    return looper_serve(TCP, &acts, loop_options, &own);
}

static void a_client_is_named_when_it_is_opened(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads += 2) {
        struct looper *looper =
            serve(TCPMSG_LOOP_OPTIONS(.threads = threads), TCPMSG_OPTIONS(.linger_ms = 1000));
        int raw = raw_reach(looper->address);
        assert_true(tell(raw, LINE) && raw_send(raw, "hello") && raw_gets(raw, "hello"));
        struct seen *seen = looper_seen(looper, 0);
        assert_int_equal(seen->mark, 1);
        close(raw);
        assert_code(seen_end(seen), TCPMSG_EOF);
        looper_finish(looper);
    }
}

/* Byte by byte, and a large message behind it. */
static void promise_1_what_follows_the_header_is_delivered(void **state)
{
    (void)state;
    struct looper *looper = serve(NULL, TCPMSG_OPTIONS(.linger_ms = 1000));
    int raw = raw_reach(looper->address);
    static const char line[] = LINE;
    for (size_t i = 0; line[i]; i++) {
        assert_int_equal(atomic_load(&looper->count), 0);
        assert_true(write_all(raw, line + i, 1));
        if (i < 4)
            looper_settle(looper); /* it has read that much, and waits for more */
    }
    assert_true(raw_send_filled(raw, 300000, 5) && raw_send(raw, "hello"));
    assert_true(raw_gets_filled(raw, 300000, 5) && raw_gets(raw, "hello"));
    assert_int_equal(looper_seen(looper, 0)->mark, 1);
    close(raw);
    looper_finish(looper);
}

/* Who was never opened is never closed either, as far as the program knows. */
static void a_stranger_is_not_heard_of(void **state)
{
    (void)state;
    static const char *const texts[] = {"GET / HTTP/1.1\r\n", "PROXY TCP4 nonsense\r\n",
                                        "\r\n\r\n\0\r\nQUIT\n", "hello"};
    struct looper *looper = serve(NULL, TCPMSG_OPTIONS(.connect_timeout_ms = 100));
    for (size_t i = 0; i < COUNT(texts); i++) {
        int raw = raw_reach(looper->address);
        assert_true(tell(raw, texts[i]));
        assert_true(wait_events(raw, POLLIN, WAIT_MS) != 0);
        (void)read_end(raw); /* or a reset, for what it had not read */
        close(raw);
    }
    int raw = raw_reach(looper->address);
    close(raw);
    raw = raw_reach(looper->address);
    raw_reset(raw);
    raw = raw_reach(looper->address);
    assert_true(tell(raw, LINE) && raw_send(raw, "hello") && raw_gets(raw, "hello"));
    assert_int_equal(atomic_load(&looper->count), 1);
    close(raw);
    looper_finish(looper);
}

static void a_silent_proxy_has_as_long_as_a_dial(void **state)
{
    (void)state;
    struct looper *looper = serve(TCPMSG_LOOP_OPTIONS(.max_conns = 1),
                                  TCPMSG_OPTIONS(.connect_timeout_ms = 50, .linger_ms = 1000));
    int silent = raw_reach(looper->address), next = raw_reach(looper->address);
    assert_true(tell(silent, "PROXY "));
    assert_true(tell(next, LINE) && raw_send(next, "hello") && raw_gets(next, "hello"));
    assert_true(wait_events(silent, POLLIN, WAIT_MS) != 0);
    assert_int_equal(atomic_load(&looper->count), 1);
    close(silent);
    close(next);
    looper_finish(looper);
}

/* Those whose header has not come are let go; nobody is told. */
static void a_stop_does_not_wait_for_a_header(void **state)
{
    (void)state;
    struct looper *looper = serve(NULL, TCPMSG_OPTIONS(.connect_timeout_ms = WAIT_MS));
    int silent = raw_reach(looper->address), dribbling = raw_reach(looper->address);
    assert_true(tell(dribbling, "PROXY TCP4"));
    looper_settle(looper);
    looper_stop(looper);
    assert_int_equal(atomic_load(&looper->count), 0);
    looper_finish(looper);
    assert_true(wait_events(silent, POLLIN, WAIT_MS) != 0);
    assert_true(wait_events(dribbling, POLLIN, WAIT_MS) != 0);
    close(silent);
    close(dribbling);
}

/* A connection that somebody else accepted, and whose header the loop is to read. */
static tcpmsg_conn *from_proxy(int *raw, const char *text, const tcpmsg_options *options)
{
    tcpmsg_conn *conn;
    tcpmsg_options own = *options;
    own.proxy_protocol = 1;
    pair(&conn, raw, &own);
    assert_true(tell(*raw, text));
    return conn;
}

static void an_added_connection_is_met_in_the_loop(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    static const struct acts acts = {.on_open = note_client};
    int raw;
    looper_start(looper);
    char text[TCPMSG_ADDRESS_MAX];
    tcpmsg_conn *conn =
        from_proxy(&raw, "PROXY TCP4 192.0.2.1 ",
                   TCPMSG_OPTIONS(.linger_ms = 9, .connect_timeout_ms = TCPMSG_NO_LIMIT));
    tcpmsg_conn_ref(conn);
    assert_int_equal(looper_add(looper, conn, &acts), 0);
    looper_settle(looper);
    assert_int_equal(atomic_load(&looper->count), 0);
    assert_code(tcpmsg_conn_peer(conn, text, sizeof text), TCPMSG_EAGAIN);
    tcpmsg_conn_unref(conn);
    assert_true(tell(raw, "198.51.100.2 4000 80\r\n") && raw_send(raw, "hello"));
    struct seen *seen = looper_seen(looper, 0);
    seen_messages(seen, 1);
    assert_int_equal(seen->mark, 1);
    close(raw);
    looper_finish(looper);
}

/* What has come waits for memory, and nobody spins meanwhile: a look each 20 ms. */
static void promise_12_a_header_waits_for_memory(void **state)
{
    (void)state;
    enum { MANY = 1000000, MS = 200 };
    static const char bytes[] = LINE "\0\0\0\5hello";
    for (int buffers = 0; buffers < 2; buffers++) {
        struct looper *looper = serve(NULL, TCPMSG_OPTIONS(.linger_ms = 1000));
        if (buffers) {
            call_fails(CALL_recv, ENOBUFS, MANY);
        } else { /* a realloc of nothing may be either */
            call_fails(CALL_malloc, ENOMEM, MANY);
            call_fails(CALL_realloc, ENOMEM, MANY);
        }
        int raw = raw_reach(looper->address);
        assert_true(write_all(raw, bytes, sizeof bytes - 1));
        int64_t begin = now_ms();
        sleep_ms(MS);
        int64_t most = 10 + (now_ms() - begin) / 10;
        assert_in_range(calls_failed(), 1, most);
        assert_true(raw_gets(raw, "hello"));
        assert_int_equal(looper_seen(looper, 0)->mark, 1);
        close(raw);
        looper_finish(looper);
    }
}

/* The poller has no room for one more. */
static void a_header_is_looked_for_without_the_poller(void **state)
{
    (void)state;
    const char *poller = getenv("TESTS_POLLER");
    if (poller && strcmp(poller, "epoll") != 0)
        return;
    struct looper *looper = looper_open(NULL);
    static const struct acts acts = {.on_open = note_client};
    int raw;
    looper_start(looper);
    tcpmsg_conn *conn = from_proxy(&raw, "", TCPMSG_OPTIONS(.linger_ms = 1000));
    call_fails(CALL_epoll_ctl, ENOMEM, 1);
    assert_int_equal(looper_add(looper, conn, &acts), 0);
    looper_settle(looper);
    assert_true(tell(raw, LINE) && raw_send(raw, "hello"));
    struct seen *seen = looper_seen(looper, 0);
    seen_messages(seen, 1);
    assert_int_equal(calls_failed(), 1);
    assert_int_equal(seen->mark, 1);
    close(raw);
    looper_finish(looper);
}

/* The loop was stopped before it ran. */
static void an_added_connection_is_not_met_after_a_stop(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    int raw;
    tcpmsg_conn *conn = from_proxy(&raw, LINE, TCPMSG_OPTIONS(.linger_ms = 9));
    assert_int_equal(looper_add(looper, conn, NULL), 0);
    tcpmsg_loop_stop(looper->loop);
    looper_start(looper);
    struct seen *seen = looper_seen(looper, 0);
    assert_code(seen_end(seen), TCPMSG_ECANCELED);
    assert_int_equal(seen->opens, 0);
    close(raw);
    looper_finish(looper);
}

/* As of a dial that failed later: on_close alone. */
static void an_added_connection_that_is_none_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int why;
    } added[] = {{"hello", TCPMSG_EPROTO}, {"PROXY ", TCPMSG_ESTALLED}};
    for (size_t i = 0; i < COUNT(added); i++) {
        struct looper *looper = looper_open(NULL);
        int raw;
        looper_start(looper);
        tcpmsg_conn *conn =
            from_proxy(&raw, added[i].text, TCPMSG_OPTIONS(.connect_timeout_ms = 50));
        assert_int_equal(looper_add(looper, conn, NULL), 0);
        struct seen *seen = looper_seen(looper, 0);
        assert_int_equal(seen_end(seen), added[i].why);
        assert_int_equal(seen->opens, 0);
        assert_true(says(seen->story, "PROXY header"));
        close(raw);
        looper_finish(looper);
    }
}

/* Who holds it may end it meanwhile. */
static void an_added_connection_is_closed_or_aborted_before_it_is_known(void **state)
{
    (void)state;
    for (int aborts = 0; aborts < 2; aborts++) {
        struct looper *looper = looper_open(NULL);
        int raw;
        looper_start(looper);
        tcpmsg_conn *conn = from_proxy(&raw, "PROXY ", TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
        tcpmsg_conn_ref(conn);
        assert_int_equal(looper_add(looper, conn, NULL), 0);
        looper_settle(looper);
        assert_int_equal(tcpmsg_send(conn, "bye", 3, 0), 0);
        if (aborts)
            tcpmsg_abort(conn);
        else
            tcpmsg_close(conn);
        struct seen *seen = looper_seen(looper, 0);
        assert_int_equal(seen_end(seen), aborts ? TCPMSG_ECANCELED : 0);
        if (!aborts)
            assert_true(raw_gets(raw, "bye"));
        tcpmsg_conn_unref(conn);
        close(raw);
        looper_finish(looper);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_is_named_when_it_is_opened),
        cmocka_unit_test(promise_1_what_follows_the_header_is_delivered),
        cmocka_unit_test(a_stranger_is_not_heard_of),
        cmocka_unit_test(a_silent_proxy_has_as_long_as_a_dial),
        cmocka_unit_test(a_stop_does_not_wait_for_a_header),
        cmocka_unit_test(an_added_connection_is_met_in_the_loop),
        cmocka_unit_test(promise_12_a_header_waits_for_memory),
        cmocka_unit_test(a_header_is_looked_for_without_the_poller),
        cmocka_unit_test(an_added_connection_is_not_met_after_a_stop),
        cmocka_unit_test(an_added_connection_that_is_none_is_told),
        cmocka_unit_test(an_added_connection_is_closed_or_aborted_before_it_is_known),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
