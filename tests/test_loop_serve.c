/* SPDX-License-Identifier: MIT */
/* A loop hands out every message whole, once and in order, however the stream is cut. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#if SANITIZED
#define GIANT (18 * MIB)
#else
#define GIANT (20 * MIB)
#endif

static const size_t sizes[] = {0,      1,      2,       127,    128,    1000,    4091,
                               4092,   4093,   0,       65531,  65532,  65533,   65536,
                               65537,  131068, 131072,  262139, 262140, 262141,  262144,
                               262145, 300000, 1048576, 0,      7,      16777216};

static void add_sizes(struct wire *wire, size_t longest)
{
    for (uint32_t i = 0; i < COUNT(sizes); i++)
        if (sizes[i] <= longest)
            wire_add_filled(wire, NULL, sizes[i], i);
}

/* Larger and smaller than any buffer, side by side, in one stream. */
static void promise_1_messages_of_every_size_are_echoed(void **state)
{
    (void)state;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &echo, NULL, NULL);
        struct seen *seen;
        struct wire wire = {0};
        add_sizes(&wire, 16 * MIB);
        int raw = looper_guest(looper, &seen);
        expect_echo(raw, &wire, wire.count);
        assert_code(seen_end(seen), TCPMSG_EOF);
        assert_true(wire_equal(&seen->got, &wire));
        assert_int_equal(atomic_load(&seen->refused), 0);
        close(raw);
        wire_free(&wire);
        looper_finish(looper);
    }
}

static void promise_1_pieces_of_every_size_are_put_together(void **state)
{
    (void)state;
    static const size_t pieces[] = {3, 1447, 4096, 65535, 100003, 262144, 262145};
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    for (size_t i = 0; i < COUNT(pieces); i++) {
        struct seen *seen;
        struct wire wire = {0};
        add_sizes(&wire, i == 0 ? 1000 : MIB);
        int raw = looper_guest(looper, &seen);
        expect_echo(raw, &wire, pieces[i]);
        assert_code(seen_end(seen), TCPMSG_EOF);
        assert_true(wire_equal(&seen->got, &wire));
        close(raw);
        wire_free(&wire);
    }
    looper_finish(looper);
}

/* The loop has read up to the cut before the rest comes. */
static void cut_at(struct looper *looper, const struct wire *wire, size_t cut)
{
    struct wire got = {0};
    int raw = looper_guest(looper, NULL);
    assert_true(write_all(raw, wire->bytes, cut));
    looper_settle(looper);
    assert_true(write_all(raw, wire->bytes + cut, wire->count - cut));
    wire_add(&got, wire->bytes, wire->count);
    memset(got.bytes, 0xEE, got.count);
    assert_true(read_all(raw, got.bytes, got.count));
    assert_true(wire_equal(&got, wire));
    shutdown(raw, SHUT_WR);
    assert_int_equal(read_end(raw), 0);
    close(raw);
    wire_free(&got);
}

static void promise_1_every_split_of_every_framing(void **state)
{
    (void)state;
    for (size_t i = 0; i < framings_count; i++) {
        struct wire wire = {0};
        struct looper *looper =
            looper_serve(UNIX, &echo, NULL, TCPMSG_OPTIONS(.framing = framings[i]));
        wire_add_filled(&wire, &framings[i], 5, 1);
        wire_add_filled(&wire, &framings[i], 0, 2);
        wire_add_filled(&wire, &framings[i], framing_limit(&framings[i], 130), 3);
        wire_add_filled(&wire, &framings[i], 1, 4);
        size_t dense = 24;
        for (size_t cut = 1; cut < wire.count; cut += cut < dense || cut + 6 > wire.count ? 1 : 17)
            cut_at(looper, &wire, cut);
        wire_free(&wire);
        looper_finish(looper);
    }
}

