/* SPDX-License-Identifier: MIT */
/* Two ends of a connection, and what a model of a few lines knows of them: in each direction a
 * queue of messages that were accepted, and what has been said and told. */
#ifndef TESTS_MODEL_ENDS_H
#define TESTS_MODEL_ENDS_H

#include "model.h"

/* A message that was accepted and not received yet. */
struct waiting {
    uint64_t number; /* what content_of has for it */
    size_t length;
};

/* A round has no more steps, and a step accepts one message at most. */
#define ROUND_STEPS 1500

/* One direction. */
struct flow {
    struct waiting queue[ROUND_STEPS];
    size_t first, count;
    size_t bytes; /* of payload in the queue */
    bool shut;    /* its sender has said the end */
    bool fin;     /* ... which is on its way behind all messages */
    bool torn;    /* behind the queue is the beginning of a message, that was so long: */
    size_t torn_length;
    bool lossy;   /* what is in the queue may be lost: an abort, or a close without certainty */
    bool whole;   /* the receiver was told that the first message is here */
    int out_told; /* what stays for the sender, once it was told */
    int in_told;  /* ... and for the receiver */
    uint64_t accepted, accepted_bytes, received, received_bytes;
};

struct end {
    struct world *world;
    struct end *other;
    tcpmsg_conn *conn; /* NULL once it is closed */
    char name;
    struct flow out;
    size_t limit; /* what it may send, */
    size_t most;  /* ... and receive */
    int send_ms;  /* TCPMSG_NO_LIMIT: none */
    int recv_ms;
    bool full; /* the last send found no room */
    bool aborted;
    bool closed;
    bool tried_late;     /* something was to be sent to an end that was gone */
    const uint8_t *view; /* one that is good still, and what it is to be */
    struct waiting viewed;
};

struct world {
    struct dice dice;
    struct end ends[2];
    tcpmsg_framing framing;
    bool tcp;
    bool small_buffers;
    int linger_ms;
    long time_waits_lost; /* by the whole system, until the round began */
    bool faulty;          /* a fault may be met now, */
    bool was_faulty;      /* ... or might have been before */
    bool no_memory;       /* ... one that is answered with TCPMSG_ENOMEM */
    size_t easy;          /* the longest message that so small steps still get through */
    uint64_t messages;
    long held_before;
    uint8_t *buffer;
};

/* Two ends of a kind that chance chooses, and both of them gone. */
void world_begin(struct world *world, uint64_t seed);
void world_end(struct world *world);

/* From now on the system is another one, or itself. */
void world_change_faults(struct world *world);
void world_be_calm(struct world *world);

static inline struct flow *flow_in(struct end *end)
{
    return &end->other->out;
}

static inline bool is_gone(const struct end *end)
{
    return end->aborted || end->closed;
}

void flow_add(struct flow *flow, uint64_t number, size_t length);
const struct waiting *flow_first(const struct flow *flow);
void flow_take(struct flow *flow);

/* So many bytes of what was accepted, prefixes included, will never come. */
void flow_cut(struct flow *flow, const tcpmsg_framing *framing, uint64_t missing);

/* Bytes that the library still has to write. */
bool has_output(const struct end *end);

/* Whether the other end may have answered with a reset. */
bool may_be_reset(struct end *end);

/* What is in the socket of a pair that hands over at once must be had. */
bool must_be_here(struct end *end);

/* One call each, chosen by chance, and held against the model; `eager`: the one that is to get
 * somewhere, whatever chance says. */
void say_something(struct end *end);
void say_flush(struct end *end, bool eager);
void say_end(struct end *end);
void say_abort(struct end *end);
void say_close(struct end *end);
bool hear_something(struct end *end, bool eager); /* true: it was a message */
void check_end(struct end *end);
void check_view(struct end *end);

#endif
