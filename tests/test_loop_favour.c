/* SPDX-License-Identifier: MIT */
/* Who reads on while memory is short, and who gives way; at moments hard to meet by chance. */
#define _GNU_SOURCE
#include "guest.h"
#include "loop.h"
#include "rare.h"

#include <errno.h>
#include <unistd.h>

static atomic_int watched_fd;

enum { BUDGET = 64 * 1024, IDLE = 14, PART = 60000 };

/* What the loop's own thread says of a connection. */
struct look {
    struct looper *looper;
    tcpmsg_conn *conn;
    atomic_int looked;
    bool favoured;
    bool starved;
};

static void look(void *arg)
{
    struct look *it = arg;
    it->favoured = it->looper->loop->threads[0].favoured == it->conn;
    it->starved = tm_member_of(it->conn)->starved;
    atomic_fetch_add(&it->looked, 1);
}

static void take_look(struct look *it)
{
    int before = atomic_load(&it->looked);
    assert_int_equal(tcpmsg_loop_post(it->looper->loop, look, it), 0);
    assert_true(reaches(&it->looked, before + 1));
}

static bool is_favoured(void *it)
{
    take_look(it);
    return ((struct look *)it)->favoured;
}

static bool is_starved(void *it)
{
    take_look(it);
    return ((struct look *)it)->starved;
}

/* A loop with little memory, whose favoured connection is one of many. */
struct favour {
    struct looper *looper;
    int idle[IDLE], first, second;
    struct look favoured, rival;
    struct wire wire;
};

static void favour_begin(struct favour *it, size_t length, size_t part)
{
    struct seen *seen;
    *it = (struct favour){.looper = NULL};
    it->looper = looper_serve(TCP, &nothing, TCPMSG_LOOP_OPTIONS(.memory_budget = BUDGET), NULL);
    for (int i = 0; i < IDLE; i++)
        it->idle[i] = looper_guest(it->looper, NULL);
    it->first = looper_guest(it->looper, &seen);
    it->favoured = (struct look){.looper = it->looper, .conn = seen->conn};
    it->second = looper_guest(it->looper, &seen);
    it->rival = (struct look){.looper = it->looper, .conn = seen->conn};
    wire_add_filled(&it->wire, NULL, length, 1);
    assert_true(write_all(it->first, it->wire.bytes, part));
    assert_true(eventually(is_favoured, &it->favoured));
}

static void favour_end(struct favour *it)
{
    for (int i = 0; i < IDLE; i++)
        close(it->idle[i]);
    close(it->first);
    close(it->second);
    wire_free(&it->wire);
    looper_finish(it->looper);
}

static void allow_most(void *arg)
{
    tm_thread *thread = &((struct favour *)arg)->looper->loop->threads[0];
    thread->budget = thread->held - thread->held / 4;
}

/* What they hold is not twice the budget: the favour passes on, and nobody is ended. */
static void the_favour_passes_on_while_memory_lasts(void **state)
{
    (void)state;
    struct favour it;
    favour_begin(&it, MIB, 4 * PART);
    assert_int_equal(tcpmsg_loop_post(it.looper->loop, allow_most, &it), 0);
    looper_settle(it.looper);
    assert_true(write_all(it.second, it.wire.bytes, 4 * PART));
    assert_true(eventually(is_favoured, &it.rival));
    looper_settle(it.looper);
    assert_int_equal(atomic_load(&looper_seen(it.looper, IDLE)->closes), 0);
    favour_end(&it);
}

/* Who is paused does not get on, but that is not its fault. */
static void promise_4_who_is_paused_does_not_give_way(void **state)
{
    (void)state;
    struct favour it;
    favour_begin(&it, MIB, 4 * PART);
    assert_int_equal(tcpmsg_pause(it.favoured.conn), 0);
    assert_true(write_all(it.second, it.wire.bytes, PART));
    assert_true(eventually(is_favoured, &it.rival));
    assert_int_equal(atomic_load(&looper_seen(it.looper, IDLE)->closes), 0);
    favour_end(&it);
}

static void forget_progress(void *arg)
{
    tm_thread *thread = &((struct favour *)arg)->looper->loop->threads[0];
    thread->favoured_len = tm_buffer_len(&thread->favoured->in.buffer);
}

/* ... and who was aborted has its end already. */
static void who_was_aborted_does_not_give_way(void **state)
{
    (void)state;
    struct favour it;
    favour_begin(&it, MIB, 4 * PART);
    assert_true(write_all(it.second, it.wire.bytes, 4 * KIB)); /* what everybody may hold */
    assert_int_equal(tcpmsg_loop_post(it.looper->loop, forget_progress, &it), 0);
    looper_settle(it.looper);
    looper_hold(it.looper);
    sleep_ms(1100); /* its time as the favoured one */
    tcpmsg_abort(it.favoured.conn);
    assert_true(write_all(it.second, it.wire.bytes + 4 * KIB, 1000));
    looper_go_on(it.looper);
    assert_code(seen_end(looper_seen(it.looper, IDLE)), TCPMSG_ECANCELED);
    assert_int_equal(atomic_load(&looper_seen(it.looper, IDLE + 1)->closes), 0);
    favour_end(&it);
}

static int writes_fail(const struct rare *now)
{
    return now->call == RARE_send && now->fd == watched_fd ? ECONNRESET : 0;
}

/* It is not read from for lack of memory, and its sending ends: what had come is read. */
static void a_starved_one_whose_sending_ends_is_read_to_its_end(void **state)
{
    (void)state;
    struct favour it;
    favour_begin(&it, MIB, 4 * PART);
    assert_true(write_all(it.second, it.wire.bytes, PART));
    assert_true(eventually(is_starved, &it.rival));
    watched_fd = tcpmsg_conn_fd(it.rival.conn);
    rarely = writes_fail;
    assert_int_equal(tcpmsg_send(it.rival.conn, "x", 1, 0), 0);
    assert_code(seen_end(looper_seen(it.looper, IDLE + 1)), TCPMSG_ERESET);
    rare_over();
    favour_end(&it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_favour_passes_on_while_memory_lasts),
        cmocka_unit_test(promise_4_who_is_paused_does_not_give_way),
        cmocka_unit_test(who_was_aborted_does_not_give_way),
        cmocka_unit_test(a_starved_one_whose_sending_ends_is_read_to_its_end),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
