/* SPDX-License-Identifier: MIT */
/* The ends of connections in test_model_loop.c: what their callbacks do in the loop, and what the
 * threads outside do, each by a script of its own. */
#ifndef TESTS_MODEL_MEMBERS_H
#define TESTS_MODEL_MEMBERS_H

#include "looper.h"
#include "model_ledger.h"

enum { PAIRS_MOST = 4, BY_CALLBACK = 0, BY_THREAD = 1 };

/* One end of a connection: in the loop, or a thread's own. */
struct side {
    struct acts acts; /* the first, so that one is found by the other */
    struct scene *scene;
    struct side *other;
    tcpmsg_conn *conn; /* its own reference, or the thread's */
    bool looped;
    struct ledger says;
    uint32_t each, next; /* `next` of the callbacks */
    struct dice dice;    /* of the callbacks, or the thread outside */
    uint64_t seed;       /* of the thread that sends into the loop */
    pthread_t thread;
    uint8_t *memory;
    atomic_int speakers; /* that have more to say */
    atomic_bool paused, was_paused, closed, aborted;
    atomic_int over;
    int why;
    long steps, thread_steps;
};

struct scene {
    struct looper *looper;
    bool closes, aborts, stops;
    size_t pairs;
    struct side sides[2 * PAIRS_MOST];
};

/* What the callbacks do. */
extern const struct acts member_acts;

/* The bodies of threads: one that sends into the loop, and one that has an end of its own; arg is
 * their side. */
void *be_helper(void *arg);
void *be_outsider(void *arg);

#endif
