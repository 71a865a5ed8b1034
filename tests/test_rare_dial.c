/* SPDX-License-Identifier: MIT */
/* Look-ups and attempts at the moments that are hard to meet by chance. */
#define _GNU_SOURCE
#include "clock.h"
#include "peer.h"
#include "race.h"
#include "rare.h"
#include "reach.h"
#include "resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int resolve(const char *host, tm_addresses *found)
{
    tm_address address = {.kind = TM_ADDRESS_TCP, .port = 1};
    tm_story story = {0};
    strcpy(address.host, host);
    return tm_resolve(found, &address, false, TM_FOREVER, &story);
}

static int tell_nobody(const struct rare *now)
{
    struct addrinfo **found = now->filled;
    if (now->call != RARE_getaddrinfo || !now->behind)
        return 0;
    freeaddrinfo(*found);
    *found = NULL;
    return 0;
}

static int tell_giants(const struct rare *now)
{
    struct addrinfo **found = now->filled;
    if (now->call == RARE_getaddrinfo && now->behind)
        for (struct addrinfo *one = *found; one; one = one->ai_next)
            one->ai_addrlen = sizeof(tm_sockaddr) + 1;
    return 0;
}

static void a_look_up_that_found_nothing_we_know_has_failed(void **state)
{
    (void)state;
    tm_addresses found = {0};
    rarely = tell_nobody;
    assert_code(resolve("127.0.0.1", &found), TCPMSG_ERESOLVE);
    rarely = tell_giants;
    assert_code(resolve("127.0.0.1", &found), TCPMSG_ERESOLVE);
    rare_fails(RARE_getaddrinfo, -1, EAI_NONAME, 0, 1);
    assert_code(resolve("", &found), TCPMSG_ERESOLVE);
    assert_int_equal(rare_over(), 1);
}

/* What is numbers in brackets is no name, whatever its zone. */
static void a_zone_that_does_not_exist_is_not_looked_up_as_a_name(void **state)
{
    (void)state;
    tcpmsg_conn *conn = NO_CONN;
    rare_fails(RARE_getaddrinfo, -1, EAI_NONAME, 0, 1);
    assert_code(tcpmsg_dial(&conn, "[fe80::1%nosuch]:5000", NULL), TCPMSG_ERESOLVE);
    assert_int_equal(rare_over(), 1);
    assert_code(tcpmsg_dial(&conn, "[fe80::1%nosuch]:5000", NULL), TCPMSG_ERESOLVE);
    assert_ptr_equal(conn, NO_CONN);
}

static void a_look_up_that_is_over_is_not_waited_for(void **state)
{
    (void)state;
    tm_address address = {.kind = TM_ADDRESS_TCP, .port = 1, .host = "127.0.0.1"};
    tm_story story = {0};
    tm_lookup *lookup;
    tm_addresses found;
    assert_int_equal(tm_lookup_begin(&lookup, &address, false, TM_FOREVER, NULL, NULL), 0);
    tm_lookup_wait(lookup);
    assert_int_equal(tm_lookup_step(lookup, &found, &story), 1);
    assert_int_equal(found.count, 1);
    free(found.list);
    tm_lookup_end(lookup);
}

static in_port_t dialed_port;

/* As if our side had the port that is dialed, at another address. */
static int tell_dialed_port(const struct rare *now)
{
    if (now->call == RARE_getsockname && now->behind) {
        ((struct sockaddr_in *)now->filled)->sin_port = dialed_port;
        ((struct sockaddr_in *)now->filled)->sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    }
    return 0;
}

static int tell_no_peer(const struct rare *now)
{
    return now->call == RARE_getpeername ? ENOTCONN : tell_dialed_port(now);
}

static int tell_no_name(const struct rare *now)
{
    return now->call == RARE_getsockname ? ENOBUFS : 0;
}

static void expect_met(const char *address, tcpmsg_listener *listener)
{
    tcpmsg_conn *dialed, *accepted;
    assert_int_equal(tcpmsg_dial(&dialed, address, NULL), 0);
    rare_over();
    accepted = accept_one(listener);
    expect_talk(dialed, accepted);
    assert_int_equal(tcpmsg_close(dialed), 0);
    assert_int_equal(tcpmsg_close(accepted), 0);
}

