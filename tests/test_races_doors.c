/* SPDX-License-Identifier: MIT */
/* Listeners and loops that end while others accept at them, dial to them and call them, among the
 * descriptors of others: none of those is touched, and nothing is left. */
#define _GNU_SOURCE
#include "crowd.h"
#include "races.h"
#include "rounds.h"
#include "sentinels.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A place to dial to, and one from which there is no answer. */
static struct {
    tcpmsg_listener *listener;
    char address[TCPMSG_ADDRESS_MAX];
    char folder[PATH_ROOM];
    atomic_bool inside[2]; /* so far have they come who accept */
    atomic_bool back[2];
    struct crowd crowd;
    char silent[2][TCPMSG_ADDRESS_MAX]; /* by number and by name */
} place;

static void listen_somewhere(unsigned *seed)
{
    char path[TCPMSG_ADDRESS_MAX] = "127.0.0.1:0";
    if (chance(seed, 2))
        snprintf(path, sizeof path, "unix:%s/door", place.folder);
    assert_int_equal(tcpmsg_listen(&place.listener, path, TCPMSG_OPTIONS(.linger_ms = 1)), 0);
    assert_int_equal(tcpmsg_listener_address(place.listener, place.address, sizeof path), 0);
    for (int i = 0; i < 2; i++) {
        atomic_store(&place.inside[i], false);
        atomic_store(&place.back[i], false);
    }
}

static void dial_and_end(const char *address, unsigned *seed)
{
    tcpmsg_conn *conn;
    tally(DIALS);
    int limit = 1 + (int)chance(seed, 8);
    if (tcpmsg_dial(
            &conn, address,
            TCPMSG_OPTIONS(.connect_timeout_ms = limit, .recv_timeout_ms = 1, .linger_ms = 1)) != 0)
        return;
    send_some(conn, seed, TCPMSG_DONTWAIT);
    receive_some(conn, seed, chance(seed, 2) ? 0 : TCPMSG_DONTWAIT);
    if (chance(seed, 3) == 0)
        abort_it(conn);
    close_it(conn);
}

static int accept_and_end(int flags, unsigned *seed)
{
    tcpmsg_conn *conn;
    tally(ACCEPTS);
    int r = tcpmsg_accept(place.listener, &conn, flags);
    if (r != 0)
        return r;
    receive_some(conn, seed, TCPMSG_DONTWAIT);
    send_some(conn, seed, TCPMSG_DONTWAIT);
    close_it(conn);
    return 0;
}

/* Two accept until it is over, two dial, and one of these aborts. */
static void abort_a_listener(int hand, unsigned *seed)
{
    dawdle(seed);
    if (hand < 2) {
        while (accept_and_end(chance(seed, 3) ? 0 : TCPMSG_DONTWAIT, seed) != TCPMSG_ECANCELED)
            continue;
        return;
    }
    for (unsigned calls = chance(seed, 5); calls > 0; calls--)
        dial_and_end(chance(seed, 4) ? place.address : place.silent[chance(seed, 2)], seed);
    if (hand == 3) {
        tally(ABORTS);
        tcpmsg_listener_abort(place.listener);
    }
}

static void round_of_aborts(unsigned *seed)
{
    listen_somewhere(seed);
    crew_round(abort_a_listener);
    tally(CLOSES);
    tcpmsg_listener_close(place.listener);
}

/* Close waits for the accepts that are under way, so they are, or over, before it is called. */
static void close_a_listener(int hand, unsigned *seed)
{
    if (hand < 2) {
        polling = &place.inside[hand];
        (void)accept_and_end(0, seed);
        polling = NULL;
        atomic_store(&place.back[hand], true);
        return;
    }
    if (hand == 2) {
        dawdle(seed);
        dial_and_end(place.address, seed);
        return;
    }
    for (int i = 0; i < 2; i++)
        while (!atomic_load(&place.inside[i]) && !atomic_load(&place.back[i]))
            dawdle(seed);
    dawdle(seed);
    tally(CLOSES);
    tcpmsg_listener_close(place.listener);
}

static void round_of_closes(unsigned *seed)
{
    listen_somewhere(seed);
    crew_round(close_a_listener);
}

static void with_places(void (*round)(unsigned *seed), long everyday)
{
    crowd_at_port(&place.crowd, place.silent[0], sizeof place.silent[0]);
    snprintf(place.silent[1], sizeof place.silent[1], "localhost%s", strchr(place.silent[0], ':'));
    make_temp_dir(place.folder);
    race(round, everyday);
    remove_temp_dir(place.folder);
    crowd_leaves(&place.crowd);
}

static void listeners_that_are_aborted_under_accepts_and_dials(void **state)
{
    (void)state;
    with_places(round_of_aborts, 3000);
}

static void listeners_that_are_closed_under_accepts(void **state)
{
    (void)state;
    with_places(round_of_closes, 2000);
}

static void do_nothing(void *arg)
{
    (void)arg;
}

static void call_the_loop(unsigned *seed)
{
    tcpmsg_options options = {.size = sizeof options, .linger_ms = 1};
    tcpmsg_conn *ends[2];
    switch (chance(seed, 5)) {
    case 0:
        tally(OTHERS);
        (void)!tcpmsg_loop_post(looper->loop, do_nothing, NULL);
        break;
    case 1:
        tally(OTHERS);
        (void)!tcpmsg_loop_after(looper->loop, (int)chance(seed, 3), do_nothing, NULL);
        break;
    case 2:
        pair_conns_unix(&ends[0], &ends[1], &options);
        send_some(ends[1], seed, TCPMSG_DONTWAIT);
        tally(OTHERS);
        if (looper_add(looper, ends[0], &somehow) != 0)
            close_it(ends[0]);
        close_it(ends[1]);
        break;
    default:
        tally(DIALS);
        options.connect_timeout_ms = 1 + (int)chance(seed, 30);
        const char *to = chance(seed, 2) ? looper->address : place.silent[chance(seed, 2)];
        (void)!looper_dial(looper, to, &options, &somehow);
    }
}

/* While dials race, and connections come and go, somebody stops it. */
static void stop_a_loop(int hand, unsigned *seed)
{
    dawdle(seed);
    if (hand == 0)
        dial_and_end(looper->address, seed);
    for (unsigned calls = chance(seed, 8); hand < 3 && calls > 0; calls--)
        call_the_loop(seed);
    if (hand < 3)
        return;
    if (chance(seed, 3) == 0)
        dial_and_end(looper->address, seed);
    tally(CLOSES);
    tcpmsg_loop_stop(looper->loop);
}

static void round_of_stops(unsigned *seed)
{
    looper = looper_open(TCPMSG_LOOP_OPTIONS(.threads = 1 + (int)chance(seed, 3)));
    looper_listen(looper, chance(seed, 2) ? TCP : UNIX, &somehow,
                  TCPMSG_OPTIONS(.linger_ms = 1 + (int)chance(seed, 10)));
    if (chance(seed, 8))
        looper_start(looper);
    crew_round(stop_a_loop);
    end_looper();
}

static void loops_that_are_stopped_under_dials(void **state)
{
    (void)state;
    with_places(round_of_stops, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listeners_that_are_aborted_under_accepts_and_dials),
        cmocka_unit_test(listeners_that_are_closed_under_accepts),
        cmocka_unit_test(loops_that_are_stopped_under_dials),
    };
    if (!is_soak())
        alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
