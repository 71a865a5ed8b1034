/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <stdlib.h>

#include "dialer.h"
#include "error.h"
#include "settings.h"
#include "socket.h"

/* So many attempts are watched; of more the next look tells. */
#define WATCHED_MOST 8
#define LOOK (20 * TM_MS)

typedef struct tm_attempt {
    tm_source source;
    tcpmsg_conn *conn;
} tm_attempt;

typedef struct tm_dial {
    tm_dialer dialer;
    tm_attempt attempts[WATCHED_MOST];
    int watched;
} tm_dial;

static void attempt_ready(tm_thread *thread, tm_source *source, short events)
{
    (void)thread;
    (void)events;
    tm_member_attend(tm_member_of(((tm_attempt *)source)->conn)); /* its first member */
}

const tm_source_kind tm_attempt_kind = {.ready = attempt_ready};

/* In the thread of the look-up. */
static void looked_up(void *arg)
{
    tm_member_attend(tm_member_of(arg));
}

static void stop_watching(tm_thread *thread, tm_dial *dial)
{
    for (; dial->watched > 0; dial->watched--)
        tm_poller_drop(thread->poller, &dial->attempts[dial->watched - 1].source.watch);
}

static void start_watching(tm_thread *thread, tm_member *member)
{
    tm_dial *dial = member->u.dial;
    size_t count;
    const struct pollfd *fds = tm_dialer_fds(&dial->dialer, &count);
    int64_t next = tm_dialer_next(&dial->dialer);
    bool all = true;
    for (size_t i = 0; i < count; i++) {
        if (dial->watched == WATCHED_MOST) {
            all = false;
            break;
        }
        tm_attempt *attempt = &dial->attempts[dial->watched++];
        *attempt = (tm_attempt){.source = {.watch = {.fd = fds[i].fd}, .kind = TM_ATTEMPT},
                                .conn = tm_conn_of(member)};
        all = tm_thread_watch(thread, &attempt->source, fds[i].events) == 0 && all;
    }
    if (!all)
        next = tm_sooner(next, tm_now() + LOOK);
    tm_timers_set(&thread->timers, &member->source.timer, next);
    tm_link_move(&thread->members, &member->link);
}

void tm_dial_drop(tm_thread *thread, tm_member *member)
{
    tm_dial *dial = member->u.dial;
    stop_watching(thread, dial);
    tm_dialer_end(&dial->dialer);
    free(dial);
    member->u.dial = NULL;
}

void tm_dial_step(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    tm_dial *dial = member->u.dial;
    tm_sockaddr peer;
    size_t count;
    int fd, r;
    stop_watching(thread, dial);
    struct pollfd *fds = tm_dialer_fds(&dial->dialer, &count);
    if (count > 0)
        tm_socket_wait(fds, count, 0);
    r = tm_dialer_step(&dial->dialer, &fd, &peer);
    if (r == 0 && thread->stopping) {
        tm_member_end(thread, member, TCPMSG_ECANCELED);
    } else if (r == 0) {
        start_watching(thread, member);
    } else if (r < 0) {
        tm_conn_tell(conn, "%s", tm_dialer_story(&dial->dialer));
        tm_dial_drop(thread, member);
        tm_member_finish(thread, member, r);
    } else {
        tm_conn_own(conn, fd, &peer);
        tm_dialer_log(&dial->dialer, conn, r);
        tm_dial_drop(thread, member);
        tm_timers_stop(&thread->timers, &member->source.timer);
        tm_member_join(thread, member);
    }
}

/* Takes a reference of its own to the service, and one to the settings. */
static int begin(tcpmsg_loop *loop, const char *address, tm_settings *settings, tm_service *service,
                 tm_story *story)
{
    tm_dial *dial = calloc(1, sizeof *dial);
    tcpmsg_conn *conn = tm_conn_make_kept(settings, &tm_loop_lightest(loop)->keeper, true);
    int r = TCPMSG_ENOMEM;
    if (!dial || !conn)
        goto fail;
    r = tm_dialer_begin(&dial->dialer, address, settings, looked_up, conn);
    if (r < 0) {
        tm_story_tell(story, "%s", tm_dialer_story(&dial->dialer));
        tm_dialer_log(&dial->dialer, NULL, r);
        goto fail;
    }
    tm_member_of(conn)->u.dial = dial;
    r = tm_loop_take(loop, conn, service, TM_DIALING);
    if (r == 0)
        return 0;
    tm_dialer_end(&dial->dialer);

fail:
    if (conn)
        tm_conn_free(conn);
    free(dial);
    return r;
}

int tcpmsg_loop_dial(tcpmsg_loop *loop, const char *address, const tcpmsg_options *options,
                     const tcpmsg_callbacks *callbacks, void *arg)
{
    tm_settings *settings;
    tm_service *service;
    tm_story story;
    if (!loop || !address)
        return TCPMSG_EINVAL;
    int r = tm_settings_make(&settings, options, &story);
    if (r < 0)
        return r;
    r = tm_service_make(&service, callbacks, arg);
    if (r == 0) {
        r = begin(loop, address, settings, service, &story);
        tm_service_unref(service);
    }
    if (r < 0 && story.len == 0)
        tm_story_tell(&story, "%s", tcpmsg_strerror(r));
    tm_settings_unref(settings);
    return r;
}
