/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "rare.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

int (*_Atomic rarely)(const struct rare *now);
atomic_size_t rare_most;

static struct {
    atomic_int call;
    atomic_long what;
    atomic_int error;
    atomic_int after;
    atomic_int count;
    atomic_int failed;
} plan;

/* What a test does inside of a call is not asked about. */
static _Thread_local bool asked;

void rare_fails(enum rare_call call, long what, int error, int after, int count)
{
    plan.call = (int)call;
    plan.what = what;
    plan.error = error;
    atomic_store(&plan.failed, 0);
    atomic_store(&plan.after, after);
    atomic_store(&plan.count, count);
}

static atomic_int connects;

int rare_under_way(const struct rare *now)
{
    return now->call == RARE_connect && !now->behind && atomic_fetch_add(&connects, 1) % 2 == 1
               ? EALREADY
               : 0;
}

int rare_connects(void)
{
    return atomic_load(&connects);
}

int rare_over(void)
{
    atomic_store(&connects, 0);
    atomic_store(&plan.count, 0);
    atomic_store(&rarely, NULL);
    atomic_store(&rare_most, 0);
    return atomic_exchange(&plan.failed, 0);
}

static int planned(const struct rare *now)
{
    if (atomic_load(&plan.count) <= 0 || now->behind || (int)now->call != plan.call ||
        (plan.what != -1 && plan.what != now->what) || atomic_fetch_sub(&plan.after, 1) > 0 ||
        atomic_fetch_sub(&plan.count, 1) <= 0)
        return 0;
    atomic_fetch_add(&plan.failed, 1);
    return plan.error;
}

static int ask(enum rare_call call, bool behind, int fd, long what, void *filled)
{
    const struct rare now = {call, behind, fd, what, filled};
    int (*hook)(const struct rare *now) = atomic_load(&rarely);
    if (asked)
        return 0;
    int before = errno;
    asked = true;
    int error = planned(&now);
    if (error == 0 && hook)
        error = hook(&now);
    asked = false;
    errno = error ? error : before;
    return error;
}

