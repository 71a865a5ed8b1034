/* SPDX-License-Identifier: MIT */
#include "resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "worker.h"

/* Two threads may share it: the one that wants the answer, and the one inside getaddrinfo(3). */
struct tm_lookup {
    pthread_mutex_t lock;
    pthread_cond_t finished;
    int holders; /* of this struct: the last one frees it */
    bool in_thread;
    bool done;
    int answer; /* getaddrinfo's */
    struct addrinfo *found;
    tm_lookup_notify *notify; /* NULL: nobody wants to know (any more) */
    void *arg;
    int64_t deadline;
    pid_t maker; /* of the thread, the process: a forked child has none */
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
    if (found) /* not every libc takes NULL for nothing */
        freeaddrinfo(found);
    if (r == 0 && out->count == 0) {
        free(out->list);
        r = TCPMSG_ERESOLVE;
    }
    return r;
}

static void let_go(tm_lookup *lookup)
{
    pthread_mutex_lock(&lookup->lock);
    bool last = --lookup->holders == 0;
    pthread_mutex_unlock(&lookup->lock);
    if (!last)
        return;
    if (lookup->found)
        freeaddrinfo(lookup->found);
    pthread_cond_destroy(&lookup->finished);
    pthread_mutex_destroy(&lookup->lock);
    free(lookup);
}

static void look_up(tm_lookup *lookup)
{
    struct addrinfo *found = NULL;
    const char *host = lookup->host[0] ? lookup->host : NULL;
    int answer = getaddrinfo(host, lookup->port, &lookup->hints, &found);
    pthread_mutex_lock(&lookup->lock);
    lookup->answer = answer;
    lookup->found = answer == 0 ? found : NULL;
    lookup->done = true;
    pthread_cond_signal(&lookup->finished);
    if (lookup->notify)
        lookup->notify(lookup->arg);
    pthread_mutex_unlock(&lookup->lock);
}

static void *run(void *lookup)
{
    look_up(lookup);
    let_go(lookup);
    return NULL;
}

static int start_thread(tm_lookup *lookup)
{
    pthread_t thread;
    lookup->in_thread = true;
    lookup->maker = getpid();
    lookup->holders = 2;
    int r = tm_worker_start(&thread, run, lookup);
    if (r == 0)
        pthread_detach(thread);
    else
        lookup->holders = 1;
    return r;
}

static tm_lookup *make(const tm_address *address, bool passive, int64_t deadline)
{
    tm_lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup)
        return NULL;
    if (pthread_mutex_init(&lookup->lock, NULL) != 0)
        goto fail;
    if (tm_cond_init(&lookup->finished) != 0)
        goto fail_lock;
    lookup->holders = 1;
    lookup->deadline = deadline;
    lookup->hints = (struct addrinfo){
        .ai_family = address->is_v6 ? AF_INET6 : AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST | (passive ? AI_PASSIVE : 0),
    };
    snprintf(lookup->host, sizeof lookup->host, "%s", address->host);
    snprintf(lookup->port, sizeof lookup->port, "%u", (unsigned)address->port);
    return lookup;

fail_lock:
    pthread_mutex_destroy(&lookup->lock);
fail:
    free(lookup);
    return NULL;
}

int tm_lookup_begin(tm_lookup **out, const tm_address *address, bool passive, int64_t deadline,
                    tm_lookup_notify *notify, void *arg)
{
    tm_lookup *lookup = make(address, passive, deadline);
    if (!lookup)
        return TCPMSG_ENOMEM;
    look_up(lookup);
    if (lookup->answer == EAI_NONAME && lookup->host[0] && !address->is_v6) {
        lookup->hints.ai_flags &= ~AI_NUMERICHOST;
        lookup->done = false;
        lookup->notify = notify;
        lookup->arg = arg;
        if ((notify || deadline != TM_FOREVER) && start_thread(lookup) < 0) {
            let_go(lookup);
            return TCPMSG_ENOMEM;
        }
    }
    *out = lookup;
    return 0;
}

void tm_lookup_wait(tm_lookup *lookup)
{
    if (!lookup->in_thread) {
        if (!lookup->done)
            look_up(lookup);
        return;
    }
    pthread_mutex_lock(&lookup->lock);
    while (!lookup->done && tm_cond_wait(&lookup->finished, &lookup->lock, lookup->deadline))
        continue;
    pthread_mutex_unlock(&lookup->lock);
}

int tm_lookup_step(tm_lookup *lookup, tm_addresses *out, tm_story *story)
{
    pthread_mutex_lock(&lookup->lock);
    bool done = lookup->done;
    struct addrinfo *found = lookup->found;
    lookup->found = NULL;
    pthread_mutex_unlock(&lookup->lock);
    if (done) {
        int r = conclude(out, lookup->answer, found, lookup->host, story);
        return r < 0 ? r : 1;
    }
    if (!tm_passed(lookup->deadline))
        return 0;
    tm_story_tell(story, "the look-up of \"%s\" took too long", lookup->host);
    return TCPMSG_ETIMEDOUT;
}

void tm_lookup_end(tm_lookup *lookup)
{
    if (!lookup || (lookup->in_thread && lookup->maker != getpid()))
        return;
    pthread_mutex_lock(&lookup->lock);
    lookup->notify = NULL;
    pthread_mutex_unlock(&lookup->lock);
    let_go(lookup);
}

int tm_resolve(tm_addresses *out, const tm_address *address, bool passive, int64_t deadline,
               tm_story *story)
{
    tm_lookup *lookup;
    int r = tm_lookup_begin(&lookup, address, passive, deadline, NULL, NULL);
    if (r < 0)
        return r;
    while ((r = tm_lookup_step(lookup, out, story)) == 0)
        tm_lookup_wait(lookup);
    tm_lookup_end(lookup);
    return r < 0 ? r : 0;
}
