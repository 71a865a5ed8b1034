/* SPDX-License-Identifier: MIT */
/* A host's addresses: numbers are read, names are looked up, within a time limit. */
#define _GNU_SOURCE
#include "clock.h"
#include "resolve.h"
#include "shortage.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static tm_address tcp(const char *host, uint16_t port)
{
    tm_address address = {.kind = TM_ADDRESS_TCP, .port = port};
    address.is_v6 = strchr(host, ':') != NULL;
    memcpy(address.host, host, strlen(host) + 1);
    return address;
}

/* Resolves what must have an address. */
static tm_addresses resolve(const char *host, bool passive, int64_t deadline)
{
    tm_addresses found = {0};
    tm_address address = tcp(host, 4711);
    assert_int_equal(tm_resolve(&found, &address, passive, deadline, NULL), 0);
    assert_non_null(found.list);
    assert_true(found.count > 0);
    return found;
}

static void expect_v4(const tm_sockaddr *address, in_addr_t wanted)
{
    assert_int_equal(address->length, sizeof address->u.v4);
    assert_int_equal(address->u.v4.sin_family, AF_INET);
    assert_int_equal(address->u.v4.sin_port, htons(4711));
    assert_int_equal(address->u.v4.sin_addr.s_addr, htonl(wanted));
}

static void expect_v6(const tm_sockaddr *address, const struct in6_addr *wanted)
{
    assert_int_equal(address->length, sizeof address->u.v6);
    assert_int_equal(address->u.v6.sin6_family, AF_INET6);
    assert_int_equal(address->u.v6.sin6_port, htons(4711));
    assert_memory_equal(&address->u.v6.sin6_addr, wanted, sizeof *wanted);
}

static void a_number_is_itself(void **state)
{
    (void)state;
    tm_addresses found = resolve("192.0.2.7", false, TM_FOREVER);
    assert_int_equal(found.count, 1);
    expect_v4(&found.list[0], 0xc0000207);
    free(found.list);
    struct in6_addr v6;
    assert_int_equal(inet_pton(AF_INET6, "2001:db8::7", &v6), 1);
    found = resolve("2001:db8::7", false, 0);
    assert_int_equal(found.count, 1);
    expect_v6(&found.list[0], &v6);
    free(found.list);
}

/* Neither a thread nor a descriptor for what needs no look-up. */
static void a_number_is_no_look_up(void **state)
{
    (void)state;
    call_fails(CALL_pthread_create, EAGAIN, 1);
    free(resolve("127.0.0.1", true, tm_deadline(WAIT_MS)).list);
    free(resolve("", true, tm_deadline(WAIT_MS)).list);
    assert_int_equal(calls_failed(), 0);
}

static void no_host_is_every_interface_or_this_machine(void **state)
{
    (void)state;
    tm_addresses found = resolve("", true, TM_FOREVER);
    for (size_t i = 0; i < found.count; i++)
        if (found.list[i].u.any.sa_family == AF_INET)
            expect_v4(&found.list[i], INADDR_ANY);
        else
            expect_v6(&found.list[i], &in6addr_any);
    free(found.list);
    found = resolve("", false, TM_FOREVER);
    for (size_t i = 0; i < found.count; i++)
        if (found.list[i].u.any.sa_family == AF_INET)
            expect_v4(&found.list[i], INADDR_LOOPBACK);
        else
            expect_v6(&found.list[i], &in6addr_loopback);
    free(found.list);
}

static void a_name_is_looked_up_with_a_limit_and_without(void **state)
{
    (void)state;
    const int64_t deadlines[] = {TM_FOREVER, tm_deadline(WAIT_MS)};
    for (size_t i = 0; i < COUNT(deadlines); i++) {
        tm_addresses found = resolve("localhost", false, deadlines[i]);
        for (size_t j = 0; j < found.count; j++)
            if (found.list[j].u.any.sa_family == AF_INET)
                assert_int_equal(ntohl(found.list[j].u.v4.sin_addr.s_addr) >> 24, 127);
            else
                expect_v6(&found.list[j], &in6addr_loopback);
        free(found.list);
    }
}

/* The thread of a look-up frees what is left a moment after its answer. */
static bool all_freed(void *arg)
{
    (void)arg;
    return allocations() == 0;
}

/* The look-up of a name that answers so, after it was found to be no number. */
static int look_up_answers(int answer, int64_t deadline, tm_story *story)
{
    tm_addresses found = {0};
    tm_address address = tcp("name", 4711);
    call_fails_later(CALL_getaddrinfo, answer, 1);
    int error = tm_resolve(&found, &address, false, deadline, story);
    assert_int_equal(calls_failed(), 1);
    assert_null(found.list);
    assert_true(eventually(all_freed, NULL));
    return error;
}

