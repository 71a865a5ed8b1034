/* SPDX-License-Identifier: MIT */
#include "dialer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "log.h"
#include "socket.h"

/* Between two tries of a Unix connect: the first pause, and what doubling it leads to. */
#define FIRST_PAUSE (1 * TM_MS)
#define LONGEST_PAUSE (20 * TM_MS)

/* An answer on its way out: no error without a story. */
static int answer(tm_dialer *dialer, int r)
{
    dialer->failed = r < 0;
    if (r < 0 && dialer->story.len == 0)
        tm_story_tell(&dialer->story, "%s", tcpmsg_strerror(r));
    return r;
}

static int check(tm_dialer *dialer)
{
    const tm_address *address = &dialer->address;
    if (address->kind == TM_ADDRESS_FD)
        tm_story_tell(&dialer->story, "\"%s\" is an address to listen at only", dialer->text);
    else if (address->kind == TM_ADDRESS_TCP && address->port == 0)
        tm_story_tell(&dialer->story, "\"%s\" is not an address to dial: port 0 is nobody's",
                      dialer->text);
    else
        return 0;
    return TCPMSG_EADDRESS;
}

int tm_dialer_begin(tm_dialer *dialer, const char *text, const tm_settings *settings,
                    tm_dial_notify *notify, void *arg)
{
    *dialer = (tm_dialer){
        .settings = settings,
        .deadline = tm_deadline(settings->connect_timeout_ms),
        .notify = notify,
        .arg = arg,
        .fd = -1,
    };
    dialer->story = (tm_story){.text = dialer->told, .size = sizeof dialer->told};
    memcpy(dialer->text, text, strnlen(text, TM_DIALED_MOST)); /* the NUL is there */
    int r = tm_address_parse(&dialer->address, text, &dialer->story);
    return answer(dialer, r < 0 ? r : check(dialer));
}

void tm_dialer_end(tm_dialer *dialer)
{
    tm_lookup_end(dialer->lookup);
    dialer->lookup = NULL;
    tm_race_end(&dialer->race);
    tm_socket_close(dialer->fd);
    dialer->fd = -1;
}

static int list_known(const tm_dialer *dialer, tm_addresses *found)
{
    *found = (tm_addresses){calloc(1, sizeof *found->list), 1};
    if (!found->list)
        return TCPMSG_ENOMEM;
    *found->list = dialer->address.known;
    return 1;
}

/* 1: *found are the host's addresses, 0: still under way. */
static int look_up(tm_dialer *dialer, tm_addresses *found)
{
    int r = 0;
    if (dialer->address.known.length > 0)
        return list_known(dialer, found);
    if (!dialer->lookup)
        r = tm_lookup_begin(&dialer->lookup, &dialer->address, false, dialer->deadline,
                            dialer->notify, dialer->arg);
    if (r == 0)
        r = tm_lookup_step(dialer->lookup, found, &dialer->story);
    if (r > 0) {
        tm_lookup_end(dialer->lookup);
        dialer->lookup = NULL;
    }
    return r;
}

/* From the host to a race between its addresses; 1: it has begun, 0: still under way. */
static int resolve(tm_dialer *dialer)
{
    tm_addresses found;
    int r = look_up(dialer, &found);
    if (r <= 0)
        return r;
    r = tm_race_begin(&dialer->race, found, dialer->settings, dialer->text, &dialer->story);
    return r < 0 ? r : 1;
}

static int step_tcp(tm_dialer *dialer, int *fd, tm_sockaddr *peer)
{
    int r = dialer->race.fds ? 1 : resolve(dialer);
    if (r <= 0)
        return r;
    r = tm_race_step(&dialer->race, fd, peer);
    if (r != 0 || !tm_passed(dialer->deadline))
        return r;
    tm_race_begin_story(&dialer->race);
    tm_story_add(&dialer->story, ", no answer in time");
    return TCPMSG_ETIMEDOUT;
}

static int fail_unix(tm_dialer *dialer, int number)
{
    char room[TM_ERRNO_TEXT_MOST];
    tm_story_tell(&dialer->story, "can't connect to %s: %s", dialer->text,
                  tm_errno_text(number, room));
    switch (number) {
    case ETIMEDOUT:
        return TCPMSG_ETIMEDOUT;
    case ENOTDIR:
    case ENOTSOCK:
    case EPROTOTYPE:
        return TCPMSG_EREFUSED; /* no stream socket listens there, whatever it is */
    default:
        return tm_error_from_errno(number);
    }
}

/*
 * Linux refuses a Unix connect with EAGAIN while the listener's queue is full, and poll(2) can't
 * wait for room in it: only another try tells. It also tells how one in the background went.
 */
static int try_unix(tm_dialer *dialer)
{
    if (dialer->fd < 0)
        dialer->fd = tm_socket_open(AF_UNIX);
    int r = dialer->fd;
    if (r >= 0)
        r = tm_socket_connect(dialer->fd, &dialer->address.known);
    switch (r) {
    case 0:
    case -EISCONN:
        return 1;
    case -EAGAIN:
    case -EINPROGRESS:
        return tm_passed(dialer->deadline) ? fail_unix(dialer, ETIMEDOUT) : 0;
    default:
        return fail_unix(dialer, -r);
    }
}

static int step_unix(tm_dialer *dialer, int *fd, tm_sockaddr *peer)
{
    if (tm_now() < tm_dialer_next(dialer))
        return 0;
    int r = try_unix(dialer);
    if (r == 0) {
        int64_t pause = dialer->pause == 0 ? FIRST_PAUSE : 2 * dialer->pause;
        dialer->pause = tm_sooner(pause, LONGEST_PAUSE);
        dialer->next_try = tm_now() + dialer->pause;
    } else if (r > 0) {
        *fd = dialer->fd;
        *peer = dialer->address.known;
        dialer->fd = -1;
    }
    return r;
}

int tm_dialer_step(tm_dialer *dialer, int *fd, tm_sockaddr *peer)
{
    bool tcp = dialer->address.kind == TM_ADDRESS_TCP;
    return answer(dialer, tcp ? step_tcp(dialer, fd, peer) : step_unix(dialer, fd, peer));
}

struct pollfd *tm_dialer_fds(tm_dialer *dialer, size_t *count)
{
    *count = dialer->race.open;
    return dialer->race.fds;
}

int64_t tm_dialer_next(const tm_dialer *dialer)
{
    if (dialer->lookup)
        return dialer->deadline;
    /* Nothing has begun: both are 0, which is now. */
    return tm_sooner(dialer->deadline,
                     dialer->race.fds ? dialer->race.next_start : dialer->next_try);
}

void tm_dialer_wait(tm_dialer *dialer)
{
    if (dialer->lookup)
        tm_lookup_wait(dialer->lookup);
    else
        tm_socket_wait(dialer->race.fds, dialer->race.open, tm_dialer_next(dialer));
}

const char *tm_dialer_story(const tm_dialer *dialer)
{
    return dialer->failed ? dialer->told : "";
}

void tm_dialer_log(const tm_dialer *dialer, tcpmsg_conn *conn, int answer)
{
    if (answer < 0) {
        tm_log(dialer->settings, TCPMSG_LOG_WARNING, NULL, "%s", tm_dialer_story(dialer));
        return;
    }
    if (dialer->story.len > 0)
        tm_log(dialer->settings, TCPMSG_LOG_DEBUG, conn, "at first: %s", dialer->told);
    tm_conn_log_opening(conn, "connected to");
}
