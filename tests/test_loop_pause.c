/* SPDX-License-Identifier: MIT */
/* pause holds back everything but a reset and an abort; resume brings all of it, in order. */
#define _GNU_SOURCE
#include "guest.h"
#include "looks.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MANY = 20 };

static void pause_it(struct seen *seen)
{
    if (tcpmsg_pause(seen->conn) != 0)
        looper_fault(seen->looper, "pause in a callback");
    atomic_store(&seen->mark, 1);
}

/* The mark: no message may come. Every third one pauses. */
static void pause_at_each_third(struct seen *seen, const void *message, size_t length)
{
    (void)message;
    (void)length;
    if (atomic_load(&seen->mark) == 1)
        looper_fault(seen->looper, "a message while paused");
    if (atomic_load(&seen->messages) % 3 == 0)
        pause_it(seen);
}

static void go_on(struct seen *seen)
{
    atomic_store(&seen->mark, 0);
    assert_int_equal(tcpmsg_resume(seen->conn), 0);
}

static void send_many(int raw, struct wire *wire)
{
    for (uint32_t i = 0; i < MANY; i++)
        wire_add_filled(wire, NULL, i * 50, i);
    assert_true(write_all(raw, wire->bytes, wire->count));
}

/* All of them have been read at once, and the peer's end as well. */
static void messages_already_read_wait_and_the_clean_end_too(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = pause_at_each_third};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        for (int closes = 0; closes < 2; closes++) {
            struct looper *looper = looper_serve(transport, &acts, NULL, NULL);
            struct seen *seen;
            struct wire wire = {0};
            int raw = looper_guest(looper, &seen);
            looper_hold(looper);
            send_many(raw, &wire);
            if (closes)
                close(raw);
            else
                shutdown(raw, SHUT_WR);
            looper_go_on(looper);
            for (int i = 3; i <= MANY; i += 3) {
                seen_messages(seen, i);
                looper_settle(looper);
                assert_int_equal(atomic_load(&seen->messages), i);
                assert_int_equal(atomic_load(&seen->closes), 0);
                go_on(seen);
            }
            assert_code(seen_end(seen), TCPMSG_EOF);
            assert_true(wire_equal(&seen->got, &wire));
            if (!closes)
                close(raw);
            wire_free(&wire);
            looper_finish(looper);
        }
    }
}

/* Nobody reads meanwhile: the peer is stopped by what TCP has room for. */
static void a_paused_connection_is_not_read_from(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = pause_it};
    struct looper *looper = looper_serve(TCP, &acts, NULL, NULL);
    static uint8_t block[64 * 1024];
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    size_t written = 0, before = resident_bytes();
    int64_t deadline = now_ms() + WAIT_MS;
    for (int stuck = 0; stuck < 20;) {
        ssize_t wrote = send(raw, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL);
        written += wrote > 0 ? (size_t)wrote : 0;
        stuck = wrote > 0 ? 0 : stuck + 1;
        sleep_ms(wrote > 0 ? 0 : 5);
        assert_true(now_ms() < deadline && written < 64 * MIB);
    }
    assert_int_equal(atomic_load(&seen->messages), 0);
    if (!SANITIZED)
        assert_true(resident_bytes() < before + 2 * MIB);
    close(raw);
    looper_finish(looper);
}

static void paused_in_on_open_nothing_comes_until_resumed(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = pause_it, .on_message = echo.on_message};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_open(NULL);
        looper_listen(looper, transport, &acts, NULL);
        int raw = raw_reach(looper->address);
        assert_true(raw_send(raw, "early"));
        looper_start(looper);
        struct seen *seen = looper_seen(looper, 0);
        assert_true(raw_send(raw, "late"));
        looper_settle(looper);
        sleep_ms(20);
        assert_int_equal(atomic_load(&seen->messages), 0);
        assert_int_equal(tcpmsg_send(seen->conn, "sending goes on", 15, 0), 0);
        assert_true(raw_gets(raw, "sending goes on"));
        assert_int_equal(tcpmsg_pause(seen->conn), 0);
        go_on(seen);
        assert_true(raw_gets(raw, "early") && raw_gets(raw, "late"));
        assert_int_equal(tcpmsg_resume(seen->conn), 0);
        assert_true(raw_send(raw, "again") && raw_gets(raw, "again"));
        close(raw);
        looper_finish(looper);
    }
}

static void another_thread_pauses_and_resumes(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(tcpmsg_pause(seen->conn), 0);
        looper_settle(looper);
        assert_true(raw_send(raw, "one") && raw_send(raw, "two"));
        looper_settle(looper);
        assert_int_equal(atomic_load(&seen->messages), 2 * i);
        assert_int_equal(tcpmsg_resume(seen->conn), 0);
        assert_true(raw_gets(raw, "one") && raw_gets(raw, "two"));
    }
    close(raw);
    looper_finish(looper);
}

static void pause_and_resume_at_once(struct seen *seen, const void *message, size_t length)
{
    for (int i = 0; i < 3; i++)
        if (tcpmsg_pause(seen->conn) != 0 || tcpmsg_pause(seen->conn) != 0 ||
            tcpmsg_resume(seen->conn) != 0)
            looper_fault(seen->looper, "pause and resume in a callback");
    echo.on_message(seen, message, length);
}

