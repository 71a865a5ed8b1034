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
#include <unistd.h>

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

void bench_recv_all(int fd, unsigned char *bytes, size_t size, int flags)
{
    while (size > 0) {
        ssize_t got = recv(fd, bytes, size, flags);
        bool again = got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK);
        bench_system(got >= 0 || again, "recv");
        bench_require(got != 0, "recv: the end, too early");
        if (got > 0) {
            bytes += got;
            size -= (size_t)got;
        }
    }
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int tcp_socket(void)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bench_system(fd >= 0, "socket");
    bench_system(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0, "TCP_NODELAY");
    return fd;
}

int bench_listen(int port)
{
    struct sockaddr_in address = loopback(port);
    int on = 1;
    int fd = tcp_socket();
    bench_system(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0, "SO_REUSEADDR");
    bench_system(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    bench_system(listen(fd, SOMAXCONN) == 0, "listen");
    return fd;
}

int bench_port(int listener)
{
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    bench_system(getsockname(listener, (struct sockaddr *)&address, &size) == 0, "getsockname");
    return ntohs(address.sin_port);
}

int bench_connect(int port)
{
    struct sockaddr_in address = loopback(port);
    int fd = tcp_socket();
    bench_system(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
    return fd;
}

const char *bench_url(int port)
{
    static char url[32];
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%d", port);
    return url;
}
