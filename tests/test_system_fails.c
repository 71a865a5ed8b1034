/* SPDX-License-Identifier: MIT */
/*
 * Clients and a server, in a system whose calls fail as inject/sweep.c has them fail: whatever
 * came of the client that met it, the next one is served once the fault is over. These tests bear
 * any error; without a sweep they show that they do what they are for.
 */
#define _GNU_SOURCE
#include "inject/calls.h"
#include "looper.h"
#include "reach.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Long enough for what works, short enough for thousands of plays. */
#define LIMIT_MS 250
#define FAULT_MS 300

#define LARGE (200 * KIB)

static uint8_t large[LARGE], got[LARGE];

static const tcpmsg_options *quick(void)
{
    static tcpmsg_options options;
    options = *TCPMSG_OPTIONS(.connect_timeout_ms = LIMIT_MS, .send_timeout_ms = LIMIT_MS,
                              .recv_timeout_ms = LIMIT_MS, .linger_ms = LIMIT_MS);
    return &options;
}

/* Whatever fails for good does so until then: a thread may be inside of that call. */
struct fault {
    pthread_t ends_it;
    atomic_bool over;
    bool lasts;
};

static void *end_later(void *arg)
{
    struct fault *fault = arg;
    int64_t end = now_ms() + FAULT_MS;
    while (!atomic_load(&fault->over) && now_ms() < end)
        sleep_ms(5);
    atomic_store(&injection->on, false);
    return NULL;
}

static void fault_begins(struct fault *fault)
{
    atomic_init(&fault->over, false);
    fault->lasts = true;
    assert_int_equal(pthread_create(&fault->ends_it, NULL, end_later, fault), 0);
}

static void fault_ends(struct fault *fault)
{
    if (!fault->lasts)
        return;
    fault->lasts = false;
    atomic_store(&fault->over, true);
    pthread_join(fault->ends_it, NULL);
}

/* What a client does in its life; each step bears that the one before has failed. */
static void use(tcpmsg_conn *conn)
{
    tcpmsg_info info;
    const void *view;
    (void)!tcpmsg_send(conn, "small", 5, 0);
    (void)!tcpmsg_recv(conn, got, sizeof got, 0);
    (void)!tcpmsg_send(conn, "held", 4, TCPMSG_MORE);
    (void)!tcpmsg_send(conn, large, LARGE, 0);
    (void)!tcpmsg_recv_view(conn, &view, 0);
    (void)!tcpmsg_recv(conn, got, sizeof got, 0);
    (void)!tcpmsg_conn_info(conn, &info, sizeof info);
    (void)!tcpmsg_conn_why(conn);
    tcpmsg_shutdown(conn);
    (void)!tcpmsg_recv(conn, got, sizeof got, 0);
}

static void visit(const char *address)
{
    tcpmsg_conn *conn = NULL;
    if (tcpmsg_dial(&conn, address, quick()) != 0)
        return;
    use(conn);
    tcpmsg_close(conn);
}

/* A client after the fault; the server may need a moment to see that it is over. */
static void visit_in_peace(const char *address)
{
    tcpmsg_conn *conn;
    int64_t begun = now_ms();
    tcpmsg_options options = {
        .size = sizeof options, .connect_timeout_ms = WAIT_MS, .recv_timeout_ms = WAIT_MS};
    assert_int_equal(tcpmsg_dial(&conn, address, &options), 0);
    assert_int_equal(tcpmsg_send(conn, "again", 5, 0), 0);
    assert_int_equal(tcpmsg_recv(conn, got, sizeof got, 0), 5);
    assert_memory_equal(got, "again", 5);
    int64_t served = now_ms() - begun;
    if (served > injection->slowest)
        injection->slowest = (long)served;
    assert_int_equal(tcpmsg_close(conn), 0);
}

/* A server as a reader of the manual would write it: an error of accept is not its end. */
struct server {
    tcpmsg_listener *listener;
    pthread_t thread;
    char address[TCPMSG_ADDRESS_MAX];
};

