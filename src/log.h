/* SPDX-License-Identifier: MIT */
#ifndef TM_LOG_H
#define TM_LOG_H

#include "settings.h"

struct tcpmsg_conn;

/*
 * Tells the program's own log, where there is one; cut to fit. Whatever the program asks about the
 * connection meanwhile it is answered: no lock is held. conn may be NULL.
 */
void tm_log(const tm_settings *settings, int level, struct tcpmsg_conn *conn, const char *format,
            ...) TM_PRINTF(4, 5);

#endif
