/* SPDX-License-Identifier: MIT */
/* Who holds what for how long: a connection against other threads' calls while it comes and goes,
 * and the favour of reading on while memory is short. */
#define _GNU_SOURCE
#include "guest.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn.h"
#include "loop.h"

static atomic_int at_the_end, may_end;

static void end_slowly(struct seen *seen)
{
    (void)seen;
    atomic_store(&at_the_end, 1);
    if (!reaches(&may_end, 1))
        looper_fault(seen->looper, "nobody lets it end");
}

/* Nobody attends to these any more; the loop's close finds them, and what they held is given back
 * once. */
static void an_abort_while_the_loop_stops(void **state)
{
    (void)state;
    const struct acts acts = {.on_close = end_slowly};
    struct looper *looper = looper_open(NULL);
    struct seen *seen[2];
    int raws[2];
    for (int i = 0; i < 2; i++) {
        tcpmsg_conn *conn;
        pair_unix(&conn, &raws[i], NULL);
        assert_int_equal(looper_add(looper, conn, &acts), 0);
    }
    looper_start(looper);
    for (int i = 0; i < 2; i++) {
        seen[i] = looper_seen(looper, i);
        tcpmsg_conn_ref(seen[i]->conn);
    }
    tcpmsg_loop_stop(looper->loop);
    assert_true(reaches(&at_the_end, 1));
    for (int i = 0; i < 2; i++)
        tcpmsg_abort(seen[i]->conn);
    atomic_store(&may_end, 1);
    looper_stop(looper);
    for (int i = 0; i < 2; i++) {
        assert_code(tcpmsg_send(seen[i]->conn, "x", 1, 0), TCPMSG_ECANCELED);
        tcpmsg_conn_unref(seen[i]->conn);
        close(raws[i]);
    }
    looper_finish(looper);
}

/* What a loop that never ran still holds ends with it, also for who has a reference. */
static void a_connection_outlives_a_loop_that_never_ran(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, NULL);
    tcpmsg_conn_ref(conn);
    assert_int_equal(looper_add(looper, conn, &echo), 0);
    looper_finish(looper);
    assert_code(tcpmsg_send(conn, "x", 1, 0), TCPMSG_ECANCELED);
    assert_code(tcpmsg_flush(conn, 0), TCPMSG_ECANCELED);
    assert_code(tcpmsg_shutdown(conn), TCPMSG_ECANCELED);
    assert_code(tcpmsg_pause(conn), TCPMSG_ECANCELED);
    assert_int_equal(tcpmsg_conn_fd(conn), -1);
    assert_string_not_equal(tcpmsg_conn_why(conn), "");
    assert_int_equal(tcpmsg_close(conn), 0);
    assert_int_equal(read_end(raw), 0);
    tcpmsg_conn_unref(conn);
    close(raw);
}

/* A connection on its way into the loop, in the steps of tcpmsg_loop_add, so that other threads'
 * calls can come between them. */
struct newcomer {
    struct looper *looper;
    tcpmsg_conn *conn;
    int raw;
    atomic_int opens;
    atomic_int closes;
    int why;
};

static void newcomer_opens(tcpmsg_conn *conn, void *arg)
{
    struct newcomer *it = arg;
    (void)conn;
    atomic_fetch_add(&it->opens, 1);
}

static void newcomer_ends(tcpmsg_conn *conn, int why, void *arg)
{
    struct newcomer *it = arg;
    (void)conn;
    it->why = why;
    atomic_fetch_add(&it->closes, 1);
}

