/* SPDX-License-Identifier: MIT */
/* The receiving side of an end, against the model, and what is asked of it. */
#define _GNU_SOURCE
#include "model_ends.h"

#include <poll.h>
#include <string.h>

#include "peer.h"

/* How an end receives: into memory of its own, or with a view. */
struct hearing {
    bool view;
    size_t size;
    int flags;
    const uint8_t *message;
    ssize_t answer;
};

enum { CANARY = 16 };

void check_view(struct end *end)
{
    if (end->view && memcmp(end->view, content_of(end->viewed.number), end->viewed.length) != 0)
        model_fail("%c's view of %zu bytes has changed", end->name, end->viewed.length);
}

static bool is_patient(const struct end *end)
{
    return end->recv_ms == TCPMSG_NO_LIMIT || end->recv_ms > 1000;
}

/* A receive that may wait for long must have something to wait for. */
static bool may_wait(struct end *end)
{
    const struct flow *flow = flow_in(end);
    bool slow = end->world->no_memory || flow->bytes > end->world->easy;
    if (is_patient(end) && slow)
        return false;
    return !is_patient(end) || flow->in_told || is_gone(end) || is_gone(end->other) || flow->fin ||
           (flow->count > 0 && !has_output(end->other));
}

static size_t choose_size(struct end *end)
{
    const struct waiting *first = flow_first(flow_in(end));
    struct dice *dice = &end->world->dice;
    size_t length = first ? first->length : dice_below(dice, 100);
    switch (dice_below(dice, 8)) {
    case 0:
        return length > 0 ? dice_below(dice, length) : 0;
    case 1:
        return length < CONTENT_MOST ? length : CONTENT_MOST;
    case 2:
        return dice_below(dice, CONTENT_MOST);
    default:
        return CONTENT_MOST;
    }
}

static void choose(struct end *end, struct hearing *how, bool eager)
{
    struct dice *dice = &end->world->dice;
    how->view = dice_chance(dice, 40);
    how->size = eager ? CONTENT_MOST : choose_size(end);
    how->flags = !eager && dice_chance(dice, 10) ? TCPMSG_PEEK : 0;
    bool likely = flow_in(end)->count > 0 && !has_output(end->other);
    if (eager || !may_wait(end) || !dice_chance(dice, likely ? 30 : 2))
        how->flags |= TCPMSG_DONTWAIT;
}

static void receive(struct end *end, struct hearing *how)
{
    const void *view = NULL;
    uint8_t *memory = end->world->buffer;
    step_note("%c receives%s%s", end->name, how->flags & TCPMSG_DONTWAIT ? " DONTWAIT" : "",
              how->flags & TCPMSG_PEEK ? " PEEK" : "");
    if (how->view) {
        how->answer = tcpmsg_recv_view(end->conn, &view, how->flags);
        how->message = view;
    } else {
        memset(memory + how->size, 0xCA, CANARY);
        how->answer = tcpmsg_recv(end->conn, memory, how->size, how->flags);
        how->message = memory;
        for (size_t i = 0; i < CANARY; i++)
            if (memory[how->size + i] != 0xCA)
                model_fail("%c's receive wrote behind its buffer", end->name);
    }
    step_answer(how->answer);
}

static const char *judge_message(struct end *end, const struct hearing *how)
{
    const struct waiting *first = flow_first(flow_in(end));
    if (!first)
        return "nothing was sent";
    if (first->length > end->most)
        return "it is too long";
    if ((size_t)how->answer != first->length)
        return "another length was sent";
    if (!how->message)
        return "a message that is NULL";
    if (memcmp(how->message, content_of(first->number), first->length) != 0)
        return "other bytes were sent";
    return !how->view && how->size < first->length ? "the buffer is too small" : NULL;
}

/* Whether what comes next is longer than this end takes. */
static bool is_too_long(const struct end *end)
{
    const struct flow *flow = &end->other->out;
    const struct waiting *first = flow_first(flow);
    return first ? first->length > end->most : flow->torn && flow->torn_length > end->most;
}

/* The ends there are, each of which stays. */
static const char *judge_end(struct end *end, ssize_t answer)
{
    const struct flow *flow = flow_in(end);
    const struct end *other = end->other;
    bool all_came = flow->count == 0 || flow->lossy;
    bool ended = flow->shut || (other->aborted && !end->world->tcp);
    switch (answer) {
    case TCPMSG_EOF:
        if (!all_came)
            return "there are more messages";
        return !ended ? "nobody has ended it" : flow->torn ? "it was cut off" : NULL;
    case TCPMSG_ETRUNCATED:
        if (flow->lossy)
            return other->closed ? NULL : "nobody has cut it off";
        return flow->torn && all_came ? NULL : "nobody has cut it off";
    case TCPMSG_ERESET:
        if (!all_came)
            return "there are more messages";
        return may_be_reset(end) ? NULL : "nobody has reset it";
    case TCPMSG_EMSGSIZE:
        return is_too_long(end) ? NULL : "it is not too long";
    default:
        return "no such answer";
    }
}

static const char *judge_wait(struct end *end, const struct hearing *how)
{
    bool waits = !(how->flags & TCPMSG_DONTWAIT);
    if (how->answer == TCPMSG_EAGAIN && waits)
        return "it was to wait";
    if (how->answer == TCPMSG_ETIMEDOUT && (!waits || end->recv_ms == TCPMSG_NO_LIMIT))
        return "there was no time limit";
    if (!waits && must_be_here(end))
        return "there is a message";
    if (waits && is_patient(end))
        return "the time limit was a long one";
    return flow_in(end)->whole ? "the message is here" : NULL;
}

