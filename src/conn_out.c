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

/* Whether threads wait for the turn, or for their bytes. */
static bool others_wait(const tcpmsg_conn *conn)
{
    return conn->waiting && conn->waiting->senders > 0;
}

static void wake_waiting(tcpmsg_conn *conn)
{
    if (others_wait(conn))
        tm_condition_broadcast(&conn->waiting->out_turn);
}

/* With the lock held: ends the sending, if it has not ended, and lets the waiting know. */
static int end_locked(tcpmsg_conn *conn, int error)
{
    int none = 0;
    atomic_compare_exchange_strong(&conn->out.error, &none, error);
    conn->out.hold_most = 0;
    wake_waiting(conn);
    return conn->out.error;
}

void tm_out_end(tcpmsg_conn *conn, int error)
{
    tm_mutex_lock(&conn->out.lock);
    end_locked(conn, error);
    tm_mutex_unlock(&conn->out.lock);
}

int tm_out_error_met(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    tm_mutex_lock(&out->lock);
    while (out->in_call) { /* it never blocks */
        tm_mutex_unlock(&out->lock);
        tm_socket_wait(NULL, 0, tm_now() + TM_MS);
        tm_mutex_lock(&out->lock);
    }
    int error = out->error;
    tm_mutex_unlock(&out->lock);
    return error;
}

static void send_fin_if_due(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    if (!out->shut || out->fin || out->error || out->box.len > 0)
        return;
    out->fin = true;
    tm_socket_end_output(conn->fd);
}

static void free_turn(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    if (out->error)
        tm_outbox_free(&out->box);
    if (!tm_is_kept(conn))
        tm_outbox_trim(&out->box);
    send_fin_if_due(conn);
    out->leaving = 0;
    out->unattended = false;
    out->busy = false;
    out->offered = others_wait(conn);
    wake_waiting(conn);
}

/*
 * One system call, made without the lock: the bytes that are leaving, then what is left of the
 * message. -EAGAIN when the socket took less than it was given: it is full.
 */
