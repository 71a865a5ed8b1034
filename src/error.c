/* SPDX-License-Identifier: MIT */
#include "error.h"

#include <errno.h>
#include <string.h>

const char *tcpmsg_strerror(int error)
{
    switch (error) {
#define SENTENCE(name, number, sentence)                                                           \
    case name:                                                                                     \
        return sentence;
        TCPMSG_ERRORS(SENTENCE)
#undef SENTENCE
    default:
        return error >= 0 ? "no error" : "unknown error";
    }
}

const char *tcpmsg_error_name(int error)
{
    switch (error) {
#define NAME(name, number, sentence)                                                               \
    case name:                                                                                     \
        return #name;
        TCPMSG_ERRORS(NAME)
#undef NAME
    default:
        return error >= 0 ? "TCPMSG_OK" : "TCPMSG_E?";
    }
}

static const struct {
    int number;
    int error;
} from_errno[] = {
    {EAGAIN, TCPMSG_EAGAIN},
    {EWOULDBLOCK, TCPMSG_EAGAIN},
    {ECONNRESET, TCPMSG_ERESET},
    {EPIPE, TCPMSG_ERESET},
    {ENOTCONN, TCPMSG_ERESET},
    {ECONNABORTED, TCPMSG_ERESET},
    {EPROTO, TCPMSG_ERESET},
    {ETIMEDOUT, TCPMSG_ESTALLED},
    {ENOMEM, TCPMSG_ENOMEM},
    {ENOBUFS, TCPMSG_ENOMEM},
    {ECONNREFUSED, TCPMSG_EREFUSED},
    {ENOENT, TCPMSG_EREFUSED},
    {EHOSTUNREACH, TCPMSG_EUNREACHABLE},
    {ENETUNREACH, TCPMSG_EUNREACHABLE},
    {ENETDOWN, TCPMSG_EUNREACHABLE},
    {EADDRNOTAVAIL, TCPMSG_EUNREACHABLE},
    {EAFNOSUPPORT, TCPMSG_EUNREACHABLE},
#ifdef EHOSTDOWN
    {EHOSTDOWN, TCPMSG_EUNREACHABLE},
#endif
#ifdef ENONET
    {ENONET, TCPMSG_EUNREACHABLE},
#endif
    {EADDRINUSE, TCPMSG_EINUSE},
    {EMFILE, TCPMSG_EMFILE},
    {ENFILE, TCPMSG_EMFILE},
    {EACCES, TCPMSG_EACCESS},
    {EPERM, TCPMSG_EACCESS},
    {EROFS, TCPMSG_EACCESS},
};

int tm_error_from_errno(int number)
{
    for (unsigned i = 0; i < sizeof from_errno / sizeof from_errno[0]; i++)
        if (from_errno[i].number == number)
            return from_errno[i].error;
    return TCPMSG_ESYSTEM;
}

const char *tm_errno_text(int number, char room[TM_ERRNO_TEXT_MOST])
{
#if defined(__GLIBC__) && defined(_GNU_SOURCE) /* GNU's own, which answers the text */
    return strerror_r(number, room, TM_ERRNO_TEXT_MOST);
#else
    return strerror_r(number, room, TM_ERRNO_TEXT_MOST) == 0 ? room : "unknown error";
#endif
}
