/* SPDX-License-Identifier: MIT */
/* The headers of HAProxy's doc/proxy-protocol.txt, as they come and as they must not come. */
#define _GNU_SOURCE
#include "proxy.h"
#include "support.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\xc0\0\x02\x01\xc6\x33\x64\x02\x0f\xa0\0\x50" /* 192.0.2.1:4000 to 198.51.100.2:80 */
#define V6                                                                                         \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"         \
    "\x0f\xa0\0\x50"

struct header {
    const char *bytes;
    size_t count;
    const char *client; /* as it is printed; NULL: the proxy's own, or nobody's */
};

#define HEADER(bytes, client)                                                                      \
    {                                                                                              \
        bytes, sizeof bytes - 1, client                                                            \
    }

static const struct header good[] = {
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 4000 80\r\n", "192.0.2.1:4000"),
    HEADER("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"),
    HEADER("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0"),
    HEADER("PROXY TCP6 2001:db8::1 2001:db8::2 4000 80\r\n", "[2001:db8::1]:4000"),
    HEADER("PROXY TCP6 ::ffff:192.0.2.1 ::1 4000 80\r\n", "192.0.2.1:4000"),
    HEADER("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
           "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
    HEADER("PROXY UNKNOWN\r\n", NULL),
    HEADER("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
           NULL),
    HEADER(SIGNATURE "\x21\x11\0\x0c" V4, "192.0.2.1:4000"),
    HEADER(SIGNATURE "\x21\x12\0\x0c" V4, "192.0.2.1:4000"),
    HEADER(SIGNATURE "\x21\x21\0\x24" V6, "[2001:db8::1]:4000"),
    HEADER(SIGNATURE "\x21\x11\0\x0f" V4 "\x04\0\0", "192.0.2.1:4000"),
    HEADER(SIGNATURE "\x21\x11\0\x14" V4 "\x02\0\x05hello", "192.0.2.1:4000"),
    HEADER(SIGNATURE "\x21\x11\0\x13" V4 "\x03\0\x04\x5c\x44\x6a\x33", "192.0.2.1:4000"),
    HEADER(SIGNATURE "\x21\x11\0\x16" V4 "\x03\0\x04\x9e\x2e\x5b\x0b\x04\0\0", "192.0.2.1:4000"),
    HEADER(SIGNATURE "\x21\x00\0\0", NULL),
    HEADER(SIGNATURE "\x21\x00\0\x03\x04\0\0", NULL),
    HEADER(SIGNATURE "\x21\x10\0\x0c" V4, NULL),
    HEADER(SIGNATURE "\x20\x00\0\0", NULL),
    HEADER(SIGNATURE "\x20\xff\0\x02\xff\xff", NULL),
};

static const struct header bad[] = {
    HEADER("GET / HTTP/1.1\r\n", NULL),
    HEADER("\0\0\0\x05hello", NULL),
    HEADER("proxy TCP4 192.0.2.1 198.51.100.2 4000 80\r\n", NULL),
    HEADER("PROXY  TCP4 192.0.2.1 198.51.100.2 4000 80\r\n", NULL),
    HEADER("PROXY\tTCP4 192.0.2.1 198.51.100.2 4000 80\r\n", NULL),
    HEADER("PROXY \r\n", NULL),
    HEADER("PROXY TCP4\r\n", NULL),
    HEADER("PROXY TCP4 \r\n", NULL),
    HEADER("PROXY TCP5 192.0.2.1 198.51.100.2 4000 80\r\n", NULL),
    HEADER("PROXY UDP4 192.0.2.1 198.51.100.2 4000 80\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 4000 80\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 4000 80 \r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 4000 80 90\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1  198.51.100.2 4000 80\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 4000\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2 198.51.100.2 4000 80\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.256 198.51.100.2 4000 80\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100 4000 80\r\n", NULL),
    HEADER("PROXY TCP4 2001:db8::1 2001:db8::2 4000 80\r\n", NULL),
    HEADER("PROXY TCP6 192.0.2.1 198.51.100.2 4000 80\r\n", NULL),
    HEADER("PROXY TCP6 2001:db8::1 192.0.2.1 4000 80\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 65536 80\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 4000 65536\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 4000 100000\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 04000 80\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 -1 80\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 4000x 80\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 0x10 80\r\n", NULL),
    HEADER("PROXY TCP4 192.0.2.1 198.51.100.2 4000 80\0\r\n", NULL),
    HEADER("PROXY UNKNOWNS\r\n", NULL),
    HEADER("\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c" V4, NULL),
    HEADER(SIGNATURE "\x11\x11\0\x0c" V4, NULL),
    HEADER(SIGNATURE "\x31\x11\0\x0c" V4, NULL),
    HEADER(SIGNATURE "\x22\x11\0\x0c" V4, NULL),
    HEADER(SIGNATURE "\x21\x41\0\x0c" V4, NULL),
    HEADER(SIGNATURE "\x21\x13\0\x0c" V4, NULL),
    HEADER(SIGNATURE "\x21\x11\0\x0b" V4, NULL),
    HEADER(SIGNATURE "\x21\x21\0\x0c" V4, NULL),
    HEADER(SIGNATURE "\x21\x31\0\x0c" V4, NULL),
    HEADER(SIGNATURE "\x21\x11\0\x0d" V4 "\x04", NULL),
    HEADER(SIGNATURE "\x21\x11\0\x0e" V4 "\x04\0", NULL),
    HEADER(SIGNATURE "\x21\x11\0\x0f" V4 "\x04\0\x01", NULL),
    HEADER(SIGNATURE "\x21\x11\0\x13" V4 "\x04\0\x05"
                     "abcd",
           NULL),
    HEADER(SIGNATURE "\x21\x11\0\x12" V4 "\x03\0\x03"
                     "abc",
           NULL),
    HEADER(SIGNATURE "\x21\x11\0\x13" V4 "\x03\0\x04"
                     "abcd",
           NULL),
    HEADER(SIGNATURE "\x21\x11\xff\xff" V4, NULL),
};

/* A copy that ends where memory does, so that a look behind it is a fault. */
static const uint8_t *at_the_edge(const char *bytes, size_t count)
{
    static uint8_t *pages;
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    if (!pages) {
        pages = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(pages, MAP_FAILED);
        assert_int_equal(mprotect(pages + size, size, PROT_NONE), 0);
    }
    memcpy(pages + size - count, bytes, count);
    return pages + size - count;
}

static void expect_client(const tm_sockaddr *client, const char *wanted)
{
    char text[TCPMSG_ADDRESS_MAX];
    assert_int_equal(client->length != 0, wanted != NULL);
    if (!wanted)
        return;
    assert_int_equal(tm_sockaddr_print(client, text, sizeof text), 0);
    assert_string_equal(text, wanted);
}

static void a_header_is_understood_when_it_is_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        tm_sockaddr client;
        const char *wrong = NULL;
        for (size_t count = 0; count < good[i].count; count++)
            assert_int_equal(
                tm_proxy_decode(at_the_edge(good[i].bytes, count), count, &client, &wrong), 0);
        assert_int_equal(tm_proxy_decode(at_the_edge(good[i].bytes, good[i].count), good[i].count,
                                         &client, &wrong),
                         good[i].count);
        expect_client(&client, good[i].client);
    }
}

