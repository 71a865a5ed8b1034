/* SPDX-License-Identifier: MIT */
/* Dialling in a loop: what tcpmsg_dial would answer, told by on_open or by on_close alone. */
#define _GNU_SOURCE
#include "crowd.h"
#include "guest.h"
#include "reach.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void ask_at_once(struct seen *seen)
{
    (void)seen_send(seen, "hello", 5, 0);
}

static void close_when_answered(struct seen *seen, const void *message, size_t length)
{
    (void)message;
    (void)length;
    if (tcpmsg_close(seen->conn) != 0)
        looper_fault(seen->looper, "close in a callback");
}

static const struct acts asker = {.on_open = ask_at_once, .on_message = close_when_answered};

/* The one that was dialled is the one that closed. */
static void expect_answered(struct looper *looper, int number)
{
    struct seen *seen = looper_seen(looper, number);
    assert_int_equal(seen_end(seen), 0);
    assert_int_equal(atomic_load(&seen->opens), 1);
    assert_int_equal(atomic_load(&seen->messages), 1);
}

static void by_name_by_number_and_by_path(void **state)
{
    (void)state;
    struct looper *server = looper_serve(TCP, &echo, NULL, NULL);
    struct looper *other = looper_serve(UNIX, &echo, NULL, NULL), *looper = looper_open(NULL);
    char name[TCPMSG_ADDRESS_MAX], here[TCPMSG_ADDRESS_MAX], scheme[TCPMSG_ADDRESS_MAX + 6];
    snprintf(name, sizeof name, "localhost%s", strchr(server->address, ':'));
    snprintf(here, sizeof here, "%s", strchr(server->address, ':'));
    snprintf(scheme, sizeof scheme, "tcp://%s", server->address);
    const char *addresses[] = {server->address, name, here, scheme, other->address};
    assert_int_equal(looper_dial(looper, addresses[0], NULL, &asker), 0);
    looper_start(looper);
    expect_answered(looper, 0);
    for (int i = 0; i < (int)COUNT(addresses); i++) {
        assert_int_equal(looper_dial(looper, addresses[i], NULL, &asker), 0);
        expect_answered(looper, i + 1);
    }
    looper_finish(looper);
    looper_finish(server);
    looper_finish(other);
}

/* Server and clients in one loop, all at once, with one thread and with four. */
static void hundreds_at_once_in_one_loop(void **state)
{
    (void)state;
    enum { CLIENTS = 200 };
    for (int threads = 1; threads <= 4; threads += 3) {
        struct looper *looper =
            looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.threads = threads), NULL);
        struct looper *clients = looper_open(TCPMSG_LOOP_OPTIONS(.threads = threads));
        char name[TCPMSG_ADDRESS_MAX];
        snprintf(name, sizeof name, "localhost%s", strchr(looper->address, ':'));
        looper_start(clients);
        for (int i = 0; i < CLIENTS; i++)
            assert_int_equal(looper_dial(clients, i % 10 ? looper->address : name, NULL, &asker),
                             0);
        for (int i = 0; i < CLIENTS; i++)
            expect_answered(clients, i);
        looper_finish(clients);
        looper_finish(looper);
    }
}

/* Before it ends, the connection that never was can be asked why. */
static void look_at_the_failure(struct seen *seen)
{
    char byte, text[TCPMSG_ADDRESS_MAX];
    tcpmsg_conn_ref(seen->conn);
    if (tcpmsg_conn_fd(seen->conn) != -1)
        looper_fault(seen->looper, "a descriptor that never was");
    if (tcpmsg_send(seen->conn, "x", 1, 0) >= 0 || tcpmsg_recv(seen->conn, &byte, 1, 0) >= 0 ||
        tcpmsg_conn_local(seen->conn, text, sizeof text) >= 0 || tcpmsg_pause(seen->conn) == 0)
        looper_fault(seen->looper, "a call that can't succeed");
    (void)tcpmsg_shutdown(seen->conn);
    (void)tcpmsg_resume(seen->conn);
    if (tcpmsg_close(seen->conn) != 0)
        looper_fault(seen->looper, "close in a callback");
    tcpmsg_abort(seen->conn);
}

static const struct acts failing = {.on_close = look_at_the_failure};

/* A name server that is slow says so once, and is out of time once. */
static bool same_failure(int one, int other, const char *address)
{
    bool unresolved = (one == TCPMSG_ERESOLVE || one == TCPMSG_ETIMEDOUT) &&
                      (other == TCPMSG_ERESOLVE || other == TCPMSG_ETIMEDOUT);
    return one == other || (unresolved && strstr(address, ".invalid"));
}

