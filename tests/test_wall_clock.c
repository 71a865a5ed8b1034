/* SPDX-License-Identifier: MIT */
/* Nothing depends on the time of day: here it jumps by years at each look, and every limit is what
 * it was, for nobody looks. And when the clock that they do go by leaps ahead, as it does for a
 * process that was stopped, what is due comes once, and then there is peace. */
#define _GNU_SOURCE
#include "crowd.h"
#include "guest.h"
#include "looks.h"
#include "wall.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_MS = 150, LATE_MS = 5000, DAY = 24 * 3600, YEAR = 366 * DAY };

/* It was the limit that ended it: not sooner, and not later than a machine under load explains. */
static void expect_limit(const char *what, int64_t begin)
{
    int64_t took = true_ms() - begin;
    print_message("%s: %d ms instead of %d\n", what, (int)took, LIMIT_MS);
    if (took < LIMIT_MS - 2 || took > LIMIT_MS + LATE_MS)
        fail_msg("%s: %d ms", what, (int)took);
    assert_int_equal(wall_asked(), 0);
}

/* The last one of all: from then on it has been asked. */
static void this_wall_clock_jumps(void **state)
{
    (void)state;
    struct timespec one, other;
    struct timeval third;
    assert_int_equal(wall_asked(), 0);
    clock_gettime(CLOCK_REALTIME, &one);
    clock_gettime(CLOCK_REALTIME, &other);
    assert_true(labs((long)(other.tv_sec - one.tv_sec)) > YEAR);
    gettimeofday(&third, NULL);
    assert_true(labs((long)(third.tv_sec - other.tv_sec)) > YEAR);
    assert_true(labs((long)(time(NULL) - third.tv_sec)) > YEAR);
    assert_int_equal(wall_asked(), 4);
}

static const tcpmsg_options limited = {
    .size = sizeof limited,
    .connect_timeout_ms = LIMIT_MS,
    .send_timeout_ms = LIMIT_MS,
    .recv_timeout_ms = LIMIT_MS,
    .linger_ms = LIMIT_MS,
};

static int receive(tcpmsg_conn *conn)
{
    char text[8];
    return (int)tcpmsg_recv(conn, text, sizeof text, 0);
}

static int send_one(tcpmsg_conn *conn)
{
    return tcpmsg_send(conn, "x", 1, 0);
}

static int flush(tcpmsg_conn *conn)
{
    return tcpmsg_flush(conn, 0);
}

/* Each call that its limit ends, on a connection that takes and gives nothing. */
static void limits_of_calls_that_wait(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int (*call)(tcpmsg_conn *conn);
    } calls[] = {{"a receive", receive},
                 {"a send", send_one},
                 {"a flush", flush},
                 {"a shutdown", tcpmsg_shutdown},
                 {"a close", tcpmsg_close}};
    tcpmsg_conn *conn;
    int raw;
    pair_small(&conn, &raw, &limited);
    jam(conn);
    for (size_t i = 0; i < COUNT(calls); i++) {
        int64_t begin = true_ms();
        assert_code(calls[i].call(conn), TCPMSG_ETIMEDOUT);
        expect_limit(calls[i].name, begin);
    }
    close(raw);
}

static ssize_t receive_for_ever(struct call *call)
{
    return receive(call->conn);
}

static ssize_t send_for_ever(struct call *call)
{
    static const uint8_t much[4 * 1024 * 1024];
    return tcpmsg_send(call->conn, much, sizeof much, 0);
}

/* Another thread has the turn, without a limit. */
static void limits_of_calls_that_wait_for_their_turn(void **state)
{
    (void)state;
    struct call receiver = {.body = receive_for_ever}, sender = {.body = send_for_ever};
    pair_small(&receiver.conn, &receiver.raw, NULL);
    sender.conn = receiver.conn;
    jam(sender.conn);
    call_start_asleep(&receiver);
    call_start_asleep(&sender);
    assert_int_equal(tcpmsg_conn_set_timeouts(receiver.conn, LIMIT_MS, LIMIT_MS), 0);
    long before = timed_waits();
    int64_t begin = true_ms();
    assert_code(receive(receiver.conn), TCPMSG_ETIMEDOUT);
    expect_limit("a turn to receive", begin);
    static const uint8_t much[100000];
    begin = true_ms();
    assert_code(tcpmsg_send(sender.conn, much, sizeof much, 0), TCPMSG_ETIMEDOUT);
    expect_limit("a turn to send", begin);
    assert_in_range(timed_waits() - before, 2, 20);
    tcpmsg_abort(receiver.conn);
    assert_code(call_finish(&receiver), TCPMSG_ECANCELED);
    assert_code(call_finish(&sender), TCPMSG_ECANCELED);
    tcpmsg_close(receiver.conn);
    close(receiver.raw);
}

