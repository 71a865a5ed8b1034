/* SPDX-License-Identifier: MIT */
/* A loop when something is short: each call answers what it lacks and can be made again, a
 * connection that can't go on ends alone, and in the end everything has been given back. */
#define _GNU_SOURCE
#include "guest.h"
#include "shortage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LONG = 300 * 1024 };

static tcpmsg_loop *loop;
static char address[TCPMSG_ADDRESS_MAX], by_name[TCPMSG_ADDRESS_MAX];
static atomic_int opens, closes, called, wrong;
static atomic_int dials, dial_opens, dial_answers, dial_closes;

/* What can't be sent ends the connection: its guest tries again. */
static void answer(tcpmsg_conn *conn, const void *message, size_t length)
{
    int result = tcpmsg_send(conn, message, length, 0);
    if (result == TCPMSG_EAGAIN || result == TCPMSG_EINVAL)
        atomic_fetch_add(&wrong, 1);
    if (result != 0)
        tcpmsg_abort(conn);
}

/* Nothing else may end here: a byte that was lost would be another length, say. */
static void check_end(tcpmsg_conn *conn, int why)
{
    static const int ends[] = {
        0, TCPMSG_EOF, TCPMSG_ERESET, TCPMSG_ECANCELED, TCPMSG_ENOMEM, TCPMSG_EMFILE};
    for (size_t i = 0; i < COUNT(ends); i++)
        if (why == ends[i] && *tcpmsg_conn_why(conn) != '\0')
            return;
    print_error("%s: %s\n", tcpmsg_error_name(why), tcpmsg_conn_why(conn));
    atomic_fetch_add(&wrong, 1);
}

static void on_open(tcpmsg_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
    atomic_fetch_add(&opens, 1);
}

static void on_message(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    (void)arg;
    answer(conn, message, length);
}

static void on_close(tcpmsg_conn *conn, int why, void *arg)
{
    (void)arg;
    check_end(conn, why);
    atomic_fetch_add(&closes, 1);
}

static void on_dialed(tcpmsg_conn *conn, void *arg)
{
    (void)arg;
    atomic_fetch_add(&dial_opens, 1);
    answer(conn, "hello", 5);
}

static void on_answer(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    (void)arg;
    if (length == 5 && memcmp(message, "hello", 5) == 0)
        atomic_fetch_add(&dial_answers, 1);
    (void)tcpmsg_close(conn);
}

static void on_dial_over(tcpmsg_conn *conn, int why, void *arg)
{
    (void)arg;
    check_end(conn, why);
    atomic_fetch_add(&dial_closes, 1);
}

static const tcpmsg_callbacks serving = {
    .size = sizeof serving, .on_open = on_open, .on_message = on_message, .on_close = on_close};
static const tcpmsg_callbacks dialing = {.size = sizeof dialing,
                                         .on_open = on_dialed,
                                         .on_message = on_answer,
                                         .on_close = on_dial_over};

static void note_call(void *arg)
{
    (void)arg;
    atomic_fetch_add(&called, 1);
}

static int chosen_poller(void)
{
    const char *name = getenv("TESTS_POLLER");
    if (name && strcmp(name, "kqueue") == 0)
        return TCPMSG_POLLER_KQUEUE;
    return name && strcmp(name, "poll") == 0 ? TCPMSG_POLLER_POLL : 0;
}

static void open_loop(void)
{
    const tcpmsg_loop_options options = {
        .size = sizeof options, .threads = 2, .poller = chosen_poller()};
    tcpmsg_listener *listener;
    int result;
    INSIST(result, tcpmsg_loop_open(&loop, &options));
    assert_int_equal(result, 0);
    assert_int_equal(tcpmsg_listen(&listener, "127.0.0.1:0", NULL), 0);
    assert_int_equal(tcpmsg_listener_address(listener, address, sizeof address), 0);
    snprintf(by_name, sizeof by_name, "localhost%s", strrchr(address, ':'));
    INSIST(result, tcpmsg_loop_listen(loop, listener, &serving, NULL));
    assert_int_equal(result, 0);
    INSIST(result, tcpmsg_loop_post(loop, note_call, NULL));
    assert_int_equal(result, 0);
}

/* The loop's thread: from now on something is short. */
static ssize_t serve(struct call *call)
{
    ssize_t result;
    (void)call;
    scarce = true;
    do
        result = tcpmsg_loop_run(loop);
    while (lacks(result));
    return result;
}

/* The beginning of the second comes with the first, and has to be kept. */
static bool exchange_halves(int raw)
{
    static const char two[] = "\0\0\0\5first\0\0\0\6second";
    return write_all(raw, two, 14) && raw_gets(raw, "first") &&
           write_all(raw, two + 14, sizeof two - 15) && raw_gets(raw, "second");
}

