/* SPDX-License-Identifier: MIT */
#ifndef TM_RESOLVE_H
#define TM_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"

typedef struct tm_addresses {
    tm_sockaddr *list; /* free(3) it */
    size_t count;
} tm_addresses;

/*
 * The look-up of a TCP address's host. A name is looked up in a thread of its own, which ends by
 * itself when nobody wants the answer any more.
 */
typedef struct tm_lookup tm_lookup;

/* Called in that thread when it is done, under the look-up's lock: no tm_lookup_... in there. */
typedef void tm_lookup_notify(void *arg);

/*
 * Begins without waiting; `passive` for listening. What is no name is there at once, and `notify`
 * (or NULL) is not called. Without a time limit and with nobody to notify there is no thread
 * either: the waiting does the work. 0 or TCPMSG_ENOMEM.
 */
int tm_lookup_begin(tm_lookup **out, const tm_address *address, bool passive, int64_t deadline,
                    tm_lookup_notify *notify, void *arg);

/* Waits until it is over or out of time. */
void tm_lookup_wait(tm_lookup *lookup);

/*
 * Looks, without waiting. 1: *out is what it found, in the system's order of preference; 0: still
 * under way; else TCPMSG_ERESOLVE, ETIMEDOUT or ENOMEM. Has an answer other than 0 only once.
 */
int tm_lookup_step(tm_lookup *lookup, tm_addresses *out, tm_story *story);

/* Over or not, it is not wanted any more: after this, notify is not called. NULL is fine. */
void tm_lookup_end(tm_lookup *lookup);

/* All of it at once: waits. 0 or an error. */
int tm_resolve(tm_addresses *out, const tm_address *address, bool passive, int64_t deadline,
               tm_story *story);

#endif
