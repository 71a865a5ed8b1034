/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "model_ends.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "faults.h"
#include "peer.h"

enum { EASY_IN_BAD_WEATHER = 2000 };

void flow_add(struct flow *flow, uint64_t number, size_t length)
{
    flow->queue[flow->first + flow->count++] = (struct waiting){number, length};
    flow->bytes += length;
    flow->accepted++;
    flow->accepted_bytes += length;
}

const struct waiting *flow_first(const struct flow *flow)
{
    return flow->count > 0 ? &flow->queue[flow->first] : NULL;
}

void flow_take(struct flow *flow)
{
    size_t length = flow->queue[flow->first++].length;
    flow->count--;
    flow->bytes -= length;
    flow->received++;
    flow->received_bytes += length;
    flow->whole = false;
}

void flow_cut(struct flow *flow, const tcpmsg_framing *framing, uint64_t missing)
{
    while (missing > 0 && flow->count > 0) {
        uint8_t prefix[TCPMSG_PREFIX_MAX];
        const struct waiting *last = &flow->queue[flow->first + --flow->count];
        uint64_t size = last->length + model_prefix(framing, last->length, prefix);
        flow->bytes -= last->length;
        flow->torn = missing < size;
        flow->torn_length = last->length;
        missing -= flow->torn ? missing : size;
    }
}

bool has_output(const struct end *end)
{
    return end->conn && tcpmsg_conn_events(end->conn) & POLLOUT;
}

/* How often the system has had no room for one more connection in TIME-WAIT; 0 where none tells. */
static long time_waits_lost(void)
{
    char names[16 * KIB], counts[16 * KIB];
    FILE *file = fopen("/proc/net/netstat", "re");
    char *next_name = NULL, *next_count = NULL;
    bool read = file && fgets(names, sizeof names, file) && fgets(counts, sizeof counts, file);
    if (file)
        fclose(file);
    const char *name = read ? strtok_r(names, " \n", &next_name) : NULL;
    const char *count = name ? strtok_r(counts, " \n", &next_count) : NULL;
    while (name && count && strcmp(name, "TCPTimeWaitOverflow") != 0) {
        name = strtok_r(NULL, " \n", &next_name);
        count = strtok_r(NULL, " \n", &next_count);
    }
    return name && count ? strtol(count, NULL, 10) : 0;
}

/* tcp(7), tcp_max_tw_buckets: who closes last then is answered by a reset. */
static bool time_waits_were_lost(const struct world *world)
{
    return world->tcp && time_waits_lost() != world->time_waits_lost;
}

bool may_be_reset(struct end *end)
{
    if (!is_gone(end->other))
        return false;
    if (end->other->aborted && end->world->tcp)
        return true;
    bool in_haste = end->other->aborted || end->other->out.lossy; /* it did not drop what came */
    bool unread = end->out.count > 0 && (end->world->tcp || in_haste);
    return unread || end->tried_late || end->world->was_faulty || time_waits_were_lost(end->world);
}

bool must_be_here(struct end *end)
{
    const struct flow *flow = flow_in(end);
    bool sure = !end->world->tcp && !end->world->faulty && !flow->lossy;
    return flow->whole || (sure && flow->count > 0 && !has_output(end->other));
}

/* Attached sockets that block or not, as the user has made them. */
static void attach_two(struct world *world, const tcpmsg_options options[2])
{
    int fds[2];
    if (world->tcp) {
        char address[TCPMSG_ADDRESS_MAX];
        int listening = raw_listen(address, sizeof address);
        fds[0] = raw_dial(address);
        fds[1] = raw_accept(listening);
        close(listening);
    } else {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    }
    for (int i = 0; i < 2; i++) {
        if (dice_chance(&world->dice, 50))
            assert_int_equal(fcntl(fds[i], F_SETFL, O_NONBLOCK), 0);
        assert_int_equal(tcpmsg_attach(&world->ends[i].conn, fds[i], &options[i]), 0);
    }
}

static void dial_and_accept(struct world *world, const tcpmsg_options options[2])
{
    tcpmsg_listener *listener;
    char address[TCPMSG_ADDRESS_MAX] = "127.0.0.1:0";
    if (!world->tcp)
        snprintf(address, sizeof address, "unix:@tcpmsg-model-%d", (int)getpid());
    assert_int_equal(tcpmsg_listen(&listener, address, &options[1]), 0);
    assert_int_equal(tcpmsg_listener_address(listener, address, sizeof address), 0);
    assert_int_equal(tcpmsg_dial(&world->ends[0].conn, address, &options[0]), 0);
    assert_int_equal(tcpmsg_accept(listener, &world->ends[1].conn, 0), 0);
    tcpmsg_listener_close(listener);
}

/* The sender's, since a TCP receiver with little room makes everybody wait for its sender's timers:
 * seconds, and minutes at last. */
static void limit_buffers(struct world *world)
{
    static const int sizes[] = {1, 4096, 30000, 64 * 1024};
    for (int i = 0; i < 2; i++) {
        int fd = tcpmsg_conn_fd(world->ends[i].conn), large = (int)MIB;
        int size = sizes[dice_below(&world->dice, COUNT(sizes))];
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
        if (dice_chance(&world->dice, 50))
            assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof large), 0);
    }
}

static int one_of(struct dice *dice, const int *numbers, size_t count)
{
    return numbers[dice_below(dice, count)];
}