static ssize_t write_once(tcpmsg_conn *conn, tm_message *message)
{
    tm_out *out = &conn->out;
    struct iovec parts[PARTS_MOST];
    size_t wanted = 0;
    int count = tm_outbox_parts(&out->box, out->leaving, parts, PARTS_MOST);
    if (message)
        count += tm_message_rest(message, parts + count, PARTS_MOST - count);
    for (int i = 0; i < count; i++)
        wanted += parts[i].iov_len;
    out->in_call = true;
    tm_mutex_unlock(&out->lock);
    ssize_t n = tm_socket_write(conn->fd, parts, count);
    tm_mutex_lock(&out->lock);
    out->in_call = false;
    wake_waiting(conn);
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

static int give_up(tcpmsg_conn *conn, ssize_t answer)
{
    int error = tm_conn_os_error(conn, answer);
    tm_conn_tell(conn, "sending failed: %s", tcpmsg_strerror(error));
    return end_locked(conn, error);
}

/*
 * After a write that did not take all: waits for another one. 0 to go on; TCPMSG_EAGAIN, ETIMEDOUT
 * or ENOMEM to stop for now; else what ended the sending.
 */
static int wait_or_stop(tcpmsg_conn *conn, const tm_put *put, ssize_t answer)
{
    bool no_memory = answer == -ENOBUFS || answer == -ENOMEM;
    bool untouched = put->message && put->message->sent == 0 && conn->out.leaving == 0;
    if (!no_memory && answer != -EAGAIN && answer != -EWOULDBLOCK)
        return give_up(conn, answer);
    if (no_memory && (untouched || put->flags & TCPMSG_DONTWAIT))
        return TCPMSG_ENOMEM;
    if (put->flags & TCPMSG_DONTWAIT)
        return TCPMSG_EAGAIN;
    if (wait_writable(conn, put->deadline, no_memory))
        return 0;
    return no_memory ? TCPMSG_ENOMEM : TCPMSG_ETIMEDOUT;
}

/* All that the call wants out is out. */
static bool is_done(const tm_out *out, const tm_put *put)
{
    return put->message ? tm_message_is_out(put->message) : out->box.position >= put->target;
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
    while (!out->error) {
        bool done = is_done(out, put);
        if (done || !put->message)
            out->leaving = out->box.len;
        if (done && out->box.position >= taken_along) {
            taken_along = tm_outbox_end(&out->box);
            if (out->box.len == 0 || others_wait(conn) || passes == EXTRA_PASSES)
                return 0;
            if (++passes == EXTRA_PASSES)
                out->staying = false;
        }
        ssize_t n = write_once(conn, put->message);
        if (n > 0)
            continue;
        if (n == -EAGAIN && !stays && is_done(out, put))
            return 0;
        int r = wait_or_stop(conn, put, n);
        if (r < 0)
            return r;
    }
    return out->error;
}

/*
 * Takes the free turn, writes, and frees it. What was queued goes before a message; one that has
 * begun is accepted, for whose rest there is room.
 */
static int lead(tcpmsg_conn *conn, tm_put put)
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
    out->staying = put.deadline == TM_FOREVER && !(put.flags & TCPMSG_DONTWAIT);
    int r = write_all(conn, &put);
    if (is_done(out, &put)) {
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
    return r;
}

static bool wait_turn(tcpmsg_conn *conn, int64_t deadline)
{
    tm_out *out = &conn->out;
    conn->waiting->senders++;
    bool in_time = tm_condition_wait(&conn->waiting->out_turn, &out->lock, deadline);
    if (--conn->waiting->senders == 0)
        out->offered = false;
    return in_time;
}

/*
 * With the lock held: gets the turn, or makes it needless. 1: the caller has it to take. Else the
 * call's answer: it is done, its message waits in the queue for the thread that writes (and is
 * NULL in *put from then on), or it may not wait any longer.
 */
static int get_turn(tcpmsg_conn *conn, tm_put *put)
{
    tm_out *out = &conn->out;
    bool waited = false, in_time = true;
    for (;;) {
        bool queued = waited && !put->message;
        if (queued && is_done(out, put))
            return 0;
        if (out->error && queued && out->in_call) {
            wait_turn(conn, TM_FOREVER); /* the call may be writing it all the same */
            continue;
        }
        if (out->error)
            return out->error;
        if (put->message && out->shut)
            return TCPMSG_ECLOSED;
        if (!put->message && is_done(out, put))
            return 0;
        if (!out->busy && (!out->offered || waited))
            return 1;
        if (put->message && tm_out_fits(out, put->message)) {
            if (tm_outbox_add(&out->box, put->message) < 0)
                return TCPMSG_ENOMEM;
            put->message = NULL;
            put->target = tm_outbox_end(&out->box);
            if (out->busy && out->staying)
                return 0;
        }
        if (put->flags & TCPMSG_DONTWAIT)
            return TCPMSG_EAGAIN;
        if (!in_time)
            return TCPMSG_ETIMEDOUT;
        in_time = wait_turn(conn, put->deadline);
        waited = true;
    }
}

/*
 * Without the turn, which is free: whoever was offered it, too, is on their way. The last to leave
 * takes along what others have queued, for which its own call may have to wait.
 */
static void leave(tcpmsg_conn *conn, const tm_put *put, int answer)
{
    tm_out *out = &conn->out;
    tm_put rest = {
        .target = tm_outbox_end(&out->box), .deadline = put->deadline, .flags = put->flags};
    if (answer < 0)
        rest.flags = TCPMSG_DONTWAIT;
    if (others_wait(conn))
        wake_waiting(conn);
    else if (!out->error && out->box.len > 0)
        lead(conn, rest);
}

int tm_out_put(tcpmsg_conn *conn, tm_put put)
{
    tm_out *out = &conn->out;
    bool is_send = put.message;
    int r = get_turn(conn, &put);
    bool queued = is_send && !put.message;
    if (r == 1 && put.message) {
        put.room = tm_outbox_room(&out->box, tm_message_size(put.message));
        r = put.room ? 1 : TCPMSG_ENOMEM;
    }
    if (r == 1)
        r = lead(conn, put);
    else if (!out->busy)
        leave(conn, &put, r);
    if (!out->busy && !others_wait(conn) && out->box.len > 0) {
        out->unattended = true;
        tm_in_nudge(conn); /* the receiver that sleeps looks after it */
    }
    if (!queued || r == 0)
        return r;
    /* A queued message is accepted, whatever keeps its call from waiting until it is out. */
    return is_done(out, &put) ? 0 : out->error;
}

int tm_out_put_accepted(tcpmsg_conn *conn, int64_t deadline, int flags)
{
    tm_put put = {.target = tm_outbox_end(&conn->out.box), .deadline = deadline, .flags = flags};
    return tm_out_put(conn, put);
}

enum tm_push tm_out_push_locked(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    enum tm_push left = TM_PUSH_DONE;
    bool fin_is_due = out->shut && !out->fin;
    if (!out->busy && !out->error && (out->box.len > 0 || fin_is_due)) {
        int r = lead(conn, (tm_put){.target = tm_outbox_end(&out->box), .flags = TCPMSG_DONTWAIT});
        if (!out->error && out->box.len > 0)
            left = r == TCPMSG_ENOMEM ? TM_PUSH_REST : TM_PUSH_WAIT;
        out->unattended = left != TM_PUSH_DONE;
    }
    return left;
}

enum tm_push tm_out_push(tcpmsg_conn *conn)
{
    tm_mutex_lock(&conn->out.lock);
    enum tm_push left = tm_out_push_locked(conn);
    tm_mutex_unlock(&conn->out.lock);
    return left;
}

int tm_out_flush(tcpmsg_conn *conn, int64_t deadline, int flags)
{
    tm_mutex_lock(&conn->out.lock);
    bool kept = tm_is_kept(conn);
    int r = kept ? 0 : tm_out_put_accepted(conn, deadline, flags);
    tm_mutex_unlock(&conn->out.lock);
    return kept ? tm_kept_flush(conn, false) : r;
}

int tm_out_shutdown(tcpmsg_conn *conn, int64_t deadline)
{
    tm_out *out = &conn->out;
    bool in_time = true;
    int r = 0;
    tm_mutex_lock(&out->lock);
    if (tm_is_kept(conn)) {
        tm_mutex_unlock(&out->lock);
        return tm_kept_flush(conn, true);
    }
    out->shut = true;
    out->hold_most = 0;
    wake_waiting(conn);
    while (r == 0 && !out->fin) {
        /* A message that another thread leads is accepted only once that thread leaves it. */
        r = tm_out_put_accepted(conn, deadline, 0);
        if (r == 0 && !out->busy)
            send_fin_if_due(conn);
        else if (r == 0 && in_time)
            in_time = wait_turn(conn, deadline);
        else if (r == 0)
            r = TCPMSG_ETIMEDOUT;
    }
    if (r == 0)
        r = out->error;
    tm_mutex_unlock(&out->lock);
    return r;
}

void tm_out_take_turn(tcpmsg_conn *conn)
{
    tm_out *out = &conn->out;
    tm_mutex_lock(&out->lock);
    if (out->busy)
        tm_socket_end_both(conn->fd); /* wakes a thread that waits to write */
    while (out->busy)
        wait_turn(conn, TM_FOREVER);
    out->busy = true;
    tm_mutex_unlock(&out->lock);
}
