/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

int looper_guest(struct looper *looper, struct seen **seen)
{
    int number = atomic_load(&looper->count);
    int raw = raw_reach(looper->address);
    assert_true(raw >= 0);
    struct seen *guest = looper_seen(looper, number);
    if (seen)
        *seen = guest;
    return raw;
}

int looper_guest_small(struct looper *looper, struct seen **seen)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int bytes = 16 * 1024, number = atomic_load(&looper->count);
    if (strncmp(looper->address, "unix:", 5) == 0)
        return looper_guest(looper, seen);
    int raw = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(raw >= 0);
    assert_int_equal(setsockopt(raw, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
    to.sin_port = htons((uint16_t)strtoul(strrchr(looper->address, ':') + 1, NULL, 10));
    assert_int_equal(connect(raw, (struct sockaddr *)&to, sizeof to), 0);
    struct seen *guest = looper_seen(looper, number);
    if (seen)
        *seen = guest;
    return raw;
}

int raw_reach(const char *address)
{
    return strncmp(address, "unix:", 5) == 0 ? raw_dial_unix(address + 5) : raw_dial(address);
}

bool raw_send_filled(int raw, size_t length, uint32_t seed)
{
    struct wire wire = {0};
    wire_add_filled(&wire, NULL, length, seed);
    bool sent = write_all(raw, wire.bytes, wire.count);
    wire_free(&wire);
    return sent;
}

bool raw_gets_filled(int raw, size_t length, uint32_t seed)
{
    uint8_t prefix[TCPMSG_PREFIX_MAX], wanted[TCPMSG_PREFIX_MAX];
    size_t size = model_prefix(&framings[0], length, wanted);
    uint8_t *message = malloc(length + 1);
    bool same = message && read_all(raw, prefix, size) && memcmp(prefix, wanted, size) == 0 &&
                read_all(raw, message, length) && is_filled(message, length, seed);
    free(message);
    return same;
}

void small_output(struct seen *seen)
{
    int bytes = 16 * 1024;
    if (setsockopt(tcpmsg_conn_fd(seen->conn), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) != 0)
        looper_fault(seen->looper, "the system's buffer can't be limited");
}

void expect_echo(int raw, const struct wire *wire, size_t piece)
{
    struct reader reader = {0};
    reader_start(&reader, raw);
    bool written = true;
    for (size_t at = 0; written && at < wire->count; at += piece) {
        size_t count = wire->count - at < piece ? wire->count - at : piece;
        written = write_all(raw, wire->bytes + at, count);
    }
    shutdown(raw, SHUT_WR);
    reader_finish(&reader);
    assert_true(written);
    assert_true(wire_equal(&reader.got, wire));
    assert_int_equal(reader.end, 0);
    wire_free(&reader.got);
}

size_t allocated_bytes(void)
{
#ifdef __GLIBC__
    if (SANITIZED) /* its allocator keeps this at nothing, and MSan does not see it written */
        return 0;
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
#else
    return 0;
#endif
}

int raise_descriptors(void)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    return limit.rlim_cur > 1000000 ? 1000000 : (int)limit.rlim_cur;
}

int test_seconds(int standard)
{
    const char *text = getenv("TESTS_SECONDS");
    int seconds = text ? atoi(text) : 0;
    return seconds > 0 ? seconds : standard;
}

bool under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "vgpreload");
}
