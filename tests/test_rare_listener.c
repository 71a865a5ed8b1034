/* SPDX-License-Identifier: MIT */
/* A listener at the moments that are hard to meet by chance: what the system answers seldom, and
 * what others do to a Unix path while it is looked at. */
#define _GNU_SOURCE
#include "peer.h"
#include "rare.h"
#include "reach.h"
#include "waiter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[PATH_ROOM], path[2 * PATH_ROOM], address[3 * PATH_ROOM];

static int set_up(void **state)
{
    (void)state;
    make_temp_dir(folder);
    snprintf(path, sizeof path, "%s/door", folder);
    snprintf(address, sizeof address, "unix:%s", path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rare_over();
    remove_temp_dir(folder);
    return 0;
}

/* A server died, and left its file. */
static void leave_dead_file(void)
{
    unlink(path);
    close(raw_bind_unix(path, SOCK_STREAM));
}

static void expect_listens(void)
{
    tcpmsg_listener *listener = listen_at(address);
    expect_reachable(listener, address);
    tcpmsg_listener_close(listener);
    assert_int_equal(access(path, F_OK), -1);
}

static void expect_refused(int error)
{
    tcpmsg_listener *listener = NO_LISTENER;
    assert_string_equal(tcpmsg_error_name(tcpmsg_listen(&listener, address, NULL)),
                        tcpmsg_error_name(error));
    assert_ptr_equal(listener, NO_LISTENER);
    assert_int_equal(access(path, F_OK), 0);
}

static void a_look_at_the_file_may_fail(void **state)
{
    (void)state;
    for (int looks = 0; looks < 2; looks++) {
        leave_dead_file();
        rare_fails(RARE_lstat, -1, EACCES, looks, 1);
        expect_refused(TCPMSG_EACCESS);
        assert_int_equal(rare_over(), 1);
        rare_fails(RARE_lstat, -1, ENOENT, looks, 1); /* somebody else has removed it */
        expect_listens();
        assert_int_equal(rare_over(), 1);
    }
}

static void the_file_may_not_be_removed(void **state)
{
    (void)state;
    leave_dead_file();
    rare_fails(RARE_unlink, -1, EPERM, 0, 1);
    expect_refused(TCPMSG_EACCESS);
    assert_int_equal(rare_over(), 1);
    rare_fails(RARE_unlink, -1, ENOENT, 0, 1);
    expect_listens();
    assert_int_equal(rare_over(), 1);
}

static int looks_made, field;

/* The second look finds another file, as to one thing or another; what it tells is not true. */
static int tell_another(const struct rare *now)
{
    struct stat *file = now->filled;
    if (now->call != RARE_lstat || !now->behind || looks_made++ != 1)
        return 0;
    file->st_dev += field == 0;
    file->st_ino += field == 1;
    file->st_ctim.tv_sec += field == 2;
    file->st_ctim.tv_nsec += field == 3;
    return 0;
}

static int unlinks_made;

static int count_unlinks(const struct rare *now)
{
    unlinks_made += now->call == RARE_unlink && !now->behind;
    return tell_another(now);
}

static void a_file_that_has_changed_is_looked_at_again(void **state)
{
    (void)state;
    for (field = 0; field < 4; field++) {
        leave_dead_file();
        looks_made = unlinks_made = 0;
        rarely = count_unlinks;
        tcpmsg_listener *listener = listen_at(address);
        assert_int_equal(unlinks_made, 1);
        assert_true(looks_made >= 4);
        rare_over();
        tcpmsg_listener_close(listener);
    }
}

static void the_race_for_a_path_is_not_run_for_ever(void **state)
{
    (void)state;
    tcpmsg_listener *listener = NO_LISTENER;
    rare_fails(RARE_bind, -1, EADDRINUSE, 0, 1000);
    assert_code(tcpmsg_listen(&listener, address, NULL), TCPMSG_EINUSE);
    assert_true(rare_over() < 10);
}

static void without_memory_nobody_knows_whether_a_server_lives(void **state)
{
    (void)state;
    static const int shortages[] = {ENOMEM, ENOBUFS};
    for (size_t i = 0; i < COUNT(shortages); i++) {
        leave_dead_file();
        rare_fails(RARE_connect, -1, shortages[i], 0, 1);
        expect_refused(TCPMSG_ENOMEM);
        assert_int_equal(rare_over(), 1);
    }
    expect_listens();
}

static void a_lock_that_others_keep_is_not_waited_for_for_ever(void **state)
{
    (void)state;
    int held = open(folder, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(held, LOCK_EX), 0);
    int64_t begun = now_ms();
    expect_listens();
    assert_in_range(now_ms() - begun, 400, 5000);
    close(held);
}

static void a_path_may_be_in_the_root(void **state)
{
    (void)state;
    tcpmsg_listener *listener = NO_LISTENER;
    rare_fails(RARE_bind, -1, EROFS, 0, 1); /* it is not for tests to write there */
    assert_true(tcpmsg_listen(&listener, "unix:/tcpmsg-test", NULL) < 0);
    assert_int_equal(rare_over(), 1);
}

/* Which file it made is not known then: it removes none. */
static void a_file_that_was_not_seen_is_left(void **state)
{
    (void)state;
    rare_fails(RARE_lstat, -1, EIO, 0, 1);
    tcpmsg_listener *listener = listen_at(address);
    assert_int_equal(rare_over(), 1);
    tcpmsg_listener_close(listener);
    assert_int_equal(access(path, F_OK), 0);
}

static void promise_9_another_file_at_the_path_is_left(void **state)
{
    (void)state;
    for (field = 0; field < 2; field++) {
        unlink(path);
        looks_made = 0;
        rarely = tell_another;
        tcpmsg_listener_close(listen_at(address));
        assert_int_equal(looks_made, 2);
        assert_int_equal(access(path, F_OK), 0);
    }
}

static void an_address_may_not_be_told(void **state)
{
    (void)state;
    char text[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at("127.0.0.1:0");
    rare_fails(RARE_getsockname, -1, ENOBUFS, 0, 1);
    assert_code(tcpmsg_listener_address(listener, text, sizeof text), TCPMSG_ENOMEM);
    assert_int_equal(rare_over(), 1);
    tcpmsg_listener_close(listener);
}

/* What it accepts has not inherited the limit of its reads: it polls, and all works. */
static void a_listener_whose_limit_is_not_inherited(void **state)
{
    (void)state;
    char text[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(text);
    tcpmsg_conn *dialed = dial_to(text);
    rare_fails(RARE_getsockopt, SO_RCVTIMEO, ENOPROTOOPT, 0, 1);
    tcpmsg_conn *accepted = accept_one(listener);
    assert_int_equal(rare_over(), 1);
    expect_talk(dialed, accepted);
    expect_talk(accepted, dialed);
    assert_int_equal(tcpmsg_close(dialed), 0);
    assert_int_equal(tcpmsg_close(accepted), 0);
    tcpmsg_listener_close(listener);
}

static tcpmsg_listener *aborted;

static int abort_in_accept(const struct rare *now)
{
    if (now->call != RARE_accept4)
        return 0;
    tcpmsg_listener_abort(aborted);
    return EAGAIN;
}

/* Just when it had seen that nobody is there, and was to wait. */
static void an_abort_before_the_wait_is_not_slept_over(void **state)
{
    (void)state;
    tcpmsg_conn *conn = NO_CONN;
    aborted = listen_at("127.0.0.1:0");
    rarely = abort_in_accept;
    assert_code(tcpmsg_accept(aborted, &conn, 0), TCPMSG_ECANCELED);
    rare_over();
    tcpmsg_listener_close(aborted);
}

static int leave_late(const struct rare *now)
{
    if (now->call == RARE_poll && now->behind)
        sleep_ms(30);
    return 0;
}

/* The accept that the close wakes takes its time to leave. */
static void a_close_waits_for_who_is_inside(void **state)
{
    (void)state;
    tcpmsg_listener *listener = listen_at("127.0.0.1:0");
    struct waiter waiter;
    assert_true(waiter_start(&waiter, listener));
    rarely = leave_late;
    tcpmsg_listener_close(listener);
    assert_code(waiter_answer(&waiter), TCPMSG_ECANCELED);
    rare_over();
}

struct door {
    tcpmsg_listener *listener;
    char address[TCPMSG_ADDRESS_MAX];
};

/* A child has no wake of its own, and can't have one: it looks again and again. */
static int accept_without_a_wake(void *arg)
{
    struct door *door = arg;
    tcpmsg_conn *conn;
    rare_fails(RARE_eventfd, -1, EMFILE, 0, 1000);
    if (raw_dial(door->address) < 0 || tcpmsg_accept(door->listener, &conn, 0) != 0)
        return 1;
    tcpmsg_listener_abort(door->listener);
    if (tcpmsg_accept(door->listener, &conn, 0) != TCPMSG_ECANCELED)
        return 2;
    return rare_over() > 0 ? 0 : 3;
}

static atomic_int none_there;

static int nobody_at_first(const struct rare *now)
{
    return now->call == RARE_accept4 && atomic_fetch_sub(&none_there, 1) > 0 ? EAGAIN : 0;
}

static void a_child_without_descriptors_accepts(void **state)
{
    (void)state;
    struct door door;
    door.listener = listen_at_a_free_port(door.address);
    none_there = 2;
    rarely = nobody_at_first;
    assert_int_equal(in_child(accept_without_a_wake, &door), 0);
    rare_over();
    tcpmsg_listener_close(door.listener);
}

#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(a_look_at_the_file_may_fail),
        IN_A_FOLDER(the_file_may_not_be_removed),
        IN_A_FOLDER(a_file_that_has_changed_is_looked_at_again),
        IN_A_FOLDER(the_race_for_a_path_is_not_run_for_ever),
        IN_A_FOLDER(without_memory_nobody_knows_whether_a_server_lives),
        IN_A_FOLDER(a_lock_that_others_keep_is_not_waited_for_for_ever),
        cmocka_unit_test(a_path_may_be_in_the_root),
        IN_A_FOLDER(a_file_that_was_not_seen_is_left),
        IN_A_FOLDER(promise_9_another_file_at_the_path_is_left),
        cmocka_unit_test(an_address_may_not_be_told),
        cmocka_unit_test(a_listener_whose_limit_is_not_inherited),
        cmocka_unit_test(an_abort_before_the_wait_is_not_slept_over),
        cmocka_unit_test(a_close_waits_for_who_is_inside),
        cmocka_unit_test(a_child_without_descriptors_accepts),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