static void the_same_port_elsewhere_is_not_oneself(void **state)
{
    (void)state;
    static int (*const tales[])(const struct rare *now) = {tell_dialed_port, tell_no_peer,
                                                           tell_no_name};
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    dialed_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    for (size_t i = 0; i < COUNT(tales); i++) {
        rarely = tales[i];
        expect_met(address, listener);
    }
    tcpmsg_listener_close(listener);
}

static int over_already(const struct rare *now)
{
    return now->call == RARE_connect && rare_connects() == 2 ? EISCONN : rare_under_way(now);
}

/* SO_ERROR knows nothing of what has become of the connect. */
static int untold(const struct rare *now)
{
    if (now->call == RARE_getsockopt && now->behind && now->what == SO_ERROR)
        *(int *)now->filled = 0;
    return rare_under_way(now);
}

static void an_attempt_that_took_its_time_wins(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    static int (*const tales[])(const struct rare *now) = {rare_under_way, over_already, untold};
    for (size_t i = 0; i < COUNT(tales); i++) {
        rarely = tales[i];
        expect_met(address, listener);
    }
    tcpmsg_listener_close(listener);
}

static void an_attempt_that_took_its_time_fails(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_conn *conn = NO_CONN;
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    rarely = rare_under_way;
    rare_fails(RARE_getsockopt, SO_ERROR, ECONNREFUSED, 0, 1);
    assert_code(tcpmsg_dial(&conn, address, NULL), TCPMSG_EREFUSED);
    assert_int_equal(rare_over(), 1);
    tcpmsg_listener_close(listener);
}

static void an_attempt_that_failed_never_wins(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_conn *conn = NO_CONN;
    tcpmsg_listener_close(listen_at_a_free_port(address));
    rarely = untold;
    assert_true(tcpmsg_dial(&conn, address, NULL) < 0);
    assert_int_equal(rare_connects(), 3);
    assert_ptr_equal(conn, NO_CONN);
    rare_over();
}

static tm_sockaddr loopback(const char *address)
{
    tm_sockaddr one = {.length = sizeof one.u.v4, .u.v4 = {.sin_family = AF_INET}};
    one.u.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    one.u.v4.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    return one;
}

/* Both are there at once: one wins, the other is closed. */
static void of_two_that_are_ready_one_wins(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    int listening = raw_listen(address, sizeof address), fd = -1;
    int before = count_descriptors();
    tm_addresses list = {calloc(2, sizeof *list.list), 2};
    tm_settings settings = {.keepalive_s = 0};
    tm_story story = {0};
    tm_race race;
    tm_sockaddr peer;
    list.list[0] = list.list[1] = loopback(address);
    assert_int_equal(tm_race_begin(&race, list, &settings, address, &story), 0);
    rarely = rare_under_way;
    assert_int_equal(tm_race_step(&race, &fd, &peer), 0);
    race.next_start = 0; /* the delay is over */
    assert_int_equal(tm_race_step(&race, &fd, &peer), 0);
    rare_over();
    assert_int_equal(race.open, 2);
    for (size_t i = 0; i < race.open; i++)
        assert_true((race.fds[i].revents = wait_events(race.fds[i].fd, POLLOUT, WAIT_MS)) != 0);
    assert_int_equal(tm_race_step(&race, &fd, &peer), 1);
    assert_true(fd >= 0);
    assert_int_equal(race.open, 1);
    tm_race_end(&race);
    close(fd);
    assert_int_equal(count_descriptors(), before);
    close(listening);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_look_up_that_found_nothing_we_know_has_failed),
        cmocka_unit_test(a_zone_that_does_not_exist_is_not_looked_up_as_a_name),
        cmocka_unit_test(a_look_up_that_is_over_is_not_waited_for),
        cmocka_unit_test(the_same_port_elsewhere_is_not_oneself),
        cmocka_unit_test(an_attempt_that_took_its_time_wins),
        cmocka_unit_test(an_attempt_that_took_its_time_fails),
        cmocka_unit_test(an_attempt_that_failed_never_wins),
        cmocka_unit_test(of_two_that_are_ready_one_wins),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
