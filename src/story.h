/* SPDX-License-Identifier: MIT */
#ifndef TM_STORY_H
#define TM_STORY_H

#include <stddef.h>

#if defined(__GNUC__) || defined(__clang__)
#define TM_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define TM_PRINTF(text, first)
#endif

/* Where a call that fails tells why: the caller's room, which may be none. */
typedef struct tm_story {
    char *text;
    size_t size;
    size_t len;
} tm_story;

/* tm_story_tell begins anew, tm_story_add goes on; both cut to fit, and always end with a NUL. */
void tm_story_tell(tm_story *story, const char *format, ...) TM_PRINTF(2, 3);
void tm_story_add(tm_story *story, const char *format, ...) TM_PRINTF(2, 3);

#endif
