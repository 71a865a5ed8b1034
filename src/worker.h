/* SPDX-License-Identifier: MIT */
#ifndef TM_WORKER_H
#define TM_WORKER_H

#include <pthread.h>

/*
 * Starts a thread of the library's own, to be joined or detached. Every signal is blocked in it:
 * handlers run in the program's threads. 0 or TCPMSG_ENOMEM.
 */
int tm_worker_start(pthread_t *worker, void *(*run)(void *arg), void *arg);

#endif
