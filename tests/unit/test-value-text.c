/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "registry/value-text.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct row {
    uint32_t type;
    const char *data;
    size_t n;
    const char *text;
};
#define ROW(type, data, text)                                                                                \
    {                                                                                                        \
        type, data, sizeof(data) - 1, text                                                                   \
    }

/* Bytes that have a text, which gives them back. */
static const struct row exact[] = {
    ROW(1, "a\0b\0\0\0", "ab\n"),
    ROW(1, "\0\0", "\n"),
    ROW(2, "%\0\0\0", "%\n"),
    ROW(1, "a\0\n\0b\0\0\0", "a\nb\n"),
    ROW(1, "a\0\n\0\0\0", "a\n\n"),
    ROW(1, "\r\0\0\0", "\r\n"),
    ROW(1, "\xe9\0\x3d\xd8\0\xde\0\0", "\xc3\xa9\xf0\x9f\x98\x80\n"),
    ROW(6, "a\0b\0", "ab\n"),
    ROW(6, "", "\n"),
    ROW(7, "\0\0", ""),
    ROW(7, "a\0\0\0\0\0", "a\n"),
    ROW(7, "a\0\0\0b\0c\0\0\0\0\0", "a\nbc\n"),
    ROW(4, "\1\0\0\0", "0x00000001\n"),
    ROW(5, "\1\0\0\0", "0x01000000\n"),
    ROW(11, "\1\0\0\0\0\0\0\x80", "0x8000000000000001\n"),
    ROW(3, "\0\xff\n", "\0\xff\n"),
    ROW(0, "", ""),
    ROW(0xffff0012, "xyz", "xyz"),
};

static void test_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
        const struct row *r = &exact[i];
        size_t size, n;
        char text[64];
        uint8_t *data;
        assert_int_equal(value_text_size(r->type, (const uint8_t *)r->data, r->n, &size), 0);
        assert_int_equal(size, value_type_is_text(r->type) ? strlen(r->text) : r->n);
        value_to_text(r->type, (const uint8_t *)r->data, r->n, text);
        assert_memory_equal(text, r->text, size);
        assert_int_equal(value_from_text(r->type, text, size, &data, &n), 0);
        assert_int_equal(n, r->n);
        assert_memory_equal(data, r->data, n);
        free(data);
    }
}

/* Bytes whose text wouldn't give them back. */
static const struct row inexact[] = {
    ROW(1, "", NULL),
    ROW(1, "a", NULL),
    ROW(1, "a\0", NULL),
    ROW(1, "a\0\0", NULL),
    ROW(1, "a\0\0\0b\0", NULL),
    ROW(1, "a\0\0\0\0\0", NULL),
    ROW(1, "\0\xd8\0\0", NULL),
    ROW(6, "a\0\0\0", NULL),
    ROW(7, "", NULL),
    ROW(7, "a\0\0\0", NULL),
    ROW(7, "\0\0\0\0", NULL),
    ROW(7, "a\0\0\0\0\0\0\0", NULL),
    ROW(7, "a\0\n\0b\0\0\0\0\0", NULL),
    ROW(7, "a\0", NULL),
    ROW(4, "\1\0", NULL),
    ROW(4, "\1\0\0\0\0", NULL),
    ROW(11, "\1\0\0\0", NULL),
};

static void test_inexact(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof inexact / sizeof inexact[0]; i++) {
        size_t size;
        assert_int_equal(
            value_text_size(inexact[i].type, (const uint8_t *)inexact[i].data, inexact[i].n, &size), -EILSEQ);
    }
}

static void check_data(uint32_t type, const char *text, size_t n, const char *data, size_t want)
{
    uint8_t *got;
    size_t got_n;
    assert_int_equal(value_from_text(type, text, n, &got, &got_n), 0);
    assert_int_equal(got_n, want);
    assert_memory_equal(got, data, want);
    free(got);
}

static void test_people(void **state)
{
    (void)state;
    check_data(1, "ab", 2, "a\0b\0\0\0", 6); /* no newline */
    check_data(1, "", 0, "\0\0", 2);
    check_data(7, "a\nb", 3, "a\0\0\0b\0\0\0\0\0", 10);
    check_data(4, "3", 1, "\3\0\0\0", 4);
    check_data(4, "010\n", 4, "\12\0\0\0", 4); /* decimal */
    check_data(4, "0XfF\n", 5, "\xff\0\0\0", 4);
    check_data(4, "4294967295", 10, "\xff\xff\xff\xff", 4);
    check_data(4, "0x00000000000001", 16, "\1\0\0\0", 4);
    check_data(11, "18446744073709551615\n", 21, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        const char *text;
        size_t n;
        int check, value; /* of the text so far, and as a whole */
    } rows[] = {
        { 4, "", 0, 0, -EINVAL },
        { 4, "0x", 2, 0, -EINVAL },
        { 4, "0x\n", 3, -EINVAL, -EINVAL },
        { 4, "\n", 1, -EINVAL, -EINVAL },
        { 4, "4294967296", 10, -EINVAL, -EINVAL },
        { 4, "0x100000000", 11, -EINVAL, -EINVAL },
        { 4, "1f", 2, -EINVAL, -EINVAL },
        { 4, "-1", 2, -EINVAL, -EINVAL },
        { 4, "1\n\n", 3, -EINVAL, -EINVAL },
        { 4, "1\r\n", 3, -EINVAL, -EINVAL },
        { 4, " 1", 2, -EINVAL, -EINVAL },
        { 11, "18446744073709551616", 20, -EINVAL, -EINVAL },
        { 1, "a\xc3", 2, 0, -EINVAL },
        { 1, "a\xc3z", 3, -EINVAL, -EINVAL },
        { 1, "\xff", 1, -EINVAL, -EINVAL },
        { 1, "\xed\xa0\x80", 3, -EINVAL, -EINVAL }, /* a surrogate */
        { 1, "\xed\xa0", 2, -EINVAL, -EINVAL },
        { 1, "\xc0\x80", 2, -EINVAL, -EINVAL },
        { 1, "\xf4\x90", 2, -EINVAL, -EINVAL },
        { 1, "a\0b", 3, -EINVAL, -EINVAL },
        { 7, "\n", 1, -EINVAL, -EINVAL },
        { 7, "a\n\nb", 4, -EINVAL, -EINVAL },
        { 7, "a\n\n", 3, -EINVAL, -EINVAL },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t *data;
        size_t n, checked = 0;
        assert_int_equal(value_text_check(rows[i].type, rows[i].text, rows[i].n, &checked), rows[i].check);
        assert_int_equal(value_from_text(rows[i].type, rows[i].text, rows[i].n, &data, &n), rows[i].value);
    }
}

static void test_piecewise(void **state)
{
    (void)state;
    static const char text[] = "a\xc3\xa9\xf0\x9f\x98\x80z\nb\n";
    size_t checked = 0;
    for (size_t n = 0; n < sizeof text; n++) {
        assert_int_equal(value_text_check(7, text, n, &checked), 0);
        assert_true(checked <= n && n - checked < 4);
    }
    assert_int_equal(value_text_check(7, "a\xc3\xa9\xf0\x9f\x98\x80z\nb\n\n", 12, &checked), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),   cmocka_unit_test(test_inexact),   cmocka_unit_test(test_people),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_piecewise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
