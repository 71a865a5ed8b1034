/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_LOG_H
#define EXAMPLES_LOG_H

#include <stddef.h>

#include <tcpmsg/tcpmsg.h>

/* What the server prints of a client, with its address in front. Any thread may call these. */

/* What it says, on standard output: one call at a time, so that no two share a line. */
void log_message(const tcpmsg_conn *conn, const char *message, size_t length);

/* What becomes of it, a sentence on standard error. */
void log_event(const tcpmsg_conn *conn, const char *sentence);

#endif
