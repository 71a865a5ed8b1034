/* SPDX-License-Identifier: MIT */
/* Promise 9: close keeps the last reply, within one limit; and what shutdown leaves open. */
#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Unread input at a plain close(2) is a reset, which kills what was just sent. */
static void promise_9_unread_input_does_not_kill_the_last_reply(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 500; i++) {
        tcpmsg_conn *conn;
        int raw, there;
        static uint8_t junk[3000];
        char byte;
        struct wire reply = {0}, got = {0};
        wire_add_filled(&reply, NULL, i * 20, i);
        wire_add(&got, reply.bytes, reply.count);
        pair(&conn, &raw, NULL);
        assert_true(write_all(raw, junk, 1 + i * 6));
        if (i % 3 == 1)
            assert_true(tcpmsg_recv(conn, &byte, 1, TCPMSG_DONTWAIT) <= 0);
        assert_int_equal(tcpmsg_send(conn, reply.bytes + 4, i * 20, i % 2 ? TCPMSG_MORE : 0), 0);
        assert_int_equal(tcpmsg_close(conn), 0);
        assert_int_equal(ioctl(raw, FIONREAD, &there), 0);
        assert_int_equal(there, reply.count);
        assert_true(read_all(raw, got.bytes, got.count) && wire_equal(&got, &reply));
        assert_int_equal(read_end(raw), 0);
        close(raw);
        wire_free(&got);
        wire_free(&reply);
    }
}

static ssize_t flood(struct call *call)
{
    static const uint8_t junk[10000];
    while (!atomic_load(&call->stop) && write_all(call->raw, junk, sizeof junk))
        continue;
    return 0;
}

