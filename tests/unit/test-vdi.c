/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VDI: the header's rules and the block map, in small images built here byte by byte. */
#include "formats/checked.h"
#include "formats/image.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

extern const struct format vdi_format;

/* header | map | blocks of 4 KiB behind 512 bytes of block extra */
enum { S = 512, AT_MAP = S, AT_DATA = 2 * S, EXTRA = S, B = 8 * S, STRIDE = EXTRA + B };
enum { BLOCKS = 7, DISK = 6 * B + 3 * S + 5 /* the last block isn't whole */, MAX_FILE = 64 * 1024 };

struct image_bytes {
    uint8_t p[MAX_FILE];
    size_t n;
};

static uint8_t sample_disk[DISK];

/* Blocks 0, 3 and 6 are there, stored in the order 3, 6, 0; block 4 was discarded. */
static void image_sample(struct image_bytes *b)
{
    static const unsigned order[] = { 3, 6, 0 };
    memset(b, 0, sizeof *b);
    memset(sample_disk, 0, sizeof sample_disk);
    memcpy(b->p, "<<< Oracle VM VirtualBox Disk Image >>>\n", 40);
    put_le32(b->p + 0x40, 0xbeda107f);
    put_le32(b->p + 0x44, 0x10001);
    put_le32(b->p + 0x48, 0x190);
    put_le32(b->p + 0x4c, 1);
    put_le32(b->p + 0x154, AT_MAP);
    put_le32(b->p + 0x158, AT_DATA);
    put_le32(b->p + 0x168, S);
    put_le64(b->p + 0x170, DISK);
    put_le32(b->p + 0x178, B);
    put_le32(b->p + 0x17c, EXTRA);
    put_le32(b->p + 0x180, BLOCKS);
    put_le32(b->p + 0x184, 3);
    for (unsigned i = 0; i < 16; i++)
        b->p[0x188 + i] = (uint8_t)(0xa0 + i);
    memset(b->p + AT_MAP, 0xff, 4 * BLOCKS);
    put_le32(b->p + AT_MAP + 4 * 4, 0xfffffffe);
    for (unsigned i = 0; i < 3; i++) {
        uint8_t *data = b->p + AT_DATA + i * STRIDE + EXTRA;
        put_le32(b->p + AT_MAP + 4 * order[i], i);
        for (unsigned k = 0; k < B; k++)
            data[k] = (uint8_t)((k * k + i) >> 3 ^ (i + 1));
        memcpy(sample_disk + order[i] * B, data, min_u64(B, DISK - order[i] * B));
    }
    b->n = AT_DATA + 3 * STRIDE;
}

struct opened {
    struct file *file;
    struct image_env env;
    struct layer layer;
    struct fault fault;
};

static int open_bytes(struct opened *o, const uint8_t *p, size_t n)
{
    memset(o, 0, sizeof *o);
    assert_int_equal(file_memory_new(p, n, "t.vdi", &o->file), 0);
    o->env.cache = cache_new(1 << 20, NULL);
    return vdi_format.open(o->file, &o->env, &o->layer, &o->fault);
}

static void close_opened(struct opened *o)
{
    disk_close(o->layer.disk);
    backing_done(&o->layer.backing);
    notes_done(&o->layer.info.notes);
    cache_free(o->env.cache);
    file_unref(o->file);
}

