/* SPDX-License-Identifier: MIT */
/* What every test program needs: cmocka in its right order, raw peers, and waits with an end. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

/* cmocka.h wants the first four before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>

#include <tcpmsg/tcpmsg.h>

/* The longest that any one wait below takes; a machine under load stays far from it. */
#define WAIT_MS 20000

/* A last guard against a hang, for main: alarm(TEST_SECONDS). */
#define TEST_SECONDS 120

#define PATH_ROOM 64

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Milliseconds of the monotonic clock. */
int64_t now_ms(void);
void sleep_ms(int ms);

/* Asks `done` until it says yes; false when WAIT_MS have passed. */
bool eventually(bool (*done)(void *arg), void *arg);

/* Waits for poll(2)'s events, at most `ms`; returns what came, 0 for nothing. */
short wait_events(int fd, short events, int ms);

/* A raw TCP socket that listens on a free port of 127.0.0.1; `address` gets "127.0.0.1:port". */
int raw_listen(char *address, size_t size);
int raw_accept(int listening);

/* A raw TCP connection to "127.0.0.1:port", or a Unix one to a path; -1 when it fails. */
int raw_dial(const char *address);
int raw_dial_unix(const char *path);

/* A raw Unix socket of that type, bound to a path and not listening yet. */
int raw_bind_unix(const char *path, int type);

/* A connection attached to one end of a TCP loopback connection, or of a socketpair; the raw
 * other end is blocking. */
void pair(tcpmsg_conn **conn, int *raw, const tcpmsg_options *options);
void pair_unix(tcpmsg_conn **conn, int *raw, const tcpmsg_options *options);

/* All the bytes within WAIT_MS, else false. Safe in any thread: they assert nothing. */
bool write_all(int fd, const void *bytes, size_t count);
bool read_all(int fd, void *bytes, size_t count);

/* Reads to the end and drops it: 0 for a clean end, else the errno (ETIMEDOUT after WAIT_MS). */
int read_end(int fd);

/* Runs `body` in a forked child, which exits with its result; returns that, or -1. */
int in_child(int (*body)(void *arg), void *arg);

/* How many descriptors are open, to see that none is left behind. */
int count_descriptors(void);

/* A new folder; remove_temp_dir takes it away with the files in it. */
void make_temp_dir(char path[PATH_ROOM]);
void remove_temp_dir(const char *path);

#endif
