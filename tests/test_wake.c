/* SPDX-License-Identifier: MIT */
/* Something to poll, readable from a signal until it is cleared. */
#define _GNU_SOURCE
#include "shortage.h"
#include "wake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

static bool is_readable(const tm_wake *wake)
{
    return wait_events(wake->read_fd, POLLIN, 0) == POLLIN;
}

static void it_is_readable_from_signal_to_clear(void **state)
{
    (void)state;
    tm_wake wake;
    assert_int_equal(tm_wake_open(&wake), 0);
    for (int i = 0; i < 3; i++) {
        assert_false(is_readable(&wake));
        tm_wake_signal(&wake);
        assert_true(is_readable(&wake));
        assert_true(is_readable(&wake));
        tm_wake_clear(&wake);
    }
    assert_false(is_readable(&wake));
    tm_wake_close(&wake);
}

static void any_number_of_signals_is_cleared_at_once(void **state)
{
    (void)state;
    tm_wake wake;
    assert_int_equal(tm_wake_open(&wake), 0);
    for (int i = 0; i < 20000; i++)
        tm_wake_signal(&wake);
    tm_wake_clear(&wake);
    assert_false(is_readable(&wake));
    tm_wake_clear(&wake);
    assert_false(is_readable(&wake));
    tm_wake_close(&wake);
}

static void its_descriptors_are_close_on_exec_and_never_block(void **state)
{
    (void)state;
    tm_wake wake;
    assert_int_equal(tm_wake_open(&wake), 0);
    const int fds[] = {wake.read_fd, wake.write_fd};
    for (size_t i = 0; i < COUNT(fds); i++) {
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
    }
    tm_wake_close(&wake);
}

static void closing_it_leaves_no_descriptor_and_can_be_done_twice(void **state)
{
    (void)state;
    tm_wake wake;
    int before = count_descriptors();
    assert_int_equal(tm_wake_open(&wake), 0);
    assert_true(count_descriptors() > before);
    tm_wake_close(&wake);
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(wake.read_fd, -1);
    assert_int_equal(wake.write_fd, -1);
    tm_wake_close(&wake);
    wake = TM_WAKE_CLOSED;
    tm_wake_close(&wake);
}

static void *signal_it(void *arg)
{
    tm_wake_signal(arg);
    return NULL;
}

static void it_wakes_who_polls_in_another_thread(void **state)
{
    (void)state;
    tm_wake wake;
    pthread_t thread;
    assert_int_equal(tm_wake_open(&wake), 0);
    assert_int_equal(pthread_create(&thread, NULL, signal_it, &wake), 0);
    assert_int_equal(wait_events(wake.read_fd, POLLIN, WAIT_MS), POLLIN);
    pthread_join(thread, NULL);
    tm_wake_close(&wake);
}

static void without_descriptors_there_is_none(void **state)
{
    (void)state;
    tm_wake wake = TM_WAKE_CLOSED;
    call_fails(CALL_eventfd, EMFILE, 1);
    assert_int_equal(tm_wake_open(&wake), -EMFILE);
    assert_int_equal(calls_failed(), 1);
    assert_int_equal(wake.read_fd, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_readable_from_signal_to_clear),
        cmocka_unit_test(any_number_of_signals_is_cleared_at_once),
        cmocka_unit_test(its_descriptors_are_close_on_exec_and_never_block),
        cmocka_unit_test(closing_it_leaves_no_descriptor_and_can_be_done_twice),
        cmocka_unit_test(it_wakes_who_polls_in_another_thread),
        cmocka_unit_test(without_descriptors_there_is_none),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
