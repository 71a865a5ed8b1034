/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "echo.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bench.h"

enum { BACKLOG = 4096 };

static bool read_number(const echo_option *option, const char *text)
{
    char *end;
    *option->number = strtol(text, &end, 10);
    return *text != '\0' && *end == '\0' && *option->number >= option->least;
}

/* How many arguments it is, or 0 when something is wrong. */
static int read_option(const echo_option *options, const char *name, const char *value)
{
    for (const echo_option *option = options; option->name != NULL; option++) {
        if (strcmp(option->name, name) != 0) {
            continue;
        }
        if (option->number == NULL) {
            *option->flag = true;
            return 1;
        }
        return value != NULL && read_number(option, value) ? 2 : 0;
    }
    return 0;
}

const char *echo_command_line(int argc, char **argv, const echo_option *options,
                              const char *address, const char *usage)
{
    int at = 1;
    while (at < argc && argv[at][0] == '-') {
        int taken = read_option(options, argv[at], at + 1 < argc ? argv[at + 1] : NULL);
        if (taken == 0) {
            break;
        }
        at += taken;
    }
    if (at < argc && argv[at][0] != '-') {
        address = argv[at++];
    }
    if (at < argc || address == NULL) {
        fputs(usage, stderr);
        exit(2);
    }
    return address;
}

struct sockaddr_in echo_address(const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    size_t length = colon != NULL ? (size_t)(colon - text) : sizeof(host);
    bench_require(length < sizeof(host), "the address is not an IPv4 address and a port");
    memcpy(host, text, length);
    host[length] = '\0';
    long port = strtol(colon + 1, NULL, 10);
    bench_require(inet_pton(AF_INET, host, &address.sin_addr) == 1 && port >= 0 && port <= 65535,
                  "the address is not an IPv4 address and a port");
    address.sin_port = htons((uint16_t)port);
    return address;
}

int echo_listen(const struct sockaddr_in *address)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    bench_system(listener >= 0, "socket");
    int on = 1;
    bench_system(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0,
                 "SO_REUSEADDR");
    bench_system(bind(listener, (const struct sockaddr *)address, sizeof(*address)) == 0, "bind");
    bench_system(listen(listener, BACKLOG) == 0, "listen");
    bench_system(fcntl(listener, F_SETFL, O_NONBLOCK) == 0, "O_NONBLOCK");
    return listener;
}

void echo_announce(int listener)
{
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    char host[INET_ADDRSTRLEN];
    bench_system(getsockname(listener, (struct sockaddr *)&address, &size) == 0, "getsockname");
    bench_system(inet_ntop(AF_INET, &address.sin_addr, host, sizeof(host)) != NULL, "inet_ntop");
    printf("listening on %s:%d\n", host, ntohs(address.sin_port));
    fflush(stdout);
}

void echo_prepare(int fd)
{
    int on = 1;
    bench_system(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0, "TCP_NODELAY");
    bench_system(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "O_NONBLOCK");
}
