/* SPDX-License-Identifier: MIT */
/* A caller's options become settings: checked, with the defaults filled in, shared by counting. */
#define _GNU_SOURCE
#include "settings.h"
#include "shortage.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

static tm_settings *settings_of(const tcpmsg_options *options)
{
    tm_settings *settings = NULL;
    tm_story story;
    assert_int_equal(tm_settings_make(&settings, options, &story), 0);
    assert_non_null(settings);
    return settings;
}

static void expect_defaults(const tcpmsg_options *options)
{
    tm_settings *settings = settings_of(options);
    assert_int_equal(settings->max_message, 16 << 20);
    assert_int_equal(settings->codec.width, 4);
    assert_int_equal(settings->codec.little_endian, 0);
    assert_int_equal(settings->codec.own, 0);
    assert_int_equal(settings->codec.most, 16 << 20);
    assert_int_equal(settings->connect_timeout_ms, 30000);
    assert_int_equal(settings->send_timeout_ms, TCPMSG_NO_LIMIT);
    assert_int_equal(settings->recv_timeout_ms, TCPMSG_NO_LIMIT);
    assert_int_equal(settings->message_timeout_ms, TCPMSG_NO_LIMIT);
    assert_int_equal(settings->linger_ms, 2000);
    assert_int_equal(settings->spin_us, 0);
    assert_int_equal(settings->backlog, 4096);
    assert_int_equal(settings->keepalive_s, 15);
    assert_int_equal(settings->user_timeout_ms, 0);
    assert_false(settings->reuse_port);
    tm_settings_unref(settings);
}

static void no_options_are_the_defaults(void **state)
{
    (void)state;
    expect_defaults(NULL);
    expect_defaults(&(tcpmsg_options){0});
    expect_defaults(TCPMSG_OPTIONS(.backlog = 0));
}

static void what_is_given_is_what_is_set(void **state)
{
    (void)state;
    tm_settings *settings = settings_of(
        TCPMSG_OPTIONS(.max_message = SSIZE_MAX,
                       .framing = {.width = 8, .little_endian = 1, .counts_prefix = 1},
                       .connect_timeout_ms = 1, .send_timeout_ms = 2, .recv_timeout_ms = 3,
                       .message_timeout_ms = 4, .linger_ms = 5, .spin_us = 6, .backlog = 7,
                       .keepalive_s = 8, .user_timeout_ms = 9, .reuse_port = 1));
    assert_true(settings->max_message == SSIZE_MAX);
    assert_int_equal(settings->codec.width, 8);
    assert_int_equal(settings->codec.little_endian, 1);
    assert_int_equal(settings->codec.own, 8);
    assert_true(settings->codec.most == SSIZE_MAX);
    assert_int_equal(settings->connect_timeout_ms, 1);
    assert_int_equal(settings->send_timeout_ms, 2);
    assert_int_equal(settings->recv_timeout_ms, 3);
    assert_int_equal(settings->message_timeout_ms, 4);
    assert_int_equal(settings->linger_ms, 5);
    assert_int_equal(settings->spin_us, 6);
    assert_int_equal(settings->backlog, 7);
    assert_int_equal(settings->keepalive_s, 8);
    assert_int_equal(settings->user_timeout_ms, 9);
    assert_true(settings->reuse_port);
    tm_settings_unref(settings);
}

static void a_limit_that_is_lifted(void **state)
{
    (void)state;
    tm_settings *settings = settings_of(
        TCPMSG_OPTIONS(.connect_timeout_ms = TCPMSG_NO_LIMIT, .linger_ms = TCPMSG_NO_LINGER,
                       .backlog = TCPMSG_NO_LIMIT, .keepalive_s = TCPMSG_NO_LIMIT,
                       .user_timeout_ms = TCPMSG_NO_LIMIT));
    assert_int_equal(settings->connect_timeout_ms, TCPMSG_NO_LIMIT);
    assert_int_equal(settings->linger_ms, 0);
    assert_int_equal(settings->backlog, INT_MAX);
    assert_int_equal(settings->keepalive_s, 0);
    assert_int_equal(settings->user_timeout_ms, 0);
    tm_settings_unref(settings);
}

