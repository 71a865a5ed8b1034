/* SPDX-License-Identifier: MIT */
/* A loop's options and callbacks: sizes, ranges, copies; and nonsense to every function. */
#define _GNU_SOURCE
#include "guest.h"
#include "reach.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NO_LOOP ((tcpmsg_loop *)(void *)&nowhere)

static int open_with(const tcpmsg_loop_options *options)
{
    tcpmsg_loop *loop = NO_LOOP;
    int result = tcpmsg_loop_open(&loop, options);
    if (result == 0)
        tcpmsg_loop_close(loop);
    else
        assert_ptr_equal(loop, NO_LOOP);
    return result;
}

static void defaults_are_fine(void **state)
{
    (void)state;
    int before = open_descriptors();
    const tcpmsg_loop_options zero = {0};
    assert_int_equal(open_with(NULL), 0);
    assert_int_equal(open_with(&zero), 0);
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.threads = 0)), 0);
    assert_int_equal(open_descriptors(), before);
    assert_code(tcpmsg_loop_open(NULL, NULL), TCPMSG_EINVAL);
}

static void what_is_in_range_is_taken(void **state)
{
    (void)state;
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.threads = 64)), 0);
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.max_conns = 1)), 0);
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.max_conns = INT_MAX)), 0);
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.max_conns = TCPMSG_NO_LIMIT)), 0);
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.high_water = 1)), 0);
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = TCPMSG_NO_LIMIT)), 0);
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = INT_MAX)), 0);
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.memory_budget = 1)), 0);
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.spin_us = 1)), 0);
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.poller = TCPMSG_POLLER_POLL)), 0);
#ifdef __linux__
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.poller = TCPMSG_POLLER_EPOLL)), 0);
#endif
#ifdef TM_KQUEUE
    assert_int_equal(open_with(TCPMSG_LOOP_OPTIONS(.poller = TCPMSG_POLLER_KQUEUE)), 0);
#else
    assert_code(open_with(TCPMSG_LOOP_OPTIONS(.poller = TCPMSG_POLLER_KQUEUE)), TCPMSG_EINVAL);
#endif
}

static void what_is_out_of_range_is_EINVAL(void **state)
{
    (void)state;
    assert_code(open_with(TCPMSG_LOOP_OPTIONS(.threads = -1)), TCPMSG_EINVAL);
    assert_code(open_with(TCPMSG_LOOP_OPTIONS(.threads = 1025)), TCPMSG_EINVAL);
    assert_code(open_with(TCPMSG_LOOP_OPTIONS(.threads = INT_MIN)), TCPMSG_EINVAL);
    assert_code(open_with(TCPMSG_LOOP_OPTIONS(.max_conns = -2)), TCPMSG_EINVAL);
    assert_code(open_with(TCPMSG_LOOP_OPTIONS(.idle_timeout_ms = -2)), TCPMSG_EINVAL);
    assert_code(open_with(TCPMSG_LOOP_OPTIONS(.spin_us = -2)), TCPMSG_EINVAL);
    assert_code(open_with(TCPMSG_LOOP_OPTIONS(.poller = 4)), TCPMSG_EINVAL);
    assert_code(open_with(TCPMSG_LOOP_OPTIONS(.poller = -1)), TCPMSG_EINVAL);
}

/* A program of a later release, and one that forgot the size. */
struct later_options {
    tcpmsg_loop_options known;
    long tail[2];
};

static void sizes_of_other_releases(void **state)
{
    (void)state;
    struct later_options later = {.known = {.size = sizeof later}};
    assert_int_equal(open_with(&later.known), 0);
    later.tail[1] = 1;
    assert_code(open_with(&later.known), TCPMSG_EINVAL);
    tcpmsg_loop_options options = {.size = 0, .threads = -1};
    assert_code(open_with(&options), TCPMSG_EINVAL);
    options = (tcpmsg_loop_options){.size = 1};
    assert_code(open_with(&options), TCPMSG_EINVAL);
    options.size = SIZE_MAX;
    assert_code(open_with(&options), TCPMSG_EINVAL);
}

struct later_callbacks {
    tcpmsg_callbacks known;
    void (*tail)(void);
};

static void some_call(void)
{
}

static int listen_with(tcpmsg_loop *loop, const tcpmsg_callbacks *callbacks)
{
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    int result = tcpmsg_loop_listen(loop, listener, callbacks, NULL);
    if (result != 0) {
        expect_reachable(listener, address);
        tcpmsg_listener_close(listener);
    }
    return result;
}

static void sizes_of_callbacks(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    struct later_callbacks later = {.known = {.size = sizeof later}};
    const tcpmsg_callbacks zero = {0}, odd = {.size = 3};
    assert_int_equal(listen_with(looper->loop, &zero), 0);
    assert_int_equal(listen_with(looper->loop, &later.known), 0);
    later.tail = some_call;
    assert_code(listen_with(looper->loop, &later.known), TCPMSG_EINVAL);
    assert_code(listen_with(looper->loop, &odd), TCPMSG_EINVAL);
    assert_code(listen_with(looper->loop, NULL), TCPMSG_EINVAL);
    looper_finish(looper);
}

