/* SPDX-License-Identifier: MIT */
/* What a loop tells of all its connections together. */
#define _GNU_SOURCE
#include "guest.h"
#include "reach.h"
#include "shortage.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static tcpmsg_stats ask(const struct looper *looper)
{
    tcpmsg_stats stats;
    assert_int_equal(tcpmsg_loop_stats(looper->loop, &stats, sizeof stats), 0);
    return stats;
}

/* Something that the loop is on the way to. */
struct hope {
    struct looper *looper;
    bool (*is_so)(const tcpmsg_stats *stats);
};

static bool is_so(void *arg)
{
    const struct hope *hope = arg;
    tcpmsg_stats stats;
    return tcpmsg_loop_stats(hope->looper->loop, &stats, sizeof stats) == 0 && hope->is_so(&stats);
}

static void expect(struct looper *looper, bool (*wanted)(const tcpmsg_stats *stats))
{
    assert_true(eventually(is_so, &(struct hope){looper, wanted}));
}

static void a_new_loop_has_done_nothing(void **state)
{
    (void)state;
    static const tcpmsg_stats zero;
    struct looper *looper = looper_open(NULL);
    tcpmsg_stats stats = ask(looper);
    assert_memory_equal(&stats, &zero, sizeof zero);
    looper_finish(looper);
}

static void nonsense_is_EINVAL(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    tcpmsg_stats stats;
    assert_code(tcpmsg_loop_stats(NULL, &stats, sizeof stats), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_stats(looper->loop, NULL, sizeof stats), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_stats(looper->loop, &stats, 0), TCPMSG_EINVAL);
    looper_finish(looper);
}

/* An older caller gets what it knows, a newer one zeros for what we don't. */
static void a_caller_of_another_release_gets_its_share(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &nothing, NULL, NULL);
    struct {
        tcpmsg_stats known;
        uint64_t later[2];
    } stats;
    int raw = raw_reach(looper->address);
    looper_seen(looper, 0);
    memset(&stats, 0xee, sizeof stats);
    assert_int_equal(tcpmsg_loop_stats(looper->loop, &stats.known, 8), 0);
    assert_int_equal(stats.known.connections, 1);
    assert_true(stats.known.opened == UINT64_C(0xeeeeeeeeeeeeeeee));
    assert_int_equal(tcpmsg_loop_stats(looper->loop, &stats.known, sizeof stats), 0);
    assert_int_equal(stats.known.opened, 1);
    assert_true(stats.later[0] == 0 && stats.later[1] == 0);
    close(raw);
    looper_finish(looper);
}

/* The end of it is known when all have been told so. */
static void what_went_both_ways_is_counted(void **state)
{
    (void)state;
    enum { PEERS = 6, ROUNDS = 50, LENGTH = 100, LARGE = 300000 };
    for (int threads = 1; threads <= 3; threads += 2) {
        struct looper *looper =
            looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.threads = threads), NULL);
        int raws[PEERS];
        for (int i = 0; i < PEERS; i++) {
            raws[i] = raw_reach(looper->address);
            for (uint32_t k = 0; k < ROUNDS; k++)
                assert_true(raw_send_filled(raws[i], LENGTH, k));
            assert_true(raw_send_filled(raws[i], LARGE, 7));
            for (uint32_t k = 0; k < ROUNDS; k++)
                assert_true(raw_gets_filled(raws[i], LENGTH, k));
            assert_true(raw_gets_filled(raws[i], LARGE, 7));
        }
        assert_int_equal(ask(looper).connections, PEERS);
        for (int i = 0; i < PEERS; i++)
            close(raws[i]);
        for (int i = 0; i < PEERS; i++)
            assert_code(seen_end(looper_seen(looper, i)), TCPMSG_EOF);
        looper_stop(looper);
        tcpmsg_stats stats = ask(looper);
        assert_int_equal(stats.connections, 0);
        assert_int_equal(stats.opened, PEERS);
        assert_int_equal(stats.closed, PEERS);
        assert_int_equal(stats.failed, 0);
        assert_int_equal(stats.messages_received, PEERS * (ROUNDS + 1));
        assert_int_equal(stats.messages_sent, PEERS * (ROUNDS + 1));
        assert_int_equal(stats.bytes_received, PEERS * (ROUNDS * LENGTH + LARGE));
        assert_int_equal(stats.bytes_sent, PEERS * (ROUNDS * LENGTH + LARGE));
        assert_int_equal(stats.memory_held, 0);
        assert_true(stats.timeouts == 0 && stats.refusals == 0 && stats.accept_failures == 0);
        looper_finish(looper);
    }
}

static bool sent_one(const tcpmsg_stats *stats)
{
    return stats->messages_sent == 1 && stats->bytes_sent == 100000;
}

