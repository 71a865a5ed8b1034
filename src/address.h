/* SPDX-License-Identifier: MIT */
#ifndef TM_ADDRESS_H
#define TM_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "story.h"

/* RFC 1035 section 2.3.4: a host name is at most 253 characters as text. */
#define TM_HOST_MAX 253

/* A socket address with its length. */
typedef struct tm_sockaddr {
    socklen_t length;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } u;
} tm_sockaddr;

typedef enum tm_address_kind { TM_ADDRESS_TCP, TM_ADDRESS_UNIX, TM_ADDRESS_FD } tm_address_kind;

/* An address as its text says, nothing looked up yet. */
typedef struct tm_address {
    tm_address_kind kind;
    char host[TM_HOST_MAX + 1]; /* TCP: "" is every interface, or this machine */
    bool is_v6;                 /* TCP: host stood in brackets, a literal IPv6 address */
    uint16_t port;              /* TCP */
    tm_sockaddr known;          /* Unix, and a TCP literal; else its length is 0 */
    int fd;                     /* handed down */
} tm_address;

/* 0, or TCPMSG_EADDRESS with its story. */
int tm_address_parse(tm_address *out, const char *text, tm_story *story);

/* 0, or TCPMSG_EBUFSIZE: then nothing is written. TCPMSG_ADDRESS_MAX always fits. */
int tm_sockaddr_print(const tm_sockaddr *address, char *text, size_t size);

/* Of the same family both: the same port. */
bool tm_sockaddr_same_port(const tm_sockaddr *one, const tm_sockaddr *other);

/* The same family, address and port. */
bool tm_sockaddr_equal(const tm_sockaddr *one, const tm_sockaddr *other);

#endif
