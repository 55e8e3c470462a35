/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.vmdk: read back by a little VMDK reader that shares no code with the view, and by qemu-img where there
 * is one. */
#include "view-check.h"

#include <inttypes.h>

#define SECTORS(n) ((uint64_t)(n)*512)

enum { GRAIN = 65536 };

/* ---- the reader: after VMware's "Virtual Disk Format 5.0" ---- */

struct reader {
    uint64_t sectors, n_grains, n_tables, overhead; /* overhead: bytes */
    uint64_t present;                               /* grains */
    uint32_t *directory, *redundant;
    char descriptor[SECTORS(20) + 1];
};

static uint32_t *read_directory(struct view *v, uint64_t sector, uint64_t n)
{
    uint32_t *d = malloc(div_up(n * 4, 512) * 512);
    assert_int_equal(view_pread(v, d, div_up(n * 4, 512) * 512, SECTORS(sector)), 0);
    for (uint64_t i = n; i % 128; i++)
        assert_int_equal(d[i], 0);
    return d;
}

static struct reader *reader_open(struct view *v)
{
    uint8_t buf[512];
    struct bad bad = { 0 };
    struct bytes b = bytes_of(buf, sizeof buf, 0, &bad);
    struct reader *r = calloc(1, sizeof *r);
    assert_int_equal(view_pread(v, buf, sizeof buf, 0), 0);
    assert_true(bytes_match(b, 0, "KDMV", 4));
    assert_int_equal(le32(b, 4), 1);
    assert_int_equal(le32(b, 8), 3);
    r->sectors = le64(b, 12);
    assert_int_equal(le64(b, 20), 128);
    assert_int_equal(le64(b, 28), 1);
    assert_int_equal(le64(b, 36), 20);
    assert_int_equal(le32(b, 44), 512);
    r->overhead = SECTORS(le64(b, 64));
    assert_int_equal(r->overhead % GRAIN, 0);
    assert_int_equal(u8(b, 72), 0); /* clean */
    assert_true(bytes_match(b, 73, "\n \r\n", 4));
    for (size_t i = 77; i < 512; i++)
        assert_int_equal(u8(b, i), 0);
    r->n_grains = div_up(r->sectors, 128);
    r->n_tables = div_up(r->n_grains, 512);
    r->redundant = read_directory(v, le64(b, 48), r->n_tables);
    r->directory = read_directory(v, le64(b, 56), r->n_tables);
    assert_int_equal(view_pread(v, r->descriptor, SECTORS(20), 512), 0);
    return r;
}

static void reader_close(struct reader *r)
{
    free(r->directory);
    free(r->redundant);
    free(r);
}

/* A table's place: in the file's head, and no other's. */
static void check_tables_apart(const struct reader *r)
{
    uint64_t n = r->overhead / 512;
    uint8_t *used = calloc(1, n);
    memset(used, 1, 21);
    for (uint64_t i = 0; i < 2 * r->n_tables; i++) {
        uint32_t at = i < r->n_tables ? r->directory[i] : r->redundant[i - r->n_tables];
        assert_true(at >= 21 && at + 4 <= n);
        for (int k = 0; k < 4; k++)
            assert_int_equal(used[at + k]++, 0);
    }
    free(used);
}

static void check_table(struct view *v, struct reader *r, const struct toy *t, uint64_t i)
{
    uint32_t table[512], redundant[512];
    assert_int_equal(view_pread(v, table, 2048, SECTORS(r->directory[i])), 0);
    assert_int_equal(view_pread(v, redundant, 2048, SECTORS(r->redundant[i])), 0);
    assert_memory_equal(table, redundant, 2048);
    for (uint64_t k = 0; k < 512; k++) {
        uint64_t off = (i * 512 + k) * GRAIN;
        assert_int_equal(table[k] != 0, off < t->disk.size && toy_has_data(t, off, off + GRAIN));
        if (!table[k])
            continue;
        /* in the disk's order, one after the other */
        assert_int_equal(SECTORS(le32toh(table[k])), r->overhead + r->present++ * GRAIN);
        check_data(v, t, SECTORS(le32toh(table[k])), GRAIN, off);
    }
}

static void check_view(struct view *v, const struct toy *t)
{
    struct reader *r = reader_open(v);
    check_tables_apart(r);
    for (uint64_t i = 0; i < r->n_tables; i++)
        check_table(v, r, t, i);
    assert_int_equal(v->layout.size, r->overhead + r->present * GRAIN);
    check_holes(v, r->overhead);
    reader_close(r);
}

/* ---- the disks ---- */

#define LIST (const struct toy_extent[])

