/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VMDK driver on images that are built here, byte by byte: the tables of sparse extents, what damage does
 * to them, and truncation at many points, against the true bytes. */
#include "formats/checked.h"
#include "formats/image.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

extern const struct format vmdk_format;

/* An image of 20 grains of 4 KiB, the last one short, in tables of 8:
 * tables 0 and 2 exist, table 1 doesn't. Sectors: 0 header, 1 descriptor, 2 RGD, 3.. its GTs, 6 GD, 7.. its
 * GTs. */
enum {
    GRAIN = 8,
    GTES = 8,
    CAPACITY = 19 * GRAIN + 3,
    RGD = 2,
    RGT = 3,
    GD = 6,
    GT = 7,
    OVERHEAD = 16,
    IMAGE_MAX = 256 * 512,
    DISK = CAPACITY * 512,
};

struct built {
    uint8_t p[IMAGE_MAX];
    size_t n;
    uint8_t truth[DISK];
};

static void put_text(struct built *b, const char *text)
{
    memset(b->p + 512, 0, 512);
    memcpy(b->p + 512, text, strlen(text));
}

static const char text_usual[] = "# Disk DescriptorFile\nversion=1\nCID=0000abcd\nparentCID=ffffffff\n"
                                 "createType=\"monolithicSparse\"\nRW 155 SPARSE \"other-name.vmdk\"\n";

static void put_header(uint8_t *p, uint32_t version, uint32_t flags)
{
    memset(p, 0, 512);
    memcpy(p, "KDMV", 4);
    put_le32(p + 4, version);
    put_le32(p + 8, flags);
    put_le64(p + 12, CAPACITY);
    put_le64(p + 20, GRAIN);
    put_le64(p + 28, 1);
    put_le64(p + 36, 1);
    put_le32(p + 44, GTES);
    put_le64(p + 48, RGD);
    put_le64(p + 56, GD);
    put_le64(p + 64, OVERHEAD);
    memcpy(p + 73, "\n \r\n", 4);
    p[77] = flags >> 16 & 1;
}

static void put_gte(struct built *b, unsigned g, uint32_t sector)
{
    unsigned table = g / GTES;
    put_le32(b->p + (GT + table) * 512 + g % GTES * 4, sector);
    put_le32(b->p + (RGT + table) * 512 + g % GTES * 4, sector);
}

static void put_gd(struct built *b, unsigned table, bool present)
{
    put_le32(b->p + GD * 512 + table * 4, present ? GT + table : 0);
    put_le32(b->p + RGD * 512 + table * 4, present ? RGT + table : 0);
}

static void fill_truth(struct built *b, unsigned g)
{
    for (unsigned i = g * GRAIN * 512; i < (g + 1) * GRAIN * 512 && i < DISK; i++)
        b->truth[i] = (uint8_t)(1 + g * 7 + (i * 2654435761u >> 26));
}

/* Grains 0 1 2 lie in a row, 4 before 3, 17 and 19 in the last table. */
static void build_plain(struct built *b)
{
    static const uint8_t order[] = { 0, 1, 2, 4, 3, 17, 19 };
    memset(b, 0, sizeof *b);
    put_header(b->p, 1, 3);
    put_text(b, text_usual);
    put_gd(b, 0, true);
    put_gd(b, 2, true);
    b->n = OVERHEAD * 512;
    for (size_t i = 0; i < sizeof order; i++) {
        unsigned g = order[i], at = g * GRAIN * 512;
        fill_truth(b, g);
        put_gte(b, g, (uint32_t)(b->n / 512));
        memcpy(b->p + b->n, b->truth + at, min_u64(GRAIN * 512, DISK - at));
        b->n += GRAIN * 512;
    }
}

