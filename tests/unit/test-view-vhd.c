/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.vhd and disk-fixed.vhd: read back by a little VHD reader that shares no code with the view. */
#include "formats/bytes.h"
#include "formats/view.h"
#include "toy-disk.h"

#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

static struct view *open_view(const char *name, struct toy *t)
{
    struct view_source src = { .disk = &t->disk, .sector_size = 512, .id = { 7 } };
    struct view *v = NULL;
    for (size_t i = 0; view_formats[i]; i++)
        if (!strcmp(view_formats[i]->name, name))
            assert_int_equal(view_open(view_formats[i], &src, &v, NULL), 0);
    assert_non_null(v);
    return v;
}

static uint64_t be(const uint8_t *p, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | p[i];
    return value;
}

/* The sum of all bytes, those of the field at `at` left out, inverted. */
static uint32_t checksum(const uint8_t *p, size_t n, size_t at)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += i >= at && i < at + 4 ? 0 : p[i];
    return ~sum;
}

static void check_footer(struct view *v, uint64_t at, uint64_t type, uint64_t size)
{
    uint8_t f[512];
    assert_int_equal(view_pread(v, f, sizeof f, at), 0);
    assert_memory_equal(f, "conectix\0\0\0\2\0\1\0\0", 16);
    assert_int_equal(be(f + 16, 8), type == 2 ? UINT64_MAX : 512);
    assert_memory_equal(f + 28, "win ", 4); /* of whom readers take the size in bytes */
    assert_int_equal(be(f + 40, 8), size);
    assert_int_equal(be(f + 48, 8), size);
    assert_true(be(f + 56, 2) * f[58] * f[59] * 512 <= size);
    assert_int_equal(be(f + 60, 4), type);
    assert_int_equal(be(f + 64, 4), checksum(f, sizeof f, 64));
}

/* Every block of the disk: absent where there is no data, else its bytes behind a bitmap of ones. */
static uint64_t check_block(struct view *v, const struct toy *t, uint64_t bat, uint64_t i)
{
    static uint8_t block[2 << 20], want[2 << 20];
    uint8_t raw[4], bitmap[512];
    assert_int_equal(view_pread(v, raw, sizeof raw, bat + 4 * i), 0);
    toy_fill(t, want, sizeof want, i * MIB(2));
    if (be(raw, 4) == UINT32_MAX) {
        for (size_t k = 0; k < sizeof want; k++)
            assert_int_equal(want[k], 0);
        return 0;
    }
    uint64_t at = be(raw, 4) * 512;
    assert_int_equal((at + 512) % 4096, 0);
    assert_int_equal(view_pread(v, bitmap, sizeof bitmap, at), 0);
    for (size_t k = 0; k < sizeof bitmap; k++)
        assert_int_equal(bitmap[k], 0xff);
    assert_int_equal(view_pread(v, block, sizeof block, at + 512), 0);
    assert_memory_equal(block, want, sizeof want);
    return 1;
}

static void check_dynamic(struct toy *t, uint64_t blocks)
{
    struct view *v = open_view("vhd", t);
    uint64_t size = round_up(t->disk.size, 512), n = div_up(size, MIB(2)), present = 0;
    uint8_t h[1024];
    check_footer(v, 0, 3, size);
    check_footer(v, v->layout.size - 512, 3, size);
    assert_int_equal(view_pread(v, h, sizeof h, 512), 0);
    assert_memory_equal(h, "cxsparse\xff\xff\xff\xff\xff\xff\xff\xff", 16);
    assert_int_equal(be(h + 28, 4), n);
    assert_int_equal(be(h + 32, 4), MIB(2));
    assert_int_equal(be(h + 36, 4), checksum(h, sizeof h, 36));
    uint64_t bat = be(h + 16, 8);
    if (n <= 10000)
        for (uint64_t i = 0; i < n; i++)
            present += check_block(v, t, bat, i);
    else
        for (size_t i = 0; i < t->n; i++)
            present += t->extents[i].kind == 'D' && check_block(v, t, bat, t->starts[i] / MIB(2));
    assert_int_equal(present, blocks);
    assert_int_equal(v->layout.size,
                     round_up(bat + round_up(4 * n, 512), 4096) + blocks * (4096 + MIB(2)) + 512);
    view_close(v);
}

