/* SPDX-License-Identifier: MIT */
#include "conn.h"

#include <errno.h>
#include <stdint.h>

#include "error.h"
#include "frame.h"

/* Parts of one system call: the batch, the prefix, and so many of the message's own. */
#define PARTS_MOST 64

/* How often a thread goes on writing what others queue, before one of them has to. */
#define EXTRA_PASSES 32

/* A rest while the system has no memory for a socket's data. */
#define REST (10 * TM_MS)

static bool fits(const tm_out *out, const tm_message *message)
{
    return tm_outbox_fits(&out->box, tm_message_size(message), out->busy);
}

static void wake_waiting(tm_out *out)
{
    if (out->waiting > 0)
        pthread_cond_broadcast(&out->turn);
}

/* With the lock held: ends the sending, if it has not ended, and lets the waiting know. */
static int end_locked(tm_out *out, int error)
{
    int none = 0;
    atomic_compare_exchange_strong(&out->error, &none, error);
    wake_waiting(out);
    return out->error;
}

void tm_out_end(tcpmsg_conn *conn, int error)
{
    pthread_mutex_lock(&conn->out.lock);
    end_locked(&conn->out, error);
    pthread_mutex_unlock(&conn->out.lock);
}

static void send_fin_if_due(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    if (!out->shut || out->fin || out->error || tm_outbox_len(&out->box) > 0)
        return;
    out->fin = true;
    tm_socket_end_output(conn->fd);
}

static void free_turn(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    if (out->error)
        tm_outbox_free(&out->box);
    else
        tm_outbox_trim(&out->box);
    send_fin_if_due(conn);
    out->busy = false;
    out->offered = out->waiting > 0;
    wake_waiting(out);
}

/*
 * One system call, made without the lock: the batch, then what is left of the message. -EAGAIN
 * when the socket took less than it was given: it is full.
 */
static ssize_t write_once(tcpmsg_conn *conn, tm_message *message)
{
    tm_out *out = &conn->out;
    struct iovec parts[PARTS_MOST];
    int count = 0;
    size_t batch = tm_buffer_len(&out->box.batch), wanted = 0;
    if (batch > 0)
        parts[count++] = (struct iovec){tm_buffer_head(&out->box.batch), batch};
    if (message)
        count += tm_message_rest(message, parts + count, PARTS_MOST - count);
    for (int i = 0; i < count; i++)
        wanted += parts[i].iov_len;
    pthread_mutex_unlock(&out->lock);
    ssize_t n = tm_socket_write(conn->fd, parts, count);
    pthread_mutex_lock(&out->lock);
    if (n <= 0)
        return n;
    size_t from_batch = (size_t)n < batch ? (size_t)n : batch;
    tm_buffer_consume(&out->box.batch, from_batch);
    if ((size_t)n > from_batch)
        tm_message_advance(message, (size_t)n - from_batch);
    wake_waiting(out);
    return (size_t)n < wanted ? -EAGAIN : n;
}

/* Waits, without the lock, until the socket takes more; false once the deadline has passed. */
static bool wait_writable(tcpmsg_conn *conn, int64_t deadline, bool no_memory)
{
    struct pollfd fd = {.fd = conn->fd, .events = POLLOUT};
    if (tm_passed(deadline))
        return false;
    pthread_mutex_unlock(&conn->out.lock);
    if (no_memory)
        tm_socket_wait(NULL, 0, tm_sooner(deadline, tm_now() + REST));
    else
        tm_socket_wait(&fd, 1, deadline);
    pthread_mutex_lock(&conn->out.lock);
    return true;
}

static int give_up(tcpmsg_conn *conn, ssize_t answer)
{
    int error = tm_conn_os_error(conn, answer);
    tm_conn_tell(conn, "sending failed: %s", tcpmsg_strerror(error));
    return end_locked(&conn->out, error);
}

/*
 * After a write that did not take all: waits for another one. 0 to go on; TCPMSG_EAGAIN, ETIMEDOUT
 * or ENOMEM to stop for now; else what ended the sending.
 */
static int wait_or_stop(tcpmsg_conn *conn, ssize_t answer, bool untouched, int64_t deadline,
                        int flags)
{
    bool no_memory = answer == -ENOBUFS || answer == -ENOMEM;
    if (!no_memory && answer != -EAGAIN && answer != -EWOULDBLOCK)
        return give_up(conn, answer);
    if (no_memory && (untouched || flags & TCPMSG_DONTWAIT))
        return TCPMSG_ENOMEM;
    if (flags & TCPMSG_DONTWAIT)
        return TCPMSG_EAGAIN;
    return wait_writable(conn, deadline, no_memory) ? 0 : TCPMSG_ETIMEDOUT;
}

