/* SPDX-License-Identifier: MIT */
/* What the wire says, by a model that is not the library's own: sums and quotients, no shifts. */
#ifndef TESTS_FUZZ_MODEL_H
#define TESTS_FUZZ_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <tcpmsg/frame.h>

struct model {
    unsigned width; /* 0: a varint */
    bool little;
    bool counts;
    uint64_t most; /* the longest payload */
};

/* False for a framing that there is not. */
bool model_make(struct model *model, const tcpmsg_framing *framing);

/* No message is longer than that either. */
void model_limit(struct model *model, uint64_t most);

/* As tcpmsg_frame_encode and tcpmsg_frame_decode. */
int model_encode(const struct model *model, uint64_t length, uint8_t prefix[TCPMSG_PREFIX_MAX]);
int model_decode(const struct model *model, const uint8_t *bytes, size_t count, uint64_t *length);

#endif
