/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHD: footers, dynamic headers, locators and blocks, in small images built here byte by byte. */
#include "formats/checked.h"
#include "formats/image.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

extern const struct format vhd_format;

/* footer copy | dynamic header | BAT | a locator's text | blocks of 4 KiB with bitmaps of 512 bytes | footer
 */
enum { S = 512, AT_HEADER = S, AT_BAT = 3 * S, AT_NAME = 4 * S, AT_BLOCKS = 5 * S };
enum { B = 8 * S, STRIDE = S + B, BLOCKS = 6, DISK = 5 * B + 3 * S, MAX_FILE = 64 * 1024 };
enum { FIXED = 2, DYNAMIC = 3, DIFFERENCING = 4 };

struct image_bytes {
    uint8_t p[MAX_FILE];
    size_t n;
};

static void sum(uint8_t *p, size_t n, size_t field)
{
    uint32_t s = 0;
    put_be32(p + field, 0);
    for (size_t i = 0; i < n; i++)
        s += p[i];
    put_be32(p + field, ~s);
}

static void put_footer(uint8_t *p, unsigned type, uint64_t size)
{
    memset(p, 0, S);
    memcpy(p, "conectix", 8);
    put_be32(p + 8, 2);
    put_be32(p + 12, 0x10000);
    put_be64(p + 16, type == FIXED ? UINT64_MAX : AT_HEADER);
    memcpy(p + 28, "win ", 4);
    put_be64(p + 40, size);
    put_be64(p + 48, size);
    p[57] = 1; /* cylinders, heads, sectors: 1 * 4 * 17 */
    p[58] = 4;
    p[59] = 17;
    put_be32(p + 60, type);
    for (unsigned i = 0; i < 16; i++)
        p[68 + i] = (uint8_t)(0xa0 + i);
    sum(p, S, 64);
}

static void fill(uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)((i * i + seed) >> 3 ^ seed);
}

/* What the sample's disk reads as, when the layer below reads as zeros. */
static uint8_t sample_disk[DISK];

/* Blocks 0, 2 and 5 (the last, not whole) are there, stored in the order 2, 0, 5. Of block 0 the bitmap knows
 * sectors 1, 2 and 7. */
static void image_sample(struct image_bytes *b, unsigned type)
{
    static const unsigned order[] = { 2, 0, 5 };
    memset(b, 0, sizeof *b);
    memset(sample_disk, 0, sizeof sample_disk);
    memset(b->p + AT_BAT, 0xff, S);
    for (unsigned i = 0; i < 3; i++) {
        unsigned at = AT_BLOCKS + i * STRIDE;
        put_be32(b->p + AT_BAT + 4 * order[i], at / S);
        b->p[at] = order[i] ? 0xff : 0x61;
        fill(b->p + at + S, B, order[i] + 1);
        memcpy(sample_disk + order[i] * B, b->p + at + S, min_u64(B, DISK - order[i] * B));
    }
    for (unsigned s = 0; type == DIFFERENCING && s < 8; s++)
        if (!(0x61 & 0x80 >> s))
            memset(sample_disk + s * S, 0, S);
    uint8_t *h = b->p + AT_HEADER;
    memcpy(h, "cxsparse", 8);
    memset(h + 8, 0xff, 8);
    put_be64(h + 16, AT_BAT);
    put_be32(h + 24, 0x10000);
    put_be32(h + 28, BLOCKS);
    put_be32(h + 32, B);
    if (type == DIFFERENCING) {
        memset(h + 40, 0xcd, 16);
        memcpy(h + 64, "\0C\0:\0\\\0f\0i\0e\0l\0d", 16);
    }
    sum(h, 1024, 36);
    put_footer(b->p, type, DISK);
    b->n = AT_BLOCKS + 3 * STRIDE;
    put_footer(b->p + b->n, type, DISK);
    b->n += S;
}

static void image_fixed(struct image_bytes *b)
{
    memset(b, 0, sizeof *b);
    fill(sample_disk, DISK, 77);
    memcpy(b->p, sample_disk, DISK);
    put_footer(b->p + DISK, FIXED, DISK);
    b->n = DISK + S;
}

