/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE /* SYS_gettid */
#include "waiter.h"

#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "reach.h"

static void *wait_in_accept(void *arg)
{
    struct waiter *waiter = arg;
    waiter->number = syscall(SYS_gettid);
    waiter->error = tcpmsg_accept(waiter->listener, &waiter->conn, 0);
    return NULL;
}

/* Asleep after it has told its number is inside accept: proc(5), /proc/[pid]/stat. */
static bool sleeps(void *arg)
{
    const struct waiter *waiter = arg;
    char path[64], name[64], run = '?';
    if (waiter->number == 0)
        return false;
    snprintf(path, sizeof path, "/proc/self/task/%ld/stat", (long)waiter->number);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    int fields = fscanf(file, "%*d (%63[^)]) %c", name, &run);
    fclose(file);
    return fields == 2 && run == 'S';
}

bool waiter_start(struct waiter *waiter, tcpmsg_listener *listener)
{
    *waiter = (struct waiter){.listener = listener, .conn = NO_CONN};
    return pthread_create(&waiter->thread, NULL, wait_in_accept, waiter) == 0 &&
           eventually(sleeps, waiter);
}

int waiter_answer(struct waiter *waiter)
{
    pthread_join(waiter->thread, NULL);
    return waiter->error;
}