static void choose_options(struct world *world, struct end *end, tcpmsg_options *options)
{
    static const size_t limits[] = {0, 0, 1, 1000, 70000, 70000, 400 * KIB, 400 * KIB};
    static const int timeouts[] = {0, TCPMSG_NO_LIMIT, 1, 1, 2, 20000};
    struct dice *dice = &world->dice;
    *options = (tcpmsg_options){.size = sizeof *options, .framing = world->framing};
    options->max_message = limits[dice_below(dice, COUNT(limits))];
    options->linger_ms = world->linger_ms;
    options->spin_us = dice_chance(dice, 10) ? 20 : 0;
    options->message_timeout_ms = dice_chance(dice, 10) ? 3600 * 1000 : 0;
    options->send_timeout_ms = one_of(dice, timeouts, COUNT(timeouts));
    options->recv_timeout_ms = one_of(dice, timeouts, COUNT(timeouts));
    end->most = options->max_message ? options->max_message : 16 * MIB;
    end->limit = framing_limit(&world->framing, end->most);
    end->send_ms = options->send_timeout_ms ? options->send_timeout_ms : TCPMSG_NO_LIMIT;
    end->recv_ms = options->recv_timeout_ms ? options->recv_timeout_ms : TCPMSG_NO_LIMIT;
}

static void make_ends(struct world *world)
{
    tcpmsg_options options[2];
    for (int i = 0; i < 2; i++) {
        struct end *end = &world->ends[i];
        *end = (struct end){.world = world, .other = &world->ends[!i], .name = i ? 'B' : 'A'};
        choose_options(world, end, &options[i]);
        if (i == 1 && dice_chance(&world->dice, 70)) { /* mostly they agree */
            options[1].max_message = options[0].max_message;
            end->most = world->ends[0].most;
            end->limit = world->ends[0].limit;
        }
    }
    world->held_before = memory_held();
    (dice_chance(&world->dice, 60) ? attach_two : dial_and_accept)(world, options);
    if (world->small_buffers)
        limit_buffers(world);
    step_note("%s, width %d%s%s, limits %zu and %zu, linger %d ms%s", world->tcp ? "TCP" : "Unix",
              world->framing.width, world->framing.little_endian ? ", little-endian" : "",
              world->framing.counts_prefix ? ", counting itself" : "", world->ends[0].most,
              world->ends[1].most, world->linger_ms, world->small_buffers ? ", small buffers" : "");
    step_keep();
}

void world_begin(struct world *world, uint64_t seed)
{
    static const int lingers[] = {0, TCPMSG_NO_LINGER, 1, 5};
    *world = (struct world){.dice = dice_from(seed, 1), .buffer = world->buffer};
    world->tcp = dice_chance(&world->dice, 40);
    world->small_buffers = dice_chance(&world->dice, 40);
    world->framing = framings[dice_below(&world->dice, framings_count)];
    world->linger_ms = one_of(&world->dice, lingers, COUNT(lingers));
    world->time_waits_lost = world->tcp ? time_waits_lost() : 0;
    make_ends(world);
    faults_begin(&(struct faults){0});
    for (int i = 0; i < 2; i++)
        faults_on(tcpmsg_conn_fd(world->ends[i].conn));
    world_be_calm(world);
}

void world_be_calm(struct world *world)
{
    faults.most = 0;
    faults.random_most = faults.eagain = faults.eintr = faults.no_buffers = faults.no_memory = 0;
    memory_refuse(0);
    world->no_memory = false;
    world->faulty = !weather_is_fair();
    world->was_faulty = world->was_faulty || world->faulty;
    world->easy = weather_is_fair() ? CONTENT_MOST : EASY_IN_BAD_WEATHER;
}

void world_change_faults(struct world *world)
{
    static const int most[] = {0, 0, 1, 7, 100, 5000};
    static const int percents[] = {0, 0, 30, 90};
    static const int memory[] = {0, 0, 0, 10, 50};
    struct dice *dice = &world->dice;
    world_be_calm(world);
    if (dice_chance(dice, 40)) {
        step_note("no faults");
        return;
    }
    faults.most = (size_t)one_of(dice, most, COUNT(most));
    faults.random_most = dice_chance(dice, 50);
    faults.eagain = one_of(dice, percents, COUNT(percents));
    faults.eintr = one_of(dice, percents, COUNT(percents));
    faults.no_buffers = one_of(dice, memory, COUNT(memory));
    faults.no_memory = one_of(dice, memory, COUNT(memory));
    int refused = one_of(dice, memory, COUNT(memory));
    memory_refuse(refused);
    if (faults.most > 0 && faults.most < 1000 && weather_is_fair())
        world->easy = 100 * faults.most + 20;
    world->faulty = world->was_faulty = true;
    world->no_memory = faults.no_buffers > 0 || faults.no_memory > 0 || refused > 0;
    step_note("faults: %s%zu bytes a call, EAGAIN %d%%, EINTR %d%%, ENOBUFS %d%%, ENOMEM %d%%, "
              "malloc %d%%",
              faults.random_most ? "up to " : "", faults.most, faults.eagain, faults.eintr,
              faults.no_buffers, faults.no_memory, refused);
}

void world_end(struct world *world)
{
    world_be_calm(world);
    for (int i = 0; i < 2; i++)
        if (world->ends[i].conn)
            say_close(&world->ends[i]);
    faults_end();
    if (memory_held() != world->held_before)
        model_fail("%ld bytes are left behind", memory_held() - world->held_before);
}