static void limits_of_a_message_and_of_spinning(void **state)
{
    (void)state;
    for (int spin = 0; spin < 2; spin++) {
        tcpmsg_conn *conn;
        int raw;
        pair(&conn, &raw,
             TCPMSG_OPTIONS(.message_timeout_ms = LIMIT_MS, .spin_us = spin * LIMIT_MS * 2000));
        assert_true(write_all(raw, "\0\0\0\5he", 6));
        int64_t begin = true_ms();
        assert_code(receive(conn), TCPMSG_ESTALLED);
        expect_limit(spin ? "a message, spinning" : "a message", begin);
        tcpmsg_close(conn);
        close(raw);
    }
}

static void expect_dial_limit(const char *what, const char *address)
{
    tcpmsg_conn *conn;
    int64_t begin = true_ms();
    long before = timed_waits();
    assert_code(tcpmsg_dial(&conn, address, &limited), TCPMSG_ETIMEDOUT);
    expect_limit(what, begin);
    assert_in_range(timed_waits() - before, 0, 10);
}

static void limits_of_dials(void **state)
{
    (void)state;
    struct crowd crowd;
    char address[TCPMSG_ADDRESS_MAX], folder[PATH_ROOM], path[PATH_ROOM + 16];
    crowd_at_port(&crowd, address, sizeof address);
    expect_dial_limit("a dial", address);
    crowd_leaves(&crowd);
    make_temp_dir(folder);
    snprintf(path, sizeof path, "unix:%s/door", folder);
    crowd_at_path(&crowd, path + 5);
    expect_dial_limit("a dial to a path", path);
    crowd_leaves(&crowd);
    remove_temp_dir(folder);
    atomic_store(&look_ups_hang, true);
    expect_dial_limit("a look-up", "localhost:9");
    atomic_store(&look_ups_hang, false);
}

/* In a loop; what a connection's end, or a call, is late or early by. */
static atomic_int called;

static void count_call(void *unused)
{
    (void)unused;
    atomic_fetch_add(&called, 1);
}

static void expect_end(struct looper *looper, int number, const char *wanted, const char *what,
                       int64_t begin)
{
    struct seen *seen = looper_seen(looper, number);
    assert_string_equal(tcpmsg_error_name(seen_end(seen)), wanted);
    expect_limit(what, begin);
}

static void limits_in_a_loop(void **state)
{
    (void)state;
    tcpmsg_options options = limited;
    options.message_timeout_ms = LIMIT_MS;
    const struct acts acts = {.on_open = small_output};
    static const uint8_t much[4 * 1024 * 1024];
    struct crowd crowd;
    char address[TCPMSG_ADDRESS_MAX];
    struct looper *looper = looper_serve(TCP, &acts, NULL, &options);
    struct seen *seen;
    int64_t begin = true_ms();
    assert_int_equal(tcpmsg_loop_after(looper->loop, LIMIT_MS, count_call, NULL), 0);
    assert_true(reaches(&called, 1));
    expect_limit("a call of later", begin);

    int raws[3] = {looper_guest(looper, NULL)};
    begin = true_ms();
    assert_true(write_all(raws[0], "\0\0\0\5he", 6));
    expect_end(looper, 0, "TCPMSG_ESTALLED", "a message in a loop", begin);

    for (int i = 1; i < 3; i++) {
        raws[i] = looper_guest_small(looper, &seen);
        begin = true_ms();
        assert_int_equal(tcpmsg_send(seen->conn, much, sizeof much, 0), 0);
        if (i == 2)
            assert_int_equal(tcpmsg_close(seen->conn), 0);
        expect_end(looper, i, i == 1 ? "TCPMSG_ESTALLED" : "TCPMSG_ETIMEDOUT",
                   i == 1 ? "output in a loop" : "a close in a loop", begin);
    }
    crowd_at_port(&crowd, address, sizeof address);
    begin = true_ms();
    assert_int_equal(looper_dial(looper, address, &limited, &nothing), 0);
    expect_end(looper, 3, "TCPMSG_ETIMEDOUT", "a dial of a loop", begin);
    crowd_leaves(&crowd);
    for (int i = 0; i < 3; i++)
        close(raws[i]);
    looper_finish(looper);
}

