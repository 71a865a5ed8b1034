/* SPDX-License-Identifier: MIT */
/* Raw clients of a looper, and what a process uses. */
#ifndef TESTS_GUEST_H
#define TESTS_GUEST_H

#include "looper.h"

/* A raw connection to where the loop listens, and what the loop sees of it. */
int looper_guest(struct looper *looper, struct seen **seen);
int looper_guest_small(struct looper *looper, struct seen **seen); /* takes in little */

/* To an address that a looper or a listener has printed; -1 when it fails. */
int raw_reach(const char *address);

/* Messages with the default framing, of bytes that follow from a seed. */
bool raw_send_filled(int raw, size_t length, uint32_t seed);
bool raw_gets_filled(int raw, size_t length, uint32_t seed);

/* An act for on_open: the system's buffer behind the connection is small. */
void small_output(struct seen *seen);

/* Writes it in pieces, half-closes, and has the same bytes back, and then a clean end. */
void expect_echo(int raw, const struct wire *wire, size_t piece);

/* The allocator's view, of every thread; nothing under a sanitizer, and where there is no
 * mallinfo2(3). */
size_t allocated_bytes(void);

/* As many descriptors as the system lets this process have; returns their number. */
int raise_descriptors(void);

/* TESTS_SECONDS of the environment, or so many. */
int test_seconds(int standard);

/* Resident memory says little there: valgrind keeps a shadow of each byte. */
bool under_valgrind(void);

#endif
