/* SPDX-License-Identifier: MIT */
/* The threads that share a connection in test_model_threads.c, each with a script of its own. */
#ifndef TESTS_MODEL_ACTORS_H
#define TESTS_MODEL_ACTORS_H

#include "model_ledger.h"

#include <pthread.h>

struct side {
    struct scene *scene;
    struct side *other;
    tcpmsg_conn *conn;
    struct ledger says;
    size_t senders, receivers, each;
    int ended; /* how its receiver ended */
};

struct scene {
    uint64_t seed;
    bool tcp;
    bool dialogue; /* one thread on each side, which asks and answers */
    bool aborts;
    bool shuts_early;
    atomic_bool aborted;
    struct side sides[2];
};

/* One thread, and whose. */
struct actor {
    pthread_t thread;
    struct side *side;
    struct dice dice;
    uint32_t who;
    long steps;
};

/* The call may be made again. */
bool is_of_the_moment(ssize_t answer);

/* Their bodies: arg is an actor. */
void *be_sender(void *arg);
void *be_receiver(void *arg);
void *be_asker(void *arg);
void *be_answerer(void *arg);
void *be_meddler(void *arg);

#endif
