/* SPDX-License-Identifier: MIT */
/* A connection when something is short: what a call answers for want of it has not happened, and
 * everything else goes on. */
#define _GNU_SOURCE
#include "peer.h"
#include "shortage.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GIANT = 600000, PARTS = 200, SHORT_WAIT_MS = 5 };

static uint8_t giant[GIANT];
static struct wire accepted, seen;

/* How the calls of a play wait: not at all, for a moment, for ever. */
enum patience { NONE, SOME, ENDLESS };
static enum patience patience;

static int flags_of_patience(void)
{
    return patience == NONE ? TCPMSG_DONTWAIT : 0;
}

static const tcpmsg_options *impatient(void)
{
    static const tcpmsg_options some = {.send_timeout_ms = SHORT_WAIT_MS,
                                        .recv_timeout_ms = SHORT_WAIT_MS};
    return patience == SOME ? &some : NULL;
}

/* A call that would wait is made again; it must not have to wait for better times. */
static bool would_wait(ssize_t answer)
{
    if (answer != TCPMSG_EAGAIN && answer != TCPMSG_ETIMEDOUT)
        return false;
    shortage_over();
    return true;
}

/* What the peer has read so far, the peer reads now; where it has a thread for that, it goes on. */
static void let_peer_read(int raw)
{
    if (patience != ENDLESS)
        raw_take(raw, &seen, GIANT);
}

/* Sends what is filled in already, as often as it takes; then it has to arrive. */
static void insist_on_sending(tcpmsg_conn *conn, int raw, const struct iovec *parts, int count,
                              int flags)
{
    int result;
    do {
        let_peer_read(raw);
        INSIST(result, tcpmsg_sendv(conn, parts, count, flags));
    } while (would_wait(result));
    assert_int_equal(result, 0);
}

static void say(tcpmsg_conn *conn, int raw, size_t length, int flags)
{
    struct iovec whole = {giant, length};
    fill(giant, length, (uint32_t)length);
    wire_add_message(&accepted, NULL, giant, length);
    insist_on_sending(conn, raw, &whole, 1, flags);
    memset(giant, 0, length);
}

static void say_parts(tcpmsg_conn *conn, int raw, int flags)
{
    struct iovec parts[PARTS];
    fill(giant, PARTS, PARTS);
    for (size_t i = 0; i < PARTS; i++)
        parts[i] = (struct iovec){giant + i, 1};
    wire_add_message(&accepted, NULL, giant, PARTS);
    insist_on_sending(conn, raw, parts, PARTS, flags);
    memset(giant, 0, PARTS);
}

static void say_all(tcpmsg_conn *conn, int raw)
{
    int flags = flags_of_patience(), result;
    say(conn, raw, 10, TCPMSG_MORE | flags);
    say(conn, raw, 3000, TCPMSG_MORE | flags);
    say(conn, raw, 20000, flags);
    say_parts(conn, raw, TCPMSG_MORE | flags);
    say_parts(conn, raw, flags);
    say(conn, raw, 60000, TCPMSG_MORE | flags);
    say(conn, raw, GIANT, flags);
    say(conn, raw, 60000, TCPMSG_MORE | flags);
    say(conn, raw, 60000, TCPMSG_MORE | flags);
    say(conn, raw, 0, flags);
    do {
        let_peer_read(raw);
        INSIST(result, tcpmsg_flush(conn, flags));
    } while (would_wait(result));
    assert_int_equal(result, 0);
    INSIST(result, tcpmsg_shutdown(conn));
    assert_int_equal(result, 0);
}

/* Reads to the end of the stream. */
static ssize_t read_to_the_end(struct call *call)
{
    size_t before;
    spare_this_thread();
    do {
        before = seen.count;
        wait_events(call->raw, POLLIN, WAIT_MS);
        raw_take(call->raw, &seen, GIANT);
    } while (seen.count > before);
    return 0;
}

/* Whatever has failed: what was accepted arrives, whole, and nothing else does. */
static void send_through(void)
{
    struct call reader = {.body = read_to_the_end};
    tcpmsg_conn *conn;
    pair_unix(&conn, &reader.raw, impatient());
    if (patience == ENDLESS) {
        call_start(&reader);
        relief_begin();
    }
    say_all(conn, reader.raw);
    if (patience == ENDLESS) {
        relief_end();
        call_finish(&reader);
    }
    assert_int_equal(tcpmsg_close(conn), 0);
    raw_take(reader.raw, &seen, GIANT);
    close(reader.raw);
    bool intact = wire_equal(&seen, &accepted);
    wire_free(&seen);
    wire_free(&accepted);
    assert_true(intact);
}

static void promise_1_sends(void **state)
{
    (void)state;
    for (patience = NONE; patience <= ENDLESS; patience++)
        play_through_shortages(send_through);
}

static const size_t heard[] = {5, 40000, 0, 300000, 70000, 12, 100000, 1, 200000};

static struct wire said;
static size_t written;

