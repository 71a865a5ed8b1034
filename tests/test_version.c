/* SPDX-License-Identifier: MIT */
/* The library's version is that of its headers. */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <stdio.h>
#include <unistd.h>

static void the_version_is_the_headers_own(void **state)
{
    (void)state;
    char wanted[32];
    snprintf(wanted, sizeof wanted, "%d.%d.%d", TCPMSG_VERSION_MAJOR, TCPMSG_VERSION_MINOR,
             TCPMSG_VERSION_PATCH);
    assert_string_equal(tcpmsg_version(), wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_version_is_the_headers_own)};
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
