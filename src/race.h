/* SPDX-License-Identifier: MIT */
#ifndef TM_RACE_H
#define TM_RACE_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "resolve.h"
#include "settings.h"
#include "story.h"

/*
 * Connection attempts to all addresses of a name, raced as RFC 8305 section 5 says. Nothing here
 * waits: whoever drives the race polls `fds` until `next_start`, and steps again.
 */
typedef struct tm_race {
    tm_addresses addresses; /* its list is the race's; the first `started` were tried */
    size_t started;
    struct pollfd *fds; /* attempts under way, `open` of them */
    size_t *attempts;   /* for each of them: which address */
    size_t open;
    int64_t next_start; /* when the next address may start; TM_FOREVER: none is left */
    int error;          /* the most telling failure so far */
    unsigned noted;     /* failures told */
    const tm_settings *settings;
    const char *asked; /* the address as the caller wrote it */
    tm_story *story;
} tm_race;

/* Takes the addresses over, and puts them in order; 0 or TCPMSG_ENOMEM (all is freed then). */
int tm_race_begin(tm_race *race, tm_addresses addresses, const tm_settings *settings,
                  const char *asked, tm_story *story);

/*
 * Starts and judges attempts. 1: won, *fd is a connected socket and *peer its address; 0: still
 * under way; else why all have failed.
 */
int tm_race_step(tm_race *race, int *fd, tm_sockaddr *peer);

/* How the story of a race that is lost begins, unless a failure has told that. */
void tm_race_begin_story(tm_race *race);

/* Closes what is still under way and frees what the race holds. */
void tm_race_end(tm_race *race);

#endif
