/* SPDX-License-Identifier: MIT */
/*
 * One connection and its peer, step by step as the input says, against a model of the bytes that
 * are on their way: the same messages and the same end however they are cut up.
 * The input: the framing, the options, then steps, each with what it takes.
 */
#include "world.h"

#include <poll.h>
#include <string.h>

/* What a receive would answer, and the prefix of a message that it would give. */
static ssize_t expect(const struct world *world, size_t *prefix)
{
    size_t left = world->written - world->taken;
    uint64_t length;
    if (world->in_end || world->aborted)
        return world->in_end ? world->in_end : TCPMSG_ECANCELED;
    int size = model_decode(&world->model, plan + world->taken, left, &length);
    *prefix = size > 0 ? (size_t)size : 0;
    if (size < 0)
        return size;
    if (size > 0 && length <= left - *prefix)
        return (ssize_t)length;
    if (!world->ended)
        return TCPMSG_EAGAIN;
    return left > 0 ? TCPMSG_ETRUNCATED : TCPMSG_EOF;
}

/* The receiving is over: as expected, or because the peer was gone before all had gone to it. */
static void check_end(struct world *world, ssize_t got, ssize_t want)
{
    bool in_stream = want == TCPMSG_EMSGSIZE || want == TCPMSG_EPROTO || world->in_end;
    bool by_reset = world->closed && got == TCPMSG_ERESET && (!in_stream || world->tcp);
    bool may_reset = world->lost || world->out_end || world->promised > world->seen;
    MUST(got == want || (by_reset && may_reset && !world->in_end));
    if (world->lost && !world->tcp && !in_stream && !world->aborted)
        MUST(got == TCPMSG_ERESET);
    MUST(tcpmsg_next_length(world->conn) == got);
    MUST(tcpmsg_conn_why(world->conn)[0] != '\0');
    world->in_end = (int)got;
}

static void check_view(struct world *world)
{
    if (world->view)
        MUST(memcmp(world->view, plan + world->view_at, world->view_length) == 0);
    world->view = NULL;
}

static void check_message(struct world *world, const uint8_t *message, ssize_t got, ssize_t want,
                          size_t prefix, bool peek)
{
    size_t at = world->taken + prefix;
    MUST(got == want);
    MUST(memcmp(message, plan + at, (size_t)got) == 0);
    if (peek) {
        MUST(tcpmsg_next_length(world->conn) == got);
        return;
    }
    world->taken = at + (size_t)got;
    world->received++;
    world->received_bytes += (size_t)got;
}

static bool is_early(ssize_t got)
{
    return got == TCPMSG_EAGAIN || got == TCPMSG_ETIMEDOUT;
}

/* As much as the message needs, nearly so, or enough for any. */
static size_t room_for(unsigned choice, ssize_t want)
{
    size_t exact = want > 0 ? (size_t)want : 0;
    switch (choice % 8) {
    case 0:
        return exact > 0 ? exact - 1 : 0;
    case 1:
        return exact + 1;
    case 2:
        return 0;
    case 3:
        return 64;
    case 4:
    case 5:
        return exact;
    default:
        return LENGTH_MOST;
    }
}

/*
 * A view where there is no memory. What is there may need another call: over TCP when it is on its
 * way, and an end when the call has just read what came before it.
 */
static ssize_t receive_once(struct world *world, uint8_t *memory, size_t size, int flags,
                            ssize_t want)
{
    const void *view = NULL;
    struct pollfd more = {.fd = tcpmsg_conn_fd(world->conn), .events = POLLIN};
    int again = world->tcp ? ARRIVAL_MS : want < 0;
    ssize_t got;
    for (;;) {
        /* A millisecond may be over before 50,000 bytes are read; another one begins. */
        got = memory ? tcpmsg_recv(world->conn, memory, size, flags)
                     : tcpmsg_recv_view(world->conn, &view, flags);
        bool late = got == TCPMSG_ETIMEDOUT && want >= 0;
        if (want == TCPMSG_EAGAIN || !(late || (is_early(got) && again-- > 0)))
            break;
        poll(&more, 1, 1);
    }
    MUST(memory || got < 0 || view);
    world->view = view;
    return got;
}

static void receive(struct world *world)
{
    unsigned how = take(&world->input);
    size_t prefix = 0;
    ssize_t want = expect(world, &prefix);
    bool waits = how & 4 && (want != TCPMSG_EAGAIN || (world->limited && world->waits-- > 0));
    bool peek = how & 1;
    int flags = (peek ? TCPMSG_PEEK : 0) | (waits ? 0 : TCPMSG_DONTWAIT);
    size_t size = room_for(how >> 3, want);
    uint8_t *memory = how & 2 ? NULL : malloc(size + 1);
    check_view(world);
    ssize_t got = receive_once(world, memory ? memory + 1 : NULL, size, flags, want);
    if (got >= 0 && !memory) {
        world->view_at = world->taken + prefix;
        world->view_length = (size_t)got;
    }
    if (want == TCPMSG_EAGAIN) {
        MUST(got == (waits ? TCPMSG_ETIMEDOUT : TCPMSG_EAGAIN));
        check_all_left(world);
    } else if (got == TCPMSG_EBUFSIZE) {
        MUST(memory && want > (ssize_t)size && tcpmsg_next_length(world->conn) == want);
    } else if (got >= 0) {
        MUST(!memory || (size_t)got <= size);
        check_message(world, memory ? memory + 1 : world->view, got, want, prefix, peek);
    } else {
        check_end(world, got, want);
    }
    free(memory);
}

