/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include "error.h"
#include "socket.h"

/* How long output rests while the system has no memory for it. */
#define REST (20 * TM_MS)

/* How long a connection that is starved waits before it asks again. */
#define STARVE (1000 * TM_MS)

tm_thread *tm_loop_lightest(tcpmsg_loop *loop)
{
    tm_thread *lightest = loop->threads;
    for (int i = 1; i < loop->thread_count; i++)
        if (loop->threads[i].count < lightest->count)
            lightest = &loop->threads[i];
    return lightest;
}

void tm_member_attend(tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    if (conn->out.attended) /* taken back before what there is to do is looked at */
        return;
    tm_mutex_lock(&conn->out.lock);
    tm_kept_attend(conn);
    tm_mutex_unlock(&conn->out.lock);
}

/* Whether it was to be read from, and nothing that has happened in this pass is against it. */
static bool may_read(const tm_member *member)
{
    const tcpmsg_conn *conn = tm_conn_of(member);
    return member->stage == TM_OPEN && member->source.watch.events & POLLIN && !conn->in.error &&
           !member->paused && !conn->out.over && !member->held;
}

static void member_ready(tm_thread *thread, tm_source *source, short events)
{
    tm_member *member = (tm_member *)source; /* its first member */
    bool reads = source->watch.events & POLLIN;
    if (events & ~POLLOUT && may_read(member))
        tm_member_read(thread, member);
    else if (member->stage == TM_OPEN && !reads && events & (POLLERR | POLLHUP))
        member->hung = true;
    tm_member_attend(member);
}

static void member_expired(tm_thread *thread, tm_source *source)
{
    tm_member *member = (tm_member *)source;
    if (may_read(member) && thread->now >= tm_member_due(thread, member))
        tm_member_read(thread, member); /* what came may not have had its turn yet */
    tm_member_attend(member);
}

const tm_source_kind tm_member_kind = {member_ready, member_expired};

void tm_member_begin(tcpmsg_conn *conn, tm_service *service, enum tm_stage stage)
{
    tm_thread *thread = tm_thread_of(conn);
    tm_member *member = tm_member_of(conn);
    member->source.kind = TM_MEMBER;
    member->service = tm_service_ref(service);
    member->stage = (uint8_t)stage;
    tm_link_init(&member->link);
    thread->count++;
    thread->loop->count++;
    tm_mutex_lock(&conn->out.lock);
    conn->out.attended = true;
    tm_thread_attend(conn);
    tm_mutex_unlock(&conn->out.lock);
}

/* Writes what it can, and runs the output's clock. */
static enum tm_push push(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    tm_out *out = &conn->out;
    enum tm_push left = TM_PUSH_DONE;
    tm_mutex_lock(&out->lock);
    uint64_t before = out->box.position;
    bool went = out->went;
    out->went = false;
    if (out->box.len > 0 || (out->shut && !out->fin)) {
        left = tm_out_push_locked(conn);
        if (left == TM_PUSH_DONE && out->box.len > 0)
            left = TM_PUSH_REST; /* a call that was under way when the loop got it */
    }
    bool progress = out->box.position != before;
    tm_kept_reclaim(conn); /* what left at once had borrowed, too */
    tm_mutex_unlock(&out->lock);
    if (went || progress)
        tm_member_is_active(thread, member);
    if (left == TM_PUSH_DONE)
        member->blocked = 0;
    else if (progress || member->blocked == 0)
        member->blocked = thread->now;
    return left;
}

/* The queue is below half: what it held up goes on. */
static void drain(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    tm_out *out = &conn->out;
    if (!out->over) /* nothing was refused either */
        return;
    tm_mutex_lock(&out->lock);
    bool low = out->error || out->box.len < thread->keeper.high_water / 2 || out->box.len == 0;
    bool tell = low && out->refused && !out->error && !out->shut;
    if (low)
        out->over = out->refused = false;
    tm_mutex_unlock(&out->lock);
    if (tell && member->service->callbacks.on_drain)
        member->service->callbacks.on_drain(conn, member->service->arg);
}

/* A reset is told although we don't read; a clean end has to wait, and is not polled for. */
static void look_at_hangup(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    int error = tm_socket_pending_error(conn->fd);
    member->hung = false;
    if (error < 0) {
        int told = tm_conn_os_error(conn, error);
        char room[TM_ERRNO_TEXT_MOST];
        tm_out_end(conn, told);
        if (member->paused) {
            tm_conn_tell(conn, "%s", tm_conn_reason(conn, told, room));
            tm_in_end(conn, told);
        } /* else what had come before it is read first, and then its end */
        tm_member_attend(member);
    } else {
        tm_poller_drop(thread->poller, &member->source.watch);
        member->waits_out = true;
    }
}

