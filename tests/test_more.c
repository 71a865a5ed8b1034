/* SPDX-License-Identifier: MIT */
/* Promise 8: what is buffered is never forgotten, and leaves in few segments. */
#define _GNU_SOURCE
#include "peer.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/tcp.h>

/* What is held back at most, and what a full segment carries. */
enum { SEGMENT = 65483 };

/* A pair with one message held back, of which the peer has not seen a byte. */
static void hold_one(tcpmsg_conn **conn, int *raw)
{
    pair(conn, raw, TCPMSG_OPTIONS(.recv_timeout_ms = 30));
    assert_int_equal(tcpmsg_send(*conn, "held", 4, TCPMSG_MORE), 0);
    assert_true(raw_has_nothing(*raw));
}

static void end_pair(tcpmsg_conn *conn, int raw)
{
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
}

static void promise_8_send_without_more_releases(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    hold_one(&conn, &raw);
    assert_int_equal(tcpmsg_send(conn, "next", 4, TCPMSG_MORE | TCPMSG_DONTWAIT), 0);
    assert_true(raw_has_nothing(raw));
    assert_int_equal(tcpmsg_send(conn, "last", 4, 0), 0);
    assert_true(raw_gets(raw, "held") && raw_gets(raw, "next") && raw_gets(raw, "last"));
    end_pair(conn, raw);
}

/* Of a large one full segments leave at once; so do those that it makes with what was held back. */
static void a_large_messages_last_bytes_are_held_back(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    struct wire sent = {0};
    size_t length = 2 * SEGMENT + 100;
    pair(&conn, &raw, NULL);
    wire_add_filled(&sent, NULL, length, 7);
    wire_add_filled(&sent, NULL, length, 8);
    wire_add_message(&sent, NULL, "end", 3);
    uint8_t *got = calloc(1, sent.count);
    assert_non_null(got);
    assert_int_equal(tcpmsg_send(conn, sent.bytes + 4, length, TCPMSG_MORE), 0);
    assert_true(read_all(raw, got, 2 * SEGMENT));
    assert_true(raw_has_nothing(raw));
    assert_int_equal(tcpmsg_send(conn, sent.bytes + length + 8, length, TCPMSG_MORE), 0);
    assert_true(read_all(raw, got + 2 * SEGMENT, 2 * SEGMENT));
    assert_true(raw_has_nothing(raw));
    assert_int_equal(tcpmsg_send(conn, "end", 3, 0), 0);
    assert_true(read_all(raw, got + 4 * SEGMENT, sent.count - 4 * SEGMENT));
    assert_memory_equal(got, sent.bytes, sent.count);
    free(got);
    wire_free(&sent);
    end_pair(conn, raw);
}

static void promise_8_flush_releases(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    for (int flags = 0; flags < 2; flags++) {
        hold_one(&conn, &raw);
        assert_int_equal(tcpmsg_flush(conn, flags), 0);
        assert_true(raw_gets(raw, "held"));
        assert_int_equal(tcpmsg_flush(conn, flags), 0);
        end_pair(conn, raw);
    }
}

static void promise_8_waiting_receive_releases(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    const void *view;
    for (int way = 0; way < 3; way++) {
        hold_one(&conn, &raw);
        if (way == 0)
            assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_ETIMEDOUT);
        if (way == 1)
            assert_code(tcpmsg_recv_view(conn, &view, 0), TCPMSG_ETIMEDOUT);
        if (way == 2)
            assert_code(tcpmsg_recv_view(conn, &view, TCPMSG_PEEK), TCPMSG_ETIMEDOUT);
        assert_true(raw_gets(raw, "held"));
        end_pair(conn, raw);
    }
}

