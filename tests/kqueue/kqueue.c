/* SPDX-License-Identifier: MIT */
/*
 * An imitation of kqueue(2) with epoll(7), for the tests of the poller that speaks it. It knows
 * the filters for reading and writing, whose udata is the same, and EV_CLEAR, for a descriptor with
 * one filter. A queue is for one thread at a time.
 */
#include <sys/event.h>

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#define DESCRIPTORS 65536
#define EVENTS 512
#define ALL (DESCRIPTORS * sizeof(struct note))

#define READS (EPOLLIN | EPOLLRDHUP)
#define WRITES EPOLLOUT

/* What a queue knows of a descriptor. */
struct note {
    uint32_t events; /* of epoll: READS, WRITES, EPOLLET */
    void *udata;
};

/* Each queue's, by its descriptor; a closed one's is the next one's of that number. */
static struct note *notes[DESCRIPTORS];

int kqueue(void)
{
    int queue = epoll_create1(0);
    if (queue < 0)
        return -1;
    if (notes[queue])
        munmap(notes[queue], ALL);
    notes[queue] = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (notes[queue] != MAP_FAILED)
        return queue;
    notes[queue] = NULL;
    close(queue);
    errno = ENOMEM;
    return -1;
}

static int tell_epoll(int queue, int operation, size_t fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = fd};
    return epoll_ctl(queue, operation, (int)fd, &event);
}

static int change_to(int queue, size_t fd, uint32_t events)
{
    struct note *note = &notes[queue][fd];
    int operation = !note->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    int r = tell_epoll(queue, operation, fd, events);
    if (r < 0 && errno == ENOENT && events) /* it was closed meanwhile, and is another one */
        r = tell_epoll(queue, EPOLL_CTL_ADD, fd, events);
    if (r == 0)
        note->events = events;
    return r;
}

static int apply(int queue, const struct kevent *change)
{
    struct note *note = &notes[queue][change->ident];
    uint32_t filter = change->filter == EVFILT_READ ? READS : WRITES;
    uint32_t rest = note->events & (READS | WRITES) & ~filter;
    if (change->flags & EV_DELETE) {
        if (note->events & filter)
            return change_to(queue, change->ident, rest);
        errno = ENOENT;
        return -1;
    }
    note->udata = change->udata;
    if (note->events & filter) { /* its kind does not change; it is looked at again */
        filter |= note->events & EPOLLET;
    } else if (change->flags & EV_CLEAR) {
        filter |= EPOLLET;
    }
    return change_to(queue, change->ident, rest | filter);
}

/* One of epoll's is one or two of ours; false: there is no room for both. */
static bool tell(int queue, const struct epoll_event *found, struct kevent *events, int *told,
                 int most)
{
    const struct note *note = &notes[queue][found->data.u64];
    uint32_t ends = found->events & (EPOLLHUP | EPOLLERR);
    uint32_t reads = note->events & READS ? (found->events & READS) | ends : 0;
    uint32_t writes = note->events & WRITES ? (found->events & WRITES) | ends : 0;
    if (*told + !!reads + !!writes > most && *told > 0)
        return false;
    if (reads)
        events[(*told)++] = (struct kevent){.ident = found->data.u64,
                                            .filter = EVFILT_READ,
                                            .flags = reads & (ends | EPOLLRDHUP) ? EV_EOF : 0,
                                            .udata = note->udata};
    if (writes && *told < most)
        events[(*told)++] = (struct kevent){.ident = found->data.u64,
                                            .filter = EVFILT_WRITE,
                                            .flags = ends ? EV_EOF : 0,
                                            .udata = note->udata};
    return true;
}

static int milliseconds(const struct timespec *timeout)
{
    if (!timeout)
        return -1;
    return (int)timeout->tv_sec * 1000 + (int)((timeout->tv_nsec + 999999) / 1000000);
}

int kevent(int queue, const struct kevent *changes, int count, struct kevent *events, int most,
           const struct timespec *timeout)
{
    struct epoll_event found[EVENTS];
    int told = 0;
    for (int i = 0; i < count; i++)
        if (apply(queue, &changes[i]) < 0)
            return -1;
    if (most == 0)
        return 0;
    int n = epoll_wait(queue, found, most < EVENTS ? most : EVENTS, milliseconds(timeout));
    for (int i = 0; i < n; i++)
        if (!tell(queue, &found[i], events, &told, most))
            change_to(queue, found[i].data.u64, notes[queue][found[i].data.u64].events);
    return n < 0 ? -1 : told;
}
