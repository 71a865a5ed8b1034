/* SPDX-License-Identifier: MIT */
/* A loop at the moments that are hard to meet by chance: what is there when its turn comes. */
#define _GNU_SOURCE
#include "conn.h"
#include "guest.h"
#include "rare.h"
#include "reach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Its listener was aborted: who comes then is not let in, and who is there stays. */
static void an_aborted_listener_lets_nobody_in(void **state)
{
    (void)state;
    for (int held = 0; held < 2; held++) {
        struct looper *looper = looper_open(NULL);
        char address[TCPMSG_ADDRESS_MAX];
        tcpmsg_listener *listener = listen_at_a_free_port(address);
        const tcpmsg_callbacks none = {.size = sizeof none};
        assert_int_equal(tcpmsg_loop_listen(looper->loop, listener, &none, NULL), 0);
        looper_start(looper);
        int before = raw_dial(address);
        looper_settle(looper);
        if (held)
            looper_hold(looper);
        tcpmsg_listener_abort(listener);
        if (!held)
            looper_settle(looper);
        int behind = raw_dial(address); /* it is the system that still takes it */
        if (held)
            looper_go_on(looper);
        looper_settle(looper);
        assert_true(raw_has_nothing(before) && raw_has_nothing(behind));
        looper_finish(looper);
        close(before);
        close(behind);
    }
}

static void a_listener_that_was_aborted_before_is_no_door(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    tcpmsg_listener *listener = listen_at("127.0.0.1:0");
    const tcpmsg_callbacks none = {.size = sizeof none};
    tcpmsg_listener_abort(listener);
    assert_int_equal(tcpmsg_loop_listen(looper->loop, listener, &none, NULL), 0);
    looper_start(looper);
    looper_settle(looper);
    looper_finish(looper);
}

/* No callback at all, and a peer that comes, speaks, and is gone. */
static void nobody_has_to_be_told(void **state)
{
    (void)state;
    struct looper *looper = looper_open(TCPMSG_LOOP_OPTIONS(.high_water = 1));
    char address[TCPMSG_ADDRESS_MAX];
    const tcpmsg_callbacks none = {.size = sizeof none};
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    tcpmsg_conn *conn;
    int raw;
    assert_int_equal(tcpmsg_loop_listen(looper->loop, listener, &none, NULL), 0);
    looper_start(looper);
    int guest = raw_dial(address);
    assert_true(raw_send(guest, "hello"));
    looper_settle(looper);
    close(guest);
    pair(&conn, &raw, NULL);
    tcpmsg_conn_ref(conn);
    assert_int_equal(tcpmsg_loop_add(looper->loop, conn, &none, NULL), 0);
    looper_settle(looper);
    looper_hold(looper);
    assert_int_equal(tcpmsg_send(conn, "over", 4, 0), 0);
    assert_code(tcpmsg_send(conn, "refused", 7, 0), TCPMSG_EAGAIN);
    looper_go_on(looper);
    assert_true(raw_gets(raw, "over"));
    looper_settle(looper);
    assert_int_equal(tcpmsg_send(conn, "again", 5, 0), 0);
    assert_true(raw_gets(raw, "again"));
    close(raw);
    tcpmsg_conn_unref(conn);
    looper_finish(looper);
}

/* With a high water of 1 the queue is below half when nothing is left. */
static void a_queue_of_one_byte_drains(void **state)
{
    (void)state;
    struct looper *looper = looper_open(TCPMSG_LOOP_OPTIONS(.high_water = 1));
    tcpmsg_conn *conn;
    int raw;
    looper_start(looper);
    pair(&conn, &raw, NULL);
    assert_int_equal(looper_add(looper, conn, NULL), 0);
    struct seen *seen = looper_seen(looper, 0);
    looper_hold(looper);
    assert_int_equal(tcpmsg_send(seen->conn, "over", 4, 0), 0);
    assert_code(tcpmsg_send(seen->conn, "refused", 7, 0), TCPMSG_EAGAIN);
    looper_go_on(looper);
    assert_true(reaches(&seen->drains, 1));
    close(raw);
    looper_finish(looper);
}

