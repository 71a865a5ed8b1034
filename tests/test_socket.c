/* SPDX-License-Identifier: MIT */
/* The seam to the system: what each call answers, and what it never does. */
#define _GNU_SOURCE
#include "clock.h"
#include "shortage.h"
#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char once[] = "once";

static void tcp_pair(int ends[2])
{
    char address[TCPMSG_ADDRESS_MAX];
    int listening = raw_listen(address, sizeof address);
    ends[0] = raw_dial(address);
    ends[1] = raw_accept(listening);
    close(listening);
}

static void unix_pair(int ends[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

static void close_pair(const int ends[2])
{
    tm_socket_close(ends[0]);
    tm_socket_close(ends[1]);
}

static void a_new_socket_never_blocks_and_is_close_on_exec(void **state)
{
    (void)state;
    int fd = tm_socket_open(AF_UNIX);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    tm_socket_close(fd);
    assert_true(fcntl(fd, F_GETFD) < 0);
    tm_socket_close(-1);
    assert_int_equal(tm_socket_open(-1), -EAFNOSUPPORT);
}

static void owning_makes_close_on_exec_and_nonblocking_on_demand(void **state)
{
    (void)state;
    int ends[2];
    unix_pair(ends);
    assert_int_equal(tm_socket_own(ends[0], false), 0);
    assert_true(fcntl(ends[0], F_GETFD) & FD_CLOEXEC);
    assert_false(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    assert_int_equal(tm_socket_own(ends[1], true), 0);
    assert_true(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
    close_pair(ends);
}

/* No call takes a descriptor that there is not for anything else. */
static void no_descriptor_is_EBADF(void **state)
{
    (void)state;
    tm_sockaddr address = {.length = sizeof address.u};
    char byte = 0;
    struct iovec part = {&byte, 1};
    assert_int_equal(tm_socket_own(-1, false), -EBADF);
    assert_int_equal(tm_socket_bind(-1, &address), -EBADF);
    assert_int_equal(tm_socket_listen(-1, 1), -EBADF);
    assert_int_equal(tm_socket_accept(-1, &address), -EBADF);
    assert_int_equal(tm_socket_connect(-1, &address), -EBADF);
    assert_int_equal(tm_socket_pending_error(-1), -EBADF);
    assert_int_equal(tm_socket_read(-1, &part, 1), -EBADF);
    assert_int_equal(tm_socket_write(-1, &part, 1), -EBADF);
    assert_int_equal(tm_socket_discard(-1), -EBADF);
    assert_int_equal(tm_socket_end_output(-1), -EBADF);
    assert_int_equal(tm_socket_local(-1, &address), -EBADF);
    assert_int_equal(tm_socket_peer(-1, &address), -EBADF);
    assert_true(tm_socket_unacked(-1) < 0);
}

static void expect_kind(int fd, enum tm_socket_kind kind)
{
    assert_int_equal(tm_socket_kind(fd), kind);
    tm_socket_close(fd);
}

static void the_kinds_of_descriptors(void **state)
{
    (void)state;
    int ends[2];
    char address[TCPMSG_ADDRESS_MAX];
    tcp_pair(ends);
    expect_kind(ends[0], TM_SOCKET_CONNECTED);
    close(ends[1]);
    unix_pair(ends);
    expect_kind(ends[0], TM_SOCKET_CONNECTED);
    close(ends[1]);
    expect_kind(raw_listen(address, sizeof address), TM_SOCKET_LISTENING);
    expect_kind(tm_socket_open(AF_INET), TM_SOCKET_OTHER);
    expect_kind(socket(AF_UNIX, SOCK_DGRAM, 0), TM_SOCKET_OTHER);
    expect_kind(open("/dev/null", O_RDONLY), TM_SOCKET_OTHER);
    expect_kind(-1, TM_SOCKET_OTHER);
}

static void a_read_and_a_write_move_bytes_in_one_part_or_more(void **state)
{
    (void)state;
    int ends[2];
    char text[8] = "";
    struct iovec out[] = {{once, 2}, {once + 2, 2}}, in[] = {{text, 3}, {text + 3, 4}};
    unix_pair(ends);
    assert_int_equal(tm_socket_write(ends[0], out, 2), 4);
    assert_int_equal(tm_socket_read(ends[1], in, 2), 4);
    assert_string_equal(text, "once");
    assert_int_equal(tm_socket_write(ends[0], out, 1), 2);
    assert_int_equal(tm_socket_read(ends[1], in, 1), 2);
    assert_int_equal(tm_socket_read(ends[1], in, 1), -EAGAIN);
    assert_int_equal(tm_socket_read(ends[1], in, 2), -EAGAIN);
    close_pair(ends);
}

static void an_interrupted_call_goes_on(void **state)
{
    (void)state;
    int ends[2];
    char text[8] = "";
    struct iovec out[] = {{once, 2}, {once + 2, 2}}, in[] = {{text, 3}, {text + 3, 4}};
    unix_pair(ends);
    call_fails(CALL_send, EINTR, 2);
    call_fails(CALL_sendmsg, EINTR, 2);
    call_fails(CALL_recv, EINTR, 2);
    call_fails(CALL_recvmsg, EINTR, 2);
    call_fails(CALL_poll, EINTR, 2);
    assert_int_equal(tm_socket_write(ends[0], out, 1), 2);
    assert_int_equal(tm_socket_write(ends[0], out, 2), 4);
    struct pollfd fd = {.fd = ends[1], .events = POLLIN};
    assert_int_equal(tm_socket_wait(&fd, 1, TM_FOREVER), 1);
    assert_int_equal(tm_socket_read(ends[1], in, 1), 3);
    assert_int_equal(tm_socket_read(ends[1], in, 2), 3);
    assert_int_equal(calls_failed(), 10);
    close_pair(ends);
}

static void promise_10_a_write_to_who_has_left_raises_no_signal(void **state)
{
    (void)state;
    int ends[2];
    struct iovec out[] = {{once, 2}, {once + 2, 2}};
    unix_pair(ends);
    close(ends[1]);
    assert_int_equal(tm_socket_write(ends[0], out, 1), -EPIPE);
    assert_int_equal(tm_socket_write(ends[0], out, 2), -EPIPE);
    close(ends[0]);
}

static void discarding_drops_what_is_there(void **state)
{
    (void)state;
    int ends[2];
    static char bytes[100000];
    unix_pair(ends);
    assert_int_equal(tm_socket_discard(ends[1]), -EAGAIN);
    assert_true(write_all(ends[0], bytes, sizeof bytes));
    assert_int_equal(tm_socket_discard(ends[1]), sizeof bytes);
    assert_int_equal(tm_socket_discard(ends[1]), -EAGAIN);
    assert_true(write_all(ends[0], bytes, 1));
    close(ends[0]);
    assert_int_equal(tm_socket_discard(ends[1]), 0);
    close(ends[1]);
}

static void a_reset_reaches_a_tcp_peer_at_once_and_ends_others(void **state)
{
    (void)state;
    int ends[2];
    tcp_pair(ends);
    assert_int_equal(tm_socket_reset(ends[0]), 0);
    assert_int_equal(read_end(ends[1]), ECONNRESET);
    close_pair(ends);
    unix_pair(ends);
    tm_socket_reset(ends[0]);
    assert_int_equal(read_end(ends[1]), 0);
    close_pair(ends);
}

static void the_ends_of_a_stream(void **state)
{
    (void)state;
    int ends[2];
    unix_pair(ends);
    assert_int_equal(tm_socket_end_output(ends[0]), 0);
    assert_int_equal(read_end(ends[1]), 0);
    assert_true(write_all(ends[1], "x", 1));
    assert_int_equal(tm_socket_end_both(ends[0]), 0);
    assert_false(write_all(ends[1], "x", 1));
    close_pair(ends);
}

static void a_wait_ends_at_its_deadline(void **state)
{
    (void)state;
    int ends[2];
    unix_pair(ends);
    struct pollfd fd = {.fd = ends[0], .events = POLLIN};
    assert_int_equal(tm_socket_wait(&fd, 1, 0), 0);
    int64_t deadline = tm_deadline(20);
    assert_int_equal(tm_socket_wait(&fd, 1, deadline), 0);
    assert_true(tm_now() >= deadline);
    assert_int_equal(tm_socket_wait(NULL, 0, tm_deadline(1)), 0);
    assert_true(write_all(ends[1], "x", 1));
    assert_int_equal(tm_socket_wait(&fd, 1, TM_FOREVER), 1);
    close_pair(ends);
}

/* Else a caller that goes on waiting would spin. */
static void a_wait_that_fails_takes_a_moment(void **state)
{
    (void)state;
    call_fails(CALL_poll, ENOMEM, 2);
    int64_t before = tm_now();
    assert_int_equal(tm_socket_wait(NULL, 0, TM_FOREVER), -ENOMEM);
    assert_true(tm_now() - before >= 5 * TM_MS);
    assert_int_equal(tm_socket_wait(NULL, 0, 0), -ENOMEM);
    assert_int_equal(calls_failed(), 2);
}

static void what_the_peer_has_not_acknowledged(void **state)
{
    (void)state;
    int ends[2];
    static char bytes[8 << 20];
    struct iovec part = {bytes, sizeof bytes};
    tm_tcp_info info;
    tcp_pair(ends);
    ssize_t wrote = tm_socket_write(ends[0], &part, 1);
    assert_true(wrote > 0 && (size_t)wrote < sizeof bytes);
    assert_true(tm_socket_unacked(ends[0]) > 0);
    tm_socket_tcp_info(ends[0], &info);
    assert_string_equal(info.state, "ESTABLISHED");
    assert_true(info.unsent_bytes + info.unacked_bytes > 0);
    close_pair(ends);
}

static void what_is_no_tcp_has_no_tcp_info(void **state)
{
    (void)state;
    int ends[2];
    tm_tcp_info info = {.rtt_us = 1};
    unix_pair(ends);
    tm_socket_tcp_info(ends[0], &info);
    assert_string_equal(info.state, "");
    assert_int_equal(info.rtt_us, 0);
    close_pair(ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_socket_never_blocks_and_is_close_on_exec),
        cmocka_unit_test(owning_makes_close_on_exec_and_nonblocking_on_demand),
        cmocka_unit_test(no_descriptor_is_EBADF),
        cmocka_unit_test(the_kinds_of_descriptors),
        cmocka_unit_test(a_read_and_a_write_move_bytes_in_one_part_or_more),
        cmocka_unit_test(an_interrupted_call_goes_on),
        cmocka_unit_test(promise_10_a_write_to_who_has_left_raises_no_signal),
        cmocka_unit_test(discarding_drops_what_is_there),
        cmocka_unit_test(a_reset_reaches_a_tcp_peer_at_once_and_ends_others),
        cmocka_unit_test(the_ends_of_a_stream),
        cmocka_unit_test(a_wait_ends_at_its_deadline),
        cmocka_unit_test(a_wait_that_fails_takes_a_moment),
        cmocka_unit_test(what_the_peer_has_not_acknowledged),
        cmocka_unit_test(what_is_no_tcp_has_no_tcp_info),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
