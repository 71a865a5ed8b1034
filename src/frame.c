/* SPDX-License-Identifier: MIT */
#include "frame.h"

#include <stdbool.h>
#include <string.h>

static bool width_exists(int width)
{
    return (width >= 1 && width <= 4) || width == 8 || width == TCPMSG_VARINT;
}

int tm_framing_normalize(tcpmsg_framing *out, const tcpmsg_framing *framing)
{
    tcpmsg_framing normal = *framing;
    if (normal.width == 0)
        normal.width = 4;
    if (!width_exists(normal.width))
        return TCPMSG_EINVAL;
    if ((normal.little_endian | normal.counts_prefix) & ~1)
        return TCPMSG_EINVAL;
    if (normal.width == TCPMSG_VARINT && normal.counts_prefix)
        return TCPMSG_EINVAL;
    for (size_t i = 0; i < sizeof normal.reserved / sizeof normal.reserved[0]; i++)
        if (normal.reserved[i] != 0)
            return TCPMSG_EINVAL;
    *out = normal;
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
static const tcpmsg_framing default_framing = {.width = 4};

int tcpmsg_frame_encode(const tcpmsg_framing *framing, size_t length,
                        uint8_t prefix[TCPMSG_PREFIX_MAX])
{
    tcpmsg_framing normal;
    uint8_t encoded[TCPMSG_PREFIX_MAX];
    if (!prefix || (framing && tm_framing_normalize(&normal, framing) != 0))
        return TCPMSG_EINVAL;
    int size = framing ? tm_frame_encode(&normal, length, encoded)
                       : tm_frame_encode(&default_framing, length, encoded);
    if (size > 0)
        memcpy(prefix, encoded, (size_t)size);
    return size;
}

ssize_t tcpmsg_frame_decode(const tcpmsg_framing *framing, const void *bytes, size_t count,
                            size_t *length)
{
    tcpmsg_framing normal;
    if (!length || (!bytes && count > 0) ||
        (framing && tm_framing_normalize(&normal, framing) != 0))
        return TCPMSG_EINVAL;
    return framing ? tm_frame_decode(&normal, bytes, count, length)
                   : tm_frame_decode(&default_framing, bytes, count, length);
}
