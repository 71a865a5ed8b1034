/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "probe.h"
#include "socket.h"

/* How many events one pass takes up: with as many connections the caches still help. */
#define READY_MOST 128

/* How often memory goes back that nobody has needed for so long. */
#define TRIM (1000 * TM_MS)

/* A rest when the poller itself fails. */
#define REST (50 * TM_MS)

static void wake_ready(tm_thread *thread, tm_source *source, short events)
{
    (void)source;
    (void)events;
    tm_wake_clear(&thread->wake);
}

static const tm_source_kind wake_kind = {.ready = wake_ready};

/* While there is work the pool keeps what it takes; a while after the last there is nothing. */
static void trim_expired(tm_thread *thread, tm_source *source)
{
    (void)source;
    tm_pool_trim(&thread->keeper.pool);
}

static const tm_source_kind trim_kind = {.expired = trim_expired};

static const tm_source_kind *const kinds[] = {
    [TM_MEMBER] = &tm_member_kind,
    [TM_DOOR] = &tm_door_kind,
    [TM_DOOR_ABORT] = &tm_door_abort_kind,
    [TM_ATTEMPT] = &tm_attempt_kind,
    [TM_LATER] = &tm_later_kind,
    [TM_WAKE] = &wake_kind,
    [TM_TRIM] = &trim_kind,
};

static void see_to_trim(tm_thread *thread)
{
    if (!tm_timer_is_set(&thread->trim.timer) && !tm_pool_is_empty(&thread->keeper.pool))
        tm_timers_set(&thread->timers, &thread->trim.timer, thread->now + TRIM);
}

bool tm_thread_is_here(const tcpmsg_conn *conn)
{
    const tm_thread *thread = tm_thread_of(conn);
    return atomic_load_explicit(&thread->runs, memory_order_acquire) &&
           pthread_equal(atomic_load_explicit(&thread->id, memory_order_relaxed), pthread_self());
}

int tm_thread_open(tm_thread *thread, tcpmsg_loop *loop, int poller)
{
    thread->keeper.attend = tm_thread_attend;
    thread->keeper.is_here = tm_thread_is_here;
    thread->keeper.high_water = loop->high_water;
    thread->keeper.hold_most = loop->high_water < TM_FEW_BYTES ? loop->high_water : TM_FEW_BYTES;
    thread->loop = loop;
    thread->wake = TM_WAKE_CLOSED;
    tm_link_init(&thread->members);
    tm_link_init(&thread->starved);
    tm_timers_init(&thread->timers, tm_now());
    if (tm_mutex_init(&thread->lock) < 0 || tm_pool_init(&thread->keeper.pool) < 0)
        return TCPMSG_ENOMEM;
    thread->shared = malloc(TM_SHARED);
    if (!thread->shared)
        return TCPMSG_ENOMEM;
    int r = tm_poller_open(&thread->poller, poller);
    if (r == -ENOSYS)
        return TCPMSG_EINVAL;
    if (r == 0)
        r = tm_wake_open(&thread->wake);
    thread->trim.kind = TM_TRIM;
    thread->wake_source = (tm_source){.watch = {.fd = thread->wake.read_fd}, .kind = TM_WAKE};
    if (r == 0)
        r = tm_thread_watch(thread, &thread->wake_source, POLLIN);
    return r == 0 ? 0 : tm_error_from_errno(-r);
}

void tm_thread_close(tm_thread *thread)
{
    if (thread->poller)
        tm_poller_close(thread->poller);
    tm_wake_close(&thread->wake);
    tm_pool_free(&thread->keeper.pool);
    free(thread->shared);
    tm_mutex_destroy(&thread->lock);
}

int tm_thread_watch(tm_thread *thread, tm_source *source, short events)
{
    return tm_poller_set(thread->poller, &source->watch, events);
}

static void add(tcpmsg_conn **first, tcpmsg_conn **last, tcpmsg_conn *conn)
{
    tm_member_of(conn)->next = NULL;
    if (*first)
        tm_member_of(*last)->next = conn;
    else
        *first = conn;
    *last = conn;
}

void tm_thread_nudge(tm_thread *thread)
{
    if (!thread->signalled)
        tm_wake_signal(&thread->wake);
    thread->signalled = true;
}

void tm_thread_attend(tcpmsg_conn *conn)
{
    tm_thread *thread = tm_thread_of(conn);
    if (tm_thread_is_here(conn)) {
        add(&thread->first, &thread->last, conn);
        return;
    }
    tm_mutex_lock(&thread->lock);
    add(&thread->inbox_first, &thread->inbox_last, conn);
    tm_thread_nudge(thread);
    tm_mutex_unlock(&thread->lock);
}

