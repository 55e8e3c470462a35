/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: the header's rules, the entries' rules, and small images built here, byte by byte. */
#include "formats/checked.h"
#include "formats/image.h"
#include "formats/qcow2-check.h"
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

extern const struct format qcow2_format;

/* An image of 512-byte clusters: header, refcount table, refcount block, L1, L2, and from cluster 5 data. */
enum { C = 512, AT_TABLE = 1 * C, AT_BLOCK = 2 * C, AT_L1 = 3 * C, AT_L2 = 4 * C, AT_DATA = 5 * C };
enum { DISK = 20 * C + 100 /* the last cluster isn't whole */, MAX_FILE = 64 * C };

struct image_bytes {
    uint8_t p[MAX_FILE];
    size_t n;
};

static void image_new(struct image_bytes *b)
{
    memset(b, 0, sizeof *b);
    b->n = AT_DATA;
    put_be32(b->p, QCOW2_MAGIC);
    put_be32(b->p + 4, 3);
    put_be32(b->p + 20, 9);
    put_be64(b->p + 24, DISK);
    put_be32(b->p + 36, 1);
    put_be64(b->p + 40, AT_L1);
    put_be64(b->p + 48, AT_TABLE);
    put_be32(b->p + 56, 1);
    put_be32(b->p + 96, 4);
    put_be32(b->p + 100, 112);
    put_be64(b->p + AT_TABLE, AT_BLOCK);
    for (int i = 0; i < AT_DATA / C; i++)
        b->p[AT_BLOCK + 2 * i + 1] = 1;
    put_be64(b->p + AT_L1, AT_L2 | UINT64_C(1) << 63);
}

static void image_entry(struct image_bytes *b, unsigned cluster, uint64_t entry)
{
    put_be64(b->p + AT_L2 + (size_t)cluster * 8, entry);
}

/* A new host cluster at the end of the file, its refcount 1. */
static uint64_t image_append(struct image_bytes *b, const void *data, size_t n)
{
    uint64_t at = b->n;
    memcpy(b->p + at, data, n);
    b->p[AT_BLOCK + 2 * (at / C) + 1] = 1;
    b->n += n;
    return at;
}

static void fill(uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)((i * i + seed) >> 3 ^ seed);
}

/* What image_sample's disk reads as. */
static uint8_t sample_disk[DISK];

/* Every kind of cluster: 0 and 1 plain side by side, 2 plain elsewhere, 3 zero, 4 zero and preallocated,
 * 6 compressed, 20 (the last) plain; the others unallocated. */
static void image_sample(struct image_bytes *b)
{
    uint8_t data[C], packed[C];
    image_new(b);
    memset(sample_disk, 0, sizeof sample_disk);
    for (unsigned i = 0; i <= 20; i++) {
        size_t n = i == 20 ? 100 : C;
        if (i > 2 && i != 20)
            continue;
        fill(data, C, i + 1);
        memcpy(sample_disk + i * C, data, n);
        if (i == 2)
            image_entry(b, 4, 1 | image_append(b, sample_disk, C));
        image_entry(b, i, UINT64_C(1) << 63 | image_append(b, data, C));
    }
    memset(data, 'x', C);
    memcpy(sample_disk + 6 * C, data, C);
    z_stream z = { .next_in = data, .avail_in = C, .next_out = packed, .avail_out = sizeof packed };
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    image_entry(b, 3, 1);
    image_entry(b, 6, UINT64_C(1) << 62 | image_append(b, packed, z.total_out));
    deflateEnd(&z);
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
    assert_int_equal(file_memory_new(p, n, "t.qcow2", &o->file), 0);
    o->env.cache = cache_new(1 << 20, NULL);
    return qcow2_format.open(o->file, &o->env, &o->layer, &o->fault);
}

static void close_opened(struct opened *o)
{
    disk_close(o->layer.disk);
    backing_done(&o->layer.backing);
    layer_info_done(&o->layer.info);
    cache_free(o->env.cache);
    file_unref(o->file);
}

/* ---- the header ---- */

