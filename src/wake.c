/* SPDX-License-Identifier: MIT */
#include "wake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#include "socket.h"

#ifdef __linux__
#include <sys/eventfd.h>

int tm_wake_open(tm_wake *wake)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    *wake = (tm_wake){fd, fd};
    return 0;
}

#else

static int set_flags(int fd)
{
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    return fcntl(fd, F_SETFL, O_NONBLOCK);
}

int tm_wake_open(tm_wake *wake)
{
    int fds[2];
    if (pipe(fds) < 0)
        return -errno;
    tm_wake opened = {fds[0], fds[1]};
    if (set_flags(fds[0]) < 0 || set_flags(fds[1]) < 0) {
        int number = errno;
        tm_wake_close(&opened);
        return -number;
    }
    *wake = opened;
    return 0;
}

#endif

/* How often a write is tried that the system refuses for no reason of ours, a millisecond apart. */
#define WRITE_TRIES 1000

void tm_wake_signal(const tm_wake *wake)
{
    static const uint64_t one = 1;
    /* A full pipe or counter is readable already: its EAGAIN changes nothing. */
    for (int tries = 0; write(wake->write_fd, &one, sizeof one) < 0 && errno != EAGAIN;)
        if (errno != EINTR) {
            if (++tries == WRITE_TRIES)
                return;
            tm_socket_wait(NULL, 0, tm_now() + TM_MS);
        }
}

void tm_wake_clear(const tm_wake *wake)
{
    uint64_t counts[16];
    ssize_t n;
    do
        n = read(wake->read_fd, counts, sizeof counts);
    while (n == (ssize_t)sizeof counts || (n < 0 && errno == EINTR));
}

void tm_wake_close(tm_wake *wake)
{
    if (wake->read_fd >= 0)
        close(wake->read_fd);
    if (wake->write_fd >= 0 && wake->write_fd != wake->read_fd)
        close(wake->write_fd);
    *wake = TM_WAKE_CLOSED;
}
