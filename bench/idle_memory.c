/* SPDX-License-Identifier: MIT */
/*
 * What a connection in a loop costs while it is silent, as the allocator and the system see it:
 * bytes that malloc has handed out, and resident ones. A child process holds the other ends.
 */
#define _DEFAULT_SOURCE

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tcpmsg/loop.h>

#include "bench.h"
#include "echo.h"

enum { SETTLE_MS = 300, LIMIT_S = 120 };

static const char usage[] = "usage: idle_memory [--connections N] [--size BYTES] [ADDRESS]\n";

static long connections = 10000;
static long size = 64;

static tcpmsg_loop *loop;
static int control; /* a byte either way: go on */
static long opened;
static long answered;

typedef struct sample {
    double used;
    double resident;
} sample;

static sample first;

static void tell(void)
{
    bench_system(write(control, "", 1) == 1, "telling the other process");
}

static void hear(void)
{
    char byte;
    bench_require(read(control, &byte, 1) == 1, "the other process is gone");
}

/* The child: one connection that is not counted, then all, first silent, then with a message. */

static int connect_one(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bench_system(fd >= 0, "socket");
    bench_system(connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0, "connect");
    return fd;
}

static void exchange(int fd, const unsigned char *frame, unsigned char *answer)
{
    size_t length = BENCH_PREFIX + (size_t)size;
    bench_send_all(fd, frame, length);
    bench_require(recv(fd, answer, length, MSG_WAITALL) == (ssize_t)length &&
                      memcmp(frame, answer, length) == 0,
                  "the answer is not what was sent");
}

static void hold(const struct sockaddr_in *address)
{
    int *fds = malloc((size_t)connections * sizeof(*fds));
    bench_system(fds != NULL, "malloc");
    unsigned char *frame = bench_memory(BENCH_PREFIX + (size_t)size);
    unsigned char *answer = bench_memory(BENCH_PREFIX + (size_t)size);
    bench_prefix(frame, (size_t)size);
    alarm(LIMIT_S);
    exchange(connect_one(address), frame, answer);
    tell();
    hear();
    for (long i = 0; i < connections; i++) {
        fds[i] = connect_one(address);
    }
    hear();
    for (long i = 0; i < connections; i++) {
        exchange(fds[i], frame, answer);
    }
    tell();
    hear();
    _exit(0);
}

/* The parent: the loop. */

static sample take_sample(void)
{
    struct mallinfo2 info = mallinfo2();
    sample now = {.used = (double)(info.uordblks + info.hblkhd)};
    unsigned long pages;
    unsigned long resident;
    FILE *file = fopen("/proc/self/statm", "r");
    bench_system(file != NULL, "/proc/self/statm");
    bench_require(fscanf(file, "%lu %lu", &pages, &resident) == 2, "/proc/self/statm");
    fclose(file);
    now.resident = (double)resident * (double)sysconf(_SC_PAGESIZE);
    return now;
}

static void print_sample(const char *what)
{
    sample now = take_sample();
    printf("%-28s %10.1f %10.1f\n", what, (now.used - first.used) / (double)connections,
           (now.resident - first.resident) / (double)connections);
}

static void later(void (*call)(void *arg))
{
    bench_ours(tcpmsg_loop_after(loop, SETTLE_MS, call, NULL), "tcpmsg_loop_after");
}

static void measure_empty(void *arg)
{
    (void)arg;
    hear();
    first = take_sample();
    tell();
}

static void measure_silent(void *arg)
{
    (void)arg;
    print_sample("never sent anything");
    tell();
}

static void measure_answered(void *arg)
{
    (void)arg;
    hear();
    print_sample("silent after a message each");
    tell();
    tcpmsg_loop_stop(loop);
}

static void on_open(tcpmsg_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
    if (++opened == connections + 1) {
        later(measure_silent);
    }
}

static void on_message(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    (void)arg;
    bench_ours(tcpmsg_send(conn, message, length, 0), "tcpmsg_send");
    answered++;
    if (answered == 1) {
        later(measure_empty);
    } else if (answered == connections + 1) {
        later(measure_answered);
    }
}

int main(int argc, char **argv)
{
    const echo_option options[] = {
        {.name = "--connections", .number = &connections, .least = 1},
        {.name = "--size", .number = &size, .least = 0},
        {.name = NULL},
    };
    const char *text = echo_command_line(argc, argv, options, "127.0.0.1:0", usage);
    tcpmsg_listener *listener;
    char bound[TCPMSG_ADDRESS_MAX];
    int controls[2];

    bench_ours(tcpmsg_listen(&listener, text, NULL), "tcpmsg_listen");
    bench_ours(tcpmsg_listener_address(listener, bound, sizeof(bound)), "tcpmsg_listener_address");
    struct sockaddr_in address = echo_address(bound);
    bench_system(socketpair(AF_UNIX, SOCK_STREAM, 0, controls) == 0, "socketpair");
    pid_t child = fork();
    bench_system(child >= 0, "fork");
    control = controls[child == 0];
    close(controls[child != 0]);
    if (child == 0) {
        hold(&address);
    }
    alarm(LIMIT_S);
    bench_ours(tcpmsg_loop_open(&loop, NULL), "tcpmsg_loop_open");
    bench_ours(tcpmsg_loop_listen(loop, listener,
                                  TCPMSG_CALLBACKS(.on_open = on_open, .on_message = on_message),
                                  NULL),
               "tcpmsg_loop_listen");
    printf("%ld connections; bytes each: %11s %10s\n", connections, "malloc's", "resident");
    bench_ours(tcpmsg_loop_run(loop), "tcpmsg_loop_run");
    tcpmsg_loop_close(loop);
    return 0;
}
