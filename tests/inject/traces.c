/* SPDX-License-Identifier: MIT */
#include "traces.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#include "handles.h"

/* Open addressing; one that is gone leaves GONE, so that those behind it are found. */
#define ROOM ((size_t)1 << 20)
#define GONE ((const void *)&held)

#define DESCRIPTORS 65536

static struct {
    const void *memory;
    long serial;
} * held;
static bool open_now[DESCRIPTORS];
static long memory_held, descriptors_held, serial;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void traces_begin(void)
{
    static __typeof__(*held) room[ROOM];
    held = room;
}

static size_t place_of(const void *memory)
{
    return (size_t)(((uintptr_t)memory >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 40) % ROOM;
}

void trace_memory(const void *memory)
{
    if (!held || !memory || !inside_library())
        return;
    pthread_mutex_lock(&lock);
    size_t place = place_of(memory);
    while (held[place].memory && held[place].memory != GONE)
        place = (place + 1) % ROOM;
    held[place].memory = memory;
    held[place].serial = ++serial;
    memory_held++;
    pthread_mutex_unlock(&lock);
}

void untrace_memory(const void *memory)
{
    if (!held || !memory)
        return;
    pthread_mutex_lock(&lock);
    size_t place = place_of(memory);
    while (held[place].memory && held[place].memory != memory)
        place = (place + 1) % ROOM;
    if (held[place].memory) {
        held[place].memory = GONE;
        memory_held--;
    }
    pthread_mutex_unlock(&lock);
}

static bool is_traceable(int fd)
{
    return held && fd >= 0 && fd < DESCRIPTORS;
}

void trace_descriptor(int fd)
{
    if (!is_traceable(fd) || !inside_library())
        return;
    pthread_mutex_lock(&lock);
    descriptors_held += !open_now[fd];
    open_now[fd] = true;
    pthread_mutex_unlock(&lock);
}

void untrace_descriptor(int fd)
{
    if (!is_traceable(fd))
        return;
    pthread_mutex_lock(&lock);
    descriptors_held -= open_now[fd];
    open_now[fd] = false;
    pthread_mutex_unlock(&lock);
}

long traced_memory(void)
{
    pthread_mutex_lock(&lock);
    long count = memory_held;
    pthread_mutex_unlock(&lock);
    return count;
}

long traced_descriptors(void)
{
    pthread_mutex_lock(&lock);
    long count = descriptors_held;
    pthread_mutex_unlock(&lock);
    return count;
}

const char *traces_left(void)
{
    static char text[128];
    long first = 0;
    int fd = -1;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < ROOM; i++)
        if (held[i].memory && held[i].memory != GONE && (!first || held[i].serial < first))
            first = held[i].serial;
    for (int i = 0; i < DESCRIPTORS && fd < 0; i++)
        fd = open_now[i] ? i : -1;
    snprintf(text, sizeof text,
             "%ld allocations are left, the first is number %ld; %ld descriptors, the first is %d",
             memory_held, first, descriptors_held, fd);
    pthread_mutex_unlock(&lock);
    return text;
}
