/* SPDX-License-Identifier: MIT */
/* What the system answers once in a lifetime, one call of socket.c and wake.c at a time. */
#define _GNU_SOURCE
#include "clock.h"
#include "conn.h"
#include "peer.h"
#include "rare.h"
#include "socket.h"
#include "wake.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

/* Two ends of a TCP connection. */
static void make_pair(int *one, int *other)
{
    char address[TCPMSG_ADDRESS_MAX];
    int listening = raw_listen(address, sizeof address);
    *one = raw_dial(address);
    assert_true(*one >= 0);
    *other = raw_accept(listening);
    close(listening);
}

static void a_descriptor_whose_flags_fail_is_not_owned(void **state)
{
    (void)state;
    static const long commands[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL};
    int one, other;
    make_pair(&one, &other);
    for (size_t i = 0; i < COUNT(commands); i++) {
        rare_fails(RARE_fcntl, commands[i], EIO, 0, 1);
        assert_int_equal(tm_socket_own(one, true), -EIO);
        assert_int_equal(rare_over(), 1);
    }
    rare_fails(RARE_fcntl, F_GETFL, EIO, 0, 1);
    assert_false(tm_socket_may_nap(one, false));
    assert_int_equal(rare_over(), 1);
    close(one);
    close(other);
}

/* attach and fd:N take what they own on success alone. */
static void what_cannot_be_owned_stays_the_callers(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], text[32];
    int one, other, listening = raw_listen(address, sizeof address);
    tcpmsg_conn *conn = NULL;
    tcpmsg_listener *listener = NULL;
    make_pair(&one, &other);
    rare_fails(RARE_fcntl, F_SETFD, EIO, 0, 1);
    assert_code(tcpmsg_attach(&conn, one, NULL), TCPMSG_ESYSTEM);
    assert_int_equal(rare_over(), 1);
    rare_fails(RARE_getpeername, -1, ENOTCONN, 1, 1);
    assert_code(tcpmsg_attach(&conn, one, NULL), TCPMSG_EINVAL);
    assert_int_equal(rare_over(), 1);
    rare_fails(RARE_fcntl, F_SETFD, EIO, 0, 1);
    snprintf(text, sizeof text, "fd:%d", listening);
    assert_code(tcpmsg_listen(&listener, text, NULL), TCPMSG_ESYSTEM);
    assert_int_equal(rare_over(), 1);
    assert_null(conn);
    assert_null(listener);
    assert_int_equal(close(one), 0);
    assert_int_equal(close(other), 0);
    assert_int_equal(close(listening), 0);
}

static struct timeval limit;

static int tell_limit(const struct rare *now)
{
    if (now->call == RARE_getsockopt && now->what == SO_RCVTIMEO && now->behind)
        *(struct timeval *)now->filled = limit;
    return 0;
}

static void another_limit_of_reads_is_not_the_naps(void **state)
{
    (void)state;
    int one, other;
    make_pair(&one, &other);
    assert_false(tm_socket_has_limit(one));
    assert_true(tm_socket_limit_naps(one));
    assert_true(tm_socket_has_limit(one));
    rare_fails(RARE_getsockopt, SO_RCVTIMEO, EINVAL, 0, 1);
    assert_false(tm_socket_has_limit(one));
    assert_int_equal(rare_over(), 1);
    limit = (struct timeval){.tv_sec = 1};
    rarely = tell_limit;
    assert_false(tm_socket_has_limit(one));
    rare_over();
    close(one);
    close(other);
}

static uint8_t told_state;

static int tell_state(const struct rare *now)
{
    if (now->call == RARE_getsockopt && now->what == TCP_INFO && now->behind)
        ((struct tcp_info *)now->filled)->tcpi_state = told_state;
    return 0;
}

static void a_tcp_that_tells_nothing_known_has_no_state(void **state)
{
    (void)state;
    static const uint8_t unknown[] = {0, 200};
    static const long requests[] = {SIOCOUTQ, SIOCOUTQNSD};
    int one, other;
    tm_tcp_info info;
    make_pair(&one, &other);
    assert_true(write_all(one, "unread", 6));
    for (size_t i = 0; i < COUNT(unknown); i++) {
        told_state = unknown[i];
        rarely = tell_state;
        tm_socket_tcp_info(one, &info);
        assert_string_equal(info.state, "");
    }
    rare_over();
    for (size_t i = 0; i < COUNT(requests); i++) {
        rare_fails(RARE_ioctl, requests[i], ENOTTY, 0, 1);
        tm_socket_tcp_info(one, &info);
        assert_int_equal(rare_over(), 1);
        assert_string_equal(info.state, "ESTABLISHED");
        assert_int_equal(info.unsent_bytes + info.unacked_bytes, 0);
    }
    close(one);
    close(other);
}

static void a_shortage_of_memory_is_no_end_of_the_input(void **state)
{
    (void)state;
    static const int shortages[] = {ENOBUFS, ENOMEM};
    int one, other;
    make_pair(&one, &other);
    for (size_t i = 0; i < COUNT(shortages); i++) {
        rare_fails(RARE_recv, -1, shortages[i], 0, 1);
        assert_int_equal(tm_socket_discard(one), -EAGAIN);
        assert_int_equal(rare_over(), 1);
    }
    close(one);
    close(other);
}

