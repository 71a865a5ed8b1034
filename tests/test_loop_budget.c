/* SPDX-License-Identifier: MIT */
/* Promise 4 in a loop: what half-received messages hold, alone and together; and who pays. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A thousand peers that claim the largest message and send nothing of it. */
static void promise_4_a_crowd_of_claims_costs_next_to_nothing(void **state)
{
    (void)state;
    enum { MOST = 1000 };
    static int raws[MOST];
    int crowd = raise_descriptors() / 2 - 100;
    crowd = crowd < MOST ? crowd : MOST;
    struct looper *looper = looper_open(NULL);
    looper->forgetful = true;
    looper_listen(looper, TCP, &echo, NULL);
    looper_start(looper);
    int good = looper_guest(looper, NULL);
    for (int i = 0; i < crowd; i++)
        assert_true((raws[i] = raw_reach(looper->address)) >= 0);
    assert_true(reaches(&looper->count, crowd + 1));
    size_t before = resident_bytes(), allocated = allocated_bytes();
    for (int i = 0; i < crowd; i++)
        assert_true(write_all(raws[i], "\1\0\0\0few bytes", 13));
    looper_settle(looper);
    for (uint32_t i = 0; i < 20; i++) {
        assert_true(raw_send_filled(good, 100000, i));
        assert_true(raw_gets_filled(good, 100000, i));
    }
    size_t after = resident_bytes();
    print_message("%d claims of 16 MiB: %zu bytes resident each, %zu allocated\n", crowd,
                  (after - before) / (size_t)crowd,
                  (allocated_bytes() - allocated) / (size_t)crowd);
    if (!SANITIZED)
        assert_true(after < before + (size_t)crowd * 4 * KIB + 4 * MIB);
    for (int i = 0; i < crowd; i++)
        close(raws[i]);
    for (int i = 0; i < crowd; i++)
        assert_code(seen_end(looper_seen(looper, i + 1)), TCPMSG_ETRUNCATED);
    close(good);
    looper_finish(looper);
}

/* As much as the peer's system takes without waiting. */
static size_t push(int raw, const struct wire *wire, size_t at, size_t most)
{
    size_t end = wire->count - at < most ? wire->count : at + most;
    while (at < end) {
        ssize_t wrote = send(raw, wire->bytes + at, end - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (wrote <= 0)
            break;
        at += (size_t)wrote;
    }
    return at;
}

enum { GREEDY = 16 };

/* All push their giants side by side until nobody gets on any more, or all is sent. */
static void push_all(const int *raws, const struct wire *wire, size_t *at, int count)
{
    for (int stuck = 0; stuck < 30;) {
        size_t moved = 0;
        for (int i = 0; i < count; i++) {
            size_t now = push(raws[i], wire, at[i], 64 * KIB);
            moved += now - at[i];
            at[i] = now;
        }
        stuck = moved > 0 ? 0 : stuck + 1;
        sleep_ms(moved > 0 ? 0 : 10);
    }
}

/* 16 giants of 1 MiB side by side, with a budget of 2 MiB: all are held to it, and a small one is
 * served among them; when they have gone, each has had its true end. */
static void promise_4_the_budget_is_for_all_of_them_together(void **state)
{
    (void)state;
    struct looper *looper =
        looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.memory_budget = 2 * MIB), NULL);
    struct wire wire = {0};
    int raws[GREEDY], good = looper_guest(looper, NULL);
    size_t at[GREEDY] = {0};
    wire_add_filled(&wire, NULL, MIB, 1);
    wire.count -= 1; /* they never finish it */
    for (int i = 0; i < GREEDY; i++)
        raws[i] = looper_guest(looper, NULL);
    assert_true(raw_send(good, "warm") && raw_gets(good, "warm"));
    size_t before = allocated_bytes();
    push_all(raws, &wire, at, GREEDY);
    size_t held = allocated_bytes() - before;
    print_message("a budget of %zu KiB: %zu KiB held\n", 2 * KIB, held / KIB);
    if (!SANITIZED)
        assert_true(held < 4 * MIB);
    for (uint32_t i = 0; i < 20; i++)
        assert_true(raw_send_filled(good, 20000, i) && raw_gets_filled(good, 20000, i));
    for (int i = 0; i < GREEDY; i++)
        shutdown(raws[i], SHUT_WR);
    for (int i = 0; i < GREEDY; i++) {
        assert_code(seen_end(looper_seen(looper, i + 1)), TCPMSG_ETRUNCATED);
        close(raws[i]);
    }
    assert_true(raw_send(good, "still") && raw_gets(good, "still"));
    close(good);
    wire_free(&wire);
    looper_finish(looper);
}

struct sender {
    struct call call;
    const struct wire *wire;
};

static ssize_t write_wire(struct call *call)
{
    const struct sender *sender = (struct sender *)(void *)call;
    return write_all(call->raw, sender->wire->bytes, sender->wire->count);
}

