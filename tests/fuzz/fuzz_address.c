/* SPDX-License-Identifier: MIT */
/*
 * Addresses: what is taken for one, against a grammar of its own; what is printed says the same
 * address again. Nothing is looked up. The input: what follows, the story's room, text or socket
 * address.
 */
#include "address.h"
#include "input.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <string.h>

#include <tcpmsg/conn.h>
#include <tcpmsg/error.h>

#define PATH_ROOM sizeof(((struct sockaddr_un *)0)->sun_path)

static bool all_in(const char *text, size_t len, const char *more)
{
    for (size_t i = 0; i < len; i++) {
        bool letter = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z');
        bool digit = text[i] >= '0' && text[i] <= '9';
        if (!letter && !digit && !strchr(more, text[i]))
            return false;
    }
    return true;
}

/* So many digits at most, and the number; -1 when it is none. */
static long model_number(const char *text, size_t digits)
{
    size_t len = strlen(text);
    long number = 0;
    if (len == 0 || len > digits)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        number = number * 10 + (text[i] - '0');
    }
    return number;
}

static bool model_v6(const char *text, size_t len)
{
    char address[256];
    struct in6_addr binary;
    if (len >= sizeof address)
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    char *zone = strchr(address, '%');
    if (zone) {
        *zone++ = '\0';
        if (zone[0] == '\0' || strlen(zone) >= IF_NAMESIZE || !all_in(zone, strlen(zone), "-._@"))
            return false;
    }
    return inet_pton(AF_INET6, address, &binary) == 1;
}

static bool model_tcp(const char *text)
{
    const char *port = strrchr(text, ':');
    if (!port)
        return false;
    size_t len = (size_t)(port - text);
    long number = model_number(port + 1, 5);
    if (number < 0 || number > 65535)
        return false;
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']')
        return model_v6(text + 1, len - 2);
    return len <= 253 && all_in(text, len, "-._");
}

static bool model_address(const char *text)
{
    if (strncmp(text, "unix:", 5) == 0) {
        const char *name = text + 5;
        size_t len = strlen(name);
        bool abstract = name[0] == '@'; /* which ends without a NUL */
        return (abstract || name[0] == '/') && len >= 2 && len < PATH_ROOM + abstract;
    }
    if (strncmp(text, "fd:", 3) == 0)
        return model_number(text + 3, 9) >= 0;
    return model_tcp(strncmp(text, "tcp://", 6) == 0 ? text + 6 : text);
}

/* It prints the same into each room that is enough, and not at all into less. */
static void print(const tm_sockaddr *address, char *text)
{
    MUST(tm_sockaddr_print(address, text, TCPMSG_ADDRESS_MAX) == 0);
    size_t needed = strlen(text) + 1;
    char *room = malloc(needed);
    room[0] = '~';
    MUST(tm_sockaddr_print(address, room, needed - 1) == TCPMSG_EBUFSIZE && room[0] == '~');
    MUST(tm_sockaddr_print(address, room, needed) == 0 && strcmp(room, text) == 0);
    free(room);
    MUST(tm_sockaddr_print(address, NULL, 0) == TCPMSG_EBUFSIZE);
}

static bool is_mapped(const tm_sockaddr *address)
{
    return address->u.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&address->u.v6.sin6_addr);
}

static bool same(const tm_sockaddr *one, const tm_sockaddr *other)
{
    if (one->u.any.sa_family == AF_UNIX)
        return one->length == other->length && memcmp(&one->u, &other->u, one->length) == 0;
    return tm_sockaddr_equal(one, other) && tm_sockaddr_same_port(one, other);
}

/* What is printed is an address, the same one, and prints the same. */
static void check_printed(const tm_sockaddr *address)
{
    char text[TCPMSG_ADDRESS_MAX], again[TCPMSG_ADDRESS_MAX];
    tm_address parsed;
    print(address, text);
    MUST(tm_address_parse(&parsed, text, NULL) == 0);
    if (parsed.known.length == 0) { /* a zone is looked up */
        MUST(parsed.is_v6 && address->u.v6.sin6_scope_id != 0);
        return;
    }
    MUST(is_mapped(address) || same(&parsed.known, address));
    print(&parsed.known, again);
    MUST(strcmp(text, again) == 0);
}