static const struct {
    const char *name;
    const struct toy_extent *extents;
    uint64_t overhead, grains; /* grains */
    bool qemu;                 /* compare with qemu-img, which reads every zero: so not the large ones */
} disks[] = {
    { "300 MiB + 3.5 KiB",
      LIST{ { MIB(3), 'D' },
            { MIB(90) + 512, '.' },
            { 4096, 'D' },
            { MIB(100), 'Z' },
            { MIB(7) + 7, 'D' },
            { MIB(98), '.' },
            { MIB(2) - 1031, 'D' },
            { 0, 0 } },
      1, 48 + 1 + 113 + 33, true },
    { "zeros", LIST{ { MIB(10), 'Z' }, { 0, 0 } }, 1, 0, true },
    { "a sector", LIST{ { 512, 'D' }, { 0, 0 } }, 1, 1, true },
    { "a byte", LIST{ { 1, 'D' }, { 0, 0 } }, 1, 1, true },
    { "a grain", LIST{ { 65536, 'D' }, { 0, 0 } }, 1, 1, true },
    { "a sector over a grain", LIST{ { 65536, '.' }, { 512, 'D' }, { 0, 0 } }, 1, 1, true },
    { "a sector under a grain", LIST{ { 65024, 'D' }, { 0, 0 } }, 1, 1, true },
    { "a table", LIST{ { MIB(32) - 512, '.' }, { 512, 'D' }, { 0, 0 } }, 1, 1, true },
    { "a sector over a table", LIST{ { MIB(32), '.' }, { 512, 'D' }, { 0, 0 } }, 1, 1, true },
    { "a sector under a table", LIST{ { MIB(32) - 1024, '.' }, { 512, 'D' }, { 0, 0 } }, 1, 1, true },
    { "a sector of the directory", LIST{ { GIB(4) - 512, '.' }, { 512, 'D' }, { 0, 0 } }, 9, 1, true },
    { "a sector over that", LIST{ { GIB(4), '.' }, { 512, 'D' }, { 0, 0 } }, 9, 1, true },
    { "20 GiB", LIST{ { GIB(5) - 512, '.' }, { 1024, 'D' }, { GIB(15) - 1024, 'Z' }, { 512, 'D' }, { 0, 0 } },
      41, 3, true },
    { "2 TiB", LIST{ { 512, 'D' }, { TIB(2) - 1024, '.' }, { 512, 'D' }, { 0, 0 } }, 4105, 2, false },
};
enum { N_DISKS = sizeof disks / sizeof disks[0] };

static void an_independent_reader_finds_the_disk(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_DISKS; i++) {
        struct toy *t = toy_new(disks[i].extents, i);
        struct view *v = open_view("vmdk", t, 512, 1);
        struct reader *r = reader_open(v);
        assert_int_equal(r->sectors, div_up(t->disk.size, 512));
        if (r->overhead != disks[i].overhead * GRAIN ||
            v->layout.size != r->overhead + disks[i].grains * GRAIN)
            fail_msg("%s: %" PRIu64 " of %" PRIu64, disks[i].name, r->overhead / GRAIN,
                     v->layout.size / GRAIN);
        check_view(v, t);
        reader_close(r);
        view_close(v);
        disk_close(&t->disk);
    }
}

static void random_disks(void **state)
{
    uint64_t seed = toy_seed();
    (void)state;
    for (uint64_t round = 0; round < (UNIT_SANITIZED ? 4 : 12); round++) {
        uint64_t s = seed + round * 13, r = s;
        struct toy *t = toy_new_random(1 + toy_random(&r, 200 << 20), 1 + toy_random(&r, 30000), "D....Z", s);
        struct view *v = open_view("vmdk", t, 512, 1);
        check_view(v, t);
        view_close(v);
        disk_close(&t->disk);
    }
}

static void tables_in_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_DISKS; i++) {
        struct toy *t = toy_new(disks[i].extents, 1);
        struct view *v = open_view("vmdk", t, 512, 1);
        check_pieces(v, v->layout.size);
        view_close(v);
        disk_close(&t->disk);
    }
}

/* The tables of 2 TiB are 256 MiB and half a MiB of directories; only what is not zeros takes room. */
static void tables_without_grains_are_holes(void **state)
{
    (void)state;
    struct toy *t = toy_new(disks[N_DISKS - 1].extents, 1);
    struct view *v = open_view("vmdk", t, 512, 1);
    assert_int_equal(v->allocated, SECTORS(21) + 2 * KIB(256) + 2 * 2 * 2048 + 2 * 512);
    view_close(v);
    disk_close(&t->disk);
}

static void check_line(const struct reader *r, const char *line)
{
    char with_newlines[160];
    snprintf(with_newlines, sizeof with_newlines, "\n%s\n", line);
    if (!strstr(r->descriptor, with_newlines))
        fail_msg("no line '%s' in: %s", line, r->descriptor);
}

