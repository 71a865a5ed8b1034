/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include "rounds.h"

#include <stdlib.h>

#include "guest.h"

long test_rounds(long everyday)
{
    const char *text = getenv("TESTS_ROUNDS");
    long rounds = text ? atol(text) : 0;
    if (rounds > 0)
        return rounds;
    return under_valgrind() ? (everyday + 9) / 10 : everyday;
}

bool is_soak(void)
{
    return getenv("TESTS_ROUNDS") || getenv("TESTS_SECONDS");
}
