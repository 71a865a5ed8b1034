/* SPDX-License-Identifier: MIT */
/* A thread that waits in tcpmsg_accept, and is known to be inside it. */
#ifndef TESTS_WAITER_H
#define TESTS_WAITER_H

#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

struct waiter {
    tcpmsg_listener *listener;
    pthread_t thread;
    atomic_long number; /* by which /proc knows the thread */
    tcpmsg_conn *conn;
    int error;
};

/* Returns once the thread sleeps inside accept; false when it does not get there. */
bool waiter_start(struct waiter *waiter, tcpmsg_listener *listener);

/* Waits for accept to return, and gives its answer. */
int waiter_answer(struct waiter *waiter);

#endif
