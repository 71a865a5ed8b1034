/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <string.h>

#include "error.h"

void tm_member_count_end(tm_thread *thread, const tm_member *member, int why)
{
    tm_stats *stats = &thread->stats;
    bool opened = member->stage == TM_OPEN || member->stage == TM_ENDING;
    tm_counter_add(opened ? &stats->closed : &stats->failed, 1);
    if (why == TCPMSG_ESTALLED || why == TCPMSG_ETIMEDOUT)
        tm_counter_add(&stats->timeouts, 1);
    if (why == TCPMSG_EMSGSIZE || why == TCPMSG_EPROTO)
        tm_counter_add(&stats->refusals, 1);
}

static void add_thread(tcpmsg_stats *sum, const tm_thread *thread)
{
    const tm_stats *stats = &thread->stats;
    sum->opened += tm_counter_get(&stats->opened);
    sum->closed += tm_counter_get(&stats->closed);
    sum->failed += tm_counter_get(&stats->failed);
    sum->messages_sent += tm_counter_get(&thread->keeper.messages);
    sum->messages_received += tm_counter_get(&stats->messages_received);
    sum->bytes_sent += tm_counter_get(&thread->keeper.bytes);
    sum->bytes_received += tm_counter_get(&stats->bytes_received);
    sum->timeouts += tm_counter_get(&stats->timeouts);
    sum->refusals += tm_counter_get(&stats->refusals);
    sum->accept_failures += tm_counter_get(&stats->accept_failures);
    sum->memory_held += tm_counter_get(&stats->held);
}

int tcpmsg_loop_stats(const tcpmsg_loop *loop, tcpmsg_stats *stats, size_t size)
{
    tcpmsg_stats sum = {0};
    if (!loop || !stats || size == 0)
        return TCPMSG_EINVAL;
    sum.connections = (uint64_t)((tcpmsg_loop *)loop)->count;
    for (int i = 0; i < loop->thread_count; i++)
        add_thread(&sum, &loop->threads[i]);
    memset(stats, 0, size);
    memcpy(stats, &sum, size < sizeof sum ? size : sizeof sum);
    return 0;
}
