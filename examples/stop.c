/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static int stop_pipe[2];
static atomic_long told_at; /* by the monotonic clock, in seconds; 0 until then */

static long monotonic_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long)now.tv_sec;
}

void stop_everybody(void)
{
    long never = 0;
    atomic_compare_exchange_strong(&told_at, &never, monotonic_s());
    if (write(stop_pipe[1], "", 1) < 0) {
        /* Then it is full of the same news. */
    }
}

/* All that it calls may be called in a handler (signal-safety(7)). */
static void on_signal(int number)
{
    int saved = errno;
    (void)number;
    stop_everybody();
    errno = saved;
}

int stop_prepare(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    sigemptyset(&action.sa_mask);
    if (pipe(stop_pipe) != 0)
        return -1;
    /* A handler must not wait for room. */
    if (fcntl(stop_pipe[1], F_SETFL, O_NONBLOCK) != 0)
        return -1;
    if (sigaction(SIGINT, &action, NULL) != 0 || sigaction(SIGTERM, &action, NULL) != 0)
        return -1;
    return 0;
}

bool stop_or_ready(int fd, short events, int timeout_ms)
{
    struct pollfd fds[] = {
        {.fd = stop_pipe[0], .events = POLLIN},
        {.fd = fd, .events = events},
    };
    while (poll(fds, 2, timeout_ms) < 0 && errno == EINTR)
        continue;
    return fds[0].revents == 0;
}

long stop_since(void)
{
    long then = atomic_load(&told_at);
    return then == 0 ? 0 : monotonic_s() - then;
}
