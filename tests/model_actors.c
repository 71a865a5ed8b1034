/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "model_actors.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

bool is_of_the_moment(ssize_t answer)
{
    return answer == TCPMSG_EAGAIN || answer == TCPMSG_ETIMEDOUT || answer == TCPMSG_ENOMEM;
}

static int send_somehow(struct actor *actor, const uint8_t *message, size_t length, int flags)
{
    struct iovec parts[3] = {{(void *)(uintptr_t)message, length}};
    actor->steps++;
    if (dice_chance(&actor->dice, 60))
        return tcpmsg_send(actor->side->conn, message, length, flags);
    for (int i = 0; i < 2; i++) {
        size_t first = dice_below(&actor->dice, parts[i].iov_len + 1);
        parts[i + 1].iov_base = (char *)parts[i].iov_base + first;
        parts[i + 1].iov_len = parts[i].iov_len - first;
        parts[i].iov_len = first;
    }
    return tcpmsg_sendv(actor->side->conn, parts, 3, flags);
}

/* Says each message, some of them until they are taken; false when there is no more to say. */
static bool say(struct actor *actor, uint32_t which, uint8_t *message, int flags)
{
    struct ledger *ledger = &actor->side->says;
    size_t length = ledger_write(ledger, actor->who, which, message);
    bool insists = dice_chance(&actor->dice, 70);
    int answer;
    while (is_of_the_moment(answer = send_somehow(actor, message, length, flags)) && insists) {
        flags &= ~TCPMSG_DONTWAIT;
        sched_yield();
    }
    memset(message, 0xEE, length);
    ledger_said(ledger, actor->who, which, answer);
    if (answer != 0 && !is_of_the_moment(answer) && answer != TCPMSG_ECLOSED &&
        !atomic_load(&actor->side->scene->aborted))
        ledger_wrong(ledger, "a send failed for no reason");
    return answer == 0 || is_of_the_moment(answer);
}

void *be_sender(void *arg)
{
    struct actor *actor = arg;
    struct side *side = actor->side;
    uint8_t *message = malloc(LEDGER_LONGEST);
    dice_for_faults(dice_roll(&actor->dice));
    for (uint32_t i = 0; i < side->each; i++) {
        if (!say(actor, i, message, (int)dice_below(&actor->dice, 4)))
            break;
        if (dice_chance(&actor->dice, 5))
            tcpmsg_flush(side->conn, dice_chance(&actor->dice, 50) ? TCPMSG_DONTWAIT : 0);
        if (dice_chance(&actor->dice, 5))
            sched_yield();
    }
    free(message);
    return NULL;
}

/* One receive, in one of all ways. */
static ssize_t hear(struct actor *actor, uint8_t *memory, const void **message, int flags)
{
    struct dice *dice = &actor->dice;
    tcpmsg_conn *conn = actor->side->conn;
    bool alone = actor->side->receivers == 1;
    size_t size = dice_chance(dice, 20) ? dice_below(dice, 200) : LEDGER_LONGEST;
    actor->steps++;
    *message = memory;
    if (alone && dice_chance(dice, 40))
        return tcpmsg_recv_view(conn, message, flags);
    if (alone && dice_chance(dice, 10) && tcpmsg_recv(conn, memory, size, flags | TCPMSG_PEEK) >= 0)
        memset(memory, 0xEE, size);
    ssize_t length = tcpmsg_recv(conn, memory, size, flags);
    if (length == TCPMSG_EBUFSIZE)
        length = tcpmsg_recv(conn, memory, LEDGER_LONGEST, flags);
    return length;
}

static bool is_a_fair_end(const struct side *side, ssize_t answer)
{
    bool aborted = atomic_load(&side->scene->aborted);
    return answer == TCPMSG_EOF ||
           (aborted &&
            (answer == TCPMSG_ECANCELED || answer == TCPMSG_ERESET || answer == TCPMSG_ETRUNCATED));
}

static void hear_the_end(struct actor *actor, ssize_t answer)
{
    struct side *side = actor->side;
    char byte;
    if (!is_a_fair_end(side, answer))
        ledger_wrong(&side->other->says, tcpmsg_error_name((int)answer));
    for (int i = 0; i < 2; i++)
        if (tcpmsg_recv(side->conn, &byte, 1, TCPMSG_DONTWAIT) != answer)
            ledger_wrong(&side->other->says, "the end was not told again");
}

