/* SPDX-License-Identifier: MIT */
#ifndef TM_FRAME_H
#define TM_FRAME_H

#include <stdbool.h>

#include <tcpmsg/frame.h>

#include "bytes.h"
#include "error.h"
#include "hints.h"

/*
 * A framing as the codec wants it: checked, and with what follows from it worked out. Inline
 * because every message passes through here once on either side.
 */
typedef struct tm_codec {
    uint8_t width; /* of the prefix, in bytes, or TCPMSG_VARINT */
    uint8_t spare; /* the bits of a 64-bit word that a fixed width leaves over */
    uint8_t own;   /* what a length counts beside the payload: the prefix's bytes, or 0 */
    bool little_endian;
    size_t most; /* the longest payload: what can be said, or less */
} tm_codec;

/* 0 or TCPMSG_EINVAL. */
int tm_codec_make(tm_codec *out, const tcpmsg_framing *framing);

int tm_varint_encode(uint64_t value, uint8_t *prefix);
int tm_varint_value(const uint8_t *bytes, size_t count, uint64_t *value);

/* What a prefix of fixed width says, where there are 8 bytes. */
static inline uint64_t tm_frame_said_8(const tm_codec *codec, const uint8_t *bytes)
{
    if (TM_RARELY(codec->little_endian))
        return tm_load_little_8(bytes) << codec->spare >> codec->spare;
    return tm_load_big_8(bytes) >> codec->spare;
}

/* The same where there may be no more than its own width. */
static inline uint64_t tm_frame_said(const tm_codec *codec, const uint8_t *bytes, size_t count)
{
    if (count >= 8)
        return tm_frame_said_8(codec, bytes);
    return codec->little_endian ? tm_load_little(bytes, codec->width)
                                : tm_load_big(bytes, codec->width);
}

/*
 * The short way of a good prefix of fixed width, when there are 8 bytes: false for all others. What
 * is too small to count itself wraps around, and is too long.
 */
static inline bool tm_frame_decode_fixed(const tm_codec *codec, const uint8_t *bytes, size_t count,
                                         size_t *length)
{
    if (codec->width > 8 || count < 8)
        return false;
    uint64_t value = tm_frame_said_8(codec, bytes) - codec->own;
    *length = (size_t)value;
    return value <= codec->most;
}

/* The payload's length as announced, whatever it is: the prefix's size, 0 (more!) or EPROTO. */
static inline int tm_frame_value(const tm_codec *codec, const uint8_t *bytes, size_t count,
                                 uint64_t *value)
{
    if (codec->width == TCPMSG_VARINT)
        return tm_varint_value(bytes, count, value);
    if (count < codec->width)
        return 0;
    uint64_t said = tm_frame_said(codec, bytes, count);
    if (said < codec->own)
        return TCPMSG_EPROTO;
    *value = said - codec->own;
    return codec->width;
}

/* Writes up to TCPMSG_PREFIX_MAX bytes, of which those behind the prefix mean nothing. */
static inline int tm_frame_encode(const tm_codec *codec, size_t length, uint8_t *prefix)
{
    if (length > codec->most)
        return TCPMSG_EMSGSIZE;
    if (TM_RARELY(codec->width == TCPMSG_VARINT))
        return tm_varint_encode(length, prefix);
    uint64_t value = (uint64_t)length + codec->own;
    if (TM_RARELY(codec->little_endian))
        tm_store_little_8(prefix, value);
    else
        tm_store_big_8(prefix, value << codec->spare);
    return codec->width;
}

static inline int tm_frame_decode(const tm_codec *codec, const uint8_t *bytes, size_t count,
                                  size_t *length)
{
    uint64_t value;
    int size = tm_frame_value(codec, bytes, count, &value);
    if (size <= 0)
        return size;
    if (value > codec->most)
        return TCPMSG_EMSGSIZE;
    *length = (size_t)value;
    return size;
}

#endif
