/* SPDX-License-Identifier: MIT */
/* A dial that never waits, driven by hand as a loop does: poll, and a pipe that the look-up's
 * thread writes to. */
#define _GNU_SOURCE
#include "clock.h"
#include "crowd.h"
#include "dialer.h"
#include "reach.h"
#include "shortage.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS_MOST 16
#define SHORT_LIMIT_MS 50

/* Where notices come; made once, so that no test's count of descriptors is in the way. */
static int notices[2];

static int make_pipe(void **state)
{
    (void)state;
    return pipe2(notices, O_NONBLOCK);
}

static int close_pipe(void **state)
{
    (void)state;
    close(notices[0]);
    close(notices[1]);
    return 0;
}

static void notify(void *arg)
{
    ssize_t n = write(*(int *)arg, "!", 1);
    (void)n;
}

static int count_notices(void)
{
    char bytes[16];
    ssize_t n = read(notices[0], bytes, sizeof bytes);
    return n > 0 ? (int)n : 0;
}

/* A dial, and what it may not leave behind. */
struct run {
    tm_dialer dialer;
    tm_settings *settings;
    long allocations;
    int descriptors;
};

static int try_begin(struct run *run, const char *address, int limit_ms, tm_dial_notify *notified)
{
    tm_story story;
    const tcpmsg_options *options = TCPMSG_OPTIONS(.connect_timeout_ms = limit_ms);
    count_notices();
    run->allocations = allocations();
    run->descriptors = count_descriptors();
    assert_int_equal(tm_settings_make(&run->settings, options, &story), 0);
    return tm_dialer_begin(&run->dialer, address, run->settings, notified, &notices[1]);
}

static void begin(struct run *run, const char *address, int limit_ms)
{
    assert_int_equal(try_begin(run, address, limit_ms, notify), 0);
    assert_true(tm_dialer_next(&run->dialer) <= tm_now());
    assert_string_equal(tm_dialer_story(&run->dialer), "");
}

static bool nothing_is_left(void *arg)
{
    const struct run *run = arg;
    return allocations() == run->allocations && count_descriptors() == run->descriptors;
}

/* The thread of a look-up that was given up may need a moment. */
static void end(struct run *run)
{
    tm_dialer_end(&run->dialer);
    tm_dialer_end(&run->dialer);
    tm_settings_unref(run->settings);
    assert_true(eventually(nothing_is_left, run));
}

/* Waits as a loop does, for everything at once. */
static void wait_for_something(tm_dialer *dialer)
{
    size_t count;
    struct pollfd fds[FDS_MOST] = {{.fd = notices[0], .events = POLLIN}};
    struct pollfd *own = tm_dialer_fds(dialer, &count);
    assert_true(count < FDS_MOST);
    for (size_t i = 0; i < count; i++)
        fds[1 + i] = own[i];
    poll(fds, (nfds_t)count + 1, tm_left_ms(tm_dialer_next(dialer)));
    for (size_t i = 0; i < count; i++)
        own[i].revents = fds[1 + i].revents;
    if (fds[0].revents)
        count_notices();
}

static int drive(struct run *run, int *fd, tm_sockaddr *peer)
{
    int64_t guard = tm_deadline(WAIT_MS);
    int result;
    while ((result = tm_dialer_step(&run->dialer, fd, peer)) == 0 && !tm_passed(guard))
        wait_for_something(&run->dialer);
    return result;
}

/* The dial wins a socket that this listener accepts. */
static void expect_won(struct run *run, tcpmsg_listener *listener)
{
    int fd = -1;
    char bound[TCPMSG_ADDRESS_MAX], reached[TCPMSG_ADDRESS_MAX];
    tm_sockaddr peer;
    assert_int_equal(drive(run, &fd, &peer), 1);
    assert_string_equal(tm_dialer_story(&run->dialer), "");
    tm_dialer_end(&run->dialer);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    bound_address(listener, bound);
    assert_int_equal(tm_sockaddr_print(&peer, reached, sizeof reached), 0);
    assert_string_equal(strrchr(reached, ':'), strrchr(bound, ':'));
    tcpmsg_conn *conn = accept_one(listener);
    assert_int_equal(tcpmsg_send(conn, "hi", 2, 0), 0);
    char wire[6];
    assert_true(wait_events(fd, POLLIN, WAIT_MS) & POLLIN);
    assert_true(read_all(fd, wire, sizeof wire));
    assert_memory_equal(wire, "\0\0\0\2hi", sizeof wire);
    close(fd);
    assert_int_equal(tcpmsg_close(conn), 0);
}

