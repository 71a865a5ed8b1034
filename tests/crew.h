/* SPDX-License-Identifier: MIT */
/* A few threads that begin something at the same moment, over and over, and count their calls. */
#ifndef TESTS_CREW_H
#define TESTS_CREW_H

#include <stdatomic.h>
#include <stddef.h>

enum { HANDS = 4 };

/* What each thread does in a round; its number, and a seed that is its own. */
typedef void crew_job(int hand, unsigned *seed);

void crew_begin(unsigned seed);
void crew_round(crew_job *job); /* returns once all are done */
void crew_end(void);

unsigned chance(unsigned *seed, unsigned below);

/* Threads that come out of a barrier do so one after the other: some wait a little. */
void dawdle(unsigned *seed);

enum tallied { SENDS, RECEIVES, CLOSES, ABORTS, ACCEPTS, DIALS, OTHERS, TALLIES };

void tally(enum tallied what);
long tallied(void); /* all together, since tally_begin */
void tally_begin(void);
void tally_print(void);

#endif