/* One that fails: as tcpmsg_dial would, and with its story. */
static void expect_failure(struct looper *looper, const char *address, int timeout_ms)
{
    tcpmsg_conn *conn = NO_CONN;
    char why[512] = "";
    int number = atomic_load(&looper->count);
    int wanted = tcpmsg_dial(
        &conn, address,
        TCPMSG_OPTIONS(.connect_timeout_ms = timeout_ms, .why = why, .why_size = sizeof why));
    assert_true(wanted < 0 && conn == NO_CONN);
    memset(why, '!', sizeof why);
    int result = looper_dial(
        looper, address,
        TCPMSG_OPTIONS(.connect_timeout_ms = timeout_ms, .why = why, .why_size = sizeof why),
        &failing);
    char canary[512];
    memset(canary, '!', sizeof canary);
    assert_int_equal(result, 0);
    struct seen *seen = looper_seen(looper, number);
    if (!same_failure(seen_end(seen), wanted, address))
        fail_msg("%s: %s instead of %s", address, tcpmsg_error_name(seen->why),
                 tcpmsg_error_name(wanted));
    assert_int_equal(atomic_load(&seen->opens), 0);
    assert_string_not_equal(seen->story, "");
    assert_string_equal(tcpmsg_conn_why(seen->conn), seen->story);
    assert_true(tcpmsg_send(seen->conn, "x", 1, 0) < 0);
    assert_memory_equal(why, canary, sizeof why);
    tcpmsg_conn_unref(seen->conn);
}

static void what_fails_is_told_by_on_close_alone(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    struct crowd crowd;
    char refused[TCPMSG_ADDRESS_MAX], crowded[TCPMSG_ADDRESS_MAX], folder[PATH_ROOM];
    char path[TCPMSG_ADDRESS_MAX];
    int bound = raw_listen(refused, sizeof refused);
    close(bound);
    make_temp_dir(folder);
    looper_start(looper);
    expect_failure(looper, refused, 0);
    snprintf(path, sizeof path, "localhost%s", strchr(refused, ':'));
    expect_failure(looper, path, 0);
    snprintf(path, sizeof path, "unix:%s/nobody", folder);
    expect_failure(looper, path, 0);
    expect_failure(looper, "unix:@nobody listens here", 0);
    expect_failure(looper, "255.255.255.255:9", 100);
    expect_failure(looper, "no-such-host.invalid:9", 3000);
    crowd_at_port(&crowd, crowded, sizeof crowded);
    expect_failure(looper, crowded, 150);
    crowd_leaves(&crowd);
    remove_temp_dir(folder);
    looper_finish(looper);
}

/* Known before anything is tried: the error and its story at once, and no callback. */
static void text_that_is_no_address_is_refused_at_once(void **state)
{
    (void)state;
    static const char *const addresses[] = {"",      "host",      ":0",     "[::1",  "host:65536",
                                            "a b:5", "udp://x:1", "::1:80", "unix:", "127.0.0.1:0"};
    struct looper *looper = looper_open(NULL);
    looper_start(looper);
    for (size_t i = 0; i < COUNT(addresses); i++) {
        char why[256] = "";
        assert_code(looper_dial(looper, addresses[i],
                                TCPMSG_OPTIONS(.why = why, .why_size = sizeof why), &failing),
                    TCPMSG_EADDRESS);
        assert_string_not_equal(why, "");
    }
    assert_code(looper_dial(looper, "127.0.0.1:1", TCPMSG_OPTIONS(.linger_ms = -2), &failing),
                TCPMSG_EINVAL);
    looper_settle(looper);
    assert_int_equal(atomic_load(&looper->count), 0);
    looper_finish(looper);
}

/* The limit is for all of it, and strikes though the loop has nothing else to do. */
static void a_dial_that_nobody_answers_is_ETIMEDOUT(void **state)
{
    (void)state;
    struct crowd crowd;
    char address[TCPMSG_ADDRESS_MAX];
    struct looper *looper = looper_open(NULL);
    crowd_at_port(&crowd, address, sizeof address);
    looper_start(looper);
    int64_t before = now_ms();
    assert_int_equal(
        looper_dial(looper, address, TCPMSG_OPTIONS(.connect_timeout_ms = 200), &nothing), 0);
    struct seen *seen = looper_seen(looper, 0);
    assert_code(seen_end(seen), TCPMSG_ETIMEDOUT);
    assert_true(now_ms() - before >= 199 && now_ms() - before < 5000);
    crowd_leaves(&crowd);
    looper_finish(looper);
}

