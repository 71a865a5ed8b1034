/* SPDX-License-Identifier: MIT */
/* Attempts at all addresses of a name, raced as RFC 8305 says; here step by step. */
#define _GNU_SOURCE
#include "clock.h"
#include "crowd.h"
#include "race.h"
#include "shortage.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ATTEMPT_DELAY_MS 250

static tm_sockaddr v4(const char *text)
{
    tm_sockaddr address = {.length = sizeof address.u.v4, .u.v4 = {.sin_family = AF_INET}};
    char host[32];
    unsigned port;
    assert_int_equal(sscanf(text, "%31[0-9.]:%u", host, &port), 2);
    assert_int_equal(inet_pton(AF_INET, host, &address.u.v4.sin_addr), 1);
    address.u.v4.sin_port = htons((uint16_t)port);
    return address;
}

static tm_sockaddr v6(uint16_t port)
{
    tm_sockaddr address = {.length = sizeof address.u.v6, .u.v6 = {.sin6_family = AF_INET6}};
    address.u.v6.sin6_addr = in6addr_loopback;
    address.u.v6.sin6_port = htons(port);
    return address;
}

/* A race, and what it may not leave behind. */
struct run {
    tm_race race;
    tm_story story;
    char text[512];
    long allocations;
    int descriptors;
};

static const tm_settings no_settings;

static void begin(struct run *run, const tm_sockaddr *addresses, size_t count, const char *asked)
{
    *run = (struct run){.allocations = allocations(), .descriptors = count_descriptors()};
    run->story = (tm_story){.text = run->text, .size = sizeof run->text};
    tm_addresses list = {calloc(count, sizeof *addresses), count};
    assert_non_null(list.list);
    memcpy(list.list, addresses, count * sizeof *addresses);
    assert_int_equal(tm_race_begin(&run->race, list, &no_settings, asked, &run->story), 0);
}

static void end(struct run *run)
{
    tm_race_end(&run->race);
    assert_int_equal(allocations(), run->allocations);
    assert_int_equal(count_descriptors(), run->descriptors);
}

/* Drives the race as dial does, to its end. */
static int drive(struct run *run, int *fd, tm_sockaddr *peer)
{
    int64_t deadline = tm_deadline(WAIT_MS);
    int result;
    while ((result = tm_race_step(&run->race, fd, peer)) == 0) {
        assert_false(tm_passed(deadline));
        poll(run->race.fds, run->race.open, tm_left_ms(tm_sooner(deadline, run->race.next_start)));
    }
    return result;
}

static void expect_won(struct run *run, const tm_sockaddr *wanted)
{
    int fd = -1;
    tm_sockaddr peer;
    assert_int_equal(drive(run, &fd, &peer), 1);
    assert_true(fd >= 0);
    assert_true(tm_sockaddr_equal(&peer, wanted));
    close(fd);
}

static void expect_lost(struct run *run, int error)
{
    int fd = 0;
    tm_sockaddr peer;
    assert_int_equal(drive(run, &fd, &peer), error);
    assert_int_equal(fd, -1);
}

/* A port of 127.0.0.1 where somebody listens, and one where nobody does. */
struct ports {
    int listening;
    int bound;
    char open[32];
    char closed[32];
};

static void open_ports(struct ports *ports)
{
    struct sockaddr_in bound = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof bound;
    ports->listening = raw_listen(ports->open, sizeof ports->open);
    ports->bound = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(ports->bound, (struct sockaddr *)&bound, length), 0);
    assert_int_equal(getsockname(ports->bound, (struct sockaddr *)&bound, &length), 0);
    snprintf(ports->closed, sizeof ports->closed, "127.0.0.1:%d", ntohs(bound.sin_port));
}

static void close_ports(const struct ports *ports)
{
    close(ports->listening);
    close(ports->bound);
}

static void promise_11_IPv6_is_first_and_the_families_take_turns(void **state)
{
    (void)state;
    const tm_sockaddr given[] = {v4("127.0.0.1:1"), v4("127.0.0.2:2"), v6(1),
                                 v4("127.0.0.3:3"), v4("127.0.0.4:4"), v6(2)};
    const size_t wanted[] = {2, 0, 5, 1, 3, 4};
    struct run run;
    begin(&run, given, COUNT(given), "name:1");
    assert_int_equal(run.race.addresses.count, COUNT(given));
    for (size_t i = 0; i < COUNT(given); i++)
        assert_true(tm_sockaddr_equal(&run.race.addresses.list[i], &given[wanted[i]]));
    assert_int_equal(run.race.started, 0);
    end(&run);
}

static void one_family_alone_keeps_its_order(void **state)
{
    (void)state;
    const tm_sockaddr given[] = {v6(3), v6(1), v6(2)};
    struct run run;
    begin(&run, given, COUNT(given), "name:1");
    for (size_t i = 0; i < COUNT(given); i++)
        assert_true(tm_sockaddr_equal(&run.race.addresses.list[i], &given[i]));
    end(&run);
}

