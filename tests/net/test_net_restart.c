/* SPDX-License-Identifier: MIT */
/* A server that begins again at its port while the system still remembers the old one. */
#include "child.h"
#include "looper.h"
#include "rounds.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TIMES 10 /* TESTS_ROUNDS has more of them */

#define BOUND_MS 15000

/* How many of THERE's connections from or to the port are in that state of tcp(7), as
 * /proc/net/tcp numbers it. */
#define TIME_WAIT 6
static int count_state(const char *address, unsigned wanted)
{
    char line[256];
    unsigned at = 0, port, state;
    int count = 0;
    assert_int_equal(sscanf(strrchr(address, ':'), ":%u", &at), 1);
    net_go(THERE);
    FILE *file = fopen("/proc/thread-self/net/tcp", "r");
    net_go(HERE);
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        count += sscanf(line, " %*d: %*8x:%x %*8x:%*x %x", &port, &state) == 2 && port == at &&
                 state == wanted;
    fclose(file);
    return count;
}

static void expect_echo_of(tcpmsg_conn *conn, const char *text)
{
    char back[16] = "";
    size_t length = strlen(text);
    assert_int_equal(tcpmsg_send(conn, text, length, 0), 0);
    assert_int_equal(tcpmsg_recv(conn, back, sizeof back, 0), length);
    assert_memory_equal(back, text, length);
}

static tcpmsg_conn *dial(const char *address)
{
    tcpmsg_conn *conn;
    int error = tcpmsg_dial(&conn, address, TCPMSG_OPTIONS(.keepalive_s = 1));
    assert_code(error, TCPMSG_OK);
    return conn;
}

static void greet(struct seen *seen)
{
    seen_send(seen, "hello", 5, 0);
}

static const struct acts greets = {.on_open = greet};

static bool has_time_wait(void *address)
{
    return count_state(address, TIME_WAIT) > 0;
}

/* Who closes first keeps the connection in TIME-WAIT. */
static void leave_in_time_wait(char *address)
{
    tcpmsg_listener *listener = net_listen_at(address, NULL);
    tcpmsg_conn *there, *here = dial(address);
    char text[4];
    assert_int_equal(tcpmsg_accept(listener, &there, 0), 0);
    assert_int_equal(tcpmsg_close(there), 0);
    assert_code(tcpmsg_recv(here, text, sizeof text, 0), TCPMSG_EOF);
    assert_int_equal(tcpmsg_close(here), 0);
    tcpmsg_listener_close(listener);
    assert_true(eventually(has_time_wait, address));
}

static void a_server_listens_again_beside_what_is_in_TIME_WAIT(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    int times = (int)test_rounds(TIMES);
    tcpmsg_listener_close(net_listen(THERE_V4, NULL, address));
    for (int i = 0; i < times; i++)
        leave_in_time_wait(address);
    print_message("%d times anew, with %d connections in TIME-WAIT\n", times,
                  count_state(address, TIME_WAIT));
}

/* The same client's port, too: the system takes the new connection for what it is. */
static void a_client_comes_again_from_the_port_that_is_in_TIME_WAIT(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener_close(net_listen(THERE_V4, NULL, address));
    net_set(HERE, "ipv4/ip_local_port_range", "50000 50000");
    for (int i = 0; i < 3; i++)
        leave_in_time_wait(address);
    net_set(HERE, "ipv4/ip_local_port_range", "32768 60999");
    assert_int_equal(count_state(address, TIME_WAIT), 1);
}

