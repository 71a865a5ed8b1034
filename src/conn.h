/* SPDX-License-Identifier: MIT */
#ifndef TM_CONN_H
#define TM_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include <tcpmsg/conn.h>

#include "buffer.h"
#include "clock.h"
#include "counter.h"
#include "error.h"
#include "mutex.h"
#include "outbox.h"
#include "settings.h"
#include "socket.h"
#include "story.h"
#include "wake.h"

/*
 * One direction each way. A lock is never held in a system call that moves bytes: a call that
 * needs the socket takes the direction's turn (`busy`); turns, not locks, are what threads wait
 * for, so that every wait has a deadline and an abort can end it.
 */

/* So many bytes are counted in 32 bits, and as many again. */
#define TM_FEW_BYTES ((size_t)1 << 30)

/* Sending. While `busy`, the turn's holder alone takes bytes out of the box. */
typedef struct tm_out {
    tm_mutex lock;
    atomic_int error; /* why the sending ended; 0 while it goes on */
    tm_outbox box;
    uint64_t messages;
    uint64_t bytes;         /* of payload */
    size_t leaving;         /* bytes of the box that the turn's holder is writing */
    uint32_t new_messages;  /* not in `messages` yet: see tm_out_settle */
    uint16_t hold_most;     /* so many may wait in the box by a mere copy; 0: it is not so simple */
    bool busy : 1;          /* a thread has the turn */
    bool staying : 1;       /* ... which stays until what is queued now is out, or hands over */
    bool offered : 1;       /* the turn was left to the threads that wait for it */
    bool in_call : 1;       /* it is inside the system call, which may bring an error out */
    bool shut : 1;          /* no new sends */
    bool fin : 1;           /* FIN was sent */
    bool went : 1;          /* bytes left at once, and its keeper was not told */
    bool refused : 1;       /* a send was too much for its keeper, who tells when it is not */
    bool fin_counts;        /* the FIN is among what the peer has to acknowledge */
    atomic_bool attended;   /* its keeper was told that there is something to do */
    atomic_bool over;       /* more than its keeper's high water waits, or did until lately */
    atomic_bool unattended; /* an early stop left bytes, and no thread that sends is here */
    uint32_t new_bytes;     /* not in `bytes` */
} tm_out;

/* Receiving: what there is, for the thread that has the turn, or for the keeper's. */
typedef struct tm_in {
    tm_buffer buffer;      /* begins with the prefix of the first message not delivered; one that
                            * was delivered by view stays in its memory until the next receive */
    int64_t message_limit; /* when the message that the peer keeps us waiting for is too late; 0 */
    atomic_int error;      /* why the receiving ended; 0 while it goes on */
    uint32_t frame;        /* a keeper's: the size of the last message on the wire, or 0 */
    tm_counter messages;
    tm_counter bytes;
} tm_in;

/* What calls that wait need beside it. A connection that a loop made has none. */
typedef struct tm_waiting {
    tm_condition out_turn; /* sending: the turn is free, or something went out */
    unsigned senders;      /* threads that wait for that, under the sending lock */
    atomic_int recv_timeout_ms;
    tm_mutex lock; /* of the receiving, and of all below */
    tm_condition in_turn;
    bool busy;          /* a thread has the turn */
    bool slept;         /* the last receive had to poll: the next one does before it reads */
    uint8_t naps;       /* whether it may do so inside of a read: an enum tm_naps */
    bool attached;      /* the socket is not of our making */
    unsigned waiting;   /* threads that wait for it */
    size_t read_size;   /* how much one read asks for */
    size_t expected;    /* the length of the last message, if it was a large one */
    atomic_bool asleep; /* the turn's holder polls: `wake` gets its attention */
    tm_wake wake;       /* opened before the first sleep */
} tm_waiting;

/*
 * Who has taken a connection over: a loop. It moves the bytes; calls on the connection wait for
 * nothing, and tell it what there is to do (conn_kept.c).
 */
