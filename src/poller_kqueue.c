/* SPDX-License-Identifier: MIT */
#include "poller.h"

#ifdef TM_KQUEUE

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/types.h>

#include <sys/event.h>
#include <sys/time.h>
#include <unistd.h>

#include "clock.h"

/* What one kevent(2) tells at most: both of each of 256, for reading and writing are told apart. */
#define MOST 512

/*
 * A descriptor has a filter for POLLIN, one for POLLOUT, or, with no events, one that is told of
 * each change alone: what is there to be read stays there, and must not be told for ever. A filter
 * tells of an end only that there is one; which it is poll(2) knows.
 */
typedef struct tm_kqueue {
    tm_poller base;
    int fd;
    pid_t maker; /* a forked child does not have the queue, and `fd` may be another's there */
} tm_kqueue;

static int fd_of(const tm_poller *poller)
{
    return ((const tm_kqueue *)poller)->fd;
}

static int open_kqueue(tm_poller **out)
{
    tm_kqueue *queue = malloc(sizeof *queue);
    if (!queue)
        return -ENOMEM;
    *queue = (tm_kqueue){{&tm_poller_kqueue}, kqueue(), getpid()};
    if (queue->fd < 0 || fcntl(queue->fd, F_SETFD, FD_CLOEXEC) < 0) {
        int number = errno;
        if (queue->fd >= 0)
            close(queue->fd);
        free(queue);
        return -number;
    }
    *out = (tm_poller *)queue; /* its first member */
    return 0;
}

static void close_kqueue(tm_poller *poller)
{
    if (((tm_kqueue *)poller)->maker == getpid())
        close(fd_of(poller));
    free(poller);
}

/* How a filter is put in, or 0: there is none. EV_CLEAR: told of changes alone. */
static int reading(bool watched, short events)
{
    if (!watched || (events & (POLLIN | POLLOUT)) == POLLOUT)
        return 0;
    return events & POLLIN ? EV_ADD : EV_ADD | EV_CLEAR;
}

static int writing(bool watched, short events)
{
    return watched && events & POLLOUT ? EV_ADD : 0;
}

static int change(tm_poller *poller, tm_watch *watch, int filter, int flags)
{
    struct kevent change;
    EV_SET(&change, (uintptr_t)watch->fd, filter, flags, 0, 0, watch);
    return kevent(fd_of(poller), &change, 1, NULL, 0, NULL) < 0 ? -errno : 0;
}

/* A filter that is there already can't become the other kind: it makes place. */
static int replace(tm_poller *poller, tm_watch *watch, int filter, int before, int after)
{
    if (before == after)
        return 0;
    if (before)
        change(poller, watch, filter, EV_DELETE);
    int r = after ? change(poller, watch, filter, after) : 0;
    if (r < 0 && before && change(poller, watch, filter, before) < 0)
        watch->watched = 0; /* neither that nor this */
    return r;
}

static void forget(tm_poller *poller, tm_watch *watch, bool reads, bool writes)
{
    if (reads)
        change(poller, watch, EVFILT_READ, EV_DELETE);
    if (writes)
        change(poller, watch, EVFILT_WRITE, EV_DELETE);
    *watch = (tm_watch){.fd = watch->fd};
}

/* The close that follows is no substitute, as with epoll(7). */
static void drop(tm_poller *poller, tm_watch *watch)
{
    forget(poller, watch, reading(true, watch->events), writing(true, watch->events));
}

static int set(tm_poller *poller, tm_watch *watch, short events)
{
    bool there = watch->watched;
    int before = reading(there, watch->events), after = reading(true, events);
    int r = replace(poller, watch, EVFILT_READ, before, after);
    if (r == 0) {
        int wrote = writing(there, watch->events);
        r = replace(poller, watch, EVFILT_WRITE, wrote, writing(true, events));
        if (r < 0)
            replace(poller, watch, EVFILT_READ, after, before);
    }
    if (r < 0 && there && !watch->watched)
        forget(poller, watch, true, true);
    if (r < 0)
        return r;
    watch->events = events;
    watch->watched = 1;
    return 0;
}

/* What is there now. With no events it is told again next time. */
static short ask(tm_poller *poller, tm_watch *watch)
{
    struct pollfd fd = {.fd = watch->fd, .events = watch->events};
    if (poll(&fd, 1, 0) <= 0)
        return 0;
    if (!watch->events) {
        int edge = reading(true, 0);
        change(poller, watch, EVFILT_READ, EV_DELETE);
        change(poller, watch, EVFILT_READ, edge);
    }
    return (short)(fd.revents & (POLLIN | POLLOUT | POLLERR | POLLHUP));
}

/* The filters of a watch are told apart, and here it is told once: `slot` is where. */
static int tell(tm_poller *poller, tm_ready *ready, int told, const struct kevent *event)
{
    tm_watch *watch = (tm_watch *)event->udata;
    short events = event->filter == EVFILT_READ ? POLLIN : POLLOUT;
    if (event->flags & EV_EOF || !watch->events)
        events = ask(poller, watch);
    if (!events)
        return told;
    if (watch->slot >= (uint32_t)told || ready[watch->slot].watch != watch) {
        watch->slot = (uint32_t)told;
        ready[told++] = (tm_ready){watch, 0};
    }
    ready[watch->slot].events |= events;
    return told;
}

static int look(int fd, struct kevent *events, int most, int64_t deadline)
{
    int ms = deadline > 0 ? tm_left_ms(deadline) : 0;
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * TM_MS};
    int n = kevent(fd, NULL, 0, events, most, ms < 0 ? NULL : &left);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n;
}

static int wait_kqueue(tm_poller *poller, tm_ready *ready, int most, int64_t deadline)
{
    struct kevent events[MOST];
    int told = 0;
    do {
        int n = look(fd_of(poller), events, most < MOST ? most : MOST, deadline);
        if (n < 0)
            return n;
        for (int i = 0; i < n; i++)
            told = tell(poller, ready, told, &events[i]);
    } while (told == 0 && !tm_passed(deadline));
    return told;
}

const tm_poller_kind tm_poller_kqueue = {
    .open = open_kqueue,
    .close = close_kqueue,
    .set = set,
    .drop = drop,
    .wait = wait_kqueue,
};

#endif
