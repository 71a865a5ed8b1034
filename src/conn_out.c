/* SPDX-License-Identifier: MIT */
#include "conn_out.h"

#include <errno.h>
#include <stdint.h>

#include "error.h"

/* Parts of one system call: the batch, the prefix, and so many of the message's own. */
#define MESSAGE_PARTS 62
#define PARTS_MOST (MESSAGE_PARTS + 2)

/*
 * A message up to this size, or one of more parts than that, is copied behind the batch: one row
 * of bytes costs the system less than several parts do, by more than the copy.
 */
#define COPY_MOST ((size_t)4 << 10)

/* How often a thread goes on writing what others queue, before one of them has to. */
#define EXTRA_PASSES 32

/* A rest while the system has no memory for a socket's data. */
#define REST (10 * TM_MS)

/* Where a message was taken back, a target behind it is that much too far: empty is reached. */
static bool reached(const tm_out *out, uint64_t target)
{
    return tm_outbox_position(&out->box) >= target || tm_outbox_len(&out->box) == 0;
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
    out->left = false;
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

/* Not a byte of the message has left, and none waits before it. */
static bool is_untouched(const tm_out *out, const tm_put *put)
{
    if (put->copied > 0)
        return tm_outbox_position(&out->box) == put->target - put->copied;
    return put->message && put->message->sent == 0 && tm_buffer_len(&out->box.batch) == 0;
}

/*
 * After a write that did not take all: waits for another one. 0 to go on; TCPMSG_EAGAIN, ETIMEDOUT
 * or ENOMEM to stop for now; else what ended the sending.
 */
static int wait_or_stop(tcpmsg_conn *conn, const tm_put *put, ssize_t answer)
{
    bool no_memory = answer == -ENOBUFS || answer == -ENOMEM;
    if (!no_memory && answer != -EAGAIN && answer != -EWOULDBLOCK)
        return give_up(conn, answer);
    if (no_memory && (is_untouched(&conn->out, put) || put->flags & TCPMSG_DONTWAIT))
        return TCPMSG_ENOMEM;
    if (put->flags & TCPMSG_DONTWAIT)
        return TCPMSG_EAGAIN;
    return wait_writable(conn, put->deadline, no_memory) ? 0 : TCPMSG_ETIMEDOUT;
}

/*
 * With the turn: writes until the message is out and the first `target` accepted bytes are, then
 * what others queued meanwhile. Returns 0, why it stopped for now, or what ended the sending.
 */
static int write_all(tcpmsg_conn *conn, const tm_put *put)
{
    tm_out *out = &conn->out;
    tm_message *message = put->message;
    uint64_t target = put->target;
    int passes = 0;
    while (!out->error) {
        bool ours_is_out = !message || tm_message_is_out(message);
        if (ours_is_out && (reached(out, target) || tm_buffer_len(&out->box.batch) == 0))
            tm_outbox_collect(&out->box);
        if (ours_is_out && reached(out, target)) {
            target = out->box.accepted;
            if (tm_outbox_len(&out->box) == 0 || out->waiting > 0 || passes > EXTRA_PASSES)
                return 0;
            if (++passes == EXTRA_PASSES)
                out->staying = false;
        }
        ssize_t n = write_once(conn, message);
        if (n > 0)
            continue;
        int r = wait_or_stop(conn, put, n);
        if (r < 0)
            return r;
    }
    return out->error;
}

static bool is_worth_a_copy(const tm_message *message)
{
    size_t size = tm_message_size(message);
    return size <= COPY_MOST || (message->count > MESSAGE_PARTS && size <= TM_HOLD_MOST);
}

/*
 * What was queued goes first. A small message joins it; a larger one stays where it is, with room
 * for the rest of it had before its first byte leaves, which is when the batch is out.
 */
static int prepare(tm_out *out, tm_put *put)
{
    if (tm_outbox_collect(&out->box) < 0)
        return put->message ? TCPMSG_ENOMEM : 0;
    if (!put->message)
        return 0;
    tm_buffer *batch = &out->box.batch;
    size_t size = tm_message_size(put->message);
    if (!is_worth_a_copy(put->message))
        return batch->capacity >= size ? 0 : tm_buffer_reserve(batch, size);
    if (tm_buffer_reserve(batch, size) < 0)
        return TCPMSG_ENOMEM;
    tm_outbox_keep(&out->box, put->message);
    put->message = NULL;
    put->copied = size;
    put->target = out->box.accepted;
    return 0;
}

/* After an early stop: whether what the call wanted is done, or begun and so accepted. */
static bool is_accepted(tm_out *out, const tm_put *put)
{
    if (put->message) {
        if (put->message->sent > 0)
            tm_outbox_keep(&out->box, put->message);
        return put->message->sent > 0;
    }
    if (put->copied == 0)
        return reached(out, put->target);
    bool begun = tm_outbox_position(&out->box) > put->target - put->copied;
    if (!begun)
        tm_outbox_take_back(&out->box, put->copied);
    return begun;
}

/* Takes the free turn, writes, and frees it. */
static int lead(tcpmsg_conn *conn, tm_put *put)
{
    tm_out *out = &conn->out;
    if (prepare(out, put) < 0)
        return TCPMSG_ENOMEM;
    out->busy = true;
    out->offered = false;
    out->staying = put->deadline == TM_FOREVER && !(put->flags & TCPMSG_DONTWAIT);
    int r = write_all(conn, put);
    if (r < 0 && !out->error && is_accepted(out, put))
        r = 0;
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
 * writes, or it may not wait any longer.
 */
static int get_turn(tcpmsg_conn *conn, tm_put *put)
{
    tm_out *out = &conn->out;
    bool waited = false;
    for (;;) {
        if (out->error)
            return out->error;
        if (put->message && out->shut)
            return TCPMSG_ECLOSED;
        if (!put->message && reached(out, put->target))
            return 0;
        if (!out->busy && (!out->offered || waited))
            return 1;
        if (put->message && tm_out_fits(out, put->message)) {
            if (tm_outbox_add(&out->box, put->message) < 0)
                return TCPMSG_ENOMEM;
            put->message = NULL;
            put->target = out->box.accepted;
            if (out->busy && out->staying)
                return 0;
        }
        if (put->flags & TCPMSG_DONTWAIT)
            return TCPMSG_EAGAIN;
        waited = true;
        if (!wait_turn(out, put->deadline))
            return TCPMSG_ETIMEDOUT;
    }
}

int tm_out_put(tcpmsg_conn *conn, tm_put put)
{
    tm_out *out = &conn->out;
    bool flush = !put.message, queued = false;
    int r = get_turn(conn, &put);
    queued = !flush && !put.message;
    if (r == 1)
        r = lead(conn, &put);
    else if (!out->busy)
        wake_waiting(out); /* the turn may have been offered to this thread */
    if (!out->busy && out->waiting == 0 && tm_outbox_len(&out->box) > 0) {
        out->left = true;
        tm_in_nudge(conn); /* the receiver that sleeps looks after it */
    }
    return queued && !out->error ? 0 : r;
}

int tm_out_put_accepted(tcpmsg_conn *conn, int64_t deadline, int flags)
{
    tm_put put = {.target = conn->out.box.accepted, .deadline = deadline, .flags = flags};
    return tm_out_put(conn, put);
}

enum tm_push tm_out_push(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    enum tm_push left = TM_PUSH_DONE;
    pthread_mutex_lock(&out->lock);
    if (!out->busy && !out->error && tm_outbox_len(&out->box) > 0) {
        tm_put all = {.target = out->box.accepted, .flags = TCPMSG_DONTWAIT};
        int r = lead(conn, &all);
        if (!out->error && tm_outbox_len(&out->box) > 0)
            left = r == TCPMSG_ENOMEM ? TM_PUSH_REST : TM_PUSH_WAIT;
        out->left = left != TM_PUSH_DONE;
    }
    pthread_mutex_unlock(&out->lock);
    return left;
}

int tm_out_flush(tcpmsg_conn *conn, int64_t deadline, int flags)
{
    tm_out *out = &conn->out;
    pthread_mutex_lock(&out->lock);
    int r = tm_out_put_accepted(conn, deadline, flags);
    pthread_mutex_unlock(&out->lock);
    return r;
}

int tm_out_shutdown(tcpmsg_conn *conn, int64_t deadline)
{
    tm_out *out = &conn->out;
    pthread_mutex_lock(&out->lock);
    out->shut = true;
    wake_waiting(out);
    int r = tm_out_put_accepted(conn, deadline, 0);
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