/* A call that answers a negative number, or (ANSWERING) its error. */
#define RARELY(type, symbol, name, parameters, arguments, fd, what, filled)                        \
    type __real_##symbol parameters;                                                               \
    type __wrap_##symbol parameters;                                                               \
    type __wrap_##symbol parameters                                                                \
    {                                                                                              \
        if (ask(RARE_##name, false, fd, what, filled))                                             \
            return -1;                                                                             \
        type r = __real_##symbol arguments;                                                        \
        return r >= 0 && ask(RARE_##name, true, fd, what, filled) ? -1 : r;                        \
    }

#define ANSWERING(name, parameters, arguments, filled)                                             \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        int r = ask(RARE_##name, false, -1, -1, filled);                                           \
        if (r == 0)                                                                                \
            r = __real_##name arguments;                                                           \
        return r == 0 ? ask(RARE_##name, true, -1, -1, filled) : r;                                \
    }

RARELY(int, accept4, accept4, (int fd, struct sockaddr *peer, socklen_t *length, int flags),
       (fd, peer, length, flags), fd, -1, peer)
RARELY(int, bind, bind, (int fd, const struct sockaddr *address, socklen_t length),
       (fd, address, length), fd, -1, NULL)
RARELY(int, connect, connect, (int fd, const struct sockaddr *address, socklen_t length),
       (fd, address, length), fd, -1, NULL)
RARELY(int, epoll_create1, epoll_create1, (int flags), (flags), -1, -1, NULL)
RARELY(int, epoll_ctl, epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event),
       (epoll, operation, fd, event), fd, operation, NULL)
RARELY(int, eventfd, eventfd, (unsigned count, int flags), (count, flags), -1, -1, NULL)
RARELY(int, getpeername, getpeername, (int fd, struct sockaddr *address, socklen_t *length),
       (fd, address, length), fd, -1, address)
RARELY(int, getsockname, getsockname, (int fd, struct sockaddr *address, socklen_t *length),
       (fd, address, length), fd, -1, address)
RARELY(int, getsockopt, getsockopt, (int fd, int level, int name, void *value, socklen_t *length),
       (fd, level, name, value, length), fd, name, value)
RARELY(int, poll, poll, (struct pollfd * fds, nfds_t count, int timeout), (fds, count, timeout),
       count > 0 ? fds[0].fd : -1, (long)count, fds)
RARELY(ssize_t, read, read, (int fd, void *bytes, size_t count), (fd, bytes, count), fd, -1, bytes)
RARELY(ssize_t, recv, recv, (int fd, void *bytes, size_t count, int flags),
       (fd, bytes, count, flags), fd, flags, bytes)
RARELY(int, unlink, unlink, (const char *path), (path), -1, -1, NULL)
RARELY(ssize_t, write, write, (int fd, const void *bytes, size_t count), (fd, bytes, count), fd, -1,
       NULL)
ANSWERING(getaddrinfo,
          (const char *host, const char *port, const struct addrinfo *hints,
           struct addrinfo **found),
          (host, port, hints, found), found)
ANSWERING(pthread_condattr_setclock, (pthread_condattr_t * attributes, clockid_t clock),
          (attributes, clock), NULL)

/* By glibc's names for files of any size, which others give no other one. */
#ifndef __GLIBC__
#define __real_fcntl64 __real_fcntl
#define __wrap_fcntl64 __wrap_fcntl
#define __real_lstat64 __real_lstat
#define __wrap_lstat64 __wrap_lstat
#endif
RARELY(int, lstat64, lstat, (const char *path, struct stat *file), (path, file), -1, -1, file)

ssize_t __real_send(int fd, const void *bytes, size_t count, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t count, int flags);

ssize_t __wrap_send(int fd, const void *bytes, size_t count, int flags)
{
    size_t most = atomic_load(&rare_most);
    if (ask(RARE_send, false, fd, flags, NULL))
        return -1;
    ssize_t n = __real_send(fd, bytes, most > 0 && most < count ? most : count, flags);
    return n >= 0 && ask(RARE_send, true, fd, flags, NULL) ? -1 : n;
}

ssize_t __real_sendmsg(int fd, const struct msghdr *header, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags);

/* A send of parts; of a cut one the first goes alone. */
ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags)
{
    struct iovec part = header->msg_iov[0];
    struct msghdr first = {.msg_iov = &part, .msg_iovlen = 1};
    size_t most = atomic_load(&rare_most);
    if (ask(RARE_send, false, fd, flags, NULL))
        return -1;
    if (most == 0)
        return __real_sendmsg(fd, header, flags);
    part.iov_len = most < part.iov_len ? most : part.iov_len;
    return __real_sendmsg(fd, &first, flags);
}

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_realloc(void *memory, size_t size)
{
    return ask(RARE_realloc, false, -1, -1, NULL) ? NULL : __real_realloc(memory, size);
}

/* Those that take what they need: one more argument, or at most six. */
#define VARIADIC(type, symbol, name, first_type, second_type, fd, what, filled)                    \
    type __real_##symbol(first_type first, second_type second, ...);                               \
    type __wrap_##symbol(first_type first, second_type second, ...);                               \
    type __wrap_##symbol(first_type first, second_type second, ...)                                \
    {                                                                                              \
        va_list arguments;                                                                         \
        va_start(arguments, second);                                                               \
        void *third = va_arg(arguments, void *);                                                   \
        va_end(arguments);                                                                         \
        if (ask(RARE_##name, false, fd, what, filled))                                             \
            return -1;                                                                             \
        type r = __real_##symbol(first, second, third);                                            \
        return r >= 0 && ask(RARE_##name, true, fd, what, filled) ? -1 : r;                        \
    }
VARIADIC(int, fcntl64, fcntl, int, int, first, second, third)
VARIADIC(int, ioctl, ioctl, int, unsigned long, first, (long)second, third)

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...)
{
    va_list given;
    long row[6] = {0};
    size_t count = number == SYS_connect ? 3 : COUNT(row); /* futex(2) has six */
    va_start(given, number);
    for (size_t i = 0; i < count; i++)
        row[i] = va_arg(given, long);
    va_end(given);
    if (ask(RARE_syscall, false, -1, number, NULL))
        return -1;
    return __real_syscall(number, row[0], row[1], row[2], row[3], row[4], row[5]);
}
