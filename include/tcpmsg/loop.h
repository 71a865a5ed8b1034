/* SPDX-License-Identifier: MIT */
#ifndef TCPMSG_LOOP_H
#define TCPMSG_LOOP_H

#include <stddef.h>
#include <stdint.h>

#include <tcpmsg/conn.h>
#include <tcpmsg/export.h>
#include <tcpmsg/listener.h>
#include <tcpmsg/options.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Many connections, served by one thread or a few. Opaque. */
typedef struct tcpmsg_loop tcpmsg_loop;

/*
 * What a loop tells of a connection; any may be NULL. All of one connection's run on one thread,
 * never two at once, and should be brief: nobody else on that thread is served meanwhile.
 * A connection belongs to the loop until its on_close has returned. Inside, send, flush and
 * shutdown queue and never wait (send: TCPMSG_EAGAIN while more than high_water bytes are queued),
 * recv and recv_view are TCPMSG_EINVAL, and tcpmsg_close only asks: it drops no reference, sends
 * what is queued, and on_close follows. tcpmsg_conn_ref keeps one for longer. What is queued leaves
 * when all that one read brought has been delivered; most of a message over 64 KiB leaves at once.
 */
typedef struct tcpmsg_callbacks {
    size_t size; /* sizeof(tcpmsg_callbacks): TCPMSG_CALLBACKS sets it */

    /* It is open: the first call of each connection. With proxy_protocol not before its client is
     * known; one that was accepted and does not say is never heard of. */
    void (*on_open)(tcpmsg_conn *conn, void *arg);

    /* A message; `message` is never NULL, and good until the call returns. */
    void (*on_message)(tcpmsg_conn *conn, const void *message, size_t length, void *arg);

    /* Less than half of high_water is queued again, after a send that was TCPMSG_EAGAIN. */
    void (*on_drain)(tcpmsg_conn *conn, void *arg);

    /*
     * The last call, exactly once for each on_open, and alone for a tcpmsg_loop_dial that failed
     * later, or a tcpmsg_loop_add whose proxy's header did not come. why: 0 when we closed it and
     * all was acknowledged, TCPMSG_ETIMEDOUT when linger_ms was over before that, TCPMSG_ECANCELED
     * after an abort or when the loop stopped, else what tcpmsg_recv would say, or for a dial what
     * tcpmsg_dial would. tcpmsg_conn_why has the story.
     */
    void (*on_close)(tcpmsg_conn *conn, int why, void *arg);
} tcpmsg_callbacks;

enum {
    TCPMSG_POLLER_EPOLL = 1,  /* epoll(7): Linux */
    TCPMSG_POLLER_POLL = 2,   /* poll(2): anywhere, and slower the more connections there are */
    TCPMSG_POLLER_KQUEUE = 3, /* kqueue(2): BSD, macOS */
};

/* How a loop behaves. A field left zero has its default; NULL means all defaults. */
typedef struct tcpmsg_loop_options {
    size_t size;          /* sizeof(tcpmsg_loop_options): TCPMSG_LOOP_OPTIONS sets it */
    int threads;          /* that serve, the one in tcpmsg_loop_run included: 1; at most 1024 */
    int max_conns;        /* connections at once; at so many none is accepted: no limit */
    size_t high_water;    /* bytes queued for a connection above which send is EAGAIN: 1 MiB */
    int idle_timeout_ms;  /* not a byte came or went for so long: none; TCPMSG_ESTALLED */
    size_t memory_budget; /* bytes that half-received messages may hold together: 256 MiB */
    int spin_us;          /* microseconds that an idle thread polls before it sleeps: 0 */
    int poller;           /* TCPMSG_POLLER_…; 0: the best there is; one that isn't is EINVAL */
} tcpmsg_loop_options;

#ifndef __cplusplus
/* TCPMSG_CALLBACKS(.on_message = echo), TCPMSG_LOOP_OPTIONS(.threads = 4): as TCPMSG_OPTIONS. */
#define TCPMSG_CALLBACKS(...)                                                                      \
    (&(const tcpmsg_callbacks){.size = sizeof(tcpmsg_callbacks), __VA_ARGS__})
#define TCPMSG_LOOP_OPTIONS(...)                                                                   \
    (&(const tcpmsg_loop_options){.size = sizeof(tcpmsg_loop_options), __VA_ARGS__})
#endif

/*
 * Makes a loop, which does nothing before tcpmsg_loop_run. Options and callbacks here and below
 * are copied before the call returns. Returns 0, EINVAL, ENOMEM, EMFILE or ESYSTEM.
 */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_loop_open(tcpmsg_loop **out,
                                                  const tcpmsg_loop_options *options);

