/* SPDX-License-Identifier: MIT */
#include "worker.h"

#include <signal.h>

#include "error.h"

int tm_worker_start(pthread_t *worker, void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* a new thread has its maker's mask */
    int r = pthread_create(worker, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r == 0 ? 0 : TCPMSG_ENOMEM;
}
