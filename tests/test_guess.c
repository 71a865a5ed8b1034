/* SPDX-License-Identifier: MIT */
/* Other protocols, recognised by the bytes that they begin with. */
#define _POSIX_C_SOURCE 200809L
#include "guess.h"
#include "support.h"

#include <string.h>
#include <unistd.h>

/* As a peer of that protocol would begin. */
static const struct beginning {
    const char *protocol;
    const char *bytes;
    size_t count;
} beginnings[] = {
#define BEGINNING(protocol, bytes)                                                                 \
    {                                                                                              \
        protocol, bytes, sizeof bytes - 1                                                          \
    }
    BEGINNING("HTTP", "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
    BEGINNING("HTTP", "HEAD / HTTP/1.0\r\n\r\n"),
    BEGINNING("HTTP", "POST /form HTTP/1.1\r\n"),
    BEGINNING("HTTP", "PUT /file HTTP/1.1\r\n"),
    BEGINNING("HTTP", "DELETE /file HTTP/1.1\r\n"),
    BEGINNING("HTTP", "OPTIONS * HTTP/1.1\r\n"),
    BEGINNING("HTTP", "PATCH /file HTTP/1.1\r\n"),
    BEGINNING("HTTP", "CONNECT example.org:443 HTTP/1.1\r\n"),
    BEGINNING("HTTP", "TRACE / HTTP/1.1\r\n"),
    BEGINNING("HTTP", "HTTP/1.1 400 Bad Request\r\n"),
    BEGINNING("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    BEGINNING("SSH", "SSH-2.0-OpenSSH_9.2p1\r\n"),
    BEGINNING("PROXY", "PROXY TCP4 192.0.2.1 192.0.2.2 4000 80\r\n"),
    BEGINNING("PROXY", "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"),
    BEGINNING("nng", "\0SP\0\0\x10\0\0"),
    BEGINNING("ZeroMQ", "\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL"),
    BEGINNING("TLS", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
    BEGINNING("TLS", "\x16\x03\x03\0\x7a\x02\0\0\x76"),
    BEGINNING("TLS", "\x15\x03\x03\0\x02\x02\x46"),
#undef BEGINNING
};

static void the_beginnings_of_other_protocols_are_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(beginnings); i++) {
        const struct beginning *one = &beginnings[i];
        const char *protocol = tm_guess_protocol((const uint8_t *)one->bytes, one->count);
        if (!protocol || !strstr(protocol, one->protocol))
            fail_msg("\"%s\" is %s", one->bytes, protocol ? protocol : "nothing known");
    }
}

/* One more byte never takes a guess back, and nobody looks behind the bytes there are. */
static void a_guess_stays_as_bytes_come(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(beginnings); i++) {
        uint8_t bytes[64];
        const char *guessed = NULL;
        for (size_t count = 0; count <= beginnings[i].count; count++) {
            memset(bytes, 0xee, sizeof bytes);
            memcpy(bytes, beginnings[i].bytes, count);
            const char *protocol = tm_guess_protocol(bytes, count);
            assert_true(count >= 3 || protocol == NULL);
            assert_true(guessed == NULL || protocol == guessed);
            guessed = protocol;
        }
        assert_non_null(guessed);
    }
}

static void our_own_messages_are_nothing_else(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "hello", "get / http", "GETAWAY", "Ssh-", "\x16\x04"};
    for (size_t i = 0; i < COUNT(texts); i++)
        assert_null(tm_guess_protocol((const uint8_t *)texts[i], strlen(texts[i])));
    static const uint8_t prefixes[][8] = {
        {0, 0, 0, 0}, {0, 0, 0, 5, 'h', 'e'}, {5, 0, 0, 0, 'h', 'e'}, {0xff, 0xff, 0xff, 0xff}};
    for (size_t i = 0; i < COUNT(prefixes); i++)
        assert_null(tm_guess_protocol(prefixes[i], sizeof prefixes[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_beginnings_of_other_protocols_are_told),
        cmocka_unit_test(a_guess_stays_as_bytes_come),
        cmocka_unit_test(our_own_messages_are_nothing_else),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
