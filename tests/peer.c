/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

const tcpmsg_framing framings[] = {
    {.width = 0},
    {.width = 1},
    {.width = 2},
    {.width = 3},
    {.width = 4},
    {.width = 8},
    {.width = 2, .little_endian = 1},
    {.width = 3, .little_endian = 1},
    {.width = 4, .little_endian = 1},
    {.width = 8, .little_endian = 1},
    {.width = 1, .counts_prefix = 1},
    {.width = 2, .counts_prefix = 1},
    {.width = 4, .counts_prefix = 1},
    {.width = 8, .counts_prefix = 1, .little_endian = 1},
    {.width = TCPMSG_VARINT},
};

const size_t framings_count = COUNT(framings);

size_t framing_limit(const tcpmsg_framing *framing, size_t limit)
{
    int width = framing->width ? framing->width : 4;
    if (width > 4)
        return limit;
    uint64_t most = ((uint64_t)1 << (8 * width)) - 1;
    if (framing->counts_prefix)
        most -= (uint64_t)width;
    return most < limit ? (size_t)most : limit;
}

static size_t model_varint(uint64_t length, uint8_t prefix[TCPMSG_PREFIX_MAX])
{
    size_t used = 0;
    for (; length >= 128; length /= 128)
        prefix[used++] = (uint8_t)(length % 128 + 128);
    prefix[used++] = (uint8_t)length;
    return used;
}

size_t model_prefix(const tcpmsg_framing *framing, uint64_t length,
                    uint8_t prefix[TCPMSG_PREFIX_MAX])
{
    if (framing->width == TCPMSG_VARINT)
        return model_varint(length, prefix);
    size_t width = framing->width ? (size_t)framing->width : 4;
    if (framing->counts_prefix)
        length += width;
    for (size_t i = 0; i < width; i++, length /= 256)
        prefix[framing->little_endian ? i : width - 1 - i] = (uint8_t)(length % 256);
    return width;
}

void fill(void *bytes, size_t length, uint32_t seed)
{
    uint8_t *to = bytes;
    uint32_t x = seed * 2654435761u + 12345u;
    for (size_t i = 0; i < length; i++) {
        x = x * 1664525u + 1013904223u;
        to[i] = (uint8_t)(x >> 24);
    }
}

bool is_filled(const void *bytes, size_t length, uint32_t seed)
{
    const uint8_t *from = bytes;
    uint32_t x = seed * 2654435761u + 12345u;
    for (size_t i = 0; i < length; i++) {
        x = x * 1664525u + 1013904223u;
        if (from[i] != (uint8_t)(x >> 24))
            return false;
    }
    return true;
}

static uint8_t *wire_room(struct wire *wire, size_t count)
{
    if (wire->room - wire->count < count) {
        wire->room = 2 * wire->room + count;
        wire->bytes = realloc(wire->bytes, wire->room);
        if (!wire->bytes)
            abort();
    }
    wire->count += count;
    return wire->bytes + wire->count - count;
}

void wire_add(struct wire *wire, const void *bytes, size_t count)
{
    if (count > 0)
        memcpy(wire_room(wire, count), bytes, count);
}

void wire_add_message(struct wire *wire, const tcpmsg_framing *framing, const void *message,
                      size_t length)
{
    static const tcpmsg_framing standard;
    uint8_t prefix[TCPMSG_PREFIX_MAX];
    wire_add(wire, prefix, model_prefix(framing ? framing : &standard, length, prefix));
    wire_add(wire, message, length);
}

void wire_add_filled(struct wire *wire, const tcpmsg_framing *framing, size_t length, uint32_t seed)
{
    uint8_t *message = malloc(length + 1);
    assert_non_null(message);
    fill(message, length, seed);
    wire_add_message(wire, framing, message, length);
    free(message);
}

bool wire_equal(const struct wire *one, const struct wire *other)
{
    if (one->count != other->count)
        print_error("%zu bytes and %zu bytes\n", one->count, other->count);
    return one->count == other->count &&
           (one->count == 0 || memcmp(one->bytes, other->bytes, one->count) == 0);
}

void wire_free(struct wire *wire)
{
    free(wire->bytes);
    *wire = (struct wire){0};
}

/* One recv into the wire: what recv answered, its errno kept. */
static ssize_t wire_recv(struct wire *wire, int fd, size_t count)
{
    size_t before = wire->count;
    ssize_t got = recv(fd, wire_room(wire, count), count, MSG_DONTWAIT);
    wire->count = before + (got > 0 ? (size_t)got : 0);
    return got;
}

static void *reader_body(void *arg)
{
    struct reader *reader = arg;
    int64_t deadline = now_ms() + 3 * WAIT_MS;
    reader->end = ETIMEDOUT;
    while (now_ms() < deadline) {
        ssize_t got = wire_recv(&reader->got, reader->fd, 64 * KIB);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            wait_events(reader->fd, POLLIN, 100);
        } else if (got <= 0) {
            reader->end = got == 0 ? 0 : errno;
            break;
        }
    }
    return NULL;
}

void reader_start(struct reader *reader, int raw)
{
    reader->fd = raw;
    assert_int_equal(pthread_create(&reader->thread, NULL, reader_body, reader), 0);
}

