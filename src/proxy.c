/* SPDX-License-Identifier: MIT */
#include "proxy.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include <tcpmsg/error.h>

#include "bytes.h"

/* Section 2.1: a line, at most 107 bytes with its CR LF. */
#define LINE_MOST 107
static const char name[] = "PROXY ";

/* Section 2.2: a signature, version and command, family and protocol, the length of the rest. */
enum { SIGNATURE = 12, FIXED = 16 };
static const uint8_t signature[SIGNATURE] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                             0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

/* Both addresses, and both ports where there are some. */
enum { ROOM_V4 = 12, ROOM_V6 = 36, ROOM_UNIX = 216, PATH = 108 };

enum { TLV_HEAD = 3, TLV_CRC32C = 0x03 };

static ssize_t refuse(const char **wrong, const char *what)
{
    *wrong = what;
    return TCPMSG_EPROTO;
}

static void client_v4(tm_sockaddr *client, struct in_addr address, in_port_t port)
{
    *client = (tm_sockaddr){.length = sizeof client->u.v4};
    client->u.v4 =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = address, .sin_port = port};
}

static void client_v6(tm_sockaddr *client, struct in6_addr address, in_port_t port)
{
    *client = (tm_sockaddr){.length = sizeof client->u.v6};
    client->u.v6 =
        (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = address, .sin6_port = port};
}

/* Cuts off what ends at the next space, or at the end; NULL when nothing is left, or is there. */
static char *next_word(char **rest)
{
    char *word = *rest;
    if (!word)
        return NULL;
    char *space = strchr(word, ' ');
    if (space)
        *space = '\0';
    *rest = space ? space + 1 : NULL;
    return *word ? word : NULL;
}

static bool parse_port(const char *text, in_port_t *port)
{
    size_t digits = text ? strspn(text, "0123456789") : 0;
    if (digits == 0 || digits > 5 || text[digits] || (text[0] == '0' && digits > 1))
        return false;
    unsigned long number = strtoul(text, NULL, 10);
    *port = htons((uint16_t)number);
    return number <= 65535;
}

/* "SOURCE DESTINATION SOURCE-PORT DESTINATION-PORT" */
static bool parse_ends(int family, char *rest, tm_sockaddr *client)
{
    struct in6_addr from, to; /* has room for either family's */
    struct in_addr from_v4;
    in_port_t from_port, to_port;
    const char *source = next_word(&rest), *destination = next_word(&rest);
    if (!source || inet_pton(family, source, &from) != 1)
        return false;
    if (!destination || inet_pton(family, destination, &to) != 1)
        return false;
    if (!parse_port(next_word(&rest), &from_port) || !parse_port(next_word(&rest), &to_port))
        return false;
    if (rest) /* and that is all */
        return false;
    memcpy(&from_v4, &from, sizeof from_v4);
    if (family == AF_INET)
        client_v4(client, from_v4, from_port);
    else
        client_v6(client, from, from_port);
    return true;
}

static ssize_t decode_line(const uint8_t *bytes, size_t count, tm_sockaddr *client,
                           const char **wrong)
{
    char line[LINE_MOST];
    size_t most = count < LINE_MOST ? count : LINE_MOST;
    const uint8_t *end = memchr(bytes, '\n', most);
    if (!end)
        return most < LINE_MOST ? 0 : refuse(wrong, "its line has no end within 107 bytes");
    size_t length = (size_t)(end - bytes);
    if (bytes[length - 1] != '\r' || memchr(bytes, '\0', length))
        return refuse(wrong, "its line does not end with CR LF");
    memcpy(line, bytes, length - 1);
    line[length - 1] = '\0';
    char *rest = line + strlen(name);
    const char *kind = next_word(&rest);
    bool known = kind && strcmp(kind, "UNKNOWN") == 0; /* ... that it is not known */
    if (kind && strcmp(kind, "TCP4") == 0)
        known = parse_ends(AF_INET, rest, client);
    else if (kind && strcmp(kind, "TCP6") == 0)
        known = parse_ends(AF_INET6, rest, client);
    return known ? (ssize_t)length + 1 : refuse(wrong, "its line names no addresses");
}

/* RFC 3720, appendix B.4; bit by bit, since it is so few bytes. */
static uint32_t crc32c(uint32_t crc, uint8_t byte)
{
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++)
        crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    return crc;
}

