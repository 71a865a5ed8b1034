/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <string.h>

#include "error.h"

#define SIZE_MOST 4096 /* no struct of any release is larger: a size above is garbage */

int tm_options_copy(void *copy, size_t size, size_t first, const void *given)
{
    size_t given_size = 0;
    memset(copy, 0, size);
    if (!given)
        return 0;
    memcpy(&given_size, given, sizeof given_size);
    if (given_size == 0)
        given_size = first;
    if (given_size < sizeof given_size || given_size > SIZE_MOST)
        return TCPMSG_EINVAL;
    const unsigned char *bytes = given;
    for (size_t i = size; i < given_size; i++)
        if (bytes[i] != 0)
            return TCPMSG_EINVAL;
    memcpy(copy, given, size < given_size ? size : given_size);
    return 0;
}

int tm_ranges_check(const tm_range *ranges, size_t count, tm_story *story)
{
    for (size_t i = 0; i < count; i++) {
        const tm_range *range = &ranges[i];
        if (range->given < range->lowest || range->given > range->highest) {
            tm_story_tell(story, "the option %s is %d, and may be %d to %d", range->name,
                          range->given, range->lowest, range->highest);
            return TCPMSG_EINVAL;
        }
        *range->setting = range->given ? range->given : range->if_zero;
    }
    return 0;
}