void reader_finish(struct reader *reader)
{
    assert_int_equal(pthread_join(reader->thread, NULL), 0);
}

void raw_take(int raw, struct wire *wire, size_t count)
{
    while (count > 0) {
        ssize_t got = wire_recv(wire, raw, count);
        if (got <= 0)
            return;
        count -= (size_t)got;
    }
}

bool raw_send(int raw, const char *text)
{
    struct wire wire = {0};
    wire_add_message(&wire, NULL, text, strlen(text));
    bool sent = write_all(raw, wire.bytes, wire.count);
    wire_free(&wire);
    return sent;
}

bool raw_gets(int raw, const char *text)
{
    struct wire wanted = {0};
    wire_add_message(&wanted, NULL, text, strlen(text));
    struct wire got = {0};
    wire_add(&got, wanted.bytes, wanted.count);
    bool same = read_all(raw, got.bytes, got.count) && wire_equal(&got, &wanted);
    wire_free(&got);
    wire_free(&wanted);
    return same;
}

bool raw_has_nothing(int raw)
{
    return wait_events(raw, POLLIN, 20) == 0;
}

void raw_reset(int raw)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(raw, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    close(raw);
}

static void limit_buffers(int fd)
{
    int bytes = 64 * 1024;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
}

void pair_small(tcpmsg_conn **conn, int *raw, const tcpmsg_options *options)
{
    pair(conn, raw, options);
    limit_buffers(*raw);
    limit_buffers(tcpmsg_conn_fd(*conn));
}

void pair_conns(tcpmsg_conn **one, tcpmsg_conn **other, const tcpmsg_options *options)
{
    int raw;
    pair(one, &raw, options);
    assert_int_equal(tcpmsg_attach(other, raw, options), 0);
}

void pair_conns_unix(tcpmsg_conn **one, tcpmsg_conn **other, const tcpmsg_options *options)
{
    int raw;
    pair_unix(one, &raw, options);
    assert_int_equal(tcpmsg_attach(other, raw, options), 0);
}

static void send_until_eagain(tcpmsg_conn *conn)
{
    static const uint8_t block[256 * 1024];
    int result = 0;
    for (int tries = 0; result == 0 && tries < 1000; tries++)
        result = tcpmsg_send(conn, block, sizeof block, TCPMSG_DONTWAIT);
    assert_code(result, TCPMSG_EAGAIN);
}

void jam(tcpmsg_conn *conn)
{
    tcpmsg_info before, now = {0};
    /* A delayed acknowledgement makes room again a while after the last byte that went in. */
    for (int still = 0; still < 2;) {
        before = now;
        send_until_eagain(conn);
        assert_int_equal(tcpmsg_conn_info(conn, &now, sizeof now), 0);
        if (now.messages_sent != before.messages_sent || now.unsent_bytes != before.unsent_bytes ||
            now.unacked_bytes != before.unacked_bytes)
            still = 0;
        else if (++still == 1)
            sleep_ms(100);
    }
}

static void *call_body(void *arg)
{
    struct call *call = arg;
    atomic_store(&call->id, (int)syscall(SYS_gettid));
    call->answer = call->body(call);
    return NULL;
}

void call_start(struct call *call)
{
    atomic_store(&call->id, 0);
    assert_int_equal(pthread_create(&call->thread, NULL, call_body, call), 0);
}

/* Its state in proc(5) is "S", which stands after the last parenthesis of its stat. */
static bool call_asleep(void *arg)
{
    struct call *call = arg;
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", atomic_load(&call->id));
    FILE *file = atomic_load(&call->id) ? fopen(path, "r") : NULL;
    if (!file)
        return false;
    size_t got = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[got] = '\0';
    const char *name_end = strrchr(line, ')');
    return name_end && name_end[1] == ' ' && name_end[2] == 'S';
}

void call_start_asleep(struct call *call)
{
    call_start(call);
    for (int times = 0; times < 3; times++) {
        assert_true(eventually(call_asleep, call));
        sleep_ms(3);
    }
}

ssize_t call_finish(struct call *call)
{
    assert_int_equal(pthread_join(call->thread, NULL), 0);
    return call->answer;
}

static timer_t storm;
static atomic_int storm_count;

static void storm_signal(int number)
{
    (void)number;
    atomic_fetch_add(&storm_count, 1);
}

void storm_begin(void)
{
    struct sigaction action = {.sa_handler = storm_signal};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec every = {.it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1000000};
    atomic_store(&storm_count, 0);
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &storm), 0);
    assert_int_equal(timer_settime(storm, 0, &every, NULL), 0);
}

void storm_end(void)
{
    assert_int_equal(timer_delete(storm), 0);
}

int storm_signals(void)
{
    return atomic_load(&storm_count);
}

int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

size_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long all, resident;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &all, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

bool says(const char *story, const char *text)
{
    return strcasestr(story, text) != NULL;
}

bool says_number(const char *story, uint64_t number)
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    for (const char *at = story; (at = strstr(at, digits)) != NULL; at++) {
        bool begins = at == story || !isdigit((unsigned char)at[-1]);
        if (begins && !isdigit((unsigned char)at[length]))
            return true;
    }
    return false;
}
