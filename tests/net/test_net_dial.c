/* SPDX-License-Identifier: MIT */
/* Dials to where there is no answer, no way, or no room. */
#include "looper.h"
#include "net.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_MS 400

/* Ten times the limit, and some more for a machine under load. */
#define BOUND_MS 10000

/* At once, on such a machine; the time limit of these dials is 30 s. */
#define AT_ONCE_MS 3000

/* One way to dial: its answer, with the story of a failure. */
struct dialled {
    int answer;
    int ms;
    char story[256];
};

static struct dialled dial_blocking(const char *address, int limit_ms)
{
    tcpmsg_conn *conn;
    struct dialled dialled = {0};
    int64_t began = now_ms();
    dialled.answer =
        tcpmsg_dial(&conn, address,
                    TCPMSG_OPTIONS(.connect_timeout_ms = limit_ms, .why = dialled.story,
                                   .why_size = sizeof dialled.story));
    dialled.ms = (int)(now_ms() - began);
    if (dialled.answer == 0)
        assert_int_equal(tcpmsg_close(conn), 0);
    return dialled;
}

static bool has_opened_or_failed(void *looper)
{
    return atomic_load(&((struct looper *)looper)->count) > 0;
}

static struct dialled dial_in_loop(const char *address, int limit_ms)
{
    struct dialled dialled = {0};
    struct looper *looper = looper_open(NULL);
    looper_start(looper);
    int64_t began = now_ms();
    assert_int_equal(
        looper_dial(looper, address, TCPMSG_OPTIONS(.connect_timeout_ms = limit_ms), NULL), 0);
    assert_true(eventually(has_opened_or_failed, looper));
    struct seen *seen = looper_seen(looper, 0);
    dialled.ms = (int)(now_ms() - began);
    if (atomic_load(&seen->opens) == 0) {
        dialled.answer = seen_end(seen);
        snprintf(dialled.story, sizeof dialled.story, "%s", seen->story);
    }
    looper_finish(looper);
    return dialled;
}

typedef struct dialled dial_way(const char *address, int limit_ms);
static dial_way *const ways[] = {dial_blocking, dial_in_loop};
static const char *const way_names[] = {"dial", "loop_dial"};

/* Each way to dial answers so, in time; the story names the address. */
static void expect(const char *what, const char *address, int limit_ms, int wanted, int least_ms,
                   int most_ms)
{
    for (size_t i = 0; i < COUNT(ways); i++) {
        struct dialled dialled = ways[i](address, limit_ms);
        print_message("%s, %s: %s after %d ms %s\n", what, way_names[i],
                      tcpmsg_error_name(dialled.answer), dialled.ms, dialled.story);
        assert_string_equal(tcpmsg_error_name(dialled.answer), tcpmsg_error_name(wanted));
        assert_in_range(dialled.ms, least_ms, most_ms);
        assert_true(wanted == 0 || says(dialled.story, address));
    }
}

static void promise_11_a_black_hole_keeps_the_time_limit(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = net_listen(THERE_V4, NULL, address);
    cable_set(&(struct cable){.cut = true});
    expect("black hole", address, LIMIT_MS, TCPMSG_ETIMEDOUT, LIMIT_MS, BOUND_MS);
    cable_set(&(struct cable){0});
    expect("mended", address, 0, 0, 0, BOUND_MS);
    tcpmsg_listener_close(listener);
}

static void promise_11_a_router_that_drops_keeps_the_time_limit(void **state)
{
    (void)state;
    net_ip(THERE, "route add blackhole 198.51.100.0/26");
    net_ip(THERE, "route add blackhole 2001:db8:1::/64");
    expect("dropped", "198.51.100.1:5000", LIMIT_MS, TCPMSG_ETIMEDOUT, LIMIT_MS, BOUND_MS);
    expect("dropped", "[2001:db8:1::1]:5000", LIMIT_MS, TCPMSG_ETIMEDOUT, LIMIT_MS, BOUND_MS);
}

/* The router says by ICMP that it knows no way, or that it may not say. */
static void what_a_router_says_is_told_at_once(void **state)
{
    (void)state;
    net_ip(THERE, "route add unreachable 198.51.100.64/26");
    net_ip(THERE, "route add prohibit 198.51.100.128/26");
    net_ip(THERE, "route add unreachable 2001:db8:2::/64");
    net_ip(THERE, "route add prohibit 2001:db8:3::/64");
    expect("unreachable", "198.51.100.65:5000", 0, TCPMSG_EUNREACHABLE, 0, AT_ONCE_MS);
    expect("prohibited", "198.51.100.129:5000", 0, TCPMSG_EUNREACHABLE, 0, AT_ONCE_MS);
    expect("unreachable", "[2001:db8:2::1]:5000", 0, TCPMSG_EUNREACHABLE, 0, AT_ONCE_MS);
    expect("prohibited", "[2001:db8:3::1]:5000", 0, TCPMSG_EACCESS, 0, AT_ONCE_MS);
}

