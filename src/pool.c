/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <stdbool.h>
#include <stdlib.h>

/* What a kept piece begins with. */
typedef struct tm_piece {
    struct tm_piece *next;
} tm_piece;

static size_t size_at(int index)
{
    return ((TM_PIECE_LEAST - TM_PIECE_MORE) << index) + TM_PIECE_MORE;
}

/* The least size of a piece that holds `size` bytes; TM_POOL_SIZES when none does. */
static int index_of(size_t size)
{
    int index = 0;
    while (index < TM_POOL_SIZES && size_at(index) < size)
        index++;
    return index;
}

size_t tm_piece_size(size_t size)
{
    int index = index_of(size);
    return index < TM_POOL_SIZES ? size_at(index) : size;
}

static void *take(tm_pool *pool, int index)
{
    tm_piece *piece = pool->first[index];
    if (piece) {
        pool->first[index] = piece->next;
        pool->kept -= size_at(index);
    }
    return piece;
}

static void put(tm_pool *pool, int index, tm_piece *piece)
{
    piece->next = pool->first[index];
    pool->first[index] = piece;
    pool->kept += size_at(index);
}

int tm_pool_init(tm_pool *pool)
{
    return tm_mutex_init(&pool->lock);
}

void *tm_pool_get(tm_pool *pool, size_t size)
{
    int index = index_of(size);
    if (index == TM_POOL_SIZES)
        return malloc(size);
    tm_mutex_lock(&pool->lock);
    void *piece = take(pool, index);
    if (pool->kept < pool->unused)
        pool->unused = pool->kept;
    tm_mutex_unlock(&pool->lock);
    return piece ? piece : malloc(size_at(index));
}

void tm_pool_give(tm_pool *pool, void *memory, size_t size)
{
    int index = index_of(size);
    bool fits = memory && index < TM_POOL_SIZES && size_at(index) == size;
    if (!fits) {
        free(memory);
        return;
    }
    tm_mutex_lock(&pool->lock);
    bool kept = size <= TM_POOL_MOST - pool->kept;
    if (kept)
        put(pool, index, memory);
    tm_mutex_unlock(&pool->lock);
    if (!kept)
        free(memory);
}

static void shrink_to(tm_pool *pool, size_t most)
{
    for (int i = 0; i < TM_POOL_SIZES; i++)
        while (pool->first[i] && pool->kept > most)
            free(take(pool, i));
}

void tm_pool_trim(tm_pool *pool)
{
    tm_mutex_lock(&pool->lock);
    shrink_to(pool, pool->kept - pool->unused);
    pool->unused = pool->kept;
    tm_mutex_unlock(&pool->lock);
}

bool tm_pool_is_empty(tm_pool *pool)
{
    tm_mutex_lock(&pool->lock);
    bool empty = pool->kept == 0;
    tm_mutex_unlock(&pool->lock);
    return empty;
}

void tm_pool_free(tm_pool *pool)
{
    shrink_to(pool, 0);
    tm_mutex_destroy(&pool->lock);
}
