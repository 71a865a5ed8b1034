/* SPDX-License-Identifier: MIT */
#include "party.h"

#include <string.h>
#include <sys/socket.h>

#define ROOMY ((size_t)30000)

struct party *party_new(struct hall *hall)
{
    static uint8_t rows[PARTIES_MOST][2][ROW_MOST];
    if (hall->count == PARTIES_MOST)
        return NULL;
    struct party *party = &hall->parties[hall->count];
    *party = (struct party){
        .hall = hall, .raw = -1, .from = rows[hall->count][0], .to = rows[hall->count][1]};
    hall->count++;
    return party;
}

struct party *party_take(struct hall *hall)
{
    return hall->count ? &hall->parties[take(&hall->input) % (unsigned)hall->count] : NULL;
}

/* What the stream says behind the last message that was told: an error, or how it was cut off. */
static int end_of(const struct party *party)
{
    uint64_t length;
    size_t left = party->written - party->taken;
    int size = model_decode(&party->hall->model, party->from + party->taken, left, &length);
    if (size < 0)
        return size;
    if (!party->ended || (size > 0 && length <= left - (size_t)size))
        return 0; /* it has not ended, or there is another message */
    return left > 0 ? TCPMSG_ETRUNCATED : TCPMSG_EOF;
}

static void send_message(struct party *party)
{
    struct input *input = &party->hall->input;
    uint8_t prefix[TCPMSG_PREFIX_MAX];
    const uint8_t *message = ground_bytes(take(input));
    size_t length = take_length(input, ROW_MOST);
    if (party->known && party->promised + length + TCPMSG_PREFIX_MAX > ROW_MOST)
        return;
    int size = model_encode(&party->hall->model, length, prefix);
    int got = tcpmsg_send(party->conn, message, length, take(input) % 4 ? 0 : TCPMSG_MORE);
    if (size < 0) {
        MUST(got == TCPMSG_EMSGSIZE);
    } else if (got == TCPMSG_EAGAIN) {
        MUST(!party->known || party->promised - party->seen > party->hall->high_water);
        party->refused = true;
    } else if (got == TCPMSG_ERESET) {
        MUST(!party->known || party->closed);
    } else if (got == TCPMSG_ECLOSED) {
        MUST(party->shut || party->closing || party->hall->stopped || !party->known ||
             end_of(party));
    } else if (got != 0) {
        MUST(got == TCPMSG_ECANCELED && (party->aborted || party->over));
    }
    if (got == 0)
        MUST(!party->shut && !party->aborted && !party->over && !party->closing);
    if (got == 0 && party->known) {
        memcpy(party->to + party->promised, prefix, (size_t)size);
        memcpy(party->to + party->promised + size, message, length);
        party->promised += (size_t)size + length;
    }
}

static void pause_or_resume(struct party *party, bool pause)
{
    int got = pause ? tcpmsg_pause(party->conn) : tcpmsg_resume(party->conn);
    if (got == 0)
        party->paused = pause;
    else
        MUST(got != TCPMSG_EINVAL);
}

static void ask(struct party *party)
{
    char text[TCPMSG_ADDRESS_MAX];
    const void *view;
    tcpmsg_info info;
    MUST(tcpmsg_recv_view(party->conn, &view, TCPMSG_DONTWAIT) == TCPMSG_EINVAL);
    MUST(tcpmsg_next_length(party->conn) == TCPMSG_EINVAL);
    MUST(tcpmsg_conn_info(party->conn, &info, sizeof info) == 0);
    int peer = tcpmsg_conn_peer(party->conn, text, sizeof text);
    MUST(peer == 0 || peer == TCPMSG_ECANCELED);
    MUST(tcpmsg_conn_why(party->conn));
    MUST(tcpmsg_loop_add(party->hall->loop, party->conn, &party_callbacks, party) < 0);
}