static void limit_of_an_idle_one_in_a_loop(void **state)
{
    (void)state;
    struct looper *looper =
        looper_serve(TCP, &nothing, TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = LIMIT_MS), NULL);
    int64_t begin = true_ms();
    int raw = looper_guest(looper, NULL);
    expect_end(looper, 0, "TCPMSG_ESTALLED", "an idle one in a loop", begin);
    close(raw);
    looper_finish(looper);
}

/* The clock leaps, and a loop has much that is due at once. */
enum { CALLS = 500, GUESTS = 20 };

static void expect_everything_once(struct looper *looper, int64_t seconds, int raws[GUESTS])
{
    static atomic_int counts[CALLS];
    int first = atomic_load(&looper->count);
    memset(counts, 0, sizeof counts);
    for (int i = 0; i < GUESTS; i++)
        raws[i] = looper_guest(looper, NULL);
    looper_settle(looper);
    atomic_store(&called, 0);
    for (int i = 0; i < CALLS; i++) {
        int ms = (int)(seconds * 1000 / CALLS > 7200 ? 7200 : seconds * 1000 / CALLS) * i + 1000;
        assert_int_equal(tcpmsg_loop_after(looper->loop, ms, count_call, NULL), 0);
    }
    long before = looks();
    leap(seconds + 1);
    looper_settle(looper); /* it has to look at its clock for once */
    assert_true(reaches(&called, CALLS));
    for (int i = 0; i < GUESTS; i++)
        assert_code(seen_end(looper_seen(looper, first + i)), TCPMSG_ESTALLED);
    print_message("%.1f hours ahead: %ld looks for %d calls and %d ends\n", (double)seconds / 3600,
                  looks() - before, CALLS, GUESTS);
    assert_in_range(looks() - before, 1, 50 + 4 * GUESTS);
    assert_true(all_rest(300));
    assert_int_equal(atomic_load(&called), CALLS);
}

static void expect_it_works(struct looper *looper)
{
    int64_t begin = true_ms();
    int raw = looper_guest(looper, NULL);
    assert_true(raw_send(raw, "hello") && raw_gets(raw, "hello"));
    atomic_store(&called, 0);
    assert_int_equal(tcpmsg_loop_after(looper->loop, LIMIT_MS, count_call, NULL), 0);
    assert_true(reaches(&called, 1));
    expect_limit("a call after the leap", begin);
    close(raw);
}

/* Then by centuries, near the end of its numbers; by less where a time_t has 32 bits. */
#define FAR (sizeof(time_t) > 4 ? INT64_C(200) * YEAR : INT64_C(50) * YEAR)

/* By a minute, an hour, a day, ten years, and far. */
static void a_leap_of_the_clock_makes_all_due_once_and_no_storm(void **state)
{
    (void)state;
    static const int64_t leaps[] = {60, 3600, DAY, INT64_C(10) * YEAR, FAR};
    for (size_t i = 0; i < COUNT(leaps); i++) {
        int raws[GUESTS];
        struct looper *looper =
            looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = 50000), NULL);
        expect_everything_once(looper, leaps[i], raws);
        expect_it_works(looper);
        for (int j = 0; j < GUESTS; j++)
            close(raws[j]);
        looper_finish(looper);
    }
}