/*
 * Accepts what comes in at a listener, which belongs to the loop on success; its options are the
 * connections'. Like the next four: before and during the run, from any thread; TCPMSG_ECANCELED
 * after tcpmsg_loop_stop; after an error nothing is called back and nothing has changed hands.
 * Returns 0, EINVAL, ENOMEM or ECANCELED.
 */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_loop_listen(tcpmsg_loop *loop, tcpmsg_listener *listener,
                                                    const tcpmsg_callbacks *callbacks, void *arg);

/*
 * Dials as tcpmsg_dial does, without waiting: on_open follows, or on_close alone. Returns 0, or
 * TCPMSG_EADDRESS, EINVAL, ENOMEM or ECANCELED at once, with the story in options' `why`.
 */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_loop_dial(tcpmsg_loop *loop, const char *address,
                                                  const tcpmsg_options *options,
                                                  const tcpmsg_callbacks *callbacks, void *arg);

/*
 * Hands a connection and the caller's reference over. Messages that had been read already come
 * right after on_open, unsent ones leave. Returns 0, ENOMEM, ECANCELED (also when the connection
 * was aborted or closed), or EINVAL (also when it is in a loop, or another thread is in a call).
 */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_loop_add(tcpmsg_loop *loop, tcpmsg_conn *conn,
                                                 const tcpmsg_callbacks *callbacks, void *arg);

/*
 * Runs call(arg) once on the loop's first thread, the one in tcpmsg_loop_run. What was accepted
 * before the stop is run, too. Returns 0, EINVAL, ENOMEM or ECANCELED.
 */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_loop_post(tcpmsg_loop *loop, void (*call)(void *arg),
                                                  void *arg);

/* The same, `ms` milliseconds from now; what is not due when the loop stops is dropped. */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_loop_after(tcpmsg_loop *loop, int ms,
                                                   void (*call)(void *arg), void *arg);

/*
 * Serves until tcpmsg_loop_stop; then the listeners are closed, what is queued is sent for at most
 * each connection's linger_ms (what came and was not delivered is dropped), and each has had its
 * on_close. Threads beside the caller's have all signals blocked. Once in a loop's life. Returns 0;
 * EINVAL (it runs, or ran); or ENOMEM when the threads can't be had, and then nothing was called.
 */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_loop_run(tcpmsg_loop *loop);

/*
 * Makes tcpmsg_loop_run return, also one that comes later. Any thread, any time before
 * tcpmsg_loop_close, and a signal handler: it sets a flag and makes one write(2). NULL is fine.
 */
TCPMSG_API void tcpmsg_loop_stop(tcpmsg_loop *loop);

/*
 * Frees the loop and what it still holds; nothing is called back. Not from a callback and not
 * during the run. In a process that did not make it (after fork) it only lets go. NULL is fine.
 */
TCPMSG_API void tcpmsg_loop_close(tcpmsg_loop *loop);

/*
 * Stops reading from a connection in a loop: called in one of its callbacks, there is no
 * on_message after this returns, not even of messages already read. A clean end waits as well, so
 * pause one whose answer another thread will send; a reset or an abort does not wait. Its message
 * and idle clocks stand still. tcpmsg_resume goes on. Any thread. Return 0, TCPMSG_EINVAL (not in a
 * loop), or what has ended the connection.
 */
TCPMSG_API int tcpmsg_pause(tcpmsg_conn *conn);
TCPMSG_API int tcpmsg_resume(tcpmsg_conn *conn);

/* What the connections of a loop have done since it was opened, and what it has in hand now. */
typedef struct tcpmsg_stats {
    uint64_t connections;       /* now, those on their way in or out among them */
    uint64_t opened;            /* had their on_open */
    uint64_t closed;            /* ... and have ended */
    uint64_t failed;            /* ended without: dials, and clients behind a proxy */
    uint64_t messages_sent;     /* accepted by send */
    uint64_t messages_received; /* delivered to on_message */
    uint64_t bytes_sent;        /* of those messages, without prefixes */
    uint64_t bytes_received;    /* likewise */
    uint64_t timeouts;          /* connections and dials that a clock ended: ESTALLED, ETIMEDOUT */
    uint64_t refusals;          /* ... and that what the peer sent ended: EMSGSIZE, EPROTO */
    uint64_t accept_failures;   /* connections that could not be let in at once, each try */
    uint64_t memory_held;       /* bytes of half-received messages, which memory_budget limits */
} tcpmsg_stats;

/*
 * Fills stats, of which the caller knows `size` bytes: sizeof(*stats). What is under way may be
 * missing; once the loop has returned to waiting, only what TCPMSG_MORE holds back is. Any thread,
 * any time before tcpmsg_loop_close. Returns 0 or TCPMSG_EINVAL.
 */
TCPMSG_API int tcpmsg_loop_stats(const tcpmsg_loop *loop, tcpmsg_stats *stats, size_t size);

#ifdef __cplusplus
}
#endif

#endif
