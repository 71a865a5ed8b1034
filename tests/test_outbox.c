/* SPDX-License-Identifier: MIT */
/* Bytes on their way out: a row of chunks that stay where they are. */
#define _GNU_SOURCE
#include "outbox.h"
#include "shortage.h"

#include <string.h>
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
    assert_true(tm_outbox_valid(box));
}

static void add_filled(tm_outbox *box, size_t size)
{
    uint8_t *place = tm_outbox_place(box, size);
    assert_non_null(place);
    memset(place, 'x', size);
    tm_outbox_came(box, size);
    assert_true(tm_outbox_valid(box));
}

static void left(tm_outbox *box, size_t count)
{
    tm_outbox_left(box, count);
    assert_true(tm_outbox_valid(box));
}

static void expect_first(const tm_outbox *box, size_t limit, const char *text)
{
    struct iovec parts[16];
    int count = tm_outbox_parts(box, limit, parts, COUNT(parts));
    size_t len = 0;
    for (int i = 0; i < count; len += parts[i++].iov_len) {
        assert_true(len + parts[i].iov_len <= strlen(text));
        assert_memory_equal(parts[i].iov_base, text + len, parts[i].iov_len);
    }
    assert_int_equal(len, strlen(text));
}

static void expect(const tm_outbox *box, const char *text)
{
    assert_true(tm_outbox_valid(box));
    assert_int_equal(box->len, strlen(text));
    expect_first(box, SIZE_MAX, text);
}

static int chunks(const tm_outbox *box)
{
    int count = 0;
    for (const tm_chunk *chunk = tm_outbox_first(box); chunk; chunk = tm_outbox_next(box, chunk))
        count++;
    return count;
}

static void messages_wait_in_their_order(void **state)
{
    (void)state;
    tm_outbox box = {0};
    expect(&box, "");
    add(&box, "one");
    add(&box, "");
    add(&box, "two");
    expect(&box, "#one##two");
    assert_int_equal(tm_outbox_end(&box), 9);
    assert_int_equal(box.position, 0);
    tm_outbox_free(&box);
}

static void they_leave_byte_by_byte(void **state)
{
    (void)state;
    tm_outbox box = {0};
    add(&box, "one");
    left(&box, 1);
    left(&box, 1);
    add(&box, "two");
    expect(&box, "ne#two");
    expect_first(&box, 3, "ne#");
    expect_first(&box, 0, "");
    assert_int_equal(box.position, 2);
    for (const char *rest = "e#two"; *rest; rest++) {
        left(&box, 1);
        expect(&box, rest);
    }
    left(&box, 1);
    expect(&box, "");
    assert_int_equal(box.position, 8);
    tm_outbox_free(&box);
}

/* While a system call reads them, more may come: they must not move. */
static void bytes_stay_where_they_are(void **state)
{
    (void)state;
    tm_outbox box = {0};
    struct iovec part;
    add(&box, "one");
    assert_int_equal(tm_outbox_parts(&box, SIZE_MAX, &part, 1), 1);
    for (int i = 0; i < 20; i++)
        add_filled(&box, 30000);
    assert_ptr_equal(tm_outbox_first(&box)->bytes, part.iov_base);
    assert_memory_equal(part.iov_base, "#one", 4);
    assert_true(chunks(&box) > 2);
    left(&box, 4 + 19 * 30000);
    assert_int_equal(box.len, 30000);
    tm_outbox_free(&box);
}

static void parts_are_as_many_as_asked_for(void **state)
{
    (void)state;
    tm_outbox box = {0};
    struct iovec parts[3];
    for (int i = 0; i < 4; i++)
        add_filled(&box, 100000);
    assert_int_equal(chunks(&box), 4);
    assert_int_equal(tm_outbox_parts(&box, SIZE_MAX, parts, 3), 3);
    assert_int_equal(tm_outbox_parts(&box, 100001, parts, 3), 2);
    assert_int_equal(parts[1].iov_len, 1);
    assert_int_equal(tm_outbox_parts(&box, 100000, parts, 3), 1);
    assert_int_equal(tm_outbox_parts(&box, SIZE_MAX, parts, 0), 0);
    tm_outbox_free(&box);
}

