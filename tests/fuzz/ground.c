/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "ground.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEEDS 256
#define DESCRIPTORS 128
#define PEERS_OF_A_PORT 2000

static int listening = -1;
static struct sockaddr_in here;
static unsigned peers_here;
static struct pollfd marked[DESCRIPTORS];

const uint8_t *ground_bytes(uint8_t seed)
{
    static uint8_t bytes[LENGTH_MOST + SEEDS];
    static bool filled;
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof bytes && !filled; i++) {
        x = x * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(x >> 24);
    }
    filled = true;
    return bytes + seed;
}

size_t take_length(struct input *input, size_t most)
{
    uint8_t choice = take(input);
    uint64_t length = choice;
    if (choice >= 0xf8)
        length = take_wide(input, 3);
    else if (choice >= 0xf0)
        length = take_wide(input, 2);
    return length < most ? (size_t)length : most;
}

tcpmsg_framing take_framing(struct input *input, struct model *model)
{
    static const int widths[] = {0, 1, 2, 3, 4, 8, TCPMSG_VARINT};
    unsigned choice = take(input);
    tcpmsg_framing framing = {.width = widths[choice % 8 % 7]};
    framing.little_endian = choice >> 3 & 1;
    framing.counts_prefix = framing.width != TCPMSG_VARINT && (choice >> 4 & 1);
    MUST(model_make(model, &framing));
    return framing;
}

/* A port serves many peers, but not so many that all of their ports are in TIME-WAIT. */
static void listen_again(void)
{
    socklen_t length = sizeof here;
    if (listening >= 0 && peers_here < PEERS_OF_A_PORT)
        return;
    peers_here = 0;
    close(listening);
    here = (struct sockaddr_in){.sin_family = AF_INET};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(listening >= 0);
    MUST(bind(listening, (struct sockaddr *)&here, sizeof here) == 0 && listen(listening, 8) == 0);
    MUST(getsockname(listening, (struct sockaddr *)&here, &length) == 0);
}

/* The fuzzer's own clock sends signals. */
static void meet(int *ours, int *peers)
{
    int r;
    *peers = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(*peers >= 0);
    do
        r = connect(*peers, (struct sockaddr *)&here, sizeof here);
    while (r < 0 && errno == EINTR);
    MUST(r == 0);
    do
        *ours = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    while (*ours < 0 && errno == EINTR);
    MUST(*ours >= 0);
}

void ground_pair(bool tcp, int *ours, int *peers)
{
    int fds[2], on = 1;
    if (!tcp) {
        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
        *ours = fds[0];
        *peers = fds[1];
        return;
    }
    peers_here++;
    meet(ours, peers);
    MUST(ioctl(*peers, FIONBIO, &on) == 0);
    MUST(setsockopt(*peers, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
}

size_t ground_unread(int fd)
{
    int count = 0;
    MUST(ioctl(fd, FIONREAD, &count) == 0 && count >= 0);
    return (size_t)count;
}

void ground_close(int fd, bool tcp)
{
    struct linger at_once = {.l_onoff = 1};
    if (tcp)
        MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(fd);
}

/* poll(2) tells of each descriptor whether it is open. */
static void look(struct pollfd *fds)
{
    for (int i = 0; i < DESCRIPTORS; i++)
        fds[i] = (struct pollfd){.fd = i};
    MUST(poll(fds, DESCRIPTORS, 0) >= 0);
}

void ground_mark(void)
{
    listen_again();
    look(marked);
}

void ground_check(void)
{
    struct pollfd now[DESCRIPTORS];
    look(now);
    for (int i = 0; i < DESCRIPTORS; i++)
        MUST((now[i].revents & POLLNVAL) == (marked[i].revents & POLLNVAL));
}