static void serve(tcpmsg_conn *conn)
{
    const void *message;
    ssize_t length;
    while ((length = tcpmsg_recv_view(conn, &message, 0)) >= 0)
        if (tcpmsg_send(conn, message, (size_t)length, 0) != 0)
            break;
    tcpmsg_close(conn);
}

static void *serve_all(void *arg)
{
    struct server *server = arg;
    tcpmsg_conn *conn = NULL;
    for (int r = 0; r != TCPMSG_ECANCELED;) {
        r = tcpmsg_accept(server->listener, &conn, 0);
        if (r == 0)
            serve(conn);
    }
    return NULL;
}

/* False when it could not be had in this fault. */
static bool server_open(struct server *server, const char *address)
{
    if (tcpmsg_listen(&server->listener, address, quick()) != 0)
        return false;
    if (tcpmsg_listener_address(server->listener, server->address, sizeof server->address) != 0) {
        tcpmsg_listener_close(server->listener);
        return false;
    }
    assert_int_equal(pthread_create(&server->thread, NULL, serve_all, server), 0);
    return true;
}

static void server_close(struct server *server)
{
    tcpmsg_listener_abort(server->listener);
    pthread_join(server->thread, NULL);
    tcpmsg_listener_close(server->listener);
}

static void clients_of(const char *listen_at, const char *dial_host)
{
    struct server server;
    struct fault fault;
    char address[TCPMSG_ADDRESS_MAX + 16];
    fault_begins(&fault);
    if (!server_open(&server, listen_at)) {
        fault_ends(&fault);
        assert_true(server_open(&server, listen_at));
    }
    snprintf(address, sizeof address, "%s%s", dial_host,
             *dial_host ? strrchr(server.address, ':') : server.address);
    visit(address);
    fault_ends(&fault);
    visit_in_peace(address);
    server_close(&server);
}

static void a_blocking_server_of_tcp(void **state)
{
    (void)state;
    clients_of("127.0.0.1:0", "");
}

static void a_blocking_server_that_is_dialled_by_name(void **state)
{
    (void)state;
    clients_of("127.0.0.1:0", "localhost");
}

static void a_blocking_server_of_a_unix_path(void **state)
{
    char folder[PATH_ROOM], address[PATH_ROOM + 16];
    (void)state;
    make_temp_dir(folder);
    snprintf(address, sizeof address, "unix:%s/s", folder);
    clients_of(address, "");
    remove_temp_dir(folder);
}

/* Loops, with each poller. */
static void answer(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    (void)arg;
    (void)!tcpmsg_send(conn, message, length, 0);
}

