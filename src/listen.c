/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "error.h"
#include "resolve.h"
#include "socket.h"

static int fail(tm_story *story, const char *text, int answer)
{
    char room[TM_ERRNO_TEXT_MOST];
    tm_story_tell(story, "can't listen at %.200s: %s", text, tm_errno_text(-answer, room));
    return answer == -ENOENT ? TCPMSG_ESYSTEM : tm_error_from_errno(-answer);
}

/* Opens, binds and listens; the socket or -errno. */
static int try_address(tcpmsg_listener *listener, const tm_sockaddr *address, bool both_families)
{
    int family = address->u.any.sa_family;
    int fd = tm_socket_open(family);
    if (fd < 0)
        return fd;
    int r, backlog = listener->settings->backlog;
    if (family == AF_UNIX) {
        r = tm_unix_listen(fd, address, backlog);
    } else {
        r = tm_socket_share(fd, family, both_families, listener->settings);
        listener->tuned = TM_SOCKETS_INHERIT;
        if (TM_SOCKETS_INHERIT)
            tm_socket_tune(fd, listener->settings);
        bool limits = TM_SOCKETS_INHERIT && tm_socket_limit_naps(fd);
        listener->naps = limits ? TM_NAPS_UNTRIED : TM_NAPS_NEVER;
        if (r == 0)
            r = tm_socket_bind(fd, address);
        if (r == 0)
            r = tm_socket_listen(fd, backlog);
    }
    if (r < 0) {
        tm_socket_close(fd);
        return r;
    }
    return fd;
}

/* Every interface: IPv6 and IPv4 in one socket, or IPv4 alone where there is no IPv6. */
static int listen_everywhere(tcpmsg_listener *listener, uint16_t port)
{
    tm_sockaddr v6 = {.length = sizeof v6.u.v6, .u.v6 = {.sin6_family = AF_INET6}};
    tm_sockaddr v4 = {.length = sizeof v4.u.v4, .u.v4 = {.sin_family = AF_INET}};
    v6.u.v6.sin6_port = v4.u.v4.sin_port = htons(port);
    int fd = try_address(listener, &v6, true);
    if (fd != -EAFNOSUPPORT && fd != -EADDRNOTAVAIL)
        return fd;
    return try_address(listener, &v4, false);
}

/* The first of a name's addresses that can be had, IPv4 before IPv6: what most dial. */
static int listen_at_one(tcpmsg_listener *listener, const tm_addresses *addresses)
{
    int r = -EADDRNOTAVAIL;
    for (int v6 = 0; v6 <= 1; v6++)
        for (size_t i = 0; i < addresses->count; i++) {
            if ((addresses->list[i].u.any.sa_family == AF_INET6) != v6)
                continue;
            r = try_address(listener, &addresses->list[i], false);
            if (r >= 0)
                return r;
        }
    return r;
}

static int listen_tcp(tcpmsg_listener *listener, const tm_address *address, const char *text,
                      tm_story *story)
{
    int fd;
    if (address->host[0] == '\0') {
        fd = listen_everywhere(listener, address->port);
    } else {
        tm_addresses addresses;
        int64_t deadline = tm_deadline(listener->settings->connect_timeout_ms);
        int r = tm_resolve(&addresses, address, true, deadline, story);
        if (r < 0)
            return r;
        fd = listen_at_one(listener, &addresses);
        free(addresses.list);
    }
    if (fd < 0)
        return fail(story, text, fd);
    listener->fd = fd;
    return 0;
}

static int listen_unix(tcpmsg_listener *listener, const tm_sockaddr *address, const char *text,
                       tm_story *story)
{
    int fd = try_address(listener, address, false);
    if (fd < 0)
        return fail(story, text, fd);
    listener->fd = fd;
    tm_unix_remember(listener, address);
    return 0;
}

/* A socket that was handed down: its file, if it has one, belongs to who made it. */
static int listen_handed_down(tcpmsg_listener *listener, int fd, const char *text, tm_story *story)
{
    if (tm_socket_kind(fd) != TM_SOCKET_LISTENING) {
        tm_story_tell(story, "can't listen at %.200s: it is not a listening stream socket", text);
        return TCPMSG_EINVAL;
    }
    int r = tm_socket_own(fd, true);
    if (r < 0)
        return fail(story, text, r);
    listener->fd = fd;
    return 0;
}

int tm_listen_at(tcpmsg_listener *listener, const char *text, tm_story *story)
{
    tm_address address;
    int r = tm_address_parse(&address, text, story);
    if (r < 0)
        return r;
    switch (address.kind) {
    case TM_ADDRESS_UNIX:
        return listen_unix(listener, &address.known, text, story);
    case TM_ADDRESS_FD:
        return listen_handed_down(listener, address.fd, text, story);
    default:
        return listen_tcp(listener, &address, text, story);
    }
}
