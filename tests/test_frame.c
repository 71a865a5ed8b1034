/* SPDX-License-Identifier: MIT */
/* The codec: each prefix whole and byte by byte, its input right before a page without access. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "support.h"

#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BIG(bytes)                                                                                 \
    {                                                                                              \
        .width = (bytes)                                                                           \
    }
#define LITTLE(bytes)                                                                              \
    {                                                                                              \
        .width = (bytes), .little_endian = 1                                                       \
    }
#define BIG_COUNTING(bytes)                                                                        \
    {                                                                                              \
        .width = (bytes), .counts_prefix = 1                                                       \
    }
#define LITTLE_COUNTING(bytes)                                                                     \
    {                                                                                              \
        .width = (bytes), .little_endian = 1, .counts_prefix = 1                                   \
    }
#define VARINT                                                                                     \
    {                                                                                              \
        .width = TCPMSG_VARINT                                                                     \
    }

#define UNTOUCHED ((size_t)0xa5a5a5a5)

struct prefix_case {
    tcpmsg_framing framing;
    uint64_t length;
    size_t size;
    const char *bytes;
};

/* What the wire looks like, written by hand; every one goes both ways. */
static const struct prefix_case good[] = {
    {{0}, 0, 4, "\x00\x00\x00\x00"},
    {{0}, 5, 4, "\x00\x00\x00\x05"},
    {{0}, 0x01020304, 4, "\x01\x02\x03\x04"},
    {{0}, 0xffffffff, 4, "\xff\xff\xff\xff"},
    {{.little_endian = 1}, 0x01020304, 4, "\x04\x03\x02\x01"},
    {{.counts_prefix = 1}, 0, 4, "\x00\x00\x00\x04"},
    {BIG(1), 0, 1, "\x00"},
    {BIG(1), 0xff, 1, "\xff"},
    {LITTLE(1), 0xfe, 1, "\xfe"},
    {BIG_COUNTING(1), 0, 1, "\x01"},
    {LITTLE_COUNTING(1), 0xfe, 1, "\xff"},
    {BIG(2), 0x0102, 2, "\x01\x02"},
    {LITTLE(2), 0x0102, 2, "\x02\x01"},
    {BIG_COUNTING(2), 0x0100, 2, "\x01\x02"},
    {LITTLE_COUNTING(2), 0xfffd, 2, "\xff\xff"},
    {BIG(3), 0x010203, 3, "\x01\x02\x03"},
    {LITTLE(3), 0x010203, 3, "\x03\x02\x01"},
    {BIG_COUNTING(3), 0, 3, "\x00\x00\x03"},
    {LITTLE_COUNTING(3), 0xfffffc, 3, "\xff\xff\xff"},
    {BIG(4), 0x01020304, 4, "\x01\x02\x03\x04"},
    {LITTLE(4), 0x01020304, 4, "\x04\x03\x02\x01"},
    {BIG_COUNTING(4), 0xfffffffb, 4, "\xff\xff\xff\xff"},
    {LITTLE_COUNTING(4), 1, 4, "\x05\x00\x00\x00"},
    {BIG(8), 0x0102030405060708, 8, "\x01\x02\x03\x04\x05\x06\x07\x08"},
    {LITTLE(8), 0x0102030405060708, 8, "\x08\x07\x06\x05\x04\x03\x02\x01"},
    {BIG(8), INT64_MAX, 8, "\x7f\xff\xff\xff\xff\xff\xff\xff"},
    {BIG_COUNTING(8), 0, 8, "\x00\x00\x00\x00\x00\x00\x00\x08"},
    {LITTLE_COUNTING(8), 0xff, 8, "\x07\x01\x00\x00\x00\x00\x00\x00"},
    {BIG_COUNTING(8), INT64_MAX, 8, "\x80\x00\x00\x00\x00\x00\x00\x07"},
    {VARINT, 0, 1, "\x00"},
    {VARINT, 1, 1, "\x01"},
    {VARINT, 127, 1, "\x7f"},
    {VARINT, 128, 2, "\x80\x01"},
    {VARINT, 300, 2, "\xac\x02"},
    {VARINT, 16383, 2, "\xff\x7f"},
    {VARINT, 16384, 3, "\x80\x80\x01"},
    {VARINT, 2097151, 3, "\xff\xff\x7f"},
    {VARINT, 0xffffffff, 5, "\xff\xff\xff\xff\x0f"},
    {VARINT, INT64_MAX, 9, "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"},
    {{.width = TCPMSG_VARINT, .little_endian = 1}, 300, 2, "\xac\x02"},
};

