/* SPDX-License-Identifier: MIT */
/* Random conversations of connections in a loop, with each other and with threads outside. What
 * each callback and each thread does follows from the seed; when, is the system's affair. */
#define _GNU_SOURCE
#include "faults.h"
#include "model_members.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { EVERYDAY_STEPS = 10000, SHORT = 200, FEW = 10 };

/* Whether anybody may have broken it off. */
static bool is_rough(const struct side *side)
{
    return side->closed || side->aborted || side->other->closed || side->other->aborted ||
           side->scene->stops;
}

static void set_side(struct scene *scene, size_t at, struct dice *dice, size_t longest, bool looped)
{
    struct side *side = &scene->sides[at];
    memset(side, 0, sizeof *side);
    side->acts = member_acts;
    side->scene = scene;
    side->other = &scene->sides[at ^ 1];
    side->looped = looped;
    side->each = (uint32_t)dice_between(dice, 1, dice_chance(dice, 20) ? EACH_MOST : 60);
    side->dice = dice_from(dice_roll(dice), 5);
    side->seed = dice_roll(dice);
    side->memory = malloc(LEDGER_LONGEST);
    atomic_store(&side->speakers, 2);
    ledger_begin(&side->says, dice_roll(dice), longest);
}

/*
 * Two ends in a loop: neither reads while its own queue is over high_water, so that one of them
 * says so little that the system takes it at once.
 */
static void set_pair(struct scene *scene, size_t number, struct dice *dice)
{
    struct side *sides = &scene->sides[2 * number];
    tcpmsg_options options = {.size = sizeof options, .send_timeout_ms = 2, .recv_timeout_ms = 2};
    bool tcp = dice_chance(dice, 50), both = dice_chance(dice, 40);
    options.framing = framings[dice_below(dice, framings_count)];
    size_t longest = framing_limit(&options.framing, LEDGER_LONGEST);
    set_side(scene, 2 * number, dice, longest, true);
    set_side(scene, 2 * number + 1, dice, both && longest > SHORT ? SHORT : longest, both);
    if (both && sides[1].each > FEW)
        sides[1].each = FEW;
    (tcp ? pair_conns : pair_conns_unix)(&sides[0].conn, &sides[1].conn, &options);
    for (size_t i = 0; i < 2; i++) {
        /* In a loop that would be the output's clock. */
        if (sides[i].looped)
            (void)tcpmsg_conn_set_timeouts(sides[i].conn, TCPMSG_NO_LIMIT, 0);
        faults_on(tcpmsg_conn_fd(sides[i].conn));
    }
}

static void choose_faults(struct dice *dice)
{
    static const size_t most[] = {0, 0, 0, 1000, 5000};
    struct faults chosen = {.most = most[dice_below(dice, COUNT(most))]};
    bool calm = dice_chance(dice, 50);
    chosen.random_most = dice_chance(dice, 50);
    chosen.eagain = dice_chance(dice, 30) ? 50 : 0;
    chosen.eintr = dice_chance(dice, 30) ? 30 : 0;
    /* After each of these the library rests. */
    chosen.no_buffers = chosen.most == 0 && dice_chance(dice, 10) ? 2 : 0;
    faults_begin(calm ? &(struct faults){0} : &chosen);
}

static void set_scene(struct scene *scene, struct dice *dice)
{
    static const size_t waters[] = {0, 1, 4 * KIB, 64 * KIB};
    static const size_t budgets[] = {0, 0, 512 * KIB, MIB};
    tcpmsg_loop_options options = {0};
    options.threads = (int)dice_between(dice, 1, 3);
    options.high_water = waters[dice_below(dice, COUNT(waters))];
    options.memory_budget = budgets[dice_below(dice, COUNT(budgets))];
    options.spin_us = dice_chance(dice, 10) ? 20 : 0;
    scene->closes = dice_chance(dice, 20);
    scene->aborts = dice_chance(dice, 20);
    scene->stops = dice_chance(dice, 10);
    scene->pairs = dice_between(dice, 1, PAIRS_MOST);
    choose_faults(dice);
    scene->looper = looper_open(&options);
    scene->looper->forgetful = true;
    for (size_t i = 0; i < scene->pairs; i++)
        set_pair(scene, i, dice);
}

/* How much has been said and heard so far. */
static long progress(struct scene *scene)
{
    long sum = 0;
    for (size_t i = 0; i < 2 * scene->pairs; i++)
        sum += atomic_load(&scene->sides[i].says.accepted) +
               atomic_load(&scene->sides[i].says.received);
    return sum;
}

/* In bad weather a scene takes its time: it is waited for as long as anybody gets on. */
static bool ends(struct scene *scene, struct side *side)
{
    long before;
    do {
        before = progress(scene);
        if (reaches(&side->over, 1))
            return true;
    } while (progress(scene) != before);
    return false;
}

