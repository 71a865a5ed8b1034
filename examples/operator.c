/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "operator.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "text.h"

enum { PATIENCE_S = 1 }; /* with a client that does not read */

/*
 * A connection of the loop's. The loop may free it as soon as on_close has returned, and that
 * takes it off the list: so what is on the list, under the lock, can be sent to without a
 * reference of our own.
 */
struct client {
    tcpmsg_conn *conn;
    struct client *next;
    struct client **link; /* what points to it: the list, or another's next */
    bool due;             /* what is being sent to everybody has still to be sent to this one */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of these two */
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;   /* there is room again, or one has left */
static struct client *list;

static tcpmsg_loop *served;
static size_t line_limit;
static pthread_t thread;
static int end_pipe[2]; /* its writing end is closed when the thread is to end */

int operator_meet(tcpmsg_conn *conn)
{
    struct client *client = malloc(sizeof *client);
    if (client == NULL)
        return -1;
    pthread_mutex_lock(&lock);
    *client = (struct client){.conn = conn, .next = list, .link = &list};
    if (list != NULL)
        list->link = &client->next;
    list = client;
    pthread_mutex_unlock(&lock);
    tcpmsg_conn_set_data(conn, client);
    return 0;
}

void operator_room(void)
{
    pthread_mutex_lock(&lock);
    pthread_cond_signal(&news);
    pthread_mutex_unlock(&lock);
}

void operator_part_with(tcpmsg_conn *conn)
{
    struct client *client = tcpmsg_conn_data(conn);
    if (client == NULL)
        return;
    pthread_mutex_lock(&lock);
    *client->link = client->next;
    if (client->next != NULL)
        client->next->link = client->link;
    pthread_cond_signal(&news);
    pthread_mutex_unlock(&lock);
    free(client);
}

/* To all to whom it is due. False when somebody's queue is full, so that it remains due there. */
static bool send_where_due(const char *line, size_t length)
{
    bool done = true;
    for (struct client *client = list; client != NULL; client = client->next) {
        if (!client->due)
            continue;
        int error = tcpmsg_send(client->conn, line, length, 0);
        client->due = error == TCPMSG_EAGAIN;
        done = done && !client->due;
        if (error == TCPMSG_EMSGSIZE || error == TCPMSG_ENOMEM)
            log_event(client->conn, tcpmsg_strerror(error));
        /* Any other error has ended the connection: on_close tells. */
    }
    return done;
}

/* Sends a line to everybody; who does not make room for it in time is cut off. */
static void send_to_all(const char *line, size_t length)
{
    struct timespec limit;
    int timeout = 0;

    clock_gettime(CLOCK_REALTIME, &limit); /* the clock of pthread_cond_timedwait */
    limit.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&lock);
    for (struct client *client = list; client != NULL; client = client->next)
        client->due = true;
    while (!send_where_due(line, length) && timeout == 0)
        timeout = pthread_cond_timedwait(&news, &lock, &limit);
    for (struct client *client = list; client != NULL; client = client->next) {
        if (client->due) {
            log_event(client->conn, "cut off, as it does not read");
            tcpmsg_abort(client->conn);
        }
    }
    pthread_mutex_unlock(&lock);
}

/* False once the loop has run. */
static bool wait_for_input(void)
{
    struct pollfd fds[] = {
        {.fd = STDIN_FILENO, .events = POLLIN},
        {.fd = end_pipe[0], .events = POLLIN},
    };
    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        continue;
    return fds[1].revents == 0;
}

static void *operate(void *arg)
{
    struct lines lines = {.fd = STDIN_FILENO, .limit = line_limit};
    char *line;
    ssize_t length;

    (void)arg;
    while ((length = lines_take(&lines, &line)) != LINES_END) {
        if (length == LINES_NONE) {
            if (!wait_for_input() || lines_fill(&lines) != 0)
                break;
        } else if (length == 4 && memcmp(line, "exit", 4) == 0) {
            break;
        } else {
            send_to_all(line, (size_t)length);
        }
    }
    free(lines.data);
    tcpmsg_loop_stop(served); /* what is queued for the clients is sent first */
    return NULL;
}

int operator_start(tcpmsg_loop *loop, size_t max_message)
{
    served = loop;
    line_limit = max_message;
    if (pipe(end_pipe) != 0)
        return errno;
    int error = pthread_create(&thread, NULL, operate, NULL);
    if (error != 0) {
        close(end_pipe[0]);
        close(end_pipe[1]);
    }
    return error;
}

void operator_end(void)
{
    close(end_pipe[1]);
    pthread_join(thread, NULL);
    close(end_pipe[0]);
}
