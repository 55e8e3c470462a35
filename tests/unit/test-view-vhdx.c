/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.vhdx and disk-fixed.vhdx: read back by a little VHDX reader that shares no code with the view, and by
 * qemu-img where there is one. */
#include "view-check.h"

#include <inttypes.h>

/* ---- the reader: after [MS-VHDX], bit by bit ---- */

struct reader {
    uint64_t file_size, disk_size, block_size, bat, bat_length, chunk_ratio;
    uint32_t logical, physical, leave_allocated;
    uint8_t file_guid[16], data_guid[16], disk_guid[16];
};

/* CRC-32C, bit by bit; the four bytes at 4 count as zeros. */
static uint32_t checksum(const uint8_t *p, size_t n)
{
    uint32_t c = ~0u;
    for (size_t i = 0; i < n; i++) {
        c ^= i >= 4 && i < 8 ? 0 : p[i];
        for (int k = 0; k < 8; k++)
            c = (c >> 1) ^ (c & 1 ? 0x82F63B78u : 0);
    }
    return ~c;
}

static struct bytes read_window(struct view *v, uint64_t off, size_t n)
{
    static uint8_t buf[65536];
    static struct bad bad;
    assert_true(n <= sizeof buf);
    bad.set = false;
    assert_int_equal(view_pread(v, buf, n, off), 0);
    return bytes_of(buf, n, off, &bad);
}

static uint64_t read_header(struct view *v, uint64_t off, struct reader *r)
{
    struct bytes b = read_window(v, off, 4096);
    assert_true(bytes_match(b, 0, "head", 4));
    assert_int_equal(le32(b, 4), checksum(b.p, 4096));
    memcpy(r->file_guid, b.p + 16, 16);
    memcpy(r->data_guid, b.p + 32, 16);
    for (size_t i = 48; i < 66; i++)
        assert_int_equal(u8(b, i), 0); /* log GUID, log version */
    assert_int_equal(le16(b, 66), 1);
    assert_int_equal(le32(b, 68), MIB(1));
    assert_int_equal(le64(b, 72), MIB(1));
    for (size_t i = 80; i < 4096; i++)
        assert_int_equal(u8(b, i), 0);
    return le64(b, 8);
}

static uint64_t read_regions(struct view *v, uint64_t off, struct reader *r)
{
    static const uint8_t bat[] = { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0, 0x42 },
                         metadata[] = { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b };
    struct bytes b = read_window(v, off, 65536);
    uint64_t at = 0;
    assert_true(bytes_match(b, 0, "regi", 4));
    assert_int_equal(le32(b, 4), checksum(b.p, 65536));
    assert_int_equal(le32(b, 8), 2);
    for (size_t i = 16; i < 16 + 2 * 32; i += 32) {
        uint64_t offset = le64(b, i + 16), length = le32(b, i + 24);
        assert_true(offset >= MIB(1) && offset % MIB(1) == 0 && length && length % MIB(1) == 0);
        assert_true(offset + length <= r->file_size);
        assert_int_equal(le32(b, i + 28), 1);
        if (bytes_match(b, i, bat, 8)) {
            r->bat = offset;
            r->bat_length = length;
        } else if (bytes_match(b, i, metadata, 8)) {
            at = offset;
        }
    }
    assert_true(at && r->bat);
    return at;
}

static void read_metadata(struct view *v, uint64_t at, struct reader *r)
{
    static const struct {
        uint8_t guid[4];
        uint32_t length, flags;
    } want[] = {
        { { 0x37, 0x67, 0xa1, 0xca }, 8, 4 },  { { 0x24, 0x42, 0xa5, 0x2f }, 8, 6 },
        { { 0xab, 0x12, 0xca, 0xbe }, 16, 6 }, { { 0x1d, 0xbf, 0x41, 0x81 }, 4, 6 },
        { { 0xc7, 0x48, 0xa3, 0xcd }, 4, 6 },
    };
    struct bytes b = read_window(v, at, 65536);
    assert_true(bytes_match(b, 0, "metadata", 8));
    assert_int_equal(le16(b, 10), 5);
    uint64_t item[5];
    for (size_t i = 0; i < 5; i++) {
        size_t e = 32 + 32 * i;
        assert_true(bytes_match(b, e, want[i].guid, 4));
        assert_int_equal(le32(b, e + 20), want[i].length);
        assert_int_equal(le32(b, e + 24), want[i].flags);
        assert_true(le32(b, e + 16) >= 65536);
        item[i] = at + le32(b, e + 16);
    }
    b = read_window(v, item[0], 8);
    r->block_size = le32(b, 0);
    r->leave_allocated = le32(b, 4);
    r->disk_size = le64(read_window(v, item[1], 8), 0);
    memcpy(r->disk_guid, read_window(v, item[2], 16).p, 16);
    r->logical = le32(read_window(v, item[3], 4), 0);
    r->physical = le32(read_window(v, item[4], 4), 0);
}

