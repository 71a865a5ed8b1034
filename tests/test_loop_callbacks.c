/* SPDX-License-Identifier: MIT */
/* Everything that may be done in a callback, done in each of them: the connection has its one end,
 * nothing is called after it, and the next one is served. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static tcpmsg_conn *conn_of(struct seen *seen)
{
    return seen->conn;
}

static void do_close(struct seen *seen)
{
    if (tcpmsg_close(conn_of(seen)) != 0)
        looper_fault(seen->looper, "close in a callback is not 0");
}

static void do_close_twice(struct seen *seen)
{
    do_close(seen);
    do_close(seen);
}

static void do_abort(struct seen *seen)
{
    tcpmsg_abort(conn_of(seen));
    tcpmsg_abort(conn_of(seen));
}

static void do_close_and_abort(struct seen *seen)
{
    do_close(seen);
    tcpmsg_abort(conn_of(seen));
}

static void do_abort_and_close(struct seen *seen)
{
    tcpmsg_abort(conn_of(seen));
    do_close(seen);
}

static void do_send_and_close(struct seen *seen)
{
    (void)seen_send(seen, "bye", 3, 0);
    do_close(seen);
}

static void do_shutdown(struct seen *seen)
{
    (void)seen_send(seen, "bye", 3, 0);
    (void)tcpmsg_shutdown(conn_of(seen));
}

static void do_shutdown_and_close(struct seen *seen)
{
    do_shutdown(seen);
    do_close(seen);
}

static void do_pause(struct seen *seen)
{
    (void)tcpmsg_pause(conn_of(seen));
}

static void do_pause_and_resume(struct seen *seen)
{
    (void)tcpmsg_pause(conn_of(seen));
    (void)tcpmsg_resume(conn_of(seen));
}

static void do_pause_and_close(struct seen *seen)
{
    do_pause(seen);
    do_close(seen);
}

static void do_ref_and_unref(struct seen *seen)
{
    for (int i = 0; i < 3; i++)
        tcpmsg_conn_ref(conn_of(seen));
    for (int i = 0; i < 3; i++)
        tcpmsg_conn_unref(conn_of(seen));
}

static void unref_later(void *conn)
{
    (void)tcpmsg_close(conn);
    tcpmsg_conn_unref(conn);
}

static void do_close_later(struct seen *seen)
{
    if (tcpmsg_loop_post(seen->looper->loop, unref_later, tcpmsg_conn_ref(conn_of(seen))) != 0)
        tcpmsg_conn_unref(conn_of(seen));
}

static void do_send_and_flush(struct seen *seen)
{
    (void)seen_send(seen, "bye", 3, TCPMSG_MORE);
    (void)tcpmsg_flush(conn_of(seen), 0);
    (void)seen_send(seen, "", 0, TCPMSG_MORE);
}

static void do_ask(struct seen *seen)
{
    char text[TCPMSG_ADDRESS_MAX];
    tcpmsg_info info;
    (void)tcpmsg_conn_info(conn_of(seen), &info, sizeof info);
    (void)tcpmsg_conn_peer(conn_of(seen), text, sizeof text);
    (void)tcpmsg_conn_local(conn_of(seen), text, sizeof text);
    (void)tcpmsg_conn_events(conn_of(seen));
    (void)tcpmsg_next_length(conn_of(seen));
    (void)tcpmsg_conn_set_timeouts(conn_of(seen), 1000, 1000);
    (void)tcpmsg_conn_fd(conn_of(seen));
}

static void do_fill(struct seen *seen)
{
    static const uint8_t block[50000];
    while (seen_send(seen, block, sizeof block, 0) == 0)
        continue;
}

static void do_fill_and_abort(struct seen *seen)
{
    do_fill(seen);
    tcpmsg_abort(conn_of(seen));
}

enum { OURS = 1, CANCELED = 2, PEERS = 4 };

/* What is done, and whose the end may then be when the guest ends as well, a little later. */
static const struct deed {
    const char *name;
    void (*act)(struct seen *seen);
    int ends;
} deeds[] = {
    {"close", do_close, OURS},
    {"close twice", do_close_twice, OURS},
    {"abort", do_abort, CANCELED},
    {"close and abort", do_close_and_abort, CANCELED | OURS}, /* the close may be over */
    {"abort and close", do_abort_and_close, CANCELED},
    {"send and close", do_send_and_close, OURS},
    {"shutdown", do_shutdown, PEERS},
    {"shutdown and close", do_shutdown_and_close, OURS},
    {"pause", do_pause, CANCELED},
    {"pause and resume", do_pause_and_resume, PEERS},
    {"pause and close", do_pause_and_close, OURS},
    {"ref and unref", do_ref_and_unref, PEERS},
    {"close later", do_close_later, OURS | PEERS},
    {"send and flush", do_send_and_flush, PEERS},
    {"ask", do_ask, PEERS},
    {"fill and abort", do_fill_and_abort, CANCELED},
};

static const struct deed *deed;

static void act_now(struct seen *seen)
{
    atomic_fetch_add(&seen->mark, 1);
    deed->act(seen);
}

static void act_at_message(struct seen *seen, const void *message, size_t length)
{
    (void)message;
    (void)length;
    act_now(seen);
}

/* A message fills the queue, so that on_drain comes. */
static void fill_at_message(struct seen *seen, const void *message, size_t length)
{
    (void)message;
    (void)length;
    if (atomic_load(&seen->messages) == 1)
        do_fill(seen);
}

