/* SPDX-License-Identifier: MIT */
#ifndef TM_CONN_H
#define TM_CONN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include <tcpmsg/conn.h>

#include "buffer.h"
#include "clock.h"
#include "outbox.h"
#include "settings.h"
#include "socket.h"
#include "story.h"
#include "wake.h"

/*
 * One direction each way, each with a lock that is never held in a system call that moves bytes.
 * A call that needs the socket takes the direction's turn (`busy`); turns, not locks, are what
 * threads wait for, so that every wait has a deadline and an abort can end it.
 */

/* Sending. While `busy`, the turn's holder alone touches the bytes of the box's batch. */
typedef struct tm_out {
    pthread_mutex_t lock;
    pthread_cond_t turn; /* the turn is free, or something went out */
    tm_outbox box;
    atomic_int error;       /* why the sending ended; 0 while it goes on */
    bool busy;              /* a thread has the turn */
    bool staying;           /* ... which stays until what is queued now is out, or hands over */
    bool offered;           /* the turn was left to the threads that wait for it */
    bool shut;              /* no new sends */
    bool fin;               /* FIN was sent */
    bool in_call;           /* it is inside the system call, which may bring an error out */
    atomic_bool unattended; /* an early stop left bytes, and no thread that sends is here */
    unsigned waiting;       /* threads that wait for the turn, or for their bytes */
    uint64_t messages;
    uint64_t bytes;
} tm_out;

/* Receiving. While `busy`, the turn's holder has the buffer to itself. */
typedef struct tm_in {
    pthread_mutex_t lock;
    pthread_cond_t turn;
    tm_buffer buffer; /* begins with the prefix of the first message not delivered */
    size_t viewed;    /* bytes at its head that a view delivered; the next receive drops them */
    size_t read_size; /* how much one read asks for */
    int64_t message_limit; /* when the message that the peer keeps us waiting for is too late; 0 */
    atomic_int error;      /* why the receiving ended; 0 while it goes on */
    bool busy;             /* a thread has the turn */
    bool slept;            /* the last receive had to: the next one polls before it reads */
    unsigned waiting;      /* threads that wait for it */
    atomic_bool asleep;    /* its holder polls: `wake` gets its attention */
    tm_wake wake;          /* opened before the first sleep */
    uint64_t messages;
    uint64_t bytes;
} tm_in;

/*
 * Locks: at most one at a time. `fd` changes only in close, which holds both turns for that; it is
 * read with a turn, or under the sending lock.
 */
struct tcpmsg_conn {
    atomic_uint refs;
    int fd;
    bool tcp;
    pid_t maker; /* the process: a forked child only lets go */
    tm_settings *settings;
    atomic_int send_timeout_ms;
    atomic_int recv_timeout_ms;
    atomic_int os_error;
    _Atomic(const char *) why; /* NULL until a direction ends; written once */
    _Atomic(void *) data;
    tm_out out;
    tm_in in;
    bool closing;             /* under the sending lock: somebody called close */
    struct sockaddr_in6 peer; /* of a TCP connection, v4 or v6: the system forgets it */
};

/*
 * Made before there is a socket, so that no connected socket is lost to a lack of memory; takes a
 * reference of its own to settings. NULL without memory. Then tm_conn_own takes a socket over.
 */
tcpmsg_conn *tm_conn_make(tm_settings *settings);
void tm_conn_own(tcpmsg_conn *conn, int fd, const tm_sockaddr *peer);

/* Frees it without a word to the peer. In a forked child the locks can't be destroyed: let go. */
void tm_conn_free(tcpmsg_conn *conn);
void tm_conn_let_go(tcpmsg_conn *conn);

/* Sending: conn_out.c, and conn_out.h for what only conn_send.c needs */

/* What a push left: nothing, bytes that wait for POLLOUT, or for the system to have memory. */
enum tm_push { TM_PUSH_DONE, TM_PUSH_WAIT, TM_PUSH_REST };

enum tm_push tm_out_push(tcpmsg_conn *conn); /* writes what it can, without waiting */
int tm_out_flush(tcpmsg_conn *conn, int64_t deadline, int flags);
int tm_out_shutdown(tcpmsg_conn *conn, int64_t deadline); /* flush, then FIN */
void tm_out_end(tcpmsg_conn *conn, int error);
void tm_out_take_turn(tcpmsg_conn *conn); /* for good */

/* What ended the sending; a system call that is under way is waited for: it never blocks. */
int tm_out_error_met(tcpmsg_conn *conn);

/* Receiving: conn_recv.c */

void tm_in_end(tcpmsg_conn *conn, int error);
void tm_in_take_turn(tcpmsg_conn *conn); /* for good */
void tm_in_nudge(tcpmsg_conn *conn);     /* the sleeping receiver looks at the sending side again */

/* Ends: conn_why.c */

/* Tells why, if nobody has yet. */
void tm_conn_tell(tcpmsg_conn *conn, const char *format, ...) TM_PRINTF(2, 3);
void tm_conn_free_story(tcpmsg_conn *conn);

/* The library's code for what a read or write answered; remembers the system's own number. */
int tm_conn_os_error(tcpmsg_conn *conn, ssize_t answer);

/* How a receiving ended, and how far the message had come in which it did. */
typedef struct tm_ending {
    int error;
    bool first;           /* no message was received before */
    const uint8_t *bytes; /* the message's beginning; `count` may reach beyond it */
    size_t count;
    size_t prefix;   /* 0: not even the prefix is there */
    uint64_t length; /* as announced, believable or not */
    size_t arrived;  /* of the payload */
} tm_ending;

void tm_conn_tell_ending(tcpmsg_conn *conn, const tm_ending *ending);

#endif
