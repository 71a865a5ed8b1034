/* SPDX-License-Identifier: MIT */
/* Addresses that are taken: what they reach, and that a printed one is whole and can be dialled. */
#define _GNU_SOURCE /* getifaddrs */
#include "reach.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* sockaddr_un's path, its NUL included: unix(7). */
#define UNIX_PATH_ROOM 108

static unsigned port_of(const char *address)
{
    const char *colon = strrchr(address, ':');
    assert_non_null(colon);
    return (unsigned)strtoul(colon + 1, NULL, 10);
}

static void expect_bound_and_reachable(const char *address, const char *printed_start)
{
    char bound[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at(address);
    bound_address(listener, bound);
    assert_int_equal(strncmp(bound, printed_start, strlen(printed_start)), 0);
    assert_int_not_equal(port_of(bound), 0);
    expect_reachable(listener, bound);
    tcpmsg_listener_close(listener);
}

static void port_0_asks_listen_for_a_free_one(void **state)
{
    (void)state;
    expect_bound_and_reachable("127.0.0.1:0", "127.0.0.1:");
    expect_bound_and_reachable("localhost:0", "");
    if (has_ipv6())
        expect_bound_and_reachable("[::1]:0", "[::1]:");
}

static void tcp_in_front_is_taken(void **state)
{
    (void)state;
    char bound[TCPMSG_ADDRESS_MAX], dialled[TCPMSG_ADDRESS_MAX + 8];
    tcpmsg_listener *listener = listen_at("tcp://127.0.0.1:0");
    bound_address(listener, bound);
    snprintf(dialled, sizeof dialled, "tcp://%s", bound);
    expect_reachable(listener, dialled);
    tcpmsg_listener_close(listener);
    expect_bound_and_reachable("tcp://:0", "");
    if (has_ipv6())
        expect_bound_and_reachable("tcp://[::1]:0", "[::1]:");
}

static void expect_reachable_at_port(tcpmsg_listener *listener, const char *host, unsigned port)
{
    char address[64];
    snprintf(address, sizeof address, "%s:%u", host, port);
    expect_reachable(listener, address);
}

static void no_host_is_every_interface_of_both_families(void **state)
{
    (void)state;
    char bound[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at(":0");
    bound_address(listener, bound);
    expect_reachable(listener, bound);
    expect_reachable_at_port(listener, "", port_of(bound));
    expect_reachable_at_port(listener, "127.0.0.1", port_of(bound));
    expect_reachable_at_port(listener, "localhost", port_of(bound));
    if (has_ipv6())
        expect_reachable_at_port(listener, "[::1]", port_of(bound));
    tcpmsg_listener_close(listener);
}

static void no_host_to_dial_is_this_machine(void **state)
{
    (void)state;
    char bound[TCPMSG_ADDRESS_MAX];
    const char *const hosts[] = {"127.0.0.1:0", "[::1]:0"};
    for (size_t i = 0; i < (has_ipv6() ? 2 : 1); i++) {
        tcpmsg_listener *listener = listen_at(hosts[i]);
        bound_address(listener, bound);
        expect_reachable_at_port(listener, "", port_of(bound));
        tcpmsg_listener_close(listener);
    }
}

/* Each end's own address is what the other end calls its peer. */
static void expect_mirrored(tcpmsg_conn *one, tcpmsg_conn *other)
{
    char local[TCPMSG_ADDRESS_MAX], peer[TCPMSG_ADDRESS_MAX];
    assert_int_equal(tcpmsg_conn_local(one, local, sizeof local), 0);
    assert_int_equal(tcpmsg_conn_peer(other, peer, sizeof peer), 0);
    assert_string_equal(local, peer);
    assert_int_equal(tcpmsg_conn_peer(one, peer, sizeof peer), 0);
    assert_int_equal(tcpmsg_conn_local(other, local, sizeof local), 0);
    assert_string_equal(local, peer);
}

static void the_ends_of_a_connection_print_the_same_addresses(void **state)
{
    (void)state;
    const char *const hosts[] = {"127.0.0.1:0", "[::1]:0"};
    for (size_t i = 0; i < (has_ipv6() ? 2 : 1); i++) {
        char bound[TCPMSG_ADDRESS_MAX], peer[TCPMSG_ADDRESS_MAX];
        tcpmsg_listener *listener = listen_at(hosts[i]);
        bound_address(listener, bound);
        tcpmsg_conn *dialled = dial_to(bound), *accepted = accept_one(listener);
        expect_mirrored(dialled, accepted);
        assert_int_equal(tcpmsg_conn_peer(dialled, peer, sizeof peer), 0);
        assert_string_equal(peer, bound);
        assert_int_equal(tcpmsg_close(dialled), 0);
        assert_int_equal(tcpmsg_close(accepted), 0);
        tcpmsg_listener_close(listener);
    }
}

static void an_IPv4_peer_of_a_listener_on_both_prints_as_IPv4(void **state)
{
    (void)state;
    char bound[TCPMSG_ADDRESS_MAX], address[TCPMSG_ADDRESS_MAX], text[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at(":0");
    bound_address(listener, bound);
    snprintf(address, sizeof address, "127.0.0.1:%u", port_of(bound));
    tcpmsg_conn *dialled = dial_to(address), *accepted = accept_one(listener);
    expect_mirrored(dialled, accepted);
    assert_int_equal(tcpmsg_conn_local(accepted, text, sizeof text), 0);
    assert_string_equal(text, address);
    assert_int_equal(tcpmsg_close(dialled), 0);
    assert_int_equal(tcpmsg_close(accepted), 0);
    tcpmsg_listener_close(listener);
}

/* "[fe80::…%eth0]:0" of an interface that has such an address, if any has. */
static bool link_local_address(char *text, size_t size)
{
    struct ifaddrs *all;
    bool found = false;
    if (getifaddrs(&all) != 0)
        return false;
    for (struct ifaddrs *one = all; one && !found; one = one->ifa_next) {
        if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET6)
            continue;
        struct sockaddr_in6 address;
        char host[INET6_ADDRSTRLEN];
        memcpy(&address, one->ifa_addr, sizeof address);
        inet_ntop(AF_INET6, &address.sin6_addr, host, sizeof host);
        found = IN6_IS_ADDR_LINKLOCAL(&address.sin6_addr);
        snprintf(text, size, "[%s%%%s]:0", host, one->ifa_name);
    }
    freeifaddrs(all);
    return found;
}

static void a_link_local_address_is_printed_with_its_interface(void **state)
{
    (void)state;
    char address[128], bound[TCPMSG_ADDRESS_MAX];
    if (!link_local_address(address, sizeof address))
        return;
    tcpmsg_listener *listener = listen_at(address);
    bound_address(listener, bound);
    expect_reachable(listener, bound);
    tcpmsg_listener_close(listener);
}

/* unix:/…/xxx of as many bytes of path as sun_path takes with its NUL. */
static void longest_unix_address(const char *dir, char text[TCPMSG_ADDRESS_MAX])
{
    size_t length = strlen("unix:") + UNIX_PATH_ROOM - 1;
    memset(text, 'x', length);
    text[length] = '\0';
    int start = sprintf(text, "unix:%s/", dir);
    text[start] = 'x';
}

static void a_unix_path_of_the_longest_length_is_never_cut(void **state)
{
    (void)state;
    char dir[PATH_ROOM], address[TCPMSG_ADDRESS_MAX], bound[TCPMSG_ADDRESS_MAX];
    make_temp_dir(dir);
    longest_unix_address(dir, address);
    tcpmsg_listener *listener = listen_at(address);
    bound_address(listener, bound);
    assert_string_equal(bound, address);
    assert_int_equal(access(bound + strlen("unix:"), F_OK), 0);
    expect_reachable(listener, bound);
    tcpmsg_listener_close(listener);
    remove_temp_dir(dir);
}

static void an_abstract_name_needs_no_file(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], bound[TCPMSG_ADDRESS_MAX];
    snprintf(address, sizeof address, "unix:@tcpmsg-test-%ld", (long)getpid());
    tcpmsg_listener *listener = listen_at(address);
    bound_address(listener, bound);
    assert_string_equal(bound, address);
    assert_int_not_equal(access(bound + strlen("unix:"), F_OK), 0);
    expect_reachable(listener, address);
    tcpmsg_listener_close(listener);
}

static void an_abstract_name_of_the_longest_length_is_never_cut(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], bound[TCPMSG_ADDRESS_MAX];
    snprintf(address, sizeof address, "unix:@%0*ld", UNIX_PATH_ROOM - 2, (long)getpid());
    tcpmsg_listener *listener = listen_at(address);
    bound_address(listener, bound);
    assert_string_equal(bound, address);
    expect_reachable(listener, bound);
    tcpmsg_listener_close(listener);
}

