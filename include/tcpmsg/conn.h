/* SPDX-License-Identifier: MIT */
#ifndef TCPMSG_CONN_H
#define TCPMSG_CONN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <tcpmsg/export.h>
#include <tcpmsg/options.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A connection that carries whole messages. Opaque. */
typedef struct tcpmsg_conn tcpmsg_conn;

/* The room, in bytes, that any address printed here fits, its NUL included. */
#define TCPMSG_ADDRESS_MAX 128

/*
 * Connects to "host:port", "[v6]:port", ":port" (this machine), "unix:/path" or "unix:@name".
 * Every address of a name is tried, IPv6 and IPv4 raced (RFC 8305); connect_timeout_ms limits all
 * of it, the name look-up included. The caller gets one reference; end it with tcpmsg_close.
 * Returns 0, or EADDRESS, ERESOLVE, EREFUSED, EUNREACHABLE, ETIMEDOUT, EACCESS, EMFILE, ENOMEM,
 * EINVAL, ESYSTEM; options' `why` has the story, address by address.
 */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_dial(tcpmsg_conn **out, const char *address,
                                             const tcpmsg_options *options);

/*
 * Makes a connection of a connected stream socket (TCP, Unix, a socketpair). The descriptor
 * belongs to the connection on success only, and becomes close-on-exec.
 * Returns 0, or TCPMSG_EINVAL for what is not a connected stream socket, or ENOMEM.
 */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_attach(tcpmsg_conn **out, int fd,
                                               const tcpmsg_options *options);

/*
 * Sends one message of `length` bytes; any number of threads at once, each message whole.
 * 0: the library has all of it and puts it on the wire before anything sent later; the caller's
 * memory is the caller's again. flags: TCPMSG_DONTWAIT, TCPMSG_MORE (hold it back, up to 64 KiB,
 * until a send without MORE, a flush, a receive that would wait, a shutdown or a close).
 * Not a byte was sent: EAGAIN, ETIMEDOUT (send_timeout_ms), EMSGSIZE, ENOMEM, EINVAL, ECLOSED.
 * The connection has ended: ERESET, ESTALLED, EUNREACHABLE, ECANCELED, ESYSTEM.
 */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_send(tcpmsg_conn *conn, const void *message, size_t length,
                                             int flags);

/* The same of `count` parts (0 or more, without a maximum), which make ONE message. */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_sendv(tcpmsg_conn *conn, const struct iovec *parts,
                                              int count, int flags);

/*
 * Hands to the system what is still buffered. 0 when nothing is left; TCPMSG_EAGAIN (with
 * TCPMSG_DONTWAIT), ETIMEDOUT (send_timeout_ms) or ENOMEM when some is; else what ended the
 * sending.
 */
TCPMSG_API int tcpmsg_flush(tcpmsg_conn *conn, int flags);

/*
 * Receives one message into `buffer` and returns its length; 0 is an empty message, never the
 * end. flags: TCPMSG_DONTWAIT, TCPMSG_PEEK. Threads take turns; waiting for one's turn counts.
 * What `buffer` holds behind the message, or after an error, is anything.
 * Usable afterwards, nothing lost: EAGAIN, ETIMEDOUT (recv_timeout_ms), EBUFSIZE (see
 * tcpmsg_next_length), ENOMEM, EINVAL. The receiving has ended: EOF, ETRUNCATED, ERESET, ESTALLED,
 * EMSGSIZE, EPROTO, EUNREACHABLE, ECANCELED, ESYSTEM; whole messages that came first come first.
 */
TCPMSG_API TCPMSG_MUST_CHECK ssize_t tcpmsg_recv(tcpmsg_conn *conn, void *buffer, size_t size,
                                                 int flags);

/*
 * Receives one message without a copy: *message points into the connection's own memory and is
 * good until any thread's next receive on it, or its end. Never NULL, with an empty message too;
 * no alignment is promised. Returns and flags as tcpmsg_recv, without EBUFSIZE.
 */
TCPMSG_API TCPMSG_MUST_CHECK ssize_t tcpmsg_recv_view(tcpmsg_conn *conn, const void **message,
                                                      int flags);

/*
 * What a receive would answer without touching the socket: the length of a message that is
 * wholly here, TCPMSG_EAGAIN, or the error that ended the receiving. Does not end a view.
 */
TCPMSG_API ssize_t tcpmsg_next_length(const tcpmsg_conn *conn);

/*
 * Ends the sending direction: flushes (send_timeout_ms limits it), then sends FIN; new sends are
 * TCPMSG_ECLOSED at once. Receiving goes on. 0; TCPMSG_ETIMEDOUT or ENOMEM: call again, or close;
 * else what ended the sending. Calling it twice is fine.
 */
TCPMSG_API int tcpmsg_shutdown(tcpmsg_conn *conn);

/*
 * Ends both directions now: calls that wait, and all later ones, return TCPMSG_ECANCELED. A TCP
 * peer sees a reset (RFC 9293 section 3.10.5), others an end. Any thread that holds the pointer,
 * any time before close; keeps the caller's reference. NULL is fine.
 */
TCPMSG_API void tcpmsg_abort(tcpmsg_conn *conn);

