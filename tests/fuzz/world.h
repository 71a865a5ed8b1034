/* SPDX-License-Identifier: MIT */
/* A connection, its peer, and a model of the bytes that are on their way between them. */
#ifndef TESTS_FUZZ_WORLD_H
#define TESTS_FUZZ_WORLD_H

#include "ground.h"

#include <tcpmsg/tcpmsg.h>

#define WIRE_MOST ((size_t)1 << 20) /* bytes each way in one run */
#define STEPS_MOST 400
#define WAITS_MOST 3          /* calls that run out of time, at a millisecond each */
#define ROOMY ((size_t)60000) /* so much the system's buffers take */
#define ROOMY_CALLS 100       /* ... in so many writes: each has its overhead */
#define ARRIVAL_MS 5000       /* what is on its way over loopback is there by then */

struct world {
    struct input input;
    struct model model;
    tcpmsg_conn *conn;
    int raw; /* the peer, -1 once closed */
    bool tcp;
    int waits;
    unsigned ending; /* how it is closed */
    bool aborted;

    /* From the peer. */
    size_t planned, written, taken;
    bool ended;  /* its half-close */
    bool closed; /* ... and all of it */
    bool lost;   /* with bytes that it had not read */
    int in_end;  /* why the receiving ended, once it was told */
    bool limited;
    uint64_t received, received_bytes;
    const uint8_t *view; /* good until the next receive */
    size_t view_at, view_length;

    /* To the peer. */
    size_t promised, seen;
    size_t most;    /* the most there was between the two since they were last equal */
    unsigned calls; /* that sent what the peer has not seen */
    bool shut;
    int out_end;
    uint64_t sent, sent_bytes;
};

/* The bytes from the peer and to it, from the first on. */
extern uint8_t plan[WIRE_MOST], promise[WIRE_MOST];

/* The peer: world_peer.c */
void plan_message(struct world *world);
void plan_literally(struct world *world);
void peer_writes(struct world *world);
void peer_ends(struct world *world);
void peer_closes(struct world *world);
void peer_reads_some(struct world *world);

/* Every byte is the next one that was promised; 0 for an end, as of recv(2). */
ssize_t peer_reads(struct world *world, size_t most);

/* Whether the system takes so much more of us at once. */
bool is_roomy(const struct world *world, size_t more);

/* Nothing is left in our own buffer, unless the peer's is full. */
void check_all_left(struct world *world);

/* Sending: world_out.c */
void send_message(struct world *world);
void flush(struct world *world);
void end_sending(struct world *world);

#endif
