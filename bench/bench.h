/* SPDX-License-Identifier: MIT */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <tcpmsg/tcpmsg.h>

enum { BENCH_PREFIX = 4 };

/*
 * What the benchmark programs share. A program is a table of ways to do the same work between two
 * processes, over TCP on 127.0.0.1; a run of it measures one way, once. Rounds, medians and
 * tables are bench/run's.
 */

/* What one measurement moves: `count` messages of `length` bytes. */
typedef struct bench_load {
    size_t length;
    size_t count;
} bench_load;

typedef struct bench_way bench_way;

/* One side. Of a kind that is given sockets: `fd` is one end of a fresh connection. Else `port`
 * is where the far side is to listen. */
typedef struct bench_end {
    const bench_way *way;
    bool far;
    int fd;
    int port;
    void *own; /* what its kind has made of it */
} bench_end;

typedef void bench_work(const bench_end *end, const bench_load *load);

/* How a side comes to its connection, and ends it. Both of a way are by port, or neither. */
typedef struct bench_kind {
    bool by_port; /* the far side is opened first */
    void (*open)(bench_end *end);
    void (*close)(bench_end *end);
} bench_kind;

struct bench_way {
    const char *name;
    const char *title;
    const bench_kind *near_kind;
    const bench_kind *far_kind;
    bench_work *near; /* in this process */
    bench_work *far;  /* in a process of its own; the clock stops when it has returned */
    int spin_us;
};

extern const bench_kind bench_bare_kind; /* blocking sockets */
extern const bench_kind bench_our_kind;  /* `own` is a tcpmsg_conn */

/* Receives them one by one in place, at such an end. */
void bench_receive_views(const bench_end *end, const bench_load *load);

/* Runs what the command line says of the ways, which end with NULL, and prints its figures. */
int bench_main(const bench_way *const *ways, int argc, char **argv);

/* What a measurement took: until the far side has received the last message. */
typedef struct bench_taken {
    double seconds;
    double near_user; /* seconds of the processor */
    double near_system;
    double far_user;
    double far_system;
} bench_taken;

/* A message more leaves before the clock starts, so that the way is open. */
bench_taken bench_measure(const bench_way *way, const bench_load *load);

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

/* "tcp://127.0.0.1:PORT", in memory that the next call overwrites. */
const char *bench_url(int port);

/* Messages on the wire of bare sockets: the default prefix, BENCH_PREFIX bytes, comes first. */
void bench_prefix(unsigned char *bytes, size_t length);
void bench_send_all(int fd, const unsigned char *bytes, size_t size);

/* Receives so many bytes; with MSG_DONTWAIT it spins until they are there. */
void bench_recv_all(int fd, unsigned char *bytes, size_t size, int flags);

/* A TCP socket at 127.0.0.1 that listens at the port, 0 for any; and the port it listens at. */
int bench_listen(int port);
int bench_port(int listener);
int bench_connect(int port);

#endif
