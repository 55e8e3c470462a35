/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal layer, over logs built here field by field: each checksum version and width of block numbers,
 * escapes, revokes, a ring that wraps, ends that a crash leaves, and damage. */
#include "ext-tree.h"
#include "guest/jbd2.h"
#include "unit.h"

enum { BS = 1024, BLOCKS = 256, RING = 24, JOURNAL_A = 40, JOURNAL_B = 100, SPLIT = 10, FC = 4 };

enum checksum { CSUM_NONE, CSUM_1, CSUM_2, CSUM_3 };

struct built {
    uint8_t img[BLOCKS * BS];
    enum checksum csum;
    bool wide;
    uint32_t at, tid; /* next block of the ring; transaction */
    uint32_t crc1;    /* of CSUM_1 */
    uint64_t time;    /* of the next commit */
    uint32_t last;    /* end of the ring */
};

static const struct jbd2_run runs[] = { { 0, JOURNAL_A, SPLIT }, { SPLIT, JOURNAL_B, RING - SPLIT } };

static uint8_t *journal_block(struct built *b, uint32_t n)
{
    return b->img + (size_t)BS * (n < SPLIT ? JOURNAL_A + n : JOURNAL_B + n - SPLIT);
}

static uint32_t crc1_of(uint32_t crc, const uint8_t *p)
{
    for (size_t k = 0; k < BS * 8; k++) { /* bit by bit, not as the code does it */
        uint32_t bit = (p[k / 8] >> (7 - k % 8) & 1) ^ crc >> 31;
        crc = crc << 1 ^ (bit ? 0x04C11DB7u : 0);
    }
    return crc;
}

static uint32_t seed_of(const struct built *b)
{
    (void)b;
    static const uint8_t uuid[16] = "0123456789abcde";
    return crc32c_update(~0u, uuid, 16);
}

static void seal_super(struct built *b)
{
    uint8_t *s = journal_block(b, 0);
    put_be32(s + 0xFC, 0);
    if (b->csum >= CSUM_2)
        put_be32(s + 0xFC, crc32c_update(~0u, s, 1024));
}

static void begin(struct built *b, enum checksum csum, bool wide, uint32_t start, uint32_t tid)
{
    memset(b, 0, sizeof *b);
    for (size_t k = 0; k < BLOCKS; k++)
        memset(b->img + k * BS, (int)k, BS);
    b->csum = csum;
    b->wide = wide;
    b->at = start;
    b->tid = tid;
    b->crc1 = ~0u;
    b->time = 1000;
    b->last = RING;
    for (uint32_t k = 0; k < RING; k++)
        memset(journal_block(b, k), 0, BS);
    uint8_t *s = journal_block(b, 0);
    put_be32(s, JBD2_MAGIC);
    put_be32(s + 4, 4);
    put_be32(s + 0x0C, BS);
    put_be32(s + 0x10, RING);
    put_be32(s + 0x14, 1);
    put_be32(s + 0x18, tid);
    put_be32(s + 0x1C, start);
    put_be32(s + 0x24, csum == CSUM_1 ? 1 : 0);
    put_be32(s + 0x28, 1u | (wide ? 2 : 0) | (csum == CSUM_2 ? 8 : 0) | (csum == CSUM_3 ? 16 : 0));
    memcpy(s + 0x30, "0123456789abcde", 16);
    s[0x50] = csum >= CSUM_2 ? 4 : 0;
    seal_super(b);
}

static uint8_t *next_block(struct built *b)
{
    uint8_t *p = journal_block(b, b->at);
    if (++b->at == b->last)
        b->at = 1;
    memset(p, 0, BS);
    return p;
}

static uint8_t *header(struct built *b, uint32_t type)
{
    uint8_t *p = next_block(b);
    put_be32(p, JBD2_MAGIC);
    put_be32(p + 4, type);
    put_be32(p + 8, b->tid);
    return p;
}

static void seal_tail(struct built *b, uint8_t *p)
{
    if (b->csum >= CSUM_2)
        put_be32(p + BS - 4, crc32c_update(seed_of(b), p, BS));
}

/* A descriptor and its copies: block numbers until 0; each copy is filled with `fill`, counting up. A fill of
 * 0xC0 makes a block that begins with the magic number, which must be escaped. */
