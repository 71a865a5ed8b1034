/* SPDX-License-Identifier: MIT */
/* The sending side of an end, against the model. */
#define _GNU_SOURCE
#include "model_ends.h"

#include <limits.h>
#include <string.h>

#include "peer.h"

enum { PARTS = 1500 };

static const char *flags_text(int flags)
{
    static const char *const texts[] = {"", " DONTWAIT", " MORE", " DONTWAIT MORE"};
    return texts[flags & 3];
}

/* A length of every class: nothing, tiny, around the sizes at which the library changes its way. */
static size_t choose_length(struct end *end)
{
    static const size_t edges[] = {4 * KIB, 16 * KIB, 32 * KIB, 65483, 64 * KIB, 256 * KIB};
    struct dice *dice = &end->world->dice;
    size_t length;
    switch (dice_below(dice, 10)) {
    case 0:
        return 0;
    case 1:
    case 2:
    case 3:
        length = dice_between(dice, 1, 12);
        break;
    case 4:
    case 5:
        length = dice_between(dice, 13, 300);
        break;
    case 6:
        length = dice_between(dice, 300, 5000);
        break;
    case 7:
        length = dice_between(dice, 5000, 70000);
        break;
    case 8:
        length = edges[dice_below(dice, COUNT(edges))] + dice_below(dice, 30) - 20;
        break;
    default:
        length = end->limit - dice_below(dice, 2);
        break;
    }
    if (length > end->world->easy)
        length = end->world->easy;
    if (length >= CONTENT_MOST)
        length = 300 * KIB;
    return length > end->limit ? end->limit : length;
}

/* Whether a send may find the way full: where it is certain that it is not, it must not say so. */
static bool may_be_full(const struct end *end)
{
    return end->world->tcp || end->world->faulty || end->out.count > 0;
}

/*
 * One that waits for long must be certain of room for so much. What faults have cut up takes room
 * for its crumbs, by the hundred bytes for one; with nothing under way there are none.
 */
static bool may_wait(const struct end *end, size_t length)
{
    bool crumbs = end->world->was_faulty && end->out.count > 0;
    size_t waiting = end->out.bytes + 64 * end->out.count;
    bool patient = end->send_ms == TCPMSG_NO_LIMIT || end->send_ms > 1000;
    return !patient || is_gone(end->other) ||
           (waiting < 8 * KIB && length < 8 * KIB && !end->world->small_buffers &&
            !end->world->faulty && !crumbs);
}

/* What stays, or ended the sending before anybody was told. */
static const char *judge_end(struct end *end, int answer)
{
    if (end->out.out_told)
        return answer == end->out.out_told ? NULL : "what was told of the sending's end stays";
    if (answer == TCPMSG_ECANCELED)
        return is_gone(end) ? NULL : "nobody has aborted it";
    if (answer == TCPMSG_ERESET)
        return may_be_reset(end) ? NULL : "nobody has reset it";
    return "no such answer";
}

/* What any of these calls may say of waiting and memory. */
static const char *judge_wait(struct end *end, int answer, int flags)
{
    bool waits = !(flags & TCPMSG_DONTWAIT);
    switch (answer) {
    case TCPMSG_EAGAIN:
        return waits ? "it was to wait" : NULL;
    case TCPMSG_ETIMEDOUT:
        return waits && end->send_ms != TCPMSG_NO_LIMIT ? NULL : "there was no time limit";
    case TCPMSG_ENOMEM:
        return end->world->no_memory ? NULL : "there was memory";
    default:
        return judge_end(end, answer);
    }
}

static const char *judge_send(struct end *end, int answer, size_t length, int flags)
{
    if (length > end->limit)
        return answer == TCPMSG_EMSGSIZE ? NULL : "it is too long";
    if (end->out.out_told || end->aborted)
        return judge_end(end, answer);
    if (end->out.shut)
        return answer == TCPMSG_ECLOSED ? NULL : judge_end(end, answer);
    if (answer == 0)
        return NULL;
    if ((answer == TCPMSG_EAGAIN || answer == TCPMSG_ETIMEDOUT) && !may_be_full(end))
        return "there is room";
    return judge_wait(end, answer, flags);
}

