/* SPDX-License-Identifier: MIT */
#ifndef ECHO_PEER_H
#define ECHO_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One connection of the load generator: sends prepared messages, and checks what comes back.
 * All connections send the same row of different messages, which begins again at its end.
 */

/* The row, with as many bytes of its repetition after it as one write may carry. */
typedef struct echo_row {
    unsigned char *bytes;
    size_t frame; /* a message with its prefix */
    size_t count; /* of messages in the row */
    size_t write; /* bytes in one write, at most */
} echo_row;

typedef struct echo_peer {
    int fd;
    bool blocked;      /* the socket takes no more for now */
    size_t owed;       /* bytes that are still to be sent */
    size_t write_at;   /* where in the row they begin */
    size_t expected;   /* which message of the row comes back next */
    size_t arrived;    /* bytes of it that have come */
    uint64_t asked;    /* messages sent, or owed */
    uint64_t answered; /* ... that have come back */
    uint64_t sent_ns;  /* when the last one was sent; kept by whoever wants to know */
} echo_peer;

/* Messages of `size` bytes; no write carries more than `in_flight` of them. */
echo_row echo_row_make(size_t size, size_t in_flight);

/* So many more messages are to be sent, by echo_peer_send. */
void echo_peer_ask(echo_peer *peer, const echo_row *row, size_t messages);

/* Sends what is owed, as far as the socket takes it. */
void echo_peer_send(echo_peer *peer, const echo_row *row);

/*
 * Reads some 256 KiB at most; *drained: there is no more for now. Returns how many answers became
 * whole; a wrong one, by its length, its first or its last byte, ends the program.
 */
size_t echo_peer_receive(echo_peer *peer, const echo_row *row, bool *drained);

#endif
