/* SPDX-License-Identifier: MIT */
/* Promise 4: a length is checked before it is believed, and memory follows what has arrived. */
#define _GNU_SOURCE
#include "guest.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct claim {
    tcpmsg_framing framing;
    size_t max_message;
    const char *prefix;
    size_t size;
    int error;
};

static const struct claim claims[] = {
    {{0}, 0, "\1\0\0\1", 4, TCPMSG_EMSGSIZE},
    {{0}, 0, "\377\377\377\377", 4, TCPMSG_EMSGSIZE},
    {{0}, 100, "\0\0\0\145", 4, TCPMSG_EMSGSIZE},
    {{.width = 1}, 10, "\13", 1, TCPMSG_EMSGSIZE},
    {{.width = 2, .little_endian = 1}, 10, "\0\1", 2, TCPMSG_EMSGSIZE},
    {{.width = 8}, 0, "\0\0\0\377\0\0\0\0", 8, TCPMSG_EMSGSIZE},
    {{.width = 8}, 0, "\377\377\377\377\377\377\377\377", 8, TCPMSG_EMSGSIZE},
    {{.width = 8}, SIZE_MAX / 2, "\200\0\0\0\0\0\0\0", 8, TCPMSG_EMSGSIZE},
    {{.width = TCPMSG_VARINT}, 0, "\377\377\377\377\377\377\377\377\177", 9, TCPMSG_EMSGSIZE},
    {{.width = TCPMSG_VARINT}, 0, "\377\377\377\377\377\377\377\377\377\377", 10, TCPMSG_EPROTO},
    {{.width = 4, .counts_prefix = 1}, 0, "\0\0\0\3", 4, TCPMSG_EPROTO},
    {{.width = 1, .counts_prefix = 1}, 0, "\0", 1, TCPMSG_EPROTO},
    {{.width = 8, .counts_prefix = 1}, 0, "\0\0\0\0\0\0\0\7", 8, TCPMSG_EPROTO},
    {{.width = 4, .counts_prefix = 1}, 100, "\0\0\0\151", 4, TCPMSG_EMSGSIZE},
};

static void expect_refused(tcpmsg_conn *conn, int error)
{
    char text[8];
    const void *view;
    for (int flags = 0; flags < 2; flags++) {
        assert_int_equal(tcpmsg_recv(conn, text, sizeof text, flags), error);
        assert_int_equal(tcpmsg_recv_view(conn, &view, flags), error);
        assert_int_equal(tcpmsg_recv(conn, NULL, 0, flags | TCPMSG_PEEK), error);
        assert_int_equal(tcpmsg_next_length(conn), error);
    }
    assert_int_equal(tcpmsg_conn_events(conn) & POLLIN, 0);
    assert_string_not_equal(tcpmsg_conn_why(conn), "");
}

/* The claim alone, and behind a whole message, which comes first. The sending goes on. */
static void promise_4_claims_over_the_limit(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * COUNT(claims); i++) {
        const struct claim *claim = &claims[i / 2];
        tcpmsg_conn *conn;
        int raw;
        struct wire wire = {0};
        char text[8];
        pair(&conn, &raw,
             TCPMSG_OPTIONS(.framing = claim->framing, .max_message = claim->max_message));
        if (i % 2)
            wire_add_message(&wire, &claim->framing, "good", 4);
        wire_add(&wire, claim->prefix, claim->size);
        wire_add(&wire, "and more", 8);
        assert_true(write_all(raw, wire.bytes, wire.count));
        if (i % 2) {
            assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 4);
            assert_memory_equal(text, "good", 4);
        }
        size_t before = allocated_bytes();
        expect_refused(conn, claim->error);
        assert_true(allocated_bytes() < before + 32 * KIB);
        assert_int_equal(tcpmsg_send(conn, "sorry", 5, 0), 0);
        assert_int_equal(tcpmsg_close(conn), 0);
        assert_true(read_all(raw, wire.bytes, model_prefix(&claim->framing, 5, wire.bytes)));
        assert_true(read_all(raw, text, 5));
        assert_memory_equal(text, "sorry", 5);
        wire_free(&wire);
        close(raw);
    }
}

/* It is refused at the prefix's last byte, without waiting for one byte more. */
static void promise_4_refused_at_the_prefix(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(claims); i++) {
        const struct claim *claim = &claims[i];
        tcpmsg_conn *conn;
        int raw;
        char byte;
        pair_unix(&conn, &raw,
                  TCPMSG_OPTIONS(.framing = claim->framing, .max_message = claim->max_message));
        for (size_t at = 0; at < claim->size; at++) {
            if (tcpmsg_recv(conn, &byte, 1, TCPMSG_DONTWAIT) != TCPMSG_EAGAIN)
                assert_true(claim->framing.width == TCPMSG_VARINT && at >= 4);
            assert_int_equal(write(raw, claim->prefix + at, 1), 1);
        }
        assert_int_equal(tcpmsg_recv(conn, &byte, 1, TCPMSG_DONTWAIT), claim->error);
        expect_refused(conn, claim->error);
        tcpmsg_close(conn);
        close(raw);
    }
}

