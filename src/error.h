/* SPDX-License-Identifier: MIT */
#ifndef TM_ERROR_H
#define TM_ERROR_H

#include <tcpmsg/error.h>

/* The library's code for what the system said; TCPMSG_ESYSTEM for what has no code of its own. */
int tm_error_from_errno(int number);

#endif
