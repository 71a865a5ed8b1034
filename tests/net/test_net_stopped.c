/* SPDX-License-Identifier: MIT */
/* A peer whose process stands still (SIGSTOP) while its system goes on: nobody waits longer than
 * agreed, nothing piles up without end, and once it goes on nothing is lost. */
#include "child.h"
#include "looper.h"

#include <unistd.h>

#define LIMIT_MS 300

/* Ten times the limit, and some more for a machine under load. */
#define BOUND_MS 10000

#define LENGTH (64 * KIB)

/* What the two systems' buffers and ours may hold together is far below. */
#define PILE_MOST (48 * MIB)

static tcpmsg_conn *dial_child(const struct child *child, int linger_ms)
{
    tcpmsg_conn *conn;
    int error = tcpmsg_dial(&conn, child->address,
                            TCPMSG_OPTIONS(.send_timeout_ms = LIMIT_MS, .recv_timeout_ms = LIMIT_MS,
                                           .linger_ms = linger_ms));
    assert_code(error, TCPMSG_OK);
    return conn;
}

static int send_number(tcpmsg_conn *conn, uint32_t number)
{
    static uint8_t message[LENGTH];
    fill(message, sizeof message, number);
    return tcpmsg_send(conn, message, sizeof message, 0);
}

static void expect_number(tcpmsg_conn *conn, uint32_t number)
{
    const void *message;
    assert_int_equal(tcpmsg_conn_set_timeouts(conn, WAIT_MS, WAIT_MS), 0);
    assert_int_equal(tcpmsg_recv_view(conn, &message, 0), LENGTH);
    assert_true(is_filled(message, LENGTH, number));
}

/* Sends until the time limit of one is over: how many the library has taken. */
static uint32_t send_until_timeout(tcpmsg_conn *conn)
{
    for (uint32_t count = 0; count * LENGTH < PILE_MOST; count++) {
        int64_t began = now_ms();
        int error = send_number(conn, count);
        if (error != 0) {
            assert_code(error, TCPMSG_ETIMEDOUT);
            assert_in_range(now_ms() - began, LIMIT_MS, BOUND_MS);
            return count;
        }
    }
    fail_msg("the pile has no end");
    return 0;
}

static void promise_2_sends_to_a_stopped_peer_keep_their_limit_and_lose_nothing(void **state)
{
    (void)state;
    struct child child;
    const void *view;
    child_start(&child, THERE_V4 ":0");
    tcpmsg_conn *conn = dial_child(&child, WAIT_MS);
    child_stop(&child);
    size_t before = resident_bytes();
    uint32_t count = send_until_timeout(conn);
    print_message("%u messages of 64 KiB were taken for a peer that stands still\n", count);
    for (int i = 0; i < 3; i++)
        assert_code(send_number(conn, count), TCPMSG_ETIMEDOUT);
    assert_true(SANITIZED || resident_bytes() < before + 16 * MIB);
    assert_code(tcpmsg_recv_view(conn, &view, 0), TCPMSG_ETIMEDOUT);
    child_go_on(&child);
    for (uint32_t number = 0; number < count; number++)
        expect_number(conn, number);
    assert_int_equal(send_number(conn, count), 0);
    expect_number(conn, count);
    assert_int_equal(tcpmsg_close(conn), 0);
    child_end(&child);
}

/* Until it takes no more for a while: what was taken is in `sent`. */
static void send_until_full(struct seen *seen, struct wire *sent)
{
    static uint8_t message[LENGTH];
    int64_t refused_since = 0;
    uint32_t number = 0;
    while (refused_since == 0 || now_ms() - refused_since < LIMIT_MS) {
        fill(message, sizeof message, number);
        int error = tcpmsg_send(seen->conn, message, sizeof message, 0);
        if (error == 0) {
            wire_add_message(sent, NULL, message, sizeof message);
            number++;
            refused_since = 0;
            assert_true(sent->count < PILE_MOST);
            continue;
        }
        assert_code(error, TCPMSG_EAGAIN);
        refused_since = refused_since ? refused_since : now_ms();
        sleep_ms(1);
    }
}

