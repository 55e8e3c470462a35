/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What differs between two hives, as text, and that merging it makes the old one the new one: for cases
 * written down, and for random edits. */
#include "hive-sample.h"
#include "registry/reg-diff.h"
#include "registry/reg-merge.h"
#include "registry/reg-write.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct hive_name name_of(const char *text, uint16_t units[256])
{
    size_t n = 0;
    for (; text[n]; n++)
        units[n] = (uint8_t)text[n];
    return (struct hive_name){ units, n };
}

/* An empty one; *ret is the hive's. */
static struct hive *open_file(struct hive_file **ret)
{
    struct hive_files files = { .primary = *ret = sample_empty(5) };
    struct hive *h = NULL;
    struct fault fault = { 0 };
    assert_non_null(files.primary);
    assert_int_equal(hive_open(&files, HIVE_WRITABLE, 1 << 20, &h, &fault), 0);
    return h;
}

static struct hive *open_empty(void)
{
    struct hive_file *f;
    return open_file(&f);
}

static uint32_t add_key(struct hive *h, uint32_t parent, const char *name)
{
    uint16_t units[256];
    uint32_t key = 0;
    int r = hive_add_key(h, parent, name_of(name, units), 1, &key);
    if (r == -EEXIST)
        assert_int_equal(hive_find_key(h, parent, name_of(name, units), &key), 0);
    else
        assert_int_equal(r, 0);
    return key;
}

static void set(struct hive *h, uint32_t key, const char *name, uint32_t type, const void *data, size_t n)
{
    uint16_t units[256];
    assert_int_equal(hive_set_value(h, key, name_of(name, units), type, data, n, 1, NULL), 0);
}

/* The whole text of the differences, in UTF-16LE; read in pieces of `piece` bytes. */
static uint8_t *diff(const struct hive *old, const struct hive *new, size_t piece, size_t *ret_n,
                     bool *ret_found)
{
    struct reg_differ *d = NULL;
    uint16_t units[256];
    uint8_t *all = NULL;
    size_t n = 0;
    bool end = false;
    assert_int_equal(reg_differ_new(old, name_of("HKEY_LOCAL_MACHINE\\X", units), hive_root(new), &d), 0);
    while (!end) {
        size_t got = 0;
        all = realloc(all, n + piece);
        assert_non_null(all);
        assert_int_equal(reg_differ_read(d, new, all + n, piece, &got, &end), 0);
        n += got;
    }
    *ret_found = reg_differ_found(d);
    reg_differ_free(d);
    *ret_n = n;
    return all;
}

static void is_text(const struct hive *old, const struct hive *new, const char *want)
{
    static const char header[] = "Windows Registry Editor Version 5.00\r\n\r\n";
    char text[4096];
    bool found;
    size_t n;
    uint8_t *all = diff(old, new, 7, &n, &found);
    assert_int_equal(found, want[0] != 0);
    assert_true(n >= 2 && n / 2 < sizeof text && all[0] == 0xff && all[1] == 0xfe);
    for (size_t i = 2; i < n; i += 2)
        text[i / 2 - 1] = (char)all[i];
    text[n / 2 - 1] = 0;
    assert_memory_equal(text, header, strlen(header));
    assert_string_equal(text + strlen(header), want);
    free(all);
}

static int resolve(void *ctx, const struct hive_name *parts, size_t n, struct hive **ret, size_t *ret_used,
                   struct reg_error *error)
{
    (void)parts;
    (void)n;
    (void)error;
    *ret = ctx;
    *ret_used = 2;
    return 0;
}

/* Merging the differences into `old` leaves none. */
static void merges(struct hive *old, const struct hive *new)
{
    struct reg_merge m = { .ctx = old, .resolve = resolve, .now = 2 };
    struct reg_error error = { 0 };
    size_t n;
    bool found;
    uint8_t *text = diff(old, new, 1 << 16, &n, &found);
    assert_int_equal(reg_merge(&m, text, n, &error), 0);
    for (size_t i = 0; i < m.n_hives; i++)
        hive_release(m.hives[i]);
    free(text);
    is_text(old, new, "");
    is_text(new, old, "");
}

