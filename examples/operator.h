/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_OPERATOR_H
#define EXAMPLES_OPERATOR_H

#include <stddef.h>

#include <tcpmsg/tcpmsg.h>

/*
 * The operator of echo_server --reply: a thread that sends each line of standard input to every
 * client of a loop. It may wait, as the loop's callbacks must not. One in a program.
 */

/*
 * Starts the thread, which stops the loop at "exit" or at the end of the input; a line is at most
 * so many bytes. Returns 0, or an errno.
 */
int operator_start(tcpmsg_loop *loop, size_t max_message);

/* Ends it once the loop has run; before tcpmsg_loop_close. */
void operator_end(void);

/* What the loop's callbacks tell the operator. Meeting somebody may fail without memory: -1. */
int operator_meet(tcpmsg_conn *conn);       /* on_open */
void operator_room(void);                   /* on_drain */
void operator_part_with(tcpmsg_conn *conn); /* on_close */

#endif
