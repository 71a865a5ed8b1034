/* SPDX-License-Identifier: MIT */
/* A conversation in both directions at once over a socket that does the least it may. */
#define _GNU_SOURCE
#include "faults.h"
#include "guest.h"
#include "peer.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const size_t sizes[] = {0,     1,     2,     3,     4,     5,          60, 1000,  4096, 0,
                               16380, 16384, 65531, 65532, 65536, 300 * 1024, 7,  70000, 20,   1};

enum { LONGEST = 300 * 1024, SHORTER = 40000 };

/* Where a call moves a few bytes only, shorter messages have to do; still long enough for the
 * library to read some of them straight into the caller's memory. */
static size_t size_of(uint32_t which)
{
    bool few = faults.most > 0 && faults.most < 1000;
    return few && sizes[which] > SHORTER ? SHORTER : sizes[which];
}

static ssize_t say_all(struct call *call)
{
    uint8_t *message = malloc(LONGEST);
    int result = 0;
    for (uint32_t i = 0; i < COUNT(sizes) && result == 0; i++) {
        size_t length = size_of(i);
        fill(message, length, call->seed + i);
        do
            result = tcpmsg_send(call->conn, message, length, (int)(i % 4));
        while (result == TCPMSG_EAGAIN || result == TCPMSG_ENOMEM);
        memset(message, 0, length);
    }
    while (result == 0 && (result = tcpmsg_flush(call->conn, 0)) == TCPMSG_ENOMEM)
        result = 0;
    free(message);
    return result;
}

/* Every third message is received in another way; 0 when all came as they were sent. */
static ssize_t hear_all(struct call *call)
{
    uint8_t *buffer = malloc(LONGEST);
    for (uint32_t i = 0; i < COUNT(sizes);) {
        const void *message = buffer;
        ssize_t length;
        if (i % 3 == 0)
            length = tcpmsg_recv(call->conn, buffer, LONGEST, 0);
        else if (i % 3 == 1)
            length = tcpmsg_recv_view(call->conn, &message, 0);
        else
            length = tcpmsg_recv(call->conn, buffer, LONGEST, TCPMSG_DONTWAIT);
        if (length == TCPMSG_EAGAIN || length == TCPMSG_ENOMEM)
            continue;
        if (length < 0 || (size_t)length != size_of(i) ||
            !is_filled(message, (size_t)length, call->seed + i)) {
            free(buffer);
            return length < 0 ? length : 1 + (ssize_t)i;
        }
        i++;
    }
    free(buffer);
    return 0;
}

