/* SPDX-License-Identifier: MIT */
/* "fd:N": a listening socket that was handed down, owned on success only. */
#define _POSIX_C_SOURCE 200809L
#include "reach.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void address_of_fd(int fd, char *address, size_t size)
{
    snprintf(address, size, "fd:%d", fd);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void a_socket_that_listens_is_taken_and_owned(void **state)
{
    (void)state;
    char where[TCPMSG_ADDRESS_MAX], address[32], bound[TCPMSG_ADDRESS_MAX];
    int fd = raw_listen(where, sizeof where);
    address_of_fd(fd, address, sizeof address);
    tcpmsg_listener *listener = listen_at(address);
    assert_int_equal(tcpmsg_listener_fd(listener), fd);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    bound_address(listener, bound);
    assert_string_equal(bound, where);
    expect_reachable(listener, where);
    tcpmsg_listener_close(listener);
    assert_false(is_open(fd));
}

static void what_was_waiting_already_is_accepted(void **state)
{
    (void)state;
    char where[TCPMSG_ADDRESS_MAX], address[32];
    int fd = raw_listen(where, sizeof where);
    tcpmsg_conn *dialled = dial_to(where);
    address_of_fd(fd, address, sizeof address);
    tcpmsg_listener *listener = listen_at(address);
    tcpmsg_conn *accepted = accept_one(listener);
    expect_talk(dialled, accepted);
    tcpmsg_close(dialled);
    tcpmsg_close(accepted);
    tcpmsg_listener_close(listener);
}

static void a_unix_socket_is_taken_and_its_giver_keeps_the_file(void **state)
{
    (void)state;
    char dir[PATH_ROOM], path[PATH_ROOM + 16], address[32], where[PATH_ROOM + 32];
    make_temp_dir(dir);
    snprintf(path, sizeof path, "%s/socket", dir);
    snprintf(where, sizeof where, "unix:%s", path);
    int fd = raw_bind_unix(path, SOCK_STREAM);
    assert_int_equal(listen(fd, 8), 0);
    address_of_fd(fd, address, sizeof address);
    tcpmsg_listener *listener = listen_at(address);
    expect_reachable(listener, where);
    tcpmsg_listener_close(listener);
    assert_int_equal(access(path, F_OK), 0);
    remove_temp_dir(dir);
}

static void abort_and_close_leave_a_shared_socket_to_the_others(void **state)
{
    (void)state;
    char where[TCPMSG_ADDRESS_MAX], address[32];
    int fd = raw_listen(where, sizeof where), other = dup(fd);
    address_of_fd(fd, address, sizeof address);
    tcpmsg_listener *listener = listen_at(address);
    tcpmsg_listener_abort(listener);
    int guest = raw_dial(where);
    assert_true(guest >= 0);
    int accepted = raw_accept(other);
    close(accepted);
    close(guest);

    tcpmsg_listener_close(listener);
    guest = raw_dial(where);
    assert_true(guest >= 0);
    accepted = raw_accept(other);
    close(accepted);
    close(guest);
    close(other);
}

static void two_listeners_of_one_socket_are_each_their_own(void **state)
{
    (void)state;
    char where[TCPMSG_ADDRESS_MAX], address[32];
    int fd = raw_listen(where, sizeof where), other_fd = dup(fd);
    address_of_fd(fd, address, sizeof address);
    tcpmsg_listener *listener = listen_at(address);
    address_of_fd(other_fd, address, sizeof address);
    tcpmsg_listener *other = listen_at(address);
    tcpmsg_listener_abort(listener);
    expect_reachable(other, where);
    tcpmsg_listener_close(listener);
    expect_reachable(other, where);
    tcpmsg_listener_close(other);
}

/* Refused, and left as it was. */
static void expect_refused(int fd)
{
    char address[32], why[256] = "";
    tcpmsg_listener *listener = NO_LISTENER;
    int descriptor_flags = fcntl(fd, F_GETFD), status_flags = fcntl(fd, F_GETFL);
    address_of_fd(fd, address, sizeof address);
    assert_int_equal(
        tcpmsg_listen(&listener, address, TCPMSG_OPTIONS(.why = why, .why_size = sizeof why)),
        TCPMSG_EINVAL);
    assert_ptr_equal(listener, NO_LISTENER);
    assert_true(strlen(why) > 0);
    assert_true(is_open(fd));
    assert_int_equal(fcntl(fd, F_GETFD), descriptor_flags);
    assert_int_equal(fcntl(fd, F_GETFL), status_flags);
}

static void files_and_pipes_are_refused(void **state)
{
    (void)state;
    int ends[2], file = open("/dev/null", O_RDONLY);
    assert_int_equal(pipe(ends), 0);
    expect_refused(file);
    expect_refused(ends[0]);
    expect_refused(ends[1]);
    close(file);
    close(ends[0]);
    close(ends[1]);
}

static void sockets_that_do_not_listen_are_refused(void **state)
{
    (void)state;
    char where[TCPMSG_ADDRESS_MAX];
    int listening = raw_listen(where, sizeof where);
    int connected = raw_dial(where), fresh = socket(AF_INET, SOCK_STREAM, 0);
    int datagrams = socket(AF_INET, SOCK_DGRAM, 0), ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    const int wrong[] = {connected, fresh, datagrams, ends[0], ends[1]};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        expect_refused(wrong[i]);
        close(wrong[i]);
    }
    close(listening);
}

static void a_socket_of_packets_is_refused(void **state)
{
    (void)state;
    char dir[PATH_ROOM], path[PATH_ROOM + 16];
    make_temp_dir(dir);
    snprintf(path, sizeof path, "%s/socket", dir);
    int packets = raw_bind_unix(path, SOCK_SEQPACKET);
    assert_int_equal(listen(packets, 8), 0);
    expect_refused(packets);
    close(packets);
    remove_temp_dir(dir);
}

static void a_number_that_is_no_descriptor_is_an_error(void **state)
{
    (void)state;
    char address[32];
    tcpmsg_listener *listener = NO_LISTENER;
    int fd = dup(0);
    close(fd);
    address_of_fd(fd, address, sizeof address);
    assert_int_equal(tcpmsg_listen(&listener, address, NULL), TCPMSG_EINVAL);
    assert_ptr_equal(listener, NO_LISTENER);
}

static void bad_options_leave_the_socket_to_its_giver(void **state)
{
    (void)state;
    char where[TCPMSG_ADDRESS_MAX], address[32];
    tcpmsg_listener *listener = NO_LISTENER;
    int fd = raw_listen(where, sizeof where);
    address_of_fd(fd, address, sizeof address);
    assert_int_equal(tcpmsg_listen(&listener, address, TCPMSG_OPTIONS(.framing.width = 5)),
                     TCPMSG_EINVAL);
    assert_ptr_equal(listener, NO_LISTENER);
    assert_true(is_open(fd));
    assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_socket_that_listens_is_taken_and_owned),
        cmocka_unit_test(what_was_waiting_already_is_accepted),
        cmocka_unit_test(a_unix_socket_is_taken_and_its_giver_keeps_the_file),
        cmocka_unit_test(abort_and_close_leave_a_shared_socket_to_the_others),
        cmocka_unit_test(two_listeners_of_one_socket_are_each_their_own),
        cmocka_unit_test(files_and_pipes_are_refused),
        cmocka_unit_test(sockets_that_do_not_listen_are_refused),
        cmocka_unit_test(a_socket_of_packets_is_refused),
        cmocka_unit_test(a_number_that_is_no_descriptor_is_an_error),
        cmocka_unit_test(bad_options_leave_the_socket_to_its_giver),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