/* It fails so, and the story says this. */
static void expect_lost(struct run *run, int error, const char *said)
{
    int fd;
    tm_sockaddr peer;
    int result = drive(run, &fd, &peer);
    assert_string_equal(tcpmsg_error_name(result), tcpmsg_error_name(error));
    if (!strstr(tm_dialer_story(&run->dialer), said))
        fail_msg("\"%s\" is not in \"%s\"", said, tm_dialer_story(&run->dialer));
}

/* It is under way, and no step polls. */
static void expect_under_way(struct run *run)
{
    int fd;
    tm_sockaddr peer;
    call_fails(CALL_poll, EIO, 1);
    int result = tm_dialer_step(&run->dialer, &fd, &peer);
    assert_int_equal(calls_failed(), 0);
    assert_int_equal(result, 0);
    assert_string_equal(tm_dialer_story(&run->dialer), "");
}

static void a_number_is_reached_step_by_step(void **state)
{
    (void)state;
    struct run run;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    begin(&run, address, WAIT_MS);
    expect_won(&run, listener);
    assert_int_equal(count_notices(), 0);
    end(&run);
    tcpmsg_listener_close(listener);
}

static void nobody_there_is_EREFUSED(void **state)
{
    (void)state;
    struct run run;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener_close(listen_at_a_free_port(address));
    begin(&run, address, WAIT_MS);
    call_fails(CALL_connect, ECONNREFUSED, 1); /* whoever has that port by now */
    expect_lost(&run, TCPMSG_EREFUSED, address);
    assert_int_equal(calls_failed(), 1);
    end(&run);
    begin(&run, "unix:/nobody/is/here", WAIT_MS);
    expect_lost(&run, TCPMSG_EREFUSED, "can't connect to unix:/nobody/is/here: ");
    end(&run);
}

static void what_is_no_address_to_dial_is_EADDRESS_at_once(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",     "nowhere", "name:0",    ":0",
                                        "fd:3", "unix:",   "name:99999"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct run run;
        assert_int_equal(try_begin(&run, wrong[i], 0, notify), TCPMSG_EADDRESS);
        tm_settings_unref(run.settings);
        assert_true(nothing_is_left(&run));
        assert_non_null(strstr(tm_dialer_story(&run.dialer), wrong[i]));
        tm_dialer_end(&run.dialer);
    }
}

/* A story repeats no more of an address than there is room for. */
static void an_address_may_be_as_long_as_it_likes(void **state)
{
    (void)state;
    struct run run;
    char address[5000];
    memset(address, 'a', sizeof address);
    strcpy(address + sizeof address - 5, ":123");
    assert_int_equal(try_begin(&run, address, 0, notify), TCPMSG_EADDRESS);
    tm_settings_unref(run.settings);
    assert_true(strlen(tm_dialer_story(&run.dialer)) < 300);
    address[253] = '\0';
    strcat(address, ":1");
    call_fails_later(CALL_getaddrinfo, EAI_NONAME, 1);
    begin(&run, address, WAIT_MS);
    expect_lost(&run, TCPMSG_ERESOLVE, "can't be resolved");
    assert_int_equal(calls_failed(), 1);
    end(&run);
}

