/* SPDX-License-Identifier: MIT */
/* A connection that had a life of its own goes on in a loop, with all that it had. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void pair_of(enum transport transport, tcpmsg_conn **conn, int *raw,
                    const tcpmsg_options *options)
{
    (transport == UNIX ? pair_unix : pair)(conn, raw, options);
}

static struct looper *running(void)
{
    struct looper *looper = looper_open(NULL);
    looper_start(looper);
    return looper;
}

/* All read by the first receive: nothing more will come from the socket. */
static void messages_already_read_come_right_after_on_open(void **state)
{
    (void)state;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        for (int view = 0; view < 3; view++) {
            struct looper *looper = running();
            tcpmsg_conn *conn;
            int raw;
            char text[8];
            const void *message;
            pair_of(transport, &conn, &raw, NULL);
            assert_true(write_all(raw, "\0\0\0\1a\0\0\0\2bc\0\0\0\0\0\0\0\3def\0\0\0\5gh", 28));
            if (view == 0)
                assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 1);
            if (view == 1)
                assert_int_equal(tcpmsg_recv_view(conn, &message, 0), 1);
            if (view == 2)
                assert_int_equal(tcpmsg_recv(conn, text, sizeof text, TCPMSG_PEEK), 1);
            assert_int_equal(looper_add(looper, conn, &echo), 0);
            if (view == 2)
                assert_true(raw_gets(raw, "a"));
            assert_true(raw_gets(raw, "bc") && raw_gets(raw, "") && raw_gets(raw, "def"));
            assert_true(raw_has_nothing(raw));
            assert_true(write_all(raw, "ijk\0\0\0\1l", 8));
            assert_true(raw_gets(raw, "ghijk") && raw_gets(raw, "l"));
            close(raw);
            assert_code(seen_end(looper_seen(looper, 0)), TCPMSG_EOF);
            looper_finish(looper);
        }
    }
}

/* A large message of which a receive that timed out has a part. */
static void half_a_message_is_finished_in_the_loop(void **state)
{
    (void)state;
    static uint8_t buffer[2 * 1024 * 1024];
    for (size_t cut = 1; cut < 2 * MIB; cut = cut * 7 + 1) {
        struct looper *looper = running();
        tcpmsg_conn *conn;
        struct wire wire = {0};
        int raw;
        wire_add_filled(&wire, NULL, 2 * MIB, 3);
        pair(&conn, &raw, TCPMSG_OPTIONS(.recv_timeout_ms = 10));
        for (size_t at = 0; at < cut; at += 50000) {
            assert_true(write_all(raw, wire.bytes + at, cut - at < 50000 ? cut - at : 50000));
            assert_code(tcpmsg_recv(conn, buffer, sizeof buffer, 0), TCPMSG_ETIMEDOUT);
        }
        assert_int_equal(looper_add(looper, conn, &echo), 0);
        assert_true(write_all(raw, wire.bytes + cut, wire.count - cut));
        assert_true(raw_gets_filled(raw, 2 * MIB, 3));
        close(raw);
        wire_free(&wire);
        looper_finish(looper);
    }
}

/* Messages, then the end, all read or in the system's hands: they come, then on_close. */
static void whose_peer_has_ended_gets_its_messages_first(void **state)
{
    (void)state;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        for (int way = 0; way < 4; way++) {
            struct looper *looper = looper_open(NULL);
            tcpmsg_conn *conn;
            int raw;
            char text[8];
            pair_of(transport, &conn, &raw, NULL);
            if (way < 3)
                assert_true(raw_send(raw, "one") && raw_send(raw, "two") && raw_send(raw, "three"));
            close(raw);
            for (int i = 0; i < way && way < 3; i++)
                assert_true(tcpmsg_recv(conn, text, sizeof text, 0) > 0);
            if (way == 3)
                assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_EOF);
            int before_run = way % 2;
            if (!before_run)
                looper_start(looper);
            assert_int_equal(looper_add(looper, conn, &nothing), 0);
            if (before_run)
                looper_start(looper);
            struct seen *seen = looper_seen(looper, 0);
            assert_code(seen_end(seen), TCPMSG_EOF);
            assert_int_equal(atomic_load(&seen->messages), 3 - way);
            looper_finish(looper);
        }
    }
}

