/* SPDX-License-Identifier: MIT */
#include "story.h"

#include <stdarg.h>
#include <stdio.h>

static void add(tm_story *story, const char *format, va_list arguments)
{
    if (!story || story->len >= story->size)
        return;
    size_t room = story->size - story->len;
    int wanted = vsnprintf(story->text + story->len, room, format, arguments);
    if (wanted > 0)
        story->len += (size_t)wanted < room ? (size_t)wanted : room - 1;
}

void tm_story_tell(tm_story *story, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (story)
        story->len = 0;
    add(story, format, arguments);
    va_end(arguments);
}

void tm_story_add(tm_story *story, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(story, format, arguments);
    va_end(arguments);
}
