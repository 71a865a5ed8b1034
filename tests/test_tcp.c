/* SPDX-License-Identifier: MIT */
/*
 * What each call does to TCP's state machine: every state that docs/tcp.md shows, as the kernel
 * tells it in TCP_INFO and in /proc/net/tcp, and as tcpmsg_conn_info names it.
 */
#define _GNU_SOURCE
#include "support.h"

#ifdef __linux__

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOT_THERE 0 /* the table has no such row */
#define ANY_PORT 0

/* More than a peer with a small window takes, less than a send buffer holds. */
#define MUCH ((size_t)64 << 10)

/* One side of a connection, and the ports by which the kernel's table knows it. */
struct side {
    tcpmsg_conn *conn;
    unsigned port;
    unsigned peer_port;
};

/* Two of ours, connected. */
struct net {
    tcpmsg_listener *listener;
    char address[TCPMSG_ADDRESS_MAX];
    struct side client;
    struct side server;
};

static const char *const names[] = {
    [TCP_ESTABLISHED] = "ESTABLISHED",
    [TCP_SYN_SENT] = "SYN-SENT",
    [TCP_SYN_RECV] = "SYN-RECEIVED",
    [TCP_FIN_WAIT1] = "FIN-WAIT-1",
    [TCP_FIN_WAIT2] = "FIN-WAIT-2",
    [TCP_TIME_WAIT] = "TIME-WAIT",
    [TCP_CLOSE] = "CLOSED",
    [TCP_CLOSE_WAIT] = "CLOSE-WAIT",
    [TCP_LAST_ACK] = "LAST-ACK",
    [TCP_LISTEN] = "LISTEN",
    [TCP_CLOSING] = "CLOSING",
};

struct wanted {
    unsigned port; /* or ANY_PORT: any row in that state */
    unsigned peer_port;
    int state;
    int seen;
};

static bool is_its_row(const struct wanted *wanted, unsigned port, unsigned peer_port, int state)
{
    bool is_its_port = wanted->port == ANY_PORT ? state == wanted->state : port == wanted->port;
    return is_its_port && peer_port == wanted->peer_port;
}

/* Looks for the row in the kernel's table, of 127.0.0.1. */
static bool is_as_wanted(void *arg)
{
    struct wanted *wanted = arg;
    char line[512];
    FILE *table = fopen("/proc/net/tcp", "re");
    assert_non_null(table);
    wanted->seen = NOT_THERE;
    while (wanted->seen == NOT_THERE && fgets(line, sizeof line, table)) {
        unsigned address, port, peer_port, state;
        if (sscanf(line, " %*u: %x:%x %*x:%x %x", &address, &port, &peer_port, &state) == 4 &&
            address == htonl(INADDR_LOOPBACK) && is_its_row(wanted, port, peer_port, (int)state))
            wanted->seen = (int)state;
    }
    fclose(table);
    return wanted->seen == wanted->state;
}

static void expect_in_table(unsigned port, unsigned peer_port, int state)
{
    struct wanted wanted = {.port = port, .peer_port = peer_port, .state = state};
    eventually(is_as_wanted, &wanted);
    assert_int_equal(wanted.seen, state);
}

static int state_of_socket(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    return info.tcpi_state;
}

static void expect_of_socket(const struct side *side, int state)
{
    tcpmsg_info info;
    assert_int_equal(state_of_socket(tcpmsg_conn_fd(side->conn)), state);
    assert_int_equal(tcpmsg_conn_info(side->conn, &info, sizeof info), 0);
    assert_string_equal(info.tcp_state, names[state]);
}

/* A connection whose descriptor we hold: the table and TCP_INFO agree. */
static void expect_state(const struct side *side, int state)
{
    expect_in_table(side->port, side->peer_port, state);
    expect_of_socket(side, state);
}

/* What is left after the descriptor, or TCP's own use of it, has gone. */
static void expect_row(const struct side *side, int state)
{
    expect_in_table(side->port, side->peer_port, state);
}

