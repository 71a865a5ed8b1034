/* SPDX-License-Identifier: MIT */
#ifndef IN_LOOP_H
#define IN_LOOP_H

#include "bench.h"

/* Ways over a connection of a loop's, which runs in a thread of its own. */
extern const bench_way loop_one_way;
extern const bench_way loop_round_trip;

#endif
