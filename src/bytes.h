/* SPDX-License-Identifier: MIT */
#ifndef TM_BYTES_H
#define TM_BYTES_H

#include <stddef.h>
#include <stdint.h>

/* Unsigned integers of 1 to 8 bytes in either order, at any alignment. */

static inline uint64_t tm_load_big(const uint8_t *bytes, size_t width)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++)
        value = value << 8 | bytes[i];
    return value;
}

static inline uint64_t tm_load_little(const uint8_t *bytes, size_t width)
{
    uint64_t value = 0;
    for (size_t i = width; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

static inline void tm_store_big(uint8_t *bytes, size_t width, uint64_t value)
{
    for (size_t i = width; i-- > 0; value >>= 8)
        bytes[i] = (uint8_t)(value & 0xff);
}

static inline void tm_store_little(uint8_t *bytes, size_t width, uint64_t value)
{
    for (size_t i = 0; i < width; i++, value >>= 8)
        bytes[i] = (uint8_t)(value & 0xff);
}

#endif
