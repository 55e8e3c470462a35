/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHDX: the rules of the header section, metadata and BAT; dirty logs; differencing disks. Images are built
 * here (vhdx-sample.h), so that each rule is broken alone. */
#include "formats/checked.h"
#include "formats/image.h"
#include "unit.h"
#include "vhdx-sample.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

extern const struct format vhdx_format;

static struct image_env env;

static int setup(void **state)
{
    (void)state;
    env.cache = cache_new(8 << 20, NULL);
    return env.cache ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    cache_free(env.cache);
    return 0;
}

static void layer_done(struct layer *l)
{
    disk_close(l->disk);
    backing_done(&l->backing);
    notes_done(&l->info.notes);
}

static int try_open(const struct sample *s, size_t n, struct layer *ret, struct fault *fault)
{
    struct file *f;
    *ret = (struct layer){ 0 };
    assert_int_equal(file_memory_new(s->p, n, "t.vhdx", &f), 0);
    int r = vhdx_format.open(f, &env, ret, fault);
    file_unref(f);
    return r;
}

static struct layer open_sample(const struct sample *s)
{
    struct layer l;
    struct fault fault = { 0 };
    if (try_open(s, s->n, &l, &fault) < 0)
        fail_msg("%s", fault.what);
    return l;
}

/* Refused with this class, and words that say so; frees the sample. */
static void refused_at(struct sample *s, size_t n, int want, const char *words)
{
    struct layer l;
    struct fault fault = { 0 };
    int r = try_open(s, n, &l, &fault);
    if (!r)
        layer_done(&l);
    if (r != want || !strstr(fault.what, words))
        fail_msg("%d (%s), wanted %d (%s)", r, fault.what, want, words);
    sample_free(s);
}

static void refused(struct sample *s, int want, const char *words)
{
    refused_at(s, s->n, want, words);
}

static void assert_fill(struct disk *d, uint64_t off, size_t n, uint8_t fill)
{
    uint8_t buf[8192];
    assert_true(n <= sizeof buf);
    assert_int_equal(disk_pread(d, buf, n, off), 0);
    for (size_t i = 0; i < n; i++)
        if (buf[i] != fill)
            fail_msg("byte %llu is 0x%02x, not 0x%02x", (unsigned long long)(off + i), buf[i], fill);
}

static void assert_map(struct disk *d, uint64_t off, enum extent_kind kind, uint64_t length)
{
    struct extent e;
    assert_int_equal(disk_map(d, off, d->size - off, &e), 0);
    assert_int_equal(e.kind, kind);
    assert_int_equal(e.length, length);
}

/* ---- the BAT ---- */

static void states_of_a_dynamic_disk(void **state)
{
    (void)state;
    struct sample s;
    sample_new(&s, 9 * MIB + 512, 512, 0);
    sample_append(&s, 0x77); /* nobody's */
    sample_bat(&s, 0, sample_append(&s, 1) | 6);
    sample_bat(&s, 1, sample_append(&s, 2) | 6);
    for (unsigned i = 2; i < 6; i++)
        sample_bat(&s, i, AT_BLOCKS | "\0\1\2\3\5"[i - 1]); /* an old place, not looked at */
    sample_bat(&s, 6, AT_BLOCKS | 5);
    sample_bat(&s, 9, sample_append(&s, 9) | 6);
    s.n -= MIB - 512; /* of the last block only what the disk has of it is in the file */
    struct layer l = open_sample(&s);
    assert_int_equal(l.disk->size, 9 * MIB + 512);
    assert_string_equal(l.info.subformat, "dynamic");
    assert_int_equal(l.info.block_size, MIB);
    assert_int_equal(l.info.sector_size, 512);
    assert_null(l.backing.name);
    assert_map(l.disk, 0, EXTENT_DATA, 2 * MIB);
    assert_map(l.disk, 2 * MIB, EXTENT_ZERO, 5 * MIB);
    assert_map(l.disk, 7 * MIB, EXTENT_HOLE, 2 * MIB);
    assert_map(l.disk, 9 * MIB, EXTENT_DATA, 512);
    assert_fill(l.disk, MIB - 4096, 4096, 1);
    assert_fill(l.disk, MIB, 4096, 2);
    assert_fill(l.disk, 2 * MIB, 4096, 0);
    assert_fill(l.disk, 8 * MIB, 4096, 0);
    assert_fill(l.disk, 9 * MIB, 512, 9);
    layer_done(&l);
    sample_free(&s);
}

