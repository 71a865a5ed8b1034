/* SPDX-License-Identifier: MIT */
#include "address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tcpmsg/conn.h>

#include "error.h"

#define LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static int refuse(tm_story *story, const char *text, const char *reason)
{
    tm_story_tell(story, "\"%.200s\" is not an address: %s", text, reason);
    return TCPMSG_EADDRESS;
}

/* A decimal number of at most so many digits and nothing else; -1 for anything else. */
static long number_of(const char *text, size_t digits)
{
    size_t len = strlen(text);
    if (len < 1 || len > digits || strspn(text, "0123456789") != len)
        return -1;
    return strtol(text, NULL, 10);
}

static int parse_unix(tm_address *out, const char *text, const char *name, tm_story *story)
{
    struct sockaddr_un *local = &out->known.u.local;
    size_t len = strlen(name);
    bool abstract = name[0] == '@';
    if ((name[0] != '/' && !abstract) || len < 2)
        return refuse(story, text, "after unix: comes an absolute path or @name");
    /* unix(7): an abstract name begins with a NUL, and its length alone ends it */
    size_t size = abstract ? len : len + 1;
    if (size > sizeof local->sun_path)
        return refuse(story, text, "a Unix path this long does not fit a socket address");
    out->kind = TM_ADDRESS_UNIX;
    local->sun_family = AF_UNIX;
    memcpy(local->sun_path, name, size);
    out->known.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    if (abstract) {
#ifdef __linux__
        local->sun_path[0] = '\0';
#else
        return refuse(story, text, "abstract Unix names are Linux's own");
#endif
    }
    return 0;
}

static int parse_fd(tm_address *out, const char *text, const char *number, tm_story *story)
{
    long fd = number_of(number, 9);
    if (fd < 0)
        return refuse(story, text, "after fd: comes the number of a descriptor");
    out->kind = TM_ADDRESS_FD;
    out->fd = (int)fd;
    return 0;
}

static void know_v6(tm_address *out, const struct in6_addr *binary)
{
    out->known.length = sizeof out->known.u.v6;
    out->known.u.v6.sin6_family = AF_INET6;
    out->known.u.v6.sin6_port = htons(out->port);
    out->known.u.v6.sin6_addr = *binary;
}

/* Only the usual form, all four numbers; getaddrinfo(3) takes others, too. */
static bool is_v4_literal(tm_address *out)
{
    struct in_addr binary;
    if (inet_pton(AF_INET, out->host, &binary) != 1)
        return false;
    out->known.length = sizeof out->known.u.v4;
    out->known.u.v4.sin_family = AF_INET;
    out->known.u.v4.sin_port = htons(out->port);
    out->known.u.v4.sin_addr = binary;
    return true;
}

/* "[v6]" or "[v6%zone]": the bytes between the brackets; what a zone means is looked up. */
static bool is_v6_literal(tm_address *out)
{
    const char *host = out->host;
    char address[INET6_ADDRSTRLEN];
    size_t len = strcspn(host, "%");
    struct in6_addr binary;
    if (len >= sizeof address)
        return false;
    memcpy(address, host, len);
    address[len] = '\0';
    if (inet_pton(AF_INET6, address, &binary) != 1)
        return false;
    if (host[len] == '\0') {
        know_v6(out, &binary);
        return true;
    }
    const char *zone = host + len + 1;
    size_t zone_len = strlen(zone);
    return zone_len > 0 && zone_len < IF_NAMESIZE &&
           strspn(zone, LETTERS_AND_DIGITS "-._@") == zone_len;
}

static int parse_tcp(tm_address *out, const char *text, const char *rest, tm_story *story)
{
    const char *host = rest;
    const char *host_end = strrchr(rest, ':');
    if (!host_end)
        return refuse(story, text, "the :port is missing");
    long port = number_of(host_end + 1, 5);
    if (port < 0 || port > UINT16_MAX)
        return refuse(story, text, "the port is not a number from 0 to 65535");
    bool bracketed = host[0] == '[' && host_end - host >= 2 && host_end[-1] == ']';
    size_t len = (size_t)(host_end - host);
    if (bracketed) {
        host++;
        len -= 2;
    }
    if (len > TM_HOST_MAX)
        return refuse(story, text, "the host name is too long");
    out->kind = TM_ADDRESS_TCP;
    memcpy(out->host, host, len);
    out->host[len] = '\0';
    out->is_v6 = bracketed;
    out->port = (uint16_t)port;
    if (bracketed)
        return is_v6_literal(out) ? 0 : refuse(story, text, "no IPv6 address in the brackets");
    if (is_v4_literal(out))
        return 0;
    if (strchr(out->host, ':'))
        return refuse(story, text, "an IPv6 address stands in brackets: [::1]:5000");
    if (strspn(out->host, LETTERS_AND_DIGITS "-._") != len)
        return refuse(story, text, "a host is letters, digits, '-', '.' and '_'");
    return 0;
}

