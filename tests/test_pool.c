/* SPDX-License-Identifier: MIT */
/* Memory that the connections of one thread use in turn. */
#define _GNU_SOURCE
#include "pool.h"
#include "shortage.h"

#include <stdlib.h>
#include <string.h>

static void a_piece_has_room_for_a_power_of_two_and_its_prefix(void **state)
{
    (void)state;
    assert_int_equal(tm_piece_size(0), TM_PIECE_LEAST);
    assert_int_equal(tm_piece_size(1), TM_PIECE_LEAST);
    for (size_t size = 2048; size <= (size_t)1 << 20; size *= 2) {
        assert_int_equal(tm_piece_size(size), size + TM_PIECE_MORE);
        assert_int_equal(tm_piece_size(size + TM_PIECE_MORE), size + TM_PIECE_MORE);
    }
    assert_int_equal(tm_piece_size(4096 + TM_PIECE_MORE + 1), 8192 + TM_PIECE_MORE);
    assert_int_equal(tm_piece_size(TM_PIECE_MOST), TM_PIECE_MOST);
    assert_int_equal(tm_piece_size(TM_PIECE_MOST + 1), TM_PIECE_MOST + 1);
    assert_int_equal(tm_piece_size(SIZE_MAX), SIZE_MAX);
}

/* Filled to its end, so that a sanitizer sees one that is too small. */
static void *get(tm_pool *pool, size_t size)
{
    void *memory = tm_pool_get(pool, size);
    assert_non_null(memory);
    memset(memory, 'x', tm_piece_size(size));
    return memory;
}

static void what_is_given_is_got_again(void **state)
{
    (void)state;
    tm_pool pool = {0};
    long before = allocations();
    void *small = get(&pool, 3000), *large = get(&pool, 60000);
    tm_pool_give(&pool, small, tm_piece_size(3000));
    tm_pool_give(&pool, large, tm_piece_size(60000));
    assert_int_equal(pool.kept, tm_piece_size(3000) + tm_piece_size(60000));
    assert_ptr_equal(get(&pool, 40000), large);
    assert_ptr_equal(get(&pool, 4000), small);
    assert_int_equal(pool.kept, 0);
    tm_pool_give(&pool, small, tm_piece_size(4000));
    tm_pool_give(&pool, large, tm_piece_size(40000));
    tm_pool_free(&pool);
    assert_int_equal(pool.kept, 0);
    assert_int_equal(allocations(), before);
}

static void it_keeps_no_more_than_it_may(void **state)
{
    (void)state;
    enum { COUNT_OF = 64 };
    static const size_t size = 65536;
    tm_pool pool = {0};
    void *pieces[COUNT_OF];
    long before = allocations();
    for (int i = 0; i < COUNT_OF; i++)
        pieces[i] = get(&pool, size);
    for (int i = 0; i < COUNT_OF; i++)
        tm_pool_give(&pool, pieces[i], tm_piece_size(size));
    assert_true(pool.kept <= TM_POOL_MOST && pool.kept > TM_POOL_MOST - tm_piece_size(size));
    assert_int_equal(allocations() - before, pool.kept / tm_piece_size(size));
    tm_pool_free(&pool);
    assert_int_equal(allocations(), before);
}

/* What is in use now and then stays; what has not been for a whole time goes. */
static void what_nobody_needs_is_freed(void **state)
{
    (void)state;
    tm_pool pool = {0};
    long before = allocations();
    void *one = get(&pool, 5000), *other = get(&pool, 5000);
    tm_pool_give(&pool, one, tm_piece_size(5000));
    tm_pool_give(&pool, other, tm_piece_size(5000));
    tm_pool_trim(&pool);
    assert_int_equal(allocations(), before + 2);
    one = get(&pool, 5000);
    tm_pool_give(&pool, one, tm_piece_size(5000));
    tm_pool_trim(&pool);
    assert_int_equal(allocations(), before + 1);
    assert_int_equal(pool.kept, tm_piece_size(5000));
    tm_pool_trim(&pool);
    assert_int_equal(allocations(), before);
    assert_int_equal(pool.kept, 0);
}

static void other_sizes_are_not_kept(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2048, 100000, TM_PIECE_MOST + 1, 2 * TM_PIECE_MOST};
    tm_pool pool = {0};
    long before = allocations();
    tm_pool_give(&pool, NULL, 0);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *memory = malloc(sizes[i]);
        assert_non_null(memory);
        tm_pool_give(&pool, memory, sizes[i]);
        assert_int_equal(allocations(), before);
    }
    void *giant = get(&pool, TM_PIECE_MOST + 1);
    tm_pool_give(&pool, giant, TM_PIECE_MOST + 1);
    assert_int_equal(allocations(), before);
}

static void without_memory_there_is_none(void **state)
{
    (void)state;
    tm_pool pool = {0};
    call_fails(CALL_malloc, 1, 2);
    assert_null(tm_pool_get(&pool, 1));
    assert_null(tm_pool_get(&pool, TM_PIECE_MOST + 1));
    assert_int_equal(calls_failed(), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_piece_has_room_for_a_power_of_two_and_its_prefix),
        cmocka_unit_test(what_is_given_is_got_again),
        cmocka_unit_test(it_keeps_no_more_than_it_may),
        cmocka_unit_test(what_nobody_needs_is_freed),
        cmocka_unit_test(other_sizes_are_not_kept),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