/* Each byte alone, and read alone. */
static void promise_1_byte_by_byte(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    struct seen *seen;
    struct wire wire = {0};
    int raw = looper_guest(looper, &seen), yes = 1;
    assert_int_equal(setsockopt(raw, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes), 0);
    for (uint32_t i = 0; i < 6; i++)
        wire_add_filled(&wire, NULL, i * 3, i);
    for (size_t at = 0; at < wire.count; at++) {
        assert_true(write_all(raw, wire.bytes + at, 1));
        looper_settle(looper);
    }
    for (uint32_t i = 0; i < 6; i++)
        assert_true(raw_gets_filled(raw, i * 3, i));
    shutdown(raw, SHUT_WR);
    assert_int_equal(read_end(raw), 0);
    assert_code(seen_end(seen), TCPMSG_EOF);
    assert_true(wire_equal(&seen->got, &wire));
    close(raw);
    wire_free(&wire);
    looper_finish(looper);
}

/* Many in one read: none is left behind until the next byte comes. */
static void thousands_that_come_at_once_are_all_answered(void **state)
{
    (void)state;
    enum { MANY = 30000 };
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    struct wire wire = {0};
    struct reader reader = {0};
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    for (uint32_t i = 0; i < MANY; i++)
        wire_add_filled(&wire, NULL, i % 13, i);
    reader_start(&reader, raw);
    looper_hold(looper);
    assert_true(write_all(raw, wire.bytes, wire.count / 4));
    looper_go_on(looper);
    bool written = write_all(raw, wire.bytes + wire.count / 4, wire.count - wire.count / 4);
    assert_true(written);
    seen_messages(seen, MANY);
    shutdown(raw, SHUT_WR);
    reader_finish(&reader);
    assert_int_equal(reader.end, 0);
    assert_true(wire_equal(&reader.got, &wire));
    assert_int_equal(atomic_load(&seen->messages), MANY);
    close(raw);
    wire_free(&reader.got);
    wire_free(&wire);
    looper_finish(looper);
}

static void a_giant_between_small_ones(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, TCPMSG_OPTIONS(.max_message = 32 * MIB));
    for (int way = 0; way < 2; way++) {
        struct seen *seen;
        struct wire wire = {0};
        wire_add_filled(&wire, NULL, 10, 1);
        wire_add_filled(&wire, NULL, GIANT, 2);
        wire_add_filled(&wire, NULL, 10, 3);
        wire_add_filled(&wire, NULL, 0, 4);
        int raw = looper_guest(looper, &seen);
        expect_echo(raw, &wire, way ? 50001 : wire.count);
        assert_code(seen_end(seen), TCPMSG_EOF);
        assert_true(wire_equal(&seen->got, &wire));
        close(raw);
        wire_free(&wire);
    }
    looper_finish(looper);
}

static void hundreds_of_clients_in_turn(void **state)
{
    (void)state;
    enum { CLIENTS = 200, ROUNDS = 5 };
    static int raws[CLIENTS];
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    for (int i = 0; i < CLIENTS; i++)
        assert_true((raws[i] = raw_reach(looper->address)) >= 0);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < CLIENTS; i++)
            assert_true(raw_send_filled(raws[i], i * round, i + round));
        for (uint32_t i = 0; i < CLIENTS; i++)
            assert_true(raw_gets_filled(raws[i], i * round, i + round));
    }
    for (int i = 0; i < CLIENTS; i++)
        close(raws[i]);
    for (int i = 0; i < CLIENTS; i++) {
        struct seen *seen = looper_seen(looper, i);
        assert_code(seen_end(seen), TCPMSG_EOF);
        assert_int_equal(atomic_load(&seen->messages), ROUNDS);
    }
    looper_finish(looper);
}

/* What a callback can ask about its connection. */
static void ask(struct seen *seen)
{
    char local[TCPMSG_ADDRESS_MAX], peer[TCPMSG_ADDRESS_MAX];
    tcpmsg_info info;
    if (tcpmsg_conn_fd(seen->conn) < 0)
        looper_fault(seen->looper, "no descriptor in on_open");
    if (tcpmsg_conn_local(seen->conn, local, sizeof local) != 0 ||
        strcmp(local, seen->looper->address) != 0)
        looper_fault(seen->looper, "not the local address");
    if (tcpmsg_conn_peer(seen->conn, peer, sizeof peer) != 0 || strcmp(peer, local) == 0)
        looper_fault(seen->looper, "not the peer's address");
    if (tcpmsg_conn_info(seen->conn, &info, sizeof info) != 0 || info.messages_received != 0)
        looper_fault(seen->looper, "not the facts");
    if (strcmp(tcpmsg_conn_why(seen->conn), "") != 0)
        looper_fault(seen->looper, "a story already");
}

