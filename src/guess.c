/* SPDX-License-Identifier: MIT */
#include "guess.h"

#include <string.h>

/* What other protocols begin with; four bytes are enough to ask the question. */
static const struct {
    const char *name;
    const char *bytes;
    size_t count;
} greetings[] = {
#define GREETING(name, text)                                                                       \
    {                                                                                              \
        name, text, sizeof text - 1                                                                \
    }
    GREETING("HTTP", "GET "),
    GREETING("HTTP", "POST"),
    GREETING("HTTP", "PUT "),
    GREETING("HTTP", "HEAD"),
    GREETING("HTTP", "DELE"),
    GREETING("HTTP", "OPTI"),
    GREETING("HTTP", "PATC"),
    GREETING("HTTP", "CONN"),
    GREETING("HTTP", "TRAC"),
    GREETING("HTTP", "HTTP"),
    GREETING("HTTP/2", "PRI "),
    GREETING("SSH", "SSH-"),
    GREETING("the PROXY protocol", "PROX"),
    GREETING("the PROXY protocol", "\r\n\r\n"),
    GREETING("nng or nanomsg (SP)", "\0SP\0"),
    GREETING("ZeroMQ (ZMTP)", "\xff\0\0\0\0\0\0\0"),
    /* RFC 8446 section 5.1: a handshake or alert record of SSL 3.0 to TLS 1.3 */
    GREETING("TLS", "\x16\x03\0"),
    GREETING("TLS", "\x16\x03\x01"),
    GREETING("TLS", "\x16\x03\x02"),
    GREETING("TLS", "\x16\x03\x03"),
    GREETING("TLS", "\x16\x03\x04"),
    GREETING("TLS", "\x15\x03\x01"),
    GREETING("TLS", "\x15\x03\x03"),
#undef GREETING
};

const char *tm_guess_protocol(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < sizeof greetings / sizeof greetings[0]; i++)
        if (count >= greetings[i].count &&
            memcmp(bytes, greetings[i].bytes, greetings[i].count) == 0)
            return greetings[i].name;
    return NULL;
}
