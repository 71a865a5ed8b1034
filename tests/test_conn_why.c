/* SPDX-License-Identifier: MIT */
/* How the story of an end is put together, from what is known of it. */
#define _GNU_SOURCE
#include "conn.h"
#include "peer.h"
#include "shortage.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The story that an end makes; of a connection of its own, since it is written once. */
static void expect_story(const tcpmsg_options *options, const tm_ending *ending, const char *wanted)
{
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, options);
    assert_string_equal(tcpmsg_conn_why(conn), "");
    tm_conn_tell_ending(conn, ending);
    assert_string_equal(tcpmsg_conn_why(conn), wanted);
    tcpmsg_close(conn);
    close(raw);
}

static const uint8_t *bytes_of(const char *text)
{
    return (const uint8_t *)text;
}

static void an_end_between_messages(void **state)
{
    (void)state;
    expect_story(NULL, &(tm_ending){.error = TCPMSG_EOF}, "the peer ended the connection");
    expect_story(NULL, &(tm_ending){.error = TCPMSG_ERESET}, "the peer reset the connection");
}

static void an_end_inside_a_message_says_how_far_it_had_come(void **state)
{
    (void)state;
    tm_ending ending = {.error = TCPMSG_ETRUNCATED,
                        .bytes = bytes_of("\0\0\0\x09"
                                          "abc"),
                        .count = 7,
                        .prefix = 4,
                        .length = 9,
                        .arrived = 3};
    expect_story(NULL, &ending,
                 "the peer ended the connection, inside a message, after 3 of its 9 bytes");
    ending.error = TCPMSG_ERESET;
    expect_story(NULL, &ending,
                 "the peer reset the connection, inside a message, after 3 of its 9 bytes");
}

static void an_end_inside_a_prefix_says_how_far_it_had_come(void **state)
{
    (void)state;
    tm_ending ending = {.error = TCPMSG_ETRUNCATED, .bytes = bytes_of("\x80\x80"), .count = 2};
    expect_story(NULL, &ending,
                 "the peer ended the connection, inside a message, after 2 of the 4 bytes of its "
                 "length prefix");
    expect_story(TCPMSG_OPTIONS(.framing = {.width = TCPMSG_VARINT}), &ending,
                 "the peer ended the connection, inside a message, after 2 bytes of its length "
                 "prefix");
}

static void a_stall_names_the_messages_limit(void **state)
{
    (void)state;
    tm_ending ending = {.error = TCPMSG_ESTALLED, .bytes = bytes_of("\0"), .count = 1};
    expect_story(TCPMSG_OPTIONS(.message_timeout_ms = 250), &ending,
                 "the peer did not get on in time (the limit for a message is 250 ms), inside a "
                 "message, after 1 of the 4 bytes of its length prefix");
}

static void a_stall_that_the_system_told_has_another_clock(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, TCPMSG_OPTIONS(.message_timeout_ms = 250));
    assert_int_equal(tm_conn_os_error(conn, -ETIMEDOUT), TCPMSG_ESTALLED);
    tm_conn_tell_ending(conn, &(tm_ending){.error = TCPMSG_ESTALLED});
    assert_string_equal(tcpmsg_conn_why(conn), "the peer did not get on in time");
    tcpmsg_close(conn);
    close(raw);
}

static void the_first_error_of_the_system_is_remembered(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    tcpmsg_info info;
    pair_unix(&conn, &raw, NULL);
    assert_int_equal(tm_conn_os_error(conn, -ECONNRESET), TCPMSG_ERESET);
    assert_int_equal(tm_conn_os_error(conn, -EHOSTUNREACH), TCPMSG_EUNREACHABLE);
    assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
    assert_int_equal(info.os_error, ECONNRESET);
    tcpmsg_close(conn);
    close(raw);
}

static void a_reason_is_the_systems_own_where_the_code_says_no_more(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char room[TM_ERRNO_TEXT_MOST];
    pair_unix(&conn, &raw, NULL);
    assert_string_equal(tm_conn_reason(conn, TCPMSG_ESYSTEM, room),
                        tcpmsg_strerror(TCPMSG_ESYSTEM));
    assert_code(tm_conn_os_error(conn, -EIO), TCPMSG_ESYSTEM);
    assert_string_equal(tm_conn_reason(conn, TCPMSG_ESYSTEM, room), strerror(EIO));
    assert_string_equal(tm_conn_reason(conn, TCPMSG_ERESET, room), tcpmsg_strerror(TCPMSG_ERESET));
    tcpmsg_close(conn);
    close(raw);
}

static void promise_5_a_prefix_of_many_bytes_is_told_to_its_end(void **state)
{
    (void)state;
    static const char varint[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    expect_story(TCPMSG_OPTIONS(.framing = {.width = TCPMSG_VARINT}),
                 &(tm_ending){.error = TCPMSG_EPROTO, .bytes = bytes_of(varint), .count = 12},
                 "the peer sent a malformed length prefix, "
                 "\"\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\"");
    static const char marks[] = "\"\\~\x7f";
    expect_story(TCPMSG_OPTIONS(.framing = {.counts_prefix = 1}),
                 &(tm_ending){.error = TCPMSG_EPROTO, .bytes = bytes_of(marks), .count = 4},
                 "the peer sent a malformed length prefix, \"\\x22\\x5c~\\x7f\"");
}

static void without_memory_there_is_a_shorter_story(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, NULL);
    call_fails(CALL_strdup, ENOMEM, 1);
    tm_conn_tell(conn, "a story of %d words", 5);
    assert_int_equal(calls_failed(), 1);
    const char *why = tcpmsg_conn_why(conn);
    assert_string_not_equal(why, "");
    tm_conn_tell(conn, "another story");
    assert_ptr_equal(tcpmsg_conn_why(conn), why);
    tcpmsg_close(conn);
    close(raw);
}

static void a_story_without_an_end_is_cut(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char endless[2000];
    pair_unix(&conn, &raw, NULL);
    memset(endless, 'x', sizeof endless);
    tm_conn_tell(conn, "%.*s", (int)sizeof endless, endless);
    size_t len = strlen(tcpmsg_conn_why(conn));
    assert_true(len > 100 && len < sizeof endless);
    assert_memory_equal(tcpmsg_conn_why(conn), endless, len);
    tcpmsg_close(conn);
    close(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_end_between_messages),
        cmocka_unit_test(an_end_inside_a_message_says_how_far_it_had_come),
        cmocka_unit_test(an_end_inside_a_prefix_says_how_far_it_had_come),
        cmocka_unit_test(a_stall_names_the_messages_limit),
        cmocka_unit_test(a_stall_that_the_system_told_has_another_clock),
        cmocka_unit_test(the_first_error_of_the_system_is_remembered),
        cmocka_unit_test(a_reason_is_the_systems_own_where_the_code_says_no_more),
        cmocka_unit_test(promise_5_a_prefix_of_many_bytes_is_told_to_its_end),
        cmocka_unit_test(without_memory_there_is_a_shorter_story),
        cmocka_unit_test(a_story_without_an_end_is_cut),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
