/* SPDX-License-Identifier: MIT */
/* Who has a connection at a moment that is hard to meet by chance: a forked child with a thread's
 * half-done work, a loop that wants it while others use it. */
#define _GNU_SOURCE
#include "conn.h"
#include "looper.h"
#include "rare.h"
#include "reach.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static tcpmsg_conn *conn;

static int is_closed(int fd)
{
    return fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

static int close_here(void *arg)
{
    int fd = tcpmsg_conn_fd(arg);
    tcpmsg_abort(arg); /* no word to the peer */
    return tcpmsg_close(arg) == 0 && is_closed(fd) ? 0 : 1;
}

static int close_both_here(void *arg)
{
    int fd = ((tcpmsg_conn *)arg)->fd;
    if (tcpmsg_close(arg) != 0 || !is_closed(fd))
        return 1;
    tcpmsg_conn_unref(arg);
    return 0;
}

/* The lock can't be asked for the descriptor: here it is held for ever. */
static int close_locked_here(void *arg)
{
    int fd = ((tcpmsg_conn *)arg)->fd;
    return tcpmsg_close(arg) == 0 && is_closed(fd) ? 0 : 1;
}

static int unref_here(void *arg)
{
    tcpmsg_conn_unref(arg);
    return 0;
}

static void expect_untouched(int raw)
{
    char text[8];
    assert_true(raw_has_nothing(raw));
    assert_int_equal(tcpmsg_send(conn, "there", 5, 0), 0);
    assert_true(raw_gets(raw, "there"));
    assert_true(raw_send(raw, "hello"));
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
}

static void promise_9_a_child_with_two_references_lets_go(void **state)
{
    (void)state;
    int raw;
    pair(&conn, &raw, NULL);
    assert_int_equal(in_child(close_here, conn), 0);
    tcpmsg_conn_ref(conn);
    assert_int_equal(in_child(close_both_here, conn), 0);
    tcpmsg_conn_unref(conn);
    expect_untouched(raw);
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
}

/* At the moment of the fork another thread had one of the locks. */
static void promise_9_a_child_waits_for_no_lock(void **state)
{
    (void)state;
    int raw;
    for (int which = 0; which < 2; which++) {
        pair(&conn, &raw, NULL);
        tm_mutex *lock = which ? &tm_waiting_of(conn)->lock : &conn->out.lock;
        tm_mutex_lock(lock);
        assert_int_equal(in_child(close_locked_here, conn), 0);
        tm_mutex_unlock(lock);
        expect_untouched(raw);
        assert_int_equal(tcpmsg_close(conn), 0);
        close(raw);
    }
}

static ssize_t send_much(struct call *call)
{
    static uint8_t message[4 * MIB];
    return tcpmsg_send(call->conn, message, sizeof message, 0);
}

static ssize_t receive(struct call *call)
{
    char text[8];
    return tcpmsg_recv(call->conn, text, sizeof text, 0);
}

static void promise_9_a_child_leaves_what_a_thread_was_changing(void **state)
{
    (void)state;
    struct call sending = {.body = send_much}, receiving = {.body = receive};
    struct reader reader = {0};
    int raw;
    pair(&conn, &raw, NULL);
    receiving.conn = sending.conn = conn;
    call_start_asleep(&receiving);
    assert_int_equal(in_child(close_locked_here, conn), 0);
    call_start_asleep(&sending);
    assert_int_equal(in_child(close_locked_here, conn), 0);
    reader_start(&reader, raw);
    assert_int_equal(call_finish(&sending), 0);
    assert_true(raw_send(raw, "hello"));
    assert_int_equal(call_finish(&receiving), 5);
    assert_int_equal(tcpmsg_close(conn), 0);
    reader_finish(&reader);
    assert_int_equal(reader.got.count, 4 + 4 * MIB);
    wire_free(&reader.got);
    close(raw);
}

/* One that was made for a loop has no locks but the sending one. */
static void promise_9_a_child_drops_a_loops_connection(void **state)
{
    (void)state;
    tm_settings *settings;
    tm_story story;
    assert_int_equal(tm_settings_make(&settings, NULL, &story), 0);
    conn = tm_conn_make_kept(settings, NULL, false);
    assert_non_null(conn);
    assert_int_equal(in_child(unref_here, conn), 0);
    conn->out.busy = true; /* as if the loop's thread were writing */
    assert_int_equal(in_child(unref_here, conn), 0);
    conn->out.busy = false;
    tm_conn_free(conn);
    tm_settings_unref(settings);
}

static const tcpmsg_callbacks none = {.size = sizeof none};

static void expect_not_taken(tcpmsg_loop *loop, int error)
{
    assert_string_equal(tcpmsg_error_name(tcpmsg_loop_add(loop, conn, &none, NULL)),
                        tcpmsg_error_name(error));
}

static void a_loop_takes_nothing_that_is_in_use(void **state)
{
    (void)state;
    struct call sending = {.body = send_much};
    struct looper *looper = looper_open(NULL);
    int raw;
    pair(&conn, &raw, NULL);
    sending.conn = conn;
    call_start_asleep(&sending);
    expect_not_taken(looper->loop, TCPMSG_EINVAL);
    tcpmsg_abort(conn);
    assert_code(call_finish(&sending), TCPMSG_ECANCELED);
    expect_not_taken(looper->loop, TCPMSG_ECANCELED);
    tcpmsg_close(conn);
    close(raw);
    looper_finish(looper);
}

/* Threads that are on their way to a turn that is free. */
static void a_loop_takes_nothing_whose_turn_is_left_to_others(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    int raw;
    pair(&conn, &raw, NULL);
    tm_waiting *waiting = tm_waiting_of(conn);
    waiting->senders = 1;
    expect_not_taken(looper->loop, TCPMSG_EINVAL);
    waiting->senders = 0;
    waiting->waiting = 1;
    expect_not_taken(looper->loop, TCPMSG_EINVAL);
    waiting->waiting = 0;
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
    looper_finish(looper);
}

/* The sending had ended for a reason of its own when somebody aborted. */
static void a_loop_takes_nothing_that_was_aborted_after_a_reset(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    int raw;
    pair(&conn, &raw, NULL);
    rare_fails(RARE_send, -1, ECONNRESET, 0, 1);
    assert_code(tcpmsg_send(conn, "lost", 4, 0), TCPMSG_ERESET);
    assert_int_equal(rare_over(), 1);
    tcpmsg_abort(conn);
    expect_not_taken(looper->loop, TCPMSG_ECANCELED);
    tcpmsg_close(conn);
    close(raw);
    looper_finish(looper);
}

static int abort_behind_send(const struct rare *now)
{
    if (now->call == RARE_send && now->behind)
        tcpmsg_abort(conn);
    return 0;
}

/* What it had held back is out, or is not, when the connection ends: there is no FIN any more. */
static void a_shutdown_that_meets_the_end_tells_it(void **state)
{
    (void)state;
    int raw;
    pair_unix(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(conn, "held", 4, TCPMSG_MORE), 0);
    rarely = abort_behind_send;
    assert_code(tcpmsg_shutdown(conn), TCPMSG_ECANCELED);
    rare_over();
    assert_true(raw_gets(raw, "held"));
    tcpmsg_close(conn);
    close(raw);
    pair_unix(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_send(conn, "lost", 4, TCPMSG_MORE), 0);
    rare_fails(RARE_send, -1, ECONNRESET, 0, 1);
    assert_code(tcpmsg_shutdown(conn), TCPMSG_ERESET);
    assert_int_equal(rare_over(), 1);
    tcpmsg_close(conn);
    close(raw);
}

/* A listener that a child was given: it has no wake there, and can't have one. */
static int listen_in_child(void *arg)
{
    tcpmsg_loop *loop;
    tcpmsg_listener_abort(NULL);
    if (tcpmsg_loop_open(&loop, NULL) != 0)
        return 1;
    rare_fails(RARE_eventfd, -1, EMFILE, 0, 1);
    int r = tcpmsg_loop_listen(loop, arg, &none, NULL);
    bool failed = rare_over() == 1;
    tcpmsg_loop_close(loop);
    return r < 0 && failed ? 0 : 2;
}

static void a_child_without_descriptors_has_no_door(void **state)
{
    (void)state;
    tcpmsg_listener *listener = listen_at("127.0.0.1:0");
    assert_int_equal(in_child(listen_in_child, listener), 0);
    tcpmsg_listener_close(listener);
}

static tcpmsg_listener *given;
static pthread_t second;
static atomic_int naps;

static void *accept_given(void *arg)
{
    (void)arg;
    tcpmsg_conn *accepted;
    return tcpmsg_accept(given, &accepted, 0) == 0 ? accepted : NULL;
}

static bool second_naps(void *arg)
{
    (void)arg;
    return atomic_load(&naps) > 0;
}

/* The first is about to have its wake when the second comes; nobody has dialled before. */
static int come_second(const struct rare *now)
{
    char address[TCPMSG_ADDRESS_MAX];
    if (now->call == RARE_poll && !now->behind && now->what == 0)
        atomic_fetch_add(&naps, 1);
    if (now->call != RARE_eventfd || now->behind)
        return 0;
    tcpmsg_listener_address(given, address, sizeof address);
    return pthread_create(&second, NULL, accept_given, NULL) == 0 &&
                   eventually(second_naps, NULL) && raw_dial(address) >= 0 && raw_dial(address) >= 0
               ? 0
               : EIO;
}

static int accept_twice(void *arg)
{
    void *other = NULL;
    given = arg;
    rarely = come_second;
    tcpmsg_conn *mine = accept_given(NULL);
    if (atomic_load(&naps) == 0 || pthread_join(second, &other) != 0)
        return 1;
    return mine && other && tcpmsg_close(mine) == 0 && tcpmsg_close(other) == 0 ? 0 : 2;
}

static void promise_9_two_threads_of_a_child_accept_at_once(void **state)
{
    (void)state;
    tcpmsg_listener *listener = listen_at("127.0.0.1:0");
    assert_int_equal(in_child(accept_twice, listener), 0);
    tcpmsg_listener_close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_9_a_child_with_two_references_lets_go),
        cmocka_unit_test(promise_9_a_child_waits_for_no_lock),
        cmocka_unit_test(promise_9_a_child_leaves_what_a_thread_was_changing),
        cmocka_unit_test(promise_9_a_child_drops_a_loops_connection),
        cmocka_unit_test(a_loop_takes_nothing_that_is_in_use),
        cmocka_unit_test(a_loop_takes_nothing_whose_turn_is_left_to_others),
        cmocka_unit_test(a_loop_takes_nothing_that_was_aborted_after_a_reset),
        cmocka_unit_test(a_shutdown_that_meets_the_end_tells_it),
        cmocka_unit_test(a_child_without_descriptors_has_no_door),
        cmocka_unit_test(promise_9_two_threads_of_a_child_accept_at_once),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
