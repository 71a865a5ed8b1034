/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "sentinels.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "looper.h"

enum { THREADS = 2, HELD = 24, FDS = 4096, BYTES = 48 };

enum kind { PIPE, PAIR, NETWORK, FILE_OF_BYTES, COUNTER, KINDS };

/* Both are one where there is but one. */
struct sentinel {
    enum kind kind;
    bool there;
    int fds[2];
    int flags[2];
    struct stat identities[2];
    uint32_t seed;
};

static struct {
    pthread_t threads[THREADS];
    atomic_bool over;
    atomic_bool guarded[FDS];
    atomic_long opened;
    atomic_long meddled;
    char first[160];
    pthread_mutex_t lock;
} sentinels = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char *const kinds[] = {"a pipe", "a socketpair", "a connection", "a file",
                                    "an eventfd"};

_Thread_local atomic_bool *polling;
static _Thread_local bool is_sentinels; /* this thread */
static atomic_long held;

static void tell(const char *what, const char *whose)
{
    pthread_mutex_lock(&sentinels.lock);
    if (atomic_fetch_add(&sentinels.meddled, 1) == 0)
        snprintf(sentinels.first, sizeof sentinels.first, "%s: %s", whose, what);
    pthread_mutex_unlock(&sentinels.lock);
}

static void guard(int fd, bool on)
{
    if (fd < FDS)
        atomic_store(&sentinels.guarded[fd], on);
}

/* Between two of a process over the network, with everything as the system makes it. Nothing is
 * asserted in these threads: what went wrong is told at the end. */
static bool open_network(int fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    bool good = bind(listening, (struct sockaddr *)&at, length) == 0 && listen(listening, 1) == 0 &&
                getsockname(listening, (struct sockaddr *)&at, &length) == 0 &&
                connect(fds[0], (struct sockaddr *)&at, length) == 0;
    fds[1] = good ? accept(listening, NULL, NULL) : -1;
    close(listening);
    return fds[1] >= 0;
}

static bool open_kind(struct sentinel *sentinel, int type_flags)
{
    int *fds = sentinel->fds;
    switch (sentinel->kind) {
    case PIPE:
        return pipe2(fds, type_flags & 1 ? O_NONBLOCK : 0) == 0;
    case PAIR:
        return socketpair(AF_UNIX, SOCK_STREAM | (type_flags & 1 ? SOCK_NONBLOCK : 0), 0, fds) == 0;
    case NETWORK:
        return open_network(fds);
    case FILE_OF_BYTES:
        fds[0] = fds[1] = memfd_create("sentinel", 0);
        return fds[0] >= 0;
    default:
        fds[0] = fds[1] = eventfd(0, EFD_NONBLOCK);
        return fds[0] >= 0;
    }
}

static bool is_socket(const struct sentinel *sentinel)
{
    return sentinel->kind == PAIR || sentinel->kind == NETWORK;
}

static void fill_it(const struct sentinel *sentinel)
{
    uint8_t bytes[BYTES];
    uint64_t count = sentinel->seed + UINT64_C(1);
    bool done = true;
    fill(bytes, BYTES, sentinel->seed);
    if (sentinel->kind == COUNTER)
        done = write(sentinel->fds[0], &count, sizeof count) == sizeof count;
    else if (is_socket(sentinel))
        done = send(sentinel->fds[0], bytes, BYTES, 0) == BYTES &&
               send(sentinel->fds[1], bytes, BYTES, 0) == BYTES;
    else
        done = write(sentinel->fds[1], bytes, BYTES) == BYTES;
    if (!done)
        tell("it can't be filled", kinds[sentinel->kind]);
}

static void open_one(struct sentinel *sentinel, unsigned *seed)
{
    static const enum kind odds[] = {PIPE,    PIPE, PAIR,          PAIR,          PAIR,
                                     NETWORK, PAIR, FILE_OF_BYTES, FILE_OF_BYTES, COUNTER};
    *sentinel = (struct sentinel){.kind = odds[(size_t)rand_r(seed) % COUNT(odds)],
                                  .seed = (uint32_t)rand_r(seed)};
    if (!open_kind(sentinel, rand_r(seed))) {
        tell("it can't be opened", kinds[sentinel->kind]);
        return;
    }
    sentinel->there = true;
    for (int i = 0; i < 2; i++) {
        guard(sentinel->fds[i], true);
        fstat(sentinel->fds[i], &sentinel->identities[i]);
        sentinel->flags[i] = fcntl(sentinel->fds[i], F_GETFL);
    }
    fill_it(sentinel);
    atomic_fetch_add(&sentinels.opened, 1);
}

