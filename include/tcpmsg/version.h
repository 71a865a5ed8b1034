/* SPDX-License-Identifier: MIT */
#ifndef TCPMSG_VERSION_H
#define TCPMSG_VERSION_H

#include <tcpmsg/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of these headers, as a program is compiled. */
#define TCPMSG_VERSION_MAJOR 0
#define TCPMSG_VERSION_MINOR 1
#define TCPMSG_VERSION_PATCH 0

/*
 * The version of the library that the program runs with, as "0.1.0" (semver.org).
 * A static string; any thread.
 */
TCPMSG_API const char *tcpmsg_version(void);

#ifdef __cplusplus
}
#endif

#endif