/* A peer that never stops talking, and reads late: the whole of a large reply reaches it. */
static void promise_9_a_flood_does_not_kill_a_large_reply(void **state)
{
    (void)state;
    for (int unix_socket = 0; unix_socket < 2; unix_socket++) {
        tcpmsg_conn *conn;
        struct call writer = {.body = flood};
        struct reader reader = {0};
        struct wire reply = {0};
        (unix_socket ? pair_unix : pair)(&conn, &writer.raw, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
        call_start(&writer);
        wire_add_filled(&reply, NULL, 4 * MIB, 2);
        int sent = tcpmsg_send(conn, reply.bytes + 4, 4 * MIB, TCPMSG_DONTWAIT);
        reader_start(&reader, writer.raw);
        int result = tcpmsg_close(conn);
        atomic_store(&writer.stop, true);
        call_finish(&writer);
        reader_finish(&reader);
        assert_int_equal(sent, 0);
        assert_int_equal(result, 0);
        assert_true(wire_equal(&reader.got, &reply));
        close(writer.raw);
        wire_free(&reader.got);
        wire_free(&reply);
    }
}

static ssize_t close_it(struct call *call)
{
    int64_t before = now_ms();
    ssize_t result = tcpmsg_close(call->conn);
    call->seed = (uint32_t)(now_ms() - before);
    return result;
}

/* A connection whose peer's window is shut, with much on its way. */
static void shut_window(tcpmsg_conn **conn, int *raw, int linger_ms)
{
    pair_small(conn, raw, TCPMSG_OPTIONS(.linger_ms = linger_ms));
    jam(*conn);
}

static void promise_9_a_shut_window_is_etimedout(void **state)
{
    (void)state;
    struct call closer = {.body = close_it};
    int raw;
    shut_window(&closer.conn, &raw, 150);
    storm_begin();
    assert_code(close_it(&closer), TCPMSG_ETIMEDOUT);
    storm_end();
    assert_true(closer.seed >= 149 && closer.seed < 5000);
    close(raw);
}

/* Neither what the peer takes, a little at a time, nor what it sends makes the limit longer. */
static void promise_9_one_limit_covers_all(void **state)
{
    (void)state;
    struct call closer = {.body = close_it};
    struct call writer = {.body = flood};
    struct wire dropped = {0};
    shut_window(&closer.conn, &writer.raw, 300);
    call_start(&writer);
    call_start(&closer);
    for (int i = 0; i < 20; i++) {
        raw_take(writer.raw, &dropped, 1000);
        sleep_ms(5);
    }
    assert_code(call_finish(&closer), TCPMSG_ETIMEDOUT);
    assert_true(closer.seed >= 299 && closer.seed < 5000);
    atomic_store(&writer.stop, true);
    call_finish(&writer);
    wire_free(&dropped);
    close(writer.raw);
}

static void promise_9_no_linger_does_not_wait(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    shut_window(&conn, &raw, TCPMSG_NO_LINGER);
    int64_t before = now_ms();
    assert_code(tcpmsg_close(conn), TCPMSG_ETIMEDOUT);
    assert_true(now_ms() - before < 1500);
    close(raw);
    pair(&conn, &raw, TCPMSG_OPTIONS(.linger_ms = TCPMSG_NO_LINGER));
    assert_int_equal(tcpmsg_send(conn, "last", 4, TCPMSG_MORE), 0);
    int result = tcpmsg_close(conn);
    assert_true(result == 0 || result == TCPMSG_ETIMEDOUT);
    assert_true(raw_gets(raw, "last"));
    assert_int_equal(read_end(raw), 0);
    close(raw);
}

/* The FIN of the peer is not waited for, nor that it reads. */
static void promise_9_acknowledged_is_enough(void **state)
{
    (void)state;
    struct call closer = {.body = close_it};
    int raw;
    pair(&closer.conn, &raw, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
    assert_int_equal(tcpmsg_send(closer.conn, "last", 4, 0), 0);
    assert_int_equal(close_it(&closer), 0);
    assert_true(closer.seed < WAIT_MS / 2);
    assert_true(raw_gets(raw, "last"));
    close(raw);
    pair(&closer.conn, &raw, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
    assert_int_equal(close_it(&closer), 0);
    assert_int_equal(read_end(raw), 0);
    close(raw);
}

static void promise_9_a_reset_is_told(void **state)
{
    (void)state;
    struct call closer = {.body = close_it};
    int raw;
    pair(&closer.conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(closer.conn, "lost", 4, TCPMSG_MORE), 0);
    raw_reset(raw);
    assert_code(tcpmsg_close(closer.conn), TCPMSG_ERESET);
    shut_window(&closer.conn, &raw, WAIT_MS);
    call_start_asleep(&closer);
    raw_reset(raw);
    assert_code(call_finish(&closer), TCPMSG_ERESET);
}

static void promise_9_after_the_peers_end(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char byte;
    pair(&conn, &raw, NULL);
    shutdown(raw, SHUT_WR);
    assert_code(tcpmsg_recv(conn, &byte, 1, 0), TCPMSG_EOF);
    assert_int_equal(tcpmsg_send(conn, "bye", 3, TCPMSG_MORE), 0);
    assert_int_equal(tcpmsg_close(conn), 0);
    assert_true(raw_gets(raw, "bye"));
    assert_int_equal(read_end(raw), 0);
    close(raw);
    assert_int_equal(tcpmsg_close(NULL), 0);
}

static void promise_9_unix_sockets(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, NULL);
    assert_true(write_all(raw, "unread", 6));
    assert_int_equal(tcpmsg_send(conn, "last", 4, TCPMSG_MORE), 0);
    assert_int_equal(tcpmsg_close(conn), 0);
    assert_true(raw_gets(raw, "last"));
    assert_int_equal(read_end(raw), 0);
    close(raw);
    pair_unix(&conn, &raw, TCPMSG_OPTIONS(.linger_ms = 50));
    jam(conn);
    assert_code(tcpmsg_close(conn), TCPMSG_ETIMEDOUT);
    close(raw);
}

static int close_in_child(void *conn)
{
    return tcpmsg_close(conn) == 0 ? 0 : 1;
}

static int unref_in_child(void *conn)
{
    tcpmsg_conn_unref(conn);
    return 0;
}

/* No flush, no FIN: what the parent holds back leaves once, from the parent. */
static void promise_9_a_fork_only_lets_go(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        tcpmsg_conn *conn;
        int raw;
        char text[8];
        (way / 2 ? pair_unix : pair)(&conn, &raw, NULL);
        assert_int_equal(tcpmsg_send(conn, "once", 4, TCPMSG_MORE), 0);
        assert_int_equal(in_child(way % 2 ? unref_in_child : close_in_child, conn), 0);
        assert_true(raw_has_nothing(raw));
        assert_int_equal(tcpmsg_flush(conn, 0), 0);
        assert_true(raw_gets(raw, "once"));
        assert_true(raw_has_nothing(raw));
        assert_true(raw_send(raw, "hello"));
        assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
        assert_int_equal(tcpmsg_close(conn), 0);
        assert_int_equal(read_end(raw), 0);
        close(raw);
    }
}

static void shutdown_leaves_the_receiving(void **state)
{
    (void)state;
    for (int unix_socket = 0; unix_socket < 2; unix_socket++) {
        tcpmsg_conn *conn;
        int raw;
        char text[16];
        (unix_socket ? pair_unix : pair)(&conn, &raw, NULL);
        assert_int_equal(tcpmsg_send(conn, "question", 8, TCPMSG_MORE), 0);
        for (int times = 0; times < 3; times++)
            assert_int_equal(tcpmsg_shutdown(conn), 0);
        assert_true(raw_gets(raw, "question"));
        assert_int_equal(read_end(raw), 0);
        assert_true(raw_send(raw, "answer") && raw_send(raw, "and more"));
        assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 6);
        assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 8);
        assert_int_equal(tcpmsg_flush(conn, 0), 0);
        close(raw);
        assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_EOF);
        assert_int_equal(tcpmsg_shutdown(conn), 0);
        assert_int_equal(tcpmsg_close(conn), 0);
    }
}

