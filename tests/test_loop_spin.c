/* SPDX-License-Identifier: MIT */
/* A hangup is told for as long as it lasts, whatever is polled for. None of the states in which
 * that goes on may keep a thread awake. */
#define _GNU_SOURCE
#include "guest.h"
#include "looks.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"

enum { LOOK_MS = 300, GIANT = 8 * 1024 * 1024 };

static size_t answer_length;

static void answer_much(struct seen *seen, const void *message, size_t length)
{
    uint8_t *much = calloc(1, answer_length);
    (void)message;
    (void)length;
    if (!much || seen_send(seen, much, answer_length, 0) != 0)
        looper_fault(seen->looper, "an answer that was not taken");
    free(much);
    atomic_store(&seen->mark, 1);
}

/* Its answers are out, or never will be; send_timeout_ms is kept after its end, too. */
static void who_half_closes_and_never_reads_is_stalled(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = small_output, .on_message = answer_much};
    answer_length = GIANT;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct seen *seen;
        struct looper *looper =
            looper_serve(transport, &acts, TCPMSG_LOOP_OPTIONS(.high_water = 2 * GIANT),
                         TCPMSG_OPTIONS(.send_timeout_ms = 2 * LOOK_MS));
        int raw = looper_guest_small(looper, &seen);
        assert_true(raw_send(raw, "much"));
        shutdown(raw, SHUT_WR);
        assert_true(reaches(&seen->mark, 1));
        assert_true(all_rest(LOOK_MS));
        assert_code(seen_end(seen), TCPMSG_ESTALLED);
        close(raw);
        looper_finish(looper);
    }
}

static void answer_and_close(struct seen *seen, const void *message, size_t length)
{
    answer_much(seen, message, length);
    (void)tcpmsg_close(seen->conn);
}

/* We close; the peer ends its side as well, and takes in nothing of what is still to leave, be it
 * with us or with the system already. */
static void an_end_that_lingers_rests(void **state)
{
    (void)state;
    static const size_t lengths[] = {GIANT, 100000};
    const struct acts acts = {.on_message = answer_and_close};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++)
        for (size_t i = 0; i < COUNT(lengths); i++) {
            struct seen *seen;
            struct looper *looper =
                looper_serve(transport, &acts, NULL, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
            int raw = looper_guest_small(looper, &seen);
            answer_length = lengths[i];
            assert_true(raw_send(raw, "much"));
            assert_true(reaches(&seen->mark, 1));
            looper_settle(looper);
            shutdown(raw, SHUT_WR);
            looper_settle(looper);
            assert_true(all_rest(LOOK_MS));
            close(raw);
            (void)seen_end(seen);
            looper_finish(looper);
        }
}

/* What its own thread says of it. */
struct look {
    struct looper *looper;
    tcpmsg_conn *conn;
    int rival; /* a raw one, whose connection has the memory and is to keep it */
    atomic_int looked;
    bool starved;
    int sent;
};

static void look(void *arg)
{
    struct look *it = arg;
    it->starved = tm_member_of(it->conn)->starved;
    atomic_fetch_add(&it->looked, 1);
}

static const uint8_t block[100000];

static bool is_starved(void *arg)
{
    struct look *it = arg;
    assert_true(write_all(it->rival, block, 16 * KIB));
    int before = atomic_load(&it->looked);
    assert_int_equal(tcpmsg_loop_post(it->looper->loop, look, it), 0);
    assert_true(reaches(&it->looked, before + 1));
    return it->starved;
}

/* As much of a message of 16 MiB as the system takes without waiting; 0: of all that is given. */
static void send_a_part(int raw, size_t length, int flags)
{
    uint8_t *part = calloc(1, length);
    assert_non_null(part);
    part[0] = 1;
    for (size_t at = 0; at < length;) {
        ssize_t wrote = send(raw, part + at, length - at, flags | MSG_NOSIGNAL);
        if (wrote <= 0)
            break;
        at += (size_t)wrote;
    }
    free(part);
}

static void send_to_it(void *arg)
{
    struct look *it = arg;
    it->sent = tcpmsg_send(it->conn, block, sizeof block, 0);
}

