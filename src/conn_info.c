/* SPDX-License-Identifier: MIT */
#include "conn.h"
#include "conn_client.h"
#include "conn_in.h"

#include <string.h>

#include "error.h"

/* What is asked of a connection is const; its locks are not. */
static tcpmsg_conn *writable(const tcpmsg_conn *conn)
{
    return (tcpmsg_conn *)conn;
}

int tcpmsg_conn_fd(const tcpmsg_conn *conn)
{
    if (!conn)
        return -1;
    tm_mutex *lock = &writable(conn)->out.lock;
    tm_mutex_lock(lock);
    int fd = conn->fd;
    tm_mutex_unlock(lock);
    return fd;
}

short tcpmsg_conn_events(const tcpmsg_conn *conn)
{
    short events = 0;
    if (!conn)
        return 0;
    tm_mutex *lock = &writable(conn)->out.lock;
    tm_mutex_lock(lock);
    if (!conn->out.error && conn->out.box.len > 0)
        events = POLLOUT;
    tm_mutex_unlock(lock);
    return conn->in.error ? events : (short)(events | POLLIN);
}

int tcpmsg_conn_set_timeouts(tcpmsg_conn *conn, int send_ms, int recv_ms)
{
    if (!conn || send_ms < TCPMSG_NO_LIMIT || recv_ms < TCPMSG_NO_LIMIT)
        return TCPMSG_EINVAL;
    if (send_ms != 0) {
        conn->send_timeout_ms = send_ms;
        tm_mutex_lock(&conn->out.lock);
        if (tm_is_kept(conn))
            tm_kept_attend(conn); /* its timer may be set for later, or not at all */
        tm_mutex_unlock(&conn->out.lock);
    }
    if (recv_ms != 0 && conn->waits)
        tm_waiting_of(conn)->recv_timeout_ms = recv_ms;
    return 0;
}

/* The socket, with the sending lock, unless it is closed or was reset by an abort: then -1. */
static int hold_socket(const tcpmsg_conn *conn)
{
    tm_mutex_lock(&writable(conn)->out.lock);
    return conn->out.error == TCPMSG_ECANCELED ? -1 : conn->fd;
}

static void leave_socket(const tcpmsg_conn *conn)
{
    tm_mutex_unlock(&writable(conn)->out.lock);
}

/* What the socket itself answers. */
static int ask_socket(const tcpmsg_conn *conn, int (*ask)(int fd, tm_sockaddr *address),
                      tm_sockaddr *address)
{
    int fd = hold_socket(conn);
    int r = fd < 0 ? -1 : ask(fd, address);
    leave_socket(conn);
    return r < 0 ? TCPMSG_ECANCELED : 0;
}

int tcpmsg_conn_local(const tcpmsg_conn *conn, char *text, size_t size)
{
    tm_sockaddr address;
    if (!conn || !text)
        return TCPMSG_EINVAL;
    int r = ask_socket(conn, tm_socket_local, &address);
    return r < 0 ? r : tm_sockaddr_print(&address, text, size);
}

/* Of a loop's own connection nobody else reads. */
static bool meets_client(const tcpmsg_conn *conn)
{
    return conn->waits && tm_in_meet(writable(conn)) == 0;
}

/* A proxy has named one. */
static bool has_client(const tcpmsg_conn *conn)
{
    if (!conn->settings->proxy_protocol || conn->awaits_client)
        return false; /* it may be written just now */
    return tm_client_of(conn)->address.length > 0;
}

int tcpmsg_conn_peer(const tcpmsg_conn *conn, char *text, size_t size)
{
    tm_sockaddr address;
    if (!conn || !text)
        return TCPMSG_EINVAL;
    int r = 0;
    if (conn->awaits_client && !meets_client(conn) && !conn->in.error)
        return TCPMSG_EAGAIN; /* the proxy's own would be taken for the client's */
    if (has_client(conn))
        address = tm_client_of(conn)->address;
    else if (conn->tcp)
        tm_conn_peer(conn, &address);
    else
        r = ask_socket(conn, tm_socket_peer, &address);
    return r < 0 ? r : tm_sockaddr_print(&address, text, size);
}

int tcpmsg_conn_credentials(const tcpmsg_conn *conn, uid_t *uid, gid_t *gid, pid_t *pid)
{
    tm_credentials peer = {0};
    if (!conn || conn->tcp)
        return TCPMSG_EINVAL;
    int fd = hold_socket(conn);
    int r = fd < 0 ? 0 : tm_socket_credentials(fd, &peer);
    leave_socket(conn);
    if (fd < 0 || r < 0)
        return fd < 0 ? TCPMSG_ECANCELED : TCPMSG_EINVAL;
    if (uid)
        *uid = peer.uid;
    if (gid)
        *gid = peer.gid;
    if (pid)
        *pid = peer.pid;
    return 0;
}

static void ask_tcp(tcpmsg_conn *conn, tcpmsg_info *info)
{
    tm_tcp_info tcp = {.state = conn->tcp ? "CLOSED" : ""};
    if (conn->tcp && conn->fd >= 0)
        tm_socket_tcp_info(conn->fd, &tcp);
    info->tcp_state = tcp.state;
    info->rtt_us = tcp.rtt_us;
    info->retransmits = tcp.retransmits;
    info->unsent_bytes = tcp.unsent_bytes + conn->out.box.len;
    info->unacked_bytes = tcp.unacked_bytes;
}

int tcpmsg_conn_info(const tcpmsg_conn *conn, tcpmsg_info *info, size_t size)
{
    tcpmsg_info full = {0};
    if (!conn || !info || size == 0)
        return TCPMSG_EINVAL;
    tcpmsg_conn *own = writable(conn);
    tm_mutex_lock(&own->out.lock);
    full.messages_sent = own->out.messages + own->out.new_messages;
    full.bytes_sent = own->out.bytes + own->out.new_bytes;
    ask_tcp(own, &full);
    tm_mutex_unlock(&own->out.lock);
    full.messages_received = own->in.messages;
    full.bytes_received = own->in.bytes;
    full.os_error = own->os_error;
    memset(info, 0, size);
    memcpy(info, &full, size < sizeof full ? size : sizeof full);
    return 0;
}

void tcpmsg_conn_set_data(tcpmsg_conn *conn, void *data)
{
    if (conn)
        conn->data = data;
}

void *tcpmsg_conn_data(const tcpmsg_conn *conn)
{
    return conn ? writable(conn)->data : NULL;
}

const char *tcpmsg_conn_why(const tcpmsg_conn *conn)
{
    const char *why = conn ? writable(conn)->why : NULL;
    return why ? why : "";
}