/* A host without the rest that came with it, said again. */
static void check_host(const tm_address *address)
{
    char text[TM_HOST_MAX + 16];
    tm_address again;
    MUST(strlen(address->host) <= TM_HOST_MAX);
    snprintf(text, sizeof text, address->is_v6 ? "tcp://[%s]:%u" : "tcp://%s:%u", address->host,
             (unsigned)address->port);
    MUST(tm_address_parse(&again, text, NULL) == 0);
    MUST(again.kind == TM_ADDRESS_TCP && again.is_v6 == address->is_v6);
    MUST(strcmp(again.host, address->host) == 0 && again.port == address->port);
    MUST(again.known.length == address->known.length);
}

static void check_parsed(const tm_address *address, const char *text)
{
    switch (address->kind) {
    case TM_ADDRESS_FD:
        MUST(address->fd == model_number(text + 3, 9) && address->known.length == 0);
        return;
    case TM_ADDRESS_UNIX:
        MUST(address->known.u.any.sa_family == AF_UNIX);
        check_printed(&address->known);
        return;
    case TM_ADDRESS_TCP:
        MUST(address->port == model_number(strrchr(text, ':') + 1, 5));
        check_host(address);
        if (address->known.length > 0)
            check_printed(&address->known);
    }
}

static void fuzz_text(struct input *input)
{
    size_t room = take(input), len;
    const uint8_t *row = take_row(input, SIZE_MAX, &len);
    char *text = malloc(len + 1), *why = malloc(room + 1);
    if (len > 0)
        memcpy(text, row, len);
    text[len] = '\0'; /* there may be one before */
    why[0] = '\0';
    tm_story story = {.text = why, .size = room};
    tm_address address, silent;
    int answer = tm_address_parse(&address, text, &story);
    MUST(answer == (model_address(text) ? 0 : TCPMSG_EADDRESS));
    MUST(tm_address_parse(&silent, text, NULL) == answer);
    MUST(strlen(why) == story.len && (room == 0 || story.len < room));
    MUST((story.len > 0) == (answer < 0 && room > 1));
    if (answer == 0)
        check_parsed(&address, text);
    free(why);
    free(text);
}

/* How a Unix address reads: no name, when text can't say the one that it has. */
static void model_unix(const tm_sockaddr *address, char *text)
{
    const char *path = address->u.local.sun_path;
    size_t len = address->length > offsetof(struct sockaddr_un, sun_path)
                     ? address->length - offsetof(struct sockaddr_un, sun_path)
                     : 0;
    len = len < PATH_ROOM ? len : PATH_ROOM;
    strcpy(text, "unix:");
    if (len > 0 && path[0] == '/') {
        strncat(text, path, len);
    } else if (len > 1 && path[0] == '\0' && strnlen(path + 1, len - 1) == len - 1) {
        strcat(text, "@");
        strncat(text, path + 1, len - 1);
    }
}

static void fuzz_unix(struct input *input)
{
    tm_sockaddr address = {.length = take(input) % (sizeof address.u.local + 2)};
    size_t len;
    const uint8_t *row = take_row(input, PATH_ROOM, &len);
    char text[TCPMSG_ADDRESS_MAX], wanted[TCPMSG_ADDRESS_MAX];
    tm_address parsed;
    address.u.local.sun_family = AF_UNIX;
    if (len > 0)
        memcpy(address.u.local.sun_path, row, len);
    print(&address, text);
    model_unix(&address, wanted);
    MUST(strcmp(text, wanted) == 0);
    /* No socket's are the root alone, and a path without room for its NUL. */
    size_t name = strlen(text) - strlen("unix:");
    if (name == 0 || strcmp(text, "unix:/") == 0 || (text[5] == '/' && name == PATH_ROOM))
        return;
    MUST(tm_address_parse(&parsed, text, NULL) == 0 && parsed.kind == TM_ADDRESS_UNIX);
    check_printed(&parsed.known);
}

static void fuzz_ip(struct input *input, bool is_v6)
{
    tm_sockaddr address = {.length = is_v6 ? sizeof address.u.v6 : sizeof address.u.v4};
    size_t len;
    in_port_t port = (in_port_t)take_wide(input, 2);
    uint32_t zone = (uint32_t)take_wide(input, take(input) % 5);
    const uint8_t *row = take_row(input, is_v6 ? 16 : 4, &len);
    if (is_v6)
        address.u.v6 = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_port = port, .sin6_scope_id = zone};
    else
        address.u.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
    if (len > 0)
        memcpy(is_v6 ? (void *)&address.u.v6.sin6_addr : &address.u.v4.sin_addr, row, len);
    check_printed(&address);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    switch (take(&input) % 8) {
    case 1:
        fuzz_ip(&input, false);
        break;
    case 2:
        fuzz_ip(&input, true);
        break;
    case 3:
        fuzz_unix(&input);
        break;
    default:
        fuzz_text(&input);
    }
    return 0;
}
