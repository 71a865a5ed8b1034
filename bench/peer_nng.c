/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

/* nng's pair, with messages that are handed over instead of copied, as its manual advises. */

#include <stdlib.h>
#include <string.h>

#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>

#include "bench.h"

static void require(int error)
{
    if (error != 0) {
        bench_fail(nng_strerror(error));
    }
}

static void open_pair(bench_end *end)
{
    nng_socket *self = calloc(1, sizeof(*self));
    bench_system(self != NULL, "calloc");
    require(nng_pair0_open(self));
    require(nng_socket_set_size(*self, NNG_OPT_RECVMAXSZ, 0));
    if (end->far) {
        require(nng_listen(*self, bench_url(end->port), NULL, 0));
    } else {
        require(nng_dial(*self, bench_url(end->port), NULL, 0));
    }
    end->own = self;
}

static void close_pair(bench_end *end)
{
    nng_socket *self = end->own;
    nng_close(*self);
    free(self);
}

static nng_socket socket_of(const bench_end *end)
{
    const nng_socket *self = end->own;
    return *self;
}

static void send_one(const bench_end *end, const unsigned char *bytes, size_t length)
{
    nng_msg *message;
    require(nng_msg_alloc(&message, length));
    memcpy(nng_msg_body(message), bytes, length);
    require(nng_sendmsg(socket_of(end), message, 0));
}

static nng_msg *receive_one(const bench_end *end, size_t length)
{
    nng_msg *message;
    require(nng_recvmsg(socket_of(end), &message, 0));
    bench_require(nng_msg_len(message) == length, "a message of another length");
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
        nng_msg_free(receive_one(end, load->length));
    }
}

static void ask(const bench_end *end, const bench_load *load)
{
    unsigned char *bytes = bench_memory(load->length);
    for (size_t i = 0; i < load->count; i++) {
        send_one(end, bytes, load->length);
        nng_msg_free(receive_one(end, load->length));
    }
    free(bytes);
}

static void answer(const bench_end *end, const bench_load *load)
{
    for (size_t i = 0; i < load->count; i++) {
        require(nng_sendmsg(socket_of(end), receive_one(end, load->length), 0));
    }
}

static const bench_kind pair = {true, open_pair, close_pair};

static const bench_way one_way = {"one-way", "nng, pair", &pair, &pair, send_all, receive_all, 0};
static const bench_way round_trip = {"round-trip", "nng, pair", &pair, &pair, ask, answer, 0};

int main(int argc, char **argv)
{
    static const bench_way *const ways[] = {&one_way, &round_trip, NULL};
    return bench_main(ways, argc, argv);
}