static void a_known_end_is_told_after_on_open(void **state)
{
    (void)state;
    struct looper *looper = running();
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    pair(&conn, &raw, NULL);
    assert_true(write_all(raw, "\0\0\0\1a\0\0\0\1b\377\377\377\377", 14));
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 1);
    assert_int_equal(looper_add(looper, conn, &nothing), 0);
    struct seen *seen = looper_seen(looper, 0);
    assert_code(seen_end(seen), TCPMSG_EMSGSIZE);
    assert_int_equal(atomic_load(&seen->messages), 1);
    close(raw);
    pair(&conn, &raw, NULL);
    raw_reset(raw);
    assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_ERESET);
    assert_int_equal(looper_add(looper, conn, &nothing), 0);
    assert_code(seen_end(looper_seen(looper, 1)), TCPMSG_ERESET);
    looper_finish(looper);
}

/* Held back by MORE, or left by an early end: it leaves from the loop. */
static void promise_8_unsent_messages_leave(void **state)
{
    (void)state;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = running();
        tcpmsg_conn *conn;
        int raw;
        struct wire wire = {0};
        wire_add_filled(&wire, NULL, 8 * MIB, 3);
        pair_of(transport, &conn, &raw, TCPMSG_OPTIONS(.send_timeout_ms = 10));
        assert_int_equal(tcpmsg_send(conn, "held back", 9, TCPMSG_MORE), 0);
        assert_int_equal(looper_add(looper, conn, &nothing), 0);
        assert_true(raw_gets(raw, "held back"));
        close(raw);
        pair_of(transport, &conn, &raw, TCPMSG_OPTIONS(.send_timeout_ms = 10));
        assert_int_equal(tcpmsg_send(conn, wire.bytes + 4, 8 * MIB, 0), 0);
        assert_int_equal(tcpmsg_conn_set_timeouts(conn, TCPMSG_NO_LIMIT, 0), 0);
        assert_int_equal(looper_add(looper, conn, &nothing), 0);
        assert_true(raw_gets_filled(raw, 8 * MIB, 3));
        assert_int_equal(tcpmsg_send(looper_seen(looper, 1)->conn, "next", 4, 0), 0);
        assert_true(raw_gets(raw, "next"));
        close(raw);
        wire_free(&wire);
        looper_finish(looper);
    }
}

static void what_was_shut_down_stays_so(void **state)
{
    (void)state;
    struct looper *looper = running();
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(conn, "last", 4, TCPMSG_MORE), 0);
    assert_int_equal(tcpmsg_shutdown(conn), 0);
    assert_int_equal(looper_add(looper, conn, &nothing), 0);
    struct seen *seen = looper_seen(looper, 0);
    assert_code(tcpmsg_send(seen->conn, "later", 5, 0), TCPMSG_ECLOSED);
    assert_true(raw_gets(raw, "last"));
    assert_int_equal(read_end(raw), 0);
    assert_true(raw_send(raw, "heard"));
    seen_messages(seen, 1);
    close(raw);
    assert_code(seen_end(seen), TCPMSG_EOF);
    looper_finish(looper);
}

/* Options are the connection's own: here a framing, a limit. */
static void it_keeps_its_options(void **state)
{
    (void)state;
    struct looper *looper = running();
    tcpmsg_conn *conn;
    int raw;
    char back[4];
    pair(&conn, &raw, TCPMSG_OPTIONS(.framing = {.width = 1}, .max_message = 10));
    assert_int_equal(looper_add(looper, conn, &echo), 0);
    assert_true(write_all(raw, "\3abc", 4) && read_all(raw, back, 4));
    assert_memory_equal(back, "\3abc", 4);
    assert_true(write_all(raw, "\13", 1));
    assert_code(seen_end(looper_seen(looper, 0)), TCPMSG_EMSGSIZE);
    close(raw);
    looper_finish(looper);
}

