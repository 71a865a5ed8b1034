/* SPDX-License-Identifier: MIT */
#include "loop.h"

/*
 * What half-received messages hold together. Over the budget, a connection reads on only while it
 * holds less than its fair share, so those that hold most stop first; and one at a time reads on
 * whatever it holds, so that messages are finished and memory comes back. Who brings nothing in
 * its time as the favoured one leaves that to the next.
 */

/* The least that is read at once: a message of this size is never kept waiting. */
#define READ_LEAST ((size_t)4 << 10)

/* How long the favoured connection may be silent while others wait. */
#define PATIENCE (1000 * TM_MS)

static size_t fair_share(const tm_thread *thread)
{
    size_t count = (size_t)thread->count;
    size_t share = thread->budget / (count > 0 ? count : 1);
    return share > READ_LEAST ? share : READ_LEAST;
}

static bool takes_favour(tm_thread *thread, const tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    if (thread->favoured && thread->favoured != conn) {
        const tm_member *favoured = tm_member_of(thread->favoured);
        bool silent = thread->now - favoured->u.active > PATIENCE;
        if (!silent || thread->held / 2 > thread->budget)
            return false;
    }
    thread->favoured = conn;
    return true;
}

size_t tm_budget_allows(tm_thread *thread, tm_member *member, size_t wanted)
{
    size_t own = tm_buffer_len(&tm_conn_of(member)->in.buffer);
    size_t share = fair_share(thread);
    if (thread->held <= thread->budget && wanted <= thread->budget - thread->held)
        return wanted;
    if (own < share)
        return share - own < wanted ? share - own : wanted;
    return takes_favour(thread, member) ? wanted : 0;
}

void tm_budget_wake(tm_thread *thread)
{
    while (thread->starved.next != &thread->starved) {
        tm_link *link = thread->starved.next;
        tm_member *member = (tm_member *)((char *)link - offsetof(tm_member, link));
        tm_link_remove(link);
        tm_link_add(&thread->members, link);
        member->starved = false;
        tm_member_attend(member);
    }
}

void tm_budget_change(tm_thread *thread, tm_member *member, size_t before)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    size_t after = conn->in.buffer.capacity;
    thread->held += after - before; /* both unsigned: the difference may be negative */
    bool leaves = after == 0 && thread->favoured == conn;
    if (leaves)
        thread->favoured = NULL;
    if (leaves || (after < before && thread->held <= thread->budget))
        tm_budget_wake(thread);
}
