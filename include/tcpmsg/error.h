/* SPDX-License-Identifier: MIT */
#ifndef TCPMSG_ERROR_H
#define TCPMSG_ERROR_H

#include <tcpmsg/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Every function that can fail returns one of these, all negative; errno is never the answer.
 * The numbers never change. "Stays" means: once given for a direction of a connection, every
 * later call in that direction gives it again.
 */
#define TCPMSG_ERRORS(X)                                                                           \
    /* The peer ended cleanly, between two messages. Stays. */                                     \
    X(TCPMSG_EOF, -1, "the peer ended the connection")                                             \
    /* The peer ended inside a message. Stays. */                                                  \
    X(TCPMSG_ETRUNCATED, -2, "the peer ended the connection inside a message")                     \
    /* The peer reset the connection: it crashed, aborted, or closed with input unread. Stays. */  \
    X(TCPMSG_ERESET, -3, "the peer reset the connection")                                          \
    /* A clock of the connection ran out: message, keepalive, user timeout. Stays. */              \
    X(TCPMSG_ESTALLED, -4, "the peer did not get on in time")                                      \
    /* The time limit of this one call ran out; the same call can be made again. */                \
    X(TCPMSG_ETIMEDOUT, -5, "the time limit of the call ran out")                                  \
    /* TCPMSG_DONTWAIT was given and the call would have to wait. */                               \
    X(TCPMSG_EAGAIN, -6, "the call would have to wait")                                            \
    /* Longer than max_message, or than the prefix can say. Received, it stays; sent, not. */      \
    X(TCPMSG_EMSGSIZE, -7, "the message is too long")                                              \
    /* The caller's buffer is too small; nothing is lost. */                                       \
    X(TCPMSG_EBUFSIZE, -8, "the buffer is too small")                                              \
    /* The peer sent a malformed length prefix. Stays. */                                          \
    X(TCPMSG_EPROTO, -9, "the peer sent a malformed length prefix")                                \
    /* The connection or listener was aborted, or closed by another thread. Stays. */              \
    X(TCPMSG_ECANCELED, -10, "the operation was canceled")                                         \
    /* A send after this side's own shutdown. */                                                   \
    X(TCPMSG_ECLOSED, -11, "this side has ended its sending")                                      \
    /* An argument is wrong: a NULL, a negative count, an unknown flag or option. */               \
    X(TCPMSG_EINVAL, -12, "an argument is not valid")                                              \
    /* Out of memory or of the system's buffers; nothing was done. */                              \
    X(TCPMSG_ENOMEM, -13, "out of memory")                                                         \
    /* Nothing listens at the address. */                                                          \
    X(TCPMSG_EREFUSED, -14, "the connection was refused")                                          \
    /* No way to the address, or no longer one. Stays. */                                          \
    X(TCPMSG_EUNREACHABLE, -15, "the address can't be reached")                                    \
    /* The address to listen on is taken. */                                                       \
    X(TCPMSG_EINUSE, -16, "the address is in use")                                                 \
    /* The text is no address. */                                                                  \
    X(TCPMSG_EADDRESS, -17, "the text is not an address")                                          \
    /* The host name could not be looked up. */                                                    \
    X(TCPMSG_ERESOLVE, -18, "the host name can't be resolved")                                     \
    /* Out of file descriptors, in the process or in the system. */                                \
    X(TCPMSG_EMFILE, -19, "out of file descriptors")                                               \
    /* The system forbids it. */                                                                   \
    X(TCPMSG_EACCESS, -20, "permission denied")                                                    \
    /* The system said something else: see tcpmsg_conn_why and os_error of tcpmsg_info. */         \
    X(TCPMSG_ESYSTEM, -21, "the system reported an error")

enum tcpmsg_error {
#define TCPMSG_ERROR_CODE(name, number, sentence) name = (number),
    TCPMSG_ERRORS(TCPMSG_ERROR_CODE)
#undef TCPMSG_ERROR_CODE
};

/*
 * The error as a sentence in English, for a person: "the peer reset the connection".
 * Takes any int; never NULL. A static string; any thread.
 */
TCPMSG_API const char *tcpmsg_strerror(int error);

/*
 * The error's name, for a log: "TCPMSG_ERESET". "TCPMSG_OK" for 0 and above,
 * "TCPMSG_E?" for an unknown code; never NULL. A static string; any thread.
 */
TCPMSG_API const char *tcpmsg_error_name(int error);

#ifdef __cplusplus
}
#endif

#endif
