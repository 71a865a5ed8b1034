/* SPDX-License-Identifier: MIT */
#ifndef TM_SOCKET_H
#define TM_SOCKET_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "address.h"
#include "clock.h"
#include "settings.h"

/*
 * Every system call on a socket is made here. All of them answer 0 or more, or -errno; none
 * blocks but tm_socket_wait and tm_socket_nap; none raises SIGPIPE; every descriptor is
 * close-on-exec; an interrupted call goes on by itself.
 */

int tm_socket_open(int family);
void tm_socket_close(int fd);

int tm_socket_bind(int fd, const tm_sockaddr *address);
int tm_socket_listen(int fd, int backlog);
int tm_socket_accept(int fd, tm_sockaddr *peer);

int tm_socket_connect(int fd, const tm_sockaddr *address); /* -EINPROGRESS: poll for POLLOUT */
int tm_socket_pending_error(int fd);                       /* -SO_ERROR, or 0 */

/* One system call; the number of bytes moved, which may be fewer than asked for. */
ssize_t tm_socket_read(int fd, struct iovec *parts, int count);
ssize_t tm_socket_write(int fd, struct iovec *parts, int count);

/*
 * A nap is a read that sleeps at most TM_SOCKET_NAP for its first byte: one system call where
 * poll(2) would be a second one. It needs a socket whose reads are limited so, and that is not
 * O_NONBLOCK. -EAGAIN when nothing came, or a signal did; only an end of the socket's own wakes
 * it earlier.
 */
#define TM_SOCKET_NAP (20 * TM_MS)
enum tm_naps { TM_NAPS_UNTRIED, TM_NAPS_NEVER, TM_NAPS_WORK };
ssize_t tm_socket_nap(int fd, struct iovec *parts, int count);

/* Makes them work; false: they don't. One that is not ours stays O_NONBLOCK if it is. */
bool tm_socket_may_nap(int fd, bool ours);

/* What a listener accepts, and none is O_NONBLOCK, inherits the limit; whether this one has. */
bool tm_socket_limit_naps(int listener);
bool tm_socket_has_limit(int fd);

/* Reads and throws away, at most 1 MiB; 0: the peer has ended. */
ssize_t tm_socket_discard(int fd);

int tm_socket_end_output(int fd); /* FIN */
int tm_socket_end_both(int fd);   /* wakes whoever polls it, too */
int tm_socket_reset(int fd);      /* both directions end at once; TCP: the peer sees a reset */

int tm_socket_local(int fd, tm_sockaddr *address);
int tm_socket_peer(int fd, tm_sockaddr *address);

/* Of a Unix socket: who was there when it was connected; a pid of -1 where nobody tells. */
typedef struct tm_credentials {
    uid_t uid;
    gid_t gid;
    pid_t pid;
} tm_credentials;
int tm_socket_credentials(int fd, tm_credentials *of);

enum tm_socket_kind { TM_SOCKET_CONNECTED, TM_SOCKET_LISTENING, TM_SOCKET_OTHER };
enum tm_socket_kind tm_socket_kind(int fd);

/*
 * What a connection and a listener need set; what the system can't do is left as it is. A TCP
 * socket is tuned before it connects or listens where that is possible: it costs less, what is
 * sent first leaves sooner, and what is accepted inherits it. The limit of user_timeout_ms is for
 * connected ones: it would be the connect's, too.
 */
#ifdef __linux__
#define TM_SOCKETS_INHERIT true
#else
#define TM_SOCKETS_INHERIT false
#endif
void tm_socket_tune(int fd, const tm_settings *settings);
void tm_socket_limit(int fd, const tm_settings *settings);
int tm_socket_share(int fd, int family, bool both_families, const tm_settings *settings);
int tm_socket_own(int fd, bool nonblocking); /* close-on-exec, perhaps O_NONBLOCK */

/*
 * How many bytes the peer's TCP has not acknowledged, a FIN of ours counted as one, the last of
 * them; -ENOSYS where nobody tells.
 */
ssize_t tm_socket_unacked(int fd);

typedef struct tm_tcp_info {
    const char *state; /* as RFC 9293 writes it; "" when unknown */
    uint64_t rtt_us;
    uint64_t retransmits;
    uint64_t unsent_bytes;
    uint64_t unacked_bytes;
} tm_tcp_info;

void tm_socket_tcp_info(int fd, tm_tcp_info *info);

/* Waits until one is ready or the deadline has passed; how many are ready. A signal is no end. */
int tm_socket_wait(struct pollfd *fds, nfds_t count, int64_t deadline);

#endif
