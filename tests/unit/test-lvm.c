/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Volume groups out of physical volumes that are built here: where each byte of a volume comes from, what is
 * missing or damaged, and what is said of segments that aren't read. tests/e2e/lvm.sh does it with volumes of
 * lvm2's own. */
#include "lvm-sample.h"
#include "memdisk.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#define UUID_A "AAAAAAaaaaaaaaaaaaaaaaaaaaaaAAAA"
#define UUID_B "BBBBBBbbbbbbbbbbbbbbbbbbbbbbBBBB"
#define TEXT_A "AAAAAA-aaaa-aaaa-aaaa-aaaa-aaaa-aaAAAA"
#define TEXT_B "BBBBBB-bbbb-bbbb-bbbb-bbbb-bbbb-bbBBBB"
#define LV_ID  "id = \"LLLLLL-llll-llll-llll-llll-llll-llLLLL\"\n"

static uint8_t a[SAMPLE_SIZE], b[SAMPLE_SIZE];
static struct memdisk disks[3];
static struct lvm_device devices[3];
static struct notes notes;

/* A group's text around its logical volumes. */
static char *group_text(unsigned seqno, const char *volumes)
{
    char *text;
    if (asprintf(&text,
                 "vg {\nid = \"GGGGGG-gggg-gggg-gggg-gggg-gggg-ggGGGG\"\nseqno = %u # comment { \"\n"
                 "status = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\nextent_size = 8\nmax_lv = 0\n"
                 "physical_volumes {\npv0 {\nid = \"" TEXT_A
                 "\"\ndevice = \"/dev/sd\\\"a\\\\\"\npe_start = 32\npe_count = 12\n}\n"
                 "pv1 {\nid = \"" TEXT_B "\"\npe_start = 32\npe_count = 12\n}\n}\n"
                 "logical_volumes {\n%s\n}\n}\ncontents = \"Text Format Volume Group\"\nversion = 1\n",
                 seqno, volumes) < 0)
        abort();
    return text;
}

static void put_text(uint8_t *pv, unsigned seqno, const char *volumes, uint64_t off)
{
    char *text = group_text(seqno, volumes);
    assert_true(strlen(text) < SAMPLE_AREA_SIZE - 512);
    sample_text(pv, text, off, 0);
    free(text);
}

/* Each extent has its own bytes; then the label and an empty area. */
static void make_pvs(void)
{
    for (size_t i = 0; i < SAMPLE_SIZE; i++) {
        a[i] = (uint8_t)(i / 512);
        b[i] = (uint8_t)(128 + i / 512);
    }
    sample_label(a, UUID_A, 1);
    sample_label(b, UUID_B, 1);
    memset(a + SAMPLE_AREA_AT, 0, SAMPLE_AREA_SIZE);
    memset(b + SAMPLE_AREA_AT, 0, SAMPLE_AREA_SIZE);
    sample_text(a, "", 0, 0); /* no text yet, as pvcreate leaves it */
    sample_text(b, "", 0, 0);
}

/* Bytes of the devices that are there, when not all. */
static uint64_t there[3];

static struct lvm *assemble(size_t n)
{
    static const char *const names[] = { "disk0p1", "disk1", "disk2" };
    struct lvm *lvm;
    notes_done(&notes);
    notes = (struct notes){ 0 };
    disks[0] = memdisk_of(a, sizeof a);
    disks[1] = memdisk_of(b, sizeof b);
    disks[2] = memdisk_of(a, sizeof a);
    for (size_t i = 0; i < n; i++)
        devices[i] = (struct lvm_device){ .disk = &disks[i].disk,
                                          .name = names[i],
                                          .there = there[i] ? there[i] : disks[i].disk.size };
    assert_int_equal(lvm_assemble(devices, n, &notes, &lvm), 0);
    return lvm;
}

#define LINEAR                                                                                               \
    "root {\n" LV_ID "status = [\"READ\", \"WRITE\", \"VISIBLE\"]\nsegment_count = 2\n"                      \
    "segment1 {\nstart_extent = 0\nextent_count = 2\ntype = \"striped\"\nstripe_count = 1\n"                 \
    "stripes = [\n\"pv0\", 3\n]\n}\n"                                                                        \
    "segment2 {\nstart_extent = 2\nextent_count = 1\ntype = \"striped\"\nstripe_count = 1\n"                 \
    "stripes = [\"pv1\", 11]\n}\n}\n"
