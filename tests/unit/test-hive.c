/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hive engine on small hives made here: what an edit may touch, what it refuses, what happens when the
 * file below fails, and that the checker sees each kind of damage. */
#include "unit.h"

#include "hive-sample.h"
#include "registry/hive-check.h"
#include "registry/hive-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct hive_name name_of(const char *text, uint16_t *units)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        units[i] = (uint8_t)text[i];
    return (struct hive_name){ units, n };
}
#define NAME(text) name_of(text, (uint16_t[300]){ 0 })

static struct hive *open_files(struct hive_files files)
{
    struct hive *h;
    assert_int_equal(hive_open(&files, HIVE_WRITABLE, 0, &h, NULL), 0);
    return h;
}

static uint32_t add(struct hive *h, uint32_t parent, const char *name)
{
    uint32_t key;
    assert_int_equal(hive_add_key(h, parent, NAME(name), 5, &key), 0);
    return key;
}

static void set(struct hive *h, uint32_t key, const char *name, uint32_t type, const void *data, size_t len)
{
    assert_int_equal(hive_set_value(h, key, NAME(name), type, data, len, 6, NULL), 0);
}

/* Three keys, one with values of three sizes; stored. */
static struct hive_file *make_sample(unsigned minor)
{
    static uint8_t big[40000];
    struct hive_file *f = sample_empty(minor), *ret;
    struct hive *h = open_files((struct hive_files){ .primary = f });
    uint32_t a = add(h, hive_root(h), "Alpha");
    add(h, hive_root(h), "beta");
    add(h, hive_root(h), "Gamma");
    set(h, a, "Start", 4, "\3\0\0\0", 4);
    set(h, a, "", 1, "d\0e\0f\0\0\0", 8);
    set(h, a, "big", 3, big, sizeof big);
    assert_int_equal(hive_set_class(h, a, "c\0l\0", 4), 0);
    assert_int_equal(hive_commit(h, 7, NULL), 0);
    assert_int_equal(hive_file_memory(hive_file_bytes(f), f->size, "sample", &ret), 0);
    hive_close(h);
    return ret;
}

static uint32_t find(const struct hive *h, const char *name)
{
    uint32_t key;
    assert_int_equal(hive_find_key(h, hive_root(h), NAME(name), &key), 0);
    return key;
}

/* ---- names ---- */

static void test_upcase(void **state)
{
    (void)state;
    static const uint16_t cases[][2] = {
        { 'a', 'A' },       { 'z', 'Z' },       { '{', '{' },       { 0xdf, 0xdf },     { 0xe0, 0xc0 },
        { 0xf7, 0xf7 },     { 0xff, 0x178 },    { 0x101, 0x100 },   { 0x131, 0x131 },   { 0x17f, 0x17f },
        { 0x1c5, 0x1c5 },   { 0x1c6, 0x1c4 },   { 0x3c2, 0x3c2 },   { 0x3c3, 0x3a3 },   { 0x430, 0x410 },
        { 0x10d0, 0x10d0 }, { 0x1d79, 0xa77d }, { 0x1f80, 0x1f88 }, { 0x1fb3, 0x1fbc }, { 0x24d0, 0x24b6 },
        { 0x2c5f, 0x2c5f }, { 0xa791, 0xa791 }, { 0xab70, 0xab70 }, { 0xd801, 0xd801 }, { 0xff41, 0xff21 },
    };
    unsigned changed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(hive_upcase(cases[i][0]), cases[i][1]);
    for (uint32_t c = 0; c < 0x10000; c++)
        changed += hive_upcase((uint16_t)c) != c;
    assert_int_equal(changed, 973); /* as many as in Windows 10's table */
    assert_true(hive_name_compare(NAME("abc"), NAME("ABCD")) < 0);
    assert_true(hive_name_compare(NAME("a_"), NAME("aZ")) > 0);
    assert_int_equal(hive_name_compare(NAME("\xff"), (struct hive_name){ (uint16_t[]){ 0x178 }, 1 }), 0);
    assert_int_equal(hive_name_hash(NAME("ab")), 'A' * 37 + 'B');
}

/* ---- what an edit touches ---- */

static bool in_range(size_t i, size_t from, size_t n)
{
    return i >= from && i < from + n;
}

