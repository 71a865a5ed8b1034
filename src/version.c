/* SPDX-License-Identifier: MIT */
#include <tcpmsg/version.h>

#define TEXT(number) #number
#define DOTTED(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *tcpmsg_version(void)
{
    return DOTTED(TCPMSG_VERSION_MAJOR, TCPMSG_VERSION_MINOR, TCPMSG_VERSION_PATCH);
}