static void test_written_down(void **state)
{
    (void)state;
    struct hive *old = open_empty(), *new = open_empty();
    is_text(old, new, "");
    uint32_t a = add_key(old, hive_root(old), "a"), b = add_key(new, hive_root(new), "a");
    set(old, a, "same", 4, "\1\0\0\0", 4);
    set(new, b, "same", 4, "\1\0\0\0", 4);
    set(old, a, "gone", 3, "x", 1);
    set(old, a, "other", 4, "\1\0\0\0", 4);
    set(new, b, "other", 4, "\2\0\0\0", 4);
    set(old, a, "type", 4, "\1\0\0\0", 4);
    set(new, b, "type", 3, "\1\0\0\0", 4);
    set(old, a, "Case", 1, "x\0\0\0", 4);
    set(new, b, "CASE", 1, "x\0\0\0", 4);
    set(new, b, "", 1, "d\0\0\0", 4);
    add_key(old, add_key(old, hive_root(old), "gone"), "below");
    add_key(new, add_key(new, hive_root(new), "new"), "below");
    add_key(old, hive_root(old), "Spelling");
    add_key(new, hive_root(new), "SPELLING");
    is_text(old, new,
            "[-HKEY_LOCAL_MACHINE\\X\\gone]\r\n\r\n"
            "[-HKEY_LOCAL_MACHINE\\X\\Spelling]\r\n\r\n"
            "[HKEY_LOCAL_MACHINE\\X\\a]\r\n"
            "\"gone\"=-\r\n\"Case\"=-\r\n\"other\"=dword:00000002\r\n\"type\"=hex:01,00,00,00\r\n"
            "\"CASE\"=\"x\"\r\n@=\"d\"\r\n\r\n"
            "[HKEY_LOCAL_MACHINE\\X\\new]\r\n\r\n"
            "[HKEY_LOCAL_MACHINE\\X\\new\\below]\r\n\r\n"
            "[HKEY_LOCAL_MACHINE\\X\\SPELLING]\r\n\r\n");
    merges(old, new);
    struct hive *first = open_empty();
    is_text(NULL, first, "[HKEY_LOCAL_MACHINE\\X]\r\n\r\n");
    hive_close(first);
    hive_close(old);
    hive_close(new);
}

/* What the text can't say is said to people. */
static void test_comments(void **state)
{
    (void)state;
    struct hive *old = open_empty(), *new = open_empty();
    add_key(old, hive_root(old), "a");
    uint32_t b = add_key(new, hive_root(new), "a");
    assert_int_equal(hive_set_class(new, b, "c\0", 2), 0);
    is_text(old, new, "; can't be written here: another class of HKEY_LOCAL_MACHINE\\X\\a\r\n");
    add_key(new, hive_root(new), "line\nbreak");
    is_text(old, new,
            "; can't be written here: another class of HKEY_LOCAL_MACHINE\\X\\a\r\n"
            "; left out, since its name can't be written here: the key line?break\r\n");
    hive_close(old);
    hive_close(new);
}

/* The hive with each ']' of its keys' names a backslash: which can't be made through the front door, but is
 * found in hives of others. Closes `h`, whose bytes `f` holds. */
static struct hive *with_backslashes(struct hive *h, const struct hive_file *f)
{
    struct hive_files files = { 0 };
    struct fault fault = { 0 };
    assert_int_equal(hive_commit(h, 1, &fault), 0);
    uint8_t *bytes = malloc(f->size);
    assert_non_null(bytes);
    memcpy(bytes, hive_file_bytes(f), f->size);
    for (size_t i = 4096; i < f->size; i++)
        if (bytes[i] == ']')
            bytes[i] = '\\';
    assert_int_equal(hive_file_memory(bytes, f->size, "sample", &files.primary), 0);
    free(bytes);
    hive_close(h);
    assert_int_equal(hive_open(&files, 0, 1 << 20, &h, &fault), 0);
    return h;
}

