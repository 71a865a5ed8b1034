/* SPDX-License-Identifier: MIT */
#ifndef TM_DIALER_H
#define TM_DIALER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "conn.h"
#include "race.h"
#include "resolve.h"
#include "settings.h"
#include "story.h"

/* How much of the address that was asked for a story repeats. */
#define TM_DIALED_MOST 200

/*
 * Called in the thread of a name's look-up when that is over, under a lock of the look-up's: it
 * wakes the driver, and calls nothing of the dialer's.
 */
typedef tm_lookup_notify tm_dial_notify;

/*
 * A dial that never waits: the look-up of a name, the race between its addresses, or a Unix
 * connect, all within one time limit. Whoever drives it polls its descriptors, or waits for
 * `notify`, until tm_dialer_next, and steps again. It stays where it was begun until its end.
 */
typedef struct tm_dialer {
    tm_address address;
    char text[TM_DIALED_MOST + 1]; /* the address as the caller wrote it */
    const tm_settings *settings;   /* the driver's, which outlives the dialer */
    int64_t deadline;
    tm_dial_notify *notify;
    void *arg;
    tm_lookup *lookup; /* under way; else NULL */
    tm_race race;      /* the same: its fds */
    int fd;            /* a Unix socket that is not connected yet, or -1 */
    int64_t next_try;  /* of its connect, and how long after the last one */
    int64_t pause;
    tm_story story; /* in `told`, also of attempts before one that wins */
    char told[1024];
    bool failed;
} tm_dialer;

/*
 * Reads the address, and starts the clock of connect_timeout_ms. `notify` may be NULL: then the
 * driver waits with tm_dialer_wait. 0, or TCPMSG_EADDRESS with its story, and nothing is held.
 */
int tm_dialer_begin(tm_dialer *dialer, const char *text, const tm_settings *settings,
                    tm_dial_notify *notify, void *arg);

/*
 * Does what can be done now. 1: won, *fd is a connected socket and *peer its address; 0: still
 * under way; else the error, with its story. After 1 or an error there is only the end.
 */
int tm_dialer_step(tm_dialer *dialer, int *fd, tm_sockaddr *peer);

/* What to poll: revents is the driver's to fill in. A step may close any of them. */
struct pollfd *tm_dialer_fds(tm_dialer *dialer, size_t *count);

/* When to step again at the latest; TM_FOREVER: not before something is ready. */
int64_t tm_dialer_next(const tm_dialer *dialer);

/* Waits until there is something to step for. */
void tm_dialer_wait(tm_dialer *dialer);

/* Why it failed; "" while it has not. Good after the end, too. */
const char *tm_dialer_story(const tm_dialer *dialer);

/* Tells the log how it went: after 1 of whom the connection is now, else why there is none. */
void tm_dialer_log(const tm_dialer *dialer, tcpmsg_conn *conn, int answer);

/* Gives up what is under way, and frees all. `notify` is not called any more. */
void tm_dialer_end(tm_dialer *dialer);

#endif
