/* SPDX-License-Identifier: MIT */
/* A row of bytes that is taken at the head and added at the tail. */
#define _GNU_SOURCE
#include "buffer.h"
#include "shortage.h"
#include "support.h"

#include <stdlib.h>
#include <unistd.h>

static void expect_bytes(const tm_buffer *buffer, const char *text)
{
    assert_true(tm_buffer_valid(buffer));
    assert_int_equal(tm_buffer_len(buffer), strlen(text));
    assert_memory_equal(tm_buffer_head(buffer), text, strlen(text));
    assert_ptr_equal(tm_buffer_head(buffer) + strlen(text), tm_buffer_tail(buffer));
}

static void add(tm_buffer *buffer, const char *text)
{
    assert_int_equal(tm_buffer_reserve(buffer, strlen(text)), 0);
    tm_buffer_append(buffer, text, strlen(text));
}

static void all_zero_is_an_empty_buffer(void **state)
{
    (void)state;
    tm_buffer buffer = {0};
    assert_true(tm_buffer_valid(&buffer));
    assert_int_equal(tm_buffer_len(&buffer), 0);
    assert_int_equal(tm_buffer_room(&buffer), 0);
    assert_int_equal(tm_buffer_reserve(&buffer, 0), 0);
    tm_buffer_append(&buffer, NULL, 0);
    assert_null(buffer.row);
    tm_buffer_free(&buffer);
}

static bool is_valid(size_t start, size_t end, size_t capacity)
{
    tm_row row = {.start = start, .end = end, .capacity = capacity};
    return tm_buffer_valid(&(tm_buffer){&row});
}

static void what_breaks_the_invariant_is_seen(void **state)
{
    (void)state;
    assert_true(is_valid(0, 0, 4));
    assert_true(is_valid(4, 4, 4));
    assert_false(is_valid(2, 1, 4));
    assert_false(is_valid(0, 5, 4));
}

static void bytes_come_out_as_they_went_in(void **state)
{
    (void)state;
    tm_buffer buffer = {0};
    add(&buffer, "one");
    add(&buffer, "");
    add(&buffer, "two");
    expect_bytes(&buffer, "onetwo");
    tm_buffer_consume(&buffer, 2);
    expect_bytes(&buffer, "etwo");
    add(&buffer, "three");
    expect_bytes(&buffer, "etwothree");
    tm_buffer_free(&buffer);
}

static void an_emptied_buffer_begins_anew_at_its_base(void **state)
{
    (void)state;
    tm_buffer buffer = {0};
    add(&buffer, "12345678");
    tm_buffer_consume(&buffer, 3);
    assert_ptr_equal(tm_buffer_head(&buffer), buffer.row->bytes + 3);
    tm_buffer_consume(&buffer, 5);
    assert_ptr_equal(tm_buffer_tail(&buffer), buffer.row->bytes);
    assert_int_equal(tm_buffer_room(&buffer), 8);
    tm_buffer_free(&buffer);
}

static void room_that_is_there_costs_nothing(void **state)
{
    (void)state;
    tm_buffer buffer = {0};
    assert_int_equal(tm_buffer_reserve(&buffer, 100), 0);
    const tm_row *row = buffer.row;
    tm_buffer_append(&buffer, "head", 4);
    assert_int_equal(tm_buffer_reserve(&buffer, 96), 0);
    assert_int_equal(tm_buffer_reserve(&buffer, 1), 0);
    assert_ptr_equal(buffer.row, row);
    assert_int_equal(tm_buffer_capacity(&buffer), 100);
    tm_buffer_free(&buffer);
}

