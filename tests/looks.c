/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "looks.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "support.h"

#ifdef TM_KQUEUE
#include <sys/event.h>
#endif

/* An end that lingers looks as often as each 20 ms, for as long as a test watches it. */
enum { REST_MS = 50, FEW = 20 };

static atomic_long made;

int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __real_epoll_wait(int poller, struct epoll_event *events, int most, int timeout);

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_epoll_wait(int poller, struct epoll_event *events, int most, int timeout);

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    atomic_fetch_add(&made, 1);
    return __real_poll(fds, count, timeout);
}

int __wrap_epoll_wait(int poller, struct epoll_event *events, int most, int timeout)
{
    atomic_fetch_add(&made, 1);
    return __real_epoll_wait(poller, events, most, timeout);
}

#ifdef TM_KQUEUE

int __real_kevent(int queue, const struct kevent *changes, int count, struct kevent *events,
                  int most, const struct timespec *timeout);
int __wrap_kevent(int queue, const struct kevent *changes, int count, struct kevent *events,
                  int most, const struct timespec *timeout);

int __wrap_kevent(int queue, const struct kevent *changes, int count, struct kevent *events,
                  int most, const struct timespec *timeout)
{
    if (most > 0)
        atomic_fetch_add(&made, 1);
    return __real_kevent(queue, changes, count, events, most, timeout);
}

#endif

long looks(void)
{
    return atomic_load(&made);
}

bool has_rested(long looks_before, int64_t ms)
{
    return looks() - looks_before <= ms / REST_MS + FEW;
}

bool all_rest(int ms)
{
    long before = looks();
    int64_t begin = now_ms();
    sleep_ms(ms);
    return has_rested(before, now_ms() - begin);
}