static void a_name_that_nobody_has_is_ERESOLVE_and_told(void **state)
{
    (void)state;
    const int64_t deadlines[] = {TM_FOREVER, tm_deadline(WAIT_MS)};
    for (size_t i = 0; i < COUNT(deadlines); i++) {
        char text[200] = "";
        tm_story story = {.text = text, .size = sizeof text};
        assert_int_equal(look_up_answers(EAI_NONAME, deadlines[i], &story), TCPMSG_ERESOLVE);
        assert_non_null(strstr(text, "\"name\""));
        assert_non_null(strstr(text, gai_strerror(EAI_NONAME)));
    }
}

static void out_of_memory_is_ENOMEM_and_the_rest_ERESOLVE(void **state)
{
    (void)state;
    char text[200] = "";
    tm_story story = {.text = text, .size = sizeof text};
    assert_int_equal(look_up_answers(EAI_MEMORY, TM_FOREVER, NULL), TCPMSG_ENOMEM);
    assert_int_equal(look_up_answers(EAI_AGAIN, TM_FOREVER, &story), TCPMSG_ERESOLVE);
    assert_non_null(strstr(text, gai_strerror(EAI_AGAIN)));
    assert_int_equal(look_up_answers(EAI_FAIL, tm_deadline(WAIT_MS), NULL), TCPMSG_ERESOLVE);
}

/* Each thing that a look-up needs can be missing, and the next one works. */
static void what_a_look_up_lacks_is_ENOMEM(void **state)
{
    (void)state;
    const struct {
        enum scarce_call call;
        int error;
    } lacking[] = {
        {CALL_calloc, ENOMEM},
        {CALL_pthread_mutex_init, ENOMEM},
        {CALL_pthread_condattr_init, ENOMEM},
        {CALL_pthread_cond_init, EAGAIN},
        {CALL_pthread_create, EAGAIN},
    };
    for (size_t i = 0; i < COUNT(lacking); i++) {
        tm_addresses found = {0};
        tm_address address = tcp("localhost", 4711);
        call_fails(lacking[i].call, lacking[i].error, 1);
        assert_int_equal(tm_resolve(&found, &address, false, tm_deadline(WAIT_MS), NULL),
                         TCPMSG_ENOMEM);
        assert_int_equal(calls_failed(), 1);
        assert_null(found.list);
        free(resolve("localhost", false, tm_deadline(WAIT_MS)).list);
        assert_true(eventually(all_freed, NULL));
    }
}

/* The thread of a look-up that nobody waits for any more ends by itself, and frees all. */
static void a_look_up_out_of_time_is_left_behind(void **state)
{
    (void)state;
    char text[200] = "";
    tm_story story = {.text = text, .size = sizeof text};
    tm_addresses found = {0};
    tm_address address = tcp("localhost", 4711);
    assert_true(eventually(all_freed, NULL));
    hold_look_ups = true;
    int64_t deadline = tm_deadline(50);
    assert_int_equal(tm_resolve(&found, &address, false, deadline, &story), TCPMSG_ETIMEDOUT);
    assert_true(tm_now() >= deadline);
    assert_null(found.list);
    assert_non_null(strstr(text, "localhost"));
    assert_int_equal(allocations(), 1);
    hold_look_ups = false;
    assert_true(eventually(all_freed, NULL));
}

static bool a_look_up_is_held(void *arg)
{
    (void)arg;
    return held_look_ups > 0;
}

static void *let_look_ups_go(void *was_held)
{
    *(bool *)was_held = eventually(a_look_up_is_held, NULL);
    hold_look_ups = false;
    return NULL;
}

static void promise_10_no_signal_reaches_a_look_up(void **state)
{
    (void)state;
    pthread_t thread;
    bool was_held = false;
    hold_look_ups = true;
    look_up_hears_signals = true;
    assert_int_equal(pthread_create(&thread, NULL, let_look_ups_go, &was_held), 0);
    free(resolve("localhost", false, tm_deadline(WAIT_MS)).list);
    pthread_join(thread, NULL);
    assert_true(was_held);
    assert_false(look_up_hears_signals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_itself),
        cmocka_unit_test(a_number_is_no_look_up),
        cmocka_unit_test(no_host_is_every_interface_or_this_machine),
        cmocka_unit_test(a_name_is_looked_up_with_a_limit_and_without),
        cmocka_unit_test(a_name_that_nobody_has_is_ERESOLVE_and_told),
        cmocka_unit_test(out_of_memory_is_ENOMEM_and_the_rest_ERESOLVE),
        cmocka_unit_test(what_a_look_up_lacks_is_ENOMEM),
        cmocka_unit_test(a_look_up_out_of_time_is_left_behind),
        cmocka_unit_test(promise_10_no_signal_reaches_a_look_up),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
