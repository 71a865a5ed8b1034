/* SPDX-License-Identifier: MIT */
/* Promise 5: the error helps. The story has the numbers, and a guess at who is speaking. */
#define _GNU_SOURCE
#include "peer.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A story may hold bytes that a peer chose: it goes into logs and terminals, so only print. */
static void expect_printable(const char *story)
{
    assert_string_not_equal(story, "");
    for (const char *at = story; *at; at++)
        assert_true(isprint((unsigned char)*at));
}

/* The story of a connection whose first bytes are these; close it with end_story. */
static const char *begin_story(tcpmsg_conn **conn, int *raw, const tcpmsg_options *options,
                               const char *bytes, size_t count, int error)
{
    char byte;
    pair(conn, raw, options);
    assert_true(write_all(*raw, bytes, count));
    assert_string_equal(tcpmsg_conn_why(*conn), "");
    assert_string_equal(tcpmsg_error_name((int)tcpmsg_recv(*conn, &byte, 1, 0)),
                        tcpmsg_error_name(error));
    const char *story = tcpmsg_conn_why(*conn);
    expect_printable(story);
    return story;
}

static void end_story(tcpmsg_conn *conn, int raw)
{
    tcpmsg_close(conn);
    close(raw);
}

struct speech {
    const char *bytes;
    size_t count;
    const char *name;
};

#define SAYS(text) text, sizeof(text) - 1

static const struct speech speeches[] = {
    {SAYS("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"), "HTTP"},
    {SAYS("POST /form HTTP/1.1\r\n"), "HTTP"},
    {SAYS("HEAD / HTTP/1.0\r\n"), "HTTP"},
    {SAYS("PUT /file HTTP/1.1\r\n"), "HTTP"},
    {SAYS("DELETE /file HTTP/1.1\r\n"), "HTTP"},
    {SAYS("OPTIONS * HTTP/1.1\r\n"), "HTTP"},
    {SAYS("HTTP/1.1 400 Bad Request\r\n"), "HTTP"},
    {SAYS("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "TLS"},
    {SAYS("\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"), "TLS"},
    {SAYS("SSH-2.0-OpenSSH_9.2p1\r\n"), "SSH"},
    {SAYS("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"), "PROXY"},
    {SAYS("\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"), "PROXY"},
    {SAYS("\xff\0\0\0\0\0\0\0\x01\x7f"), "ZeroMQ"},
};

static void expect_name(const tcpmsg_options *options, const struct speech *speech)
{
    tcpmsg_conn *conn;
    int raw;
    const char *story =
        begin_story(&conn, &raw, options, speech->bytes, speech->count, TCPMSG_EMSGSIZE);
    if (!says(story, speech->name))
        fail_msg("\"%s\" does not say %s", story, speech->name);
    end_story(conn, raw);
}

static void promise_5_other_protocols_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(speeches); i++)
        expect_name(NULL, &speeches[i]);
}

static void promise_5_they_are_named_under_other_framings(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(speeches); i++) {
        expect_name(TCPMSG_OPTIONS(.max_message = 100, .framing.counts_prefix = 1), &speeches[i]);
        if (strcmp(speeches[i].name, "ZeroMQ") != 0)
            expect_name(TCPMSG_OPTIONS(.max_message = 100, .framing.little_endian = 1),
                        &speeches[i]);
        expect_name(TCPMSG_OPTIONS(.framing.width = 8), &speeches[i]);
    }
}

/* nng's greeting reads as 5,459,968: under the usual limit, so it takes a lower one to notice. */
static void promise_5_nng_is_named(void **state)
{
    (void)state;
    static const struct speech nng = {SAYS("\0SP\0\0\x10\0\0"), "nng"};
    expect_name(TCPMSG_OPTIONS(.max_message = 1 << 20), &nng);
    expect_name(TCPMSG_OPTIONS(.framing.width = 8), &nng);
}

static void promise_5_length_and_limit_are_named(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    const char *story = begin_story(&conn, &raw, NULL, SAYS("GET / HTTP/1.1\r\n"), TCPMSG_EMSGSIZE);
    assert_true(says_number(story, 0x47455420) && says_number(story, 16777216));
    end_story(conn, raw);
    story = begin_story(&conn, &raw, TCPMSG_OPTIONS(.max_message = 1000, .framing.width = 2),
                        SAYS("\x03\xe9"), TCPMSG_EMSGSIZE);
    assert_true(says_number(story, 1001) && says_number(story, 1000));
    assert_false(says(story, "HTTP") || says(story, "TLS") || says(story, "SSH"));
    end_story(conn, raw);
    story = begin_story(&conn, &raw, TCPMSG_OPTIONS(.framing.width = 8), SAYS("\0\0\0\x10\0\0\0\0"),
                        TCPMSG_EMSGSIZE);
    assert_true(says_number(story, 68719476736) && says_number(story, 16777216));
    end_story(conn, raw);
}

static void promise_5_the_other_byte_order_is_named(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    static const struct {
        tcpmsg_framing framing;
        const char *bytes;
        size_t count;
        bool other;
    } cases[] = {
        {{0}, SAYS("\x05\0\0\0hello"), true},
        {{.little_endian = 1}, SAYS("\0\0\0\x05hello"), true},
        {{.width = 8}, SAYS("\x05\x01\0\0\0\0\0\0hello"), true},
        {{0}, SAYS("\x7f\x7f\x7f\x7fhello"), false},
        {{.counts_prefix = 1}, SAYS("\x03\0\0\0hello"), false}, /* shorter than itself */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *story = begin_story(&conn, &raw, TCPMSG_OPTIONS(.framing = cases[i].framing),
                                        cases[i].bytes, cases[i].count, TCPMSG_EMSGSIZE);
        assert_int_equal(says(story, "byte order") || says(story, "endian"), cases[i].other);
        end_story(conn, raw);
    }
}

