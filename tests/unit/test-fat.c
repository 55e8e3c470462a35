/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FAT volumes built by hand, slot by slot: names, chains, damage. Whole trees made by mkfs.fat and mtools are
 * compared in test-guest-corpus.c and tests/e2e/fat.sh. */
#include "unit.h"

#include "formats/bytes.h"
#include "guest/text.h"
#include "guest/volume.h"
#include "memdisk.h"

#include <stdio.h>
#include <wchar.h>

extern const struct volume_driver fat_driver;

enum { SECTOR = 512, ROOT_ENTRIES = 512 };

/* A volume of 512-byte clusters with one FAT: bits 12 (2000 clusters), 16 (20000) or 32 (70000). */
struct vol {
    unsigned bits;
    uint32_t clusters, fat_sectors;
    uint8_t *b;
    size_t size, root, data;
    struct memdisk d;
    struct cache *cache;
    struct volume *v;
    struct fault fault;
};

static uint8_t *cluster_at(struct vol *x, uint32_t n)
{
    return x->b + x->data + (size_t)(n - 2) * SECTOR;
}

static void link_to(struct vol *x, uint32_t n, uint32_t next)
{
    uint8_t *f = x->b + SECTOR;
    if (x->bits == 32) {
        put_le32(f + 4 * n, next | 0xa0000000); /* the upper bits mean nothing */
    } else if (x->bits == 16) {
        put_le16(f + 2 * n, (uint16_t)next);
    } else {
        uint8_t *p = f + n + n / 2;
        uint32_t v = p[0] | (uint32_t)p[1] << 8;
        v = n & 1 ? (v & 0xf) | (next & 0xfff) << 4 : (v & 0xf000) | (next & 0xfff);
        put_le16(p, (uint16_t)v);
    }
}

static void build(struct vol *x, unsigned bits)
{
    *x = (struct vol){ .bits = bits, .clusters = bits == 12 ? 2000 : bits == 16 ? 20000 : 70000 };
    x->fat_sectors = ((x->clusters + 2) * bits / 8 + 1) / SECTOR + 1;
    x->root = SECTOR + x->fat_sectors * SECTOR;
    x->data = x->root + (bits == 32 ? 0 : ROOT_ENTRIES * 32);
    x->size = x->data + (size_t)x->clusters * SECTOR;
    x->b = calloc(1, x->size);
    put_le16(x->b + 11, SECTOR);
    x->b[13] = 1;
    put_le16(x->b + 14, 1);
    x->b[16] = 1;
    x->b[21] = 0xf8;
    put_le32(x->b + 32, (uint32_t)(x->size / SECTOR));
    if (bits == 32) {
        put_le32(x->b + 36, x->fat_sectors);
        put_le32(x->b + 44, 2);
    } else {
        put_le16(x->b + 17, ROOT_ENTRIES);
        put_le16(x->b + 22, (uint16_t)x->fat_sectors);
    }
    link_to(x, 0, 0x0ffffff8);
    link_to(x, 1, 0x0fffffff);
    if (bits == 32)
        link_to(x, 2, 0x0fffffff);
    x->d = memdisk_of(x->b, x->size);
    x->cache = cache_new(1 << 20, NULL);
}

static int mount_it(struct vol *x)
{
    volume_close(x->v);
    x->v = NULL;
    x->fault = (struct fault){ 0 };
    return fat_driver.open(&x->d.disk, "test", x->cache, &x->v, &x->fault);
}

static void done(struct vol *x)
{
    volume_close(x->v);
    cache_free(x->cache);
    free(x->b);
}

/* ---- making entries ---- */

static uint8_t *put_short(uint8_t *slot, const char *raw, uint8_t attr, uint32_t first, uint32_t size)
{
    memcpy(slot, raw, 11);
    slot[11] = attr;
    put_le16(slot + 20, (uint16_t)(first >> 16));
    put_le16(slot + 26, (uint16_t)first);
    put_le32(slot + 28, size);
    return slot + 32;
}