static void tend_by(tm_thread *thread, tm_member *member, int64_t due)
{
    tm_timer *timer = &member->source.timer;
    if (due != TM_FOREVER && (!tm_timer_is_set(timer) || due < timer->due))
        tm_timers_set(&thread->timers, timer, due);
}

static void watch(tm_thread *thread, tm_member *member, enum tm_push left)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    bool stopped = member->paused || conn->out.over || member->starved;
    tm_member_stop_clocks(thread, member, stopped);
    short events = left == TM_PUSH_WAIT ? POLLOUT : 0;
    if (!stopped && !member->held && !conn->in.error)
        events |= POLLIN;
    if (events != 0)
        member->waits_out = false;
    bool unwatched = !member->waits_out && tm_thread_watch(thread, &member->source, events) < 0;
    int64_t due = tm_member_due(thread, member);
    if (left == TM_PUSH_REST || unwatched)
        due = tm_sooner(due, thread->now + REST);
    tend_by(thread, member, due);
}

/* Whether its end has come, or begun. */
static bool has_ended(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    int in_error = conn->in.error, out_error = conn->out.error;
    bool answers_first = in_error == TCPMSG_EOF && conn->out.unattended && !out_error;
    if (in_error == TCPMSG_ECANCELED || out_error == TCPMSG_ECANCELED) {
        tm_member_finish(thread, member, TCPMSG_ECANCELED);
    } else if (conn->closing) {
        tm_member_end(thread, member, 0);
    } else if (in_error && !answers_first) {
        tm_member_end(thread, member, in_error == TCPMSG_EOF && out_error ? out_error : in_error);
    } else if (out_error && member->paused) {
        tm_member_finish(thread, member, out_error);
    } else if (tm_member_is_stalled(thread, member)) {
        tm_member_end(thread, member, TCPMSG_ESTALLED);
    } else {
        return false;
    }
    return true;
}

void tm_member_starve(tm_thread *thread, tm_member *member)
{
    tm_link_move(&thread->starved, &member->link);
    tend_by(thread, member, thread->now + STARVE); /* without a timer it would ask at once */
    tm_member_attend(member);
}

void tm_member_feed(tm_thread *thread, tm_member *member)
{
    member->starved = false;
    tm_link_move(&thread->members, &member->link);
}

/* What had come before the reset, and then its end, whatever it takes. */
static void read_last(tm_thread *thread, tm_member *member)
{
    if (member->starved)
        tm_member_feed(thread, member);
    tm_member_read(thread, member);
    tm_member_attend(member); /* a poller need not tell that nothing is left */
}

static void tend_open(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    enum tm_push left = push(thread, member);
    drain(thread, member);
    if (member->hung)
        look_at_hangup(thread, member);
    if (member->held && tm_member_may_deliver(member))
        tm_member_deliver_held(thread, member);
    else if (conn->out.error && !conn->in.error && tm_member_may_deliver(member))
        read_last(thread, member);
    if (!has_ended(thread, member))
        watch(thread, member, left);
}

void tm_member_join(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    const tcpmsg_callbacks *callbacks = &member->service->callbacks;
    member->stage = TM_OPEN;
    tm_member_is_active(thread, member);
    member->held = tm_buffer_len(&conn->in.buffer) > 0;
    member->source.watch = (tm_watch){.fd = conn->fd};
    tm_held_change(thread, tm_buffer_held(&conn->in.buffer));
    tm_counter_add(&thread->stats.opened, 1);
    tm_link_move(&thread->members, &member->link);
    int r = tm_thread_watch(thread, &member->source, member->held ? 0 : POLLIN);
    if (callbacks->on_open)
        callbacks->on_open(conn, member->service->arg);
    if (r < 0) {
        tm_conn_tell_plainly(conn, TCPMSG_LOG_WARNING, "the loop can't watch one more connection");
        tm_member_finish(thread, member, tm_error_from_errno(-r));
    } else if (thread->stopping) {
        tm_member_end(thread, member, TCPMSG_ECANCELED);
    } else {
        tend_open(thread, member);
    }
}

void tm_member_tend(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    if (member->stage == TM_OVER) { /* somebody had asked before it was */
        tcpmsg_conn_unref(conn);
        return;
    }
    tm_mutex_lock(&conn->out.lock);
    conn->out.attended = false;
    tm_mutex_unlock(&conn->out.lock);
    if (member->starved && !tm_timer_is_set(&member->source.timer))
        tm_member_feed(thread, member);
    if (member->stage == TM_OPEN)
        tend_open(thread, member);
    else if (member->stage == TM_JOINING && conn->awaits_client)
        tm_meet_step(thread, member);
    else if (member->stage == TM_JOINING)
        tm_member_join(thread, member);
    else if (member->stage == TM_DIALING)
        tm_dial_step(thread, member);
    else
        tm_member_tend_ending(thread, member);
}