static size_t put_packed(struct built *b, unsigned g)
{
    size_t at = g * GRAIN * 512, len = min_u64(GRAIN * 512, DISK - at);
    uLongf n = IMAGE_MAX - b->n - 12;
    fill_truth(b, g);
    assert_int_equal(compress(b->p + b->n + 12, &n, b->truth + at, len), Z_OK);
    put_le64(b->p + b->n, g * GRAIN);
    put_le32(b->p + b->n + 8, (uint32_t)n);
    put_gte(b, g, (uint32_t)(b->n / 512));
    b->n = (b->n + 12 + n + 511) / 512 * 512;
    return n;
}

/* The same grains, compressed; the last one inflates only to the disk's end. With `footer`, the header leaves
 * the GD's place to it. */
static void build_stream(struct built *b, bool footer)
{
    static const uint8_t order[] = { 0, 1, 2, 4, 3, 17, 19 };
    memset(b, 0, sizeof *b);
    put_header(b->p, 3, 0x30001);
    put_text(b, text_usual);
    put_gd(b, 0, true);
    put_gd(b, 2, true);
    b->n = OVERHEAD * 512;
    for (size_t i = 0; i < sizeof order; i++)
        put_packed(b, order[i]);
    if (!footer)
        return;
    put_le32(b->p + b->n + 12, 3);
    put_header(b->p + b->n + 512, 3, 0x30001);
    put_le64(b->p + 56, UINT64_MAX);
    b->n += 3 * 512;
}

static struct cache *cache; /* of one test */

static int setup(void **state)
{
    (void)state;
    cache = cache_new(1 << 20, NULL);
    return cache ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    cache_free(cache);
    return 0;
}

static int open_bytes(const void *p, size_t n, struct layer *l, struct fault *fault)
{
    struct image_env env = { .cache = cache };
    struct file *f;
    *l = (struct layer){ 0 };
    assert_int_equal(file_memory_new(p, n, "t.vmdk", &f), 0);
    int r = vmdk_format.open(f, &env, l, fault);
    file_unref(f);
    return r;
}

static void layer_close(struct layer *l)
{
    disk_close(l->disk);
    backing_done(&l->backing);
    notes_done(&l->info.notes);
    cache_free(cache); /* its blocks are known by the disk's address, which the next one may get */
    cache = cache_new(1 << 20, NULL);
}

/* Every sector is the truth, or -EIO; how many aren't readable. */
static unsigned compare(struct disk *d, const struct built *b)
{
    unsigned unreadable = 0;
    uint8_t sector[512];
    for (uint64_t off = 0; off < DISK; off += 512) {
        int r = disk_pread(d, sector, 512, off);
        if (r == -EIO)
            unreadable++;
        else if (r || memcmp(sector, b->truth + off, 512))
            fail_msg("wrong bytes with success at %llu", (unsigned long long)off);
    }
    return unreadable;
}

static void check_whole(const struct built *b)
{
    struct layer l;
    struct fault fault = { 0 };
    static uint8_t all[DISK];
    if (open_bytes(b->p, b->n, &l, &fault) != 0)
        fail_msg("%s", fault.what);
    assert_int_equal(l.disk->size, DISK);
    assert_int_equal(disk_pread(l.disk, all, DISK, 0), 0);
    assert_memory_equal(all, b->truth, DISK);
    assert_int_equal(compare(l.disk, b), 0);
    assert_string_equal(l.info.link_id, "0000abcd");
    assert_int_equal(l.info.block_size, GRAIN * 512);
    assert_null(l.backing.name);
    disk_prefetch(l.disk, 0, DISK);
    layer_close(&l);
}

static void reads_whole_images(void **state)
{
    (void)state;
    struct built b;
    build_plain(&b);
    check_whole(&b);
    b.n -= (GRAIN - 3) * 512; /* nothing of the disk: the last grain is cut at its end */
    check_whole(&b);
    build_stream(&b, false);
    check_whole(&b);
    build_stream(&b, true);
    check_whole(&b);
    b.n += 40 * 512; /* padding behind the stream */
    check_whole(&b);
}

