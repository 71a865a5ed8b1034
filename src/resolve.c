/* SPDX-License-Identifier: MIT */
#include "resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"

/* A look-up that two threads share: the one that waits, and the one inside getaddrinfo(3). */
struct lookup {
    pthread_mutex_t lock;
    pthread_cond_t finished;
    int holders; /* of this struct: the last one frees it */
    bool done;
    int answer; /* getaddrinfo's */
    struct addrinfo *found;
    struct addrinfo hints;
    char host[TM_HOST_MAX + 1];
    char port[6];
};

static int copy_found(tm_addresses *out, const struct addrinfo *found)
{
    size_t count = 0;
    for (const struct addrinfo *one = found; one; one = one->ai_next)
        count++;
    if (count == 0)
        return TCPMSG_ERESOLVE;
    tm_sockaddr *list = calloc(count, sizeof *list);
    if (!list)
        return TCPMSG_ENOMEM;
    *out = (tm_addresses){list, 0};
    for (const struct addrinfo *one = found; one; one = one->ai_next) {
        if (one->ai_addrlen > sizeof list->u)
            continue;
        list[out->count].length = one->ai_addrlen;
        memcpy(&list[out->count++].u, one->ai_addr, one->ai_addrlen);
    }
    return 0;
}

static int conclude(tm_addresses *out, int answer, struct addrinfo *found, const char *host,
                    tm_story *story)
{
    if (answer == EAI_MEMORY)
        return TCPMSG_ENOMEM;
    if (answer != 0) {
        tm_story_tell(story, "the host name \"%s\" can't be resolved: %s", host,
                      gai_strerror(answer));
        return TCPMSG_ERESOLVE;
    }
    int r = copy_found(out, found);
    freeaddrinfo(found);
    if (r == 0 && out->count == 0) {
        free(out->list);
        r = TCPMSG_ERESOLVE;
    }
    return r;
}

static void let_go(struct lookup *lookup)
{
    pthread_mutex_lock(&lookup->lock);
    bool last = --lookup->holders == 0;
    pthread_mutex_unlock(&lookup->lock);
    if (!last)
        return;
    if (lookup->done && lookup->answer == 0 && lookup->found)
        freeaddrinfo(lookup->found);
    pthread_cond_destroy(&lookup->finished);
    pthread_mutex_destroy(&lookup->lock);
    free(lookup);
}

static void *look_up(void *arg)
{
    struct lookup *lookup = arg;
    struct addrinfo *found = NULL;
    int answer = getaddrinfo(lookup->host, lookup->port, &lookup->hints, &found);
    pthread_mutex_lock(&lookup->lock);
    lookup->answer = answer;
    lookup->found = found;
    lookup->done = true;
    pthread_cond_signal(&lookup->finished);
    pthread_mutex_unlock(&lookup->lock);
    let_go(lookup);
    return NULL;
}

/* Starts the thread with every signal blocked: handlers run in the program's own threads. */
static int start(struct lookup *lookup)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    if (pthread_attr_init(&attributes) != 0)
        return TCPMSG_ENOMEM;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&thread, &attributes, look_up, lookup);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return r == 0 ? 0 : TCPMSG_ENOMEM;
}

static struct lookup *prepare(const char *host, const char *port, const struct addrinfo *hints)
{
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup)
        return NULL;
    if (pthread_mutex_init(&lookup->lock, NULL) != 0)
        goto fail;
    if (tm_cond_init(&lookup->finished) != 0)
        goto fail_lock;
    lookup->holders = 2;
    lookup->hints = *hints;
    snprintf(lookup->host, sizeof lookup->host, "%s", host);
    snprintf(lookup->port, sizeof lookup->port, "%s", port);
    return lookup;

fail_lock:
    pthread_mutex_destroy(&lookup->lock);
fail:
    free(lookup);
    return NULL;
}

static int look_up_until(tm_addresses *out, const char *host, const char *port,
                         const struct addrinfo *hints, int64_t deadline, tm_story *story)
{
    struct lookup *lookup = prepare(host, port, hints);
    if (!lookup)
        return TCPMSG_ENOMEM;
    int r = start(lookup);
    if (r < 0) {
        lookup->holders = 1;
        let_go(lookup);
        return r;
    }
    pthread_mutex_lock(&lookup->lock);
    while (!lookup->done && tm_cond_wait(&lookup->finished, &lookup->lock, deadline))
        continue;
    bool done = lookup->done;
    struct addrinfo *found = lookup->found;
    int answer = lookup->answer;
    lookup->found = NULL;
    pthread_mutex_unlock(&lookup->lock);
    let_go(lookup);
    if (done)
        return conclude(out, answer, found, host, story);
    tm_story_tell(story, "the look-up of \"%s\" took too long", host);
    return TCPMSG_ETIMEDOUT;
}

int tm_resolve(tm_addresses *out, const tm_address *address, bool passive, int64_t deadline,
               tm_story *story)
{
    char port[6];
    const char *host = address->host[0] ? address->host : NULL;
    struct addrinfo *found = NULL;
    struct addrinfo hints = {
        .ai_family = address->is_v6 ? AF_INET6 : AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST | (passive ? AI_PASSIVE : 0),
    };
    snprintf(port, sizeof port, "%u", (unsigned)address->port);
    int answer = getaddrinfo(host, port, &hints, &found);
    if (answer != EAI_NONAME || !host || address->is_v6)
        return conclude(out, answer, found, address->host, story);
    hints.ai_flags &= ~AI_NUMERICHOST;
    if (deadline != TM_FOREVER)
        return look_up_until(out, host, port, &hints, deadline, story);
    answer = getaddrinfo(host, port, &hints, &found);
    return conclude(out, answer, found, host, story);
}