/* Out of time, it can be called again: all that was accepted is followed by a clean end. */
static void shutdown_can_be_called_again(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    struct reader reader = {0};
    struct wire wanted = {0};
    pair_small(&conn, &reader.fd, TCPMSG_OPTIONS(.send_timeout_ms = 30));
    wire_add_filled(&wanted, NULL, 3 * MIB, 1);
    assert_int_equal(tcpmsg_send(conn, wanted.bytes + 4, 3 * MIB, TCPMSG_DONTWAIT), 0);
    for (int times = 0; times < 3; times++) {
        int64_t before = now_ms();
        assert_code(tcpmsg_shutdown(conn), TCPMSG_ETIMEDOUT);
        assert_true(now_ms() - before >= 29 && now_ms() - before < 5000);
        assert_code(tcpmsg_send(conn, "late", 4, 0), TCPMSG_ECLOSED);
    }
    assert_int_equal(tcpmsg_conn_set_timeouts(conn, TCPMSG_NO_LIMIT, 0), 0);
    reader_start(&reader, reader.fd);
    assert_int_equal(tcpmsg_shutdown(conn), 0);
    reader_finish(&reader);
    assert_int_equal(reader.end, 0);
    assert_true(wire_equal(&reader.got, &wanted));
    assert_int_equal(tcpmsg_close(conn), 0);
    close(reader.fd);
    wire_free(&reader.got);
    wire_free(&wanted);
}

/* Through a reference of one's own: the descriptor is there until close, whatever ended. */
static void fd_is_there_until_closed(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char byte;
    pair(&conn, &raw, NULL);
    int fd = tcpmsg_conn_fd(conn);
    assert_true(fd >= 0);
    assert_ptr_equal(tcpmsg_conn_ref(conn), conn);
    assert_int_equal(tcpmsg_shutdown(conn), 0);
    assert_int_equal(tcpmsg_conn_fd(conn), fd);
    close(raw);
    assert_code(tcpmsg_recv(conn, &byte, 1, 0), TCPMSG_EOF);
    assert_int_equal(tcpmsg_conn_fd(conn), fd);
    tcpmsg_abort(conn);
    assert_int_equal(tcpmsg_conn_fd(conn), fd);
    tcpmsg_close(conn);
    assert_int_equal(tcpmsg_conn_fd(conn), -1);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    tcpmsg_conn_unref(conn);
}

/* One byte was under way when the peer reset: it must not be taken for the FIN. */
static bool reset_before_the_last_byte(tcpmsg_conn *conn, int raw)
{
    static const int no = 0;
    int unacked = 0;
    char text[4];
    for (int i = 0; i < 20; i++) { /* from then on the peer delays what it acknowledges */
        assert_int_equal(tcpmsg_send(conn, "x", 1, 0), 0);
        assert_true(read_all(raw, text, 2));
        assert_true(write_all(raw, "\1y", 2));
        assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 1);
    }
    assert_int_equal(setsockopt(raw, IPPROTO_TCP, TCP_QUICKACK, &no, sizeof no), 0);
    assert_int_equal(tcpmsg_send(conn, "", 0, 0), 0);
    raw_reset(raw);
    assert_true(wait_events(tcpmsg_conn_fd(conn), POLLHUP, WAIT_MS) & POLLHUP);
    assert_int_equal(ioctl(tcpmsg_conn_fd(conn), SIOCOUTQ, &unacked), 0);
    return unacked == 1;
}

static void promise_9_a_last_byte_that_was_not_acknowledged_is_told(void **state)
{
    (void)state;
    int happened = 0;
    for (int i = 0; i < 50 && happened < 5; i++) {
        tcpmsg_conn *conn;
        int raw;
        pair(&conn, &raw, TCPMSG_OPTIONS(.framing = {.width = 1}));
        bool so = reset_before_the_last_byte(conn, raw);
        int r = tcpmsg_close(conn);
        if (so)
            assert_code(r, TCPMSG_ERESET);
        happened += so;
    }
    if (happened == 0)
        skip(); /* the peer's system acknowledges at once */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_9_unread_input_does_not_kill_the_last_reply),
        cmocka_unit_test(promise_9_a_flood_does_not_kill_a_large_reply),
        cmocka_unit_test(promise_9_a_shut_window_is_etimedout),
        cmocka_unit_test(promise_9_one_limit_covers_all),
        cmocka_unit_test(promise_9_no_linger_does_not_wait),
        cmocka_unit_test(promise_9_acknowledged_is_enough),
        cmocka_unit_test(promise_9_a_reset_is_told),
        cmocka_unit_test(promise_9_a_last_byte_that_was_not_acknowledged_is_told),
        cmocka_unit_test(promise_9_after_the_peers_end),
        cmocka_unit_test(promise_9_unix_sockets),
        cmocka_unit_test(promise_9_a_fork_only_lets_go),
        cmocka_unit_test(shutdown_leaves_the_receiving),
        cmocka_unit_test(shutdown_can_be_called_again),
        cmocka_unit_test(fd_is_there_until_closed),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