static void check_fixed(struct toy *t)
{
    struct view *v = open_view("vhd-fixed", t);
    uint64_t size = round_up(t->disk.size, MIB(1));
    static uint8_t buf[1 << 20], want[1 << 20];
    assert_int_equal(v->layout.size, size + 512);
    check_footer(v, size, 2, size);
    for (uint64_t off = 0; off<size; off += size> GIB(1) ? GIB(1) : sizeof buf) {
        assert_int_equal(view_pread(v, buf, sizeof buf, off), 0);
        toy_fill(t, want, sizeof want, off);
        assert_memory_equal(buf, want, sizeof buf);
    }
    view_close(v);
}

static const struct toy_extent tiny[] = { { 512, 'D' }, { 0, 0 } };
static const struct toy_extent zeros[] = { { MIB(10), 'Z' }, { 0, 0 } };
static const struct toy_extent one[] = { { MIB(2), 'D' }, { 0, 0 } };
static const struct toy_extent over[] = { { MIB(2), '.' }, { 512, 'D' }, { 0, 0 } };
static const struct toy_extent under[] = { { 512, 'D' }, { MIB(2) - 1024, '.' }, { 0, 0 } };
static const struct toy_extent several[] = { { MIB(3), 'D' }, { MIB(9) + 512, '.' }, { 4096, 'D' },
                                             { MIB(7), 'Z' }, { MIB(1) + 7, 'D' },   { 0, 0 } };
static const struct toy_extent largest[] = {
    { GIB(1), '.' }, { 512, 'D' }, { GIB(2039) - 1024, 'Z' }, { 512, 'D' }, { 0, 0 }
};

static void an_independent_reader_finds_the_disk(void **state)
{
    static const struct {
        const struct toy_extent *extents;
        uint64_t blocks;
    } rows[] = { { tiny, 1 },  { zeros, 0 },   { one, 1 },    { over, 1 },
                 { under, 1 }, { several, 5 }, { largest, 2 } };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct toy *t = toy_new(rows[i].extents, i);
        check_dynamic(t, rows[i].blocks);
        check_fixed(t);
        disk_close(&t->disk);
    }
}

static void the_bat_in_pieces_is_the_bat(void **state)
{
    (void)state;
    uint64_t r = toy_seed();
    struct toy *t = toy_new(largest, 1);
    struct view *v = open_view("vhd", t);
    size_t n = 4 * (GIB(2040) / MIB(2)) + 512;
    uint8_t *whole = malloc(n), piece[300];
    assert_int_equal(view_pread(v, whole, n, 1536), 0);
    for (int i = 0; i < 5000; i++) {
        size_t len = 1 + (size_t)toy_random(&r, sizeof piece);
        uint64_t off = toy_random(&r, n - len);
        assert_int_equal(view_pread(v, piece, len, 1536 + off), 0);
        assert_memory_equal(piece, whole + off, len);
    }
    free(whole);
    view_close(v);
    disk_close(&t->disk);
}

static void what_a_vhd_cannot_hold_is_refused(void **state)
{
    static const struct toy_extent too_large[] = { { GIB(2040) + 512, '.' }, { 0, 0 } };
    (void)state;
    struct toy *t = toy_new(too_large, 1), *small = toy_new(one, 1);
    for (size_t i = 0; view_formats[i]; i++) {
        struct view *v = NULL;
        struct fault fault = { 0 };
        if (strncmp(view_formats[i]->name, "vhd", 3) != 0 || strncmp(view_formats[i]->name, "vhdx", 4) == 0)
            continue;
        struct view_source src = { .disk = &t->disk, .sector_size = 512 };
        assert_int_equal(view_open(view_formats[i], &src, &v, &fault), -EFBIG);
        assert_non_null(strstr(fault.what, "2040 GiB"));
        src = (struct view_source){ .disk = &small->disk, .sector_size = 4096 };
        assert_int_equal(view_open(view_formats[i], &src, &v, NULL), -ENOTSUP);
    }
    disk_close(&t->disk);
    disk_close(&small->disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_independent_reader_finds_the_disk),
        cmocka_unit_test(the_bat_in_pieces_is_the_bat),
        cmocka_unit_test(what_a_vhd_cannot_hold_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