static void entries_that_no_dynamic_disk_has(void **state)
{
    (void)state;
    static const struct {
        uint64_t entry;
        int want;
        const char *words;
    } rows[] = {
        { AT_BLOCKS | 4, -EUCLEAN, "guest byte 1048576 is damaged" },
        { AT_BLOCKS | 7, -EUCLEAN, "guest byte 1048576 is damaged" },
        { 6, -EUCLEAN, "guest byte 1048576 is damaged" },
        { AT_LOG | 6, -EUCLEAN, "guest byte 1048576 is damaged" },
        { AT_METADATA | 6, -EUCLEAN, "guest byte 1048576 is damaged" },
        { AT_BAT | 6, -EUCLEAN, "guest byte 1048576 is damaged" },
        { 5 * MIB | 6, -ENODATA, "truncated: the file ends before the data of guest byte 1048576" },
        { UINT64_MAX << 20 | 6, -ENODATA, "truncated" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sample s;
        sample_new(&s, 2 * MIB, 512, 0);
        sample_bat(&s, 0, sample_append(&s, 1) | 6);
        sample_bat(&s, 1, rows[i].entry);
        refused(&s, rows[i].want, rows[i].words);
    }
}

/* Chunks of 4096 blocks of 1 MiB: what follows the bitmap's entry, and its rubbish. */
static void a_second_chunk(void **state)
{
    (void)state;
    struct sample s;
    sample_new(&s, 4098 * MIB, 512, 0);
    sample_bat(&s, 4095, sample_append(&s, 1) | 6);
    sample_bat(&s, 4096, UINT64_MAX); /* the bitmap's: QEMU before 8.0 wrote anything there */
    sample_bat(&s, 4097, sample_append(&s, 2) | 6);
    struct layer l = open_sample(&s);
    assert_map(l.disk, 4095 * MIB, EXTENT_DATA, 2 * MIB); /* side by side also in the file */
    assert_fill(l.disk, 4095 * MIB, 4096, 1);
    assert_fill(l.disk, 4096 * MIB, 4096, 2);
    assert_fill(l.disk, 4097 * MIB, 4096, 0);
    layer_done(&l);
    sample_free(&s);
}

/* Damage behind the part of the BAT that is looked at when opening is an error when read. */
static void damage_seen_late(void **state)
{
    (void)state;
    struct sample s;
    sample_new(&s, 3 * (MIB << 20), 512, 0); /* 3 TiB: a BAT of more than 24 MiB */
    sample_region(&s, 0, "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08", 4 * MIB,
                  (uint32_t)(25 * MIB), 1);
    sample_seal_all(&s);
    uint8_t *big = calloc(1, 30 * MIB);
    memcpy(big, s.p, AT_BLOCKS);
    const uint64_t block = (UINT64_C(3) << 20) - 1, index = block + block / 4096;
    put_le64(big + 4 * MIB + index * 8, 29 * MIB | 6);
    put_le64(big + 4 * MIB + (index - 1) * 8, 30 * MIB | 6);
    put_le64(big + 4 * MIB + (index - 2) * 8, 29 * MIB | 4);
    memset(big + 29 * MIB, 3, MIB);
    struct sample b = { big, 30 * MIB };
    struct layer l = open_sample(&b);
    uint8_t buf[512];
    assert_fill(l.disk, block * MIB, 512, 3);
    assert_int_equal(disk_pread(l.disk, buf, 512, (block - 1) * MIB), -EIO);
    assert_int_equal(disk_pread(l.disk, buf, 512, (block - 2) * MIB), -EIO);
    assert_fill(l.disk, (block - 3) * MIB, 512, 0);
    layer_done(&l);
    free(big);
    sample_free(&s);
}

/* ---- the header section ---- */

static void the_current_header(void **state)
{
    (void)state;
    static const struct {
        int damage; /* bit 0: the first, bit 1: the second */
        uint64_t sequence[2];
        bool alike;
        char id; /* of the one taken; 0: refused */
        size_t notes;
    } rows[] = {
        { 0, { 5, 6 }, false, '1', 0 }, { 0, { 7, 6 }, false, '0', 0 }, { 1, { 7, 6 }, false, '1', 1 },
        { 2, { 5, 6 }, false, '0', 1 }, { 3, { 5, 6 }, false, 0, 0 },   { 0, { 5, 5 }, false, 0, 0 },
        { 0, { 5, 5 }, true, '0', 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sample s;
        sample_new(&s, MIB, 512, 0);
        put_le64(s.p + AT_HEADER1 + 8, rows[i].sequence[0]);
        put_le64(s.p + AT_HEADER2 + 8, rows[i].sequence[1]);
        if (rows[i].alike)
            memcpy(s.p + AT_HEADER2, s.p + AT_HEADER1, 4096);
        sample_seal_all(&s);
        s.p[AT_HEADER1 + 4000] = rows[i].damage & 1;
        s.p[AT_HEADER2 + 4000] = rows[i].damage >> 1;
        if (!rows[i].id) {
            refused(&s, -EUCLEAN, "headers");
            continue;
        }
        struct layer l = open_sample(&s);
        assert_int_equal(l.info.link_id[1], rows[i].id); /* d0... or d1... */
        assert_int_equal(l.info.notes.n, rows[i].notes);
        layer_done(&l);
        sample_free(&s);
    }
}

enum change { SEALED, RAW };

/* One field of a good image is changed. */
static void one_wrong_field(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint64_t value;
        uint8_t bytes;
        enum change change;
        int want;
        const char *words;
    } rows[] = {
        { 0, 0, 1, RAW, -EUCLEAN, "doesn't begin" },
        { AT_HEADER2 + 66, 2, 2, SEALED, -ENOTSUP, "version 2" },
        { AT_HEADER2 + 68, 1000, 4, SEALED, -EUCLEAN, "log isn't aligned" },
        { AT_HEADER2 + 72, 0, 8, SEALED, -EUCLEAN, "log isn't aligned" },
        { AT_HEADER2 + 72, 64 * MIB, 8, SEALED, -ENODATA, "before the end of the log" },
        { AT_HEADER2 + 72, AT_BAT, 8, SEALED, -EUCLEAN, "overlap" },
        { AT_HEADER2 + 48, 1, 8, SEALED, -EUCLEAN, "no valid sequence" },
        { AT_REGIONS1 + 8, 2048, 4, SEALED, -EUCLEAN, "2048 entries" },
        { AT_REGIONS1 + 8, 1, 4, SEALED, -EUCLEAN, "no metadata region" },
        { AT_REGIONS1 + 16, 1, 1, SEALED, -ENOTSUP, "region {2dc27701-f623-4200-9d64-115e9bfd4a08}" },
        { AT_REGIONS1 + 32, AT_METADATA, 8, SEALED, -EUCLEAN, "overlap" },
        { AT_REGIONS1 + 32, 3 * MIB + 512, 8, SEALED, -EUCLEAN, "BAT region isn't aligned" },
        { AT_REGIONS1 + 32, UINT64_MAX << 20, 8, SEALED, -ENODATA, "before the end of the BAT region" },
        { AT_REGIONS1 + 40, 0, 4, SEALED, -EUCLEAN, "BAT region isn't aligned" },
        { AT_REGIONS1 + 40, 2 << 20, 4, SEALED, -ENODATA, "before the end of the BAT region" },
        { AT_METADATA, 'M', 1, RAW, -EUCLEAN, "metadata table is damaged" },
        { AT_METADATA + 10, 2048, 2, RAW, -EUCLEAN, "metadata table is damaged" },
        { AT_METADATA + 10, 2, 2, RAW, -EUCLEAN, "\"logical sector size\" is missing" },
        { AT_METADATA + 32, 0, 1, RAW, -ENOTSUP, "item {caa16700-fa36-4d43-b3b6-33f0aa44e76b}" },
        { AT_METADATA + 32 + 16, 4096, 4, RAW, -EUCLEAN, "bad place" },
        { AT_METADATA + 32 + 16, 0xfffffff8, 4, RAW, -EUCLEAN, "bad place" },
        { AT_METADATA + 32 + 20, 4, 4, RAW, -EUCLEAN, "bad place" },
        { AT_METADATA + 32 + 24, 5, 4, RAW, -ENOTSUP, "item {caa16737-" }, /* a user's, required */
        { AT_ITEMS, 3 << 20, 4, RAW, -EUCLEAN, "says 3145728" },
        { AT_ITEMS, 1 << 19, 4, RAW, -EUCLEAN, "says 524288" },
        { AT_ITEMS, 1 << 29, 4, RAW, -EUCLEAN, "says 536870912" },
        { AT_ITEMS + 4, 8, 4, RAW, -ENOTSUP, "0x8" },
        { AT_ITEMS + 4, 2, 4, RAW, -EUCLEAN, "\"parent locator\" is missing" },
        { AT_ITEMS + 8, 1000, 8, RAW, -EUCLEAN, "says 1000" },
        { AT_ITEMS + 8, UINT64_C(65) << 40, 8, RAW, -EUCLEAN, "virtual disk size" },
        { AT_ITEMS + 8, MIB << 20, 8, RAW, -EUCLEAN, "BAT is too short" },
        { AT_ITEMS + 16, 1024, 4, RAW, -EUCLEAN, "says 1024" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sample s;
        uint8_t value[8];
        sample_new(&s, 4 * MIB, 512, 0);
        put_le64(value, rows[i].value);
        memcpy(s.p + rows[i].at, value, rows[i].bytes);
        if (rows[i].change == SEALED)
            sample_seal_all(&s);
        refused(&s, rows[i].want, rows[i].words);
    }
}

static void the_other_region_table(void **state)
{
    (void)state;
    struct sample s;
    sample_new(&s, MIB, 512, 0);
    sample_region(&s, 2, "an optional part", 64 * MIB, 1, 0); /* anywhere: not ours */
    sample_seal_all(&s);
    s.p[AT_REGIONS1 + 60000] = 1;
    struct layer l = open_sample(&s);
    assert_int_equal(l.info.notes.n, 1);
    layer_done(&l);
    s.p[AT_REGIONS2] = 0;
    refused(&s, -EUCLEAN, "both region tables");
}

static void two_of_one_kind(void **state)
{
    (void)state;
    struct sample s;
    sample_new(&s, MIB, 512, 0);
    sample_region(&s, 2, "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08", 3 * MIB, 1 << 20,
                  1);
    sample_seal_all(&s);
    refused(&s, -EUCLEAN, "two BAT regions");
    sample_new(&s, MIB, 512, 0);
    sample_item(&s, 3, "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8", 65536, 8, 6);
    refused(&s, -EUCLEAN, "two metadata items \"virtual disk size\"");
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    static const size_t cuts[] = { 8,      65536,       140000, 196608,    300000,
                                   AT_LOG, AT_METADATA, AT_BAT, AT_BLOCKS, AT_BLOCKS + 1000000 };
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        struct sample s;
        sample_new(&s, 2 * MIB, 512, 1);
        sample_bat(&s, 0, sample_append(&s, 1) | 6);
        refused_at(&s, cuts[i], -ENODATA, "truncated: ");
    }
}

static void detection(void **state)
{
    (void)state;
    static const struct {
        size_t wiped;
        unsigned want;
    } rows[] = { { 0, 64 },
                 { 4096, PROBE_TRACE },
                 { 70000, PROBE_TRACE },
                 { 140000, PROBE_TRACE },
                 { 200000, PROBE_TRACE },
                 { 1 << 20, PROBE_NONE } };
    struct sample s;
    sample_new(&s, MIB, 512, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct probe p = { 0 };
        struct bad bad = { 0 };
        memset(s.p, 0, rows[i].wiped);
        assert_int_equal(file_memory_new(s.p, s.n, "t.img", &p.file), 0);
        p.head = bytes_of(s.p, PROBE_HEAD, 0, &bad);
        p.tail = bytes_of(s.p + s.n - PROBE_TAIL, PROBE_TAIL, s.n - PROBE_TAIL, &bad);
        assert_int_equal(vhdx_format.probe(&p), rows[i].want);
        file_unref(p.file);
    }
    sample_free(&s);
}

/* ---- the log ---- */

/* A disk of two blocks whose BAT says nothing, and a log with the BAT's first page split over two entries at
 * `at`: a page of zeros, then a page that places both blocks (all its bytes are 6, so is each state). */
static void dirty_sample(struct sample *s, uint32_t at)
{
    static const struct sample_patch first[] = { { AT_BLOCKS, 0, 0xaa }, { AT_BLOCKS + 4096, 0, 0xbb } };
    static const struct sample_patch second[] = { { AT_BLOCKS, 0, 0xcc }, { AT_BLOCKS + 8192, 4096, 0 } };
    sample_new(s, 2 * MIB, 512, 0);
    sample_bat(s, 0, sample_append(s, 0x11) | 6);
    struct sample_entry e = {
        .at = at, .tail = at, .sequence = UINT64_C(0x1ffffffff), .patches = first, .n = 2
    };
    e.at = sample_log(s, &e);
    e.sequence++;
    e.patches = second;
    sample_log(s, &e);
    sample_dirty(s);
}

static void assert_replayed(const struct sample *s)
{
    struct layer l = open_sample(s);
    assert_int_equal(l.info.notes.n, 1);
    assert_fill(l.disk, 0, 4096, 0xcc);
    assert_fill(l.disk, 4096, 4096, 0xbb);
    assert_fill(l.disk, 8192, 4096, 0);
    assert_fill(l.disk, 12288, 4096, 0x11);
    assert_fill(l.disk, 8192 - 100, 100, 0xbb);
    uint8_t buf[300];
    assert_int_equal(disk_pread(l.disk, buf, sizeof buf, 12288 - 100), 0);
    assert_true(buf[99] == 0 && buf[100] == 0x11);
    layer_done(&l);
}

static void a_log_at_any_place(void **state)
{
    (void)state;
    /* the pair has 5 sectors; the last four of these wrap: between the entries, in one, and in the other */
    static const uint32_t sectors[] = { 0, 1, 100, 251, 252, 253, 254, 255 };
    for (size_t i = 0; i < sizeof sectors / sizeof sectors[0]; i++) {
        struct sample s;
        dirty_sample(&s, sectors[i] * LOG_SECTOR);
        assert_replayed(&s);
        sample_free(&s);
    }
}

static void the_newest_sequence_counts(void **state)
{
    (void)state;
    static const struct sample_patch old[] = { { AT_BLOCKS, 0, 0xee }, { AT_BLOCKS + 12288, 0, 0xee } };
    static const struct {
        uint64_t sequence;
        uint32_t at, tail; /* sectors */
    } rows[] = {
        { 7, 100, 100 },                    /* older */
        { UINT64_C(0x300000000), 100, 99 }, /* newer, but its tail points at nothing */
        { UINT64_C(0x300000000), 100, 40 }, /* or at what is no entry of its sequence */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sample s;
        dirty_sample(&s, 40 * LOG_SECTOR);
        sample_log(&s, &(struct sample_entry){ .at = rows[i].at * LOG_SECTOR,
                                               .tail = rows[i].tail * LOG_SECTOR,
                                               .sequence = rows[i].sequence,
                                               .patches = old,
                                               .n = 2 });
        assert_replayed(&s);
        sample_free(&s);
    }
}

/* The tail says from where on: an entry before it is done with, though it is valid and goes before. */
static void what_lies_before_the_tail_is_done(void **state)
{
    (void)state;
    static const struct sample_patch old[] = { { AT_BLOCKS + 12288, 0, 0xee } };
    struct sample s;
    dirty_sample(&s, 40 * LOG_SECTOR);
    sample_log(&s, &(struct sample_entry){ .at = 38 * LOG_SECTOR,
                                           .tail = 38 * LOG_SECTOR,
                                           .sequence = UINT64_C(0x1fffffffe),
                                           .patches = old,
                                           .n = 1 });
    assert_replayed(&s);
    sample_free(&s);
}

static void a_torn_last_entry_is_left_out(void **state)
{
    (void)state;
    static const struct sample_patch torn[] = { { AT_BLOCKS, 0, 0xee } };
    struct sample s;
    dirty_sample(&s, 0);
    sample_log(
        &s,
        &(struct sample_entry){
            .at = 5 * LOG_SECTOR, .tail = 0, .sequence = UINT64_C(0x200000001), .patches = torn, .n = 1 });
    s.p[AT_LOG + 6 * LOG_SECTOR + 100] ^= 1; /* in its data: the checksum is wrong */
    assert_replayed(&s);
    sample_free(&s);
}

/* The BAT itself comes out of the log, and the file grows by it. */
static void tables_and_length_from_the_log(void **state)
{
    (void)state;
    static const struct sample_patch bat[] = { { AT_BAT, 4096, 0 }, { AT_METADATA + 131072, 1 << 16, 0 } };
    struct sample s;
    sample_new(&s, 2 * MIB, 512, 0);
    sample_bat(&s, 0, sample_append(&s, 0x11) | 4); /* damaged, but the log blanks it */
    sample_bat(&s, 512, 0);
    sample_log(&s, &(struct sample_entry){ .sequence = 1, .patches = bat, .n = 2 });
    sample_dirty(&s);
    struct layer l = open_sample(&s);
    assert_map(l.disk, 0, EXTENT_HOLE, 2 * MIB);
    layer_done(&l);

    sample_bat(&s, 0, 5 * MIB | 6); /* behind the file's end, unless the log says that it is longer */
    sample_log(&s, &(struct sample_entry){ .sequence = 2, .last = 6 * MIB });
    l = open_sample(&s);
    assert_fill(l.disk, 0, 4096, 0);
    layer_done(&l);
    sample_free(&s);
}

static void logs_that_cannot_be_replayed(void **state)
{
    (void)state;
    enum { GOOD, GUID, CRC, SEQUENCE, DATA_SEQUENCE, SIGNATURE, UNALIGNED, FLUSHED, TOO_LONG, VERSION, TAIL };
    static const char *const words[] = {
        [GUID] = "no valid",
        [CRC] = "no valid",
        [SEQUENCE] = "no valid",
        [DATA_SEQUENCE] = "no valid",
        [SIGNATURE] = "no valid",
        [UNALIGNED] = "no valid",
        [FLUSHED] = "the file had 16777216 bytes",
        [TOO_LONG] = "longer than any",
        [VERSION] = "log of version 1",
        [TAIL] = "no valid",
    };
    for (int i = GUID; i <= TAIL; i++) {
        struct sample_patch patch = { i == UNALIGNED ? 512 : AT_BLOCKS, 0, 0xaa };
        struct sample_entry e = { .sequence = i == SEQUENCE ? 0 : 3, .patches = &patch, .n = 1 };
        struct sample s;
        sample_new(&s, 2 * MIB, 512, 0);
        sample_bat(&s, 0, sample_append(&s, 0x11) | 6);
        e.flushed = i == FLUSHED ? 16 * MIB : 0;
        e.last = i == TOO_LONG ? UINT64_MAX - 4095 : 0;
        e.tail = i == TAIL ? LOG_SECTOR : 0;
        sample_log(&s, &e);
        sample_dirty(&s);
        uint8_t *p = s.p + AT_LOG;
        p[32] ^= i == GUID;
        p[4000] ^= i == CRC;
        p[LOG_SECTOR + 4092] ^= i == DATA_SEQUENCE;
        p[64] ^= i == SIGNATURE;
        s.p[AT_HEADER2 + 64] = i == VERSION;
        if (i != CRC)
            sample_seal(p, 2 * LOG_SECTOR);
        sample_seal_all(&s);
        refused(&s, i == VERSION ? -ENOTSUP : i == FLUSHED ? -ENODATA : -EUCLEAN, words[i]);
    }
}

/* A log full of headers that each claim all of it: refused after a bounded number of looks. */
static void a_log_that_is_a_trap(void **state)
{
    (void)state;
    struct sample s;
    sample_new(&s, 2 * MIB, 512, 0);
    for (uint32_t i = 0; i < LOG_LENGTH / LOG_SECTOR; i++) {
        uint8_t *p = s.p + AT_LOG + (size_t)i * LOG_SECTOR;
        memcpy(p, "loge", 4);
        put_le32(p + 8, LOG_LENGTH);
        put_le64(p + 16, i + 1);
        memcpy(p + 32, sample_log_guid, 16);
    }
    sample_dirty(&s);
    refused(&s, -EFBIG, "more than ferryfs replays");
}

/* Ranges that overlap in every way; the later one wins. */
static void zeros_and_sectors_over_each_other(void **state)
{
    (void)state;
    static const struct sample_patch patches[] = {
        { AT_BLOCKS, 8 * 4096, 0 },        { AT_BLOCKS + 2 * 4096, 0, 2 }, { AT_BLOCKS + 3 * 4096, 0, 3 },
        { AT_BLOCKS + 3 * 4096, 4096, 0 }, { AT_BLOCKS + 7 * 4096, 0, 7 }, { AT_BLOCKS + 8 * 4096, 0, 8 },
        { AT_BLOCKS + 2 * 4096, 0, 9 },    { AT_BLOCKS + 4096, 0, 1 },
    };
    static const uint8_t want[] = { 0, 1, 9, 0, 0, 0, 0, 7, 8, 0x11 };
    struct sample s;
    sample_new(&s, MIB, 512, 0);
    sample_bat(&s, 0, sample_append(&s, 0x11) | 6);
    sample_log(&s, &(struct sample_entry){ .sequence = 1, .patches = patches, .n = 8 });
    sample_dirty(&s);
    struct layer l = open_sample(&s);
    for (size_t i = 0; i < sizeof want; i++)
        assert_fill(l.disk, i * 4096, 4096, want[i]);
    uint8_t all[sizeof want * 4096];
    assert_int_equal(disk_pread(l.disk, all, sizeof all, 0), 0);
    for (size_t i = 0; i < sizeof all; i++)
        assert_int_equal(all[i], want[i / 4096]);
    layer_done(&l);
    sample_free(&s);
}

/* ---- differencing ---- */

static const char *const locator[] = {
    "parent_linkage",
    "{D1D1D1D1-D1D1-D1D1-D1D1-D1D1D1D1D1D1}",
    "relative_path",
    ".\\base\\Parent.vhdx",
    "absolute_win32_path",
    "\\\\?\\D:\\vm\\Parent.vhdx",
    NULL,
};

/* Blocks: 0 the parent's, 1 undefined, 2 zero, 3 unmapped, 4 own, 5 mixed: sectors 0 to 7 and 9 are own. */
static void child_sample(struct sample *s, uint32_t sector)
{
    sample_new(s, 6 * MIB, sector, 2);
    sample_locator(s, locator);
    for (unsigned i = 1; i < 4; i++)
        sample_bat(s, i, i);
    sample_bat(s, 4, sample_append(s, 0xc4) | 6);
    sample_bat(s, 5, sample_append(s, 0xc5) | 7);
    uint64_t bitmap = sample_append(s, 0), bit = 5 * MIB / sector;
    sample_bat(s, (UINT64_C(1) << 23) * sector / MIB, bitmap | 6);
    s->p[bitmap + bit / 8] = 0xff;
    s->p[bitmap + bit / 8 + 1] = 2;
}

/* Smaller than its child by a block. */
static void parent_sample(struct sample *s)
{
    sample_new(s, 5 * MIB + 8192, 512, 1);
    for (unsigned i = 0; i < 6; i++)
        sample_bat(s, i, sample_append(s, (uint8_t)(0xa0 + i)) | 6);
}

static void a_child_over_its_parent(void **state)
{
    (void)state;
    struct sample c, p;
    child_sample(&c, 512);
    parent_sample(&p);
    struct layer child = open_sample(&c), parent = open_sample(&p);
    assert_string_equal(child.info.subformat, "differencing");
    assert_string_equal(parent.info.subformat, "fixed");
    assert_string_equal(child.backing.role, "parent");
    assert_string_equal(child.backing.name, "./base/Parent.vhdx");
    assert_string_equal(child.backing.link_id, "d1d1d1d1-d1d1-d1d1-d1d1-d1d1d1d1d1d1");
    assert_string_equal(child.backing.link_id2, "");
    assert_string_equal(parent.info.link_id, child.backing.link_id);
    assert_true(child.backing.search_beside);
    assert_map(child.disk, 0, EXTENT_HOLE, MIB);
    assert_map(child.disk, MIB, EXTENT_ZERO, 3 * MIB);
    assert_map(child.disk, 4 * MIB, EXTENT_DATA, MIB);
    assert_map(child.disk, 5 * MIB, EXTENT_DATA, 4096);
    assert_map(child.disk, 5 * MIB + 100, EXTENT_DATA, 3996);
    assert_map(child.disk, 5 * MIB + 4096, EXTENT_HOLE, 512);
    assert_map(child.disk, 5 * MIB + 4608, EXTENT_DATA, 512);
    assert_map(child.disk, 5 * MIB + 5120, EXTENT_HOLE, MIB - 5120);

    struct disk *layers[2] = { child.disk, parent.disk }, *whole;
    assert_int_equal(chain_new(layers, 2, &whole), 0);
    assert_fill(whole, 0, 4096, 0xa0);
    assert_fill(whole, MIB, 4096, 0);
    assert_fill(whole, 4 * MIB, 4096, 0xc4);
    assert_fill(whole, 5 * MIB, 4096, 0xc5);
    assert_fill(whole, 5 * MIB + 4096, 512, 0xa5);
    assert_fill(whole, 5 * MIB + 4608, 512, 0xc5);
    assert_fill(whole, 5 * MIB + 5120, 3072, 0xa5);
    assert_fill(whole, 5 * MIB + 8192, 4096, 0); /* the parent is shorter */
    child.disk = parent.disk = NULL;
    disk_close(whole);
    layer_done(&child);
    layer_done(&parent);
    sample_free(&c);
    sample_free(&p);
}

static void sectors_of_4096_bytes(void **state)
{
    (void)state;
    struct sample s;
    child_sample(&s, 4096);
    struct layer l = open_sample(&s);
    assert_int_equal(l.info.sector_size, 4096);
    assert_map(l.disk, 5 * MIB, EXTENT_DATA, 32768);
    assert_map(l.disk, 5 * MIB + 32768, EXTENT_HOLE, 4096);
    assert_map(l.disk, 5 * MIB + 36864, EXTENT_DATA, 4096);
    layer_done(&l);
    sample_free(&s);
}

static void sector_bitmaps_that_are_not_there(void **state)
{
    (void)state;
    static const struct {
        uint64_t entry;
        int want;
    } rows[] = { { 0, -EUCLEAN },
                 { 6 * MIB | 7, -EUCLEAN },
                 { 6, -EUCLEAN },
                 { AT_BAT | 6, -EUCLEAN },
                 { 7 * MIB | 6, -ENODATA } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sample s;
        child_sample(&s, 512);
        sample_bat(&s, 4096, rows[i].entry);
        refused(&s, rows[i].want, "sector bitmap");
    }
}

static void parent_locators(void **state)
{
    (void)state;
#define G  "0a1b2c3d-0000-1111-2222-333344445555"
#define G2 "99999999-0000-1111-2222-333344445555"
    static const struct {
        const char *pairs[9];
        const char *name, *id2; /* NULL: refused */
        const char *words;
    } rows[] = {
        { { "parent_linkage", G, "parent_linkage2", "{" G2 "}", "absolute_win32_path",
            "\\\\?\\D:\\vm\\p.vhdx" },
          "D:/vm/p.vhdx",
          G2,
          NULL },
        { { "volume_path", "\\\\?\\Volume{1}\\p.vhdx", "parent_linkage", G }, "Volume{1}/p.vhdx", "", NULL },
        { { "parent_linkage", G, "relative_path", "", "volume_path", "p" }, "p", "", NULL },
        { { "parent_linkage", G, "else", "", "relative_path", "..\\p.vhdx" }, "../p.vhdx", "", NULL },
        { { "parent_linkage", G, "absolute_win32_path", "D:\\a", "volume_path", "\\\\?\\Volume{1}\\v",
            "relative_path", ".\\r" },
          "./r|Volume{1}/v|D:/a",
          "",
          NULL },
        { { "parent_linkage", G, "absolute_win32_path", "a", "relative_path", "r" }, "r|a", "", NULL },
        { { "parent_linkage", G }, NULL, NULL, "names no parent" },
        { { "relative_path", "p.vhdx" }, NULL, NULL, "doesn't say the parent's id" },
        { { "parent_linkage", "{" G, "relative_path", "p" }, NULL, NULL, "\"parent_linkage\" is no GUID" },
        { { "parent_linkage", "", "relative_path", "p" }, NULL, NULL, "\"parent_linkage\" is no GUID" },
        { { "parent_linkage", G, "relative_path", "p", "relative_path", "q" },
          NULL,
          NULL,
          "two \"relative_path\"" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sample s;
        child_sample(&s, 512);
        sample_locator(&s, rows[i].pairs);
        if (rows[i].words) {
            refused(&s, -EUCLEAN, rows[i].words);
            continue;
        }
        struct layer l = open_sample(&s);
        char names[100]; /* in the standard's order */
        const char *const *others = (const char *const *)l.backing.others;
        snprintf(names, sizeof names, "%s%s%s%s%s", l.backing.name, others[0] ? "|" : "",
                 others[0] ? others[0] : "", others[1] ? "|" : "", others[1] ? others[1] : "");
        assert_string_equal(names, rows[i].name);
        assert_string_equal(l.backing.link_id, G);
        assert_string_equal(l.backing.link_id2, rows[i].id2);
        layer_done(&l);
        sample_free(&s);
    }
}

static void damaged_parent_locators(void **state)
{
    (void)state;
    enum { AT = AT_ITEMS + 1024, VALUE = 20 + 3 * 12 + 2 * (14 + 38 + 13) };
    static const struct {
        size_t at;
        uint32_t value;
        int want;
        const char *words;
    } rows[] = {
        { AT, 0, -ENOTSUP, "type {00000000-d19e-4a81-b789-25b8e9445913}" },
        { AT + 16, 0xffff0000, -EUCLEAN, "damaged entry" },    /* many entries */
        { AT + 20, 0xfffffff0, -EUCLEAN, "damaged entry" },    /* a key's place */
        { AT + 28, 0xffffffff, -EUCLEAN, "damaged entry" },    /* lengths */
        { AT + VALUE, '.' << 16, -EUCLEAN, "damaged entry" },  /* a NUL in a value */
        { AT + VALUE, 0xd800d800, -EUCLEAN, "damaged entry" }, /* surrogates that go with nothing */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sample s;
        child_sample(&s, 512);
        put_le32(s.p + rows[i].at, rows[i].value);
        refused(&s, rows[i].want, rows[i].words);
    }
    struct sample s; /* an umlaut, and a face of two units */
    child_sample(&s, 512);
    put_le32(s.p + AT + VALUE, 0x20ac00fc);
    put_le32(s.p + AT + VALUE + 4, 0xde00d83d);
    struct layer l = open_sample(&s);
    assert_memory_equal(l.backing.name, "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", 9);
    layer_done(&l);
    sample_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_of_a_dynamic_disk),
        cmocka_unit_test(entries_that_no_dynamic_disk_has),
        cmocka_unit_test(a_second_chunk),
        cmocka_unit_test(damage_seen_late),
        cmocka_unit_test(the_current_header),
        cmocka_unit_test(one_wrong_field),
        cmocka_unit_test(the_other_region_table),
        cmocka_unit_test(two_of_one_kind),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(detection),
        cmocka_unit_test(a_log_at_any_place),
        cmocka_unit_test(the_newest_sequence_counts),
        cmocka_unit_test(what_lies_before_the_tail_is_done),
        cmocka_unit_test(a_torn_last_entry_is_left_out),
        cmocka_unit_test(tables_and_length_from_the_log),
        cmocka_unit_test(logs_that_cannot_be_replayed),
        cmocka_unit_test(a_log_that_is_a_trap),
        cmocka_unit_test(zeros_and_sectors_over_each_other),
        cmocka_unit_test(a_child_over_its_parent),
        cmocka_unit_test(sectors_of_4096_bytes),
        cmocka_unit_test(sector_bitmaps_that_are_not_there),
        cmocka_unit_test(parent_locators),
        cmocka_unit_test(damaged_parent_locators),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