static uint8_t sum_of(const char *raw)
{
    unsigned s = 0;
    for (int i = 0; i < 11; i++)
        s = ((s & 1 ? 0x80 : 0) + (s >> 1) + (uint8_t)raw[i]) & 0xff;
    return (uint8_t)s;
}

static uint8_t *put_long(uint8_t *slot, const uint16_t *name, uint8_t sum)
{
    unsigned n = 0;
    while (name[n])
        n++;
    unsigned slots = (n + 12) / 13;
    for (unsigned k = slots; k; k--, slot += 32) {
        slot[0] = (uint8_t)(k | (k == slots ? 0x40 : 0));
        slot[11] = 0x0f;
        slot[13] = sum;
        for (unsigned i = 0; i < 13; i++) {
            unsigned at = (k - 1) * 13 + i;
            unsigned place = i < 5 ? 1 + 2 * i : i < 11 ? 14 + 2 * (i - 5) : 28 + 2 * (i - 11);
            put_le16(slot + place, at < n ? name[at] : at == n ? 0 : 0xffff);
        }
    }
    return slot;
}

static uint8_t *put_named(uint8_t *slot, const uint16_t *name, const char *raw)
{
    return put_short(put_long(slot, name, sum_of(raw)), raw, 0x20, 0, 0);
}

/* ---- looking ---- */

struct listing {
    char text[65536];
    unsigned n, stop_after;
    uint64_t next;
};

static int list_one(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct listing *l = ctx;
    assert_true(ino > VOLUME_ROOT);
    if (l->stop_after && l->n == l->stop_after)
        return 1;
    l->n++;
    l->next = next;
    size_t at = strlen(l->text);
    snprintf(l->text + at, sizeof l->text - at, "%s%s\n", name, type == S_IFDIR ? "/" : "");
    return 0;
}

static int list(struct vol *x, uint64_t ino, struct listing *l)
{
    *l = (struct listing){ 0 };
    return x->v->ops->readdir(x->v, ino, 0, list_one, l);
}

static uint64_t find(struct vol *x, uint64_t dir, const char *name)
{
    uint64_t ino = 0;
    int r = x->v->ops->lookup(x->v, dir, name, &ino);
    assert_true(r == 0 || r == -ENOENT);
    return ino;
}

/* Reads [off, off+len) of a file; the number of bytes, or an error. */
static int read_at(struct vol *x, const char *name, uint64_t off, void *buf, size_t len)
{
    struct volume_file *f;
    size_t n = 0;
    int r = x->v->ops->open(x->v, find(x, VOLUME_ROOT, name), &f);
    assert_int_equal(r, 0);
    r = x->v->ops->read(f, buf, len, off, &n);
    x->v->ops->release(f);
    return r < 0 ? r : (int)n;
}

/* ---- names ---- */

static void test_names(void **state)
{
    (void)state;
    struct vol x;
    struct listing l;
    build(&x, 12);
    uint8_t *s = put_short(x.b + x.root, "MY VOLUME  ", 0x08, 0, 0);
    s = put_named(s, u"A long name.txt", "ALONGN~1TXT");
    s = put_named(s, u"Grüße \xd83d\xde00", "GRE~1      ");
    s = put_short(s, "README  TXT", 0x20, 0, 0);
    s = put_short(s, "LOWER   TXT", 0x20, 0, 0);
    s[-32 + 12] = 0x18;
    s = put_short(s, "\x05\x8e\x99     \x9a  ", 0x20, 0, 0); /* 0xe5 is sigma */
    s[-32 + 12] = 0x10;
    s = put_short(s,
                  "\xe5"
                  "ELETED    ",
                  0x20, 0, 0);
    s = put_short(put_long(s, u"orphan of another", 77), "ORPHAN     ", 0x20, 0, 0);
    s = put_named(s, u"a/b", "SLASH      ");
    s = put_named(s, u"..", "DOTS       ");
    s = put_named(s, u"lone \xd800!", "LONE       ");
    s = put_short(s, ".          ", 0x10, 0, 0);
    s = put_short(s, "SUB        ", 0x10, 5, 0);
    link_to(&x, 5, 0xfff);
    assert_int_equal(mount_it(&x), 0);
    assert_int_equal(list(&x, VOLUME_ROOT, &l), 0);
    assert_string_equal(l.text,
                        "A long name.txt\nGrüße 😀\nREADME.TXT\nlower.txt\nσÄÖ.ü\nORPHAN\nSLASH\nDOTS\n"
                        "lone \xef\xbf\xbd!\nSUB/\n");
    /* resumed after every entry, the same */
    for (unsigned step = 1; step <= 3; step++) {
        struct listing part = { .stop_after = 0 };
        for (uint64_t cookie = 0;;) {
            part.n = 0;
            part.stop_after = step;
            assert_int_equal(x.v->ops->readdir(x.v, VOLUME_ROOT, cookie, list_one, &part), 0);
            if (!part.n)
                break;
            cookie = part.next;
        }
        assert_string_equal(part.text, l.text);
    }
    done(&x);
}

