/* SPDX-License-Identifier: MIT */
/* Options: what is taken, what is refused and how it is told, and structs of other releases. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "support.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOT_A_CONN ((tcpmsg_conn *)&nowhere)
#define NOT_A_LISTENER ((tcpmsg_listener *)&nowhere)

static char nowhere;

static void make_socketpair(int ends[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* What attach says; a connection that it made is closed again. */
static int try_attach(const tcpmsg_options *options)
{
    int ends[2];
    tcpmsg_conn *conn = NOT_A_CONN;
    make_socketpair(ends);
    int error = tcpmsg_attach(&conn, ends[1], options);
    if (error == 0) {
        assert_int_equal(tcpmsg_close(conn), 0);
        assert_false(is_open(ends[1]));
    } else {
        assert_ptr_equal(conn, NOT_A_CONN);
        assert_true(is_open(ends[1]));
        close(ends[1]);
    }
    close(ends[0]);
    return error;
}

static int try_listen(const tcpmsg_options *options)
{
    tcpmsg_listener *listener = NOT_A_LISTENER;
    int error = tcpmsg_listen(&listener, "127.0.0.1:0", options);
    if (error == 0)
        tcpmsg_listener_close(listener);
    else
        assert_ptr_equal(listener, NOT_A_LISTENER);
    return error;
}

/* The port is never used: bad options are told before anything is connected. */
static int try_dial(const tcpmsg_options *options)
{
    tcpmsg_conn *conn = NOT_A_CONN;
    int error = tcpmsg_dial(&conn, "127.0.0.1:9", options);
    assert_ptr_equal(conn, NOT_A_CONN);
    return error;
}

static void expect_taken(const tcpmsg_options *options)
{
    assert_int_equal(try_attach(options), 0);
    assert_int_equal(try_listen(options), 0);
}

static void expect_refused(const tcpmsg_options *options)
{
    assert_int_equal(try_attach(options), TCPMSG_EINVAL);
    assert_int_equal(try_listen(options), TCPMSG_EINVAL);
    assert_int_equal(try_dial(options), TCPMSG_EINVAL);
}

/* Refused by all three, and each story has the field's name. */
static void expect_field_refused(const tcpmsg_options *options, const char *field)
{
    int (*const ways[])(const tcpmsg_options *) = {try_attach, try_listen, try_dial};
    for (size_t i = 0; i < COUNT(ways); i++) {
        char why[256] = "";
        tcpmsg_options told = *options;
        told.why = why;
        told.why_size = sizeof why;
        assert_int_equal(ways[i](&told), TCPMSG_EINVAL);
        if (strstr(why, field) == NULL)
            fail_msg("the story of %s is \"%s\"", field, why);
    }
}

static void no_options_are_all_defaults(void **state)
{
    (void)state;
    expect_taken(NULL);
    expect_taken(&(tcpmsg_options){0});
    expect_taken(TCPMSG_OPTIONS(.max_message = 0));
}

struct field {
    const char *name;
    size_t offset;
    bool can_be_unlimited;
};

#define FIELD(name, unlimited)                                                                     \
    {                                                                                              \
#name, offsetof(tcpmsg_options, name), (unlimited)                                         \
    }

static const struct field numbers[] = {
    FIELD(connect_timeout_ms, true),
    FIELD(send_timeout_ms, true),
    FIELD(recv_timeout_ms, true),
    FIELD(message_timeout_ms, true),
    FIELD(linger_ms, true),
    FIELD(spin_us, false),
    FIELD(backlog, true),
    FIELD(keepalive_s, false),
    FIELD(user_timeout_ms, false),
    FIELD(reuse_port, false),
};

static tcpmsg_options with_field(const struct field *field, int value)
{
    tcpmsg_options options = {.size = sizeof options};
    memcpy((char *)&options + field->offset, &value, sizeof value);
    return options;
}

static void a_negative_number_is_refused_and_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        tcpmsg_options options = with_field(&numbers[i], -2);
        expect_field_refused(&options, numbers[i].name);
        options = with_field(&numbers[i], INT_MIN);
        expect_field_refused(&options, numbers[i].name);
    }
}

