/* SPDX-License-Identifier: MIT */
#include "settings.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>

#include "error.h"
#include "frame.h"
#include "options.h"

#define DEFAULT_MAX_MESSAGE ((size_t)16 << 20)
#define KEEPALIVE_MOST 32767 /* seconds: tcp(7) takes no more */

static int fill_ints(tm_settings *to, const tcpmsg_options *from, tm_story *story)
{
    int reuse_port, proxy_protocol;
    const tm_range ranges[] = {
#define RANGE(name, lowest, highest, if_zero)                                                      \
    {#name, from->name, lowest, highest, if_zero, &to->name}
        RANGE(connect_timeout_ms, TCPMSG_NO_LIMIT, INT_MAX, 30000),
        RANGE(send_timeout_ms, TCPMSG_NO_LIMIT, INT_MAX, TCPMSG_NO_LIMIT),
        RANGE(recv_timeout_ms, TCPMSG_NO_LIMIT, INT_MAX, TCPMSG_NO_LIMIT),
        RANGE(message_timeout_ms, TCPMSG_NO_LIMIT, INT_MAX, TCPMSG_NO_LIMIT),
        RANGE(linger_ms, TCPMSG_NO_LINGER, INT_MAX, 2000),
        RANGE(spin_us, 0, INT_MAX, 0),
        RANGE(backlog, TCPMSG_NO_LIMIT, INT_MAX, 4096),
        RANGE(keepalive_s, TCPMSG_NO_LIMIT, KEEPALIVE_MOST, 15),
        RANGE(user_timeout_ms, TCPMSG_NO_LIMIT, INT_MAX, 0),
#undef RANGE
        {"reuse_port", from->reuse_port, 0, 1, 0, &reuse_port},
        {"proxy_protocol", from->proxy_protocol, 0, 1, 0, &proxy_protocol},
    };
    int r = tm_ranges_check(ranges, sizeof ranges / sizeof ranges[0], story);
    if (r < 0)
        return r;
    to->reuse_port = reuse_port;
    to->proxy_protocol = proxy_protocol;
    if (to->linger_ms == TCPMSG_NO_LINGER)
        to->linger_ms = 0;
    if (to->backlog == TCPMSG_NO_LIMIT)
        to->backlog = INT_MAX;
    if (to->keepalive_s == TCPMSG_NO_LIMIT)
        to->keepalive_s = 0;
    if (to->user_timeout_ms == TCPMSG_NO_LIMIT)
        to->user_timeout_ms = 0;
    return 0;
}

static int fill(tm_settings *settings, const tcpmsg_options *options, tm_story *story)
{
    settings->log = options->log;
    settings->log_arg = options->log_arg;
    settings->max_message = options->max_message ? options->max_message : DEFAULT_MAX_MESSAGE;
    if (settings->max_message > SSIZE_MAX) {
        tm_story_tell(story, "the option max_message is over SSIZE_MAX");
        return TCPMSG_EINVAL;
    }
    if (tm_codec_make(&settings->codec, &options->framing) < 0) {
        tm_story_tell(story, "the option framing describes no prefix that there is");
        return TCPMSG_EINVAL;
    }
    if (settings->codec.most > settings->max_message)
        settings->codec.most = settings->max_message;
    return fill_ints(settings, options, story);
}

int tm_settings_make(tm_settings **out, const tcpmsg_options *options, tm_story *story)
{
    *story = (tm_story){0};
    tcpmsg_options copy;
    int r = tm_options_copy(&copy, sizeof copy, TM_UP_TO(tcpmsg_options, log_arg), options);
    if (r < 0 || (!copy.why && copy.why_size > 0))
        return TCPMSG_EINVAL;
    *story = (tm_story){.text = copy.why, .size = copy.why ? copy.why_size : 0};
    tm_settings *settings = malloc(sizeof *settings);
    if (!settings) {
        tm_story_tell(story, "%s", tcpmsg_strerror(TCPMSG_ENOMEM));
        return TCPMSG_ENOMEM;
    }
    r = fill(settings, &copy, story);
    if (r < 0) {
        free(settings);
        return r;
    }
    atomic_init(&settings->refs, 1);
    *out = settings;
    return 0;
}

tm_settings *tm_settings_ref(tm_settings *settings)
{
    atomic_fetch_add_explicit(&settings->refs, 1, memory_order_relaxed);
    return settings;
}

void tm_settings_unref(tm_settings *settings)
{
    if (settings && atomic_fetch_sub_explicit(&settings->refs, 1, memory_order_acq_rel) == 1)
        free(settings);
}