/* The same of this machine's own routes. */
static void what_the_system_says_is_told_at_once(void **state)
{
    (void)state;
    net_ip(HERE, "route add unreachable 203.0.113.0/26");
    net_ip(HERE, "route add prohibit 203.0.113.64/26");
    net_ip(HERE, "route add blackhole 203.0.113.128/26");
    net_ip(HERE, "route add unreachable 2001:db8:4::/64");
    net_ip(HERE, "route add prohibit 2001:db8:5::/64");
    net_ip(HERE, "route add blackhole 2001:db8:6::/64");
    expect("unreachable", "203.0.113.1:5000", 0, TCPMSG_EUNREACHABLE, 0, AT_ONCE_MS);
    expect("unreachable", "[2001:db8:4::1]:5000", 0, TCPMSG_EUNREACHABLE, 0, AT_ONCE_MS);
    expect("prohibited", "203.0.113.65:5000", 0, TCPMSG_EACCESS, 0, AT_ONCE_MS);
    expect("prohibited", "[2001:db8:5::1]:5000", 0, TCPMSG_EACCESS, 0, AT_ONCE_MS);
    /* Linux answers EINVAL there. */
    expect("blackhole", "203.0.113.129:5000", 0, TCPMSG_EUNREACHABLE, 0, AT_ONCE_MS);
    expect("blackhole", "[2001:db8:6::1]:5000", 0, TCPMSG_EUNREACHABLE, 0, AT_ONCE_MS);
}

static void nobody_at_the_port_is_EREFUSED_at_once(void **state)
{
    (void)state;
    expect("nobody", THERE_V4 ":1", 0, TCPMSG_EREFUSED, 0, AT_ONCE_MS);
    expect("nobody", "[" THERE_V6 "]:1", 0, TCPMSG_EREFUSED, 0, AT_ONCE_MS);
}

/* A neighbour that does not exist: the system asks for it three times, a second apart. */
static void nobody_at_the_address_is_EUNREACHABLE_in_seconds(void **state)
{
    (void)state;
    expect("no neighbour", "192.0.2.77:5000", 0, TCPMSG_EUNREACHABLE, 0, BOUND_MS);
}

/* The system sends it again after a second (RFC 6298 section 2). */
static void a_lost_SYN_costs_a_second(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = net_listen(THERE_V4, NULL, address);
    for (size_t i = 0; i < COUNT(ways); i++) {
        cable_set(&(struct cable){.syns_lost = 1});
        struct dialled dialled = ways[i](address, 0);
        print_message("a lost SYN, %s: connected after %d ms\n", way_names[i], dialled.ms);
        assert_code(dialled.answer, TCPMSG_OK);
        assert_int_equal(cable_counts().lost, 1);
        assert_true(dialled.ms < BOUND_MS);
    }
    cable_set(&(struct cable){.syns_lost = 1});
    struct dialled dialled = dial_blocking(address, LIMIT_MS);
    assert_code(dialled.answer, TCPMSG_ETIMEDOUT);
    tcpmsg_listener_close(listener);
}

/* Dials until there is no room any more: how many got in. */
static int fill_queue(const char *address, tcpmsg_conn **inside, int most)
{
    for (int count = 0; count < most; count++) {
        int64_t began = now_ms();
        int error =
            tcpmsg_dial(&inside[count], address, TCPMSG_OPTIONS(.connect_timeout_ms = LIMIT_MS));
        if (error != 0) {
            net_took(began, "no room");
            assert_code(error, TCPMSG_ETIMEDOUT);
            assert_in_range(now_ms() - began, LIMIT_MS, BOUND_MS);
            return count;
        }
        assert_int_equal(tcpmsg_send(inside[count], "hello", 5, 0), 0);
    }
    fail_msg("room for %d", most);
    return most;
}

static char crowded[TCPMSG_ADDRESS_MAX];

static ssize_t dial_patiently(struct call *call)
{
    int64_t began = now_ms();
    int error = tcpmsg_dial(&call->conn, crowded, NULL);
    if (error == 0) {
        net_took(began, "room again, and dial is in");
        error = tcpmsg_send(call->conn, "hello", 5, 0);
    }
    return error;
}

static void say_hello(struct seen *seen)
{
    seen_send(seen, "hello", 5, 0);
}

static void a_full_queue_keeps_the_limit_and_lets_in_later(void **state)
{
    (void)state;
    const struct acts greets = {.on_open = say_hello};
    char text[5];
    tcpmsg_conn *inside[16], *conn;
    tcpmsg_listener *listener = net_listen(THERE_V4, TCPMSG_OPTIONS(.backlog = 2), crowded);
    int count = fill_queue(crowded, inside, COUNT(inside));
    struct call waiting = {.body = dial_patiently};
    struct looper *looper = looper_open(NULL);
    looper_start(looper);
    call_start_asleep(&waiting);
    assert_int_equal(looper_dial(looper, crowded, NULL, &greets), 0);
    for (int i = 0; i < count + 2; i++) {
        assert_int_equal(tcpmsg_accept(listener, &conn, 0), 0);
        assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
        assert_int_equal(tcpmsg_close(conn), 0);
    }
    assert_int_equal(call_finish(&waiting), 0);
    assert_code(seen_end(looper_seen(looper, 0)), TCPMSG_EOF);
    looper_finish(looper);
    while (count-- > 0)
        assert_int_equal(tcpmsg_close(inside[count]), 0);
    assert_int_equal(tcpmsg_close(waiting.conn), 0);
    tcpmsg_listener_close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(promise_11_a_black_hole_keeps_the_time_limit, net_mend),
        cmocka_unit_test_setup(promise_11_a_router_that_drops_keeps_the_time_limit, net_mend),
        cmocka_unit_test_setup(what_a_router_says_is_told_at_once, net_mend),
        cmocka_unit_test_setup(what_the_system_says_is_told_at_once, net_mend),
        cmocka_unit_test_setup(nobody_at_the_port_is_EREFUSED_at_once, net_mend),
        cmocka_unit_test_setup(nobody_at_the_address_is_EUNREACHABLE_in_seconds, net_mend),
        cmocka_unit_test_setup(a_lost_SYN_costs_a_second, net_mend),
        cmocka_unit_test_setup(a_full_queue_keeps_the_limit_and_lets_in_later, net_mend),
    };
    net_open();
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
