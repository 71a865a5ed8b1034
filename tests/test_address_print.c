/* SPDX-License-Identifier: MIT */
/* Socket addresses as text, whatever the system hands out; and when two are the same. */
#define _GNU_SOURCE
#include "address.h"
#include "support.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static tm_sockaddr v4(const char *host, uint16_t port)
{
    tm_sockaddr address = {.length = sizeof address.u.v4, .u.v4 = {.sin_family = AF_INET}};
    assert_int_equal(inet_pton(AF_INET, host, &address.u.v4.sin_addr), 1);
    address.u.v4.sin_port = htons(port);
    return address;
}

static tm_sockaddr v6(const char *host, uint16_t port, uint32_t zone)
{
    tm_sockaddr address = {.length = sizeof address.u.v6, .u.v6 = {.sin6_family = AF_INET6}};
    assert_int_equal(inet_pton(AF_INET6, host, &address.u.v6.sin6_addr), 1);
    address.u.v6.sin6_port = htons(port);
    address.u.v6.sin6_scope_id = zone;
    return address;
}

/* A Unix address of so many bytes of path, or name. */
static tm_sockaddr local(const char *path, size_t len)
{
    tm_sockaddr address = {.u.local = {.sun_family = AF_UNIX}};
    assert_true(len <= sizeof address.u.local.sun_path);
    memcpy(address.u.local.sun_path, path, len);
    address.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    return address;
}

/* It prints so into the room that it needs, and not at all into less. */
static void expect_text(tm_sockaddr address, const char *wanted)
{
    char text[TCPMSG_ADDRESS_MAX];
    size_t needed = strlen(wanted) + 1;
    assert_true(needed <= sizeof text);
    for (size_t size = 0; size <= sizeof text; size++) {
        memset(text, '~', sizeof text);
        int result = tm_sockaddr_print(&address, text, size);
        if (size >= needed) {
            assert_int_equal(result, 0);
            assert_string_equal(text, wanted);
        } else {
            assert_int_equal(result, TCPMSG_EBUFSIZE);
            assert_int_equal(text[0], '~');
        }
    }
}

static void hosts_and_ports(void **state)
{
    (void)state;
    expect_text(v4("127.0.0.1", 5000), "127.0.0.1:5000");
    expect_text(v4("255.255.255.255", 65535), "255.255.255.255:65535");
    expect_text(v6("::1", 0, 0), "[::1]:0");
    expect_text(v6("fe80::1", 80, 4294967295), "[fe80::1%4294967295]:80");
    expect_text(v6("1111:2222:3333:4444:5555:6666:7777:8888", 65535, 1),
                "[1111:2222:3333:4444:5555:6666:7777:8888%1]:65535");
}

/* RFC 4291 section 2.5.5.2: an IPv4 peer of a socket for both families. */
static void a_mapped_IPv4_address_is_an_IPv4_address(void **state)
{
    (void)state;
    expect_text(v6("::ffff:192.0.2.1", 7, 0), "192.0.2.1:7");
    expect_text(v6("0:0:1::1", 7, 0), "[0:0:1::1]:7");
    expect_text(v6("0:0:1:2:0:ffff:c000:201", 7, 0), "[::1:2:0:ffff:c000:201]:7");
}

static void unix_paths_and_names(void **state)
{
    (void)state;
    expect_text(local("/run/it", 8), "unix:/run/it");
    expect_text(local("/run/it", 7), "unix:/run/it");
    expect_text(local("", 0), "unix:");
    expect_text(local("", 1), "unix:");
    expect_text(local("\0name", 5), "unix:@name");
    expect_text((tm_sockaddr){0}, "unix:");
}

/* unix(7): a path may fill all of its room, without a NUL; some systems tell more than there is. */
static void a_path_without_a_NUL_ends_with_its_room(void **state)
{
    (void)state;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)], wanted[TCPMSG_ADDRESS_MAX];
    memset(path, 'x', sizeof path);
    path[0] = '/';
    snprintf(wanted, sizeof wanted, "unix:%.*s", (int)sizeof path, path);
    tm_sockaddr address = local(path, sizeof path);
    expect_text(address, wanted);
    address.length++;
    expect_text(address, wanted);
    path[0] = '\0';
    snprintf(wanted, sizeof wanted, "unix:@%.*s", (int)sizeof path - 1, path + 1);
    expect_text(local(path, sizeof path), wanted);
}

/* Cut at the NUL it would be another one's name. */
static void a_name_with_a_NUL_inside_is_not_told(void **state)
{
    (void)state;
    expect_text(local("\0a\0b", 4), "unix:");
    expect_text(local("\0a\0", 3), "unix:");
}

static void expect_equal(tm_sockaddr one, tm_sockaddr other, bool equal)
{
    assert_int_equal(tm_sockaddr_equal(&one, &other), equal);
    assert_int_equal(tm_sockaddr_equal(&other, &one), equal);
}

static void equal_is_the_same_family_address_and_port(void **state)
{
    (void)state;
    expect_equal(v4("127.0.0.1", 1), v4("127.0.0.1", 1), true);
    expect_equal(v4("127.0.0.1", 1), v4("127.0.0.1", 2), false);
    expect_equal(v4("127.0.0.1", 1), v4("127.0.0.2", 1), false);
    expect_equal(v6("::1", 1, 0), v6("::1", 1, 0), true);
    expect_equal(v6("::1", 1, 0), v6("::1", 2, 0), false);
    expect_equal(v6("::1", 1, 0), v6("::2", 1, 0), false);
    expect_equal(v6("::1", 1, 0), v4("0.0.0.1", 1), false);
}

static void no_text_in_brackets_is_too_long_to_refuse(void **state)
{
    (void)state;
    tm_address address;
    char text[200] = "[", why[300] = "";
    tm_story story = {.text = why, .size = sizeof why};
    memset(text + 1, '1', 100);
    strcat(text, "]:1");
    assert_int_equal(tm_address_parse(&address, text, &story), TCPMSG_EADDRESS);
    assert_non_null(strstr(why, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_and_ports),
        cmocka_unit_test(a_mapped_IPv4_address_is_an_IPv4_address),
        cmocka_unit_test(unix_paths_and_names),
        cmocka_unit_test(a_path_without_a_NUL_ends_with_its_room),
        cmocka_unit_test(a_name_with_a_NUL_inside_is_not_told),
        cmocka_unit_test(equal_is_the_same_family_address_and_port),
        cmocka_unit_test(no_text_in_brackets_is_too_long_to_refuse),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
