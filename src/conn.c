/* SPDX-License-Identifier: MIT */
#include "conn.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conn_client.h"
#include "error.h"
#include "probe.h"

#define READ_FIRST ((size_t)16 << 10)

static int init_waiting(tm_waiting *waiting, const tm_settings *settings)
{
    if (tm_condition_init(&waiting->out_turn) != 0)
        return TCPMSG_ENOMEM;
    if (tm_mutex_init(&waiting->lock) != 0)
        goto fail;
    if (tm_condition_init(&waiting->in_turn) != 0)
        goto fail_lock;
    atomic_init(&waiting->recv_timeout_ms, settings->recv_timeout_ms);
    waiting->read_size = READ_FIRST;
    waiting->wake = TM_WAKE_CLOSED;
    return 0;

fail_lock:
    tm_mutex_destroy(&waiting->lock);
fail:
    tm_condition_destroy(&waiting->out_turn);
    return TCPMSG_ENOMEM;
}

static void destroy_waiting(tm_waiting *waiting)
{
    tm_condition_destroy(&waiting->in_turn);
    tm_mutex_destroy(&waiting->lock);
    tm_condition_destroy(&waiting->out_turn);
}

/* Its keeper's room is behind it, then, where they are needed, a tm_waiting, a tm_client and a
 * tm_peer_v6. */
static tcpmsg_conn *make(tm_settings *settings, bool waits, bool v6_room)
{
    size_t size = sizeof(tcpmsg_conn) + TM_KEPT_SIZE;
    size += waits ? sizeof(tm_waiting) : 0;
    size += settings->proxy_protocol ? sizeof(tm_client) : 0;
    size += v6_room ? sizeof(tm_peer_v6) : 0;
    tcpmsg_conn *conn = calloc(1, size);
    if (!conn)
        return NULL;
    conn->v6_room = v6_room;
    if (tm_mutex_init(&conn->out.lock) != 0) {
        free(conn);
        return NULL;
    }
    atomic_init(&conn->refs, 1);
    conn->fd = -1;
    conn->maker = getpid();
    conn->settings = tm_settings_ref(settings);
    atomic_init(&conn->send_timeout_ms, settings->send_timeout_ms);
    return conn;
}

tcpmsg_conn *tm_conn_make(tm_settings *settings)
{
    tcpmsg_conn *conn = make(settings, true, true);
    if (!conn)
        return NULL;
    if (init_waiting(tm_waiting_of(conn), settings) < 0) {
        tm_conn_free(conn);
        return NULL;
    }
    conn->waits = true;
    conn->out.hold_most = TM_HOLD_MOST;
    return conn;
}

tcpmsg_conn *tm_conn_make_kept(tm_settings *settings, tm_keeper *keeper, bool v6_room)
{
    tcpmsg_conn *conn = make(settings, false, v6_room);
    if (conn)
        atomic_init(&conn->keeper, keeper);
    return conn;
}

tm_client *tm_client_of(const tcpmsg_conn *conn)
{
    char *behind = (char *)tm_waiting_of(conn);
    return (tm_client *)(behind + conn->waits * sizeof(tm_waiting));
}

static tm_peer_v6 *peer_v6(const tcpmsg_conn *conn)
{
    char *behind = (char *)tm_client_of(conn);
    return (tm_peer_v6 *)(behind + (conn->settings->proxy_protocol ? sizeof(tm_client) : 0));
}

static void remember_peer(tcpmsg_conn *conn, const tm_sockaddr *peer)
{
    conn->v6 = peer->u.any.sa_family == AF_INET6 && conn->v6_room;
    if (conn->v6) {
        conn->peer_port = peer->u.v6.sin6_port;
        *peer_v6(conn) = (tm_peer_v6){peer->u.v6.sin6_addr, peer->u.v6.sin6_scope_id};
    } else if (peer->u.any.sa_family == AF_INET) {
        conn->peer_port = peer->u.v4.sin_port;
        conn->peer_v4 = peer->u.v4.sin_addr;
    }
}

void tm_conn_peer(const tcpmsg_conn *conn, tm_sockaddr *peer)
{
    if (conn->v6) {
        const tm_peer_v6 *v6 = peer_v6(conn);
        *peer = (tm_sockaddr){.length = sizeof peer->u.v6};
        peer->u.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
                                           .sin6_port = conn->peer_port,
                                           .sin6_addr = v6->address,
                                           .sin6_scope_id = v6->scope};
    } else {
        *peer = (tm_sockaddr){.length = sizeof peer->u.v4};
        peer->u.v4 = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_port = conn->peer_port, .sin_addr = conn->peer_v4};
    }
}

void tm_conn_own(tcpmsg_conn *conn, int fd, const tm_sockaddr *peer)
{
    conn->fd = fd;
    TM_PROBE(opened, conn, fd);
    conn->tcp = peer->u.any.sa_family == AF_INET || peer->u.any.sa_family == AF_INET6;
    if (!conn->tcp)
        return;
    remember_peer(conn, peer);
    tm_socket_limit(fd, conn->settings);
}

void tm_conn_free(tcpmsg_conn *conn)
{
    if (conn->waits)
        destroy_waiting(tm_waiting_of(conn));
    tm_mutex_destroy(&conn->out.lock);
    tm_conn_let_go(conn);
}

void tm_conn_let_go(tcpmsg_conn *conn)
{
    tm_socket_close(conn->fd);
    if (conn->waits)
        tm_wake_close(&tm_waiting_of(conn)->wake);
    tm_outbox_free(&conn->out.box);
    tm_buffer_free(&conn->in.buffer);
    tm_conn_free_story(conn);
    tm_client_free(conn);
    tm_settings_unref(conn->settings);
    free(conn);
}

static int attach(tcpmsg_conn **out, int fd, tm_settings *settings, tm_story *story)
{
    tm_sockaddr peer;
    if (tm_socket_kind(fd) != TM_SOCKET_CONNECTED || tm_socket_peer(fd, &peer) < 0) {
        tm_story_tell(story, "descriptor %d is not a connected stream socket", fd);
        return TCPMSG_EINVAL;
    }
    tcpmsg_conn *conn = tm_conn_make(settings);
    if (!conn)
        return TCPMSG_ENOMEM;
    int r = tm_socket_own(fd, false);
    if (r < 0) {
        tm_conn_free(conn);
        return tm_error_from_errno(-r);
    }
    tm_waiting_of(conn)->attached = true;
    tm_conn_own(conn, fd, &peer);
    if (conn->tcp)
        tm_socket_tune(fd, settings);
    tm_client_await(conn);
    tm_conn_log_opening(conn, "attached a socket of");
    *out = conn;
    return 0;
}

int tcpmsg_attach(tcpmsg_conn **out, int fd, const tcpmsg_options *options)
{
    tm_settings *settings;
    tm_story story;
    if (!out)
        return TCPMSG_EINVAL;
    int r = tm_settings_make(&settings, options, &story);
    if (r < 0)
        return r;
    r = attach(out, fd, settings, &story);
    if (r < 0 && story.len == 0)
        tm_story_tell(&story, "%s", tcpmsg_strerror(r));
    tm_settings_unref(settings);
    return r;
}

tcpmsg_conn *tcpmsg_conn_ref(tcpmsg_conn *conn)
{
    if (conn)
        atomic_fetch_add_explicit(&conn->refs, 1, memory_order_relaxed);
    return conn;
}
