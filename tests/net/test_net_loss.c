/* SPDX-License-Identifier: MIT */
/* Messages over a cable that loses, doubles, overtakes and is slow: each arrives whole, in order,
 * and once. */
#include "looper.h"
#include "net.h"
#include "rounds.h"

#include <string.h>
#include <unistd.h>

/* Each way. TESTS_ROUNDS has more of them. */
#define MESSAGES 300
#define LONGEST 120000

#define SEED 20240607u

static int messages;

/* Of every size: none, few, about a segment, about a buffer, and large ones seldom. */
static size_t size_of(uint32_t number)
{
    uint32_t random = number * 2654435761u >> 8;
    switch (number % 8) {
    case 0:
        return random % 3;
    case 1:
        return 1440 + random % 16;
    case 2:
        return 16 * KIB - 8 + random % 16;
    case 3:
        return random % 25 == 0 ? LONGEST - random % 9 : random % 5000;
    default:
        return random % 300;
    }
}

static ssize_t send_all(struct call *call)
{
    static _Thread_local uint8_t message[LONGEST];
    for (int i = 0; i < messages; i++) {
        uint32_t number = call->seed + (uint32_t)i;
        fill(message, size_of(number), number);
        int error = tcpmsg_send(call->conn, message, size_of(number), 0);
        if (error != 0)
            return error;
    }
    return 0;
}

/* How many have come as they were sent, until one has not. */
static ssize_t receive_all(struct call *call)
{
    for (int i = 0; i < messages; i++) {
        const void *message;
        uint32_t number = call->seed + (uint32_t)i;
        ssize_t length = tcpmsg_recv_view(call->conn, &message, 0);
        if (length < 0)
            return length;
        if ((size_t)length != size_of(number) || !is_filled(message, (size_t)length, number))
            return i;
    }
    return messages;
}

static void print_counts(const struct cable *cable, const char *what, int64_t began)
{
    struct cable_counts counts = cable_counts();
    assert_true(cable->lost == 0 || counts.lost > 0);
    assert_true(cable->twice == 0 || counts.twice > 0);
    assert_true(cable->late == 0 || counts.late > 0);
    print_message("%s: %d messages each way in %d ms; of %ld segments %ld lost, %ld doubled, %ld "
                  "overtaken\n",
                  what, messages, (int)(now_ms() - began), counts.carried, counts.lost,
                  counts.twice, counts.late);
}

static void end_both(tcpmsg_conn *here, tcpmsg_conn *there)
{
    struct call last = {.conn = here, .body = receive_all};
    assert_int_equal(tcpmsg_shutdown(there), 0);
    assert_code(receive_all(&last), TCPMSG_EOF);
    assert_int_equal(tcpmsg_close(here), 0);
    assert_int_equal(tcpmsg_close(there), 0);
}

/* A close on a bad cable may need longer than usual to know. */
static const tcpmsg_options patient = {
    .size = sizeof patient,
    .linger_ms = 30000,
};

static void both_ways(const struct cable *cable, const char *what)
{
    tcpmsg_conn *here, *there;
    int64_t began = now_ms();
    cable_set(cable);
    net_pair(&here, &there, &patient);
    struct call calls[] = {
        {.body = receive_all, .conn = here, .seed = SEED},
        {.body = receive_all, .conn = there, .seed = 7 * SEED},
        {.body = send_all, .conn = here, .seed = 7 * SEED},
        {.body = send_all, .conn = there, .seed = SEED},
    };
    for (size_t i = 0; i < COUNT(calls); i++)
        call_start(&calls[i]);
    for (size_t i = 0; i < COUNT(calls); i++)
        assert_int_equal(call_finish(&calls[i]), i < 2 ? messages : 0);
    print_counts(cable, what, began);
    end_both(here, there);
}

static void echoed(const struct cable *cable, const char *what)
{
    tcpmsg_conn *here, *there;
    struct looper *looper = looper_open(TCPMSG_LOOP_OPTIONS(.high_water = 256 * MIB));
    int64_t began = now_ms();
    cable_set(cable);
    net_pair(&here, &there, &patient);
    assert_int_equal(looper_add(looper, there, &echo), 0);
    looper_start(looper);
    struct call receiving = {.body = receive_all, .conn = here, .seed = SEED};
    struct call sending = {.body = send_all, .conn = here, .seed = SEED};
    call_start(&receiving);
    call_start(&sending);
    assert_int_equal(call_finish(&receiving), messages);
    assert_int_equal(call_finish(&sending), 0);
    print_counts(cable, what, began);
    assert_int_equal(tcpmsg_close(here), 0);
    assert_code(seen_end(looper_seen(looper, 0)), TCPMSG_EOF);
    looper_finish(looper);
}

static void promise_1_lost_segments_lose_no_message(void **state)
{
    (void)state;
    both_ways(&(struct cable){.lost = 5, .delay_ms = 1}, "5% lost");
    echoed(&(struct cable){.lost = 5, .delay_ms = 1, .seed = 11}, "5% lost, a loop's echo");
}

static void promise_1_doubled_and_overtaken_segments_change_nothing(void **state)
{
    (void)state;
    const struct cable cable = {.twice = 10, .late = 10, .late_ms = 8};
    both_ways(&cable, "10% doubled, 10% late");
    echoed(&cable, "10% doubled, 10% late, a loop's echo");
}

static void promise_1_all_of_it_at_once(void **state)
{
    (void)state;
    const struct cable cable = {.lost = 10, .twice = 10, .late = 10, .late_ms = 8, .delay_ms = 2};
    both_ways(&cable, "10% lost, doubled and late");
    echoed(&cable, "10% lost, doubled and late, a loop's echo");
}

static void promise_1_a_slow_cable_only_takes_its_time(void **state)
{
    (void)state;
    const struct cable cable = {.bytes_per_ms = 500, .delay_ms = 20};
    both_ways(&cable, "500 kB/s, 20 ms");
    echoed(&cable, "500 kB/s, 20 ms, a loop's echo");
}

/* Where the way gets narrower only behind the first router, ICMP tells (RFC 1191). */
static void promise_1_a_way_with_a_smaller_MTU_loses_no_message(void **state)
{
    (void)state;
    both_ways(&(struct cable){.longest = 700}, "packets of at most 700 bytes");
    assert_in_range(cable_counts().too_long, 2, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(promise_1_lost_segments_lose_no_message, net_mend),
        cmocka_unit_test_setup(promise_1_doubled_and_overtaken_segments_change_nothing, net_mend),
        cmocka_unit_test_setup(promise_1_all_of_it_at_once, net_mend),
        cmocka_unit_test_setup(promise_1_a_slow_cable_only_takes_its_time, net_mend),
        cmocka_unit_test_setup(promise_1_a_way_with_a_smaller_MTU_loses_no_message, net_mend),
    };
    net_open();
    messages = (int)test_rounds(MESSAGES);
    if (!is_soak())
        alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