static const char *after(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

int tm_address_parse(tm_address *out, const char *text, tm_story *story)
{
    const char *rest;
    *out = (tm_address){0};
    if ((rest = after(text, "unix:")))
        return parse_unix(out, text, rest, story);
    if ((rest = after(text, "fd:")))
        return parse_fd(out, text, rest, story);
    if ((rest = after(text, "tcp://")))
        return parse_tcp(out, text, rest, story);
    if (strstr(text, "://"))
        return refuse(story, text, "the only scheme is tcp://");
    return parse_tcp(out, text, text, story);
}

static int put(char *text, size_t size, const char *printed)
{
    size_t len = strlen(printed);
    if (len >= size)
        return TCPMSG_EBUFSIZE;
    memcpy(text, printed, len + 1);
    return 0;
}

static void print_v4(char *printed, const struct in_addr *address, in_port_t port)
{
    char host[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, address, host, sizeof host);
    snprintf(printed, TCPMSG_ADDRESS_MAX, "%s:%u", host, (unsigned)ntohs(port));
}

static void print_v6(char *printed, const struct sockaddr_in6 *v6)
{
    /* An IPv4 peer of a listener for both families is an IPv4 peer (RFC 4291 section 2.5.5.2). */
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        struct in_addr v4;
        memcpy(&v4, &v6->sin6_addr.s6_addr[12], sizeof v4);
        print_v4(printed, &v4, v6->sin6_port);
        return;
    }
    char host[INET6_ADDRSTRLEN];
    char zone[IF_NAMESIZE + 1] = "";
    inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
    if (v6->sin6_scope_id != 0)
        snprintf(zone, sizeof zone, "%%%lu", (unsigned long)v6->sin6_scope_id);
    snprintf(printed, TCPMSG_ADDRESS_MAX, "[%s%s]:%u", host, zone, (unsigned)ntohs(v6->sin6_port));
}

static void print_unix(char *printed, const tm_sockaddr *address)
{
    const char *name = address->u.local.sun_path;
    size_t path_at = offsetof(struct sockaddr_un, sun_path);
    size_t len = address->length > path_at ? address->length - path_at : 0;
    if (len > sizeof address->u.local.sun_path)
        len = sizeof address->u.local.sun_path;
    bool abstract = len > 1 && name[0] == '\0';
    size_t from = abstract ? 1 : 0;
    size_t text_len = strnlen(name + from, len - from);
    /* A name with a NUL inside, or a path from the peer's own folder, can't be said as text: better
     * no name than another one. */
    if (abstract ? text_len != len - from : text_len > 0 && name[0] != '/')
        text_len = from = 0;
    snprintf(printed, TCPMSG_ADDRESS_MAX, "unix:%s%.*s", from ? "@" : "", (int)text_len,
             name + from);
}

int tm_sockaddr_print(const tm_sockaddr *address, char *text, size_t size)
{
    char printed[TCPMSG_ADDRESS_MAX];
    switch (address->u.any.sa_family) {
    case AF_INET:
        print_v4(printed, &address->u.v4.sin_addr, address->u.v4.sin_port);
        break;
    case AF_INET6:
        print_v6(printed, &address->u.v6);
        break;
    default: /* Unix; a nameless peer of some systems has not even a family */
        print_unix(printed, address);
    }
    return put(text, size, printed);
}

bool tm_sockaddr_same_port(const tm_sockaddr *one, const tm_sockaddr *other)
{
    if (one->u.any.sa_family == AF_INET)
        return one->u.v4.sin_port == other->u.v4.sin_port;
    return one->u.v6.sin6_port == other->u.v6.sin6_port;
}

bool tm_sockaddr_equal(const tm_sockaddr *one, const tm_sockaddr *other)
{
    if (one->u.any.sa_family != other->u.any.sa_family || !tm_sockaddr_same_port(one, other))
        return false;
    if (one->u.any.sa_family == AF_INET)
        return one->u.v4.sin_addr.s_addr == other->u.v4.sin_addr.s_addr;
    return memcmp(&one->u.v6.sin6_addr, &other->u.v6.sin6_addr, sizeof one->u.v6.sin6_addr) == 0;
}
