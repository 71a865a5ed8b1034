/* SPDX-License-Identifier: MIT */
/* What Linux has and other systems may not, and the other way round: so that the library's ways
 * around it are compiled at least. */
#ifndef TESTS_KQUEUE_ELSEWHERE_H
#define TESTS_KQUEUE_ELSEWHERE_H

#include <sys/socket.h>
#include <sys/types.h>

#undef SOCK_CLOEXEC
#undef MSG_NOSIGNAL
#undef MSG_DONTWAIT

int getpeereid(int fd, uid_t *uid, gid_t *gid);

#endif