static void test_untouched(void **state)
{
    (void)state;
    struct hive_file *f = make_sample(5);
    uint8_t *before = malloc(f->size);
    size_t size = f->size;
    memcpy(before, hive_file_bytes(f), size);
    struct hive *h = open_files((struct hive_files){ .primary = f });
    uint32_t key = find(h, "ALPHA"), value;
    assert_int_equal(hive_find_value(h, key, NAME("START"), &value), 0);
    set(h, key, "start", 4, "\0\0\0\0", 4);
    assert_int_equal(hive_commit(h, 9, NULL), 0);
    assert_int_equal(f->size, size);
    for (size_t i = 0; i < size; i++)
        if (before[i] != hive_file_bytes(f)[i])
            assert_true(in_range(i, BASE_SEQUENCE1, 8) || in_range(i, BASE_WRITTEN, 8) ||
                        in_range(i, BASE_CHECKSUM, 4) ||
                        in_range(i, HIVE_BASE_SIZE + key + 4 + NK_WRITTEN, 8) ||
                        in_range(i, HIVE_BASE_SIZE + value + 4 + VK_DATA, 4));
    assert_int_equal(hive_check_lost(h, NULL, NULL), 0);
    /* A commit without an edit writes nothing. */
    memcpy(before, hive_file_bytes(f), size);
    assert_int_equal(hive_commit(h, 10, NULL), 0);
    assert_memory_equal(before, hive_file_bytes(f), size);
    free(before);
    hive_close(h);
}

static void test_undo(void **state)
{
    (void)state;
    struct hive_file *f = make_sample(5);
    struct hive *h = open_files((struct hive_files){ .primary = f });
    assert_int_equal(hive_savepoint(h), 0);
    assert_int_equal(hive_savepoint(h), -EBUSY);
    assert_int_equal(hive_delete_key(h, find(h, "alpha"), true, 1), 0);
    add(h, hive_root(h), "delta");
    assert_int_equal(hive_commit(h, 1, NULL), -EBUSY);
    hive_rollback(h);
    assert_false(hive_is_dirty(h));
    find(h, "alpha");
    uint32_t key;
    assert_int_equal(hive_find_key(h, hive_root(h), NAME("delta"), &key), -ENOENT);
    assert_int_equal(hive_savepoint(h), 0);
    add(h, hive_root(h), "delta");
    hive_release(h);
    find(h, "delta");
    assert_int_equal(hive_check_lost(h, NULL, NULL), 0);
    hive_close(h);
}

/* All space that deleted keys and values had is used again. */
static void test_space_is_reused(void **state)
{
    (void)state;
    static uint8_t data[3000];
    struct hive *h = open_files((struct hive_files){ .primary = make_sample(5) });
    uint64_t size = 0;
    for (int round = 0; round < 50; round++) {
        uint32_t key = add(h, hive_root(h), "round");
        for (int i = 0; i < 40; i++) {
            char name[16];
            snprintf(name, sizeof name, "v%d", i);
            set(h, key, name, 3, data, sizeof data - (size_t)i * (size_t)round);
            add(h, key, name);
        }
        assert_int_equal(hive_delete_key(h, key, true, 1), 0);
        if (round == 1)
            size = hive_image_size(h);
    }
    assert_true(hive_image_size(h) <= size + 4 * HIVE_PAGE);
    assert_int_equal(hive_check_lost(h, NULL, NULL), 0);
    hive_close(h);
}

/* ---- refusals ---- */

static void test_refusals(void **state)
{
    (void)state;
    struct hive *h = open_files((struct hive_files){ .primary = make_sample(5) });
    uint32_t root = hive_root(h), a = find(h, "alpha"), b = find(h, "beta"), in = add(h, a, "in"), got;
    char name[300];
    memset(name, 'x', sizeof name);
    name[256] = 0;
    assert_int_equal(hive_add_key(h, root, NAME("BETA"), 1, &got), -EEXIST);
    assert_int_equal(hive_add_key(h, root, NAME(""), 1, &got), -EINVAL);
    assert_int_equal(hive_add_key(h, root, NAME("a\\b"), 1, &got), -EINVAL);
    assert_int_equal(hive_add_key(h, root, NAME(name), 1, &got), -ENAMETOOLONG);
    assert_int_equal(hive_delete_key(h, a, false, 1), -ENOTEMPTY);
    assert_int_equal(hive_delete_key(h, root, true, 1), -EPERM);
    assert_int_equal(hive_move_key(h, a, in, NAME("x"), 1, NULL), -EINVAL);
    assert_int_equal(hive_move_key(h, a, root, NAME("beta"), 1, NULL), -EEXIST);
    assert_int_equal(hive_move_key(h, root, b, NAME("x"), 1, NULL), -EPERM);
    assert_int_equal(hive_delete_value(h, a, NAME("none"), 1), -ENOENT);
    assert_int_equal(hive_rename_value(h, a, NAME("none"), NAME("x"), 1), -ENOENT);
    assert_int_equal(hive_rename_value(h, a, NAME("big"), NAME("START"), 1), -EEXIST);
    assert_int_equal(hive_set_security(h, a, "none", 4), -EINVAL);
    assert_int_equal(hive_set_key_flags(h, a, HIVE_KEY_ROOT), -EINVAL);
    assert_int_equal(hive_set_key_flags(h, a, HIVE_KEY_LINK), 0);
    assert_int_equal(hive_check_lost(h, NULL, NULL), 0);
    hive_close(h);
}