static void a_unix_peer_without_a_name_prints_as_unix(void **state)
{
    (void)state;
    char dir[PATH_ROOM], address[TCPMSG_ADDRESS_MAX], text[TCPMSG_ADDRESS_MAX];
    make_temp_dir(dir);
    snprintf(address, sizeof address, "unix:%s/socket", dir);
    tcpmsg_listener *listener = listen_at(address);
    tcpmsg_conn *dialled = dial_to(address), *accepted = accept_one(listener);
    assert_int_equal(tcpmsg_conn_peer(accepted, text, sizeof text), 0);
    assert_string_equal(text, "unix:");
    assert_int_equal(tcpmsg_conn_local(dialled, text, sizeof text), 0);
    assert_string_equal(text, "unix:");
    expect_mirrored(dialled, accepted);
    assert_int_equal(tcpmsg_conn_peer(dialled, text, sizeof text), 0);
    assert_string_equal(text, address);
    assert_int_equal(tcpmsg_close(dialled), 0);
    assert_int_equal(tcpmsg_close(accepted), 0);
    tcpmsg_listener_close(listener);
    remove_temp_dir(dir);
}

typedef int printer(const void *of, char *text, size_t size);

static int print_listener(const void *listener, char *text, size_t size)
{
    return tcpmsg_listener_address(listener, text, size);
}

