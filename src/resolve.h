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
 * The addresses that a TCP address's host has, in the system's order of preference; `passive` for
 * listening. A name under a time limit is looked up in a thread of its own, which ends by itself
 * when it is not waited for any more. 0, TCPMSG_ERESOLVE, ETIMEDOUT or ENOMEM.
 */
int tm_resolve(tm_addresses *out, const tm_address *address, bool passive, int64_t deadline,
               tm_story *story);

#endif
