/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a qcow2 image keeps beside its disk: the tables of snapshots and bitmaps, built here byte by byte,
 * good and damaged. Whatever is wrong with them, the current state of the disk is readable. */
#include "formats/checked.h"
#include "formats/image.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Clusters of 512 bytes; a disk of two. The current state is "AA", the first snapshot "B" and a hole, the
 * second a disk of one cluster, "B" too. */
enum { C = 512, DISK = 2 * C };
enum {
    AT_L1 = 1 * C,
    AT_L2 = 2 * C,
    AT_A = 3 * C,
    AT_SNAPSHOT_L1 = 4 * C,
    AT_SNAPSHOT_L2 = 5 * C,
    AT_B = 6 * C,
    AT_TABLE = 7 * C, /* of snapshots, to the end of the file or the next */
    AT_BITMAPS = 12 * C,
    SIZE = 16 * C,
};
enum { EXTENSION = 112, FIRST = AT_TABLE, SECOND = AT_TABLE + 72 };

static uint8_t image[SIZE];

/* One entry of the table; returns where the next begins. */
static size_t put_snapshot(size_t at, const char *id, const char *name, size_t name_n, uint32_t extra,
                           uint64_t size)
{
    uint8_t *p = image + at;
    put_be64(p, AT_SNAPSHOT_L1);
    put_be32(p + 8, 1);
    p[13] = (uint8_t)strlen(id);
    p[14] = (uint8_t)(name_n >> 8);
    p[15] = (uint8_t)name_n;
    put_be32(p + 16, 1700000000);
    put_be32(p + 20, 5);
    put_be32(p + 32, 77);
    put_be32(p + 36, extra);
    if (extra >= 16) {
        put_be64(p + 40, UINT64_C(5) << 32);
        put_be64(p + 48, size);
    }
    memcpy(p + 40 + extra, id, strlen(id));
    memcpy(p + 40 + extra + strlen(id), name, name_n);
    return (size_t)round_up(at + 40 + extra + strlen(id) + name_n, 8);
}

static size_t put_bitmap(size_t at, const char *name, uint32_t flags, unsigned granularity_bits,
                         uint32_t extra)
{
    uint8_t *p = image + at;
    put_be32(p + 12, flags);
    p[16] = 1;
    p[17] = (uint8_t)granularity_bits;
    p[19] = (uint8_t)strlen(name);
    put_be32(p + 20, extra);
    memcpy(p + 24 + extra, name, strlen(name));
    return (size_t)round_up(at + 24 + extra + strlen(name), 8);
}

static void image_new(void)
{
    memset(image, 0, sizeof image);
    put_be32(image, 0x514649fb);
    put_be32(image + 4, 3);
    put_be32(image + 20, 9);
    put_be64(image + 24, DISK);
    put_be32(image + 36, 1);
    put_be64(image + 40, AT_L1);
    put_be32(image + 60, 2);
    put_be64(image + 64, AT_TABLE);
    put_be64(image + 88, 1); /* bitmaps are consistent */
    put_be32(image + 96, 4);
    put_be32(image + 100, 112);
    put_be64(image + AT_L1, AT_L2);
    put_be64(image + AT_L2, AT_A);
    put_be64(image + AT_L2 + 8, AT_A);
    put_be64(image + AT_SNAPSHOT_L1, AT_SNAPSHOT_L2);
    put_be64(image + AT_SNAPSHOT_L2, AT_B);
    memset(image + AT_A, 'A', C);
    memset(image + AT_B, 'B', C);
    assert_int_equal(put_snapshot(FIRST, "1", "first", 5, 24, DISK), SECOND);
    put_snapshot(SECOND, "2", "sec\0nd", 6, 16, C);
    put_be32(image + EXTENSION, 0x23852875);
    put_be32(image + EXTENSION + 4, 24);
    put_be32(image + EXTENSION + 8, 2);
    put_be64(image + EXTENSION + 24, AT_BITMAPS);
    size_t end = put_bitmap(put_bitmap(AT_BITMAPS, "frozen", 0, 16, 0), "on", 3, 9, 8);
    put_be64(image + EXTENSION + 16, end - AT_BITMAPS);
}

