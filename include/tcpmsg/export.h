/* SPDX-License-Identifier: MIT */
#ifndef TCPMSG_EXPORT_H
#define TCPMSG_EXPORT_H

/* TCPMSG_API marks what the library exports; TCPMSG_MUST_CHECK a result that must not be ignored. */
#if defined(__GNUC__) || defined(__clang__)
#define TCPMSG_API __attribute__((visibility("default")))
#define TCPMSG_MUST_CHECK __attribute__((warn_unused_result))
#else
#define TCPMSG_API
#define TCPMSG_MUST_CHECK
#endif

#endif
