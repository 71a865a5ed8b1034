/* SPDX-License-Identifier: MIT */
/* The log hook: what connections and listeners tell, once each, and that it may ask back. */
#define _GNU_SOURCE
#include "guest.h"
#include "reach.h"
#include "shortage.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINES_MOST = 64 };

struct line {
    int level;
    tcpmsg_conn *conn;
    char text[512];
};

/* What was logged, in order; from any thread. */
static struct journal {
    pthread_mutex_t lock;
    atomic_int count;
    struct line lines[LINES_MOST];
} journal = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* All that may be asked: none of it may wait for the call that logs. */
static void ask_everything(tcpmsg_conn *conn)
{
    char text[TCPMSG_ADDRESS_MAX];
    tcpmsg_info info;
    tcpmsg_conn_info(conn, &info, sizeof info);
    tcpmsg_conn_peer(conn, text, sizeof text);
    tcpmsg_conn_local(conn, text, sizeof text);
    tcpmsg_conn_fd(conn);
    tcpmsg_conn_events(conn);
    tcpmsg_conn_why(conn);
    tcpmsg_conn_data(conn);
}

static void note(int level, const char *text, tcpmsg_conn *conn, void *arg)
{
    struct journal *to = arg;
    if (conn)
        ask_everything(conn);
    pthread_mutex_lock(&to->lock);
    int number = to->count;
    if (number < LINES_MOST) {
        struct line *line = &to->lines[number];
        line->level = level;
        line->conn = conn;
        snprintf(line->text, sizeof line->text, "%s", text);
        to->count = number + 1;
    }
    pthread_mutex_unlock(&to->lock);
}

#define LOGGED .log = note, .log_arg = &journal

static int begin_journal(void **state)
{
    (void)state;
    journal.count = 0;
    return 0;
}

/* The first line from `*next` on that says so; the next search begins behind it. */
static const struct line *find(int *next, const char *text)
{
    for (; *next < journal.count; ++*next)
        if (strstr(journal.lines[*next].text, text))
            return &journal.lines[(*next)++];
    for (int i = 0; i < journal.count; i++)
        print_message("%d: %s\n", journal.lines[i].level, journal.lines[i].text);
    fail_msg("not logged, or not then: %s", text);
    return NULL;
}

static void expect_line(int *next, int level, const char *text, const tcpmsg_conn *conn)
{
    const struct line *line = find(next, text);
    assert_int_equal(line->level, level);
    assert_ptr_equal(line->conn, conn);
}

static void nothing_is_logged_where_there_is_no_hook(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, TCPMSG_OPTIONS(.log_arg = &journal));
    raw_reset(raw);
    assert_code(tcpmsg_recv(conn, NULL, 0, 0), TCPMSG_ERESET);
    tcpmsg_close(conn);
    assert_int_equal(journal.count, 0);
}

static void from_listening_to_a_clean_end(void **state)
{
    (void)state;
    static const char *const addresses[] = {"127.0.0.1:0", "unix:@tcpmsg-test-log-%d"};
    for (size_t i = 0; i < COUNT(addresses); i++) {
        char address[TCPMSG_ADDRESS_MAX], text[TCPMSG_ADDRESS_MAX + 32];
        tcpmsg_listener *listener;
        tcpmsg_conn *here, *there;
        int next = 0;
        journal.count = 0;
        snprintf(address, sizeof address, addresses[i], (int)getpid());
        assert_int_equal(tcpmsg_listen(&listener, address, TCPMSG_OPTIONS(LOGGED)), 0);
        bound_address(listener, address);
        assert_int_equal(tcpmsg_dial(&here, address, TCPMSG_OPTIONS(LOGGED)), 0);
        assert_int_equal(tcpmsg_accept(listener, &there, 0), 0);
        snprintf(text, sizeof text, "listening at %s", address);
        expect_line(&next, TCPMSG_LOG_INFO, text, NULL);
        snprintf(text, sizeof text, "connected to %s", address);
        expect_line(&next, TCPMSG_LOG_INFO, text, here);
        expect_line(&next, TCPMSG_LOG_INFO, "accepted ", there);
        assert_int_equal(tcpmsg_close(here), 0);
        expect_line(&next, TCPMSG_LOG_INFO, "this program closed the connection", here);
        assert_code(tcpmsg_recv(there, NULL, 0, 0), TCPMSG_EOF);
        expect_line(&next, TCPMSG_LOG_INFO, "the peer ended the connection", there);
        assert_int_equal(tcpmsg_close(there), 0);
        assert_int_equal(journal.count, 5);
        tcpmsg_listener_close(listener);
    }
}

static void promise_5_what_breaks_a_connection_is_a_warning(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw, next = 0;
    pair(&conn, &raw, TCPMSG_OPTIONS(LOGGED));
    expect_line(&next, TCPMSG_LOG_INFO, "attached a socket of 127.0.0.1:", conn);
    assert_true(write_all(raw, "GET / HTTP/1.1\r\n", 16));
    assert_code(tcpmsg_recv(conn, NULL, 0, 0), TCPMSG_EMSGSIZE);
    assert_code(tcpmsg_recv(conn, NULL, 0, 0), TCPMSG_EMSGSIZE);
    expect_line(&next, TCPMSG_LOG_WARNING, "is the peer speaking HTTP?", conn);
    assert_string_equal(journal.lines[next - 1].text, tcpmsg_conn_why(conn));
    tcpmsg_abort(conn);
    assert_int_equal(journal.count, 2); /* one end, one line */
    tcpmsg_close(conn);
    close(raw);
}