/* What the library sets of its own sockets, or a reset would leave. */
static bool options_are_untouched(int fd)
{
    static const int names[] = {SO_ERROR, SO_KEEPALIVE, SO_REUSEADDR};
    struct linger linger = {0};
    struct timeval limit = {0};
    socklen_t size = sizeof linger, limit_size = sizeof limit;
    for (size_t i = 0; i < COUNT(names); i++) {
        int value = 0;
        socklen_t length = sizeof value;
        if (getsockopt(fd, SOL_SOCKET, names[i], &value, &length) != 0 || value != 0)
            return false;
    }
    return getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size) == 0 && linger.l_onoff == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &limit_size) == 0 && limit.tv_sec == 0 &&
           limit.tv_usec == 0;
}

static void look_at_end(const struct sentinel *sentinel, int i)
{
    int fd = sentinel->fds[i];
    struct stat now = {0};
    if (fcntl(fd, F_GETFD) != 0 || fcntl(fd, F_GETFL) != sentinel->flags[i])
        tell("its flags have changed, or it is closed", kinds[sentinel->kind]);
    if (fstat(fd, &now) != 0 || now.st_ino != sentinel->identities[i].st_ino ||
        now.st_dev != sentinel->identities[i].st_dev)
        tell("it is another one", kinds[sentinel->kind]);
    if (is_socket(sentinel) && !options_are_untouched(fd))
        tell("its options have changed", kinds[sentinel->kind]);
}

/* Exactly what was put in, and behind it neither more nor an end. */
static bool holds_its_bytes(const struct sentinel *sentinel, int i)
{
    uint8_t bytes[2 * BYTES];
    int fd = sentinel->fds[i];
    ssize_t n;
    if (is_socket(sentinel)) {
        wait_events(fd, POLLIN, WAIT_MS);
        n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        return n == BYTES && is_filled(bytes, BYTES, sentinel->seed) &&
               recv(fd, bytes, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
    }
    if (sentinel->kind == FILE_OF_BYTES)
        return lseek(fd, 0, SEEK_CUR) == BYTES && lseek(fd, 0, SEEK_END) == BYTES &&
               pread(fd, bytes, sizeof bytes, 0) == BYTES &&
               is_filled(bytes, BYTES, sentinel->seed);
    n = read(fd, bytes, sizeof bytes);
    return n == BYTES && is_filled(bytes, BYTES, sentinel->seed) && wait_events(fd, POLLIN, 0) == 0;
}

static bool holds_its_count(const struct sentinel *sentinel)
{
    uint64_t count = 0;
    return read(sentinel->fds[0], &count, sizeof count) == sizeof count &&
           count == sentinel->seed + UINT64_C(1);
}

static void close_one(struct sentinel *sentinel)
{
    for (int i = 0; i < 2; i++)
        look_at_end(sentinel, i);
    bool good =
        sentinel->kind == COUNTER ? holds_its_count(sentinel) : holds_its_bytes(sentinel, 0);
    if (is_socket(sentinel))
        good = good && holds_its_bytes(sentinel, 1);
    if (!good)
        tell("its bytes are others", kinds[sentinel->kind]);
    for (int i = 0; i < 2; i++) {
        guard(sentinel->fds[i], false);
        if (i == 0 || sentinel->fds[1] != sentinel->fds[0])
            close(sentinel->fds[i]);
    }
    sentinel->there = false;
}

static void *stand(void *arg)
{
    struct sentinel row[HELD] = {0};
    unsigned seed = (unsigned)(uintptr_t)arg;
    sigset_t pipe;
    is_sentinels = true;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE); /* a pipe that the library has closed is told of, not died of */
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    setpriority(PRIO_PROCESS, 0, 19); /* Linux: of this thread; it runs when others hesitate */
    while (!atomic_load(&sentinels.over)) {
        struct sentinel *one = &row[(size_t)rand_r(&seed) % HELD];
        if (one->there)
            close_one(one);
        else
            open_one(one, &seed);
    }
    for (int i = 0; i < HELD; i++)
        if (row[i].there)
            close_one(&row[i]);
    return NULL;
}

void sentinels_begin(void)
{
    atomic_store(&sentinels.over, false);
    atomic_store(&sentinels.opened, 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&sentinels.threads[i], NULL, stand, (void *)(i + 1)), 0);
}

