/* SPDX-License-Identifier: MIT */
/* The weather that a whole test program meets, as TESTS_WEATHER of the environment says: "drops"
 * (the first 2,000 reads
 * and writes of each socket move one byte, the later ones some), "fog" (90% of them are EAGAIN), "storm" (a
 * signal each millisecond in every thread that is in a call of the library's). */
#ifndef TESTS_INJECT_WEATHER_H
#define TESTS_INJECT_WEATHER_H

#include <stdbool.h>
#include <stddef.h>

enum weather { FAIR, DROPS, FOG, STORM };

enum weather weather(void);

/* Whether this read or write is the one that the fog hides. */
bool in_fog(void);

/* So many of the bytes may be moved; the descriptor is closed, and will be another one. */
size_t drop_of(int fd, size_t count);
void dry(int fd);

/* Around a call that may sleep. */
void storm_in(void);
void storm_out(void);

#endif
