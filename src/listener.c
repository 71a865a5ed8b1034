/* SPDX-License-Identifier: MIT */
#include "listener.h"

#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "listen.h"
#include "log.h"
#include "socket.h"

#define STORY_MOST 1024

/* Without the lock: a thread of the parent's may have held it when this process was forked. */
int tm_listener_own_wake(tcpmsg_listener *listener)
{
    int self = getpid();
    for (;;) {
        int owner = atomic_load(&listener->wake_owner);
        if (owner == self)
            return 0;
        if (owner == -self)
            tm_socket_wait(NULL, 0, tm_now() + TM_MS); /* another thread is about to have it */
        else if (atomic_compare_exchange_strong(&listener->wake_owner, &owner, -self))
            break;
    }
    tm_wake_close(&listener->wake);
    int r = tm_wake_open(&listener->wake);
    atomic_store(&listener->wake_owner, r < 0 ? 0 : self);
    return r;
}

static int make(tcpmsg_listener **out, tm_settings *settings)
{
    tcpmsg_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return TCPMSG_ENOMEM;
    listener->wake = TM_WAKE_CLOSED;
    int r = TCPMSG_ENOMEM;
    if (pthread_mutex_init(&listener->lock, NULL) != 0)
        goto fail;
    if (tm_cond_init(&listener->left) != 0)
        goto fail_lock;
    r = tm_listener_own_wake(listener);
    if (r < 0) {
        r = tm_error_from_errno(-r);
        goto fail_cond;
    }
    listener->fd = -1;
    listener->naps = TM_NAPS_NEVER;
    listener->maker = getpid();
    listener->settings = tm_settings_ref(settings);
    *out = listener;
    return 0;

fail_cond:
    pthread_cond_destroy(&listener->left);
fail_lock:
    pthread_mutex_destroy(&listener->lock);
fail:
    free(listener);
    return r;
}

/* Frees it; the socket's end is the end of listening, as far as no other process shares it. */
static void let_go(tcpmsg_listener *listener)
{
    tm_socket_close(listener->fd);
    tm_wake_close(&listener->wake);
    tm_settings_unref(listener->settings);
    free(listener);
}

static void release(tcpmsg_listener *listener)
{
    pthread_cond_destroy(&listener->left);
    pthread_mutex_destroy(&listener->lock);
    let_go(listener);
}

static int make_and_listen(tcpmsg_listener **out, const char *address, tm_settings *settings,
                           tm_story *story)
{
    tcpmsg_listener *listener = NULL;
    int r = make(&listener, settings);
    if (!listener)
        return r;
    tm_sockaddr local = {0};
    r = tm_listen_at(listener, address, story);
    if (r < 0) {
        release(listener);
        return r;
    }
    listener->v6 = tm_socket_local(listener->fd, &local) < 0 || local.u.any.sa_family == AF_INET6;
    *out = listener;
    return 0;
}

static void log_listening(const tcpmsg_listener *listener)
{
    char text[TCPMSG_ADDRESS_MAX] = "";
    if (!listener->settings->log)
        return;
    tcpmsg_listener_address(listener, text, sizeof text);
    tm_log(listener->settings, TCPMSG_LOG_INFO, NULL, "listening at %s", text);
}

int tcpmsg_listen(tcpmsg_listener **out, const char *address, const tcpmsg_options *options)
{
    tm_settings *settings;
    tm_story story;
    if (!out || !address)
        return TCPMSG_EINVAL;
    int r = tm_settings_make(&settings, options, &story);
    if (r < 0)
        return r;
    char told[STORY_MOST] = "";
    r = make_and_listen(out, address, settings, &(tm_story){.text = told, .size = sizeof told});
    const char *text = told[0] ? told : tcpmsg_strerror(r);
    if (r < 0) {
        tm_story_tell(&story, "%s", text);
        tm_log(settings, TCPMSG_LOG_WARNING, NULL, "%s", text);
    } else {
        log_listening(*out);
    }
    tm_settings_unref(settings);
    return r;
}

int tcpmsg_listener_address(const tcpmsg_listener *listener, char *text, size_t size)
{
    tm_sockaddr address;
    if (!listener || !text)
        return TCPMSG_EINVAL;
    int r = tm_socket_local(listener->fd, &address);
    return r < 0 ? tm_error_from_errno(-r) : tm_sockaddr_print(&address, text, size);
}

int tcpmsg_listener_fd(const tcpmsg_listener *listener)
{
    return listener ? listener->fd : -1;
}

void tcpmsg_listener_abort(tcpmsg_listener *listener)
{
    if (!listener)
        return;
    listener->canceled = true;
    /* Without descriptors for a wake nobody can be waiting on it. */
    if (tm_listener_own_wake(listener) == 0)
        tm_wake_signal(&listener->wake);
}

void tcpmsg_listener_close(tcpmsg_listener *listener)
{
    if (!listener)
        return;
    if (listener->maker != getpid()) {
        let_go(listener);
        return;
    }
    tcpmsg_listener_abort(listener);
    pthread_mutex_lock(&listener->lock);
    while (listener->inside > 0)
        pthread_cond_wait(&listener->left, &listener->lock);
    pthread_mutex_unlock(&listener->lock);
    tm_unix_remove(listener);
    release(listener);
}
