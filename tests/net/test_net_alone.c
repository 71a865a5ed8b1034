/* SPDX-License-Identifier: MIT */
/* Dials where the system has hardly another port to dial from than the one that is dialled: TCP
 * connects the socket with itself then (RFC 9293 section 3.5), and dial must not take that. */
#include "looper.h"
#include "net.h"
#include "rounds.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMES 300 /* each; TESTS_ROUNDS has more of them */
#define PORT 40002

/* One loop records so many. */
#define IN_ONE_LOOP 1000

static const char *const dialled[] = {"127.0.0.1:40002", "[::1]:40002"};

/* Whether a bare connect meets itself here, so that the test shows something. */
static void expect_to_meet_oneself(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 1000; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        int answer = connect(fd, (struct sockaddr *)&to, sizeof to);
        raw_reset(fd);
        if (answer == 0)
            return;
    }
    fail_msg("nobody meets himself here");
}

static void dial_often(const char *address, int times)
{
    for (int i = 0; i < times; i++) {
        tcpmsg_conn *conn;
        int error = tcpmsg_dial(&conn, address, NULL);
        assert_code(error, TCPMSG_EREFUSED);
    }
}

static void dial_often_in_loops(const char *address, int times)
{
    while (times > 0) {
        int some = times < IN_ONE_LOOP ? times : IN_ONE_LOOP;
        struct looper *looper = looper_open(NULL);
        looper_start(looper);
        for (int i = 0; i < some; i++) {
            assert_int_equal(looper_dial(looper, address, NULL, NULL), 0);
            struct seen *seen = looper_seen(looper, i);
            assert_code(seen_end(seen), TCPMSG_EREFUSED);
            assert_int_equal(seen->opens, 0);
        }
        looper_finish(looper);
        times -= some;
    }
}

static void expect_never_alone(const char *ports)
{
    int times = (int)test_rounds(TIMES), before = open_descriptors();
    int64_t began = now_ms();
    net_set(HERE, "ipv4/ip_local_port_range", ports);
    expect_to_meet_oneself();
    for (size_t i = 0; i < COUNT(dialled); i++) {
        dial_often(dialled[i], times);
        dial_often_in_loops(dialled[i], times);
    }
    assert_int_equal(open_descriptors(), before);
    print_message("%d dials, none met itself: %d ms\n", (int)(4 * times), (int)(now_ms() - began));
}

static void promise_11_a_dial_from_the_only_port_never_meets_itself(void **state)
{
    (void)state;
    expect_never_alone("40002 40002");
}

static void promise_11_a_dial_from_one_of_four_ports_never_meets_itself(void **state)
{
    (void)state;
    expect_never_alone("40000 40003");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(promise_11_a_dial_from_the_only_port_never_meets_itself, net_mend),
        cmocka_unit_test_setup(promise_11_a_dial_from_one_of_four_ports_never_meets_itself,
                               net_mend),
    };
    net_open();
    if (!is_soak())
        alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