static void test_lookup(void **state)
{
    (void)state;
    struct vol x;
    build(&x, 16);
    uint8_t *s = put_named(x.b + x.root, u"README", "README~1   ");
    s = put_named(s, u"readme", "README~2   ");
    s = put_named(s, u"Grüße Ωμέγα Жук", "GRE~1      ");
    s = put_named(s, u"GRE~1 other", "OTHER      ");
    s = put_named(s, u"smile 😀", "SMILE      ");
    put_short(s, "PLAIN   TXT", 0x20, 0, 0);
    assert_int_equal(mount_it(&x), 0);
    uint64_t upper = find(&x, 1, "README"), lower = find(&x, 1, "readme"),
             umlaut = find(&x, 1, "Grüße Ωμέγα Жук");
    assert_true(upper && lower && umlaut && upper != lower);
    assert_int_equal(find(&x, 1, "Readme"), upper); /* the first, where none is exact */
    assert_int_equal(find(&x, 1, "readme~2"), lower);
    assert_int_equal(find(&x, 1, "GRÜßE ΩΜΈΓΑ жУК"), umlaut);
    assert_int_equal(find(&x, 1, "gre~1"), umlaut);
    assert_int_not_equal(find(&x, 1, "SMILE 😀"), 0);
    assert_int_not_equal(find(&x, 1, "plain.txt"), 0);
    assert_int_equal(find(&x, 1, "plain"), 0);
    assert_int_equal(find(&x, 1, "plain.tx"), 0);
    assert_int_equal(find(&x, 1, "\xff\xfe"), 0); /* no UTF-8 */
    assert_int_equal(find(&x, 1, ""), 0);
    char big[1000];
    memset(big, 'x', 999);
    big[999] = 0;
    uint64_t ino;
    assert_int_equal(x.v->ops->lookup(x.v, 1, big, &ino), -ENAMETOOLONG);
    assert_int_equal(x.v->ops->lookup(x.v, upper, "a", &ino), -ENOTDIR);
    done(&x);
}

/* A long name that is broken in each way gives the short one. */
static void test_long_name_damage(void **state)
{
    (void)state;
    static const struct {
        unsigned slot, byte;
        uint8_t value;
    } cases[] = {
        { 0, 13, 1 },   /* checksum of the first slot */
        { 2, 13, 1 },   /* of the last */
        { 1, 0, 1 },    /* order */
        { 1, 0, 0x43 }, /* a new start in the middle, whose part is missing */
        { 0, 0, 3 },    /* no start */
        { 0, 0, 0x7f }, /* more slots than a name has */
        { 1, 0, 0xe5 }, /* a deleted part */
        { 2, 0, 0x40 }, /* ordinal 0 */
        { 3, 0, 'X' },  /* the short name was changed by a system that knows no long ones */
        { 2, 1, 0 },    /* empty */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vol x;
        struct listing l;
        build(&x, 12);
        put_named(x.b + x.root, u"a name that needs three slots here", "ANAME~1    ");
        uint8_t *slot = x.b + x.root + 32 * cases[i].slot;
        slot[cases[i].byte] = cases[i].value;
        if (cases[i].byte == 1)
            slot[2] = 0;
        assert_int_equal(mount_it(&x), 0);
        assert_int_equal(list(&x, 1, &l), 0);
        assert_string_equal(l.text, cases[i].slot == 3 ? "XNAME~1\n" : "ANAME~1\n");
        done(&x);
    }
}

