/* SPDX-License-Identifier: MIT */
#ifndef TM_OPTIONS_H
#define TM_OPTIONS_H

#include <stddef.h>

#include "story.h"

/* A struct's size as it was when `last` was its last field, without padding. */
#define TM_UP_TO(type, last) (offsetof(type, last) + sizeof(((const type *)NULL)->last))

/*
 * A caller's struct of another release as ours: shorter has defaults, longer must have a zero
 * tail. Every such struct begins with its size; 0 there means `first`, that of the first release.
 * 0 or TCPMSG_EINVAL.
 */
int tm_options_copy(void *copy, size_t size, size_t first, const void *given);

/* One int option: what zero stands for, and the range that may be given. */
typedef struct tm_range {
    const char *name;
    int given;
    int lowest;
    int highest;
    int if_zero;
    int *setting;
} tm_range;

/* Fills the settings in; 0, or TCPMSG_EINVAL with the first that is out of range told. */
int tm_ranges_check(const tm_range *ranges, size_t count, tm_story *story);

#endif
