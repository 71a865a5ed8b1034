/* SPDX-License-Identifier: MIT */
#include "frame.h"

#include <limits.h>
#include <stdbool.h>

#include "bytes.h"
#include "error.h"

static bool width_exists(int width)
{
    return (width >= 1 && width <= 4) || width == 8 || width == TCPMSG_VARINT;
}

int tm_framing_normalize(tcpmsg_framing *out, const tcpmsg_framing *framing)
{
    tcpmsg_framing normal = framing ? *framing : (tcpmsg_framing){0};
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

static int put_varint(uint64_t value, uint8_t *prefix)
{
    int size = 0;
    for (; value >= 0x80; value >>= 7)
        prefix[size++] = (uint8_t)(value | 0x80);
    prefix[size++] = (uint8_t)value;
    return size;
}

static int get_varint(const uint8_t *bytes, size_t count, uint64_t *value)
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

int tm_frame_value(const tcpmsg_framing *framing, const uint8_t *bytes, size_t count,
                   uint64_t *value)
{
    if (framing->width == TCPMSG_VARINT)
        return get_varint(bytes, count, value);
    size_t width = (size_t)framing->width;
    if (count < width)
        return 0;
    uint64_t said =
        framing->little_endian ? tm_load_little(bytes, width) : tm_load_big(bytes, width);
    uint64_t own = framing->counts_prefix ? width : 0;
    if (said < own)
        return TCPMSG_EPROTO;
    *value = said - own;
    return framing->width;
}

int tm_frame_encode(const tcpmsg_framing *framing, size_t length, uint8_t *prefix)
{
    if (length > SSIZE_MAX)
        return TCPMSG_EMSGSIZE;
    if (framing->width == TCPMSG_VARINT)
        return put_varint(length, prefix);
    size_t width = (size_t)framing->width;
    uint64_t value = (uint64_t)length + (framing->counts_prefix ? width : 0);
    if (width < 8 && value >> (8 * width) != 0)
        return TCPMSG_EMSGSIZE;
    if (framing->little_endian)
        tm_store_little(prefix, width, value);
    else
        tm_store_big(prefix, width, value);
    return framing->width;
}

ssize_t tm_frame_decode(const tcpmsg_framing *framing, const uint8_t *bytes, size_t count,
                        size_t *length)
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

int tcpmsg_frame_encode(const tcpmsg_framing *framing, size_t length,
                        uint8_t prefix[TCPMSG_PREFIX_MAX])
{
    tcpmsg_framing normal;
    if (!prefix || tm_framing_normalize(&normal, framing) != 0)
        return TCPMSG_EINVAL;
    return tm_frame_encode(&normal, length, prefix);
}

ssize_t tcpmsg_frame_decode(const tcpmsg_framing *framing, const void *bytes, size_t count,
                            size_t *length)
{
    tcpmsg_framing normal;
    if (!length || (!bytes && count > 0) || tm_framing_normalize(&normal, framing) != 0)
        return TCPMSG_EINVAL;
    return tm_frame_decode(&normal, bytes, count, length);
}