/*
 * With the turn: writes until the message is out and the first `target` accepted bytes are, then
 * what others queued meanwhile. Returns 0, why it stopped for now, or what ended the sending.
 */
static int write_all(tcpmsg_conn *conn, tm_message *message, uint64_t target, int64_t deadline,
                     int flags)
{
    tm_out *out = &conn->out;
    int passes = 0;
    while (!out->error) {
        if ((!message || tm_message_is_out(message)) && tm_outbox_position(&out->box) >= target) {
            tm_outbox_collect(&out->box);
            target = out->box.accepted;
            if (tm_outbox_len(&out->box) == 0 || out->waiting > 0 || passes > EXTRA_PASSES)
                return 0;
            if (++passes == EXTRA_PASSES)
                out->staying = false;
        }
        ssize_t n = write_once(conn, message);
        if (n > 0)
            continue;
        bool untouched = message && message->sent == 0 && tm_buffer_len(&out->box.batch) == 0;
        int r = wait_or_stop(conn, n, untouched, deadline, flags);
        if (r < 0)
            return r;
    }
    return out->error;
}

/* Room for the rest of a message is had before its first byte leaves; the batch is out by then. */
static int prepare(tm_out *out, const tm_message *message)
{
    if (tm_outbox_collect(&out->box) < 0)
        return TCPMSG_ENOMEM;
    if (out->box.batch.capacity >= tm_message_size(message))
        return 0;
    return tm_buffer_reserve(&out->box.batch, tm_message_size(message));
}

/* Takes the free turn, writes, and frees it. A message that has begun is accepted. */
static int lead(tcpmsg_conn *conn, tm_message *message, uint64_t target, int64_t deadline,
                int flags)
{
    tm_out *out = &conn->out;
    if (message && prepare(out, message) < 0)
        return TCPMSG_ENOMEM;
    if (!message)
        tm_outbox_collect(&out->box);
    out->busy = true;
    out->offered = false;
    out->staying = deadline == TM_FOREVER && !(flags & TCPMSG_DONTWAIT);
    int r = write_all(conn, message, target, deadline, flags);
    bool accepted = message ? message->sent > 0 : tm_outbox_position(&out->box) >= target;
    if (message && accepted && !out->error)
        tm_outbox_keep(&out->box, message);
    r = out->error ? out->error : accepted ? 0 : r;
    free_turn(conn);
    return r;
}

static bool wait_turn(tm_out *out, int64_t deadline)
{
    out->waiting++;
    bool in_time = tm_cond_wait(&out->turn, &out->lock, deadline);
    if (--out->waiting == 0)
        out->offered = false;
    return in_time;
}

/*
 * With the lock held: gets the turn, or makes it needless. 1: the caller has it to take. Else the
 * call's answer: what it wanted out is out, its message waits in the queue for the thread that
 * writes, or it may not wait any longer. A message that joined the queue is NULL afterwards.
 */
static int get_turn(tcpmsg_conn *conn, tm_message **message, uint64_t *target, int64_t deadline,
                    int flags)
{
    tm_out *out = &conn->out;
    bool waited = false;
    for (;;) {
        if (out->error)
            return out->error;
        if (*message && out->shut)
            return TCPMSG_ECLOSED;
        if (!*message && tm_outbox_position(&out->box) >= *target)
            return 0;
        if (!out->busy && (!out->offered || waited))
            return 1;
        if (*message && fits(out, *message)) {
            if (tm_outbox_add(&out->box, *message) < 0)
                return TCPMSG_ENOMEM;
            *message = NULL;
            *target = out->box.accepted;
            if (out->busy && out->staying)
                return 0;
        }
        if (flags & TCPMSG_DONTWAIT)
            return TCPMSG_EAGAIN;
        waited = true;
        if (!wait_turn(out, deadline))
            return TCPMSG_ETIMEDOUT;
    }
}

/*
 * The one way out, with the lock held: puts `message` on the wire, or, without one, the first
 * `target` accepted bytes.
 */
static int put_out(tcpmsg_conn *conn, tm_message *message, uint64_t target, int64_t deadline,
                   int flags)
{
    tm_out *out = &conn->out;
    tm_message *given = message;
    int r = get_turn(conn, &message, &target, deadline, flags);
    if (r == 1)
        r = lead(conn, message, target, deadline, flags);
    else if (!out->busy)
        wake_waiting(out); /* the turn may have been offered to this thread */
    /* What an early stop leaves is the sleeping receiver's to push, when nobody else is here. */
    if (!out->busy && out->waiting == 0 && tm_outbox_len(&out->box) > 0)
        tm_in_nudge(conn);
    bool queued = given && !message;
    return queued && !out->error ? 0 : r;
}

