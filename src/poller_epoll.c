/* SPDX-License-Identifier: MIT */
#include "poller.h"

#ifdef __linux__

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"

/* What one epoll_wait(2) tells at most; the rest is first in the next one, as it goes round. */
#define MOST 256

_Static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT, "epoll(7) speaks as poll(2) does");
_Static_assert(EPOLLERR == POLLERR && EPOLLHUP == POLLHUP, "epoll(7) speaks as poll(2) does");

typedef struct tm_epoll {
    tm_poller base;
    int fd;
} tm_epoll;

static int fd_of(const tm_poller *poller)
{
    return ((const tm_epoll *)poller)->fd;
}

static int open_epoll(tm_poller **out)
{
    tm_epoll *epoll = malloc(sizeof *epoll);
    if (!epoll)
        return -ENOMEM;
    *epoll = (tm_epoll){{&tm_poller_epoll}, epoll_create1(EPOLL_CLOEXEC)};
    if (epoll->fd < 0) {
        int number = errno;
        free(epoll);
        return -number;
    }
    *out = (tm_poller *)epoll; /* its first member */
    return 0;
}

static void close_epoll(tm_poller *poller)
{
    close(fd_of(poller));
    free(poller);
}

static int set(tm_poller *poller, tm_watch *watch, short events)
{
    int operation = watch->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    struct epoll_event event = {.events = (uint32_t)events, .data.ptr = watch};
    if (epoll_ctl(fd_of(poller), operation, watch->fd, &event) < 0)
        return -errno;
    watch->events = events;
    watch->watched = 1;
    return 0;
}

/* The close that follows is no substitute: a forked child may have the same open file, and then
 * it stays in the set, with a pointer to this watch. */
static void drop(tm_poller *poller, tm_watch *watch)
{
    epoll_ctl(fd_of(poller), EPOLL_CTL_DEL, watch->fd, NULL);
    *watch = (tm_watch){.fd = watch->fd};
}

static int look(int fd, struct epoll_event *events, int most, int64_t deadline)
{
    int n;
    do {
        n = epoll_wait(fd, events, most, deadline > 0 ? tm_left_ms(deadline) : 0);
        if (n < 0 && errno != EINTR)
            return -errno;
    } while (n <= 0 && !tm_passed(deadline));
    return n < 0 ? 0 : n;
}

static int wait_epoll(tm_poller *poller, tm_ready *ready, int most, int64_t deadline)
{
    struct epoll_event events[MOST];
    int n = look(fd_of(poller), events, most < MOST ? most : MOST, deadline);
    for (int i = 0; i < n; i++)
        ready[i] = (tm_ready){events[i].data.ptr, (short)events[i].events};
    return n;
}

const tm_poller_kind tm_poller_epoll = {
    .open = open_epoll,
    .close = close_epoll,
    .set = set,
    .drop = drop,
    .wait = wait_epoll,
};

#endif