/* The longest limits there are, at the end of the clock's numbers: nothing overflows. */
static void limits_of_an_old_clock(void **state)
{
    (void)state;
    tcpmsg_conn *one, *other;
    struct call receiver = {.body = receive_for_ever};
    pair_conns(&one, &other,
               TCPMSG_OPTIONS(.recv_timeout_ms = INT32_MAX, .send_timeout_ms = INT32_MAX,
                              .message_timeout_ms = INT32_MAX, .linger_ms = INT32_MAX));
    receiver.conn = other;
    call_start_asleep(&receiver);
    assert_int_equal(tcpmsg_send(one, "hello", 5, 0), 0);
    assert_int_equal(call_finish(&receiver), 5);
    assert_int_equal(tcpmsg_close(one), 0);
    assert_int_equal(tcpmsg_close(other), 0);
    limits_of_calls_that_wait(state);
}

/* A receive that slept through its limit has the message that came, or says so and loses none. */
static void a_leap_spoils_no_receive(void **state)
{
    (void)state;
    for (int unix_socket = 0; unix_socket < 2; unix_socket++) {
        struct call receiver = {.body = receive_for_ever};
        tcpmsg_conn *peer;
        (unix_socket ? pair_conns_unix : pair_conns)(
            &receiver.conn, &peer, TCPMSG_OPTIONS(.recv_timeout_ms = 3600 * 1000));
        call_start_asleep(&receiver);
        leap(2 * 3600);
        assert_int_equal(tcpmsg_send(peer, "hello", 5, 0), 0);
        ssize_t answer = call_finish(&receiver);
        print_message("a receive over a leap: %d\n", (int)answer);
        if (answer != 5) {
            assert_code(answer, TCPMSG_ETIMEDOUT);
            assert_int_equal(receive(receiver.conn), 5);
        }
        tcpmsg_close(peer);
        tcpmsg_close(receiver.conn);
    }
}

/* Really stopped, for as long as a good part of its calls would have taken. */
enum { STOPPED_MS = 600, SOON = 40, STEP_MS = 10 };
enum { GOOD, NOT_ALL, STORM, NO_TALK };

static int live_through_a_stop(int tell)
{
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    int raw = looper_guest(looper, NULL);
    long before = looks();
    atomic_store(&called, 0);
    for (int i = 1; i <= SOON; i++)
        if (tcpmsg_loop_after(looper->loop, i * STEP_MS, count_call, NULL) != 0)
            return NOT_ALL;
    if (write(tell, "r", 1) != 1 || !reaches(&called, SOON))
        return NOT_ALL;
    looper_settle(looper);
    long made = looks() - before;
    print_message("%ld looks for %d calls\n", made, SOON);
    if (made > 4 * SOON + 50)
        return STORM;
    bool talks = raw_send(raw, "hello") && raw_gets(raw, "hello");
    if (!talks || !all_rest(200))
        return talks ? STORM : NO_TALK;
    return atomic_load(&called) == SOON ? GOOD : NOT_ALL;
}

static void a_process_that_was_stopped_has_no_storm(void **state)
{
    (void)state;
    int told[2], status;
    char byte = 0;
    assert_int_equal(pipe(told), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(TEST_SECONDS / 2);
        _exit(live_through_a_stop(told[1]));
    }
    assert_int_equal(read(told[0], &byte, 1), 1);
    assert_int_equal(kill(child, SIGSTOP), 0);
    sleep_ms(STOPPED_MS);
    assert_int_equal(kill(child, SIGCONT), 0);
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), GOOD);
    close(told[0]);
    close(told[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_of_calls_that_wait),
        cmocka_unit_test(limits_of_calls_that_wait_for_their_turn),
        cmocka_unit_test(limits_of_a_message_and_of_spinning),
        cmocka_unit_test(limits_of_dials),
        cmocka_unit_test(limits_in_a_loop),
        cmocka_unit_test(limit_of_an_idle_one_in_a_loop),
        cmocka_unit_test(a_process_that_was_stopped_has_no_storm),
        cmocka_unit_test(a_leap_spoils_no_receive),
        cmocka_unit_test(a_leap_of_the_clock_makes_all_due_once_and_no_storm),
        cmocka_unit_test(limits_of_an_old_clock),
        cmocka_unit_test(this_wall_clock_jumps),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