#define STRIPED                                                                                              \
    "fast-lv {\n" LV_ID "status = [\"READ\", \"WRITE\", \"VISIBLE\"]\nsegment_count = 1\n"                   \
    "segment1 {\nstart_extent = 0\nextent_count = 4\ntype = \"striped\"\nstripe_count = 2\nstripe_size = "   \
    "2\n"                                                                                                    \
    "stripes = [\n\"pv1\", 0,\n\"pv0\", 5\n]\n}\n}\n"

static uint8_t byte_at(struct disk *d, uint64_t off)
{
    uint8_t c;
    assert_int_equal(disk_pread(d, &c, 1, off), 0);
    return c;
}

static void volumes_lie_where_the_segments_say(void **state)
{
    (void)state;
    make_pvs();
    put_text(a, 7, LINEAR STRIPED, 512);
    put_text(b, 7, LINEAR STRIPED, 512);
    struct lvm *lvm = assemble(2);
    assert_int_equal(lvm->n, 2);
    assert_int_equal(notes.n, 0);
    assert_string_equal(devices[1].why, "a physical volume of the volume group vg");
    const struct lvm_volume *root = &lvm->volumes[0], *fast = &lvm->volumes[1];
    assert_string_equal(root->mapper, "vg-root");
    assert_string_equal(root->type, "linear");
    assert_int_equal(root->n_devices, 2);
    assert_int_equal(root->disk->size, 3 * SAMPLE_EXTENT);
    for (uint64_t off = 0; off < root->disk->size; off += 512) {
        const uint8_t *pv = off < 2 * SAMPLE_EXTENT ? a + 3 * SAMPLE_EXTENT : b + 9 * SAMPLE_EXTENT;
        assert_int_equal(byte_at(root->disk, off), pv[SAMPLE_FIRST + off]);
    }
    assert_string_equal(fast->mapper, "vg-fast--lv");
    assert_string_equal(fast->type, "striped");
    for (uint64_t off = 0; off < fast->disk->size; off += 512) {
        uint64_t chunk = off / 1024, at = SAMPLE_FIRST + chunk / 2 * 1024 + off % 1024;
        assert_int_equal(byte_at(fast->disk, off), chunk % 2 ? a[at + 5 * SAMPLE_EXTENT] : b[at]);
    }
    uint8_t *all = malloc(fast->disk->size); /* in one go as byte by byte */
    assert_int_equal(disk_pread(fast->disk, all, fast->disk->size, 0), 0);
    for (uint64_t off = 0; off < fast->disk->size; off += 100)
        assert_int_equal(all[off], byte_at(fast->disk, off));
    free(all);
    lvm_free(lvm);
}

static void the_text_goes_around_the_ring(void **state)
{
    (void)state;
    for (uint64_t off = SAMPLE_AREA_SIZE - 1; off > SAMPLE_AREA_SIZE - 2000; off -= 37) {
        make_pvs();
        put_text(a, 7, LINEAR, off);
        struct lvm *lvm = assemble(2);
        assert_int_equal(lvm->n, 1);
        assert_non_null(lvm->volumes[0].disk);
        lvm_free(lvm);
    }
}