struct malformed_case {
    tcpmsg_framing framing;
    int error;
    size_t size;
    const char *bytes;
};

static const struct malformed_case malformed[] = {
    {BIG_COUNTING(1), TCPMSG_EPROTO, 1, "\x00"},
    {BIG_COUNTING(2), TCPMSG_EPROTO, 2, "\x00\x01"},
    {LITTLE_COUNTING(2), TCPMSG_EPROTO, 2, "\x01\x00"},
    {BIG_COUNTING(3), TCPMSG_EPROTO, 3, "\x00\x00\x02"},
    {LITTLE_COUNTING(3), TCPMSG_EPROTO, 3, "\x00\x00\x00"},
    {BIG_COUNTING(4), TCPMSG_EPROTO, 4, "\x00\x00\x00\x03"},
    {{.counts_prefix = 1}, TCPMSG_EPROTO, 4, "\x00\x00\x00\x00"},
    {LITTLE_COUNTING(4), TCPMSG_EPROTO, 4, "\x03\x00\x00\x00"},
    {BIG_COUNTING(8), TCPMSG_EPROTO, 8, "\x00\x00\x00\x00\x00\x00\x00\x07"},
    {LITTLE_COUNTING(8), TCPMSG_EPROTO, 8, "\x07\x00\x00\x00\x00\x00\x00\x00"},
    {BIG(8), TCPMSG_EMSGSIZE, 8, "\x80\x00\x00\x00\x00\x00\x00\x00"},
    {LITTLE(8), TCPMSG_EMSGSIZE, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {BIG(8), TCPMSG_EMSGSIZE, 8, "\xff\xff\xff\xff\xff\xff\xff\xff"},
    {BIG_COUNTING(8), TCPMSG_EMSGSIZE, 8, "\x80\x00\x00\x00\x00\x00\x00\x08"},
    {LITTLE_COUNTING(8), TCPMSG_EMSGSIZE, 8, "\xff\xff\xff\xff\xff\xff\xff\xff"},
    {VARINT, TCPMSG_EMSGSIZE, 10, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"},
    {VARINT, TCPMSG_EMSGSIZE, 10, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
    {VARINT, TCPMSG_EPROTO, 10, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"},
    {VARINT, TCPMSG_EPROTO, 10, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"},
};

static unsigned char *page;
static size_t page_size;

/* A page with another right behind it that can't be touched. */
static int map_guarded_page(void **state)
{
    (void)state;
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    page = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? -1 : mprotect(page + page_size, page_size, PROT_NONE);
}

static int unmap_guarded_page(void **state)
{
    (void)state;
    return munmap(page, 2 * page_size);
}

/* Room of `count` bytes that ends where the page does. */
static unsigned char *last_bytes(size_t count)
{
    return page + page_size - count;
}

static ssize_t decode(const tcpmsg_framing *framing, const void *bytes, size_t count,
                      size_t *length)
{
    unsigned char *input = last_bytes(count);
    memcpy(input, bytes, count);
    *length = UNTOUCHED;
    return tcpmsg_frame_decode(framing, input, count, length);
}

/* Every part of a prefix asks for more and leaves the length alone. */
static void expect_needs_more(const tcpmsg_framing *framing, const void *bytes, size_t size)
{
    size_t length;
    for (size_t count = 0; count < size; count++) {
        assert_int_equal(decode(framing, bytes, count, &length), 0);
        assert_true(length == UNTOUCHED);
    }
}

static void expect_decoded(const tcpmsg_framing *framing, const void *bytes, size_t size,
                           uint64_t expected)
{
    unsigned char followed[TCPMSG_PREFIX_MAX + 2];
    size_t length;
    assert_int_equal(decode(framing, bytes, size, &length), size);
    assert_true(length == expected);

    memset(followed, 0xff, sizeof followed);
    memcpy(followed, bytes, size);
    assert_int_equal(decode(framing, followed, sizeof followed, &length), size);
    assert_true(length == expected);
}

static void expect_encoded(const tcpmsg_framing *framing, uint64_t length, const void *bytes,
                           size_t size)
{
    uint8_t *prefix = last_bytes(TCPMSG_PREFIX_MAX);
    assert_int_equal(tcpmsg_frame_encode(framing, (size_t)length, prefix), size);
    assert_memory_equal(prefix, bytes, size);
}

static void expect_not_encoded(const tcpmsg_framing *framing, size_t length, int error)
{
    uint8_t prefix[TCPMSG_PREFIX_MAX], before[TCPMSG_PREFIX_MAX];
    memset(prefix, 0xa5, sizeof prefix);
    memcpy(before, prefix, sizeof before);
    assert_int_equal(tcpmsg_frame_encode(framing, length, prefix), error);
    assert_memory_equal(prefix, before, sizeof before);
}

static void prefixes_written_by_hand_decode_whole_and_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        if (good[i].length > SSIZE_MAX)
            continue;
        expect_needs_more(&good[i].framing, good[i].bytes, good[i].size);
        expect_decoded(&good[i].framing, good[i].bytes, good[i].size, good[i].length);
    }
}

static void prefixes_written_by_hand_are_what_encode_writes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++)
        if (good[i].length <= SSIZE_MAX)
            expect_encoded(&good[i].framing, good[i].length, good[i].bytes, good[i].size);
}

static void promise_4_malformed_prefixes_are_refused_and_no_length_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(malformed); i++) {
        size_t length;
        expect_needs_more(&malformed[i].framing, malformed[i].bytes, malformed[i].size);
        assert_int_equal(
            decode(&malformed[i].framing, malformed[i].bytes, malformed[i].size, &length),
            malformed[i].error);
        assert_true(length == UNTOUCHED);
    }
}