/* The checksum is of the whole header, with zeros in its own place. */
static bool sum_is_right(const uint8_t *bytes, size_t size, size_t sum_at)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++)
        crc = crc32c(crc, i >= sum_at && i < sum_at + 4 ? 0 : bytes[i]);
    return (crc ^ UINT32_MAX) == tm_load_big(bytes + sum_at, 4);
}

/* Section 2.2.1: what follows the addresses is rows of a type, a length and a value. */
static bool additions_are_right(const uint8_t *bytes, size_t size, size_t at)
{
    while (at < size) {
        size_t left = size - at;
        size_t length = left < TLV_HEAD ? 0 : (size_t)tm_load_big(bytes + at + 1, 2);
        if (left < TLV_HEAD + length)
            return false;
        if (bytes[at] == TLV_CRC32C && (length != 4 || !sum_is_right(bytes, size, at + TLV_HEAD)))
            return false;
        at += TLV_HEAD + length;
    }
    return true;
}

/* An abstract name's zeros behind it are taken for the room's, not its own. */
static void client_unix(tm_sockaddr *client, const uint8_t *path)
{
    size_t length = PATH;
    while (length > 0 && path[length - 1] == 0)
        length--;
    if (PATH > sizeof client->u.local.sun_path && length > sizeof client->u.local.sun_path)
        return; /* BSD's are shorter: such a client can't be named there */
    *client = (tm_sockaddr){.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)};
    client->u.local.sun_family = AF_UNIX;
    memcpy(client->u.local.sun_path, path, length);
}

static void take_client(const uint8_t *addresses, size_t room, tm_sockaddr *client)
{
    struct in_addr v4;
    struct in6_addr v6;
    in_port_t port;
    if (room == ROOM_V4) {
        memcpy(&v4, addresses, sizeof v4);
        memcpy(&port, addresses + 2 * sizeof v4, sizeof port);
        client_v4(client, v4, port);
    } else if (room == ROOM_V6) {
        memcpy(&v6, addresses, sizeof v6);
        memcpy(&port, addresses + 2 * sizeof v6, sizeof port);
        client_v6(client, v6, port);
    } else if (room == ROOM_UNIX) {
        client_unix(client, addresses);
    }
}

static ssize_t decode_binary(const uint8_t *bytes, size_t count, tm_sockaddr *client,
                             const char **wrong)
{
    static const size_t rooms[] = {0, ROOM_V4, ROOM_V6, ROOM_UNIX};
    if (count < FIXED)
        return 0;
    size_t size = FIXED + (size_t)tm_load_big(bytes + 14, 2);
    unsigned version = bytes[12] >> 4, command = bytes[12] & 0xf;
    unsigned family = bytes[13] >> 4, protocol = bytes[13] & 0xf;
    if (version != 2 || command > 1)
        return refuse(wrong, "its version or command is none that there is");
    if (size > TM_PROXY_MOST)
        return refuse(wrong, "it is longer than 4096 bytes");
    bool for_itself = command == 0;
    if (!for_itself && (family > 3 || protocol > 2 || size - FIXED < rooms[family]))
        return refuse(wrong, "its addresses are of no family that there is, or cut off");
    if (count < size)
        return 0;
    size_t room = for_itself || protocol == 0 ? 0 : rooms[family];
    if (!for_itself && !additions_are_right(bytes, size, FIXED + rooms[family]))
        return refuse(wrong, "what follows its addresses is cut off, or its checksum is wrong");
    take_client(bytes + FIXED, room, client);
    return (ssize_t)size;
}

static bool begins_with(const uint8_t *bytes, size_t count, const void *beginning, size_t length)
{
    return memcmp(bytes, beginning, count < length ? count : length) == 0;
}

ssize_t tm_proxy_decode(const uint8_t *bytes, size_t count, tm_sockaddr *client, const char **wrong)
{
    client->length = 0;
    if (count == 0)
        return 0;
    if (begins_with(bytes, count, signature, SIGNATURE))
        return decode_binary(bytes, count, client, wrong);
    if (begins_with(bytes, count, name, strlen(name)))
        return decode_line(bytes, count, client, wrong);
    return refuse(wrong, NULL);
}
