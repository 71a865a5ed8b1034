/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "echo_peer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "bench.h"

enum {
    READ_SIZE = 256 << 10,
    WRITE_MAX = 256 << 10,
    ROW_SIZE = 16 << 10, /* so small that it stays in the processor's nearest cache */
    MARKS = 251,         /* different messages in a row, at most */
    HEAD = BENCH_PREFIX + 1,
    SKIP_MIN = 16 << 10, /* longer messages: only the ends are copied out of the system */
};

static unsigned char answers[READ_SIZE];

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* A message's number in the row is its first and its last byte. */
static void mark(unsigned char *frame, size_t size, size_t number)
{
    bench_prefix(frame, size);
    if (size > 0) {
        frame[BENCH_PREFIX] = (unsigned char)number;
        frame[BENCH_PREFIX + size - 1] = (unsigned char)number;
    }
}

echo_row echo_row_make(size_t size, size_t in_flight)
{
    echo_row row = {.frame = BENCH_PREFIX + size};
    row.count = smaller(ROW_SIZE / row.frame + 1, MARKS);
    row.write = smaller(in_flight * row.frame, WRITE_MAX);
    size_t total = row.count * row.frame + row.write;
    size_t frames = total / row.frame + 1;
    row.bytes = bench_memory(frames * row.frame);
    for (size_t i = 0; i < frames; i++) {
        mark(row.bytes + i * row.frame, size, i % row.count);
    }
    return row;
}

void echo_peer_ask(echo_peer *peer, const echo_row *row, size_t messages)
{
    peer->owed += messages * row->frame;
    peer->asked += messages;
}

void echo_peer_send(echo_peer *peer, const echo_row *row)
{
    size_t end = row->count * row->frame;
    peer->blocked = false;
    while (peer->owed > 0) {
        size_t size = smaller(peer->owed, row->write);
        ssize_t sent = send(peer->fd, row->bytes + peer->write_at, size, MSG_NOSIGNAL);
        if (sent < 0) {
            bench_system(errno == EAGAIN, "sending to the server");
            peer->blocked = true;
            return;
        }
        peer->owed -= (size_t)sent;
        peer->write_at = (peer->write_at + (size_t)sent) % end;
    }
}

/* A piece of the expected answer: of its content, the first and the last byte are looked at. */
static void check(const echo_peer *peer, const echo_row *row, const unsigned char *piece,
                  size_t count)
{
    const unsigned char *right = row->bytes + peer->expected * row->frame;
    size_t end = peer->arrived + count;
    bool fine = end < row->frame || piece[count - 1] == right[row->frame - 1];
    if (peer->arrived < HEAD) {
        size_t head = smaller(smaller(end, HEAD), row->frame) - peer->arrived;
        fine = fine && memcmp(piece, right + peer->arrived, head) == 0;
    }
    bench_require(fine, "the server sent back something else");
}

/* Bytes of the expected answer, and perhaps of the next. Returns how many answers are whole now. */
static size_t take(echo_peer *peer, const echo_row *row, const unsigned char *bytes, size_t count)
{
    size_t whole = 0;
    for (size_t at = 0; at < count;) {
        size_t piece = smaller(row->frame - peer->arrived, count - at);
        check(peer, row, bytes + at, piece);
        at += piece;
        peer->arrived += piece;
        if (peer->arrived == row->frame) {
            peer->arrived = 0;
            peer->expected = peer->expected + 1 < row->count ? peer->expected + 1 : 0;
            whole++;
        }
    }
    return whole;
}

/* How many bytes a read should bring; *skip: they need not be copied, as nobody looks at them. */
static size_t next_read(const echo_peer *peer, const echo_row *row, bool *skip)
{
    *skip = false;
    if (row->frame < SKIP_MIN) {
        return READ_SIZE;
    }
    if (peer->arrived < HEAD) {
        return HEAD - peer->arrived;
    }
    *skip = peer->arrived < row->frame - 1;
    return *skip ? row->frame - 1 - peer->arrived : 1 + HEAD;
}

size_t echo_peer_receive(echo_peer *peer, const echo_row *row, bool *drained)
{
    size_t whole = 0;
    *drained = false;
    for (size_t total = 0; total < READ_SIZE && !*drained;) {
        bool skip;
        size_t size = next_read(peer, row, &skip);
        ssize_t count = recv(peer->fd, skip ? NULL : answers, size, skip ? MSG_TRUNC : 0);
        bench_system(count >= 0 || errno == EAGAIN, "receiving from the server");
        bench_require(count != 0, "the server ended the connection");
        size_t came = count > 0 ? (size_t)count : 0;
        if (skip) {
            peer->arrived += came;
        } else {
            whole += take(peer, row, answers, came);
        }
        total += came;
        *drained = came < size;
    }
    peer->answered += whole;
    bench_require(peer->answered <= peer->asked, "the server sent more than it got");
    return whole;
}
