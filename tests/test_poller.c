/* SPDX-License-Identifier: MIT */
/* Which of many descriptors are ready: what a poller tells, when, and of whom no more. */
#define _GNU_SOURCE
#include "clock.h"
#include "ends.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const tm_poller_kind *kind(void)
{
#ifdef TM_KQUEUE
    if (poller_kind == TCPMSG_POLLER_KQUEUE)
        return &tm_poller_kqueue;
#endif
    return is_epoll() ? &tm_poller_epoll : &tm_poller_poll;
}

static void the_kind_that_was_asked_for_is_opened(void **state)
{
    (void)state;
    assert_ptr_equal(poller->kind, kind());
    assert_int_equal(look(), 0);
}

static void its_descriptor_is_close_on_exec(void **state)
{
    (void)state;
    tm_poller *another;
    int next = dup(STDERR_FILENO);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(tm_poller_open(&another, poller_kind), 0);
    int flags = fcntl(next, F_GETFD);
    assert_int_equal(flags >= 0, !is_poll());
    assert_true(flags & FD_CLOEXEC);
    tm_poller_close(another);
}

static void what_is_ready_is_told_until_it_is_served_and_nothing_else(void **state)
{
    (void)state;
    struct end *ends = ends_open(3, POLLIN);
    assert_int_equal(look(), 0);
    end_fill(&ends[1]);
    for (int i = 0; i < 5; i++)
        expect_only(&ends[1], POLLIN);
    end_empty(&ends[1]);
    assert_int_equal(look(), 0);
    end_watch(&ends[2], POLLIN | POLLOUT);
    expect_only(&ends[2], POLLOUT);
    end_fill(&ends[2]);
    expect_only(&ends[2], POLLIN | POLLOUT);
    end_watch(&ends[2], POLLIN);
    expect_only(&ends[2], POLLIN);
    end_watch(&ends[2], 0);
    assert_int_equal(look(), 0);
    ends_close(ends, 3);
}

static void a_hang_up_is_told_without_events(void **state)
{
    (void)state;
    struct end *one = ends_open(1, 0);
    end_fill(one);
    assert_int_equal(look(), 0);
    shutdown(one->peer, SHUT_WR);
    assert_int_equal(look(), 0);
    close(one->peer);
    one->peer = -1;
    expect_only(one, POLLHUP);
    ends_close(one, 1);
}

static void an_error_is_told_without_events(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct end one = {.watch.fd = fds[1], .peer = -1};
    end_watch(&one, 0);
    assert_int_equal(look(), 0);
    close(fds[0]);
    expect_only(&one, POLLERR);
    end_close(&one);
}

static void a_descriptor_that_is_none_does_not_go_unseen(void **state)
{
    (void)state;
    struct end one;
    end_open(&one);
    close(one.watch.fd);
    int r = tm_poller_set(poller, &one.watch, POLLIN);
    assert_int_equal(r, is_poll() ? 0 : -EBADF);
    if (r == 0)
        expect_only(&one, POLLERR);
    tm_poller_drop(poller, &one.watch);
    assert_int_equal(look(), 0);
    close(one.peer);
}

static void what_was_dropped_is_not_told(void **state)
{
    (void)state;
    struct end *ends = ends_open(4, POLLIN);
    for (int i = 0; i < 4; i++)
        end_fill(&ends[i]);
    assert_int_equal(look(), 4);
    tm_poller_drop(poller, &ends[3].watch);
    tm_poller_drop(poller, &ends[0].watch);
    assert_false(ends[0].watch.watched);
    tm_poller_drop(poller, &ends[0].watch);
    tm_poller_drop(poller, &ends[1].watch);
    expect_only(&ends[2], POLLIN);
    end_watch(&ends[0], POLLIN);
    assert_int_equal(look(), 2);
    ends_close(ends, 4);
}

/* As when a forked child has it, too: closed here, the open file lives on. */
static void what_was_dropped_is_not_told_while_its_file_stays_open(void **state)
{
    (void)state;
    struct end *one = ends_open(1, POLLIN);
    int copy = dup(one->watch.fd);
    assert_true(copy >= 0);
    tm_poller_drop(poller, &one->watch);
    close(one->watch.fd);
    end_fill(one);
    assert_int_equal(look(), 0);
    close(copy);
    close(one->peer);
    free(one);
}

