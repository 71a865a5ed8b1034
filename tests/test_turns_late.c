/* SPDX-License-Identifier: MIT */
/* A thread that waits for its turn, and is slow to wake: what has happened to the connection
 * meanwhile must not be waited for again. */
#define _GNU_SOURCE
#include "peer.h"

#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The seam: while it is set, this thread does not come back from a sleep on a futex. */
static _Thread_local bool slow;
static atomic_bool hold_slow_ones;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

static long futex(va_list *arguments)
{
    void *word = va_arg(*arguments, void *);
    int operation = va_arg(*arguments, int);
    unsigned value = va_arg(*arguments, unsigned);
    void *until = va_arg(*arguments, void *);
    void *other = va_arg(*arguments, void *);
    unsigned bits = va_arg(*arguments, unsigned);
    long r = __real_syscall(SYS_futex, word, operation, value, until, other, bits);
    bool slept = (operation & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
    while (slept && slow && atomic_load(&hold_slow_ones))
        sleep_ms(1);
    return r;
}

long __wrap_syscall(long number, ...)
{
    va_list arguments;
    long r;
    va_start(arguments, number);
    if (number == SYS_futex) {
        r = futex(&arguments);
    } else { /* none of the others has more */
        long one = va_arg(arguments, long), two = va_arg(arguments, long);
        r = __real_syscall(number, one, two, va_arg(arguments, long));
    }
    va_end(arguments);
    return r;
}

static ssize_t send_giant(struct call *call)
{
    uint8_t *giant = calloc(1, 4 * MIB);
    ssize_t r = giant ? tcpmsg_send(call->conn, giant, 4 * MIB, 0) : TCPMSG_ENOMEM;
    free(giant);
    return r;
}

static ssize_t slow_shutdown(struct call *call)
{
    slow = true;
    return tcpmsg_shutdown(call->conn);
}

static ssize_t slow_flush(struct call *call)
{
    slow = true;
    return tcpmsg_flush(call->conn, 0);
}

static ssize_t slow_send(struct call *call)
{
    static const uint8_t much[100000]; /* too much to leave to who has the turn */
    slow = true;
    return tcpmsg_send(call->conn, much, sizeof much, 0);
}

/* It wakes when the connection is closed, and all of what it waited for was done by others. */
static ssize_t late_answer(ssize_t (*body)(struct call *), bool aborted)
{
    struct call giant = {.body = send_giant}, late = {.body = body};
    struct reader reader = {0};
    int raw;
    pair_small(&giant.conn, &raw, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
    jam(giant.conn);
    late.conn = tcpmsg_conn_ref(giant.conn);
    tcpmsg_conn_ref(giant.conn);
    call_start_asleep(&giant);
    call_start_asleep(&late);
    atomic_store(&hold_slow_ones, true);
    reader_start(&reader, raw);
    if (aborted)
        tcpmsg_abort(giant.conn);
    int closed = tcpmsg_close(giant.conn);
    ssize_t sent = call_finish(&giant);
    atomic_store(&hold_slow_ones, false);
    ssize_t answer = call_finish(&late);
    reader_finish(&reader);
    assert_true(aborted || (closed == 0 && sent == 0 && reader.end == 0));
    tcpmsg_conn_unref(giant.conn);
    tcpmsg_conn_unref(late.conn);
    wire_free(&reader.got);
    close(raw);
    return answer;
}

static void promise_7_a_shutdown_ends_when_another_thread_has_closed(void **state)
{
    (void)state;
    ssize_t answer = late_answer(slow_shutdown, false);
    assert_true(answer == 0 || answer == TCPMSG_ECANCELED);
    assert_code(late_answer(slow_shutdown, true), TCPMSG_ECANCELED);
}

static void promise_7_a_flush_ends_when_another_thread_has_closed(void **state)
{
    (void)state;
    ssize_t answer = late_answer(slow_flush, false);
    assert_true(answer == 0 || answer == TCPMSG_ECANCELED);
    assert_code(late_answer(slow_flush, true), TCPMSG_ECANCELED);
}

static void promise_7_a_send_ends_when_another_thread_has_closed(void **state)
{
    (void)state;
    ssize_t answer = late_answer(slow_send, false);
    assert_true(answer == TCPMSG_ECLOSED || answer == TCPMSG_ECANCELED);
    assert_code(late_answer(slow_send, true), TCPMSG_ECANCELED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_7_a_shutdown_ends_when_another_thread_has_closed),
        cmocka_unit_test(promise_7_a_flush_ends_when_another_thread_has_closed),
        cmocka_unit_test(promise_7_a_send_ends_when_another_thread_has_closed),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
