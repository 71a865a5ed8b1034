/* SPDX-License-Identifier: MIT */
/* Calls on a connection that race with each other and with its end, among the descriptors of
 * others: whatever the order, not a byte of theirs is written or read, none is closed, and nothing
 * is left. */
#define _GNU_SOURCE
#include "races.h"
#include "rounds.h"

#include <unistd.h>

/* Two ends of a connection; each hand has a reference to one of them. */
static struct {
    tcpmsg_conn *ends[2];
    bool hurried;      /* no call waits for long, else until somebody ends the connection */
    atomic_bool added; /* the loop has the first end */
} scene;

/* In a loop, close drops no reference; whether it is there has to be known for that. */
static void abort_or_close(tcpmsg_conn *conn, unsigned *seed)
{
    bool in_loop = looper && conn == scene.ends[0];
    if (chance(seed, 2))
        abort_it(conn);
    else if (!in_loop)
        close_it(tcpmsg_conn_ref(conn));
    else if (atomic_load(&scene.added))
        close_it(conn);
}

static void call_something(tcpmsg_conn *conn, unsigned *seed, int flags)
{
    unsigned roll = chance(seed, 100);
    if (roll < 45)
        send_some(conn, seed, flags);
    else if (roll < 80)
        receive_some(conn, seed, flags);
    else if (roll < 94)
        ask_some(conn, seed, flags);
    else
        abort_or_close(conn, seed);
}

/* The last thing that a hand does drops its reference. Without a limit to the calls of the others
 * the first two may not wait, and end what the others wait for. */
static void play_with_an_end(int hand, unsigned *seed)
{
    tcpmsg_conn *conn = scene.ends[hand % 2];
    bool patient = scene.hurried || hand > 1;
    dawdle(seed);
    for (unsigned calls = 1 + chance(seed, 12); calls > 0; calls--)
        call_something(conn, seed, patient && chance(seed, 2) ? 0 : TCPMSG_DONTWAIT);
    if (!patient)
        abort_it(conn);
    if (chance(seed, 3))
        close_it(conn);
    else
        tcpmsg_conn_unref(conn);
}

static void set_scene(unsigned *seed, bool hurried)
{
    static const int lingers[] = {TCPMSG_NO_LINGER, TCPMSG_NO_LINGER, 1, 5};
    scene.hurried = hurried;
    atomic_store(&scene.added, false);
    tcpmsg_options options = {.size = sizeof options, .linger_ms = lingers[chance(seed, 4)]};
    if (scene.hurried)
        options.send_timeout_ms = options.recv_timeout_ms = 1 + (int)chance(seed, 2);
    else
        options.linger_ms = TCPMSG_NO_LINGER; /* a close of a hand's own waits for its linger */
    (chance(seed, 3) ? pair_conns : pair_conns_unix)(&scene.ends[0], &scene.ends[1], &options);
    for (int hand = 2; hand < HANDS; hand++)
        tcpmsg_conn_ref(scene.ends[hand % 2]);
}

static void round_of_connections(unsigned *seed)
{
    set_scene(seed, chance(seed, 2));
    crew_round(play_with_an_end);
}

static void connections_that_end_under_calls(void **state)
{
    (void)state;
    race(round_of_connections, 24000);
}

/* A loop takes one end over while the others have it in use. */
static void play_with_a_loops(int hand, unsigned *seed)
{
    tcpmsg_conn *conn = scene.ends[hand % 2];
    dawdle(seed);
    if (hand == 0) {
        tcpmsg_conn *given = conn;
        tcpmsg_conn_ref(conn);
        atomic_store(&scene.added, looper_add(looper, given, &somehow) == 0);
        if (!atomic_load(&scene.added))
            tcpmsg_conn_unref(given);
    }
    for (unsigned calls = 1 + chance(seed, 12); calls > 0; calls--)
        call_something(conn, seed, chance(seed, 2) ? 0 : TCPMSG_DONTWAIT);
    if (hand % 2 == 0 || chance(seed, 3) == 0)
        tcpmsg_conn_unref(conn);
    else
        close_it(conn);
}

static void new_looper(void)
{
    end_looper();
    looper = looper_open(
        TCPMSG_LOOP_OPTIONS(.threads = 2, .high_water = 64 * KIB, .idle_timeout_ms = 200));
    looper->forgetful = true;
    looper_start(looper);
}

static void round_of_takeovers(unsigned *seed)
{
    static int rounds;
    if (!looper || ++rounds % 200 == 0)
        new_looper();
    set_scene(seed, true);
    crew_round(play_with_a_loops);
}

static void connections_that_a_loop_takes_over_under_calls(void **state)
{
    (void)state;
    race(round_of_takeovers, 12000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_that_end_under_calls),
        cmocka_unit_test(connections_that_a_loop_takes_over_under_calls),
    };
    if (!is_soak())
        alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