static void what_follows_a_header_is_not_its(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        char bytes[400];
        tm_sockaddr client;
        const char *wrong = NULL;
        memcpy(bytes, good[i].bytes, good[i].count);
        memcpy(bytes + good[i].count, "\n\0\r\nPROXY ", 10);
        assert_int_equal(
            tm_proxy_decode((const uint8_t *)bytes, good[i].count + 10, &client, &wrong),
            good[i].count);
        expect_client(&client, good[i].client);
    }
}

/* At the latest when all of it is there; a refusal is never taken back. */
static void what_is_wrong_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        ssize_t answer = 0;
        for (size_t count = 0; count <= bad[i].count; count++) {
            tm_sockaddr client;
            const char *wrong = NULL;
            ssize_t before = answer;
            answer = tm_proxy_decode(at_the_edge(bad[i].bytes, count), count, &client, &wrong);
            bool may_be = before == 0 ? answer == 0 || answer == TCPMSG_EPROTO : answer == before;
            if (!may_be || client.length != 0)
                fail_msg("\"%s\" after %zu bytes: %zd", bad[i].bytes, count, answer);
        }
        if (answer != TCPMSG_EPROTO)
            fail_msg("\"%s\" is not refused", bad[i].bytes);
    }
}

static void a_line_without_an_end_is_refused_after_107_bytes(void **state)
{
    (void)state;
    char line[200];
    tm_sockaddr client;
    const char *wrong;
    memset(line, 'x', sizeof line);
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(tm_proxy_decode(at_the_edge(line, 106), 106, &client, &wrong), 0);
    assert_int_equal(tm_proxy_decode(at_the_edge(line, 107), 107, &client, &wrong), TCPMSG_EPROTO);
    memcpy(line + 105, "\r\n", 2);
    assert_int_equal(tm_proxy_decode(at_the_edge(line, 107), 107, &client, &wrong), 107);
    memcpy(line + 105, "x\r\n", 3);
    assert_int_equal(tm_proxy_decode(at_the_edge(line, 108), 108, &client, &wrong), TCPMSG_EPROTO);
}

