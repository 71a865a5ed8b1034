/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "races.h"

#include <stdlib.h>

#include "rounds.h"
#include "sentinels.h"

struct looper *looper;

void end_looper(void)
{
    if (looper)
        looper_finish(looper);
    looper = NULL;
}

static struct {
    long allocations;
    int descriptors;
} before;

static bool nothing_is_left(void *unused)
{
    (void)unused;
    return allocations() == before.allocations && open_descriptors() == before.descriptors;
}

static unsigned first_seed(void)
{
    const char *text = getenv("TESTS_SEED");
    return text ? (unsigned)strtoul(text, NULL, 10) : 1;
}

/* Rounds until so many calls have been made. */
void race(void (*round)(unsigned *seed), long everyday)
{
    long calls = test_rounds(SANITIZED ? everyday / 4 : everyday), rounds = 0;
    unsigned seed = first_seed();
    before.allocations = allocations();
    before.descriptors = open_descriptors();
    tally_begin();
    crew_begin(seed);
    sentinels_begin();
    for (; tallied() < calls; rounds++)
        round(&seed);
    crew_end();
    end_looper();
    sentinels_end();
    print_message("%ld rounds: ", rounds);
    tally_print();
    if (!eventually(nothing_is_left, NULL))
        fail_msg("%ld allocations and %d descriptors are left", allocations() - before.allocations,
                 open_descriptors() - before.descriptors);
}

void send_some(tcpmsg_conn *conn, unsigned *seed, int flags)
{
    static const uint8_t bytes[70000];
    size_t length = chance(seed, 12) ? chance(seed, 200) : sizeof bytes;
    const struct iovec parts[] = {{(void *)bytes, length / 2},
                                  {(void *)bytes, length - length / 2}};
    flags |= chance(seed, 4) ? 0 : TCPMSG_MORE;
    tally(SENDS);
    if (chance(seed, 3))
        (void)!tcpmsg_send(conn, bytes, length, flags);
    else
        (void)!tcpmsg_sendv(conn, parts, COUNT(parts), flags);
}

void receive_some(tcpmsg_conn *conn, unsigned *seed, int flags)
{
    uint8_t bytes[300];
    const void *view;
    flags |= chance(seed, 4) ? 0 : TCPMSG_PEEK;
    tally(RECEIVES);
    if (chance(seed, 3))
        (void)!tcpmsg_recv(conn, bytes, chance(seed, 5) ? sizeof bytes : 1, flags);
    else
        (void)!tcpmsg_recv_view(conn, &view, flags);
}

void ask_some(tcpmsg_conn *conn, unsigned *seed, int flags)
{
    char text[TCPMSG_ADDRESS_MAX];
    tcpmsg_info info;
    tally(OTHERS);
    switch (chance(seed, 10)) {
    case 0:
        (void)tcpmsg_flush(conn, flags);
        break;
    case 1: /* which may wait */
        if (!(flags & TCPMSG_DONTWAIT))
            (void)tcpmsg_shutdown(conn);
        break;
    case 2:
        (void)tcpmsg_conn_info(conn, &info, sizeof info);
        break;
    case 3:
        (void)tcpmsg_conn_local(conn, text, sizeof text);
        break;
    case 4:
        (void)tcpmsg_conn_peer(conn, text, sizeof text);
        break;
    case 5:
        (void)tcpmsg_conn_set_timeouts(conn, 1 + (int)chance(seed, 3), 1 + (int)chance(seed, 3));
        break;
    case 6:
        (void)tcpmsg_pause(conn);
        break;
    case 7:
        (void)tcpmsg_resume(conn);
        break;
    case 8:
        (void)tcpmsg_next_length(conn);
        break;
    default:
        (void)(tcpmsg_conn_events(conn) + tcpmsg_conn_fd(conn) + *tcpmsg_conn_why(conn));
    }
}

void close_it(tcpmsg_conn *conn)
{
    tally(CLOSES);
    (void)tcpmsg_close(conn);
}

void abort_it(tcpmsg_conn *conn)
{
    tally(ABORTS);
    tcpmsg_abort(conn);
}

static void answer_somehow(struct seen *seen, const void *message, size_t length)
{
    if (length % 5 != 4)
        (void)seen_send(seen, message, length, length % 3 ? 0 : TCPMSG_MORE);
    if (length % 19 == 18)
        (void)tcpmsg_pause(seen->conn);
    if (length % 23 == 22)
        (void)tcpmsg_close(seen->conn);
    if (length % 47 == 46)
        tcpmsg_abort(seen->conn);
}

const struct acts somehow = {.on_message = answer_somehow};