static void test_depth(void **state)
{
    (void)state;
    struct hive *h = open_files((struct hive_files){ .primary = make_sample(3) });
    uint32_t key = hive_root(h), last = 0, got;
    for (unsigned i = 0; i < HIVE_DEPTH_MAX; i++) {
        last = key;
        key = add(h, key, "down");
    }
    assert_int_equal(hive_add_key(h, key, NAME("down"), 1, &got), -ENAMETOOLONG);
    uint32_t beta = find(h, "beta");
    add(h, beta, "x");
    assert_int_equal(hive_move_key(h, beta, last, NAME("beta"), 1, NULL), -ENAMETOOLONG);
    assert_int_equal(hive_check_lost(h, NULL, NULL), 0);
    assert_int_equal(hive_delete_key(h, find(h, "down"), true, 1), 0);
    assert_int_equal(hive_check_lost(h, NULL, NULL), 0);
    hive_close(h);
}

/* A copy of the sample with a change made by hand. */
typedef void (*damage_fn)(uint8_t *bins, const struct hive *h);

static struct hive *damaged(unsigned minor, damage_fn fn, struct hive_file **ret)
{
    struct hive_file *f = make_sample(minor), *copy;
    size_t size = f->size;
    uint8_t *b = malloc(size);
    memcpy(b, hive_file_bytes(f), size);
    struct hive *h = open_files((struct hive_files){ .primary = f });
    fn(b + HIVE_BASE_SIZE, h);
    hive_close(h);
    put_le32(b + BASE_CHECKSUM, hive_checksum(b));
    assert_int_equal(hive_file_memory(b, size, "damaged", &copy), 0);
    free(b);
    if (ret)
        *ret = copy;
    return open_files((struct hive_files){ .primary = copy });
}

static uint32_t at32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint8_t *list_of(uint8_t *bins, const struct hive *h)
{
    return bins + at32(bins + hive_root(h) + 4 + NK_LIST) + 4;
}

static uint8_t *nk(uint8_t *bins, const struct hive *h, const char *name)
{
    return bins + find(h, name) + 4;
}

static uint8_t *vk(uint8_t *bins, const struct hive *h, const char *name)
{
    uint32_t value;
    assert_int_equal(hive_find_value(h, find(h, "alpha"), NAME(name), &value), 0);
    return bins + value + 4;
}