static struct reader reader_open(struct view *v)
{
    struct reader r = { .file_size = v->layout.size }, again;
    assert_true(bytes_match(read_window(v, 0, 8), 0, "vhdxfile", 8));
    again = r;
    uint64_t first = read_header(v, 65536, &r), second = read_header(v, 131072, &again);
    assert_int_not_equal(first, second);
    assert_memory_equal(r.file_guid, again.file_guid, 32);
    uint64_t at = read_regions(v, 196608, &r);
    again = r;
    assert_int_equal(read_regions(v, 262144, &again), at);
    assert_memory_equal(&r, &again, sizeof r);
    read_metadata(v, at, &r);
    assert_true(r.block_size >= MIB(1) && r.block_size <= MIB(256) && is_power_of_two(r.block_size));
    assert_true(r.leave_allocated <= 1);
    r.chunk_ratio = (UINT64_C(1) << 23) * r.logical / r.block_size;
    uint64_t n = div_up(r.disk_size, r.block_size);
    assert_true((n + (n - 1) / r.chunk_ratio) * 8 <= r.bat_length);
    return r;
}

/* The block's place in the file, or 0 for zeros; all else is an error in a dynamic or fixed file. */
static uint64_t reader_block(struct view *v, const struct reader *r, uint64_t block)
{
    uint64_t entry = le64(read_window(v, r->bat + (block + block / r->chunk_ratio) * 8, 8), 0);
    if (entry == 2)
        return 0;
    assert_int_equal(entry & 0xfffff, 6);
    assert_true(entry >> 20 << 20 >= r->bat + r->bat_length);
    assert_true((entry >> 20 << 20) + r->block_size <= r->file_size);
    return entry >> 20 << 20;
}

/* Every block of [from, to) is what the toy has there; returns how many are present. */
static uint64_t check_blocks(struct view *v, const struct reader *r, const struct toy *t, uint64_t from,
                             uint64_t to)
{
    uint8_t *want = malloc(r->block_size), *got = malloc(r->block_size);
    uint64_t present = 0;
    for (uint64_t i = from; i < to; i++) {
        uint64_t at = reader_block(v, r, i);
        if (!at) {
            assert_false(toy_has_data(t, i * r->block_size, (i + 1) * r->block_size));
            continue;
        }
        toy_fill(t, want, r->block_size, i * r->block_size);
        assert_int_equal(view_pread(v, got, r->block_size, at), 0);
        assert_memory_equal(got, want, r->block_size);
        present++;
    }
    free(want);
    free(got);
    return present;
}

/* ---- the disks ---- */

static const struct toy_extent sparse_300m[] = { { MIB(3), 'D' },        { MIB(90) + 512, '.' },
                                                 { 4096, 'D' },          { MIB(100), 'Z' },
                                                 { MIB(7) + 7, 'D' },    { MIB(98), '.' },
                                                 { MIB(2) - 1031, 'D' }, { 0, 0 } };
static const struct toy_extent sparse_5g[] = {
    { GIB(1) - 512, '.' },    { MIB(5), 'D' }, { GIB(3), 'Z' }, { 1, 'D' },
    { GIB(1) - MIB(5), '.' }, { 2047, 'D' },   { 0, 0 }
};
static const struct toy_extent zeros_10m[] = { { MIB(10), 'Z' }, { 0, 0 } };
static const struct toy_extent tiny[] = { { 512, 'D' }, { 0, 0 } };
static const struct toy_extent whole_blocks[] = { { MIB(4), 'D' }, { 0, 0 } };
static const struct toy_extent over_a_block[] = { { MIB(4), '.' }, { 512, 'D' }, { 0, 0 } };
static const struct toy_extent under_a_block[] = { { 512, 'D' }, { MIB(4) - 1024, '.' }, { 0, 0 } };
/* bitmap entries of the BAT lie after each 4096 blocks */
static const struct toy_extent one_chunk[] = { { GIB(4) - 512, '.' }, { 512, 'D' }, { 0, 0 } };
static const struct toy_extent over_a_chunk[] = { { GIB(4), '.' }, { 1024, 'D' }, { 0, 0 } };
static const struct toy_extent over_4t[] = {
    { TIB(4) - 4096, '.' }, { MIB(9), 'D' }, { TIB(1), '.' }, { 8192, 'D' }, { 0, 0 }
};
static const struct toy_extent largest[] = { { TIB(64) - 512, '.' }, { 512, 'D' }, { 0, 0 } };

