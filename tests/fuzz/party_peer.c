/* SPDX-License-Identifier: MIT */
#include "party.h"

#include <string.h>
#include <sys/socket.h>

/* As much as the socket takes; the rest is never said. */
static void write_row(struct party *party, const uint8_t *row, size_t count)
{
    if (party->raw < 0 || party->ended || count > ROW_MOST - party->written || count == 0)
        return;
    ssize_t n = send(party->raw, row, count, MSG_NOSIGNAL);
    if (n > 0) {
        memcpy(party->from + party->written, row, (size_t)n);
        party->written += (size_t)n;
    }
}

void party_writes(struct party *party, bool literally)
{
    struct input *input = &party->hall->input;
    uint8_t prefix[TCPMSG_PREFIX_MAX];
    size_t count;
    if (literally) {
        const uint8_t *row = take_row(input, take(input) % 32, &count);
        write_row(party, row, count);
        return;
    }
    const uint8_t *message = ground_bytes(take(input));
    size_t length = take_length(input, ROW_MOST);
    int size = model_encode(&party->hall->model, length, prefix);
    if (size > 0 && length + (size_t)size <= ROW_MOST - party->written) {
        write_row(party, prefix, (size_t)size);
        write_row(party, message, length);
    }
}

/* All there is: each byte is the next one that was promised. */
void party_reads(struct party *party)
{
    static uint8_t bytes[65536];
    ssize_t n;
    while (party->raw >= 0 && (n = recv(party->raw, bytes, sizeof bytes, 0)) > 0) {
        MUST((size_t)n <= party->promised - party->seen);
        MUST(memcmp(bytes, party->to + party->seen, (size_t)n) == 0);
        party->seen += (size_t)n;
    }
}

void party_ends(struct party *party)
{
    if (party->raw >= 0)
        shutdown(party->raw, SHUT_WR);
    party->ended = party->known;
}

void party_closes(struct party *party)
{
    if (party->raw >= 0)
        ground_close(party->raw, party->tcp);
    party->raw = -1;
    party->ended = party->closed = party->known;
}

void party_check_told(const struct party *party)
{
    uint64_t length;
    bool alive = party->opened && !party->over && !party->closing && !party->aborted;
    if (!alive || !party->known || party->tcp || party->closed)
        return;
    MUST(!party->refused || party->shut); /* on_drain has come */
    if (party->paused)
        return;
    size_t left = party->written - party->taken;
    int size = model_decode(&party->hall->model, party->from + party->taken, left, &length);
    MUST(size >= 0 && !party->ended);
    MUST(size == 0 || length > left - (size_t)size);
}

void party_finish(struct party *party)
{
    if (party->opened)
        MUST(party->over);
    party_reads(party);
    if (party->raw >= 0 && (party->why == 0 || (party->why == TCPMSG_EOF && party->roomy)) &&
        party->over)
        MUST(party->seen == party->promised);
    if (party->raw >= 0)
        ground_close(party->raw, party->tcp);
    if (!party->held)
        return;
    MUST(party->over && tcpmsg_conn_fd(party->conn) == -1);
    MUST(tcpmsg_send(party->conn, "x", 1, 0) < 0 && tcpmsg_pause(party->conn) < 0);
    MUST(tcpmsg_close(party->conn) == 0);
    tcpmsg_conn_unref(party->conn);
}