/* Bits beyond the 64th: no length that fits anything. */
static void promise_4_a_varint_of_more_than_64_bits_is_refused(void **state)
{
    (void)state;
    const tcpmsg_framing varint = VARINT;
    for (unsigned last = 2; last < 256; last++) {
        unsigned char bytes[TCPMSG_PREFIX_MAX];
        size_t length;
        memset(bytes, 0x80, sizeof bytes);
        bytes[TCPMSG_PREFIX_MAX - 1] = (unsigned char)last;
        ssize_t result = decode(&varint, bytes, sizeof bytes, &length);
        assert_true(result == TCPMSG_EPROTO || (last < 128 && result == TCPMSG_EMSGSIZE));
        assert_true(length == UNTOUCHED);
    }
}

/* The model: digit by digit with division, as one would on paper. */
static size_t model_prefix(const tcpmsg_framing *framing, uint64_t length, unsigned char *bytes)
{
    size_t width = framing->width == 0 ? 4 : (size_t)framing->width;
    uint64_t said = length + (framing->counts_prefix ? width : 0);
    for (size_t i = 0; i < width; i++) {
        bytes[framing->little_endian ? i : width - 1 - i] = (unsigned char)(said % 256);
        said /= 256;
    }
    return width;
}

static uint64_t largest_length(const tcpmsg_framing *framing)
{
    size_t width = framing->width == 0 ? 4 : (size_t)framing->width;
    uint64_t largest = width == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * width)) - 1;
    return largest - (framing->counts_prefix ? width : 0);
}

static void expect_both_ways(const tcpmsg_framing *framing, uint64_t length)
{
    unsigned char bytes[TCPMSG_PREFIX_MAX];
    size_t size = model_prefix(framing, length, bytes);
    expect_encoded(framing, length, bytes, size);
    expect_needs_more(framing, bytes, size);
    expect_decoded(framing, bytes, size, length);
}

static void expect_the_lengths_around_each_power_of_two(const tcpmsg_framing *framing)
{
    uint64_t largest = largest_length(framing);
    for (unsigned bit = 0; bit < 64; bit++) {
        for (uint64_t length = (UINT64_C(1) << bit) - 1, i = 0; i < 3; i++, length++) {
            if (length > SSIZE_MAX)
                continue;
            if (length <= largest)
                expect_both_ways(framing, length);
            else
                expect_not_encoded(framing, (size_t)length, TCPMSG_EMSGSIZE);
        }
    }
}

static void every_width_order_and_counting_says_the_lengths_it_can_and_no_other(void **state)
{
    (void)state;
    const int widths[] = {0, 1, 2, 3, 4, 8};
    for (size_t i = 0; i < COUNT(widths); i++) {
        for (int bits = 0; bits < 4; bits++) {
            const tcpmsg_framing framing = {
                .width = widths[i], .little_endian = bits & 1, .counts_prefix = bits >> 1};
            uint64_t largest = largest_length(&framing);
            expect_the_lengths_around_each_power_of_two(&framing);
            if (largest <= SSIZE_MAX)
                expect_both_ways(&framing, largest);
            if (largest < SIZE_MAX)
                expect_not_encoded(&framing, (size_t)largest + 1, TCPMSG_EMSGSIZE);
            if (widths[i] != 8)
                expect_not_encoded(&framing, SIZE_MAX, TCPMSG_EMSGSIZE);
        }
    }
}