typedef struct tm_keeper {
    void (*attend)(tcpmsg_conn *conn);        /* soon; called with the sending lock held */
    bool (*is_here)(const tcpmsg_conn *conn); /* this is the keeper's own thread */
    size_t high_water;
    size_t hold_most;    /* the same, but at most TM_FEW_BYTES: for what is merely copied */
    tm_counter messages; /* that were sent through it, */
    tm_counter bytes;    /* ... and what they carried */
    const tcpmsg_conn *delivers_more; /* a message of it; another one follows at once, and so,
                                       * likely, will its answer */
    tm_pool pool;                     /* for what is sent, and for what has come in part */
} tm_keeper;

/*
 * Locks: at most one at a time, but for a keeper's own behind the sending lock. `fd` changes only
 * in close, which holds both turns for that, and in the keeper's thread; it is read with a turn,
 * or under the sending lock. `keeper` is set once, under
 * both locks.
 */
struct tcpmsg_conn {
    atomic_uint refs;
    int fd;
    pid_t maker;               /* the process: a forked child only lets go */
    bool tcp : 1;              /* these four are set before another thread knows it */
    bool waits : 1;            /* its calls may: it has a tm_waiting */
    bool v6_room : 1;          /* it has a tm_peer_v6 */
    bool v6 : 1;               /* ... and the peer's address is there */
    atomic_bool awaits_client; /* a proxy's header comes first */
    bool why_copied;           /* set by who told it, read at the end of all */
    atomic_bool closing;       /* somebody called close; changes under the sending lock */
    in_port_t peer_port;       /* of a TCP connection: the system forgets it */
    struct in_addr peer_v4;
    atomic_int send_timeout_ms;
    atomic_int os_error;
    tm_settings *settings;
    _Atomic(tm_keeper *) keeper;
    _Atomic(const char *) why; /* NULL until a direction ends; written once */
    _Atomic(void *) data;
    tm_out out;
    tm_in in;
};

/* The address of an IPv6 peer. */
typedef struct tm_peer_v6 {
    struct in6_addr address;
    uint32_t scope;
} tm_peer_v6;

/*
 * Made before there is a socket, so that no connected socket is lost to a lack of memory; takes a
 * reference of its own to settings. NULL without memory. Then tm_conn_own takes a socket over.
 * With a keeper it is the keeper's from the start; v6_room: the peer may be an IPv6 one.
 */
tcpmsg_conn *tm_conn_make(tm_settings *settings);
tcpmsg_conn *tm_conn_make_kept(tm_settings *settings, tm_keeper *keeper, bool v6_room);
void tm_conn_own(tcpmsg_conn *conn, int fd, const tm_sockaddr *peer);

/* The address of a TCP connection's peer. */
void tm_conn_peer(const tcpmsg_conn *conn, tm_sockaddr *peer);

/* Behind every connection: so many bytes, zero at first, for its keeper. */
#define TM_KEPT_SIZE 96

static inline void *tm_kept(const tcpmsg_conn *conn)
{
    return (void *)(conn + 1);
}

/* ... and behind that, where there is one. */
static inline tm_waiting *tm_waiting_of(const tcpmsg_conn *conn)
{
    return (tm_waiting *)((char *)tm_kept(conn) + TM_KEPT_SIZE);
}

/* Frees it without a word to the peer. In a forked child the locks can't be destroyed: let go. */
void tm_conn_free(tcpmsg_conn *conn);
void tm_conn_let_go(tcpmsg_conn *conn);

/* Sending: conn_out.c, and conn_out.h for what only conn_send.c needs */

/* What a push left: nothing, bytes that wait for POLLOUT, or for the system to have memory. */
enum tm_push { TM_PUSH_DONE, TM_PUSH_WAIT, TM_PUSH_REST };

bool tm_out_is_empty(tcpmsg_conn *conn);