/* Some Linux 6 refuse a reset while a thread is inside of recv(2). */
static void a_reset_that_is_busy_is_tried_again(void **state)
{
    (void)state;
    int one, other;
    make_pair(&one, &other);
    rare_fails(RARE_syscall, SYS_connect, EBUSY, 0, 2);
    assert_int_equal(tm_socket_reset(one), 0);
    assert_int_equal(rare_over(), 2);
    assert_int_equal(read_end(other), ECONNRESET);
    close(one);
    close(other);

    make_pair(&one, &other);
    rare_fails(RARE_syscall, SYS_connect, EBUSY, 0, 1000);
    assert_int_equal(tm_socket_reset(one), 0);
    assert_true(rare_over() > 10);
    close(one); /* then it leaves with the close */
    read_end(other);
    close(other);
}

static void a_condition_without_its_clock_is_none(void **state)
{
    (void)state;
    pthread_cond_t cond;
    rare_fails(RARE_pthread_condattr_setclock, -1, EINVAL, 0, 1);
    assert_int_equal(tm_cond_init(&cond), EINVAL);
    assert_int_equal(rare_over(), 1);
}

static void a_signal_loses_no_wake(void **state)
{
    (void)state;
    tm_wake wake = TM_WAKE_CLOSED;
    assert_int_equal(tm_wake_open(&wake), 0);
    rare_fails(RARE_write, -1, EINTR, 0, 2);
    tm_wake_signal(&wake);
    assert_int_equal(rare_over(), 2);
    assert_int_equal(wait_events(wake.read_fd, POLLIN, 0), POLLIN);
    rare_fails(RARE_read, -1, EINTR, 0, 2);
    tm_wake_clear(&wake);
    assert_int_equal(rare_over(), 2);
    assert_int_equal(wait_events(wake.read_fd, POLLIN, 0), 0);
    rare_fails(RARE_write, -1, EAGAIN, 0, 1);
    tm_wake_signal(&wake); /* it is full: readable already */
    assert_int_equal(rare_over(), 1);
    tm_wake_close(&wake);
}

/* What the system refuses for no reason of ours is tried again, though not for ever. */
static void a_wake_that_is_refused_is_tried_again(void **state)
{
    (void)state;
    tm_wake wake = TM_WAKE_CLOSED;
    assert_int_equal(tm_wake_open(&wake), 0);
    rare_fails(RARE_write, -1, EPERM, 0, 3);
    tm_wake_signal(&wake);
    assert_int_equal(rare_over(), 3);
    assert_int_equal(wait_events(wake.read_fd, POLLIN, 0), POLLIN);
    rare_fails(RARE_write, -1, EPERM, 0, 1 << 20);
    tm_wake_signal(&wake);
    assert_in_range(rare_over(), 100, 10000);
    tm_wake_close(&wake);
}

/* Where there is no eventfd(2), a wake is a pipe. */
static void a_wake_may_have_two_ends(void **state)
{
    (void)state;
    int before = count_descriptors(), ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    tm_wake wake = {ends[0], ends[1]};
    for (int i = 0; i < 100; i++)
        tm_wake_signal(&wake);
    tm_wake_clear(&wake);
    assert_int_equal(wait_events(wake.read_fd, POLLIN, 0), 0);
    tm_wake_close(&wake);
    assert_int_equal(count_descriptors(), before);
}

/* An IPv4 listener's connections have no room for another peer's address: none is written there. */
static void a_peer_that_has_no_room_is_not_remembered(void **state)
{
    (void)state;
    tm_settings *settings;
    tm_story story;
    tm_sockaddr peer = {.length = sizeof peer.u.v6, .u.v6 = {.sin6_family = AF_INET6}};
    assert_int_equal(tm_settings_make(&settings, NULL, &story), 0);
    tcpmsg_conn *conn = tm_conn_make_kept(settings, NULL, false);
    assert_non_null(conn);
    tm_conn_own(conn, -1, &peer);
    assert_true(conn->tcp && !conn->v6);
    assert_int_equal(conn->peer_port, 0);
    tm_conn_free(conn);
    tm_settings_unref(settings);
}

static void what_cannot_be_attached_or_told_says_so(void **state)
{
    (void)state;
    char why[100] = "";
    tcpmsg_conn *conn = NULL;
    tcpmsg_info info;
    int raw;
    assert_code(tcpmsg_attach(&conn, -1, TCPMSG_OPTIONS(.why = why, .why_size = sizeof why)),
                TCPMSG_EINVAL);
    assert_true(says(why, "not a connected stream socket"));
    pair(&conn, &raw, NULL);
    assert_code(tcpmsg_conn_info(conn, &info, 0), TCPMSG_EINVAL);
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_whose_flags_fail_is_not_owned),
        cmocka_unit_test(what_cannot_be_owned_stays_the_callers),
        cmocka_unit_test(another_limit_of_reads_is_not_the_naps),
        cmocka_unit_test(a_tcp_that_tells_nothing_known_has_no_state),
        cmocka_unit_test(what_cannot_be_attached_or_told_says_so),
        cmocka_unit_test(a_peer_that_has_no_room_is_not_remembered),
        cmocka_unit_test(a_shortage_of_memory_is_no_end_of_the_input),
        cmocka_unit_test(a_reset_that_is_busy_is_tried_again),
        cmocka_unit_test(a_condition_without_its_clock_is_none),
        cmocka_unit_test(a_signal_loses_no_wake),
        cmocka_unit_test(a_wake_that_is_refused_is_tried_again),
        cmocka_unit_test(a_wake_may_have_two_ends),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