static void swap_list(uint8_t *bins, const struct hive *h)
{
    uint8_t *l = list_of(bins, h), first[8];
    memcpy(first, l + 4, 8);
    memcpy(l + 4, l + 20, 8);
    memcpy(l + 20, first, 8);
}
static void wrong_hash(uint8_t *bins, const struct hive *h)
{
    list_of(bins, h)[8] ^= 1;
}
static void wrong_kind(uint8_t *bins, const struct hive *h)
{
    list_of(bins, h)[1] = 'h';
}
static void wrong_count(uint8_t *bins, const struct hive *h)
{
    bins[hive_root(h) + 4 + NK_SUBKEYS] = 2;
}
static void wrong_parent(uint8_t *bins, const struct hive *h)
{
    put_le32(nk(bins, h, "beta") + NK_PARENT, find(h, "alpha"));
}
static void same_name(uint8_t *bins, const struct hive *h)
{
    uint8_t *gamma = nk(bins, h, "gamma");
    memcpy(gamma + NK_NAME, "Beta", 4);
    put_le16(gamma + NK_NAME_BYTES, 4);
}
static void low_maximum(uint8_t *bins, const struct hive *h)
{
    put_le32(nk(bins, h, "alpha") + NK_MAX_VALUE_DATA, 3);
}
static void low_refs(uint8_t *bins, const struct hive *h)
{
    put_le32(bins + at32(nk(bins, h, "beta") + NK_SECURITY) + 4 + SK_REFS, 1);
}
static void broken_ring(uint8_t *bins, const struct hive *h)
{
    put_le32(bins + at32(nk(bins, h, "beta") + NK_SECURITY) + 4 + SK_PREVIOUS, 8);
}
static void free_data(uint8_t *bins, const struct hive *h)
{
    uint8_t *cell = bins + at32(vk(bins, h, "") + VK_DATA);
    put_le32(cell, 0u - at32(cell));
}
static void shared_data(uint8_t *bins, const struct hive *h)
{
    put_le32(vk(bins, h, "") + VK_DATA, at32(vk(bins, h, "big") + VK_DATA));
}
static void bad_cell(uint8_t *bins, const struct hive *h)
{
    put_le32(bins + at32(vk(bins, h, "") + VK_DATA), 0u - 20);
}
static void lost_cell(uint8_t *bins, const struct hive *h)
{
    put_le32(vk(bins, h, "") + VK_LENGTH, 0x80000000u);
}
static void bad_bin(uint8_t *bins, const struct hive *h)
{
    (void)h;
    put_le32(bins + 4, 4096);
}
static void short_segments(uint8_t *bins, const struct hive *h)
{
    put_le32(vk(bins, h, "big") + VK_LENGTH, 60000);
}
static void two_values(uint8_t *bins, const struct hive *h)
{
    uint8_t *v = vk(bins, h, "start");
    memcpy(v + VK_NAME, "BIG", 3);
    put_le16(v + VK_NAME_BYTES, 3);
}
static void layered_key(uint8_t *bins, const struct hive *h)
{
    nk(bins, h, "beta")[NK_LAYERED] = 1;
}

static char said[4096];
static void hear(void *ctx, const char *line)
{
    (void)ctx;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line);
}

static void test_checker(void **state)
{
    (void)state;
    static const struct {
        damage_fn fn;
        unsigned minor;
        const char *says;
        int found, lost; /* without and with what Windows puts up with */
        bool writable;   /* an edit elsewhere is possible */
    } cases[] = {
        { swap_list, 5, "isn't in its place", 2, 2, true },
        { wrong_hash, 5, "a wrong hash", 1, 1, true },
        { wrong_hash, 3, "a wrong hint", 1, 1, true },
        { wrong_kind, 3, "which this version doesn't have", 4, 4, true },
        { wrong_count, 5, "count of subkeys", 1, 1, true },
        { wrong_parent, 5, "another key's subkey", 1, 1, false },
        { same_name, 5, "two subkeys have one name", 2, 2, true },
        { low_maximum, 5, "longer than the key's maximum", 3, 3, true },
        { low_refs, 5, "counts 1 keys, 4 use it", 1, 1, true },
        { broken_ring, 5, "ring is broken", 1, 1, false },
        { free_data, 5, "isn't a cell in use", 1, 1, false },
        { shared_data, 5, "something else uses too", 1, 1, false },
        { bad_cell, 5, "impossible size 20", 0, 0, false },
        { lost_cell, 5, "nothing refers to", 0, 1, true },
        { bad_bin, 5, "says that it lies at 4096", 1, 1, true },
        { short_segments, 5, "segments for 60000 bytes", 0, 0, false },
        { two_values, 5, "two values have one name", 1, 1, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hive *h = damaged(cases[i].minor, cases[i].fn, NULL);
        said[0] = 0;
        int lost = hive_check_lost(h, hear, NULL), found = hive_check(h, NULL, NULL);
        if (!strstr(said, cases[i].says))
            fail_msg("case %zu: %s", i, said);
        if (cases[i].lost)
            assert_int_equal(lost, cases[i].lost);
        if (cases[i].lost)
            assert_int_equal(found, cases[i].found);
        int r = hive_set_value(h, hive_root(h), NAME("x"), 4, "\1\0\0\0", 4, 1, NULL);
        if (r != (cases[i].writable ? 0 : -EROFS))
            fail_msg("case %zu: %d %s", i, r, said);
        hive_close(h);
    }
}

/* A list that breaks a rule is found in all the same, and put right by the first change to it. */
static void test_list_put_right(void **state)
{
    (void)state;
    static const damage_fn cases[] = { swap_list, wrong_hash, wrong_count };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hive *h = damaged(5, cases[i], NULL);
        find(h, "ALPHA");
        find(h, "beta");
        find(h, "gamma");
        add(h, hive_root(h), "delta");
        assert_int_equal(hive_check_lost(h, NULL, NULL), 0);
        hive_close(h);
    }
}