static void the_descriptor(void **state)
{
    static const struct {
        uint64_t size;
        const char *extent, *cylinders;
    } rows[] = {
        { 1, "RW 1 SPARSE \"disk.vmdk\"", "ddb.geometry.cylinders = \"1\"" },
        { SECTORS(255 * 63 * 3) - 1, "RW 48195 SPARSE \"disk.vmdk\"", "ddb.geometry.cylinders = \"3\"" },
        { TIB(2), "RW 4294967296 SPARSE \"disk.vmdk\"", "ddb.geometry.cylinders = \"65535\"" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct toy_extent list[] = { { rows[i].size, '.' }, { 0, 0 } };
        struct toy *t = toy_new(list, 1);
        struct view *v = open_view("vmdk", t, 512, 1);
        struct reader *r = reader_open(v);
        assert_true(!strncmp(r->descriptor, "# Disk DescriptorFile\nversion=1\n", 32));
        check_line(r, "parentCID=ffffffff");
        check_line(r, "createType=\"monolithicSparse\"");
        check_line(r, rows[i].extent);
        check_line(r, "ddb.adapterType = \"lsilogic\"");
        check_line(r, rows[i].cylinders);
        reader_close(r);
        view_close(v);
        disk_close(&t->disk);
    }
}

static uint32_t cid_of(struct toy *t, uint8_t id)
{
    struct view *v = open_view("vmdk", t, 512, id);
    struct reader *r = reader_open(v);
    const char *line = strstr(r->descriptor, "\nCID="), *db = strstr(r->descriptor, "ddb.longContentID = \"");
    assert_non_null(line);
    assert_non_null(db);
    uint32_t cid = (uint32_t)strtoul(line + 5, NULL, 16);
    assert_int_equal(strtoul(db + strlen("ddb.longContentID = \"") + 24, NULL, 16), cid);
    assert_true(cid && cid < 0xfffffffe);
    reader_close(r);
    view_close(v);
    return cid;
}

static void identifiers_follow_the_source(void **state)
{
    (void)state;
    struct toy *t = toy_new(disks[2].extents, 1);
    assert_int_equal(cid_of(t, 1), cid_of(t, 1));
    assert_int_not_equal(cid_of(t, 1), cid_of(t, 2));
    disk_close(&t->disk);
}

static void sizes_that_no_vmdk_has_are_refused(void **state)
{
    (void)state;
    assert_int_equal(try_view("vmdk", 0, '.'), -ENOTSUP);
    assert_int_equal(try_view("vmdk", TIB(2), '.'), 0);
    assert_int_equal(try_view("vmdk", TIB(2) + 1, '.'), -EFBIG);
    assert_int_equal(try_view("vmdk", TIB(2), 'D'), -EFBIG);
    /* the largest full disk: its grains, and for each 512 of them two tables and two entries, are 2^32
     * sectors */
    uint64_t grains = (UINT64_C(1) << 32) / 128, head = 0;
    do {
        grains--;
        uint64_t tables = div_up(grains, 512);
        head = round_up(21 + 2 * div_up(tables * 4, 512) + 2 * 4 * tables, 128);
    } while (head + grains * 128 > UINT64_C(1) << 32);
    assert_int_equal(try_view("vmdk", grains * GRAIN, 'D'), 0);
    assert_int_equal(try_view("vmdk", grains * GRAIN + 1, 'D'), -EFBIG);
    static const struct toy_extent small[] = { { 4096, 'D' }, { 0, 0 } };
    struct toy *t4 = toy_new(small, 1);
    struct view_source four = { .disk = &t4->disk, .sector_size = 4096 };
    struct view *v4 = NULL;
    assert_int_equal(view_open(view_by_name("vmdk"), &four, &v4, NULL), -ENOTSUP);
    disk_close(&t4->disk);
}

static void qemu_reads_the_same_disk(void **state)
{
    (void)state;
    need_qemu();
    for (size_t i = 0; i < N_DISKS; i++) {
        struct toy *t = toy_new(disks[i].extents, i);
        struct view *v = open_view("vmdk", t, 512, 1);
        check_with_qemu(v, t, disks[i].name, disks[i].qemu);
        view_close(v);
        disk_close(&t->disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_independent_reader_finds_the_disk),
        cmocka_unit_test(random_disks),
        cmocka_unit_test(tables_in_pieces),
        cmocka_unit_test(tables_without_grains_are_holes),
        cmocka_unit_test(the_descriptor),
        cmocka_unit_test(identifiers_follow_the_source),
        cmocka_unit_test(sizes_that_no_vmdk_has_are_refused),
        cmocka_unit_test(qemu_reads_the_same_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
