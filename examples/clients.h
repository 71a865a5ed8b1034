/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_CLIENTS_H
#define EXAMPLES_CLIENTS_H

#include <stddef.h>

#include <tcpmsg/tcpmsg.h>

/* Who is connected to the server. Any thread may call these. */

struct client {
    tcpmsg_conn *conn;
    char name[TCPMSG_ADDRESS_MAX]; /* its address */
    struct client *next;
};

/* A client for the connection, which it owns from now on; NULL when out of memory. */
struct client *clients_add(tcpmsg_conn *conn);

/* Closes the client's connection, so that it still gets the last answer, and frees the client. */
void clients_remove(struct client *client);

/* Sends a message to every client; one that does not read it in time is cut off. */
void clients_send(const char *message, size_t length);

/* Waits until all are removed; those that take longer than so many seconds are cut off. */
void clients_finish(int seconds);

/* A sentence about a client, on standard error. */
void clients_tell_of(const struct client *client, const char *sentence);

#endif
