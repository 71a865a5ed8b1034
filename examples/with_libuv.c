/* SPDX-License-Identifier: MIT */
/*
 * with_libuv [ADDRESS]: an echo server for many clients, driven by libuv.
 *
 * One uv_poll_t watches the listener's socket, and one that of each client. libuv makes these
 * sockets non-blocking, which is all one to calls that say TCPMSG_DONTWAIT. SIGINT and SIGTERM
 * stop the server.
 */
#define _POSIX_C_SOURCE 200809L

#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include <uv.h>

#include "echo.h"

struct client {
    uv_poll_t poll; /* its data is the client; that of all other handles is NULL */
    struct echo echo;
};

static uv_poll_t door; /* where clients come in */
static uv_timer_t rest;
static uv_signal_t signals[2];
static tcpmsg_listener *listener;

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* libuv wants to be done with a descriptor before it is closed: so the handle comes first. */
static void end(struct client *client)
{
    uv_close((uv_handle_t *)&client->poll, on_closed);
    echo_end(&client->echo);
}

static void on_client(uv_poll_t *handle, int status, int events);

static bool await(struct client *client)
{
    short wanted = echo_events(&client->echo);
    int events = (wanted & POLLIN ? UV_READABLE : 0) | (wanted & POLLOUT ? UV_WRITABLE : 0);
    return uv_poll_start(&client->poll, events, on_client) == 0;
}

/* Whatever came, an error too: the connection's own calls tell the rest. */
static void on_client(uv_poll_t *handle, int status, int events)
{
    struct client *client = handle->data;
    (void)status;
    (void)events;
    if (!echo_turn(&client->echo) || !await(client))
        end(client);
}

static void meet(tcpmsg_conn *conn)
{
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL || uv_poll_init(door.loop, &client->poll, tcpmsg_conn_fd(conn)) != 0) {
        free(client);
        tcpmsg_close(conn);
        return;
    }
    client->poll.data = client;
    client->echo.conn = conn;
    if (!await(client))
        end(client);
}

static void on_listener(uv_poll_t *handle, int status, int events);

static void on_rested(uv_timer_t *timer)
{
    (void)timer;
    uv_poll_start(&door, UV_READABLE, on_listener);
}

static void on_listener(uv_poll_t *handle, int status, int events)
{
    tcpmsg_conn *conn;
    int error;
    (void)status;
    (void)events;
    while ((error = tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT)) == 0)
        meet(conn);
    if (error == TCPMSG_EMFILE) { /* out of descriptors: who waits at the door would make us spin */
        uv_poll_stop(handle);
        uv_timer_start(&rest, on_rested, 100, 0);
    }
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (uv_is_closing(handle))
        return;
    if (handle->data != NULL)
        end(handle->data);
    else
        uv_close(handle, NULL);
}

/* Without handles, uv_run returns. */
static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    uv_walk(handle->loop, close_handle, NULL);
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    if (loop == NULL)
        return EXIT_FAILURE;
    uv_timer_init(loop, &rest);
    for (int i = 0; i < 2; i++) {
        uv_signal_init(loop, &signals[i]);
        uv_signal_start(&signals[i], on_signal, i == 0 ? SIGINT : SIGTERM);
    }
    listener = echo_listen(argc, argv);
    if (listener == NULL || uv_poll_init(loop, &door, tcpmsg_listener_fd(listener)) != 0 ||
        uv_poll_start(&door, UV_READABLE, on_listener) != 0)
        return EXIT_FAILURE;

    uv_run(loop, UV_RUN_DEFAULT);
    tcpmsg_listener_close(listener);
    return uv_loop_close(loop) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
