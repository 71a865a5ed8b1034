/* SPDX-License-Identifier: MIT */
#ifndef TM_PROXY_H
#define TM_PROXY_H

#include <sys/types.h>

#include "address.h"

/* A longer header is refused: what proxies send has a tenth of that. */
#define TM_PROXY_MOST 4096

/*
 * The header by which a proxy tells who its client is, versions 1 and 2 (HAProxy,
 * doc/proxy-protocol.txt). Its size; 0: more of it has to come; or TCPMSG_EPROTO, and what is
 * *wrong (NULL: it is none). *client has length 0 when the proxy speaks for itself, or does not know.
 */
ssize_t tm_proxy_decode(const uint8_t *bytes, size_t count, tm_sockaddr *client,
                        const char **wrong);

#endif