static void the_number_of_a_descriptor_may_come_again(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        struct end *old = ends_open(1, POLLIN | POLLOUT);
        int number = old->watch.fd;
        end_fill(old);
        ends_close(old, 1);
        struct end *fresh = ends_open(1, POLLIN);
        assert_int_equal(fresh->watch.fd, number);
        assert_int_equal(look(), 0);
        end_fill(fresh);
        expect_only(fresh, POLLIN);
        ends_close(fresh, 1);
    }
}

static int let_go(void *unused)
{
    (void)unused;
    int descriptors = count_descriptors();
    tm_poller_close(poller);
    bool closed = count_descriptors() < descriptors;
    return closed != is_epoll(); /* kqueue(2)'s is not inherited: the number is another's */
}

static void a_forked_child_that_lets_go_changes_nothing(void **state)
{
    (void)state;
    struct end *one = ends_open(1, POLLIN);
    end_fill(one);
    assert_int_equal(in_child(let_go, NULL), 0);
    expect_only(one, POLLIN);
    ends_close(one, 1);
}

static void a_wait_ends_at_its_deadline_and_not_before(void **state)
{
    (void)state;
    struct end *one = ends_open(1, POLLIN);
    int64_t deadline = tm_deadline(20);
    assert_int_equal(tm_poller_wait(poller, ready, 1, deadline), 0);
    assert_true(tm_now() >= deadline);
    assert_int_equal(tm_poller_wait(poller, ready, 1, deadline), 0);
    end_fill(one);
    assert_int_equal(tm_poller_wait(poller, ready, 1, deadline), 1);
    ends_close(one, 1);
}

static void *fill(void *arg)
{
    return write_all(((struct end *)arg)->peer, "x", 1) ? arg : NULL;
}

static void another_thread_ends_a_wait(void **state)
{
    (void)state;
    const int64_t deadlines[] = {TM_FOREVER, TM_FOREVER - 1, tm_deadline(WAIT_MS)};
    struct end *one = ends_open(1, POLLIN);
    for (size_t i = 0; i < COUNT(deadlines); i++) {
        pthread_t thread;
        void *filled;
        assert_int_equal(pthread_create(&thread, NULL, fill, one), 0);
        assert_int_equal(tm_poller_wait(poller, ready, 1, deadlines[i]), 1);
        assert_ptr_equal(end_of(&ready[0]), one);
        pthread_join(thread, &filled);
        assert_ptr_equal(filled, one);
        end_empty(one);
    }
    ends_close(one, 1);
}

static atomic_int signals;

static void count_signal(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
}

struct disturber {
    pthread_t whom;
    atomic_bool done;
};

static void *disturb(void *arg)
{
    struct disturber *disturber = arg;
    int64_t end = now_ms() + WAIT_MS;
    while (!disturber->done && now_ms() < end) {
        pthread_kill(disturber->whom, SIGUSR1);
        sleep_ms(1);
    }
    return NULL;
}

static void signals_neither_end_nor_stretch_a_wait(void **state)
{
    (void)state;
    struct disturber disturber = {.whom = pthread_self()};
    struct sigaction old, counting = {.sa_handler = count_signal};
    pthread_t thread;
    signals = 0;
    assert_int_equal(sigaction(SIGUSR1, &counting, &old), 0);
    assert_int_equal(pthread_create(&thread, NULL, disturb, &disturber), 0);
    do {
        int64_t deadline = tm_deadline(50);
        assert_int_equal(tm_poller_wait(poller, ready, 1, deadline), 0);
        assert_true(tm_now() >= deadline);
        assert_true(tm_now() < deadline + WAIT_MS / 2 * TM_MS);
    } while (signals < 5);
    disturber.done = true;
    pthread_join(thread, NULL);
    sigaction(SIGUSR1, &old, NULL);
}

static enum scarce_call wait_call(void)
{
    if (is_poll())
        return CALL_poll;
    return is_epoll() ? CALL_epoll_wait : CALL_kevent_wait;
}

static void an_interrupted_wait_goes_on(void **state)
{
    (void)state;
    struct end *one = ends_open(1, POLLIN);
    end_fill(one);
    call_fails(wait_call(), EINTR, 3);
    assert_int_equal(tm_poller_wait(poller, ready, 1, tm_deadline(WAIT_MS)), 1);
    assert_int_equal(calls_failed(), 3);
    call_fails(wait_call(), EINTR, 3);
    assert_int_equal(tm_poller_wait(poller, ready, 1, TM_FOREVER), 1);
    assert_int_equal(calls_failed(), 3);
    call_fails(wait_call(), EINTR, 1);
    assert_int_equal(look(), 0);
    assert_int_equal(calls_failed(), 1);
    ends_close(one, 1);
}

