/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include "error.h"

/*
 * What half-received messages hold together. Over the budget, a connection reads on only while it
 * holds less than its fair share, so those that hold most stop first; and one at a time reads on
 * whatever it holds, so that messages are finished and memory comes back. Who hardly gets on in
 * its time as the favoured one leaves that to the next, and is ended when what is held comes to
 * twice the budget.
 */

/* The least that is read at once: a message of this size is never kept waiting. */
#define READ_LEAST ((size_t)4 << 10)

/* In so long the favoured connection has to bring so much while others wait. */
#define PATIENCE (1000 * TM_MS)
#define PROGRESS ((size_t)16 << 10)

static size_t fair_share(const tm_thread *thread)
{
    size_t share = thread->budget / (size_t)thread->count; /* who asks is one of them */
    return share > READ_LEAST ? share : READ_LEAST;
}

/* Memory is short twice over, and it has not got on while it alone read. */
static void give_way(tcpmsg_conn *conn)
{
    tm_member *member = tm_member_of(conn);
    if (member->paused || conn->out.over || conn->in.error)
        return; /* it is we who don't read */
    tm_conn_tell_plainly(conn, TCPMSG_LOG_WARNING,
                         "its message came too slowly while memory was short");
    tm_in_end(conn, TCPMSG_ESTALLED);
    tm_member_attend(member);
}

/* Whether the favoured connection may stay it: it gets on, or has not had its time yet. */
static bool keeps_favour(tm_thread *thread)
{
    size_t len = tm_buffer_len(&thread->favoured->in.buffer);
    if (thread->now - thread->favoured_since <= PATIENCE)
        return true;
    if (len < thread->favoured_len + PROGRESS)
        return false;
    thread->favoured_since = thread->now;
    thread->favoured_len = len;
    return true;
}

static bool takes_favour(tm_thread *thread, const tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    if (thread->favoured == conn)
        return true;
    if (thread->favoured) {
        if (keeps_favour(thread))
            return false;
        if (thread->held / 2 > thread->budget)
            give_way(thread->favoured);
    }
    thread->favoured = conn;
    thread->favoured_since = thread->now;
    thread->favoured_len = tm_buffer_len(&conn->in.buffer);
    return true;
}

size_t tm_budget_allows(tm_thread *thread, tm_member *member, size_t wanted)
{
    size_t own = tm_buffer_len(&tm_conn_of(member)->in.buffer);
    size_t share = fair_share(thread);
    if (tm_conn_of(member)->out.error)
        return wanted; /* what the system holds still, and then its memory comes back */
    if (thread->held <= thread->budget && wanted <= thread->budget - thread->held)
        return wanted;
    if (own < share)
        return share - own < wanted ? share - own : wanted;
    return takes_favour(thread, member) ? wanted : 0;
}

void tm_budget_wake(tm_thread *thread)
{
    while (thread->starved.next != &thread->starved) {
        tm_member *member = tm_member_at(thread->starved.next);
        tm_member_feed(thread, member);
        tm_member_attend(member);
    }
}

void tm_budget_change(tm_thread *thread, tm_member *member, size_t before)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    size_t after = tm_buffer_held(&conn->in.buffer);
    tm_held_change(thread, after - before); /* both unsigned: the difference may be negative */
    bool leaves = after == 0 && thread->favoured == conn;
    if (leaves)
        thread->favoured = NULL;
    if (leaves || (after < before && thread->held <= thread->budget))
        tm_budget_wake(thread);
}