struct header_case {
    const char *name;
    unsigned offset, width; /* of the field that is changed; 0: nothing is */
    uint64_t value;
    int err;
    const char *what; /* a part of the message */
};

static const struct header_case header_cases[] = {
    { "as it is", 0, 0, 0, 0, NULL },
    { "no magic", 0, 4, 1, -EUCLEAN, "no qcow2 header" },
    { "qcow version 1", 4, 4, 1, -ENOTSUP, "version 1" },
    { "a later version", 4, 4, 4, -ENOTSUP, "version 4" },
    { "version 2", 4, 4, 2, 0, NULL },
    { "clusters of 256", 20, 4, 8, -EUCLEAN, "2^8" },
    { "clusters of 4 MiB", 20, 4, 22, -EUCLEAN, "2^22" },
    { "cluster_bits 64", 20, 4, 64, -EUCLEAN, "2^64" },
    { "AES", 32, 4, 1, -ENOTSUP, "AES" },
    { "LUKS", 32, 4, 2, -ENOTSUP, "LUKS" },
    { "another encryption", 32, 4, 3, -EUCLEAN, "method 3" },
    { "the L1 table is too small", 36, 4, 0, -EUCLEAN, "too small" },
    { "the L1 table is huge", 36, 4, 0xffffffff, -EFBIG, "L1 table" },
    { "a disk too large for the L1 table", 24, 8, UINT64_MAX, -EUCLEAN, "too small" },
    { "the L1 table nowhere", 40, 8, 0, -EUCLEAN, "impossible place" },
    { "the L1 table between clusters", 40, 8, AT_L1 + 8, -EUCLEAN, "impossible place" },
    { "the L1 table past the end", 40, 8, UINT64_C(1) << 40, -ENODATA, "truncated" },
    { "the L1 table at the end of numbers", 40, 8, UINT64_MAX - 511, -ENODATA, "truncated" },
    { "the refcount table past the end", 48, 8, UINT64_C(1) << 40, -ENODATA, "refcount table" },
    { "the refcount table between clusters", 48, 8, 7, -EUCLEAN, "refcount table" },
    { "the refcount table is huge", 56, 4, 0xffffffff, -EFBIG, "refcount table" },
    { "no refcount table", 48, 12, 0, 0, NULL },
    { "dirty", 72, 8, 1, 0, NULL },
    { "corrupt", 72, 8, 2, 0, NULL },
    { "a data file without a name", 72, 8, 4, -ENOTSUP, "doesn't name" },
    { "compression bit without type", 72, 8, 8, -EUCLEAN, "contradict" },
    { "compression type without bit", 104, 1, 1, -EUCLEAN, "contradict" },
    { "subclusters too small", 72, 8, 16, -EUCLEAN, "subclusters" },
    { "unknown feature", 72, 8, 1 << 5, -ENOTSUP, "\"unnamed\" (incompatible bit 5)" },
    { "unknown feature 63", 72, 8, UINT64_C(1) << 63, -ENOTSUP, "bit 63" },
    { "compatible features don't matter", 80, 8, UINT64_MAX, 0, NULL },
    { "refcounts of 128 bits", 96, 4, 7, -EUCLEAN, "width" },
    { "header too short", 100, 4, 96, -EUCLEAN, "header length" },
    { "header length odd", 100, 4, 113, -EUCLEAN, "header length" },
    { "header longer than a cluster", 100, 4, 520, -EUCLEAN, "header length" },
    { "header of 104", 100, 4, 104, 0, NULL },
    { "header longer than today's", 100, 4, 256, 0, NULL },
    { "backing name outside cluster 0", 8, 8, 4096, 0, NULL }, /* of length 0: none */
    { "extension doesn't fit", 112, 8, UINT64_C(0x12345678ffffffff), -EUCLEAN, "extension" },
    { "extension just fits", 112, 8, UINT64_C(0x1234567800000188), 0, NULL },
    { "extension one too long", 112, 8, UINT64_C(0x1234567800000189), -EUCLEAN, "extension" },
    { "an empty disk", 24, 8, 0, 0, NULL },
};