static void map_joins_runs_and_skips_absent_tables(void **state)
{
    (void)state;
    static const struct {
        unsigned first, last; /* grains */
        enum extent_kind kind;
    } rows[] = {
        { 0, 5, EXTENT_DATA },   { 5, 16, EXTENT_HOLE },  { 8, 16, EXTENT_HOLE },  { 16, 17, EXTENT_HOLE },
        { 17, 18, EXTENT_DATA }, { 18, 19, EXTENT_HOLE }, { 19, 20, EXTENT_DATA },
    };
    struct built b;
    struct layer l;
    build_plain(&b);
    assert_int_equal(open_bytes(b.p, b.n, &l, NULL), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct extent e;
        uint64_t start = rows[i].first * GRAIN * 512, end = min_u64(rows[i].last * GRAIN * 512, DISK);
        assert_int_equal(disk_map(l.disk, start, DISK, &e), 0);
        assert_int_equal(e.kind, rows[i].kind);
        assert_int_equal(e.length, end - start);
        assert_int_equal(disk_map(l.disk, start + 1, 10, &e), 0);
        assert_int_equal(e.length, 10);
    }
    layer_close(&l);
}

/* 120 tables of 128 grains of one sector each, all there, of which one names a grain: the tables before and
 * behind it are passed in a few steps, and end where they must. */
static void map_passes_over_empty_tables(void **state)
{
    (void)state;
    enum {
        TABLES = 120,
        ENTRIES = 128,
        FIRST = 4,
        WITH = 90,
        AT = FIRST + TABLES,
        DATA = WITH * ENTRIES + 7
    };
    static struct built b;
    struct layer l;
    struct extent e;
    memset(&b, 0, sizeof b);
    put_header(b.p, 1, 1);
    put_text(&b, "# Disk DescriptorFile\nversion=1\nCID=0000abcd\nparentCID=ffffffff\n"
                 "createType=\"monolithicSparse\"\nRW 15360 SPARSE \"x.vmdk\"\n");
    put_le64(b.p + 12, TABLES * ENTRIES);
    put_le64(b.p + 20, 1); /* grain */
    put_le32(b.p + 44, ENTRIES);
    put_le64(b.p + 48, 0);
    put_le64(b.p + 56, 2); /* GD */
    put_le64(b.p + 64, AT);
    for (unsigned t = 0; t < TABLES; t++)
        put_le32(b.p + 2 * 512 + t * 4, FIRST + t);
    put_le32(b.p + FIRST * 512 + DATA * 4, AT);
    b.n = (AT + 1) * 512;
    assert_int_equal(open_bytes(b.p, b.n, &l, NULL), 0);
    unsigned calls = 0;
    for (uint64_t at = 0; at < l.disk->size; at += e.length, calls++) {
        assert_int_equal(disk_map(l.disk, at, UINT64_MAX, &e), 0);
        bool data = at == DATA * 512;
        assert_int_equal(e.kind, data ? EXTENT_DATA : EXTENT_HOLE);
        assert_true(data ? e.length == 512 : at > DATA * 512 || at + e.length <= DATA * 512);
    }
    assert_in_range(calls, 3, 8);
    assert_int_equal(disk_map(l.disk, 100, 70 * 512, &e), 0);
    assert_int_equal(e.length, 70 * 512);
    layer_close(&l);
}