static const struct acts in_each[] = {
    {.on_open = act_now},
    {.on_message = act_at_message},
    {.on_message = fill_at_message, .on_drain = act_now},
    {.on_close = act_now},
};

static int who_ended(int why)
{
    if (why == 0)
        return OURS;
    return why == TCPMSG_ECANCELED ? CANCELED : PEERS;
}

/* A guest who sends three messages and half-closes, and reads whatever comes until the end. */
static void visit(struct looper *looper, bool on_close_acts)
{
    struct seen *seen;
    struct reader reader = {0};
    int raw = looper_guest(looper, &seen);
    reader_start(&reader, raw);
    (void)raw_send(raw, "one");
    (void)raw_send(raw, "two");
    (void)raw_send(raw, "three");
    shutdown(raw, SHUT_WR);
    if (deed->act == do_pause && !on_close_acts) {
        assert_true(reaches(&seen->mark, 1) || reaches(&seen->closes, 1));
        looper_settle(looper);
        tcpmsg_abort(seen->conn);
    }
    reader_finish(&reader);
    int why = seen_end(seen);
    if (reader.end == ETIMEDOUT)
        fail_msg("%s: the guest sees no end", deed->name);
    int wanted = on_close_acts ? PEERS : deed->ends;
    if (!(who_ended(why) & wanted) || why == TCPMSG_ETIMEDOUT)
        fail_msg("%s: %s", deed->name, tcpmsg_error_name(why));
    wire_free(&reader.got);
    close(raw);
}

static void in_callback(size_t callback)
{
    for (int transport = 0; transport < TRANSPORTS; transport++)
        for (deed = deeds; deed < deeds + COUNT(deeds); deed++) {
            struct looper *looper = looper_serve((enum transport)transport, &in_each[callback],
                                                 TCPMSG_LOOP_OPTIONS(.high_water = 200000), NULL);
            for (int times = 0; times < 3; times++)
                visit(looper, callback == 3);
            looper_settle(looper);
            looper_finish(looper);
        }
}

static void in_on_open(void **state)
{
    (void)state;
    in_callback(0);
}

static void in_on_message(void **state)
{
    (void)state;
    in_callback(1);
}

static void in_on_drain(void **state)
{
    (void)state;
    in_callback(2);
}

static void in_on_close(void **state)
{
    (void)state;
    in_callback(3);
}

/* None of the four is needed. */
static void callbacks_may_be_missing(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    tcpmsg_listener *listener;
    char address[TCPMSG_ADDRESS_MAX];
    assert_int_equal(tcpmsg_listen(&listener, "127.0.0.1:0", NULL), 0);
    assert_int_equal(tcpmsg_listener_address(listener, address, sizeof address), 0);
    assert_int_equal(
        tcpmsg_loop_listen(looper->loop, listener, TCPMSG_CALLBACKS(.on_message = NULL), NULL), 0);
    looper_start(looper);
    int raw = raw_reach(address);
    assert_true(raw_send(raw, "into the void"));
    shutdown(raw, SHUT_WR);
    assert_int_equal(read_end(raw), 0);
    close(raw);
    assert_int_equal(
        tcpmsg_loop_dial(looper->loop, address, NULL, TCPMSG_CALLBACKS(.on_close = NULL), NULL), 0);
    looper_settle(looper);
    looper_finish(looper);
}

/* In a callback of one, everything is done to another, which may be on another thread. */
static _Atomic(struct seen *) victim;

static void act_on_the_victim(struct seen *seen, const void *message, size_t length)
{
    struct seen *other = atomic_load(&victim);
    (void)message;
    (void)length;
    if (other && other != seen)
        deed->act(other);
    atomic_store(&seen->mark, 1);
}

static void to_another_connection(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = act_on_the_victim};
    for (int threads = 1; threads <= 4; threads += 3)
        for (deed = deeds; deed < deeds + COUNT(deeds); deed++) {
            struct seen *seen;
            struct looper *looper =
                looper_serve(TCP, &acts, TCPMSG_LOOP_OPTIONS(.threads = threads), NULL);
            int actor = looper_guest(looper, NULL), raw = looper_guest(looper, &seen);
            atomic_store(&victim, seen);
            tcpmsg_conn_ref(seen->conn);
            assert_true(raw_send(actor, "now"));
            assert_true(reaches(&looper_seen(looper, 0)->mark, 1));
            shutdown(raw, SHUT_WR);
            if (deed->act == do_pause)
                tcpmsg_abort(seen->conn);
            assert_int_not_equal(read_end(raw), ETIMEDOUT);
            int ends = deed->ends & OURS ? deed->ends | PEERS : deed->ends; /* they may meet */
            if (!(who_ended(seen_end(seen)) & ends))
                fail_msg("%s: %s", deed->name, tcpmsg_error_name(seen->why));
            atomic_store(&victim, NULL);
            close(raw);
            close(actor);
            assert_code(seen_end(looper_seen(looper, 0)), TCPMSG_EOF);
            tcpmsg_conn_unref(seen->conn);
            looper_finish(looper);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_on_open),
        cmocka_unit_test(in_on_message),
        cmocka_unit_test(in_on_drain),
        cmocka_unit_test(in_on_close),
        cmocka_unit_test(callbacks_may_be_missing),
        cmocka_unit_test(to_another_connection),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
