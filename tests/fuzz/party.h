/* SPDX-License-Identifier: MIT */
/* A connection in a loop with its raw peer, as the callbacks tell of it; and what the input makes
 * them do. What they must not tell ends the program at once. */
#ifndef TESTS_FUZZ_PARTY_H
#define TESTS_FUZZ_PARTY_H

#include "ground.h"

#include <tcpmsg/tcpmsg.h>

#define PARTIES_MOST 12
#define ROW_MOST ((size_t)128 << 10) /* bytes each way */

struct hall;

struct party {
    struct hall *hall;
    tcpmsg_conn *conn;
    int raw; /* -1: there is none, or it is closed */
    bool tcp;
    bool known; /* its peer is a raw one, so that what is told can be held against it */
    bool dials;
    bool inside; /* a callback runs */
    bool opened, over;
    bool paused, closing, aborted;
    bool shut;
    bool refused; /* a send was, and on_drain has not come since */
    bool held;    /* by a reference of the input's */
    int why;

    /* From the peer. */
    size_t written, taken;
    bool ended, closed;

    /* To the peer. */
    size_t promised, seen;
    bool roomy; /* so little was on its way when it was over, that the system had room for it */
    uint8_t *from, *to;
};

/* What the parties have in common. */
struct hall {
    struct input input;
    tcpmsg_loop *loop;
    struct model model;
    tcpmsg_options options;
    size_t high_water;
    bool stopped;
    bool tight; /* so little memory that a party may starve */
    struct party parties[PARTIES_MOST];
    int count;
    int posted, ran, later;
};

extern const tcpmsg_callbacks party_callbacks, guest_callbacks;

/* A place for one more; NULL when there is none. */
struct party *party_new(struct hall *hall);
/* One of them, by the input's choice; NULL while there is none. */
struct party *party_take(struct hall *hall);

/* The next thing that the input has the program do, in a callback of it or outside. */
void party_act(struct party *party);

/* The peer. */
void party_writes(struct party *party, bool literally);
void party_reads(struct party *party);
void party_ends(struct party *party);
void party_closes(struct party *party);

/* When the loop has been around often enough: nothing that could be told is held back. */
void party_check_told(const struct party *party);
/* After the loop: all was told, and all that was said to have arrived has. */
void party_finish(struct party *party);

#endif
