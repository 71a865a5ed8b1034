/* SPDX-License-Identifier: MIT */
#ifndef TM_POOL_H
#define TM_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "mutex.h"

/*
 * A piece is memory of one of a few sizes: powers of two, and a little more, so that a message of
 * such a size has room with its prefix and what its holder notes. Larger ones are as large as is
 * asked for, and never kept.
 */
#define TM_PIECE_MORE ((size_t)64)
#define TM_PIECE_LEAST (((size_t)2 << 10) + TM_PIECE_MORE)
#define TM_PIECE_MOST (((size_t)1 << 20) + TM_PIECE_MORE)

/* How many bytes of pieces are kept. */
#define TM_POOL_MOST ((size_t)2 << 20)

enum { TM_POOL_SIZES = 10 }; /* from TM_PIECE_LEAST to TM_PIECE_MOST */

struct tm_piece;

/*
 * Pieces that nobody uses now: what many connections of one thread hold in turn does not go back
 * to the system and come again each time. Any thread may get and give. All zero, and after
 * tm_pool_init, it is an empty one.
 */
typedef struct tm_pool {
    tm_mutex lock; /* of all below; nothing is called with it but each other */
    struct tm_piece *first[TM_POOL_SIZES]; /* of each size */
    size_t kept;                           /* bytes */
    size_t unused;                         /* ... of which so many were, since the last trim */
} tm_pool;

int tm_pool_init(tm_pool *pool); /* 0 or TCPMSG_ENOMEM */

/* How large the piece is that `size` bytes get. */
size_t tm_piece_size(size_t size);

/* A piece of tm_piece_size(size) bytes, as malloc(3) would give it; NULL without memory. */
void *tm_pool_get(tm_pool *pool, size_t size);

/* Takes back memory of that size, from here or malloc(3): keeps it or not. NULL is fine. */
void tm_pool_give(tm_pool *pool, void *memory, size_t size);

/* Frees what nobody has needed since the last trim. */
void tm_pool_trim(tm_pool *pool);

bool tm_pool_is_empty(tm_pool *pool);

/* The end of it, when no other thread uses it. */
void tm_pool_free(tm_pool *pool);

#endif
