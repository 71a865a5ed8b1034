/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

/* A connection of a loop's, which runs in a thread of its own. */

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include <tcpmsg/loop.h>

#include "in_loop.h"

typedef struct in_loop {
    tcpmsg_loop *loop;
    tcpmsg_conn *conn;
    pthread_t thread;
    bool far;
    sem_t drained;
    sem_t reached; /* `got` is `target` */
    atomic_size_t got;
    atomic_size_t target;
    size_t asked; /* all in all, by whoever measures */
} in_loop;

static void on_drain(tcpmsg_conn *conn, void *arg)
{
    in_loop *self = arg;
    (void)conn;
    sem_post(&self->drained);
}

/* The far side answers, the near side asks again. */
static void on_message(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    in_loop *self = arg;
    size_t got = atomic_fetch_add(&self->got, 1) + 1;
    if (self->far || got < self->target) {
        bench_ours(tcpmsg_send(conn, message, length, 0), "tcpmsg_send");
    }
    if (got >= self->target) {
        sem_post(&self->reached);
    }
}

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0) {
        bench_system(errno == EINTR, "sem_wait");
    }
}

static void *run(void *arg)
{
    in_loop *self = arg;
    bench_ours(tcpmsg_loop_run(self->loop), "tcpmsg_loop_run");
    return NULL;
}

static void open_in_loop(bench_end *end)
{
    in_loop *self = calloc(1, sizeof(*self));
    bench_system(self != NULL, "calloc");
    self->far = end->far;
    self->target = SIZE_MAX;
    bench_system(sem_init(&self->drained, 0, 0) == 0, "sem_init");
    bench_system(sem_init(&self->reached, 0, 0) == 0, "sem_init");
    bench_ours(tcpmsg_loop_open(&self->loop, NULL), "tcpmsg_loop_open");
    bench_ours(tcpmsg_attach(&self->conn, end->fd, NULL), "tcpmsg_attach");
    tcpmsg_conn_ref(self->conn);
    bench_ours(tcpmsg_loop_add(self->loop, self->conn,
                               TCPMSG_CALLBACKS(.on_message = on_message, .on_drain = on_drain),
                               self),
               "tcpmsg_loop_add");
    errno = pthread_create(&self->thread, NULL, run, self);
    bench_system(errno == 0, "pthread_create");
    end->own = self;
}

static void close_in_loop(bench_end *end)
{
    in_loop *self = end->own;
    tcpmsg_loop_stop(self->loop);
    pthread_join(self->thread, NULL);
    tcpmsg_loop_close(self->loop);
    tcpmsg_conn_unref(self->conn);
    free(self);
}

static const bench_kind loop_kind = {false, open_in_loop, close_in_loop};

/* From another thread; the near side is a loop's, the far one receives as it likes. */
static void send_into_loop(const bench_end *end, const bench_load *load)
{
    in_loop *self = end->own;
    unsigned char *message = bench_memory(load->length);
    for (size_t i = 0; i < load->count;) {
        int result = tcpmsg_send(self->conn, message, load->length, 0);
        if (result == TCPMSG_EAGAIN) {
            wait_for(&self->drained);
            continue;
        }
        bench_ours(result, "tcpmsg_send");
        i++;
    }
    free(message);
}

/* Until all that was asked for has come; what comes before it is asked for counts as well. */
static void wait_for_more(in_loop *self, size_t count)
{
    self->asked += count;
    self->target = self->asked;
    while (self->got < self->asked) {
        wait_for(&self->reached);
    }
}

static void ask_in_loop(const bench_end *end, const bench_load *load)
{
    in_loop *self = end->own;
    unsigned char *message = bench_memory(load->length);
    self->target = self->asked + load->count;
    bench_ours(tcpmsg_send(self->conn, message, load->length, 0), "tcpmsg_send");
    wait_for_more(self, load->count);
    free(message);
}

static void echo_in_loop(const bench_end *end, const bench_load *load)
{
    wait_for_more(end->own, load->count);
}

const bench_way loop_one_way = {
    .name = "loop",
    .title = "ours, from another thread into a loop's connection; recv_view",
    .near_kind = &loop_kind,
    .far_kind = &bench_our_kind,
    .near = send_into_loop,
    .far = bench_receive_views,
};

const bench_way loop_round_trip = {
    .name = "loop",
    .title = "ours, both sides in a loop",
    .near_kind = &loop_kind,
    .far_kind = &loop_kind,
    .near = ask_in_loop,
    .far = echo_in_loop,
};