/* The one thread sends, and gives and takes references; receiving is the loop's now. */
static void another_threads_reference_goes_on(void **state)
{
    (void)state;
    struct looper *looper = running();
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    pair(&conn, &raw, NULL);
    tcpmsg_conn *mine = tcpmsg_conn_ref(conn);
    assert_int_equal(looper_add(looper, conn, &echo), 0);
    assert_code(tcpmsg_recv(mine, text, sizeof text, TCPMSG_DONTWAIT), TCPMSG_EINVAL);
    assert_code(looper_add(looper, mine, &nothing), TCPMSG_EINVAL);
    assert_int_equal(tcpmsg_send(mine, "hello", 5, 0), 0);
    assert_true(raw_gets(raw, "hello"));
    assert_true(raw_send(raw, "x") && raw_gets(raw, "x"));
    close(raw);
    assert_code(seen_end(looper_seen(looper, 0)), TCPMSG_EOF);
    looper_finish(looper);
    assert_true(tcpmsg_send(mine, "hello", 5, 0) < 0);
    assert_true(tcpmsg_recv(mine, text, sizeof text, 0) < 0);
    tcpmsg_conn_unref(mine);
}

static ssize_t recv_eight(struct call *call)
{
    char text[8];
    return tcpmsg_recv(call->conn, text, sizeof text, 0);
}

/* What can't be added stays the caller's, as it was. */
static void what_is_refused_stays_the_callers(void **state)
{
    (void)state;
    struct looper *looper = running();
    struct call call = {.body = recv_eight};
    tcpmsg_conn *aborted;
    int raw;
    pair(&call.conn, &call.raw, NULL);
    call_start_asleep(&call);
    assert_code(looper_add(looper, call.conn, &nothing), TCPMSG_EINVAL);
    assert_true(raw_send(call.raw, "hello"));
    assert_int_equal(call_finish(&call), 5);
    assert_int_equal(tcpmsg_send(call.conn, "hello", 5, 0), 0);
    assert_true(raw_gets(call.raw, "hello"));
    assert_int_equal(looper_add(looper, call.conn, &echo), 0);
    assert_true(raw_send(call.raw, "now") && raw_gets(call.raw, "now"));
    close(call.raw);
    pair(&aborted, &raw, NULL);
    tcpmsg_abort(aborted);
    assert_code(looper_add(looper, aborted, &nothing), TCPMSG_ECANCELED);
    tcpmsg_close(aborted);
    close(raw);
    pair(&aborted, &raw, NULL);
    tcpmsg_conn *mine = tcpmsg_conn_ref(aborted);
    tcpmsg_close(aborted);
    assert_code(looper_add(looper, mine, &nothing), TCPMSG_ECANCELED);
    tcpmsg_conn_unref(mine);
    close(raw);
    assert_int_equal(atomic_load(&looper->count), 1);
    looper_finish(looper);
}

/* In a callback too, and from one loop's connection nothing changes for the other's. */
static void add_another(struct seen *seen, const void *message, size_t length)
{
    tcpmsg_conn *conn = seen->looper->arg;
    seen->looper->arg = NULL;
    if (conn && looper_add(seen->looper, conn, &echo) != 0)
        looper_fault(seen->looper, "add in a callback");
    echo.on_message(seen, message, length);
}

static void a_callback_may_add(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = add_another};
    struct looper *looper = looper_open(NULL);
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    assert_true(raw_send(raw, "hello"));
    looper->arg = conn;
    looper_listen(looper, TCP, &acts, NULL);
    looper_start(looper);
    int guest = looper_guest(looper, NULL);
    assert_true(raw_send(guest, "go") && raw_gets(guest, "go"));
    assert_true(raw_gets(raw, "hello"));
    close(guest);
    close(raw);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_already_read_come_right_after_on_open),
        cmocka_unit_test(half_a_message_is_finished_in_the_loop),
        cmocka_unit_test(whose_peer_has_ended_gets_its_messages_first),
        cmocka_unit_test(a_known_end_is_told_after_on_open),
        cmocka_unit_test(promise_8_unsent_messages_leave),
        cmocka_unit_test(what_was_shut_down_stays_so),
        cmocka_unit_test(it_keeps_its_options),
        cmocka_unit_test(another_threads_reference_goes_on),
        cmocka_unit_test(what_is_refused_stays_the_callers),
        cmocka_unit_test(a_callback_may_add),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
