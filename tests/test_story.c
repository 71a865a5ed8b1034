/* SPDX-License-Identifier: MIT */
/* A story is told into the room that the caller has, which may be none. */
#define _POSIX_C_SOURCE 200809L
#include "story.h"
#include "support.h"

#include <string.h>
#include <unistd.h>

static void telling_begins_anew_and_adding_goes_on(void **state)
{
    (void)state;
    char text[64];
    tm_story story = {.text = text, .size = sizeof text};
    tm_story_tell(&story, "can't reach %s", "it");
    assert_string_equal(text, "can't reach it");
    assert_int_equal(story.len, 14);
    tm_story_add(&story, ": error %d", 5);
    tm_story_add(&story, "%s", "");
    assert_string_equal(text, "can't reach it: error 5");
    assert_int_equal(story.len, strlen(text));
    tm_story_tell(&story, "other");
    assert_string_equal(text, "other");
    assert_int_equal(story.len, 5);
}

static void expect_cut(size_t size, const char *wanted)
{
    char text[16];
    tm_story story = {.text = text, .size = size};
    memset(text, '~', sizeof text);
    tm_story_tell(&story, "%s", "123");
    tm_story_add(&story, "%s", "456789");
    tm_story_add(&story, "%s", "0");
    assert_string_equal(text, wanted);
    assert_int_equal(story.len, strlen(wanted));
    for (size_t i = size; i < sizeof text; i++)
        assert_int_equal(text[i], '~');
}

static void it_is_cut_to_fit_and_ends_with_a_NUL(void **state)
{
    (void)state;
    static const char whole[] = "1234567890";
    for (size_t size = 1; size <= 12; size++) {
        char wanted[12] = "";
        memcpy(wanted, whole, size - 1 < sizeof whole ? size - 1 : sizeof whole);
        expect_cut(size, wanted);
    }
}

static void no_room_takes_no_story(void **state)
{
    (void)state;
    char text = '~';
    tm_story nowhere = {0}, no_size = {.text = &text};
    tm_story_tell(&nowhere, "%d", 1);
    tm_story_add(&nowhere, "%d", 2);
    assert_int_equal(nowhere.len, 0);
    tm_story_tell(&no_size, "%d", 1);
    tm_story_add(&no_size, "%d", 2);
    assert_int_equal(text, '~');
    tm_story_tell(NULL, "%d", 1);
    tm_story_add(NULL, "%d", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(telling_begins_anew_and_adding_goes_on),
        cmocka_unit_test(it_is_cut_to_fit_and_ends_with_a_NUL),
        cmocka_unit_test(no_room_takes_no_story),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
