/* SPDX-License-Identifier: MIT */
/* The table of errors: its numbers are promised to programs that are compiled already. */
#include "support.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

struct error_case {
    int code;
    int number;
    const char *name;
};

/* Written out once more on purpose: a code that moves in the header must fail here. */
static const struct error_case promised[] = {
    {TCPMSG_EOF, -1, "TCPMSG_EOF"},
    {TCPMSG_ETRUNCATED, -2, "TCPMSG_ETRUNCATED"},
    {TCPMSG_ERESET, -3, "TCPMSG_ERESET"},
    {TCPMSG_ESTALLED, -4, "TCPMSG_ESTALLED"},
    {TCPMSG_ETIMEDOUT, -5, "TCPMSG_ETIMEDOUT"},
    {TCPMSG_EAGAIN, -6, "TCPMSG_EAGAIN"},
    {TCPMSG_EMSGSIZE, -7, "TCPMSG_EMSGSIZE"},
    {TCPMSG_EBUFSIZE, -8, "TCPMSG_EBUFSIZE"},
    {TCPMSG_EPROTO, -9, "TCPMSG_EPROTO"},
    {TCPMSG_ECANCELED, -10, "TCPMSG_ECANCELED"},
    {TCPMSG_ECLOSED, -11, "TCPMSG_ECLOSED"},
    {TCPMSG_EINVAL, -12, "TCPMSG_EINVAL"},
    {TCPMSG_ENOMEM, -13, "TCPMSG_ENOMEM"},
    {TCPMSG_EREFUSED, -14, "TCPMSG_EREFUSED"},
    {TCPMSG_EUNREACHABLE, -15, "TCPMSG_EUNREACHABLE"},
    {TCPMSG_EINUSE, -16, "TCPMSG_EINUSE"},
    {TCPMSG_EADDRESS, -17, "TCPMSG_EADDRESS"},
    {TCPMSG_ERESOLVE, -18, "TCPMSG_ERESOLVE"},
    {TCPMSG_EMFILE, -19, "TCPMSG_EMFILE"},
    {TCPMSG_EACCESS, -20, "TCPMSG_EACCESS"},
    {TCPMSG_ESYSTEM, -21, "TCPMSG_ESYSTEM"},
};

/* What the header's own table says, to hold the functions against it. */
struct header_row {
    int code;
    const char *name;
    const char *sentence;
};

#define ROW(name, number, sentence) {(number), #name, (sentence)},
static const struct header_row header[] = {TCPMSG_ERRORS(ROW)};
#undef ROW

static bool in_header(int code)
{
    for (size_t i = 0; i < COUNT(header); i++)
        if (header[i].code == code)
            return true;
    return false;
}

static void the_numbers_never_change(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(promised); i++) {
        assert_int_equal(promised[i].code, promised[i].number);
        assert_string_equal(tcpmsg_error_name(promised[i].number), promised[i].name);
    }
}

static void every_code_is_negative_and_the_only_one_with_its_number_and_sentence(void **state)
{
    (void)state;
    assert_true(COUNT(header) >= COUNT(promised));
    for (size_t i = 0; i < COUNT(header); i++) {
        assert_true(header[i].code < 0);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(header[i].code, header[j].code);
            assert_string_not_equal(header[i].sentence, header[j].sentence);
        }
    }
}

static void every_code_has_the_name_and_the_sentence_of_the_header(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(header); i++) {
        assert_string_equal(tcpmsg_error_name(header[i].code), header[i].name);
        assert_string_equal(tcpmsg_strerror(header[i].code), header[i].sentence);
    }
}

/* A sentence for any int; the codes' names for nobody else. */
static void expect_words_for(int number)
{
    const char *name = tcpmsg_error_name(number);
    assert_non_null(tcpmsg_strerror(number));
    assert_true(strlen(tcpmsg_strerror(number)) > 0);
    assert_non_null(name);
    if (number >= 0)
        assert_string_equal(name, "TCPMSG_OK");
    else if (!in_header(number))
        assert_string_equal(name, "TCPMSG_E?");
}

static void any_int_has_a_name_and_a_sentence(void **state)
{
    (void)state;
    const int far_out[] = {INT_MIN, INT_MIN + 1, INT_MIN / 2, INT_MAX / 2, INT_MAX - 1, INT_MAX};
    for (size_t i = 0; i < COUNT(far_out); i++)
        expect_words_for(far_out[i]);
    for (int number = -70000; number <= 70000; number++)
        expect_words_for(number);
}

static void the_words_are_static(void **state)
{
    (void)state;
    assert_ptr_equal(tcpmsg_strerror(TCPMSG_EOF), tcpmsg_strerror(TCPMSG_EOF));
    assert_ptr_equal(tcpmsg_error_name(INT_MIN), tcpmsg_error_name(INT_MIN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_numbers_never_change),
        cmocka_unit_test(every_code_is_negative_and_the_only_one_with_its_number_and_sentence),
        cmocka_unit_test(every_code_has_the_name_and_the_sentence_of_the_header),
        cmocka_unit_test(any_int_has_a_name_and_a_sentence),
        cmocka_unit_test(the_words_are_static),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
