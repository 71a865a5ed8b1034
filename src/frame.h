/* SPDX-License-Identifier: MIT */
#ifndef TM_FRAME_H
#define TM_FRAME_H

#include <limits.h>

#include <tcpmsg/frame.h>

#include "bytes.h"
#include "error.h"

/*
 * The codec behind its checks: `framing` here has passed tm_framing_normalize. It is inline
 * because every message passes through it once on either side.
 */

int tm_framing_normalize(tcpmsg_framing *out, const tcpmsg_framing *framing);

int tm_varint_encode(uint64_t value, uint8_t *prefix);
int tm_varint_value(const uint8_t *bytes, size_t count, uint64_t *value);

/* The bits of a 64-bit word that a prefix of fixed width leaves over. */
static inline unsigned tm_spare_bits(const tcpmsg_framing *framing)
{
    return 64 - 8 * (unsigned)framing->width;
}

/* `bytes` has at least the prefix's width; 8 bytes are taken at a time where there are so many. */
static inline uint64_t tm_frame_said(const tcpmsg_framing *framing, const uint8_t *bytes,
                                     size_t count)
{
    size_t width = (size_t)framing->width;
    unsigned spare = tm_spare_bits(framing);
    if (count < 8)
        return framing->little_endian ? tm_load_little(bytes, width) : tm_load_big(bytes, width);
    if (framing->little_endian)
        return tm_load_little_8(bytes) << spare >> spare;
    return tm_load_big_8(bytes) >> spare;
}

/* The payload's length as announced, whatever it is: the prefix's size, 0 (more!) or EPROTO. */
static inline int tm_frame_value(const tcpmsg_framing *framing, const uint8_t *bytes, size_t count,
                                 uint64_t *value)
{
    if (framing->width == TCPMSG_VARINT)
        return tm_varint_value(bytes, count, value);
    if (count < (size_t)framing->width)
        return 0;
    uint64_t said = tm_frame_said(framing, bytes, count);
    uint64_t own = framing->counts_prefix ? (uint64_t)framing->width : 0;
    if (said < own)
        return TCPMSG_EPROTO;
    *value = said - own;
    return framing->width;
}

/* Writes up to TCPMSG_PREFIX_MAX bytes, of which those behind the prefix mean nothing. */
static inline int tm_frame_encode(const tcpmsg_framing *framing, size_t length, uint8_t *prefix)
{
    if (length > SSIZE_MAX)
        return TCPMSG_EMSGSIZE;
    if (framing->width == TCPMSG_VARINT)
        return tm_varint_encode(length, prefix);
    unsigned spare = tm_spare_bits(framing);
    uint64_t value = (uint64_t)length + (framing->counts_prefix ? (uint64_t)framing->width : 0);
    if (value << spare >> spare != value)
        return TCPMSG_EMSGSIZE;
    if (framing->little_endian)
        tm_store_little_8(prefix, value);
    else
        tm_store_big_8(prefix, value << spare);
    return framing->width;
}

static inline ssize_t tm_frame_decode(const tcpmsg_framing *framing, const uint8_t *bytes,
                                      size_t count, size_t *length)
{
    uint64_t value;
    int size = tm_frame_value(framing, bytes, count, &value);
    if (size <= 0)
        return size;
    if (value > SSIZE_MAX)
        return TCPMSG_EMSGSIZE;
    *length = (size_t)value;
    return size;
}

#endif