/* It is told in the middle of a send, whose lock the hook would wait for. */
static void a_reset_that_a_send_meets_is_a_warning(void **state)
{
    (void)state;
    for (int transport = TCP; transport < TRANSPORTS; transport++) {
        tcpmsg_conn *conn;
        int raw, next = 0, r = 0;
        journal.count = 0;
        (transport == TCP ? pair : pair_unix)(&conn, &raw, TCPMSG_OPTIONS(LOGGED));
        if (transport == TCP)
            raw_reset(raw);
        else
            close(raw);
        while (r == 0)
            r = tcpmsg_send(conn, "hello", 5, 0);
        assert_code(r, TCPMSG_ERESET);
        expect_line(&next, TCPMSG_LOG_WARNING, "sending failed", conn);
        tcpmsg_close(conn);
    }
}

static void a_dial_that_fails_is_a_warning_with_its_story(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], why[256];
    tcpmsg_conn *conn;
    int next = 0;
    close(raw_listen(address, sizeof address));
    assert_code(
        tcpmsg_dial(&conn, address, TCPMSG_OPTIONS(LOGGED, .why = why, .why_size = sizeof why)),
        TCPMSG_EREFUSED);
    expect_line(&next, TCPMSG_LOG_WARNING, why, NULL);
    assert_code(tcpmsg_dial(&conn, "nonsense", TCPMSG_OPTIONS(LOGGED)), TCPMSG_EADDRESS);
    expect_line(&next, TCPMSG_LOG_WARNING, "nonsense", NULL);
    assert_int_equal(journal.count, 2);
}

static void a_listen_that_fails_is_a_warning_with_its_story(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], why[256];
    tcpmsg_listener *listener;
    int next = 0, raw = raw_listen(address, sizeof address);
    assert_code(tcpmsg_listen(&listener, address,
                              TCPMSG_OPTIONS(LOGGED, .why = why, .why_size = sizeof why)),
                TCPMSG_EINUSE);
    expect_line(&next, TCPMSG_LOG_WARNING, why, NULL);
    assert_int_equal(journal.count, 1);
    close(raw);
}

static void last_words_that_nobody_took_are_a_warning(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw, next = 0;
    pair_small(&conn, &raw, TCPMSG_OPTIONS(LOGGED, .linger_ms = 20));
    jam(conn);
    assert_code(tcpmsg_close(conn), TCPMSG_ETIMEDOUT);
    expect_line(&next, TCPMSG_LOG_WARNING, "what was sent last may not have arrived", conn);
    close(raw);
}

/* Once when it begins, once when it is over, however often it is tried meanwhile. */
static void promise_12_a_listener_that_can_accept_nobody_says_so_once(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], text[128];
    for (int loops = 0; loops < 2; loops++) {
        struct looper *looper = NULL;
        tcpmsg_listener *listener = NULL;
        tcpmsg_conn *conn = NULL;
        int raw, next = 0;
        journal.count = 0;
        if (loops) {
            looper = looper_serve(TCP, &echo, NULL, TCPMSG_OPTIONS(LOGGED));
            memcpy(address, looper->address, sizeof address);
        } else {
            assert_int_equal(tcpmsg_listen(&listener, "127.0.0.1:0", TCPMSG_OPTIONS(LOGGED)), 0);
            bound_address(listener, address);
        }
        call_fails(CALL_accept4, EMFILE, 3);
        raw = raw_reach(address);
        if (loops)
            assert_true(raw_send(raw, "hello") && raw_gets(raw, "hello"));
        else
            assert_int_equal(tcpmsg_accept(listener, &conn, 0), 0);
        assert_int_equal(calls_failed(), 3);
        expect_line(&next, TCPMSG_LOG_INFO, "listening at 127.0.0.1:", NULL);
        snprintf(text, sizeof text, "nobody can be accepted for now: %s", strerror(EMFILE));
        expect_line(&next, TCPMSG_LOG_WARNING, text, NULL);
        expect_line(&next, TCPMSG_LOG_INFO, "connections are accepted again", NULL);
        find(&next, "accepted 127.0.0.1:");
        assert_int_equal(journal.count, 4);
        close(raw);
        tcpmsg_close(conn);
        tcpmsg_listener_close(listener);
        if (loops)
            looper_finish(looper);
    }
}

