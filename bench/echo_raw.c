/* SPDX-License-Identifier: MIT */
/*
 * The floor: sends back what comes, byte for byte, and knows of no messages. One thread, epoll.
 * What the socket does not take is copied, and nothing more is read until it is gone.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "echo.h"

enum { EVENTS = 512, ACCEPTS = 64 };

struct client {
    int fd;
    unsigned char *rest; /* what the socket has not taken; NULL: nothing */
    size_t sent;         /* of the rest */
    size_t size;
};

static int poller;
static unsigned char *shared;
static long read_size = 262144;

static void watch(struct client *client, int how, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = client};
    bench_system(epoll_ctl(poller, how, client->fd, &event) == 0, "epoll_ctl");
}

static void accept_clients(int listener)
{
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) {
            bench_system(errno == EAGAIN || errno == ECONNABORTED, "accept");
            return;
        }
        echo_prepare(fd);
        struct client *new = calloc(1, sizeof(*new));
        bench_system(new != NULL, "calloc");
        new->fd = fd;
        watch(new, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void end(struct client *client)
{
    close(client->fd);
    free(client->rest);
    free(client);
}

/* How many bytes the socket takes; -1: the connection has ended. */
static ssize_t push(int fd, const unsigned char *bytes, size_t size)
{
    ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
    return sent < 0 && errno == EAGAIN ? 0 : sent;
}

static void keep_rest(struct client *client, const unsigned char *bytes, size_t size)
{
    client->rest = malloc(size);
    bench_system(client->rest != NULL, "malloc");
    memcpy(client->rest, bytes, size);
    client->size = size;
    client->sent = 0;
    watch(client, EPOLL_CTL_MOD, EPOLLOUT);
}

static bool echo(struct client *client)
{
    ssize_t count = recv(client->fd, shared, (size_t)read_size, 0);
    if (count <= 0) {
        return count < 0 && errno == EAGAIN;
    }
    ssize_t sent = push(client->fd, shared, (size_t)count);
    if (sent >= 0 && sent < count) {
        keep_rest(client, shared + sent, (size_t)(count - sent));
    }
    return sent >= 0;
}

static bool send_rest(struct client *client)
{
    ssize_t sent = push(client->fd, client->rest + client->sent, client->size - client->sent);
    if (sent < 0) {
        return false;
    }
    client->sent += (size_t)sent;
    if (client->sent == client->size) {
        free(client->rest);
        client->rest = NULL;
        watch(client, EPOLL_CTL_MOD, EPOLLIN);
    }
    return true;
}

int main(int argc, char **argv)
{
    const echo_option options[] = {{.name = "--read-size", .number = &read_size, .least = 1},
                                   {.name = NULL}};
    const char *text = echo_command_line(argc, argv, options, "127.0.0.1:0",
                                         "usage: echo_raw [--read-size BYTES] [ADDRESS]\n");
    struct sockaddr_in address = echo_address(text);
    struct client listener = {.fd = echo_listen(&address)};
    poller = epoll_create1(0);
    bench_system(poller >= 0, "epoll_create1");
    shared = bench_memory((size_t)read_size);
    watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
    echo_announce(listener.fd);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (client == &listener) {
                accept_clients(listener.fd);
            } else if (!(client->rest != NULL ? send_rest(client) : echo(client))) {
                end(client);
            }
        }
    }
}
