/* SPDX-License-Identifier: MIT */
/* Bytes on their way out: the batch that is being written, and the queue behind it. */
#define _GNU_SOURCE
#include "outbox.h"
#include "shortage.h"

#include <unistd.h>

/* A message of a prefix of one byte and a text. */
static tm_message message_of(struct iovec *part, const char *text)
{
    *part = (struct iovec){(void *)(uintptr_t)text, strlen(text)};
    return (tm_message){
        .parts = part, .count = 1, .length = strlen(text), .prefix_len = 1, .prefix = {'#'}};
}

static void add(tm_outbox *box, const char *text)
{
    struct iovec part;
    tm_message message = message_of(&part, text);
    assert_int_equal(tm_outbox_add(box, &message), 0);
    assert_true(tm_message_is_out(&message));
}

static void expect(const tm_buffer *buffer, const char *text)
{
    assert_true(tm_buffer_valid(buffer));
    assert_int_equal(tm_buffer_len(buffer), strlen(text));
    if (strlen(text) > 0)
        assert_memory_equal(tm_buffer_head(buffer), text, strlen(text));
}

static void messages_wait_in_the_queue_in_their_order(void **state)
{
    (void)state;
    tm_outbox box = {0};
    assert_int_equal(tm_outbox_len(&box), 0);
    add(&box, "one");
    add(&box, "");
    add(&box, "two");
    expect(&box.queue, "#one##two");
    expect(&box.batch, "");
    assert_int_equal(tm_outbox_len(&box), 9);
    assert_int_equal(box.accepted, 9);
    assert_int_equal(tm_outbox_position(&box), 0);
    tm_outbox_free(&box);
}

static void the_queue_becomes_the_batch(void **state)
{
    (void)state;
    tm_outbox box = {0};
    add(&box, "one");
    assert_int_equal(tm_outbox_collect(&box), 0);
    expect(&box.batch, "#one");
    expect(&box.queue, "");
    add(&box, "two");
    tm_buffer_consume(&box.batch, 2);
    assert_int_equal(tm_outbox_position(&box), 2);
    assert_int_equal(tm_outbox_collect(&box), 0);
    expect(&box.batch, "ne#two");
    expect(&box.queue, "");
    assert_int_equal(tm_outbox_position(&box), 2);
    tm_buffer_consume(&box.batch, 6);
    assert_int_equal(tm_outbox_position(&box), 8);
    assert_int_equal(tm_outbox_collect(&box), 0);
    assert_int_equal(tm_outbox_len(&box), 0);
    tm_outbox_free(&box);
}

/* The rest of a message that has begun leaves before what was queued meanwhile. */
static void a_rest_goes_before_the_queue(void **state)
{
    (void)state;
    tm_outbox box = {0};
    struct iovec part;
    tm_message message = message_of(&part, "begun");
    assert_int_equal(tm_buffer_reserve(&box.batch, tm_message_size(&message)), 0);
    add(&box, "later");
    tm_message_advance(&message, 3);
    tm_outbox_keep(&box, &message);
    assert_true(tm_message_is_out(&message));
    expect(&box.batch, "gun");
    assert_int_equal(box.accepted, 6 + 3);
    assert_int_equal(tm_outbox_position(&box), 0);
    assert_int_equal(tm_outbox_collect(&box), 0);
    expect(&box.batch, "gun#later");
    tm_outbox_free(&box);
}

static void what_has_not_left_is_dropped_as_if_it_had_never_come(void **state)
{
    (void)state;
    tm_outbox box = {0};
    long before = allocations();
    add(&box, "one");
    assert_int_equal(tm_outbox_collect(&box), 0);
    add(&box, "two");
    tm_buffer_consume(&box.batch, 3);
    tm_outbox_free(&box);
    assert_int_equal(box.accepted, 3);
    assert_int_equal(tm_outbox_position(&box), 3);
    assert_int_equal(tm_outbox_len(&box), 0);
    assert_int_equal(allocations(), before);
}

static void so_many_bytes_may_wait_and_no_more(void **state)
{
    (void)state;
    tm_outbox box = {0};
    assert_true(tm_outbox_fits(&box, TM_HOLD_MOST, false));
    assert_false(tm_outbox_fits(&box, TM_HOLD_MOST + 1, false));
    assert_false(tm_outbox_fits(&box, SIZE_MAX, false));
    add(&box, "123456789");
    assert_true(tm_outbox_fits(&box, TM_HOLD_MOST - 10, false));
    assert_false(tm_outbox_fits(&box, TM_HOLD_MOST - 9, false));
    assert_int_equal(tm_outbox_collect(&box), 0);
    assert_false(tm_outbox_fits(&box, TM_HOLD_MOST - 9, false));
    assert_true(tm_outbox_fits(&box, TM_HOLD_MOST, true));
    tm_outbox_free(&box);
}

