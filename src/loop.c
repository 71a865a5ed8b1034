/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "error.h"
#include "socket.h"
#include "worker.h"

static void free_loop(tcpmsg_loop *loop)
{
    for (int i = 0; i < loop->thread_count; i++)
        tm_thread_close(&loop->threads[i]);
    tm_mutex_destroy(&loop->lock);
    free(loop);
}

int tcpmsg_loop_open(tcpmsg_loop **out, const tcpmsg_loop_options *options)
{
    tcpmsg_loop_options own;
    if (!out || tm_loop_read_options(&own, options) < 0)
        return TCPMSG_EINVAL;
    size_t size = sizeof(tcpmsg_loop) + (size_t)own.threads * sizeof(tm_thread);
    tcpmsg_loop *loop = calloc(1, size);
    if (!loop)
        return TCPMSG_ENOMEM;
    int r = tm_mutex_init(&loop->lock);
    if (r < 0) {
        free(loop);
        return r;
    }
    loop->maker = getpid();
    loop->high_water = own.high_water;
    loop->max_conns = own.max_conns;
    loop->idle_timeout_ms = own.idle_timeout_ms;
    loop->spin_us = own.spin_us;
    tm_link_init(&loop->laters);
    while (r == 0 && loop->thread_count < own.threads) {
        tm_thread *thread = &loop->threads[loop->thread_count++];
        r = tm_thread_open(thread, loop, own.poller);
        thread->budget = own.memory_budget / (size_t)own.threads;
    }
    if (r < 0)
        free_loop(loop);
    else
        *out = loop;
    return r;
}

static void *run_thread(void *arg)
{
    tm_thread *thread = arg;
    tcpmsg_loop *loop = thread->loop;
    tm_mutex_lock(&loop->lock); /* until all threads are there, or there is no run */
    bool runs = loop->ran;
    tm_mutex_unlock(&loop->lock);
    if (runs)
        tm_thread_run(thread);
    return NULL;
}

static void join_threads(tcpmsg_loop *loop, int count)
{
    for (int i = 1; i < count; i++)
        pthread_join(loop->threads[i].joinable, NULL);
}

static int start_threads(tcpmsg_loop *loop)
{
    int r = 0, count = 1;
    tm_mutex_lock(&loop->lock);
    if (loop->ran) {
        tm_mutex_unlock(&loop->lock);
        return TCPMSG_EINVAL;
    }
    while (r == 0 && count < loop->thread_count) {
        tm_thread *thread = &loop->threads[count];
        r = tm_worker_start(&thread->joinable, run_thread, thread);
        count += r == 0;
    }
    loop->ran = r == 0;
    tm_mutex_unlock(&loop->lock);
    if (r < 0)
        join_threads(loop, count);
    return r;
}

int tcpmsg_loop_run(tcpmsg_loop *loop)
{
    if (!loop)
        return TCPMSG_EINVAL;
    int r = start_threads(loop);
    if (r < 0)
        return r;
    tm_thread_run(loop->threads);
    join_threads(loop, loop->thread_count);
    tm_loop_run_calls(loop->threads);
    return 0;
}

void tcpmsg_loop_stop(tcpmsg_loop *loop)
{
    if (!loop)
        return;
    int number = errno;
    loop->stop = true;
    tm_wake_signal(&loop->threads->wake);
    errno = number;
}

/* What had no on_open yet and will have none, or had its on_close while somebody asked for it. */
static void release(tm_thread *thread, tcpmsg_conn *conn)
{
    while (conn) {
        tm_member *member = tm_member_of(conn);
        tcpmsg_conn *next = member->next;
        if (member->stage == TM_DIALING)
            tm_dial_drop(thread, member);
        if (member->stage != TM_OVER) {
            tm_service_unref(member->service);
            tm_conn_tell_plainly(conn, TCPMSG_LOG_INFO, "the loop was closed");
            tm_member_part(conn); /* others may hold it still, and its keeper goes */
        }
        tcpmsg_conn_unref(conn);
        conn = next;
    }
}

static void close_sockets(tm_link *ring)
{
    for (tm_link *link = ring->next; link != ring; link = link->next) {
        tcpmsg_conn *conn = tm_conn_of(tm_member_at(link));
        tm_socket_close(conn->fd);
        conn->fd = -1;
    }
}

/*
 * In a forked child: closes its copies of the descriptors, without a word to anybody. What a
 * thread that does not exist here may have been changing is left alone.
 */
static void leave_to_parent(tcpmsg_loop *loop)
{
    tm_doors_close(loop);
    for (int i = 0; i < loop->thread_count; i++) {
        tm_thread *thread = &loop->threads[i];
        if (!thread->runs || pthread_equal(thread->id, pthread_self())) {
            close_sockets(&thread->members);
            close_sockets(&thread->starved);
        }
        tm_poller_close(thread->poller);
        tm_wake_close(&thread->wake);
    }
}

void tcpmsg_loop_close(tcpmsg_loop *loop)
{
    if (!loop)
        return;
    if (loop->maker == getpid()) {
        tm_doors_close(loop);
        tm_loop_drop_calls(loop);
        for (int i = 0; i < loop->thread_count; i++) {
            release(&loop->threads[i], loop->threads[i].first);
            release(&loop->threads[i], loop->threads[i].inbox_first);
        }
        free_loop(loop);
        return;
    }
    leave_to_parent(loop);
}
