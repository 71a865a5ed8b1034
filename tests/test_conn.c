/* SPDX-License-Identifier: MIT */
/* What a connection is made of and tells of itself; and that it leaves nothing behind. */
#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Refused, and the descriptor as it was; closes it. */
static void expect_refused(int fd, const tcpmsg_options *options)
{
    tcpmsg_conn *mark = (tcpmsg_conn *)&fd, *conn = mark;
    int flags = fcntl(fd, F_GETFL), descriptor_flags = fcntl(fd, F_GETFD);
    int before = open_descriptors();
    assert_code(tcpmsg_attach(&conn, fd, options), TCPMSG_EINVAL);
    assert_ptr_equal(conn, mark);
    assert_int_equal(fcntl(fd, F_GETFL), flags);
    assert_int_equal(fcntl(fd, F_GETFD), descriptor_flags);
    assert_int_equal(open_descriptors(), before);
    if (fd >= 0 && flags >= 0)
        assert_int_equal(close(fd), 0);
}

static void attach_refuses_what_is_no_connected_stream(void **state)
{
    (void)state;
    int ends[2];
    char address[TCPMSG_ADDRESS_MAX];
    static const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    assert_int_equal(pipe(ends), 0);
    expect_refused(ends[0], NULL);
    expect_refused(ends[1], NULL);
    for (size_t i = 0; i < COUNT(types); i++) {
        assert_int_equal(socketpair(AF_UNIX, types[i], 0, ends), 0);
        expect_refused(ends[0], NULL);
        expect_refused(ends[1], NULL);
    }
    expect_refused(open("/dev/null", O_RDWR), NULL);
    expect_refused(open("/", O_RDONLY), NULL);
    expect_refused(socket(AF_INET, SOCK_DGRAM, 0), NULL);
    expect_refused(socket(AF_INET, SOCK_STREAM, 0), NULL);
    expect_refused(socket(AF_UNIX, SOCK_STREAM, 0), NULL);
    expect_refused(raw_listen(address, sizeof address), NULL);
    expect_refused(-1, NULL);
    expect_refused(-1000, NULL);
    expect_refused(1000000, NULL);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons(9);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    expect_refused(fd, NULL);
}

static void attach_with_a_wrong_option_takes_nothing(void **state)
{
    (void)state;
    char why[100] = "";
    const tcpmsg_options *const wrong[] = {
        TCPMSG_OPTIONS(.framing.width = 5),
        TCPMSG_OPTIONS(.framing = {.width = TCPMSG_VARINT, .counts_prefix = 1}),
        TCPMSG_OPTIONS(.framing.reserved = {0, 0, 1}),
        TCPMSG_OPTIONS(.max_message = SIZE_MAX),
        TCPMSG_OPTIONS(.recv_timeout_ms = -2),
        TCPMSG_OPTIONS(.send_timeout_ms = -5),
        TCPMSG_OPTIONS(.linger_ms = -2),
        TCPMSG_OPTIONS(.proxy_protocol = 2),
        TCPMSG_OPTIONS(.spin_us = -1, .why = why, .why_size = sizeof why),
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        expect_refused(ends[0], wrong[i]);
        close(ends[1]);
    }
    assert_true(says(why, "spin_us"));
}

/* Also one whose peer has spoken and gone, or was non-blocking, or has a descriptor of 0. */
static void attach_takes_any_connected_stream(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int ends[2];
    char text[8];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_true(raw_send(ends[0], "hello"));
    close(ends[0]);
    assert_int_equal(tcpmsg_attach(&conn, ends[1], NULL), 0);
    assert_int_equal(tcpmsg_conn_fd(conn), ends[1]);
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
    assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_EOF);
    tcpmsg_close(conn);
    assert_int_equal(fcntl(ends[1], F_GETFD), -1);
    int input = dup(0), raw;
    pair(&conn, &raw, NULL);
    tcpmsg_close(conn);
    close(raw);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(dup2(ends[0], 0), 0);
    close(ends[0]);
    assert_int_equal(tcpmsg_attach(&conn, 0, NULL), 0);
    assert_int_equal(tcpmsg_conn_fd(conn), 0);
    assert_int_equal(tcpmsg_send(conn, "zero", 4, 0), 0);
    assert_true(raw_gets(ends[1], "zero"));
    tcpmsg_close(conn);
    close(ends[1]);
    if (input >= 0)
        dup2(input, 0);
    close(input);
}

static bool is_state(tcpmsg_conn *conn, const char *state)
{
    tcpmsg_info info;
    for (int64_t until = now_ms() + WAIT_MS; now_ms() < until; sleep_ms(1)) {
        assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
        if (strcmp(info.tcp_state, state) == 0)
            return true;
    }
    return false;
}