static void test_name_255(void **state)
{
    (void)state;
    struct vol x;
    struct listing l;
    uint16_t name[261] = { 0 };
    for (unsigned n = 254; n <= 256; n++) {
        build(&x, 12);
        for (unsigned i = 0; i < n; i++)
            name[i] = 0x4e00; /* three bytes each */
        put_named(x.b + x.root, name, "LONG       ");
        assert_int_equal(mount_it(&x), 0);
        assert_int_equal(list(&x, 1, &l), 0);
        assert_int_equal(strlen(l.text), n == 256 ? 5 : 3 * n + 1);
        if (n < 256) {
            l.text[3 * n] = 0;
            assert_int_not_equal(find(&x, 1, l.text), 0);
        }
        done(&x);
    }
}

/* ---- chains ---- */

static uint8_t byte_of(uint64_t off)
{
    return (uint8_t)(off * 2654435761u >> 13);
}

/* A file of `n` clusters over the table in an order with jumps, some neighbours. */
static void put_file(struct vol *x, uint8_t *slot, uint32_t n, uint32_t size)
{
    uint32_t first = 0, before = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t c = 10 + (i / 3 * 7919 % (x->clusters / 4)) * 3 + i % 3;
        if (!first)
            first = c;
        else
            link_to(x, before, c);
        for (unsigned j = 0; j < SECTOR; j++)
            cluster_at(x, c)[j] = byte_of((uint64_t)i * SECTOR + j);
        before = c;
    }
    link_to(x, before, 0x0ffffff8);
    put_short(slot, "FILE    BIN", 0x20, first, size);
}

static void check_bytes(const uint8_t *buf, size_t n, uint64_t off)
{
    for (size_t i = 0; i < n; i++)
        if (buf[i] != byte_of(off + i))
            fail_msg("byte %zu", (size_t)off + i);
}

static void test_read(void **state)
{
    (void)state;
    static const struct {
        unsigned bits;
        uint32_t n;
    } sizes[] = { { 12, 400 }, { 16, 4000 }, { 32, 4096 }, { 16, 4097 }, { 32, 17001 } };
    for (size_t i = 0; i < 5; i++) {
        struct vol x;
        build(&x, sizes[i].bits);
        uint32_t size = sizes[i].n * SECTOR - 100;
        put_file(&x, x.b + x.root, sizes[i].n, size);
        assert_int_equal(mount_it(&x), 0);
        uint8_t *buf = malloc(size + 1000);
        assert_int_equal(read_at(&x, "file.bin", 0, buf, size + 1000), size);
        check_bytes(buf, size, 0);
        for (uint64_t off = 1; off < size; off += size / 37) {
            int n = read_at(&x, "file.bin", off, buf, 3000);
            assert_int_equal(n, size - off < 3000 ? size - off : 3000);
            check_bytes(buf, (size_t)n, off);
        }
        assert_int_equal(read_at(&x, "file.bin", size, buf, 10), 0);
        assert_int_equal(read_at(&x, "file.bin", UINT64_MAX, buf, 10), 0);
        /* neighbours are read at once: a third of the clusters, and the table's pieces */
        x.d.reads = 0;
        read_at(&x, "file.bin", 0, buf, size);
        assert_true(x.d.reads < sizes[i].n / 3 + 60);
        free(buf);
        done(&x);
    }
}

