/* SPDX-License-Identifier: MIT */
#ifndef TM_FRAME_H
#define TM_FRAME_H

#include <tcpmsg/frame.h>

/*
 * The codec behind its checks: `framing` here has passed tm_framing_normalize.
 * tm_frame_value gives the payload's length as announced, whatever it is: the prefix's size, 0 for
 * more bytes needed, or TCPMSG_EPROTO. The other two are the public functions without the checks.
 */
int tm_framing_normalize(tcpmsg_framing *out, const tcpmsg_framing *framing);
int tm_frame_value(const tcpmsg_framing *framing, const uint8_t *bytes, size_t count,
                   uint64_t *value);
int tm_frame_encode(const tcpmsg_framing *framing, size_t length, uint8_t *prefix);
ssize_t tm_frame_decode(const tcpmsg_framing *framing, const uint8_t *bytes, size_t count,
                        size_t *length);

#endif
