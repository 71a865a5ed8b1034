/* SPDX-License-Identifier: MIT */
/*
 * A loop with several connections. The input says, step by step, what their peers do and what the
 * program does outside of callbacks, and in each callback what it does there: party.c.
 * A step is a call that was posted and posts the next, so that the loop goes around in between.
 */
#include "party.h"

#include <string.h>
#include <unistd.h>

#define STEPS_MOST 300
#define SETTLE 12 /* so often it goes around until all is told */

static void step(void *arg);

static void add_known(struct hall *hall, bool tcp)
{
    struct party *party = party_new(hall);
    int fd;
    if (!party)
        return;
    ground_pair(tcp, &fd, &party->raw);
    party->tcp = tcp;
    party->known = true;
    MUST(tcpmsg_attach(&party->conn, fd, &hall->options) == 0);
    /* What was read, and what was held back, before the loop has it. */
    unsigned before = take(&hall->input);
    const void *view;
    if (before & 1)
        party_writes(party, before & 2);
    if (before & 4 && tcpmsg_recv_view(party->conn, &view, TCPMSG_DONTWAIT | TCPMSG_PEEK) < 0)
        before |= 8;
    if (before & 16 && tcpmsg_send(party->conn, NULL, 0, TCPMSG_MORE) == 0)
        party->promised += (size_t)model_encode(&hall->model, 0, party->to);
    if (tcpmsg_loop_add(hall->loop, party->conn, &party_callbacks, party) == 0)
        return;
    MUST(hall->stopped || tcpmsg_next_length(party->conn) < 0);
    MUST(tcpmsg_close(party->conn) != TCPMSG_EINVAL);
    party->conn = NULL;
}

/* It has been heard from here, by name, by the loop itself; or nobody listens there. */
static void add_dial(struct hall *hall, const char *address)
{
    struct party *party = party_new(hall);
    if (!party)
        return;
    party->dials = true;
    int got = tcpmsg_loop_dial(hall->loop, address, &hall->options, &party_callbacks, party);
    MUST(got == 0 || (got == TCPMSG_ECANCELED && hall->stopped));
}

static void add_listener(struct hall *hall, const char *address)
{
    tcpmsg_listener *listener;
    int got = tcpmsg_listen(&listener, address, &hall->options);
    if (got == TCPMSG_EINUSE)
        return;
    MUST(got == 0);
    if (tcpmsg_loop_listen(hall->loop, listener, &guest_callbacks, hall) < 0) {
        MUST(hall->stopped);
        tcpmsg_listener_close(listener);
    }
}

static void count_call(void *arg)
{
    (*(int *)arg)++;
}

static void post(struct hall *hall, void (*call)(void *arg), void *arg)
{
    if (tcpmsg_loop_post(hall->loop, call, arg) == 0)
        hall->posted++;
    else
        MUST(hall->stopped);
}

static void one_step(struct hall *hall)
{
    static char address[48], nowhere[64];
    unsigned choice = take(&hall->input) % 24;
    snprintf(address, sizeof address, "unix:@tcpmsg-fuzz-%ld", (long)getpid());
    snprintf(nowhere, sizeof nowhere, "%s-not", address);
    if (choice < 4) {
        add_known(hall, choice == 3);
        return;
    }
    struct party *party = choice < 19 ? party_take(hall) : NULL;
    if (choice < 19 && !party)
        return;
    if (choice < 9)
        party_writes(party, choice == 8);
    else if (choice < 11)
        party_reads(party);
    else if (choice == 11)
        party_ends(party);
    else if (choice == 12)
        party_closes(party);
    else if (choice < 19)
        party_act(party);
    else if (choice == 19)
        add_listener(hall, address);
    else if (choice < 22)
        add_dial(hall, choice == 20 ? address : nowhere);
    else if (choice == 22)
        post(hall, count_call, &hall->ran);
    else
        MUST(tcpmsg_loop_after(hall->loop, 0, count_call, &hall->later) == 0 || hall->stopped);
}

/* The input is used up: the peers read all they get, and then it is looked at. */
static void settle(struct hall *hall, int left)
{
    for (int i = 0; i < hall->count; i++) {
        party_reads(&hall->parties[i]);
        if (left == 0 && !hall->tight && !hall->stopped)
            party_check_told(&hall->parties[i]);
    }
}

struct script {
    struct hall hall;
    int steps, settling;
};

static void step(void *arg)
{
    struct script *script = arg;
    struct hall *hall = &script->hall;
    hall->ran++;
    if (hall->input.count > 0 && script->steps++ < STEPS_MOST) {
        one_step(hall);
    } else {
        hall->input.count = 0;
        settle(hall, SETTLE - script->settling);
        if (script->settling++ == SETTLE) {
            hall->stopped = true;
            tcpmsg_loop_stop(hall->loop);
        }
    }
    post(hall, step, script);
}

static void open_hall(struct hall *hall)
{
    static const size_t limits[] = {0, 0, 0, 10, 300, 65536, 100000, SIZE_MAX / 2};
    static const size_t high_waters[] = {0, 1, 100, 5000};
    static const size_t budgets[] = {0, 0, 70000, 1};
    tcpmsg_loop_options options = {0};
    hall->options.framing = take_framing(&hall->input, &hall->model);
    unsigned how = take(&hall->input), more = take(&hall->input);
    hall->options.max_message = limits[how % 8];
    hall->options.linger_ms = how >> 3 & 1 ? 1 : TCPMSG_NO_LINGER;
    model_limit(&hall->model,
                hall->options.max_message ? hall->options.max_message : (size_t)16 << 20);
    options.poller = how >> 4 & 1 ? TCPMSG_POLLER_POLL : 0;
    options.spin_us = how >> 5 & 1;
    options.max_conns = how >> 6 & 1 ? 3 : 0;
    options.high_water = high_waters[more % 4];
    options.memory_budget = budgets[more >> 2 & 3];
    hall->high_water = options.high_water ? options.high_water : (size_t)1 << 20;
    hall->tight = options.memory_budget != 0;
    MUST(tcpmsg_loop_open(&hall->loop, &options) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct script script;
    struct hall *hall = &script.hall;
    script = (struct script){.hall = {.input = {data, size}}};
    ground_mark();
    open_hall(hall);
    post(hall, step, &script);
    MUST(tcpmsg_loop_run(hall->loop) == 0);
    MUST(hall->stopped && hall->ran == hall->posted);
    MUST(tcpmsg_loop_run(hall->loop) == TCPMSG_EINVAL);
    tcpmsg_loop_close(hall->loop);
    for (int i = 0; i < hall->count; i++)
        party_finish(&hall->parties[i]);
    ground_check();
    return 0;
}
