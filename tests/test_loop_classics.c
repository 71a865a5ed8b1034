/* SPDX-License-Identifier: MIT */
/* What bugs put back (tests/seeded) got away with in all other tests of the loop: what a callback
 * asks for of its own connection while that is being looked after, and what others ask for in the
 * middle of a pass. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* ld(1), --wrap: the library's calls come to __wrap_, __real_ are the system's. */
int __real_close(int fd);
int __wrap_close(int fd);
int __real_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
ssize_t __real_read(int fd, void *bytes, size_t count);
ssize_t __wrap_read(int fd, void *bytes, size_t count);
ssize_t __real_recv(int fd, void *bytes, size_t count, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t count, int flags);

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
ssize_t __real_write(int fd, const void *bytes, size_t count);
ssize_t __wrap_write(int fd, const void *bytes, size_t count);

/* Of descriptors that were not open. */
static atomic_int wrong_closes;

int __wrap_close(int fd)
{
    int r = __real_close(fd);
    if (r < 0 && errno == EBADF)
        atomic_fetch_add(&wrong_closes, 1);
    return r;
}

/* What another thread does when the loop's own is at a system call: before it, or when it is over.
 * The loop waits for that thread. */
static _Thread_local bool is_loop;
static struct call intruder;
static atomic_int moments_until = -1;
static atomic_int intrusions; /* that are over */

static void moment(void)
{
    int number = errno;
    if (is_loop && atomic_load(&moments_until) >= 0 && atomic_fetch_sub(&moments_until, 1) == 0) {
        call_start(&intruder);
        (void)call_finish(&intruder);
        atomic_fetch_add(&intrusions, 1);
    }
    errno = number;
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    moment();
    int n = __real_epoll_wait(epoll, events, most, timeout);
    moment();
    return n;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    moment();
    int n = __real_poll(fds, count, timeout);
    moment();
    return n;
}

ssize_t __wrap_read(int fd, void *bytes, size_t count)
{
    moment();
    ssize_t n = __real_read(fd, bytes, count);
    moment();
    return n;
}

ssize_t __wrap_recv(int fd, void *bytes, size_t count, int flags)
{
    moment();
    ssize_t n = __real_recv(fd, bytes, count, flags);
    moment();
    return n;
}

static atomic_size_t largest_asked_for;

static void note_size(size_t size)
{
    size_t largest = atomic_load(&largest_asked_for);
    while (size > largest && !atomic_compare_exchange_weak(&largest_asked_for, &largest, size))
        continue;
}

void *__wrap_malloc(size_t size)
{
    note_size(size);
    return __real_malloc(size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    note_size(size);
    return __real_realloc(memory, size);
}

/* In this thread: a counter that is full, say. */
static _Thread_local bool no_writes;

ssize_t __wrap_write(int fd, const void *bytes, size_t count)
{
    if (!no_writes)
        return __real_write(fd, bytes, count);
    errno = EAGAIN;
    return -1;
}

static void this_is_the_loop(void *unused)
{
    (void)unused;
    is_loop = true;
}

static ssize_t shutdown_body(struct call *call)
{
    return tcpmsg_shutdown(call->conn);
}

static void nothing_now(void *unused)
{
    (void)unused;
}

/* Whatever the loop is doing in the pass that a post or a message begins: what another thread asks
 * for meanwhile is not overlooked. Nothing else happens then that would wake the loop again. */
static void what_is_asked_for_at_any_moment_of_a_pass_is_done(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &nothing, NULL, NULL);
    int busy = looper_guest(looper, NULL);
    assert_int_equal(tcpmsg_loop_post(looper->loop, this_is_the_loop, NULL), 0);
    looper_settle(looper);
    for (int at = 0; at < 24; at++) {
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        looper_settle(looper);
        intruder = (struct call){.body = shutdown_body, .conn = seen->conn};
        atomic_store(&moments_until, at / 2);
        while (atomic_load(&moments_until) >= 0) {
            if (at % 2 == 0)
                assert_int_equal(tcpmsg_loop_post(looper->loop, nothing_now, NULL), 0);
            else
                assert_true(raw_send(busy, "hello"));
            sleep_ms(2);
        }
        assert_true(reaches(&intrusions, at + 1));
        assert_int_equal(intruder.answer, 0);
        assert_int_equal(read_end(raw), 0);
        close(raw);
    }
    close(busy);
    looper_finish(looper);
}