static void newcomer_make(struct newcomer *it, struct looper *looper)
{
    *it = (struct newcomer){.looper = looper};
    pair_unix(&it->conn, &it->raw, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
    tcpmsg_conn_ref(it->conn);
}

static void newcomer_begins(struct newcomer *it)
{
    tm_service *service;
    assert_int_equal(
        tm_service_make(&service,
                        TCPMSG_CALLBACKS(.on_open = newcomer_opens, .on_close = newcomer_ends), it),
        0);
    tm_member_begin(it->conn, service, TM_JOINING);
    tm_service_unref(service);
}

static void newcomer_goes(struct newcomer *it, int why)
{
    assert_true(reaches(&it->closes, 1));
    assert_int_equal(it->opens, 1);
    assert_int_equal(it->closes, 1);
    assert_string_equal(tcpmsg_error_name(it->why), tcpmsg_error_name(why));
    tcpmsg_conn_unref(it->conn);
    close(it->raw);
}

/* Its keeper does not know yet what to do with it: the loop's thread may not touch it. */
static void a_call_while_a_connection_is_added_waits_for_it(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    struct newcomer it;
    newcomer_make(&it, looper);
    assert_int_equal(tm_conn_keep(it.conn, &looper->loop->threads[0].keeper), 0);
    assert_int_equal(tcpmsg_flush(it.conn, 0), 0);
    assert_int_equal(tcpmsg_send(it.conn, "early", 5, 0), 0);
    looper_settle(looper);
    newcomer_begins(&it);
    assert_true(raw_gets(it.raw, "early"));
    tcpmsg_abort(it.conn);
    newcomer_goes(&it, TCPMSG_ECANCELED);
    looper_finish(looper);
}

static int late_flush(tcpmsg_conn *conn)
{
    return tm_out_flush(conn, TM_FOREVER, 0);
}

static int late_shutdown(tcpmsg_conn *conn)
{
    return tm_out_shutdown(conn, TM_FOREVER);
}

/* What such a call comes to once it has seen that no loop has the connection. */
static int (*const late_calls[])(tcpmsg_conn *conn) = {late_flush, late_shutdown, tcpmsg_close};
static int (*late_call)(tcpmsg_conn *conn);
static atomic_int returned;

static ssize_t make_late_call(struct call *call)
{
    int result = late_call(call->conn);
    atomic_store(&returned, 1);
    return result;
}

/* What tm_conn_keep does, for who has the sending lock already. */
static void keep_now(tcpmsg_conn *conn, tm_keeper *keeper)
{
    conn->out.attended = true;
    atomic_store_explicit(&conn->keeper, keeper, memory_order_release);
}

/* A call that has looked just before the loop got the connection does not wait as it would have:
 * the output is full, and nobody reads. */
static void a_call_that_began_before_the_loop_had_it_does_not_wait(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    for (size_t i = 0; i < COUNT(late_calls); i++) {
        struct newcomer it;
        struct call call = {.body = make_late_call};
        bool closes = late_calls[i] == tcpmsg_close;
        late_call = late_calls[i];
        atomic_store(&returned, 0);
        newcomer_make(&it, looper);
        call.conn = it.conn;
        jam(it.conn);
        tm_mutex_lock(&it.conn->out.lock);
        call_start_asleep(&call);
        keep_now(it.conn, &looper->loop->threads[0].keeper);
        tm_mutex_unlock(&it.conn->out.lock);
        newcomer_begins(&it);
        assert_true(reaches(&returned, 1));
        assert_int_equal(call_finish(&call), 0);
        assert_int_equal(it.closes, 0);
        if (closes)
            assert_int_equal(read_end(it.raw), 0);
        else
            tcpmsg_abort(it.conn);
        newcomer_goes(&it, closes ? 0 : TCPMSG_ECANCELED);
    }
    looper_finish(looper);
}

/* One that another thread sends on, flushes and ends while it is added. */
static ssize_t use_it(struct call *call)
{
    while (tcpmsg_flush(call->conn, TCPMSG_DONTWAIT) != TCPMSG_ECANCELED)
        continue;
    return 0;
}

static void calls_race_an_add(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &nothing, NULL, NULL);
    for (int i = 0; i < 300; i++) {
        struct call call = {.body = use_it};
        int result, raw;
        pair_unix(&call.conn, &raw, NULL);
        tcpmsg_conn_ref(call.conn);
        call_start(&call);
        do /* EINVAL: the other one is in a call */
            result = looper_add(looper, call.conn, &nothing);
        while (result == TCPMSG_EINVAL);
        assert_int_equal(result, 0);
        tcpmsg_abort(call.conn);
        call_finish(&call);
        tcpmsg_conn_unref(call.conn);
        close(raw);
    }
    looper_finish(looper);
}

/* A part of a message of 16 MiB, and then nothing more, or a byte now and then. */
static const struct holder {
    size_t part;
    bool dribbles;
} holders[] = {{2 * MIB, true}, {6 * MIB, false}, {6 * MIB, true}};

static ssize_t dribble(struct call *call)
{
    while (!atomic_load(&call->stop)) {
        if (send(call->raw, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            break; /* it was ended */
        sleep_ms(50);
    }
    return 0;
}

static ssize_t send_honestly(struct call *call)
{
    return raw_send_filled(call->raw, 2 * MIB, 7);
}

static void expect_honest_one_served(const struct holder *holder)
{
    struct looper *looper =
        looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.memory_budget = MIB), NULL);
    static uint8_t part[6 * MIB] = {1};
    struct call slow = {.body = dribble}, honest = {.body = send_honestly};
    slow.raw = looper_guest(looper, NULL);
    assert_true(write_all(slow.raw, part, holder->part));
    honest.raw = looper_guest(looper, NULL);
    if (holder->dribbles)
        call_start(&slow);
    call_start(&honest);
    bool served = raw_gets_filled(honest.raw, 2 * MIB, 7);
    assert_int_equal(call_finish(&honest), true);
    atomic_store(&slow.stop, true);
    if (holder->dribbles)
        call_finish(&slow);
    assert_true(served);
    close(slow.raw);
    close(honest.raw);
    looper_finish(looper);
}

/* Short of memory, who holds it and hardly gets on gives way. */
static void promise_4_who_dawdles_does_not_keep_the_favour(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(holders); i++)
        expect_honest_one_served(&holders[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_abort_while_the_loop_stops),
        cmocka_unit_test(a_connection_outlives_a_loop_that_never_ran),
        cmocka_unit_test(a_call_while_a_connection_is_added_waits_for_it),
        cmocka_unit_test(a_call_that_began_before_the_loop_had_it_does_not_wait),
        cmocka_unit_test(calls_race_an_add),
        cmocka_unit_test(promise_4_who_dawdles_does_not_keep_the_favour),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
