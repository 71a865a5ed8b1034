/* SPDX-License-Identifier: MIT */
#ifndef TCPMSG_OPTIONS_H
#define TCPMSG_OPTIONS_H

#include <stddef.h>

#include <tcpmsg/frame.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of send, receive, flush and accept. One that a call does not name is TCPMSG_EINVAL. */
#define TCPMSG_DONTWAIT 1 /* never block: TCPMSG_EAGAIN instead */
#define TCPMSG_MORE 2     /* send: more follows, so buffer it (up to 64 KiB) */
#define TCPMSG_PEEK 4     /* receive: leave the message where it is */

#define TCPMSG_NO_LIMIT (-1)  /* lifts a time limit; backlog: as many as the system allows */
#define TCPMSG_NO_LINGER (-1) /* linger_ms: close does not wait */

/* How much it matters, by the numbers of syslog(3). */
enum {
    TCPMSG_LOG_WARNING = 4, /* something failed: a dial, a listen, a connection */
    TCPMSG_LOG_INFO = 6,    /* one was made, or ended as it should */
    TCPMSG_LOG_DEBUG = 7,   /* what failed on the way to what worked */
};

struct tcpmsg_conn;

/*
 * How a connection or listener behaves. A field left zero has its default; a NULL pointer to
 * options means all defaults. Copied before the call returns; an accepted connection has its
 * listener's. Anything out of range is TCPMSG_EINVAL, and `why` says which field.
 */
typedef struct tcpmsg_options {
    size_t size;            /* sizeof(tcpmsg_options): TCPMSG_OPTIONS sets it */
    size_t max_message;     /* bytes, both ways: 16 MiB; at most SSIZE_MAX */
    tcpmsg_framing framing; /* the length prefix: 4 bytes, big-endian */
    int connect_timeout_ms; /* a dial, name look-up included: 30,000 */
    int send_timeout_ms;    /* each send, flush or shutdown: none */
    int recv_timeout_ms;    /* each receive: none */
    int message_timeout_ms; /* one incoming message, first byte to last: none; TCPMSG_ESTALLED */
    int linger_ms;          /* how long close may wait for the last bytes' ACK: 2,000 */
    int spin_us;            /* microseconds that a receive retries before it sleeps: 0 */
    int backlog;            /* listen(2)'s queue of connections not yet accepted: 4096 */
    int keepalive_s;        /* seconds of silence before, and between, 9 probes: 15 (tcp(7)) */
    int user_timeout_ms;    /* sent data may stay unacknowledged: the system's (RFC 5482) */
    int reuse_port;         /* 1: several listeners share a port (SO_REUSEPORT, socket(7)) */
    int proxy_protocol;     /* 1: what is accepted or attached comes from a proxy, which says whose
                             * it is in a header, of version 1 or 2 (HAProxy's proxy-protocol.txt),
                             * within connect_timeout_ms; without one it ends: TCPMSG_EPROTO */
    char *why;              /* where a dial, listen or attach that fails writes its story */
    size_t why_size;        /* the room there, in bytes; the story is cut to fit */

    /*
     * Where connections and listeners tell what happens to them: one sentence, good until it
     * returns. conn is NULL where there is none. Called in whichever thread it happens in, also in
     * several at once. It may ask about conn, does nothing else to it, and doesn't keep it. NULL:
     * silence.
     */
    void (*log)(int level, const char *text, struct tcpmsg_conn *conn, void *arg);
    void *log_arg; /* its arg */
} tcpmsg_options;

#ifndef __cplusplus
/* TCPMSG_OPTIONS(.max_message = 1024): the address of options that live as long as the block. */
#define TCPMSG_OPTIONS(...) (&(const tcpmsg_options){.size = sizeof(tcpmsg_options), __VA_ARGS__})
#endif

#ifdef __cplusplus
}
#endif

#endif
