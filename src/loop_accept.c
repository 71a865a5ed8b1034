/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "error.h"
#include "listener.h"
#include "socket.h"

/* How many connections one pass takes in at a door. */
#define BATCH 64

static bool is_full(const tcpmsg_loop *loop)
{
    return loop->count >= loop->max_conns;
}

static void rest(tm_thread *thread, tm_door *door, int answer)
{
    tm_accept_log(door->listener, answer);
    tm_poller_drop(thread->poller, &door->source.watch); /* it would tell POLLHUP still */
    tm_timers_set(&thread->timers, &door->source.timer, thread->now + TM_ACCEPT_REST);
}

/* 0, or -errno: -EAGAIN when nobody is there. */
static int let_in(tm_door *door)
{
    tm_sockaddr peer;
    tm_thread *thread = tm_loop_lightest(door->loop);
    tcpmsg_listener *listener = door->listener;
    tcpmsg_conn *conn = tm_conn_make_kept(listener->settings, &thread->keeper, listener->v6);
    if (!conn)
        return -ENOMEM;
    int fd = tm_socket_accept(listener->fd, &peer);
    if (fd < 0) {
        tm_conn_free(conn);
        return fd;
    }
    tm_accept_own(listener, conn, fd, &peer);
    tm_member_begin(conn, door->service, TM_JOINING);
    return 0;
}

static void door_ready(tm_thread *thread, tm_source *source, short events)
{
    tm_door *door = (tm_door *)source; /* its first member */
    (void)events;
    int failures = 0;
    for (int i = 0; i < BATCH; i++) {
        if (is_full(door->loop)) {
            door->full = true;
            tm_poller_drop(thread->poller, &source->watch);
            door->loop->doors_wait = true; /* there may be room again by now */
            return;
        }
        int r = let_in(door);
        if (r == -EAGAIN)
            return;
        failures = r < 0 ? failures + 1 : 0;
        if (r < 0)
            tm_counter_add(&thread->stats.accept_failures, 1);
        if (r < 0 && (!tm_accept_is_passing(r) || failures > TM_ACCEPT_FAILURES)) {
            rest(thread, door, r);
            return;
        }
    }
}

/* After a rest: who has come meanwhile is let in without a look at the poller. */
static void door_expired(tm_thread *thread, tm_source *source)
{
    tm_door *door = (tm_door *)source;
    if (door->listener->canceled)
        return;
    int r = tm_thread_watch(thread, source, POLLIN);
    if (r < 0)
        rest(thread, door, r);
    else
        door_ready(thread, source, POLLIN);
}

const tm_source_kind tm_door_kind = {door_ready, door_expired};

static void stop_watching(tm_thread *thread, tm_door *door)
{
    tm_poller_drop(thread->poller, &door->source.watch);
    tm_poller_drop(thread->poller, &door->abort.watch);
    tm_timers_stop(&thread->timers, &door->source.timer);
}

/* Somebody aborted the listener: it is left as it is until the loop ends. */
static void door_aborted(tm_thread *thread, tm_source *source, short events)
{
    (void)events;
    stop_watching(thread, (tm_door *)((char *)source - offsetof(tm_door, abort)));
}

const tm_source_kind tm_door_abort_kind = {.ready = door_aborted};

void tm_door_free(tm_door *door)
{
    tcpmsg_listener_close(door->listener);
    tm_service_unref(door->service);
    free(door);
}

void tm_door_open(void *arg)
{
    tm_door *door = arg;
    tcpmsg_loop *loop = door->loop;
    tm_thread *first = loop->threads;
    if (loop->stop) {
        tm_door_free(door);
        return;
    }
    door->next = loop->doors;
    loop->doors = door;
    door->source = (tm_source){.watch = {.fd = door->listener->fd}, .kind = TM_DOOR};
    door->abort = (tm_source){.watch = {.fd = door->listener->wake.read_fd}, .kind = TM_DOOR_ABORT};
    tm_thread_watch(first, &door->abort, POLLIN);
    door_expired(first, &door->source);
}

void tm_doors_reopen(tcpmsg_loop *loop)
{
    if (is_full(loop))
        return;
    for (tm_door *door = loop->doors; door; door = door->next)
        if (door->full) {
            door->full = false;
            door_expired(loop->threads, &door->source);
        }
}

void tm_doors_close(tcpmsg_loop *loop)
{
    while (loop->doors) {
        tm_door *door = loop->doors;
        loop->doors = door->next;
        if (loop->maker == getpid())
            stop_watching(loop->threads, door);
        tm_door_free(door);
    }
}

int tcpmsg_loop_listen(tcpmsg_loop *loop, tcpmsg_listener *listener,
                       const tcpmsg_callbacks *callbacks, void *arg)
{
    tm_service *service;
    if (!loop || !listener)
        return TCPMSG_EINVAL;
    int r = tm_service_make(&service, callbacks, arg);
    if (r < 0)
        return r;
    r = TCPMSG_ENOMEM;
    tm_door *door = calloc(1, sizeof *door);
    if (!door || tm_listener_own_wake(listener) < 0)
        goto fail;
    door->loop = loop;
    door->listener = listener;
    door->service = service;
    r = tm_loop_call(loop, 0, tm_door_open, door);
    if (r == 0)
        return 0;

fail:
    free(door);
    tm_service_unref(service);
    return r;
}