static const struct {
    const char *name;
    const struct toy_extent *extents;
    uint64_t dynamic_size; /* of the file */
    uint64_t block_size;
    bool qemu; /* compare with qemu-img: not the large ones, whose raw file may be too large to be made */
} disks[] = {
    { "300 MiB + 3.5 KiB", sparse_300m, MIB(4 + 3 + 1 + 8 + 3), MIB(1), true },
    { "5 GiB + 1.5 KiB", sparse_5g, MIB(4 + 6 + 1 + 2), MIB(1), true },
    { "10 MiB of zeros", zeros_10m, MIB(4), MIB(1), true },
    { "a sector", tiny, MIB(5), MIB(1), true },
    { "whole blocks", whole_blocks, MIB(8), MIB(1), true },
    { "a sector over", over_a_block, MIB(5), MIB(1), true },
    { "a sector under", under_a_block, MIB(5), MIB(1), true },
    { "one chunk", one_chunk, MIB(5), MIB(1), false },
    { "a sector over a chunk", over_a_chunk, MIB(5), MIB(1), false },
    { "over 4 TiB", over_4t, MIB(3 + 21 + 2 * 7), MIB(2), false },
    { "64 TiB", largest, MIB(3 + 33 + 16), MIB(16), false },
};
enum { N_DISKS = sizeof disks / sizeof disks[0] };

static void check_dynamic(size_t row, struct toy *t)
{
    struct view *v = open_view("vhdx", t, 512, 1);
    assert_int_equal(v->layout.size, disks[row].dynamic_size);
    struct reader r = reader_open(v);
    assert_int_equal(r.disk_size, round_up(t->disk.size, 512));
    assert_int_equal(r.block_size, disks[row].block_size);
    assert_int_equal(r.logical, 512);
    assert_int_equal(r.physical, 4096);
    assert_int_equal(r.leave_allocated, 0);
    uint64_t n = div_up(r.disk_size, r.block_size), present = 0;
    if (n <= 10000) {
        present = check_blocks(v, &r, t, 0, n);
    } else {
        for (size_t i = 0; i < t->n; i++) {
            uint64_t from = t->starts[i] / r.block_size,
                     to = (t->starts[i] + t->extents[i].length) / r.block_size;
            check_blocks(v, &r, t, from ? from - 1 : 0, min_u64(from + 2, n));
            check_blocks(v, &r, t, to ? to - 1 : 0, min_u64(to + 2, n));
        }
        present = blockmap_allocated(v->layout.blocks);
    }
    uint64_t data = r.bat + r.bat_length;
    assert_int_equal(v->layout.size, data + present * r.block_size);
    view_close(v);
}

static void check_fixed(size_t row, struct toy *t)
{
    struct view *v = open_view("vhdx-fixed", t, 512, 1);
    struct reader r = reader_open(v);
    uint64_t n = div_up(r.disk_size, r.block_size), data = r.bat + r.bat_length;
    assert_int_equal(r.block_size, disks[row].block_size);
    assert_int_equal(r.leave_allocated, 1);
    assert_int_equal(v->layout.size, data + n * r.block_size);
    for (uint64_t i = 0; i<n; i += n> 10000 ? n / 1000 : 1)
        assert_int_equal(reader_block(v, &r, i), data + i * r.block_size);
    check_blocks(v, &r, t, 0, min_u64(n, 8));
    check_blocks(v, &r, t, n - min_u64(n, 8), n);
    view_close(v);
}

static void an_independent_reader_finds_the_disk(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_DISKS; i++) {
        struct toy *t = toy_new(disks[i].extents, i);
        check_dynamic(i, t);
        check_fixed(i, t);
        disk_close(&t->disk);
    }
}