/* The rest of a message that has begun leaves before what was queued meanwhile. */
static void a_rest_goes_before_what_waits(void **state)
{
    (void)state;
    tm_outbox box = {0};
    struct iovec part;
    tm_message message = message_of(&part, "begun");
    tm_chunk *room = tm_outbox_room(&box, tm_message_size(&message));
    assert_non_null(room);
    add(&box, "later");
    tm_message_advance(&message, 3);
    tm_outbox_keep(&box, &message, room);
    assert_true(tm_message_is_out(&message));
    expect(&box, "gun#later");
    assert_int_equal(tm_outbox_end(&box), 6 + 3);
    assert_int_equal(box.position, 0);
    tm_outbox_free(&box);
}

static void a_rest_may_be_all_that_waits(void **state)
{
    (void)state;
    tm_outbox box = {0};
    struct iovec part;
    tm_message message = message_of(&part, "begun");
    tm_chunk *room = tm_outbox_room(&box, tm_message_size(&message));
    assert_non_null(room);
    tm_message_advance(&message, 5);
    tm_outbox_keep(&box, &message, room);
    expect(&box, "n");
    add(&box, "later");
    expect(&box, "n#later");
    left(&box, 7);
    tm_outbox_free(&box);
}

static void what_has_not_left_is_dropped_as_if_it_had_never_come(void **state)
{
    (void)state;
    tm_outbox box = {0};
    long before = allocations();
    add(&box, "one");
    add(&box, "two");
    add_filled(&box, 100000);
    left(&box, 3);
    tm_outbox_free(&box);
    assert_int_equal(tm_outbox_end(&box), 3);
    assert_int_equal(box.position, 3);
    assert_int_equal(box.len, 0);
    assert_int_equal(allocations(), before);
}

static void so_many_bytes_may_wait_and_no_more(void **state)
{
    (void)state;
    tm_outbox box = {0};
    assert_true(tm_outbox_fits(&box, TM_HOLD_MOST, 0));
    assert_false(tm_outbox_fits(&box, TM_HOLD_MOST + 1, 0));
    assert_false(tm_outbox_fits(&box, SIZE_MAX, 0));
    add(&box, "123456789");
    assert_true(tm_outbox_fits(&box, TM_HOLD_MOST - 10, 0));
    assert_false(tm_outbox_fits(&box, TM_HOLD_MOST - 9, 0));
    assert_true(tm_outbox_fits(&box, TM_HOLD_MOST, 10));
    tm_outbox_free(&box);
}

static void memory_is_asked_for_a_few_times_only(void **state)
{
    (void)state;
    tm_outbox box = {0};
    for (size_t len = 0; len + 2 <= TM_HOLD_MOST; len += 2)
        add(&box, "1");
    assert_true(chunks(&box) <= 4);
    assert_true(tm_outbox_first(&box)->capacity <= 4096);
    tm_outbox_free(&box);
}

static void the_largest_emptied_chunk_is_used_again(void **state)
{
    (void)state;
    tm_outbox box = {0};
    long before = allocations();
    add(&box, "small");
    add_filled(&box, TM_HOLD_MOST);
    add(&box, "small");
    left(&box, box.len);
    tm_outbox_trim(&box);
    assert_int_equal(allocations(), before + 1);
    assert_true(box.spare->capacity >= TM_HOLD_MOST);
    add_filled(&box, TM_HOLD_MOST);
    assert_int_equal(allocations(), before + 1);
    left(&box, TM_HOLD_MOST);
    tm_outbox_trim(&box);
    assert_int_equal(allocations(), before + 1);
    tm_outbox_free(&box);
    assert_int_equal(allocations(), before);
}