static void count_in_info(struct seen *seen, const void *message, size_t length)
{
    tcpmsg_info info;
    if (tcpmsg_conn_info(seen->conn, &info, sizeof info) != 0 ||
        info.messages_received != (uint64_t)atomic_load(&seen->messages) ||
        info.bytes_received != atomic_load(&seen->bytes))
        looper_fault(seen->looper, "received, and not counted");
    if (tcpmsg_send(seen->conn, message, length, 0) != 0 ||
        tcpmsg_conn_info(seen->conn, &info, sizeof info) != 0 ||
        info.messages_sent != (uint64_t)atomic_load(&seen->messages) ||
        info.bytes_sent != atomic_load(&seen->bytes))
        looper_fault(seen->looper, "sent, and not counted");
}

static void a_connection_tells_about_itself(void **state)
{
    (void)state;
    static const struct acts acts = {.on_open = ask, .on_message = count_in_info};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &acts, NULL, NULL);
        int raw = looper_guest(looper, NULL);
        assert_true(raw_send(raw, "one") && raw_send(raw, "") && raw_send(raw, "three"));
        assert_true(raw_gets(raw, "one") && raw_gets(raw, "") && raw_gets(raw, "three"));
        close(raw);
        looper_finish(looper);
    }
}

/* Each with callbacks and options of its own; two loops side by side don't mix either. */
static void two_listeners_in_one_loop(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL), *other = looper_serve(TCP, &nothing, NULL, NULL);
    looper_listen(looper, TCP, &echo, NULL);
    char first[TCPMSG_ADDRESS_MAX];
    memcpy(first, looper->address, sizeof first);
    looper_start(looper);
    looper_listen(looper, UNIX, &echo, TCPMSG_OPTIONS(.max_message = 10));
    int raws[3] = {raw_reach(first), raw_reach(looper->address), raw_reach(other->address)};
    for (int i = 0; i < 3; i++)
        assert_true(raws[i] >= 0 && raw_send(raws[i], "hello"));
    assert_true(raw_gets(raws[0], "hello") && raw_gets(raws[1], "hello"));
    seen_messages(looper_seen(other, 0), 1);
    assert_true(raw_has_nothing(raws[2]));
    assert_true(raw_send(raws[0], "more than ten") && raw_send(raws[1], "more than ten"));
    assert_true(raw_gets(raws[0], "more than ten"));
    assert_int_not_equal(read_end(raws[1]), ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        close(raws[i]);
    looper_finish(looper);
    looper_finish(other);
}

/* Listening began, and clients came, before the loop did. */
static void who_came_before_the_run_is_served(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    looper_listen(looper, TCP, &echo, NULL);
    int raw = raw_reach(looper->address);
    assert_true(raw >= 0 && raw_send(raw, "early"));
    looper_start(looper);
    assert_true(raw_gets(raw, "early"));
    close(raw);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_1_messages_of_every_size_are_echoed),
        cmocka_unit_test(promise_1_pieces_of_every_size_are_put_together),
        cmocka_unit_test(promise_1_every_split_of_every_framing),
        cmocka_unit_test(promise_1_byte_by_byte),
        cmocka_unit_test(thousands_that_come_at_once_are_all_answered),
        cmocka_unit_test(a_giant_between_small_ones),
        cmocka_unit_test(hundreds_of_clients_in_turn),
        cmocka_unit_test(a_connection_tells_about_itself),
        cmocka_unit_test(two_listeners_in_one_loop),
        cmocka_unit_test(who_came_before_the_run_is_served),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
