/* SPDX-License-Identifier: MIT */
#ifndef TM_ERROR_H
#define TM_ERROR_H

#include <tcpmsg/error.h>

/* The library's code for what the system said; TCPMSG_ESYSTEM for what has no code of its own. */
int tm_error_from_errno(int number);

/* What the system calls it, in any thread: strerror(3) need not be safe there. */
#define TM_ERRNO_TEXT_MOST 128
const char *tm_errno_text(int number, char room[TM_ERRNO_TEXT_MOST]);

#endif
