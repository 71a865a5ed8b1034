/* SPDX-License-Identifier: MIT */
/*
 * Loads an echo server that speaks the 4-byte prefix: so many connections, so many messages in
 * flight on each, and every answer is checked. One thread, epoll; what has come back is sent anew,
 * as many messages in a write as there are.
 */
#define _DEFAULT_SOURCE

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "echo.h"
#include "echo_peer.h"

enum {
    EVENTS = 512,
    PATIENCE_MS = 20000, /* with a server that sends nothing at all */
    OCTAVES = 40,        /* of nanoseconds */
    STEPS = 32,          /* in an octave: figures are right to 3 % */
};

static const double warm_up = 0.2; /* of the time that is measured */

static const char usage[] =
    "usage: echo_load [OPTIONS] ADDRESS\n"
    "\n"
    "  --connections N  (1)\n"
    "  --in-flight N    messages in flight on each (1)\n"
    "  --size N         bytes of a message (64)\n"
    "  --seconds N      that are measured (1)\n"
    "  --percentiles    tell how long answers took; one message in flight on each connection\n"
    "  --turns N        instead: each connection sends one message in its turn, N times over;\n"
    "                   --in-flight messages on all connections together\n"
    "  --idle           instead: --in-flight messages (0: none) on each connection, then silence\n"
    "                   until the end of standard input\n";

static long connections = 1;
static long in_flight = 1;
static long size = 64;
static long seconds = 1;
static long turns;
static bool percentiles;
static bool idle;

static echo_peer *peers;
static echo_row row;
static int poller;
static uint64_t answered;
static uint64_t asked;
static uint64_t asked_at_most = UINT64_MAX;
static uint64_t times[OCTAVES * STEPS]; /* how many answers took so long */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static double processor_s(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void connect_all(const struct sockaddr_in *address)
{
    peers = calloc((size_t)connections, sizeof(*peers));
    bench_system(peers != NULL, "calloc");
    poller = epoll_create1(0);
    bench_system(poller >= 0, "epoll_create1");
    for (long i = 0; i < connections; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        bench_system(fd >= 0, "socket");
        bench_system(connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0,
                     "connect");
        echo_prepare(fd);
        peers[i].fd = fd;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &peers[i]};
        bench_system(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    }
}

static void send_some(echo_peer *peer, size_t messages)
{
    uint64_t left = asked_at_most - asked;
    messages = messages < left ? messages : (size_t)left;
    asked += messages;
    echo_peer_ask(peer, &row, messages);
    if (percentiles && messages > 0) {
        peer->sent_ns = now_ns();
    }
    echo_peer_send(peer, &row);
}

/* Nanoseconds to a place in the table: the octave, and the steps that follow its highest bit. */
static size_t place(uint64_t ns)
{
    size_t octave = 0;
    while (ns >= 2 * STEPS) {
        ns /= 2;
        octave++;
    }
    size_t at = octave * STEPS + (size_t)ns;
    return at < OCTAVES * STEPS ? at : OCTAVES * STEPS - 1;
}

static double place_us(size_t at)
{
    size_t octave = at < 2 * STEPS ? 0 : at / STEPS - 1;
    return (double)((uint64_t)(at - octave * STEPS) << octave) * 1e-3;
}

static double percentile_us(double part)
{
    uint64_t all = 0;
    for (size_t i = 0; i < OCTAVES * STEPS; i++) {
        all += times[i];
    }
    uint64_t below = (uint64_t)(part * (double)all);
    size_t at = 0;
    while (at + 1 < OCTAVES * STEPS && below >= times[at]) {
        below -= times[at++];
    }
    return place_us(at);
}

/* Who sends next when one has its answer: itself, or with --turns the next in the row. */
static echo_peer *successor(echo_peer *peer)
{
    return turns > 0 ? &peers[asked % (uint64_t)connections] : peer;
}

static void receive(echo_peer *peer)
{
    bool drained;
    do {
        size_t whole = echo_peer_receive(peer, &row, &drained);
        if (whole == 0) {
            continue;
        }
        answered += whole;
        if (percentiles) {
            times[place(now_ns() - peer->sent_ns)]++;
        }
        send_some(successor(peer), whole);
    } while (!drained);
}

/* Edge-triggered: everything must be read, and what blocked must be tried again. */
static void handle(echo_peer *peer, uint32_t events)
{
    if ((events & EPOLLOUT) != 0 && peer->blocked) {
        echo_peer_send(peer, &row);
    }
    if ((events & ~(uint32_t)EPOLLOUT) != 0) {
        receive(peer);
    }
}

static void serve_once(void)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, PATIENCE_MS);
    if (count == 0) {
        fprintf(stderr, "no answer: %llu of %llu have come\n", (unsigned long long)answered,
                (unsigned long long)asked);
        exit(1);
    }
    for (int i = 0; i < count; i++) {
        handle(events[i].data.ptr, events[i].events);
    }
}