static void the_newest_metadata_counts(void **state)
{
    (void)state;
    make_pvs();
    put_text(a, 8, LINEAR, 512);
    put_text(b, 7, LINEAR STRIPED, 1024);
    struct lvm *lvm = assemble(2);
    assert_int_equal(lvm->n, 1);
    assert_int_equal(notes.n, 1);
    assert_non_null(strstr(notes.lines[0], "of different age (seqno 8, 7 on disk1)"));
    lvm_free(lvm);

    put_text(b, 9, LINEAR STRIPED, 1024);
    lvm = assemble(2);
    assert_int_equal(lvm->n, 2);
    lvm_free(lvm);

    b[SAMPLE_AREA_AT + 1024 + 40] ^= 1; /* the newer one is damaged: the older one counts, and it is said */
    lvm = assemble(2);
    assert_int_equal(lvm->n, 1);
    assert_int_equal(notes.n, 1);
    assert_non_null(strstr(notes.lines[0], "disk1: a copy of the metadata there isn't used: "));
    assert_non_null(strstr(notes.lines[0], "doesn't agree with its checksum"));
    lvm_free(lvm);

    sample_label(b, UUID_B, 0); /* a physical volume without metadata */
    lvm = assemble(2);
    assert_int_equal(lvm->n, 1);
    assert_non_null(lvm->volumes[0].disk);
    lvm_free(lvm);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    make_pvs();
    put_text(a, 7,
             LINEAR STRIPED
             "only-a {\n" LV_ID "status = [\"READ\", \"VISIBLE\"]\nsegment_count = 1\n"
             "segment1 {\nstart_extent = 0\nextent_count = 1\ntype = \"linear\"\nstripe_count = 1\n"
             "stripes = [\"pv0\", 0]\n}\n}\n",
             512);
    struct lvm *lvm = assemble(1);
    assert_int_equal(lvm->n, 3);
    for (int i = 0; i < 2; i++) {
        assert_null(lvm->volumes[i].disk);
        assert_non_null(strstr(lvm->volumes[i].why, TEXT_B ", which is missing"));
    }
    assert_non_null(lvm->volumes[2].disk); /* it needs only what is there */
    assert_non_null(strstr(lvm->volumes[2].read_only_why, "read-only"));
    assert_true(notes.n == 1 && strstr(notes.lines[0], TEXT_B " is on none of the disks"));
    lvm_free(lvm);

    lvm = assemble(3); /* the third disk is a copy of the first */
    assert_int_equal(lvm->n, 3);
    for (int i = 0; i < 3; i++) {
        assert_null(lvm->volumes[i].disk);
        assert_non_null(
            strstr(lvm->volumes[i].why, "disk0p1 and disk2 are both the physical volume " TEXT_A));
    }
    lvm_free(lvm);

    sample_label(a, UUID_A, 0); /* nobody has the text */
    sample_label(b, UUID_B, 1);
    lvm = assemble(2);
    assert_int_equal(lvm->n, 0);
    assert_non_null(strstr(devices[0].why, "whose metadata is on none of the disks"));
    assert_string_equal(devices[1].why, "a physical volume of no volume group");
    lvm_free(lvm);
}

#define SEGMENT(name, status, body)                                                                          \
    name " {\n" LV_ID "status = [" status "]\nsegment_count = 1\nsegment1 {\nstart_extent = 0\n"             \
         "extent_count = 1\n" body "}\n}\n"
#define SHOWN "\"READ\", \"WRITE\", \"VISIBLE\""

static void other_types_are_named(void **state)
{
    (void)state;
    make_pvs();
    put_text(
        a, 7,
        SEGMENT("t", SHOWN, "type = \"thin\"\nthin_pool = \"p\"\n") SEGMENT(
            "p", SHOWN, "type = \"thin-pool\"\n") SEGMENT("p_tdata", "\"READ\"",
                                                          "type = \"striped\"\nstripe_count = 1\nstripes = "
                                                          "[\"pv0\", 0]\n")
            SEGMENT("r", SHOWN, "type = \"raid1\"\nraids = [\"r_rmeta_0\", \"r_rimage_0\"]\n") SEGMENT(
                "m", SHOWN, "type = \"mirror\"\n") SEGMENT("c", SHOWN, "type = \"cache+METADATA_FORMAT\"\n")
                SEGMENT("v", SHOWN, "type = \"vdo\"\n") SEGMENT("e", SHOWN, "type = \"error\"\n") SEGMENT(
                    "z", SHOWN, "type = \"zero\"\n") SEGMENT("x", SHOWN, "type = \"from-2040\"\n")
                    SEGMENT("over", SHOWN,
                            "type = \"striped\"\nstripe_count = 1\nstripes = [\"p_tdata\", 0]\n")
                        SEGMENT("o", SHOWN, "type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", 1]\n")
                            SEGMENT("s", SHOWN,
                                    "type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", 2]\n")
                                SEGMENT("snapshot0", "\"READ\"",
                                        "type = \"snapshot\"\norigin = \"o\"\ncow_store = \"s\"\n")
                                    SEGMENT("g", SHOWN,
                                            "type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", 3]\n")
                                        SEGMENT(
                                            "snapshot1", "\"READ\"",
                                            "type = \"snapshot\"\norigin = \"g\"\nmerging_store = \"h\"\n"),
        512);
    static const struct {
        const char *lv, *why; /* NULL: it is shown */
    } want[] = { { "t", "a thin volume: " },
                 { "p", "a thin pool" },
                 { "r", "type raid1" },
                 { "m", "a mirror" },
                 { "c", "a cached volume" },
                 { "v", "a VDO volume" },
                 { "e", "LVM answers errors" },
                 { "z", "without storage" },
                 { "x", "type from-2040 aren't read" },
                 { "over", "type striped" },
                 { "o", NULL },
                 { "s", "a snapshot of LVM" },
                 { "g", "is being merged back" } };
    struct lvm *lvm = assemble(2);
    assert_int_equal(lvm->n, sizeof want / sizeof want[0]);
    for (size_t i = 0; i < lvm->n; i++) {
        const struct lvm_volume *v = &lvm->volumes[i];
        assert_string_equal(v->lv, want[i].lv);
        if ((v->disk != NULL) != !want[i].why || (want[i].why && !strstr(v->why, want[i].why)))
            fail_msg("%s: %s", v->lv, v->why);
        if (v->disk)
            assert_non_null(strstr(v->read_only_why, "snapshot"));
    }
    lvm_free(lvm);
}