static void note_call(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

/* In the loop's thread: however late it is, the stop comes first. */
struct late {
    struct looper *looper;
    int answer;
    atomic_int asked, called;
};

static void ask_and_stop(void *arg)
{
    struct late *late = arg;
    late->answer = tcpmsg_loop_after(late->looper->loop, 100, note_call, &late->called);
    tcpmsg_loop_stop(late->looper->loop);
    atomic_store(&late->asked, 1);
}

/* It is due while the loop waits for a peer that does not read. */
static void what_is_due_while_the_loop_stops_is_not_called(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    struct late late = {.looper = looper, .answer = TCPMSG_EINVAL};
    tcpmsg_conn *conn;
    int raw;
    pair_small(&conn, &raw, TCPMSG_OPTIONS(.linger_ms = 300));
    jam(conn);
    assert_int_equal(looper_add(looper, conn, NULL), 0);
    looper_start(looper);
    (void)looper_seen(looper, 0);
    assert_int_equal(tcpmsg_loop_post(looper->loop, ask_and_stop, &late), 0);
    assert_true(reaches(&late.asked, 1));
    looper_finish(looper);
    assert_int_equal(late.answer, 0);
    assert_int_equal(late.called, 0);
    close(raw);
}

/* What the peer does while its connection's end waits for it: it speaks, ends, or resets. */
static void an_end_that_lingers_meets_what_the_peer_does(void **state)
{
    (void)state;
    for (int way = 0; way < 5; way++) {
        struct looper *looper = looper_open(NULL);
        tcpmsg_conn *conn;
        int raw;
        pair_small(&conn, &raw, TCPMSG_OPTIONS(.linger_ms = 300));
        jam(conn);
        assert_int_equal(looper_add(looper, conn, NULL), 0);
        looper_start(looper);
        struct seen *seen = looper_seen(looper, 0);
        assert_int_equal(tcpmsg_close(conn), 0);
        looper_settle(looper);
        if (way == 0)
            assert_true(raw_send(raw, "unheard"));
        else if (way == 1)
            assert_int_equal(shutdown(raw, SHUT_WR), 0);
        else if (way == 2)
            rare_fails(RARE_recv, -1, ECONNRESET, 0, 1); /* which the sending has not met */
        else if (way == 3)
            tcpmsg_abort(conn); /* after all */
        else
            raw_reset(raw);
        looper_settle(looper);
        tcpmsg_loop_stop(looper->loop);
        int why = seen_end(seen);
        assert_string_equal(tcpmsg_error_name(why), tcpmsg_error_name(way < 3    ? TCPMSG_ETIMEDOUT
                                                                      : way == 3 ? TCPMSG_ECANCELED
                                                                                 : TCPMSG_ERESET));
        rare_over();
        if (way < 4)
            close(raw);
        looper_finish(looper);
    }
}

static tcpmsg_conn *lingering;

static void touch_the_other(struct seen *seen)
{
    (void)seen;
    (void)tcpmsg_conn_set_timeouts(lingering, WAIT_MS, 0);
}

/* At the end of its pass the loop has still somebody to look after. */
static void a_stop_waits_for_who_asks_for_attention(void **state)
{
    (void)state;
    const struct acts acts = {.on_close = touch_the_other};
    struct looper *looper = looper_open(NULL);
    tcpmsg_conn *first;
    int raws[2];
    pair_small(&first, &raws[0], TCPMSG_OPTIONS(.linger_ms = 100));
    pair_small(&lingering, &raws[1], TCPMSG_OPTIONS(.linger_ms = 400));
    jam(first);
    jam(lingering);
    assert_int_equal(looper_add(looper, first, &acts), 0);
    assert_int_equal(looper_add(looper, lingering, NULL), 0);
    looper_start(looper);
    (void)looper_seen(looper, 1);
    looper_finish(looper);
    close(raws[0]);
    close(raws[1]);
}

/* The peer has ended, and waits for answers that nobody reads: an abort is an abort. */
static void an_abort_of_what_only_answers_still(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    tcpmsg_conn *conn;
    int raw;
    pair_small(&conn, &raw, NULL);
    jam(conn);
    assert_int_equal(looper_add(looper, conn, NULL), 0);
    looper_start(looper);
    struct seen *seen = looper_seen(looper, 0);
    assert_int_equal(shutdown(raw, SHUT_WR), 0);
    assert_true(wait_events(tcpmsg_conn_fd(conn), POLLIN, WAIT_MS) != 0);
    looper_settle(looper);
    assert_int_equal(atomic_load(&seen->closes), 0);
    tcpmsg_abort(conn);
    assert_code(seen_end(seen), TCPMSG_ECANCELED);
    close(raw);
    looper_finish(looper);
}

static int close_all_here(void *arg)
{
    struct looper *looper = arg;
    struct seen *seen = looper->seen[0];
    int fd = tcpmsg_conn_fd(seen->conn);
    if (tcpmsg_close(seen->conn) != 0) /* asks its loop, which is not here */
        return 1;
    tcpmsg_abort(seen->conn);
    tcpmsg_loop_close(looper->loop);
    return fcntl(fd, F_GETFD) < 0 && errno == EBADF ? 0 : 2;
}

static void fork_here(struct seen *seen, const void *message, size_t length)
{
    (void)message;
    (void)length;
    atomic_store(&seen->mark, 1 + in_child(close_all_here, seen->looper));
}

/* In the loop's own thread nothing is half changed: the child closes the connections, too. */
static void promise_9_a_child_of_the_loops_thread_closes_its_copies(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = fork_here};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &acts, NULL, NULL);
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        assert_true(raw_send(raw, "fork"));
        assert_true(reaches(&seen->mark, 1));
        assert_int_equal(atomic_load(&seen->mark), 1);
        assert_true(raw_has_nothing(raw));
        assert_true(raw_send(raw, "fork"));
        seen_messages(seen, 2);
        close(raw);
        looper_finish(looper);
    }
}

