/* SPDX-License-Identifier: MIT */
/* Promise 13: anyone's loop can drive it: here a plain poll(2), one thread, both sides. */
#define _GNU_SOURCE
#include "peer.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAIRS = 6, MESSAGES = 120, LONGEST = 200000 };

static uint8_t scratch[LONGEST];

static size_t length_of(uint32_t which)
{
    return which % 4 ? which * 31 % 600 : (size_t)which * 7001 % LONGEST;
}

/* One end in the loop. A client sends all and checks the echoes, a server sends back. */
struct side {
    tcpmsg_conn *conn;
    bool server;
    bool blocked;
    bool done;
    uint32_t sent;
    uint32_t received;
};

/* Until EAGAIN; true when all is said, so that the sending can end. */
static bool client_sends(struct side *side)
{
    while (side->sent < MESSAGES) {
        size_t length = length_of(side->sent);
        fill(scratch, length, side->sent);
        int flags = TCPMSG_DONTWAIT | (side->sent % 3 ? TCPMSG_MORE : 0);
        int result = tcpmsg_send(side->conn, scratch, length, flags);
        side->blocked = result == TCPMSG_EAGAIN;
        if (side->blocked)
            return false;
        assert_int_equal(result, 0);
        side->sent++;
    }
    return true;
}

static void client_step(struct side *side)
{
    const void *echo;
    ssize_t length;
    bool all = client_sends(side);
    while ((length = tcpmsg_recv_view(side->conn, &echo, TCPMSG_DONTWAIT)) >= 0) {
        assert_int_equal(length, length_of(side->received));
        assert_true(is_filled(echo, (size_t)length, side->received));
        side->received++;
    }
    if (length == TCPMSG_EOF)
        side->done = true;
    else
        assert_code(length, TCPMSG_EAGAIN);
    if (all && side->received == MESSAGES)
        assert_int_equal(tcpmsg_shutdown(side->conn), 0);
}

/* A message leaves the receiving side only when the sending side has taken it. */
static void server_step(struct side *side)
{
    const void *message;
    ssize_t length;
    side->blocked = false;
    while ((length = tcpmsg_recv_view(side->conn, &message, TCPMSG_DONTWAIT | TCPMSG_PEEK)) >= 0) {
        int result = tcpmsg_send(side->conn, message, (size_t)length, TCPMSG_DONTWAIT);
        side->blocked = result == TCPMSG_EAGAIN;
        if (side->blocked) {
            assert_int_equal(tcpmsg_next_length(side->conn), length);
            return;
        }
        assert_int_equal(result, 0);
        assert_int_equal(tcpmsg_recv(side->conn, scratch, sizeof scratch, 0), length);
    }
    if (length == TCPMSG_EOF)
        side->done = true;
    else
        assert_code(length, TCPMSG_EAGAIN);
}

static void step(struct side *side, short came)
{
    if (came & POLLOUT) {
        int result = tcpmsg_flush(side->conn, TCPMSG_DONTWAIT);
        assert_true(result == 0 || result == TCPMSG_EAGAIN);
    }
    if (side->server)
        server_step(side);
    else
        client_step(side);
    if (!side->done)
        return;
    assert_int_equal(side->server ? MESSAGES : side->received, MESSAGES);
    assert_int_equal(tcpmsg_close(side->conn), 0);
}

/* A side that was refused a send waits for room too, though nothing of its own is buffered. */
static void run(struct side *sides, size_t count)
{
    struct pollfd polls[2 * PAIRS];
    for (size_t open = count; open > 0;) {
        for (size_t i = 0; i < count; i++) {
            if (sides[i].done) {
                polls[i] = (struct pollfd){.fd = -1};
                continue;
            }
            short events = tcpmsg_conn_events(sides[i].conn);
            bool stopped = sides[i].server && sides[i].blocked;
            polls[i].fd = tcpmsg_conn_fd(sides[i].conn);
            polls[i].events =
                (short)((stopped ? events & ~POLLIN : events) | (sides[i].blocked ? POLLOUT : 0));
        }
        assert_true(poll(polls, count, WAIT_MS) > 0);
        for (size_t i = 0; i < count; i++) {
            if (!polls[i].revents)
                continue;
            step(&sides[i], polls[i].revents);
            open -= sides[i].done;
        }
    }
}

static void promise_13_poll_drives_both_sides(void **state)
{
    (void)state;
    struct side sides[2 * PAIRS] = {{0}};
    for (size_t i = 0; i < COUNT(sides); i += 2) {
        (i % 4 ? pair_conns_unix : pair_conns)(&sides[i].conn, &sides[i + 1].conn,
                                               TCPMSG_OPTIONS(.linger_ms = TCPMSG_NO_LINGER));
        sides[i + 1].server = true;
        client_step(&sides[i]);
    }
    run(sides, COUNT(sides));
}

