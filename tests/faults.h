/* SPDX-License-Identifier: MIT */
/* The seam: a program that is linked with faults.c and ld's --wrap for them has the library's
 * reads, writes and polls go through here, where each can be counted, cut short, or fail. */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* The percentages are of the calls that answer so instead of doing anything. */
struct faults {
    size_t most;      /* bytes that one call moves; 0: as many as it likes */
    int random_most;  /* 1: a random count up to `most`, another one at each call */
    int eagain;       /* reads and writes */
    int eintr;        /* reads, writes and polls */
    int no_buffers;   /* writes: ENOBUFS and ENOMEM in turn */
    int no_memory;    /* reads: ENOMEM */
    int read_error;   /* an errno that every read answers */
    int write_error;  /* the same of every write */
    const char *into; /* counts bytes that are read straight into this memory */
    size_t into_size;
};

/* Set while no call is under way; all zero is no fault at all. */
extern struct faults faults;

/* What has happened since faults_begin. */
extern atomic_long reads_made, writes_made, polls_made, bytes_into, bytes_out;
extern atomic_long writes_that_may_signal;

/* While it is set, a write waits before it begins; `held_writes` counts those that do. */
extern atomic_bool hold_writes;
extern atomic_int held_writes;

/* From now on calls on this descriptor meet the faults; the counts begin anew. */
void faults_begin(const struct faults *wanted);
void faults_on(int fd);
void faults_end(void);

#endif
