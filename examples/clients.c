/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "clients.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all of these */
static pthread_cond_t none_left = PTHREAD_COND_INITIALIZER;
static struct client *list;
static size_t count; /* of those on the list, and those that are being closed */

struct client *clients_add(tcpmsg_conn *conn)
{
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return NULL;
    client->conn = conn;
    if (tcpmsg_conn_peer(conn, client->name, sizeof client->name) != 0)
        strcpy(client->name, "somebody");

    pthread_mutex_lock(&lock);
    client->next = list;
    list = client;
    count++;
    pthread_mutex_unlock(&lock);
    return client;
}

void clients_remove(struct client *client)
{
    pthread_mutex_lock(&lock);
    struct client **link = &list;
    while (*link != client)
        link = &(*link)->next;
    *link = client->next;
    pthread_mutex_unlock(&lock);

    /* This may take as long as linger_ms, so it is not done under the lock. */
    tcpmsg_close(client->conn);
    free(client);

    pthread_mutex_lock(&lock);
    if (--count == 0)
        pthread_cond_signal(&none_left);
    pthread_mutex_unlock(&lock);
}

/* What a send left behind, because time was up in the middle of the message, counts as unread. */
static int send_all_of_it(tcpmsg_conn *conn, const char *message, size_t length)
{
    int error = tcpmsg_send(conn, message, length, 0);
    return error == 0 ? tcpmsg_flush(conn, TCPMSG_DONTWAIT) : error;
}

void clients_send(const char *message, size_t length)
{
    pthread_mutex_lock(&lock);
    for (struct client *client = list; client != NULL; client = client->next) {
        int error = send_all_of_it(client->conn, message, length);
        if (error == TCPMSG_ETIMEDOUT || error == TCPMSG_EAGAIN) {
            clients_tell_of(client, "cut off, as it does not read");
            tcpmsg_abort(client->conn);
        } else if (error == TCPMSG_EMSGSIZE || error == TCPMSG_ENOMEM) {
            clients_tell_of(client, tcpmsg_strerror(error));
        }
        /* Any other error has ended the connection: its own thread meets it too. */
    }
    pthread_mutex_unlock(&lock);
}

void clients_finish(int seconds)
{
    struct timespec limit;
    int error = 0;

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += seconds;
    pthread_mutex_lock(&lock);
    while (count > 0 && error == 0)
        error = pthread_cond_timedwait(&none_left, &lock, &limit);
    for (struct client *client = list; client != NULL; client = client->next) {
        clients_tell_of(client, "cut off, as it is not done in time");
        tcpmsg_abort(client->conn);
    }
    while (count > 0)
        pthread_cond_wait(&none_left, &lock);
    pthread_mutex_unlock(&lock);
}

void clients_tell_of(const struct client *client, const char *sentence)
{
    fprintf(stderr, "echo_server: %s: %s\n", client->name, sentence);
}
