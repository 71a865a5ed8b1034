/* SPDX-License-Identifier: MIT */
/* A random conversation of two ends in one thread, step by step against a model. */
#define _GNU_SOURCE
#include "model_ends.h"
#include "peer.h"

#include <stdlib.h>
#include <unistd.h>

enum { EVERYDAY_STEPS = 20000, SELDOM = 5 };

/* What the script is about for a while: who speaks, and who listens, beside what is seldom. */
struct mood {
    unsigned says[2], hears[2];
};

static struct mood new_mood(struct dice *dice)
{
    static const unsigned shares[] = {0, 1, 5, 20, 40, 40};
    struct mood mood;
    for (int i = 0; i < 2; i++) {
        mood.says[i] = shares[dice_below(dice, COUNT(shares))];
        mood.hears[i] = shares[dice_below(dice, COUNT(shares))];
    }
    return mood;
}

static void change_timeouts(struct end *end)
{
    static const int timeouts[] = {0, TCPMSG_NO_LIMIT, 1, 1, 1, 2, 5, 20000};
    struct dice *dice = &end->world->dice;
    int send_ms = timeouts[dice_below(dice, COUNT(timeouts))];
    int recv_ms = timeouts[dice_below(dice, COUNT(timeouts))];
    step_note("%c's time limits are %d and %d ms", end->name, send_ms, recv_ms);
    assert_int_equal(tcpmsg_conn_set_timeouts(end->conn, send_ms, recv_ms), 0);
    end->send_ms = send_ms ? send_ms : end->send_ms;
    end->recv_ms = recv_ms ? recv_ms : end->recv_ms;
}

/* Arguments that are wrong change nothing. */
static void say_nonsense(struct end *end)
{
    char byte;
    const void *view;
    bool wrong = tcpmsg_send(end->conn, NULL, 1, 0) != TCPMSG_EINVAL ||
                 tcpmsg_send(end->conn, "x", 1, TCPMSG_PEEK) != TCPMSG_EINVAL ||
                 tcpmsg_sendv(end->conn, NULL, -1, 0) != TCPMSG_EINVAL ||
                 tcpmsg_flush(end->conn, TCPMSG_MORE) != TCPMSG_EINVAL ||
                 tcpmsg_recv(end->conn, &byte, 1, TCPMSG_MORE) != TCPMSG_EINVAL ||
                 tcpmsg_recv(end->conn, NULL, 1, 0) != TCPMSG_EINVAL ||
                 tcpmsg_recv_view(end->conn, &view, 8) != TCPMSG_EINVAL ||
                 tcpmsg_conn_set_timeouts(end->conn, -2, 0) != TCPMSG_EINVAL;
    step_note("%c says nonsense", end->name);
    if (wrong)
        model_fail("nonsense was taken");
}

/* What is done seldom, of a thousand. */
static void do_seldom(struct world *world, struct end *end)
{
    size_t roll = dice_below(&world->dice, 1000);
    if (roll < 300)
        say_flush(end, false);
    else if (roll < 500)
        world_change_faults(world);
    else if (roll < 750)
        change_timeouts(end);
    else if (roll < 850)
        say_nonsense(end);
    else if (roll < 862)
        say_end(end);
    else if (roll < 870)
        say_abort(end);
    else if (roll < 878)
        say_close(end);
}

static void one_step(struct world *world, const struct mood *mood)
{
    struct end *end = &world->ends[dice_below(&world->dice, 2)];
    int which = (int)(end - world->ends);
    unsigned says = mood->says[which], hears = mood->hears[which];
    size_t roll = dice_below(&world->dice, says + hears + SELDOM);
    step_begin();
    if (!end->conn)
        end = end->other;
    if (roll < says)
        say_something(end);
    else if (roll < says + hears)
        hear_something(end, false);
    else
        do_seldom(world, end);
    if (end->conn) {
        check_view(end);
        check_end(end);
    }
}

/* Nothing new can happen any more, but that it is told again. */
static bool is_over(const struct world *world)
{
    int over = 0;
    for (int i = 0; i < 2; i++) {
        const struct end *end = &world->ends[i];
        over += !end->conn || end->aborted || (end->out.shut && end->other->out.in_told);
    }
    return over == 2 || (!world->ends[0].conn && !world->ends[1].conn);
}

/* What the library may hold: what it has read ahead, what was held back, and a message each way. */
static void check_memory(struct world *world)
{
    long most = 0;
    for (int i = 0; i < 2; i++)
        most += (long)(1536 * KIB + 2 * world->ends[i].out.bytes);
    long held = memory_held() - world->held_before;
    if (held > most)
        model_fail("%ld bytes are held, and %ld would be enough", held, most);
}

/* Whether the end knows all that there is to know: the messages, and the end behind them. */
static bool has_all(struct end *end)
{
    const struct flow *flow = flow_in(end);
    if (!end->conn || flow->in_told || end->aborted)
        return true;
    if (flow->count > 0 || flow->shut || is_gone(end->other))
        return false;
    return true;
}

/* Once nobody says anything new, everything comes, and then the end, which is told again. */
static void settle(struct world *world)
{
    int64_t deadline = now_ms() + WAIT_MS;
    size_t bytes = world->ends[0].out.bytes + world->ends[1].out.bytes;
    if (dice_chance(&world->dice, 70) || bytes > 20 * world->easy)
        world_be_calm(world);
    step_note("they settle");
    while (!has_all(&world->ends[0]) || !has_all(&world->ends[1])) {
        bool heard = false;
        for (int i = 0; i < 2; i++) {
            struct end *end = &world->ends[dice_below(&world->dice, 2)];
            if (!end->conn)
                continue;
            say_flush(end, true);
            for (int messages = 0; messages < 100 && hear_something(end, true); messages++)
                heard = true;
            check_end(end);
        }
        if (heard)
            deadline = now_ms() + WAIT_MS;
        if (now_ms() > deadline)
            model_fail("messages, or the end, don't come: %zu to B, %zu to A",
                       world->ends[0].out.count, world->ends[1].out.count);
    }
}

static void play_round(uint64_t seed, long left)
{
    static struct world world;
    static uint8_t buffer[CONTENT_MOST + 64];
    struct mood mood = {{0}, {0}};
    world.buffer = buffer;
    round_begin(seed);
    world_begin(&world, seed);
    size_t steps = dice_between(&world.dice, 10, dice_chance(&world.dice, 20) ? ROUND_STEPS : 300);
    for (size_t i = 0; i < steps && (long)i < left; i++) {
        if (i % 40 == 0)
            mood = new_mood(&world.dice);
        one_step(&world, &mood);
        if (i % 16 == 0)
            check_memory(&world);
        if (is_over(&world) && (!world.ends[0].conn || dice_chance(&world.dice, 10)))
            break;
    }
    if (dice_chance(&world.dice, 80))
        settle(&world);
    world_end(&world);
    round_end();
}

static void a_fixed_script_goes_as_the_model_says(void **state)
{
    (void)state;
    uint64_t seed;
    if (seed_fixed(&seed))
        play_rounds(seed, EVERYDAY_STEPS, play_round);
}

static void a_new_script_goes_as_the_model_says(void **state)
{
    (void)state;
    uint64_t seed;
    if (seed_new(&seed))
        play_rounds(seed, EVERYDAY_STEPS, play_round);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fixed_script_goes_as_the_model_says),
        cmocka_unit_test(a_new_script_goes_as_the_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