static uint8_t *copies(struct built *b, const uint64_t *blocks, uint8_t fill)
{
    uint8_t *d = header(b, 1);
    size_t off = 12;
    uint8_t *data[16];
    size_t n = 0;
    for (; blocks[n]; n++, fill++) {
        bool escape = fill == 0xC0;
        uint32_t flags = (n ? 2u : 0) | (blocks[n + 1] ? 0 : 8u) | (escape ? 1 : 0);
        data[n] = next_block(b);
        memset(data[n], fill, BS);
        if (escape)
            memset(data[n], 0, 4);
        uint8_t tid[4];
        put_be32(tid, b->tid);
        uint32_t crc = crc32c_update(crc32c_update(seed_of(b), tid, 4), data[n], BS);
        put_be32(d + off, (uint32_t)blocks[n]);
        if (b->csum == CSUM_3) {
            put_be32(d + off + 4, flags);
            put_be32(d + off + 12, crc);
        } else {
            d[off + 7] = (uint8_t)flags;
            if (b->csum == CSUM_2) {
                d[off + 4] = (uint8_t)(crc >> 8);
                d[off + 5] = (uint8_t)crc;
            }
        }
        off += b->csum == CSUM_3 ? 16 : (b->wide ? 12u : 8u) + (b->csum == CSUM_2 ? 2u : 0);
        if (!n)
            off += 16; /* a UUID follows the first */
    }
    seal_tail(b, d);
    b->crc1 = crc1_of(b->crc1, d);
    for (size_t k = 0; k < n; k++)
        b->crc1 = crc1_of(b->crc1, data[k]);
    return d;
}

static uint8_t *put_revoke(struct built *b, const uint64_t *blocks)
{
    uint8_t *p = header(b, 5);
    size_t off = 16;
    for (; *blocks; blocks++, off += b->wide ? 8 : 4)
        if (b->wide)
            put_be64(p + off, *blocks);
        else
            put_be32(p + off, (uint32_t)*blocks);
    put_be32(p + 12, (uint32_t)off);
    seal_tail(b, p);
    return p;
}

static uint8_t *put_commit(struct built *b)
{
    uint8_t *p = header(b, 2);
    put_be64(p + 0x30, b->time++);
    if (b->csum == CSUM_1) {
        p[12] = 1;
        p[13] = 4;
        put_be32(p + 16, b->crc1);
    }
    if (b->csum >= CSUM_2)
        put_be32(p + 16, crc32c_update(seed_of(b), p, BS));
    b->crc1 = ~0u;
    b->tid++;
    return p;
}

#define LIST(...) ((const uint64_t[]){ __VA_ARGS__, 0 })

static int open_layer(struct built *b, struct memory_disk *m, struct jbd2_info *info, struct disk **ret,
                      struct fault *fault)
{
    *m = memory_disk(b->img, sizeof b->img);
    const struct jbd2_place place = {
        .block_size = BS, .first_block = 1, .fs_blocks = BLOCKS, .runs = runs, .n_runs = 2, .name = "disk0p1"
    };
    return jbd2_open(&m->disk, &place, info, ret, fault);
}

static struct built built;

/* Opens, and holds every byte of the layer against `want`: pairs {block, fill} until {0}; others are as on
 * the volume. Reads in one piece, and in pieces that are no blocks. */
static void expect(uint32_t transactions, const uint8_t (*want)[2])
{
    struct memory_disk m;
    struct jbd2_info info = { 0 };
    struct disk *d = NULL;
    struct fault fault = { 0 };
    static uint8_t image[sizeof built.img], read[sizeof built.img];
    if (open_layer(&built, &m, &info, &d, &fault) < 0)
        fail_msg("%s", fault.what);
    assert_int_equal(info.transactions, transactions);
    memcpy(image, built.img, sizeof image);
    uint64_t n = 0;
    for (; (*want)[0]; want++, n++) {
        memset(image + (size_t)(*want)[0] * BS, (*want)[1], BS);
        if ((*want)[1] == 0xC0)
            memcpy(image + (size_t)(*want)[0] * BS, "\xC0\x3B\x39\x98", 4);
    }
    assert_int_equal(info.blocks, n);
    uint8_t *s = image + JOURNAL_A * BS;
    put_be32(s + 0x1C, 0);
    put_be32(s + 0x18, built.tid + 1);
    memset(s + 0xFC, 0, 4);
    if (built.csum >= CSUM_2)
        put_be32(s + 0xFC, crc32c_update(~0u, s, 1024));
    assert_int_equal(disk_pread(d, read, sizeof read, 0), 0);
    assert_memory_equal(read, image, sizeof image);
    memset(read, 0, sizeof read);
    for (size_t off = 0; off < sizeof read; off += 333) {
        size_t len = sizeof read - off < 333 ? sizeof read - off : 333;
        assert_int_equal(disk_pread(d, read + off, len, off), 0);
    }
    assert_memory_equal(read, image, sizeof image);
    for (uint64_t off = 0; off < sizeof read;) { /* the map covers it */
        struct extent e;
        assert_int_equal(disk_map(d, off, sizeof read - off, &e), 0);
        off += e.length;
    }
    disk_close(d);
}