static void resum(struct image_bytes *b)
{
    if (!memcmp(b->p, "conectix", 8)) {
        sum(b->p, S, 64);
        sum(b->p + AT_HEADER, 1024, 36);
    }
    sum(b->p + b->n - S, S, 64);
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
    assert_int_equal(file_memory_new(p, n, "t.vhd", &o->file), 0);
    o->env.cache = cache_new(1 << 20, NULL);
    return vhd_format.open(o->file, &o->env, &o->layer, &o->fault);
}

static void close_opened(struct opened *o)
{
    disk_close(o->layer.disk);
    backing_done(&o->layer.backing);
    notes_done(&o->layer.info.notes);
    cache_free(o->env.cache);
    file_unref(o->file);
}

/* Opens, and expects all of the sample's disk, in whole and in odd parts. */
static void expect_sample(struct opened *o, const uint8_t *p, size_t n)
{
    uint8_t got[DISK];
    int r = open_bytes(o, p, n);
    if (r)
        fail_msg("%d: %s", r, o->fault.what);
    assert_int_equal(o->layer.disk->size, DISK);
    assert_int_equal(o->layer.info.virtual_size, DISK);
    assert_int_equal(disk_pread(o->layer.disk, got, DISK, 0), 0);
    assert_memory_equal(got, sample_disk, DISK);
    for (unsigned off = 0; off + 5000 < DISK; off += 61) {
        assert_int_equal(disk_pread(o->layer.disk, got, 5000, off), 0);
        assert_memory_equal(got, sample_disk + off, 5000);
    }
}

/* ---- maps ---- */

struct run {
    uint64_t off, length;
    enum extent_kind kind;
};

static void expect_map(struct disk *d, const struct run *want, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct extent e;
        assert_int_equal(disk_map(d, want[i].off, DISK, &e), 0);
        assert_int_equal(e.length, want[i].length);
        assert_int_equal(e.kind, want[i].kind);
    }
}

static void dynamic_is_mapped_and_read(void **state)
{
    (void)state;
    static const struct run want[] = {
        { 0, B, EXTENT_DATA },         { 5, B - 5, EXTENT_DATA },     { B, B, EXTENT_HOLE },
        { 2 * B, B, EXTENT_DATA },     { 3 * B, 2 * B, EXTENT_HOLE }, { 3 * B + 7, 2 * B - 7, EXTENT_HOLE },
        { 5 * B, 3 * S, EXTENT_DATA },
    };
    struct image_bytes b;
    struct opened o;
    image_sample(&b, DYNAMIC);
    expect_sample(&o, b.p, b.n);
    expect_map(o.layer.disk, want, sizeof want / sizeof want[0]);
    assert_string_equal(o.layer.info.subformat, "dynamic");
    assert_string_equal(o.layer.info.link_id, "a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf");
    assert_int_equal(o.layer.info.block_size, B);
    assert_int_equal(o.layer.info.notes.n, 0);
    assert_null(o.layer.backing.name);
    close_opened(&o);
}

static void differencing_goes_by_sectors(void **state)
{
    (void)state;
    static const struct run want[] = {
        { 0, S, EXTENT_HOLE },         { S, 2 * S, EXTENT_DATA },     { 2 * S + 9, S - 9, EXTENT_DATA },
        { 3 * S, 4 * S, EXTENT_HOLE }, { 7 * S, S, EXTENT_DATA },     { 8 * S, B, EXTENT_HOLE },
        { 2 * B, B, EXTENT_DATA },     { 5 * B, 3 * S, EXTENT_DATA },
    };
    struct image_bytes b;
    struct opened o;
    image_sample(&b, DIFFERENCING);
    expect_sample(&o, b.p, b.n);
    expect_map(o.layer.disk, want, sizeof want / sizeof want[0]);
    assert_string_equal(o.layer.info.subformat, "differencing");
    assert_string_equal(o.layer.backing.role, "parent");
    assert_string_equal(o.layer.backing.name, "C:/field");
    assert_string_equal(o.layer.backing.link_id, "cdcdcdcd-cdcd-cdcd-cdcd-cdcdcdcdcdcd");
    assert_true(o.layer.backing.search_beside);
    close_opened(&o);
}