static void patch(uint8_t *p, unsigned offset, unsigned width, uint64_t value)
{
    for (unsigned i = 0; i < width; i++)
        p[offset + i] = i + 8 < width ? 0 : (uint8_t)(value >> (8 * (width - 1 - i)));
}

static void header_rules(void **state)
{
    (void)state;
    struct image_bytes b;
    for (size_t i = 0; i < sizeof header_cases / sizeof header_cases[0]; i++) {
        const struct header_case *c = &header_cases[i];
        struct opened o;
        image_new(&b);
        patch(b.p, c->offset, c->width, c->value);
        int r = open_bytes(&o, b.p, b.n);
        if (r != c->err || (r && !strstr(o.fault.what, c->what)))
            fail_msg("%s: %d \"%s\", expected %d \"%s\"", c->name, r, o.fault.what, c->err,
                     c->what ? c->what : "");
        close_opened(&o);
    }
}

static void unknown_feature_is_named(void **state)
{
    (void)state;
    struct image_bytes b;
    struct opened o;
    image_new(&b);
    put_be64(b.p + 72, UINT64_C(1) << 40);
    put_be32(b.p + 112, 0x12345678);
    put_be32(b.p + 116, 3); /* padded to 8 */
    put_be32(b.p + 128, 0x6803f857);
    put_be32(b.p + 132, 144);
    memcpy(b.p + 136, "\0\x05other", 7);
    memcpy(b.p + 184, "\x01\x28not this one", 14);
    memcpy(b.p + 232, "\0\x28time travel", 13);
    assert_int_equal(open_bytes(&o, b.p, b.n), -ENOTSUP);
    assert_non_null(strstr(o.fault.what, "\"time travel\" (incompatible bit 40)"));
    close_opened(&o);
}

struct name_case {
    const char *stored;
    unsigned length;
    int err;
    const char *name; /* NULL: none */
};

