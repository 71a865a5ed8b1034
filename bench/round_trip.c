/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

/*
 * One connection, one message in flight: how long until the answer is there? Both sides are of
 * the same kind, bare with bare and ours with ours.
 */

#include <stdlib.h>
#include <sys/socket.h>

#include "in_loop.h"

static void bare_ask(const bench_end *end, const bench_load *load, int flags)
{
    size_t framed = BENCH_PREFIX + load->length;
    unsigned char *message = bench_memory(framed);
    bench_prefix(message, load->length);
    for (size_t i = 0; i < load->count; i++) {
        bench_send_all(end->fd, message, framed);
        bench_recv_all(end->fd, message, framed, flags);
    }
    free(message);
}

static void bare_echo(const bench_end *end, const bench_load *load, int flags)
{
    size_t framed = BENCH_PREFIX + load->length;
    unsigned char *message = bench_memory(framed);
    for (size_t i = 0; i < load->count; i++) {
        bench_recv_all(end->fd, message, framed, flags);
        bench_send_all(end->fd, message, framed);
    }
    free(message);
}

static void blocking_ask(const bench_end *end, const bench_load *load)
{
    bare_ask(end, load, 0);
}

static void blocking_echo(const bench_end *end, const bench_load *load)
{
    bare_echo(end, load, 0);
}

static void spinning_ask(const bench_end *end, const bench_load *load)
{
    bare_ask(end, load, MSG_DONTWAIT);
}

static void spinning_echo(const bench_end *end, const bench_load *load)
{
    bare_echo(end, load, MSG_DONTWAIT);
}

static void receive_ours(const bench_end *end, unsigned char *message, size_t length)
{
    ssize_t got = bench_ours(tcpmsg_recv(end->own, message, length, 0), "tcpmsg_recv");
    bench_require((size_t)got == length, "a message of another length");
}

static void our_ask(const bench_end *end, const bench_load *load)
{
    unsigned char *message = bench_memory(load->length);
    for (size_t i = 0; i < load->count; i++) {
        bench_ours(tcpmsg_send(end->own, message, load->length, 0), "tcpmsg_send");
        receive_ours(end, message, load->length);
    }
    free(message);
}

static void our_echo(const bench_end *end, const bench_load *load)
{
    unsigned char *message = bench_memory(load->length);
    for (size_t i = 0; i < load->count; i++) {
        receive_ours(end, message, load->length);
        bench_ours(tcpmsg_send(end->own, message, load->length, 0), "tcpmsg_send");
    }
    free(message);
}

static const bench_way bare_ways[] = {
    {"blocking", "bare sockets that block", &bench_bare_kind, &bench_bare_kind, blocking_ask,
     blocking_echo, 0},
    {"spinning", "bare sockets that spin", &bench_bare_kind, &bench_bare_kind, spinning_ask,
     spinning_echo, 0},
};

static const bench_way our_ways[] = {
    {"ours", "ours", &bench_our_kind, &bench_our_kind, our_ask, our_echo, 0},
    {"ours-spin", "ours, spin_us = 1000", &bench_our_kind, &bench_our_kind, our_ask, our_echo,
     1000},
};

int main(int argc, char **argv)
{
    static const bench_way *const ways[] = {
        &bare_ways[0], &bare_ways[1], &our_ways[0], &our_ways[1], &loop_round_trip, NULL,
    };
    return bench_main(ways, argc, argv);
}
