/* SPDX-License-Identifier: MIT */
/* A loop that runs in a thread of its own, and a record of all that it calls back. Nothing is
 * asserted in a callback, for cmocka can't leave another thread: it is recorded, and asserted when
 * the loop is finished with. The environment's TESTS_POLLER, "epoll", "kqueue" or "poll", chooses the poller
 * where a test does not. */
#ifndef TESTS_LOOPER_H
#define TESTS_LOOPER_H

#include "peer.h"

#include <tcpmsg/loop.h>

/* Under any sanitizer memory and time are not what they are for users. */
#if defined(__SANITIZE_ADDRESS__) || defined(SANITIZED_THREADS)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum transport { TCP, UNIX, TRANSPORTS };

struct looper;

/* One connection, as the callbacks told of it, which alone write here. The counts can be read at
 * any time, the rest once the counts say that it is there. */
struct seen {
    struct looper *looper;
    const struct acts *acts;
    void *desk; /* the callbacks' arg */
    tcpmsg_conn *conn;
    pthread_t thread;
    atomic_int inside; /* a callback is running */
    atomic_int opens;
    atomic_int messages;
    atomic_int drains;
    atomic_int closes;  /* counted when all of on_close is over */
    atomic_int refused; /* sends that failed, as the acts below count them */
    atomic_int last;    /* ... and the last one's answer */
    atomic_int mark;    /* a test's own */
    int why;
    char story[256];
    struct wire got; /* the messages, as the default framing writes them; unless `forgetful` */
    atomic_size_t bytes;
};

/* What a test does in a callback once it is recorded; any may be NULL. */
struct acts {
    void (*on_open)(struct seen *seen);
    void (*on_message)(struct seen *seen, const void *message, size_t length);
    void (*on_drain)(struct seen *seen);
    void (*on_close)(struct seen *seen);
};

extern const struct acts nothing; /* only records */
extern const struct acts echo;    /* sends each message back */

/* A send that counts how it failed; the answer is the send's. For any thread. */
int seen_send(struct seen *seen, const void *message, size_t length, int flags);

#define LOOPER_MOST 8192

struct looper {
    tcpmsg_loop *loop;
    void *arg;                        /* a test's own */
    bool forgetful;                   /* does not keep the messages */
    char address[TCPMSG_ADDRESS_MAX]; /* where it listens, for raw_reach */
    char folder[PATH_ROOM];           /* ... of its Unix socket */
    pthread_t thread;
    pthread_t home; /* the thread as it calls itself, for callbacks */
    bool started;
    bool joined;
    int answer; /* of tcpmsg_loop_run */
    pthread_mutex_t lock;
    struct seen *seen[LOOPER_MOST]; /* in the order in which they were opened */
    atomic_int count;
    void *desks;
    atomic_int faults;
    char fault[128]; /* the first */
    atomic_int holding;
    atomic_int let_go;
};

/* The loop alone; then what it serves; then its thread. A NULL is the default. */
struct looper *looper_open(const tcpmsg_loop_options *options);
void looper_listen(struct looper *looper, enum transport transport, const struct acts *acts,
                   const tcpmsg_options *options);
void looper_start(struct looper *looper);

/* The three in one. */
struct looper *looper_serve(enum transport transport, const struct acts *acts,
                            const tcpmsg_loop_options *loop_options, const tcpmsg_options *options);

/* As tcpmsg_loop_dial and tcpmsg_loop_add, with a record. */
int looper_dial(struct looper *looper, const char *address, const tcpmsg_options *options,
                const struct acts *acts);
int looper_add(struct looper *looper, tcpmsg_conn *conn, const struct acts *acts);

/* Stops it and waits for its thread; the record is still there to be looked at. */
void looper_stop(struct looper *looper);

/* Stops it, closes it, and holds the record against the contract: nothing was called before
 * on_open or after on_close, no two at once, none on another thread, on_close exactly once. */
void looper_finish(struct looper *looper);

/* A callback did what it must not; the first text is kept. For any thread. */
void looper_fault(struct looper *looper, const char *text);

/* The loop's first thread stands still between the two, so that what a test does meanwhile comes
 * all at once. looper_settle: it has been through everything that was ready. */
void looper_hold(struct looper *looper);
void looper_go_on(struct looper *looper);
void looper_settle(struct looper *looper);

/* The n-th connection, once it is there. */
struct seen *looper_seen(struct looper *looper, int number);

/* Waits until so many have come, or the end, whose why it returns. */
void seen_messages(struct seen *seen, int count);
int seen_end(struct seen *seen);

/* Waits until an atomic_int is at least so much; false after WAIT_MS. */
bool reaches(atomic_int *number, int count);

#endif
