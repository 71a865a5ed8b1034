/* SPDX-License-Identifier: MIT */
/*
 * After a large message the next one is expected to be as long, and read to where it would belong:
 * whatever comes instead, and however it is cut up, nothing is lost and nothing is out of place.
 */
#define _GNU_SOURCE
#include "peer.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LARGE (40 * KIB)
#define GIANT (700 * KIB)
#define GUARD 64

/* What one receive has to hold, with a guard behind it. */
struct memory {
    uint8_t *bytes;
    size_t size;
};

static struct memory memory_of(size_t size)
{
    struct memory memory = {malloc(size + GUARD), size};
    assert_non_null(memory.bytes);
    memset(memory.bytes + size, 0xa5, GUARD);
    return memory;
}

static void free_memory(struct memory memory)
{
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(memory.bytes[memory.size + i], 0xa5);
    free(memory.bytes);
}

static void expect_message(tcpmsg_conn *conn, size_t size, size_t length, uint32_t seed)
{
    struct memory memory = memory_of(size);
    assert_int_equal(tcpmsg_recv(conn, memory.bytes, size, 0), length);
    assert_true(is_filled(memory.bytes, length, seed));
    free_memory(memory);
}

/* The peer writes all of it in pieces, each so long. */
struct script {
    const size_t *lengths;
    size_t count;
    const tcpmsg_framing *framing;
    size_t piece;
};

static const struct script *script;

static ssize_t write_script(struct call *call)
{
    struct wire wire = {0};
    for (size_t i = 0; i < script->count; i++)
        wire_add_filled(&wire, script->framing, script->lengths[i], (uint32_t)i);
    bool written = true;
    for (size_t at = 0; at < wire.count && written; at += script->piece) {
        size_t left = wire.count - at;
        written =
            write_all(call->raw, wire.bytes + at, left < script->piece ? left : script->piece);
    }
    wire_free(&wire);
    return written;
}

static void play(const struct script *wanted, size_t size)
{
    struct call writer = {.body = write_script};
    tcpmsg_options options = {.size = sizeof options, .framing = *wanted->framing};
    script = wanted;
    pair(&writer.conn, &writer.raw, &options);
    call_start(&writer);
    for (size_t i = 0; i < wanted->count; i++)
        expect_message(writer.conn, size, wanted->lengths[i], (uint32_t)i);
    assert_true(call_finish(&writer));
    close(writer.raw);
    assert_int_equal(tcpmsg_close(writer.conn), 0);
}

static const size_t lengths[] = {LARGE,     LARGE, LARGE,     0,         LARGE,     7,     LARGE,
                                 LARGE + 1, LARGE, LARGE - 1, LARGE + 5, LARGE,     1,     1,
                                 1,         LARGE, LARGE,     GIANT,     GIANT,     LARGE, GIANT,
                                 GIANT,     3,     GIANT,     GIANT,     GIANT - 1, LARGE, LARGE};

static void promise_2_another_length_than_the_last_in_any_cut(void **state)
{
    (void)state;
    static const tcpmsg_framing kinds[] = {
        {0},
        {.width = 3, .little_endian = true},
        {.width = 8, .counts_prefix = true},
        {.width = TCPMSG_VARINT},
    };
    static const size_t pieces[] = {999, LARGE, LARGE + 4, LARGE + 6, 3 * LARGE + 1, 8 * MIB};
    for (size_t f = 0; f < COUNT(kinds); f++)
        for (size_t p = 0; p < COUNT(pieces); p++)
            play(&(struct script){lengths, COUNT(lengths), &kinds[f], pieces[p]}, GIANT);
}

/* A connection that has received a large message, which nothing followed. */
struct run {
    tcpmsg_conn *conn;
    int raw;
    const tcpmsg_framing *framing;
    struct wire wire; /* what the peer is to write next */
};

static void write_wire(struct run *run)
{
    assert_true(write_all(run->raw, run->wire.bytes, run->wire.count));
    wire_free(&run->wire);
    run->wire = (struct wire){0};
}

static void begin(struct run *run, tcpmsg_options options)
{
    static const tcpmsg_framing usual = {0};
    options.size = sizeof options;
    options.framing = *(run->framing ? run->framing : &usual);
    pair(&run->conn, &run->raw, &options);
    wire_add_filled(&run->wire, run->framing, LARGE, 1);
    write_wire(run);
    expect_message(run->conn, LARGE, LARGE, 1);
}

static void end(struct run *run)
{
    wire_free(&run->wire);
    close(run->raw);
    assert_int_equal(tcpmsg_close(run->conn), 0);
}

/* These come instead of another large one, together, in one write. */
static void expect_instead(const size_t *instead, size_t count, const tcpmsg_framing *framing)
{
    struct run run = {.framing = framing};
    begin(&run, (tcpmsg_options){0});
    for (size_t i = 0; i < count; i++)
        wire_add_filled(&run.wire, framing, instead[i], (uint32_t)i);
    write_wire(&run);
    for (size_t i = 0; i < count; i++)
        expect_message(run.conn, GIANT, instead[i], (uint32_t)i);
    end(&run);
}