enum tm_push tm_out_push(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    enum tm_push left = TM_PUSH_DONE;
    pthread_mutex_lock(&out->lock);
    if (!out->busy && !out->error && tm_outbox_len(&out->box) > 0) {
        int r = lead(conn, NULL, out->box.accepted, 0, TCPMSG_DONTWAIT);
        if (!out->error && tm_outbox_len(&out->box) > 0)
            left = r == TCPMSG_ENOMEM ? TM_PUSH_REST : TM_PUSH_WAIT;
    }
    pthread_mutex_unlock(&out->lock);
    return left;
}

int tm_out_flush(tcpmsg_conn *conn, int64_t deadline, int flags)
{
    tm_out *out = &conn->out;
    pthread_mutex_lock(&out->lock);
    int r = put_out(conn, NULL, out->box.accepted, deadline, flags);
    pthread_mutex_unlock(&out->lock);
    return r;
}

int tm_out_shutdown(tcpmsg_conn *conn, int64_t deadline)
{
    tm_out *out = &conn->out;
    pthread_mutex_lock(&out->lock);
    out->shut = true;
    wake_waiting(out);
    int r = put_out(conn, NULL, out->box.accepted, deadline, 0);
    while (r == 0 && !out->fin && !out->error) {
        if (!out->busy)
            send_fin_if_due(conn);
        else if (!wait_turn(out, deadline))
            r = TCPMSG_ETIMEDOUT;
    }
    if (r == 0)
        r = out->error;
    pthread_mutex_unlock(&out->lock);
    return r;
}

void tm_out_take_turn(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    pthread_mutex_lock(&out->lock);
    if (out->busy)
        tm_socket_end_both(conn->fd); /* wakes a thread that waits to write */
    while (out->busy)
        wait_turn(out, TM_FOREVER);
    out->busy = true;
    pthread_mutex_unlock(&out->lock);
}

/* With the lock held: the message joins the queue, for which it pushes out what is there. */
static int join_queue(tcpmsg_conn *conn, tm_message *message, int64_t deadline, int flags)
{
    tm_out *out = &conn->out;
    while (!fits(out, message)) {
        int r = put_out(conn, NULL, out->box.accepted, deadline, flags);
        if (r < 0)
            return r;
    }
    return out->shut ? TCPMSG_ECLOSED : tm_outbox_add(&out->box, message);
}

static int send_locked(tcpmsg_conn *conn, tm_message *message, int64_t deadline, int flags)
{
    tm_out *out = &conn->out;
    if (out->error)
        return out->error;
    if (out->shut)
        return TCPMSG_ECLOSED;
    if (flags & TCPMSG_MORE && tm_message_size(message) <= TM_HOLD_MOST)
        return join_queue(conn, message, deadline, flags);
    /* Many parts, few bytes: one row of bytes makes one system call. */
    if (message->count <= PARTS_MOST - 2 || !fits(out, message))
        return put_out(conn, message, 0, deadline, flags);
    int r = tm_outbox_add(&out->box, message);
    if (r == 0)
        put_out(conn, NULL, out->box.accepted, deadline, flags);
    return r == 0 ? out->error : r;
}

int tm_out_send(tcpmsg_conn *conn, tm_message *message, int64_t deadline, int flags)
{
    tm_out *out = &conn->out;
    pthread_mutex_lock(&out->lock);
    int r = send_locked(conn, message, deadline, flags);
    if (r == 0) {
        out->messages++;
        out->bytes += message->length;
    }
    pthread_mutex_unlock(&out->lock);
    return r;
}

/* With the lock held: the prefix is written in place, with room for the longest. */
static bool hold(tcpmsg_conn *conn, const void *bytes, size_t length)
{
    tm_out *out = &conn->out;
    tm_buffer *queue = &out->box.queue;
    size_t room = TCPMSG_PREFIX_MAX + length;
    if (out->error || out->shut || !tm_outbox_fits(&out->box, room, out->busy))
        return false;
    if (tm_buffer_room(queue) < room && tm_outbox_grow(&out->box, room) < 0)
        return false;
    int prefix_len = tm_frame_encode(&conn->settings->framing, length, tm_buffer_tail(queue));
    if (prefix_len < 0)
        return false;
    queue->end += (size_t)prefix_len;
    tm_buffer_append(queue, bytes, length);
    out->box.accepted += (size_t)prefix_len + length;
    out->messages++;
    out->bytes += length;
    return true;
}

bool tm_out_hold(tcpmsg_conn *conn, const void *bytes, size_t length)
{
    if (length > TM_HOLD_MOST || length > conn->settings->max_message)
        return false;
    pthread_mutex_lock(&conn->out.lock);
    bool held = hold(conn, bytes, length);
    pthread_mutex_unlock(&conn->out.lock);
    return held;
}
