/* SPDX-License-Identifier: MIT */
#include "world.h"

#include <poll.h>
#include <string.h>

/* An answer of the sending side that is neither 0 nor for now ends it. */
static void check_out(struct world *world, int got, bool roomy, bool waits)
{
    if (got == 0) {
        MUST(!world->out_end && !world->aborted);
    } else if (got == (waits ? TCPMSG_ETIMEDOUT : TCPMSG_EAGAIN)) {
        MUST(!roomy && !world->out_end && !world->aborted);
    } else {
        MUST(!world->out_end || got == world->out_end);
        MUST((world->aborted && got == TCPMSG_ECANCELED) ||
             (world->closed && got == TCPMSG_ERESET));
        world->out_end = got;
    }
}

/* The same message in one part or in several. */
static int send_parts(struct world *world, const uint8_t *message, size_t length, unsigned cut,
                      int flags)
{
    struct iovec parts[4] = {{0}};
    size_t first = cut % 16 < length ? cut % 16 : length, rest = length - first;
    if (cut % 2 == 0)
        return tcpmsg_send(world->conn, message, length, flags);
    parts[0] = (struct iovec){(void *)message, first};
    parts[2] = (struct iovec){(void *)(message + first), rest / 2};
    parts[3] = (struct iovec){(void *)(message + first + rest / 2), rest - rest / 2};
    return tcpmsg_sendv(world->conn, parts, 4, flags);
}

void send_message(struct world *world)
{
    unsigned how = take(&world->input);
    const uint8_t *message = ground_bytes(take(&world->input));
    size_t length = take_length(&world->input, LENGTH_MOST);
    if (world->promised + length + TCPMSG_PREFIX_MAX > WIRE_MOST)
        return;
    bool roomy = is_roomy(world, length + TCPMSG_PREFIX_MAX);
    bool waits = how & 1 && (roomy || world->waits-- > 0), more = how & 2;
    int flags = (waits ? 0 : TCPMSG_DONTWAIT) | (more ? TCPMSG_MORE : 0);
    int size = model_encode(&world->model, length, promise + world->promised);
    int got = send_parts(world, message, length, how >> 2, flags);
    world->calls++;
    if (size < 0) {
        MUST(got == size);
    } else if (got == TCPMSG_ECLOSED) {
        MUST(world->shut && !world->out_end && !world->aborted);
    } else {
        check_out(world, got, roomy, waits);
    }
    if (got != 0)
        return;
    MUST(!world->shut);
    memcpy(promise + world->promised + size, message, length);
    world->promised += (size_t)size + length;
    if (world->promised - world->seen > world->most)
        world->most = world->promised - world->seen;
    world->sent++;
    world->sent_bytes += length;
    if (!more)
        check_all_left(world);
}

void flush(struct world *world)
{
    bool roomy = is_roomy(world, 0), waits = take(&world->input) & 1 && roomy;
    int got = tcpmsg_flush(world->conn, waits ? 0 : TCPMSG_DONTWAIT);
    check_out(world, got, roomy, waits);
    if (got == 0 && !world->closed)
        MUST(!(tcpmsg_conn_events(world->conn) & POLLOUT));
    check_all_left(world);
}

void end_sending(struct world *world)
{
    bool roomy = is_roomy(world, 0);
    if (!roomy && world->waits-- <= 0)
        return;
    check_out(world, tcpmsg_shutdown(world->conn), roomy, true);
    world->shut = true;
    check_all_left(world);
}
