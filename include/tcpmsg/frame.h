/* SPDX-License-Identifier: MIT */
#ifndef TCPMSG_FRAME_H
#define TCPMSG_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <tcpmsg/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The codec alone, for a transport of your own (a serial line, TLS, a file): a message on the
 * wire is a length prefix and then that many bytes. Nothing here allocates or touches a socket;
 * any thread.
 */

/* The longest prefix, in bytes: a varint of 64 bits. */
#define TCPMSG_PREFIX_MAX 10

/* As `width`: a base-128 varint of 1 to 10 bytes, as protobuf's delimited streams use. */
#define TCPMSG_VARINT 128

/* How a length is written. All zero is the default: 4 bytes, big-endian, the payload only. */
typedef struct tcpmsg_framing {
    int width;         /* 1, 2, 3, 4 or 8 bytes, or TCPMSG_VARINT; 0 is 4 */
    int little_endian; /* 1: the least significant byte first; no meaning for a varint */
    int counts_prefix; /* 1: the length counts the prefix too; not with TCPMSG_VARINT */
    int reserved[5];   /* must be 0 */
} tcpmsg_framing;

/*
 * Writes the prefix of a message of `length` bytes. NULL framing is the default one.
 * Returns the prefix's size in bytes, TCPMSG_EMSGSIZE when the prefix can't say the length
 * or it is over SSIZE_MAX (nothing is written then), or TCPMSG_EINVAL for a framing that there
 * is not.
 */
TCPMSG_API int tcpmsg_frame_encode(const tcpmsg_framing *framing, size_t length,
                                   uint8_t prefix[TCPMSG_PREFIX_MAX]);

/*
 * Reads a prefix from the first `count` bytes of a stream, and stores the payload's length.
 * Returns the prefix's size in bytes, or 0 when more bytes are needed. TCPMSG_EPROTO: no encoder
 * writes this (a varint without an end, a length that says less than its own prefix).
 * TCPMSG_EMSGSIZE: over SSIZE_MAX. TCPMSG_EINVAL: a framing that there is not, or a NULL.
 * Compare the length with a limit of your own before you believe it.
 */
TCPMSG_API ssize_t tcpmsg_frame_decode(const tcpmsg_framing *framing, const void *bytes,
                                       size_t count, size_t *length);

#ifdef __cplusplus
}
#endif

#endif
