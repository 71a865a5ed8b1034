/* SPDX-License-Identifier: MIT */
/* One busy connection holds its thread for a bounded amount of work, and then the others have
 * their turn: counted in the busy one's messages, not in time. */
#define _GNU_SOURCE
#include "guest.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the busy one may have between a message that has arrived and its delivery: some turns. */
#define BOUND MIB

enum { PINGS = 100 };

static atomic_size_t flooded; /* bytes of the busy one that have been delivered */
static atomic_size_t flooded_at_ping;

static void count_flood(struct seen *seen, const void *message, size_t length)
{
    if (length == 4 && memcmp(message, "ping", 4) == 0) {
        atomic_store(&flooded_at_ping, atomic_load(&flooded));
        echo.on_message(seen, message, length);
    } else {
        atomic_fetch_add(&flooded, length + 4);
    }
}

static const struct acts counting = {.on_message = count_flood};

struct flood {
    struct call call;
    struct wire block;
};

static ssize_t flood(struct call *call)
{
    const struct flood *flood = (struct flood *)(void *)call;
    while (!atomic_load(&call->stop) &&
           write_all(call->raw, flood->block.bytes, flood->block.count))
        continue;
    return 0;
}

static void flood_start(struct flood *flooder, struct looper *looper, size_t length)
{
    memset(flooder, 0, sizeof *flooder);
    flooder->call.body = flood;
    for (uint32_t i = 0; i < 256 * 1024 / (length + 4); i++)
        wire_add_filled(&flooder->block, NULL, length, i);
    flooder->call.raw = looper_guest(looper, NULL);
    call_start(&flooder->call);
}

static void flood_end(struct flood *flooder)
{
    atomic_store(&flooder->call.stop, true);
    call_finish(&flooder->call);
    close(flooder->call.raw);
    wire_free(&flooder->block);
}

static struct looper *forgetful(const struct acts *acts)
{
    struct looper *looper = looper_open(NULL);
    looper->forgetful = true;
    looper_listen(looper, TCP, acts, NULL);
    looper_start(looper);
    return looper;
}

static bool floods(void *before)
{
    return atomic_load(&flooded) > *(size_t *)before + MIB;
}

/* Written is arrived, on a loopback: from then on the busy one has its bound. */
static void a_flood_does_not_keep_the_others_waiting(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 1000, 60000};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        struct looper *looper = forgetful(&counting);
        struct flood flooders[2];
        size_t worst = 0;
        int raw = looper_guest(looper, NULL);
        for (int f = 0; f < 2; f++)
            flood_start(&flooders[f], looper, lengths[i]);
        size_t before = atomic_load(&flooded);
        assert_true(eventually(floods, &before));
        for (int ping = 0; ping < PINGS; ping++) {
            assert_true(raw_send(raw, "ping"));
            size_t arrived = atomic_load(&flooded);
            assert_true(raw_gets(raw, "ping"));
            size_t delivered = atomic_load(&flooded_at_ping);
            if (delivered > arrived && delivered - arrived > worst)
                worst = delivered - arrived;
        }
        for (int f = 0; f < 2; f++)
            flood_end(&flooders[f]);
        print_message("%zu bytes each: %zu bytes of two floods at most\n", lengths[i], worst);
        assert_true(worst <= 2 * BOUND);
        close(raw);
        looper_finish(looper);
    }
}

/* Both are ready before the loop looks; the busy one has all that its socket can hold. */
static void what_has_piled_up_is_not_all_taken_first(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct looper *looper = forgetful(&counting);
        struct wire wire = {0};
        int raws[2], bytes = 4 * 1024 * 1024;
        for (uint32_t i = 0; i < 4 * MIB / 5; i++)
            wire_add_filled(&wire, NULL, 1, i);
        for (int i = 0; i < 2; i++) {
            struct seen *seen;
            raws[i] = looper_guest(looper, &seen);
            setsockopt(tcpmsg_conn_fd(seen->conn), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
        }
        looper_hold(looper);
        size_t before = atomic_load(&flooded), at = 0;
        for (ssize_t wrote; (wrote = send(raws[order], wire.bytes + at, wire.count - at,
                                          MSG_DONTWAIT | MSG_NOSIGNAL)) > 0;)
            at += (size_t)wrote;
        assert_true(raw_send(raws[1 - order], "ping"));
        looper_go_on(looper);
        assert_true(raw_gets(raws[1 - order], "ping"));
        size_t delivered = atomic_load(&flooded_at_ping) - before;
        print_message("%zu of %zu bytes first\n", delivered, at);
        assert_true(delivered <= BOUND);
        for (int i = 0; i < 2; i++)
            close(raws[i]);
        wire_free(&wire);
        looper_finish(looper);
    }
}

static atomic_int posted;

static void note_post(void *arg)
{
    (void)arg;
    atomic_fetch_add(&posted, 1);
}

/* Nor posts, nor timers, nor newcomers. */
static void a_flood_holds_up_nothing_else(void **state)
{
    (void)state;
    struct looper *looper = forgetful(&counting);
    struct flood flooder;
    flood_start(&flooder, looper, 1);
    for (int i = 0; i < 20; i++) {
        int before = atomic_load(&posted);
        assert_int_equal(tcpmsg_loop_post(looper->loop, note_post, NULL), 0);
        assert_int_equal(tcpmsg_loop_after(looper->loop, 2, note_post, NULL), 0);
        assert_true(reaches(&posted, before + 2));
        int raw = looper_guest(looper, NULL);
        assert_true(raw_send(raw, "ping") && raw_gets(raw, "ping"));
        close(raw);
    }
    flood_end(&flooder);
    looper_finish(looper);
}

/* Two that answer each other without end, in the loop's own callbacks, leave room as well. */
static void two_that_chatter_without_end_harm_nobody(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    tcpmsg_conn *one, *other;
    looper->forgetful = true;
    looper_listen(looper, TCP, &echo, NULL);
    pair_conns_unix(&one, &other, NULL);
    for (int i = 0; i < 100; i++)
        assert_int_equal(tcpmsg_send(one, "chatter", 7, 0), 0);
    assert_int_equal(looper_add(looper, one, &echo), 0);
    assert_int_equal(looper_add(looper, other, &echo), 0);
    looper_start(looper);
    struct seen *seen = looper_seen(looper, 1);
    seen_messages(seen, 1000);
    int raw = looper_guest(looper, NULL);
    for (int i = 0; i < 100; i++)
        assert_true(raw_send(raw, "ping") && raw_gets(raw, "ping"));
    close(raw);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flood_does_not_keep_the_others_waiting),
        cmocka_unit_test(what_has_piled_up_is_not_all_taken_first),
        cmocka_unit_test(a_flood_holds_up_nothing_else),
        cmocka_unit_test(two_that_chatter_without_end_harm_nobody),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