/* What lies where a large one was expected has to move, in front of what lies behind it. */
static void promise_2_others_instead_of_the_expected_one(void **state)
{
    (void)state;
    static const tcpmsg_framing kinds[] = {
        {0},
        {.width = 3, .little_endian = true},
        {.width = 8, .counts_prefix = true},
    };
    static const size_t small[] = {5, 0, 17};
    static const size_t shorter[] = {LARGE - 1, LARGE, LARGE};
    static const size_t longer[] = {LARGE + 1, 3, 3};
    static const size_t much_longer[] = {2 * LARGE, LARGE};
    static const size_t as_long[] = {LARGE, LARGE, 7};
    size_t many[3000];
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = i % 37;
    for (size_t f = 0; f < COUNT(kinds); f++) {
        expect_instead(small, COUNT(small), &kinds[f]);
        expect_instead(shorter, COUNT(shorter), &kinds[f]);
        expect_instead(longer, COUNT(longer), &kinds[f]);
        expect_instead(much_longer, COUNT(much_longer), &kinds[f]);
        expect_instead(as_long, COUNT(as_long), &kinds[f]);
        expect_instead(many, COUNT(many), &kinds[f]);
    }
}

/* The memory is as large as the last message; the next one is larger, and waits for its own. */
static void promise_6_a_larger_one_than_expected_waits(void **state)
{
    (void)state;
    struct run run = {0};
    struct memory memory = memory_of(LARGE);
    begin(&run, (tcpmsg_options){0});
    wire_add_filled(&run.wire, NULL, LARGE + 10, 2);
    wire_add_filled(&run.wire, NULL, 5, 3);
    write_wire(&run);
    assert_code(tcpmsg_recv(run.conn, memory.bytes, LARGE, 0), TCPMSG_EBUFSIZE);
    assert_int_equal(tcpmsg_next_length(run.conn), LARGE + 10);
    expect_message(run.conn, LARGE + 10, LARGE + 10, 2);
    expect_message(run.conn, 5, 5, 3);
    free_memory(memory);
    end(&run);
}

/* Memory that is smaller than the last message gets no more than it holds. */
static void a_smaller_memory_than_the_last_is_not_overrun(void **state)
{
    (void)state;
    struct run run = {0};
    struct memory memory = memory_of(LARGE - 1);
    begin(&run, (tcpmsg_options){0});
    wire_add_filled(&run.wire, NULL, LARGE, 1);
    write_wire(&run);
    assert_code(tcpmsg_recv(run.conn, memory.bytes, memory.size, 0), TCPMSG_EBUFSIZE);
    free_memory(memory);
    expect_message(run.conn, LARGE, LARGE, 1);
    end(&run);
}

/* A receive that leaves before the message is whole keeps what it read where it was expected. */
static void promise_6_a_part_that_came_where_it_was_expected_is_kept(void **state)
{
    (void)state;
    struct run run = {0};
    struct memory memory = memory_of(LARGE);
    begin(&run, (tcpmsg_options){.recv_timeout_ms = 50});
    wire_add_filled(&run.wire, NULL, LARGE, 2);
    for (size_t at = 0; at < run.wire.count; at += 9001) {
        size_t left = run.wire.count - at;
        assert_true(write_all(run.raw, run.wire.bytes + at, left < 9001 ? left : 9001));
        if (left > 9001) {
            assert_true(wait_events(tcpmsg_conn_fd(run.conn), POLLIN, WAIT_MS) & POLLIN);
            ssize_t n = tcpmsg_recv(run.conn, memory.bytes, LARGE, at % 2 ? TCPMSG_DONTWAIT : 0);
            assert_true(n == TCPMSG_EAGAIN || n == TCPMSG_ETIMEDOUT);
        }
    }
    memset(memory.bytes, 0, LARGE);
    assert_int_equal(tcpmsg_recv(run.conn, memory.bytes, LARGE, 0), LARGE);
    assert_true(is_filled(memory.bytes, LARGE, 2));
    free_memory(memory);
    end(&run);
}

/* The same where the peer ends it: the end is told truly. */
static void promise_3_an_end_inside_an_expected_one_is_ETRUNCATED(void **state)
{
    (void)state;
    struct run run = {0};
    struct memory memory = memory_of(LARGE);
    begin(&run, (tcpmsg_options){0});
    wire_add_filled(&run.wire, NULL, LARGE, 2);
    assert_true(write_all(run.raw, run.wire.bytes, 1000));
    close(run.raw);
    assert_code(tcpmsg_recv(run.conn, memory.bytes, LARGE, 0), TCPMSG_ETRUNCATED);
    assert_true(says(tcpmsg_conn_why(run.conn), "996 of its 40960"));
    free_memory(memory);
    wire_free(&run.wire);
    tcpmsg_close(run.conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_2_another_length_than_the_last_in_any_cut),
        cmocka_unit_test(promise_2_others_instead_of_the_expected_one),
        cmocka_unit_test(promise_6_a_larger_one_than_expected_waits),
        cmocka_unit_test(a_smaller_memory_than_the_last_is_not_overrun),
        cmocka_unit_test(promise_6_a_part_that_came_where_it_was_expected_is_kept),
        cmocka_unit_test(promise_3_an_end_inside_an_expected_one_is_ETRUNCATED),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
