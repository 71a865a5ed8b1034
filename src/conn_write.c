/* SPDX-License-Identifier: MIT */
#include "conn_out.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>

#include "error.h"

/* Parts of one system call: the batch, the prefix, and so many of the message's own. */
#if defined(IOV_MAX) && IOV_MAX < 256
#define PARTS_MOST IOV_MAX
#else
#define PARTS_MOST 256
#endif

/* Up to this size one row of bytes costs the system less than parts do, by more than the copy. */
#define ROW_MOST ((size_t)4 << 10)

/* How often a thread goes on writing what others queue, before one of them has to. */
#define EXTRA_PASSES 32

/* A rest while the system has no memory for a socket's data. */
#define REST (10 * TM_MS)

void tm_out_fin_if_due(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    if (!out->shut || out->fin || out->error || out->box.len > 0)
        return;
    out->fin = true;
    out->fin_counts = tm_socket_end_output(conn->fd) == 0; /* it had not ended before */
}

static void free_turn(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    if (out->error)
        tm_outbox_free(&out->box);
    if (!tm_is_kept(conn))
        tm_outbox_trim(&out->box);
    tm_out_fin_if_due(conn);
    out->leaving = 0;
    out->unattended = false;
    out->busy = false;
    out->offered = tm_out_others_wait(conn);
    tm_out_wake_waiting(conn);
}

/* Cuts the last of these parts, so that they are at most so many bytes; how many they are. */
static size_t cut(struct iovec *parts, int *count, size_t most)
{
    size_t sum = 0;
    for (int i = 0; i < *count; i++) {
        if (parts[i].iov_len >= most - sum) {
            parts[i].iov_len = most - sum;
            *count = i + 1;
        }
        sum += parts[i].iov_len;
    }
    return sum;
}

/* What leaves at once where more follows: full segments. */
static size_t full_segments(const tm_out *out, const tm_message *message)
{
    size_t left = out->leaving + tm_message_size(message) - message->sent;
    return left - left % TM_HOLD_MOST;
}

/* So little is left of a message that more follows, that it is held back like a small one. */
static bool is_held_back(const tm_out *out, const tm_put *put)
{
    const tm_message *message = put->message;
    return message && put->flags & TCPMSG_MORE && message->sent > 0 &&
           !tm_message_is_out(message) && full_segments(out, message) == 0;
}

/*
 * One system call, made without the lock: the bytes that are leaving, then what is left of the
 * message. -EAGAIN when the socket took less than it was given: it is full.
 */
static ssize_t write_once(tcpmsg_conn *conn, const tm_put *put)
{
    tm_out *out = &conn->out;
    tm_message *message = put->message;
    struct iovec parts[PARTS_MOST];
    int count = tm_outbox_parts(&out->box, out->leaving, parts, PARTS_MOST);
    if (message)
        count += tm_message_rest(message, parts + count, PARTS_MOST - count);
    bool holds = message && put->flags & TCPMSG_MORE && !tm_message_is_out(message);
    size_t wanted = cut(parts, &count, holds ? full_segments(out, message) : SIZE_MAX);
    tm_out_settle(conn);
    out->in_call = true;
    tm_mutex_unlock(&out->lock);
    ssize_t n = tm_socket_write(conn->fd, parts, count);
    tm_mutex_lock(&out->lock);
    out->in_call = false;
    tm_out_wake_waiting(conn);
    if (n <= 0)
        return n;
    size_t from_box = (size_t)n < out->leaving ? (size_t)n : out->leaving;
    out->leaving -= from_box;
    tm_outbox_left(&out->box, from_box);
    if ((size_t)n > from_box)
        tm_message_advance(message, (size_t)n - from_box);
    return (size_t)n < wanted ? -EAGAIN : n;
}

/* Waits, without the lock, until the socket takes more; false once the deadline has passed. */
static bool wait_writable(tcpmsg_conn *conn, int64_t deadline, bool no_memory)
{
    struct pollfd fd = {.fd = conn->fd, .events = POLLOUT};
    if (tm_passed(deadline))
        return false;
    tm_mutex_unlock(&conn->out.lock);
    if (no_memory)
        tm_socket_wait(NULL, 0, tm_sooner(deadline, tm_now() + REST));
    else
        tm_socket_wait(&fd, 1, deadline);
    tm_mutex_lock(&conn->out.lock);
    return true;
}