static void promise_4_the_limit_itself_is_fine(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    uint8_t buffer[300];
    for (size_t i = 0; i < framings_count; i++) {
        size_t limit = framing_limit(&framings[i], 300);
        struct wire wire = {0};
        pair(&conn, &raw, TCPMSG_OPTIONS(.framing = framings[i], .max_message = limit));
        wire_add_filled(&wire, &framings[i], limit, 1);
        assert_true(write_all(raw, wire.bytes, wire.count));
        assert_int_equal(tcpmsg_recv(conn, buffer, sizeof buffer, 0), limit);
        assert_true(is_filled(buffer, limit, 1));
        wire_free(&wire);
        tcpmsg_close(conn);
        close(raw);
    }
}

#ifdef SANITIZED_THREADS
enum { CROWD = 200, KIB_EACH = 200 };
#else
enum { CROWD = 200, KIB_EACH = 40 };
#endif

static void promise_4_a_crowd_of_claims_costs_next_to_nothing(void **state)
{
    (void)state;
    static tcpmsg_conn *conns[CROWD];
    static int raws[CROWD];
    static uint8_t buffer[16 * 1024 * 1024];
    const void *view;
    size_t before = resident_bytes();
    for (int i = 0; i < CROWD; i++) {
        pair_unix(&conns[i], &raws[i], NULL);
        assert_true(write_all(raws[i], "\1\0\0\0few bytes", 13));
        ssize_t got = i % 2 ? tcpmsg_recv_view(conns[i], &view, TCPMSG_DONTWAIT)
                            : tcpmsg_recv(conns[i], buffer, sizeof buffer, TCPMSG_DONTWAIT);
        assert_code(got, TCPMSG_EAGAIN);
    }
    size_t after = resident_bytes();
    print_message("%d claims of 16 MiB: %zu KiB each\n", CROWD, (after - before) / CROWD / KIB);
    assert_true(after < before + CROWD * KIB_EACH * KIB);
    for (int i = 0; i < CROWD; i++) {
        close(raws[i]);
        assert_code(tcpmsg_recv(conns[i], buffer, sizeof buffer, 0), TCPMSG_ETRUNCATED);
        tcpmsg_close(conns[i]);
    }
}

/* Of a 16 MiB claim, what is here is held, not much more; after a giant it is given back. */
static void promise_4_memory_follows_what_arrived(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    const void *view;
    size_t length = 16 * MIB, at = 0;
    struct wire wire = {0};
    wire_add_filled(&wire, NULL, length, 8);
    pair_unix(&conn, &raw, NULL);
    size_t before = allocated_bytes();
    while (at < wire.count) {
        size_t piece = wire.count - at < 64 * KIB ? wire.count - at : 64 * KIB;
        assert_true(write_all(raw, wire.bytes + at, piece));
        at += piece;
        if (at < wire.count)
            assert_code(tcpmsg_recv_view(conn, &view, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
        assert_true(allocated_bytes() < before + 2 * at + 256 * KIB);
    }
    assert_int_equal(tcpmsg_recv_view(conn, &view, 0), length);
    assert_true(is_filled(view, length, 8));
    wire_free(&wire);
    before = allocated_bytes();
    for (int i = 0; i < 3; i++) {
        assert_true(raw_send(raw, "small"));
        assert_int_equal(tcpmsg_recv_view(conn, &view, 0), 5);
    }
    if (before > length)
        assert_true(allocated_bytes() < before - 15 * MIB);
    tcpmsg_close(conn);
    close(raw);
}

/* What breaks a connection breaks only that connection. */
static void promise_4_only_that_connection(void **state)
{
    (void)state;
    tcpmsg_conn *bad, *good;
    int raw_bad, raw_good;
    char text[8];
    pair(&bad, &raw_bad, NULL);
    pair(&good, &raw_good, NULL);
    assert_true(write_all(raw_bad, "\377\377\377\377", 4) && raw_send(raw_good, "hello"));
    assert_code(tcpmsg_recv(bad, text, sizeof text, 0), TCPMSG_EMSGSIZE);
    assert_int_equal(tcpmsg_recv(good, text, sizeof text, 0), 5);
    tcpmsg_close(bad);
    assert_int_equal(tcpmsg_send(good, "hello", 5, 0), 0);
    assert_true(raw_gets(raw_good, "hello"));
    tcpmsg_close(good);
    close(raw_bad);
    close(raw_good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_4_a_crowd_of_claims_costs_next_to_nothing),
        cmocka_unit_test(promise_4_claims_over_the_limit),
        cmocka_unit_test(promise_4_refused_at_the_prefix),
        cmocka_unit_test(promise_4_the_limit_itself_is_fine),
        cmocka_unit_test(promise_4_memory_follows_what_arrived),
        cmocka_unit_test(promise_4_only_that_connection),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