static void play_scene(struct scene *scene, struct dice *dice)
{
    bool early = dice_chance(dice, 50);
    if (early)
        looper_start(scene->looper);
    for (size_t i = 0; i < 2 * scene->pairs; i++) {
        struct side *side = &scene->sides[i];
        if (side->looped) {
            tcpmsg_conn_ref(side->conn);
            assert_int_equal(looper_add(scene->looper, side->conn, &side->acts), 0);
        }
        void *(*be)(void *) = side->looped ? be_helper : be_outsider;
        assert_int_equal(pthread_create(&side->thread, NULL, be, side), 0);
    }
    if (!early)
        looper_start(scene->looper);
    if (scene->stops) {
        for (size_t i = dice_below(dice, 300); i > 0; i--)
            sched_yield();
        looper_stop(scene->looper);
    }
    for (size_t i = 0; i < 2 * scene->pairs; i++)
        if (!ends(scene, &scene->sides[i]))
            model_fail("connection %zu of %zu does not end", i, 2 * scene->pairs);
    for (size_t i = 0; i < 2 * scene->pairs; i++)
        assert_int_equal(pthread_join(scene->sides[i].thread, NULL), 0);
}

static const char *judge_end(const struct side *side)
{
    switch (side->why) {
    case TCPMSG_EOF:
        return NULL;
    case 0:
    case TCPMSG_ETIMEDOUT:
        return side->closed && side->looped ? NULL : "nobody has closed it";
    case TCPMSG_ECANCELED:
        return side->aborted || side->scene->stops ? NULL : "nobody has aborted it";
    case TCPMSG_ERESET:
    case TCPMSG_ETRUNCATED:
        return is_rough(side) ? NULL : "nobody has broken it off";
    default:
        return "no such end";
    }
}

/* Whether all that was accepted must have been heard. */
static bool is_complete(const struct side *side)
{
    const struct side *other = side->other;
    bool cut = side->aborted || other->aborted || other->closed || side->scene->stops;
    bool late = side->why == TCPMSG_ETIMEDOUT;
    /* A reset does not wait for a pause to end. */
    bool hasty = other->why == TCPMSG_ERESET && other->was_paused;
    return !cut && !late && !hasty;
}

static const char *kind_of(const struct side *side)
{
    if (!side->looped)
        return "outside";
    return side->was_paused ? "in the loop, which was paused," : "in the loop";
}

static void judge_side(struct side *side)
{
    struct ledger *says = &side->says, *hears = &side->other->says;
    tcpmsg_info info;
    const char *wrong = judge_end(side);
    if (wrong)
        model_fail("an end is told as %s: %s", tcpmsg_error_name(side->why), wrong);
    wrong = ledger_judge(says, is_complete(side));
    if (wrong)
        model_fail("%s: from one %s that ended with %s to one %s that ended with %s", wrong,
                   kind_of(side), tcpmsg_error_name(side->why), kind_of(side->other),
                   tcpmsg_error_name(side->other->why));
    assert_int_equal(tcpmsg_conn_info(side->conn, &info, sizeof info), 0);
    if ((long)info.messages_sent != atomic_load(&says->accepted) ||
        (long)info.bytes_sent != atomic_load(&says->accepted_bytes))
        model_fail("the counters are wrong about what was sent");
    if ((long)info.messages_received != atomic_load(&hears->received) ||
        (long)info.bytes_received != atomic_load(&hears->received_bytes))
        model_fail("the counters are wrong about what was received");
}

static void clear_scene(struct scene *scene)
{
    if (atomic_load(&scene->looper->faults) > 0)
        model_fail("%s", scene->looper->fault);
    looper_finish(scene->looper);
    for (size_t i = 0; i < 2 * scene->pairs; i++) {
        struct side *side = &scene->sides[i];
        steps_done(side->steps + side->thread_steps);
        if (side->looped)
            tcpmsg_conn_unref(side->conn);
        else
            tcpmsg_close(side->conn);
        free(side->memory);
    }
}

static void play_round(uint64_t seed, long left)
{
    static struct scene scene;
    struct dice dice = dice_from(seed, 4);
    (void)left;
    round_begin(seed);
    long held_before = memory_held();
    set_scene(&scene, &dice);
    play_scene(&scene, &dice);
    for (size_t i = 0; i < 2 * scene.pairs; i++)
        judge_side(&scene.sides[i]);
    clear_scene(&scene);
    faults_end();
    if (memory_held() != held_before)
        model_fail("%ld bytes are left behind", memory_held() - held_before);
    round_end();
}

static void a_fixed_loop_goes_as_the_model_says(void **state)
{
    (void)state;
    uint64_t seed;
    if (seed_fixed(&seed))
        play_rounds(seed, EVERYDAY_STEPS, play_round);
}

static void a_new_loop_goes_as_the_model_says(void **state)
{
    (void)state;
    uint64_t seed;
    if (seed_new(&seed))
        play_rounds(seed, EVERYDAY_STEPS, play_round);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fixed_loop_goes_as_the_model_says),
        cmocka_unit_test(a_new_loop_goes_as_the_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
