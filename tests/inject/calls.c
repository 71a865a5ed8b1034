/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "handles.h"
#include "traces.h"
#include "weather.h"

static struct injection nothing_fails;
struct injection *injection = &nothing_fails;
atomic_int library_threads;

/* What this call has to answer instead of being made; 0: nothing. */
static int failure_of(enum injected_call call, int error)
{
    if (!atomic_load_explicit(&injection->on, memory_order_relaxed))
        return 0;
    bool memory = injection->call == INJECTED_MEMORY && call < INJECTED_SYSTEM;
    if (!memory && injection->call != (int)call)
        return 0;
    long number = atomic_fetch_add(&injection->met, 1) + 1;
    if (injection->first == 0 || number < injection->first ||
        number - injection->first >= injection->count)
        return 0;
    atomic_fetch_add(&injection->failed, 1);
    return memory ? error : injection->error;
}

static bool fails(enum injected_call call, int error)
{
    error = failure_of(call, error);
    if (error)
        errno = error;
    return error != 0;
}

#define FAILS(call, error) fails(INJECTED_##call, error)

void *injected_malloc(size_t size);
void *injected_calloc(size_t count, size_t size);
void *injected_realloc(void *old, size_t size);
char *injected_strdup(const char *text);
void injected_free(void *memory);

static void *traced(void *memory)
{
    trace_memory(memory);
    return memory;
}

void *injected_malloc(size_t size)
{
    return FAILS(malloc, ENOMEM) ? NULL : traced(malloc(size));
}

void *injected_calloc(size_t count, size_t size)
{
    return FAILS(calloc, ENOMEM) ? NULL : traced(calloc(count, size));
}

/* Untraced before it can be another thread's. */
void *injected_realloc(void *old, size_t size)
{
    if (FAILS(realloc, ENOMEM))
        return NULL;
    untrace_memory(old);
    void *memory = realloc(old, size);
    trace_memory(memory ? memory : old);
    return memory;
}

char *injected_strdup(const char *text)
{
    return FAILS(strdup, ENOMEM) ? NULL : traced(strdup(text));
}

void injected_free(void *memory)
{
    untrace_memory(memory);
    free(memory);
}

int injected_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                         struct addrinfo **list);
void injected_freeaddrinfo(struct addrinfo *list);

int injected_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                         struct addrinfo **list)
{
    int error = failure_of(INJECTED_getaddrinfo, EAI_MEMORY);
    int answer = error ? error : getaddrinfo(name, service, hints, list);
    if (answer == 0)
        trace_memory(*list);
    return answer;
}

void injected_freeaddrinfo(struct addrinfo *list)
{
    untrace_memory(list);
    freeaddrinfo(list);
}

/* A thread of the library's own, which no test's call is around. */
struct start {
    void *(*body)(void *arg);
    void *arg;
};

static void ended(void *unused)
{
    (void)unused;
    atomic_fetch_sub_explicit(&library_threads, 1, memory_order_relaxed);
}

static void *run(void *arg)
{
    struct start start = *(struct start *)arg;
    void *answer;
    free(arg);
    library_thread();
    pthread_cleanup_push(ended, NULL);
    answer = start.body(start.arg);
    pthread_cleanup_pop(1);
    return answer;
}

int injected_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                            void *(*body)(void *arg), void *arg);

int injected_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                            void *(*body)(void *arg), void *arg)
{
    int error = failure_of(INJECTED_pthread_create, EAGAIN);
    struct start *start = error ? NULL : malloc(sizeof *start);
    if (!start)
        return EAGAIN;
    *start = (struct start){body, arg};
    atomic_fetch_add_explicit(&library_threads, 1, memory_order_relaxed);
    error = pthread_create(thread, attributes, run, start);
    if (error) {
        ended(NULL);
        free(start);
    }
    return error;
}

/* Calls that answer their error. */
#define ANSWERING(name, parameters, arguments)                                                     \
    int injected_##name parameters;                                                                \
    int injected_##name parameters                                                                 \
    {                                                                                              \
        int error = failure_of(INJECTED_##name, ENOMEM);                                           \
        return error ? error : name arguments;                                                     \
    }

ANSWERING(pthread_cond_init, (pthread_cond_t * cond, const pthread_condattr_t *attributes),
          (cond, attributes))
ANSWERING(pthread_condattr_init, (pthread_condattr_t * attributes), (attributes))
ANSWERING(pthread_mutex_init, (pthread_mutex_t * mutex, const pthread_mutexattr_t *attributes),
          (mutex, attributes))

/* Calls that answer -1, and their error in errno. */
#define CALLING(type, name, parameters, before, arguments, after)                                  \
    type injected_##name parameters;                                                               \
    type injected_##name parameters                                                                \
    {                                                                                              \
        if (FAILS(name, 0))                                                                        \
            return -1;                                                                             \
        before;                                                                                    \
        storm_in();                                                                                \
        type answer = name arguments;                                                              \
        storm_out();                                                                               \
        after;                                                                                     \
        return answer;                                                                             \
    }

#define FAILING(name, parameters, arguments)                                                       \
    CALLING(int, name, parameters, (void)0, arguments, (void)0)

/* ... a descriptor. */
#define OPENING(name, parameters, arguments)                                                       \
    CALLING(int, name, parameters, (void)0, arguments, trace_descriptor(answer))

FAILING(bind, (int fd, const struct sockaddr *address, socklen_t length), (fd, address, length))
FAILING(epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event),
        (epoll, operation, fd, event))
FAILING(epoll_wait, (int epoll, struct epoll_event *events, int most, int timeout),
        (epoll, events, most, timeout))
