/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "looper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the callbacks get: whose they are, and what to do in them. */
struct desk {
    struct looper *looper;
    const struct acts *acts;
    struct desk *next;
};

const struct acts nothing;

int seen_send(struct seen *seen, const void *message, size_t length, int flags)
{
    int result = tcpmsg_send(seen->conn, message, length, flags);
    if (result != 0) {
        atomic_store(&seen->last, result);
        atomic_fetch_add(&seen->refused, 1);
    }
    return result;
}

static void echo_message(struct seen *seen, const void *message, size_t length)
{
    (void)seen_send(seen, message, length, 0);
}

const struct acts echo = {.on_message = echo_message};

void looper_fault(struct looper *looper, const char *text)
{
    pthread_mutex_lock(&looper->lock);
    if (atomic_fetch_add(&looper->faults, 1) == 0)
        snprintf(looper->fault, sizeof looper->fault, "%s", text);
    pthread_mutex_unlock(&looper->lock);
}

static struct seen *see(struct desk *desk, tcpmsg_conn *conn)
{
    struct seen *seen = calloc(1, sizeof *seen);
    if (!seen)
        abort();
    seen->looper = desk->looper;
    seen->acts = desk->acts;
    seen->desk = desk;
    seen->conn = conn;
    seen->thread = pthread_self();
    tcpmsg_conn_set_data(conn, seen);
    return seen;
}

/* From now on the test knows of it. */
static void show(struct seen *seen)
{
    struct looper *looper = seen->looper;
    pthread_mutex_lock(&looper->lock);
    int number = atomic_load(&looper->count);
    if (number == LOOPER_MOST)
        abort();
    looper->seen[number] = seen;
    atomic_store(&looper->count, number + 1);
    pthread_mutex_unlock(&looper->lock);
}

/* A callback of a connection that is open; NULL when there can be none. */
static struct seen *enter(tcpmsg_conn *conn, struct desk *desk)
{
    struct seen *seen = tcpmsg_conn_data(conn);
    if (!seen) {
        looper_fault(desk->looper, "a callback before on_open");
        return NULL;
    }
    if (atomic_exchange(&seen->inside, 1) != 0)
        looper_fault(desk->looper, "two callbacks of one connection at once");
    if (seen->desk != desk || seen->conn != conn)
        looper_fault(desk->looper, "a callback with another's arg");
    if (!pthread_equal(seen->thread, pthread_self()))
        looper_fault(desk->looper, "a callback on another thread");
    if (atomic_load(&seen->closes) > 0)
        looper_fault(desk->looper, "a callback after on_close");
    return seen;
}

static void leave(struct seen *seen)
{
    atomic_store(&seen->inside, 0);
}

static void on_open(tcpmsg_conn *conn, void *arg)
{
    struct desk *desk = arg;
    if (tcpmsg_conn_data(conn))
        looper_fault(desk->looper, "on_open twice");
    struct seen *seen = see(desk, conn);
    atomic_store(&seen->inside, 1);
    atomic_fetch_add(&seen->opens, 1);
    show(seen);
    if (seen->acts->on_open)
        seen->acts->on_open(seen);
    leave(seen);
}

static void on_message(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    struct desk *desk = arg;
    struct seen *seen = enter(conn, desk);
    if (!seen)
        return;
    if (!message)
        looper_fault(desk->looper, "a message that is NULL");
    if (!desk->looper->forgetful)
        wire_add_message(&seen->got, NULL, message, length);
    atomic_fetch_add(&seen->bytes, length);
    atomic_fetch_add(&seen->messages, 1);
    if (seen->acts->on_message)
        seen->acts->on_message(seen, message, length);
    leave(seen);
}

static void on_drain(tcpmsg_conn *conn, void *arg)
{
    struct seen *seen = enter(conn, arg);
    if (!seen)
        return;
    atomic_fetch_add(&seen->drains, 1);
    if (seen->acts->on_drain)
        seen->acts->on_drain(seen);
    leave(seen);
}