static void every_kind_is_mapped_and_read(void **state)
{
    (void)state;
    static const struct {
        uint64_t off, length;
        enum extent_kind kind;
    } want[] = {
        { 0, B, EXTENT_DATA },     { 5, B - 5, EXTENT_DATA },
        { B, 2 * B, EXTENT_HOLE }, { B + 9, 2 * B - 9, EXTENT_HOLE },
        { 3 * B, B, EXTENT_DATA }, { 4 * B, B, EXTENT_ZERO },
        { 5 * B, B, EXTENT_HOLE }, { 6 * B, 3 * S + 5, EXTENT_DATA },
    };
    struct image_bytes b;
    struct opened o;
    uint8_t got[DISK];
    image_sample(&b);
    assert_int_equal(open_bytes(&o, b.p, b.n), 0);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        struct extent e;
        assert_int_equal(disk_map(o.layer.disk, want[i].off, DISK, &e), 0);
        assert_int_equal(e.length, want[i].length);
        assert_int_equal(e.kind, want[i].kind);
    }
    assert_int_equal(disk_pread(o.layer.disk, got, DISK, 0), 0);
    assert_memory_equal(got, sample_disk, DISK);
    for (unsigned off = 0; off + 5000 < DISK; off += 61) {
        assert_int_equal(disk_pread(o.layer.disk, got, 5000, off), 0);
        assert_memory_equal(got, sample_disk + off, 5000);
    }
    assert_string_equal(o.layer.info.subformat, "dynamic");
    assert_string_equal(o.layer.info.link_id, "a3a2a1a0-a5a4-a7a6-a8a9-aaabacadaeaf");
    close_opened(&o);
    put_le32(b.p + 0x4c, 2);
    assert_int_equal(open_bytes(&o, b.p, b.n), 0);
    assert_string_equal(o.layer.info.subformat, "fixed");
    assert_int_equal(disk_pread(o.layer.disk, got, DISK, 0), 0);
    assert_memory_equal(got, sample_disk, DISK); /* by its map, like the other */
    close_opened(&o);
}

struct rule {
    const char *name;
    unsigned offset, width; /* of the field that is changed */
    uint64_t value;
    int err;
    const char *what; /* a part of the message */
};

static const struct rule rules[] = {
    { "as it is", 0, 0, 0, 0, NULL },
    { "no magic", 0x40, 4, 0, -EUCLEAN, "no VDI header" },
    { "version 0.1", 0x44, 4, 1, -ENOTSUP, "version 0.1" },
    { "version 1.0", 0x44, 4, 0x10000, -ENOTSUP, "version 1.0" },
    { "version 2.0", 0x44, 4, 0x20000, -ENOTSUP, "version 2.0" },
    { "header too short", 0x48, 4, 100, -EUCLEAN, "header of 100" },
    { "header of 384", 0x48, 4, 0x180, 0, NULL },
    { "no type", 0x4c, 4, 0, -ENOTSUP, "type 0" },
    { "undo", 0x4c, 4, 3, -ENOTSUP, "differencing" },
    { "differencing", 0x4c, 4, 4, -ENOTSUP, "differencing" },
    { "with a parent", 0x1a8, 8, 0x1122334455667788, -ENOTSUP, "{55667788-3344-1122-0000-000000000000}" },
    { "no bytes", 0x170, 8, 0, -EUCLEAN, "no bytes" },
    { "more blocks than the map has", 0x170, 8, BLOCKS *B + 1, -EUCLEAN, "map has 7 entries" },
    { "as many as can be stated", 0x170, 8, UINT64_MAX, -EUCLEAN, "map has 7 entries" },
    { "sectors of 4096", 0x168, 4, 4096, -ENOTSUP, "sectors of 4096" },
    { "blocks of nothing", 0x178, 4, 0, -EUCLEAN, "blocks of 0" },
    { "blocks of 4097", 0x178, 4, 4097, -EUCLEAN, "blocks of 4097" },
    { "blocks of 1 GiB", 0x178, 4, 1 << 30, -EFBIG, "blocks of 1073741824" },
    { "block extra of 4 GiB", 0x17c, 4, 0xfffffe00, -EFBIG, "behind 4294966784" },
    { "too few entries", 0x180, 4, BLOCKS - 1, -EUCLEAN, "map has 6 entries" },
    { "more entries", 0x180, 4, BLOCKS + 9, 0, NULL },
    { "the map on the header", 0x154, 4, 0x100, -EUCLEAN, "overlap" },
    { "the map behind the data", 0x154, 4, 0xffffff00, -EUCLEAN, "overlap" },
    { "the data on the map", 0x158, 4, AT_MAP + 4 * BLOCKS - 1, -EUCLEAN, "overlap" },
    { "the data past the end", 0x158, 4, 0xffffff00, -ENODATA, "truncated" },
    { "a block past the end", AT_MAP + 4, 4, 3, -ENODATA, "truncated" },
    { "a block far past the end", AT_MAP + 4, 4, 0xfffffffd, -ENODATA, "truncated" },
    { "a lost entry", AT_MAP + 3 * 4, 4, UINT32_MAX, -EUCLEAN, "no entry for the block here" },
    { "a lost entry, as if discarded", AT_MAP + 6 * 4, 4, UINT32_MAX - 1, -EUCLEAN,
      "no entry for the block here" },
    { "a block twice", AT_MAP + 4, 4, 2, -EUCLEAN, "entry 1 points to another" },
};

