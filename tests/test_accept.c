/* SPDX-License-Identifier: MIT */
/* What accept(2) may answer, and what becomes of it. */
#define _GNU_SOURCE
#include "reach.h"
#include "shortage.h"
#include "waiter.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* accept(2): a connection that died in the queue. */
static const struct {
    int number;
    int error;
} passing[] = {
    {ECONNABORTED, TCPMSG_ERESET},       {EPROTO, TCPMSG_ERESET},
    {ENOPROTOOPT, TCPMSG_ESYSTEM},       {EOPNOTSUPP, TCPMSG_ESYSTEM},
    {ENETDOWN, TCPMSG_EUNREACHABLE},     {ENETUNREACH, TCPMSG_EUNREACHABLE},
    {EHOSTUNREACH, TCPMSG_EUNREACHABLE}, {EHOSTDOWN, TCPMSG_EUNREACHABLE},
    {ENONET, TCPMSG_EUNREACHABLE},       {EPERM, TCPMSG_EACCESS},
};

static const struct {
    int number;
    int error;
} shortages[] = {
    {EMFILE, TCPMSG_EMFILE},
    {ENFILE, TCPMSG_EMFILE},
    {ENOBUFS, TCPMSG_ENOMEM},
    {ENOMEM, TCPMSG_ENOMEM},
};

/* A listener with a connection that waits. */
struct door {
    tcpmsg_listener *listener;
    int guest;
};

static void open_door(struct door *door)
{
    char address[TCPMSG_ADDRESS_MAX];
    door->listener = listen_at_a_free_port(address);
    door->guest = raw_dial(address);
    assert_true(door->guest >= 0);
    assert_true(wait_events(tcpmsg_listener_fd(door->listener), POLLIN, WAIT_MS) & POLLIN);
}

static void close_door(const struct door *door)
{
    close(door->guest);
    tcpmsg_listener_close(door->listener);
}

static void expect_waiting_accept_goes_on(int number, int count)
{
    struct door door;
    tcpmsg_conn *conn;
    open_door(&door);
    call_fails(CALL_accept4, number, count);
    assert_int_equal(tcpmsg_accept(door.listener, &conn, 0), 0);
    assert_int_equal(calls_failed(), count);
    assert_int_equal(tcpmsg_close(conn), 0);
    close_door(&door);
}

static void promise_12_a_waiting_accept_passes_over_the_dead(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(passing); i++)
        expect_waiting_accept_goes_on(passing[i].number, 2);
}

static void promise_12_a_waiting_accept_rests_and_goes_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(shortages); i++)
        expect_waiting_accept_goes_on(shortages[i].number, 2);
}

/* Each of these costs a dead connection; where they don't end, it is no reason to spin. */
static void promise_12_failures_without_end_make_it_rest(void **state)
{
    (void)state;
    int64_t before = now_ms();
    expect_waiting_accept_goes_on(EPERM, 20);
    assert_true(now_ms() - before >= 50);
}

static void expect_told(int number, int error)
{
    struct door door;
    tcpmsg_conn *conn = NO_CONN;
    open_door(&door);
    call_fails(CALL_accept4, number, 1);
    assert_string_equal(tcpmsg_error_name(tcpmsg_accept(door.listener, &conn, TCPMSG_DONTWAIT)),
                        tcpmsg_error_name(error));
    assert_int_equal(calls_failed(), 1);
    assert_ptr_equal(conn, NO_CONN);
    assert_int_equal(tcpmsg_accept(door.listener, &conn, TCPMSG_DONTWAIT), 0);
    assert_int_equal(tcpmsg_close(conn), 0);
    close_door(&door);
}

static void promise_12_with_DONTWAIT_it_says_what_it_met_and_the_next_call_works(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(passing); i++)
        expect_told(passing[i].number, passing[i].error);
    for (size_t i = 0; i < COUNT(shortages); i++)
        expect_told(shortages[i].number, shortages[i].error);
}

static void a_signal_is_nothing_to_tell(void **state)
{
    (void)state;
    struct door door;
    tcpmsg_conn *conn;
    open_door(&door);
    call_fails(CALL_accept4, EINTR, 5);
    assert_int_equal(tcpmsg_accept(door.listener, &conn, TCPMSG_DONTWAIT), 0);
    assert_int_equal(calls_failed(), 5);
    assert_int_equal(tcpmsg_close(conn), 0);
    close_door(&door);
}

/* What can't get better by waiting is told, without the flag too. */
static void what_is_no_connections_fault_ends_the_call(void **state)
{
    (void)state;
    struct door door;
    tcpmsg_conn *conn = NO_CONN;
    open_door(&door);
    call_fails(CALL_accept4, EINVAL, 1);
    assert_int_equal(tcpmsg_accept(door.listener, &conn, 0), TCPMSG_ESYSTEM);
    assert_int_equal(calls_failed(), 1);
    assert_ptr_equal(conn, NO_CONN);
    close_door(&door);
}

static void an_accept_without_memory_is_woken_by_abort(void **state)
{
    (void)state;
    struct door door;
    struct waiter waiter;
    long before = allocations();
    open_door(&door);
    call_fails(CALL_calloc, ENOMEM, 1000000);
    assert_true(waiter_start(&waiter, door.listener));
    tcpmsg_listener_abort(door.listener);
    assert_int_equal(waiter_answer(&waiter), TCPMSG_ECANCELED);
    assert_ptr_equal(waiter.conn, NO_CONN);
    assert_true(calls_failed() > 0);
    close_door(&door);
    assert_int_equal(allocations(), before);
}

static void close_waits_for_every_accept(void **state)
{
    (void)state;
    struct waiter waiters[8];
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    for (size_t i = 0; i < COUNT(waiters); i++)
        assert_true(waiter_start(&waiters[i], listener));
    tcpmsg_listener_close(listener);
    for (size_t i = 0; i < COUNT(waiters); i++)
        assert_int_equal(waiter_answer(&waiters[i]), TCPMSG_ECANCELED);
}

/* A wait that fails at once, for lack of memory say, is no wait without end. */
static void an_accept_goes_on_when_poll_fails(void **state)
{
    (void)state;
    struct waiter waiter;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    call_fails(CALL_poll, ENOMEM, 3);
    assert_true(waiter_start(&waiter, listener));
    int raw = raw_dial(address);
    assert_int_equal(waiter_answer(&waiter), 0);
    assert_true(calls_failed() > 0);
    assert_int_equal(tcpmsg_close(waiter.conn), 0);
    close(raw);
    tcpmsg_listener_close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_12_a_waiting_accept_passes_over_the_dead),
        cmocka_unit_test(promise_12_a_waiting_accept_rests_and_goes_on),
        cmocka_unit_test(promise_12_failures_without_end_make_it_rest),
        cmocka_unit_test(promise_12_with_DONTWAIT_it_says_what_it_met_and_the_next_call_works),
        cmocka_unit_test(a_signal_is_nothing_to_tell),
        cmocka_unit_test(what_is_no_connections_fault_ends_the_call),
        cmocka_unit_test(an_accept_without_memory_is_woken_by_abort),
        cmocka_unit_test(close_waits_for_every_accept),
        cmocka_unit_test(an_accept_goes_on_when_poll_fails),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
