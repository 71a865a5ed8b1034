/* SPDX-License-Identifier: MIT */
#include "conn.h"

#include <errno.h>
#include <stdint.h>

#include "error.h"

/* Parts of one system call: the batch, the prefix, and so many of the message's own. */
#define PARTS_MOST 64

/* How often a thread goes on writing what others queue, before one of them has to. */
#define EXTRA_PASSES 32

/* A rest while the system has no memory for a socket's data. */
#define REST (10 * TM_MS)

size_t tm_out_pending(const tm_out *out)
{
    return tm_buffer_len(&out->batch) + tm_buffer_len(&out->queue);
}

/* How many of the bytes that were ever accepted have left. */
static uint64_t position(const tm_out *out)
{
    return out->accepted - tm_out_pending(out);
}

static bool fits_queue(const tm_out *out, const tm_message *message)
{
    size_t held = out->busy ? tm_buffer_len(&out->queue) : tm_out_pending(out);
    return held < TM_HOLD_MOST && tm_message_size(message) <= TM_HOLD_MOST - held;
}

/* Doubles the queue, up to the most that it ever holds. */
static int grow_queue(tm_out *out, size_t wanted)
{
    size_t len = tm_buffer_len(&out->queue);
    size_t room = len > wanted ? len : wanted;
    return tm_buffer_reserve(&out->queue, room < TM_HOLD_MOST - len ? room : TM_HOLD_MOST - len);
}

static int queue(tm_out *out, tm_message *message)
{
    size_t size = tm_message_size(message);
    if (tm_buffer_room(&out->queue) < size && grow_queue(out, size) < 0)
        return TCPMSG_ENOMEM;
    tm_message_keep(message, &out->queue);
    out->accepted += size;
    return 0;
}

/* Makes the queue part of the batch. */
static int collect(tm_out *out)
{
    size_t len = tm_buffer_len(&out->queue);
    if (tm_buffer_len(&out->batch) == 0) {
        tm_buffer_swap(&out->batch, &out->queue);
    } else if (len > 0) {
        if (tm_buffer_reserve(&out->batch, len) < 0)
            return TCPMSG_ENOMEM;
        tm_buffer_append(&out->batch, tm_buffer_head(&out->queue), len);
        tm_buffer_consume(&out->queue, len);
    }
    return 0;
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
    if (!out->shut || out->fin || out->error || tm_out_pending(out) > 0)
        return;
    out->fin = true;
    tm_socket_end_output(conn->fd);
}

/* An emptied buffer keeps about what TCPMSG_MORE fills; one of no more use keeps nothing. */
static void trim(const tm_out *out, tm_buffer *buffer)
{
    if (out->error || (tm_buffer_len(buffer) == 0 && buffer->capacity > 2 * TM_HOLD_MOST))
        tm_buffer_free(buffer);
}

static void free_turn(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    trim(out, &out->batch);
    trim(out, &out->queue);
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
    size_t batch = tm_buffer_len(&out->batch), wanted = 0;
    if (batch > 0)
        parts[count++] = (struct iovec){tm_buffer_head(&out->batch), batch};
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
    tm_buffer_consume(&out->batch, from_batch);
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
        if ((!message || tm_message_is_out(message)) && position(out) >= target) {
            collect(out);
            target = out->accepted;
            if (tm_out_pending(out) == 0 || out->waiting > 0 || passes > EXTRA_PASSES)
                return 0;
            if (++passes == EXTRA_PASSES)
                out->staying = false;
        }
        ssize_t n = write_once(conn, message);
        if (n > 0)
            continue;
        bool untouched = message && message->sent == 0 && tm_buffer_len(&out->batch) == 0;
        int r = wait_or_stop(conn, n, untouched, deadline, flags);
        if (r < 0)
            return r;
    }
    return out->error;
}

/* Room for the rest of a message is had before its first byte leaves; the batch is out by then. */
static int prepare(tm_out *out, const tm_message *message)
{
    if (collect(out) < 0)
        return TCPMSG_ENOMEM;
    if (out->batch.capacity >= tm_message_size(message))
        return 0;
    return tm_buffer_reserve(&out->batch, tm_message_size(message));
}

/* Takes the free turn, writes, and frees it. A message that has begun is accepted. */
static int lead(tcpmsg_conn *conn, tm_message *message, uint64_t target, int64_t deadline,
                int flags)
{
    tm_out *out = &conn->out;
    if (message && prepare(out, message) < 0)
        return TCPMSG_ENOMEM;
    if (!message)
        collect(out);
    out->busy = true;
    out->offered = false;
    out->staying = deadline == TM_FOREVER && !(flags & TCPMSG_DONTWAIT);
    int r = write_all(conn, message, target, deadline, flags);
    bool accepted = message ? message->sent > 0 : position(out) >= target;
    if (message && accepted && !out->error) {
        out->accepted += tm_message_size(message) - message->sent;
        tm_message_keep(message, &out->batch);
    }
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
        if (!*message && position(out) >= *target)
            return 0;
        if (!out->busy && (!out->offered || waited))
            return 1;
        if (*message && fits_queue(out, *message)) {
            if (queue(out, *message) < 0)
                return TCPMSG_ENOMEM;
            *message = NULL;
            *target = out->accepted;
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
    if (!out->busy && out->waiting == 0 && tm_out_pending(out) > 0)
        tm_in_nudge(conn);
    bool queued = given && !message;
    return queued && !out->error ? 0 : r;
}

enum tm_push tm_out_push(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    enum tm_push left = TM_PUSH_DONE;
    pthread_mutex_lock(&out->lock);
    if (!out->busy && !out->error && tm_out_pending(out) > 0) {
        int r = lead(conn, NULL, out->accepted, 0, TCPMSG_DONTWAIT);
        if (!out->error && tm_out_pending(out) > 0)
            left = r == TCPMSG_ENOMEM ? TM_PUSH_REST : TM_PUSH_WAIT;
    }
    pthread_mutex_unlock(&out->lock);
    return left;
}

int tm_out_flush(tcpmsg_conn *conn, int64_t deadline, int flags)
{
    tm_out *out = &conn->out;
    pthread_mutex_lock(&out->lock);
    int r = put_out(conn, NULL, out->accepted, deadline, flags);
    pthread_mutex_unlock(&out->lock);
    return r;
}

int tm_out_shutdown(tcpmsg_conn *conn, int64_t deadline)
{
    tm_out *out = &conn->out;
    pthread_mutex_lock(&out->lock);
    out->shut = true;
    wake_waiting(out);
    int r = put_out(conn, NULL, out->accepted, deadline, 0);
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

/* With the lock held: the message joins the queue, or goes out with all that is there. */
static int send_locked(tcpmsg_conn *conn, tm_message *message, int64_t deadline, int flags)
{
    tm_out *out = &conn->out;
    if (out->error)
        return out->error;
    if (out->shut)
        return TCPMSG_ECLOSED;
    if (flags & TCPMSG_MORE && fits_queue(out, message))
        return queue(out, message);
    /* Many parts, few bytes: one row of bytes makes one system call. */
    if (message->count <= PARTS_MOST - 2 || !fits_queue(out, message))
        return put_out(conn, message, 0, deadline, flags);
    int r = queue(out, message);
    if (r == 0)
        put_out(conn, NULL, out->accepted, deadline, flags);
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