static void a_wait_that_fails_says_why(void **state)
{
    (void)state;
    struct end *one = ends_open(1, POLLOUT);
    call_fails(wait_call(), ENOMEM, 1);
    assert_int_equal(tm_poller_wait(poller, ready, 1, TM_FOREVER), -ENOMEM);
    assert_int_equal(calls_failed(), 1);
    expect_only(one, POLLOUT);
    ends_close(one, 1);
}

static void no_kind_asked_for_is_the_best_there_is(void **state)
{
    (void)state;
    tm_poller *best;
    assert_int_equal(tm_poller_open(&best, 0), 0);
    assert_ptr_equal(best->kind, &tm_poller_epoll);
    tm_poller_close(best);
    call_fails(CALL_epoll_create1, ENOSYS, 1);
    assert_int_equal(tm_poller_open(&best, 0), 0);
    assert_int_equal(calls_failed(), 1);
    assert_ptr_not_equal(best->kind, &tm_poller_epoll);
    tm_poller_close(best);
}

static void a_poller_that_can_not_be_had_leaves_nothing(void **state)
{
    (void)state;
    static const struct {
        enum scarce_call call;
        int error, kind;
    } cases[] = {
        {CALL_malloc, ENOMEM, 0},
        {CALL_malloc, ENOMEM, TCPMSG_POLLER_EPOLL},
        {CALL_malloc, ENOMEM, TCPMSG_POLLER_POLL},
        {CALL_epoll_create1, EMFILE, 0},
        {CALL_epoll_create1, ENOSYS, TCPMSG_POLLER_EPOLL},
#ifdef TM_KQUEUE
        {CALL_malloc, ENOMEM, TCPMSG_POLLER_KQUEUE},
        {CALL_kqueue, EMFILE, TCPMSG_POLLER_KQUEUE},
#endif
    };
    long held = allocations();
    int descriptors = count_descriptors();
    tm_poller *none = NULL;
    for (size_t i = 0; i < COUNT(cases); i++) {
        call_fails(cases[i].call, cases[i].error, 1);
        assert_int_equal(tm_poller_open(&none, cases[i].kind), -cases[i].error);
        assert_int_equal(calls_failed(), 1);
    }
    assert_int_equal(tm_poller_open(&none, -1), -ENOSYS);
    assert_int_equal(tm_poller_open(&none, 4), -ENOSYS);
#ifndef TM_KQUEUE
    assert_int_equal(tm_poller_open(&none, TCPMSG_POLLER_KQUEUE), -ENOSYS);
#endif
    assert_null(none);
    tm_poller_close(none);
    assert_int_equal(allocations(), held);
    assert_int_equal(count_descriptors(), descriptors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_kind_asked_for_is_the_best_there_is),
        cmocka_unit_test(a_poller_that_can_not_be_had_leaves_nothing),
        OPENED(the_kind_that_was_asked_for_is_opened),
        OPENED(its_descriptor_is_close_on_exec),
        OPENED(what_is_ready_is_told_until_it_is_served_and_nothing_else),
        OPENED(a_hang_up_is_told_without_events),
        OPENED(an_error_is_told_without_events),
        OPENED(a_descriptor_that_is_none_does_not_go_unseen),
        OPENED(what_was_dropped_is_not_told),
        OPENED(what_was_dropped_is_not_told_while_its_file_stays_open),
        OPENED(the_number_of_a_descriptor_may_come_again),
        OPENED(a_forked_child_that_lets_go_changes_nothing),
        OPENED(a_wait_ends_at_its_deadline_and_not_before),
        OPENED(another_thread_ends_a_wait),
        OPENED(signals_neither_end_nor_stretch_a_wait),
        OPENED(an_interrupted_wait_goes_on),
        OPENED(a_wait_that_fails_says_why),
    };
    alarm(TEST_SECONDS);
    poller_kind = TCPMSG_POLLER_EPOLL;
    int failed = cmocka_run_group_tests_name("with epoll", tests, NULL, NULL);
#ifdef TM_KQUEUE
    poller_kind = TCPMSG_POLLER_KQUEUE;
    failed += cmocka_run_group_tests_name("with kqueue", tests, NULL, NULL);
#endif
    poller_kind = TCPMSG_POLLER_POLL;
    return failed + cmocka_run_group_tests_name("with poll", tests, NULL, NULL);
}
