/* SPDX-License-Identifier: MIT */
/* How a loop's connection ends: on_close exactly once, the last call, with the true reason. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a peer does after three good messages, and what that is called. */
struct ending {
    const char *bytes;
    size_t count;
    bool resets;
    int why;
    const char *story; /* stands in it */
};

static const struct ending endings[] = {
    {"", 0, false, TCPMSG_EOF, ""},
    {"\0", 1, false, TCPMSG_ETRUNCATED, "1"},
    {"\0\0\0", 3, false, TCPMSG_ETRUNCATED, "3"},
    {"\0\0\0\7", 4, false, TCPMSG_ETRUNCATED, "7"},
    {"\0\0\0\7abcdef", 10, false, TCPMSG_ETRUNCATED, "7"},
    {"", 0, true, TCPMSG_ERESET, "reset"},
    {"\0\0\0\7abc", 7, true, TCPMSG_ERESET, "reset"},
    {"\0\1\0\1", 4, false, TCPMSG_EMSGSIZE, "65537"},
    {"GET / HTTP/1.1\r\n\r\n", 18, false, TCPMSG_EMSGSIZE, "1195725856"},
};

/* The three good ones and the bad end come in one read. */
static void end_as(struct looper *looper, const struct ending *ending, bool settle)
{
    struct wire wire = {0};
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    for (uint32_t i = 0; i < 3; i++)
        wire_add_filled(&wire, NULL, i * 1000, i);
    size_t good = wire.count;
    wire_add(&wire, ending->bytes, ending->count);
    looper_hold(looper);
    assert_true(write_all(raw, wire.bytes, wire.count));
    if (!ending->resets)
        shutdown(raw, SHUT_WR);
    looper_go_on(looper);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(raw_gets_filled(raw, i * 1000, i));
    if (settle)
        looper_settle(looper);
    if (ending->resets)
        raw_reset(raw);
    if (seen_end(seen) != ending->why || !says(seen->story, ending->story))
        fail_msg("%s: %s", tcpmsg_error_name(seen->why), seen->story);
    wire.count = good;
    assert_true(wire_equal(&seen->got, &wire));
    if (!ending->resets) {
        assert_int_not_equal(read_end(raw), ETIMEDOUT);
        close(raw);
    }
    wire_free(&wire);
}

static void promise_3_each_end_is_told_truly(void **state)
{
    (void)state;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper =
            looper_serve(transport, &echo, NULL, TCPMSG_OPTIONS(.max_message = 65536));
        for (size_t i = 0; i < COUNT(endings); i++)
            if (transport == TCP || !endings[i].resets)
                for (int settle = 0; settle < 2; settle++)
                    end_as(looper, &endings[i], settle);
        looper_finish(looper);
    }
}

static void promise_5_a_malformed_prefix_is_EPROTO_and_its_own_alone(void **state)
{
    (void)state;
    struct looper *looper =
        looper_serve(TCP, &echo, NULL, TCPMSG_OPTIONS(.framing = {.width = 4, .counts_prefix = 1}));
    struct seen *seen, *other;
    int raw = looper_guest(looper, &seen), good = looper_guest(looper, &other);
    assert_true(write_all(raw, "\0\0\0\5x\0\0\0\3", 9));
    assert_code(seen_end(seen), TCPMSG_EPROTO);
    assert_int_equal(atomic_load(&seen->messages), 1);
    char back[5];
    assert_true(write_all(good, "\0\0\0\5x", 5) && read_all(good, back, 5));
    assert_int_equal(atomic_load(&other->closes), 0);
    close(raw);
    close(good);
    looper_finish(looper);
}