/* What is refused at open: a field of the header or of a table gets a value. */
static void damage_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        unsigned at, width;
        uint64_t value;
        int error;
    } rows[] = {
        { "version", 4, 4, 4, -ENOTSUP },
        { "version", 4, 4, 0, -ENOTSUP },
        { "flags", 8, 4, 0x40003, -ENOTSUP },
        { "markers without compression", 8, 4, 0x20003, -EUCLEAN },
        { "compressed without algorithm", 8, 4, 0x10003, -EUCLEAN },
        { "algorithm without flag", 77, 2, 1, -EUCLEAN },
        { "algorithm", 77, 2, 2, -ENOTSUP },
        { "newlines", 73, 4, 0x0d0a200a, -EUCLEAN },
        { "capacity", 12, 8, UINT64_MAX, -EUCLEAN },
        { "capacity below the line's, in a table", 12, 8, 16, -EUCLEAN },
        { "capacity below the line's, at a table's end", 12, 8, GTES * GRAIN, -EUCLEAN },
        { "capacity beyond the tables", 12, 8, UINT64_C(1) << 20, -ENODATA },
        { "capacity beyond our limit", 12, 8, UINT64_C(1) << 40, -EFBIG },
        { "grain 0", 20, 8, 0, -EUCLEAN },
        { "grain 3", 20, 8, 3, -EUCLEAN },
        { "grain too large", 20, 8, UINT64_C(1) << 40, -EFBIG },
        { "no entries", 44, 4, 0, -EUCLEAN },
        { "too many entries", 44, 4, 1 << 20, -EUCLEAN },
        { "descriptor outside", 28, 8, 10000, -ENODATA },
        { "descriptor overflows", 28, 8, UINT64_MAX / 2, -EUCLEAN },
        { "no descriptor", 28, 8, 0, -ENOTSUP },
        { "descriptor too large", 36, 8, 1 << 20, -EFBIG },
        { "overhead", 64, 8, 10000, -ENODATA },
        { "overhead overflows", 64, 8, UINT64_MAX, -ENODATA },
        { "gd outside: the copy serves", 56, 8, 10000, 0 },
        { "gd at the end, no footer", 56, 8, UINT64_MAX, -ENODATA },
        { "gde outside: the copy serves", GD * 512, 4, 100000, 0 },
        { "gte outside", GT * 512, 4, 100000, -ENODATA },
        { "gte cut off", GT * 512, 4, 71, -ENODATA },
        { "gte 1 without the flag", GT * 512, 4, 1, -EUCLEAN },
        { "gte in the tables", GT * 512, 4, 9, -EUCLEAN },
        { "unclean", 72, 1, 1, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct built b;
        struct layer l;
        struct fault fault = { 0 };
        build_plain(&b);
        uint64_t value = htole64(rows[i].value);
        memcpy(b.p + rows[i].at, &value, rows[i].width);
        int r = open_bytes(b.p, b.n, &l, &fault);
        if (r != rows[i].error)
            fail_msg("%s: %d (%s)", rows[i].what, r, fault.what);
        if (r == 0) {
            assert_int_equal(compare(l.disk, &b), 0);
            assert_int_equal(l.info.notes.n, 1);
            layer_close(&l);
        } else {
            assert_true(fault.what[0] && fault.err == r);
        }
    }
}

static void lost_copies_are_not_needed_and_lost_tables_refused(void **state)
{
    (void)state;
    struct built b;
    struct layer l;
    build_plain(&b);
    put_le32(b.p + RGD * 512, 0xffffffff);
    check_whole(&b);
    put_le32(b.p + GD * 512, 0xffffffff);
    assert_int_equal(open_bytes(b.p, b.n, &l, NULL), -ENODATA);
    build_plain(&b);
    memset(b.p + GD * 512, 0, 512); /* a wiped directory must not read as an empty disk */
    check_whole(&b);
}

static void zeroed_grains_hide_the_parent(void **state)
{
    (void)state;
    struct built b;
    struct layer l;
    struct extent e;
    build_plain(&b);
    put_le32(b.p + 4, 2);
    put_le32(b.p + 8, 7);
    put_gte(&b, 5, 1);
    put_gte(&b, 6, 1);
    check_whole(&b);
    assert_int_equal(open_bytes(b.p, b.n, &l, NULL), 0);
    assert_int_equal(disk_map(l.disk, 5 * GRAIN * 512, DISK, &e), 0);
    assert_int_equal(e.kind, EXTENT_ZERO);
    assert_int_equal(e.length, 2 * GRAIN * 512);
    layer_close(&l);
}

