/* SPDX-License-Identifier: MIT */
/*
 * with_libevent [ADDRESS]: an echo server for many clients, driven by libevent.
 *
 * Each client has one event, which is added for one time only: after every turn it is assigned
 * anew, to what the connection waits for then. SIGINT and SIGTERM stop the server.
 */
#define _POSIX_C_SOURCE 200809L

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "echo.h"

struct client {
    struct event event;
    struct echo echo;
    struct client *next, **link;
};

static struct client *clients;
static struct event_base *base;
static struct event *door; /* where clients come in */
static tcpmsg_listener *listener;

/* libevent wants to be done with a descriptor before it is closed: so the event comes first. */
static void end(struct client *client)
{
    event_del(&client->event);
    echo_end(&client->echo);
    *client->link = client->next;
    if (client->next != NULL)
        client->next->link = client->link;
    free(client);
}

static void on_client(evutil_socket_t fd, short events, void *arg);

static bool await(struct client *client)
{
    short wanted = echo_events(&client->echo);
    int events = (wanted & POLLIN ? EV_READ : 0) | (wanted & POLLOUT ? EV_WRITE : 0);
    return event_assign(&client->event, base, tcpmsg_conn_fd(client->echo.conn), (short)events,
                        on_client, client) == 0 &&
           event_add(&client->event, NULL) == 0;
}

/* Whatever came: the connection's own calls tell the rest. */
static void on_client(evutil_socket_t fd, short events, void *arg)
{
    struct client *client = arg;
    (void)fd;
    (void)events;
    if (!echo_turn(&client->echo) || !await(client))
        end(client);
}

static void meet(tcpmsg_conn *conn)
{
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        tcpmsg_close(conn);
        return;
    }
    client->echo.conn = conn;
    client->next = clients;
    client->link = &clients;
    if (clients != NULL)
        clients->link = &client->next;
    clients = client;
    if (!await(client))
        end(client);
}

static void on_rested(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    (void)arg;
    event_add(door, NULL);
}

static void on_listener(evutil_socket_t fd, short events, void *arg)
{
    static const struct timeval rest = {.tv_usec = 100000};
    tcpmsg_conn *conn;
    int error;
    (void)fd;
    (void)events;
    (void)arg;
    while ((error = tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT)) == 0)
        meet(conn);
    if (error == TCPMSG_EMFILE) { /* out of descriptors: who waits at the door would make us spin */
        event_del(door);
        event_base_once(base, -1, EV_TIMEOUT, on_rested, NULL, &rest);
    }
}

static void on_signal(evutil_socket_t number, short events, void *arg)
{
    (void)number;
    (void)events;
    (void)arg;
    event_base_loopbreak(base);
}

int main(int argc, char **argv)
{
    struct event *signals[2];
    base = event_base_new();
    if (base == NULL)
        return EXIT_FAILURE;
    for (int i = 0; i < 2; i++) {
        signals[i] = evsignal_new(base, i == 0 ? SIGINT : SIGTERM, on_signal, NULL);
        event_add(signals[i], NULL);
    }
    listener = echo_listen(argc, argv);
    if (listener == NULL)
        return EXIT_FAILURE;
    door = event_new(base, tcpmsg_listener_fd(listener), EV_READ | EV_PERSIST, on_listener, NULL);
    event_add(door, NULL);

    event_base_dispatch(base);
    while (clients != NULL)
        end(clients);
    for (int i = 0; i < 2; i++)
        event_free(signals[i]);
    event_free(door);
    tcpmsg_listener_close(listener);
    event_base_free(base);
    return EXIT_SUCCESS;
}
