/* SPDX-License-Identifier: MIT */
/* What the system may answer to a listen, and what the caller is told then. */
#define _GNU_SOURCE
#include "reach.h"
#include "shortage.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct answer {
    enum scarce_call call;
    int number;
    int error;
};

/* A listen that meets this answer says so, tells why, and leaves nothing. */
static void expect_answer(const char *address, const struct answer *met)
{
    tcpmsg_listener *listener = NO_LISTENER;
    char why[256] = "";
    long before = allocations();
    int descriptors = count_descriptors();
    call_fails(met->call, met->number, 1);
    int error =
        tcpmsg_listen(&listener, address, TCPMSG_OPTIONS(.why = why, .why_size = sizeof why));
    assert_int_equal(calls_failed(), 1);
    if (error != met->error)
        fail_msg("%s: %s, not %s: %s", address, tcpmsg_error_name(error),
                 tcpmsg_error_name(met->error), why);
    assert_ptr_equal(listener, NO_LISTENER);
    assert_true(strlen(why) > 0);
    assert_int_equal(allocations(), before);
    assert_int_equal(count_descriptors(), descriptors);
}

static const struct answer answers[] = {
    {CALL_bind, EACCES, TCPMSG_EACCESS},       {CALL_bind, EPERM, TCPMSG_EACCESS},
    {CALL_bind, EROFS, TCPMSG_EACCESS},        {CALL_bind, EADDRNOTAVAIL, TCPMSG_EUNREACHABLE},
    {CALL_bind, ENOMEM, TCPMSG_ENOMEM},        {CALL_bind, ENOENT, TCPMSG_ESYSTEM},
    {CALL_bind, ENOTDIR, TCPMSG_ESYSTEM},      {CALL_listen, EADDRINUSE, TCPMSG_EINUSE},
    {CALL_listen, EOPNOTSUPP, TCPMSG_ESYSTEM}, {CALL_socket, EMFILE, TCPMSG_EMFILE},
    {CALL_socket, ENFILE, TCPMSG_EMFILE},      {CALL_socket, ENOBUFS, TCPMSG_ENOMEM},
    {CALL_eventfd, EMFILE, TCPMSG_EMFILE},     {CALL_eventfd, ENOMEM, TCPMSG_ENOMEM},
    {CALL_eventfd, ENODEV, TCPMSG_ESYSTEM},
};

static void each_answer_to_a_tcp_listen_has_its_error(void **state)
{
    (void)state;
    static const struct answer more[] = {
        {CALL_bind, EADDRINUSE, TCPMSG_EINUSE},
        {CALL_setsockopt, ENOPROTOOPT, TCPMSG_ESYSTEM},
        {CALL_getaddrinfo, EAI_MEMORY, TCPMSG_ENOMEM},
        {CALL_getaddrinfo, EAI_AGAIN, TCPMSG_ERESOLVE},
    };
    for (size_t i = 0; i < COUNT(answers); i++)
        expect_answer("127.0.0.1:0", &answers[i]);
    for (size_t i = 0; i < COUNT(more); i++)
        expect_answer("127.0.0.1:0", &more[i]);
}

/* A file that was made is removed again. */
static void each_answer_to_a_unix_listen_has_its_error(void **state)
{
    (void)state;
    char dir[PATH_ROOM], address[PATH_ROOM + 16];
    make_temp_dir(dir);
    snprintf(address, sizeof address, "unix:%s/path", dir);
    for (size_t i = 0; i < COUNT(answers); i++) {
        expect_answer(address, &answers[i]);
        assert_int_not_equal(access(address + strlen("unix:"), F_OK), 0);
    }
    snprintf(address, sizeof address, "unix:@tcpmsg-test-%ld", (long)getpid());
    for (size_t i = 0; i < COUNT(answers); i++)
        expect_answer(address, &answers[i]);
    expect_answer(address, &(struct answer){CALL_bind, EADDRINUSE, TCPMSG_EINUSE});
    remove_temp_dir(dir);
}

static void expect_reachable_by_IPv4(tcpmsg_listener *listener)
{
    char bound[TCPMSG_ADDRESS_MAX], address[TCPMSG_ADDRESS_MAX];
    bound_address(listener, bound);
    snprintf(address, sizeof address, "127.0.0.1%s", strrchr(bound, ':'));
    expect_reachable(listener, address);
    tcpmsg_listener_close(listener);
}

static void a_machine_without_IPv6_listens_at_IPv4(void **state)
{
    (void)state;
    call_fails(CALL_socket, EAFNOSUPPORT, 1);
    tcpmsg_listener *listener = listen_at(":0");
    assert_int_equal(calls_failed(), 1);
    expect_reachable_by_IPv4(listener);
    if (!has_ipv6())
        return;
    call_fails(CALL_bind, EADDRNOTAVAIL, 1);
    listener = listen_at(":0");
    assert_int_equal(calls_failed(), 1);
    expect_reachable_by_IPv4(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_answer_to_a_tcp_listen_has_its_error),
        cmocka_unit_test(each_answer_to_a_unix_listen_has_its_error),
        cmocka_unit_test(a_machine_without_IPv6_listens_at_IPv4),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