/*
 * Ends the connection and drops the caller's reference. Flushes, sends FIN, then drops what comes
 * until the peer's TCP has acknowledged every message byte; linger_ms limits all of it. Calls of
 * other threads return errors. Returns 0, TCPMSG_ETIMEDOUT (not known in time), or what ended the
 * sending. In a process that did not make the connection (after fork) it only lets go. NULL: 0.
 * In a loop it only asks, and answers 0: loop.h.
 */
TCPMSG_API int tcpmsg_close(tcpmsg_conn *conn);

/*
 * The socket, for an outside poll; -1 once it is closed. Don't read, write or close it, nor set its
 * options: whether it is O_NONBLOCK is the connection's own affair.
 */
TCPMSG_API int tcpmsg_conn_fd(const tcpmsg_conn *conn);

/*
 * What to poll the socket for, level-triggered: POLLIN until the receiving has ended, POLLOUT
 * while bytes wait to be written (then tcpmsg_flush with TCPMSG_DONTWAIT). Ask before each poll;
 * receive with TCPMSG_DONTWAIT until TCPMSG_EAGAIN first, or ask tcpmsg_next_length. A send that
 * answered TCPMSG_EAGAIN left nothing to be written: add POLLOUT yourself to try it again.
 */
TCPMSG_API short tcpmsg_conn_events(const tcpmsg_conn *conn);

/*
 * Changes send_timeout_ms and recv_timeout_ms for calls that begin later: milliseconds,
 * TCPMSG_NO_LIMIT, or 0 to leave one as it is. In a loop the first is also for output that waits
 * already. Returns 0 or TCPMSG_EINVAL.
 */
TCPMSG_API int tcpmsg_conn_set_timeouts(tcpmsg_conn *conn, int send_ms, int recv_ms);

/*
 * This side's address, and the peer's, as text that can be dialled; a Unix peer without a name is
 * "unix:". Returns 0, TCPMSG_EBUFSIZE when it does not fit (TCPMSG_ADDRESS_MAX always fits),
 * TCPMSG_EINVAL, or ECANCELED when the socket is gone (of a TCP peer it is remembered). With
 * proxy_protocol the peer is the client that the proxy names, and TCPMSG_EAGAIN until it has, which
 * this call or a receive sees; one that speaks for itself, or is refused, is the peer.
 */
TCPMSG_API int tcpmsg_conn_local(const tcpmsg_conn *conn, char *text, size_t size);
TCPMSG_API int tcpmsg_conn_peer(const tcpmsg_conn *conn, char *text, size_t size);

/*
 * Of a connection over a Unix socket: the user, the group and the process at the other end, as they
 * were when it was connected, or began to listen (SO_PEERCRED, unix(7)); a pid of -1 where the
 * system does not tell. Any of the three may be NULL. Returns 0, TCPMSG_EINVAL when conn is no
 * Unix connection, or ECANCELED when the socket is gone.
 */
TCPMSG_API int tcpmsg_conn_credentials(const tcpmsg_conn *conn, uid_t *uid, gid_t *gid, pid_t *pid);

/*
 * Why the first direction that ended has ended, in a sentence for a person, with the numbers; ""
 * until then. Written once; valid as long as conn. A shutdown of our own is no story.
 */
TCPMSG_API const char *tcpmsg_conn_why(const tcpmsg_conn *conn);

/* What is known of a connection. Zero or "" where the system does not tell. */
typedef struct tcpmsg_info {
    uint64_t messages_sent;     /* accepted by send */
    uint64_t messages_received; /* delivered by a receive */
    uint64_t bytes_sent;        /* of those messages, without prefixes */
    uint64_t bytes_received;    /* likewise */
    const char *tcp_state;      /* as RFC 9293 writes it: "ESTABLISHED", "CLOSE-WAIT"; never NULL */
    uint64_t rtt_us;            /* smoothed round-trip time, in microseconds */
    uint64_t retransmits;       /* segments sent again since the connection began */
    uint64_t unsent_bytes;      /* buffered in the library or the system, not on the wire yet */
    uint64_t unacked_bytes;     /* on the wire, not acknowledged */
    int os_error;               /* the errno behind the connection's end, or 0 */
} tcpmsg_info;

/* Fills info, of which the caller knows `size` bytes: sizeof(*info). Returns 0 or TCPMSG_EINVAL. */
TCPMSG_API int tcpmsg_conn_info(const tcpmsg_conn *conn, tcpmsg_info *info, size_t size);

/* A pointer of the caller's own, kept with the connection; NULL at first. Never touched. */
TCPMSG_API void tcpmsg_conn_set_data(tcpmsg_conn *conn, void *data);
TCPMSG_API void *tcpmsg_conn_data(const tcpmsg_conn *conn);

/*
 * One more reference, for another thread; returns conn. Once the connection has ended, calls
 * through it answer errors. The memory goes with the last reference; when nobody has closed the
 * connection, the last unref does, without waiting. NULL is fine for both.
 */
TCPMSG_API tcpmsg_conn *tcpmsg_conn_ref(tcpmsg_conn *conn);
TCPMSG_API void tcpmsg_conn_unref(tcpmsg_conn *conn);

#ifdef __cplusplus
}
#endif

#endif
