/* SPDX-License-Identifier: MIT */
/* A listener goes on: out of descriptors, after handshakes that failed, through signals. */
#define _POSIX_C_SOURCE 200809L
#include "looks.h"
#include "reach.h"
#include "waiter.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define REST_MS 400

/* What a child that runs out of descriptors answers. */
enum { GOOD, NO_LIMIT_SET, WRONG_ERROR, NOT_ACCEPTED, NOT_AT_REST, NEXT_CALL_FAILED, CANT_RUN };

static void expect_good(int answer)
{
    if (answer == CANT_RUN)
        print_message("a connection is lost here when there is no descriptor for it: not run\n");
    else
        assert_int_equal(answer, GOOD);
}

static bool limit_descriptors(rlim_t most)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < most)
        return false;
    limit.rlim_cur = most;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/* Fills every number below a low limit; the last one, which is free again when it is closed. */
static int use_up_descriptors(void)
{
    int last = -1, fd;
    if (!limit_descriptors(64))
        return -1;
    while ((fd = dup(STDERR_FILENO)) >= 0)
        last = fd;
    return last;
}

/* A listener and a bare socket that listens, each with a connection that waits. */
struct doors {
    tcpmsg_listener *listener;
    int bare;
    int guests[2];
};

static void open_doors(struct doors *doors)
{
    char address[TCPMSG_ADDRESS_MAX];
    doors->listener = listen_at_a_free_port(address);
    doors->guests[0] = raw_dial(address);
    assert_true(wait_events(tcpmsg_listener_fd(doors->listener), POLLIN, WAIT_MS) & POLLIN);
    doors->bare = raw_listen(address, sizeof address);
    doors->guests[1] = raw_dial(address);
    assert_true(wait_events(doors->bare, POLLIN, WAIT_MS) & POLLIN);
}

static void close_doors(struct doors *doors)
{
    close(doors->guests[0]);
    close(doors->guests[1]);
    close(doors->bare);
    tcpmsg_listener_close(doors->listener);
}

/* A connection that found no descriptor waits on; an emulated accept(2) may lose it. */
static bool loses_connections(const struct doors *doors)
{
    return accept(doors->bare, NULL, NULL) >= 0 || wait_events(doors->bare, POLLIN, 0) == 0;
}

static void *raise_limit_later(void *unused)
{
    sleep_ms(REST_MS);
    limit_descriptors(128);
    return unused;
}

/* Whether accept waits for the limit to be raised and then succeeds, at rest. */
static int accept_at_rest(tcpmsg_listener *listener)
{
    pthread_t thread;
    tcpmsg_conn *conn;
    long before = looks();
    int64_t begin = now_ms();
    if (pthread_create(&thread, NULL, raise_limit_later, NULL) != 0)
        return NO_LIMIT_SET;
    int error = tcpmsg_accept(listener, &conn, 0);
    int64_t took = now_ms() - begin;
    bool rested = has_rested(before, took);
    pthread_join(thread, NULL);
    if (error != 0)
        return NOT_ACCEPTED;
    tcpmsg_close(conn);
    return took >= REST_MS / 2 && rested ? GOOD : NOT_AT_REST;
}

static int accept_without_descriptors(void *arg)
{
    const struct doors *doors = arg;
    tcpmsg_conn *conn = NO_CONN;
    if (use_up_descriptors() < 0)
        return NO_LIMIT_SET;
    if (loses_connections(doors))
        return CANT_RUN;
    for (int i = 0; i < 3; i++)
        if (tcpmsg_accept(doors->listener, &conn, TCPMSG_DONTWAIT) != TCPMSG_EMFILE ||
            conn != NO_CONN)
            return WRONG_ERROR;
    return accept_at_rest(doors->listener);
}

static void promise_12_accept_survives_emfile(void **state)
{
    (void)state;
    struct doors doors;
    open_doors(&doors);
    expect_good(in_child(accept_without_descriptors, &doors));
    close_doors(&doors);
}

static int accept_after_emfile(void *arg)
{
    const struct doors *doors = arg;
    tcpmsg_conn *conn = NULL;
    int last = use_up_descriptors();
    if (last < 0)
        return NO_LIMIT_SET;
    if (loses_connections(doors))
        return CANT_RUN;
    if (tcpmsg_accept(doors->listener, &conn, TCPMSG_DONTWAIT) != TCPMSG_EMFILE)
        return WRONG_ERROR;
    close(last);
    int error = tcpmsg_accept(doors->listener, &conn, TCPMSG_DONTWAIT);
    tcpmsg_close(conn);
    return error == 0 ? GOOD : NEXT_CALL_FAILED;
}