static const char *judge(struct end *end, const struct hearing *how)
{
    const struct flow *flow = flow_in(end);
    if (flow->in_told)
        return how->answer == flow->in_told ? NULL : "what was told of the end stays";
    if (end->aborted)
        return how->answer == TCPMSG_ECANCELED ? NULL : "it was aborted";
    if (how->answer >= 0)
        return judge_message(end, how);
    switch (how->answer) {
    case TCPMSG_EAGAIN:
    case TCPMSG_ETIMEDOUT:
        return judge_wait(end, how);
    case TCPMSG_ENOMEM:
        return end->world->no_memory && !flow->whole ? NULL : "there is no need of memory";
    case TCPMSG_EBUFSIZE:
        if (how->view || flow->count == 0 || flow_first(flow)->length > end->most)
            return "there is no such message";
        return how->size < flow_first(flow)->length ? NULL : "the buffer is large enough";
    default:
        return judge_end(end, how->answer);
    }
}

static void remember(struct end *end, const struct hearing *how)
{
    struct flow *flow = flow_in(end);
    switch (how->answer) {
    case TCPMSG_EAGAIN:
    case TCPMSG_ETIMEDOUT:
    case TCPMSG_ENOMEM:
        return;
    case TCPMSG_EBUFSIZE:
        flow->whole = true;
        return;
    default:
        break;
    }
    if (how->answer < 0) {
        flow->in_told = (int)how->answer;
        return;
    }
    if (how->view) {
        end->view = how->message;
        end->viewed = *flow_first(flow);
    }
    if (how->flags & TCPMSG_PEEK)
        flow->whole = true;
    else
        flow_take(flow);
}

/* Promise 8: who waits, or would have to, leaves nothing in the buffer that the socket takes. */
static void check_output(struct end *end, ssize_t answer)
{
    struct pollfd fd = {.events = POLLOUT};
    if (answer != TCPMSG_EAGAIN && answer != TCPMSG_ETIMEDOUT)
        return;
    if (end->world->tcp || end->world->faulty || !has_output(end))
        return;
    fd.fd = tcpmsg_conn_fd(end->conn);
    if (poll(&fd, 1, 0) == 1 && fd.revents == POLLOUT)
        model_fail("%c's receive left output behind", end->name);
}

bool hear_something(struct end *end, bool eager)
{
    struct hearing how = {0};
    choose(end, &how, eager);
    end->view = NULL;
    receive(end, &how);
    const char *wrong = judge(end, &how);
    if (wrong)
        model_fail("%c's receive answers %s: %s", end->name, tcpmsg_error_name((int)how.answer),
                   wrong);
    if (eager && how.answer == TCPMSG_EAGAIN)
        step_forget();
    check_output(end, how.answer);
    remember(end, &how);
    return how.answer >= 0;
}

/* What it says of the next message, without touching the socket. */
static void check_next(struct end *end)
{
    const struct flow *flow = flow_in(end);
    const struct waiting *first = flow_first(flow);
    ssize_t next = tcpmsg_next_length(end->conn);
    const char *wrong = NULL;
    if (flow->in_told || end->aborted)
        wrong = next == (flow->in_told ? flow->in_told : TCPMSG_ECANCELED) ? NULL : "it has ended";
    else if (next >= 0)
        wrong = first && first->length == (size_t)next ? NULL : "no such message is next";
    else if (next == TCPMSG_EAGAIN)
        wrong = flow->whole ? "a message is here" : NULL;
    else
        wrong = next == TCPMSG_EMSGSIZE && is_too_long(end) ? NULL : "it is not";
    if (wrong) {
        step_note("%c's next length", end->name);
        step_answer(next);
        model_fail("%c's next length is %s: %s", end->name, tcpmsg_error_name((int)next), wrong);
    }
    if (next >= 0)
        flow_in(end)->whole = true;
}

static void check_counters(struct end *end)
{
    const struct flow *in = flow_in(end), *out = &end->out;
    tcpmsg_info info;
    assert_int_equal(tcpmsg_conn_info(end->conn, &info, sizeof info), 0);
    if (info.messages_sent != out->accepted || info.bytes_sent != out->accepted_bytes)
        model_fail("%c counts %llu messages and %llu bytes sent", end->name,
                   (unsigned long long)info.messages_sent, (unsigned long long)info.bytes_sent);
    if (info.messages_received != in->received || info.bytes_received != in->received_bytes)
        model_fail("%c counts %llu messages and %llu bytes received", end->name,
                   (unsigned long long)info.messages_received,
                   (unsigned long long)info.bytes_received);
}

/* The end's own words: an event to wait for until it has ended, a story once it has. */
static void check_words(struct end *end)
{
    bool in_over = flow_in(end)->in_told || end->aborted;
    bool over = in_over || end->out.out_told;
    if (!(tcpmsg_conn_events(end->conn) & POLLIN) != in_over)
        model_fail("%c's events are wrong about its end", end->name);
    const char *why = tcpmsg_conn_why(end->conn);
    if (over && !*why)
        model_fail("%c has no story", end->name);
    if (!over && *why && !is_gone(end->other))
        model_fail("%c tells a story: %s", end->name, why);
}

void check_end(struct end *end)
{
    check_counters(end);
    check_words(end);
    if (dice_chance(&end->world->dice, 50))
        check_next(end);
}
