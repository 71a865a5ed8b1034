/* SPDX-License-Identifier: MIT */
#ifndef TCPMSG_LISTENER_H
#define TCPMSG_LISTENER_H

#include <stddef.h>

#include <tcpmsg/conn.h>
#include <tcpmsg/export.h>
#include <tcpmsg/options.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A socket that connections come in at. Opaque. */
typedef struct tcpmsg_listener tcpmsg_listener;

/*
 * Listens at an address: "host:port", "[v6]:port", ":port" (every interface, IPv6 and IPv4),
 * "unix:/path", "unix:@name", or "fd:N" (a listening socket that was handed down, which is set
 * non-blocking and owned on success only). Port 0 asks for a free one. A Unix socket file that a
 * dead server left is replaced; a live server's, or another file, is TCPMSG_EINUSE.
 * Returns 0, or EADDRESS, EINUSE, EACCESS, EUNREACHABLE (not an address of this machine),
 * ERESOLVE, ETIMEDOUT (its name look-up: connect_timeout_ms), EMFILE, ENOMEM, EINVAL, ESYSTEM;
 * options' `why` has the story.
 */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_listen(tcpmsg_listener **out, const char *address,
                                               const tcpmsg_options *options);

/*
 * Takes the next connection; the caller gets its one reference. Waits for one; flags may be
 * TCPMSG_DONTWAIT. Any number of threads at once. Never reads from the new connection.
 * A connection that died in the queue is passed over; out of descriptors or memory, it rests
 * briefly and goes on. With DONTWAIT it says what it met (TCPMSG_EAGAIN, EMFILE, ENOMEM, ERESET,
 * EUNREACHABLE, …), and the next call works. TCPMSG_ECANCELED after tcpmsg_listener_abort.
 */
TCPMSG_API TCPMSG_MUST_CHECK int tcpmsg_accept(tcpmsg_listener *listener, tcpmsg_conn **out,
                                               int flags);

/*
 * The bound address as text that can be dialled, port 0 resolved: "127.0.0.1:41234".
 * Returns 0, TCPMSG_EBUFSIZE when it does not fit (TCPMSG_ADDRESS_MAX always fits), or EINVAL.
 */
TCPMSG_API int tcpmsg_listener_address(const tcpmsg_listener *listener, char *text, size_t size);

/* The listening socket, for an outside poll: POLLIN, then accept with TCPMSG_DONTWAIT. */
TCPMSG_API int tcpmsg_listener_fd(const tcpmsg_listener *listener);

/*
 * Accepts that wait, and all later ones, return TCPMSG_ECANCELED. The socket itself, which other
 * processes may share, is left alone. Any thread, any time before close; NULL is fine.
 */
TCPMSG_API void tcpmsg_listener_abort(tcpmsg_listener *listener);

/*
 * Aborts, waits for accepts that are under way to return, closes the socket and frees the
 * listener. Removes a Unix socket's file while it is still our own. In a process that did not
 * make the listener (after fork) it only lets go. NULL is fine.
 */
TCPMSG_API void tcpmsg_listener_close(tcpmsg_listener *listener);

#ifdef __cplusplus
}
#endif

#endif