struct opened {
    struct file *file;
    struct image_env env;
    struct image *image;
    struct fault fault;
};

static void open_image(struct opened *o)
{
    uint8_t got[DISK], want[DISK];
    memset(o, 0, sizeof *o);
    assert_int_equal(file_memory_new(image, sizeof image, "t.qcow2", &o->file), 0);
    o->env.cache = cache_new(1 << 20, NULL);
    if (image_open(o->file, NULL, &o->env, &o->image, &o->fault) < 0)
        fail_msg("refused: %s", o->fault.what);
    memset(want, 'A', sizeof want);
    assert_int_equal(disk_pread(o->image->disk, got, sizeof got, 0), 0);
    assert_memory_equal(got, want, sizeof want);
}

static void close_image(struct opened *o)
{
    image_close(o->image);
    cache_free(o->env.cache);
    file_unref(o->file);
}

static void snapshots_are_disks(void **state)
{
    (void)state;
    struct opened o;
    struct image *snapshot;
    struct extent e;
    uint8_t got[DISK], want[DISK] = { 0 };
    image_new();
    open_image(&o);
    const struct layer_info *info = &o.image->layers[0];
    assert_int_equal(info->n_snapshots, 2);
    assert_int_equal(info->notes.n, 0);
    assert_string_equal(info->snapshots[0].name, "first");
    assert_string_equal(info->snapshots[0].id, "1");
    assert_int_equal(info->snapshots[0].date.tv_sec, 1700000000);
    assert_int_equal(info->snapshots[0].date.tv_nsec, 5);
    assert_true(info->snapshots[0].vm_state == UINT64_C(5) << 32);
    assert_int_equal(info->snapshots[1].name_n, 6);
    assert_memory_equal(info->snapshots[1].name, "sec\0nd", 7);
    memset(want, 'B', C);
    for (size_t i = 0; i < 2; i++) {
        size_t size = i ? C : DISK;
        assert_int_equal(image_open_snapshot(o.image, i, &snapshot, &o.fault), 0);
        assert_int_equal(snapshot->disk->size, size);
        assert_int_equal(snapshot->layers[0].virtual_size, size);
        assert_int_equal(snapshot->layers[0].n_snapshots, 0);
        assert_int_equal(disk_pread(snapshot->disk, got, size, 0), 0);
        assert_memory_equal(got, want, size);
        assert_string_not_equal(snapshot->layers[0].link_id, info->link_id);
        image_close(snapshot);
    }
    assert_int_equal(image_open_snapshot(o.image, 0, &snapshot, &o.fault), 0);
    assert_int_equal(disk_map(snapshot->disk, C, C, &e), 0);
    assert_int_equal(e.kind, EXTENT_HOLE);
    image_close(snapshot);
    close_image(&o);
}

/* Entries without extra data are an old QEMU's: 32 bits of VM state, the disk's present size. */
static void old_entries_have_the_size_of_now(void **state)
{
    (void)state;
    struct opened o;
    image_new();
    memset(image + AT_TABLE, 0, 144);
    put_snapshot(put_snapshot(AT_TABLE, "1", "a", 1, 0, 0), "2", "b", 1, 8, 0);
    open_image(&o);
    assert_int_equal(o.image->layers[0].n_snapshots, 2);
    assert_int_equal(o.image->layers[0].snapshots[0].size, DISK);
    assert_int_equal(o.image->layers[0].snapshots[0].vm_state, 77);
    assert_int_equal(o.image->layers[0].snapshots[1].vm_state, 0);
    assert_string_equal(o.image->layers[0].snapshots[1].name, "b");
    close_image(&o);
}

