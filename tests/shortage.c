/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "shortage.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#ifdef TM_KQUEUE
#include <sys/event.h>
#endif

static const int answers[][SCARCE_KINDS] = {
#define ANSWERS(name, memory, descriptors, buffers) {memory, descriptors, buffers},
    SCARCE_CALLS(ANSWERS)
#undef ANSWERS
};

/* Of the calls that want this kind, so many still succeed. */
static struct {
    enum scarce kind;
    bool lasts;
    atomic_int successes;
    atomic_int failures;
} shortage;

/* Those that fail for a test's own reasons. */
static struct {
    atomic_int error;
    atomic_int after;
    atomic_int count;
} single[COUNT(answers)];
static atomic_int failed;

atomic_bool scarce;
void (*before_write)(void);
atomic_bool hold_look_ups;
atomic_int held_look_ups;
atomic_bool look_up_hears_signals;
static atomic_long held;
static _Thread_local bool spared;

bool shortage_lasts(void)
{
    return shortage.lasts;
}

bool lacks(ssize_t answer)
{
    return answer == (shortage.kind == SCARCE_DESCRIPTORS ? TCPMSG_EMFILE : TCPMSG_ENOMEM);
}

void shortage_over(void)
{
    if (atomic_load(&shortage.failures) > 0)
        shortage.lasts = false;
}

struct traces {
    long allocations;
    int descriptors;
};

static bool are_gone(void *arg)
{
    const struct traces *before = arg;
    return allocations() == before->allocations && count_descriptors() == before->descriptors;
}

/* True when the play met a failure: in the next one, it comes later. */
static bool play_through(void (*play)(void), enum scarce kind, int successes, bool lasts)
{
    struct traces before = {allocations(), count_descriptors()};
    shortage.kind = kind;
    shortage.lasts = lasts;
    atomic_store(&shortage.successes, successes);
    atomic_store(&shortage.failures, 0);
    play();
    if (!eventually(are_gone, &before))
        fail_msg("%ld allocations and %d descriptors are left", allocations() - before.allocations,
                 count_descriptors() - before.descriptors);
    return atomic_load(&shortage.failures) > 0;
}

void play_through_shortages(void (*play)(void))
{
    static const char *const names[] = {"memory", "descriptors", "buffers"};
    for (enum scarce kind = 0; kind < SCARCE_KINDS; kind++)
        for (int lasts = 0; lasts <= 1; lasts++) {
            int successes = 0;
            while (play_through(play, kind, successes, lasts))
                successes++;
            print_message("%d times no %s%s\n", successes, names[kind], lasts ? " for good" : "");
        }
}

static pthread_t relief;
static atomic_bool relieved;

static void *relieve(void *unused)
{
    while (!relieved) {
        sleep_ms(10);
        scarce = false;
    }
    return unused;
}

void relief_begin(void)
{
    relieved = !shortage.lasts;
    assert_int_equal(pthread_create(&relief, NULL, relieve, NULL), 0);
}

void relief_end(void)
{
    relieved = true;
    pthread_join(relief, NULL);
}

void call_fails(enum scarce_call call, int error, int count)
{
    atomic_store(&single[call].error, error);
    atomic_store(&single[call].after, 0);
    atomic_store(&single[call].count, count);
}

void call_fails_later(enum scarce_call call, int error, int after)
{
    call_fails(call, error, 1);
    atomic_store(&single[call].after, after);
}

int calls_failed(void)
{
    for (size_t i = 0; i < COUNT(single); i++)
        atomic_store(&single[i].count, 0);
    return atomic_exchange(&failed, 0);
}

void spare_this_thread(void)
{
    spared = true;
}

long allocations(void)
{
    return atomic_load(&held);
}

static int single_failure_of(enum scarce_call call)
{
    if (atomic_load(&single[call].count) <= 0 || atomic_fetch_sub(&single[call].after, 1) > 0 ||
        atomic_fetch_sub(&single[call].count, 1) <= 0)
        return 0;
    atomic_fetch_add(&failed, 1);
    return atomic_load(&single[call].error);
}

/* What this call has to answer instead of doing anything; 0: it is made. */
static int failure_of(enum scarce_call call)
{
    int error = spared ? 0 : single_failure_of(call);
    if (error != 0 || spared || !scarce)
        return error;
    error = answers[call][shortage.kind];
    if (error == 0 || atomic_fetch_sub(&shortage.successes, 1) > 0)
        return 0;
    return atomic_fetch_add(&shortage.failures, 1) == 0 || shortage.lasts ? error : 0;
}

static bool fails(enum scarce_call call)
{
    int error = failure_of(call);
    if (error)
        errno = error;
    return error != 0;
}

static void *counted(void *memory)
{
    if (memory)
        atomic_fetch_add(&held, 1);
    return memory;
}

/* ld(1), --wrap: the library's calls come to __wrap_, __real_ are the system's. */
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

void *__wrap_malloc(size_t size)
{
    return fails(CALL_malloc) ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails(CALL_calloc) ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    if (fails(CALL_realloc))
        return NULL;
    void *memory = __real_realloc(old, size);
    return old ? memory : counted(memory);
}

