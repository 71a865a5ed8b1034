/* SPDX-License-Identifier: MIT */
/* A server in a process of its own, THERE: a loop that sends each message back. */
#ifndef TESTS_CHILD_H
#define TESTS_CHILD_H

#include "net.h"

#include <sys/types.h>

struct child {
    pid_t pid;
    char address[TCPMSG_ADDRESS_MAX]; /* where it listens */
};

void child_start(struct child *child, const char *address);

/* It stands still when child_stop returns; it is no more when child_end does. */
void child_stop(const struct child *child);
void child_go_on(const struct child *child);
void child_end(const struct child *child);

#endif
