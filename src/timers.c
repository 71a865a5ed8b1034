/* SPDX-License-Identifier: MIT */
#include "timers.h"

#include <stddef.h>

#define TICK INT64_C(1000000)
#define NO_SLOT ((unsigned)(TM_TIMERS_LEVELS * TM_TIMERS_SLOTS))

static uint64_t tick_before(int64_t time)
{
    return time > 0 ? (uint64_t)(time / TICK) : 0;
}

static uint64_t tick_after(int64_t time)
{
    return tick_before(time) + (time > 0 && time % TICK != 0);
}

/* A slot's level and digit are the two parts of its index. */
static unsigned level_of(unsigned slot)
{
    return slot / TM_TIMERS_SLOTS;
}

static uint64_t bit_of(unsigned slot)
{
    return UINT64_C(1) << slot % TM_TIMERS_SLOTS;
}

/* The tick without its digits below that level. */
static uint64_t from_level(uint64_t tick, unsigned level)
{
    return tick >> level * TM_TIMERS_BITS << level * TM_TIMERS_BITS;
}

static unsigned slot_for(const tm_timers *timers, uint64_t tick)
{
    unsigned level = 0;
    while (from_level(tick ^ timers->tick, level + 1) != 0)
        level++;
    uint64_t digit = (tick >> level * TM_TIMERS_BITS) % TM_TIMERS_SLOTS;
    return level * TM_TIMERS_SLOTS + (unsigned)digit;
}

/* The tick at which a slot's turn comes: the first that its timers can have. */
static uint64_t start_of(const tm_timers *timers, unsigned slot)
{
    unsigned level = level_of(slot);
    uint64_t digit = slot % TM_TIMERS_SLOTS;
    return from_level(timers->tick, level + 1) + (digit << level * TM_TIMERS_BITS);
}

static unsigned lowest_bit(uint64_t bits)
{
#if defined(__GNUC__) || defined(__clang__)
    return (unsigned)__builtin_ctzll(bits);
#else
    unsigned bit = 0;
    while (!(bits >> bit & 1))
        bit++;
    return bit;
#endif
}

static unsigned first_slot(const tm_timers *timers)
{
    for (unsigned level = 0; level < TM_TIMERS_LEVELS; level++)
        if (timers->used[level] != 0)
            return level * TM_TIMERS_SLOTS + lowest_bit(timers->used[level]);
    return NO_SLOT;
}

void tm_timers_init(tm_timers *timers, int64_t now)
{
    *timers = (tm_timers){.tick = tick_before(now)};
    for (unsigned slot = 0; slot < NO_SLOT; slot++) {
        tm_timer *head = &timers->slots[slot];
        head->next = head->prev = head;
    }
}

void tm_timers_set(tm_timers *timers, tm_timer *timer, int64_t due)
{
    tm_timers_stop(timers, timer);
    if (due == INT64_MAX)
        return;
    uint64_t tick = tick_after(due);
    unsigned slot = slot_for(timers, tick > timers->tick ? tick : timers->tick);
    tm_timer *head = &timers->slots[slot];
    if (head->next == head || due < head->due)
        head->due = due;
    *timer = (tm_timer){.next = head, .prev = head->prev, .due = due};
    head->prev->next = timer;
    head->prev = timer;
    timers->used[level_of(slot)] |= bit_of(slot);
}

void tm_timers_stop(tm_timers *timers, tm_timer *timer)
{
    if (!tm_timer_is_set(timer))
        return;
    if (timer->next == timer->prev) { /* it is alone with the head */
        unsigned slot = (unsigned)(timer->next - timers->slots);
        timers->used[level_of(slot)] &= ~bit_of(slot);
    }
    timer->next->prev = timer->prev;
    timer->prev->next = timer->next;
    timer->next = timer->prev = NULL;
}

int64_t tm_timers_next(const tm_timers *timers)
{
    unsigned slot = first_slot(timers);
    if (slot == NO_SLOT)
        return INT64_MAX;
    uint64_t tick = start_of(timers, slot), first = tick_after(timers->slots[slot].due);
    if (first > tick)
        tick = first;
    return tick > INT64_MAX / TICK ? INT64_MAX : (int64_t)tick * TICK;
}

/* The slot's turn has come: its timers differ from the present tick in lower digits only. */
static void spread(tm_timers *timers, unsigned slot)
{
    tm_timer *head = &timers->slots[slot];
    while (head->next != head)
        tm_timers_set(timers, head->next, head->next->due);
}

tm_timer *tm_timers_take(tm_timers *timers, int64_t now)
{
    uint64_t until = tick_before(now);
    for (;;) {
        unsigned slot = first_slot(timers);
        uint64_t start = slot == NO_SLOT ? UINT64_MAX : start_of(timers, slot);
        if (start > until)
            break;
        timers->tick = start;
        if (level_of(slot) == 0) {
            tm_timer *timer = timers->slots[slot].next;
            tm_timers_stop(timers, timer);
            return timer;
        }
        spread(timers, slot);
    }
    if (timers->tick < until)
        timers->tick = until;
    return NULL;
}
