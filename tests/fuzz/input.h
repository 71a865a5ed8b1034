/* SPDX-License-Identifier: MIT */
/* A fuzz target's input, taken apart from the front, and the way in which a target fails. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What libFuzzer, or replay.c, calls. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert(3): it also holds in a build without the library's own checks. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition,            \
                    strerror(errno));                                                              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct input {
    const uint8_t *bytes;
    size_t count;
};

/* An input that is used up goes on as zeros. */
static inline uint8_t take(struct input *input)
{
    if (input->count == 0)
        return 0;
    input->count--;
    return *input->bytes++;
}

/* The first byte is the least significant one. */
static inline uint64_t take_wide(struct input *input, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)take(input) << (8 * i);
    return value;
}

/* A row of at most so many bytes; *count is how many there were. */
static inline const uint8_t *take_row(struct input *input, size_t most, size_t *count)
{
    const uint8_t *row = input->bytes;
    *count = most < input->count ? most : input->count;
    input->bytes += *count;
    input->count -= *count;
    return row;
}

#endif