static void backing_names(void **state)
{
    (void)state;
    static const struct name_case cases[] = {
        { "base.qcow2", 10, 0, "base.qcow2" },
        { "../x/base", 9, 0, "../x/base" },
        { "/abs/a:b", 8, 0, "/abs/a:b" },
        { "file:base", 9, 0, "base" },
        { "name\0\0\0", 7, 0, "name" },
        { "na\0me", 5, -EUCLEAN, NULL },
        { "json:{}", 7, -EPERM, NULL },
        { "nbd://h/x", 9, -EPERM, NULL },
        { "", 0, 0, NULL },
        { "long", 1024, -EUCLEAN, NULL },
        { "beyond", 400, -EUCLEAN, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct name_case *c = &cases[i];
        struct image_bytes b;
        struct opened o;
        image_new(&b);
        put_be64(b.p + 8, 141);
        put_be32(b.p + 16, c->length);
        put_be32(b.p + 112, 0xe2792aca);
        put_be32(b.p + 116, 3);
        memcpy(b.p + 120, "vpc", 3);
        memcpy(b.p + 141, c->stored, c->length < 12 ? c->length : 4);
        assert_int_equal(open_bytes(&o, b.p, b.n), c->err);
        if (c->name) {
            assert_string_equal(o.layer.backing.name, c->name);
            assert_string_equal(o.layer.backing.format, "vhd");
            assert_string_equal(o.layer.backing.role, "backing file");
        } else {
            assert_null(o.layer.backing.name);
        }
        close_opened(&o);
    }
}

/* ---- entries ---- */

struct entry_case {
    const char *name;
    struct qcow2_header h;
    uint64_t entry, bitmap;
    int err;
    struct qcow2_cluster want;
};

#define V3(bits)                                                                                             \
    {                                                                                                        \
        .version = 3, .cluster_bits = (bits), .cluster_size = UINT64_C(1) << (bits)                          \
    }
#define V2(bits)                                                                                             \
    {                                                                                                        \
        .version = 2, .cluster_bits = (bits), .cluster_size = UINT64_C(1) << (bits)                          \
    }
#define EXT(bits)                                                                                            \
    {                                                                                                        \
        .version = 3, .cluster_bits = (bits), .cluster_size = UINT64_C(1) << (bits), .extended_l2 = true     \
    }
#define DAT(bits)                                                                                            \
    {                                                                                                        \
        .version = 3, .cluster_bits = (bits), .cluster_size = UINT64_C(1) << (bits), .data_file = true       \
    }

/* clang-format off */
static const struct entry_case entry_cases[] = {
    { "nothing", V3(16), 0, 0, 0, { .kind = QCOW2_UNALLOCATED } },
    { "plain", V3(16), 0x8000000000050000, 0, 0, { .kind = QCOW2_PLAIN, .host = 0x50000 } },
    { "plain, shared", V3(16), 0x50000, 0, 0, { .kind = QCOW2_PLAIN, .host = 0x50000 } },
    { "zero", V3(16), 1, 0, 0, { .kind = QCOW2_ZERO } },
    { "zero, preallocated", V3(16), 0x50001, 0, 0, { .kind = QCOW2_ZERO, .host = 0x50000 } },
    { "zero in version 2", V2(16), 1, 0, -EUCLEAN, { 0 } },
    { "between clusters", V3(16), 0x50200, 0, -EUCLEAN, { 0 } },
    { "reserved bit 1", V3(16), 0x50002, 0, -EUCLEAN, { 0 } },
    { "reserved bit 56", V3(16), 0x0100000000050000, 0, -EUCLEAN, { 0 } },
    { "compressed", V3(16), 0x49c0000000050056, 0, 0,
      { .kind = QCOW2_COMPRESSED, .host = 0x50056, .stored = 20394 } },
    { "compressed, small clusters", V3(9), 0x4000000000000a01, 0, 0,
      { .kind = QCOW2_COMPRESSED, .host = 0xa01, .stored = 511 } },
    { "compressed, small clusters, two sectors", V3(9), 0x6000000000000a00, 0, 0,
      { .kind = QCOW2_COMPRESSED, .host = 0xa00, .stored = 1024 } },
    { "compressed, large clusters", V3(21), UINT64_C(1) << 62 | UINT64_C(8191) << 49 | 0x200001, 0, 0,
      { .kind = QCOW2_COMPRESSED, .host = 0x200001, .stored = 8192 * 512 - 1 } },
    { "compressed, impossible offset", V3(9), UINT64_C(1) << 62 | UINT64_C(1) << 57, 0, -EUCLEAN, { 0 } },
    { "compressed, copied", V3(16), 0xc000000000050000, 0, 0,
      { .kind = QCOW2_COMPRESSED, .host = 0x50000, .stored = 512 } },
    { "compressed with data file", DAT(16), 0x49c0000000050056, 0, -EUCLEAN, { 0 } },
    { "in a data file", DAT(16), 0x8000000000030000, 0, 0, { .kind = QCOW2_PLAIN, .host = 0x30000 } },
    { "elsewhere in a data file", DAT(16), 0x8000000000050000, 0, -EUCLEAN, { 0 } },
    { "nothing in a data file", DAT(16), 0, 0, 0, { .kind = QCOW2_UNALLOCATED } },
    { "subclusters, none", EXT(16), 0, 0, 0, { .kind = QCOW2_UNALLOCATED } },
    { "subclusters, all", EXT(16), 0x8000000000050000, 0xffffffff, 0, { .kind = QCOW2_PLAIN, .host = 0x50000,
      .alloc = UINT32_MAX } },
    { "subclusters, zeros", EXT(16), 0, UINT64_C(0xffffffff) << 32, 0,
      { .kind = QCOW2_ZERO, .zero = UINT32_MAX } },
    { "subclusters, some", EXT(16), 0x8000000000050000, 0x0000001000000002, 0, { .kind = QCOW2_MIXED,
      .host = 0x50000, .alloc = 2, .zero = 16 } },
    { "subclusters without a place", EXT(16), 0, 2, -EUCLEAN, { 0 } },
    { "subcluster both", EXT(16), 0x50000, 0x0000000200000002, -EUCLEAN, { 0 } },
    { "zero bit with subclusters", EXT(16), 0x50001, 0, -EUCLEAN, { 0 } },
    { "compressed, the bitmap unused", EXT(16), 0x49c0000000050056, 0x0000000200000002, 0,
      { .kind = QCOW2_COMPRESSED, .host = 0x50056, .stored = 20394 } },
};
/* clang-format on */

static void entry_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof entry_cases / sizeof entry_cases[0]; i++) {
        const struct entry_case *c = &entry_cases[i];
        struct qcow2_cluster got = { 0 };
        int r = qcow2_entry_decode(&c->h, 3, c->entry, c->bitmap, &got);
        if (r != c->err ||
            (!r && (got.kind != c->want.kind || got.host != c->want.host || got.stored != c->want.stored ||
                    got.alloc != c->want.alloc || got.zero != c->want.zero)))
            fail_msg("%s: %d, kind %d host %#llx stored %llu", c->name, r, got.kind,
                     (unsigned long long)got.host, (unsigned long long)got.stored);
    }
}