static void info_names_the_state_as_the_rfc_does(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    assert_true(is_state(conn, "ESTABLISHED"));
    shutdown(raw, SHUT_WR);
    assert_true(is_state(conn, "CLOSE-WAIT"));
    tcpmsg_close(conn);
    close(raw);
    pair(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_shutdown(conn), 0);
    assert_true(is_state(conn, "FIN-WAIT-2"));
    tcpmsg_close(conn);
    close(raw);
    pair_unix(&conn, &raw, NULL);
    assert_true(is_state(conn, ""));
    tcpmsg_close(conn);
    close(raw);
}

static void info_counts_messages_without_prefixes(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    const void *view;
    tcpmsg_info info;
    memset(&info, 0xFF, sizeof info);
    pair(&conn, &raw, TCPMSG_OPTIONS(.max_message = 100));
    assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
    assert_true(!info.messages_sent && !info.messages_received && !info.bytes_sent);
    assert_true(!info.bytes_received && !info.unsent_bytes && !info.os_error);
    assert_int_equal(tcpmsg_send(conn, "hello", 5, 0), 0);
    assert_int_equal(tcpmsg_send(conn, NULL, 0, 0), 0);
    assert_code(tcpmsg_send(conn, text, 101, 0), TCPMSG_EMSGSIZE);
    assert_int_equal(tcpmsg_send(conn, "held", 4, TCPMSG_MORE), 0);
    assert_true(raw_send(raw, "hello!") && raw_send(raw, "") && raw_send(raw, "more"));
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, TCPMSG_PEEK), 6);
    assert_int_equal(tcpmsg_recv_view(conn, &view, 0), 6);
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 0);
    assert_code(tcpmsg_recv(conn, text, 1, 0), TCPMSG_EBUFSIZE);
    assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
    assert_int_equal(info.messages_sent, 3);
    assert_int_equal(info.bytes_sent, 9);
    assert_int_equal(info.messages_received, 2);
    assert_int_equal(info.bytes_received, 6);
    assert_int_equal(info.unsent_bytes, 8);
    assert_int_equal(tcpmsg_flush(conn, 0), 0);
    assert_true(raw_gets(raw, "hello") && raw_gets(raw, "") && raw_gets(raw, "held"));
    assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
    assert_int_equal(info.unsent_bytes, 0);
    tcpmsg_close(conn);
    close(raw);
}

/* A caller of an older or a newer release: only what it knows is written, and no more. */
static void info_keeps_to_the_callers_size(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    union {
        tcpmsg_info info;
        uint8_t bytes[2 * sizeof(tcpmsg_info)];
    } room;
    pair(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(conn, "hello", 5, 0), 0);
    memset(&room, 0xA5, sizeof room);
    assert_int_equal(tcpmsg_conn_info(conn, &room.info, 2 * sizeof(uint64_t)), 0);
    assert_int_equal(room.info.messages_sent, 1);
    for (size_t i = 2 * sizeof(uint64_t); i < sizeof room; i++)
        assert_int_equal(room.bytes[i], 0xA5);
    assert_int_equal(tcpmsg_conn_info(conn, &room.info, sizeof room), 0);
    assert_string_equal(room.info.tcp_state, "ESTABLISHED");
    for (size_t i = sizeof(tcpmsg_info); i < sizeof room; i++)
        assert_int_equal(room.bytes[i], 0);
    assert_code(tcpmsg_conn_info(conn, NULL, sizeof room), TCPMSG_EINVAL);
    assert_code(tcpmsg_conn_info(NULL, &room.info, sizeof room.info), TCPMSG_EINVAL);
    tcpmsg_close(conn);
    close(raw);
}

static void addresses_are_text_that_can_be_dialled(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char wanted[64], text[TCPMSG_ADDRESS_MAX];
    struct sockaddr_in bound;
    socklen_t size = sizeof bound;
    pair(&conn, &raw, NULL);
    assert_int_equal(getsockname(raw, (struct sockaddr *)&bound, &size), 0);
    int length = snprintf(wanted, sizeof wanted, "127.0.0.1:%d", ntohs(bound.sin_port));
    assert_int_equal(tcpmsg_conn_peer(conn, text, (size_t)length + 1), 0);
    assert_string_equal(text, wanted);
    assert_code(tcpmsg_conn_peer(conn, text, (size_t)length), TCPMSG_EBUFSIZE);
    assert_code(tcpmsg_conn_peer(conn, text, 0), TCPMSG_EBUFSIZE);
    assert_int_equal(getpeername(raw, (struct sockaddr *)&bound, &size), 0);
    snprintf(wanted, sizeof wanted, "127.0.0.1:%d", ntohs(bound.sin_port));
    assert_int_equal(tcpmsg_conn_local(conn, text, sizeof text), 0);
    assert_string_equal(text, wanted);
    assert_code(tcpmsg_conn_local(conn, text, 1), TCPMSG_EBUFSIZE);
    assert_code(tcpmsg_conn_local(conn, NULL, sizeof text), TCPMSG_EINVAL);
    assert_code(tcpmsg_conn_peer(conn, NULL, sizeof text), TCPMSG_EINVAL);
    assert_code(tcpmsg_conn_local(NULL, text, sizeof text), TCPMSG_EINVAL);
    assert_code(tcpmsg_conn_peer(NULL, text, sizeof text), TCPMSG_EINVAL);
    tcpmsg_close(conn);
    close(raw);
    pair_unix(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_conn_peer(conn, text, sizeof text), 0);
    assert_string_equal(text, "unix:");
    assert_int_equal(tcpmsg_conn_local(conn, text, sizeof text), 0);
    assert_string_equal(text, "unix:");
    tcpmsg_close(conn);
    close(raw);
}