static void minus_one_lifts_a_limit_and_one_is_a_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        tcpmsg_options options = with_field(&numbers[i], 1);
        expect_taken(&options);
        options = with_field(&numbers[i], TCPMSG_NO_LIMIT);
        if (numbers[i].can_be_unlimited)
            expect_taken(&options);
    }
}

static void the_largest_number_is_taken_or_refused_but_no_system_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        tcpmsg_options options = with_field(&numbers[i], INT_MAX);
        int error = try_listen(&options);
        assert_true(error == 0 || error == TCPMSG_EINVAL);
        assert_int_equal(try_attach(&options), error);
    }
}

static void max_message_is_at_most_SSIZE_MAX(void **state)
{
    (void)state;
    expect_taken(TCPMSG_OPTIONS(.max_message = 1));
    expect_taken(TCPMSG_OPTIONS(.max_message = SSIZE_MAX));
    expect_field_refused(TCPMSG_OPTIONS(.max_message = (size_t)SSIZE_MAX + 1), "max_message");
    expect_field_refused(TCPMSG_OPTIONS(.max_message = SIZE_MAX), "max_message");
}

static void a_framing_that_there_is_not_is_refused(void **state)
{
    (void)state;
    expect_field_refused(TCPMSG_OPTIONS(.framing.width = 5), "framing");
    expect_field_refused(TCPMSG_OPTIONS(.framing.width = -1), "framing");
    expect_field_refused(TCPMSG_OPTIONS(.framing.reserved = {0, 0, 1}), "framing");
    expect_field_refused(TCPMSG_OPTIONS(.framing = {.width = TCPMSG_VARINT, .counts_prefix = 1}),
                         "framing");
    expect_taken(TCPMSG_OPTIONS(.framing.width = TCPMSG_VARINT));
    expect_taken(TCPMSG_OPTIONS(.framing = {.width = 2, .counts_prefix = 1, .little_endian = 1}));
}

static void proxy_protocol_is_0_or_1(void **state)
{
    (void)state;
    expect_taken(TCPMSG_OPTIONS(.proxy_protocol = 1));
    expect_field_refused(TCPMSG_OPTIONS(.proxy_protocol = 2), "proxy_protocol");
    expect_field_refused(TCPMSG_OPTIONS(.proxy_protocol = -1), "proxy_protocol");
}

/* Whether attach took max_message from the struct: ten bytes are too long for it. */
static void expect_max_message_of_nine(const tcpmsg_options *options)
{
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, options);
    assert_int_equal(tcpmsg_send(conn, "123456789", 9, 0), 0);
    assert_int_equal(tcpmsg_send(conn, "123456789A", 10, 0), TCPMSG_EMSGSIZE);
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
}

static void size_zero_is_the_first_releases_struct(void **state)
{
    (void)state;
    tcpmsg_options options = {.max_message = 9};
    expect_max_message_of_nine(&options);
    options.proxy_protocol = 2;
    expect_refused(&options);
}

/* A struct of another release, at the very end of a page that nothing readable follows. */
static tcpmsg_options *at_the_end_of_a_page(char **page, size_t size)
{
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    char *start =
        mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(start != MAP_FAILED);
    assert_int_equal(mprotect(start + page_size, page_size, PROT_NONE), 0);
    *page = start;
    return (tcpmsg_options *)(void *)(start + page_size - size);
}

static void unmap_page(char *page)
{
    munmap(page, 2 * (size_t)sysconf(_SC_PAGESIZE));
}

static void a_larger_struct_with_a_zero_tail_is_taken(void **state)
{
    (void)state;
    for (size_t more = 8; more <= 256; more *= 2) {
        char *page;
        size_t size = sizeof(tcpmsg_options) + more;
        tcpmsg_options *options = at_the_end_of_a_page(&page, size);
        options->size = size;
        options->max_message = 9;
        expect_taken(options);
        expect_max_message_of_nine(options);
        unmap_page(page);
    }
}