/* A header of the binary form with the addresses of two Unix sockets. */
static void expect_unix(const char *path, size_t count, const char *wanted)
{
    uint8_t bytes[16 + 216] = SIGNATURE "\x21\x31\0\xd8";
    tm_sockaddr client;
    const char *wrong;
    memcpy(bytes + 16, path, count);
    memset(bytes + 16 + 108, 'z', 108);
    assert_int_equal(tm_proxy_decode(bytes, sizeof bytes, &client, &wrong), sizeof bytes);
    expect_client(&client, wanted);
}

static void a_client_of_a_unix_path_is_named(void **state)
{
    (void)state;
    char longest[108 + 1], wanted[128] = "unix:";
    memset(longest, 'p', 108);
    longest[0] = '/';
    longest[108] = '\0';
    strcat(wanted, longest);
    expect_unix("/run/x", 6, "unix:/run/x");
    expect_unix("\0name", 5, "unix:@name");
    expect_unix("", 0, "unix:");
    expect_unix(longest, 108, wanted);
}

/* The longest that is taken, and one byte more: known by its first 16 bytes. */
static void a_header_of_over_4096_bytes_is_refused_at_once(void **state)
{
    (void)state;
    static uint8_t bytes[TM_PROXY_MOST] = SIGNATURE "\x21\x11\x0f\xf0" V4 "\x04\x0f\xe1";
    tm_sockaddr client;
    const char *wrong;
    assert_int_equal(tm_proxy_decode(bytes, TM_PROXY_MOST - 1, &client, &wrong), 0);
    assert_int_equal(tm_proxy_decode(bytes, TM_PROXY_MOST, &client, &wrong), TM_PROXY_MOST);
    bytes[15]++;
    assert_int_equal(tm_proxy_decode(bytes, 15, &client, &wrong), 0);
    assert_int_equal(tm_proxy_decode(bytes, 16, &client, &wrong), TCPMSG_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_understood_when_it_is_whole),
        cmocka_unit_test(what_follows_a_header_is_not_its),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(a_line_without_an_end_is_refused_after_107_bytes),
        cmocka_unit_test(a_client_of_a_unix_path_is_named),
        cmocka_unit_test(a_header_of_over_4096_bytes_is_refused_at_once),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