static void expect_error(int error, const char *text)
{
    struct memory_disk m;
    struct jbd2_info info;
    struct disk *d = NULL;
    struct fault fault = { 0 };
    assert_int_equal(open_layer(&built, &m, &info, &d, &fault), error);
    if (!strstr(fault.what, text))
        fail_msg("%s", fault.what);
}

#define FOR_EACH_KIND(csum, wide)                                                                            \
    for (enum checksum csum = CSUM_NONE; csum <= CSUM_3; csum++)                                             \
        for (int wide = 0; wide < 2; wide++)

static void copies_are_shown(void **state)
{
    (void)state;
    FOR_EACH_KIND(csum, wide)
    {
        begin(&built, csum, wide, 1, 7);
        copies(&built, LIST(5, 200, 6), 0xBF); /* BF C0 C1: the second is escaped */
        put_commit(&built);
        copies(&built, LIST(6), 0x11);
        copies(&built, LIST(7), 0x12);
        put_commit(&built);
        expect(2, (const uint8_t[][2]){ { 5, 0xBF }, { 200, 0xC0 }, { 6, 0x11 }, { 7, 0x12 }, { 0 } });
    }
}

static void revokes_hold_until_written_again(void **state)
{
    (void)state;
    FOR_EACH_KIND(csum, wide)
    {
        begin(&built, csum, wide, 1, 7);
        copies(&built, LIST(5, 6, 8), 0x20);
        put_commit(&built);
        put_revoke(&built, LIST(5, 6, 10));
        copies(&built, LIST(9, 10), 0x30); /* a revoke also holds in its own transaction */
        put_commit(&built);
        copies(&built, LIST(6), 0x40);
        put_commit(&built);
        expect(3, (const uint8_t[][2]){ { 8, 0x22 }, { 9, 0x30 }, { 6, 0x40 }, { 0 } });
    }
}

static void the_ring_wraps_and_so_do_numbers(void **state)
{
    (void)state;
    FOR_EACH_KIND(csum, wide)
    {
        begin(&built, csum, wide, RING - 3, 0xFFFFFFFF);
        copies(&built, LIST(5, 6, 8), 0x20); /* two copies before the turn, one after */
        put_commit(&built);
        put_revoke(&built, LIST(8));
        copies(&built, LIST(5), 0x31);
        put_commit(&built);
        expect(2, (const uint8_t[][2]){ { 5, 0x31 }, { 6, 0x21 }, { 0 } });
    }
}

static void a_crash_ends_the_log(void **state)
{
    (void)state;
    FOR_EACH_KIND(csum, wide)
    {
        begin(&built, csum, wide, 1, 7); /* no commit */
        copies(&built, LIST(5), 0x20);
        put_commit(&built);
        copies(&built, LIST(6), 0x30);
        put_revoke(&built, LIST(5));
        expect(1, (const uint8_t[][2]){ { 5, 0x20 }, { 0 } });

        if (csum == CSUM_NONE)
            continue;
        begin(&built, csum, wide, 1, 7); /* a commit that didn't reach the disk whole */
        copies(&built, LIST(5), 0x20);
        put_commit(&built);
        copies(&built, LIST(6), 0x30);
        put_commit(&built)[17] ^= 1;
        built.tid--;
        expect(1, (const uint8_t[][2]){ { 5, 0x20 }, { 0 } });
    }
}

static void stale_blocks_end_the_log(void **state)
{
    (void)state;
    begin(&built, CSUM_3, true, 1, 7);
    copies(&built, LIST(5), 0x20);
    put_commit(&built);
    copies(&built, LIST(6), 0x30)[BS - 1] ^= 1; /* of the ring's last turn: older than what precedes it */
    built.time = 10;
    put_commit(&built);
    built.tid--;
    expect(1, (const uint8_t[][2]){ { 5, 0x20 }, { 0 } });
}

static void an_empty_log_changes_nothing(void **state)
{
    (void)state;
    begin(&built, CSUM_3, true, 0, 7);
    expect(0, (const uint8_t[][2]){ { 0 } });
    begin(&built, CSUM_NONE, false, 1, 7);
    expect(0, (const uint8_t[][2]){ { 0 } });
}

static void two_transactions(void)
{
    begin(&built, CSUM_3, true, 1, 7);
    copies(&built, LIST(5), 0x20);
    put_commit(&built);
    copies(&built, LIST(6), 0x30);
    put_commit(&built);
}

