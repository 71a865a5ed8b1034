/* SPDX-License-Identifier: MIT */
/* Random conversations in which several threads share each end. What each thread does follows from
 * the seed; when it does so is the system's affair, so that a seed that failed may need some
 * repetition. The model says what may be seen at all. */
#define _GNU_SOURCE
#include "faults.h"
#include "model_actors.h"
#include "peer.h"

#include <string.h>

enum { EVERYDAY_STEPS = 20000, RECEIVERS_MOST = 2, MEDDLERS = 1 };

static void choose_faults(struct dice *dice)
{
    static const size_t most[] = {0, 0, 0, 300, 5000};
    struct faults chosen = {.most = most[dice_below(dice, COUNT(most))]};
    bool calm = dice_chance(dice, 40);
    chosen.random_most = dice_chance(dice, 50);
    chosen.eagain = dice_chance(dice, 30) ? 50 : 0;
    chosen.eintr = dice_chance(dice, 30) ? 30 : 0;
    /* After each of these the library rests. */
    chosen.no_buffers = chosen.most == 0 && dice_chance(dice, 10) ? 2 : 0;
    chosen.no_memory = dice_chance(dice, 10) ? 5 : 0;
    faults_begin(calm ? &(struct faults){0} : &chosen);
}

static void set_scene(struct scene *scene, uint64_t seed, struct dice *dice)
{
    memset(scene, 0, sizeof *scene);
    scene->seed = seed;
    scene->tcp = dice_chance(dice, 50);
    scene->dialogue = dice_chance(dice, 25);
    scene->aborts = !scene->dialogue && dice_chance(dice, 20);
    scene->shuts_early = !scene->dialogue && dice_chance(dice, 20);
    tcpmsg_options options = {.size = sizeof options};
    options.framing = framings[dice_below(dice, framings_count)];
    options.spin_us = dice_chance(dice, 10) ? 20 : 0;
    /* In a dialogue nobody listens while they speak: what they say has to fit the sockets. */
    size_t longest = framing_limit(&options.framing, scene->dialogue ? 2000 : LEDGER_LONGEST);
    for (int i = 0; i < 2; i++) {
        struct side *side = &scene->sides[i];
        side->scene = scene;
        side->other = &scene->sides[!i];
        side->senders = scene->dialogue ? 1 : dice_between(dice, 1, SENDERS_MOST);
        side->receivers = scene->dialogue ? 1 : dice_between(dice, 1, RECEIVERS_MOST);
        side->each = dice_between(dice, 1, dice_chance(dice, 20) ? EACH_MOST : 60);
        ledger_begin(&side->says, dice_roll(dice), longest);
    }
    if (scene->dialogue)
        scene->sides[1].each = scene->sides[0].each;
    for (int i = 0; i < 2; i++)
        scene->sides[!i].says.mixed = scene->sides[i].receivers > 1;
    (scene->tcp ? pair_conns : pair_conns_unix)(&scene->sides[0].conn, &scene->sides[1].conn,
                                                &options);
    if (scene->dialogue)
        assert_int_equal(tcpmsg_conn_set_timeouts(scene->sides[0].conn, 0, WAIT_MS), 0);
}

struct cast {
    struct actor actors[2 * (SENDERS_MOST + RECEIVERS_MOST) + MEDDLERS];
    size_t count;
};

static void enter(struct cast *cast, struct side *side, uint32_t who, void *(*be)(void *))
{
    struct actor *actor = &cast->actors[cast->count++];
    *actor = (struct actor){.side = side, .who = who};
    actor->dice = dice_from(side->scene->seed, 100 + cast->count);
    assert_int_equal(pthread_create(&actor->thread, NULL, be, actor), 0);
}

static void leave(struct cast *cast)
{
    for (size_t i = 0; i < cast->count; i++) {
        assert_int_equal(pthread_join(cast->actors[i].thread, NULL), 0);
        steps_done(cast->actors[i].steps);
    }
}

/* The end is said until it is out: the receivers are still there. */
static void say_the_end(struct side *side)
{
    int answer;
    do
        answer = tcpmsg_shutdown(side->conn);
    while (is_of_the_moment(answer));
    if (answer != 0 && !side->scene->aborted)
        ledger_wrong(&side->says, "shutdown failed");
}

static void play_scene(struct scene *scene)
{
    struct cast speakers = {.count = 0}, listeners = {.count = 0};
    for (int i = 0; i < 2; i++) {
        struct side *side = &scene->sides[i];
        if (scene->dialogue) {
            enter(&speakers, side, 0, i ? be_answerer : be_asker);
            continue;
        }
        for (uint32_t who = 0; who < side->receivers; who++)
            enter(&listeners, side, who, be_receiver);
        for (uint32_t who = 0; who < side->senders; who++)
            enter(&speakers, side, who, be_sender);
    }
    if (!scene->dialogue)
        enter(&speakers, &scene->sides[0], 0, be_meddler);
    leave(&speakers);
    for (int i = 0; i < 2; i++)
        say_the_end(&scene->sides[i]);
    leave(&listeners);
}

static void judge_side(struct side *side)
{
    struct ledger *says = &side->says, *hears = &side->other->says;
    tcpmsg_info info;
    assert_int_equal(tcpmsg_conn_info(side->conn, &info, sizeof info), 0);
    bool sent = (long)info.messages_sent == atomic_load(&says->accepted) &&
                (long)info.bytes_sent == atomic_load(&says->accepted_bytes);
    bool received = (long)info.messages_received == atomic_load(&hears->received) &&
                    (long)info.bytes_received == atomic_load(&hears->received_bytes);
    const char *wrong = ledger_judge(says, !side->scene->aborted);
    if (wrong)
        model_fail("%s", wrong);
    if (!sent || !received)
        model_fail("the counters are wrong about what was %s", sent ? "received" : "sent");
}

static void play_round(uint64_t seed, long left)
{
    static struct scene scene;
    struct dice dice = dice_from(seed, 2);
    (void)left;
    round_begin(seed);
    long held_before = memory_held();
    choose_faults(&dice);
    set_scene(&scene, seed, &dice);
    for (int i = 0; i < 2; i++)
        faults_on(tcpmsg_conn_fd(scene.sides[i].conn));
    play_scene(&scene);
    faults_end();
    for (int i = 0; i < 2; i++)
        judge_side(&scene.sides[i]);
    for (int i = 0; i < 2; i++) {
        int answer = tcpmsg_close(scene.sides[i].conn);
        if (answer != 0 && answer != TCPMSG_ETIMEDOUT && !scene.aborted)
            model_fail("close answers %s", tcpmsg_error_name(answer));
    }
    if (memory_held() != held_before)
        model_fail("%ld bytes are left behind", memory_held() - held_before);
    round_end();
}

static void fixed_threads_go_as_the_model_says(void **state)
{
    (void)state;
    uint64_t seed;
    if (seed_fixed(&seed))
        play_rounds(seed, EVERYDAY_STEPS, play_round);
}

static void new_threads_go_as_the_model_says(void **state)
{
    (void)state;
    uint64_t seed;
    if (seed_new(&seed))
        play_rounds(seed, EVERYDAY_STEPS, play_round);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_threads_go_as_the_model_says),
        cmocka_unit_test(new_threads_go_as_the_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
