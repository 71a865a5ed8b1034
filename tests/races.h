/* SPDX-License-Identifier: MIT */
/* Races: rounds in which a crew makes calls of chance, among the descriptors of others. */
#ifndef TESTS_RACES_H
#define TESTS_RACES_H

#include "crew.h"
#include "guest.h"

/* Rounds until so many calls have been tallied, TESTS_ROUNDS or these; whatever they do, they may
 * leave nothing behind. TESTS_SEED chooses another order of things. */
void race(void (*round)(unsigned *seed), long everyday);

/* The looper of a round, or of several; `race` ends the last one. */
extern struct looper *looper;
void end_looper(void);

/* Calls that are tallied. */
void send_some(tcpmsg_conn *conn, unsigned *seed, int flags);
void receive_some(tcpmsg_conn *conn, unsigned *seed, int flags);
void ask_some(tcpmsg_conn *conn, unsigned *seed, int flags);
void close_it(tcpmsg_conn *conn);
void abort_it(tcpmsg_conn *conn);

/* A loop's answers: or it pauses, closes, aborts. */
extern const struct acts somehow;

#endif