static void damage_is_refused(void **state)
{
    (void)state;
    two_transactions();
    journal_block(&built, 1)[BS - 1] ^= 1;
    expect_error(-EUCLEAN, "doesn't agree with its checksum");
    two_transactions();
    journal_block(&built, 2)[77] ^= 1;
    expect_error(-EUCLEAN, "copy of block 5 doesn't agree");
    begin(&built, CSUM_NONE, false, 1, 7);
    copies(&built, LIST(BLOCKS), 0x20);
    put_commit(&built);
    expect_error(-EUCLEAN, "isn't the file system's");
    begin(&built, CSUM_NONE, false, 1, 7);
    copies(&built, LIST(JOURNAL_B + 2), 0x20);
    put_commit(&built);
    expect_error(-EUCLEAN, "of its own");
    begin(&built, CSUM_NONE, false, 1, 7);
    put_be32(put_revoke(&built, LIST(5)) + 12, BS + 1);
    put_commit(&built);
    expect_error(-EUCLEAN, "more than a block can");
    begin(&built, CSUM_NONE, false, 1, 7); /* every block says that it goes on */
    for (uint32_t k = 1; k < RING; k++)
        put_revoke(&built, LIST(5));
    expect_error(-EUCLEAN, "no end");
}

static void bad_superblocks_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t off;
        uint32_t value;
        bool reseal;
        int error;
        const char *text;
    } cases[] = {
        { 0x00, 0, true, -EUCLEAN, "no superblock" },
        { 0x04, 5, true, -EUCLEAN, "no superblock" },
        { 0x18, 99, false, -EUCLEAN, "doesn't agree with its checksum" },
        { 0x0C, 4096, true, -EUCLEAN, "another size" },
        { 0x10, RING + 1, true, -EUCLEAN, "sizes don't fit" },
        { 0x10, 20000000, true, -EFBIG, "the limit is" },
        { 0x14, 0, true, -EUCLEAN, "sizes don't fit" },
        { 0x14, RING, true, -EUCLEAN, "sizes don't fit" },
        { 0x1C, RING, true, -EUCLEAN, "starts outside" },
        { 0x28, 0x1011, true, -ENOTSUP, "0x1000" },
        { 0x28, 0x19, true, -EUCLEAN, "two kinds" },
        { 0x24, 1, true, -EUCLEAN, "two kinds" },
        { 0x50, 0, true, -ENOTSUP, "unknown type" },
        { 0x28, 0x31, true, -EUCLEAN, "sizes don't fit" }, /* 256 fast commit blocks of 24 */
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        two_transactions();
        put_be32(journal_block(&built, 0) + cases[k].off, cases[k].value);
        if (cases[k].reseal)
            seal_super(&built);
        expect_error(cases[k].error, cases[k].text);
    }
}

static bool fast_commits(uint32_t tid, bool seal)
{
    begin(&built, CSUM_3, true, 1, 7);
    built.last = RING - FC;
    copies(&built, LIST(5), 0x20);
    put_commit(&built);
    put_be32(journal_block(&built, 0) + 0x28, 0x31);
    put_be32(journal_block(&built, 0) + 0x54, FC);
    seal_super(&built);
    uint8_t *p = journal_block(&built, RING - FC + 1);
    put_le16(p, 9);
    put_le16(p + 2, 8);
    put_le32(p + 8, tid);
    put_le16(p + 12, 7); /* padding to the end of the block */
    put_le16(p + 14, BS - 16);
    uint32_t crc = crc32c_update(0, p, BS);
    p = journal_block(&built, RING - FC + 2);
    put_le16(p, 8);
    put_le16(p + 2, BS - 4);
    put_le32(p + 4, tid);
    put_le32(p + 8, crc32c_update(crc, p, 8) + !seal);
    struct memory_disk m;
    struct jbd2_info info = { 0 };
    struct disk *d = NULL;
    assert_int_equal(open_layer(&built, &m, &info, &d, NULL), 0);
    assert_int_equal(info.transactions, 1);
    disk_close(d);
    return info.fast_commits;
}

static void fast_commits_are_told(void **state)
{
    (void)state;
    assert_true(fast_commits(8, true));
    assert_false(fast_commits(7, true)); /* of a transaction that is in the log */
    assert_false(fast_commits(8, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_are_shown),
        cmocka_unit_test(revokes_hold_until_written_again),
        cmocka_unit_test(the_ring_wraps_and_so_do_numbers),
        cmocka_unit_test(a_crash_ends_the_log),
        cmocka_unit_test(stale_blocks_end_the_log),
        cmocka_unit_test(an_empty_log_changes_nothing),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(bad_superblocks_are_refused),
        cmocka_unit_test(fast_commits_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
