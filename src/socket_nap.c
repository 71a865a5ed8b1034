/* SPDX-License-Identifier: MIT */
#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/time.h>

#ifdef __linux__

bool tm_socket_limit_naps(int listener)
{
    struct timeval nap = {.tv_usec = TM_SOCKET_NAP / 1000};
    return setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &nap, sizeof nap) == 0;
}

bool tm_socket_has_limit(int fd)
{
    struct timeval nap = {0};
    socklen_t length = sizeof nap;
    int r = getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &nap, &length);
    return r == 0 && nap.tv_sec == 0 && nap.tv_usec > 0;
}

bool tm_socket_may_nap(int fd, bool ours)
{
    int r = ours ? fcntl(fd, F_SETFL, 0) : fcntl(fd, F_GETFL);
    return r >= 0 && !(r & O_NONBLOCK) && tm_socket_limit_naps(fd);
}

#else /* elsewhere a send may block that says MSG_DONTWAIT */

bool tm_socket_limit_naps(int listener)
{
    (void)listener;
    return false;
}

bool tm_socket_has_limit(int fd)
{
    (void)fd;
    return false;
}

bool tm_socket_may_nap(int fd, bool ours)
{
    (void)fd;
    (void)ours;
    return false;
}

#endif

ssize_t tm_socket_nap(int fd, struct iovec *parts, int count)
{
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = (unsigned)count};
    ssize_t n =
        count == 1 ? recv(fd, parts[0].iov_base, parts[0].iov_len, 0) : recvmsg(fd, &header, 0);
    if (n < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    return n;
}