static bool exchange(int raw)
{
    bool good = raw >= 0 && raw_send(raw, "small") && raw_gets(raw, "small");
    good = good && exchange_halves(raw);
    good = good && raw_send_filled(raw, LONG, 1) && raw_gets_filled(raw, LONG, 1);
    return good && raw_send(raw, "last") && raw_gets(raw, "last");
}

/* A guest, who lacks nothing. It comes again until it was served; it never waits for nothing. And
 * one that was added may end, but does not hang. */
static ssize_t visit(struct call *call)
{
    char back[5];
    int64_t begin = now_ms();
    bool served = false;
    spare_this_thread();
    while (!served && now_ms() - begin < WAIT_MS) {
        int raw = raw_dial(address);
        served = exchange(raw);
        close(raw);
        sleep_ms(served ? 0 : 1);
    }
    begin = now_ms();
    if (write_all(call->raw, "\0\0\0\1x", 5))
        (void)read_all(call->raw, back, 5);
    return served && now_ms() - begin < WAIT_MS;
}

/* A call while the loop runs, until there is enough for it again. */
#define PERSIST(call)                                                                              \
    do {                                                                                           \
        int tries_left = WAIT_MS, result_;                                                         \
        while (lacks(result_ = (call)) && tries_left-- > 0)                                        \
            sleep_ms(1);                                                                           \
        assert_int_equal(result_, 0);                                                              \
    } while (0)

static void dial_until_answered(const char *to)
{
    int before = atomic_load(&dial_answers);
    int64_t deadline = now_ms() + WAIT_MS;
    while (atomic_load(&dial_answers) == before) {
        PERSIST(tcpmsg_loop_dial(loop, to, NULL, &dialing, NULL));
        int count = atomic_fetch_add(&dials, 1) + 1;
        assert_true(reaches(&dial_closes, count));
        assert_true(now_ms() < deadline);
        sleep_ms(1); /* a shortage that lasts makes many fail in no time */
    }
}

static void use_loop(tcpmsg_conn *conn)
{
    PERSIST(tcpmsg_loop_add(loop, conn, &serving, NULL));
    PERSIST(tcpmsg_loop_post(loop, note_call, NULL));
    PERSIST(tcpmsg_loop_after(loop, 1, note_call, NULL));
    dial_until_answered(address);
    dial_until_answered(by_name);
    assert_true(reaches(&called, 3));
}

static void begin_counts(void)
{
    atomic_int *const counts[] = {&opens, &closes,     &called,       &wrong,
                                  &dials, &dial_opens, &dial_answers, &dial_closes};
    for (size_t i = 0; i < COUNT(counts); i++)
        atomic_store(counts[i], 0);
}

static void check_counts(void)
{
    assert_int_equal(wrong, 0);
    assert_int_equal(opens, closes);
    assert_true(opens > 0);
    assert_int_equal(called, 3);
    assert_int_equal(dial_closes, dials);
    assert_true(dial_opens <= dials);
}

static void run_through(void)
{
    struct call server = {.body = serve}, guest = {.body = visit};
    tcpmsg_conn *conn;
    begin_counts();
    open_loop();
    pair_unix(&conn, &guest.raw, NULL);
    relief_begin();
    call_start(&guest);
    call_start(&server);
    use_loop(conn);
    assert_int_equal(call_finish(&guest), true);
    tcpmsg_loop_stop(loop);
    assert_int_equal(call_finish(&server), 0);
    scarce = false;
    relief_end();
    tcpmsg_loop_close(loop);
    close(guest.raw);
    check_counts();
}

static void a_loop_that_runs(void **state)
{
    (void)state;
    play_through_shortages(run_through);
}

/* What is taken before the run, and not run at all. */
static void hold_through(void)
{
    tcpmsg_conn *conn;
    int raw, result;
    begin_counts();
    open_loop();
    pair_unix(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(conn, "unsent", 6, TCPMSG_MORE), 0);
    INSIST(result, tcpmsg_loop_add(loop, conn, &serving, NULL));
    assert_int_equal(result, 0);
    INSIST(result, tcpmsg_loop_dial(loop, address, NULL, &dialing, NULL));
    assert_int_equal(result, 0);
    INSIST(result, tcpmsg_loop_dial(loop, by_name, NULL, &dialing, NULL));
    assert_int_equal(result, 0);
    INSIST(result, tcpmsg_loop_after(loop, 0, note_call, NULL));
    assert_int_equal(result, 0);
    tcpmsg_loop_close(loop);
    close(raw);
    assert_int_equal(opens + closes + called + dial_opens + dial_closes, 0);
}

static void a_loop_that_never_runs(void **state)
{
    (void)state;
    play_through_shortages(hold_through);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_that_never_runs),
        cmocka_unit_test(a_loop_that_runs),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
