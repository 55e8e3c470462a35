/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reader of .reg files: what it makes of each kind of line is written down as a text, and compared. */
#include "registry/reg-read.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define V5 "Windows Registry Editor Version 5.00\r\n"

struct log {
    char text[4096];
    size_t n;
    int refuse; /* at this statement, -EPERM */
};

__attribute__((format(printf, 2, 3))) static void put(struct log *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    l->n += (size_t)vsnprintf(l->text + l->n, sizeof l->text - l->n, fmt, ap);
    va_end(ap);
    assert_true(l->n < sizeof l->text);
}

static void put_name(struct log *l, struct hive_name name)
{
    for (size_t i = 0; i < name.n; i++)
        put(l, name.units[i] >= 0x20 && name.units[i] < 0x7f ? "%c" : "{%x}", name.units[i]);
}

static int on_key(void *ctx, const struct hive_name *parts, size_t n, bool deleted, struct reg_error *error)
{
    struct log *l = ctx;
    put(l, deleted ? "-" : "+");
    for (size_t i = 0; i < n; i++) {
        put(l, i ? "|" : "");
        put_name(l, parts[i]);
    }
    put(l, ";");
    return --l->refuse ? 0 : reg_error_set(error, -EPERM, "refused");
}

static int on_value(void *ctx, struct hive_name name, uint32_t type, const uint8_t *data, size_t len,
                    struct reg_error *error)
{
    struct log *l = ctx;
    put_name(l, name);
    put(l, "=%x:", type);
    for (size_t i = 0; i < len; i++)
        put(l, "%02x", data[i]);
    put(l, ";");
    return --l->refuse ? 0 : reg_error_set(error, -EPERM, "refused");
}

static int on_delete(void *ctx, struct hive_name name, struct reg_error *error)
{
    struct log *l = ctx;
    put_name(l, name);
    put(l, "=-;");
    return --l->refuse ? 0 : reg_error_set(error, -EPERM, "refused");
}

static int read_text(const void *text, size_t n, struct log *l, struct reg_error *e)
{
    struct reg_sink sink = { l, on_key, on_value, on_delete };
    void *copy = malloc(n ? n : 1); /* just as large, for the sanitizers */
    memcpy(copy, text, n);
    int r = reg_read(copy, n, &sink, e);
    free(copy);
    return r;
}

static void check(const char *body, const char *want)
{
    char text[2048];
    struct log l = { 0 };
    struct reg_error e;
    snprintf(text, sizeof text, V5 "\r\n%s", body);
    int r = read_text(text, strlen(text), &l, &e);
    if (r)
        print_message("line %lu: %s\n", e.line, e.what);
    assert_int_equal(r, 0);
    assert_string_equal(l.text, want);
    /* the same as UTF-16LE with a BOM */
    uint8_t wide[4100] = { 0xff, 0xfe };
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        wide[2 + 2 * i] = (uint8_t)text[i];
    struct log l2 = { 0 };
    assert_int_equal(read_text(wide, 2 + 2 * n, &l2, &e), 0);
    assert_string_equal(l2.text, want);
    struct log l3 = { 0 }; /* without it */
    assert_int_equal(read_text(wide + 2, 2 * n, &l3, &e), 0);
    assert_string_equal(l3.text, want);
}

static void test_statements(void **state)
{
    (void)state;
    check("", "");
    check("[HKLM\\A]\r\n", "+HKLM|A;");
    check("[HKLM\\A]", "+HKLM|A;");
    check("[HKLM\\A\\]", "+HKLM|A;");
    check("[HKLM\\a]b]  ; comment\r\n", "+HKLM|a]b;");
    check("[-HKLM\\A]\r\n", "-HKLM|A;");
    check("  ; comment\r\n\r\n[A]\r\n\"x\"=\"y\"\r\n", "+A;x=1:79000000;");
    check("[A]\n@=\"\"\n", "+A;=1:0000;");
    check("[A]\n\"a\\\\b\\\"c\"=\"\\\\\\\"\\r\\n\\t\\0\"\n", "+A;a\\b\"c=1:5c0022000d000a00090000000000;");
    check("[A]\n\"x\"=\"a\nb\" ; c\n\"y\"=-\n", "+A;x=1:61000a0062000000;y=-;");
    check("[A]\n\"x\" = dword:1F ; c\n", "+A;x=4:1f000000;");
    check("[A]\n\"x\"=DWORD:ffffffff\n", "+A;x=4:ffffffff;");
    check("[A]\n\"x\"=hex:\n@=-\n", "+A;x=3:;=-;");
    check("[A]\n\"x\"=hex:01,a,FF\n", "+A;x=3:010aff;");
    check("[A]\n\"x\"=hex(2):25,00,\\\r\n  00,00\r\n\"z\"=-", "+A;x=2:25000000;z=-;");
    check("[A]\n\"x\"=hex(ffff0012):01,\\ ; c\r\n\t02 ; d\r\n", "+A;x=ffff0012:0102;");
    check("[A]\n\"x\"=hex:\\\n  01,\\\n  02,\n", "+A;x=3:0102;");
    check("[A]\n\"x\"=hex(0):\n\"b\"=hex(b):01,02,03,04,05,06,07,08", "+A;x=0:;b=b:0102030405060708;");
    check("[A]\n\"x\"=str(2):\"%a\"\n", "+A;x=2:250061000000;");
}

