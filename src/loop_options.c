/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <limits.h>
#include <stdlib.h>

#include "error.h"
#include "options.h"

#define THREADS_MOST 1024
#define DEFAULT_HIGH_WATER ((size_t)1 << 20)
#define DEFAULT_BUDGET ((size_t)256 << 20)

int tm_loop_read_options(tcpmsg_loop_options *copy, const tcpmsg_loop_options *options)
{
    tm_story unheard = {0};
    if (tm_options_copy(copy, sizeof *copy, TM_UP_TO(tcpmsg_loop_options, poller), options) < 0)
        return TCPMSG_EINVAL;
    const tm_range ranges[] = {
        {"threads", copy->threads, 0, THREADS_MOST, 1, &copy->threads},
        {"max_conns", copy->max_conns, TCPMSG_NO_LIMIT, INT_MAX, INT_MAX, &copy->max_conns},
        {"idle_timeout_ms", copy->idle_timeout_ms, TCPMSG_NO_LIMIT, INT_MAX, TCPMSG_NO_LIMIT,
         &copy->idle_timeout_ms},
        {"spin_us", copy->spin_us, 0, INT_MAX, 0, &copy->spin_us},
        {"poller", copy->poller, 0, TCPMSG_POLLER_KQUEUE, 0, &copy->poller},
    };
    if (tm_ranges_check(ranges, sizeof ranges / sizeof ranges[0], &unheard) < 0)
        return TCPMSG_EINVAL;
    if (copy->max_conns == TCPMSG_NO_LIMIT)
        copy->max_conns = INT_MAX;
    if (copy->high_water == 0)
        copy->high_water = DEFAULT_HIGH_WATER;
    if (copy->memory_budget == 0)
        copy->memory_budget = DEFAULT_BUDGET;
    return 0;
}

int tm_service_make(tm_service **out, const tcpmsg_callbacks *callbacks, void *arg)
{
    tcpmsg_callbacks copy;
    size_t first = TM_UP_TO(tcpmsg_callbacks, on_close);
    if (!callbacks || tm_options_copy(&copy, sizeof copy, first, callbacks) < 0)
        return TCPMSG_EINVAL;
    tm_service *service = malloc(sizeof *service);
    if (!service)
        return TCPMSG_ENOMEM;
    service->callbacks = copy;
    service->arg = arg;
    atomic_init(&service->refs, 1);
    *out = service;
    return 0;
}

tm_service *tm_service_ref(tm_service *service)
{
    atomic_fetch_add_explicit(&service->refs, 1, memory_order_relaxed);
    return service;
}

void tm_service_unref(tm_service *service)
{
    if (atomic_fetch_sub_explicit(&service->refs, 1, memory_order_acq_rel) == 1)
        free(service);
}
