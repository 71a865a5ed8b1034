/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <errno.h>

#include "conn_client.h"
#include "error.h"

/* How long until the next look where there is no memory to read, or to poll one more descriptor. */
#define LOOK (20 * TM_MS)

static void await(tm_thread *thread, tm_member *member, bool no_memory)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    int64_t limit = conn->in.message_limit, due = limit ? limit : TM_FOREVER;
    if (!member->source.watch.watched) {
        member->source.watch = (tm_watch){.fd = conn->fd};
        tm_link_move(&thread->members, &member->link);
    }
    if (no_memory) /* what has come stays there, and would be told for ever */
        tm_poller_drop(thread->poller, &member->source.watch);
    if (no_memory || tm_thread_watch(thread, &member->source, POLLIN) < 0)
        due = tm_sooner(due, tm_now() + LOOK);
    if (due != TM_FOREVER)
        tm_timers_set(&thread->timers, &member->source.timer, due);
}

/* What ends it before it was opened; 0: nothing does. */
static int end_of(tm_thread *thread, tcpmsg_conn *conn, ssize_t n, int known)
{
    if (thread->stopping || conn->in.error)
        return TCPMSG_ECANCELED;
    if (known < 0)
        return known;
    if (n == 0)
        return tm_client_end(conn);
    if (n < 0 && n != -EAGAIN && n != -ENOMEM && n != -ENOBUFS)
        return tm_conn_os_error(conn, n);
    return conn->in.message_limit && tm_passed(conn->in.message_limit) ? TCPMSG_ESTALLED : 0;
}

void tm_meet_step(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    ssize_t n = tm_client_read(conn);
    int known = n > 0 ? tm_client_look(conn) : 0;
    int why = end_of(thread, conn, n, known);
    if (why != 0) {
        tm_client_tell_ending(conn, why);
        tm_member_finish(thread, member, why);
    } else if (known > 0 || conn->closing) {
        tm_poller_drop(thread->poller, &member->source.watch);
        tm_timers_stop(&thread->timers, &member->source.timer);
        tm_member_join(thread, member);
    } else {
        await(thread, member, n == -ENOMEM || n == -ENOBUFS);
    }
}