static void test_layered(void **state)
{
    (void)state;
    struct hive *h = damaged(6, layered_key, NULL);
    struct hive_state s;
    assert_int_equal(hive_add_key(h, hive_root(h), NAME("x"), 1, NULL), -EROFS);
    hive_state(h, &s);
    assert_false(s.writable);
    assert_non_null(strstr(s.why, "layer"));
    hive_close(h);
}

/* ---- files that fail ---- */

struct failing {
    struct hive_file f;
    struct hive_file *below;
    int reads, writes; /* before the first failure; negative: never */
};

static int failing_pread(struct hive_file *f, void *buf, size_t len, uint64_t off)
{
    struct failing *x = (struct failing *)f;
    return x->reads-- == 0 ? -EIO : x->below->ops->pread(x->below, buf, len, off);
}

static int failing_pwrite(struct hive_file *f, const void *buf, size_t len, uint64_t off)
{
    struct failing *x = (struct failing *)f;
    int r = x->writes-- == 0 ? -ENOSPC : x->below->ops->pwrite(x->below, buf, len, off);
    f->size = x->below->size;
    return r;
}

static void failing_close(struct hive_file *f)
{
    (void)f;
}

static const struct hive_file_ops failing_ops = { .pread = failing_pread,
                                                  .pwrite = failing_pwrite,
                                                  .close = failing_close };

static void test_failing_file(void **state)
{
    (void)state;
    for (int n = 0; n < 12; n++) {
        struct failing x = {
            .f = { &failing_ops, 0, "failing" }, .below = make_sample(5), .reads = -1, .writes = n
        };
        x.f.size = x.below->size;
        struct hive *h = open_files((struct hive_files){ .primary = &x.f });
        uint32_t key;
        for (int i = 0; i < 30; i++) { /* changed pages all over the hive, in several runs */
            char name[16];
            snprintf(name, sizeof name, "k%d", i);
            key = add(h, hive_root(h), name);
            set(h, key, name, 3, said, sizeof said);
        }
        int r = hive_commit(h, 1, NULL);
        if (r < 0) {
            assert_int_equal(r, -ENOSPC);
            assert_true(hive_is_dirty(h));
            x.writes = -1;
            r = hive_commit(h, 1, NULL);
        }
        assert_int_equal(r, 0);
        hive_close(h);
        h = open_files((struct hive_files){ .primary = x.below });
        find(h, "k29");
        assert_int_equal(hive_check_lost(h, NULL, NULL), 0);
        hive_close(h);
    }
    for (int n = 1; n < 6; n++) {
        struct failing x = {
            .f = { &failing_ops, 0, "failing" }, .below = make_sample(5), .reads = n, .writes = -1
        };
        x.f.size = x.below->size;
        struct hive *h = open_files((struct hive_files){ .primary = &x.f });
        int r = hive_add_key(h, hive_root(h), NAME("new"), 1, NULL);
        assert_true(!r || r == -EIO || r == -EROFS);
        if (r == -EIO)
            assert_int_equal(hive_add_key(h, hive_root(h), NAME("new"), 1, NULL), 0);
        hive_close(h);
        x.below->ops->close(x.below);
    }
}

/* ---- dirty hives and logs ---- */

static struct hive_file *dirty_sample(void)
{
    struct hive_file *f = make_sample(5);
    uint8_t base[BASE_SUM_SIZE];
    memcpy(base, hive_file_bytes(f), sizeof base);
    base[BASE_SEQUENCE1]++;
    put_le32(base + BASE_CHECKSUM, hive_checksum(base));
    assert_int_equal(f->ops->pwrite(f, base, sizeof base, 0), 0);
    return f;
}

