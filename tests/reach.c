/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include "reach.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

char nowhere;

tcpmsg_listener *listen_at(const char *address)
{
    tcpmsg_listener *listener;
    char why[256] = "";
    int error = tcpmsg_listen(&listener, address, TCPMSG_OPTIONS(.why = why, .why_size = 256));
    if (error != 0)
        fail_msg("listen at %s: %s: %s", address, tcpmsg_error_name(error), why);
    return listener;
}

tcpmsg_listener *listen_at_a_free_port(char address[TCPMSG_ADDRESS_MAX])
{
    tcpmsg_listener *listener = listen_at("127.0.0.1:0");
    bound_address(listener, address);
    return listener;
}

tcpmsg_conn *dial_to(const char *address)
{
    tcpmsg_conn *conn;
    char why[256] = "";
    int error = tcpmsg_dial(&conn, address, TCPMSG_OPTIONS(.why = why, .why_size = 256));
    if (error != 0)
        fail_msg("dial %s: %s: %s", address, tcpmsg_error_name(error), why);
    return conn;
}

tcpmsg_conn *accept_one(tcpmsg_listener *listener)
{
    tcpmsg_conn *conn;
    assert_int_equal(tcpmsg_accept(listener, &conn, 0), 0);
    return conn;
}

void bound_address(const tcpmsg_listener *listener, char text[TCPMSG_ADDRESS_MAX])
{
    assert_int_equal(tcpmsg_listener_address(listener, text, TCPMSG_ADDRESS_MAX), 0);
    assert_true(strlen(text) < TCPMSG_ADDRESS_MAX);
}

void expect_talk(tcpmsg_conn *from, tcpmsg_conn *to)
{
    char hello[6] = "";
    assert_int_equal(tcpmsg_send(from, "hello", 5, 0), 0);
    assert_int_equal(tcpmsg_recv(to, hello, sizeof hello, 0), 5);
    assert_string_equal(hello, "hello");
}

void expect_reachable(tcpmsg_listener *listener, const char *address)
{
    tcpmsg_conn *dialled = dial_to(address);
    tcpmsg_conn *accepted = accept_one(listener);
    expect_talk(dialled, accepted);
    assert_int_equal(tcpmsg_close(dialled), 0);
    assert_int_equal(tcpmsg_close(accepted), 0);
}

bool has_ipv6(void)
{
    struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool bound = fd >= 0 && bind(fd, (struct sockaddr *)&loopback, sizeof loopback) == 0;
    if (fd >= 0)
        close(fd);
    return bound;
}