static void pause_and_resume_in_one_callback_change_nothing(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = pause_and_resume_at_once};
    struct looper *looper = looper_serve(TCP, &acts, NULL, NULL);
    struct wire wire = {0};
    for (uint32_t i = 0; i < 2000; i++)
        wire_add_filled(&wire, NULL, i % 100, i);
    int raw = looper_guest(looper, NULL);
    expect_echo(raw, &wire, wire.count);
    close(raw);
    wire_free(&wire);
    looper_finish(looper);
}

/* A reset does not wait for resume; what had been read before is not handed out. */
static void promise_3_a_reset_is_told_while_paused(void **state)
{
    (void)state;
    const struct acts acts[] = {{.on_open = pause_it}, {.on_message = pause_at_each_third}};
    for (int way = 0; way < 2; way++) {
        struct looper *looper = looper_serve(TCP, &acts[way], NULL, NULL);
        struct seen *seen;
        struct wire wire = {0};
        int raw = looper_guest(looper, &seen);
        if (way == 1) {
            looper_hold(looper);
            send_many(raw, &wire);
            looper_go_on(looper);
            seen_messages(seen, 3);
        }
        looper_settle(looper);
        raw_reset(raw);
        assert_code(seen_end(seen), TCPMSG_ERESET);
        assert_int_equal(atomic_load(&seen->messages), way * 3);
        wire_free(&wire);
        looper_finish(looper);
    }
}

static void abort_and_close_are_not_held_back(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = pause_it};
    for (int way = 0; way < 2; way++) {
        struct looper *looper = looper_serve(TCP, &acts, NULL, NULL);
        struct seen *seen;
        struct wire wire = {0};
        int raw = looper_guest(looper, &seen);
        send_many(raw, &wire);
        if (way == 0) {
            tcpmsg_abort(seen->conn);
            assert_int_equal(read_end(raw), ECONNRESET);
            assert_code(seen_end(seen), TCPMSG_ECANCELED);
        } else {
            assert_int_equal(tcpmsg_send(seen->conn, "bye", 3, 0), 0);
            assert_int_equal(tcpmsg_close(seen->conn), 0);
            assert_true(raw_gets(raw, "bye"));
            assert_int_equal(read_end(raw), 0);
            close(raw);
            assert_int_equal(seen_end(seen), 0);
        }
        assert_int_equal(atomic_load(&seen->messages), 0);
        if (way == 0)
            close(raw);
        wire_free(&wire);
        looper_finish(looper);
    }
}

/* The ends that the system tells again and again while nobody reads: hung up on both sides. */
static void an_end_that_waits_costs_no_cpu(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = pause_it};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &acts, NULL, NULL);
        struct seen *seen[2];
        int raws[2];
        for (int i = 0; i < 2; i++)
            raws[i] = looper_guest(looper, &seen[i]);
        assert_true(raw_send(raws[0], "last"));
        assert_int_equal(tcpmsg_shutdown(seen[0]->conn), 0);
        assert_int_equal(read_end(raws[0]), 0);
        close(raws[0]);
        close(raws[1]);
        looper_settle(looper);
        assert_true(all_rest(400));
        assert_int_equal(atomic_load(&seen[0]->closes) + atomic_load(&seen[1]->closes), 0);
        for (int i = 0; i < 2; i++) {
            go_on(seen[i]);
            assert_code(seen_end(seen[i]), TCPMSG_EOF);
        }
        assert_int_equal(atomic_load(&seen[0]->messages), 1);
        looper_finish(looper);
    }
}

/* Half a message is in the loop's hands, the rest comes while paused. */
static void a_message_in_the_making_is_finished_after_resume(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    struct seen *seen;
    struct wire wire = {0};
    wire_add_filled(&wire, NULL, 300000, 9);
    int raw = looper_guest(looper, &seen);
    for (size_t cut = 2; cut < wire.count; cut *= 40) {
        assert_true(write_all(raw, wire.bytes, cut));
        looper_settle(looper);
        assert_int_equal(tcpmsg_pause(seen->conn), 0);
        looper_settle(looper);
        assert_true(write_all(raw, wire.bytes + cut, 60000));
        looper_settle(looper);
        assert_int_equal(tcpmsg_resume(seen->conn), 0);
        assert_true(write_all(raw, wire.bytes + cut + 60000, wire.count - cut - 60000));
        assert_true(raw_gets_filled(raw, 300000, 9));
    }
    close(raw);
    wire_free(&wire);
    looper_finish(looper);
}

static void outside_of_a_loop_they_are_EINVAL(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    assert_code(tcpmsg_pause(NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_resume(NULL), TCPMSG_EINVAL);
    pair(&conn, &raw, NULL);
    assert_code(tcpmsg_pause(conn), TCPMSG_EINVAL);
    assert_code(tcpmsg_resume(conn), TCPMSG_EINVAL);
    assert_true(raw_send(raw, "hello"));
    char text[8];
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
    tcpmsg_close(conn);
    close(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_already_read_wait_and_the_clean_end_too),
        cmocka_unit_test(a_paused_connection_is_not_read_from),
        cmocka_unit_test(paused_in_on_open_nothing_comes_until_resumed),
        cmocka_unit_test(another_thread_pauses_and_resumes),
        cmocka_unit_test(pause_and_resume_in_one_callback_change_nothing),
        cmocka_unit_test(promise_3_a_reset_is_told_while_paused),
        cmocka_unit_test(abort_and_close_are_not_held_back),
        cmocka_unit_test(an_end_that_waits_costs_no_cpu),
        cmocka_unit_test(a_message_in_the_making_is_finished_after_resume),
        cmocka_unit_test(outside_of_a_loop_they_are_EINVAL),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
