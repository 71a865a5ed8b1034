/* SPDX-License-Identifier: MIT */
#include "poller.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "clock.h"

#define LEAST_ROOM ((size_t)64)
#define MOST_ROOM (SIZE_MAX / 2 / sizeof(struct pollfd))

/*
 * Two arrays in step, the watch's slot in both. A round of turns goes from the first to the last;
 * those before `next` have had theirs.
 */
typedef struct tm_poll {
    tm_poller base;
    struct pollfd *fds;
    tm_watch **watches;
    size_t count;
    size_t next; /* at most count */
    size_t room; /* each array has room for at least so many */
} tm_poll;

static tm_poll *poll_of(tm_poller *poller)
{
    return (tm_poll *)poller;
}

/* False when an array could not be moved: then it is as large as it was. */
static bool resize(tm_poll *set, size_t room)
{
    struct pollfd *fds = realloc(set->fds, room * sizeof *fds);
    if (fds)
        set->fds = fds;
    tm_watch **watches = realloc(set->watches, room * sizeof(tm_watch *));
    if (watches)
        set->watches = watches;
    return fds && watches;
}

static bool grow(tm_poll *set)
{
    size_t room = set->room > 0 ? set->room * 2 : LEAST_ROOM;
    if (room > MOST_ROOM || !resize(set, room))
        return false;
    set->room = room;
    return true;
}

/* Three quarters are unused: half goes back, and neither the next drop nor the next set moves all
 * again. */
static void shrink(tm_poll *set)
{
    if (set->room == LEAST_ROOM || set->count > set->room / 4)
        return;
    set->room /= 2;
    resize(set, set->room);
}

static int open_poll(tm_poller **out)
{
    tm_poll *set = malloc(sizeof *set);
    if (!set)
        return -ENOMEM;
    *set = (tm_poll){.base.kind = &tm_poller_poll};
    *out = (tm_poller *)set; /* its first member */
    return 0;
}

static void close_poll(tm_poller *poller)
{
    free(poll_of(poller)->fds);
    free(poll_of(poller)->watches);
    free(poller);
}

static void put(tm_poll *set, size_t slot, struct pollfd fd, tm_watch *watch)
{
    set->fds[slot] = fd;
    set->watches[slot] = watch;
    watch->slot = (uint32_t)slot;
}

static int set_poll(tm_poller *poller, tm_watch *watch, short events)
{
    tm_poll *set = poll_of(poller);
    if (!watch->watched) {
        if (set->count == set->room && !grow(set))
            return -ENOMEM;
        put(set, set->count++, (struct pollfd){.fd = watch->fd}, watch);
        watch->watched = 1;
    }
    set->fds[watch->slot].events = events;
    watch->events = events;
    return 0;
}

static void move(tm_poll *set, size_t from, size_t to)
{
    if (from != to)
        put(set, to, set->fds[from], set->watches[from]);
}

/* The last one fills the hole, but by way of `next`: nobody loses a turn, nobody gets a second. */
static void drop(tm_poller *poller, tm_watch *watch)
{
    tm_poll *set = poll_of(poller);
    size_t hole = watch->slot;
    if (hole < set->next) {
        move(set, --set->next, hole);
        hole = set->next;
    }
    move(set, --set->count, hole);
    *watch = (tm_watch){.fd = watch->fd};
    shrink(set);
}

static int look(tm_poll *set, int64_t deadline)
{
    int n;
    do {
        n = poll(set->fds, (nfds_t)set->count, deadline > 0 ? tm_left_ms(deadline) : 0);
        if (n < 0 && errno != EINTR)
            return -errno;
    } while (n <= 0 && !tm_passed(deadline));
    return n < 0 ? 0 : n;
}

/* A descriptor that is none is the caller's mistake: told as an error, it can't go unseen. */
static short events_of(const struct pollfd *fd)
{
    int invalid = fd->revents & POLLNVAL ? POLLERR : 0;
    return (short)((fd->revents & (POLLIN | POLLOUT | POLLERR | POLLHUP)) | invalid);
}

static int wait_poll(tm_poller *poller, tm_ready *ready, int most, int64_t deadline)
{
    tm_poll *set = poll_of(poller);
    int found = look(set, deadline), told = 0;
    for (size_t i = 0; i < set->count && told < found && told < most; i++) {
        size_t slot = set->next < set->count ? set->next : 0;
        short events = events_of(&set->fds[slot]);
        if (events)
            ready[told++] = (tm_ready){set->watches[slot], events};
        set->next = slot + 1;
    }
    return found < 0 ? found : told;
}

const tm_poller_kind tm_poller_poll = {
    .open = open_poll,
    .close = close_poll,
    .set = set_poll,
    .drop = drop,
    .wait = wait_poll,
};