/* Texts that contradict themselves: no volume, and the device says why. */
static void damaged_texts_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *volumes, *why;
    } rows[] = {
        { SEGMENT("a/b", SHOWN, "type = \"error\"\n"), "a name without a value" },
        { SEGMENT("..", SHOWN, "type = \"error\"\n"), "no name that LVM would give" },
        { SEGMENT("l", SHOWN, "type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", 12]\n"),
          "past the end of its physical volume" },
        { SEGMENT("l", SHOWN, "type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", -1]\n"),
          "too few stripes" },
        { SEGMENT("l", SHOWN, "type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", 0, \"pv1\", 0]\n"),
          "too many stripes" },
        { SEGMENT("l", SHOWN, "type = \"striped\"\nstripe_count = 2\nstripes = [\"pv0\", 0, \"pv1\", 0]\n"),
          "impossible number of stripes" },
        { SEGMENT("l", SHOWN, "type = \"striped\"\nstripe_count = 0\nstripes = []\n"), "impossible number" },
        { SEGMENT("l", SHOWN, "stripe_count = 1\n"), "without its type" },
        { "l {\n" LV_ID "status = [" SHOWN "]\nsegment_count = 1\n}", "aren't all there" },
        { "l {\n" LV_ID "status = [" SHOWN
          "]\nsegment_count = 1\nsegment1 {\nstart_extent = 1\nextent_count = 1\n"
          "type = \"error\"\n}\n}",
          "leave a gap" },
        { "l {\n" LV_ID "status = [" SHOWN "]\nsegment_count = 1\nsegment1 {\nstart_extent = 0\n"
          "extent_count = 2\ntype = \"striped\"\nstripe_count = 2\nstripe_size = 3\n"
          "stripes = [\"pv0\", 0, \"pv1\", 0]\n}\n}",
          "impossible stripe size" },
        { "l {\nstatus = [" SHOWN "]\n}", "no id" },
        { "l {\n" LV_ID "x = [1, 2", "without an end" },
        { "l = [[[[[[[[[[[[[[[[[[[[[[[[[[", "too much nesting" },
        { "a{a{a{a{a{a{a{a{a{a{a{a{a{a{a{a{a{a{a{a{", "too much nesting" },
        { SEGMENT("l", SHOWN, "type = \"error\"\n") SEGMENT("l", SHOWN, "type = \"error\"\n"),
          "l: there twice" },
        { "}}}", "one '}' too many" },
        { "l = ", "no value" },
        { "l = 99999999999999999999", "no value" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        make_pvs();
        put_text(a, 7, rows[i].volumes, 512);
        struct lvm *lvm = assemble(1);
        assert_int_equal(lvm->n, 0);
        if (!strstr(devices[0].why, rows[i].why))
            fail_msg("%zu, %s: %s", i, rows[i].volumes, devices[0].why);
        lvm_free(lvm);
    }
}

static void cut_texts_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = { "a = \"x", "a = \"x\\", "a = \"x\\\"", "a = [",
                                         "a {",     "a",         "a =",         "a = [1" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct lvm_text *t;
        struct fault fault = { 0 };
        assert_int_equal(lvm_text_parse(strdup(texts[i]), "disk0", &t, &fault), -EUCLEAN);
        assert_non_null(strstr(fault.what, "can't be understood"));
    }
}

/* Any byte of the label, of the area's header or of the text: found by a checksum, never a crash. */
static void flipped_bytes_are_found(void **state)
{
    (void)state;
    char *text = group_text(7, LINEAR STRIPED);
    const size_t head = 700, tail = strlen(text) + 1 - head;
    make_pvs();
    sample_text(a, text, SAMPLE_AREA_SIZE - head, 0);
    free(text);
    for (size_t at = SAMPLE_LABEL_AT; at < SAMPLE_AREA_AT + SAMPLE_AREA_SIZE; at++) {
        bool checked = at < SAMPLE_LABEL_AT + 512 ||
                       (at >= SAMPLE_AREA_AT && at < SAMPLE_AREA_AT + 512 + tail) ||
                       at >= SAMPLE_AREA_AT + SAMPLE_AREA_SIZE - head;
        if (!checked)
            continue;
        a[at] ^= 0x10;
        struct lvm *lvm = assemble(1);
        if (lvm->n || !devices[0].why[0])
            fail_msg("byte %zu: %s", at, devices[0].why);
        lvm_free(lvm);
        a[at] ^= 0x10;
    }
}

