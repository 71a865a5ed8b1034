/* SPDX-License-Identifier: MIT */
#ifndef ECHO_H
#define ECHO_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

/* What the load generator and the echo servers share: their command lines and their sockets. */

/* One option: a number after it, or a flag when `number` is NULL. */
typedef struct echo_option {
    const char *name;
    long *number;
    long least; /* the number is at least so much */
    bool *flag;
} echo_option;

/*
 * Reads options, which end with a NULL name, and then at most one ADDRESS. Returns the address as
 * it was given, or `address` when there is none; what is wrong ends the program with the usage.
 */
const char *echo_command_line(int argc, char **argv, const echo_option *options,
                              const char *address, const char *usage);

/* Takes "1.2.3.4:port"; something else ends the program. */
struct sockaddr_in echo_address(const char *text);

/* A listening socket, non-blocking. */
int echo_listen(const struct sockaddr_in *address);

/* Prints "listening on ADDRESS", port 0 resolved, as every server here does. */
void echo_announce(int listener);

/* A socket that the next call shall not wait for, and that sends small messages at once. */
void echo_prepare(int fd);

#endif
