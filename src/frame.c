/* SPDX-License-Identifier: MIT */
#include "frame.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

static bool width_exists(int width)
{
    return (width >= 1 && width <= 4) || width == 8 || width == TCPMSG_VARINT;
}

static bool is_good(const tcpmsg_framing *framing)
{
    if (framing->width != 0 && !width_exists(framing->width))
        return false;
    if ((framing->little_endian | framing->counts_prefix) & ~1)
        return false;
    if (framing->width == TCPMSG_VARINT && framing->counts_prefix)
        return false;
    for (size_t i = 0; i < sizeof framing->reserved / sizeof framing->reserved[0]; i++)
        if (framing->reserved[i] != 0)
            return false;
    return true;
}

int tm_codec_make(tm_codec *out, const tcpmsg_framing *framing)
{
    if (!is_good(framing))
        return TCPMSG_EINVAL;
    int width = framing->width ? framing->width : 4;
    bool fixed = width != TCPMSG_VARINT;
    unsigned spare = fixed ? 64 - 8 * (unsigned)width : 0;
    unsigned own = framing->counts_prefix ? (unsigned)width : 0;
    uint64_t most = (UINT64_MAX >> spare) - own;
    *out = (tm_codec){
        .width = (uint8_t)width,
        .spare = (uint8_t)spare,
        .own = (uint8_t)own,
        .little_endian = framing->little_endian,
        .most = most < SSIZE_MAX ? (size_t)most : SSIZE_MAX,
    };
    return 0;
}

int tm_varint_encode(uint64_t value, uint8_t *prefix)
{
    int size = 0;
    for (; value >= 0x80; value >>= 7)
        prefix[size++] = (uint8_t)(value | 0x80);
    prefix[size++] = (uint8_t)value;
    return size;
}

int tm_varint_value(const uint8_t *bytes, size_t count, uint64_t *value)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++) {
        /* The tenth byte holds bit 63 alone. */
        if (i == TCPMSG_PREFIX_MAX - 1 && bytes[i] > 1)
            return TCPMSG_EPROTO;
        sum |= (uint64_t)(bytes[i] & 0x7f) << (7 * i);
        if (bytes[i] < 0x80) {
            *value = sum;
            return (int)i + 1;
        }
    }
    return 0;
}

/* A constant to the compiler, which makes of the default framing what one would write by hand. */
static const tm_codec default_codec = {
    .width = 4,
    .spare = 32,
    .most = UINT32_MAX < SSIZE_MAX ? UINT32_MAX : SSIZE_MAX,
};

int tcpmsg_frame_encode(const tcpmsg_framing *framing, size_t length,
                        uint8_t prefix[TCPMSG_PREFIX_MAX])
{
    tm_codec codec;
    uint8_t encoded[TCPMSG_PREFIX_MAX];
    if (!prefix || (framing && tm_codec_make(&codec, framing) < 0))
        return TCPMSG_EINVAL;
    int size = framing ? tm_frame_encode(&codec, length, encoded)
                       : tm_frame_encode(&default_codec, length, encoded);
    if (size > 0)
        memcpy(prefix, encoded, (size_t)size);
    return size;
}

ssize_t tcpmsg_frame_decode(const tcpmsg_framing *framing, const void *bytes, size_t count,
                            size_t *length)
{
    tm_codec codec;
    if (!length || (!bytes && count > 0) || (framing && tm_codec_make(&codec, framing) < 0))
        return TCPMSG_EINVAL;
    return framing ? tm_frame_decode(&codec, bytes, count, length)
                   : tm_frame_decode(&default_codec, bytes, count, length);
}
