/* SPDX-License-Identifier: MIT */
#include "model_ledger.h"

#include <string.h>

/* Every message begins with whose it is, and which. */
struct head {
    uint32_t who;
    uint32_t which;
};

enum { NOT_SAID, ACCEPTED, REFUSED };

void ledger_begin(struct ledger *ledger, uint64_t seed, size_t longest)
{
    memset(ledger, 0, sizeof *ledger);
    ledger->seed = seed;
    ledger->longest = longest;
}

static uint64_t number_of(const struct ledger *ledger, uint32_t who, uint32_t which)
{
    struct dice dice = dice_from(ledger->seed, 1000 * (uint64_t)who + which);
    return dice_roll(&dice);
}

static size_t length_of(const struct ledger *ledger, uint64_t number)
{
    struct dice dice = {number ^ 1};
    size_t most = ledger->longest - sizeof(struct head);
    size_t classes[] = {0, 10, 100, 100, 1000, 5000, 20000, 70000, most};
    size_t length = classes[dice_below(&dice, COUNT(classes))];
    return sizeof(struct head) + dice_below(&dice, (length < most ? length : most) + 1);
}

size_t ledger_write(const struct ledger *ledger, uint32_t who, uint32_t which, void *message)
{
    struct head head = {who, which};
    uint64_t number = number_of(ledger, who, which);
    size_t length = length_of(ledger, number);
    memcpy(message, &head, sizeof head);
    memcpy((char *)message + sizeof head, content_of(number), length - sizeof head);
    return length;
}

void ledger_said(struct ledger *ledger, uint32_t who, uint32_t which, int answer)
{
    atomic_store(&ledger->said[who][which], answer == 0 ? ACCEPTED : REFUSED);
    if (answer != 0)
        return;
    uint64_t number = number_of(ledger, who, which);
    atomic_fetch_add(&ledger->accepted, 1);
    atomic_fetch_add(&ledger->accepted_bytes, (long)length_of(ledger, number));
}

void ledger_wrong(struct ledger *ledger, const char *text)
{
    const char *none = NULL;
    atomic_compare_exchange_strong(&ledger->wrong, &none, text);
}

static const char *look_at(struct ledger *ledger, const uint8_t *message, size_t length)
{
    struct head head;
    if (length < sizeof head)
        return "a message is too short";
    memcpy(&head, message, sizeof head);
    if (head.who >= SENDERS_MOST || head.which >= EACH_MOST)
        return "a message of nobody";
    uint64_t number = number_of(ledger, head.who, head.which);
    if (length != length_of(ledger, number))
        return "a message has another length";
    if (memcmp(message + sizeof head, content_of(number), length - sizeof head) != 0)
        return "a message has other bytes";
    if (atomic_fetch_add(&ledger->heard[head.who][head.which], 1) > 0)
        return "a message came twice";
    if (!ledger->mixed && (int)head.which < ledger->next[head.who])
        return "a sender's messages came in another order";
    if (!ledger->mixed)
        ledger->next[head.who] = (int)head.which + 1;
    return NULL;
}

void ledger_heard(struct ledger *ledger, const void *message, ssize_t length)
{
    const char *wrong = look_at(ledger, message, (size_t)length);
    if (wrong)
        ledger_wrong(ledger, wrong);
    atomic_fetch_add(&ledger->received, 1);
    atomic_fetch_add(&ledger->received_bytes, (long)length);
}

const char *ledger_judge(struct ledger *ledger, bool complete)
{
    for (int who = 0; who < SENDERS_MOST; who++)
        for (int which = 0; which < EACH_MOST; which++) {
            int said = atomic_load(&ledger->said[who][which]);
            bool heard = atomic_load(&ledger->heard[who][which]) > 0;
            if (heard && said != ACCEPTED)
                ledger_wrong(ledger, "what was refused, or not said, came");
            if (complete && said == ACCEPTED && !heard)
                ledger_wrong(ledger, "what was accepted did not come");
        }
    return atomic_load(&ledger->wrong);
}
