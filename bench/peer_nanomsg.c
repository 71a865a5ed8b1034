/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

/* nanomsg's pair, with messages that are handed over instead of copied (NN_MSG). */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nanomsg/nn.h>
#include <nanomsg/pair.h>
#include <nanomsg/tcp.h>

#include "bench.h"

static void require(bool fine)
{
    if (!fine) {
        bench_fail(nn_strerror(nn_errno()));
    }
}

static void open_pair(bench_end *end)
{
    int on = 1;
    int any = -1;
    end->fd = nn_socket(AF_SP, NN_PAIR);
    require(end->fd >= 0);
    require(nn_setsockopt(end->fd, NN_TCP, NN_TCP_NODELAY, &on, sizeof(on)) == 0);
    require(nn_setsockopt(end->fd, NN_SOL_SOCKET, NN_RCVMAXSIZE, &any, sizeof(any)) == 0);
    if (end->far) {
        require(nn_bind(end->fd, bench_url(end->port)) >= 0);
    } else {
        require(nn_connect(end->fd, bench_url(end->port)) >= 0);
    }
}

static void close_pair(bench_end *end)
{
    nn_close(end->fd);
}

static void send_one(const bench_end *end, const unsigned char *bytes, size_t length)
{
    void *message = nn_allocmsg(length, 0);
    require(message != NULL);
    memcpy(message, bytes, length);
    require(nn_send(end->fd, &message, NN_MSG, 0) == (int)length);
}

static void *receive_one(const bench_end *end, size_t length)
{
    void *message;
    require(nn_recv(end->fd, &message, NN_MSG, 0) == (int)length);
    return message;
}

static void send_all(const bench_end *end, const bench_load *load)
{
    unsigned char *bytes = bench_memory(load->length);
    for (size_t i = 0; i < load->count; i++) {
        send_one(end, bytes, load->length);
    }
    free(bytes);
}

static void receive_all(const bench_end *end, const bench_load *load)
{
    for (size_t i = 0; i < load->count; i++) {
        nn_freemsg(receive_one(end, load->length));
    }
}

static void ask(const bench_end *end, const bench_load *load)
{
    unsigned char *bytes = bench_memory(load->length);
    for (size_t i = 0; i < load->count; i++) {
        send_one(end, bytes, load->length);
        nn_freemsg(receive_one(end, load->length));
    }
    free(bytes);
}

static void answer(const bench_end *end, const bench_load *load)
{
    for (size_t i = 0; i < load->count; i++) {
        void *message = receive_one(end, load->length);
        require(nn_send(end->fd, &message, NN_MSG, 0) == (int)load->length);
    }
}

static const bench_kind pair = {true, open_pair, close_pair};

static const bench_way one_way = {"one-way", "nanomsg, pair", &pair, &pair,
                                  send_all,  receive_all,     0};
static const bench_way round_trip = {"round-trip", "nanomsg, pair", &pair, &pair, ask, answer, 0};

int main(int argc, char **argv)
{
    static const bench_way *const ways[] = {&one_way, &round_trip, NULL};
    return bench_main(ways, argc, argv);
}