/* The peer writes what there is room for. */
static void let_peer_write(int raw)
{
    if (patience == ENDLESS)
        return;
    ssize_t sent =
        send(raw, said.bytes + written, said.count - written, MSG_DONTWAIT | MSG_NOSIGNAL);
    written += sent > 0 ? (size_t)sent : 0;
}

static ssize_t write_all_of_it(struct call *call)
{
    spare_this_thread();
    sleep_ms(2);
    return write_all(call->raw, said.bytes, said.count);
}

/* The next message in one of three ways. */
static ssize_t hear(tcpmsg_conn *conn, uint32_t which, const void **message)
{
    ssize_t result;
    int flags = flags_of_patience();
    *message = giant;
    if (which % 3 == 0) {
        INSIST(result, tcpmsg_recv(conn, giant, GIANT, flags));
    } else if (which % 3 == 1) {
        INSIST(result, tcpmsg_recv_view(conn, message, flags));
    } else {
        INSIST(result, tcpmsg_recv_view(conn, message, flags | TCPMSG_PEEK));
        if (result >= 0)
            INSIST(result, tcpmsg_recv(conn, giant, GIANT, flags));
        *message = giant;
    }
    return result;
}

static void hear_all(tcpmsg_conn *conn, int raw)
{
    for (uint32_t next = 0; next < COUNT(heard);) {
        const void *message;
        let_peer_write(raw);
        ssize_t result = hear(conn, next, &message);
        if (would_wait(result))
            continue;
        assert_int_equal(result, heard[next]);
        assert_true(is_filled(message, heard[next], next));
        memset(giant, 0, GIANT);
        next++;
    }
}

/* A receive that fails for want of something loses nothing: the next one has the message. */
static void receive_through(void)
{
    struct call writer = {.body = write_all_of_it};
    tcpmsg_conn *conn;
    pair_unix(&conn, &writer.raw, impatient());
    for (uint32_t i = 0; i < COUNT(heard); i++)
        wire_add_filled(&said, NULL, heard[i], i);
    written = 0;
    if (patience == ENDLESS) {
        call_start(&writer);
        relief_begin();
    }
    hear_all(conn, writer.raw);
    if (patience == ENDLESS) {
        relief_end();
        assert_true(call_finish(&writer));
    }
    wire_free(&said);
    assert_int_equal(tcpmsg_close(conn), 0);
    close(writer.raw);
}

static void promise_2_receives(void **state)
{
    (void)state;
    for (patience = NONE; patience <= ENDLESS; patience++)
        play_through_shortages(receive_through);
}

/* The last reply is kept, beside input that nobody has read; when nothing can be sent any more,
 * close says that it does not know. */
static void close_through(void)
{
    tcpmsg_conn *conn;
    int raw;
    const tcpmsg_options *options =
        shortage_lasts() ? TCPMSG_OPTIONS(.linger_ms = 30) : TCPMSG_OPTIONS(.linger_ms = WAIT_MS);
    pair(&conn, &raw, options);
    assert_true(raw_send(raw, "unread"));
    assert_int_equal(tcpmsg_send(conn, "last", 4, TCPMSG_MORE), 0);
    scarce = true;
    int result = tcpmsg_close(conn);
    scarce = false;
    if (result == 0)
        assert_true(raw_gets(raw, "last"));
    else
        assert_true(shortage_lasts() && result == TCPMSG_ETIMEDOUT);
    read_end(raw);
    close(raw);
}

static void promise_9_a_close(void **state)
{
    (void)state;
    play_through_shortages(close_through);
}

/* The socket has room all the time, so to wait for that would be no wait. */
static void a_close_that_can_send_nothing_rests(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, TCPMSG_OPTIONS(.linger_ms = 100));
    assert_int_equal(tcpmsg_send(conn, "last", 4, TCPMSG_MORE), 0);
    call_fails(CALL_send, ENOBUFS, INT_MAX);
    assert_code(tcpmsg_close(conn), TCPMSG_ETIMEDOUT);
    assert_in_range(calls_failed(), 1, 100);
    close(raw);
}

/* Without memory for its story the end is told all the same, and truly. */
static void end_through(void)
{
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    ssize_t result;
    pair_unix(&conn, &raw, NULL);
    assert_true(write_all(raw, "\0\0\0\5hel", 7));
    close(raw);
    INSIST(result, tcpmsg_recv(conn, text, sizeof text, 0));
    assert_code(result, TCPMSG_ETRUNCATED);
    const char *why = tcpmsg_conn_why(conn);
    assert_string_not_equal(why, "");
    tcpmsg_abort(conn);
    assert_ptr_equal(tcpmsg_conn_why(conn), why);
    assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_ETRUNCATED);
    tcpmsg_close(conn);
}

static void promise_3_an_end(void **state)
{
    (void)state;
    play_through_shortages(end_through);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_1_sends),   cmocka_unit_test(promise_2_receives),
        cmocka_unit_test(promise_9_a_close), cmocka_unit_test(a_close_that_can_send_nothing_rests),
        cmocka_unit_test(promise_3_an_end),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