/* Whether an end must have a story: those that are not our own doing must. */
static bool needs_story(const struct seen *seen, int why)
{
    return why != 0 && why != TCPMSG_ECANCELED && (why != TCPMSG_ETIMEDOUT || seen->opens == 0);
}

static void on_close(tcpmsg_conn *conn, int why, void *arg)
{
    struct desk *desk = arg;
    bool alone = !tcpmsg_conn_data(conn);
    if (alone)
        see(desk, conn);
    struct seen *seen = enter(conn, desk);
    seen->why = why;
    snprintf(seen->story, sizeof seen->story, "%s", tcpmsg_conn_why(conn));
    if (needs_story(seen, why) && seen->story[0] == '\0')
        looper_fault(desk->looper, "an end without a story");
    if (why > 0)
        looper_fault(desk->looper, "a why above 0");
    if (seen->acts->on_close)
        seen->acts->on_close(seen);
    leave(seen);
    atomic_fetch_add(&seen->closes, 1);
    if (alone)
        show(seen);
}

static const tcpmsg_callbacks callbacks = {
    .size = sizeof callbacks,
    .on_open = on_open,
    .on_message = on_message,
    .on_drain = on_drain,
    .on_close = on_close,
};

static int chosen_poller(void)
{
    const char *name = getenv("TESTS_POLLER");
    if (!name || !*name)
        return 0;
    if (strcmp(name, "kqueue") == 0)
        return TCPMSG_POLLER_KQUEUE;
    return strcmp(name, "poll") == 0 ? TCPMSG_POLLER_POLL : TCPMSG_POLLER_EPOLL;
}

struct looper *looper_open(const tcpmsg_loop_options *options)
{
    tcpmsg_loop_options mine = options ? *options : (tcpmsg_loop_options){0};
    struct looper *looper = calloc(1, sizeof *looper);
    assert_non_null(looper);
    assert_int_equal(pthread_mutex_init(&looper->lock, NULL), 0);
    mine.size = sizeof mine;
    if (mine.poller == 0)
        mine.poller = chosen_poller();
    assert_int_equal(tcpmsg_loop_open(&looper->loop, &mine), 0);
    return looper;
}

static struct desk *desk_for(struct looper *looper, const struct acts *acts)
{
    struct desk *desk = calloc(1, sizeof *desk);
    if (!desk)
        abort();
    desk->looper = looper;
    desk->acts = acts ? acts : &nothing;
    pthread_mutex_lock(&looper->lock);
    desk->next = looper->desks;
    looper->desks = desk;
    pthread_mutex_unlock(&looper->lock);
    return desk;
}

void looper_listen(struct looper *looper, enum transport transport, const struct acts *acts,
                   const tcpmsg_options *options)
{
    tcpmsg_listener *listener;
    char address[TCPMSG_ADDRESS_MAX] = "127.0.0.1:0";
    if (transport == UNIX) {
        make_temp_dir(looper->folder);
        snprintf(address, sizeof address, "unix:%s/door", looper->folder);
    }
    assert_int_equal(tcpmsg_listen(&listener, address, options), 0);
    assert_int_equal(tcpmsg_listener_address(listener, looper->address, sizeof address), 0);
    struct desk *desk = desk_for(looper, acts);
    assert_int_equal(tcpmsg_loop_listen(looper->loop, listener, &callbacks, desk), 0);
}

static void *run(void *arg)
{
    struct looper *looper = arg;
    looper->home = pthread_self();
    looper->answer = tcpmsg_loop_run(looper->loop);
    return NULL;
}

void looper_start(struct looper *looper)
{
    assert_int_equal(pthread_create(&looper->thread, NULL, run, looper), 0);
    looper->started = true;
}