static void a_differencing_disk_never_opens_alone(void **state)
{
    (void)state;
    struct image_bytes b;
    struct file *file;
    struct image_env env = { .cache = cache_new(1 << 20, NULL) };
    struct image *image = NULL;
    struct fault fault = { 0 };
    image_sample(&b, DIFFERENCING);
    assert_int_equal(file_memory_new(b.p, b.n, "t.vhd", &file), 0);
    assert_int_equal(image_open(file, NULL, &env, &image, &fault), -ENOENT);
    assert_null(image);
    file_unref(file);
    cache_free(env.cache);
}

static void fixed_is_read(void **state)
{
    (void)state;
    struct image_bytes b;
    struct opened o;
    image_fixed(&b);
    expect_sample(&o, b.p, b.n);
    assert_string_equal(o.layer.info.subformat, "fixed");
    close_opened(&o);
    expect_sample(&o, b.p, b.n - 1); /* the footer of 511 bytes */
    close_opened(&o);
    assert_int_equal(open_bytes(&o, b.p, b.n - 2), -EUCLEAN);
    close_opened(&o);
}

/* ---- the headers' rules ---- */

struct rule {
    const char *name;
    unsigned offset, width; /* of the field that is changed */
    uint64_t value;
    int err;
    const char *what; /* a part of the message */
};

/* Offsets in the footer, of a dynamic disk; it is changed at both ends. */
static const struct rule footer_rules[] = {
    { "as it is", 0, 0, 0, 0, NULL },
    { "version 2", 12, 4, 0x20000, -ENOTSUP, "version 2.0" },
    { "version 1.3", 12, 4, 0x10003, 0, NULL },
    { "no type", 60, 4, 0, -ENOTSUP, "type 0" },
    { "type 5", 60, 4, 5, -ENOTSUP, "type 5" },
    { "no bytes", 48, 8, 0, -EUCLEAN, "no bytes" },
    { "less than a sector", 48, 8, 511, -EUCLEAN, "no bytes" },
    { "more blocks than the BAT has", 48, 8, BLOCKS *B + 1024, -EUCLEAN, "BAT has 6 entries" },
    { "as many as can be stated", 48, 8, UINT64_MAX, -EUCLEAN, "BAT has 6 entries" },
    { "the header past the end", 16, 8, UINT64_C(1) << 40, -ENODATA, "dynamic header" },
    { "the header at the end of numbers", 16, 8, UINT64_MAX - 100, -ENODATA, "dynamic header" },
    { "the header elsewhere", 16, 8, 1024, -EUCLEAN, "dynamic header is damaged" },
    { "a disk that was suspended", 84, 1, 1, 0, NULL },
};

/* Offsets in the dynamic header. */
static const struct rule header_rules[] = {
    { "no cookie", 0, 4, 0, -EUCLEAN, "dynamic header is damaged" },
    { "version 2", 24, 4, 0x20000, -ENOTSUP, "version 2.0" },
    { "too few entries", 28, 4, BLOCKS - 1, -EUCLEAN, "BAT has 5 entries" },
    { "entries past the end", 28, 4, 0x40000001, -ENODATA, "truncated" },
    { "blocks of nothing", 32, 4, 0, -EUCLEAN, "blocks of 0 bytes" },
    { "blocks of 4097", 32, 4, 4097, -EUCLEAN, "blocks of 4097" },
    { "blocks of 256", 32, 4, 256, -EUCLEAN, "blocks of 256" },
    { "blocks of 2 GiB", 32, 4, UINT32_C(1) << 31, -EFBIG, "blocks of 2147483648" },
    { "the BAT past the end", 16, 8, UINT64_C(1) << 40, -ENODATA, "truncated" },
    { "the BAT at the end of numbers", 16, 8, UINT64_MAX - 3, -ENODATA, "truncated" },
    { "the BAT on the footer", 16, 8, AT_BLOCKS + 3 * STRIDE, -ENODATA, "truncated" },
};