FAILING(flock, (int fd, int operation), (fd, operation))
FAILING(getpeername, (int fd, struct sockaddr *address, socklen_t *length), (fd, address, length))
FAILING(getsockname, (int fd, struct sockaddr *address, socklen_t *length), (fd, address, length))
FAILING(getsockopt, (int fd, int level, int option, void *value, socklen_t *length),
        (fd, level, option, value, length))
FAILING(listen, (int fd, int backlog), (fd, backlog))
FAILING(lstat, (const char *path, struct stat *file), (path, file))
FAILING(nanosleep, (const struct timespec *nap, struct timespec *left), (nap, left))
FAILING(poll, (struct pollfd * fds, nfds_t count, int timeout), (fds, count, timeout))
FAILING(setsockopt, (int fd, int level, int option, const void *value, socklen_t length),
        (fd, level, option, value, length))
FAILING(shutdown, (int fd, int how), (fd, how))
FAILING(unlink, (const char *path), (path))

OPENING(accept4, (int fd, struct sockaddr *peer, socklen_t *length, int flags),
        (fd, peer, length, flags))
OPENING(epoll_create1, (int flags), (flags))
OPENING(eventfd, (unsigned count, int flags), (count, flags))
OPENING(socket, (int family, int type, int protocol), (family, type, protocol))

int injected_open(const char *path, int flags, ...);
int injected_open(const char *path, int flags, ...)
{
    if (FAILS(open, 0))
        return -1;
    int fd = open(path, flags & ~O_CREAT);
    trace_descriptor(fd);
    return fd;
}

/* close(2): whatever it answers, the descriptor is gone. */
int injected_close(int fd);
int injected_close(int fd)
{
    untrace_descriptor(fd);
    dry(fd);
    int answer = close(fd);
    return FAILS(close, 0) ? -1 : answer;
}

/* connect(2): one that is interrupted or in progress goes on by itself. */
int injected_connect(int fd, const struct sockaddr *address, socklen_t length);
int injected_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int error = failure_of(INJECTED_connect, 0);
    int answer = -1;
    if (error == 0 || error == EINTR || error == EINPROGRESS) {
        storm_in();
        answer = connect(fd, address, length);
        storm_out();
    }
    if (error == 0)
        return answer;
    errno = error;
    return -1;
}

int injected_fcntl(int fd, int command, ...);
int injected_fcntl(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    int arg = command == F_GETFD || command == F_GETFL ? 0 : va_arg(rest, int);
    va_end(rest);
    return FAILS(fcntl, 0) ? -1 : fcntl(fd, command, arg);
}

int injected_ioctl(int fd, unsigned long request, ...);
int injected_ioctl(int fd, unsigned long request, ...)
{
    va_list rest;
    va_start(rest, request);
    void *arg = va_arg(rest, void *);
    va_end(rest);
    return FAILS(ioctl, 0) ? -1 : ioctl(fd, request, arg);
}

/* connect(2) by its number, which may fail and has three arguments, and futex(2), whose errors are
 * answers, and which has six. */
long injected_syscall(long number, ...);
long injected_syscall(long number, ...)
{
    long args[6] = {0};
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < (number == SYS_connect ? 3 : 6); i++)
        args[i] = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_connect && FAILS(syscall, 0))
        return -1;
    storm_in();
    long answer = syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
    storm_out();
    return answer;
}

/* Reads and writes, which have their weather. */
#define MOVING(name, parameters, lessen, arguments)                                                \
    CALLING(                                                                                       \
        ssize_t, name, parameters,                                                                 \
        if (in_fog()) {                                                                            \
            errno = EAGAIN;                                                                        \
            return -1;                                                                             \
        } lessen,                                                                                  \
        arguments, (void)0)

/* The first part that has anything, cut; in a copy, for a message may not be changed. */
static struct msghdr drop_of_parts(int fd, const struct msghdr *message, struct iovec *part)
{
    struct msghdr drop = *message;
    size_t i = 0;
    while (weather() == DROPS && i + 1 < (size_t)message->msg_iovlen &&
           message->msg_iov[i].iov_len == 0)
        i++;
    if (weather() == DROPS && message->msg_iovlen > 0) {
        *part =
            (struct iovec){message->msg_iov[i].iov_base, drop_of(fd, message->msg_iov[i].iov_len)};
        drop.msg_iov = part;
        drop.msg_iovlen = 1;
    }
    return drop;
}

#define DROP_OF_PARTS                                                                              \
    struct iovec part;                                                                             \
    struct msghdr drop = drop_of_parts(fd, message, &part)

MOVING(recv, (int fd, void *bytes, size_t count, int flags), count = drop_of(fd, count),
       (fd, bytes, count, flags))
MOVING(send, (int fd, const void *bytes, size_t count, int flags), count = drop_of(fd, count),
       (fd, bytes, count, flags))
MOVING(recvmsg, (int fd, struct msghdr *message, int flags), DROP_OF_PARTS, (fd, &drop, flags))
MOVING(sendmsg, (int fd, const struct msghdr *message, int flags), DROP_OF_PARTS,
       (fd, &drop, flags))

/* Of an eventfd: eight bytes or none. */
ssize_t injected_read(int fd, void *bytes, size_t count);
ssize_t injected_read(int fd, void *bytes, size_t count)
{
    return FAILS(read, 0) ? -1 : read(fd, bytes, count);
}

ssize_t injected_write(int fd, const void *bytes, size_t count);
ssize_t injected_write(int fd, const void *bytes, size_t count)
{
    return FAILS(write, 0) ? -1 : write(fd, bytes, count);
}

/* As glibc calls those that know of large files. */
int injected_fcntl64(int fd, int command, ...) __attribute__((alias("injected_fcntl")));
int injected_open64(const char *path, int flags, ...) __attribute__((alias("injected_open")));
int injected_lstat64(const char *path, struct stat *file) __attribute__((alias("injected_lstat")));