static void a_server_that_was_killed_serves_again_at_once(void **state)
{
    (void)state;
    struct child child;
    int times = (int)test_rounds(TIMES), most = 0;
    char address[TCPMSG_ADDRESS_MAX], text[4];
    tcpmsg_listener_close(net_listen(THERE_V4, NULL, address));
    child_start(&child, address);
    struct looper *looper = looper_open(NULL);
    looper_start(looper);
    for (int i = 0; i < times; i++) {
        tcpmsg_conn *conn = dial(address);
        expect_echo_of(conn, "before");
        assert_int_equal(looper_dial(looper, address, NULL, &greets), 0);
        struct seen *seen = looper_seen(looper, i);
        seen_messages(seen, 1); /* so it was accepted */
        child_end(&child);
        int64_t began = now_ms();
        child_start(&child, address);
        tcpmsg_conn *next = dial(address);
        expect_echo_of(next, "after");
        int ms = (int)(now_ms() - began);
        most = ms > most ? ms : most;
        assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_EOF);
        assert_code(seen_end(seen), TCPMSG_EOF);
        assert_int_equal(tcpmsg_close(conn), 0);
        assert_int_equal(tcpmsg_close(next), 0);
    }
    print_message("killed %d times, and served again within %d ms\n", times, most);
    looper_finish(looper);
    child_end(&child);
}

/* Three clients of a machine that loses its power: one sends, one only waits, one is a loop's. */
struct clients {
    tcpmsg_conn *sends, *waits;
    struct looper *looper;
    struct call waiting;
};

static ssize_t receive(struct call *call)
{
    const void *view;
    return tcpmsg_recv_view(call->conn, &view, 0);
}

static void clients_begin(struct clients *clients, const char *address)
{
    *clients = (struct clients){.sends = dial(address), .waits = dial(address)};
    clients->looper = looper_open(NULL);
    assert_int_equal(looper_add(clients->looper, dial(address), NULL), 0);
    looper_start(clients->looper);
    clients->waiting = (struct call){.body = receive, .conn = clients->waits};
    call_start_asleep(&clients->waiting);
}

static void clients_expect_reset(struct clients *clients)
{
    int64_t began = now_ms();
    int error = tcpmsg_send(clients->sends, "hello", 5, 0);
    assert_true(error == 0 || error == TCPMSG_ERESET); /* a keepalive may have been faster */
    assert_code(receive(&(struct call){.conn = clients->sends}), TCPMSG_ERESET);
    net_took(began, "who sends is told of the reset");
    assert_code(call_finish(&clients->waiting), TCPMSG_ERESET);
    net_took(began, "who only waits, by the keepalive,");
    assert_code(seen_end(looper_seen(clients->looper, 0)), TCPMSG_ERESET);
    assert_true(net_took(began, "a loop") < BOUND_MS);
    assert_true(says(tcpmsg_conn_why(clients->sends), "reset"));
    assert_true(says(tcpmsg_conn_why(clients->waits), "reset"));
    assert_code(tcpmsg_close(clients->sends), TCPMSG_ERESET);
    tcpmsg_close(clients->waits);
    looper_finish(clients->looper);
}

/* Nothing of the old machine's end arrives, and the new one knows of no connection. */
static void connections_from_before_a_crash_get_their_reset(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    struct clients clients;
    tcpmsg_conn *there[3];
    tcpmsg_listener *listener = net_listen(THERE_V4, NULL, address);
    clients_begin(&clients, address);
    for (size_t i = 0; i < COUNT(there); i++)
        assert_int_equal(tcpmsg_accept(listener, &there[i], 0), 0);
    cable_set(&(struct cable){.cut = true});
    for (size_t i = 0; i < COUNT(there); i++) {
        tcpmsg_abort(there[i]);
        tcpmsg_close(there[i]);
    }
    tcpmsg_listener_close(listener);
    listener = net_listen_at(address, NULL);
    cable_set(&(struct cable){0});
    tcpmsg_conn *conn = dial(address);
    clients_expect_reset(&clients);
    assert_int_equal(tcpmsg_close(conn), 0);
    tcpmsg_listener_close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_server_listens_again_beside_what_is_in_TIME_WAIT, net_mend),
        cmocka_unit_test_setup(a_client_comes_again_from_the_port_that_is_in_TIME_WAIT, net_mend),
        cmocka_unit_test_setup(a_server_that_was_killed_serves_again_at_once, net_mend),
        cmocka_unit_test_setup(connections_from_before_a_crash_get_their_reset, net_mend),
    };
    net_open();
    if (!is_soak())
        alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