static void a_giants_memory_is_given_back(void **state)
{
    (void)state;
    tm_outbox box = {0};
    long before = allocations();
    add_filled(&box, 4 * TM_HOLD_MOST);
    left(&box, 1);
    assert_int_equal(allocations(), before + 1);
    left(&box, 4 * TM_HOLD_MOST - 1);
    tm_outbox_trim(&box);
    assert_int_equal(allocations(), before);
}

/* What has left leaves its memory to the next box, and takes what another one has left. */
static void emptied_chunks_go_round(void **state)
{
    (void)state;
    tm_outbox one = {0}, other = {0};
    tm_pool pool = {0};
    long before = allocations();
    for (int i = 0; i < 3; i++) {
        tm_outbox_borrow(&one, &pool, TM_HOLD_MOST);
        add_filled(&one, TM_HOLD_MOST);
    }
    left(&one, one.len);
    tm_outbox_return(&one, &pool);
    assert_null(one.spare);
    assert_int_equal(allocations(), before + 3);
    for (int i = 0; i < 3; i++) {
        tm_outbox_borrow(&other, &pool, TM_HOLD_MOST);
        add_filled(&other, TM_HOLD_MOST);
    }
    assert_int_equal(allocations(), before + 3);
    assert_int_equal(pool.kept, 0);
    tm_outbox_borrow(&other, &pool, 0); /* there is room already */
    assert_null(other.spare);
    tm_outbox_borrow(&other, &pool, SIZE_MAX); /* there can't be any */
    assert_null(other.spare);
    tm_outbox_free(&other);
    tm_pool_free(&pool);
    assert_int_equal(allocations(), before);
}

static void a_box_that_breaks_its_rules_is_seen(void **state)
{
    (void)state;
    tm_outbox box = {0};
    add(&box, "right");
    tm_chunk *chunk = box.last, right = *chunk;
    box.len++;
    assert_false(tm_outbox_valid(&box));
    box.len--;
    chunk->end = chunk->start;
    assert_false(tm_outbox_valid(&box));
    chunk->end = chunk->capacity + 1;
    assert_false(tm_outbox_valid(&box));
    chunk->end = right.end;
    assert_true(tm_outbox_valid(&box));
    tm_outbox_free(&box);
}

static void no_memory_loses_nothing(void **state)
{
    (void)state;
    tm_outbox box = {0};
    struct iovec part;
    tm_message message = message_of(&part, "refused");
    call_fails(CALL_malloc, 1, 1);
    assert_int_equal(tm_outbox_add(&box, &message), TCPMSG_ENOMEM);
    assert_int_equal(message.sent, 0);
    assert_int_equal(tm_outbox_end(&box), 0);
    add(&box, "one");
    call_fails(CALL_malloc, 1, 1);
    assert_null(tm_outbox_place(&box, TM_HOLD_MOST));
    call_fails(CALL_malloc, 1, 1);
    assert_null(tm_outbox_room(&box, TM_HOLD_MOST));
    assert_null(tm_outbox_room(&box, SIZE_MAX));
    assert_int_equal(calls_failed(), 3);
    expect(&box, "#one");
    tm_outbox_free(&box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_wait_in_their_order),
        cmocka_unit_test(they_leave_byte_by_byte),
        cmocka_unit_test(bytes_stay_where_they_are),
        cmocka_unit_test(parts_are_as_many_as_asked_for),
        cmocka_unit_test(a_rest_goes_before_what_waits),
        cmocka_unit_test(a_rest_may_be_all_that_waits),
        cmocka_unit_test(what_has_not_left_is_dropped_as_if_it_had_never_come),
        cmocka_unit_test(so_many_bytes_may_wait_and_no_more),
        cmocka_unit_test(memory_is_asked_for_a_few_times_only),
        cmocka_unit_test(the_largest_emptied_chunk_is_used_again),
        cmocka_unit_test(a_giants_memory_is_given_back),
        cmocka_unit_test(emptied_chunks_go_round),
        cmocka_unit_test(a_box_that_breaks_its_rules_is_seen),
        cmocka_unit_test(no_memory_loses_nothing),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
