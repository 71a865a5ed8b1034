/* SPDX-License-Identifier: MIT */
#ifndef TM_SETTINGS_H
#define TM_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <tcpmsg/options.h>

#include "frame.h"
#include "story.h"

/*
 * Options, checked and with the defaults filled in. Never changed once made, so a listener and
 * all its connections share one. A time that has no limit is TCPMSG_NO_LIMIT.
 */
typedef struct tm_settings {
    atomic_uint refs;
    size_t max_message;
    tm_codec codec; /* its `most` is max_message, or what can be said */
    int connect_timeout_ms;
    int send_timeout_ms;
    int recv_timeout_ms;
    int message_timeout_ms;
    int linger_ms; /* 0: close does not wait */
    int spin_us;
    int backlog;
    int keepalive_s;     /* 0: none */
    int user_timeout_ms; /* 0: the system's */
    void (*log)(int level, const char *text, struct tcpmsg_conn *conn, void *arg); /* or NULL */
    void *log_arg;
    bool reuse_port;
    bool proxy_protocol;
} tm_settings;

/*
 * Makes settings of a caller's options; *story becomes where the caller wants a failure told.
 * 0, TCPMSG_EINVAL or TCPMSG_ENOMEM; the caller gets one reference.
 */
int tm_settings_make(tm_settings **out, const tcpmsg_options *options, tm_story *story);

tm_settings *tm_settings_ref(tm_settings *settings);
void tm_settings_unref(tm_settings *settings);

#endif