/* With the turn, which stays while the lock is let go: the log may ask about the connection. */
static int give_up(tcpmsg_conn *conn, ssize_t answer)
{
    int error = tm_conn_os_error(conn, answer);
    char room[TM_ERRNO_TEXT_MOST];
    conn->out.in_call = true; /* who wants to know what it met has to wait a little longer */
    tm_mutex_unlock(&conn->out.lock);
    tm_conn_tell(conn, "sending failed: %s", tm_conn_reason(conn, error, room));
    tm_mutex_lock(&conn->out.lock);
    conn->out.in_call = false;
    return tm_out_end_locked(conn, error);
}

/*
 * After a write that did not take all: waits for another one. 0 to go on; TCPMSG_EAGAIN, ETIMEDOUT
 * or ENOMEM to stop for now; else what ended the sending.
 */
static int wait_or_stop(tcpmsg_conn *conn, const tm_put *put, ssize_t answer)
{
    bool no_memory = answer == -ENOBUFS || answer == -ENOMEM;
    bool untouched = put->message && put->message->sent == 0 && conn->out.leaving == 0;
    if (!no_memory && answer != -EAGAIN)
        return give_up(conn, answer);
    if (no_memory && (untouched || put->flags & TCPMSG_DONTWAIT))
        return TCPMSG_ENOMEM;
    if (put->flags & TCPMSG_DONTWAIT)
        return TCPMSG_EAGAIN;
    if (wait_writable(conn, put->deadline, no_memory))
        return 0;
    return no_memory ? TCPMSG_ENOMEM : TCPMSG_ETIMEDOUT;
}

/*
 * With the turn: writes until the call is done, and then what others queued meanwhile. Returns 0,
 * why it stopped for now, or what ended the sending.
 */
static int write_all(tcpmsg_conn *conn, const tm_put *put)
{
    tm_out *out = &conn->out;
    bool stays = out->staying; /* what was queued behind a thread that stays is its to write */
    uint64_t taken_along = 0;
    int passes = 0;
    while (!out->error && !is_held_back(out, put)) {
        bool done = tm_out_is_done(out, put);
        if (done || !put->message)
            out->leaving = out->box.len;
        if (done && out->box.position >= taken_along) {
            taken_along = tm_outbox_end(&out->box);
            if (out->box.len == 0 || tm_out_others_wait(conn) || passes == EXTRA_PASSES)
                return 0;
            if (++passes == EXTRA_PASSES)
                out->staying = false;
        }
        ssize_t n = write_once(conn, put);
        if (n > 0)
            continue;
        if (n == -EAGAIN && !stays && tm_out_is_done(out, put))
            return 0;
        int r = wait_or_stop(conn, put, n);
        if (r < 0)
            return r;
    }
    return out->error;
}

int tm_out_lead(tcpmsg_conn *conn, tm_put put)
{
    tm_out *out = &conn->out;
    uint8_t row[ROW_MOST];
    tm_message in_a_row;
    struct iovec part;
    if (put.message && tm_message_size(put.message) <= sizeof row) {
        tm_message_line_up(put.message, row, &in_a_row, &part);
        put.message = &in_a_row;
    }
    out->busy = true;
    out->offered = false;
    out->leaving = out->box.len;
    out->staying = put.deadline == TM_FOREVER && !(put.flags & (TCPMSG_DONTWAIT | TCPMSG_MORE));
    int r = write_all(conn, &put);
    bool stopped = r < 0 && !out->error;
    if (tm_out_is_done(out, &put)) {
        r = 0;
    } else if (out->error) {
        r = out->error;
    } else if (put.message && put.message->sent > 0) {
        tm_outbox_keep(&out->box, put.message, put.room);
        put.room = NULL;
        r = 0;
    }
    tm_outbox_spare(&out->box, put.room);
    free_turn(conn);
    out->unattended = stopped && out->box.len > 0 && !tm_out_others_wait(conn);
    return r;
}