/* Room behind a head that was taken is used before more memory is asked for. */
static void what_was_taken_makes_room(void **state)
{
    (void)state;
    tm_buffer buffer = {0};
    add(&buffer, "0123456789");
    tm_buffer_consume(&buffer, 6);
    assert_int_equal(tm_buffer_reserve(&buffer, 6), 0);
    assert_int_equal(tm_buffer_capacity(&buffer), 10);
    assert_int_equal(tm_buffer_room(&buffer), 6);
    expect_bytes(&buffer, "6789");
    add(&buffer, "abcdefg");
    expect_bytes(&buffer, "6789abcdefg");
    tm_buffer_free(&buffer);
}

/* A compiler that knows that there is nothing yet calls malloc(3) instead. */
static bool fails_without(enum scarce_call call)
{
    tm_buffer buffer = {0};
    call_fails(call, 1, 1);
    int r = tm_buffer_reserve(&buffer, 10);
    bool asked = calls_failed() == 1;
    assert_int_equal(r, asked ? TCPMSG_ENOMEM : 0);
    assert_int_equal(tm_buffer_capacity(&buffer), asked ? 0 : 10);
    tm_buffer_free(&buffer);
    return asked;
}

static void no_memory_changes_nothing(void **state)
{
    (void)state;
    tm_buffer buffer = {0};
    assert_true(fails_without(CALL_realloc) || fails_without(CALL_malloc));
    add(&buffer, "kept");
    tm_buffer_consume(&buffer, 1);
    call_fails(CALL_realloc, 1, 1);
    assert_int_equal(tm_buffer_reserve(&buffer, 1000), TCPMSG_ENOMEM);
    assert_int_equal(calls_failed(), 1);
    assert_int_equal(tm_buffer_capacity(&buffer), 4);
    expect_bytes(&buffer, "ept");
    tm_buffer_free(&buffer);
}

static void more_than_a_size_can_say_is_no_memory(void **state)
{
    (void)state;
    tm_buffer buffer = {0};
    add(&buffer, "kept");
    assert_int_equal(tm_buffer_reserve(&buffer, SIZE_MAX), TCPMSG_ENOMEM);
    assert_int_equal(tm_buffer_reserve(&buffer, SIZE_MAX - 3), TCPMSG_ENOMEM);
    expect_bytes(&buffer, "kept");
    tm_buffer_free(&buffer);
}

/* Memory that somebody else had: the buffer is empty, and frees it. */
static void a_buffer_in_given_memory_is_empty(void **state)
{
    (void)state;
    size_t size = tm_buffer_memory(5);
    tm_buffer buffer = tm_buffer_in(malloc(size), size);
    assert_true(tm_buffer_valid(&buffer));
    assert_int_equal(tm_buffer_len(&buffer), 0);
    assert_int_equal(tm_buffer_room(&buffer), 5);
    tm_buffer_append(&buffer, "given", 5);
    expect_bytes(&buffer, "given");
    tm_buffer_clear(&buffer);
    assert_int_equal(tm_buffer_room(&buffer), 5);
    tm_buffer_free(&buffer);
    assert_null(tm_buffer_in(NULL, 0).row);
}

static void a_freed_buffer_is_empty_and_usable(void **state)
{
    (void)state;
    tm_buffer buffer = {0};
    long before = allocations();
    add(&buffer, "before");
    tm_buffer_free(&buffer);
    assert_int_equal(allocations(), before);
    assert_int_equal(tm_buffer_room(&buffer), 0);
    add(&buffer, "after");
    expect_bytes(&buffer, "after");
    tm_buffer_free(&buffer);
    tm_buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_zero_is_an_empty_buffer),
        cmocka_unit_test(what_breaks_the_invariant_is_seen),
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(an_emptied_buffer_begins_anew_at_its_base),
        cmocka_unit_test(room_that_is_there_costs_nothing),
        cmocka_unit_test(what_was_taken_makes_room),
        cmocka_unit_test(no_memory_changes_nothing),
        cmocka_unit_test(more_than_a_size_can_say_is_no_memory),
        cmocka_unit_test(a_buffer_in_given_memory_is_empty),
        cmocka_unit_test(a_freed_buffer_is_empty_and_usable),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
