/* SPDX-License-Identifier: MIT */
#define _DEFAULT_SOURCE

/* Two processes, and what moves between them. */

#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

/* A measurement that hangs ends the program. */
enum { LIMIT_S = 60 };

static void open_bare(bench_end *end)
{
    (void)end;
}

static void close_bare(bench_end *end)
{
    close(end->fd);
}

const bench_kind bench_bare_kind = {false, open_bare, close_bare};

static void open_ours(bench_end *end)
{
    tcpmsg_conn *conn;
    const tcpmsg_options *options = TCPMSG_OPTIONS(.spin_us = end->way->spin_us);
    bench_ours(tcpmsg_attach(&conn, end->fd, options), "tcpmsg_attach");
    end->own = conn;
}

static void close_ours(bench_end *end)
{
    bench_ours(tcpmsg_close(end->own), "tcpmsg_close");
}

const bench_kind bench_our_kind = {false, open_ours, close_ours};

void bench_receive_views(const bench_end *end, const bench_load *load)
{
    for (size_t i = 0; i < load->count; i++) {
        const void *message;
        ssize_t got = bench_ours(tcpmsg_recv_view(end->own, &message, 0), "tcpmsg_recv_view");
        bench_require((size_t)got == load->length, "a message of another length");
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + 1e-6 * (double)time.tv_usec;
}

/* What the processor has done for this process, all threads. */
typedef struct used {
    double user;
    double system;
} used;

static used used_until_now(void)
{
    struct rusage usage;
    bench_system(getrusage(RUSAGE_SELF, &usage) == 0, "getrusage");
    return (used){seconds_of(usage.ru_utime), seconds_of(usage.ru_stime)};
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

static void wait_for(pid_t child, const char *otherwise)
{
    int status;
    bench_system(waitpid(child, &status, 0) == child, "waitpid");
    bench_require(status == 0, otherwise);
}

static void far_process(bench_end *end, const bench_load *load, int control)
{
    const bench_way *way = end->way;
    const bench_load first = {load->length, 1};
    alarm(LIMIT_S);
    way->far_kind->open(end);
    tell(control);
    way->far(end, &first);
    used before = used_until_now();
    tell(control);
    way->far(end, load);
    used after = used_until_now();
    tell(control);
    used taken = {after.user - before.user, after.system - before.system};
    bench_system(write(control, &taken, sizeof(taken)) == sizeof(taken), "telling the times");
    way->far_kind->close(end);
    _exit(0);
}

/* Both ends of a connection, or the port for one. */
static void make_ends(const bench_way *way, bench_end *near, bench_end *far)
{
    int listener = bench_listen(0);
    *near = (bench_end){.way = way, .fd = -1, .port = bench_port(listener)};
    *far = *near;
    far->far = true;
    if (!way->near_kind->by_port) {
        near->fd = bench_connect(near->port);
        far->fd = accept(listener, NULL, NULL);
        bench_system(far->fd >= 0, "accept");
    }
    close(listener);
}

/* Starts the far side's process; *control is the near end of what they talk over. */
static pid_t start_far(bench_end *near, bench_end *far, const bench_load *load, int *control)
{
    int controls[2];
    bench_system(socketpair(AF_UNIX, SOCK_STREAM, 0, controls) == 0, "socketpair");
    pid_t child = fork();
    bench_system(child >= 0, "fork");
    if (child == 0) {
        close(near->fd);
        close(controls[0]);
        far_process(far, load, controls[1]);
    }
    close(far->fd);
    close(controls[1]);
    *control = controls[0];
    return child;
}

/* The near side: has the far one done its part, and writes what it took to `out`. */
static void near_process(const bench_way *way, const bench_load *load, int out)
{
    const bench_load first = {load->length, 1};
    bench_end near;
    bench_end far;
    int control;
    used there;
    alarm(LIMIT_S);
    make_ends(way, &near, &far);
    pid_t child = start_far(&near, &far, load, &control);
    hear(control);
    way->near_kind->open(&near);
    way->near(&near, &first);
    hear(control);
    used before = used_until_now();
    double start = now();
    way->near(&near, load);
    hear(control);
    double taken = now() - start;
    used after = used_until_now();
    bench_require(read(control, &there, sizeof(there)) == sizeof(there), "no times");
    way->near_kind->close(&near);
    close(control);
    wait_for(child, "the other side failed");
    bench_taken all = {taken, after.user - before.user, after.system - before.system, there.user,
                       there.system};
    bench_system(write(out, &all, sizeof(all)) == sizeof(all), "telling the times");
    _exit(0);
}

/* Each measurement in processes of its own: some libraries work in one only. */
bench_taken bench_measure(const bench_way *way, const bench_load *load)
{
    bench_taken taken;
    int out[2];
    bench_system(pipe(out) == 0, "pipe");
    pid_t child = fork();
    bench_system(child >= 0, "fork");
    if (child == 0) {
        close(out[0]);
        near_process(way, load, out[1]);
    }
    close(out[1]);
    bench_require(read(out[0], &taken, sizeof(taken)) == sizeof(taken), "it was not measured");
    close(out[0]);
    wait_for(child, "this side failed");
    return taken;
}
