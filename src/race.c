/* SPDX-License-Identifier: MIT */
#include "race.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <tcpmsg/conn.h>

#include "clock.h"
#include "error.h"
#include "socket.h"

/* RFC 8305 section 8: the Connection Attempt Delay. */
#define ATTEMPT_DELAY (250 * TM_MS)

/* RFC 8305 section 4: IPv6 first, then the families in turn, each in the system's order. */
static void interleave(tm_sockaddr *to, const tm_addresses *from)
{
    size_t next[2] = {0, 0}; /* where to look on for an IPv6 address, and for another one */
    for (size_t i = 0, turn = 0; i < from->count; turn = 1 - turn) {
        size_t at = next[turn];
        while (at < from->count && (from->list[at].u.any.sa_family == AF_INET6) != (turn == 0))
            at++;
        if (at < from->count)
            to[i++] = from->list[at++];
        next[turn] = at;
    }
}

int tm_race_begin(tm_race *race, tm_addresses addresses, const tm_settings *settings,
                  const char *asked, tm_story *story)
{
    tm_sockaddr *ordered = calloc(addresses.count, sizeof *ordered);
    *race = (tm_race){
        .addresses = {ordered, addresses.count},
        .fds = calloc(addresses.count, sizeof *race->fds),
        .attempts = calloc(addresses.count, sizeof *race->attempts),
        .settings = settings,
        .asked = asked,
        .story = story,
    };
    bool complete = ordered && race->fds && race->attempts;
    if (complete)
        interleave(ordered, &addresses);
    else
        tm_race_end(race);
    free(addresses.list);
    return complete ? 0 : TCPMSG_ENOMEM;
}

void tm_race_end(tm_race *race)
{
    for (size_t i = 0; i < race->open; i++)
        tm_socket_close(race->fds[i].fd);
    free(race->addresses.list);
    free(race->fds);
    free(race->attempts);
    *race = (tm_race){0};
}

/* Of several failures the one that says most: somebody answered, or this machine refused. */
static int weight(int error)
{
    switch (error) {
    case TCPMSG_EREFUSED:
        return 4;
    case TCPMSG_EACCESS:
    case TCPMSG_EMFILE:
    case TCPMSG_ENOMEM:
        return 3;
    case TCPMSG_ETIMEDOUT:
        return 2;
    default:
        return 1;
    }
}

void tm_race_begin_story(tm_race *race)
{
    if (race->noted == 0)
        tm_story_tell(race->story, "can't connect to %s", race->asked);
}

static int error_of(int number)
{
    switch (number) {
    case ETIMEDOUT:
        return TCPMSG_ETIMEDOUT; /* the call's clock: no connection is there yet that could stall */
    case EINVAL:
        return TCPMSG_EUNREACHABLE; /* Linux: a blackhole route, or a link-local address's scope */
    default:
        return tm_error_from_errno(number);
    }
}

static void note_failure(tm_race *race, size_t attempt, int number, const char *reason)
{
    char text[TCPMSG_ADDRESS_MAX] = "", room[TM_ERRNO_TEXT_MOST];
    int error = error_of(number);
    if (race->error == 0 || weight(error) > weight(race->error))
        race->error = error;
    tm_sockaddr_print(&race->addresses.list[attempt], text, sizeof text);
    tm_race_begin_story(race);
    tm_story_add(race->story, "%s %s", race->noted++ > 0 ? "," : ":",
                 reason ? reason : tm_errno_text(number, room));
    if (number == EINVAL)
        tm_story_add(race->story, ": no usable route there");
    if (strcmp(text, race->asked) != 0)
        tm_story_add(race->story, " (%s)", text);
    race->next_start = 0; /* RFC 8305 section 5: a failure starts the next at once */
}

/* tcp(7): a dial to a free local port can meet itself in the handshake, and would succeed. */
static bool met_itself(int fd, const tm_sockaddr *dialed)
{
    tm_sockaddr local, peer;
    return tm_socket_local(fd, &local) == 0 && tm_sockaddr_same_port(&local, dialed) &&
           tm_socket_peer(fd, &peer) == 0 && tm_sockaddr_equal(&local, &peer);
}

/* A connect has ended, well or with -errno; true when the race is won. */
static bool judge(tm_race *race, int fd, size_t attempt, int answer)
{
    bool alone = answer == 0 && met_itself(fd, &race->addresses.list[attempt]);
    if (answer == 0 && !alone)
        return true;
    if (alone)
        tm_socket_reset(fd); /* an orderly end would hold the port in TIME-WAIT */
    tm_socket_close(fd);
    if (alone)
        note_failure(race, attempt, ECONNREFUSED, "it met only itself: nobody listens");
    else
        note_failure(race, attempt, -answer, NULL);
    return false;
}

/* Starts the next address; its socket when it is connected at once, else -1. */
static int start_next(tm_race *race)
{
    size_t attempt = race->started++;
    const tm_sockaddr *address = &race->addresses.list[attempt];
    race->next_start = tm_now() + ATTEMPT_DELAY;
    int fd = tm_socket_open(address->u.any.sa_family);
    if (fd < 0) {
        note_failure(race, attempt, -fd, NULL);
        return -1;
    }
    tm_socket_tune(fd, race->settings);
    int r = tm_socket_connect(fd, address);
    if (r != -EINPROGRESS)
        return judge(race, fd, attempt, r) ? fd : -1;
    race->fds[race->open] = (struct pollfd){.fd = fd, .events = POLLOUT};
    race->attempts[race->open++] = attempt;
    return -1;
}

/*
 * How a connect went that poll(2) has something to say of. SO_ERROR alone could call a failed one
 * well: Linux can say 0 for a moment yet when a router's refusal comes in. connect(2) is sure.
 */
static int outcome(int fd, const tm_sockaddr *address)
{
    int r = tm_socket_pending_error(fd);
    if (r == 0)
        r = tm_socket_connect(fd, address);
    return r == -EISCONN ? 0 : r;
}

/* An attempt that is ready; its socket when it won, else -1: it has failed, or is under way yet. */
static int finish(tm_race *race, size_t i)
{
    int fd = race->fds[i].fd;
    size_t attempt = race->attempts[i];
    int r = outcome(fd, &race->addresses.list[attempt]);
    if (r == -EINPROGRESS)
        return -1;
    race->fds[i] = race->fds[--race->open];
    race->attempts[i] = race->attempts[race->open];
    return judge(race, fd, attempt, r) ? fd : -1;
}

int tm_race_step(tm_race *race, int *fd, tm_sockaddr *peer)
{
    int won = -1;
    for (size_t i = race->open; i-- > 0 && won < 0;)
        if (race->fds[i].revents != 0) {
            *peer = race->addresses.list[race->attempts[i]];
            won = finish(race, i);
        }
    while (won < 0 && race->started < race->addresses.count && tm_now() >= race->next_start) {
        *peer = race->addresses.list[race->started];
        won = start_next(race);
    }
    if (race->started == race->addresses.count)
        race->next_start = TM_FOREVER;
    *fd = won;
    if (won >= 0)
        return 1;
    return race->open > 0 ? 0 : race->error; /* where none is, all have failed */
}