static void no_memory_frees_all_that_was_handed_over(void **state)
{
    (void)state;
    for (int after = 0; after < 3; after++) {
        tm_race race;
        long before = allocations();
        tm_addresses list = {calloc(2, sizeof(tm_sockaddr)), 2};
        call_fails_later(CALL_calloc, 1, after);
        assert_int_equal(tm_race_begin(&race, list, &no_settings, "name:1", NULL), TCPMSG_ENOMEM);
        assert_int_equal(calls_failed(), 1);
        assert_int_equal(allocations(), before);
    }
}

static void who_listens_is_reached(void **state)
{
    (void)state;
    struct ports ports;
    struct run run;
    open_ports(&ports);
    const tm_sockaddr address = v4(ports.open);
    begin(&run, &address, 1, ports.open);
    expect_won(&run, &address);
    end(&run);
    close_ports(&ports);
}

static void nobody_there_is_EREFUSED_and_each_address_is_told(void **state)
{
    (void)state;
    struct ports ports;
    struct run run;
    open_ports(&ports);
    const tm_sockaddr addresses[] = {v4(ports.closed), v4(ports.closed)};
    begin(&run, addresses, COUNT(addresses), "name:1");
    expect_lost(&run, TCPMSG_EREFUSED);
    char wanted[200];
    snprintf(wanted, sizeof wanted, "can't connect to name:1: %s (%s), %s (%s)",
             strerror(ECONNREFUSED), ports.closed, strerror(ECONNREFUSED), ports.closed);
    assert_string_equal(run.text, wanted);
    end(&run);
    close_ports(&ports);
}

/* What the caller wrote is not told again. */
static void an_address_that_was_asked_for_is_not_repeated(void **state)
{
    (void)state;
    struct ports ports;
    struct run run;
    char wanted[100];
    open_ports(&ports);
    const tm_sockaddr address = v4(ports.closed);
    begin(&run, &address, 1, ports.closed);
    expect_lost(&run, TCPMSG_EREFUSED);
    snprintf(wanted, sizeof wanted, "can't connect to %s: %s", ports.closed,
             strerror(ECONNREFUSED));
    assert_string_equal(run.text, wanted);
    end(&run);
    close_ports(&ports);
}

static void promise_11_a_failure_starts_the_next_at_once(void **state)
{
    (void)state;
    struct ports ports;
    struct run run;
    int fd;
    tm_sockaddr peer;
    open_ports(&ports);
    const tm_sockaddr addresses[] = {v4("127.0.0.2:1"), v4("127.0.0.3:1"), v4(ports.open)};
    begin(&run, addresses, COUNT(addresses), "name:1");
    call_fails(CALL_connect, ENETUNREACH, 2);
    int result = tm_race_step(&run.race, &fd, &peer);
    assert_int_equal(calls_failed(), 2);
    assert_int_equal(run.race.started, 3);
    assert_true(run.race.next_start == TM_FOREVER);
    if (result == 1)
        close(fd);
    else
        expect_won(&run, &addresses[2]);
    end(&run);
    close_ports(&ports);
}

/* The first gets no answer: the second starts when the delay has passed, and the first is closed. */
static void promise_11_no_answer_starts_the_next_after_a_delay(void **state)
{
    (void)state;
    struct ports ports;
    struct run run;
    struct crowd crowd;
    char crowded[32];
    int fd;
    tm_sockaddr peer;
    open_ports(&ports);
    crowd_at_port(&crowd, crowded, sizeof crowded);
    const tm_sockaddr addresses[] = {v4(crowded), v4(ports.open)};
    begin(&run, addresses, COUNT(addresses), "name:1");
    int64_t before = tm_now();
    assert_int_equal(tm_race_step(&run.race, &fd, &peer), 0);
    assert_int_equal(run.race.open, 1);
    assert_int_equal(run.race.started, 1);
    assert_true(run.race.next_start >= before + ATTEMPT_DELAY_MS * TM_MS);
    assert_true(run.race.next_start <= tm_now() + ATTEMPT_DELAY_MS * TM_MS);
    expect_won(&run, &addresses[1]);
    assert_true(tm_now() >= before + ATTEMPT_DELAY_MS * TM_MS);
    end(&run);
    crowd_leaves(&crowd);
    close_ports(&ports);
}

/* At an address that gives no answer, so many times. */
static void begin_at_crowd(struct run *run, struct crowd *crowd, size_t count)
{
    tm_sockaddr addresses[3];
    char crowded[32];
    assert_true(count <= COUNT(addresses));
    crowd_at_port(crowd, crowded, sizeof crowded);
    for (size_t i = 0; i < count; i++)
        addresses[i] = v4(crowded);
    begin(run, addresses, count, "name:1");
}

/* poll(2) can tell of a router's refusal before SO_ERROR does: without an answer nobody has won. */
static void promise_11_an_event_before_the_answer_is_not_a_connection(void **state)
{
    (void)state;
    struct run run;
    struct crowd crowd;
    int fd;
    tm_sockaddr peer;
    begin_at_crowd(&run, &crowd, 1);
    assert_int_equal(tm_race_step(&run.race, &fd, &peer), 0);
    assert_int_equal(run.race.open, 1);
    run.race.fds[0].revents = POLLERR;
    assert_int_equal(tm_race_step(&run.race, &fd, &peer), 0);
    assert_int_equal(fd, -1);
    assert_int_equal(run.race.open, 1);
    end(&run);
    crowd_leaves(&crowd);
}

