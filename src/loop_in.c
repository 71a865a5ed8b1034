/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <errno.h>
#include <string.h>

#include "conn_in.h"
#include "error.h"

/* How many messages of one connection are delivered before the others have their turn. */
#define TURN_MESSAGES 1024

/* A message of up to this size, prefix included, is put together in the thread's memory. */
#define PUT_TOGETHER_MOST (TM_SHARED / 4)

/* Beginnings of this size and more use memory that another one has had. */
#define ASIDE_LEAST ((size_t)4 << 10)

/* What the largest piece of memory has room for. */
#define LARGEST (TM_PIECE_MOST - tm_buffer_memory(0))

/* When so large a part of a long message has come, there is room for all of it at once. */
#define BELIEVED_PART 4

bool tm_member_may_deliver(const tm_member *member)
{
    const tcpmsg_conn *conn = tm_conn_of(member);
    return member->stage == TM_OPEN && !member->paused && !conn->out.over && !conn->closing &&
           !conn->in.error && conn->out.error != TCPMSG_ECANCELED;
}

/*
 * Hands out the whole messages that these bytes begin with, as far as it may; how many bytes they
 * were. *answer: 0 when more has to come, an error of the stream, 1 when there was no more time.
 */
static size_t deliver(tm_member *member, const uint8_t *bytes, size_t count, int *answer)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    tm_keeper *keeper = &tm_thread_of(conn)->keeper;
    tm_stats *stats = &tm_thread_of(conn)->stats;
    const tm_codec *codec = &conn->settings->codec;
    const tcpmsg_callbacks *callbacks = &member->service->callbacks;
    tm_head head;
    uint64_t messages_before = conn->in.messages, bytes_before = conn->in.bytes;
    size_t at = 0;
    int whole = tm_look(codec, bytes + at, count - at, &head);
    *answer = 1;
    for (int i = 0; i < TURN_MESSAGES && tm_member_may_deliver(member); i++) {
        if (whole <= 0) {
            *answer = whole;
            break;
        }
        const uint8_t *payload = bytes + at + head.prefix;
        size_t length = head.length;
        tm_in_count(conn, length);
        size_t frame = head.prefix + length;
        member->large = length > TM_SHARED;
        conn->in.frame = frame <= PUT_TOGETHER_MOST ? (uint32_t)frame : 0;
        at += frame;
        whole = tm_look(codec, bytes + at, count - at, &head);
        keeper->delivers_more = whole > 0 ? conn : NULL;
        if (callbacks->on_message)
            callbacks->on_message(conn, payload, length, member->service->arg);
    }
    keeper->delivers_more = NULL;
    tm_counter_add(&stats->messages_received, conn->in.messages - messages_before);
    tm_counter_add(&stats->bytes_received, conn->in.bytes - bytes_before);
    return at;
}

/* Ends the receiving; the member is tended at the end of the pass. */
static void end_receiving(tm_member *member, int error)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    if (error != TCPMSG_EOF) /* which is told when all answers are out */
        tm_conn_tell_ending_here(conn, error, 0);
    tm_in_end(conn, error);
    tm_member_attend(member);
}

/* After a delivery: the message clock, and what the buffer begins with. */
static void note(tm_thread *thread, tm_member *member, int answer, bool delivered)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    member->held = answer == 1 && tm_buffer_len(&conn->in.buffer) > 0;
    if (delivered || tm_buffer_len(&conn->in.buffer) == 0)
        conn->in.message_limit = 0;
    if (answer < 0)
        end_receiving(member, answer);
    else if (answer == 0 && tm_buffer_len(&conn->in.buffer) > 0)
        tm_member_await_message(thread, member);
    tm_member_attend(member);
}

/* An emptied buffer's memory is for the next one. */
static void put_aside(tm_thread *thread, tm_buffer *own)
{
    tm_pool_give(&thread->keeper.pool, own->row, tm_buffer_held(own));
    *own = (tm_buffer){0};
}

/* Memory for a buffer that has none, as another one has had it; without memory it stays so. */
static void get_piece(tm_thread *thread, tm_buffer *own, size_t count)
{
    size_t size = tm_piece_size(tm_buffer_memory(count));
    *own = tm_buffer_in(tm_pool_get(&thread->keeper.pool, size), size);
}

