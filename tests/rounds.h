/* SPDX-License-Identifier: MIT */
/* How much a test does that can do the same for a long time, and what it leaves behind. */
#ifndef TESTS_ROUNDS_H
#define TESTS_ROUNDS_H

#include <stdbool.h>

/* TESTS_ROUNDS of the environment, or so many; under valgrind a tenth of that. */
long test_rounds(long everyday);

/* The environment asks for more than every day: then figures are held against the strict ones. */
bool is_soak(void);

#endif
