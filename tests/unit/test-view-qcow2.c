/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.qcow2: read back by a little QCOW2 reader that shares no code with the view and counts the references
 * of every cluster, and by qemu-img where there is one. */
#include "view-check.h"

#include <inttypes.h>

#define COPIED (UINT64_C(1) << 63)

/* ---- the reader: after QEMU's docs/interop/qcow2 ---- */

struct reader {
    uint64_t size, cluster, l1, n_l1, table, table_clusters, n_clusters;
    uint64_t present; /* clusters of the disk that are in the file */
    uint8_t *references;
};

static uint64_t be64_at(struct view *v, uint64_t off)
{
    uint64_t n;
    assert_int_equal(view_pread(v, &n, 8, off), 0);
    return be64toh(n);
}

static uint32_t be32_at(struct view *v, uint64_t off)
{
    uint32_t n;
    assert_int_equal(view_pread(v, &n, 4, off), 0);
    return be32toh(n);
}

static struct reader reader_open(struct view *v)
{
    assert_int_equal(be32_at(v, 0), 0x514649fb);
    assert_int_equal(be32_at(v, 4), 3);
    assert_int_equal(be64_at(v, 8), 0);  /* no backing file */
    assert_int_equal(be32_at(v, 16), 0); /* no name of one */
    assert_int_equal(be32_at(v, 32), 0); /* not encrypted */
    assert_int_equal(be32_at(v, 60), 0); /* no snapshots */
    assert_int_equal(be64_at(v, 64), 0);
    assert_int_equal(be64_at(v, 72), 0); /* no features of any kind */
    assert_int_equal(be64_at(v, 80), 0);
    assert_int_equal(be64_at(v, 88), 0);
    assert_int_equal(be32_at(v, 96), 4); /* refcounts of 16 bits */
    assert_int_equal(be32_at(v, 100), 104);
    assert_int_equal(be64_at(v, 104), 0); /* no extensions */
    struct reader r = { .size = be64_at(v, 24), .cluster = UINT64_C(1) << be32_at(v, 20) };
    r.n_l1 = be32_at(v, 36);
    r.l1 = be64_at(v, 40);
    r.table = be64_at(v, 48);
    r.table_clusters = be32_at(v, 56);
    assert_int_equal(r.l1 % r.cluster, 0);
    assert_int_equal(r.table % r.cluster, 0);
    assert_int_equal(v->layout.size % r.cluster, 0);
    r.n_clusters = v->layout.size / r.cluster;
    assert_true(r.n_l1 * (r.cluster / 8) * r.cluster >= r.size);
    assert_true(r.n_l1 * 8 <= MIB(32)); /* QEMU's limits */
    assert_true(r.table_clusters * r.cluster <= MIB(8));
    return r;
}

static void refer(struct reader *r, uint64_t at, uint64_t n)
{
    assert_int_equal(at % r->cluster, 0);
    assert_true(at / r->cluster + n <= r->n_clusters);
    for (uint64_t i = 0; i < n; i++)
        r->references[at / r->cluster + i]++;
}

static void read_l2(struct view *v, struct reader *r, const struct toy *t, uint64_t at, uint64_t first,
                    bool contents)
{
    uint64_t n = r->cluster / 8, *entries = malloc(r->cluster), before = r->present;
    assert_int_equal(view_pread(v, entries, r->cluster, at), 0);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t e = be64toh(entries[i]), off = (first + i) * r->cluster;
        assert_int_equal(e != 0, off < t->disk.size && toy_has_data(t, off, off + r->cluster));
        if (!e)
            continue;
        assert_true(e & COPIED);
        refer(r, e & ~COPIED, 1);
        r->present++;
        if (contents)
            check_data(v, t, e & ~COPIED, r->cluster, off);
    }
    assert_true(r->present > before); /* else the table need not be */
    free(entries);
}

/* Each cluster of the file has the refcount 1, and there are just enough refcounts. */
static void read_refcounts(struct view *v, struct reader *r)
{
    uint64_t a_block = r->cluster / 2, n = div_up(r->n_clusters, a_block);
    uint16_t *counts = malloc(r->cluster);
    refer(r, r->table, r->table_clusters);
    assert_true(r->table_clusters == div_up(n * 8, r->cluster));
    for (uint64_t i = 0; i < r->table_clusters * r->cluster / 8; i++) {
        uint64_t block = be64_at(v, r->table + i * 8);
        assert_int_equal(block != 0, i < n);
        if (!block)
            continue;
        refer(r, block, 1);
        assert_int_equal(view_pread(v, counts, r->cluster, block), 0);
        for (uint64_t k = 0; k < a_block; k++)
            assert_int_equal(be16toh(counts[k]), i * a_block + k < r->n_clusters);
    }
    free(counts);
}

