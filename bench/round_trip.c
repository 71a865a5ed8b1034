/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

/*
 * One connection, one message in flight: how long until the answer is there? Both sides are of
 * the same kind, bare with bare and ours with ours.
 */

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "bench.h"

/* Receives as many bytes as one message has; with MSG_DONTWAIT it spins until they are there. */
static void recv_all(int fd, unsigned char *bytes, size_t size, int flags)
{
    while (size > 0) {
        ssize_t got = recv(fd, bytes, size, flags);
        bool again = got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK);
        bench_system(got >= 0 || again, "recv");
        bench_require(got != 0, "recv: the end, too early");
        if (got > 0) {
            bytes += got;
            size -= (size_t)got;
        }
    }
}

static void bare_ask(const bench_end *end, const bench_load *load, int flags)
{
    size_t framed = BENCH_PREFIX + load->length;
    unsigned char *message = bench_memory(framed);
    bench_prefix(message, load->length);
    for (size_t i = 0; i < load->count; i++) {
        bench_send_all(end->fd, message, framed);
        recv_all(end->fd, message, framed, flags);
    }
    free(message);
}

static void bare_echo(const bench_end *end, const bench_load *load, int flags)
{
    size_t framed = BENCH_PREFIX + load->length;
    unsigned char *message = bench_memory(framed);
    for (size_t i = 0; i < load->count; i++) {
        recv_all(end->fd, message, framed, flags);
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
    ssize_t got = bench_ours(tcpmsg_recv(end->conn, message, length, 0), "tcpmsg_recv");
    bench_require((size_t)got == length, "a message of another length");
}

static void our_ask(const bench_end *end, const bench_load *load)
{
    unsigned char *message = bench_memory(load->length);
    for (size_t i = 0; i < load->count; i++) {
        bench_ours(tcpmsg_send(end->conn, message, load->length, 0), "tcpmsg_send");
        receive_ours(end, message, load->length);
    }
    free(message);
}

static void our_echo(const bench_end *end, const bench_load *load)
{
    unsigned char *message = bench_memory(load->length);
    for (size_t i = 0; i < load->count; i++) {
        receive_ours(end, message, load->length);
        bench_ours(tcpmsg_send(end->conn, message, load->length, 0), "tcpmsg_send");
    }
    free(message);
}

int main(int argc, char **argv)
{
    static const size_t lengths[] = {64, 64 * 1024, 0};
    static const bench_way ways[] = {
        {"blocking", "bare sockets that block", blocking_ask, blocking_echo, false, 0},
        {"spinning", "bare sockets that spin", spinning_ask, spinning_echo, false, 0},
        {"ours", "ours", our_ask, our_echo, true, 0},
        {"ours-spin", "ours, spin_us = 1000", our_ask, our_echo, true, 1000},
        {NULL, NULL, NULL, NULL, false, 0},
    };
    static const bench_plan plan = {"round trip", false, lengths, ways};
    return bench_main(&plan, argc, argv);
}