static void promise_13_pollout_only_while_bytes_wait(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char byte;
    pair_small(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_conn_events(conn), POLLIN);
    assert_int_equal(tcpmsg_send(conn, "x", 1, 0), 0);
    assert_int_equal(tcpmsg_conn_events(conn), POLLIN);
    assert_int_equal(tcpmsg_send(conn, "x", 1, TCPMSG_MORE), 0);
    assert_code(tcpmsg_recv(conn, &byte, 1, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    assert_int_equal(tcpmsg_conn_events(conn), POLLIN);
    uint8_t *giant = calloc(1, MIB);
    assert_int_equal(tcpmsg_send(conn, giant, MIB, TCPMSG_DONTWAIT), 0);
    assert_int_equal(tcpmsg_conn_events(conn), POLLIN | POLLOUT);
    assert_code(tcpmsg_recv(conn, &byte, 1, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    assert_int_equal(tcpmsg_conn_events(conn), POLLIN | POLLOUT);
    struct wire got = {0};
    while (tcpmsg_conn_events(conn) & POLLOUT) {
        raw_take(raw, &got, 10000000);
        assert_true(wait_events(tcpmsg_conn_fd(conn), POLLOUT, WAIT_MS) & POLLOUT);
        int result = tcpmsg_flush(conn, TCPMSG_DONTWAIT);
        assert_int_equal(result, tcpmsg_conn_events(conn) & POLLOUT ? TCPMSG_EAGAIN : 0);
    }
    assert_int_equal(tcpmsg_conn_events(conn), POLLIN);
    while (got.count < MIB + 14) {
        assert_true(wait_events(raw, POLLIN, WAIT_MS) & POLLIN);
        raw_take(raw, &got, 10000000);
    }
    assert_int_equal(got.count, MIB + 14);
    wire_free(&got);
    free(giant);
    tcpmsg_close(conn);
    close(raw);
}

static void promise_13_pollin_until_the_receiving_ended(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    pair(&conn, &raw, NULL);
    assert_true(raw_send(raw, "hello"));
    shutdown(raw, SHUT_WR);
    assert_int_equal(tcpmsg_conn_events(conn), POLLIN);
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
    assert_int_equal(tcpmsg_shutdown(conn), 0);
    assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_EOF);
    assert_int_equal(tcpmsg_conn_events(conn), 0);
    assert_int_equal(tcpmsg_conn_events(NULL), 0);
    tcpmsg_close(conn);
    close(raw);
    pair(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_shutdown(conn), 0);
    assert_int_equal(tcpmsg_conn_events(conn), POLLIN);
    tcpmsg_abort(conn);
    assert_int_equal(tcpmsg_conn_events(conn), 0);
    tcpmsg_close(conn);
    close(raw);
}

/* Who stops before EAGAIN asks next_length: a poll says nothing of what was already read. */
static void promise_13_next_length_tells_what_is_already_read(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    pair_unix(&conn, &raw, NULL);
    struct wire wire = {0};
    for (int i = 0; i < 3; i++)
        wire_add_message(&wire, NULL, "hello", 5);
    assert_true(write_all(raw, wire.bytes, wire.count));
    int received = 0;
    while (received < 3) {
        bool ready = tcpmsg_next_length(conn) != TCPMSG_EAGAIN ||
                     wait_events(tcpmsg_conn_fd(conn), tcpmsg_conn_events(conn), 0) & POLLIN;
        assert_true(ready);
        assert_int_equal(tcpmsg_recv(conn, text, sizeof text, TCPMSG_DONTWAIT), 5);
        received++;
    }
    assert_code(tcpmsg_next_length(conn), TCPMSG_EAGAIN);
    assert_true(write_all(raw, wire.bytes, wire.count));
    for (int i = 0; i < 3; i++) {
        const void *view;
        assert_int_equal(tcpmsg_recv_view(conn, &view, TCPMSG_DONTWAIT), 5);
        assert_int_equal(tcpmsg_next_length(conn), i < 2 ? 5 : TCPMSG_EAGAIN);
        assert_memory_equal(view, "hello", 5);
    }
    wire_free(&wire);
    close(raw);
    assert_true(wait_events(tcpmsg_conn_fd(conn), POLLIN, WAIT_MS) & POLLIN);
    assert_code(tcpmsg_recv(conn, text, sizeof text, TCPMSG_DONTWAIT), TCPMSG_EOF);
    assert_code(tcpmsg_next_length(conn), TCPMSG_EOF);
    tcpmsg_close(conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_13_poll_drives_both_sides),
        cmocka_unit_test(promise_13_pollout_only_while_bytes_wait),
        cmocka_unit_test(promise_13_pollin_until_the_receiving_ended),
        cmocka_unit_test(promise_13_next_length_tells_what_is_already_read),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