static void promise_8_dontwait_receive_releases(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    const void *view;
    for (int way = 0; way < 3; way++) {
        hold_one(&conn, &raw);
        if (way == 0)
            assert_code(tcpmsg_recv(conn, text, sizeof text, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
        if (way == 1)
            assert_code(tcpmsg_recv_view(conn, &view, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
        if (way == 2)
            assert_code(tcpmsg_recv(conn, text, 8, TCPMSG_DONTWAIT | TCPMSG_PEEK), TCPMSG_EAGAIN);
        assert_true(raw_gets(raw, "held"));
        end_pair(conn, raw);
    }
}

/* The rest of a message is still missing: the receive waits, so the held back goes. */
static void promise_8_receive_of_a_part_releases(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    hold_one(&conn, &raw);
    assert_true(write_all(raw, "\0\0\0\5he", 6));
    assert_code(tcpmsg_recv(conn, text, sizeof text, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    assert_true(raw_gets(raw, "held"));
    assert_true(write_all(raw, "llo", 3));
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
    end_pair(conn, raw);
}

static void promise_8_shutdown_and_close_release(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    hold_one(&conn, &raw);
    assert_int_equal(tcpmsg_shutdown(conn), 0);
    assert_true(raw_gets(raw, "held"));
    assert_int_equal(read_end(raw), 0);
    end_pair(conn, raw);
    hold_one(&conn, &raw);
    assert_int_equal(tcpmsg_close(conn), 0);
    assert_true(raw_gets(raw, "held"));
    assert_int_equal(read_end(raw), 0);
    close(raw);
}

static void promise_8_abort_releases_nothing(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char byte;
    hold_one(&conn, &raw);
    tcpmsg_abort(conn);
    assert_true(wait_events(raw, POLLIN, WAIT_MS) != 0);
    assert_int_equal(recv(raw, &byte, 1, 0), -1);
    assert_code(tcpmsg_close(conn), TCPMSG_ECANCELED);
    close(raw);
}

static void promise_8_full_64_kib_release(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    struct reader reader = {0};
    struct wire accepted = {0};
    uint8_t message[1000];
    pair(&conn, &reader.fd, NULL);
    for (uint32_t i = 0; i < 80; i++) {
        fill(message, sizeof message, i);
        assert_int_equal(tcpmsg_send(conn, message, sizeof message, TCPMSG_MORE), 0);
        wire_add_message(&accepted, NULL, message, sizeof message);
        if (i == 64)
            assert_true(raw_has_nothing(reader.fd));
    }
    assert_true(wait_events(reader.fd, POLLIN, WAIT_MS) & POLLIN);
    reader_start(&reader, reader.fd);
    assert_int_equal(tcpmsg_close(conn), 0);
    reader_finish(&reader);
    assert_true(wire_equal(&reader.got, &accepted));
    close(reader.fd);
    wire_free(&reader.got);
    wire_free(&accepted);
}

static void promise_8_more_with_a_giant_keeps_the_order(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    struct reader reader = {0};
    struct wire accepted = {0};
    static const size_t sizes[] = {5, 70000, 3, 300000, 65530, 65531, 65532, 65533, 0, 1, 2000000};
    uint8_t *message = malloc(2000000);
    assert_non_null(message);
    pair(&conn, &reader.fd, NULL);
    reader_start(&reader, reader.fd);
    for (uint32_t i = 0; i < COUNT(sizes); i++) {
        fill(message, sizes[i], i);
        assert_int_equal(tcpmsg_send(conn, message, sizes[i], TCPMSG_MORE), 0);
        wire_add_message(&accepted, NULL, message, sizes[i]);
        memset(message, 0, sizes[i]);
    }
    free(message);
    assert_int_equal(tcpmsg_close(conn), 0);
    reader_finish(&reader);
    assert_true(wire_equal(&reader.got, &accepted));
    close(reader.fd);
    wire_free(&reader.got);
    wire_free(&accepted);
}

/* More follows, and yet nothing is left that could wait for it. */
static void a_message_of_full_segments_leaves_at_once(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    struct reader reader = {0};
    struct wire wire = {0};
    pair(&conn, &reader.fd, NULL);
    wire_add_filled(&wire, NULL, 2 * SEGMENT - 4, 1);
    reader_start(&reader, reader.fd);
    assert_int_equal(tcpmsg_send(conn, wire.bytes + 4, wire.count - 4, TCPMSG_MORE), 0);
    assert_int_equal(tcpmsg_conn_events(conn), POLLIN);
    assert_int_equal(tcpmsg_close(conn), 0);
    reader_finish(&reader);
    assert_true(wire_equal(&reader.got, &wire));
    close(reader.fd);
    wire_free(&reader.got);
    wire_free(&wire);
}

/* How many segments with data this socket has received. */
static unsigned segments_in(int raw)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    memset(&info, 0, sizeof info);
    assert_int_equal(getsockopt(raw, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    return info.tcpi_data_segs_in;
}

static void prefix_and_payload_leave_in_one_segment(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char got[64];
    pair(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(conn, "together", 8, 0), 0);
    assert_true(read_all(raw, got, 12));
    assert_int_equal(segments_in(raw), 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(tcpmsg_send(conn, "abc", 3, TCPMSG_MORE), 0);
    assert_int_equal(tcpmsg_send(conn, "together", 8, 0), 0);
    assert_true(read_all(raw, got, 33));
    assert_int_equal(segments_in(raw), 2);
    end_pair(conn, raw);
}

/* What an early end left is the library's to send: a flush, the next send, or a close. */
static void promise_8_an_early_end_is_finished_later(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        tcpmsg_conn *conn;
        struct reader reader = {0};
        struct wire accepted = {0};
        static uint8_t giant[3 * 1024 * 1024];
        const void *view;
        fill(giant, sizeof giant, (uint32_t)way);
        pair_small(&conn, &reader.fd,
                   TCPMSG_OPTIONS(.recv_timeout_ms = 5000, .linger_ms = WAIT_MS));
        assert_int_equal(tcpmsg_send(conn, giant, sizeof giant, TCPMSG_DONTWAIT), 0);
        wire_add_message(&accepted, NULL, giant, sizeof giant);
        memset(giant, 0, sizeof giant);
        assert_true(write_all(reader.fd, "\0\0\0\0\0\0\0", 7));
        assert_int_equal(tcpmsg_recv_view(conn, &view, 0), 0);
        reader_start(&reader, reader.fd);
        if (way == 0)
            assert_int_equal(tcpmsg_flush(conn, 0), 0);
        if (way == 1) {
            assert_int_equal(tcpmsg_send(conn, "end", 3, 0), 0);
            wire_add_message(&accepted, NULL, "end", 3);
        }
        if (way == 2)
            assert_int_equal(tcpmsg_shutdown(conn), 0);
        assert_int_equal(tcpmsg_close(conn), 0);
        reader_finish(&reader);
        assert_true(wire_equal(&reader.got, &accepted));
        close(reader.fd);
        wire_free(&reader.got);
        wire_free(&accepted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_8_send_without_more_releases),
        cmocka_unit_test(a_large_messages_last_bytes_are_held_back),
        cmocka_unit_test(promise_8_flush_releases),
        cmocka_unit_test(promise_8_waiting_receive_releases),
        cmocka_unit_test(promise_8_dontwait_receive_releases),
        cmocka_unit_test(promise_8_receive_of_a_part_releases),
        cmocka_unit_test(promise_8_shutdown_and_close_release),
        cmocka_unit_test(promise_8_abort_releases_nothing),
        cmocka_unit_test(promise_8_full_64_kib_release),
        cmocka_unit_test(promise_8_more_with_a_giant_keeps_the_order),
        cmocka_unit_test(a_message_of_full_segments_leaves_at_once),
        cmocka_unit_test(prefix_and_payload_leave_in_one_segment),
        cmocka_unit_test(promise_8_an_early_end_is_finished_later),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
