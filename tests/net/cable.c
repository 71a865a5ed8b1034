/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "cable.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define ETHERNET 14
#define IPV4 20
#define IPV6 40
#define FRAME_MOST 65600
#define SYN 0x02
#define ACK 0x10
#define AT_ONCE 64 /* frames of one side before the other one has its turn */

/* A slow cable's queue: who sends more loses it, as at any router. */
#define QUEUE_US 200000

/* A frame on its way. */
struct frame {
    struct frame *next;
    int64_t due_us;
    int to;
    size_t size;
    uint8_t bytes[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cable cable; /* with the lock, as the next two */
static struct cable_counts counts;
static uint32_t dice;

/* The thread's own. */
static int ends[2];
static struct frame *on_their_way;
static int64_t free_us[2]; /* when a slow cable is free again, each way */

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* xorshift32 */
static uint32_t throw_dice(uint32_t sides)
{
    dice ^= dice << 13;
    dice ^= dice >> 17;
    dice ^= dice << 5;
    return dice % sides;
}

static bool happens(int percent)
{
    return (int)throw_dice(100) < percent;
}

/* The family of an IP packet, or 0. */
static int family_of(const uint8_t *bytes, size_t size)
{
    if (size < ETHERNET + IPV4)
        return 0;
    unsigned type = (unsigned)bytes[12] << 8 | bytes[13];
    return type == 0x0800 ? AF_INET : type == 0x86dd && size >= ETHERNET + IPV6 ? AF_INET6 : 0;
}

/* The TCP header, or NULL. No IP options or extensions: nobody here makes any. */
static const uint8_t *tcp_of(const uint8_t *bytes, size_t size, int family)
{
    size_t ip = family == AF_INET ? IPV4 : IPV6;
    if (family == 0 || size < ETHERNET + ip + 20)
        return NULL;
    unsigned protocol = family == AF_INET ? bytes[ETHERNET + 9] : bytes[ETHERNET + 6];
    return protocol == IPPROTO_TCP ? bytes + ETHERNET + ip : NULL;
}

/* With the lock: whether it never arrives. */
static bool is_lost(const uint8_t *tcp, int family)
{
    if (cable.cut)
        return family != 0;
    if (!tcp)
        return false;
    if (cable.syns_lost > 0 && (tcp[13] & (SYN | ACK)) == SYN) {
        cable.syns_lost--;
        return true;
    }
    return family == cable.family_lost || happens(cable.lost);
}

/* In the order in which they are due; of two that are due at once the first one goes first. */
static void send_later(int to, const uint8_t *bytes, size_t size, int64_t due_us)
{
    struct frame *frame = malloc(sizeof *frame + size);
    struct frame **place = &on_their_way;
    if (!frame)
        return;
    frame->due_us = due_us;
    frame->to = to;
    frame->size = size;
    memcpy(frame->bytes, bytes, size);
    while (*place && (*place)->due_us <= due_us)
        place = &(*place)->next;
    frame->next = *place;
    *place = frame;
}

/* With the lock: when it has gone through, or -1 when there is no room for it. */
static int64_t arrival(int to, size_t size)
{
    int64_t now = now_us();
    if (cable.bytes_per_ms > 0) {
        if (free_us[to] < now)
            free_us[to] = now;
        if (free_us[to] - now > QUEUE_US)
            return -1;
        free_us[to] += (int64_t)size * 1000 / cable.bytes_per_ms;
        now = free_us[to];
    }
    return now + (int64_t)cable.delay_ms * 1000;
}

static uint16_t checksum(const uint8_t *bytes, size_t size)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i += 2)
        sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void store_16(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

/* What a router or a firewall answers to a segment that it does not let through (RFC 792, RFC
 * 1191): that the destination can't be reached, and why. */
#define UNREACHABLE 3
#define PORT 3
#define TOO_LONG 4

static void reject(int from, const uint8_t *bytes, uint8_t why, int longest)
{
    uint8_t answer[ETHERNET + IPV4 + 8 + IPV4 + 8] = {0};
    uint8_t *ip = answer + ETHERNET, *icmp = ip + IPV4;
    memcpy(answer, bytes + 6, 6);
    memcpy(answer + 6, bytes, 6);
    memcpy(answer + 12, bytes + 12, 2);
    ip[0] = 0x45;
    store_16(ip + 2, IPV4 + 8 + IPV4 + 8);
    ip[8] = 64;
    ip[9] = IPPROTO_ICMP;
    memcpy(ip + 12, bytes + ETHERNET + 16, 4);
    memcpy(ip + 16, bytes + ETHERNET + 12, 4);
    store_16(ip + 10, checksum(ip, IPV4));
    icmp[0] = UNREACHABLE;
    icmp[1] = why;
    store_16(icmp + 6, (uint16_t)longest);
    memcpy(icmp + 8, bytes + ETHERNET, IPV4 + 8);
    store_16(icmp + 2, checksum(icmp, 8 + IPV4 + 8));
    send_later(from, answer, sizeof answer, now_us());
}

static void reject_too_long(int from, const uint8_t *bytes)
{
    counts.too_long++;
    reject(from, bytes, TOO_LONG, cable.longest);
}

static void carry_segment(int to, const uint8_t *bytes, size_t size)
{
    int64_t due = arrival(to, size);
    counts.carried++;
    if (due < 0) {
        counts.lost++;
        return;
    }
    if (happens(cable.twice)) {
        counts.twice++;
        send_later(to, bytes, size, due + throw_dice(1000));
    }
    if (happens(cable.late)) {
        counts.late++;
        due += throw_dice((uint32_t)cable.late_ms * 1000 + 1);
    }
    send_later(to, bytes, size, due);
}

static void carry(int to, const uint8_t *bytes, size_t size)
{
    int family = family_of(bytes, size);
    const uint8_t *tcp = tcp_of(bytes, size, family);
    pthread_mutex_lock(&lock);
    if (is_lost(tcp, family))
        counts.lost++;
    else if (tcp && family == AF_INET && cable.rejected)
        reject(1 - to, bytes, PORT, 0);
    else if (tcp && family == AF_INET && cable.longest && size > ETHERNET + (size_t)cable.longest)
        reject_too_long(1 - to, bytes);
    else if (tcp)
        carry_segment(to, bytes, size);
    else
        send_later(to, bytes, size, now_us() + (int64_t)cable.delay_ms * 1000);
    pthread_mutex_unlock(&lock);
}

/* An interface that is down says so, and goes on when it is up again. */
static void take_in(int from)
{
    static uint8_t bytes[FRAME_MOST];
    for (int i = 0; i < AT_ONCE; i++) {
        ssize_t size = recv(ends[from], bytes, sizeof bytes, MSG_DONTWAIT);
        if (size <= 0)
            return;
        carry(1 - from, bytes, (size_t)size);
    }
}

static void give_out(void)
{
    while (on_their_way && on_their_way->due_us <= now_us()) {
        struct frame *frame = on_their_way;
        on_their_way = frame->next;
        send(ends[frame->to], frame->bytes, frame->size, MSG_DONTWAIT);
        free(frame);
    }
}

static void *carrier(void *unused)
{
    struct pollfd fds[2] = {{.fd = ends[0], .events = POLLIN}, {.fd = ends[1], .events = POLLIN}};
    for (;;) {
        int64_t left = on_their_way ? on_their_way->due_us - now_us() : 1000000;
        struct timespec rest = {left > 0 ? left / 1000000 : 0,
                                left > 0 ? left % 1000000 * 1000 : 0};
        ppoll(fds, 2, &rest, NULL);
        for (int i = 0; i < 2; i++)
            if (fds[i].revents)
                take_in(i);
        give_out();
    }
    return unused;
}

bool cable_begin(const int sockets[2])
{
    sigset_t all, before;
    pthread_t thread;
    memcpy(ends, sockets, sizeof ends);
    cable_set(&(struct cable){0});
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool begun = pthread_create(&thread, NULL, carrier, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return begun && pthread_detach(thread) == 0;
}

void cable_set(const struct cable *wanted)
{
    pthread_mutex_lock(&lock);
    cable = *wanted;
    counts = (struct cable_counts){0};
    dice = wanted->seed ? wanted->seed : 2463534242u;
    pthread_mutex_unlock(&lock);
}

struct cable_counts cable_counts(void)
{
    pthread_mutex_lock(&lock);
    struct cable_counts now = counts;
    pthread_mutex_unlock(&lock);
    return now;
}
