/* SPDX-License-Identifier: MIT */
#ifndef TM_CONN_CLIENT_H
#define TM_CONN_CLIENT_H

#include "address.h"
#include "conn.h"

/*
 * A connection from a proxy: first comes a header that says whose it is. It is read by whoever
 * would read the first message, which begins where the header ends.
 */
typedef struct tm_client {
    tm_buffer header;    /* as far as it has come; with the turn */
    tm_sockaddr address; /* length 0: the socket's own peer; written before awaits_client is not */
} tm_client;

/* Only of a connection whose settings say proxy_protocol. */
tm_client *tm_client_of(const tcpmsg_conn *conn);

void tm_client_await(tcpmsg_conn *conn); /* if they do: the next thing is a header */
void tm_client_free(tcpmsg_conn *conn);

/* One read; its answer. */
ssize_t tm_client_read(tcpmsg_conn *conn);

/* 1: the header is whole, and what follows it is in the receiving buffer; 0: not yet; else
 * TCPMSG_EPROTO, which is told. */
int tm_client_look(tcpmsg_conn *conn);

/* What the end of the stream is here; and what is told of an end before the header. */
int tm_client_end(const tcpmsg_conn *conn);
void tm_client_tell_ending(tcpmsg_conn *conn, int error);

#endif
