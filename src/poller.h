/* SPDX-License-Identifier: MIT */
#ifndef TM_POLLER_H
#define TM_POLLER_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Which of many descriptors are ready, level-triggered. One thread uses a poller. Another way to
 * poll is one more file with a tm_poller_kind.
 */

/* A descriptor that is watched, inside of what it belongs to. All zero but fd: not watched yet. */
typedef struct tm_watch {
    int fd;
    short events;  /* POLLIN, POLLOUT, both or neither: kept by tm_poller_set */
    short watched; /* a poller knows it; with no events it still tells POLLERR and POLLHUP */
    uint32_t slot; /* the poller's own */
} tm_watch;

/* What a wait found. */
typedef struct tm_ready {
    tm_watch *watch;
    short events; /* some of POLLIN, POLLOUT, POLLERR, POLLHUP */
} tm_ready;

typedef struct tm_poller tm_poller;

typedef struct tm_poller_kind {
    int (*open)(tm_poller **out);
    void (*close)(tm_poller *poller);
    int (*set)(tm_poller *poller, tm_watch *watch, short events);
    void (*drop)(tm_poller *poller, tm_watch *watch);
    int (*wait)(tm_poller *poller, tm_ready *ready, int most, int64_t deadline);
} tm_poller_kind;

/* Every poller begins with this. */
struct tm_poller {
    const tm_poller_kind *kind;
};

/* A kind of TCPMSG_POLLER_…, or 0 for the best there is; 0, or -errno (-ENOSYS: not here). */
int tm_poller_open(tm_poller **out, int kind);

/* In a forked child this alone: what set and drop change there may be the parent's. */
void tm_poller_close(tm_poller *poller);

/* Watches it for these events from now on; the watch stays where it is until it is dropped.
 * 0, or -errno (ENOMEM, ENOSPC) and the watch is as it was. */
static inline int tm_poller_set(tm_poller *poller, tm_watch *watch, short events)
{
    if (watch->watched && watch->events == events)
        return 0;
    return poller->kind->set(poller, watch, events);
}

/* Forgets it, before its descriptor is closed; what wait has handed out already is the caller's
 * to skip. */
static inline void tm_poller_drop(tm_poller *poller, tm_watch *watch)
{
    if (watch->watched)
        poller->kind->drop(poller, watch);
}

/*
 * Waits until something is ready or the deadline has passed (0: only looks), then describes at
 * most `most` (1 or more) of the ready, each in its turn; their number, or -errno. A signal is no
 * end.
 */
static inline int tm_poller_wait(tm_poller *poller, tm_ready *ready, int most, int64_t deadline)
{
    return poller->kind->wait(poller, ready, most, deadline);
}

#ifdef __linux__
extern const tm_poller_kind tm_poller_epoll;
#endif
#ifdef TM_KQUEUE
extern const tm_poller_kind tm_poller_kqueue;
#endif
extern const tm_poller_kind tm_poller_poll;

#endif
