/* SPDX-License-Identifier: MIT */
/* A scripted peer of a connection: bytes made by a model of the wire format that is not the
 * library's own, a reader in a thread of its own, calls that block in another thread. */
#ifndef TESTS_PEER_H
#define TESTS_PEER_H

#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

/* Compares the names of two codes, so that a failure reads "TCPMSG_EOF" != "TCPMSG_ERESET". */
#define assert_code(got, wanted) assert_string_equal(tcpmsg_error_name((int)(got)), #wanted)

/* Under a sanitizer memory and time cost more than they do for users. */
#if defined(__SANITIZE_THREAD__)
#define SANITIZED_THREADS
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZED_THREADS
#endif
#endif

/* Every framing there is. */
extern const tcpmsg_framing framings[];
extern const size_t framings_count;

/* The longest message that a framing's prefix can say, at most `limit`. */
size_t framing_limit(const tcpmsg_framing *framing, size_t limit);
size_t model_prefix(const tcpmsg_framing *framing, uint64_t length,
                    uint8_t prefix[TCPMSG_PREFIX_MAX]);

/* Bytes that follow from a seed, so that one that is lost, doubled or torn shows. */
void fill(void *bytes, size_t length, uint32_t seed);
bool is_filled(const void *bytes, size_t length, uint32_t seed);

/* A growing row of bytes: what a peer sees, or should see. All zero is an empty one. */
struct wire {
    uint8_t *bytes;
    size_t count;
    size_t room;
};

void wire_add(struct wire *wire, const void *bytes, size_t count);
void wire_add_message(struct wire *wire, const tcpmsg_framing *framing, const void *message,
                      size_t length);
void wire_add_filled(struct wire *wire, const tcpmsg_framing *framing, size_t length,
                     uint32_t seed);
bool wire_equal(const struct wire *one, const struct wire *other);
void wire_free(struct wire *wire);

/* Reads a raw socket to its end in a thread; `end` is then 0 for a clean end, else the errno. */
struct reader {
    pthread_t thread;
    int fd;
    struct wire got;
    int end;
};

void reader_start(struct reader *reader, int raw);
void reader_finish(struct reader *reader);

/* Appends what is there now, at most `count` bytes; never waits. */
void raw_take(int raw, struct wire *wire, size_t count);

/* Messages with the default framing, whole, from and to a raw socket. */
bool raw_send(int raw, const char *text);
bool raw_gets(int raw, const char *text);
bool raw_has_nothing(int raw);

/* Closes with a reset instead of a FIN. */
void raw_reset(int raw);

/* A TCP pair whose buffers are small and don't grow: soon full when nobody reads. */
void pair_small(tcpmsg_conn **conn, int *raw, const tcpmsg_options *options);

/* Two connections, one to the other: over TCP, or over a socketpair. */
void pair_conns(tcpmsg_conn **one, tcpmsg_conn **other, const tcpmsg_options *options);
void pair_conns_unix(tcpmsg_conn **one, tcpmsg_conn **other, const tcpmsg_options *options);

/* Fills both the system's buffers and the connection's, until every further send would wait. */
void jam(tcpmsg_conn *conn);

/* A call that another thread makes, and its answer. */
struct call {
    ssize_t (*body)(struct call *call);
    tcpmsg_conn *conn;
    int raw;
    uint32_t seed;
    ssize_t answer;
    pthread_t thread;
    atomic_int id;
    atomic_bool stop;
};

void call_start(struct call *call);
void call_start_asleep(struct call *call); /* and waits until it sleeps, which is: blocked */
ssize_t call_finish(struct call *call);

/* A signal with a handler and no SA_RESTART, at every millisecond until the storm is over. */
void storm_begin(void);
void storm_end(void);
int storm_signals(void);

int open_descriptors(void);
size_t resident_bytes(void);

/* The text or the number stands in the story, the number not as a part of a longer one. */
bool says(const char *story, const char *text);
bool says_number(const char *story, uint64_t number);

#endif
