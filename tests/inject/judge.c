/* SPDX-License-Identifier: MIT */
#include "judge.h"

#include <stdio.h>

#include "../support.h"
#include "calls.h"
#include "handles.h"
#include "traces.h"

/* Longer than any wait of a test's own, in a callback for instance: WAIT_MS. */
#define PATIENCE_MS 40000
#define STEP_MS 2

static bool everybody_is_out(void)
{
    for (int ms = 0; ms < PATIENCE_MS; ms += STEP_MS) {
        handles_abort();
        if (threads_inside() == 0)
            return true;
        sleep_ms(STEP_MS);
    }
    return false;
}

static bool is_anything_left(void)
{
    return traced_memory() > 0 || traced_descriptors() > 0 || atomic_load(&library_threads) > 0;
}

/* A look-up that nobody waits for any more frees what it has when it ends. */
static bool everything_goes(void)
{
    for (int ms = 0; is_anything_left() && ms < PATIENCE_MS; ms += STEP_MS)
        sleep_ms(STEP_MS);
    return !is_anything_left();
}

enum verdict judge(enum verdict so_far, char *text, unsigned long size)
{
    handles_freeze();
    if (inside_library())
        return UNJUDGED;
    if (!everybody_is_out()) {
        snprintf(text, size, "%d threads are still inside", threads_inside());
        return STUCK;
    }
    handles_close();
    if (everything_goes())
        return so_far;
    snprintf(text, size, "%s, %d threads", traces_left(), atomic_load(&library_threads));
    return LEFT;
}