static void subclusters_run(void **state)
{
    (void)state;
    const struct qcow2_header h = EXT(16);
    const struct qcow2_cluster c = {
        .kind = QCOW2_MIXED, .host = 0x50000, .alloc = 0x80000006, .zero = 0x18
    };
    static const struct {
        uint64_t within, end;
        enum qcow2_kind kind;
    } want[] = {
        { 0, 2048, QCOW2_UNALLOCATED }, { 2048, 6144, QCOW2_PLAIN },         { 6143, 6144, QCOW2_PLAIN },
        { 6144, 10240, QCOW2_ZERO },    { 10240, 63488, QCOW2_UNALLOCATED }, { 63488, 65536, QCOW2_PLAIN },
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        uint64_t end;
        assert_int_equal(qcow2_cluster_at(&h, &c, want[i].within, &end), want[i].kind);
        assert_int_equal(end, want[i].end);
    }
}

/* ---- whole images ---- */

static void every_kind_is_mapped_and_read(void **state)
{
    (void)state;
    static const struct {
        uint64_t off, length;
        enum extent_kind kind;
        bool compressed;
    } want[] = {
        { 0, 2 * C, EXTENT_DATA, false },        { 2 * C, C, EXTENT_DATA, false },
        { 3 * C, 2 * C, EXTENT_ZERO, false },    { 5 * C, C, EXTENT_HOLE, false },
        { 6 * C, C, EXTENT_DATA, true },         { 7 * C, 13 * C, EXTENT_HOLE, false },
        { 20 * C, 100, EXTENT_DATA, false },     { C + 5, C - 5, EXTENT_DATA, false },
        { 6 * C + 9, C - 9, EXTENT_DATA, true },
    };
    struct image_bytes b;
    struct opened o;
    uint8_t got[DISK];
    image_sample(&b);
    assert_int_equal(open_bytes(&o, b.p, b.n), 0);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        struct extent e;
        assert_int_equal(disk_find(o.layer.disk, want[i].off, DISK, &e), 0); /* one run of the file */
        assert_int_equal(e.length, want[i].length);
        assert_int_equal(e.kind, want[i].kind);
        assert_int_equal(e.compressed, want[i].compressed);
        assert_int_equal(disk_map(o.layer.disk, want[i].off, DISK, &e), 0); /* may be several */
        assert_true(e.length >= want[i].length);
        assert_int_equal(e.kind, want[i].kind);
        assert_int_equal(e.compressed, want[i].compressed);
    }
    assert_int_equal(disk_pread(o.layer.disk, got, DISK, 0), 0);
    assert_memory_equal(got, sample_disk, DISK);
    for (unsigned off = 0; off + 700 < DISK; off += 61) {
        assert_int_equal(disk_pread(o.layer.disk, got, 700, off), 0);
        assert_memory_equal(got, sample_disk + off, 700);
    }
    assert_int_equal(o.layer.info.notes.n, 0);
    close_opened(&o);
}