static void test_dirty(void **state)
{
    (void)state;
    struct hive_state s;
    struct hive *h = open_files((struct hive_files){ .primary = dirty_sample() });
    hive_state(h, &s);
    assert_true(s.dirty && !s.writable && strstr(s.why, "dirty"));
    find(h, "alpha");
    assert_int_equal(hive_add_key(h, hive_root(h), NAME("x"), 1, NULL), -EROFS);
    assert_false(hive_is_dirty(h));
    hive_close(h);

    struct hive_files files = { .primary = dirty_sample() };
    assert_int_equal(hive_file_memory("not a log", 9, "LOG1", &files.log1), 0);
    struct hive_file *primary = files.primary, *log = files.log1;
    assert_int_equal(hive_open(&files, HIVE_WRITABLE | HIVE_ACCEPT_DIRTY, 0, &h, NULL), 0);
    assert_true(hive_is_dirty(h));
    assert_int_equal(hive_commit(h, 1, NULL), 0);
    assert_int_equal(log->size, 0);
    assert_memory_equal(hive_file_bytes(primary) + BASE_SEQUENCE1, hive_file_bytes(primary) + BASE_SEQUENCE2,
                        4);
    hive_close(h);
}

/* ---- host files ---- */

static void write_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static size_t entries(const char *dir)
{
    char command[128];
    snprintf(command, sizeof command, "ls -A %s | wc -l", dir);
    FILE *f = popen(command, "r");
    size_t n = 0;
    assert_int_equal(fscanf(f, "%zu", &n), 1);
    pclose(f);
    return n;
}

static void test_host_file(void **state)
{
    (void)state;
    char dir[] = "/tmp/ferryfs-hive.XXXXXX", path[64], log[64];
    struct hive_file *f = dirty_sample();
    struct stat before, after;
    struct hive_files files;
    struct fault fault = { 0 };
    struct hive *h;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/SYSTEM", dir);
    snprintf(log, sizeof log, "%s/system.log2", dir);
    write_file(path, hive_file_bytes(f), f->size);
    write_file(log, "old", 3);
    chmod(path, 0640);
    f->ops->close(f);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(hive_files_open(path, true, &files, &fault), 0);
    assert_non_null(files.log2);
    assert_null(files.log1);
    assert_int_equal(hive_open(&files, HIVE_WRITABLE | HIVE_ACCEPT_DIRTY, 0, &h, &fault), 0);
    add(h, hive_root(h), "new");
    assert_int_equal(hive_commit(h, 1, &fault), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_true(before.st_ino != after.st_ino && after.st_mode == before.st_mode);
    add(h, hive_root(h), "never stored");
    hive_close(h);
    assert_int_equal(entries(dir), 2);
    assert_int_equal(stat(log, &after), 0);
    assert_int_equal(after.st_size, 0);
    assert_int_equal(hive_files_open(path, false, &files, &fault), 0);
    assert_int_equal(hive_open(&files, HIVE_WRITABLE, 0, &h, &fault), 0);
    struct hive_state s;
    hive_state(h, &s);
    assert_true(!s.dirty && !s.writable);
    find(h, "new");
    hive_close(h);
    assert_int_equal(hive_files_open(dir, false, &files, &fault), -EISDIR);
    unlink(path);
    unlink(log);
    rmdir(dir);
}

/* ---- parallel readers ---- */

static void *read_all(void *ctx)
{
    struct hive *h = ctx;
    uint8_t *data = malloc(40000);
    intptr_t bad = 0;
    for (int i = 0; i < 300; i++) {
        char name[16];
        uint32_t key, value;
        uint16_t units[300];
        snprintf(name, sizeof name, "k%d", i * 7 % 100);
        bad += hive_find_key(h, hive_root(h), name_of(name, units), &key) < 0 ||
               hive_find_value(h, key, name_of(name, units), &value) < 0 ||
               hive_value_data(h, value, data, 20000, 0) < 0 || data[19999] != i * 7 % 100;
    }
    free(data);
    return (void *)bad;
}

static void test_parallel(void **state)
{
    (void)state;
    struct hive_file *f = make_sample(5);
    struct hive *h = open_files((struct hive_files){ .primary = f });
    uint8_t data[20000];
    pthread_t threads[4];
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%d", i);
        memset(data, i, sizeof data);
        set(h, add(h, hive_root(h), name), name, 3, data, sizeof data);
    }
    assert_int_equal(hive_commit(h, 1, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, h), 0);
    for (size_t i = 0; i < 4; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    hive_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upcase),   cmocka_unit_test(test_untouched),
        cmocka_unit_test(test_undo),     cmocka_unit_test(test_space_is_reused),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_checker),  cmocka_unit_test(test_list_put_right),
        cmocka_unit_test(test_layered),  cmocka_unit_test(test_failing_file),
        cmocka_unit_test(test_dirty),    cmocka_unit_test(test_host_file),
        cmocka_unit_test(test_parallel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