static void test_old(void **state)
{
    (void)state;
    static const char text[] = "REGEDIT4\n[A]\n\"x\"=hex(2):25,80,00\n\"\x80\"=\"\xe9\"\n\"h\"=hex:80\n";
    struct log l = { 0 };
    assert_int_equal(read_text(text, sizeof text - 1, &l, NULL), 0);
    assert_string_equal(l.text, "+A;x=2:2500ac200000;{20ac}=1:e9000000;h=3:80;");
    static const char utf8[] = "\xef\xbb\xbf" V5 "[A]\n\"\xc3\xa9\"=\"\xf0\x9f\x98\x80\"\n";
    struct log l2 = { 0 };
    assert_int_equal(read_text(utf8, sizeof utf8 - 1, &l2, NULL), 0);
    assert_string_equal(l2.text, "+A;{e9}=1:3dd800de0000;");
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned long line;
    } rows[] = {
        { "", 1 },
        { "Windows Registry Editor Version 4.00\n", 1 },
        { V5 "\n[A\n", 3 },
        { V5 "[]\n", 2 },
        { V5 "[A\\\\B]\n", 2 },
        { V5 "[\\]\n", 2 },
        { V5 "[A\\\\]\n", 2 },
        { V5 "\"x\"=\"y\"\n", 2 },
        { V5 "[-A]\n\"x\"=\"y\"\n", 3 },
        { V5 "[A]\nx=1\n", 3 },
        { V5 "[A]\n\"x\"\n", 3 },
        { V5 "[A]\n\"x\"=\n", 3 },
        { V5 "[A]\n\"x\"=\"y\n\n", 5 },
        { V5 "[A]\n\"x\"=\"a\\b\"\n", 3 },
        { V5 "[A]\n\"x\"=\"y\" z\n", 3 },
        { V5 "[A]\n\"x\"=dword:\n", 3 },
        { V5 "[A]\n\"x\"=dword:123456789\n", 3 },
        { V5 "[A]\n\"x\"=dword:g\n", 3 },
        { V5 "[A]\n\"x\"=hex:0g\n", 3 },
        { V5 "[A]\n\"x\"=hex:01 02\n", 3 },
        { V5 "[A]\n\"x\"=hex:012\n", 3 },
        { V5 "[A]\n\"x\"=hex:01,,02\n", 3 },
        { V5 "[A]\n\"x\"=hex:01,\\\n", 4 },
        { V5 "[A]\n\"x\"=hex(:01\n", 3 },
        { V5 "[A]\n\"x\"=hex(1)01\n", 3 },
        { V5 "[A]\n\"x\"=hex(123456789):01\n", 3 },
        { V5 "[A]\n\"x\"=-1\n", 3 },
        { V5 "\n\xff\n", 3 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct log l = { 0 };
        struct reg_error e;
        int r = read_text(rows[i].text, strlen(rows[i].text), &l, &e);
        if (r != -EBADMSG || e.line != rows[i].line)
            print_message("row %zu: %d, line %lu: %s\n", i, r, e.line, e.what);
        assert_int_equal(r, -EBADMSG);
        assert_true(e.what[0]);
        assert_int_equal(e.line, rows[i].line);
    }
}

static void test_refusal(void **state)
{
    (void)state;
    static const char text[] = V5 "\n[A]\n\"x\"=hex:01,\\\n  02\n\n[B]\n";
    static const unsigned long lines[] = { 3, 4, 7 };
    for (int i = 1; i <= 3; i++) {
        struct log l = { .refuse = i };
        struct reg_error e;
        assert_int_equal(read_text(text, sizeof text - 1, &l, &e), -EPERM);
        assert_int_equal(e.line, lines[i - 1]); /* where the statement begins */
        assert_string_equal(e.what, "refused");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statements),
        cmocka_unit_test(test_old),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
