/* SPDX-License-Identifier: MIT */
#ifndef TM_LISTEN_H
#define TM_LISTEN_H

#include "listener.h"

/* Gives a new listener its socket, as the address says; 0 or an error with its story. */
int tm_listen_at(tcpmsg_listener *listener, const char *text, tm_story *story);

#endif
