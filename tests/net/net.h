/* SPDX-License-Identifier: MIT */
/* A network of the test's own: two machines, HERE and THERE, each a network namespace with one
 * interface, and between them a cable whose frames this process carries (cable.h). It needs root
 * or user namespaces, veth(4), packet(7) and ip(8). The namespaces are held by descriptors of this
 * process alone, so that nothing is left of them however it ends. */
#ifndef TESTS_NET_H
#define TESTS_NET_H

#include "cable.h"
#include "peer.h"

enum net_place { HERE, THERE, BETWEEN, NET_PLACES };

/* THERE has these; the other of each net is HERE. THERE is HERE's router to all that is beyond. */
#define THERE_V4 "192.0.2.2"
#define THERE_V6 "2001:db8::2"

/* For main: makes it all, and this thread is HERE. Where that can't be, it says what is missing
 * and exits with 77. */
void net_open(void);

/* Before each test: the cable is a good one, and this thread HERE. */
int net_mend(void **state);

/* Where this thread makes its sockets from now on, and where threads and processes that it
 * starts begin. A socket stays where it was made. */
void net_go(enum net_place place);

/* At a place: an ip(8) command; a file below /proc/sys/net. */
void net_ip(enum net_place place, const char *command);
void net_set(enum net_place place, const char *name, const char *text);

/* A listener THERE, at a free port of a host, whose address it tells, or at an address. */
tcpmsg_listener *net_listen(const char *host, const tcpmsg_options *options,
                            char address[TCPMSG_ADDRESS_MAX]);
tcpmsg_listener *net_listen_at(const char *address, const tcpmsg_options *options);

/* A connection from HERE to a listener THERE, both its ends. */
void net_pair(tcpmsg_conn **here, tcpmsg_conn **there, const tcpmsg_options *options);

/* Where it is at `from` milliseconds of the clock, prints how long that took, and what did. */
int net_took(int64_t from, const char *what);

#endif
