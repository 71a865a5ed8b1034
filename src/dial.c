/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include <tcpmsg/conn.h>

#include "address.h"
#include "clock.h"
#include "conn.h"
#include "error.h"
#include "race.h"
#include "resolve.h"
#include "settings.h"
#include "socket.h"

#define STORY_MOST 1024

static int run_race(tm_race *race, int64_t deadline, int *fd, tm_sockaddr *peer)
{
    for (;;) {
        int r = tm_race_step(race, fd, peer);
        if (r != 0)
            return r < 0 ? r : 0;
        if (tm_passed(deadline)) {
            tm_story_add(race->story, ", no answer in time");
            return TCPMSG_ETIMEDOUT;
        }
        tm_socket_wait(race->fds, race->open, tm_sooner(deadline, race->next_start));
    }
}

static int dial_tcp(const tm_address *address, const char *text, int64_t deadline, int *fd,
                    tm_sockaddr *peer, tm_story *story)
{
    tm_addresses addresses;
    tm_race race;
    if (address->port == 0) {
        tm_story_tell(story, "\"%.200s\" is not an address to dial: port 0 is nobody's", text);
        return TCPMSG_EADDRESS;
    }
    int r = tm_resolve(&addresses, address, false, deadline, story);
    if (r < 0)
        return r;
    tm_story_tell(story, "can't connect to %.200s", text);
    r = tm_race_begin(&race, addresses, text, story);
    if (r < 0)
        return r;
    r = run_race(&race, deadline, fd, peer);
    tm_race_end(&race);
    return r;
}

static int dial_unix(const tm_sockaddr *address, const char *text, int64_t deadline, int *fd,
                     tm_story *story)
{
    int r = tm_socket_dial_unix(address, deadline);
    if (r >= 0) {
        *fd = r;
        return 0;
    }
    tm_story_tell(story, "can't connect to %.200s: %s", text, strerror(-r));
    switch (-r) {
    case ETIMEDOUT:
        return TCPMSG_ETIMEDOUT;
    case ENOTDIR:
    case ENOTSOCK:
    case EPROTOTYPE:
        return TCPMSG_EREFUSED; /* no stream socket listens there, whatever it is */
    default:
        return tm_error_from_errno(-r);
    }
}

static int dial(tcpmsg_conn *conn, const char *text, tm_story *story)
{
    tm_address address;
    int fd = -1;
    int64_t deadline = tm_deadline(conn->settings->connect_timeout_ms);
    int r = tm_address_parse(&address, text, story);
    if (r < 0)
        return r;
    tm_sockaddr peer = address.local;
    switch (address.kind) {
    case TM_ADDRESS_TCP:
        r = dial_tcp(&address, text, deadline, &fd, &peer, story);
        break;
    case TM_ADDRESS_UNIX:
        r = dial_unix(&address.local, text, deadline, &fd, story);
        break;
    default:
        tm_story_tell(story, "\"%.200s\" is an address to listen at only", text);
        r = TCPMSG_EADDRESS;
    }
    if (r == 0)
        tm_conn_own(conn, fd, &peer);
    return r;
}

static int make_and_dial(tcpmsg_conn **out, const char *text, tm_settings *settings,
                         tm_story *story)
{
    tcpmsg_conn *conn = tm_conn_make(settings);
    if (!conn)
        return TCPMSG_ENOMEM;
    int r = dial(conn, text, story);
    if (r < 0)
        tm_conn_free(conn);
    else
        *out = conn;
    return r;
}

int tcpmsg_dial(tcpmsg_conn **out, const char *address, const tcpmsg_options *options)
{
    tm_settings *settings;
    tm_story story;
    if (!out || !address)
        return TCPMSG_EINVAL;
    int r = tm_settings_make(&settings, options, &story);
    if (r < 0)
        return r;
    /* Attempts that fail on the way to a dial that succeeds are no story for the caller. */
    char text[STORY_MOST];
    tm_story attempts = {.text = text, .size = sizeof text};
    r = make_and_dial(out, address, settings, &attempts);
    if (r < 0)
        tm_story_tell(&story, "%s", attempts.len > 0 ? text : tcpmsg_strerror(r));
    tm_settings_unref(settings);
    return r;
}
