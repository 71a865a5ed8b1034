/* SPDX-License-Identifier: MIT */
#include "conn_client.h"

#include <errno.h>

#include <tcpmsg/tcpmsg.h>

#include "guess.h"
#include "log.h"
#include "proxy.h"

/* One read of a header: most are shorter, and what follows it is read along. */
#define READ_SIZE 512

void tm_client_await(tcpmsg_conn *conn)
{
    int ms = conn->settings->connect_timeout_ms;
    if (!conn->settings->proxy_protocol)
        return;
    conn->awaits_client = true;
    if (ms >= 0)
        conn->in.message_limit = tm_deadline(ms);
}

void tm_client_free(tcpmsg_conn *conn)
{
    if (conn->settings->proxy_protocol)
        tm_buffer_free(&tm_client_of(conn)->header);
}

ssize_t tm_client_read(tcpmsg_conn *conn)
{
    tm_buffer *header = &tm_client_of(conn)->header;
    if (tm_buffer_reserve(header, READ_SIZE) < 0)
        return -ENOMEM;
    struct iovec part = {tm_buffer_tail(header), tm_buffer_room(header)};
    ssize_t n = tm_socket_read(conn->fd, &part, 1);
    if (n > 0)
        tm_buffer_came(header, (size_t)n);
    return n;
}

/* What it is instead, when it is none. */
static void tell_refusal(tcpmsg_conn *conn, const tm_buffer *header, const char *wrong)
{
    const char *protocol = tm_guess_protocol(tm_buffer_head(header), tm_buffer_len(header));
    if (wrong)
        tm_conn_tell(conn, "the PROXY header is malformed: %s", wrong);
    else if (protocol)
        tm_conn_tell(conn, "no PROXY header came first: is the peer speaking %s?", protocol);
    else
        tm_conn_tell(conn, "no PROXY header came first: is there a proxy that sends one?");
}

static void log_client(tcpmsg_conn *conn, const tm_sockaddr *address)
{
    char text[TCPMSG_ADDRESS_MAX] = "its own connection";
    if (!conn->settings->log)
        return;
    if (address->length > 0)
        tm_sockaddr_print(address, text, sizeof text);
    tm_log(conn->settings, TCPMSG_LOG_INFO, conn, "the proxy hands on %s", text);
}

int tm_client_look(tcpmsg_conn *conn)
{
    tm_client *client = tm_client_of(conn);
    tm_buffer *header = &client->header;
    const char *wrong;
    ssize_t size =
        tm_proxy_decode(tm_buffer_head(header), tm_buffer_len(header), &client->address, &wrong);
    if (size < 0)
        tell_refusal(conn, header, wrong);
    if (size <= 0)
        return (int)size;
    tm_buffer_consume(header, (size_t)size);
    conn->in.buffer = *header; /* what follows it is messages */
    *header = (tm_buffer){0};
    conn->in.message_limit = 0;
    atomic_store_explicit(&conn->awaits_client, false, memory_order_release);
    log_client(conn, &client->address);
    return 1;
}

int tm_client_end(const tcpmsg_conn *conn)
{
    return tm_buffer_len(&tm_client_of(conn)->header) > 0 ? TCPMSG_ETRUNCATED : TCPMSG_EOF;
}

void tm_client_tell_ending(tcpmsg_conn *conn, int error)
{
    size_t count = tm_buffer_len(&tm_client_of(conn)->header);
    char room[TM_ERRNO_TEXT_MOST];
    if (error == TCPMSG_ESTALLED && conn->os_error == 0)
        tm_conn_tell(conn, "no whole PROXY header came within %d ms (%zu bytes of it did)",
                     conn->settings->connect_timeout_ms, count);
    else if (error == TCPMSG_EOF || error == TCPMSG_ETRUNCATED)
        tm_conn_tell(conn, "the peer closed the connection after %zu bytes of a PROXY header",
                     count);
    else
        tm_conn_tell(conn, "%s, after %zu bytes of a PROXY header",
                     tm_conn_reason(conn, error, room), count);
}
