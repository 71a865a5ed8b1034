/* SPDX-License-Identifier: MIT */
/* Shortage: a program that is linked with shortage.c and ld's --wrap for the calls below has the
 * library's go through here. The n-th of a kind fails as it does when there is too little of that,
 * once or from then on; or the next ones of one call fail, with an errno of the test's own. */
#ifndef TESTS_SHORTAGE_H
#define TESTS_SHORTAGE_H

#include "support.h"

#include <stdatomic.h>
#include <sys/types.h>

enum scarce { SCARCE_MEMORY, SCARCE_DESCRIPTORS, SCARCE_BUFFERS, SCARCE_KINDS };

/* Each call, and what it answers for want of memory, descriptors, the system's buffers. */
#define SCARCE_CALLS(X)                                                                            \
    X(malloc, ENOMEM, 0, 0)                                                                        \
    X(calloc, ENOMEM, 0, 0)                                                                        \
    X(realloc, ENOMEM, 0, 0)                                                                       \
    X(strdup, ENOMEM, 0, 0)                                                                        \
    X(pthread_cond_init, ENOMEM, 0, 0)                                                             \
    X(pthread_condattr_init, ENOMEM, 0, 0)                                                         \
    X(pthread_create, EAGAIN, 0, 0)                                                                \
    X(pthread_mutex_init, ENOMEM, 0, 0)                                                            \
    X(getaddrinfo, EAI_MEMORY, 0, 0)                                                               \
    X(epoll_create1, 0, EMFILE, ENOMEM)                                                            \
    X(epoll_ctl, 0, 0, ENOMEM)                                                                     \
    X(epoll_wait, 0, 0, 0)                                                                         \
    X(kqueue, 0, EMFILE, ENOMEM)                                                                   \
    X(kevent_change, 0, 0, ENOMEM)                                                                 \
    X(kevent_wait, 0, 0, 0)                                                                        \
    X(eventfd, 0, EMFILE, ENOMEM)                                                                  \
    X(socket, 0, EMFILE, ENOBUFS)                                                                  \
    X(accept4, 0, ENFILE, ENOBUFS)                                                                 \
    X(bind, 0, 0, ENOMEM)                                                                          \
    X(listen, 0, 0, ENOBUFS)                                                                       \
    X(connect, 0, 0, ENOBUFS)                                                                      \
    X(getpeername, 0, 0, 0)                                                                        \
    X(getsockname, 0, 0, ENOBUFS)                                                                  \
    X(getsockopt, 0, 0, 0)                                                                         \
    X(setsockopt, 0, 0, ENOBUFS)                                                                   \
    X(poll, 0, 0, ENOMEM)                                                                          \
    X(recv, 0, 0, ENOMEM)                                                                          \
    X(recvmsg, 0, 0, ENOMEM)                                                                       \
    X(send, 0, 0, ENOBUFS)                                                                         \
    X(sendmsg, 0, 0, ENOMEM)

enum scarce_call {
#define SCARCE_CALL(name, memory, descriptors, buffers) CALL_##name,
    SCARCE_CALLS(SCARCE_CALL)
#undef SCARCE_CALL
};

/* Calls fail while it is set. */
extern atomic_bool scarce;

/*
 * Plays a scenario in every shortage: of each kind, the n-th call fails, for every n until the
 * scenario meets no failure any more; once, and from then on. It may leave nothing behind.
 */
void play_through_shortages(void (*play)(void));

/* Whether the shortage of this play lasts; whether a call answers that this is what it lacks. */
bool shortage_lasts(void);
bool lacks(ssize_t answer);

/* One call of the library's. When it lacks something it is made again, and must work: the
 * shortage was for that moment, or ends now. */
#define INSIST(answer, call)                                                                       \
    do {                                                                                           \
        scarce = true;                                                                             \
        (answer) = (call);                                                                         \
        scarce = lacks(answer) && !shortage_lasts();                                               \
        if (lacks(answer))                                                                         \
            (answer) = (call);                                                                     \
        scarce = false;                                                                            \
        if (lacks(answer))                                                                         \
            fail_msg("%s: %s", #call, tcpmsg_error_name((int)(answer)));                           \
    } while (0)

/* A shortage that lasts has lasted long enough, for this play. */
void shortage_over(void);

/* Between these two, a shortage that lasts ends while a call waits for that. */
void relief_begin(void);
void relief_end(void);

/* The next `count` calls of that name fail, whatever is scarce; or the one behind `after` more. */
void call_fails(enum scarce_call call, int error, int count);
void call_fails_later(enum scarce_call call, int error, int after);

/* How many calls have failed so; no other one will. */
int calls_failed(void);

/* Called when the library is about to write, without any lock of its own; NULL: nothing is. */
extern void (*before_write)(void);

/* While it is set, look-ups of names wait; how many do, and whether a signal could reach one. */
extern atomic_bool hold_look_ups;
extern atomic_int held_look_ups;
extern atomic_bool look_up_hears_signals;

/* A test's own thread, which nothing fails. */
void spare_this_thread(void);

/* How many allocations nobody has freed yet. */
long allocations(void);

#endif