static void test_damaged_chain(void **state)
{
    (void)state;
    /* The file has 10 clusters, 100 to 109; entry `at` says `value`; `sound` of them can be read. */
    static const struct {
        uint32_t at, value, sound;
    } cases[] = {
        { 104, 0x0fffffff, 5 }, /* ends early */
        { 104, 0, 4 },          /* a free one */
        { 104, 0x0ffffff7, 4 }, /* a bad one */
        { 104, 1, 5 },          /* to a reserved number */
        { 104, 0x0ffffff0, 5 }, /* to one that doesn't exist */
        { 104, 102, 5 },        /* a loop */
        { 109, 100, 10 },       /* a loop at the very end: the file is whole */
        { 104, 104, 5 },        /* to itself */
        { 100, 0, 0 },
        { 109, 500, 9 + 1 }, /* longer than it says, into a free one: the file is whole */
    };
    for (unsigned bits = 12; bits <= 32; bits += bits == 12 ? 4 : 16)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct vol x;
            uint8_t buf[5120];
            build(&x, bits);
            for (uint32_t c = 100; c < 110; c++) {
                link_to(&x, c, c < 109 ? c + 1 : 0x0fffffff);
                for (unsigned j = 0; j < SECTOR; j++)
                    cluster_at(&x, c)[j] = byte_of((c - 100) * SECTOR + j);
            }
            link_to(&x, cases[i].at, cases[i].value);
            uint8_t *s = put_short(x.b + x.root, "BROKEN     ", 0x20, 100, 5120);
            put_short(s, "WHOLE      ", 0x20, 300, 512);
            link_to(&x, 300, 0x0fffffff);
            assert_int_equal(mount_it(&x), 0);
            uint32_t sound = cases[i].sound * SECTOR;
            if (sound) {
                assert_int_equal(read_at(&x, "BROKEN", 0, buf, sound), sound);
                check_bytes(buf, sound, 0);
            }
            if (sound < 5120) {
                assert_int_equal(read_at(&x, "BROKEN", sound, buf, 1), -EIO);
                assert_int_equal(read_at(&x, "BROKEN", 0, buf, 5120), -EIO);
                assert_int_equal(read_at(&x, "BROKEN", 5119, buf, 1), -EIO);
            }
            assert_int_equal(read_at(&x, "WHOLE", 0, buf, 512), 512);
            done(&x);
        }
}

static void test_no_cluster(void **state)
{
    (void)state;
    static const uint32_t firsts[] = { 0, 1, 20002, 65535 };
    char buf[16];
    for (size_t i = 0; i < 4; i++) {
        struct vol x;
        build(&x, 16);
        uint8_t *s = put_short(x.b + x.root, "FILE       ", 0x20, firsts[i], 10);
        s = put_short(s, "EMPTY      ", 0x20, firsts[i], 0);
        put_short(s, "DIR        ", 0x10, firsts[i], 0);
        assert_int_equal(mount_it(&x), 0);
        assert_int_equal(read_at(&x, "FILE", 0, buf, 10), -EIO);
        assert_int_equal(read_at(&x, "EMPTY", 0, buf, 10), 0);
        struct listing l;
        assert_int_equal(list(&x, find(&x, 1, "DIR"), &l), -EIO);
        struct volume_attr a;
        assert_int_equal(x.v->ops->getattr(x.v, find(&x, 1, "DIR"), &a), 0);
        assert_int_equal(a.mode, S_IFDIR | 0777);
        done(&x);
    }
}

