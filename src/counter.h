/* SPDX-License-Identifier: MIT */
#ifndef TM_COUNTER_H
#define TM_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

/* A number that one thread at a time changes, and any thread reads. */
typedef atomic_uint_least64_t tm_counter;

static inline uint64_t tm_counter_get(const tm_counter *counter)
{
    return atomic_load_explicit((tm_counter *)counter, memory_order_relaxed);
}

static inline void tm_counter_add(tm_counter *counter, uint64_t more)
{
    atomic_store_explicit(counter, tm_counter_get(counter) + more, memory_order_relaxed);
}

/* The same of one that several threads change at once. */
static inline void tm_counter_share(tm_counter *counter, uint64_t more)
{
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

#endif