static void look_ahead(struct world *world)
{
    size_t prefix;
    ssize_t want = expect(world, &prefix), got = tcpmsg_next_length(world->conn);
    MUST(got == want || (got == TCPMSG_EAGAIN && !world->in_end && !world->aborted));
}

static void look_around(struct world *world)
{
    bool ended = world->in_end || world->aborted;
    short events = tcpmsg_conn_events(world->conn);
    MUST((events & POLLIN) == (ended ? 0 : POLLIN) && !(events & ~(POLLIN | POLLOUT)));
    if (ended || world->out_end)
        MUST(tcpmsg_conn_why(world->conn)[0] != '\0');
    tcpmsg_info info;
    MUST(tcpmsg_conn_info(world->conn, &info, sizeof info) == 0);
    MUST(info.messages_sent == world->sent && info.bytes_sent == world->sent_bytes);
    MUST(info.messages_received == world->received);
    MUST(info.bytes_received == world->received_bytes);
    char text[TCPMSG_ADDRESS_MAX];
    MUST(tcpmsg_conn_peer(world->conn, text, sizeof text) == 0 || world->aborted);
    MUST(tcpmsg_conn_local(world->conn, text, sizeof text) == 0 || world->aborted);
}

static void give_up(struct world *world)
{
    check_view(world);
    tcpmsg_abort(world->conn);
    world->aborted = true;
}

static void change_limit(struct world *world)
{
    world->limited = !world->limited;
    int recv_ms = world->limited ? 1 : TCPMSG_NO_LIMIT;
    MUST(tcpmsg_conn_set_timeouts(world->conn, 0, recv_ms) == 0);
}

static void (*const steps[])(struct world *world) = {
    receive,      receive,      receive,         peer_writes,     peer_writes, plan_message,
    plan_message, send_message, send_message,    peer_reads_some, look_ahead,  plan_literally,
    look_around,  flush,        change_limit,    peer_ends,       end_sending, peer_closes,
    give_up,      receive,      peer_reads_some, peer_writes,
};

static void open_world(struct world *world)
{
    static const size_t limits[] = {0, 0, 0, 10, 300, 65536, 200000, SIZE_MAX / 2};
    unsigned how;
    int fd;
    tcpmsg_options options = {.framing = take_framing(&world->input, &world->model)};
    how = take(&world->input);
    world->ending = take(&world->input);
    options.max_message = limits[how % 8];
    options.spin_us = how >> 3 & 1;
    options.send_timeout_ms = 1;
    world->limited = how >> 4 & 1;
    options.recv_timeout_ms = world->limited ? 1 : 0;
    world->tcp = (how >> 5 & 7) == 7;
    options.linger_ms = world->tcp ? 50 : how >> 5 & 1 ? 1 : TCPMSG_NO_LINGER;
    model_limit(&world->model, options.max_message ? options.max_message : (size_t)16 << 20);
    world->waits = WAITS_MOST;
    ground_pair(world->tcp, &fd, &world->raw);
    MUST(tcpmsg_attach(&world->conn, fd, &options) == 0);
}

/* What a close answered 0 to has reached the peer, and behind it comes the end. */
static void check_last_words(struct world *world, int closed)
{
    ssize_t n;
    if (world->raw < 0)
        return;
    while ((n = peer_reads(world, SIZE_MAX)) > 0)
        ;
    if (closed != 0 || world->aborted || world->out_end)
        return;
    MUST(world->seen == world->promised);
    MUST(n == 0 || world->tcp);
}

static void close_world(struct world *world)
{
    unsigned how = world->ending % 4;
    int closed = TCPMSG_ECANCELED;
    check_view(world);
    if (how == 1)
        give_up(world);
    if (how == 2) {
        tcpmsg_conn_unref(world->conn);
    } else if (how == 3) {
        tcpmsg_conn_ref(world->conn);
        closed = tcpmsg_close(world->conn);
        world->aborted = true; /* all later calls answer as if */
        world->view = NULL;
        receive(world);
        send_message(world);
        MUST(tcpmsg_conn_fd(world->conn) == -1);
        world->aborted = false;
        tcpmsg_conn_unref(world->conn);
    } else {
        closed = tcpmsg_close(world->conn);
    }
    check_last_words(world, closed);
    if (world->raw >= 0)
        ground_close(world->raw, world->tcp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {.input = {data, size}};
    ground_mark();
    open_world(&world);
    for (int i = 0; i < STEPS_MOST && world.input.count > 0; i++)
        steps[take(&world.input) % (sizeof steps / sizeof steps[0])](&world);
    close_world(&world);
    ground_check();
    return 0;
}