static void rules_hold(void **state)
{
    (void)state;
    struct image_bytes b;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const struct rule *c = &rules[i];
        struct opened o;
        image_sample(&b);
        for (unsigned k = 0; k < c->width; k++)
            b.p[c->offset + k] = (uint8_t)(c->value >> (8 * k));
        int r = open_bytes(&o, b.p, b.n);
        if (r != c->err || (r && !strstr(o.fault.what, c->what)))
            fail_msg("%s: %d \"%s\", expected %d \"%s\"", c->name, r, o.fault.what, c->err,
                     c->what ? c->what : "");
        close_opened(&o);
    }
}

/* The last block's entry may be one that a crash kept from being written. */
static void a_count_that_differs_is_told(void **state)
{
    (void)state;
    static const struct {
        unsigned at;
        uint32_t value;
        size_t notes;
    } rows[] = {
        { 0x184, 3, 0 },
        { 0x184, 4, 1 },
        { AT_MAP, UINT32_MAX, 1 },
    };
    struct image_bytes b;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct opened o;
        image_sample(&b);
        put_le32(b.p + rows[i].at, rows[i].value);
        assert_int_equal(open_bytes(&o, b.p, b.n), 0);
        assert_int_equal(o.layer.info.notes.n, rows[i].notes);
        close_opened(&o);
    }
}

static const char *detected(const uint8_t *p, size_t n)
{
    struct file *file;
    const struct format *f = NULL;
    assert_int_equal(file_memory_new(p, n, "x", &file), 0);
    int r = image_detect(file, &f, NULL);
    file_unref(file);
    return r == 0 ? f->name : r == -EUCLEAN ? "damaged" : "error";
}

static void detection(void **state)
{
    (void)state;
    struct image_bytes b;
    image_sample(&b);
    assert_string_equal(detected(b.p, b.n), "vdi");
    memset(b.p, 0, 64); /* the text is free */
    assert_string_equal(detected(b.p, b.n), "vdi");
    memset(b.p + 0x40, 0, 4);
    assert_string_equal(detected(b.p, b.n), "raw");
    image_sample(&b);
    memset(b.p + 0x40, 0, 4);
    assert_string_equal(detected(b.p, b.n), "damaged");
}

/* Cut at any byte, an image is refused with the place, or gives right bytes: never others. */
static void cut_anywhere_never_lies(void **state)
{
    (void)state;
    struct image_bytes b;
    unsigned refused = 0;
    image_sample(&b);
    for (size_t n = 1; n < b.n; n++) {
        struct opened o;
        uint8_t got[DISK];
        int r = open_bytes(&o, b.p, n);
        if (r < 0) {
            refused++;
            assert_int_equal(r, o.fault.err);
            assert_true(o.fault.has_offset && o.fault.offset <= n);
        } else {
            assert_int_equal(disk_pread(o.layer.disk, got, DISK, 0), 0);
            assert_memory_equal(got, sample_disk, DISK);
        }
        close_opened(&o);
    }
    assert_int_equal(refused, b.n - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_mapped_and_read), cmocka_unit_test(rules_hold),
        cmocka_unit_test(a_count_that_differs_is_told),  cmocka_unit_test(detection),
        cmocka_unit_test(cut_anywhere_never_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