/* A place that can't be read costs what lies there, and no more. */
static void test_bad_sector(void **state)
{
    (void)state;
    struct vol x;
    uint8_t buf[512];
    build(&x, 16);
    uint8_t *s = put_short(x.b + x.root, "A          ", 0x20, 100, 512);
    put_short(s, "B          ", 0x20, 300, 512);
    link_to(&x, 100, 0xffff);
    link_to(&x, 300, 0xffff);
    x.d.bad_at = SECTOR + 600, x.d.bad_length = 1; /* in the FAT: the entry of 300 */
    assert_int_equal(mount_it(&x), 0);
    assert_int_equal(read_at(&x, "A", 0, buf, 512), 512);
    assert_int_equal(read_at(&x, "B", 0, buf, 512), -EIO);
    x.d.bad_at = (uint64_t)(cluster_at(&x, 100) - x.b) + 7;
    assert_int_equal(read_at(&x, "A", 0, buf, 512), -EIO);
    x.d.bad_at = x.root + 33;
    struct listing l;
    assert_int_equal(mount_it(&x), 0);
    assert_int_equal(list(&x, 1, &l), -EIO);
    assert_string_equal(l.text, "A\n");
    done(&x);
}

/* ---- directories ---- */

static void test_directory_damage(void **state)
{
    (void)state;
    struct vol x;
    struct listing l;
    build(&x, 32);
    uint8_t *s = put_short(x.b + x.root, "LOOP       ", 0x10, 50, 0);
    s = put_short(s, "TOROOT     ", 0x10, 2, 0);
    s = put_short(s, "GOOD       ", 0x10, 60, 0);
    for (unsigned i = 0; i < 16; i++)
        put_short(cluster_at(&x, 50) + 32 * i, "ENTRY      ", 0x20, 0, 0);
    link_to(&x, 50, 50);
    for (unsigned i = 0; i < 16; i++) {
        char raw[12];
        snprintf(raw, sizeof raw, "%-11u", i);
        put_short(cluster_at(&x, 60) + 32 * i, raw, 0x20, 0, 0);
    }
    link_to(&x, 60, 61);
    put_short(cluster_at(&x, 61), "LAST       ", 0x20, 0, 0);
    link_to(&x, 61, 0x0fffffff);
    assert_int_equal(mount_it(&x), 0);
    assert_int_equal(list(&x, find(&x, 1, "LOOP"), &l), -EIO);
    assert_int_equal(l.n, 16); /* and then not again */
    assert_int_equal(list(&x, find(&x, 1, "TOROOT"), &l), -EIO);
    assert_int_equal(list(&x, find(&x, 1, "GOOD"), &l), 0);
    assert_int_equal(l.n, 17);
    assert_int_not_equal(find(&x, find(&x, 1, "good"), "last"), 0);
    struct volume_attr a;
    assert_int_equal(x.v->ops->getattr(x.v, find(&x, 1, "good"), &a), 0);
    assert_int_equal(a.size, 1024);
    uint64_t ino;
    assert_int_equal(x.v->ops->lookup(x.v, find(&x, 1, "LOOP"), "none", &ino), -EIO); /* who knows */
    assert_int_equal(x.v->ops->lookup(x.v, find(&x, 1, "LOOP"), "entry", &ino), 0);
    done(&x);
}

/* 65536 slots and no more. */
static void test_directory_limit(void **state)
{
    (void)state;
    struct vol x;
    build(&x, 32);
    put_short(x.b + x.root, "BIG        ", 0x10, 1000, 0);
    for (uint32_t c = 1000; c < 1000 + 4097; c++) {
        link_to(&x, c, c == 1000 + 4096 ? 0x0fffffff : c + 1);
        memset(cluster_at(&x, c), 0xe5, SECTOR);
    }
    put_short(cluster_at(&x, 1000 + 4095) + 15 * 32, "LAST       ", 0x20, 0, 0);
    assert_int_equal(mount_it(&x), 0);
    uint64_t big = find(&x, 1, "BIG"), ino;
    struct listing l;
    assert_int_equal(x.v->ops->lookup(x.v, big, "LAST", &ino), 0);
    assert_int_equal(list(&x, big, &l), -EIO); /* there is more than there may be */
    link_to(&x, 1000 + 4095, 0x0fffffff);
    assert_int_equal(mount_it(&x), 0);
    assert_int_equal(list(&x, big, &l), 0);
    assert_string_equal(l.text, "LAST\n");
    assert_int_equal(x.v->ops->readdir(x.v, big, l.next, list_one, &l), 0);
    assert_int_equal(x.v->ops->readdir(x.v, big, 1ull << 40, list_one, &l), -EINVAL);
    done(&x);
}

