/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "ends.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int poller_kind;
tm_poller *poller;
tm_ready ready[1024];

void end_open(struct end *end)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    *end = (struct end){.watch.fd = fds[0], .peer = fds[1]};
}

void end_close(struct end *end)
{
    tm_poller_drop(poller, &end->watch);
    close(end->watch.fd);
    close(end->peer);
}

void end_watch(struct end *end, short events)
{
    assert_int_equal(tm_poller_set(poller, &end->watch, events), 0);
    assert_true(end->watch.watched);
    assert_int_equal(end->watch.events, events);
}

void end_fill(struct end *end)
{
    assert_true(write_all(end->peer, "x", 1));
}

void end_empty(struct end *end)
{
    char bytes[64];
    while (recv(end->watch.fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        continue;
}

struct end *ends_open(size_t count, short events)
{
    struct end *ends = calloc(count, sizeof *ends);
    assert_non_null(ends);
    for (size_t i = 0; i < count; i++) {
        end_open(&ends[i]);
        end_watch(&ends[i], events);
    }
    return ends;
}

void ends_close(struct end *ends, size_t count)
{
    for (size_t i = 0; i < count; i++)
        end_close(&ends[i]);
    free(ends);
}

struct end *end_of(const tm_ready *one)
{
    return (struct end *)one->watch; /* the first thing in it */
}

int look(void)
{
    return tm_poller_wait(poller, ready, COUNT(ready), 0);
}

void expect_only(const struct end *end, short events)
{
    assert_int_equal(look(), 1);
    assert_ptr_equal(ready[0].watch, &end->watch);
    assert_int_equal(ready[0].events, events);
}

static struct {
    long allocations;
    int descriptors;
} before;

bool is_epoll(void)
{
    return poller_kind == TCPMSG_POLLER_EPOLL;
}

bool is_poll(void)
{
    return poller_kind == TCPMSG_POLLER_POLL;
}

int poller_begin(void **state)
{
    (void)state;
    before.allocations = allocations();
    before.descriptors = count_descriptors();
    return tm_poller_open(&poller, poller_kind);
}

int poller_finish(void **state)
{
    (void)state;
    tm_poller_close(poller);
    poller = NULL;
    return allocations() != before.allocations || count_descriptors() != before.descriptors;
}
