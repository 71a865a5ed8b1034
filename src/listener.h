/* SPDX-License-Identifier: MIT */
#ifndef TM_LISTENER_H
#define TM_LISTENER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <tcpmsg/listener.h>

#include "address.h"
#include "clock.h"
#include "settings.h"
#include "wake.h"

struct tcpmsg_listener {
    int fd;
    pid_t maker; /* the process: a forked child only lets go */
    tm_settings *settings;
    atomic_int naps; /* whether what it accepts inherits that: an enum tm_naps */
    bool v6;         /* its socket is an IPv6 one */
    bool tuned;      /* before it began to listen: what it accepts inherits that */
    atomic_bool canceled;
    atomic_bool rests;     /* the log knows that nobody can be accepted */
    tm_wake wake;          /* signalled by abort, and never cleared */
    atomic_int wake_owner; /* a forked child opens one of its own; negative: it is doing so */
    pthread_mutex_t lock;  /* the maker's alone, as what follows */
    pthread_cond_t left;
    unsigned inside; /* accepts under way */
    bool has_file;   /* a Unix path, and which file was bound there */
    tm_sockaddr local;
    dev_t device;
    ino_t inode;
};

/*
 * Makes the wake this process's own: a forked child shares the socket, and nothing else. 0 or
 * -errno.
 */
int tm_listener_own_wake(tcpmsg_listener *listener);

/* Out of descriptors or memory, an accept looks again so often: 20 times a second. */
#define TM_ACCEPT_REST (50 * TM_MS)

/* So many connections in a row that died in the queue are no cause to rest. */
#define TM_ACCEPT_FAILURES 16

/* Gives a connection the socket that was accepted for it, tuned. */
void tm_accept_own(tcpmsg_listener *listener, tcpmsg_conn *conn, int fd, const tm_sockaddr *peer);

/* Tells the log once that nobody can be accepted (-errno), and once that it is over (0). */
void tm_accept_log(tcpmsg_listener *listener, int answer);

/* What accept(2) says of a connection that died in the queue: the next one may be well. */
bool tm_accept_is_passing(int answer);

/*
 * Binds a Unix socket to its path, where a dead server may have left its file, and listens; 0 or
 * -errno. A file that is not a dead server's socket stays, and is -EADDRINUSE.
 */
int tm_unix_listen(int fd, const tm_sockaddr *address, int backlog);

/* Remembers the file that the bind has made, and removes it while it is still that one. */
void tm_unix_remember(tcpmsg_listener *listener, const tm_sockaddr *address);
void tm_unix_remove(const tcpmsg_listener *listener);

#endif
