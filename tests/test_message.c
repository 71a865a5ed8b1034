/* SPDX-License-Identifier: MIT */
/* A message on its way out: whatever the steps it leaves in, its bytes leave once and in order. */
#define _POSIX_C_SOURCE 200809L
#include "message.h"
#include "support.h"

#include <string.h>
#include <unistd.h>

static char payload[] = "abcdefghij";

/* The same behind its prefix: what leaves, byte by byte. */
static const char whole[] = {'\x80', '\x01', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'};

enum { SIZE = sizeof whole, PARTS = 7 };

/* Ten bytes in seven parts, some of them empty, two of them nowhere. */
static const struct iovec parts[PARTS] = {
    {payload, 0},     {payload, 3},     {NULL, 0}, {payload + 3, 1},
    {payload + 4, 0}, {payload + 4, 6}, {NULL, 0},
};

static tm_message new_message(void)
{
    return (tm_message){
        .parts = parts, .count = PARTS, .length = 10, .prefix_len = 2, .prefix = {0x80, 0x01}};
}

/* Puts together what tm_message_rest describes; no part of it is empty. */
static size_t gather(const struct iovec *from, int count, char *to)
{
    size_t sum = 0;
    for (int i = 0; i < count; i++) {
        assert_true(from[i].iov_len > 0 && sum + from[i].iov_len <= SIZE);
        memcpy(to + sum, from[i].iov_base, from[i].iov_len);
        sum += from[i].iov_len;
    }
    return sum;
}

static void expect_rest(const tm_message *message, size_t sent)
{
    struct iovec rest[PARTS + 1];
    char bytes[SIZE];
    int count = tm_message_rest(message, rest, PARTS + 1);
    assert_int_equal(message->sent, sent);
    assert_int_equal(gather(rest, count, bytes), SIZE - sent);
    assert_memory_equal(bytes, whole + sent, SIZE - sent);
    assert_int_equal(tm_message_is_out(message), sent == SIZE);
}

static void its_size_counts_the_prefix(void **state)
{
    (void)state;
    tm_message message = new_message();
    assert_int_equal(tm_message_size(&message), SIZE);
}

static void it_leaves_in_two_steps_wherever_the_seam_is(void **state)
{
    (void)state;
    for (size_t first = 0; first <= SIZE; first++) {
        tm_message message = new_message();
        expect_rest(&message, 0);
        tm_message_advance(&message, first);
        expect_rest(&message, first);
        tm_message_advance(&message, SIZE - first);
        expect_rest(&message, SIZE);
    }
}

static void it_leaves_in_steps_of_any_size(void **state)
{
    (void)state;
    for (size_t step = 1; step <= SIZE; step++) {
        tm_message message = new_message();
        for (size_t sent = 0; sent < SIZE;) {
            size_t now = step < SIZE - sent ? step : SIZE - sent;
            tm_message_advance(&message, now);
            sent += now;
            expect_rest(&message, sent);
        }
    }
}

/* A system call takes only so many parts: they describe the beginning of the rest. */
static void few_parts_describe_the_beginning_of_the_rest(void **state)
{
    (void)state;
    for (size_t sent = 0; sent < SIZE; sent++) {
        for (int most = 1; most <= PARTS; most++) {
            tm_message message = new_message();
            struct iovec rest[PARTS];
            char bytes[SIZE];
            tm_message_advance(&message, sent);
            int count = tm_message_rest(&message, rest, most);
            assert_true(count >= 1 && count <= most);
            size_t described = gather(rest, count, bytes);
            assert_memory_equal(bytes, whole + sent, described);
        }
    }
}

static void its_rest_can_be_kept_wherever_it_was_left(void **state)
{
    (void)state;
    for (size_t sent = 0; sent <= SIZE; sent++) {
        tm_message message = new_message();
        uint8_t place[SIZE + 1];
        memset(place, '<', sizeof place);
        tm_message_advance(&message, sent);
        tm_message_keep(&message, place);
        expect_rest(&message, SIZE);
        assert_memory_equal(place, whole + sent, SIZE - sent);
        assert_int_equal(place[SIZE - sent], '<');
    }
}

static void lined_up_it_is_one_row_of_bytes(void **state)
{
    (void)state;
    tm_message message = new_message(), copy;
    uint8_t row[SIZE];
    struct iovec part, rest[2];
    tm_message_line_up(&message, row, &copy, &part);
    assert_memory_equal(row, whole, SIZE);
    assert_int_equal(tm_message_size(&copy), SIZE);
    assert_int_equal(tm_message_rest(&copy, rest, 2), 1);
    expect_rest(&copy, 0);
    expect_rest(&message, 0);
    tm_message_advance(&copy, 5);
    expect_rest(&copy, 5);
}

static void an_empty_message_is_its_prefix(void **state)
{
    (void)state;
    tm_message message = {.prefix_len = 4};
    struct iovec rest[2];
    assert_false(tm_message_is_out(&message));
    assert_int_equal(tm_message_rest(&message, rest, 2), 1);
    assert_int_equal(rest[0].iov_len, 4);
    tm_message_advance(&message, 4);
    assert_true(tm_message_is_out(&message));
    assert_int_equal(tm_message_rest(&message, rest, 2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_size_counts_the_prefix),
        cmocka_unit_test(it_leaves_in_two_steps_wherever_the_seam_is),
        cmocka_unit_test(it_leaves_in_steps_of_any_size),
        cmocka_unit_test(few_parts_describe_the_beginning_of_the_rest),
        cmocka_unit_test(its_rest_can_be_kept_wherever_it_was_left),
        cmocka_unit_test(lined_up_it_is_one_row_of_bytes),
        cmocka_unit_test(an_empty_message_is_its_prefix),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
