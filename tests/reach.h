/* SPDX-License-Identifier: MIT */
/* listen, dial and accept that must succeed: when one does not, the test fails with its story. */
#ifndef TESTS_REACH_H
#define TESTS_REACH_H

#include "support.h"

tcpmsg_listener *listen_at(const char *address);
tcpmsg_listener *listen_at_a_free_port(char address[TCPMSG_ADDRESS_MAX]);
tcpmsg_conn *dial_to(const char *address);
tcpmsg_conn *accept_one(tcpmsg_listener *listener);

void bound_address(const tcpmsg_listener *listener, char text[TCPMSG_ADDRESS_MAX]);

/* A message from one end arrives at the other: they are each other's. */
void expect_talk(tcpmsg_conn *from, tcpmsg_conn *to);

/* A dial to the address reaches this listener. */
void expect_reachable(tcpmsg_listener *listener, const char *address);

/* Whether this machine has ::1. */
bool has_ipv6(void);

/* Where a test points a result that must be left as it was. */
extern char nowhere;
#define NO_LISTENER ((tcpmsg_listener *)(void *)&nowhere)
#define NO_CONN ((tcpmsg_conn *)(void *)&nowhere)

#endif