static ssize_t write_all_and_end(struct call *call)
{
    ssize_t written = write_wire(call);
    shutdown(call->raw, SHUT_WR);
    return written;
}

/* Together they want seven times the budget; each alone fits. Nobody is cut off, all get on. */
static void over_the_budget_everybody_gets_on_in_the_end(void **state)
{
    (void)state;
    for (enum transport transport = 0; transport < TRANSPORTS; transport++) {
        struct looper *looper =
            looper_serve(transport, &echo, TCPMSG_LOOP_OPTIONS(.memory_budget = MIB), NULL);
        struct sender senders[GREEDY];
        struct reader readers[GREEDY] = {0};
        struct wire wire = {0};
        for (uint32_t i = 0; i < 3; i++)
            wire_add_filled(&wire, NULL, 900 * KIB, i);
        looper_hold(looper);
        for (int i = 0; i < GREEDY; i++) {
            senders[i] = (struct sender){.call = {.body = write_all_and_end}, .wire = &wire};
            assert_true((senders[i].call.raw = raw_reach(looper->address)) >= 0);
            reader_start(&readers[i], senders[i].call.raw);
            call_start(&senders[i].call);
        }
        looper_go_on(looper);
        for (int i = 0; i < GREEDY; i++) {
            reader_finish(&readers[i]);
            assert_int_equal(readers[i].end, 0);
            assert_true(wire_equal(&readers[i].got, &wire));
            assert_int_equal(call_finish(&senders[i].call), true);
            wire_free(&readers[i].got);
            close(senders[i].call.raw);
        }
        wire_free(&wire);
        looper_finish(looper);
    }
}

/* One message may be larger than the budget for all. */
static void a_message_over_the_budget_still_arrives(void **state)
{
    (void)state;
    struct looper *looper =
        looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.memory_budget = 100000), NULL);
    struct wire wire = {0};
    int raw = looper_guest(looper, NULL);
    wire_add_filled(&wire, NULL, 3 * MIB, 1);
    wire_add_filled(&wire, NULL, 10, 2);
    expect_echo(raw, &wire, 70000);
    close(raw);
    wire_free(&wire);
    looper_finish(looper);
}

enum { HOLDERS = 4 };

/* Not read from because of the others: that is not its fault, and its clock stands still. Those
 * who hold the budget and stop sending are stalled by theirs, one after the other, and then it
 * gets on. */
static void the_clocks_free_a_budget_that_is_held(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.memory_budget = MIB),
                                         TCPMSG_OPTIONS(.message_timeout_ms = 1500));
    struct wire wire = {0};
    struct sender sender = {.call = {.body = write_wire}, .wire = &wire};
    int raws[HOLDERS];
    size_t at[HOLDERS] = {0};
    wire_add_filled(&wire, NULL, 900 * KIB, 1);
    for (int i = 0; i < HOLDERS; i++)
        raws[i] = looper_guest(looper, NULL);
    wire.count -= 1;
    push_all(raws, &wire, at, HOLDERS);
    wire.count += 1;
    sender.call.raw = looper_guest(looper, NULL);
    call_start(&sender.call);
    assert_true(raw_gets_filled(sender.call.raw, 900 * KIB, 1));
    assert_int_equal(call_finish(&sender.call), true);
    for (int i = 0; i < HOLDERS; i++)
        close(raws[i]);
    close(sender.call.raw);
    looper_finish(looper);
    wire_free(&wire);
}

/* What a giant took goes back, but for what a thread keeps for the next one: 1 MiB each way. */
static void promise_4_memory_goes_back_after_a_giant(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    looper->forgetful = true;
    looper_listen(looper, TCP, &echo, NULL);
    looper_start(looper);
    int raw = looper_guest(looper, NULL);
    assert_true(raw_send_filled(raw, 1000, 0) && raw_gets_filled(raw, 1000, 0));
    size_t before = allocated_bytes();
    for (uint32_t i = 0; i < 3; i++)
        assert_true(raw_send_filled(raw, 12 * MIB, i) && raw_gets_filled(raw, 12 * MIB, i));
    assert_true(raw_send(raw, "small") && raw_gets(raw, "small"));
    looper_settle(looper);
    size_t after = allocated_bytes();
    print_message("after giants: %zd bytes more\n", (ssize_t)(after - before));
    if (!SANITIZED)
        assert_true(after < before + 2 * MIB + 64 * KIB);
    close(raw);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_4_a_crowd_of_claims_costs_next_to_nothing),
        cmocka_unit_test(promise_4_the_budget_is_for_all_of_them_together),
        cmocka_unit_test(over_the_budget_everybody_gets_on_in_the_end),
        cmocka_unit_test(a_message_over_the_budget_still_arrives),
        cmocka_unit_test(the_clocks_free_a_budget_that_is_held),
        cmocka_unit_test(promise_4_memory_goes_back_after_a_giant),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
