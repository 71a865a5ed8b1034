/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

/* libzmq, as its guide's pipeline and its own throughput and latency tools use it: PUSH and PULL
 * one way, REQ and REP there and back. It batches in a thread of its own. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "bench.h"

typedef struct zmq_end {
    void *context;
    void *socket;
} zmq_end;

static void require(bool fine, const char *what)
{
    if (!fine) {
        bench_fail(zmq_strerror(errno));
        bench_fail(what);
    }
}

static void open_socket(bench_end *end, int type)
{
    zmq_end *self = calloc(1, sizeof(*self));
    bench_system(self != NULL, "calloc");
    self->context = zmq_ctx_new();
    require(self->context != NULL, "zmq_ctx_new");
    self->socket = zmq_socket(self->context, type);
    require(self->socket != NULL, "zmq_socket");
    if (end->far) {
        require(zmq_bind(self->socket, bench_url(end->port)) == 0, "zmq_bind");
    } else {
        require(zmq_connect(self->socket, bench_url(end->port)) == 0, "zmq_connect");
    }
    end->own = self;
}

static void close_socket(bench_end *end)
{
    zmq_end *self = end->own;
    zmq_close(self->socket);
    zmq_ctx_term(self->context);
    free(self);
}

static void *socket_of(const bench_end *end)
{
    const zmq_end *self = end->own;
    return self->socket;
}

static void open_pipeline(bench_end *end)
{
    open_socket(end, end->far ? ZMQ_PULL : ZMQ_PUSH);
}

static void open_request(bench_end *end)
{
    open_socket(end, end->far ? ZMQ_REP : ZMQ_REQ);
}

static void send_all(const bench_end *end, const bench_load *load)
{
    unsigned char *message = bench_memory(load->length);
    for (size_t i = 0; i < load->count; i++) {
        require(zmq_send(socket_of(end), message, load->length, 0) >= 0, "zmq_send");
    }
    free(message);
}

static void receive_all(const bench_end *end, const bench_load *load)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    for (size_t i = 0; i < load->count; i++) {
        require(zmq_msg_recv(&message, socket_of(end), 0) == (int)load->length, "zmq_msg_recv");
    }
    zmq_msg_close(&message);
}

static void ask(const bench_end *end, const bench_load *load)
{
    unsigned char *message = bench_memory(load->length);
    for (size_t i = 0; i < load->count; i++) {
        require(zmq_send(socket_of(end), message, load->length, 0) >= 0, "zmq_send");
        require(zmq_recv(socket_of(end), message, load->length, 0) == (int)load->length,
                "zmq_recv");
    }
    free(message);
}

/* The message that came is the one that goes. */
static void answer(const bench_end *end, const bench_load *load)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    for (size_t i = 0; i < load->count; i++) {
        require(zmq_msg_recv(&message, socket_of(end), 0) >= 0, "zmq_msg_recv");
        require(zmq_msg_send(&message, socket_of(end), 0) >= 0, "zmq_msg_send");
    }
    zmq_msg_close(&message);
}

static const bench_kind pipeline = {true, open_pipeline, close_socket};
static const bench_kind request = {true, open_request, close_socket};

static const bench_way one_way = {
    "one-way", "libzmq, PUSH and PULL", &pipeline, &pipeline, send_all, receive_all, 0};
static const bench_way round_trip = {
    "round-trip", "libzmq, REQ and REP", &request, &request, ask, answer, 0};

int main(int argc, char **argv)
{
    static const bench_way *const ways[] = {&one_way, &round_trip, NULL};
    return bench_main(ways, argc, argv);
}