/* Control bytes, escapes and quotes of a prefix don't reach a terminal. */
static void promise_5_the_story_is_safe_to_print(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char hostile[4];
    for (int byte = 2; byte < 256; byte++) {
        memset(hostile, byte, sizeof hostile);
        begin_story(&conn, &raw, NULL, hostile, sizeof hostile, TCPMSG_EMSGSIZE);
        end_story(conn, raw);
    }
    begin_story(&conn, &raw, NULL, SAYS("\x1b[2J"), TCPMSG_EMSGSIZE);
    end_story(conn, raw);
    begin_story(&conn, &raw, TCPMSG_OPTIONS(.framing.counts_prefix = 1), SAYS("\0\0\0\2"),
                TCPMSG_EPROTO);
    end_story(conn, raw);
}

static const char *truncated_story(tcpmsg_conn **conn, const tcpmsg_options *options,
                                   const char *bytes, size_t count)
{
    int raw;
    char text[200];
    pair(conn, &raw, options);
    assert_true(write_all(raw, bytes, count));
    close(raw);
    assert_code(tcpmsg_recv(*conn, text, sizeof text, 0), TCPMSG_ETRUNCATED);
    expect_printable(tcpmsg_conn_why(*conn));
    return tcpmsg_conn_why(*conn);
}

static void promise_3_truncated_names_how_many_of_how_many(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    const char *story = truncated_story(&conn, NULL, SAYS("\0\0\0\x65seventeen bytes.."));
    assert_true(says_number(story, 17) && says_number(story, 101));
    tcpmsg_close(conn);
    story = truncated_story(&conn, NULL, SAYS("\0\0\0\x65"));
    assert_true(says_number(story, 0) && says_number(story, 101));
    tcpmsg_close(conn);
    story = truncated_story(&conn, TCPMSG_OPTIONS(.framing.width = 8), SAYS("\0\0\0"));
    assert_true(says_number(story, 3) && says_number(story, 8));
    tcpmsg_close(conn);
}

/* The first end's story stays, the pointer too, whatever comes later. */
static void promise_5_written_once(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char copy[1000];
    const char *story = begin_story(&conn, &raw, NULL, SAYS("SSH-2.0-x\r\n"), TCPMSG_EMSGSIZE);
    assert_true(strlen(story) < sizeof copy);
    strcpy(copy, story);
    tcpmsg_conn_ref(conn);
    raw_reset(raw);
    for (int i = 0; i < 10000 && tcpmsg_send(conn, "x", 1, 0) == 0; i++)
        continue;
    assert_ptr_equal(tcpmsg_conn_why(conn), story);
    tcpmsg_abort(conn);
    assert_ptr_equal(tcpmsg_conn_why(conn), story);
    tcpmsg_close(conn);
    assert_ptr_equal(tcpmsg_conn_why(conn), story);
    assert_string_equal(story, copy);
    tcpmsg_conn_unref(conn);
}

static void promise_5_no_story_before_an_end(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    pair(&conn, &raw, TCPMSG_OPTIONS(.recv_timeout_ms = 1, .max_message = 8));
    assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_ETIMEDOUT);
    assert_code(tcpmsg_recv(conn, text, sizeof text, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    assert_code(tcpmsg_recv(conn, NULL, 1, 0), TCPMSG_EINVAL);
    assert_code(tcpmsg_send(conn, "too long.", 9, 0), TCPMSG_EMSGSIZE);
    assert_true(raw_send(raw, "hello") && raw_send(raw, "world"));
    assert_int_equal(tcpmsg_conn_set_timeouts(conn, 0, WAIT_MS), 0);
    assert_code(tcpmsg_recv(conn, text, 1, 0), TCPMSG_EBUFSIZE);
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
    assert_int_equal(tcpmsg_shutdown(conn), 0);
    assert_code(tcpmsg_send(conn, "late", 4, 0), TCPMSG_ECLOSED);
    close(raw);
    assert_string_equal(tcpmsg_conn_why(conn), "");
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
    assert_string_equal(tcpmsg_conn_why(conn), "");
    assert_code(tcpmsg_recv(conn, text, sizeof text, 0), TCPMSG_EOF);
    expect_printable(tcpmsg_conn_why(conn));
    tcpmsg_close(conn);
}

static void promise_5_an_abort_has_a_story(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    tcpmsg_abort(conn);
    expect_printable(tcpmsg_conn_why(conn));
    tcpmsg_close(conn);
    close(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_5_other_protocols_are_named),
        cmocka_unit_test(promise_5_they_are_named_under_other_framings),
        cmocka_unit_test(promise_5_nng_is_named),
        cmocka_unit_test(promise_5_length_and_limit_are_named),
        cmocka_unit_test(promise_5_the_other_byte_order_is_named),
        cmocka_unit_test(promise_5_the_story_is_safe_to_print),
        cmocka_unit_test(promise_3_truncated_names_how_many_of_how_many),
        cmocka_unit_test(promise_5_written_once),
        cmocka_unit_test(promise_5_no_story_before_an_end),
        cmocka_unit_test(promise_5_an_abort_has_a_story),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