/* Half a message, its rest and many more when its time is over: what came is read once. */
static void a_clock_that_runs_out_behind_a_read(void **state)
{
    (void)state;
    enum { MANY = 3000, LIMIT_MS = 100 };
    struct looper *looper =
        looper_serve(TCP, NULL, NULL, TCPMSG_OPTIONS(.message_timeout_ms = LIMIT_MS));
    struct seen *seen;
    struct wire wire = {0};
    int raw = looper_guest(looper, &seen);
    for (int i = 0; i < MANY; i++)
        wire_add_message(&wire, NULL, "x", 1);
    looper_settle(looper);
    assert_true(write_all(raw, wire.bytes, 2));
    looper_settle(looper);
    looper_hold(looper);
    sleep_ms(LIMIT_MS + 20);
    assert_true(write_all(raw, wire.bytes + 2, wire.count - 2));
    looper_go_on(looper);
    seen_messages(seen, MANY);
    looper_settle(looper);
    assert_int_equal(atomic_load(&seen->closes), 0);
    close(raw);
    wire_free(&wire);
    looper_finish(looper);
}

/* What a loop has taken over answers nothing that waits, and no other loop has it. */
static void a_loops_connection_is_the_loops(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, NULL, NULL, NULL), *other = looper_open(NULL);
    const tcpmsg_callbacks none = {.size = sizeof none};
    const void *view;
    tcpmsg_conn *added;
    struct seen *seen;
    int raw, guest = looper_guest(looper, &seen);
    pair(&added, &raw, NULL);
    assert_int_equal(looper_add(looper, added, NULL), 0);
    (void)looper_seen(looper, 1);
    tcpmsg_conn *const conns[] = {seen->conn, added};
    for (size_t i = 0; i < COUNT(conns); i++) {
        assert_code(tcpmsg_recv_view(conns[i], &view, TCPMSG_DONTWAIT), TCPMSG_EINVAL);
        assert_code(tcpmsg_next_length(conns[i]), TCPMSG_EINVAL);
        assert_code(tcpmsg_loop_add(other->loop, conns[i], &none, NULL), TCPMSG_EINVAL);
    }
    close(raw);
    close(guest);
    looper_finish(other);
    looper_finish(looper);
}

/* Full: who comes at one door waits; the other door, where nobody came, is not full. */
static void two_doors_of_a_full_loop(void **state)
{
    (void)state;
    struct looper *looper = looper_open(TCPMSG_LOOP_OPTIONS(.max_conns = 1));
    char addresses[2][TCPMSG_ADDRESS_MAX];
    const tcpmsg_callbacks none = {.size = sizeof none};
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            tcpmsg_loop_listen(looper->loop, listen_at_a_free_port(addresses[i]), &none, NULL), 0);
    looper_listen(looper, TCP, &echo, NULL);
    looper_start(looper);
    struct seen *seen;
    int guest = looper_guest(looper, &seen), waiting = raw_dial(addresses[0]);
    looper_settle(looper);
    close(guest);
    assert_int_equal(seen_end(seen), TCPMSG_EOF);
    looper_settle(looper);
    close(waiting);
    int last = looper_guest(looper, &seen);
    assert_true(raw_send(last, "in") && raw_gets(last, "in"));
    close(last);
    looper_finish(looper);
}

static char peer_text[TCPMSG_ADDRESS_MAX];

static void tell_peer(struct seen *seen)
{
    (void)tcpmsg_conn_peer(seen->conn, peer_text, sizeof peer_text);
}

static void a_loop_knows_an_IPv6_peer(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = tell_peer};
    if (!has_ipv6())
        skip();
    struct looper *looper = looper_open(NULL);
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at("[::1]:0");
    bound_address(listener, address);
    looper_start(looper);
    assert_int_equal(looper_dial(looper, address, NULL, &acts), 0);
    (void)looper_seen(looper, 0);
    looper_settle(looper);
    assert_string_equal(peer_text, address);
    tcpmsg_listener_close(listener);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_aborted_listener_lets_nobody_in),
        cmocka_unit_test(a_listener_that_was_aborted_before_is_no_door),
        cmocka_unit_test(nobody_has_to_be_told),
        cmocka_unit_test(a_queue_of_one_byte_drains),
        cmocka_unit_test(what_is_due_while_the_loop_stops_is_not_called),
        cmocka_unit_test(an_end_that_lingers_meets_what_the_peer_does),
        cmocka_unit_test(a_stop_waits_for_who_asks_for_attention),
        cmocka_unit_test(an_abort_of_what_only_answers_still),
        cmocka_unit_test(promise_9_a_child_of_the_loops_thread_closes_its_copies),
        cmocka_unit_test(a_clock_that_runs_out_behind_a_read),
        cmocka_unit_test(a_loops_connection_is_the_loops),
        cmocka_unit_test(two_doors_of_a_full_loop),
        cmocka_unit_test(a_loop_knows_an_IPv6_peer),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