/* One under way, one whose name is being looked up: they end with the loop, and at once. */
static void a_stop_cancels_dials_under_way(void **state)
{
    (void)state;
    struct crowd crowd;
    char address[TCPMSG_ADDRESS_MAX];
    crowd_at_port(&crowd, address, sizeof address);
    for (int settle = 0; settle < 2; settle++) {
        struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
        assert_int_equal(looper_dial(looper, address, NULL, &nothing), 0);
        assert_int_equal(looper_dial(looper, "localhost:1", NULL, &nothing), 0);
        assert_int_equal(looper_dial(looper, "no-such-host.invalid:1", NULL, &nothing), 0);
        if (settle)
            looper_settle(looper);
        int64_t before = now_ms();
        looper_stop(looper);
        assert_true(now_ms() - before < 10000);
        assert_int_equal(atomic_load(&looper->count), 3);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(atomic_load(&looper->seen[i]->opens), 0);
            assert_true(looper->seen[i]->why < 0);
        }
        looper_finish(looper);
    }
    crowd_leaves(&crowd);
}

/* The loop goes on serving while a dial is under way. */
static void a_dial_does_not_hold_the_loop(void **state)
{
    (void)state;
    struct crowd crowd;
    char address[TCPMSG_ADDRESS_MAX];
    crowd_at_port(&crowd, address, sizeof address);
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    int raw = looper_guest(looper, NULL);
    for (int i = 0; i < 10; i++)
        assert_int_equal(looper_dial(looper, i % 2 ? address : "no-such-host.invalid:1",
                                     TCPMSG_OPTIONS(.connect_timeout_ms = WAIT_MS), &nothing),
                         0);
    for (int i = 0; i < 100; i++)
        assert_true(raw_send(raw, "ping") && raw_gets(raw, "ping"));
    assert_int_equal(atomic_load(&looper->seen[0]->closes), 0);
    close(raw);
    looper_finish(looper);
    crowd_leaves(&crowd);
}

/* Dials from its own on_close, as one does that connects again; three times. */
static void dial_again(struct seen *seen)
{
    const char *address = seen->looper->arg;
    if (atomic_load(&seen->looper->count) < 3 &&
        looper_dial(seen->looper, address, NULL, seen->acts) != 0)
        looper_fault(seen->looper, "a dial in a callback");
}

static void a_callback_may_dial(void **state)
{
    (void)state;
    const struct acts again = {
        .on_open = ask_at_once, .on_message = close_when_answered, .on_close = dial_again};
    struct looper *server = looper_serve(TCP, &echo, NULL, NULL), *looper = looper_open(NULL);
    looper->arg = server->address;
    looper_start(looper);
    assert_int_equal(looper_dial(looper, server->address, NULL, &again), 0);
    for (int i = 0; i < 3; i++)
        expect_answered(looper, i);
    looper_finish(looper);
    looper_finish(server);
}

/* The options are the connection's own; they and the address may go when the call returns. */
static void options_and_address_are_copied(void **state)
{
    (void)state;
    struct looper *server = looper_serve(TCP, &echo, NULL, TCPMSG_OPTIONS(.framing = {.width = 2}));
    struct looper *looper = looper_open(NULL);
    char address[TCPMSG_ADDRESS_MAX];
    memcpy(address, server->address, sizeof address);
    tcpmsg_options options = {.size = sizeof options, .framing = {.width = 2}, .max_message = 5};
    assert_int_equal(looper_dial(looper, address, &options, &asker), 0);
    memset(address, 'x', sizeof address);
    memset(&options, 0xFF, sizeof options);
    looper_start(looper);
    expect_answered(looper, 0);
    looper_finish(looper);
    looper_finish(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_name_by_number_and_by_path),
        cmocka_unit_test(hundreds_at_once_in_one_loop),
        cmocka_unit_test(what_fails_is_told_by_on_close_alone),
        cmocka_unit_test(text_that_is_no_address_is_refused_at_once),
        cmocka_unit_test(a_dial_that_nobody_answers_is_ETIMEDOUT),
        cmocka_unit_test(a_stop_cancels_dials_under_way),
        cmocka_unit_test(a_dial_does_not_hold_the_loop),
        cmocka_unit_test(a_callback_may_dial),
        cmocka_unit_test(options_and_address_are_copied),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
