/* SPDX-License-Identifier: MIT */
/* A raw listening socket with so many connections waiting that the next one gets no answer. */
#ifndef TESTS_CROWD_H
#define TESTS_CROWD_H

#include "support.h"

#define CROWD_MOST 64

struct crowd {
    int listening;
    int waiting[CROWD_MOST]; /* the last one is not in the queue any more */
    int count;
};

/* Fills the queue of a socket that listens already, with a backlog of 0. */
void crowd_around(struct crowd *crowd, int listening);

/* At a new port of 127.0.0.1, whose address it tells; at a Unix path. */
void crowd_at_port(struct crowd *crowd, char *address, size_t size);
void crowd_at_path(struct crowd *crowd, const char *path);

/* Everybody leaves, and the listening socket is closed. */
void crowd_leaves(struct crowd *crowd);

#endif