static void damaged_grains_are_eio(void **state)
{
    (void)state;
    struct built b;
    struct layer l;
    build_stream(&b, false);
    size_t first = OVERHEAD * 512;
    static const struct {
        unsigned at;
        uint8_t flip;
    } rows[] = { { 0, 8 }, { 8, 0xff }, { 9, 0xff }, { 11, 0x7f }, { 12, 0xff }, { 200, 1 } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        b.p[first + rows[i].at] ^= rows[i].flip;
        assert_int_equal(open_bytes(b.p, b.n, &l, NULL), 0);
        assert_int_equal(compare(l.disk, &b), GRAIN);
        layer_close(&l);
        b.p[first + rows[i].at] ^= rows[i].flip;
    }
    /* a grain that inflates to less than it must is no grain of zeros */
    uLongf n = 1000;
    assert_int_equal(compress(b.p + first + 12, &n, b.truth, 512), Z_OK);
    put_le32(b.p + first + 8, (uint32_t)n);
    assert_int_equal(open_bytes(b.p, b.n, &l, NULL), 0);
    assert_int_equal(compare(l.disk, &b), GRAIN);
    layer_close(&l);
}

static void truncated_copies_never_give_zeros_for_data(void **state)
{
    (void)state;
    struct built b;
    for (int kind = 0; kind < 3; kind++) {
        unsigned opened = 0;
        if (kind == 0)
            build_plain(&b);
        else
            build_stream(&b, kind == 2);
        for (size_t n = 0; n < b.n; n += 100) {
            struct layer l;
            struct fault fault = { 0 };
            if (open_bytes(b.p, n, &l, &fault) == 0) {
                compare(l.disk, &b);
                layer_close(&l);
                opened++;
            } else {
                assert_true(fault.what[0]);
            }
        }
        /* only what lies behind the data may go: the end of the last grain, the padding of the last sector */
        assert_true(opened <= (kind == 0 ? 26 : kind == 1 ? 5 : 0));
    }
}

static void bare_and_foreign_files_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        int error;
        const char *what;
    } rows[] = {
        { "COWD\1\0\0\0\3\0\0\0", 12, -ENOTSUP, "not a disk by itself" },
        { "\xbe\xba\xfe\xca\0\0\0\0\1\0\0\0\2\0\0\0", 16, -ENOTSUP, "seSparse" },
        { "not a disk", 10, -EMEDIUMTYPE, "no VMDK" },
        { "KDMV", 4, -ENODATA, "truncated" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct layer l;
        struct fault fault = { 0 };
        assert_int_equal(open_bytes(rows[i].bytes, rows[i].n, &l, &fault), rows[i].error);
        if (!strstr(fault.what, rows[i].what))
            fail_msg("row %zu: %s", i, fault.what);
    }
}

