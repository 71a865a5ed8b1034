/* SPDX-License-Identifier: MIT */
/* Text that is no address: refused with TCPMSG_EADDRESS and a story, never cut to fit. */
#include "reach.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* sockaddr_un's path, its NUL included: unix(7). */
#define UNIX_PATH_ROOM 108

static void expect_no_address_to_listen(const char *text)
{
    tcpmsg_listener *listener = NO_LISTENER;
    char why[512] = "";
    int error = tcpmsg_listen(&listener, text, TCPMSG_OPTIONS(.why = why, .why_size = 512));
    if (error != TCPMSG_EADDRESS)
        fail_msg("listen at \"%s\": %s: %s", text, tcpmsg_error_name(error), why);
    assert_ptr_equal(listener, NO_LISTENER);
    assert_true(strlen(why) > 0);
}

static void expect_no_address_to_dial(const char *text)
{
    tcpmsg_conn *conn = NO_CONN;
    char why[512] = "";
    int error = tcpmsg_dial(&conn, text, TCPMSG_OPTIONS(.why = why, .why_size = 512));
    if (error != TCPMSG_EADDRESS)
        fail_msg("dial \"%s\": %s: %s", text, tcpmsg_error_name(error), why);
    assert_ptr_equal(conn, NO_CONN);
    assert_true(strlen(why) > 0);
}

static void expect_no_address(const char *text)
{
    expect_no_address_to_listen(text);
    expect_no_address_to_dial(text);
}

static void text_that_is_no_address_is_EADDRESS(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        ":",
        "localhost",
        "127.0.0.1",
        "127.0.0.1:",
        "[::1]:",
        "[::1]",
        "5000",
        "127.0.0.1:x",
        "127.0.0.1:5000x",
        "127.0.0.1:+1",
        "127.0.0.1:-1",
        "127.0.0.1:0x10",
        "127.0.0.1: 1",
        "127.0.0.1:1 ",
        " 127.0.0.1:1",
        "127.0.0.1:1\n",
        "127.0.0.1:1.5",
        "127.0.0.1:65536",
        "127.0.0.1:99999",
        "127.0.0.1:4294967377",
        "127.0.0.1:18446744073709551697",
        "127.0.0.1:1:2",
        "127.0.0.1:http",
        "[::1",
        "::1]:1",
        "[::1]1",
        "[::1]x:1",
        "x[::1]:1",
        "[]:1",
        "[:1",
        "[::g]:1",
        "[::1]]:1",
        "[localhost]:1",
        "[127.0.0.1]:1",
        "[1:2:3]:1",
        "[::1::]:1",
        "[12345::]:1",
        "tcp://",
        "tcp://localhost",
        "tcp:///:1",
        "tcp:/127.0.0.1:1",
        "tcp:127.0.0.1:1",
        "tcp://127.0.0.1:1/",
        "tcp://tcp://127.0.0.1:1",
        "unix:",
        "unix:/",
        "unix:@",
        "[fe80::1%]:1",
        "[fe80::1%a\"b]:1",
        "[fe80::1%longer-than-any-interface]:1",
    };
    for (size_t i = 0; i < COUNT(texts); i++)
        expect_no_address(texts[i]);
}

static void a_bare_IPv6_address_is_EADDRESS(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "::1",         "::",      "::1:5000",        "fe80::1",
        "2001:db8::1", ":::5000", "1:2:3:4:5:6:7:8", "::ffff:127.0.0.1"};
    for (size_t i = 0; i < COUNT(texts); i++)
        expect_no_address(texts[i]);
}

static void another_scheme_is_EADDRESS(void **state)
{
    (void)state;
    static const char *const texts[] = {"http://127.0.0.1:1", "udp://127.0.0.1:1", "://127.0.0.1:1",
                                        "tls://127.0.0.1:1", "tcp4://127.0.0.1:1"};
    for (size_t i = 0; i < COUNT(texts); i++)
        expect_no_address(texts[i]);
}

static void a_host_is_letters_digits_hyphen_dot_and_underscore(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        char text[] = "a?b.invalid:1";
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '.' || c == '_';
        text[1] = (char)c;
        if (!good)
            expect_no_address(text);
    }
}

static void a_host_name_that_is_too_long_is_EADDRESS(void **state)
{
    (void)state;
    static const size_t lengths[] = {254, 255, 256, 257, 300, 1024, 70000};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        char *text = calloc(1, lengths[i] + 3);
        assert_non_null(text);
        for (size_t j = 0; j < lengths[i]; j++)
            text[j] = j % 10 == 9 ? '.' : 'a';
        strcat(text, ":1");
        expect_no_address(text);
        free(text);
    }
}

static void a_unix_path_that_is_too_long_is_EADDRESS(void **state)
{
    (void)state;
    static const size_t lengths[] = {UNIX_PATH_ROOM + 1, UNIX_PATH_ROOM + 2, 255, 256, 70000};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        char *text = calloc(1, strlen("unix:") + lengths[i] + 1);
        assert_non_null(text);
        strcpy(text, "unix:");
        memset(text + strlen(text), 'x', lengths[i]);
        text[strlen("unix:")] = '/';
        expect_no_address(text);
        text[strlen("unix:")] = '@';
        expect_no_address(text);
        free(text);
    }
}

static void port_0_is_no_address_to_dial(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "127.0.0.1:0", ":0", "[::1]:0", "localhost:0", "tcp://127.0.0.1:0", "127.0.0.1:00"};
    for (size_t i = 0; i < COUNT(texts); i++)
        expect_no_address_to_dial(texts[i]);
}

static void fd_takes_a_number_and_is_for_listen_alone(void **state)
{
    (void)state;
    static const char *const texts[] = {"fd:", "fd:x", "fd:-1", "fd:3x", "fd: 3", "fd:99999999999"};
    for (size_t i = 0; i < COUNT(texts); i++)
        expect_no_address_to_listen(texts[i]);
    expect_no_address_to_dial("fd:3");
}

static void no_address_at_all_is_EINVAL(void **state)
{
    (void)state;
    tcpmsg_listener *listener;
    tcpmsg_conn *conn;
    assert_int_equal(tcpmsg_listen(&listener, NULL, NULL), TCPMSG_EINVAL);
    assert_int_equal(tcpmsg_listen(NULL, "127.0.0.1:0", NULL), TCPMSG_EINVAL);
    assert_int_equal(tcpmsg_dial(&conn, NULL, NULL), TCPMSG_EINVAL);
    assert_int_equal(tcpmsg_dial(NULL, "127.0.0.1:1", NULL), TCPMSG_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_that_is_no_address_is_EADDRESS),
        cmocka_unit_test(a_bare_IPv6_address_is_EADDRESS),
        cmocka_unit_test(another_scheme_is_EADDRESS),
        cmocka_unit_test(a_host_is_letters_digits_hyphen_dot_and_underscore),
        cmocka_unit_test(a_host_name_that_is_too_long_is_EADDRESS),
        cmocka_unit_test(a_unix_path_that_is_too_long_is_EADDRESS),
        cmocka_unit_test(port_0_is_no_address_to_dial),
        cmocka_unit_test(fd_takes_a_number_and_is_for_listen_alone),
        cmocka_unit_test(no_address_at_all_is_EINVAL),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
