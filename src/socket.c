/* SPDX-License-Identifier: MIT */
#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

#ifdef __linux__
#include <sys/syscall.h>
#endif

#ifndef MSG_NOSIGNAL /* where there is none, tm_socket_own sets SO_NOSIGPIPE */
#define MSG_NOSIGNAL 0
#endif
#ifdef MSG_DONTWAIT
#define NEEDS_NONBLOCK 0
#else /* where there is none, tm_socket_own sets O_NONBLOCK */
#define MSG_DONTWAIT 0
#define NEEDS_NONBLOCK 1
#endif

#define DISCARD_MOST ((ssize_t)1 << 20)
#define KEEPALIVE_PROBES 9
#define BUSY_TRIES 50

/* The callers know the first name alone. */
_Static_assert(EWOULDBLOCK == EAGAIN, "a system whose sockets say another one");

static int answer(int r)
{
    return r < 0 ? -errno : r;
}

static int set_int(int fd, int level, int option, int value)
{
    return answer(setsockopt(fd, level, option, &value, sizeof value));
}

int tm_socket_own(int fd, bool nonblocking)
{
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
        return -errno;
#ifdef SO_NOSIGPIPE
    set_int(fd, SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
    if (!nonblocking && !NEEDS_NONBLOCK)
        return 0;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

void tm_socket_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

#ifdef SOCK_CLOEXEC /* close-on-exec without a moment in which a fork could miss it */

int tm_socket_open(int family)
{
    return answer(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

static int accept_one(int fd, tm_sockaddr *peer)
{
    return answer(accept4(fd, &peer->u.any, &peer->length, SOCK_CLOEXEC));
}

#else

static int owned(int fd)
{
    int r = fd < 0 ? -errno : tm_socket_own(fd, true);
    if (r < 0)
        tm_socket_close(fd);
    return r < 0 ? r : fd;
}

int tm_socket_open(int family)
{
    return owned(socket(family, SOCK_STREAM, 0));
}

static int accept_one(int fd, tm_sockaddr *peer)
{
    return owned(accept(fd, &peer->u.any, &peer->length));
}

#endif

int tm_socket_accept(int fd, tm_sockaddr *peer)
{
    int r;
    do {
        *peer = (tm_sockaddr){.length = sizeof peer->u};
        r = accept_one(fd, peer);
    } while (r == -EINTR);
    return r;
}

int tm_socket_bind(int fd, const tm_sockaddr *address)
{
    return answer(bind(fd, &address->u.any, address->length));
}

int tm_socket_listen(int fd, int backlog)
{
    return answer(listen(fd, backlog));
}

static int connect_once(int fd, const tm_sockaddr *address)
{
    int r = answer(connect(fd, &address->u.any, address->length));
    /* connect(2): an interrupted one goes on in the background, like one in progress. */
    return r == -EINTR ? -EINPROGRESS : r;
}

int tm_socket_connect(int fd, const tm_sockaddr *address)
{
    int r = connect_once(fd, address);
#ifdef __linux__
    /* Over loopback it is over when the call returns; the next one tells how it went. */
    if (r == -EINPROGRESS && address->u.any.sa_family != AF_UNIX)
        r = connect_once(fd, address);
#endif
    return r == -EALREADY ? -EINPROGRESS : r;
}

int tm_socket_pending_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        return -errno;
    return -error;
}

ssize_t tm_socket_read(int fd, struct iovec *parts, int count)
{
    ssize_t n;
    if (count == 1) {
        do
            n = recv(fd, parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
    } else {
        struct msghdr header = {.msg_iov = parts, .msg_iovlen = (unsigned)count};
        do
            n = recvmsg(fd, &header, MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
    }
    return n < 0 ? -errno : n;
}

ssize_t tm_socket_write(int fd, struct iovec *parts, int count)
{
    ssize_t n;
    if (count == 1) {
        do
            n = send(fd, parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
    } else {
        struct msghdr header = {.msg_iov = parts, .msg_iovlen = (unsigned)count};
        do
            n = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
    }
    return n < 0 ? -errno : n;
}

ssize_t tm_socket_discard(int fd)
{
    char bytes[16384];
    ssize_t sum = 0, n;
    do {
        n = tm_socket_read(fd, &(struct iovec){bytes, sizeof bytes}, 1);
        sum += n > 0 ? n : 0;
    } while (n > 0 && sum < DISCARD_MOST);
    if (n == -ENOBUFS || n == -ENOMEM)
        n = -EAGAIN; /* short of memory for a moment: no end */
    return n < 0 && !(n == -EAGAIN && sum > 0) ? n : n == 0 ? 0 : sum;
}

int tm_socket_end_output(int fd)
{
    return answer(shutdown(fd, SHUT_WR));
}

int tm_socket_end_both(int fd)
{
    return answer(shutdown(fd, SHUT_RDWR));
}

#ifdef __linux__

/*
 * connect(2): AF_UNSPEC dissolves a TCP association; the peer gets the reset now. Called by its
 * number, since ThreadSanitizer takes libc's connect for a race with those who wait here.
 */
static int dissolve(int fd)
{
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
#ifdef SYS_connect
    return answer((int)syscall(SYS_connect, fd, &nowhere, sizeof nowhere));
#else
    return answer(connect(fd, &nowhere, sizeof nowhere));
#endif
}

#else

static int dissolve(int fd)
{
    (void)fd;
    return -ENOSYS;
}

#endif

int tm_socket_reset(int fd)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    int r = dissolve(fd);
    /* Some Linux 6 refuse while a thread is inside of recv(2), which this wakes: it sends nothing. */
    for (int tries = 0; r == -EBUSY && tries < BUSY_TRIES; tries++) {
        shutdown(fd, SHUT_RD);
        tm_socket_wait(NULL, 0, tm_now() + TM_MS);
        r = dissolve(fd);
    }
    return r < 0 ? tm_socket_end_both(fd) : 0; /* then the reset leaves with the close */
}

void tm_socket_tune(int fd, const tm_settings *settings)
{
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (settings->keepalive_s > 0) {
#ifdef TCP_KEEPIDLE
        set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, settings->keepalive_s);
#elif defined(TCP_KEEPALIVE) /* macOS */
        set_int(fd, IPPROTO_TCP, TCP_KEEPALIVE, settings->keepalive_s);
#endif
#ifdef TCP_KEEPINTVL
        set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, settings->keepalive_s);
        set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
#endif
    }
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, settings->keepalive_s > 0);
}

void tm_socket_limit(int fd, const tm_settings *settings)
{
#ifdef TCP_USER_TIMEOUT
    if (settings->user_timeout_ms > 0)
        set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, settings->user_timeout_ms);
#endif
}

int tm_socket_share(int fd, int family, bool both_families, const tm_settings *settings)
{
    int r = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    /* The system's default for IPV6_V6ONLY is anybody's choice, so it is always said. */
    if (r == 0 && family == AF_INET6)
        r = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !both_families);
    if (r == 0 && settings->reuse_port) {
#ifdef SO_REUSEPORT
        r = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
#else
        r = -ENOPROTOOPT;
#endif
    }
    return r;
}

/* poll(2) itself can fail, for lack of memory say: a nap keeps its callers from spinning. */
static void sleep_briefly(int64_t deadline)
{
    int64_t left = tm_sooner(deadline - tm_now(), 10 * TM_MS);
    struct timespec nap = {.tv_nsec = left > 0 ? (long)left : 0};
    nanosleep(&nap, NULL);
}

int tm_socket_wait(struct pollfd *fds, nfds_t count, int64_t deadline)
{
    int r;
    do
        r = answer(poll(fds, count, tm_left_ms(deadline)));
    while (r == -EINTR);
    if (r < 0)
        sleep_briefly(deadline);
    return r;
}
