/* SPDX-License-Identifier: MIT */
/* What the library's public calls have taken and not given back: memory and descriptors. What a
 * test has through the library's inner functions is the test's own affair, and not counted. */
#ifndef TESTS_INJECT_TRACES_H
#define TESTS_INJECT_TRACES_H

#include <stdbool.h>
#include <stddef.h>

/* Nothing is recorded before that. */
void traces_begin(void);

void trace_memory(const void *memory);
void untrace_memory(const void *memory);
void trace_descriptor(int fd);
void untrace_descriptor(int fd);

long traced_memory(void);
long traced_descriptors(void);

/* The first of each that is left, as text for a report. */
const char *traces_left(void);

#endif
