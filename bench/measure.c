/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A measurement that hangs ends the program. */
enum { LIMIT_S = 30 };

void bench_fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    _exit(1);
}

void bench_fail_system(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    _exit(1);
}

void bench_fail_ours(ssize_t error, const char *what)
{
    fprintf(stderr, "%s: %s\n", what, tcpmsg_strerror((int)error));
    _exit(1);
}

unsigned char *bench_memory(size_t size)
{
    unsigned char *memory = malloc(size);
    bench_system(memory != NULL, "malloc");
    memset(memory, 'm', size);
    return memory;
}

void bench_prefix(unsigned char *bytes, size_t length)
{
    uint32_t prefix = htonl((uint32_t)length);
    memcpy(bytes, &prefix, BENCH_PREFIX);
}

void bench_send_all(int fd, const unsigned char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        bench_system(sent >= 0 || errno == EINTR, "send");
        if (sent > 0) {
            bytes += sent;
            size -= (size_t)sent;
        }
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void no_delay(int fd)
{
    int on = 1;
    bench_system(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0, "TCP_NODELAY");
}

/* Both ends of a TCP connection over 127.0.0.1. */
static void tcp_pair(int pair[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct sockaddr *any = (struct sockaddr *)&address;

    int listener = socket(AF_INET, SOCK_STREAM, 0);
    bench_system(listener >= 0, "socket");
    bench_system(bind(listener, any, size) == 0, "bind");
    bench_system(listen(listener, 1) == 0, "listen");
    bench_system(getsockname(listener, any, &size) == 0, "getsockname");
    pair[0] = socket(AF_INET, SOCK_STREAM, 0);
    bench_system(pair[0] >= 0, "socket");
    bench_system(connect(pair[0], any, size) == 0, "connect");
    pair[1] = accept(listener, NULL, NULL);
    bench_system(pair[1] >= 0, "accept");
    close(listener);
    no_delay(pair[0]);
    no_delay(pair[1]);
}

static bench_end open_end(const bench_way *way, int fd)
{
    bench_end end = {.fd = fd};
    if (way->ours) {
        const tcpmsg_options *options = TCPMSG_OPTIONS(.spin_us = way->spin_us);
        bench_ours(tcpmsg_attach(&end.conn, fd, options), "tcpmsg_attach");
    }
    return end;
}

static void close_end(const bench_end *end)
{
    if (end->conn != NULL) {
        bench_ours(tcpmsg_close(end->conn), "tcpmsg_close");
    } else {
        close(end->fd);
    }
}

/* The two sides tell each other "ready" and "done" beside the connection that is measured. */
static void tell(int control)
{
    bench_system(write(control, "", 1) == 1, "telling the other side");
}

static void hear(int control)
{
    char byte;
    bench_require(read(control, &byte, 1) == 1, "the other side is gone");
}

static void far_process(const bench_way *way, const bench_load *load, int fd, int control)
{
    alarm(LIMIT_S);
    bench_end end = open_end(way, fd);
    tell(control);
    way->far(&end, load);
    tell(control);
    close_end(&end);
    _exit(0);
}

/* Starts the far side's process; *fd and *control become the near ends. */
static pid_t start_far(const bench_way *way, const bench_load *load, int *fd, int *control)
{
    int pair[2];
    int controls[2];
    tcp_pair(pair);
    bench_system(socketpair(AF_UNIX, SOCK_STREAM, 0, controls) == 0, "socketpair");
    pid_t child = fork();
    bench_system(child >= 0, "fork");
    if (child == 0) {
        close(pair[0]);
        close(controls[0]);
        far_process(way, load, pair[1], controls[1]);
    }
    close(pair[1]);
    close(controls[1]);
    *fd = pair[0];
    *control = controls[0];
    return child;
}

/* Seconds from the first byte until the far side has seen the last one. */
double bench_measure(const bench_way *way, const bench_load *load)
{
    int fd;
    int control;
    alarm(LIMIT_S);
    pid_t child = start_far(way, load, &fd, &control);
    bench_end end = open_end(way, fd);
    hear(control);
    uint64_t start = now_ns();
    way->near(&end, load);
    hear(control);
    uint64_t taken = now_ns() - start;
    close_end(&end);
    close(control);
    int status;
    bench_system(waitpid(child, &status, 0) == child, "waitpid");
    bench_require(status == 0, "the other side failed");
    return (double)taken * 1e-9;
}