static void remember_end(struct end *end, int answer)
{
    if (answer == TCPMSG_ERESET || answer == TCPMSG_ECANCELED)
        end->out.out_told = answer;
}

/* The message in parts of any size, some of them empty, some of those nowhere. */
static int send_parts(struct end *end, uint8_t *bytes, size_t length, int flags)
{
    static struct iovec parts[PARTS];
    struct dice *dice = &end->world->dice;
    int most = dice_chance(dice, 10) ? PARTS : 6, count = 0;
    size_t at = 0;
    while (at < length && count < most - 1) {
        size_t part =
            dice_chance(dice, 20) ? 0 : dice_between(dice, 1, 2 * length / (size_t)most + 1);
        part = part < length - at ? part : length - at;
        parts[count].iov_base = part == 0 && dice_chance(dice, 50) ? NULL : bytes + at;
        parts[count++].iov_len = part;
        at += part;
    }
    if (at < length)
        parts[count++] = (struct iovec){bytes + at, length - at};
    step_note("%c sends %zu in %d parts%s", end->name, length, count, flags_text(flags));
    return tcpmsg_sendv(end->conn, parts, count, flags);
}

static int send_row(struct end *end, const uint8_t *bytes, size_t length, int flags)
{
    step_note("%c sends %zu%s", end->name, length, flags_text(flags));
    return tcpmsg_send(end->conn, bytes, length, flags);
}

static int send_one(struct end *end, uint64_t number, size_t length, int flags)
{
    struct world *world = end->world;
    uint8_t *bytes = length > 0 || dice_chance(&world->dice, 50) ? world->buffer : NULL;
    int answer;
    if (length <= CONTENT_MOST)
        memcpy(world->buffer, content_of(number), length);
    if (length <= CONTENT_MOST && dice_chance(&world->dice, 30))
        answer = send_parts(end, bytes, length, flags);
    else
        answer = send_row(end, bytes, length, flags);
    step_answer(answer);
    /* The memory is the caller's again. */
    memset(world->buffer, 0xEE, length <= CONTENT_MOST ? length : 0);
    return answer;
}

void say_something(struct end *end)
{
    struct dice *dice = &end->world->dice;
    size_t length = choose_length(end);
    int flags = (int)dice_below(dice, 4);
    if (dice_chance(dice, 2))
        length = end->limit + 1 + (dice_chance(dice, 50) ? dice_below(dice, (size_t)LONG_MAX) : 0);
    if (!may_wait(end, length) || (end->full && !dice_chance(dice, 5)))
        flags |= TCPMSG_DONTWAIT;
    end->tried_late = end->tried_late || is_gone(end->other);
    uint64_t number = ++end->world->messages;
    int answer = send_one(end, number, length, flags);
    const char *wrong = judge_send(end, answer, length, flags);
    if (wrong)
        model_fail("%c's send of %zu bytes answers %s: %s", end->name, length,
                   tcpmsg_error_name(answer), wrong);
    end->full = answer == TCPMSG_EAGAIN || answer == TCPMSG_ETIMEDOUT;
    if (answer == 0)
        flow_add(&end->out, number, length);
    else
        remember_end(end, answer);
}

void say_flush(struct end *end, bool eager)
{
    bool waits = !eager && may_wait(end, 0) && dice_chance(&end->world->dice, end->full ? 5 : 40);
    int flags = waits ? 0 : TCPMSG_DONTWAIT;
    step_note("%c flushes%s", end->name, flags_text(flags));
    int answer = tcpmsg_flush(end->conn, flags);
    step_answer(answer);
    const char *wrong = judge_wait(end, answer, flags);
    if (answer == 0)
        wrong = end->aborted ? "it was aborted" : has_output(end) ? "not all is out" : NULL;
    if (wrong)
        model_fail("%c's flush answers %s: %s", end->name, tcpmsg_error_name(answer), wrong);
    if (eager && (answer == 0 || answer == TCPMSG_EAGAIN))
        step_forget();
    remember_end(end, answer);
}