void sentinels_end(void)
{
    atomic_store(&sentinels.over, true);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(sentinels.threads[i], NULL), 0);
    print_message("%ld sentinels, %ld meddled with\n", atomic_load(&sentinels.opened),
                  atomic_load(&sentinels.meddled));
    if (atomic_load(&sentinels.meddled) > 0)
        fail_msg("%s", sentinels.first);
}

/* Between what the library knows of a descriptor and its call, and more so after a close, others
 * run now and then, so that a moment which is never to be met is met. */
static void hesitate(unsigned odds)
{
    static _Thread_local unsigned seed = 1;
    struct timespec nap = {.tv_nsec = 50000};
    if (!is_sentinels && (unsigned)rand_r(&seed) % odds == 0)
        nanosleep(&nap, NULL);
}

/* ld(1), --wrap: the library's calls come to __wrap_, __real_ are the system's. Here are those of
 * anybody but the sentinels' own threads. */
static void look_at(int fd, const char *call)
{
    hesitate(24);
    if (!is_sentinels && fd >= 0 && fd < FDS && atomic_load(&sentinels.guarded[fd]))
        tell(call, "a sentinel");
}

#define LOOKED_AT(type, name, parameters, arguments)                                               \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        look_at(fd, #name);                                                                        \
        return __real_##name arguments;                                                            \
    }

LOOKED_AT(int, accept4, (int fd, struct sockaddr *peer, socklen_t *length, int flags),
          (fd, peer, length, flags))
LOOKED_AT(int, bind, (int fd, const struct sockaddr *address, socklen_t length),
          (fd, address, length))
LOOKED_AT(int, connect, (int fd, const struct sockaddr *address, socklen_t length),
          (fd, address, length))
LOOKED_AT(int, getpeername, (int fd, struct sockaddr *address, socklen_t *length),
          (fd, address, length))
LOOKED_AT(int, getsockname, (int fd, struct sockaddr *address, socklen_t *length),
          (fd, address, length))
LOOKED_AT(int, getsockopt, (int fd, int level, int option, void *value, socklen_t *length),
          (fd, level, option, value, length))
LOOKED_AT(int, listen, (int fd, int backlog), (fd, backlog))
LOOKED_AT(ssize_t, read, (int fd, void *bytes, size_t count), (fd, bytes, count))
LOOKED_AT(ssize_t, recv, (int fd, void *bytes, size_t count, int flags), (fd, bytes, count, flags))
LOOKED_AT(ssize_t, recvmsg, (int fd, struct msghdr *header, int flags), (fd, header, flags))
LOOKED_AT(ssize_t, send, (int fd, const void *bytes, size_t count, int flags),
          (fd, bytes, count, flags))
LOOKED_AT(ssize_t, sendmsg, (int fd, const struct msghdr *header, int flags), (fd, header, flags))
LOOKED_AT(int, setsockopt, (int fd, int level, int option, const void *value, socklen_t length),
          (fd, level, option, value, length))
LOOKED_AT(int, shutdown, (int fd, int how), (fd, how))
LOOKED_AT(ssize_t, write, (int fd, const void *bytes, size_t count), (fd, bytes, count))

int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_close(int fd)
{
    look_at(fd, "close");
    int r = __real_close(fd);
    hesitate(3);
    return r;
}

int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);

int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    look_at(epoll, "epoll_ctl");
    look_at(fd, "epoll_ctl");
    return __real_epoll_ctl(epoll, operation, fd, event);
}

int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    for (nfds_t i = 0; i < count; i++)
        look_at(fds[i].fd, "poll");
    if (polling)
        atomic_store(polling, true);
    return __real_poll(fds, count, timeout);
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strdup(const char *text);
void __real_free(void *memory);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *memory);

long allocations(void)
{
    return atomic_load(&held);
}

static void *counted(void *memory)
{
    if (memory)
        atomic_fetch_add(&held, 1);
    return memory;
}

void *__wrap_malloc(size_t size)
{
    return counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    void *memory = __real_realloc(old, size);
    return old ? memory : counted(memory);
}

char *__wrap_strdup(const char *text)
{
    return counted(__real_strdup(text));
}

void __wrap_free(void *memory)
{
    if (memory)
        atomic_fetch_sub(&held, 1);
    if (memory && !SANITIZED) /* who uses it still is to stumble */
        memset(memory, 0xdb, malloc_usable_size(memory));
    __real_free(memory);
}