/* Cut at any byte, an image is refused with the place, or gives right bytes, or an error: never others. */
static void cut_anywhere_never_lies(void **state)
{
    (void)state;
    struct image_bytes b;
    unsigned refused = 0, unread = 0;
    image_sample(&b);
    for (size_t n = 0; n < b.n; n++) {
        struct opened o;
        uint8_t got[DISK];
        int r = open_bytes(&o, b.p, n);
        if (r < 0) {
            refused++;
            assert_int_equal(r, o.fault.err);
            assert_true(o.fault.has_offset);
            assert_true(o.fault.offset <= n);
        } else {
            for (unsigned c = 0; c < DISK; c += C) {
                size_t len = DISK - c < C ? DISK - c : C;
                r = disk_pread(o.layer.disk, got, len, c);
                unread += r == -EIO;
                if (r != -EIO) {
                    assert_int_equal(r, 0);
                    assert_memory_equal(got, sample_disk + c, len);
                }
            }
        }
        close_opened(&o);
    }
    assert_true(refused > AT_DATA);
    assert_true(unread > 0); /* the compressed stream, whose length only its bytes tell */
}

/* What the guest can't see of the last cluster may be missing; QEMU leaves it out. */
static void file_may_end_with_the_disk(void **state)
{
    (void)state;
    struct image_bytes b;
    struct opened o;
    uint8_t data[100], got[100];
    fill(data, sizeof data, 9);
    image_new(&b);
    image_entry(&b, 20, image_append(&b, data, sizeof data));
    assert_int_equal(open_bytes(&o, b.p, b.n), 0);
    assert_int_equal(disk_pread(o.layer.disk, got, sizeof got, 20 * C), 0);
    assert_memory_equal(got, data, sizeof data);
    close_opened(&o);
    assert_int_equal(open_bytes(&o, b.p, b.n - 1), -ENODATA);
    close_opened(&o);
    image_entry(&b, 19, AT_DATA); /* any other cluster must be whole */
    assert_int_equal(open_bytes(&o, b.p, b.n), -ENODATA);
    close_opened(&o);
}

struct damage_case {
    const char *name;
    unsigned offset;
    uint64_t value;
    int err;
    uint64_t at;
};

static void damaged_tables_are_refused(void **state)
{
    (void)state;
    static const struct damage_case cases[] = {
        { "L1 entry, reserved bits", AT_L1, AT_L2 | 4, -EUCLEAN, AT_L1 },
        { "L1 entry between clusters", AT_L1, UINT64_C(1) << 56 | AT_L2, -EUCLEAN, AT_L1 },
        { "L1 entry past the end", AT_L1, UINT64_C(1) << 40, -ENODATA, 0 },
        { "L2 entry, reserved bits", AT_L2 + 8, AT_DATA | 2, -EUCLEAN, AT_L2 + 8 },
        { "L2 entry past the end", AT_L2 + 8, UINT64_C(1) << 40, -ENODATA, 0 },
        { "compressed past the end", AT_L2 + 8, UINT64_C(1) << 62 | 1 << 20, -ENODATA, 0 },
        { "compressed, a sector short", AT_L2 + 8, UINT64_C(3) << 61 | (AT_DATA + 5 * C), -ENODATA, 0 },
    };
    struct image_bytes b;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct opened o;
        image_sample(&b);
        put_be64(b.p + cases[i].offset, cases[i].value);
        int r = open_bytes(&o, b.p, b.n);
        if (r != cases[i].err || o.fault.offset != (cases[i].at ? cases[i].at : b.n))
            fail_msg("%s: %d at %llu \"%s\"", cases[i].name, r, (unsigned long long)o.fault.offset,
                     o.fault.what);
        close_opened(&o);
    }
}

