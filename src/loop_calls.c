/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <stdlib.h>

#include "error.h"

static tm_call *call_of(tm_link *link)
{
    return (tm_call *)((char *)link - offsetof(tm_call, link));
}

static void run_later(tm_thread *thread, tm_source *source)
{
    tm_call *call = (tm_call *)source; /* its first member */
    tm_link_remove(&call->link);
    if (!thread->stopping)
        call->call(call->arg);
    free(call);
}

const tm_source_kind tm_later_kind = {.expired = run_later};

int tm_loop_call(tcpmsg_loop *loop, int64_t due, void (*function)(void *arg), void *arg)
{
    tm_thread *first = loop->threads;
    tm_call *call = malloc(sizeof *call);
    if (!call)
        return TCPMSG_ENOMEM;
    *call = (tm_call){
        .source = {.kind = TM_LATER, .timer = {.due = due}}, .call = function, .arg = arg};
    tm_mutex_lock(&loop->lock);
    bool refused = loop->refuses || loop->stop;
    if (!refused) {
        tm_mutex_lock(&first->lock);
        if (first->calls_first)
            first->calls_last->next = call;
        else
            first->calls_first = call;
        first->calls_last = call;
        tm_thread_nudge(first);
        tm_mutex_unlock(&first->lock);
    }
    tm_mutex_unlock(&loop->lock);
    if (refused)
        free(call);
    return refused ? TCPMSG_ECANCELED : 0;
}

static tm_call *take_calls(tm_thread *first)
{
    tm_mutex_lock(&first->lock);
    tm_call *call = first->calls_first;
    first->calls_first = NULL;
    tm_mutex_unlock(&first->lock);
    return call;
}

void tm_loop_run_calls(tm_thread *first)
{
    tm_call *call = take_calls(first);
    while (call) {
        tm_call *next = call->next;
        if (call->source.timer.due > 0) {
            tm_link_add(&first->loop->laters, &call->link);
            tm_timers_set(&first->timers, &call->source.timer, call->source.timer.due);
        } else {
            call->call(call->arg);
            free(call);
        }
        call = next;
    }
}

/* What will not run any more; a listener among it is closed. */
void tm_loop_drop_calls(tcpmsg_loop *loop)
{
    tm_call *call = take_calls(loop->threads);
    while (call) {
        tm_call *next = call->next;
        if (call->call == tm_door_open)
            tm_door_free(call->arg);
        free(call);
        call = next;
    }
    for (tm_link *link = loop->laters.next; link != &loop->laters;) {
        call = call_of(link);
        link = link->next;
        free(call);
    }
    tm_link_init(&loop->laters);
}

int tcpmsg_loop_post(tcpmsg_loop *loop, void (*call)(void *arg), void *arg)
{
    return loop && call ? tm_loop_call(loop, 0, call, arg) : TCPMSG_EINVAL;
}

int tcpmsg_loop_after(tcpmsg_loop *loop, int ms, void (*call)(void *arg), void *arg)
{
    if (!loop || !call || ms < 0)
        return TCPMSG_EINVAL;
    return tm_loop_call(loop, tm_deadline(ms), call, arg);
}