/* ---- attributes ---- */

static void test_attributes(void **state)
{
    (void)state;
    struct vol x;
    struct volume_attr a;
    build(&x, 16);
    uint8_t *slot = x.b + x.root, *s = put_short(slot, "RO         ", 0x21, 0, 513);
    s = put_short(s, "DIR        ", 0x11, 9, 0);
    link_to(&x, 9, 0xffff);
    put_le16(slot + 24, (2024 - 1980) << 9 | 2 << 5 | 29);
    put_le16(slot + 22, 23 << 11 | 59 << 5 | 29);
    put_le16(slot + 18, (2107 - 1980) << 9 | 12 << 5 | 31);
    put_le16(slot + 16, 1 << 5 | 1);
    slot[13] = 150;
    assert_int_equal(mount_it(&x), 0);
    assert_int_equal(x.v->ops->getattr(x.v, find(&x, 1, "RO"), &a), 0);
    assert_int_equal(a.mode, S_IFREG | 0555);
    assert_int_equal(a.size, 513);
    assert_int_equal(a.allocated, 1024);
    assert_int_equal(a.mtime.tv_sec, 1709251198); /* 2024-02-29T23:59:58Z */
    assert_int_equal(a.atime.tv_sec, 4354732800); /* 2107-12-31 */
    assert_int_equal(a.birth.tv_sec, 315532801);  /* 1980-01-01T00:00:01.5 */
    assert_int_equal(a.birth.tv_nsec, 500000000);
    assert_false(a.has_owner);
    assert_int_equal(x.v->ops->getattr(x.v, find(&x, 1, "DIR"), &a), 0);
    assert_int_equal(a.mode, S_IFDIR | 0777);
    assert_int_equal(a.mtime.tv_sec, 315532800); /* no date: the first there is */
    assert_int_equal(x.v->ops->getattr(x.v, VOLUME_ROOT, &a), 0);
    assert_int_equal(a.mode, S_IFDIR | 0777);
    assert_int_equal(x.v->ops->getattr(x.v, 2, &a), -ESTALE);
    assert_int_equal(x.v->ops->getattr(x.v, UINT64_MAX, &a), -ESTALE);
    assert_int_equal(x.v->ops->getattr(x.v, x.size / 32 - 1, &a), -ESTALE); /* a place without an entry */
    struct volume_file *f;
    assert_int_equal(x.v->ops->open(x.v, VOLUME_ROOT, &f), -EISDIR);
    assert_int_equal(x.v->ops->open(x.v, find(&x, 1, "DIR"), &f), -EISDIR);
    assert_true(x.v->caseless);
    done(&x);
}

static void test_statfs(void **state)
{
    (void)state;
    for (unsigned bits = 12; bits <= 32; bits += bits == 12 ? 4 : 16) {
        struct vol x;
        struct statvfs st;
        build(&x, bits);
        put_short(x.b + x.root, "A          ", 0x20, 100, 512);
        link_to(&x, 100, 101);
        link_to(&x, 101, 0x0fffffff);
        assert_int_equal(mount_it(&x), 0);
        assert_int_equal(x.v->ops->statfs(x.v, &st), 0);
        assert_int_equal(st.f_blocks, x.clusters);
        assert_int_equal(st.f_bfree, x.clusters - 2 - (bits == 32));
        done(&x);
    }
}

/* ---- the boot sector ---- */