struct looper *looper_serve(enum transport transport, const struct acts *acts,
                            const tcpmsg_loop_options *loop_options, const tcpmsg_options *options)
{
    struct looper *looper = looper_open(loop_options);
    looper_listen(looper, transport, acts, options);
    looper_start(looper);
    return looper;
}

int looper_dial(struct looper *looper, const char *address, const tcpmsg_options *options,
                const struct acts *acts)
{
    struct desk *desk = desk_for(looper, acts);
    return tcpmsg_loop_dial(looper->loop, address, options, &callbacks, desk);
}

int looper_add(struct looper *looper, tcpmsg_conn *conn, const struct acts *acts)
{
    struct desk *desk = desk_for(looper, acts);
    return tcpmsg_loop_add(looper->loop, conn, &callbacks, desk);
}

void looper_stop(struct looper *looper)
{
    tcpmsg_loop_stop(looper->loop);
    if (!looper->started || looper->joined)
        return;
    assert_int_equal(pthread_join(looper->thread, NULL), 0);
    looper->joined = true;
    assert_int_equal(looper->answer, 0);
}

static void check(struct looper *looper)
{
    if (atomic_load(&looper->faults) > 0)
        fail_msg("%d faults: %s", atomic_load(&looper->faults), looper->fault);
    for (int i = 0; i < atomic_load(&looper->count); i++) {
        assert_true(atomic_load(&looper->seen[i]->opens) <= 1);
        assert_int_equal(atomic_load(&looper->seen[i]->closes), 1);
    }
}

void looper_finish(struct looper *looper)
{
    looper_stop(looper);
    tcpmsg_loop_close(looper->loop);
    check(looper);
    for (int i = 0; i < atomic_load(&looper->count); i++) {
        wire_free(&looper->seen[i]->got);
        free(looper->seen[i]);
    }
    for (struct desk *desk = looper->desks, *next; desk; desk = next) {
        next = desk->next;
        free(desk);
    }
    if (looper->folder[0])
        remove_temp_dir(looper->folder);
    pthread_mutex_destroy(&looper->lock);
    free(looper);
}

static void stand_still(void *arg)
{
    struct looper *looper = arg;
    int64_t deadline = now_ms() + 2 * WAIT_MS;
    atomic_store(&looper->holding, 1);
    while (!atomic_load(&looper->let_go) && now_ms() < deadline)
        sleep_ms(1);
    atomic_store(&looper->holding, 0);
}

static bool moves(void *arg)
{
    return atomic_load(&((struct looper *)arg)->holding) == 0;
}

void looper_hold(struct looper *looper)
{
    atomic_store(&looper->let_go, 0);
    assert_int_equal(tcpmsg_loop_post(looper->loop, stand_still, looper), 0);
    assert_true(reaches(&looper->holding, 1));
}

void looper_go_on(struct looper *looper)
{
    atomic_store(&looper->let_go, 1);
    assert_true(eventually(moves, looper));
}

void looper_settle(struct looper *looper)
{
    for (int i = 0; i < 2; i++) {
        looper_hold(looper);
        looper_go_on(looper);
    }
}

struct at_least {
    atomic_int *number;
    int count;
};

static bool is_reached(void *arg)
{
    struct at_least *wanted = arg;
    return atomic_load(wanted->number) >= wanted->count;
}

bool reaches(atomic_int *number, int count)
{
    return eventually(is_reached, &(struct at_least){number, count});
}

struct seen *looper_seen(struct looper *looper, int number)
{
    assert_true(reaches(&looper->count, number + 1));
    pthread_mutex_lock(&looper->lock);
    struct seen *seen = looper->seen[number];
    pthread_mutex_unlock(&looper->lock);
    return seen;
}

void seen_messages(struct seen *seen, int count)
{
    if (!reaches(&seen->messages, count))
        fail_msg("%d messages instead of %d", atomic_load(&seen->messages), count);
}

int seen_end(struct seen *seen)
{
    assert_true(reaches(&seen->closes, 1));
    return seen->why;
}