/* The story is the caller's room from then on: who fails later tells it there. */
static void the_story_is_the_callers_room(void **state)
{
    (void)state;
    char why[32];
    tm_settings *settings;
    tm_story story;
    assert_int_equal(
        tm_settings_make(&settings, TCPMSG_OPTIONS(.why = why, .why_size = sizeof why), &story), 0);
    assert_ptr_equal(story.text, why);
    assert_int_equal(story.size, sizeof why);
    assert_int_equal(story.len, 0);
    tm_settings_unref(settings);
    assert_int_equal(tm_settings_make(&settings, NULL, &story), 0);
    assert_int_equal(story.size, 0);
    tm_settings_unref(settings);
}

static void what_is_refused_is_told_and_makes_nothing(void **state)
{
    (void)state;
    char why[128] = "";
    tm_settings *settings = NULL;
    tm_story story;
    long before = allocations();
    assert_int_equal(tm_settings_make(&settings,
                                      TCPMSG_OPTIONS(.backlog = -2, .why = why, .why_size = 128),
                                      &story),
                     TCPMSG_EINVAL);
    assert_null(settings);
    assert_non_null(strstr(why, "backlog"));
    assert_int_equal(story.len, strlen(why));
    assert_int_equal(allocations(), before);
}

static void a_yes_or_no_is_0_or_1(void **state)
{
    (void)state;
    const tcpmsg_framing framings[] = {{.little_endian = 2}, {.counts_prefix = -1}};
    for (size_t i = 0; i < COUNT(framings); i++) {
        tm_settings *settings = NULL;
        tm_story story;
        assert_int_equal(
            tm_settings_make(&settings, TCPMSG_OPTIONS(.framing = framings[i]), &story),
            TCPMSG_EINVAL);
        assert_null(settings);
    }
}

static void room_for_a_story_has_to_be_somewhere(void **state)
{
    (void)state;
    tm_settings *settings = NULL;
    tm_story story;
    assert_int_equal(tm_settings_make(&settings, TCPMSG_OPTIONS(.why_size = 1), &story),
                     TCPMSG_EINVAL);
    assert_int_equal(story.size, 0);
    assert_null(settings);
}

static void no_memory_is_told(void **state)
{
    (void)state;
    char why[128] = "";
    tm_settings *settings = NULL;
    tm_story story;
    call_fails(CALL_malloc, 1, 1);
    assert_int_equal(
        tm_settings_make(&settings, TCPMSG_OPTIONS(.why = why, .why_size = sizeof why), &story),
        TCPMSG_ENOMEM);
    assert_int_equal(calls_failed(), 1);
    assert_null(settings);
    assert_string_equal(why, tcpmsg_strerror(TCPMSG_ENOMEM));
}

static void the_last_reference_frees_it(void **state)
{
    (void)state;
    long before = allocations();
    tm_settings *settings = settings_of(NULL);
    assert_ptr_equal(tm_settings_ref(settings), settings);
    tm_settings_unref(settings);
    assert_int_equal(allocations(), before + 1);
    tm_settings_unref(settings);
    assert_int_equal(allocations(), before);
    tm_settings_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_options_are_the_defaults),
        cmocka_unit_test(what_is_given_is_what_is_set),
        cmocka_unit_test(a_limit_that_is_lifted),
        cmocka_unit_test(the_story_is_the_callers_room),
        cmocka_unit_test(what_is_refused_is_told_and_makes_nothing),
        cmocka_unit_test(a_yes_or_no_is_0_or_1),
        cmocka_unit_test(room_for_a_story_has_to_be_somewhere),
        cmocka_unit_test(no_memory_is_told),
        cmocka_unit_test(the_last_reference_frees_it),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
