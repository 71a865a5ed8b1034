/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "log.h"

#include <stdio.h>

#include "text.h"

/* The client's address, written into the room of TCPMSG_ADDRESS_MAX bytes that is given. */
static const char *name_of(const tcpmsg_conn *conn, char *room)
{
    return tcpmsg_conn_peer(conn, room, TCPMSG_ADDRESS_MAX) == 0 ? room : "somebody";
}

void log_message(const tcpmsg_conn *conn, const char *message, size_t length)
{
    char room[TCPMSG_ADDRESS_MAX];

    flockfile(stdout);
    printf("%s: ", name_of(conn, room));
    text_print(stdout, message, length);
    putchar('\n');
    fflush(stdout);
    funlockfile(stdout);
}

void log_event(const tcpmsg_conn *conn, const char *sentence)
{
    char room[TCPMSG_ADDRESS_MAX];

    fprintf(stderr, "echo_server: %s: %s\n", name_of(conn, room), sentence);
}