/* Two L1 entries that name one L2 table: a small file could describe any number of extents so. */
static void shared_l2_table_is_refused(void **state)
{
    (void)state;
    struct image_bytes b;
    struct opened o;
    image_sample(&b);
    put_be64(b.p + 24, 2 * (uint64_t)C * (C / 8)); /* the disk's size: two L2 tables' worth */
    put_be32(b.p + 36, 2);                         /* L1 entries */
    assert_int_equal(open_bytes(&o, b.p, b.n), 0);
    close_opened(&o);
    memcpy(b.p + AT_L1 + 8, b.p + AT_L1, 8);
    assert_int_equal(open_bytes(&o, b.p, b.n), -EUCLEAN);
    assert_non_null(strstr(o.fault.what, "twice"));
    close_opened(&o);
}

static void damaged_stream_is_an_error(void **state)
{
    (void)state;
    struct image_bytes b;
    struct opened o;
    uint8_t got[C];
    image_sample(&b);
    memset(b.p + b.n - 8, 0xff, 8);
    assert_int_equal(open_bytes(&o, b.p, b.n), 0);
    assert_int_equal(disk_pread(o.layer.disk, got, 1, 6 * C), -EIO);
    assert_int_equal(disk_pread(o.layer.disk, got, C, 0), 0);
    close_opened(&o);
}

/* Refcounts of clusters that are gone make a remark, but take no readable disk away. */
static void refcounts_past_the_end_are_noted(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= 6; order++) {
        for (int past = 0; past <= 1; past++) {
            struct image_bytes b;
            struct opened o;
            image_sample(&b);
            put_be32(b.p + 96, order);
            uint64_t bit = (uint64_t)(div_up(b.n, C) - !past) << order;
            if (bit / 8 >= C)
                continue;
            memset(b.p + AT_BLOCK, 0, C);
            /* the lowest bit of that cluster's count: in the last byte of wide ones */
            b.p[AT_BLOCK + bit / 8 + (order > 3 ? (1 << order) / 8 - 1 : 0)] = (uint8_t)(1 << bit % 8);
            assert_int_equal(open_bytes(&o, b.p, b.n), 0);
            assert_int_equal(o.layer.info.notes.n, past);
            close_opened(&o);
        }
    }
}

static void corrupt_bit_is_noted(void **state)
{
    (void)state;
    struct image_bytes b;
    struct opened o;
    image_new(&b);
    put_be64(b.p + 72, 2);
    assert_int_equal(open_bytes(&o, b.p, b.n), 0);
    assert_int_equal(o.layer.info.notes.n, 1);
    close_opened(&o);
}

/* An L1 table that is too large to keep is read in pieces, and its empty stretches cost one call. */
static void large_l1_in_pieces(void **state)
{
    (void)state;
    const uint64_t entries = 3 * QCOW2_L1_KEPT / 8 + 5, covers = 64 * C; /* one entry */
    const size_t l1_bytes = (size_t)entries * 8, l2 = (size_t)round_up(AT_L1 + l1_bytes, C), n = l2 + 2 * C;
    uint8_t *p = calloc(1, n);
    struct image_bytes b;
    struct opened o;
    struct extent e;
    uint8_t got[C];
    image_new(&b);
    memcpy(p, b.p, AT_L1);
    put_be64(p + 24, entries * covers);
    put_be32(p + 36, (uint32_t)entries);
    put_be64(p + AT_L1 + (entries - 3) * 8, l2);
    put_be64(p + l2, l2 + C);
    memset(p + l2 + C, 7, C);
    assert_int_equal(open_bytes(&o, p, n), 0);
    uint64_t at = (entries - 3) * covers;
    assert_int_equal(disk_map(o.layer.disk, 100, UINT64_MAX, &e), 0);
    assert_int_equal(e.kind, EXTENT_HOLE);
    assert_int_equal(e.length, at - 100);
    assert_int_equal(disk_map(o.layer.disk, at, UINT64_MAX, &e), 0);
    assert_int_equal(e.kind, EXTENT_DATA);
    assert_int_equal(e.length, C);
    assert_int_equal(disk_pread(o.layer.disk, got, C, at), 0);
    assert_memory_equal(got, p + l2 + C, C);
    assert_int_equal(disk_map(o.layer.disk, at + covers, UINT64_MAX, &e), 0);
    assert_int_equal(e.length, 2 * covers);
    close_opened(&o);
    free(p);
}

