/* SPDX-License-Identifier: MIT */
/* Every call of the library's to the system that can fail. In the tests' copy of the library each
 * is renamed (names.txt) to injected_…, which is here: it makes the call, or answers an errno
 * instead. Nothing fails in a test that does not ask for it. */
#ifndef TESTS_INJECT_CALLS_H
#define TESTS_INJECT_CALLS_H

#include <stdatomic.h>
#include <stdbool.h>

/* Those that take memory, and what they answer when there is none. */
#define MEMORY_CALLS(X)                                                                            \
    X(malloc, ENOMEM)                                                                              \
    X(calloc, ENOMEM)                                                                              \
    X(realloc, ENOMEM)                                                                             \
    X(strdup, ENOMEM)                                                                              \
    X(pthread_cond_init, ENOMEM)                                                                   \
    X(pthread_condattr_init, ENOMEM)                                                               \
    X(pthread_create, EAGAIN)                                                                      \
    X(pthread_mutex_init, ENOMEM)                                                                  \
    X(getaddrinfo, EAI_MEMORY)

#define SYSTEM_CALLS(X)                                                                            \
    X(accept4)                                                                                     \
    X(bind)                                                                                        \
    X(close)                                                                                       \
    X(connect)                                                                                     \
    X(epoll_create1)                                                                               \
    X(epoll_ctl)                                                                                   \
    X(epoll_wait)                                                                                  \
    X(eventfd)                                                                                     \
    X(fcntl)                                                                                       \
    X(flock)                                                                                       \
    X(getpeername)                                                                                 \
    X(getsockname)                                                                                 \
    X(getsockopt)                                                                                  \
    X(ioctl)                                                                                       \
    X(listen)                                                                                      \
    X(lstat)                                                                                       \
    X(nanosleep)                                                                                   \
    X(open)                                                                                        \
    X(poll)                                                                                        \
    X(read)                                                                                        \
    X(recv)                                                                                        \
    X(recvmsg)                                                                                     \
    X(send)                                                                                        \
    X(sendmsg)                                                                                     \
    X(setsockopt)                                                                                  \
    X(shutdown)                                                                                    \
    X(socket)                                                                                      \
    X(syscall)                                                                                     \
    X(unlink)                                                                                      \
    X(write)

enum injected_call {
#define MEMORY_CALL(name, error) INJECTED_##name,
    MEMORY_CALLS(MEMORY_CALL)
#undef MEMORY_CALL
#define SYSTEM_CALL(name) INJECTED_##name,
        SYSTEM_CALLS(SYSTEM_CALL)
#undef SYSTEM_CALL
            INJECTED_CALLS,
    INJECTED_MEMORY = INJECTED_CALLS,   /* any of the first ones */
    INJECTED_SYSTEM = INJECTED_accept4, /* the first of the others */
};

/* What fails, and what came of it. May lie in memory that is shared with a child. */
struct injection {
    int call;   /* enum injected_call */
    long first; /* the first one that fails, from 1; 0: none */
    long count; /* how many do from there on */
    int error;  /* of a system call; each call of the others has its own */
    atomic_bool on;
    atomic_long met;     /* how many of them were made, while it was on */
    atomic_long failed;  /* how many of those answered the error */
    atomic_long slowest; /* milliseconds: a test's own, over all its plays */
};

extern struct injection *injection;

/* Library threads, its look-ups for instance, that run now. */
extern atomic_int library_threads;

#endif