/* Half-closed, it gets every answer that is still unsent, however long it takes, and then FIN. */
static void who_half_closes_gets_all_the_answers(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = small_output, .on_message = echo.on_message};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &acts, NULL, NULL);
        struct wire wire = {0}, got = {0};
        struct seen *seen;
        int raw = looper_guest_small(looper, &seen);
        for (uint32_t i = 0; i < 100; i++)
            wire_add_filled(&wire, NULL, i * 100, i);
        assert_true(write_all(raw, wire.bytes, wire.count));
        shutdown(raw, SHUT_WR);
        seen_messages(seen, 100);
        looper_settle(looper);
        assert_int_equal(atomic_load(&seen->closes), 0);
        wire_add(&got, wire.bytes, wire.count);
        assert_true(read_all(raw, got.bytes, got.count) && wire_equal(&got, &wire));
        assert_int_equal(read_end(raw), 0);
        assert_code(seen_end(seen), TCPMSG_EOF);
        assert_int_equal(atomic_load(&seen->refused), 0);
        close(raw);
        wire_free(&got);
        wire_free(&wire);
        looper_finish(looper);
    }
}

/* Ours to end: what was sent arrives, and the peer's unread input does not become a reset. */
static void answer_and_close(struct seen *seen, const void *message, size_t length)
{
    for (int i = 0; i < 30; i++)
        (void)seen_send(seen, message, length, 0);
    if (tcpmsg_close(seen->conn) != 0 || tcpmsg_close(seen->conn) != 0)
        looper_fault(seen->looper, "close in a callback");
    int result = tcpmsg_send(seen->conn, "late", 4, 0);
    if (result >= 0 || result == TCPMSG_EAGAIN)
        looper_fault(seen->looper, "a send after close");
}

static void promise_9_close_keeps_the_last_reply(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = answer_and_close};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &acts, NULL, NULL);
        for (uint32_t i = 0; i < 30; i++) {
            struct wire wire = {0};
            struct seen *seen;
            int raw = looper_guest(looper, &seen);
            for (uint32_t more = 0; more <= i; more++)
                wire_add_filled(&wire, NULL, i * 500, i);
            (void)write_all(raw, wire.bytes, wire.count); /* the end may come in the middle */
            for (int answer = 0; answer < 30; answer++)
                assert_true(raw_gets_filled(raw, i * 500, i));
            assert_int_equal(read_end(raw), 0);
            close(raw);
            assert_int_equal(seen_end(seen), 0);
            assert_int_equal(atomic_load(&seen->messages), 1);
            assert_int_equal(atomic_load(&seen->refused), 0);
            wire_free(&wire);
        }
        looper_finish(looper);
    }
}

/* The peer keeps sending and reads late: all of a large reply reaches it nevertheless. */
static ssize_t keep_sending(struct call *call)
{
    static const uint8_t junk[10000];
    while (!atomic_load(&call->stop) && write_all(call->raw, junk, sizeof junk))
        continue;
    return 0;
}

static void send_much_and_close(struct seen *seen)
{
    uint8_t *reply = malloc(4 * MIB);
    fill(reply, 4 * MIB, 7);
    (void)seen_send(seen, reply, 4 * MIB, 0);
    free(reply);
    if (tcpmsg_close(seen->conn) != 0)
        looper_fault(seen->looper, "close in a callback");
}

static void promise_9_a_flood_does_not_kill_a_large_reply(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = send_much_and_close};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper =
            looper_serve(transport, &acts, NULL, TCPMSG_OPTIONS(.linger_ms = 2 * WAIT_MS));
        struct call writer = {.body = keep_sending};
        struct seen *seen;
        writer.raw = looper_guest(looper, &seen);
        call_start(&writer);
        sleep_ms(20);
        bool same = raw_gets_filled(writer.raw, 4 * MIB, 7);
        atomic_store(&writer.stop, true);
        int why = seen_end(seen);
        call_finish(&writer);
        assert_true(same);
        assert_int_equal(why, 0);
        assert_int_equal(atomic_load(&seen->messages), 0);
        close(writer.raw);
        looper_finish(looper);
    }
}