/* It leaves inside of the call, so that nothing is left for the end of the pass. */
static void a_large_answer_is_counted_at_once(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    int raw = raw_reach(looper->address);
    assert_true(raw_send_filled(raw, 100000, 7) && raw_gets_filled(raw, 100000, 7));
    expect(looper, sent_one);
    close(raw);
    looper_finish(looper);
}

static bool sent_five(const tcpmsg_stats *stats)
{
    return stats->messages_sent == 5 && stats->bytes_sent == 15;
}

/* ... and what was sent before it was in the loop is not the loop's. */
static void what_other_threads_send_is_counted(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    tcpmsg_conn *conn;
    int raw;
    looper_start(looper);
    pair(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(conn, "before", 6, 0), 0);
    tcpmsg_conn_ref(conn);
    assert_int_equal(looper_add(looper, conn, &nothing), 0);
    looper_seen(looper, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(tcpmsg_send(conn, "new", 3, 0), 0);
    assert_true(raw_gets(raw, "before") && raw_gets(raw, "new"));
    expect(looper, sent_five);
    tcpmsg_conn_unref(conn);
    close(raw);
    looper_finish(looper);
}

static bool holds_much(const tcpmsg_stats *stats)
{
    return stats->memory_held >= 200000;
}

static bool holds_nothing(const tcpmsg_stats *stats)
{
    return stats->memory_held == 0 && stats->connections == 0;
}

static void half_a_message_is_memory_held(void **state)
{
    (void)state;
    static uint8_t half[200000];
    struct looper *looper = looper_serve(TCP, &nothing, NULL, NULL);
    int raw = raw_reach(looper->address);
    assert_true(write_all(raw, "\x00\x10\x00\x00", 4) && write_all(raw, half, sizeof half));
    expect(looper, holds_much);
    close(raw);
    expect(looper, holds_nothing);
    looper_finish(looper);
}

static bool one_of_each(const tcpmsg_stats *stats)
{
    return stats->closed == 3 && stats->refusals == 2 && stats->timeouts == 1;
}

static void why_they_ended_is_counted(void **state)
{
    (void)state;
    const tcpmsg_options options = {.size = sizeof options,
                                    .max_message = 1000,
                                    .framing = {.counts_prefix = 1},
                                    .message_timeout_ms = 1};
    struct looper *looper = looper_serve(TCP, &nothing, NULL, &options);
    static const char *const beginnings[] = {"\x00\x10\x00\x00", "\x00\x00\x00\x01",
                                             "\x00\x00\x00\x09"};
    int raws[COUNT(beginnings)];
    for (size_t i = 0; i < COUNT(beginnings); i++) {
        raws[i] = raw_reach(looper->address);
        assert_true(write_all(raws[i], beginnings[i], 4));
    }
    expect(looper, one_of_each);
    for (size_t i = 0; i < COUNT(beginnings); i++)
        close(raws[i]);
    looper_finish(looper);
}

static bool has_failed(const tcpmsg_stats *stats)
{
    return stats->failed == 2 && stats->connections == 0;
}

/* A dial that finds nobody, and a client whose proxy's header is none. */
static void who_was_never_opened_has_failed(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    int nobody = raw_listen(address, sizeof address);
    close(nobody);
    struct looper *looper = looper_serve(TCP, &nothing, NULL, TCPMSG_OPTIONS(.proxy_protocol = 1));
    assert_int_equal(looper_dial(looper, address, NULL, &nothing), 0);
    int raw = raw_reach(looper->address);
    assert_true(write_all(raw, "hello", 5));
    expect(looper, has_failed);
    tcpmsg_stats stats = ask(looper);
    assert_true(stats.opened == 0 && stats.closed == 0 && stats.refusals == 1);
    close(raw);
    looper_finish(looper);
}

static bool failed_thrice(const tcpmsg_stats *stats)
{
    return stats->accept_failures == 3 && stats->opened == 1;
}

static void promise_12_what_could_not_be_let_in_at_once_is_counted(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &nothing, NULL, NULL);
    call_fails(CALL_accept4, EMFILE, 3);
    int raw = raw_reach(looper->address);
    expect(looper, failed_thrice);
    close(raw);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_loop_has_done_nothing),
        cmocka_unit_test(nonsense_is_EINVAL),
        cmocka_unit_test(a_caller_of_another_release_gets_its_share),
        cmocka_unit_test(what_went_both_ways_is_counted),
        cmocka_unit_test(a_large_answer_is_counted_at_once),
        cmocka_unit_test(what_other_threads_send_is_counted),
        cmocka_unit_test(half_a_message_is_memory_held),
        cmocka_unit_test(why_they_ended_is_counted),
        cmocka_unit_test(who_was_never_opened_has_failed),
        cmocka_unit_test(promise_12_what_could_not_be_let_in_at_once_is_counted),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