/* L2 tables of more than one piece: clusters of 128 KiB. */
static void large_l2_in_pieces(void **state)
{
    (void)state;
    enum { LARGE = 128 << 10, ENTRIES = LARGE / 8, L1 = LARGE, L2 = 2 * LARGE, DATA = 3 * LARGE };
    static const unsigned at[] = { 0, ENTRIES / 2 - 1, ENTRIES / 2, ENTRIES - 1 };
    uint8_t *p = calloc(1, DATA + 4 * LARGE), *got = malloc(LARGE);
    struct image_bytes b;
    struct opened o;
    struct extent e;
    image_new(&b);
    memcpy(p, b.p, C);
    put_be32(p + 20, 17);
    put_be64(p + 24, (uint64_t)ENTRIES * LARGE);
    put_be64(p + 40, L1);
    memset(p + 48, 0, 12);
    put_be64(p + L1, L2);
    for (unsigned i = 0; i < 4; i++) {
        put_be64(p + L2 + at[i] * 8, DATA + i * LARGE);
        memset(p + DATA + i * LARGE, 'a' + i, LARGE);
    }
    assert_int_equal(open_bytes(&o, p, DATA + 4 * LARGE), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(disk_pread(o.layer.disk, got, LARGE, (uint64_t)at[i] * LARGE), 0);
        assert_memory_equal(got, p + DATA + i * LARGE, LARGE);
    }
    assert_int_equal(disk_map_joined(o.layer.disk, LARGE, UINT64_MAX, &e), 0);
    assert_int_equal(e.length, (uint64_t)(at[1] - 1) * LARGE);
    assert_int_equal(disk_map_joined(o.layer.disk, (uint64_t)at[1] * LARGE, UINT64_MAX, &e), 0);
    assert_int_equal(e.length, 2 * LARGE);
    close_opened(&o);
    free(p);
    free(got);
}

static int detect(const struct image_bytes *b, const char *name, const char **ret)
{
    struct file *f;
    const struct format *format = NULL;
    assert_int_equal(file_memory_new(b->p, b->n, name, &f), 0);
    int r = image_detect(f, &format, NULL);
    *ret = format ? format->name : NULL;
    file_unref(f);
    return r;
}

static void detection(void **state)
{
    (void)state;
    struct image_bytes b;
    const char *name;
    image_sample(&b);
    assert_int_equal(detect(&b, "disk.img", &name), 0);
    assert_string_equal(name, "qcow2");
    put_be32(b.p + 4, 1);
    assert_int_equal(detect(&b, "disk.img", &name), 0); /* to be refused by its version when opened */
    assert_string_equal(name, "qcow2");
    put_be32(b.p + 4, 0xdeadbeef);
    assert_int_equal(detect(&b, "disk.img", &name), -EUCLEAN);
    memset(b.p, 0, C);
    assert_int_equal(detect(&b, "disk.img", &name), -EUCLEAN);
    memset(b.p + AT_TABLE, 0, 8);
    assert_int_equal(detect(&b, "disk.img", &name), 0);
    assert_string_equal(name, "raw");
    assert_int_equal(detect(&b, "disk.qcow2", &name), -EUCLEAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_rules),
        cmocka_unit_test(unknown_feature_is_named),
        cmocka_unit_test(backing_names),
        cmocka_unit_test(entry_rules),
        cmocka_unit_test(subclusters_run),
        cmocka_unit_test(every_kind_is_mapped_and_read),
        cmocka_unit_test(cut_anywhere_never_lies),
        cmocka_unit_test(file_may_end_with_the_disk),
        cmocka_unit_test(damaged_tables_are_refused),
        cmocka_unit_test(shared_l2_table_is_refused),
        cmocka_unit_test(damaged_stream_is_an_error),
        cmocka_unit_test(refcounts_past_the_end_are_noted),
        cmocka_unit_test(corrupt_bit_is_noted),
        cmocka_unit_test(large_l1_in_pieces),
        cmocka_unit_test(large_l2_in_pieces),
        cmocka_unit_test(detection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