void *be_receiver(void *arg)
{
    struct actor *actor = arg;
    struct side *side = actor->side;
    uint8_t *memory = malloc(LEDGER_LONGEST);
    ssize_t length;
    dice_for_faults(dice_roll(&actor->dice));
    do {
        const void *message;
        int flags = dice_chance(&actor->dice, 30) ? TCPMSG_DONTWAIT : 0;
        length = hear(actor, memory, &message, flags);
        if (length >= 0)
            ledger_heard(&side->other->says, message, length);
        else if (length == TCPMSG_EAGAIN)
            sched_yield();
    } while (length >= 0 || is_of_the_moment(length) || length == TCPMSG_EBUFSIZE);
    hear_the_end(actor, length);
    free(memory);
    return NULL;
}

/* Promise 8: who asks with TCPMSG_MORE and then waits for the answer gets it. Nobody else would
 * push what is held back. */
void *be_asker(void *arg)
{
    struct actor *actor = arg;
    struct side *side = actor->side;
    uint8_t *memory = malloc(LEDGER_LONGEST);
    uint32_t said = 0;
    ssize_t length = 0;
    dice_for_faults(dice_roll(&actor->dice));
    while (said < side->each && length >= 0) {
        long awaited = atomic_load(&side->other->says.received);
        for (size_t i = dice_between(&actor->dice, 1, 5); i > 0 && said < side->each; i--, said++)
            if (say(actor, said, memory, TCPMSG_MORE))
                awaited += atomic_load(&side->says.said[actor->who][said]) == 1;
        while (length >= 0 && atomic_load(&side->other->says.received) < awaited) {
            do
                length = tcpmsg_recv(side->conn, memory, LEDGER_LONGEST, 0);
            while (length == TCPMSG_ENOMEM);
            if (length >= 0)
                ledger_heard(&side->other->says, memory, length);
            actor->steps++;
        }
    }
    if (length < 0)
        hear_the_end(actor, length);
    tcpmsg_shutdown(side->conn);
    free(memory);
    return NULL;
}

/* Answers each message with one of its own, and holds that back. */
void *be_answerer(void *arg)
{
    struct actor *actor = arg;
    struct side *side = actor->side;
    uint8_t *memory = malloc(LEDGER_LONGEST);
    uint32_t said = 0;
    ssize_t length;
    dice_for_faults(dice_roll(&actor->dice));
    do {
        const void *message;
        length = hear(actor, memory, &message, 0);
        if (length < 0)
            continue;
        ledger_heard(&side->other->says, message, length);
        size_t size = ledger_write(&side->says, 0, said, memory);
        int answer;
        do
            answer = send_somehow(actor, memory, size, TCPMSG_MORE);
        while (is_of_the_moment(answer));
        ledger_said(&side->says, 0, said++, answer);
    } while (length >= 0 || is_of_the_moment(length) || length == TCPMSG_EBUFSIZE);
    hear_the_end(actor, length);
    free(memory);
    return NULL;
}

static void meddle_once(struct actor *actor)
{
    static const int timeouts[] = {0, TCPMSG_NO_LIMIT, 1, 2, 5};
    struct side *side = &actor->side->scene->sides[dice_below(&actor->dice, 2)];
    char text[TCPMSG_ADDRESS_MAX];
    tcpmsg_info info;
    actor->steps++;
    switch (dice_below(&actor->dice, 6)) {
    case 0:
        (void)tcpmsg_conn_set_timeouts(side->conn, timeouts[dice_below(&actor->dice, 5)],
                                       timeouts[dice_below(&actor->dice, 5)]);
        break;
    case 1:
        (void)tcpmsg_flush(side->conn, dice_chance(&actor->dice, 50) ? TCPMSG_DONTWAIT : 0);
        break;
    case 2:
        (void)tcpmsg_conn_info(side->conn, &info, sizeof info);
        break;
    case 3:
        (void)tcpmsg_conn_events(side->conn);
        (void)tcpmsg_next_length(side->conn);
        break;
    case 4:
        (void)tcpmsg_conn_peer(side->conn, text, sizeof text);
        (void)*tcpmsg_conn_why(side->conn);
        break;
    default:
        sched_yield();
        break;
    }
}

void *be_meddler(void *arg)
{
    struct actor *actor = arg;
    struct scene *scene = actor->side->scene;
    size_t times = dice_below(&actor->dice, 200);
    dice_for_faults(dice_roll(&actor->dice));
    for (size_t i = 0; i < times; i++)
        meddle_once(actor);
    struct side *side = &scene->sides[dice_below(&actor->dice, 2)];
    if (scene->shuts_early)
        (void)tcpmsg_shutdown(side->conn);
    if (scene->aborts) {
        atomic_store(&scene->aborted, true);
        tcpmsg_abort(side->conn);
    }
    return NULL;
}