static const struct rule bat_rules[] = {
    { "block 1 on the footer's copy", 4, 4, 0, -EUCLEAN, "entry 1 points into the headers" },
    { "block 1 on the header", 4, 4, 2, -EUCLEAN, "entry 1 points into the headers" },
    { "block 1 on the BAT", 4, 4, 3, -EUCLEAN, "entry 1 points into the headers" },
    { "block 1 where block 2 is", 4, 4, AT_BLOCKS / S, -EUCLEAN, "another block's place" },
    { "block 1 past the end", 4, 4, 0xfffffffe, -ENODATA, "truncated" },
    { "block 1 on the footer", 4, 4, (AT_BLOCKS + 2 * STRIDE) / S + 1, -ENODATA, "truncated" },
    { "block 5, of 3 sectors, at the very end", 20, 4, (AT_BLOCKS + 3 * STRIDE) / S - 4, 0, NULL },
    { "block 5 a sector later", 20, 4, (AT_BLOCKS + 3 * STRIDE) / S - 3, -ENODATA, "truncated" },
};

static void patch(uint8_t *p, const struct rule *r)
{
    for (unsigned i = 0; i < r->width; i++)
        p[r->offset + i] = (uint8_t)(r->value >> (8 * (r->width - 1 - i)));
}

static void expect_rule(struct image_bytes *b, const struct rule *c)
{
    struct opened o;
    int r = open_bytes(&o, b->p, b->n);
    if (r != c->err || (r && !strstr(o.fault.what, c->what)))
        fail_msg("%s: %d \"%s\", expected %d \"%s\"", c->name, r, o.fault.what, c->err,
                 c->what ? c->what : "");
    close_opened(&o);
}

static void rules_hold(void **state)
{
    (void)state;
    struct image_bytes b;
    for (size_t i = 0; i < sizeof footer_rules / sizeof footer_rules[0]; i++) {
        image_sample(&b, DYNAMIC);
        patch(b.p, &footer_rules[i]);
        patch(b.p + b.n - S, &footer_rules[i]);
        resum(&b);
        expect_rule(&b, &footer_rules[i]);
    }
    for (size_t i = 0; i < sizeof header_rules / sizeof header_rules[0]; i++) {
        image_sample(&b, DYNAMIC);
        patch(b.p + AT_HEADER, &header_rules[i]);
        resum(&b);
        expect_rule(&b, &header_rules[i]);
    }
    for (size_t i = 0; i < sizeof bat_rules / sizeof bat_rules[0]; i++) {
        image_sample(&b, DYNAMIC);
        patch(b.p + AT_BAT, &bat_rules[i]);
        expect_rule(&b, &bat_rules[i]);
    }
}

static void checksums_count(void **state)
{
    (void)state;
    struct image_bytes b;
    struct opened o;
    image_sample(&b, DYNAMIC);
    b.p[AT_HEADER + 900] ^= 1;
    assert_int_equal(open_bytes(&o, b.p, b.n), -EUCLEAN);
    assert_int_equal(o.fault.offset, AT_HEADER);
    close_opened(&o);
    image_sample(&b, DYNAMIC);
    b.p[b.n - 200] ^= 1; /* the footer at the end */
    expect_sample(&o, b.p, b.n);
    assert_int_equal(o.layer.info.notes.n, 1);
    close_opened(&o);
    b.p[200] ^= 1; /* and its copy */
    assert_int_equal(open_bytes(&o, b.p, b.n), -EUCLEAN);
    close_opened(&o);
    image_sample(&b, DYNAMIC);
    b.p[200] ^= 1; /* only the copy */
    expect_sample(&o, b.p, b.n);
    assert_int_equal(o.layer.info.notes.n, 1);
    close_opened(&o);
    image_sample(&b, DYNAMIC);
    expect_sample(&o, b.p, b.n - S); /* no footer at the end */
    assert_int_equal(o.layer.info.notes.n, 1);
    close_opened(&o);
}