/* Descriptor texts whose refusal needs no other file. */
static void descriptors_are_refused_by_what_they_say(void **state)
{
    (void)state;
#define TITLE "# Disk DescriptorFile\nversion=1\nCID=1\n"
    static const struct {
        const char *text;
        int error;
        const char *what;
    } rows[] = {
        { TITLE "createType=\"vmfs\"\n", -EUCLEAN, "no extents" },
        { TITLE "RW 8 VMFSRDM \"x-rdm.vmdk\"\n", -ENOTSUP, "raw device mapping" },
        { TITLE "RW 8 FLAT \"\\\\.\\PhysicalDrive0\" 0\n", -ENOTSUP, "device" },
        { TITLE "RW 8 FLAT \"/dev/sda\" 0\n", -ENOTSUP, "device" },
        { TITLE "RW 8 STRANGE \"x\"\n", -ENOTSUP, "STRANGE" },
        { TITLE "RW 8 FLAT\n", -EUCLEAN, "file name" },
        { TITLE "RW 8 FLAT \"gone.vmdk\" 0\n", -ENOENT, "gone.vmdk" },
        { TITLE "encryptionKeys=\"x\"\nRW 8 ZERO\n", -ENOTSUP, "encrypted" },
        { TITLE "isNativeSnapshot=\"yes\"\nRW 8 ZERO\n", -ENOTSUP, "native" },
        { TITLE "parentCID=12\nRW 8 ZERO\n", -EUCLEAN, "names no parent" },
        { TITLE "parentFileNameHint=\"b.vmdk\"\nRW 8 ZERO\n", -EUCLEAN, "b.vmdk" },
        { "# Disk DescriptorFile\nversion=9\nRW 8 ZERO\n", -ENOTSUP, "version 9" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct layer l;
        struct fault fault = { 0 };
        int r = open_bytes(rows[i].text, strlen(rows[i].text), &l, &fault);
        if (r != rows[i].error || !strstr(fault.what, rows[i].what))
            fail_msg("row %zu: %d %s", i, r, fault.what);
    }
}

static void children_name_their_parents(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name, *expects, *id;
    } rows[] = {
        { TITLE "parentCID=ABC\nparentFileNameHint=\"..\\base\\b.vmdk\"\nRW 8 ZERO\n", "../base/b.vmdk",
          "00000abc", "00000001" },
        { "# Disk DescriptorFile\nCID=fffffffe\nparentCID=fffffffe\nparentFileNameHint=\"b\"\nRW 8 ZERO\n"
          "ddb.longContentID = \"01234567FFFFFFFE\"\n",
          "b", "fffffffe 01234567fffffffe", "fffffffe 01234567fffffffe" },
        /* written since: the long id is of its own content */
        { "# Disk DescriptorFile\nCID=2a1b3c4d\nparentCID=fffffffe\nparentFileNameHint=\"b\"\nRW 8 ZERO\n"
          "ddb.longContentID = \"012345672A1B3C4D\"\n",
          "b", "fffffffe", "2a1b3c4d" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct layer l;
        assert_int_equal(open_bytes(rows[i].text, strlen(rows[i].text), &l, NULL), 0);
        assert_string_equal(l.backing.name, rows[i].name);
        assert_string_equal(l.backing.link_id, rows[i].expects);
        assert_string_equal(l.info.link_id, rows[i].id);
        assert_true(l.backing.search_beside);
        layer_close(&l);
    }
}

/* ---- several files ---- */

static char dir[] = "/tmp/ferryfs-vmdk-XXXXXX";

static void write_file(const char *name, const void *p, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static int open_named(const char *name, struct image **image, struct fault *fault)
{
    struct image_env env = { .cache = cache };
    static struct trust trust;
    struct file *f;
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    trust_done(&trust);
    assert_int_equal(trust_add(&trust, dir, NULL), 0);
    assert_int_equal(file_open_source(path, &trust, &f, NULL), 0);
    int r = image_open(f, NULL, &env, image, fault);
    file_unref(f);
    if (r < 0)
        trust_done(&trust);
    return r;
}

/* RDONLY extents hold data, NOACCESS and ZERO ones are zeros, and each keeps its place (QEMU passes over all
 * three, which shifts the rest: it is no oracle here). */
static void mixed_extents_keep_their_places(void **state)
{
    (void)state;
    static const char text[] =
        TITLE "createType=\"custom\"\nRW 2 FLAT \"f\" 1\nRW 3 ZERO\nNOACCESS 1 FLAT \"/dev/sda\" 0\n"
              "RDONLY 1 VMFS \"/vmfs/volumes/1234/vm/f\"\nRW 155 SPARSE \"s\"\n";
    struct built b;
    uint8_t flat[3 * 512], got[(7 + CAPACITY) * 512], want[(7 + CAPACITY) * 512] = { 0 };
    for (size_t i = 0; i < sizeof flat; i++)
        flat[i] = (uint8_t)(i / 512 + 1);
    build_plain(&b);
    memcpy(want, flat + 512, 1024);
    memcpy(want + 6 * 512, flat, 512);
    memcpy(want + 7 * 512, b.truth, DISK);
    write_file("f", flat, sizeof flat);
    write_file("s", b.p, b.n);
    write_file("d.vmdk", text, strlen(text));
    struct image *image;
    struct fault fault = { 0 };
    if (open_named("d.vmdk", &image, &fault) != 0)
        fail_msg("%s", fault.what);
    assert_int_equal(image->disk->size, sizeof want);
    assert_int_equal(disk_pread(image->disk, got, sizeof got, 0), 0);
    assert_memory_equal(got, want, sizeof want);
    for (size_t off = 0; off + 700 < sizeof want; off += 301) {
        assert_int_equal(disk_pread(image->disk, got, 700, off), 0);
        assert_memory_equal(got, want + off, 700);
    }
    disk_prefetch(image->disk, 0, sizeof want);
    assert_int_equal(image->layers[0].notes.n, 1); /* found beside */
    image_close(image);

    write_file("f", flat, sizeof flat - 1);
    assert_int_equal(open_named("d.vmdk", &image, &fault), -ENODATA);
}

static void chains_are_checked(void **state)
{
    (void)state;
    static const char base[] = "# Disk DescriptorFile\nCID=0000000a\nparentCID=ffffffff\nRW 8 ZERO\n";
    static const char child[] =
        "# Disk DescriptorFile\nCID=b\nparentCID=%x\nparentFileNameHint=\"%s\"\nRW 8 ZERO\n";
    static const struct {
        unsigned cid;
        const char *hint;
        int error;
        const char *what;
    } rows[] = {
        { 0xa, "base.vmdk", 0, "" },
        { 0xa, "E:\\\\old\\\\base.vmdk", 0, "" },
        { 0xc, "base.vmdk", -EUCLEAN, "0000000a" },
        { 0xa, "gone.vmdk", -ENOENT, "gone.vmdk" },
        { 0xb, "child.vmdk", -ELOOP, "loop" },
    };
    write_file("base.vmdk", base, strlen(base));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        struct image *image = NULL;
        struct fault fault = { 0 };
        snprintf(text, sizeof text, child, rows[i].cid, rows[i].hint);
        write_file("child.vmdk", text, strlen(text));
        int r = open_named("child.vmdk", &image, &fault);
        if (r != rows[i].error || !strstr(fault.what, rows[i].what))
            fail_msg("row %zu: %d %s", i, r, fault.what);
        if (!r)
            assert_int_equal(image->n_layers, 2);
        image_close(image);
    }
}

/* Disks that were never written have all one CID; the long content id tells them apart, where both have it
 * and the child wasn't written. */
static void long_content_ids_are_compared_where_they_can_be(void **state)
{
    (void)state;
    static const struct {
        const char *child_cid, *child_long, *base_long;
        int error;
    } rows[] = {
        { "fffffffe", "aafffffffe", "AAFFFFFFFE", 0 }, { "fffffffe", "aafffffffe", "bbfffffffe", -EUCLEAN },
        { "fffffffe", "", "bbfffffffe", 0 },           { "fffffffe", "aafffffffe", "", 0 },
        { "2a1b3c4d", "cc2a1b3c4d", "bbfffffffe", 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        struct image *image = NULL;
        struct fault fault = { 0 };
        snprintf(
            text, sizeof text,
            "# Disk DescriptorFile\nCID=fffffffe\nparentCID=ffffffff\nRW 8 ZERO\nddb.longContentID=\"%s\"\n",
            rows[i].base_long);
        write_file("base.vmdk", text, strlen(text));
        snprintf(text, sizeof text,
                 "# Disk DescriptorFile\nCID=%s\nparentCID=fffffffe\nparentFileNameHint=\"base.vmdk\"\n"
                 "RW 8 ZERO\nddb.longContentID=\"%s\"\n",
                 rows[i].child_cid, rows[i].child_long);
        write_file("child.vmdk", text, strlen(text));
        int r = open_named("child.vmdk", &image, &fault);
        if (r != rows[i].error)
            fail_msg("row %zu: %d %s", i, r, fault.what);
        image_close(image);
    }
}

/* A hint from another host: the base name beside the child, then in the directory of that name beside the
 * child's. `dir` is the only trusted place. */
static void parents_are_found_where_files_were_moved(void **state)
{
    (void)state;
    static const char base[] = "# Disk DescriptorFile\nCID=a\nparentCID=ffffffff\nRW 8 ZERO\n";
    static const char other[] = "# Disk DescriptorFile\nCID=b\nparentCID=ffffffff\nRW 8 ZERO\n";
    static const struct {
        const char *hint;
        int error;
    } rows[] = {
        { "/vmfs/volumes/1234/there/vm.vmdk", 0 },
        { "E:\\vms\\there\\vm.vmdk", 0 },
        { "there/vm.vmdk", 0 },
        { "../there/vm.vmdk", 0 },
        { "/vmfs/volumes/1234/there/x.vmdk", -EUCLEAN }, /* is found beside, and is another disk */
        { "/vmfs/volumes/1234/gone/vm.vmdk", -ENOENT },
        { "/vm.vmdk", -ENOENT },
        { "/vmfs/../vm.vmdk", -ENOENT },
        { "/vmfs/there/", -ENOENT },
    };
    char path[256];
    for (const char *const *name = (const char *const[]){ "here", "there", NULL }; *name; name++) {
        snprintf(path, sizeof path, "%s/%s", dir, *name);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    write_file("there/vm.vmdk", base, strlen(base));
    write_file("here/x.vmdk", other, strlen(other));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        struct image *image = NULL;
        struct fault fault = { 0 };
        snprintf(text, sizeof text,
                 "# Disk DescriptorFile\nCID=c\nparentCID=a\nparentFileNameHint=\"%s\"\nRW 8 ZERO\n",
                 rows[i].hint);
        write_file("here/vm.vmdk", text, strlen(text)); /* it has its parent's name */
        int r = open_named("here/vm.vmdk", &image, &fault);
        if (r != rows[i].error)
            fail_msg("row %zu: %d %s", i, r, fault.what);
        image_close(image);
    }
}

/* A file whose beginning was overwritten must not pass for raw. */
static void damaged_files_are_not_raw(void **state)
{
    (void)state;
    struct built b;
    build_stream(&b, true);
    for (int kind = 0; kind < 2; kind++) {
        struct file *f;
        const struct format *format = NULL;
        struct fault fault = { 0 };
        memset(b.p, 0, kind ? OVERHEAD * 512 : 512);
        assert_int_equal(file_memory_new(b.p, b.n, "disk.img", &f), 0);
        assert_int_equal(image_detect(f, &format, &fault), -EUCLEAN);
        assert_non_null(strstr(fault.what, "damaged VMDK"));
        file_unref(f);
    }
}

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(reads_whole_images),
        T(map_passes_over_empty_tables),
        T(map_joins_runs_and_skips_absent_tables),
        T(damage_is_refused),
        T(lost_copies_are_not_needed_and_lost_tables_refused),
        T(zeroed_grains_hide_the_parent),
        T(damaged_grains_are_eio),
        T(truncated_copies_never_give_zeros_for_data),
        T(bare_and_foreign_files_are_refused_by_name),
        T(descriptors_are_refused_by_what_they_say),
        T(children_name_their_parents),
        T(mixed_extents_keep_their_places),
        T(chains_are_checked),
        T(long_content_ids_are_compared_where_they_can_be),
        T(parents_are_found_where_files_were_moved),
        T(damaged_files_are_not_raw),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const made[] = {
        "f", "s", "d.vmdk", "base.vmdk", "child.vmdk", "here/vm.vmdk", "here/x.vmdk", "there/vm.vmdk"
    };
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", dir, made[i]);
        unlink(path);
    }
    for (const char *const *name = (const char *const[]){ "here", "there", "", NULL }; *name; name++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", dir, *name);
        rmdir(path);
    }
    return failed;
}