static void timeouts_change_for_later_calls(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    pair(&conn, &raw, TCPMSG_OPTIONS(.recv_timeout_ms = 20));
    assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_ETIMEDOUT);
    assert_code(tcpmsg_conn_set_timeouts(conn, -2, 60000), TCPMSG_EINVAL);
    assert_code(tcpmsg_conn_set_timeouts(conn, 60000, -2), TCPMSG_EINVAL);
    assert_code(tcpmsg_conn_set_timeouts(NULL, 1, 1), TCPMSG_EINVAL);
    assert_int_equal(tcpmsg_conn_set_timeouts(conn, 10, 0), 0);
    assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_ETIMEDOUT);
    jam(conn);
    assert_code(tcpmsg_send(conn, "x", 1, 0), TCPMSG_ETIMEDOUT);
    assert_int_equal(tcpmsg_conn_set_timeouts(conn, TCPMSG_NO_LIMIT, TCPMSG_NO_LIMIT), 0);
    assert_true(raw_send(raw, "hello"));
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
    tcpmsg_abort(conn);
    tcpmsg_close(conn);
    close(raw);
}

static void data_is_the_callers(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    assert_null(tcpmsg_conn_data(conn));
    tcpmsg_conn_set_data(conn, &raw);
    assert_ptr_equal(tcpmsg_conn_data(conn), &raw);
    tcpmsg_conn_set_data(conn, NULL);
    assert_null(tcpmsg_conn_data(conn));
    tcpmsg_conn_set_data(NULL, &raw);
    assert_null(tcpmsg_conn_data(NULL));
    assert_int_equal(tcpmsg_conn_fd(NULL), -1);
    assert_non_null(tcpmsg_conn_why(NULL));
    assert_code(tcpmsg_shutdown(NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_attach(NULL, raw, NULL), TCPMSG_EINVAL);
    tcpmsg_close(conn);
    close(raw);
}

/* Whatever descriptors a connection has, a program that is started does not inherit them. */
static void promise_10_descriptors_are_close_on_exec(void **state)
{
    (void)state;
    enum { MANY = 512 };
    bool there[MANY];
    tcpmsg_conn *conn;
    int raw, ours = 0;
    char byte;
    for (int fd = 0; fd < MANY; fd++)
        there[fd] = fcntl(fd, F_GETFD) >= 0;
    pair(&conn, &raw, NULL);
    assert_code(tcpmsg_recv(conn, &byte, 1, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    for (int fd = 0; fd < MANY; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (there[fd] || flags < 0 || fd == raw)
            continue;
        assert_true(flags & FD_CLOEXEC);
        ours++;
    }
    assert_true(ours >= 1);
    tcpmsg_close(conn);
    close(raw);
}

static void no_descriptor_is_left_behind(void **state)
{
    (void)state;
    int before = open_descriptors();
    for (int i = 0; i < 60; i++) {
        tcpmsg_conn *conn;
        int raw;
        char byte;
        (i % 2 ? pair : pair_unix)(&conn, &raw, TCPMSG_OPTIONS(.recv_timeout_ms = 1));
        assert_true(tcpmsg_recv(conn, &byte, 1, 0) < 0);
        if (i % 3 == 1)
            tcpmsg_abort(conn);
        if (i % 5 == 1)
            close(raw);
        if (i % 7 == 1)
            tcpmsg_conn_unref(conn);
        else
            tcpmsg_close(conn);
        if (i % 5 != 1)
            close(raw);
    }
    assert_int_equal(open_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attach_refuses_what_is_no_connected_stream),
        cmocka_unit_test(attach_with_a_wrong_option_takes_nothing),
        cmocka_unit_test(attach_takes_any_connected_stream),
        cmocka_unit_test(info_names_the_state_as_the_rfc_does),
        cmocka_unit_test(info_counts_messages_without_prefixes),
        cmocka_unit_test(info_keeps_to_the_callers_size),
        cmocka_unit_test(addresses_are_text_that_can_be_dialled),
        cmocka_unit_test(timeouts_change_for_later_calls),
        cmocka_unit_test(data_is_the_callers),
        cmocka_unit_test(promise_10_descriptors_are_close_on_exec),
        cmocka_unit_test(no_descriptor_is_left_behind),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