static void converse(const struct faults *wanted, bool unix_socket)
{
    tcpmsg_conn *ends[2];
    struct call calls[4];
    (unix_socket ? pair_conns_unix : pair_conns)(&ends[0], &ends[1], NULL);
    faults_begin(wanted);
    for (int i = 0; i < 2; i++)
        faults_on(tcpmsg_conn_fd(ends[i]));
    for (uint32_t i = 0; i < 4; i++) {
        calls[i] = (struct call){.body = i < 2 ? say_all : hear_all, .conn = ends[i % 2]};
        calls[i].seed = i == 0 || i == 3 ? 100 : 200;
        call_start(&calls[i]);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(call_finish(&calls[i]), 0);
    assert_true(reads_made > 0 && writes_made > 0);
    assert_int_equal(writes_that_may_signal, 0);
    faults_end();
    assert_int_equal(tcpmsg_close(ends[0]), 0);
    tcpmsg_close(ends[1]);
}

static void promise_1_one_byte_at_a_time(void **state)
{
    (void)state;
    converse(&(struct faults){.most = 1}, true);
}

static void promise_1_pieces_of_any_size(void **state)
{
    (void)state;
    for (size_t most = 5; most < 200000; most *= 9)
        converse(&(struct faults){.most = most, .random_most = 1}, most % 2);
}

static void promise_1_mostly_eagain(void **state)
{
    (void)state;
    converse(&(struct faults){.eagain = 90}, false);
    converse(&(struct faults){.eagain = 90, .most = 1000, .random_most = 1}, true);
}

static void promise_1_often_eintr(void **state)
{
    (void)state;
    converse(&(struct faults){.eintr = 70, .most = 500, .random_most = 1}, false);
    converse(&(struct faults){.eintr = 30, .eagain = 30, .most = 90, .random_most = 1}, true);
}

static void promise_1_no_buffers_now_and_then(void **state)
{
    (void)state;
    converse(&(struct faults){.no_buffers = 30, .most = 5000, .random_most = 1}, false);
    converse(&(struct faults){.no_buffers = 10, .no_memory = 10, .most = 300}, true);
}

static void promise_1_a_storm_of_signals(void **state)
{
    (void)state;
    storm_begin();
    converse(&(struct faults){0}, false);
    converse(&(struct faults){.most = 100, .random_most = 1}, true);
    storm_end();
    assert_true(storm_signals() > 0);
}

/* A clock that strikes between any two bytes of both directions. */
static void promise_2_timeouts_between_any_two_bytes(void **state)
{
    (void)state;
    tcpmsg_conn *one, *other;
    uint8_t message[200], buffer[200];
    uint32_t sent = 0, received = 0;
    const void *view = buffer;
    pair_conns_unix(&one, &other, NULL);
    faults_begin(&(struct faults){.most = 3, .random_most = 1, .eagain = 50});
    faults_on(tcpmsg_conn_fd(one));
    faults_on(tcpmsg_conn_fd(other));
    while (received < 400) {
        size_t length = sent % 50 * 4;
        fill(message, length, sent);
        int result = tcpmsg_send(one, message, length, TCPMSG_DONTWAIT);
        if (result == 0)
            sent++;
        else
            assert_code(result, TCPMSG_EAGAIN);
        memset(message, 0, sizeof message);
        ssize_t got = received % 2 ? tcpmsg_recv_view(other, &view, TCPMSG_DONTWAIT)
                                   : tcpmsg_recv(other, buffer, 200, TCPMSG_DONTWAIT);
        if (got == TCPMSG_EAGAIN)
            continue;
        assert_int_equal(got, received % 50 * 4);
        assert_true(is_filled(received % 2 ? view : buffer, (size_t)got, received));
        received++;
    }
    faults_end();
    tcpmsg_abort(one);
    tcpmsg_close(one);
    tcpmsg_close(other);
}

static const struct {
    int os_error;
    int error;
} errors[] = {
    {ECONNRESET, TCPMSG_ERESET},        {EPIPE, TCPMSG_ERESET},
    {ETIMEDOUT, TCPMSG_ESTALLED},       {EHOSTUNREACH, TCPMSG_EUNREACHABLE},
    {ENETUNREACH, TCPMSG_EUNREACHABLE}, {ECONNREFUSED, TCPMSG_EUNREACHABLE},
    {EACCES, TCPMSG_EUNREACHABLE},      {EIO, TCPMSG_ESYSTEM},
};

/* What the system says is what the calls say, and os_error has its very number. */
static void the_systems_errors_are_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * COUNT(errors); i++) {
        tcpmsg_conn *conn;
        int raw, error = errors[i / 2].error, result;
        char text[8];
        tcpmsg_info info;
        struct faults wanted = {0};
        *(i % 2 ? &wanted.read_error : &wanted.write_error) = errors[i / 2].os_error;
        pair_unix(&conn, &raw, NULL);
        assert_true(raw_send(raw, "hello"));
        faults_begin(&wanted);
        faults_on(tcpmsg_conn_fd(conn));
        for (int times = 0; times < 3; times++) {
            result =
                i % 2 ? (int)tcpmsg_recv(conn, text, sizeof text, 0) : tcpmsg_send(conn, "x", 1, 0);
            assert_string_equal(tcpmsg_error_name(result), tcpmsg_error_name(error));
        }
        assert_string_not_equal(tcpmsg_conn_why(conn), "");
        if (error == TCPMSG_ESYSTEM)
            assert_true(says(tcpmsg_conn_why(conn), strerror(errors[i / 2].os_error)));
        assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
        assert_int_equal(info.os_error, errors[i / 2].os_error);
        faults_end();
        if (i % 2 == 0)
            assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
        result = tcpmsg_close(conn);
        assert_true(result == error || (i % 2 && result == 0));
        close(raw);
    }
}

/* No buffers before a message's first byte: ENOMEM, or it waits; in no case half of it. */
static void promise_1_no_buffers_is_then_or_never(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, TCPMSG_OPTIONS(.send_timeout_ms = 20));
    faults_begin(&(struct faults){.write_error = ENOBUFS});
    faults_on(tcpmsg_conn_fd(conn));
    int result = tcpmsg_send(conn, "first", 5, 0);
    assert_true(result == TCPMSG_ENOMEM || result == TCPMSG_ETIMEDOUT);
    result = tcpmsg_send(conn, "first", 5, TCPMSG_DONTWAIT);
    assert_true(result == TCPMSG_ENOMEM || result == TCPMSG_EAGAIN);
    assert_int_equal(tcpmsg_send(conn, "held", 4, TCPMSG_MORE), 0);
    result = tcpmsg_flush(conn, 0);
    assert_true(result == TCPMSG_ENOMEM || result == TCPMSG_ETIMEDOUT);
    faults_end();
    assert_int_equal(tcpmsg_send(conn, "second", 6, 0), 0);
    assert_true(raw_gets(raw, "held") && raw_gets(raw, "second"));
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_1_one_byte_at_a_time),
        cmocka_unit_test(promise_1_pieces_of_any_size),
        cmocka_unit_test(promise_1_mostly_eagain),
        cmocka_unit_test(promise_1_often_eintr),
        cmocka_unit_test(promise_1_no_buffers_now_and_then),
        cmocka_unit_test(promise_1_a_storm_of_signals),
        cmocka_unit_test(promise_2_timeouts_between_any_two_bytes),
        cmocka_unit_test(the_systems_errors_are_told),
        cmocka_unit_test(promise_1_no_buffers_is_then_or_never),
    };
    alarm(under_valgrind() ? 5 * TEST_SECONDS : TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