void party_act(struct party *party)
{
    if (!party->conn)
        return;
    switch (take(&party->hall->input) % 16) {
    case 1:
    case 2:
    case 3:
    case 4:
        send_message(party);
        break;
    case 5:
        party->closing = true;
        MUST(tcpmsg_close(party->conn) == 0);
        break;
    case 6:
        party->aborted = true;
        tcpmsg_abort(party->conn);
        break;
    case 7:
        pause_or_resume(party, true);
        break;
    case 8:
    case 9:
        pause_or_resume(party, false);
        break;
    case 10:
        tcpmsg_shutdown(party->conn);
        party->shut = true;
        break;
    case 11:
        tcpmsg_flush(party->conn, 0);
        break;
    case 12:
        if (!party->held)
            tcpmsg_conn_ref(party->conn);
        party->held = true;
        break;
    case 13:
        party->hall->stopped = true;
        tcpmsg_loop_stop(party->hall->loop);
        break;
    case 14:
        ask(party);
        break;
    default:
        break; /* most callbacks do nothing */
    }
}

static void enter(struct party *party)
{
    MUST(!party->inside && !party->over);
    party->inside = true;
}

static void on_open(tcpmsg_conn *conn, void *arg)
{
    struct party *party = arg;
    enter(party);
    MUST(!party->opened && (!party->conn || party->conn == conn));
    party->conn = conn;
    party->opened = true;
    party_act(party);
    party->inside = false;
}

static void on_message(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    struct party *party = arg;
    enter(party);
    MUST(party->opened && party->conn == conn && message);
    MUST(!party->paused && !party->closing && !party->aborted);
    if (party->known) {
        uint64_t wanted = 0;
        size_t left = party->written - party->taken;
        int size = model_decode(&party->hall->model, party->from + party->taken, left, &wanted);
        MUST(size > 0 && length == wanted && wanted <= left - (size_t)size);
        party->taken += (size_t)size;
        MUST(memcmp(message, party->from + party->taken, length) == 0);
        party->taken += length;
    }
    party_act(party);
    party->inside = false;
}

static void on_drain(tcpmsg_conn *conn, void *arg)
{
    struct party *party = arg;
    enter(party);
    MUST(party->opened && party->conn == conn && party->refused);
    party->refused = false;
    party_act(party);
    party->inside = false;
}

static void check_why(const struct party *party, int why)
{
    if (why == TCPMSG_ECANCELED)
        MUST(party->aborted || party->hall->stopped);
    else if (why == 0 || why == TCPMSG_ETIMEDOUT)
        MUST(party->closing || (party->dials && !party->opened));
    else if (!party->known)
        MUST(why < 0);
    else if (why == TCPMSG_ERESET)
        MUST(party->closed);
    else if (why == TCPMSG_EOF && party->closing) /* it was on its way already */
        MUST(party->ended);
    else
        MUST(why == end_of(party));
}

static void on_close(tcpmsg_conn *conn, int why, void *arg)
{
    struct party *party = arg;
    enter(party);
    MUST((party->opened || party->dials) && (!party->conn || party->conn == conn));
    check_why(party, why);
    MUST(tcpmsg_conn_why(conn)[0] != '\0');
    party->conn = conn;
    party->over = true;
    party->why = why;
    party->roomy = party->promised - party->seen < ROOMY;
    party_act(party);
    party->inside = false;
    if (!party->held)
        party->conn = NULL;
}

const tcpmsg_callbacks party_callbacks = {
    .size = sizeof(tcpmsg_callbacks),
    .on_open = on_open,
    .on_message = on_message,
    .on_drain = on_drain,
    .on_close = on_close,
};

/* Of a connection that came in by itself: its party is found, or made, when it opens. */
static void guest_open(tcpmsg_conn *conn, void *arg)
{
    struct party *party = party_new(arg);
    tcpmsg_conn_set_data(conn, party);
    if (party)
        on_open(conn, party);
    else
        tcpmsg_close(conn);
}

static void guest_message(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    (void)arg;
    MUST(tcpmsg_conn_data(conn));
    on_message(conn, message, length, tcpmsg_conn_data(conn));
}

static void guest_drain(tcpmsg_conn *conn, void *arg)
{
    (void)arg;
    on_drain(conn, tcpmsg_conn_data(conn));
}

static void guest_close(tcpmsg_conn *conn, int why, void *arg)
{
    (void)arg;
    if (tcpmsg_conn_data(conn))
        on_close(conn, why, tcpmsg_conn_data(conn));
}

const tcpmsg_callbacks guest_callbacks = {
    .size = sizeof(tcpmsg_callbacks),
    .on_open = guest_open,
    .on_message = guest_message,
    .on_drain = guest_drain,
    .on_close = guest_close,
};