static void count_close(tcpmsg_conn *conn, int why, void *arg)
{
    (void)conn;
    (void)why;
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void *run_loop(void *loop)
{
    /* Without memory or descriptors for its threads it does not run; then it is tried again. */
    while (tcpmsg_loop_run(loop) == TCPMSG_ENOMEM)
        sleep_ms(1);
    return NULL;
}

static bool loop_serves(tcpmsg_loop **loop, int poller, const char *listen_at,
                        char address[TCPMSG_ADDRESS_MAX])
{
    tcpmsg_listener *listener;
    if (tcpmsg_loop_open(loop, TCPMSG_LOOP_OPTIONS(.poller = poller)) != 0)
        return false;
    if (tcpmsg_listen(&listener, listen_at, quick()) == 0) {
        if (tcpmsg_listener_address(listener, address, TCPMSG_ADDRESS_MAX) == 0 &&
            tcpmsg_loop_listen(*loop, listener, TCPMSG_CALLBACKS(.on_message = answer), NULL) == 0)
            return true;
        tcpmsg_listener_close(listener);
    }
    tcpmsg_loop_close(*loop);
    return false;
}

static void clients_of_a_loop(int poller, const char *listen_at)
{
    tcpmsg_loop *loop;
    struct fault fault;
    char address[TCPMSG_ADDRESS_MAX];
    pthread_t thread;
    fault_begins(&fault);
    if (!loop_serves(&loop, poller, listen_at, address)) {
        fault_ends(&fault);
        assert_true(loop_serves(&loop, poller, listen_at, address));
    }
    assert_int_equal(pthread_create(&thread, NULL, run_loop, loop), 0);
    visit(address);
    fault_ends(&fault);
    visit_in_peace(address);
    tcpmsg_loop_stop(loop);
    pthread_join(thread, NULL);
    tcpmsg_loop_close(loop);
}

static void a_loop_with_epoll(void **state)
{
    (void)state;
    clients_of_a_loop(TCPMSG_POLLER_EPOLL, "127.0.0.1:0");
}

static void a_loop_with_poll(void **state)
{
    (void)state;
    clients_of_a_loop(TCPMSG_POLLER_POLL, "127.0.0.1:0");
}

static void a_loop_at_a_unix_path(void **state)
{
    char folder[PATH_ROOM], address[PATH_ROOM + 16];
    (void)state;
    make_temp_dir(folder);
    snprintf(address, sizeof address, "unix:%s/s", folder);
    clients_of_a_loop(0, address);
    remove_temp_dir(folder);
}

/* A loop that dials and is given connections; each has its one end. */
static void begin_talk(tcpmsg_conn *conn, void *arg)
{
    (void)arg;
    if (tcpmsg_send(conn, large, LARGE, 0) != 0)
        tcpmsg_close(conn); /* it has nothing to say: the server would wait for it */
}

static void end_talk(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    (void)message;
    (void)length;
    (void)arg;
    tcpmsg_close(conn);
}

static void nothing_to_do(void *arg)
{
    (void)arg;
}

static bool all_ended(void *arg)
{
    const atomic_int *counts = arg;
    return counts[0] == counts[1];
}

static void feed_loop(tcpmsg_loop *loop, const char *address, atomic_int counts[2])
{
    const tcpmsg_callbacks *callbacks =
        TCPMSG_CALLBACKS(.on_open = begin_talk, .on_message = end_talk, .on_close = count_close);
    tcpmsg_conn *conn;
    if (tcpmsg_loop_dial(loop, address, quick(), callbacks, &counts[1]) == 0)
        counts[0]++;
    if (tcpmsg_dial(&conn, address, quick()) == 0) {
        if (tcpmsg_loop_add(loop, conn, callbacks, &counts[1]) == 0)
            counts[0]++;
        else
            tcpmsg_close(conn);
    }
    (void)!tcpmsg_loop_post(loop, nothing_to_do, NULL);
    (void)!tcpmsg_loop_after(loop, 1, nothing_to_do, NULL);
}

static void a_loop_that_dials(void **state)
{
    struct server server;
    struct fault fault;
    tcpmsg_loop *loop;
    pthread_t thread;
    atomic_int counts[2] = {0};
    (void)state;
    fault_begins(&fault);
    if (!server_open(&server, "127.0.0.1:0")) {
        fault_ends(&fault);
        assert_true(server_open(&server, "127.0.0.1:0"));
    }
    if (tcpmsg_loop_open(&loop, NULL) != 0) {
        fault_ends(&fault);
        server_close(&server);
        return;
    }
    assert_int_equal(pthread_create(&thread, NULL, run_loop, loop), 0);
    feed_loop(loop, server.address, counts);
    fault_ends(&fault);
    visit_in_peace(server.address);
    assert_true(eventually(all_ended, counts));
    tcpmsg_loop_stop(loop);
    pthread_join(thread, NULL);
    tcpmsg_loop_close(loop);
    server_close(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blocking_server_of_tcp),
        cmocka_unit_test(a_blocking_server_that_is_dialled_by_name),
        cmocka_unit_test(a_blocking_server_of_a_unix_path),
        cmocka_unit_test(a_loop_with_epoll),
        cmocka_unit_test(a_loop_with_poll),
        cmocka_unit_test(a_loop_at_a_unix_path),
        cmocka_unit_test(a_loop_that_dials),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
