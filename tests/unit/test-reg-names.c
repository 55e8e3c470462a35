/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "registry/names.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define U(...)                                                                                               \
    (const uint16_t[])                                                                                       \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }
#define NAME(...) ((struct hive_name){ U(__VA_ARGS__), sizeof U(__VA_ARGS__) / 2 })

static struct hive_name ascii(const char *text)
{
    static uint16_t units[2][20000];
    static unsigned turn;
    uint16_t *u = units[turn++ % 2];
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        u[i] = (uint8_t)text[i];
    return (struct hive_name){ u, n };
}

static void check_key(struct hive_name name, const char *file)
{
    struct reg_file_name f;
    struct reg_parsed p;
    reg_key_file(name, &f);
    assert_string_equal(f.text, file);
    assert_int_equal(reg_parse_key(file, &p), 0);
    assert_int_equal(p.n, name.n);
    assert_memory_equal(p.units, name.units, 2 * name.n);
    reg_parsed_done(&p);
}

static void test_keys(void **state)
{
    (void)state;
    check_key(ascii("Services"), "Services");
    check_key(ascii("a/b"), "a%2Fb");
    check_key(ascii("100%"), "100%25");
    check_key(ascii("."), "%2E");
    check_key(ascii(".."), "%2E%2E");
    check_key(ascii("..."), "...");
    check_key(ascii(".reg"), "%2Ereg");
    check_key(ascii(".REG"), "%2EREG");
    check_key(ascii(".regx"), ".regx");
    check_key(ascii("@"), "@");
    check_key(NAME('a', 0, 'b'), "a%00b");
    check_key(NAME(0xd800, 'x'), "%uD800x");
    check_key(NAME(0xdc00, 0xd800), "%uDC00%uD800");
    check_key(NAME(0xd83d, 0xde00), "\xf0\x9f\x98\x80");
    check_key(NAME(0xe9, 0x20ac), "\xc3\xa9\xe2\x82\xac");
}

static void test_bad_keys(void **state)
{
    (void)state;
    static const char *const bad[] = { "", "a%", "a%2", "a%41", "%u0041", "%uD80", "a\\b", "\xff", "%~12" };
    struct reg_parsed p;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(reg_parse_key(bad[i], &p), -EINVAL);
    char text[300];
    memset(text, 'x', 256);
    text[256] = 0;
    assert_int_equal(reg_parse_key(text, &p), -ENAMETOOLONG);
    assert_int_equal(reg_parse_key("a%2fb", &p), 0); /* hex digits of either case */
    reg_parsed_done(&p);
}

static void check_value(struct hive_name name, uint32_t type, bool raw, const char *file)
{
    struct reg_file_name f;
    struct reg_parsed p;
    reg_value_file(name, type, raw, &f);
    assert_string_equal(f.text, file);
    assert_false(f.cut);
    assert_int_equal(reg_parse_value(file, &p), 0);
    assert_int_equal(p.type, type);
    assert_int_equal(p.raw, raw);
    assert_int_equal(p.n, name.n);
    if (p.n)
        assert_memory_equal(p.units, name.units, 2 * name.n);
    reg_parsed_done(&p);
}

static void test_values(void **state)
{
    (void)state;
    static const char *const types[] = { "none",
                                         "sz",
                                         "expand_sz",
                                         "binary",
                                         "dword",
                                         "dword_be",
                                         "link",
                                         "multi_sz",
                                         "resource_list",
                                         "full_resource_descriptor",
                                         "resource_requirements_list",
                                         "qword" };
    for (uint32_t i = 0; i < 12; i++) {
        char file[64];
        strcpy(file, "Start.");
        strcat(file, types[i]);
        check_value(ascii("Start"), i, false, file);
        strcat(file, ".raw");
        check_value(ascii("Start"), i, true, file);
    }
    check_value(ascii("x"), 12, false, "x.0x0000000c");
    check_value(ascii("x"), 0xffff0012, true, "x.0xffff0012.raw");
    check_value(ascii(""), 1, false, "@.sz");
    check_value(ascii("@"), 1, false, "%40.sz");
    check_value(ascii("@@"), 1, false, "@@.sz");
    check_value(ascii("a.sz"), 4, false, "a.sz.dword");
    check_value(ascii("x.raw"), 1, false, "x.raw.sz");
    check_value(ascii("\\DosDevices\\C:"), 3, false, "\\DosDevices\\C:.binary");
}