/* A listener, and its address with a name in it. */
static tcpmsg_listener *listen_at_localhost(char address[TCPMSG_ADDRESS_MAX])
{
    char bound[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(bound);
    snprintf(address, TCPMSG_ADDRESS_MAX, "localhost%s", strrchr(bound, ':'));
    return listener;
}

static bool a_look_up_is_held(void *arg)
{
    (void)arg;
    return held_look_ups > 0;
}

static void begin_held_look_up(struct run *run, const char *address, int limit_ms)
{
    hold_look_ups = true;
    begin(run, address, limit_ms);
    expect_under_way(run);
    assert_true(eventually(a_look_up_is_held, NULL));
}

/* With somebody to notify a limit makes no difference. */
static void a_look_up_of_a_name_is_never_waited_for(void **state)
{
    (void)state;
    const int limits[] = {WAIT_MS, TCPMSG_NO_LIMIT};
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_localhost(address);
    for (size_t i = 0; i < COUNT(limits); i++) {
        struct run run;
        size_t count = 1;
        begin_held_look_up(&run, address, limits[i]);
        for (int step = 0; step < 10; step++)
            expect_under_way(&run);
        tm_dialer_fds(&run.dialer, &count);
        assert_int_equal(count, 0);
        assert_true(tm_dialer_next(&run.dialer) == run.dialer.deadline);
        assert_true((tm_dialer_next(&run.dialer) == TM_FOREVER) == (limits[i] < 0));
        assert_int_equal(count_notices(), 0);
        hold_look_ups = false;
        assert_true(wait_events(notices[0], POLLIN, WAIT_MS) & POLLIN);
        assert_int_equal(count_notices(), 1);
        expect_won(&run, listener);
        assert_int_equal(count_notices(), 0);
        end(&run);
    }
    tcpmsg_listener_close(listener);
}

/* Nobody to notify, and no limit: the waiting itself looks up. */
static void promise_10_a_name_that_is_waited_for_without_a_limit_needs_no_thread(void **state)
{
    (void)state;
    struct run run;
    int fd = -1, result;
    tm_sockaddr peer;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_localhost(address);
    call_fails(CALL_pthread_create, EAGAIN, 1);
    assert_int_equal(try_begin(&run, address, TCPMSG_NO_LIMIT, NULL), 0);
    while ((result = tm_dialer_step(&run.dialer, &fd, &peer)) == 0)
        tm_dialer_wait(&run.dialer);
    assert_int_equal(result, 1);
    assert_int_equal(calls_failed(), 0);
    close(fd);
    end(&run);
    tcpmsg_listener_close(listener);
}

static void promise_11_the_limit_covers_the_connect(void **state)
{
    (void)state;
    struct run run;
    struct crowd crowd;
    size_t count;
    char address[TCPMSG_ADDRESS_MAX];
    crowd_at_port(&crowd, address, sizeof address);
    begin(&run, address, WAIT_MS);
    expect_under_way(&run);
    assert_true(tm_dialer_fds(&run.dialer, &count)[0].events == POLLOUT);
    assert_int_equal(count, 1);
    assert_true(tm_dialer_next(&run.dialer) == run.dialer.deadline);
    end(&run);
    begin(&run, address, SHORT_LIMIT_MS);
    expect_lost(&run, TCPMSG_ETIMEDOUT, ", no answer in time");
    assert_true(tm_now() >= run.dialer.deadline);
    end(&run);
    begin(&run, address, TCPMSG_NO_LIMIT);
    expect_under_way(&run);
    assert_true(tm_dialer_next(&run.dialer) == TM_FOREVER);
    end(&run);
    crowd_leaves(&crowd);
}

/* The address of a connection that was dialled, played with each thing in short supply. */
static tcpmsg_listener *played;
static char played_address[TCPMSG_ADDRESS_MAX];

static void dial_through(void)
{
    struct run run;
    int fd = -1;
    tm_sockaddr peer;
    begin(&run, played_address, shortage_lasts() ? 2 * SHORT_LIMIT_MS : WAIT_MS);
    scarce = true;
    int result = drive(&run, &fd, &peer);
    scarce = false;
    if (result == 1) {
        close(fd);
        assert_int_equal(tcpmsg_close(accept_one(played)), 0);
    } else {
        if (!lacks(result) && !(shortage_lasts() && result == TCPMSG_ETIMEDOUT))
            fail_msg("%s: %s", tcpmsg_error_name(result), tm_dialer_story(&run.dialer));
        assert_true(strlen(tm_dialer_story(&run.dialer)) > 0);
    }
    end(&run);
    /* What a failed attempt has left at the door. */
    tcpmsg_conn *conn;
    while (tcpmsg_accept(played, &conn, TCPMSG_DONTWAIT) == 0)
        tcpmsg_close(conn);
}

static void expect_survives(const char *at)
{
    played = listen_at(at);
    bound_address(played, played_address);
    play_through_shortages(dial_through);
    tcpmsg_listener_close(played);
}

static void a_shortage_at_any_point_is_told_and_leaves_nothing_behind(void **state)
{
    (void)state;
    char dir[PATH_ROOM], path[PATH_ROOM + 16];
    make_temp_dir(dir);
    snprintf(path, sizeof path, "unix:%s/door", dir);
    expect_survives("127.0.0.1:0");
    expect_survives(path);
    remove_temp_dir(dir);
    played = listen_at_localhost(played_address);
    play_through_shortages(dial_through);
    tcpmsg_listener_close(played);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_reached_step_by_step),
        cmocka_unit_test(nobody_there_is_EREFUSED),
        cmocka_unit_test(what_is_no_address_to_dial_is_EADDRESS_at_once),
        cmocka_unit_test(an_address_may_be_as_long_as_it_likes),
        cmocka_unit_test(a_look_up_of_a_name_is_never_waited_for),
        cmocka_unit_test(promise_10_a_name_that_is_waited_for_without_a_limit_needs_no_thread),
        cmocka_unit_test(promise_11_the_limit_covers_the_connect),
        cmocka_unit_test(a_shortage_at_any_point_is_told_and_leaves_nothing_behind),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, make_pipe, close_pipe);
}
