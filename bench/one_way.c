/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

/*
 * One connection, messages one way: how many a second arrive whole in another process? Ours,
 * against bare sockets that don't even look at what they receive.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "in_loop.h"

enum {
    BLOCK = 256 * 1024,
    SENDERS = 4,
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The floor: as many whole messages as fit into a block were packed before; only bytes move. */
static void send_packed(const bench_end *end, const bench_load *load)
{
    size_t framed = BENCH_PREFIX + load->length;
    size_t in_block = framed > BLOCK ? 1 : BLOCK / framed;
    unsigned char *block = bench_memory(in_block * framed);
    for (size_t i = 0; i < in_block; i++) {
        bench_prefix(block + i * framed, load->length);
    }
    size_t left = load->count;
    while (left > 0) {
        size_t now = smaller(left, in_block);
        bench_send_all(end->fd, block, now * framed);
        left -= now;
    }
    free(block);
}

/* One system call a message: the prefix and the payload where they lie. */
static void sendmsg_each(const bench_end *end, const bench_load *load)
{
    unsigned char *payload = bench_memory(load->length);
    unsigned char prefix[BENCH_PREFIX];
    size_t framed = BENCH_PREFIX + load->length;
    bench_prefix(prefix, load->length);
    for (size_t i = 0; i < load->count; i++) {
        struct iovec parts[2] = {{prefix, BENCH_PREFIX}, {payload, load->length}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        ssize_t sent = sendmsg(end->fd, &message, MSG_NOSIGNAL);
        bench_system(sent == (ssize_t)framed, "sendmsg");
    }
    free(payload);
}

/* Without a look at what comes. */
static void count_bytes(const bench_end *end, const bench_load *load)
{
    unsigned char *block = bench_memory(BLOCK);
    size_t left = load->count * (BENCH_PREFIX + load->length);
    while (left > 0) {
        ssize_t got = recv(end->fd, block, smaller(left, BLOCK), 0);
        bench_system(got >= 0 || errno == EINTR, "recv");
        bench_require(got != 0, "recv: the end, too early");
        left -= got > 0 ? (size_t)got : 0;
    }
    free(block);
}

static void send_ours(const bench_end *end, const bench_load *load, int flags)
{
    unsigned char *message = bench_memory(load->length);
    for (size_t i = 0; i < load->count; i++) {
        bench_ours(tcpmsg_send(end->own, message, load->length, flags), "tcpmsg_send");
    }
    free(message);
}

static void send_more(const bench_end *end, const bench_load *load)
{
    send_ours(end, load, TCPMSG_MORE);
    bench_ours(tcpmsg_flush(end->own, 0), "tcpmsg_flush");
}

static void send_each(const bench_end *end, const bench_load *load)
{
    send_ours(end, load, 0);
}

typedef struct sender {
    pthread_t thread;
    const bench_end *end;
    bench_load load;
} sender;

static void *sender_thread(void *arg)
{
    const sender *self = arg;
    send_each(self->end, &self->load);
    return NULL;
}

static void send_threads(const bench_end *end, const bench_load *load)
{
    sender senders[SENDERS];
    size_t left = load->count;
    for (size_t i = 0; i < SENDERS; i++) {
        size_t share = left / (SENDERS - i);
        left -= share;
        senders[i].end = end;
        senders[i].load = (bench_load){.length = load->length, .count = share};
        errno = pthread_create(&senders[i].thread, NULL, sender_thread, &senders[i]);
        bench_system(errno == 0, "pthread_create");
    }
    for (size_t i = 0; i < SENDERS; i++) {
        pthread_join(senders[i].thread, NULL);
    }
}

static void receive_copies(const bench_end *end, const bench_load *load)
{
    unsigned char *buffer = bench_memory(load->length);
    for (size_t i = 0; i < load->count; i++) {
        ssize_t got = tcpmsg_recv(end->own, buffer, load->length, 0);
        bench_require((size_t)bench_ours(got, "tcpmsg_recv") == load->length,
                      "a message of another length");
    }
    free(buffer);
}

static const bench_way bare_ways[] = {
    {"floor", "bare send of packed 256 KiB blocks", &bench_bare_kind, &bench_bare_kind, send_packed,
     count_bytes, 0},
    {"sendmsg", "bare sendmsg for each message", &bench_bare_kind, &bench_bare_kind, sendmsg_each,
     count_bytes, 0},
};

static const bench_way our_ways[] = {
    {"more", "ours, TCPMSG_MORE, recv_view", &bench_our_kind, &bench_our_kind, send_more,
     bench_receive_views, 0},
    {"each", "ours, without MORE, recv_view", &bench_our_kind, &bench_our_kind, send_each,
     bench_receive_views, 0},
    {"threads", "ours, 4 threads without MORE, recv_view", &bench_our_kind, &bench_our_kind,
     send_threads, bench_receive_views, 0},
    {"recv", "ours, TCPMSG_MORE, recv into a buffer", &bench_our_kind, &bench_our_kind, send_more,
     receive_copies, 0},
};

int main(int argc, char **argv)
{
    static const bench_way *const ways[] = {
        &bare_ways[0], &bare_ways[1], &our_ways[0],  &our_ways[1],
        &our_ways[2],  &our_ways[3],  &loop_one_way, NULL,
    };
    return bench_main(ways, argc, argv);
}