static void test_value_case(void **state)
{
    (void)state;
    struct reg_parsed p;
    assert_int_equal(reg_parse_value("A.DWORD.RAW", &p), 0);
    assert_true(p.type == 4 && p.raw && p.n == 1);
    reg_parsed_done(&p);
    assert_int_equal(reg_parse_value("A.0XFFFF000A", &p), 0);
    assert_true(p.type == 0xffff000a);
    reg_parsed_done(&p);
}

static void test_scratch(void **state)
{
    (void)state;
    static const char *const names[] = {
        "4913", "Start.dword~", ".Start.dword.swp", "sedAb12x", ".sz", "x", "x.0x12", "raw",
        ".raw", "x.raw",        ".Start.dword.Xy1Z"
    };
    struct reg_parsed p;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(reg_parse_value(names[i], &p), -ENOENT);
    assert_int_equal(reg_parse_value("x.0x00000001", &p), -EINVAL);
    assert_int_equal(reg_parse_value("%zz.sz", &p), -EINVAL);
}

static void test_long(void **state)
{
    (void)state;
    static char text[17000];
    struct reg_file_name f;
    struct reg_parsed p;
    memset(text, 'n', 252);
    struct hive_name fits = ascii(text);
    reg_value_file(fits, 1, false, &f);
    assert_int_equal(strlen(f.text), 255);
    assert_false(f.cut);
    memset(text, 'n', 253);
    struct hive_name longer = ascii(text);
    reg_value_file(longer, 1, false, &f);
    assert_int_equal(strlen(f.text), 255);
    assert_true(f.cut);
    assert_non_null(strstr(f.text, "%~"));
    assert_int_equal(reg_parse_value(f.text, &p), 0);
    assert_true(p.cut && p.type == 1 && !p.raw && p.hash == reg_name_hash(longer));
    assert_null(p.units);
    char *whole = reg_whole_name(longer, true);
    assert_string_equal(whole, text);
    free(whole);
    uint16_t units[255];
    for (size_t i = 0; i < 255; i++)
        units[i] = 0x4e00;
    reg_key_file((struct hive_name){ units, 255 }, &f);
    assert_true(f.cut && strlen(f.text) <= 255);
    assert_int_equal(reg_parse_key(f.text, &p), 0);
    assert_true(p.cut);
}

static void test_hashes(void **state)
{
    (void)state;
    assert_true(reg_name_hash(ascii("Start")) == reg_name_hash(ascii("sTART")));
    assert_true(reg_name_hash(ascii("a")) != reg_name_hash(ascii("b")));
    assert_true(reg_value_hash(ascii("a"), 1, false) != reg_value_hash(ascii("a"), 1, true));
    assert_true(reg_value_hash(ascii("a"), 1, false) != reg_value_hash(ascii("a"), 2, false));
}

static void test_taken_name(void **state)
{
    (void)state;
    struct reg_file_name f;
    struct reg_parsed p;
    reg_key_file_escaped(ascii("a.b.sz"), &f);
    assert_string_equal(f.text, "a.b%2Esz");
    assert_int_equal(reg_parse_key(f.text, &p), 0);
    assert_int_equal(p.n, 6);
    reg_parsed_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),       cmocka_unit_test(test_bad_keys),   cmocka_unit_test(test_values),
        cmocka_unit_test(test_value_case), cmocka_unit_test(test_scratch),    cmocka_unit_test(test_long),
        cmocka_unit_test(test_hashes),     cmocka_unit_test(test_taken_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
