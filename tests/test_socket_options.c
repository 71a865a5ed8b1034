/* SPDX-License-Identifier: MIT */
/* The options that the socket itself shows: TCP_NODELAY, keepalive, user timeout, close-on-exec. */
#define _GNU_SOURCE /* TCP_USER_TIMEOUT, TCP_KEEPIDLE */
#include "support.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int int_option(int fd, int level, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    assert_int_equal(getsockopt(fd, level, option, &value, &size), 0);
    return value;
}

static void expect_socket_options(const tcpmsg_conn *conn, int keepalive_s, int user_timeout_ms)
{
    int fd = tcpmsg_conn_fd(conn);
    assert_true(int_option(fd, IPPROTO_TCP, TCP_NODELAY) != 0);
    assert_true(int_option(fd, SOL_SOCKET, SO_KEEPALIVE) != 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
#ifdef TCP_KEEPIDLE
    assert_int_equal(int_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), keepalive_s);
    assert_int_equal(int_option(fd, IPPROTO_TCP, TCP_KEEPINTVL), keepalive_s);
    assert_int_equal(int_option(fd, IPPROTO_TCP, TCP_KEEPCNT), 9);
#endif
#ifdef TCP_USER_TIMEOUT
    assert_int_equal(int_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), user_timeout_ms);
#endif
}

static void expect_attached_shows(const tcpmsg_options *options, int keepalive_s, int user_ms)
{
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, options);
    expect_socket_options(conn, keepalive_s, user_ms);
    close(raw);
    assert_int_equal(tcpmsg_close(conn), 0);
}

static void expect_dialled_and_accepted_show(const tcpmsg_options *options, int keepalive_s,
                                             int user_ms)
{
    tcpmsg_listener *listener;
    tcpmsg_conn *dialled, *accepted;
    char address[TCPMSG_ADDRESS_MAX];
    assert_int_equal(tcpmsg_listen(&listener, "127.0.0.1:0", options), 0);
    assert_int_equal(tcpmsg_listener_address(listener, address, sizeof address), 0);
    assert_int_equal(tcpmsg_dial(&dialled, address, options), 0);
    assert_int_equal(tcpmsg_accept(listener, &accepted, 0), 0);
    expect_socket_options(dialled, keepalive_s, user_ms);
    expect_socket_options(accepted, keepalive_s, user_ms);
    assert_int_equal(tcpmsg_close(dialled), 0);
    assert_int_equal(tcpmsg_close(accepted), 0);
    tcpmsg_listener_close(listener);
}

static void the_socket_shows_the_defaults(void **state)
{
    (void)state;
    expect_attached_shows(NULL, 15, 0);
    expect_dialled_and_accepted_show(NULL, 15, 0);
}

static void the_socket_shows_what_was_asked_for(void **state)
{
    (void)state;
    const tcpmsg_options *options = TCPMSG_OPTIONS(.keepalive_s = 7, .user_timeout_ms = 12345);
    expect_attached_shows(options, 7, 12345);
    expect_dialled_and_accepted_show(options, 7, 12345);
}

/* Who came before the listening socket was ours has inherited nothing. */
static void a_connection_from_before_the_handing_down_shows_them_too(void **state)
{
    (void)state;
    tcpmsg_listener *listener;
    tcpmsg_conn *accepted;
    char where[TCPMSG_ADDRESS_MAX], address[32];
    int fd = raw_listen(where, sizeof where);
    int early = raw_dial(where);
    assert_true(early >= 0);
    snprintf(address, sizeof address, "fd:%d", fd);
    assert_int_equal(tcpmsg_listen(&listener, address, TCPMSG_OPTIONS(.keepalive_s = 7)), 0);
    assert_int_equal(tcpmsg_accept(listener, &accepted, 0), 0);
    expect_socket_options(accepted, 7, 0);
    close(early);
    assert_int_equal(tcpmsg_close(accepted), 0);
    tcpmsg_listener_close(listener);
}

static void promise_10_attach_makes_its_descriptor_close_on_exec(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, NULL);
    assert_true(fcntl(tcpmsg_conn_fd(conn), F_GETFD) & FD_CLOEXEC);
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_socket_shows_the_defaults),
        cmocka_unit_test(the_socket_shows_what_was_asked_for),
        cmocka_unit_test(a_connection_from_before_the_handing_down_shows_them_too),
        cmocka_unit_test(promise_10_attach_makes_its_descriptor_close_on_exec),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
