/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "faults.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "support.h"

enum { FDS = 1024, PARTS = 1024 };

struct faults faults;
atomic_long reads_made, writes_made, polls_made, bytes_into, bytes_out;
atomic_long writes_that_may_signal;
atomic_bool hold_writes;
atomic_int held_writes;

static atomic_bool faulty[FDS];
static _Thread_local unsigned seed = 1;

/* ld(1), --wrap: the library's calls come to __wrap_, __real_ are the system's. */
ssize_t __real_recv(int fd, void *bytes, size_t count, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *header, int flags);
ssize_t __real_send(int fd, const void *bytes, size_t count, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *header, int flags);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);

ssize_t __wrap_recv(int fd, void *bytes, size_t count, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *header, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t count, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);

void faults_begin(const struct faults *wanted)
{
    faults_end();
    faults = *wanted;
    atomic_store(&reads_made, 0);
    atomic_store(&writes_made, 0);
    atomic_store(&polls_made, 0);
    atomic_store(&bytes_into, 0);
    atomic_store(&bytes_out, 0);
    atomic_store(&writes_that_may_signal, 0);
}

void faults_on(int fd)
{
    if (fd >= 0 && fd < FDS)
        atomic_store(&faulty[fd], true);
}

void faults_end(void)
{
    for (int fd = 0; fd < FDS; fd++)
        atomic_store(&faulty[fd], false);
    faults = (struct faults){0};
}

static bool is_faulty(int fd)
{
    return fd >= 0 && fd < FDS && atomic_load(&faulty[fd]);
}

static bool by_chance(int percent)
{
    return percent > 0 && rand_r(&seed) % 100 < percent;
}

/* The errno that a read or a write is to answer, or 0. */
static int fault(int error, int no_memory)
{
    if (error)
        return error;
    if (by_chance(faults.eintr))
        return EINTR;
    if (by_chance(no_memory))
        return rand_r(&seed) % 2 ? ENOBUFS : ENOMEM;
    return by_chance(faults.eagain) ? EAGAIN : 0;
}

/* The header with its parts cut to what one call may move; `parts` has room for PARTS. */
static struct msghdr cut(const struct msghdr *header, struct iovec *parts)
{
    struct msghdr shorter = *header;
    size_t left = faults.most;
    if (left == 0 || header->msg_iovlen > PARTS)
        return shorter;
    if (faults.random_most)
        left = 1 + (size_t)rand_r(&seed) % left;
    shorter.msg_iov = parts;
    shorter.msg_iovlen = 0;
    for (size_t i = 0; i < (size_t)header->msg_iovlen && left > 0; i++) {
        struct iovec part = header->msg_iov[i];
        if (part.iov_len > left)
            part.iov_len = left;
        left -= part.iov_len;
        parts[shorter.msg_iovlen++] = part;
    }
    return shorter;
}

static void count_into(const struct msghdr *header, ssize_t got)
{
    uintptr_t first = (uintptr_t)faults.into, end = first + faults.into_size;
    for (size_t i = 0; i < (size_t)header->msg_iovlen && got > 0; i++) {
        uintptr_t base = (uintptr_t)header->msg_iov[i].iov_base;
        size_t length = header->msg_iov[i].iov_len;
        if (length > (size_t)got)
            length = (size_t)got;
        if (base >= first && base < end)
            atomic_fetch_add(&bytes_into, (long)length);
        got -= (ssize_t)length;
    }
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *header, int flags)
{
    struct iovec parts[PARTS];
    if (!is_faulty(fd))
        return __real_recvmsg(fd, header, flags);
    atomic_fetch_add(&reads_made, 1);
    errno = fault(faults.read_error, faults.no_memory);
    if (errno)
        return -1;
    struct msghdr shorter = cut(header, parts);
    ssize_t got = __real_recvmsg(fd, &shorter, flags);
    count_into(&shorter, got);
    return got;
}

ssize_t __wrap_recv(int fd, void *bytes, size_t count, int flags)
{
    struct iovec part = {.iov_base = bytes, .iov_len = count};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    return is_faulty(fd) ? __wrap_recvmsg(fd, &header, flags)
                         : __real_recv(fd, bytes, count, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags)
{
    struct iovec parts[PARTS];
    if (!is_faulty(fd))
        return __real_sendmsg(fd, header, flags);
    if (atomic_load(&hold_writes)) {
        atomic_fetch_add(&held_writes, 1);
        while (atomic_load(&hold_writes))
            sleep_ms(1);
    }
    atomic_fetch_add(&writes_made, 1);
    if (!(flags & MSG_NOSIGNAL))
        atomic_fetch_add(&writes_that_may_signal, 1);
    errno = fault(faults.write_error, faults.no_buffers);
    if (errno)
        return -1;
    struct msghdr shorter = cut(header, parts);
    ssize_t went = __real_sendmsg(fd, &shorter, flags);
    atomic_fetch_add(&bytes_out, went > 0 ? (long)went : 0);
    return went;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t count, int flags)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = count};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    return is_faulty(fd) ? __wrap_sendmsg(fd, &header, flags)
                         : __real_send(fd, bytes, count, flags);
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    bool ours = false;
    for (nfds_t i = 0; i < count; i++)
        ours = ours || is_faulty(fds[i].fd);
    if (!ours)
        return __real_poll(fds, count, timeout);
    atomic_fetch_add(&polls_made, 1);
    if (by_chance(faults.eintr)) {
        errno = EINTR;
        return -1;
    }
    return __real_poll(fds, count, timeout);
}