/* The whole hive as text. */
static void is_export(const struct hive *h, const char *want)
{
    static const char header[] = "Windows Registry Editor Version 5.00\r\n\r\n";
    static uint8_t all[8192];
    struct reg_writer *w = NULL;
    uint16_t units[256];
    char text[4096];
    size_t n = 0, got;
    assert_int_equal(reg_writer_new(&w), 0);
    assert_int_equal(reg_writer_begin(w, name_of("HKEY_LOCAL_MACHINE\\X", units), hive_root(h)), 0);
    do {
        assert_int_equal(reg_writer_read(w, h, all + n, sizeof all - n, &got), 0);
        n += got;
    } while (got);
    reg_writer_free(w);
    assert_true(n > 2 && n < sizeof all);
    for (size_t i = 2; i < n; i += 2)
        text[i / 2 - 1] = (char)all[i];
    text[n / 2 - 1] = 0;
    assert_memory_equal(text, header, sizeof header - 1);
    assert_string_equal(text + sizeof header - 1, want);
}

/* A backslash in a name would be a path of other keys, which would then be merged into, or deleted. */
static void test_backslash(void **state)
{
    (void)state;
    struct hive_file *old_file, *new_file;
    struct hive *old = open_file(&old_file), *new = open_file(&new_file);
    set(old, add_key(old, add_key(old, hive_root(old), "gone"), "key"), "kept", 4, "\1\0\0\0", 4);
    set(new, add_key(new, add_key(new, hive_root(new), "gone"), "key"), "kept", 4, "\1\0\0\0", 4);
    add_key(old, add_key(old, hive_root(old), "gone]key"), "below");
    uint32_t a = add_key(new, hive_root(new), "a");
    set(new, add_key(new, a, "b"), "ours", 4, "\1\0\0\0", 4);
    uint32_t lost = add_key(new, hive_root(new), "a]b");
    set(new, lost, "lost", 4, "\1\0\0\0", 4);
    add_key(new, lost, "below");
    old = with_backslashes(old, old_file);
    new = with_backslashes(new, new_file);
    is_text(old, new,
            "; left out, since its name can't be written here: the key that is gone, gone\\key\r\n"
            "[HKEY_LOCAL_MACHINE\\X\\a]\r\n\r\n"
            "[HKEY_LOCAL_MACHINE\\X\\a\\b]\r\n\"ours\"=dword:00000001\r\n\r\n"
            "; left out, since its name can't be written here: the key a\\b\r\n");
    is_export(new, "[HKEY_LOCAL_MACHINE\\X]\r\n\r\n"
                   "[HKEY_LOCAL_MACHINE\\X\\a]\r\n\r\n"
                   "[HKEY_LOCAL_MACHINE\\X\\a\\b]\r\n\"ours\"=dword:00000001\r\n\r\n"
                   "; left out, since its name can't be written here: the key a\\b\r\n"
                   "[HKEY_LOCAL_MACHINE\\X\\gone]\r\n\r\n"
                   "[HKEY_LOCAL_MACHINE\\X\\gone\\key]\r\n\"kept\"=dword:00000001\r\n\r\n");
    hive_close(old);
    hive_close(new);
}

/* Names in both spellings, few enough that they meet. */
static void edit(struct hive *h, unsigned seed)
{
    static const char *const names[] = { "a", "A", "bb", "Bb", "c", "d e", "\"q\\", "" };
    unsigned x = seed;
    for (int i = 0; i < 60; i++) {
        uint32_t key = hive_root(h);
        uint8_t data[70];
        for (int down = 0; down < 3; down++) {
            x = x * 1103515245 + 12345;
            if (x >> 16 & 1)
                key = add_key(h, key, names[(x >> 20) % 6]);
        }
        x = x * 1103515245 + 12345;
        memset(data, (int)(x >> 24), sizeof data);
        uint16_t units[256];
        if ((x >> 8) % 5 == 0 && key != hive_root(h))
            hive_delete_key(h, key, true, 1);
        else if ((x >> 8) % 5 == 1)
            hive_delete_value(h, key, name_of(names[(x >> 16) % 8], units), 1);
        else
            set(h, key, names[(x >> 16) % 8], (x >> 12) % 12, data, (x >> 4) % sizeof data);
    }
}

static void test_random(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct hive *old = open_empty(), *new = open_empty();
        edit(old, seed);
        edit(new, seed % 3 ? seed + 1000 : seed);
        merges(old, new);
        hive_close(old);
        hive_close(new);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_down),
        cmocka_unit_test(test_comments),
        cmocka_unit_test(test_backslash),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
