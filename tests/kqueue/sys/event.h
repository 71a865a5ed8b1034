/* SPDX-License-Identifier: MIT */
/* As much of kqueue(2) as the poller needs, with the names and numbers that FreeBSD's manual and
 * headers give, so that it is compiled, and run, where there is none. */
#ifndef TESTS_KQUEUE_SYS_EVENT_H
#define TESTS_KQUEUE_SYS_EVENT_H

#include <stdint.h>
#include <time.h>

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned fflags;
    int64_t data;
    void *udata;
    uint64_t ext[4];
};

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_CLEAR 0x0020
#define EV_EOF 0x8000

#define EV_SET(event, a, b, c, d, e, f)                                                            \
    (*(event) = (struct kevent){                                                                   \
         .ident = (a), .filter = (b), .flags = (c), .fflags = (d), .data = (e), .udata = (f)})

int kqueue(void);
int kevent(int queue, const struct kevent *changes, int count, struct kevent *events, int most,
           const struct timespec *timeout);

#endif