static void a_varint_of_any_length_has_seven_bits_a_byte(void **state)
{
    (void)state;
    const tcpmsg_framing varint = VARINT;
    for (unsigned bit = 0; bit < sizeof(size_t) * CHAR_BIT - 1; bit++) {
        size_t length = (size_t)1 << bit, size = bit / 7 + 1;
        unsigned char bytes[TCPMSG_PREFIX_MAX];
        memset(bytes, 0x80, sizeof bytes);
        bytes[size - 1] = (unsigned char)(1U << (bit % 7));
        expect_encoded(&varint, length, bytes, size);
        expect_needs_more(&varint, bytes, size);
        expect_decoded(&varint, bytes, size, length);
    }
}

static void no_framing_is_the_default_one(void **state)
{
    (void)state;
    expect_encoded(NULL, 0x01020304, "\x01\x02\x03\x04", 4);
    expect_needs_more(NULL, "\x01\x02\x03\x04", 4);
    expect_decoded(NULL, "\x01\x02\x03\x04", 4, 0x01020304);
    if (SIZE_MAX > UINT32_MAX)
        expect_not_encoded(NULL, (size_t)UINT32_MAX + 1, TCPMSG_EMSGSIZE);
}

static void expect_no_framing(const tcpmsg_framing *framing)
{
    size_t length;
    expect_not_encoded(framing, 1, TCPMSG_EINVAL);
    for (size_t count = 0; count <= TCPMSG_PREFIX_MAX; count++) {
        assert_int_equal(decode(framing, "\1\1\1\1\1\1\1\1\1\1", count, &length), TCPMSG_EINVAL);
        assert_true(length == UNTOUCHED);
    }
}

static void framings_that_there_are_not_are_EINVAL(void **state)
{
    (void)state;
    const int widths[] = {-1, 5, 6, 7, 9, 10, 16, 32, 64, 127, 129, 256, 260, INT_MAX, INT_MIN};
    for (size_t i = 0; i < COUNT(widths); i++)
        expect_no_framing(&(tcpmsg_framing){.width = widths[i]});
    expect_no_framing(&(tcpmsg_framing){.width = TCPMSG_VARINT, .counts_prefix = 1});
}

static void reserved_fields_must_be_zero(void **state)
{
    (void)state;
    const int values[] = {1, -1, INT_MAX, INT_MIN, 1 << 24};
    for (size_t i = 0; i < 5; i++) {
        for (size_t j = 0; j < COUNT(values); j++) {
            tcpmsg_framing framing = {0};
            framing.reserved[i] = values[j];
            expect_no_framing(&framing);
        }
    }
}

static void a_null_where_a_thing_is_needed_is_EINVAL(void **state)
{
    (void)state;
    size_t length = UNTOUCHED;
    assert_int_equal(tcpmsg_frame_encode(NULL, 1, NULL), TCPMSG_EINVAL);
    assert_int_equal(tcpmsg_frame_decode(NULL, NULL, 4, &length), TCPMSG_EINVAL);
    assert_int_equal(tcpmsg_frame_decode(NULL, "\0\0\0\1", 4, NULL), TCPMSG_EINVAL);
    assert_int_equal(tcpmsg_frame_decode(NULL, NULL, 0, &length), 0); /* none are needed here */
    assert_true(length == UNTOUCHED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes_written_by_hand_decode_whole_and_byte_by_byte),
        cmocka_unit_test(prefixes_written_by_hand_are_what_encode_writes),
        cmocka_unit_test(promise_4_malformed_prefixes_are_refused_and_no_length_is_told),
        cmocka_unit_test(promise_4_a_varint_of_more_than_64_bits_is_refused),
        cmocka_unit_test(every_width_order_and_counting_says_the_lengths_it_can_and_no_other),
        cmocka_unit_test(a_varint_of_any_length_has_seven_bits_a_byte),
        cmocka_unit_test(no_framing_is_the_default_one),
        cmocka_unit_test(framings_that_there_are_not_are_EINVAL),
        cmocka_unit_test(reserved_fields_must_be_zero),
        cmocka_unit_test(a_null_where_a_thing_is_needed_is_EINVAL),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, map_guarded_page, unmap_guarded_page);
}
