/* SPDX-License-Identifier: MIT */
/* Between the library and the allocator: how much it holds, and what if it can't have it. */
#define _GNU_SOURCE
#include "model.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_long held;
static int refused_percent;

/* Refusals follow from the round's seed, like all else; only while no other thread is here. */
static bool refused(void)
{
    static struct dice dice;
    static uint64_t seed;
    if (refused_percent == 0)
        return false;
    if (seed != round_seed()) {
        seed = round_seed();
        dice = dice_from(seed, 98);
    }
    return dice_chance(&dice, (unsigned)refused_percent);
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void __wrap_free(void *memory);
char *__wrap_strdup(const char *text);

static void *count(void *memory)
{
    if (memory)
        atomic_fetch_add(&held, (long)malloc_usable_size(memory));
    return memory;
}

void *__wrap_malloc(size_t size)
{
    return refused() ? NULL : count(__real_malloc(size));
}

void *__wrap_calloc(size_t number, size_t size)
{
    return refused() ? NULL : count(__real_calloc(number, size));
}

void *__wrap_realloc(void *memory, size_t size)
{
    long before = memory ? (long)malloc_usable_size(memory) : 0;
    void *larger = refused() ? NULL : __real_realloc(memory, size);
    if (larger)
        atomic_fetch_sub(&held, before);
    return count(larger);
}

void __wrap_free(void *memory)
{
    if (memory)
        atomic_fetch_sub(&held, (long)malloc_usable_size(memory));
    __real_free(memory);
}

char *__wrap_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = __wrap_malloc(size);
    if (copy)
        memcpy(copy, text, size);
    return copy;
}

long memory_held(void)
{
    return atomic_load(&held);
}

void memory_refuse(int percent)
{
    refused_percent = percent;
}