static void a_larger_struct_with_anything_in_its_tail_is_refused(void **state)
{
    (void)state;
    for (size_t more = 8; more <= 256; more *= 2) {
        char *page;
        size_t size = sizeof(tcpmsg_options) + more;
        tcpmsg_options *options = at_the_end_of_a_page(&page, size);
        char *tail = (char *)options + sizeof *options;
        options->size = size;
        tail[0] = 1;
        expect_refused(options);
        tail[0] = 0;
        tail[more - 1] = 1;
        expect_refused(options);
        unmap_page(page);
    }
}

static void an_absurd_size_is_refused(void **state)
{
    (void)state;
    struct {
        tcpmsg_options options;
        unsigned char tail[64];
    } larger = {.tail = {1}};
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, (size_t)1 << 30};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        larger.options.size = sizes[i];
        expect_refused(&larger.options);
    }
}

static void options_are_copied_before_the_call_returns(void **state)
{
    (void)state;
    tcpmsg_options options = {.size = sizeof options, .max_message = 9};
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, &options);
    memset(&options, 0xff, sizeof options);
    assert_int_equal(tcpmsg_send(conn, "123456789A", 10, 0), TCPMSG_EMSGSIZE);
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
}

/* Room for a story, with bytes before and after it that nobody may write. */
struct guarded_why {
    char before[8];
    char text[256];
};

static void expect_story_cut_to(size_t size, const char *whole)
{
    struct guarded_why why;
    memset(&why, '#', sizeof why);
    assert_int_equal(
        try_listen(TCPMSG_OPTIONS(.max_message = SIZE_MAX, .why = why.text, .why_size = size)),
        TCPMSG_EINVAL);
    size_t length = strlen(whole) < size ? strlen(whole) : size - 1;
    assert_memory_equal(why.text, whole, length);
    assert_int_equal(why.text[length], '\0');
    assert_memory_equal(why.before, "########", sizeof why.before);
    for (size_t i = size; i < sizeof why.text; i++)
        assert_int_equal(why.text[i], '#');
}

static void promise_5_the_story_is_cut_to_fit(void **state)
{
    (void)state;
    char whole[256] = "";
    assert_int_equal(
        try_listen(TCPMSG_OPTIONS(.max_message = SIZE_MAX, .why = whole, .why_size = sizeof whole)),
        TCPMSG_EINVAL);
    assert_true(strlen(whole) > 10);
    for (size_t size = 1; size < sizeof whole; size++)
        expect_story_cut_to(size, whole);
}

static void no_room_for_a_story_is_left_alone(void **state)
{
    (void)state;
    char why[4] = "###";
    assert_int_equal(try_listen(TCPMSG_OPTIONS(.reuse_port = -2, .why = why)), TCPMSG_EINVAL);
    assert_string_equal(why, "###");
    assert_int_equal(try_listen(TCPMSG_OPTIONS(.reuse_port = -2)), TCPMSG_EINVAL);
}

static void a_call_that_succeeds_has_no_story(void **state)
{
    (void)state;
    char why[8] = "#######";
    expect_taken(TCPMSG_OPTIONS(.why = why, .why_size = sizeof why));
    assert_string_equal(why, "#######");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_options_are_all_defaults),
        cmocka_unit_test(a_negative_number_is_refused_and_named),
        cmocka_unit_test(minus_one_lifts_a_limit_and_one_is_a_value),
        cmocka_unit_test(the_largest_number_is_taken_or_refused_but_no_system_error),
        cmocka_unit_test(max_message_is_at_most_SSIZE_MAX),
        cmocka_unit_test(a_framing_that_there_is_not_is_refused),
        cmocka_unit_test(proxy_protocol_is_0_or_1),
        cmocka_unit_test(size_zero_is_the_first_releases_struct),
        cmocka_unit_test(a_larger_struct_with_a_zero_tail_is_taken),
        cmocka_unit_test(a_larger_struct_with_anything_in_its_tail_is_refused),
        cmocka_unit_test(an_absurd_size_is_refused),
        cmocka_unit_test(options_are_copied_before_the_call_returns),
        cmocka_unit_test(promise_5_the_story_is_cut_to_fit),
        cmocka_unit_test(no_room_for_a_story_is_left_alone),
        cmocka_unit_test(a_call_that_succeeds_has_no_story),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
