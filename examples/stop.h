/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_STOP_H
#define EXAMPLES_STOP_H

#include <stdbool.h>

/*
 * How every thread of the server learns that it is to stop: by a byte in a pipe, which all of
 * them poll beside their own descriptor and which nobody reads, so that it is there for all.
 */

/* Makes the pipe, and has SIGINT and SIGTERM fill it. Returns 0, or -1 with errno. */
int stop_prepare(void);

/* Tells everybody to stop. Any thread. */
void stop_everybody(void);

/* Waits for the descriptor, at most so long (-1: for ever); false once all are to stop. */
bool stop_or_ready(int fd, short events, int timeout_ms);

/* Seconds since all were told to stop; 0 while they are not. */
long stop_since(void);

#endif