char *__wrap_strdup(const char *text)
{
    return fails(CALL_strdup) ? NULL : counted(__real_strdup(text));
}

void __wrap_free(void *memory)
{
    if (memory)
        atomic_fetch_sub(&held, 1);
    __real_free(memory);
}

/* A call that answers its error. */
#define ANSWERING(name, parameters, arguments)                                                     \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        int error = failure_of(CALL_##name);                                                       \
        return error ? error : __real_##name arguments;                                            \
    }

/* A call that answers -1, and its error in errno. */
#define FAILING(type, name, parameters, arguments)                                                 \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        return fails(CALL_##name) ? -1 : __real_##name arguments;                                  \
    }

ANSWERING(pthread_cond_init, (pthread_cond_t * cond, const pthread_condattr_t *attributes),
          (cond, attributes))
ANSWERING(pthread_condattr_init, (pthread_condattr_t * attributes), (attributes))
ANSWERING(pthread_create,
          (pthread_t * thread, const pthread_attr_t *attributes, void *(*body)(void *), void *arg),
          (thread, attributes, body, arg))
ANSWERING(pthread_mutex_init, (pthread_mutex_t * mutex, const pthread_mutexattr_t *attributes),
          (mutex, attributes))
FAILING(int, epoll_create1, (int flags), (flags))
FAILING(int, epoll_wait, (int epoll, struct epoll_event *events, int most, int timeout),
        (epoll, events, most, timeout))
FAILING(int, eventfd, (unsigned count, int flags), (count, flags))
FAILING(int, socket, (int family, int type, int protocol), (family, type, protocol))
FAILING(int, accept4, (int fd, struct sockaddr *peer, socklen_t *length, int flags),
        (fd, peer, length, flags))
FAILING(int, bind, (int fd, const struct sockaddr *address, socklen_t length),
        (fd, address, length))
FAILING(int, listen, (int fd, int backlog), (fd, backlog))
FAILING(int, connect, (int fd, const struct sockaddr *address, socklen_t length),
        (fd, address, length))
FAILING(int, getpeername, (int fd, struct sockaddr *address, socklen_t *length),
        (fd, address, length))
FAILING(int, getsockname, (int fd, struct sockaddr *address, socklen_t *length),
        (fd, address, length))
FAILING(int, getsockopt, (int fd, int level, int option, void *value, socklen_t *length),
        (fd, level, option, value, length))
FAILING(int, setsockopt, (int fd, int level, int option, const void *value, socklen_t length),
        (fd, level, option, value, length))
FAILING(int, poll, (struct pollfd * fds, nfds_t count, int timeout), (fds, count, timeout))
FAILING(ssize_t, recv, (int fd, void *bytes, size_t count, int flags), (fd, bytes, count, flags))
FAILING(ssize_t, recvmsg, (int fd, struct msghdr *header, int flags), (fd, header, flags))

int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);

/* To take one out needs nothing. */
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    if (operation != EPOLL_CTL_DEL && fails(CALL_epoll_ctl))
        return -1;
    return __real_epoll_ctl(epoll, operation, fd, event);
}

#ifdef TM_KQUEUE

FAILING(int, kqueue, (void), ())

int __real_kevent(int queue, const struct kevent *changes, int count, struct kevent *events,
                  int most, const struct timespec *timeout);
int __wrap_kevent(int queue, const struct kevent *changes, int count, struct kevent *events,
                  int most, const struct timespec *timeout);

int __wrap_kevent(int queue, const struct kevent *changes, int count, struct kevent *events,
                  int most, const struct timespec *timeout)
{
    if (count > 0 ? !(changes->flags & EV_DELETE) && fails(CALL_kevent_change)
                  : fails(CALL_kevent_wait))
        return -1;
    return __real_kevent(queue, changes, count, events, most, timeout);
}

#endif

ssize_t __real_send(int fd, const void *bytes, size_t count, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *header, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t count, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags);

ssize_t __wrap_send(int fd, const void *bytes, size_t count, int flags)
{
    if (before_write)
        before_write();
    return fails(CALL_send) ? -1 : __real_send(fd, bytes, count, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags)
{
    if (before_write)
        before_write();
    return fails(CALL_sendmsg) ? -1 : __real_sendmsg(fd, header, flags);
}

int __real_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **found);
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **found);

static void wait_while_held(void)
{
    sigset_t blocked;
    if (!hold_look_ups)
        return;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    look_up_hears_signals = sigismember(&blocked, SIGUSR1) == 0;
    atomic_fetch_add(&held_look_ups, 1);
    while (hold_look_ups)
        sleep_ms(1);
    atomic_fetch_sub(&held_look_ups, 1);
}

int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **found)
{
    int error = failure_of(CALL_getaddrinfo);
    if (error)
        return error;
    if (!(hints->ai_flags & AI_NUMERICHOST))
        wait_while_held();
    return __real_getaddrinfo(host, port, hints, found);
}
