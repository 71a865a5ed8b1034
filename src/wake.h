/* SPDX-License-Identifier: MIT */
#ifndef TM_WAKE_H
#define TM_WAKE_H

/*
 * Something to poll beside a socket, so that another thread can end the wait: an eventfd, or a
 * pipe where there is none. `read_fd` is readable from tm_wake_signal until tm_wake_clear.
 */
typedef struct tm_wake {
    int read_fd; /* -1: not open */
    int write_fd;
} tm_wake;

#define TM_WAKE_CLOSED ((tm_wake){-1, -1})

int tm_wake_open(tm_wake *wake); /* 0 or -errno */
void tm_wake_signal(const tm_wake *wake);
void tm_wake_clear(const tm_wake *wake);
void tm_wake_close(tm_wake *wake);

#endif