static void test_boot_sector(void **state)
{
    (void)state;
    static const struct {
        unsigned bits, at, length;
        uint32_t value;
    } cases[] = {
        { 16, 11, 2, 0 },          { 16, 11, 2, 256 },        { 16, 11, 2, 513 },    { 16, 11, 2, 8192 },
        { 16, 13, 1, 0 },          { 16, 13, 1, 3 },          { 16, 14, 2, 0 },      { 16, 16, 1, 0 },
        { 16, 16, 1, 200 },        { 16, 21, 1, 0x12 },       { 16, 32, 4, 0 },      { 16, 32, 4, 10 },
        { 16, 17, 2, 0 },          { 16, 32, 4, 0xffffffff }, { 16, 22, 2, 0xffff }, { 32, 36, 4, 0 },
        { 32, 36, 4, 0xffffffff }, { 32, 44, 4, 0 },          { 32, 44, 4, 1 },      { 32, 44, 4, 70002 },
        { 32, 42, 2, 1 },          { 32, 40, 2, 0x85 },       { 32, 44, 4, 99 }, /* not allocated */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vol x;
        build(&x, cases[i].bits);
        for (unsigned j = 0; j < cases[i].length; j++)
            x.b[cases[i].at + j] = (uint8_t)(cases[i].value >> 8 * j);
        int r = mount_it(&x);
        if (r != -EUCLEAN)
            fail_msg("case %zu: %d", i, r);
        assert_string_equal(x.fault.file, "test");
        assert_true(x.fault.what[0]);
        done(&x);
    }
}

static void test_cut_short(void **state)
{
    (void)state;
    struct vol x;
    uint8_t buf[512];
    build(&x, 16);
    put_short(x.b + x.root, "A          ", 0x20, 19000, 512);
    link_to(&x, 19000, 0xffff);
    x.d.disk.size = x.data + 512;
    assert_int_equal(mount_it(&x), 0);
    assert_int_equal(x.v->notes.n, 1);
    assert_int_equal(read_at(&x, "A", 0, buf, 512), -EIO);
    x.d.disk.size = x.root;
    assert_int_equal(mount_it(&x), -EUCLEAN);
    x.d.disk.size = 100;
    assert_int_equal(mount_it(&x), -EUCLEAN);
    done(&x);
}

/* mkfs.fat -F 32 makes a FAT32 of as few clusters as one likes. */
static void test_small_fat32(void **state)
{
    (void)state;
    struct vol x;
    build(&x, 32);
    put_le32(x.b + 32, (uint32_t)((x.data + 300 * SECTOR) / SECTOR));
    put_short(x.b + x.root, "A          ", 0x20, 200, 3);
    link_to(&x, 200, 0x0fffffff);
    memcpy(cluster_at(&x, 200), "abc", 3);
    assert_int_equal(mount_it(&x), 0);
    char buf[4] = "";
    assert_int_equal(read_at(&x, "a", 0, buf, 3), 3);
    assert_string_equal(buf, "abc");
    done(&x);
}

/* ---- text ---- */

static void test_text(void **state)
{
    (void)state;
    uint16_t u[8];
    char out[16];
    static const char *const bad[] = { "\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                       "\xc3", "\xf8" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(text_to_utf16(bad[i], u, 8), -EILSEQ);
    assert_int_equal(text_to_utf16("aß€😀", u, 8), 5);
    assert_int_equal(text_from_utf16(u, 5, out, sizeof out), 10);
    assert_string_equal(out, "aß€😀");
    assert_int_equal(text_from_utf16(u, 5, out, 10), 6); /* no half character */
    assert_int_equal(text_to_utf16("aß€😀", u, 4), -ENAMETOOLONG);
    assert_int_equal(text_upcase(u'ÿ'), u'Ÿ');
    assert_int_equal(text_upcase(u'ß'), u'ß');
    assert_int_equal(text_upcase(u'я'), u'Я');
    assert_int_equal(text_from_cp437(0x81), u'ü');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_long_name_damage),
        cmocka_unit_test(test_name_255),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_damaged_chain),
        cmocka_unit_test(test_no_cluster),
        cmocka_unit_test(test_bad_sector),
        cmocka_unit_test(test_directory_damage),
        cmocka_unit_test(test_directory_limit),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_statfs),
        cmocka_unit_test(test_boot_sector),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_small_fat32),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