void say_end(struct end *end)
{
    if (!may_wait(end, 0))
        return;
    step_note("%c shuts down", end->name);
    int answer = tcpmsg_shutdown(end->conn);
    step_answer(answer);
    const char *wrong = judge_wait(end, answer, 0);
    if (answer == 0)
        wrong = end->aborted ? "it was aborted" : has_output(end) ? "not all is out" : NULL;
    if (wrong)
        model_fail("%c's shutdown answers %s: %s", end->name, tcpmsg_error_name(answer), wrong);
    end->out.shut = true;
    end->out.fin = end->out.fin || answer == 0;
    remember_end(end, answer);
}

/* What had not left when it was aborted never will; the rest comes, but behind a reset. */
void say_abort(struct end *end)
{
    tcpmsg_info info;
    assert_int_equal(tcpmsg_conn_info(end->conn, &info, sizeof info), 0);
    step_note("%c aborts", end->name);
    tcpmsg_abort(end->conn);
    if (!end->world->tcp && !is_gone(end->other) && !end->aborted)
        flow_cut(&end->out, &end->world->framing, info.unsent_bytes);
    end->other->tried_late = end->other->tried_late || has_output(end->other);
    end->aborted = true;
    end->out.lossy = end->world->tcp;
    end->view = NULL;
}

/* Through a reference that outlives the connection every call answers an error. */
static void try_what_is_over(struct end *end, tcpmsg_conn *conn)
{
    char byte;
    int sent = tcpmsg_send(conn, "x", end->limit > 0 ? 1 : 0, 0);
    ssize_t received = tcpmsg_recv(conn, &byte, 1, 0);
    if (sent != TCPMSG_ECANCELED && sent != end->out.out_told && sent != TCPMSG_ERESET)
        model_fail("a send after close answers %s", tcpmsg_error_name(sent));
    if (received != TCPMSG_ECANCELED && received != flow_in(end)->in_told)
        model_fail("a receive after close answers %s", tcpmsg_error_name((int)received));
    if (tcpmsg_conn_fd(conn) != -1)
        model_fail("there is a descriptor after close");
}

static const char *judge_close(struct end *end, int answer)
{
    if (answer == TCPMSG_ETIMEDOUT)
        return NULL; /* a loaded machine may let any time pass */
    if (answer == 0)
        return end->aborted ? "it was aborted" : NULL;
    return judge_end(end, answer);
}

/* One with a long linger waits for it, which only the other end could spare it. */
static bool would_linger(const struct end *end)
{
    bool long_one = end->world->linger_ms == 0;
    return long_one && end->out.count > 0 && !is_gone(end) && !is_gone(end->other);
}

void say_close(struct end *end)
{
    tcpmsg_conn *conn = end->conn, *kept = NULL;
    if (would_linger(end))
        say_abort(end);
    if (dice_chance(&end->world->dice, 20))
        kept = tcpmsg_conn_ref(conn);
    step_note("%c closes%s", end->name, kept ? ", and keeps a reference" : "");
    end->view = NULL;
    int answer = tcpmsg_close(conn);
    step_answer(answer);
    const char *wrong = judge_close(end, answer);
    if (wrong)
        model_fail("%c's close answers %s: %s", end->name, tcpmsg_error_name(answer), wrong);
    if (kept)
        try_what_is_over(end, kept);
    tcpmsg_conn_unref(kept);
    end->conn = NULL;
    end->closed = true;
    end->other->tried_late = end->other->tried_late || has_output(end->other);
    end->out.shut = true;
    end->out.fin = end->out.fin || answer == 0;
    end->out.lossy = end->out.lossy || (answer != 0 && !end->aborted);
}