static void a_race_can_be_left_at_any_time(void **state)
{
    (void)state;
    enum { ADDRESSES = 3 };
    struct run run;
    struct crowd crowd;
    int fd;
    tm_sockaddr peer;
    begin_at_crowd(&run, &crowd, ADDRESSES);
    for (size_t i = 1; i <= ADDRESSES; i++) {
        assert_int_equal(tm_race_step(&run.race, &fd, &peer), 0);
        assert_int_equal(run.race.open, i);
        run.race.next_start = 0;
    }
    end(&run);
    crowd_leaves(&crowd);
}

/* The first address fails so, and after it the second; which of them the race's error tells. */
static const struct {
    enum scarce_call first_call;
    int first;
    enum scarce_call second_call;
    int second;
    int told;
} failures[] = {
    {CALL_connect, ENETUNREACH, CALL_connect, ECONNREFUSED, TCPMSG_EREFUSED},
    {CALL_connect, ECONNREFUSED, CALL_connect, ENETUNREACH, TCPMSG_EREFUSED},
    {CALL_connect, ECONNREFUSED, CALL_socket, EMFILE, TCPMSG_EREFUSED},
    {CALL_socket, EMFILE, CALL_connect, ENETUNREACH, TCPMSG_EMFILE},
    {CALL_connect, EHOSTUNREACH, CALL_socket, ENFILE, TCPMSG_EMFILE},
    {CALL_connect, ENETUNREACH, CALL_socket, ENOBUFS, TCPMSG_ENOMEM},
    {CALL_connect, EACCES, CALL_connect, ENETUNREACH, TCPMSG_EACCESS},
    {CALL_connect, ETIMEDOUT, CALL_connect, ENETUNREACH, TCPMSG_ETIMEDOUT},
    {CALL_socket, EAFNOSUPPORT, CALL_connect, ETIMEDOUT, TCPMSG_ETIMEDOUT},
    {CALL_connect, ETIMEDOUT, CALL_socket, ENOMEM, TCPMSG_ENOMEM},
    {CALL_connect, ENETUNREACH, CALL_connect, EADDRNOTAVAIL, TCPMSG_EUNREACHABLE},
};

static void of_several_failures_the_one_that_says_most_is_told(void **state)
{
    (void)state;
    const tm_sockaddr addresses[] = {v4("127.0.0.1:1"), v4("127.0.0.1:1")};
    for (size_t i = 0; i < COUNT(failures); i++) {
        struct run run;
        int fd;
        tm_sockaddr peer;
        begin(&run, addresses, COUNT(addresses), "name:1");
        call_fails(failures[i].first_call, failures[i].first, 1);
        run.race.addresses.count = 1; /* the second one waits until its failure is set up */
        assert_true(tm_race_step(&run.race, &fd, &peer) < 0);
        run.race.addresses.count = 2;
        run.race.next_start = 0;
        call_fails(failures[i].second_call, failures[i].second, 1);
        expect_lost(&run, failures[i].told);
        assert_int_equal(calls_failed(), 2);
        assert_non_null(strstr(run.text, strerror(failures[i].first)));
        assert_non_null(strstr(run.text, strerror(failures[i].second)));
        end(&run);
    }
}

/* connect(2): a call that a signal interrupts goes on in the background. */
static void an_interrupted_connect_is_one_under_way(void **state)
{
    (void)state;
    struct ports ports;
    struct run run;
    int fd;
    tm_sockaddr peer;
    open_ports(&ports);
    const tm_sockaddr addresses[] = {v4(ports.open)};
    begin(&run, addresses, 1, ports.open);
    call_fails(CALL_connect, EINTR, 1);
    assert_int_equal(tm_race_step(&run.race, &fd, &peer), 0);
    assert_int_equal(calls_failed(), 1);
    assert_int_equal(run.race.open, 1);
    end(&run);
    close_ports(&ports);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_11_IPv6_is_first_and_the_families_take_turns),
        cmocka_unit_test(one_family_alone_keeps_its_order),
        cmocka_unit_test(no_memory_frees_all_that_was_handed_over),
        cmocka_unit_test(who_listens_is_reached),
        cmocka_unit_test(nobody_there_is_EREFUSED_and_each_address_is_told),
        cmocka_unit_test(an_address_that_was_asked_for_is_not_repeated),
        cmocka_unit_test(promise_11_a_failure_starts_the_next_at_once),
        cmocka_unit_test(promise_11_no_answer_starts_the_next_after_a_delay),
        cmocka_unit_test(promise_11_an_event_before_the_answer_is_not_a_connection),
        cmocka_unit_test(a_race_can_be_left_at_any_time),
        cmocka_unit_test(of_several_failures_the_one_that_says_most_is_told),
        cmocka_unit_test(an_interrupted_connect_is_one_under_way),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
