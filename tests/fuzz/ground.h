/* SPDX-License-Identifier: MIT */
/* What the targets with sockets stand on. A peer's sockets never block. */
#ifndef TESTS_FUZZ_GROUND_H
#define TESTS_FUZZ_GROUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "input.h"
#include "model.h"

/* The longest message that a target makes. */
#define LENGTH_MOST ((size_t)300 << 10)

/* The same bytes in every run, at least LENGTH_MOST of them: another row for each seed. */
const uint8_t *ground_bytes(uint8_t seed);

/* A length, most often a short one, and at most so long. */
size_t take_length(struct input *input, size_t most);

/* A framing that there is, and its model. */
tcpmsg_framing take_framing(struct input *input, struct model *model);

/* Two ends of a socketpair, or of a TCP connection over loopback. */
void ground_pair(bool tcp, int *ours, int *peers);

/* Bytes that a peer could read now. */
size_t ground_unread(int fd);

/* Ends a peer: a TCP one with a reset. */
void ground_close(int fd, bool tcp);

/* Every descriptor that was not open at the mark is closed again. */
void ground_mark(void);
void ground_check(void);

#endif