static void growing_makes_room_for_what_fits(void **state)
{
    (void)state;
    tm_outbox box = {0};
    static const size_t sizes[] = {1, 100, 5000, 20000, 40000};
    size_t len = 0;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        assert_true(tm_outbox_fits(&box, sizes[i], false));
        assert_int_equal(tm_outbox_grow(&box, sizes[i]), 0);
        assert_true(tm_buffer_room(&box.queue) >= sizes[i]);
        assert_true(box.queue.capacity <= TM_HOLD_MOST);
        memset(tm_buffer_tail(&box.queue), 'x', sizes[i]);
        box.queue.end += sizes[i];
        len += sizes[i];
        assert_int_equal(tm_outbox_len(&box), len);
    }
    tm_outbox_free(&box);
}

/* Filled byte by byte, the queue asks for memory a few times only: it doubles. */
static void growing_is_rare(void **state)
{
    (void)state;
    tm_outbox box = {0};
    size_t capacity = 0;
    int grown = 0;
    for (int i = 0; i < 20000; i++) {
        add(&box, "1");
        grown += box.queue.capacity != capacity;
        capacity = box.queue.capacity;
    }
    assert_true(grown <= 20);
    tm_outbox_free(&box);
}

static void no_memory_loses_nothing(void **state)
{
    (void)state;
    tm_outbox box = {0};
    struct iovec part;
    tm_message message = message_of(&part, "refused");
    call_fails(CALL_realloc, 1, 1);
    assert_int_equal(tm_outbox_add(&box, &message), TCPMSG_ENOMEM);
    assert_int_equal(message.sent, 0);
    assert_int_equal(box.accepted, 0);
    add(&box, "one");
    assert_int_equal(tm_outbox_collect(&box), 0);
    add(&box, "two");
    call_fails(CALL_realloc, 1, 1);
    assert_int_equal(tm_outbox_collect(&box), TCPMSG_ENOMEM);
    assert_int_equal(calls_failed(), 2);
    expect(&box.batch, "#one");
    expect(&box.queue, "#two");
    assert_int_equal(tm_outbox_collect(&box), 0);
    expect(&box.batch, "#one#two");
    tm_outbox_free(&box);
}

static void an_empty_batch_takes_the_queue_without_memory(void **state)
{
    (void)state;
    tm_outbox box = {0};
    add(&box, "one");
    call_fails(CALL_realloc, 1, 1);
    assert_int_equal(tm_outbox_collect(&box), 0);
    assert_int_equal(calls_failed(), 0);
    expect(&box.batch, "#one");
    tm_outbox_free(&box);
}

static void only_a_giants_memory_is_given_back(void **state)
{
    (void)state;
    tm_outbox box = {0};
    long before = allocations();
    assert_int_equal(tm_buffer_reserve(&box.batch, 4 * TM_HOLD_MOST), 0);
    assert_int_equal(tm_buffer_reserve(&box.queue, TM_HOLD_MOST), 0);
    tm_buffer_append(&box.batch, "x", 1);
    tm_outbox_trim(&box);
    assert_int_equal(box.batch.capacity, 4 * TM_HOLD_MOST);
    tm_buffer_consume(&box.batch, 1);
    tm_outbox_trim(&box);
    assert_int_equal(box.batch.capacity, 0);
    assert_int_equal(box.queue.capacity, TM_HOLD_MOST);
    tm_outbox_free(&box);
    assert_int_equal(allocations(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_wait_in_the_queue_in_their_order),
        cmocka_unit_test(the_queue_becomes_the_batch),
        cmocka_unit_test(a_rest_goes_before_the_queue),
        cmocka_unit_test(what_has_not_left_is_dropped_as_if_it_had_never_come),
        cmocka_unit_test(so_many_bytes_may_wait_and_no_more),
        cmocka_unit_test(growing_makes_room_for_what_fits),
        cmocka_unit_test(growing_is_rare),
        cmocka_unit_test(no_memory_loses_nothing),
        cmocka_unit_test(an_empty_batch_takes_the_queue_without_memory),
        cmocka_unit_test(only_a_giants_memory_is_given_back),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