static void what_cannot_be_read_is_an_error(void **state)
{
    (void)state;
    make_pvs();
    put_text(a, 7, LINEAR, 512);
    struct lvm *lvm = assemble(2);
    struct disk *d = lvm->volumes[0].disk;
    uint8_t buf[512];
    disks[0].bad_at = SAMPLE_FIRST + 3 * SAMPLE_EXTENT;
    disks[0].bad_length = 1;
    assert_int_equal(disk_pread(d, buf, 512, 0), -EIO);
    assert_int_equal(disk_pread(d, buf, 512, SAMPLE_EXTENT), 0);
    disks[1].disk.size = SAMPLE_FIRST + 11 * SAMPLE_EXTENT + 512; /* a disk that was cut short */
    assert_int_equal(disk_pread(d, buf, 512, 2 * SAMPLE_EXTENT), 0);
    assert_int_equal(disk_pread(d, buf, 512, 2 * SAMPLE_EXTENT + 512), -EIO);
    assert_int_equal(disk_pwrite(d, buf, 512, 0), -EROFS);
    assert_false(disk_writable(d));
    lvm_free(lvm);
}

/* A disk that can be written. */
static int writable_pwrite(struct disk *d, const void *buf, size_t len, uint64_t off)
{
    memcpy((uint8_t *)(uintptr_t)((struct memdisk *)(void *)d)->data + off, buf, len);
    return 0;
}

static void writes_go_where_reads_come_from(void **state)
{
    (void)state;
    struct disk_ops ops = memdisk_ops;
    ops.pwrite = writable_pwrite;
    make_pvs();
    put_text(a, 7, STRIPED, 512);
    struct lvm *lvm = assemble(2);
    struct disk *d = lvm->volumes[0].disk;
    disks[0].disk.ops = &ops;
    assert_false(disk_writable(d)); /* of two devices one can't be */
    disks[1].disk.ops = &ops;
    assert_true(disk_writable(d));
    uint8_t in[3000], out[3000];
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(i * 7);
    assert_int_equal(disk_pwrite(d, in, sizeof in, 777), 0);
    assert_int_equal(disk_pread(d, out, sizeof out, 777), 0);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(disk_discard(d, 0, d->size), 0);
    assert_int_equal(b[SAMPLE_FIRST + 777], in[0]);
    assert_int_equal(a[SAMPLE_FIRST + 5 * SAMPLE_EXTENT], in[1024 - 777]);
    lvm_free(lvm);
}

static void what_a_cut_disk_lacks_is_not_written(void **state)
{
    static const struct {
        uint64_t extents; /* of the first device that are there */
        bool root, fast;  /* are written: they reach to its extents 4 and 6 */
    } cuts[] = { { 7, true, true }, { 6, true, false }, { 5, true, false }, { 4, false, false } };
    (void)state;
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        make_pvs();
        put_text(a, 7, LINEAR STRIPED, 512);
        put_text(b, 7, LINEAR STRIPED, 512);
        there[0] = SAMPLE_FIRST + cuts[i].extents * SAMPLE_EXTENT;
        struct lvm *lvm = assemble(2);
        there[0] = 0;
        assert_int_equal(lvm->n, 2);
        for (int k = 0; k < 2; k++) {
            const struct lvm_volume *v = &lvm->volumes[k];
            bool want = k ? cuts[i].fast : cuts[i].root;
            assert_non_null(v->disk);
            assert_int_equal(!v->read_only_why[0], want);
            if (!want)
                assert_string_equal(v->read_only_why,
                                    "a part of it lies past the end of the disk of disk0p1");
        }
        lvm_free(lvm);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(volumes_lie_where_the_segments_say),
        cmocka_unit_test(the_text_goes_around_the_ring),
        cmocka_unit_test(the_newest_metadata_counts),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(other_types_are_named),
        cmocka_unit_test(damaged_texts_are_refused),
        cmocka_unit_test(cut_texts_are_refused),
        cmocka_unit_test(flipped_bytes_are_found),
        cmocka_unit_test(what_cannot_be_read_is_an_error),
        cmocka_unit_test(writes_go_where_reads_come_from),
        cmocka_unit_test(what_a_cut_disk_lacks_is_not_written),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    notes_done(&notes);
    return r;
}
