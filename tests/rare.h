/* SPDX-License-Identifier: MIT */
/* What happens rarely: a program that is linked with rare.c and ld's --wrap for the calls below has
 * the library's go through here, where one of them can fail with any errno, answer something else,
 * or find the world changed just before or behind it. */
#ifndef TESTS_RARE_H
#define TESTS_RARE_H

#include "support.h"

#include <stdatomic.h>

#define RARE_CALLS(X)                                                                              \
    X(accept4)                                                                                     \
    X(bind)                                                                                        \
    X(connect)                                                                                     \
    X(epoll_create1)                                                                               \
    X(epoll_ctl)                                                                                   \
    X(eventfd)                                                                                     \
    X(fcntl)                                                                                       \
    X(getaddrinfo)                                                                                 \
    X(getpeername)                                                                                 \
    X(getsockname)                                                                                 \
    X(getsockopt)                                                                                  \
    X(ioctl)                                                                                       \
    X(lstat)                                                                                       \
    X(poll)                                                                                        \
    X(pthread_condattr_setclock)                                                                   \
    X(read)                                                                                        \
    X(realloc)                                                                                     \
    X(recv)                                                                                        \
    X(send)                                                                                        \
    X(syscall)                                                                                     \
    X(unlink)                                                                                      \
    X(write)

enum rare_call {
#define RARE_CALL(name) RARE_##name,
    RARE_CALLS(RARE_CALL)
#undef RARE_CALL
};

/* One call: before it is made, or behind one that went well, with what it has filled in. */
struct rare {
    enum rare_call call;
    bool behind;
    int fd;
    long what; /* the option, the request, the command, the number */
    void *filled;
};

/* Asked at each call of the library's; answers what the call is to fail with (an errno, of
 * getaddrinfo its own code), or 0. What it calls itself is asked nothing. */
extern int (*_Atomic rarely)(const struct rare *now);

/* The next `count` calls of that name fail, `after` more; `what` is -1: any. */
void rare_fails(enum rare_call call, long what, int error, int after, int count);

/* A tale for `rarely`: over loopback a connect is over when it returns, and the library asks again
 * at once; here that second one of each socket's is told that it is under way yet. */
int rare_under_way(const struct rare *now);

/* How many connects that tale has heard of. */
int rare_connects(void);

/* The most that one send moves; 0: as much as it likes. */
extern atomic_size_t rare_most;

/* All is as ever again; how many calls failed by rare_fails. */
int rare_over(void);

#endif