static void check_view(struct view *v, const struct toy *t, bool contents)
{
    struct reader r = reader_open(v);
    r.references = calloc(1, r.n_clusters);
    refer(&r, 0, 1);
    refer(&r, r.l1, max_u64(1, div_up(r.n_l1 * 8, r.cluster)));
    for (uint64_t i = 0; i < r.n_l1; i++) {
        uint64_t e = be64_at(v, r.l1 + i * 8);
        if (!e) {
            uint64_t span = r.cluster / 8 * r.cluster;
            assert_false(toy_has_data(t, i * span, min_u64(t->disk.size, (i + 1) * span)));
            continue;
        }
        assert_true(e & COPIED);
        refer(&r, e & ~COPIED, 1);
        read_l2(v, &r, t, e & ~COPIED, i * (r.cluster / 8), contents);
    }
    read_refcounts(v, &r);
    for (uint64_t i = 0; i < r.n_clusters; i++)
        assert_int_equal(r.references[i], 1);
    free(r.references);
}

/* ---- the disks ---- */

#define LIST (const struct toy_extent[])

static const struct {
    const char *name;
    const struct toy_extent *extents;
    uint64_t clusters; /* of the file */
    uint64_t cluster;
    bool qemu; /* compare with qemu-img, which reads every zero: so not the large ones */
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
      5 + 48 + 1 + 113 + 33, KIB(64), true },
    { "zeros", LIST{ { MIB(10), 'Z' }, { 0, 0 } }, 4, KIB(64), true },
    { "a sector", LIST{ { 512, 'D' }, { 0, 0 } }, 6, KIB(64), true },
    { "a byte", LIST{ { 1, 'D' }, { 0, 0 } }, 6, KIB(64), true },
    { "a cluster", LIST{ { 65536, 'D' }, { 0, 0 } }, 6, KIB(64), true },
    { "a sector over", LIST{ { 65536, 'D' }, { 512, 'D' }, { 0, 0 } }, 7, KIB(64), true },
    { "a sector under", LIST{ { 65024, 'D' }, { 0, 0 } }, 6, KIB(64), true },
    { "an L2 table", LIST{ { 512, 'D' }, { MIB(512) - 1024, '.' }, { 512, 'D' }, { 0, 0 } }, 7, KIB(64),
      true },
    { "a sector over an L2 table", LIST{ { MIB(512), '.' }, { 512, 'D' }, { 0, 0 } }, 6, KIB(64), true },
    { "a sector under an L2 table", LIST{ { MIB(512) - 1024, '.' }, { 512, 'D' }, { 0, 0 } }, 6, KIB(64),
      true },
    { "both sides of an L2 table",
      LIST{ { MIB(512) - 512, 'Z' }, { 1024, 'D' }, { GIB(2), '.' }, { 700, 'D' }, { 0, 0 } }, 4 + 3 + 3,
      KIB(64), true },
    { "20 GiB", LIST{ { GIB(20) - 512, '.' }, { 512, 'D' }, { 0, 0 } }, 6, KIB(64), true },
    { "16 TiB", LIST{ { TIB(16) - 512, '.' }, { 512, 'D' }, { 0, 0 } }, 4 + 3 + 2, KIB(64), false },
    { "over 16 TiB", LIST{ { TIB(16), '.' }, { 512, 'D' }, { 0, 0 } }, 6, KIB(128), false },
    { "64 TiB",
      LIST{ { 512, 'D' }, { TIB(64) - MIB(1), '.' }, { 4096, 'D' }, { MIB(1) - 4608, 'Z' }, { 0, 0 } },
      4 + 2 + 2, KIB(256), false },
    { "512 TiB", LIST{ { TIB(512) - 512, 'Z' }, { 512, 'D' }, { 0, 0 } }, 6, MIB(2), false },
};
enum { N_DISKS = sizeof disks / sizeof disks[0] };