/* The one place that hears of those whose proxy does not say who they are. */
static void clients_behind_a_proxy_are_named(void **state)
{
    (void)state;
    struct looper *looper =
        looper_serve(TCP, &echo, NULL, TCPMSG_OPTIONS(LOGGED, .proxy_protocol = 1));
    static const char header[] = "PROXY TCP4 192.0.2.1 198.51.100.2 4000 80\r\n";
    int next = 0, raw = raw_reach(looper->address);
    assert_true(write_all(raw, header, sizeof header - 1) && raw_send(raw, "hello"));
    assert_true(raw_gets(raw, "hello"));
    find(&next, "accepted 127.0.0.1:");
    find(&next, "the proxy hands on 192.0.2.1:4000");
    int health = raw_reach(looper->address);
    assert_true(write_all(health, "PROXY UNKNOWN\r\n", 15) && raw_send(health, "alive"));
    assert_true(raw_gets(health, "alive"));
    find(&next, "the proxy hands on its own connection");
    close(health);
    int stranger = raw_reach(looper->address);
    assert_true(write_all(stranger, "hello", 5) && wait_events(stranger, POLLIN, WAIT_MS) != 0);
    find(&next, "no PROXY header came first");
    assert_int_equal(journal.lines[next - 1].level, TCPMSG_LOG_WARNING);
    close(stranger);
    close(raw);
    looper_finish(looper);
}

static void drop(struct seen *seen, const void *message, size_t length)
{
    (void)message;
    (void)length;
    tcpmsg_close(seen->conn);
}

static void a_loops_connections_tell_as_well(void **state)
{
    (void)state;
    static const struct acts acts = {.on_message = drop};
    char nobody[TCPMSG_ADDRESS_MAX];
    struct looper *looper = looper_serve(TCP, &acts, NULL, TCPMSG_OPTIONS(LOGGED));
    int next = 0;
    assert_int_equal(looper_dial(looper, looper->address, TCPMSG_OPTIONS(LOGGED), &nothing), 0);
    tcpmsg_conn *dialled = NULL;
    for (int i = 0; i < 2; i++) {
        struct seen *seen = looper_seen(looper, i);
        if (seen->acts == &nothing)
            dialled = seen->conn;
    }
    assert_int_equal(tcpmsg_send(dialled, "bye", 3, 0), 0);
    for (int i = 0; i < 2; i++)
        seen_end(looper_seen(looper, i));
    find(&next, "listening at");
    close(raw_listen(nobody, sizeof nobody));
    assert_int_equal(looper_dial(looper, nobody, TCPMSG_OPTIONS(LOGGED), &nothing), 0);
    assert_code(seen_end(looper_seen(looper, 2)), TCPMSG_EREFUSED);
    int found[5] = {0};
    for (int i = 0; i < journal.count; i++) {
        found[0] += strstr(journal.lines[i].text, "accepted 127.0.0.1:") != NULL;
        found[1] += strstr(journal.lines[i].text, "connected to 127.0.0.1:") != NULL;
        found[2] += strcmp(journal.lines[i].text, "this program closed the connection") == 0;
        found[3] += strcmp(journal.lines[i].text, "the peer ended the connection") == 0;
        found[4] += journal.lines[i].level == TCPMSG_LOG_WARNING;
    }
    for (size_t i = 0; i < COUNT(found); i++)
        assert_int_equal(found[i], 1);
    assert_code(looper_dial(looper, "nonsense", TCPMSG_OPTIONS(LOGGED), &nothing), TCPMSG_EADDRESS);
    find(&next, "nonsense");
    looper_finish(looper);
}

static void hold_much(struct seen *seen)
{
    static uint8_t much[8 << 20];
    seen_send(seen, much, sizeof much, 0);
    tcpmsg_close(seen->conn);
}

static void a_loops_last_words_that_nobody_took_are_a_warning(void **state)
{
    (void)state;
    static const struct acts acts = {.on_open = hold_much};
    struct looper *looper = looper_serve(TCP, &acts, NULL, TCPMSG_OPTIONS(LOGGED, .linger_ms = 20));
    int next = 0, raw = raw_reach(looper->address);
    assert_code(seen_end(looper_seen(looper, 0)), TCPMSG_ETIMEDOUT);
    find(&next, "this program closed the connection");
    find(&next, "what was sent last may not have arrived");
    close(raw);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_is_logged_where_there_is_no_hook, begin_journal),
        cmocka_unit_test_setup(from_listening_to_a_clean_end, begin_journal),
        cmocka_unit_test_setup(promise_5_what_breaks_a_connection_is_a_warning, begin_journal),
        cmocka_unit_test_setup(a_reset_that_a_send_meets_is_a_warning, begin_journal),
        cmocka_unit_test_setup(a_dial_that_fails_is_a_warning_with_its_story, begin_journal),
        cmocka_unit_test_setup(a_listen_that_fails_is_a_warning_with_its_story, begin_journal),
        cmocka_unit_test_setup(last_words_that_nobody_took_are_a_warning, begin_journal),
        cmocka_unit_test_setup(promise_12_a_listener_that_can_accept_nobody_says_so_once,
                               begin_journal),
        cmocka_unit_test_setup(clients_behind_a_proxy_are_named, begin_journal),
        cmocka_unit_test_setup(a_loops_connections_tell_as_well, begin_journal),
        cmocka_unit_test_setup(a_loops_last_words_that_nobody_took_are_a_warning, begin_journal),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