static int print_local(const void *conn, char *text, size_t size)
{
    return tcpmsg_conn_local(conn, text, size);
}

static int print_peer(const void *conn, char *text, size_t size)
{
    return tcpmsg_conn_peer(conn, text, size);
}

/* Whole in exactly its room and more; in any less, not one byte is written. */
static void expect_whole_or_not_at_all(printer *print, const void *of)
{
    char whole[TCPMSG_ADDRESS_MAX], text[TCPMSG_ADDRESS_MAX], blank[TCPMSG_ADDRESS_MAX];
    assert_int_equal(print(of, whole, sizeof whole), 0);
    memset(blank, '#', sizeof blank);
    for (size_t size = 0; size <= sizeof text; size++) {
        size_t written = size > strlen(whole) ? strlen(whole) + 1 : 0;
        memset(text, '#', sizeof text);
        assert_int_equal(print(of, text, size), written > 0 ? 0 : TCPMSG_EBUFSIZE);
        assert_memory_equal(text, whole, written);
        assert_memory_equal(text + written, blank, sizeof text - written);
    }
    assert_int_equal(print(of, NULL, sizeof text), TCPMSG_EINVAL);
    assert_int_equal(print(NULL, text, sizeof text), TCPMSG_EINVAL);
}

static void text_that_does_not_fit_is_EBUFSIZE_and_never_cut(void **state)
{
    (void)state;
    char bound[TCPMSG_ADDRESS_MAX], abstract[TCPMSG_ADDRESS_MAX];
    snprintf(abstract, sizeof abstract, "unix:@tcpmsg-test-%ld", (long)getpid());
    const char *const addresses[] = {"127.0.0.1:0", abstract, "[::1]:0"};
    for (size_t i = 0; i < (has_ipv6() ? 3 : 2); i++) {
        tcpmsg_listener *listener = listen_at(addresses[i]);
        bound_address(listener, bound);
        tcpmsg_conn *dialled = dial_to(bound), *accepted = accept_one(listener);
        expect_whole_or_not_at_all(print_listener, listener);
        expect_whole_or_not_at_all(print_local, accepted);
        expect_whole_or_not_at_all(print_peer, accepted);
        expect_whole_or_not_at_all(print_local, dialled);
        expect_whole_or_not_at_all(print_peer, dialled);
        assert_int_equal(tcpmsg_close(dialled), 0);
        assert_int_equal(tcpmsg_close(accepted), 0);
        tcpmsg_listener_close(listener);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(port_0_asks_listen_for_a_free_one),
        cmocka_unit_test(tcp_in_front_is_taken),
        cmocka_unit_test(no_host_is_every_interface_of_both_families),
        cmocka_unit_test(no_host_to_dial_is_this_machine),
        cmocka_unit_test(the_ends_of_a_connection_print_the_same_addresses),
        cmocka_unit_test(an_IPv4_peer_of_a_listener_on_both_prints_as_IPv4),
        cmocka_unit_test(a_link_local_address_is_printed_with_its_interface),
        cmocka_unit_test(a_unix_path_of_the_longest_length_is_never_cut),
        cmocka_unit_test(an_abstract_name_needs_no_file),
        cmocka_unit_test(an_abstract_name_of_the_longest_length_is_never_cut),
        cmocka_unit_test(a_unix_peer_without_a_name_prints_as_unix),
        cmocka_unit_test(text_that_does_not_fit_is_EBUFSIZE_and_never_cut),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