/* Memory gets short: none is held that nothing is in. */
static bool is_short(const tm_thread *thread)
{
    return thread->held > thread->budget / 2;
}

/* Whether memory of that size may hold so little. */
static bool suits(const tm_thread *thread, const tm_buffer *buffer, size_t count)
{
    size_t most = is_short(thread) ? count : 8 * count;
    size_t capacity = tm_buffer_capacity(buffer);
    return capacity >= count && capacity <= most;
}

/* Makes the buffer hold just these bytes, which are not its own; false without memory. */
static bool keep(tm_thread *thread, tm_member *member, const uint8_t *bytes, size_t count)
{
    tm_buffer *own = &tm_conn_of(member)->in.buffer;
    size_t before = tm_buffer_held(own);
    tm_buffer_clear(own);
    if (!suits(thread, own, count) || count == 0)
        put_aside(thread, own);
    if (!own->row && count >= ASIDE_LEAST && !is_short(thread))
        get_piece(thread, own, count);
    bool kept = count == 0 || tm_buffer_reserve(own, count) == 0;
    if (kept && count > 0)
        tm_buffer_append(own, bytes, count);
    tm_budget_change(thread, member, before);
    return kept;
}

void tm_member_give_back(tm_thread *thread, tm_member *member)
{
    keep(thread, member, NULL, 0);
}

void tm_member_deliver_held(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    tm_buffer *own = &conn->in.buffer;
    int answer;
    size_t taken = deliver(member, tm_buffer_head(own), tm_buffer_len(own), &answer);
    tm_buffer_consume(own, taken);
    if (tm_buffer_len(own) == 0)
        tm_member_give_back(thread, member);
    note(thread, member, answer, taken > 0);
}

/* The read did not bring a byte. */
static void none_came(tm_member *member, ssize_t n)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    int met = conn->out.error;
    bool later = n == -EAGAIN || n == -ENOMEM || n == -ENOBUFS;
    struct pollfd fd = {.fd = conn->fd, .events = POLLIN};
    /* Its last messages are read whatever ended the sending, unless nothing is there. */
    if (later && (met == 0 || tm_socket_wait(&fd, 1, 0) > 0))
        return; /* level-triggered: it comes again */
    bool inside = tm_buffer_len(&conn->in.buffer) > 0;
    if (n < 0 && met == 0)
        met = tm_conn_os_error(conn, n);
    else if (met == 0 || met == TCPMSG_ECANCELED)
        met = inside ? TCPMSG_ETRUNCATED : TCPMSG_EOF;
    end_receiving(member, met);
    if (n < 0)
        tm_out_end(conn, met);
}

/*
 * How many bytes are put together there: as many as are whole messages, if the next ones are as
 * long as the last. So no beginning is left that would have to be kept, while they are that long.
 */
static size_t whole_ones(const tm_in *in, size_t len)
{
    size_t whole = in->frame > ASIDE_LEAST ? TM_SHARED / in->frame * in->frame : TM_SHARED;
    return whole > len ? whole : TM_SHARED;
}

/* With what has come of its message so far, in the thread's memory. */
static void read_shared(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    tm_buffer *own = &conn->in.buffer;
    size_t len = tm_buffer_len(own);
    size_t wanted = tm_budget_allows(thread, member, whole_ones(&conn->in, len) - len);
    if (wanted == 0) {
        member->starved = true;
        return;
    }
    struct iovec part = {thread->shared + len, wanted};
    ssize_t n = tm_socket_read(conn->fd, &part, 1);
    if (n <= 0) {
        none_came(member, n);
        return;
    }
    if (len > 0)
        memcpy(thread->shared, tm_buffer_head(own), len);
    len += (size_t)n;
    tm_member_is_active(thread, member);
    int answer;
    size_t taken = deliver(member, thread->shared, len, &answer);
    if (!keep(thread, member, thread->shared + taken, len - taken)) {
        tm_conn_tell_plainly(conn, TCPMSG_LOG_WARNING,
                             "there was no memory for the beginning of a message");
        tm_in_end(conn, TCPMSG_ENOMEM);
    }
    note(thread, member, answer, taken > 0);
}