struct damage {
    const char *name;
    size_t offset, width; /* of the big-endian field that is changed; 0: nothing is */
    uint64_t value;
    size_t n;         /* snapshots, or bitmaps, that are known */
    const char *note; /* part of a remark; NULL: there is none */
    const char *why;  /* why the first can't be opened; NULL: it can */
};

static void put_be(uint8_t *p, size_t width, uint64_t v)
{
    for (size_t i = width; i--; v >>= 8)
        p[i] = (uint8_t)v;
}

static void check_note(const struct damage *d, const struct notes *notes)
{
    const char *got = notes->n ? notes->lines[0] : "";
    if (d->note ? !strstr(got, d->note) : notes->n > 0)
        fail_msg("%s: the remark is \"%s\"", d->name, got);
}

static void damaged_snapshots(void **state)
{
    (void)state;
    static const struct damage cases[] = {
        { "as it is", 0, 0, 0, 2, NULL, NULL },
        { "the table nowhere", 64, 8, 0, 0, "impossible place", NULL },
        { "the table between clusters", 64, 8, AT_TABLE + 8, 0, "impossible place", NULL },
        { "the table past the end", 64, 8, UINT64_C(1) << 60, 0, "impossible place", NULL },
        { "more than there are", 60, 4, 3, 3, NULL, NULL }, /* zeros are an entry, with no name and no disk */
        { "any number", 60, 4, UINT32_MAX, 63, "damaged at byte", NULL },
        { "extra data too long", FIRST + 36, 4, 1025, 0, "damaged at byte 3584", NULL },
        { "extra data huge", FIRST + 36, 4, UINT32_MAX, 0, "damaged at byte 3584", NULL },
        { "the second's extra data huge", SECOND + 36, 4, UINT32_MAX, 1, "damaged at byte 3656", NULL },
        { "the second's id past the end", SECOND + 12, 2, UINT16_MAX, 1, "damaged at byte 3656", NULL },
        { "the second's name past the end", SECOND + 14, 2, UINT16_MAX, 1, "damaged at byte 3656", NULL },
        { "L1 nowhere", FIRST, 8, 0, 2, NULL, "impossible place" },
        { "L1 between clusters", FIRST, 8, AT_SNAPSHOT_L1 + 8, 2, NULL, "impossible place" },
        { "L1 past the end", FIRST, 8, UINT64_C(1) << 60, 2, NULL,
          "file ends before the end of its L1 table" },
        { "L1 at the end of numbers", FIRST, 8, UINT64_MAX - 511, 2, NULL, "file ends before" },
        { "L1 huge", FIRST + 8, 4, UINT32_MAX, 2, NULL, "4294967295 entries" },
        { "L1 of more than the disk needs", FIRST + 8, 4, 4096, 2, NULL, NULL },
        { "no L1", FIRST + 8, 4, 0, 2, NULL, "too small" },
        { "a disk larger than its L1", FIRST + 48, 8, UINT64_C(1) << 50, 2, NULL, "too small" },
        { "a disk larger than files", FIRST + 48, 8, UINT64_MAX, 2, NULL, "too small" },
        { "an L1 entry damaged", AT_SNAPSHOT_L1, 8, 3, 2, NULL, "L1 entry 0 is damaged" },
        { "an L2 table past the end", AT_SNAPSHOT_L1, 8, UINT64_C(1) << 40, 2, NULL, "truncated" },
        { "an L2 entry damaged", AT_SNAPSHOT_L2, 8, 2, 2, NULL, "L2 entry of guest byte 0 is damaged" },
        { "a cluster past the end", AT_SNAPSHOT_L2, 8, UINT64_C(1) << 40, 2, NULL, "truncated" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct damage *d = &cases[i];
        struct opened o;
        struct image *snapshot = NULL;
        image_new();
        put_be(image + d->offset, d->width, d->value);
        open_image(&o);
        const struct layer_info *info = &o.image->layers[0];
        if (info->n_snapshots != d->n)
            fail_msg("%s: %zu snapshots", d->name, info->n_snapshots);
        check_note(d, &info->notes);
        int r = info->n_snapshots ? image_open_snapshot(o.image, 0, &snapshot, &o.fault) : 0;
        if (d->why ? r == 0 || !strstr(o.fault.what, d->why) : r < 0)
            fail_msg("%s: %d \"%s\"", d->name, r, o.fault.what);
        image_close(snapshot);
        if (d->n == 2) { /* one bad snapshot says nothing of the other */
            int other = image_open_snapshot(o.image, 1, &snapshot, NULL);
            assert_true(other == 0 || d->offset >= AT_SNAPSHOT_L1);
            image_close(other ? NULL : snapshot);
        }
        close_image(&o);
    }
}

static void damaged_bitmaps(void **state)
{
    (void)state;
    enum { N = EXTENSION + 8, LENGTH = EXTENSION + 16, OFFSET = EXTENSION + 24, FIRST_BITMAP = AT_BITMAPS };
    static const struct damage cases[] = {
        { "as it is", 0, 0, 0, 2, NULL, NULL },
        { "none", N, 4, 0, 0, NULL, NULL },
        { "the extension has another length", EXTENSION + 4, 4, 16, 0, NULL, NULL },
        { "stale", 88, 8, 0, 2, "stale", NULL },
        { "more than there are", N, 4, UINT32_MAX, 2, "damaged at byte 6216", NULL },
        { "the directory nowhere", OFFSET, 8, 0, 0, "impossible place", NULL },
        { "the directory between clusters", OFFSET, 8, AT_BITMAPS + 8, 0, "impossible place", NULL },
        { "the directory past the end", OFFSET, 8, UINT64_C(1) << 60, 0, "impossible place", NULL },
        { "the directory longer than the file", LENGTH, 8, UINT64_MAX, 0, "impossible place", NULL },
        { "the directory cut short", LENGTH, 8, 40, 1, "damaged at byte 6176", NULL },
        { "a directory of nothing", LENGTH, 8, 0, 0, "damaged at byte 6144", NULL },
        { "an unknown type", FIRST_BITMAP + 16, 1, 2, 0, "damaged at byte 6144", NULL },
        { "granularity too fine", FIRST_BITMAP + 17, 1, 8, 0, "damaged at byte 6144", NULL },
        { "granularity too coarse", FIRST_BITMAP + 17, 1, 32, 0, "damaged at byte 6144", NULL },
        { "name too long", FIRST_BITMAP + 18, 2, 1024, 0, "damaged at byte 6144", NULL },
        { "name past the end", FIRST_BITMAP + 18, 2, 500, 0, "damaged at byte 6144", NULL },
        { "extra data huge", FIRST_BITMAP + 20, 4, UINT32_MAX, 0, "damaged at byte 6144", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct damage *d = &cases[i];
        struct opened o;
        image_new();
        put_be(image + d->offset, d->width, d->value);
        open_image(&o);
        const struct layer_info *info = &o.image->layers[0];
        if (info->n_bitmaps != d->n)
            fail_msg("%s: %zu bitmaps", d->name, info->n_bitmaps);
        check_note(d, &info->notes);
        if (d->n == 2) {
            bool stale = d->offset == 88;
            assert_string_equal(info->bitmaps[0].name, "frozen");
            assert_int_equal(info->bitmaps[0].granularity, 65536);
            assert_false(info->bitmaps[0].enabled);
            assert_int_equal(info->bitmaps[0].in_use, stale);
            assert_string_equal(info->bitmaps[1].name, "on");
            assert_true(info->bitmaps[1].enabled);
            assert_true(info->bitmaps[1].in_use);
        }
        close_image(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshots_are_disks),
        cmocka_unit_test(old_entries_have_the_size_of_now),
        cmocka_unit_test(damaged_snapshots),
        cmocka_unit_test(damaged_bitmaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
