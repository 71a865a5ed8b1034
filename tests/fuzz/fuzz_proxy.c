/* SPDX-License-Identifier: MIT */
/*
 * The header of a proxy, cut after each byte: what was said of a beginning is true of the whole.
 * The input: how many zeros follow, in 32s, then the bytes.
 */
#include "input.h"
#include "proxy.h"

#include <stdbool.h>
#include <string.h>

#include <tcpmsg/conn.h>
#include <tcpmsg/error.h>

#define LINE_MOST 107
#define FIXED 16
#define PATH_ROOM sizeof(((struct sockaddr_un *)0)->sun_path)
#define ROOM (2 * TM_PROXY_MOST)

/* Whatever the length is, it is asked near the beginning, and at the end. */
#define EACH 400

struct told {
    ssize_t answer;
    tm_sockaddr client;
    const char *wrong;
};

/* Right before bytes that nobody may read. */
static struct told decode(uint8_t *row, size_t size, const uint8_t *bytes, size_t count)
{
    struct told told = {.wrong = "untouched"};
    memset(&told.client, 0xa5, sizeof told.client);
    memcpy(row + size - count, bytes, count);
    told.answer = tm_proxy_decode(row + size - count, count, &told.client, &told.wrong);
    return told;
}

static bool is_same(const struct told *one, const struct told *other)
{
    if (one->answer != other->answer || one->client.length != other->client.length)
        return false;
    return one->wrong == other->wrong &&
           memcmp(&one->client.u, &other->client.u, one->client.length) == 0;
}

/* What is printed can be said again, but for the root alone and a path without room for its NUL. */
static void check_client(const tm_sockaddr *client)
{
    char text[TCPMSG_ADDRESS_MAX], again[TCPMSG_ADDRESS_MAX];
    tm_address address;
    MUST(client->length <= sizeof client->u);
    MUST(tm_sockaddr_print(client, text, sizeof text) == 0);
    size_t len = strlen(text);
    if (strncmp(text, "unix:", 5) == 0 && (len <= 6 || len == 5 + PATH_ROOM))
        return;
    MUST(tm_address_parse(&address, text, NULL) == 0);
    MUST(tm_sockaddr_print(&address.known, again, sizeof again) == 0);
    MUST(strcmp(text, again) == 0);
}

static void check_accepted(const struct told *told, const uint8_t *bytes, size_t count)
{
    size_t size = (size_t)told->answer;
    MUST(size <= count);
    if (bytes[0] == 'P') {
        MUST(size <= LINE_MOST && memcmp(bytes + size - 2, "\r\n", 2) == 0);
        MUST(memchr(bytes, '\n', size) == bytes + size - 1);
    } else {
        MUST(size <= TM_PROXY_MOST && size == FIXED + (size_t)bytes[14] * 256 + bytes[15]);
        MUST(bytes[12] == 0x21 || (bytes[12] == 0x20 && told->client.length == 0));
    }
    if (told->client.length > 0)
        check_client(&told->client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[ROOM];
    struct input input = {data, size};
    size_t zeros = 32 * (size_t)take(&input), given;
    const uint8_t *row = take_row(&input, sizeof bytes, &given);
    size_t count = given + zeros < ROOM ? given + zeros : ROOM;
    memset(bytes, 0, sizeof bytes);
    if (given > 0)
        memcpy(bytes, row, given);
    uint8_t *edge = malloc(count + 1);
    MUST(edge != NULL);
    struct told before = {0};
    for (size_t i = 0; i <= count; i = i < EACH || i == count ? i + 1 : count) {
        struct told told = decode(edge, count + 1, bytes, i);
        if (before.answer != 0)
            MUST(is_same(&told, &before));
        MUST(told.answer >= 0 || told.answer == TCPMSG_EPROTO);
        MUST(told.answer > 0 || told.client.length == 0);
        if (told.answer > 0 && before.answer == 0)
            check_accepted(&told, bytes, i);
        before = told;
    }
    free(edge);
    return 0;
}
