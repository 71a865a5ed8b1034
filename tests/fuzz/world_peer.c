/* SPDX-License-Identifier: MIT */
#include "world.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

uint8_t plan[WIRE_MOST], promise[WIRE_MOST];

static void plan_bytes(struct world *world, const uint8_t *bytes, size_t count)
{
    if (count > WIRE_MOST - world->planned || count == 0)
        return;
    memcpy(plan + world->planned, bytes, count);
    world->planned += count;
}

void plan_message(struct world *world)
{
    uint8_t prefix[TCPMSG_PREFIX_MAX], seed = take(&world->input);
    size_t length = take_length(&world->input, LENGTH_MOST);
    int size = model_encode(&world->model, length, prefix);
    if (size < 0 || length + (size_t)size > WIRE_MOST - world->planned)
        return;
    plan_bytes(world, prefix, (size_t)size);
    plan_bytes(world, ground_bytes(seed), length);
}

void plan_literally(struct world *world)
{
    size_t count;
    const uint8_t *row = take_row(&world->input, take(&world->input) % 32, &count);
    plan_bytes(world, row, count);
}

/* A piece of what is planned, as far as the socket takes it. */
void peer_writes(struct world *world)
{
    static const size_t most[] = {1, 2, 3, 5, 9, 1000, 40000, SIZE_MAX};
    size_t piece = most[take(&world->input) % 8], left = world->planned - world->written;
    if (world->raw < 0 || world->ended || left == 0)
        return;
    ssize_t n = send(world->raw, plan + world->written, piece < left ? piece : left, MSG_NOSIGNAL);
    if (n > 0)
        world->written += (size_t)n;
}

void peer_ends(struct world *world)
{
    if (world->raw < 0 || world->ended)
        return;
    shutdown(world->raw, SHUT_WR);
    world->ended = true;
}

void peer_closes(struct world *world)
{
    if (world->raw < 0)
        return;
    world->lost = world->tcp || ground_unread(world->raw) > 0;
    world->ended = world->closed = true;
    ground_close(world->raw, world->tcp);
    world->raw = -1;
}

ssize_t peer_reads(struct world *world, size_t most)
{
    static uint8_t bytes[65536];
    ssize_t n = recv(world->raw, bytes, most < sizeof bytes ? most : sizeof bytes, 0);
    if (n < 0)
        return n;
    MUST((size_t)n <= world->promised - world->seen);
    MUST(memcmp(bytes, promise + world->seen, (size_t)n) == 0);
    world->seen += (size_t)n;
    if (world->seen == world->promised)
        world->most = world->calls = 0;
    return n;
}

void peer_reads_some(struct world *world)
{
    static const size_t most[] = {1, 10, 1000, SIZE_MAX};
    size_t count = most[take(&world->input) % 4];
    if (world->raw < 0)
        return;
    if (peer_reads(world, count) == 0)
        MUST(world->aborted || (world->shut && world->seen == world->promised));
}

/* A window that was shut opens again only when the peer has read a good deal (RFC 9293 3.8.6.2). */
bool is_roomy(const struct world *world, size_t more)
{
    return world->most + more < ROOMY && world->calls < ROOMY_CALLS;
}

/* Over TCP a byte may be on its way for a moment. */
static void await_unread(int raw, size_t count)
{
    struct pollfd more = {.fd = raw, .events = POLLIN};
    for (int ms = 0; ground_unread(raw) < count && ms < ARRIVAL_MS; ms++)
        poll(&more, ground_unread(raw) == 0, 1);
    MUST(ground_unread(raw) == count);
}

void check_all_left(struct world *world)
{
    size_t left = world->promised - world->seen;
    if (world->closed || world->aborted || world->out_end)
        return;
    if (tcpmsg_conn_events(world->conn) & POLLOUT)
        MUST(!is_roomy(world, 0));
    else if (!world->tcp)
        MUST(ground_unread(world->raw) == left);
    else if (is_roomy(world, 0)) /* else some of it waits for the peer in the system */
        await_unread(world->raw, left);
}