/* Writes what it can, FIN too, without waiting. */
enum tm_push tm_out_push(tcpmsg_conn *conn);
enum tm_push tm_out_push_locked(tcpmsg_conn *conn); /* with the sending lock */
int tm_out_flush(tcpmsg_conn *conn, int64_t deadline, int flags);
int tm_out_shutdown(tcpmsg_conn *conn, int64_t deadline); /* flush, then FIN */
void tm_out_end(tcpmsg_conn *conn, int error);
void tm_out_take_turn(tcpmsg_conn *conn); /* for good */

/* What ended the sending; a system call that is under way is waited for: it never blocks. */
int tm_out_error_met(tcpmsg_conn *conn);

/* Of a connection that is kept: conn_kept.c */

static inline bool tm_is_kept(const tcpmsg_conn *conn)
{
    return atomic_load_explicit(&conn->keeper, memory_order_acquire);
}

int tm_kept_send(tcpmsg_conn *conn, tm_message *message, int flags); /* with the sending lock */

/* With the sending lock: it may be put into the box by a mere copy; the keeper looks anyway. */
static inline bool tm_kept_may_hold(const tcpmsg_conn *conn, size_t size)
{
    const tm_out *out = &conn->out;
    return out->attended && !out->over && !out->error && !out->shut &&
           out->box.len + size <= conn->keeper->hold_most;
}

int tm_kept_flush(tcpmsg_conn *conn, bool and_shut);
void tm_kept_close(tcpmsg_conn *conn);

/* In its own thread: chunks that are empty are for the next that sends. */
void tm_kept_reclaim(tcpmsg_conn *conn); /* with the sending lock */

/* Takes over a connection that nobody is inside a call of: 0, TCPMSG_EINVAL or ECANCELED. */
int tm_conn_keep(tcpmsg_conn *conn, tm_keeper *keeper);
void tm_kept_attend(tcpmsg_conn *conn); /* with the sending lock */

/* Receiving: conn_wait.c */

void tm_in_end(tcpmsg_conn *conn, int error);
void tm_in_take_turn(tcpmsg_conn *conn); /* for good */
void tm_in_nudge(tcpmsg_conn *conn);     /* the sleeping receiver looks at the sending side again */

/* Ends: conn_why.c */

/*
 * Tells why, if nobody has yet, which the program's log hears, too: no lock may be held. Plainly by
 * a text that stays, which is true when it was told, and TCPMSG_LOG_INFO when that is no trouble.
 */
bool tm_conn_tell_plainly(tcpmsg_conn *conn, int level, const char *text);
void tm_conn_tell(tcpmsg_conn *conn, const char *format, ...) TM_PRINTF(2, 3);
void tm_conn_free_story(tcpmsg_conn *conn);

/* For the log alone: "accepted", say, and whom; an end that does not know whether all arrived. */
void tm_conn_log_opening(tcpmsg_conn *conn, const char *how);
void tm_conn_log_loss(tcpmsg_conn *conn, int error);

/* The library's code for what a read or write answered; remembers the system's own number. */
int tm_conn_os_error(tcpmsg_conn *conn, ssize_t answer);

/* The code as a sentence; where it says no more than that the system did, what that said. */
const char *tm_conn_reason(const tcpmsg_conn *conn, int error, char room[TM_ERRNO_TEXT_MOST]);

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

/* The same of what is in the buffer, and `behind` bytes of the payload beside it. */
void tm_conn_tell_ending_here(tcpmsg_conn *conn, int error, size_t behind);

/*
 * After the FIN: 0 when the peer's TCP has every message byte, TCPMSG_EAGAIN while not, or an
 * error. Drops what came, since unread input at close(2) would become a reset (RFC 1122 section
 * 4.2.2.13). *peer_ended: nothing comes any more.
 */
int tm_conn_look_acknowledged(tcpmsg_conn *conn, bool *peer_ended);

#endif