static void random_disks(void **state)
{
    uint64_t seed = toy_seed();
    (void)state;
    for (uint64_t round = 0; round < (UNIT_SANITIZED ? 4 : 12); round++) {
        uint64_t s = seed + round * 13, r = s;
        struct toy *t = toy_new_random(1 + toy_random(&r, 24 << 20), 1 + toy_random(&r, 9000), "D..Z", s);
        unsigned sector = round % 2 ? 512 : 4096;
        struct view *dynamic = open_view("vhdx", t, sector, 1),
                    *fixed = open_view("vhdx-fixed", t, sector, 1);
        struct reader d = reader_open(dynamic), f = reader_open(fixed);
        uint64_t n = div_up(t->disk.size, d.block_size);
        assert_int_equal(d.logical, sector);
        assert_int_equal(d.disk_size, round_up(t->disk.size, sector));
        check_blocks(dynamic, &d, t, 0, n);
        assert_int_equal(check_blocks(fixed, &f, t, 0, n), n);
        view_close(dynamic);
        view_close(fixed);
        disk_close(&t->disk);
    }
}

/* The BAT in pieces of any alignment is the BAT. */
static void table_in_pieces(void **state)
{
    (void)state;
    uint64_t r = 5;
    struct toy *t = toy_new(over_4t, 1);
    for (int fixed = 0; fixed < 2; fixed++) {
        struct view *v = open_view(fixed ? "vhdx-fixed" : "vhdx", t, 512, 1);
        uint8_t *whole = malloc(MIB(21)), *piece = malloc(4096);
        assert_int_equal(view_pread(v, whole, MIB(21), MIB(3)), 0);
        for (int i = 0; i < 2000; i++) {
            size_t len = 1 + (size_t)toy_random(&r, 4096);
            uint64_t off = toy_random(&r, MIB(21) - len);
            assert_int_equal(view_pread(v, piece, len, MIB(3) + off), 0);
            assert_memory_equal(piece, whole + off, len);
        }
        free(whole);
        free(piece);
        view_close(v);
    }
    disk_close(&t->disk);
}

static void sectors_of_4096_change_the_chunks(void **state)
{
    (void)state;
    const struct toy_extent list[] = { { GIB(33), '.' }, { 512, 'D' }, { 0, 0 } };
    struct toy *t = toy_new(list, 1);
    struct view *v = open_view("vhdx", t, 4096, 1);
    struct reader r = reader_open(v);
    assert_int_equal(r.logical, 4096);
    assert_int_equal(r.chunk_ratio, 32768);
    assert_int_equal(r.disk_size, GIB(33) + 4096);
    assert_int_equal(reader_block(v, &r, GIB(33) / r.block_size), r.bat + r.bat_length);
    assert_int_equal(le64(read_window(v, r.bat + 32768 * 8, 8), 0), 0); /* the first chunk's bitmap */
    assert_int_equal(le64(read_window(v, r.bat + 32769 * 8, 8), 0), 2);
    view_close(v);
    disk_close(&t->disk);
}

static void sizes_that_no_vhdx_has_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t size;
        int want;
    } rows[] = { { TIB(64), 0 }, { TIB(64) + 1, -EFBIG }, { 0, -ENOTSUP } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct toy_extent list[] = { { rows[i].size, '.' }, { 0, 0 } };
        struct toy *t = toy_new(list, 1);
        struct view_source src = { .disk = &t->disk, .sector_size = 512 };
        for (int fixed = 0; fixed < 2; fixed++) {
            struct view *v = NULL;
            struct fault fault = { 0 };
            const struct view_format *format = view_by_name(fixed ? "vhdx-fixed" : "vhdx");
            assert_int_equal(view_open(format, &src, &v, &fault), rows[i].want);
            assert_int_equal(fault.err, rows[i].want);
            assert_true(!v == (rows[i].want < 0));
            view_close(v);
        }
        disk_close(&t->disk);
    }
}

