/* SPDX-License-Identifier: MIT */
#include "handles.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

#include <tcpmsg/loop.h>

#define MOST 65536

static struct handle {
    enum handle_kind kind;
    void *object;
    int refs; /* that the test has to give back */
} handles[MOST];
static size_t used;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool watched;
static _Thread_local int depth;
static _Thread_local bool freezes_others;
static atomic_int inside;
static atomic_bool frozen;

void handles_begin(void)
{
    watched = true;
}

bool inside_library(void)
{
    return depth > 0;
}

void library_thread(void)
{
    depth++;
}

static void stand_still(void)
{
    atomic_fetch_sub(&inside, 1);
    for (;;)
        pause();
}

void library_enter(void)
{
    if (depth++ > 0 || !watched)
        return;
    atomic_fetch_add(&inside, 1);
    if (atomic_load(&frozen) && !freezes_others)
        stand_still();
}

void library_leave(void)
{
    if (--depth > 0 || !watched)
        return;
    if (atomic_load(&frozen) && !freezes_others)
        stand_still();
    atomic_fetch_sub(&inside, 1);
}

/* Where it is, or where it has room. */
static struct handle *find(const void *object)
{
    struct handle *vacant = NULL;
    for (size_t i = 0; i < used; i++) {
        if (handles[i].kind != HANDLE_NONE && handles[i].object == object)
            return &handles[i];
        if (handles[i].kind == HANDLE_NONE)
            vacant = &handles[i];
    }
    return vacant ? vacant : used < MOST ? &handles[used++] : NULL;
}

static void change(enum handle_kind kind, const void *object, int refs)
{
    if (!watched)
        return;
    pthread_mutex_lock(&lock);
    struct handle *handle = object ? find(object) : NULL;
    if (handle) {
        if (handle->kind == HANDLE_NONE)
            *handle = (struct handle){.kind = kind, .object = (void *)object};
        handle->refs += refs;
        if (handle->refs <= 0)
            handle->kind = HANDLE_NONE;
    }
    pthread_mutex_unlock(&lock);
}

void handle_opened(enum handle_kind kind, const void *object)
{
    change(kind, object, 1);
}

void handle_closed(const void *object)
{
    change(HANDLE_CONN, object, -1);
}

void handles_freeze(void)
{
    freezes_others = true;
    atomic_store(&frozen, true);
}

int threads_inside(void)
{
    return atomic_load(&inside) - (depth > 0);
}

static void abort_one(const struct handle *handle)
{
    if (handle->kind == HANDLE_LOOP)
        tcpmsg_loop_stop(handle->object);
    if (handle->kind == HANDLE_LISTENER)
        tcpmsg_listener_abort(handle->object);
    if (handle->kind == HANDLE_CONN)
        tcpmsg_abort(handle->object);
}

void handles_abort(void)
{
    /* Whoever closes one waits for the lock, so that none goes away meanwhile. */
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < used; i++)
        abort_one(&handles[i]);
    pthread_mutex_unlock(&lock);
}

static void close_one(const struct handle *handle)
{
    if (handle->kind == HANDLE_LOOP)
        tcpmsg_loop_close(handle->object);
    if (handle->kind == HANDLE_LISTENER)
        tcpmsg_listener_close(handle->object);
    for (int refs = handle->kind == HANDLE_CONN ? handle->refs : 0; refs > 0; refs--)
        tcpmsg_conn_unref(handle->object);
}

void handles_close(void)
{
    /* From a copy: what is closed leaves the table. */
    for (enum handle_kind kind = HANDLE_LOOP; kind > HANDLE_NONE; kind--)
        for (size_t i = 0; i < used; i++) {
            struct handle handle = handles[i];
            if (handle.kind == kind)
                close_one(&handle);
        }
}