static void nothing_to_call(void *arg)
{
    (void)arg;
}

static void a_null_where_a_thing_is_needed_is_EINVAL(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    tcpmsg_loop *loop = looper->loop;
    const tcpmsg_callbacks *calls = TCPMSG_CALLBACKS(.on_open = NULL);
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    assert_code(listen_with(NULL, calls), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_listen(loop, NULL, calls, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_dial(NULL, "127.0.0.1:1", NULL, calls, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_dial(loop, NULL, NULL, calls, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_dial(loop, "127.0.0.1:1", NULL, NULL, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_add(NULL, conn, calls, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_add(loop, NULL, calls, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_add(loop, conn, NULL, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_post(NULL, nothing_to_call, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_post(loop, NULL, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_after(NULL, 1, nothing_to_call, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_after(loop, 1, NULL, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_after(loop, -1, nothing_to_call, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_after(loop, INT_MIN, nothing_to_call, NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_loop_run(NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_pause(NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_resume(NULL), TCPMSG_EINVAL);
    tcpmsg_loop_stop(NULL);
    tcpmsg_loop_close(NULL);
    char text[8];
    assert_true(raw_send(raw, "mine"));
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 4);
    tcpmsg_close(conn);
    close(raw);
    looper_finish(looper);
}

static atomic_int called;

static void echo_plainly(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    atomic_fetch_add(&called, arg == &called);
    (void)!tcpmsg_send(conn, message, length, 0);
}

/* What the caller does with its own afterwards is no matter. */
static void options_and_callbacks_are_copied(void **state)
{
    (void)state;
    tcpmsg_loop_options options = {.size = sizeof options, .high_water = 100000};
    tcpmsg_callbacks calls = {.size = sizeof calls, .on_message = echo_plainly};
    tcpmsg_loop *loop;
    tcpmsg_listener *listener;
    char address[TCPMSG_ADDRESS_MAX];
    assert_int_equal(tcpmsg_loop_open(&loop, &options), 0);
    memset(&options, 0xFF, sizeof options);
    listener = listen_at_a_free_port(address);
    assert_int_equal(tcpmsg_loop_listen(loop, listener, &calls, &called), 0);
    memset(&calls, 0xFF, sizeof calls);
    struct looper looper = {.loop = loop};
    looper_start(&looper);
    int raw = raw_reach(address);
    assert_true(raw_send(raw, "hello") && raw_gets(raw, "hello"));
    assert_int_equal(atomic_load(&called), 1);
    close(raw);
    looper_stop(&looper);
    tcpmsg_loop_close(loop);
}

static void each_poller_and_a_spinning_loop_serve(void **state)
{
    (void)state;
    static const int pollers[] = {
        0,
        TCPMSG_POLLER_POLL,
#ifdef __linux__
        TCPMSG_POLLER_EPOLL,
#endif
#ifdef TM_KQUEUE
        TCPMSG_POLLER_KQUEUE,
#endif
    };
    for (size_t i = 0; i < 2 * COUNT(pollers); i++) {
        struct looper *looper = looper_serve(
            TCP, &echo, TCPMSG_LOOP_OPTIONS(.poller = pollers[i / 2], .spin_us = i % 2 ? 2000 : 0),
            NULL);
        int raws[50];
        for (int guest = 0; guest < 50; guest++)
            raws[guest] = looper_guest(looper, NULL);
        for (int guest = 49; guest >= 0; guest--)
            assert_true(raw_send(raws[guest], "x") && raw_gets(raws[guest], "x"));
        for (int guest = 0; guest < 50; guest++)
            close(raws[guest]);
        looper_finish(looper);
    }
}

static bool is_inherited(int fd)
{
    int flags = fcntl(fd, F_GETFD);
    return flags >= 0 && !(flags & FD_CLOEXEC);
}

/* Whatever a loop opens: its own, its connections', those it has dialled. */
static void promise_10_every_descriptor_is_close_on_exec(void **state)
{
    (void)state;
    bool before[1024];
    for (int fd = 0; fd < 1024; fd++)
        before[fd] = is_inherited(fd);
    struct looper *looper = looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.threads = 3), NULL);
    struct looper *clients = looper_open(NULL);
    looper_start(clients);
    for (int i = 0; i < 10; i++)
        assert_int_equal(looper_dial(clients, looper->address, NULL, &echo), 0);
    assert_true(reaches(&looper->count, 10) && reaches(&clients->count, 10));
    for (int fd = 0; fd < 1024; fd++)
        assert_int_equal(is_inherited(fd), before[fd]);
    looper_finish(clients);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_fine),
        cmocka_unit_test(what_is_in_range_is_taken),
        cmocka_unit_test(what_is_out_of_range_is_EINVAL),
        cmocka_unit_test(sizes_of_other_releases),
        cmocka_unit_test(sizes_of_callbacks),
        cmocka_unit_test(a_null_where_a_thing_is_needed_is_EINVAL),
        cmocka_unit_test(options_and_callbacks_are_copied),
        cmocka_unit_test(each_poller_and_a_spinning_loop_serve),
        cmocka_unit_test(promise_10_every_descriptor_is_close_on_exec),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