/* It waits for memory that another one has, and asks no more than now and then. */
static void a_starved_one_rests(void **state)
{
    (void)state;
    struct looper *looper =
        looper_serve(TCP, &nothing, TCPMSG_LOOP_OPTIONS(.memory_budget = MIB), NULL);
    struct seen *seen;
    int first = looper_guest(looper, NULL), raw = looper_guest(looper, &seen);
    send_a_part(first, 3 * MIB / 2, 0);
    looper_settle(looper);
    struct look it = {.looper = looper, .conn = seen->conn, .rival = first};
    send_a_part(raw, 2 * MIB, MSG_DONTWAIT);
    assert_true(eventually(is_starved, &it));
    assert_true(all_rest(LOOK_MS));
    close(raw);
    close(first);
    looper_finish(looper);
}

/* It is not read from, for another one has the memory, and meets its reset in a send. */
static void a_starved_one_that_is_reset_ends(void **state)
{
    (void)state;
    struct looper *looper =
        looper_serve(TCP, &nothing, TCPMSG_LOOP_OPTIONS(.memory_budget = MIB), NULL);
    struct seen *favoured, *seen;
    int first = looper_guest(looper, &favoured), raw = looper_guest(looper, &seen);
    send_a_part(first, 3 * MIB / 2, 0);
    looper_settle(looper);
    struct look victim = {.looper = looper, .conn = tcpmsg_conn_ref(seen->conn), .rival = first};
    send_a_part(raw, 2 * MIB, MSG_DONTWAIT);
    assert_true(eventually(is_starved, &victim));
    looper_hold(looper);
    raw_reset(raw);
    assert_int_equal(tcpmsg_loop_post(looper->loop, send_to_it, &victim), 0);
    looper_go_on(looper);
    assert_true(all_rest(LOOK_MS));
    assert_code(seen_end(seen), TCPMSG_ERESET);
    assert_code(victim.sent, TCPMSG_ERESET);
    assert_int_equal(atomic_load(&favoured->closes), 0);
    tcpmsg_conn_unref(victim.conn);
    close(first);
    looper_finish(looper);
}

static void shut_the_door(struct looper *looper, int fd)
{
    looper_settle(looper);
    shutdown(fd, SHUT_RDWR);
    looper_settle(looper);
    assert_true(all_rest(LOOK_MS));
}

/* A socket that is shared may be shut down by another of its holders. */
static void a_listener_that_was_shut_down_rests(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    tcpmsg_listener *listener;
    assert_int_equal(tcpmsg_listen(&listener, "127.0.0.1:0", NULL), 0);
    int fd = tcpmsg_listener_fd(listener);
    assert_int_equal(
        tcpmsg_loop_listen(looper->loop, listener, TCPMSG_CALLBACKS(.on_open = NULL), NULL), 0);
    looper_start(looper);
    shut_the_door(looper, fd);
    looper_finish(looper);
}

/* The same while nobody is let in, for max_conns are there. */
static void a_full_listener_that_was_shut_down_rests(void **state)
{
    (void)state;
    struct looper *looper = looper_open(TCPMSG_LOOP_OPTIONS(.max_conns = 1));
    tcpmsg_listener *listener;
    tcpmsg_conn *conn;
    int inside;
    pair_unix(&conn, &inside, NULL);
    assert_int_equal(looper_add(looper, conn, &echo), 0);
    assert_int_equal(tcpmsg_listen(&listener, "127.0.0.1:0", NULL), 0);
    assert_int_equal(tcpmsg_listener_address(listener, looper->address, TCPMSG_ADDRESS_MAX), 0);
    int fd = tcpmsg_listener_fd(listener);
    assert_int_equal(
        tcpmsg_loop_listen(looper->loop, listener, TCPMSG_CALLBACKS(.on_open = NULL), NULL), 0);
    looper_start(looper);
    int outside = raw_reach(looper->address);
    assert_true(outside >= 0);
    shut_the_door(looper, fd);
    assert_true(raw_send(inside, "still") && raw_gets(inside, "still"));
    close(outside);
    close(inside);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_half_closes_and_never_reads_is_stalled),
        cmocka_unit_test(an_end_that_lingers_rests),
        cmocka_unit_test(a_starved_one_rests),
        cmocka_unit_test(a_starved_one_that_is_reset_ends),
        cmocka_unit_test(a_listener_that_was_shut_down_rests),
        cmocka_unit_test(a_full_listener_that_was_shut_down_rests),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