static void a_loop_piles_up_no_more_than_its_high_water_for_a_stopped_peer(void **state)
{
    (void)state;
    struct child child;
    struct wire sent = {0};
    tcpmsg_info info;
    child_start(&child, THERE_V4 ":0");
    struct looper *looper = looper_open(NULL);
    looper_start(looper);
    assert_int_equal(looper_dial(looper, child.address, NULL, NULL), 0);
    struct seen *seen = looper_seen(looper, 0);
    child_stop(&child);
    send_until_full(seen, &sent);
    print_message("%zu bytes were taken for a peer that stands still\n", sent.count);
    assert_int_equal(seen->messages, 0);
    child_go_on(&child);
    seen_messages(seen, (int)(sent.count / LENGTH));
    assert_true(reaches(&seen->drains, 1));
    assert_int_equal(tcpmsg_conn_info(seen->conn, &info, sizeof info), 0);
    assert_int_equal(tcpmsg_close(seen->conn), 0);
    assert_int_equal(seen_end(seen), 0);
    assert_true(wire_equal(&seen->got, &sent));
    assert_int_equal(info.messages_sent, sent.count / LENGTH);
    looper_finish(looper);
    wire_free(&sent);
    child_end(&child);
}

static void a_loops_output_to_a_stopped_peer_stalls_in_time(void **state)
{
    (void)state;
    struct child child;
    child_start(&child, THERE_V4 ":0");
    struct looper *looper = looper_open(NULL);
    looper_start(looper);
    assert_int_equal(
        looper_dial(looper, child.address, TCPMSG_OPTIONS(.send_timeout_ms = 2 * LIMIT_MS), NULL),
        0);
    struct seen *seen = looper_seen(looper, 0);
    child_stop(&child);
    int64_t began = now_ms();
    static uint8_t message[LENGTH];
    int error;
    do
        error = tcpmsg_send(seen->conn, message, sizeof message, 0);
    while (error == 0);
    assert_code(error, TCPMSG_EAGAIN);
    assert_code(seen_end(seen), TCPMSG_ESTALLED);
    assert_in_range(net_took(began, seen->story), 2 * LIMIT_MS, BOUND_MS);
    looper_finish(looper);
    child_end(&child);
}

static void promise_9_a_close_waits_for_a_stopped_peers_system_alone(void **state)
{
    (void)state;
    struct child child;
    child_start(&child, THERE_V4 ":0");
    tcpmsg_conn *one = dial_child(&child, WAIT_MS), *other = dial_child(&child, LIMIT_MS);
    child_stop(&child);
    assert_int_equal(tcpmsg_send(one, "bye", 3, 0), 0);
    assert_int_equal(tcpmsg_close(one), 0); /* its system has it */
    send_until_timeout(other);
    int64_t began = now_ms();
    assert_code(tcpmsg_close(other), TCPMSG_ETIMEDOUT);
    assert_in_range(net_took(began, "close with a full pile"), LIMIT_MS, BOUND_MS);
    child_end(&child);
}

/* Its system completes the handshake: that is a connection, which only waits. */
static void a_dial_to_a_stopped_peer_is_served_once_it_goes_on(void **state)
{
    (void)state;
    struct child child;
    const void *view;
    child_start(&child, THERE_V4 ":0");
    child_stop(&child);
    tcpmsg_conn *conn = dial_child(&child, WAIT_MS);
    assert_int_equal(send_number(conn, 7), 0);
    assert_code(tcpmsg_recv_view(conn, &view, 0), TCPMSG_ETIMEDOUT);
    child_go_on(&child);
    expect_number(conn, 7);
    assert_int_equal(tcpmsg_close(conn), 0);
    child_end(&child);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(promise_2_sends_to_a_stopped_peer_keep_their_limit_and_lose_nothing,
                               net_mend),
        cmocka_unit_test_setup(a_loop_piles_up_no_more_than_its_high_water_for_a_stopped_peer,
                               net_mend),
        cmocka_unit_test_setup(a_loops_output_to_a_stopped_peer_stalls_in_time, net_mend),
        cmocka_unit_test_setup(promise_9_a_close_waits_for_a_stopped_peers_system_alone, net_mend),
        cmocka_unit_test_setup(a_dial_to_a_stopped_peer_is_served_once_it_goes_on, net_mend),
    };
    net_open();
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