static void serve_until(uint64_t deadline)
{
    while (now_ns() < deadline) {
        serve_once();
    }
}

/* No more messages; the answers that are still missing must come. */
static void serve_rest(void)
{
    asked_at_most = asked_at_most < asked ? asked_at_most : asked;
    while (answered < asked) {
        serve_once();
    }
}

static void start(void)
{
    for (long i = 0; i < connections; i++) {
        send_some(&peers[i], (size_t)in_flight);
    }
}

static void tell_end(void)
{
    uint64_t least = UINT64_MAX;
    for (long i = 0; i < connections; i++) {
        bench_require(peers[i].answered == peers[i].asked, "an answer came to the wrong one");
        least = peers[i].answered < least ? peers[i].answered : least;
    }
    printf("answers: %llu of %llu\n", (unsigned long long)answered, (unsigned long long)asked);
    printf("fewest answers on a connection: %llu\n", (unsigned long long)least);
    fflush(stdout);
}

static void run_load(void)
{
    start();
    uint64_t begin = now_ns() + (uint64_t)(warm_up * 1e9 * (double)seconds);
    serve_until(begin);
    for (size_t i = 0; i < OCTAVES * STEPS; i++) {
        times[i] = 0;
    }
    begin = now_ns();
    uint64_t before = answered;
    double processor = processor_s();
    serve_until(begin + 1000000000U * (uint64_t)seconds);
    double taken = 1e-9 * (double)(now_ns() - begin);
    printf("messages a second: %.0f\n", (double)(answered - before) / taken);
    printf("load on one processor: %.2f\n", (processor_s() - processor) / taken);
    if (percentiles) {
        printf("median us: %.1f\n99th percentile us: %.1f\n", percentile_us(0.5),
               percentile_us(0.99));
    }
    serve_rest();
    tell_end();
}

static void run_turns(void)
{
    uint64_t begin = now_ns();
    asked_at_most = (uint64_t)connections * (uint64_t)turns;
    for (long i = 0; i < in_flight; i++) {
        send_some(successor(NULL), 1);
    }
    while (answered < asked_at_most) {
        serve_once();
    }
    printf("messages a second: %.0f\n", (double)answered * 1e9 / (double)(now_ns() - begin));
    tell_end();
}

static void run_idle(void)
{
    char byte;
    start();
    serve_rest();
    tell_end();
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
}

int main(int argc, char **argv)
{
    const echo_option options[] = {
        {.name = "--connections", .number = &connections, .least = 1},
        {.name = "--in-flight", .number = &in_flight, .least = 0},
        {.name = "--size", .number = &size, .least = 0},
        {.name = "--seconds", .number = &seconds, .least = 1},
        {.name = "--turns", .number = &turns, .least = 1},
        {.name = "--percentiles", .flag = &percentiles},
        {.name = "--idle", .flag = &idle},
        {.name = NULL},
    };
    const char *text = echo_command_line(argc, argv, options, NULL, usage);
    bench_require(!percentiles || in_flight == 1, "--percentiles: one message in flight");
    bench_require(idle || in_flight > 0, "there must be a message in flight");
    bench_require(turns == 0 || in_flight <= connections, "--turns: more in flight than turns");
    struct sockaddr_in address = echo_address(text);
    row = echo_row_make((size_t)size, (size_t)in_flight);
    connect_all(&address);
    if (idle) {
        run_idle();
    } else if (turns > 0) {
        run_turns();
    } else {
        run_load();
    }
    return 0;
}
