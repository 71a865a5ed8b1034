/* SPDX-License-Identifier: MIT */
#ifndef TM_BYTES_H
#define TM_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Unsigned integers of 1 to 8 bytes in either order, at any alignment. Those of 8 bytes are what
 * every message passes through, so where the compiler can swap bytes they are one instruction.
 */

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define TM_BIG_8(value) __builtin_bswap64(value)
#define TM_LITTLE_8(value) (value)
#elif defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define TM_BIG_8(value) (value)
#define TM_LITTLE_8(value) __builtin_bswap64(value)
#endif

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

static inline uint64_t tm_load_big_8(const uint8_t *bytes)
{
#ifdef TM_BIG_8
    uint64_t value;
    memcpy(&value, bytes, 8);
    return TM_BIG_8(value);
#else
    return tm_load_big(bytes, 8);
#endif
}

static inline uint64_t tm_load_little_8(const uint8_t *bytes)
{
#ifdef TM_LITTLE_8
    uint64_t value;
    memcpy(&value, bytes, 8);
    return TM_LITTLE_8(value);
#else
    return tm_load_little(bytes, 8);
#endif
}

static inline void tm_store_big_8(uint8_t *bytes, uint64_t value)
{
#ifdef TM_BIG_8
    value = TM_BIG_8(value);
    memcpy(bytes, &value, 8);
#else
    tm_store_big(bytes, 8, value);
#endif
}

static inline void tm_store_little_8(uint8_t *bytes, uint64_t value)
{
#ifdef TM_LITTLE_8
    value = TM_LITTLE_8(value);
    memcpy(bytes, &value, 8);
#else
    tm_store_little(bytes, 8, value);
#endif
}

#endif