/* How much more of a long message there is to be room for: as much as has come, then all of it. */
static size_t next_step(const tm_buffer *own, const tm_head *head)
{
    size_t missing = head->length - head->arrived, room = tm_buffer_room(own);
    if (room > 0)
        return room < missing ? room : missing;
    if (head->length / BELIEVED_PART <= head->arrived)
        return missing;
    size_t step = head->arrived < TM_SHARED ? TM_SHARED : head->arrived;
    return step < missing ? step : missing;
}

/* What was long once may be kept for the next one, if its size is one of those that are. */
static bool make_room(const tm_thread *thread, tm_buffer *own, size_t wanted)
{
    size_t len = tm_buffer_len(own);
    if (tm_buffer_room(own) < wanted && !is_short(thread))
        wanted = tm_piece_size(tm_buffer_memory(len + wanted)) - tm_buffer_memory(len);
    return tm_buffer_reserve(own, wanted) == 0;
}

/* A long message is put together in memory of its own. */
static void read_own(tm_thread *thread, tm_member *member, const tm_head *head)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    tm_buffer *own = &conn->in.buffer;
    size_t before = tm_buffer_held(own);
    size_t wanted = tm_budget_allows(thread, member, next_step(own, head));
    if (wanted == 0 || !make_room(thread, own, wanted)) {
        member->starved = true;
        return;
    }
    tm_budget_change(thread, member, before);
    struct iovec part = {tm_buffer_tail(own), wanted};
    ssize_t n = tm_socket_read(conn->fd, &part, 1);
    if (n <= 0) {
        none_came(member, n);
        return;
    }
    tm_buffer_came(own, (size_t)n);
    tm_member_is_active(thread, member);
    if ((size_t)n == head->length - head->arrived)
        tm_member_deliver_held(thread, member);
}

/* After a large message the next one is likely large, too: it comes where it can stay. */
static bool expects_large(const tm_thread *thread, const tm_member *member)
{
    const tm_buffer *own = &tm_conn_of(member)->in.buffer;
    return member->large && !is_short(thread) && tm_buffer_capacity(own) < LARGEST &&
           tm_buffer_len(own) <= PUT_TOGETHER_MOST;
}

/* Moves what has come of it to the largest piece there is; false without memory. */
static bool move_to_piece(tm_thread *thread, tm_member *member)
{
    tm_buffer *own = &tm_conn_of(member)->in.buffer, piece = {0};
    size_t before = tm_buffer_held(own);
    get_piece(thread, &piece, LARGEST);
    if (!piece.row)
        return false;
    tm_buffer_append(&piece, tm_buffer_head(own), tm_buffer_len(own));
    put_aside(thread, own);
    *own = piece;
    tm_budget_change(thread, member, before);
    return true;
}

static void read_large(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    tm_buffer *own = &conn->in.buffer;
    size_t room = move_to_piece(thread, member) ? tm_buffer_room(own) : 0;
    struct iovec part = {tm_buffer_tail(own), tm_budget_allows(thread, member, room)};
    ssize_t n = part.iov_len > 0 ? tm_socket_read(conn->fd, &part, 1) : -ENOMEM;
    if (n > 0) {
        tm_buffer_came(own, (size_t)n);
        tm_member_is_active(thread, member);
        tm_member_deliver_held(thread, member);
    } else {
        member->large = false;
        none_came(member, n);
    }
    size_t len = tm_buffer_len(own);
    if (len <= TM_SHARED && !suits(thread, own, len)) {
        memcpy(thread->shared, tm_buffer_head(own), len);
        keep(thread, member, thread->shared, len);
    }
}

void tm_member_read(tm_thread *thread, tm_member *member)
{
    tcpmsg_conn *conn = tm_conn_of(member);
    tm_head head;
    tm_in_look(conn, &head);
    if (expects_large(thread, member))
        read_large(thread, member);
    else if (head.prefix + head.length > PUT_TOGETHER_MOST)
        read_own(thread, member, &head);
    else
        read_shared(thread, member);
    if (member->starved && conn->out.error) { /* without memory even its last messages are lost */
        member->starved = false;
        end_receiving(member, conn->out.error);
    }
    if (member->starved)
        tm_member_starve(thread, member);
}
