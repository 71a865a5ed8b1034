/* SPDX-License-Identifier: MIT */
/* What the system may answer to a dial, and what the caller is told then. */
#define _GNU_SOURCE
#include "reach.h"
#include "shortage.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct answer {
    enum scarce_call call;
    int number;
    int error;
};

/* A dial that meets this answer says so, tells why, and makes nothing. */
static void expect_answer(const char *address, const struct answer *met)
{
    tcpmsg_conn *conn = NO_CONN;
    char why[256] = "";
    long before = allocations();
    int descriptors = count_descriptors();
    call_fails(met->call, met->number, 1);
    int error = tcpmsg_dial(&conn, address, TCPMSG_OPTIONS(.why = why, .why_size = sizeof why));
    assert_int_equal(calls_failed(), 1);
    if (error != met->error)
        fail_msg("%s: %s, not %s: %s", address, tcpmsg_error_name(error),
                 tcpmsg_error_name(met->error), why);
    assert_ptr_equal(conn, NO_CONN);
    if (met->call == CALL_connect)
        assert_non_null(strstr(why, strerror(met->number)));
    else
        assert_true(strlen(why) > 0);
    assert_int_equal(allocations(), before);
    assert_int_equal(count_descriptors(), descriptors);
}

static void expect_answers(const char *address, const struct answer *answers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        expect_answer(address, &answers[i]);
}

static void each_answer_to_a_tcp_dial_has_its_error(void **state)
{
    (void)state;
    static const struct answer answers[] = {
        {CALL_connect, ECONNREFUSED, TCPMSG_EREFUSED},
        {CALL_connect, ETIMEDOUT, TCPMSG_ETIMEDOUT},
        {CALL_connect, ENETUNREACH, TCPMSG_EUNREACHABLE},
        {CALL_connect, EHOSTUNREACH, TCPMSG_EUNREACHABLE},
        {CALL_connect, ENETDOWN, TCPMSG_EUNREACHABLE},
        {CALL_connect, EADDRNOTAVAIL, TCPMSG_EUNREACHABLE},
        {CALL_connect, EACCES, TCPMSG_EACCESS},
        {CALL_connect, EPERM, TCPMSG_EACCESS},
        {CALL_connect, ENOBUFS, TCPMSG_ENOMEM},
        {CALL_connect, EINVAL, TCPMSG_EUNREACHABLE},
        {CALL_connect, EIO, TCPMSG_ESYSTEM},
        {CALL_socket, EMFILE, TCPMSG_EMFILE},
        {CALL_socket, ENFILE, TCPMSG_EMFILE},
        {CALL_socket, EAFNOSUPPORT, TCPMSG_EUNREACHABLE},
        {CALL_calloc, ENOMEM, TCPMSG_ENOMEM},
    };
    expect_answers("127.0.0.1:1", answers, COUNT(answers));
}

/* "127.1" is an address, too, but not one that is known without a look-up. */
static void each_answer_to_a_look_up_has_its_error(void **state)
{
    (void)state;
    static const struct answer answers[] = {
        {CALL_getaddrinfo, EAI_MEMORY, TCPMSG_ENOMEM},
        {CALL_getaddrinfo, EAI_FAIL, TCPMSG_ERESOLVE},
        {CALL_malloc, ENOMEM, TCPMSG_ENOMEM},
        {CALL_calloc, ENOMEM, TCPMSG_ENOMEM},
        {CALL_connect, ECONNREFUSED, TCPMSG_EREFUSED},
    };
    expect_answers("127.1:1", answers, COUNT(answers));
}

static void each_answer_to_a_unix_dial_has_its_error(void **state)
{
    (void)state;
    static const struct answer answers[] = {
        {CALL_connect, ECONNREFUSED, TCPMSG_EREFUSED}, {CALL_connect, ENOENT, TCPMSG_EREFUSED},
        {CALL_connect, ENOTDIR, TCPMSG_EREFUSED},      {CALL_connect, ENOTSOCK, TCPMSG_EREFUSED},
        {CALL_connect, EPROTOTYPE, TCPMSG_EREFUSED},   {CALL_connect, EACCES, TCPMSG_EACCESS},
        {CALL_connect, ENOMEM, TCPMSG_ENOMEM},         {CALL_connect, ELOOP, TCPMSG_ESYSTEM},
        {CALL_socket, EMFILE, TCPMSG_EMFILE},
    };
    expect_answers("unix:/nobody/is/here", answers, COUNT(answers));
}

/* What is there, but is no stream socket that listens: nobody to reach. */
static void a_path_of_something_else_is_EREFUSED(void **state)
{
    (void)state;
    char dir[PATH_ROOM], path[PATH_ROOM + 16], address[PATH_ROOM + 32];
    make_temp_dir(dir);
    snprintf(path, sizeof path, "%s/datagrams", dir);
    int datagrams = raw_bind_unix(path, SOCK_DGRAM);
    static const char *const below[] = {"", "/below"};
    for (size_t i = 0; i < COUNT(below); i++) {
        tcpmsg_conn *conn = NO_CONN;
        snprintf(address, sizeof address, "unix:%s%s", path, below[i]);
        assert_int_equal(tcpmsg_dial(&conn, address, NULL), TCPMSG_EREFUSED);
        assert_ptr_equal(conn, NO_CONN);
    }
    close(datagrams);
    remove_temp_dir(dir);
}

/* A poll that fails now and then costs a moment, not the dial. */
static void a_dial_goes_on_when_poll_fails(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    call_fails(CALL_poll, ENOMEM, 3);
    tcpmsg_conn *conn = dial_to(address);
    calls_failed();
    tcpmsg_conn *accepted = accept_one(listener);
    expect_talk(conn, accepted);
    assert_int_equal(tcpmsg_close(conn), 0);
    assert_int_equal(tcpmsg_close(accepted), 0);
    tcpmsg_listener_close(listener);
}

/* What the system can't set is left as it is. */
static void a_connection_does_without_socket_options(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    call_fails(CALL_setsockopt, ENOPROTOOPT, 100);
    tcpmsg_conn *conn = dial_to(address), *accepted = accept_one(listener);
    assert_true(calls_failed() > 1);
    expect_talk(conn, accepted);
    assert_int_equal(tcpmsg_close(conn), 0);
    assert_int_equal(tcpmsg_close(accepted), 0);
    tcpmsg_listener_close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_answer_to_a_tcp_dial_has_its_error),
        cmocka_unit_test(each_answer_to_a_look_up_has_its_error),
        cmocka_unit_test(each_answer_to_a_unix_dial_has_its_error),
        cmocka_unit_test(a_path_of_something_else_is_EREFUSED),
        cmocka_unit_test(a_dial_goes_on_when_poll_fails),
        cmocka_unit_test(a_connection_does_without_socket_options),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
