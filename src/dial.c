/* SPDX-License-Identifier: MIT */
#include <tcpmsg/conn.h>

#include "conn.h"
#include "dialer.h"
#include "error.h"
#include "settings.h"
#include "story.h"

/* The dialer, and the waiting around it. */
static int dial(tcpmsg_conn *conn, const char *address, tm_story *story)
{
    tm_dialer dialer;
    tm_sockaddr peer;
    int fd;
    int r = tm_dialer_begin(&dialer, address, conn->settings, NULL, NULL);
    while (r == 0) {
        r = tm_dialer_step(&dialer, &fd, &peer);
        if (r == 0)
            tm_dialer_wait(&dialer);
    }
    /* Attempts that fail on the way to a dial that succeeds are no story for the caller. */
    if (r > 0)
        tm_conn_own(conn, fd, &peer);
    else
        tm_story_tell(story, "%s", tm_dialer_story(&dialer));
    tm_dialer_log(&dialer, conn, r);
    tm_dialer_end(&dialer);
    return r < 0 ? r : 0;
}

static int make_and_dial(tcpmsg_conn **out, const char *address, tm_settings *settings,
                         tm_story *story)
{
    tcpmsg_conn *conn = tm_conn_make(settings);
    if (!conn) {
        tm_story_tell(story, "%s", tcpmsg_strerror(TCPMSG_ENOMEM));
        return TCPMSG_ENOMEM;
    }
    int r = dial(conn, address, story);
    if (r < 0)
        tm_conn_free(conn);
    else
        *out = conn;
    return r;
}

int tcpmsg_dial(tcpmsg_conn **out, const char *address, const tcpmsg_options *options)
{
    tm_settings *settings;
    tm_story story;
    if (!out || !address)
        return TCPMSG_EINVAL;
    int r = tm_settings_make(&settings, options, &story);
    if (r < 0)
        return r;
    r = make_and_dial(out, address, settings, &story);
    tm_settings_unref(settings);
    return r;
}
