/* SPDX-License-Identifier: MIT */
/* A listener that two processes share: neither takes it from the other, and neither wakes it. */
#define _POSIX_C_SOURCE 200809L
#include "listener.h"
#include "looks.h"
#include "reach.h"
#include "waiter.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORK_MS 400

/* What a child answers; 0 is good. */
enum { GOOD, WRONG_ERROR, NOT_ACCEPTED, NOT_AT_REST };

static int close_in_child(void *listener)
{
    tcpmsg_listener_close(listener);
    return 0;
}

static int abort_in_child(void *listener)
{
    tcpmsg_listener_abort(listener);
    tcpmsg_listener_close(listener);
    return 0;
}

static void promise_9_a_childs_close_leaves_the_parents_listener(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_conn *conn;
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    assert_int_equal(in_child(close_in_child, listener), 0);
    assert_int_equal(tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    expect_reachable(listener, address);
    tcpmsg_listener_close(listener);
}

static void promise_9_a_childs_abort_leaves_the_parents_listener(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_conn *conn;
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    assert_int_equal(in_child(abort_in_child, listener), 0);
    assert_int_equal(tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    expect_reachable(listener, address);
    tcpmsg_listener_close(listener);
}

/* The child has a copy of the count of accepts under way, but not their threads. */
static void promise_9_a_childs_close_waits_for_no_thread_of_the_parent(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    struct waiter waiter;
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    assert_true(waiter_start(&waiter, listener));
    assert_int_equal(in_child(close_in_child, listener), 0);
    int raw = raw_dial(address);
    assert_int_equal(waiter_answer(&waiter), 0);
    tcpmsg_close(waiter.conn);
    close(raw);
    tcpmsg_listener_close(listener);
}

static int accept_in_child(void *listener)
{
    tcpmsg_conn *conn;
    if (tcpmsg_accept(listener, &conn, 0) != 0)
        return NOT_ACCEPTED;
    int error = tcpmsg_send(conn, "child", 5, 0);
    return error == 0 && tcpmsg_close(conn) == 0 ? GOOD : WRONG_ERROR;
}

static void a_child_may_accept_at_its_parents_listener(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], said[8];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    tcpmsg_conn *dialled = dial_to(address);
    assert_int_equal(in_child(accept_in_child, listener), GOOD);
    assert_int_equal(tcpmsg_recv(dialled, said, sizeof said, 0), 5);
    tcpmsg_close(dialled);
    expect_reachable(listener, address);
    tcpmsg_listener_close(listener);
}

/* In the child, abort is abort: its own accepts end, that of another thread too. */
static int abort_own_accepts(void *listener)
{
    tcpmsg_conn *conn;
    struct waiter waiter;
    if (!waiter_start(&waiter, listener))
        return NOT_AT_REST;
    tcpmsg_listener_abort(listener);
    if (tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT) != TCPMSG_ECANCELED)
        return WRONG_ERROR;
    return waiter_answer(&waiter) == TCPMSG_ECANCELED ? GOOD : WRONG_ERROR;
}

static int accept_and_abort_in_child(void *listener)
{
    tcpmsg_conn *conn;
    if (tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT) != TCPMSG_EAGAIN)
        return WRONG_ERROR;
    tcpmsg_listener_abort(listener);
    if (tcpmsg_accept(listener, &conn, 0) != TCPMSG_ECANCELED)
        return WRONG_ERROR;
    tcpmsg_listener_close(listener);
    return GOOD;
}

/* A thread of the parent's is in the middle of an accept, and is not there in the child. */
static void a_child_waits_for_no_lock_of_its_parents(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    pthread_mutex_lock(&listener->lock);
    int answer = in_child(accept_and_abort_in_child, listener);
    pthread_mutex_unlock(&listener->lock);
    assert_int_equal(answer, GOOD);
    expect_reachable(listener, address);
    tcpmsg_listener_close(listener);
}

static void *own_wake(void *listener)
{
    static int answer;
    answer = tm_listener_own_wake(listener);
    return &answer;
}

static void a_wake_that_another_thread_is_about_to_open_is_waited_for(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    pthread_t thread;
    void *answer;
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    int wake = listener->wake.read_fd;
    atomic_store(&listener->wake_owner, -getpid());
    assert_int_equal(pthread_create(&thread, NULL, own_wake, listener), 0);
    sleep_ms(20);
    atomic_store(&listener->wake_owner, getpid());
    pthread_join(thread, &answer);
    assert_int_equal(*(int *)answer, 0);
    assert_int_equal(listener->wake.read_fd, wake);
    tcpmsg_listener_close(listener);
}

static void a_childs_abort_ends_the_childs_own_accepts(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_conn *conn;
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    assert_int_equal(in_child(abort_own_accepts, listener), GOOD);
    assert_int_equal(tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    expect_reachable(listener, address);
    tcpmsg_listener_close(listener);
}

/* A worker of a server that forks: waits for one connection, at rest. */
static int work(tcpmsg_listener *listener)
{
    tcpmsg_conn *conn;
    long before = looks();
    int64_t begin = now_ms();
    if (tcpmsg_accept(listener, &conn, 0) != 0)
        return NOT_ACCEPTED;
    int64_t took = now_ms() - begin;
    bool rested = has_rested(before, took);
    tcpmsg_close(conn);
    return rested ? GOOD : NOT_AT_REST;
}

static void a_parents_close_leaves_its_workers_accepting_at_rest(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    int status;
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    pid_t child = fork();
    if (child == 0) {
        alarm(TEST_SECONDS / 2);
        _exit(work(listener));
    }
    tcpmsg_listener_close(listener);
    sleep_ms(WORK_MS);
    int raw = raw_dial(address);
    assert_true(raw >= 0);
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), GOOD);
    close(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_9_a_childs_close_leaves_the_parents_listener),
        cmocka_unit_test(promise_9_a_childs_abort_leaves_the_parents_listener),
        cmocka_unit_test(promise_9_a_childs_close_waits_for_no_thread_of_the_parent),
        cmocka_unit_test(a_child_may_accept_at_its_parents_listener),
        cmocka_unit_test(a_child_waits_for_no_lock_of_its_parents),
        cmocka_unit_test(a_wake_that_another_thread_is_about_to_open_is_waited_for),
        cmocka_unit_test(a_childs_abort_ends_the_childs_own_accepts),
        cmocka_unit_test(a_parents_close_leaves_its_workers_accepting_at_rest),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