static void begin_stop(tm_thread *thread)
{
    thread->stopping = true;
    tm_budget_wake(thread);
    for (tm_link *link = thread->members.next; link != &thread->members;) {
        tm_member *member = tm_member_at(link);
        link = link->next;
        tm_member_end(thread, member, TCPMSG_ECANCELED);
    }
}

/* The first thread alone sees that the loop is to stop, and tells the others. */
static void spread_stop(tcpmsg_loop *loop)
{
    tm_mutex_lock(&loop->lock);
    loop->refuses = true;
    tm_mutex_unlock(&loop->lock);
    tm_doors_close(loop);
    for (int i = 0; i < loop->thread_count; i++) {
        tm_thread *thread = &loop->threads[i];
        tm_mutex_lock(&thread->lock);
        thread->stop_asked = true;
        tm_thread_nudge(thread);
        tm_mutex_unlock(&thread->lock);
    }
}

/* Takes over what other threads left. */
static void take_inbox(tm_thread *thread)
{
    tm_mutex_lock(&thread->lock);
    thread->signalled = false;
    bool stop = thread->stop_asked && !thread->stopping;
    tcpmsg_conn *first = thread->inbox_first, *last = thread->inbox_last;
    thread->inbox_first = NULL;
    tm_mutex_unlock(&thread->lock);
    if (first) {
        if (thread->first)
            tm_member_of(thread->last)->next = first;
        else
            thread->first = first;
        thread->last = last;
    }
    if (stop)
        begin_stop(thread);
}

/* Who asks for attention meanwhile has it in the next pass. */
static void attend_all(tm_thread *thread)
{
    tcpmsg_conn *conn = thread->first;
    thread->first = NULL;
    while (conn) {
        tm_member *member = tm_member_of(conn);
        conn = member->next;
        tm_member_tend(thread, member);
    }
}

/* Polls without sleeping for as long as the loop is to spin. */
static int wait_spinning(tm_thread *thread, tm_ready *ready)
{
    int64_t until = tm_sooner(thread->now + thread->loop->spin_us * INT64_C(1000),
                              tm_timers_next(&thread->timers));
    int n;
    do
        n = tm_poller_wait(thread->poller, ready, READY_MOST, 0);
    while (n == 0 && tm_now() < until);
    return n;
}

static void pass(tm_thread *thread)
{
    tm_ready ready[READY_MOST];
    int n = 0;
    if (!thread->first && thread->loop->spin_us > 0)
        n = wait_spinning(thread, ready);
    int64_t until = thread->first ? 0 : tm_timers_next(&thread->timers);
    if (n == 0)
        n = tm_poller_wait(thread->poller, ready, READY_MOST, until);
    if (n < 0) /* no memory, say */
        tm_socket_wait(NULL, 0, tm_sooner(until, tm_now() + REST));
    thread->now = tm_now();
    TM_PROBE(pass, thread->loop, n);
    for (int i = 0; i < n; i++) {
        tm_source *source = (tm_source *)ready[i].watch; /* its first member */
        if (source->watch.watched)
            kinds[source->kind]->ready(thread, source, ready[i].events);
    }
    take_inbox(thread);
    if (thread == thread->loop->threads)
        tm_loop_run_calls(thread);
    tm_timer *timer;
    while ((timer = tm_timers_take(&thread->timers, thread->now))) {
        tm_source *source = (tm_source *)((char *)timer - offsetof(tm_source, timer));
        kinds[source->kind]->expired(thread, source);
    }
    attend_all(thread);
    see_to_trim(thread);
}

static bool is_done(tm_thread *thread)
{
    return thread->stopping && !thread->first && thread->count == 0;
}

void tm_thread_run(tm_thread *thread)
{
    tcpmsg_loop *loop = thread->loop;
    bool first = thread == loop->threads, spread = false;
    atomic_store_explicit(&thread->id, pthread_self(), memory_order_relaxed);
    atomic_store_explicit(&thread->runs, true, memory_order_release);
    take_inbox(thread); /* what came before the run needs no signal */
    while (!is_done(thread)) {
        if (first && loop->stop && !spread) {
            spread = true;
            spread_stop(loop);
        }
        pass(thread);
        if (first && atomic_exchange(&loop->doors_wait, false))
            tm_doors_reopen(loop);
    }
    atomic_store_explicit(&thread->runs, false, memory_order_release);
}
