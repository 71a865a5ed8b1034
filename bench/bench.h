/* SPDX-License-Identifier: MIT */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <tcpmsg/tcpmsg.h>

enum { BENCH_PREFIX = 4 };

/*
 * What the benchmark programs share. A program is a table of ways to do the same work. Each
 * round measures every way once, in turn, so that a machine that slows down slows all of them;
 * a way is compared with the bare sockets of its own round.
 */

/* What one measurement moves: `count` messages of `length` bytes. */
typedef struct bench_load {
    size_t length;
    size_t count;
} bench_load;

/* One end of a fresh TCP connection: a blocking socket, or the connection made of it. */
typedef struct bench_end {
    int fd;
    tcpmsg_conn *conn; /* NULL in a bare way */
} bench_end;

typedef void bench_work(const bench_end *end, const bench_load *load);

typedef struct bench_way {
    const char *name;  /* for --only */
    const char *title; /* for the table */
    bench_work *near;  /* in this process */
    bench_work *far;   /* in a process of its own; the clock stops when it has returned */
    bool ours;         /* both ends are tcpmsg connections */
    int spin_us;
} bench_way;

typedef struct bench_plan {
    const char *title;
    bool rate;             /* figures are messages a second, else microseconds a message */
    const size_t *lengths; /* ends with 0 */
    const bench_way *ways; /* ends with a NULL name; the first two are the bare sockets */
} bench_plan;

/* Runs the plan as the command line says, and prints a table for each length. */
int bench_main(const bench_plan *plan, int argc, char **argv);

/* Seconds from the first byte until the far side has received the last one. */
double bench_measure(const bench_way *way, const bench_load *load);

/* Says what is wrong, with errno's reason or the library's, and ends the program. */
void bench_fail(const char *what);
void bench_fail_system(const char *what);
void bench_fail_ours(ssize_t error, const char *what);

/* Checks, inline because each message passes through them: these cost a comparison. */
static inline void bench_require(bool fine, const char *what)
{
    if (!fine) {
        bench_fail(what);
    }
}

static inline void bench_system(bool fine, const char *what)
{
    if (!fine) {
        bench_fail_system(what);
    }
}

static inline ssize_t bench_ours(ssize_t result, const char *what)
{
    if (result < 0) {
        bench_fail_ours(result, what);
    }
    return result;
}

/* Memory of `size` bytes that has been written once, so that no measurement pays for its pages. */
unsigned char *bench_memory(size_t size);

/* Messages on the wire of bare sockets: the default prefix, BENCH_PREFIX bytes, comes first. */
void bench_prefix(unsigned char *bytes, size_t length);
void bench_send_all(int fd, const unsigned char *bytes, size_t size);

#endif