static void promise_12_the_call_after_emfile_works(void **state)
{
    (void)state;
    struct doors doors;
    open_doors(&doors);
    expect_good(in_child(accept_after_emfile, &doors));
    close_doors(&doors);
}

static void *abort_later(void *listener)
{
    sleep_ms(REST_MS / 2);
    tcpmsg_listener_abort(listener);
    return NULL;
}

static int abort_while_at_rest(void *listener)
{
    pthread_t thread;
    tcpmsg_conn *conn;
    if (use_up_descriptors() < 0)
        return NO_LIMIT_SET;
    if (pthread_create(&thread, NULL, abort_later, listener) != 0)
        return NO_LIMIT_SET;
    int error = tcpmsg_accept(listener, &conn, 0);
    pthread_join(thread, NULL);
    return error == TCPMSG_ECANCELED ? GOOD : WRONG_ERROR;
}

/* The listener is the child's own: what aborts is the process that made it. */
static int abort_own_while_at_rest(void *unused)
{
    (void)unused;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener;
    if (tcpmsg_listen(&listener, "127.0.0.1:0", NULL) != 0 ||
        tcpmsg_listener_address(listener, address, sizeof address) != 0 || raw_dial(address) < 0)
        return NO_LIMIT_SET;
    int result = abort_while_at_rest(listener);
    tcpmsg_listener_close(listener);
    return result;
}

static void promise_12_an_accept_at_rest_is_woken_by_abort(void **state)
{
    (void)state;
    assert_int_equal(in_child(abort_own_while_at_rest, NULL), GOOD);
}

static int dial_and_listen_without_descriptors(void *address)
{
    tcpmsg_listener *listener = NO_LISTENER;
    tcpmsg_conn *conn = NO_CONN;
    if (use_up_descriptors() < 0)
        return NO_LIMIT_SET;
    if (tcpmsg_dial(&conn, address, NULL) != TCPMSG_EMFILE || conn != NO_CONN)
        return WRONG_ERROR;
    if (tcpmsg_listen(&listener, "127.0.0.1:0", NULL) != TCPMSG_EMFILE || listener != NO_LISTENER)
        return WRONG_ERROR;
    return GOOD;
}

static void dial_and_listen_out_of_descriptors_are_EMFILE(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    assert_int_equal(in_child(dial_and_listen_without_descriptors, address), GOOD);
    tcpmsg_listener_close(listener);
}

static void dial_and_reset(const char *address)
{
    const struct linger now = {.l_onoff = 1};
    int fd = raw_dial(address);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(fd);
}

static void promise_12_connections_that_died_in_the_queue_harm_nobody(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], got = 0;
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    for (int i = 0; i < 10; i++)
        dial_and_reset(address);
    int raw = raw_dial(address);
    assert_true(write_all(raw, "\0\0\0\1x", 5));
    for (int i = 0; got != 'x'; i++) {
        assert_true(i <= 10);
        tcpmsg_conn *conn = accept_one(listener);
        ssize_t length = tcpmsg_recv(conn, &got, 1, 0);
        assert_true(length == 1 || length == TCPMSG_ERESET);
        tcpmsg_close(conn);
    }
    close(raw);
    tcpmsg_listener_close(listener);
}

static void close_wakes_an_accept_and_waits_for_it(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    struct waiter waiters[2];
    assert_true(waiter_start(&waiters[0], listener));
    assert_true(waiter_start(&waiters[1], listener));
    tcpmsg_listener_close(listener);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(waiter_answer(&waiters[i]), TCPMSG_ECANCELED);
        assert_ptr_equal(waiters[i].conn, NO_CONN);
    }
}

static void note_signal(int number)
{
    (void)number;
}

static void promise_10_a_signal_does_not_end_an_accept(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    const struct sigaction action = {.sa_handler = note_signal};
    struct waiter waiter;
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    assert_true(waiter_start(&waiter, listener));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pthread_kill(waiter.thread, SIGUSR1), 0);
        sleep_ms(1);
    }
    int raw = raw_dial(address);
    assert_int_equal(waiter_answer(&waiter), 0);
    tcpmsg_close(waiter.conn);
    close(raw);
    tcpmsg_listener_close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_12_accept_survives_emfile),
        cmocka_unit_test(promise_12_the_call_after_emfile_works),
        cmocka_unit_test(promise_12_an_accept_at_rest_is_woken_by_abort),
        cmocka_unit_test(dial_and_listen_out_of_descriptors_are_EMFILE),
        cmocka_unit_test(promise_12_connections_that_died_in_the_queue_harm_nobody),
        cmocka_unit_test(close_wakes_an_accept_and_waits_for_it),
        cmocka_unit_test(promise_10_a_signal_does_not_end_an_accept),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