static void an_independent_reader_finds_the_disk(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_DISKS; i++) {
        struct toy *t = toy_new(disks[i].extents, i);
        struct view *v = open_view("qcow2", t, 512, 1);
        struct reader r = reader_open(v);
        assert_int_equal(r.size, round_up(t->disk.size, 512));
        assert_int_equal(r.cluster, disks[i].cluster);
        if (r.n_clusters != disks[i].clusters)
            fail_msg("%s: %" PRIu64 " clusters", disks[i].name, r.n_clusters);
        check_view(v, t, true);
        check_holes(v, v->layout.size);
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
        uint64_t size = 1 + toy_random(&r, 24 << 20);
        struct toy *t = toy_new_random(size, 1 + toy_random(&r, 9000), "D..Z", s);
        struct view *v = open_view("qcow2", t, round % 2 ? 512 : 4096, 1);
        assert_int_equal(reader_open(v).size, round_up(size, round % 2 ? 512 : 4096));
        check_view(v, t, true);
        check_holes(v, v->layout.size);
        view_close(v);
        disk_close(&t->disk);
    }
}

/* Around the size where a second block of refcounts is needed, which itself needs one. */
static void refcounts_count_themselves(void **state)
{
    (void)state;
    for (uint64_t n = 32768 - 12; n < 32768 + 4; n++) {
        const struct toy_extent list[] = { { n * 65536, 'D' }, { 0, 0 } };
        struct toy *t = toy_new(list, 1);
        struct view *v = open_view("qcow2", t, 512, 1);
        check_view(v, t, false);
        view_close(v);
        disk_close(&t->disk);
    }
}

/* 16 TiB of data: the refcounts' table is of two clusters. */
static void a_full_disk(void **state)
{
    (void)state;
    const struct toy_extent list[] = { { TIB(16), 'D' }, { 0, 0 } };
    struct toy *t = toy_new(list, 1);
    struct view *v = open_view("qcow2", t, 512, 1);
    struct reader r = reader_open(v);
    uint64_t blocks = div_up(r.n_clusters, 32768), last = r.n_clusters - 1, count = 0;
    assert_int_equal(r.table_clusters, 2);
    assert_int_equal(be64_at(v, r.table + 8 * blocks), 0);
    uint64_t block = be64_at(v, r.table + 8 * (blocks - 1));
    assert_int_equal(block, r.table + (r.table_clusters + blocks - 1) * r.cluster);
    assert_int_equal(view_pread(v, &count, 2, block + last % 32768 * 2), 0);
    assert_int_equal(be16toh((uint16_t)count), 1);
    if (r.n_clusters % 32768) {
        assert_int_equal(view_pread(v, &count, 2, block + r.n_clusters % 32768 * 2), 0);
        assert_int_equal(count, 0);
    }
    assert_int_equal(r.n_l1, 32768);
    uint64_t l2 = be64_at(v, r.l1 + (r.n_l1 - 1) * 8) & ~COPIED;
    assert_int_equal(be64_at(v, l2 + 8191 * 8), (last * 65536) | COPIED);
    check_data(v, t, last * 65536, 65536, TIB(16) - 65536);
    view_close(v);
    disk_close(&t->disk);
}

static void tables_in_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_DISKS; i++) {
        struct toy *t = toy_new(disks[i].extents, 1);
        struct view *v = open_view("qcow2", t, 512, 1);
        check_pieces(v, min_u64(v->layout.size, MIB(12)));
        view_close(v);
        disk_close(&t->disk);
    }
}

static void sizes(void **state)
{
    (void)state;
    assert_int_equal(try_view("qcow2", 0, '.'), 0);
    assert_int_equal(try_view("qcow2", TIB(512), '.'), 0);
    assert_int_equal(try_view("qcow2", TIB(512) + 1, '.'), -EFBIG);
}

static void qemu_reads_the_same_disk(void **state)
{
    (void)state;
    need_qemu();
    for (size_t i = 0; i < N_DISKS; i++) {
        struct toy *t = toy_new(disks[i].extents, i);
        struct view *v = open_view("qcow2", t, 512, 1);
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
        cmocka_unit_test(refcounts_count_themselves),
        cmocka_unit_test(a_full_disk),
        cmocka_unit_test(tables_in_pieces),
        cmocka_unit_test(sizes),
        cmocka_unit_test(qemu_reads_the_same_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