static unsigned port_in(const char *address)
{
    return (unsigned)strtoul(strrchr(address, ':') + 1, NULL, 10);
}

static void listen_net(struct net *net)
{
    *net = (struct net){0};
    assert_int_equal(tcpmsg_listen(&net->listener, "127.0.0.1:0", NULL), 0);
    assert_int_equal(tcpmsg_listener_address(net->listener, net->address, sizeof net->address), 0);
}

static void dial_net(struct net *net)
{
    char local[TCPMSG_ADDRESS_MAX];
    assert_int_equal(tcpmsg_dial(&net->client.conn, net->address, NULL), 0);
    assert_int_equal(tcpmsg_conn_local(net->client.conn, local, sizeof local), 0);
    net->client.port = net->server.peer_port = port_in(local);
    net->client.peer_port = net->server.port = port_in(net->address);
}

static void accept_net(struct net *net)
{
    assert_int_equal(tcpmsg_accept(net->listener, &net->server.conn, 0), 0);
}

static void open_net(struct net *net)
{
    listen_net(net);
    dial_net(net);
    accept_net(net);
}

/* The same, and the client has sent more than the server's TCP takes before it is read. */
static void open_stuck_net(struct net *net)
{
    static const char zeros[MUCH];
    const int small = 4096, large = 4 * (int)MUCH;
    listen_net(net);
    int listening = tcpmsg_listener_fd(net->listener);
    assert_int_equal(setsockopt(listening, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    dial_net(net);
    accept_net(net);
    int sending = tcpmsg_conn_fd(net->client.conn);
    assert_int_equal(setsockopt(sending, SOL_SOCKET, SO_SNDBUF, &large, sizeof large), 0);
    assert_int_equal(tcpmsg_send(net->client.conn, zeros, sizeof zeros, 0), 0);
}

static void receive_the_stuck(const struct side *side)
{
    const void *message;
    assert_int_equal(tcpmsg_recv_view(side->conn, &message, 0), MUCH);
}

static void close_net(struct net *net)
{
    tcpmsg_close(net->client.conn);
    tcpmsg_close(net->server.conn);
    tcpmsg_listener_close(net->listener);
}

static void close_side(struct side *side)
{
    assert_int_equal(tcpmsg_close(side->conn), 0);
    side->conn = NULL;
}

static void pass(const struct side *from, const struct side *to, const char *text)
{
    char got[64];
    size_t length = strlen(text);
    assert_int_equal(tcpmsg_send(from->conn, text, length, 0), 0);
    assert_int_equal(tcpmsg_recv(to->conn, got, sizeof got, 0), length);
    assert_memory_equal(got, text, length);
}

static void expect_end(const struct side *side, int error)
{
    char got[64];
    assert_int_equal(tcpmsg_recv(side->conn, got, sizeof got, 0), error);
}

/* Sends until the answer is no longer 0: the first bytes after an end are what a reset answers. */
static int send_until_it_fails(const struct side *side)
{
    int r = 0;
    for (int64_t deadline = now_ms() + WAIT_MS; r == 0 && now_ms() < deadline; sleep_ms(1))
        r = tcpmsg_send(side->conn, "late", 4, 0);
    return r;
}

static void listen_makes_LISTEN(void **state)
{
    (void)state;
    struct net net;
    listen_net(&net);
    unsigned port = port_in(net.address);
    expect_in_table(port, 0, TCP_LISTEN);
    assert_int_equal(state_of_socket(tcpmsg_listener_fd(net.listener)), TCP_LISTEN);
    tcpmsg_listener_close(net.listener);
    expect_in_table(port, 0, NOT_THERE);
}

static void *dial_in_thread(void *arg)
{
    struct net *net = arg;
    dial_net(net);
    return NULL;
}

/* A full accept queue drops SYNs; the dial's goes out again a second later (RFC 6298). */
static void dial_is_in_SYN_SENT_until_it_is_answered(void **state)
{
    (void)state;
    struct net net = {0};
    pthread_t dialling;
    int listening = raw_listen(net.address, sizeof net.address);
    assert_int_equal(listen(listening, 0), 0);
    int first = raw_dial(net.address);
    assert_true(wait_events(listening, POLLIN, WAIT_MS) & POLLIN);

    assert_int_equal(pthread_create(&dialling, NULL, dial_in_thread, &net), 0);
    expect_in_table(ANY_PORT, port_in(net.address), TCP_SYN_SENT);
    close(raw_accept(listening));
    assert_int_equal(pthread_join(dialling, NULL), 0);
    expect_state(&net.client, TCP_ESTABLISHED);

    tcpmsg_abort(net.client.conn);
    tcpmsg_close(net.client.conn);
    close(first);
    close(listening);
}

/* TCP_DEFER_ACCEPT holds the handshake where it otherwise is for an instant (tcp(7)). */
static void the_peer_of_a_dial_is_in_SYN_RECEIVED_until_our_ACK_counts(void **state)
{
    (void)state;
    struct net net;
    const int seconds = 30;
    char got[8];
    listen_net(&net);
    assert_int_equal(setsockopt(tcpmsg_listener_fd(net.listener), IPPROTO_TCP, TCP_DEFER_ACCEPT,
                                &seconds, sizeof seconds),
                     0);
    dial_net(&net);
    expect_state(&net.client, TCP_ESTABLISHED);
    expect_row(&net.server, TCP_SYN_RECV);
    assert_int_equal(tcpmsg_accept(net.listener, &net.server.conn, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);

    assert_int_equal(tcpmsg_send(net.client.conn, "first", 5, 0), 0);
    accept_net(&net);
    expect_state(&net.server, TCP_ESTABLISHED);
    assert_int_equal(tcpmsg_recv(net.server.conn, got, sizeof got, 0), 5);
    close_net(&net);
}

static void dial_and_accept_make_ESTABLISHED(void **state)
{
    (void)state;
    struct net net;
    listen_net(&net);
    dial_net(&net);
    /* Both ends, though nobody has called accept: the kernel answered. */
    expect_state(&net.client, TCP_ESTABLISHED);
    expect_row(&net.server, TCP_ESTABLISHED);
    accept_net(&net);
    expect_state(&net.server, TCP_ESTABLISHED);
    pass(&net.client, &net.server, "hello");
    pass(&net.server, &net.client, "hello, too");
    close_net(&net);
}

static void shutdown_makes_FIN_WAIT_2_and_CLOSE_WAIT(void **state)
{
    (void)state;
    struct net net;
    open_net(&net);
    assert_int_equal(tcpmsg_shutdown(net.client.conn), 0);
    expect_state(&net.client, TCP_FIN_WAIT2);
    expect_state(&net.server, TCP_CLOSE_WAIT);
    expect_end(&net.server, TCPMSG_EOF);
    assert_int_equal(tcpmsg_send(net.client.conn, "no", 2, 0), TCPMSG_ECLOSED);
    close_net(&net);
}

static void the_other_direction_of_a_half_closed_connection_still_flows(void **state)
{
    (void)state;
    struct net net;
    open_net(&net);
    assert_int_equal(tcpmsg_shutdown(net.client.conn), 0);
    expect_end(&net.server, TCPMSG_EOF);
    for (int i = 0; i < 100; i++)
        pass(&net.server, &net.client, "an answer");
    expect_state(&net.client, TCP_FIN_WAIT2);
    expect_state(&net.server, TCP_CLOSE_WAIT);
    close_net(&net);
}

static void shutdown_makes_FIN_WAIT_1_while_bytes_are_not_acknowledged(void **state)
{
    (void)state;
    struct net net;
    open_stuck_net(&net);
    assert_int_equal(tcpmsg_shutdown(net.client.conn), 0);
    expect_state(&net.client, TCP_FIN_WAIT1);
    expect_state(&net.server, TCP_ESTABLISHED);
    receive_the_stuck(&net.server);
    expect_state(&net.client, TCP_FIN_WAIT2);
    expect_state(&net.server, TCP_CLOSE_WAIT);
    close_net(&net);
}

static void two_shutdowns_that_cross_make_CLOSING(void **state)
{
    (void)state;
    struct net net;
    open_stuck_net(&net);
    assert_int_equal(tcpmsg_shutdown(net.client.conn), 0);
    assert_int_equal(tcpmsg_shutdown(net.server.conn), 0);
    expect_state(&net.client, TCP_CLOSING);
    expect_state(&net.server, TCP_FIN_WAIT2);

    receive_the_stuck(&net.server);
    expect_end(&net.server, TCPMSG_EOF);
    expect_end(&net.client, TCPMSG_EOF);
    expect_row(&net.client, TCP_TIME_WAIT);
    expect_row(&net.server, TCP_TIME_WAIT);
    close_net(&net);
}

static void the_second_shutdown_makes_LAST_ACK_and_then_CLOSED(void **state)
{
    (void)state;
    struct net net;
    open_stuck_net(&net);
    assert_int_equal(tcpmsg_shutdown(net.server.conn), 0);
    expect_state(&net.client, TCP_CLOSE_WAIT);
    assert_int_equal(tcpmsg_shutdown(net.client.conn), 0);
    expect_state(&net.client, TCP_LAST_ACK);
    expect_state(&net.server, TCP_FIN_WAIT2);

    receive_the_stuck(&net.server);
    expect_end(&net.server, TCPMSG_EOF);
    expect_row(&net.client, NOT_THERE);
    expect_of_socket(&net.client, TCP_CLOSE);
    expect_row(&net.server, TCP_TIME_WAIT);
    /* Linux keeps TIME-WAIT apart from the socket, which is closed for good. */
    expect_of_socket(&net.server, TCP_CLOSE);
    close_net(&net);
}

static void expect_first_to_close_has_TIME_WAIT(struct net *net, struct side *first,
                                                struct side *second)
{
    close_side(first);
    expect_row(first, TCP_FIN_WAIT2);
    expect_state(second, TCP_CLOSE_WAIT);
    expect_end(second, TCPMSG_EOF);
    close_side(second);
    expect_row(first, TCP_TIME_WAIT);
    expect_row(second, NOT_THERE);
    close_net(net);
}

static void the_side_that_closes_first_holds_TIME_WAIT(void **state)
{
    (void)state;
    struct net net;
    open_net(&net);
    expect_first_to_close_has_TIME_WAIT(&net, &net.client, &net.server);
    open_net(&net);
    expect_first_to_close_has_TIME_WAIT(&net, &net.server, &net.client);
}

static void close_with_unread_input_makes_no_reset(void **state)
{
    (void)state;
    struct net net;
    char got[8];
    open_net(&net);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(tcpmsg_send(net.client.conn, "unread", 6, 0), 0);
    assert_int_equal(tcpmsg_send(net.server.conn, "last", 4, 0), 0);
    close_side(&net.server);
    expect_row(&net.server, TCP_FIN_WAIT2);
    expect_state(&net.client, TCP_CLOSE_WAIT);
    assert_int_equal(tcpmsg_recv(net.client.conn, got, sizeof got, 0), 4);
    expect_end(&net.client, TCPMSG_EOF);
    close_net(&net);
}

static void what_is_sent_to_a_closed_side_is_answered_by_a_reset(void **state)
{
    (void)state;
    struct net net;
    open_net(&net);
    close_side(&net.server);
    expect_end(&net.client, TCPMSG_EOF);
    assert_int_equal(send_until_it_fails(&net.client), TCPMSG_ERESET);
    expect_end(&net.client, TCPMSG_EOF);
    expect_row(&net.client, NOT_THERE);
    expect_row(&net.server, NOT_THERE);
    close_net(&net);
}

/* The reset is met by nobody but close: there was a clean end, and then only a send. */
static void close_does_not_wait_for_a_peer_that_has_reset(void **state)
{
    (void)state;
    struct net net;
    open_net(&net);
    close_side(&net.server);
    expect_end(&net.client, TCPMSG_EOF);
    assert_int_equal(tcpmsg_send(net.client.conn, "late", 4, 0), 0);
    expect_row(&net.client, NOT_THERE);
    assert_int_equal(tcpmsg_close(net.client.conn), TCPMSG_ERESET);
    net.client.conn = NULL;
    close_net(&net);
}

static void abort_makes_CLOSED_on_both_sides_at_once(void **state)
{
    (void)state;
    struct net net;
    open_net(&net);
    tcpmsg_abort(net.client.conn);
    expect_end(&net.client, TCPMSG_ECANCELED);
    expect_row(&net.client, NOT_THERE);
    expect_row(&net.server, NOT_THERE);
    expect_end(&net.server, TCPMSG_ERESET);
    expect_of_socket(&net.server, TCP_CLOSE);
    close_net(&net);
}

static void abort_after_shutdown_is_a_reset_for_the_sending_of_the_peer(void **state)
{
    (void)state;
    struct net net;
    open_net(&net);
    assert_int_equal(tcpmsg_shutdown(net.client.conn), 0);
    expect_state(&net.server, TCP_CLOSE_WAIT);
    tcpmsg_abort(net.client.conn);
    expect_row(&net.client, NOT_THERE);
    expect_row(&net.server, NOT_THERE);
    /* The FIN had come before the reset. */
    expect_end(&net.server, TCPMSG_EOF);
    assert_int_equal(send_until_it_fails(&net.server), TCPMSG_ERESET);
    close_net(&net);
}

static void a_server_listens_again_while_its_port_is_in_TIME_WAIT(void **state)
{
    (void)state;
    struct net net;
    open_net(&net);
    close_side(&net.server);
    expect_end(&net.client, TCPMSG_EOF);
    close_side(&net.client);
    expect_row(&net.server, TCP_TIME_WAIT);
    tcpmsg_listener_close(net.listener);
    assert_int_equal(tcpmsg_listen(&net.listener, net.address, NULL), 0);
    expect_row(&net.server, TCP_TIME_WAIT);
    close_net(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listen_makes_LISTEN),
        cmocka_unit_test(dial_is_in_SYN_SENT_until_it_is_answered),
        cmocka_unit_test(the_peer_of_a_dial_is_in_SYN_RECEIVED_until_our_ACK_counts),
        cmocka_unit_test(dial_and_accept_make_ESTABLISHED),
        cmocka_unit_test(shutdown_makes_FIN_WAIT_2_and_CLOSE_WAIT),
        cmocka_unit_test(the_other_direction_of_a_half_closed_connection_still_flows),
        cmocka_unit_test(shutdown_makes_FIN_WAIT_1_while_bytes_are_not_acknowledged),
        cmocka_unit_test(two_shutdowns_that_cross_make_CLOSING),
        cmocka_unit_test(the_second_shutdown_makes_LAST_ACK_and_then_CLOSED),
        cmocka_unit_test(the_side_that_closes_first_holds_TIME_WAIT),
        cmocka_unit_test(close_with_unread_input_makes_no_reset),
        cmocka_unit_test(what_is_sent_to_a_closed_side_is_answered_by_a_reset),
        cmocka_unit_test(close_does_not_wait_for_a_peer_that_has_reset),
        cmocka_unit_test(abort_makes_CLOSED_on_both_sides_at_once),
        cmocka_unit_test(abort_after_shutdown_is_a_reset_for_the_sending_of_the_peer),
        cmocka_unit_test(a_server_listens_again_while_its_port_is_in_TIME_WAIT),
    };
    if (access("/proc/net/tcp", R_OK) != 0)
        return 77; /* meson's word for skipped */
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    return 77; /* the table and TCP_INFO are Linux's */
}

#endif