static void identifiers_follow_the_source(void **state)
{
    (void)state;
    struct toy *t = toy_new(tiny, 1);
    struct view *a = open_view("vhdx", t, 512, 1), *b = open_view("vhdx", t, 512, 1),
                *c = open_view("vhdx", t, 512, 2), *f = open_view("vhdx-fixed", t, 512, 1);
    uint8_t *x = malloc(MIB(5)), *y = malloc(MIB(5));
    assert_int_equal(view_pread(a, x, MIB(5), 0), 0);
    assert_int_equal(view_pread(b, y, MIB(5), 0), 0);
    assert_memory_equal(x, y, MIB(5));
    struct reader ra = reader_open(a), rc = reader_open(c), rf = reader_open(f);
    assert_memory_not_equal(ra.file_guid, ra.data_guid, 16);
    assert_memory_not_equal(ra.disk_guid, ra.data_guid, 16);
    assert_memory_not_equal(ra.file_guid, rc.file_guid, 16);
    assert_memory_not_equal(ra.data_guid, rc.data_guid, 16);
    assert_memory_not_equal(ra.disk_guid, rc.disk_guid, 16);
    assert_memory_not_equal(ra.file_guid, rf.file_guid, 16);
    assert_memory_equal(ra.disk_guid, rf.disk_guid, 16);
    free(x);
    free(y);
    view_close(a);
    view_close(b);
    view_close(c);
    view_close(f);
    disk_close(&t->disk);
}

/* ---- qemu-img ---- */

/* qemu-img reads every zero, gigabytes of them: of a large disk it compares what is around the data. */
static void qemu_compares(const char *name, const struct toy *t, const char *vhdx, const char *raw)
{
    enum { AROUND = 8 << 20 };
    char command[512];
    if (t->disk.size < GIB(1)) {
        snprintf(command, sizeof command, "qemu-img compare -q -f vhdx -F raw %s %s", vhdx, raw);
        if (run(command))
            fail_msg("%s: %s", name, command);
        return;
    }
    for (size_t i = 0; i < t->n; i++) {
        if (t->extents[i].kind != 'D')
            continue;
        uint64_t from = t->starts[i] - min_u64(t->starts[i], AROUND), size = round_up(t->disk.size, 512);
        uint64_t to = min_u64(t->starts[i] + t->extents[i].length + AROUND, size);
        from -= from % 512;
        to = round_up(to, 512);
        snprintf(command, sizeof command,
                 "qemu-img compare -q --image-opts driver=raw,offset=%" PRIu64 ",size=%" PRIu64
                 ",file.driver=vhdx,file.file.filename=%s driver=raw,offset=%" PRIu64 ",size=%" PRIu64
                 ",file.filename=%s",
                 from, to - from, vhdx, from, to - from, raw);
        if (run(command))
            fail_msg("%s: %s", name, command);
    }
}

static void qemu_agrees_on(size_t row, const char *dir)
{
    char raw[64], vhdx[64], command[256];
    struct toy *t = toy_new(disks[row].extents, row);
    snprintf(raw, sizeof raw, "%s/disk.raw", dir);
    snprintf(vhdx, sizeof vhdx, "%s/disk.vhdx", dir);
    if (disks[row].qemu)
        write_raw(t, raw);
    for (int fixed = 0; fixed < 2; fixed++) {
        /* the file of a huge fixed disk is larger than many file systems allow */
        if (fixed && t->disk.size > TIB(1))
            continue;
        struct view *v = open_view(fixed ? "vhdx-fixed" : "vhdx", t, 512, 1);
        copy_sparse(v, vhdx);
        view_close(v);
        snprintf(command, sizeof command, "qemu-img check -q -f vhdx %s", vhdx);
        if (run(command))
            fail_msg("%s: %s", disks[row].name, command);
        if (disks[row].qemu)
            qemu_compares(disks[row].name, t, vhdx, raw);
        unlink(vhdx);
    }
    unlink(raw);
    disk_close(&t->disk);
}

static void qemu_reads_the_same_disk(void **state)
{
    (void)state;
    char dir[] = "/tmp/ferryfs-vhdx-XXXXXX";
    if (run("command -v qemu-img >/dev/null")) {
        print_message("no qemu-img: not compared\n");
        skip();
    }
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < N_DISKS; i++)
        qemu_agrees_on(i, dir);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_independent_reader_finds_the_disk),
        cmocka_unit_test(random_disks),
        cmocka_unit_test(table_in_pieces),
        cmocka_unit_test(sectors_of_4096_change_the_chunks),
        cmocka_unit_test(sizes_that_no_vhdx_has_are_refused),
        cmocka_unit_test(identifiers_follow_the_source),
        cmocka_unit_test(qemu_reads_the_same_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
