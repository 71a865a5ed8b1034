/* SPDX-License-Identifier: MIT */
/* What a test holds of the library, and which of its threads are inside of a call: in the tests'
 * copy of the library the public functions are renamed, too (names.txt), and come through here.
 * So a test that has failed half-way can be ended as its user would have to: everything is
 * aborted, every thread comes back, everything is closed, and then nothing may be left. */
#ifndef TESTS_INJECT_HANDLES_H
#define TESTS_INJECT_HANDLES_H

#include <stdbool.h>

/* Nothing is kept before that, and no thread is stopped: a test runs as if we were not here. */
void handles_begin(void);

/* This thread is in a public function, or is one of the library's own. */
bool inside_library(void);

/* A thread of the library's own, from now on. */
void library_thread(void);

/* Around each public function. */
void library_enter(void);
void library_leave(void);

/* The test has got one, or one more reference to it, and has to give it back; or has done so. */
enum handle_kind { HANDLE_NONE, HANDLE_CONN, HANDLE_LISTENER, HANDLE_LOOP };
void handle_opened(enum handle_kind kind, const void *object);
void handle_closed(const void *object);

/* From now on no other thread comes into the library, or out of it. */
void handles_freeze(void);

/* Wakes whoever waits in the library: stops the loops, aborts all else. To be repeated while
 * others are inside, for they may come by something new. */
void handles_abort(void);

/* How many other threads are inside. */
int threads_inside(void);

/* Nobody else is inside: closes all that the test has not. */
void handles_close(void);

#endif
