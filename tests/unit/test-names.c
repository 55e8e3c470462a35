/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of files out of names that hold anything. */
#include "fs/names.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static void anything_becomes_a_file_name(void **state)
{
    (void)state;
#define CASE(name, want)                                                                                     \
    {                                                                                                        \
        name, sizeof(name) - 1, want                                                                         \
    }
    static const struct {
        const char *name;
        size_t n;
        const char *want;
    } cases[] = {
        CASE("before update", "before update"),
        CASE("", ""),
        CASE(".", "%2E"),
        CASE("..", "%2E%2E"),
        CASE("...", "..."),
        CASE(".a", ".a"),
        CASE("a/b", "a%2Fb"),
        CASE("100%", "100%25"),
        CASE("%2F", "%252F"),
        CASE("a\0b", "a%00b"),
        CASE("line\nbreak", "line\nbreak"),
        CASE("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"),
        CASE("\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80"),
        CASE("\xff", "%FF"),
        CASE("cut \xe2\x82", "cut %E2%82"),
        CASE("\xc3", "%C3"),
        CASE("overlong \xc0\xaf", "overlong %C0%AF"),
        CASE("\xe0\x80\xaf", "%E0%80%AF"),
        CASE("\xed\xa0\x80", "%ED%A0%80"), /* a surrogate */
        CASE("\xf4\x90\x80\x80", "%F4%90%80%80"),
        CASE("\xf0\x82\x82\xac", "%F0%82%82%AC"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char got[FILE_NAME_MAX + 1];
        name_escape(cases[i].name, cases[i].n, got);
        assert_string_equal(got, cases[i].want);
    }
}

/* Every length around the limit, with a last character of one to four bytes or an escape there. */
static void long_names_are_cut_and_told_apart(void **state)
{
    (void)state;
    static const char *const last[] = {
        "x", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "/", "%", "\xff"
    };
    for (size_t k = 0; k < sizeof last / sizeof last[0]; k++)
        for (size_t n = 228; n <= 300; n++) {
            char name[400], got[FILE_NAME_MAX + 1], other[FILE_NAME_MAX + 1];
            memset(name, 'n', n);
            strcpy(name + n, last[k]);
            memset(name + strlen(name), 'y', 40);
            size_t length = n + strlen(last[k]) + 40;
            name_escape(name, length, got);
            assert_true(strlen(got) <= FILE_NAME_MAX);
            const char *mark = strstr(got, "%~");
            assert_non_null(mark);
            assert_int_equal(strlen(mark), 18);
            /* nothing is cut within a character or an escape */
            size_t kept = (size_t)(mark - got);
            assert_true(kept <= n || kept >= n + (strchr("/%\xff", last[k][0]) ? 3 : strlen(last[k])));
            name[length - 1] = 'z';
            name_escape(name, length, other);
            assert_string_not_equal(got, other);
        }
}

static void taken_names_get_a_number(void **state)
{
    (void)state;
    char name[FILE_NAME_MAX + 1] = "one", whole[FILE_NAME_MAX + 1];
    name_number(name, 4);
    assert_string_equal(name, "one%~4");
    name[0] = 0;
    name_number(name, 12);
    assert_string_equal(name, "%~12");
    memset(whole, 'n', FILE_NAME_MAX);
    whole[FILE_NAME_MAX] = 0;
    name_number(whole, 256);
    assert_int_equal(strlen(whole), FILE_NAME_MAX);
    assert_string_equal(whole + FILE_NAME_MAX - 5, "%~256");
    memset(whole, 'n', FILE_NAME_MAX);
    memcpy(whole + FILE_NAME_MAX - 6, "%2Fnnn", 6); /* the escape would be cut in two */
    name_number(whole, 256);
    assert_string_equal(whole + FILE_NAME_MAX - 6, "%~256");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anything_becomes_a_file_name),
        cmocka_unit_test(long_names_are_cut_and_told_apart),
        cmocka_unit_test(taken_names_get_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