/* A guest keeps a fixed VHD on its disk, and the file is cut off just where that one ends. */
static void a_guests_footer_isnt_ours(void **state)
{
    (void)state;
    struct image_bytes b;
    struct opened o;
    image_sample(&b, DYNAMIC);
    b.n -= S;
    put_footer(b.p + b.n - S, FIXED, 3 * S);
    expect_rule(&b, &(struct rule){ .name = "the copy counts" });
    assert_int_equal(open_bytes(&o, b.p, b.n), 0);
    assert_string_equal(o.layer.info.subformat, "dynamic");
    close_opened(&o);
}

/* ---- sizes ---- */

static void the_size_goes_by_the_creator(void **state)
{
    (void)state;
    static const struct {
        char creator[5];
        unsigned cylinders, heads, sectors;
        uint64_t want;
    } cases[] = {
        { "win ", 2, 1, 17, DISK },       { "vpc ", 2, 1, 17, 34 * S }, { "vpc ", 0, 1, 17, DISK },
        { "vpc ", 4, 4, 17, DISK },       { "vbox", 2, 1, 17, DISK },   { "wa\0\0", 2, 1, 17, DISK },
        { "vpc ", 65535, 16, 255, DISK }, { "d2v ", 2, 1, 17, DISK },   { "qem2", 2, 1, 17, DISK },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct image_bytes b;
        struct opened o;
        image_fixed(&b);
        uint8_t *f = b.p + DISK;
        memcpy(f + 28, cases[i].creator, 4);
        f[56] = (uint8_t)(cases[i].cylinders >> 8);
        f[57] = (uint8_t)cases[i].cylinders;
        f[58] = (uint8_t)cases[i].heads;
        f[59] = (uint8_t)cases[i].sectors;
        resum(&b);
        assert_int_equal(open_bytes(&o, b.p, b.n), 0);
        assert_int_equal(o.layer.disk->size, cases[i].want);
        assert_int_equal(o.layer.info.notes.n, cases[i].want == DISK ? 0 : 1);
        close_opened(&o);
    }
}

/* ---- the parent's names ---- */

static void put_locator(struct image_bytes *b, unsigned i, uint32_t code, uint32_t length, uint64_t offset)
{
    uint8_t *l = b->p + AT_HEADER + 576 + 24 * (size_t)i;
    put_be32(l, code);
    put_be32(l + 4, 1);
    put_be32(l + 8, length);
    put_be64(l + 16, offset);
}

