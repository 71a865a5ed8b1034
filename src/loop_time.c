/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include "error.h"

/*
 * A member's clocks are moments, looked at when something else happens to it; its timer is set for
 * the first of them, and not moved when they are put off. So a byte that comes costs a store.
 */

void tm_member_stop_clocks(tm_thread *thread, tm_member *member, bool stop)
{
    tm_in *in = &tm_conn_of(member)->in;
    if (stop == member->stopped)
        return;
    member->stopped = stop;
    member->u.active = thread->now - member->u.active;
    if (in->message_limit != 0 && stop)
        in->message_limit = (in->message_limit - thread->now) | 1; /* 0 would be none */
    else if (in->message_limit != 0)
        in->message_limit += thread->now;
}

void tm_member_is_active(tm_thread *thread, tm_member *member)
{
    member->u.active = member->stopped ? 0 : thread->now;
}

void tm_member_await_message(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    int ms = conn->settings->message_timeout_ms;
    if (ms >= 0 && conn->in.message_limit == 0)
        conn->in.message_limit = (member->stopped ? 0 : thread->now) + ms * TM_MS;
}

static int64_t idle_limit(const tm_thread *thread, const tm_member *member)
{
    int ms = thread->loop->idle_timeout_ms;
    return ms < 0 || member->stopped ? TM_FOREVER : member->u.active + ms * TM_MS;
}

static int64_t message_limit(const tm_member *member)
{
    int64_t limit = tm_conn_of(member)->in.message_limit;
    return limit == 0 || member->stopped ? TM_FOREVER : limit;
}

static int64_t output_limit(const tm_member *member)
{
    int ms = tm_conn_of(member)->send_timeout_ms;
    return ms < 0 || member->blocked == 0 ? TM_FOREVER : member->blocked + ms * TM_MS;
}

int64_t tm_member_due(const tm_thread *thread, const tm_member *member)
{
    return tm_sooner(output_limit(member),
                     tm_sooner(idle_limit(thread, member), message_limit(member)));
}

bool tm_member_is_stalled(const tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    if (thread->now >= output_limit(member))
        tm_conn_tell(conn, "the peer has taken nothing of what was sent for %d ms",
                     conn->send_timeout_ms);
    else if (thread->now >= message_limit(member))
        tm_conn_tell_ending_here(conn, TCPMSG_ESTALLED, 0);
    else if (thread->now >= idle_limit(thread, member))
        tm_conn_tell(conn, "not a byte came or went for %d ms", thread->loop->idle_timeout_ms);
    else
        return false;
    return true;
}