/* Never read: the linger is over, by one limit for all of it. */
static void close_waits_for_the_linger_at_most(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = small_output};
    for (int linger = 0; linger < 2; linger++) {
        struct looper *looper = looper_serve(
            TCP, &acts, NULL, TCPMSG_OPTIONS(.linger_ms = linger ? 150 : TCPMSG_NO_LINGER));
        struct seen *seen;
        uint8_t *block = calloc(1, 4 * MIB);
        int raw = looper_guest_small(looper, &seen);
        assert_int_equal(tcpmsg_send(seen->conn, block, 4 * MIB, 0), 0);
        int64_t before = now_ms();
        assert_int_equal(tcpmsg_close(seen->conn), 0);
        assert_code(seen_end(seen), TCPMSG_ETIMEDOUT);
        int64_t took = now_ms() - before;
        assert_true(took >= (linger ? 149 : 0) && took < 5000);
        close(raw);
        free(block);
        looper_finish(looper);
    }
}

static void a_reset_while_closing_is_told(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = small_output};
    struct looper *looper = looper_serve(TCP, &acts, NULL, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
    struct seen *seen;
    uint8_t *block = calloc(1, 4 * MIB);
    int raw = looper_guest_small(looper, &seen);
    assert_int_equal(tcpmsg_send(seen->conn, block, 4 * MIB, 0), 0);
    assert_int_equal(tcpmsg_close(seen->conn), 0);
    looper_settle(looper);
    raw_reset(raw);
    assert_code(seen_end(seen), TCPMSG_ERESET);
    free(block);
    looper_finish(looper);
}

static void abort_it(struct seen *seen, const void *message, size_t length)
{
    (void)seen_send(seen, message, length, 0);
    tcpmsg_abort(seen->conn);
    tcpmsg_abort(seen->conn);
    if (tcpmsg_send(seen->conn, message, length, 0) != TCPMSG_ECANCELED)
        looper_fault(seen->looper, "a send after abort");
}

static void abort_ends_at_once(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = abort_it};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper =
            looper_serve(transport, &acts, NULL, TCPMSG_OPTIONS(.linger_ms = 2 * WAIT_MS));
        static const char both[] = "\0\0\0\3one\0\0\0\3two";
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        assert_true(write_all(raw, both, sizeof both - 1));
        assert_code(seen_end(seen), TCPMSG_ECANCELED);
        assert_int_equal(atomic_load(&seen->messages), 1);
        int end = read_end(raw);
        assert_true(transport == TCP ? end == ECONNRESET : end == 0 || end == ECONNRESET);
        close(raw);
        looper_finish(looper);
    }
}

/* Ends that come together: it is still only one. */
static void close_and_abort_by_others_while_the_peer_ends(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    for (int i = 0; i < 200; i++) {
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        tcpmsg_conn *conn = tcpmsg_conn_ref(seen->conn);
        if (i % 2)
            looper_hold(looper);
        assert_true(raw_send(raw, "x"));
        if (i % 3 == 0)
            raw_reset(raw);
        else
            close(raw);
        if (i % 5 < 3)
            assert_int_equal(tcpmsg_close(conn), 0);
        if (i % 7 < 3)
            tcpmsg_abort(conn);
        if (i % 2)
            looper_go_on(looper);
        (void)seen_end(seen);
        tcpmsg_conn_unref(conn);
    }
    looper_finish(looper);
}

static void nothing_is_left_behind(void **state)
{
    (void)state;
    int before = open_descriptors();
    struct looper *looper = looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.threads = 2), NULL);
    for (int i = 0; i < 50; i++) {
        int raw = looper_guest(looper, NULL);
        assert_true(raw_send(raw, "hello"));
        if (i % 3 == 0)
            assert_true(raw_gets(raw, "hello"));
        close(raw);
    }
    looper_finish(looper);
    assert_int_equal(open_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_3_each_end_is_told_truly),
        cmocka_unit_test(promise_5_a_malformed_prefix_is_EPROTO_and_its_own_alone),
        cmocka_unit_test(who_half_closes_gets_all_the_answers),
        cmocka_unit_test(promise_9_close_keeps_the_last_reply),
        cmocka_unit_test(promise_9_a_flood_does_not_kill_a_large_reply),
        cmocka_unit_test(close_waits_for_the_linger_at_most),
        cmocka_unit_test(a_reset_while_closing_is_told),
        cmocka_unit_test(abort_ends_at_once),
        cmocka_unit_test(close_and_abort_by_others_while_the_peer_ends),
        cmocka_unit_test(nothing_is_left_behind),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
