/* SPDX-License-Identifier: MIT */
/* What several threads say in one direction of a connection, and what is heard of it: of each
 * sender in its order, each message whole, at most once, and all that was accepted if nothing was
 * lost. For any thread; nothing is asserted before the end. */
#ifndef TESTS_MODEL_LEDGER_H
#define TESTS_MODEL_LEDGER_H

#include "model.h"

#include <stdatomic.h>
#include <sys/types.h>

enum { SENDERS_MOST = 4, EACH_MOST = 400, LEDGER_LONGEST = 150 * 1024 };

struct ledger {
    uint64_t seed;
    size_t longest;
    bool mixed; /* several threads hear, so that no order can be told */
    atomic_int said[SENDERS_MOST][EACH_MOST];
    atomic_int heard[SENDERS_MOST][EACH_MOST];
    int next[SENDERS_MOST];
    atomic_long accepted, accepted_bytes, received, received_bytes;
    _Atomic(const char *) wrong; /* the first that was */
};

void ledger_begin(struct ledger *ledger, uint64_t seed, size_t longest);

/* A sender's next message, into memory of LEDGER_LONGEST bytes; its length. */
size_t ledger_write(const struct ledger *ledger, uint32_t who, uint32_t which, void *message);

/* What came of it. */
void ledger_said(struct ledger *ledger, uint32_t who, uint32_t which, int answer);
void ledger_heard(struct ledger *ledger, const void *message, ssize_t length);
void ledger_wrong(struct ledger *ledger, const char *text);

/* NULL when all is as it must be. */
const char *ledger_judge(struct ledger *ledger, bool complete);

#endif
