/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "model_members.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

static bool is_of_the_moment(ssize_t answer)
{
    return answer == TCPMSG_EAGAIN || answer == TCPMSG_ETIMEDOUT || answer == TCPMSG_ENOMEM;
}

static struct side *side_of(struct seen *seen)
{
    return (struct side *)(uintptr_t)seen->acts;
}

/* The last speaker ends the sending. */
static void stop_speaking(struct side *side)
{
    if (atomic_fetch_sub(&side->speakers, 1) == 1)
        (void)tcpmsg_shutdown(side->conn);
}

/* In a callback: says what it has to say until the queue is full; on_drain goes on. */
static void speak(struct side *side)
{
    while (side->next < side->each) {
        size_t length = ledger_write(&side->says, BY_CALLBACK, side->next, side->memory);
        int flags = (int)dice_below(&side->dice, 4);
        int answer = tcpmsg_send(side->conn, side->memory, length, flags);
        side->steps++;
        if (answer == TCPMSG_EAGAIN)
            return;
        if (answer == 0 || answer != TCPMSG_ENOMEM)
            ledger_said(&side->says, BY_CALLBACK, side->next++, answer);
        if (answer != 0 && answer != TCPMSG_ENOMEM)
            side->next = side->each;
    }
    if (side->next++ == side->each)
        stop_speaking(side);
}

static void opened(struct seen *seen)
{
    struct side *side = side_of(seen);
    speak(side);
}

static void go_on(void *arg)
{
    struct side *side = arg;
    atomic_store(&side->paused, false);
    (void)tcpmsg_resume(side->conn);
}

/* A rest, which ends by itself. */
static void rest(struct side *side)
{
    if (tcpmsg_pause(side->conn) != 0)
        return;
    atomic_store(&side->was_paused, true);
    atomic_store(&side->paused, true);
    int ms = (int)dice_below(&side->dice, 3);
    if (tcpmsg_loop_after(side->scene->looper->loop, ms, go_on, side) != 0)
        go_on(side);
}

static void heard(struct seen *seen, const void *message, size_t length)
{
    struct side *side = side_of(seen);
    side->steps++;
    if (atomic_load(&side->paused))
        ledger_wrong(&side->other->says, "a message came during a pause");
    ledger_heard(&side->other->says, message, (ssize_t)length);
    if (dice_chance(&side->dice, 3))
        rest(side);
    if (side->scene->closes && dice_chance(&side->dice, 2)) {
        atomic_store(&side->closed, true);
        (void)tcpmsg_close(side->conn);
    }
    if (dice_chance(&side->dice, 10) &&
        tcpmsg_recv(side->conn, side->memory, 1, 0) != TCPMSG_EINVAL)
        ledger_wrong(&side->other->says, "a receive in a loop");
}

static void drained(struct seen *seen)
{
    speak(side_of(seen));
}

static void closed(struct seen *seen)
{
    struct side *side = side_of(seen);
    side->why = seen->why;
    if (tcpmsg_send(side->conn, "x", 1, 0) >= 0)
        ledger_wrong(&side->says, "a send in on_close was taken");
    atomic_store(&side->over, 1);
}

const struct acts member_acts = {opened, heard, drained, closed};

/* Another thread that sends through a reference. */
void *be_helper(void *arg)
{
    struct side *side = arg;
    struct dice dice = dice_from(side->seed, 3);
    uint8_t *memory = malloc(LEDGER_LONGEST);
    int answer = 0;
    dice_for_faults(side->seed);
    for (uint32_t i = 0; i < side->each && (answer == 0 || is_of_the_moment(answer)); i++) {
        size_t length = ledger_write(&side->says, BY_THREAD, i, memory);
        do {
            answer = tcpmsg_send(side->conn, memory, length, (int)dice_below(&dice, 4));
            side->thread_steps++;
            if (answer == TCPMSG_EAGAIN)
                sched_yield();
        } while (is_of_the_moment(answer) && dice_chance(&dice, 95));
        memset(memory, 0xEE, length);
        ledger_said(&side->says, BY_THREAD, i, answer);
        if (dice_chance(&dice, 10))
            (void)tcpmsg_flush(side->conn, 0);
        if (side->scene->aborts && dice_chance(&dice, 1)) {
            atomic_store(&side->aborted, true);
            tcpmsg_abort(side->conn);
        }
    }
    stop_speaking(side);
    free(memory);
    return NULL;
}

/* One receive of a thread outside, and what came of it. */
static ssize_t listen_once(struct side *side, bool waits)
{
    const void *view = side->memory;
    int flags = waits ? 0 : TCPMSG_DONTWAIT;
    bool by_view = dice_chance(&side->dice, 50);
    ssize_t length = by_view ? tcpmsg_recv_view(side->conn, &view, flags)
                             : tcpmsg_recv(side->conn, side->memory, LEDGER_LONGEST, flags);
    side->steps++;
    if (length >= 0)
        ledger_heard(&side->other->says, view, length);
    return length;
}

/*
 * Says one message until it is taken, and listens meanwhile; false once either has ended. Who has
 * waited in vain hears all that there is: one message for each wait takes the peer half a minute.
 */
static bool say_one(struct side *side, uint32_t which)
{
    ssize_t length = 0;
    int answer;
    do {
        size_t size = ledger_write(&side->says, BY_CALLBACK, which, side->memory);
        answer = tcpmsg_send(side->conn, side->memory, size, (int)dice_below(&side->dice, 4));
        side->steps++;
        if (answer != 0 || dice_chance(&side->dice, 50))
            do
                length = listen_once(side, false);
            while (length >= 0 && answer == TCPMSG_ETIMEDOUT);
    } while (is_of_the_moment(answer) && (length >= 0 || is_of_the_moment(length)));
    ledger_said(&side->says, BY_CALLBACK, which, answer);
    return answer == 0 && (length >= 0 || is_of_the_moment(length));
}

void *be_outsider(void *arg)
{
    struct side *side = arg;
    ssize_t length;
    int answer;
    dice_for_faults(side->seed);
    for (uint32_t i = 0; i < side->each; i++)
        if (!say_one(side, i))
            break;
    if (side->scene->aborts && dice_chance(&side->dice, 20)) {
        atomic_store(&side->aborted, true);
        tcpmsg_abort(side->conn);
    }
    do {
        answer = tcpmsg_shutdown(side->conn);
        length = listen_once(side, false);
    } while (is_of_the_moment(answer));
    while (length >= 0 || is_of_the_moment(length))
        length = listen_once(side, true);
    side->why = (int)length;
    atomic_store(&side->over, 1);
    return NULL;
}
