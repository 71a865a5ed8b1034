/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>

#define TEXT_MOST 512

void tm_log(const tm_settings *settings, int level, struct tcpmsg_conn *conn, const char *format,
            ...)
{
    char text[TEXT_MOST];
    va_list arguments;
    if (!settings->log)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    settings->log(level, text, conn, settings->log_arg);
}
