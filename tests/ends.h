/* SPDX-License-Identifier: MIT */
/* Connections whose one end a poller watches, for each kind of poller in turn. */
#ifndef TESTS_ENDS_H
#define TESTS_ENDS_H

#include "poller.h"
#include "shortage.h"

#include <tcpmsg/loop.h>

/* One end of a connection, which is watched, and the other one in the test's hand. */
struct end {
    tm_watch watch;
    int peer;
    int told;
    short events;
};

extern tm_poller *poller;
extern tm_ready ready[1024]; /* what the last look told */

void end_open(struct end *end);
void end_close(struct end *end);

void end_watch(struct end *end, short events);
void end_fill(struct end *end); /* something to read */
void end_empty(struct end *end);

/* So many, opened and watched. */
struct end *ends_open(size_t count, short events);
void ends_close(struct end *ends, size_t count);

struct end *end_of(const tm_ready *one);

/* How many are ready now; of very many, 256 at least. */
int look(void);
void expect_only(const struct end *end, short events);

/* Which kind has its turn: main sets it, and runs the tests, twice. */
extern int poller_kind; /* TCPMSG_POLLER_… */
bool is_epoll(void);
bool is_poll(void);

/* Before and after a test: a poller of that kind; whatever the test does, it leaves nothing. */
#define OPENED(test) cmocka_unit_test_setup_teardown(test, poller_begin, poller_finish)
int poller_begin(void **state);
int poller_finish(void **state);

#endif
