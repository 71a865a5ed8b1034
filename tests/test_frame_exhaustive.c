/* SPDX-License-Identifier: MIT */
/*
 * The default prefix for all of its 2^32 values, there and back. The model is an odometer of four
 * wheels: the bytes are counted, and the length is how often the last one has moved.
 */
#include "support.h"

#include <string.h>
#include <unistd.h>

/* Well over what a slow machine needs at -O2. */
#define EXHAUSTIVE_SECONDS 600

/* How many of the 2^24 prefixes that begin with `first` don't go there and back as they should. */
static unsigned long wrong_prefixes(unsigned first)
{
    unsigned long wrong = 0;
    size_t expected = (size_t)first * 256 * 256 * 256;
    for (unsigned second = 0; second < 256; second++) {
        for (unsigned third = 0; third < 256; third++) {
            for (unsigned fourth = 0; fourth < 256; fourth++, expected++) {
                const uint8_t bytes[4] = {(uint8_t)first, (uint8_t)second, (uint8_t)third,
                                          (uint8_t)fourth};
                uint8_t prefix[TCPMSG_PREFIX_MAX];
                size_t length;
                if (tcpmsg_frame_decode(NULL, bytes, 4, &length) != 4 || length != expected ||
                    tcpmsg_frame_encode(NULL, length, prefix) != 4 || memcmp(prefix, bytes, 4) != 0)
                    wrong++;
            }
        }
    }
    return wrong;
}

static void promise_4_every_prefix_of_four_bytes_says_its_length(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++)
        assert_int_equal(wrong_prefixes(first), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_4_every_prefix_of_four_bytes_says_its_length),
    };
    alarm(EXHAUSTIVE_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