static void the_parent_is_named(void **state)
{
    (void)state;
    enum { W2RU = 0x57327275, W2KU = 0x57326b75 };
    static const struct {
        uint32_t code;
        uint32_t length;
        uint64_t offset;
        int err;
        const char *want;
    } cases[] = {
        { W2RU, 18, AT_NAME, 0, "./p\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80/a" },
        { W2RU, 10, AT_NAME, 0, "./p\xc3\xa4\xe2\x82\xac" },
        { W2RU, 12, AT_NAME, 0, "./p\xc3\xa4\xe2\x82\xac\xef\xbf\xbd" }, /* half a pair */
        { W2KU, 4, AT_NAME, 0, "./" },
        { W2RU, 0, AT_NAME, 0, "C:/field" },
        { W2RU, 1 << 30, AT_NAME, 0, "C:/field" },
        { W2RU, 4, AT_NAME + 100, 0, "C:/field" }, /* an empty name */
        { 0x4d616358, 4, AT_NAME, 0, "C:/field" },
        { W2RU, 4, UINT64_MAX - 1, -ENODATA, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct image_bytes b;
        struct opened o;
        image_sample(&b, DIFFERENCING);
        memcpy(b.p + AT_NAME, ".\0\\\0p\0\xe4\0\xac\x20\x3d\xd8\x00\xde\\\0a\0", 18);
        put_locator(&b, 1, cases[i].code, cases[i].length, cases[i].offset);
        resum(&b);
        int r = open_bytes(&o, b.p, b.n);
        assert_int_equal(r, cases[i].err);
        if (cases[i].want)
            assert_string_equal(o.layer.backing.name, cases[i].want);
        close_opened(&o);
    }
}

static void the_relative_name_comes_first(void **state)
{
    (void)state;
    struct image_bytes b;
    struct opened o;
    image_sample(&b, DIFFERENCING);
    memcpy(b.p + AT_NAME, "a\0r\0", 4);
    put_locator(&b, 0, 0x57326b75, 2, AT_NAME);
    put_locator(&b, 5, 0x57327275, 2, AT_NAME + 2);
    resum(&b);
    assert_int_equal(open_bytes(&o, b.p, b.n), 0);
    assert_string_equal(o.layer.backing.name, "r");
    close_opened(&o);
    image_sample(&b, DIFFERENCING);
    memset(b.p + AT_HEADER + 64, 0, 512);
    resum(&b);
    assert_int_equal(open_bytes(&o, b.p, b.n), -EUCLEAN);
    assert_non_null(strstr(o.fault.what, "cdcdcdcd-cdcd"));
    close_opened(&o);
}

/* ---- detection ---- */

static const char *detected(const uint8_t *p, size_t n, const char *name)
{
    struct file *file;
    const struct format *f = NULL;
    assert_int_equal(file_memory_new(p, n, name, &file), 0);
    int r = image_detect(file, &f, NULL);
    file_unref(file);
    return r == 0 ? f->name : r == -EUCLEAN ? "damaged" : "error";
}

static void only_a_true_footer_bids(void **state)
{
    (void)state;
    struct image_bytes b;
    image_fixed(&b);
    assert_string_equal(detected(b.p, b.n, "x"), "vhd");
    assert_string_equal(detected(b.p, b.n - 1, "x"), "vhd"); /* 511 bytes */
    assert_string_equal(detected(b.p, b.n - 2, "x"), "raw");
    assert_string_equal(detected(b.p, b.n - 2, "x.vhd"), "damaged");
    assert_string_equal(detected(b.p + S, b.n - S, "x"), "damaged"); /* its beginning is gone */
    memcpy(b.p, "QFI\xfb\0\0\0\3", 8); /* what a guest writes on its disk makes it no qcow2 */
    assert_string_equal(detected(b.p, b.n, "x"), "vhd");
    image_fixed(&b);
    b.p[b.n - 1] ^= 1;
    assert_string_equal(detected(b.p, b.n, "x"), "damaged");
    image_sample(&b, DYNAMIC);
    assert_string_equal(detected(b.p, b.n, "x"), "vhd");
    assert_string_equal(detected(b.p, b.n - S, "x"), "vhd"); /* by the copy */
    memset(b.p, 0, S);
    assert_string_equal(detected(b.p, b.n, "x"), "vhd");         /* by the end */
    assert_string_equal(detected(b.p, b.n - S, "x"), "damaged"); /* by the dynamic header */
}

/* Cut at any byte, an image is refused, or gives right bytes, or an error: never others. */
static void cut_anywhere_never_lies(void **state)
{
    (void)state;
    struct image_bytes b;
    unsigned refused = 0;
    for (unsigned type = FIXED; type <= DIFFERENCING; type++) {
        if (type == FIXED)
            image_fixed(&b);
        else
            image_sample(&b, type);
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
    }
    assert_true(refused > MAX_FILE / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dynamic_is_mapped_and_read),
        cmocka_unit_test(differencing_goes_by_sectors),
        cmocka_unit_test(a_differencing_disk_never_opens_alone),
        cmocka_unit_test(fixed_is_read),
        cmocka_unit_test(rules_hold),
        cmocka_unit_test(checksums_count),
        cmocka_unit_test(a_guests_footer_isnt_ours),
        cmocka_unit_test(the_size_goes_by_the_creator),
        cmocka_unit_test(the_parent_is_named),
        cmocka_unit_test(the_relative_name_comes_first),
        cmocka_unit_test(only_a_true_footer_bids),
        cmocka_unit_test(cut_anywhere_never_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
