/* SPDX-License-Identifier: MIT */
/* A dial to a Unix path, step by step: while the listener's queue is full it tries again. */
#define _GNU_SOURCE
#include "clock.h"
#include "crowd.h"
#include "dialer.h"
#include "shortage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHORT_LIMIT_MS 50

/* A dial to where a crowd stands at the door, and what it may not leave behind. */
struct run {
    tm_dialer dialer;
    struct crowd crowd;
    char dir[PATH_ROOM];
    char address[PATH_ROOM + 16];
    long allocations;
    int descriptors;
};

static void begin(struct run *run, int limit_ms)
{
    tm_settings settings = {.connect_timeout_ms = limit_ms};
    make_temp_dir(run->dir);
    snprintf(run->address, sizeof run->address, "unix:%s/door", run->dir);
    crowd_at_path(&run->crowd, run->address + strlen("unix:"));
    run->allocations = allocations();
    run->descriptors = count_descriptors();
    assert_int_equal(tm_dialer_begin(&run->dialer, run->address, &settings, NULL, NULL), 0);
}

static void end(struct run *run)
{
    tm_dialer_end(&run->dialer);
    assert_int_equal(allocations(), run->allocations);
    assert_int_equal(count_descriptors(), run->descriptors);
    crowd_leaves(&run->crowd);
    remove_temp_dir(run->dir);
}

static int step(struct run *run, int *fd)
{
    tm_sockaddr peer = {0};
    int result = tm_dialer_step(&run->dialer, fd, &peer);
    if (result == 1)
        assert_true(tm_sockaddr_equal(&peer, &run->dialer.address.known));
    return result;
}

static int step_to_the_end(struct run *run, int *fd)
{
    int result;
    while ((result = step(run, fd)) == 0)
        tm_dialer_wait(&run->dialer);
    return result;
}

/* Lets in who stands first in the queue. */
static void let_one_in(const struct run *run)
{
    int fd = accept(run->crowd.listening, NULL, NULL);
    assert_true(fd >= 0);
    close(fd);
}

static void a_full_queue_is_tried_again_at_growing_pauses(void **state)
{
    (void)state;
    static const int pauses[] = {1, 2, 4, 8, 16, 20, 20};
    struct run run;
    int fd;
    size_t count = 1;
    begin(&run, TCPMSG_NO_LIMIT);
    assert_true(tm_dialer_next(&run.dialer) <= tm_now());
    for (size_t i = 0; i < COUNT(pauses); i++) {
        int64_t before = tm_now();
        assert_int_equal(step(&run, &fd), 0);
        assert_true(tm_dialer_next(&run.dialer) >= before + pauses[i] * TM_MS);
        assert_true(tm_dialer_next(&run.dialer) <= tm_now() + pauses[i] * TM_MS);
        tm_dialer_fds(&run.dialer, &count);
        assert_int_equal(count, 0);
        tm_dialer_wait(&run.dialer);
        assert_true(tm_now() >= tm_dialer_next(&run.dialer));
    }
    end(&run);
}

/* Whoever steps too often asks the system no more often. */
static void a_step_before_its_time_does_nothing(void **state)
{
    (void)state;
    struct run run;
    int fd;
    begin(&run, TCPMSG_NO_LIMIT);
    assert_int_equal(step(&run, &fd), 0);
    run.dialer.next_try += WAIT_MS * TM_MS;
    call_fails(CALL_connect, EIO, 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(step(&run, &fd), 0);
    assert_int_equal(calls_failed(), 0);
    end(&run);
}

static void as_soon_as_there_is_room_it_is_won(void **state)
{
    (void)state;
    struct run run;
    int fd = -1;
    begin(&run, WAIT_MS);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(step(&run, &fd), 0);
        tm_dialer_wait(&run.dialer);
    }
    let_one_in(&run);
    assert_int_equal(step_to_the_end(&run, &fd), 1);
    assert_string_equal(tm_dialer_story(&run.dialer), "");
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    tm_dialer_end(&run.dialer);
    assert_true(write_all(fd, "hi", 2));
    close(fd);
    end(&run);
}

static void promise_11_no_room_in_time_is_ETIMEDOUT(void **state)
{
    (void)state;
    struct run run;
    int fd;
    char wanted[200];
    begin(&run, SHORT_LIMIT_MS);
    assert_int_equal(step_to_the_end(&run, &fd), TCPMSG_ETIMEDOUT);
    assert_true(tm_now() >= run.dialer.deadline);
    snprintf(wanted, sizeof wanted, "can't connect to %s: %s", run.address, strerror(ETIMEDOUT));
    assert_string_equal(tm_dialer_story(&run.dialer), wanted);
    end(&run);
}

/* What comes free just before the limit is had, however late the driver is. */
static void the_last_moment_is_tried_too(void **state)
{
    (void)state;
    struct run run;
    int fd = -1;
    begin(&run, TCPMSG_NO_LIMIT);
    assert_int_equal(step(&run, &fd), 0);
    run.dialer.next_try += WAIT_MS * TM_MS;
    run.dialer.deadline = tm_deadline(SHORT_LIMIT_MS);
    assert_true(tm_dialer_next(&run.dialer) == run.dialer.deadline);
    tm_dialer_wait(&run.dialer);
    let_one_in(&run);
    assert_int_equal(step(&run, &fd), 1);
    close(fd);
    end(&run);
}

/* connect(2): an interrupted one may go on in the background; asking again tells. */
static void an_interrupted_connect_is_asked_again(void **state)
{
    (void)state;
    static const int answers[] = {EINTR, EINPROGRESS, EALREADY};
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct run run;
        int fd = -1;
        begin(&run, WAIT_MS);
        call_fails(CALL_connect, answers[i], 1);
        assert_int_equal(step(&run, &fd), 0);
        assert_int_equal(calls_failed(), 1);
        tm_dialer_wait(&run.dialer);
        call_fails(CALL_connect, EISCONN, 1);
        assert_int_equal(step(&run, &fd), 1);
        assert_int_equal(calls_failed(), 1);
        close(fd);
        end(&run);
    }
}

static void signals_alone_do_not_end_it_and_its_limit_does(void **state)
{
    (void)state;
    struct run run;
    int fd;
    begin(&run, SHORT_LIMIT_MS);
    call_fails(CALL_connect, EINTR, 1000);
    assert_int_equal(step_to_the_end(&run, &fd), TCPMSG_ETIMEDOUT);
    assert_true(calls_failed() > 0);
    assert_true(tm_now() >= run.dialer.deadline);
    end(&run);
}

static void a_listener_that_leaves_is_EREFUSED(void **state)
{
    (void)state;
    struct run run;
    int fd;
    begin(&run, WAIT_MS);
    assert_int_equal(step(&run, &fd), 0);
    shutdown(run.crowd.listening, SHUT_RDWR);
    assert_int_equal(step_to_the_end(&run, &fd), TCPMSG_EREFUSED);
    assert_non_null(strstr(tm_dialer_story(&run.dialer), strerror(ECONNREFUSED)));
    end(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_queue_is_tried_again_at_growing_pauses),
        cmocka_unit_test(a_step_before_its_time_does_nothing),
        cmocka_unit_test(as_soon_as_there_is_room_it_is_won),
        cmocka_unit_test(promise_11_no_room_in_time_is_ETIMEDOUT),
        cmocka_unit_test(the_last_moment_is_tried_too),
        cmocka_unit_test(an_interrupted_connect_is_asked_again),
        cmocka_unit_test(signals_alone_do_not_end_it_and_its_limit_does),
        cmocka_unit_test(a_listener_that_leaves_is_EREFUSED),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