/* Three messages of one read, and the first one's callback ends the connection. */
static void end_it(struct seen *seen, const void *message, size_t length)
{
    (void)message;
    (void)length;
    if (tcpmsg_close(seen->conn) != 0)
        looper_fault(seen->looper, "close in a callback");
}

static void after_a_close_in_on_message_no_other_one_comes(void **state)
{
    (void)state;
    const struct acts acts = {.on_message = end_it};
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &acts, NULL, NULL);
        struct seen *seen;
        struct wire wire = {0};
        int raw = looper_guest(looper, &seen);
        for (uint32_t i = 0; i < 3; i++)
            wire_add_filled(&wire, NULL, 10, i);
        assert_true(write_all(raw, wire.bytes, wire.count));
        assert_int_equal(seen_end(seen), 0);
        assert_int_equal(atomic_load(&seen->messages), 1);
        close(raw);
        wire_free(&wire);
        looper_finish(looper);
    }
}

/* Many messages of one read, more than one connection may have delivered at a time: those behind
 * are delivered while the connection is looked after, and their answers leave like all others. */
static void answers_to_what_had_to_wait_leave(void **state)
{
    (void)state;
    enum { MANY = 1500 };
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    struct wire wire = {0}, got = {0};
    int raw = looper_guest(looper, NULL);
    for (uint32_t i = 0; i < MANY; i++)
        wire_add_filled(&wire, NULL, i % 3, i);
    assert_true(write_all(raw, wire.bytes, wire.count));
    got.bytes = malloc(wire.count);
    assert_non_null(got.bytes);
    assert_true(read_all(raw, got.bytes, wire.count));
    got.count = wire.count;
    assert_true(wire_equal(&got, &wire));
    close(raw);
    wire_free(&wire);
    wire_free(&got);
    looper_finish(looper);
}

static void pause_it(struct seen *seen)
{
    if (tcpmsg_pause(seen->conn) != 0)
        looper_fault(seen->looper, "pause in a callback");
}

/* The peer's clean end has to wait while paused; its descriptor is not polled for any more, and
 * tells nothing. */
static void an_end_of_ours_comes_while_the_peers_waits(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = pause_it};
    for (int aborts = 0; aborts < 2; aborts++)
        for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
            struct looper *looper = looper_serve(transport, &acts, NULL, NULL);
            struct seen *seen;
            int raw = looper_guest(looper, &seen);
            close(raw);
            looper_settle(looper);
            assert_int_equal(atomic_load(&seen->closes), 0);
            if (aborts)
                tcpmsg_abort(seen->conn);
            else
                assert_int_equal(tcpmsg_close(seen->conn), 0);
            int why = seen_end(seen);
            assert_true(why == TCPMSG_ECANCELED || !aborts);
            looper_finish(looper);
        }
}

static atomic_int opened;

static void count_open(tcpmsg_conn *conn, void *unused)
{
    (void)conn;
    (void)unused;
    atomic_fetch_add(&opened, 1);
}

/* Both events are there in the same pass: the abort, and then somebody at the door. */
static void who_comes_after_an_abort_is_not_let_in(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    tcpmsg_listener *listener;
    char address[TCPMSG_ADDRESS_MAX];
    atomic_store(&opened, 0);
    assert_int_equal(tcpmsg_listen(&listener, "127.0.0.1:0", NULL), 0);
    assert_int_equal(tcpmsg_listener_address(listener, address, sizeof address), 0);
    assert_int_equal(
        tcpmsg_loop_listen(looper->loop, listener, TCPMSG_CALLBACKS(.on_open = count_open), NULL),
        0);
    looper_start(looper);
    looper_settle(looper);
    looper_hold(looper);
    tcpmsg_listener_abort(listener);
    int raw = raw_reach(address);
    assert_true(raw >= 0);
    looper_go_on(looper);
    looper_settle(looper);
    assert_int_equal(atomic_load(&opened), 0);
    close(raw);
    looper_finish(looper);
}

/* A peer takes nothing: at some time there is no more to be had of what it is sent. */
static void queue_up(enum transport transport, size_t size)
{
    static const uint8_t block[64 * 1024];
    struct looper *looper = looper_serve(transport, &nothing, NULL, NULL);
    struct seen *seen;
    int raw = looper_guest_small(looper, &seen), r = 0;
    for (size_t sent = 0; r == 0 && sent < 32 * MIB; sent += size)
        r = tcpmsg_send(seen->conn, block, size, 0);
    assert_code(r, TCPMSG_EAGAIN);
    tcpmsg_abort(seen->conn);
    assert_code(seen_end(seen), TCPMSG_ECANCELED);
    close(raw);
    looper_finish(looper);
}

