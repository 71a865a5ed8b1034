/* SPDX-License-Identifier: MIT */
/* A cable whose frames a thread of this process carries from one interface to another, and loses,
 * doubles, delays or slows as a test likes. Only IP is harmed: who has an address is always
 * answered. */
#ifndef TESTS_CABLE_H
#define TESTS_CABLE_H

#include <stdbool.h>
#include <stdint.h>

struct cable {
    uint32_t seed; /* of all that is random; 0: a standard one */
    int lost;      /* per cent of the TCP segments; the next two likewise */
    int twice;
    int late;         /* ... that others overtake */
    int late_ms;      /* by at most so much */
    int delay_ms;     /* of every frame, each way */
    int bytes_per_ms; /* how fast it is, each way; 0: as fast as this machine */
    int syns_lost;    /* so many of the next segments that ask for a connection */
    int family_lost;  /* AF_INET6: all of its TCP, without a word */
    int longest;      /* IPv4 packet, in bytes: ICMP says so of longer ones; 0: none is too long */
    bool rejected;    /* IPv4's TCP is: ICMP says that the port can't be reached */
    bool cut;         /* no IP at all */
};

struct cable_counts {
    long carried; /* TCP segments, and what was done to them */
    long lost;
    long twice;
    long late;
    long too_long;
};

/* Carries from now on between two packet(7) sockets, of one interface each. False: no thread. */
bool cable_begin(const int sockets[2]);

/* All zero is a good cable. The counts begin anew. */
void cable_set(const struct cable *wanted);
struct cable_counts cable_counts(void);

#endif