static void what_is_sent_is_refused_at_some_time(void **state)
{
    (void)state;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        queue_up(transport, 64 * KIB);
        queue_up(transport, KIB);
    }
}

static void a_stop_keeps_errno_whatever_it_meets(void **state)
{
    (void)state;
    tcpmsg_loop *loop;
    assert_int_equal(tcpmsg_loop_open(&loop, NULL), 0);
    no_writes = true;
    errno = ENOTTY;
    tcpmsg_loop_stop(loop);
    int number = errno;
    no_writes = false;
    assert_int_equal(number, ENOTTY);
    assert_int_equal(tcpmsg_loop_run(loop), 0);
    tcpmsg_loop_close(loop);
}

/* Whether it was within the limit or over it: what is asked for follows what has come. */
static void promise_4_a_claim_alone_is_given_no_memory(void **state)
{
    (void)state;
    static const struct {
        uint8_t prefix[4];
        size_t behind;
        int why;
    } claims[] = {
        {{0, 0xff, 0xff, 0xff}, 0, TCPMSG_ETRUNCATED},
        {{0, 0xff, 0xff, 0xff}, 100 * KIB, TCPMSG_ETRUNCATED},
        {{0x40, 0, 0, 0}, 0, TCPMSG_EMSGSIZE},
    };
    struct looper *looper = looper_serve(TCP, &nothing, NULL, NULL);
    for (size_t i = 0; i < COUNT(claims); i++) {
        static const uint8_t zeros[100 * KIB];
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        atomic_store(&largest_asked_for, 0);
        assert_true(write_all(raw, claims[i].prefix, 4));
        looper_settle(looper);
        assert_true(write_all(raw, zeros, claims[i].behind));
        shutdown(raw, SHUT_WR);
        assert_int_equal(seen_end(seen), claims[i].why);
        if (atomic_load(&largest_asked_for) > 2 * MIB)
            fail_msg("%zu bytes were asked for", atomic_load(&largest_asked_for));
        close(raw);
    }
    looper_finish(looper);
}

/* Alone in its process a second close harms nobody, and is seen only here. */
static void nothing_is_closed_that_is_not_open(void **state)
{
    (void)state;
    tcpmsg_conn *conns[2];
    atomic_store(&wrong_closes, 0);
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper = looper_serve(transport, &echo, NULL, NULL);
        struct seen *seen[3];
        int raws[3];
        for (int i = 0; i < 3; i++) {
            raws[i] = looper_guest(looper, &seen[i]);
            tcpmsg_conn_ref(seen[i]->conn);
        }
        pair_conns(&conns[0], &conns[1], NULL);
        for (int i = 0; i < 2; i++)
            assert_int_equal(looper_add(looper, conns[i], &nothing), 0);
        (void)looper_dial(looper, "127.0.0.1:1", NULL, &nothing);
        (void)tcpmsg_close(seen[0]->conn);
        tcpmsg_abort(seen[1]->conn);
        looper_settle(looper);
        looper_stop(looper);
        for (int i = 0; i < 3; i++) {
            (void)seen_end(seen[i]);
            tcpmsg_conn_unref(seen[i]->conn);
            assert_int_equal(__real_close(raws[i]), 0);
        }
        looper_finish(looper);
    }
    assert_int_equal(atomic_load(&wrong_closes), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_asked_for_at_any_moment_of_a_pass_is_done),
        cmocka_unit_test(after_a_close_in_on_message_no_other_one_comes),
        cmocka_unit_test(answers_to_what_had_to_wait_leave),
        cmocka_unit_test(an_end_of_ours_comes_while_the_peers_waits),
        cmocka_unit_test(promise_4_a_claim_alone_is_given_no_memory),
        cmocka_unit_test(who_comes_after_an_abort_is_not_let_in),
        cmocka_unit_test(what_is_sent_is_refused_at_some_time),
        cmocka_unit_test(a_stop_keeps_errno_whatever_it_meets),
        cmocka_unit_test(nothing_is_closed_that_is_not_open),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
