/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading a jbd2 log. All of its numbers are big-endian.
 *
 *     block 0      first                                                    last        maxlen
 *     | superblock | ring: ... D data data R C  D data C  | (older) ...     | fast commits |
 *                              ^ start, transaction `sequence`
 *
 *     D descriptor: tags, each naming the block that one of the following data blocks is a copy of
 *     R revoke: blocks whose copies in this and earlier transactions are not to be replayed
 *     C commit: the transaction is whole
 *
 * Two passes. The first finds the end: the first block that isn't the log's, of another transaction, or whose
 * checksum fails. A bad checksum in the middle is damage, at the end it is what a crash leaves; Linux tells
 * them apart by the commit's time, and so do we: older than the one before, it is left over from the ring's
 * last turn. The second pass gathers tags and revokes up to there. A copy that was revoked is dropped, of the
 * rest the latest counts.
 *
 * Bounded: no pass goes further than once around the ring; one entry per block of it. */
#include "jbd2.h"
#include "../formats/bytes.h"
#include "../formats/checked.h"
#include "../formats/hash.h"

#include <errno.h>
#include <string.h>

enum { JS_BLOCK_SIZE = 0x0C, JS_MAXLEN = 0x10, JS_FIRST = 0x14, JS_SEQUENCE = 0x18, JS_START = 0x1C };
enum { JS_ERRNO = 0x20, JS_COMPAT = 0x24, JS_INCOMPAT = 0x28, JS_UUID = 0x30, JS_CSUM_TYPE = 0x50 };
enum { JS_FC_BLOCKS = 0x54, JS_CSUM = 0xFC };
enum { BH_MAGIC = 0, BH_TYPE = 4, BH_SEQUENCE = 8, BH_SIZE = 12 };
enum { TYPE_DESCRIPTOR = 1, TYPE_COMMIT = 2, TYPE_SUPER1 = 3, TYPE_SUPER2 = 4, TYPE_REVOKE = 5 };
enum { COMPAT_CHECKSUM = 1 };
enum { INCOMPAT_REVOKE = 1, INCOMPAT_64BIT = 2, INCOMPAT_ASYNC = 4, INCOMPAT_CSUM2 = 8, INCOMPAT_CSUM3 = 16 };
enum { INCOMPAT_FAST = 32, INCOMPAT_KNOWN = 63, CSUM_CRC32C = 4, FC_BLOCKS_DEFAULT = 256 };
enum { TAG_ESCAPE = 1, TAG_SAME_UUID = 2, TAG_LAST = 8, UUID_SIZE = 16 };
enum { CO_CSUM_TYPE = 12, CO_CSUM_SIZE = 13, CO_CSUM = 16, CO_SECONDS = 48, CSUM1_CRC32 = 1 };
enum { RV_COUNT = 12, RV_RECORDS = 16 };
/* mke2fs makes no longer journals. */
enum { JOURNAL_BLOCKS_MAX = 10240000 };
/* Revoked blocks that are remembered: 64 MiB of them, more than a 4 GiB journal of ordinary use holds. */
enum { REVOKES_MAX = 4 << 20 };

struct tag {
    uint64_t block, copy;
    uint32_t tid, csum;
    uint32_t order; /* in the log */
    bool escaped;
};

struct revoke {
    uint64_t block;
    uint32_t tid;
};

struct log {
    struct disk *disk;
    const struct jbd2_place *place;
    struct fault *fault;
    uint32_t first, last, maxlen; /* the ring is [first, last) */
    uint32_t start, sequence, end;
    uint32_t compat, incompat;
    uint32_t seed;
    size_t tag_size, tail; /* bytes of a tag, and of the checksum at a block's end */
    uint8_t *block;        /* owned: the block being looked at */
    uint8_t *data;         /* owned: a copy being checked */
    struct tag *tags;      /* owned */
    size_t n_tags, room_tags;
    struct revoke *revokes; /* owned */
    size_t n_revokes, room_revokes;
    /* the pass under way */
    uint32_t at;
    uint32_t left; /* blocks until the ring is round */
    struct bad bad;
};

static bool tid_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

/* The block of the file system that has block `logical` of the journal; the superblock's maxlen has been held
 * against the runs. */
static uint64_t log_place(const struct log *l, uint32_t logical)
{
    size_t lo = 0, hi = l->place->n_runs;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->place->runs[mid].logical <= logical)
            lo = mid;
        else
            hi = mid;
    }
    return l->place->runs[lo].block + (logical - l->place->runs[lo].logical);
}

static uint64_t log_byte(const struct log *l, uint32_t logical)
{
    return log_place(l, logical) * l->place->block_size;
}

static int log_damaged(struct log *l, uint32_t logical, const char *what)
{
    fault_at(l->fault, -EUCLEAN, l->place->name, log_byte(l, logical), "the journal is damaged: %s", what);
    return fault_hint(l->fault, -EUCLEAN, "repair a copy with e2fsck");
}

static int log_read(struct log *l, uint32_t logical, uint8_t *buf, struct bytes *ret)
{
    uint64_t at = log_byte(l, logical);
    int r = disk_pread(l->disk, buf, l->place->block_size, at);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return fault_at(l->fault, -EIO, l->place->name, at, "the journal can't be read");
    *ret = bytes_of(buf, l->place->block_size, at, &l->bad);
    return 0;
}

/* Goes on by n blocks around the ring; false: it is round. */
static bool log_step(struct log *l, uint32_t n)
{
    if (n > l->left)
        return false;
    l->left -= n;
    l->at = l->first + (l->at - l->first + n) % (l->last - l->first);
    return true;
}

static uint32_t log_ahead(const struct log *l, uint32_t n)
{
    return l->first + (l->at - l->first + n) % (l->last - l->first);
}

static void log_rewind(struct log *l)
{
    l->at = l->start;
    l->left = l->last - l->first;
}

/* CRC over a block with the 4 bytes at `skip` taken as zeros. */
static uint32_t csum_skipping(uint32_t crc, struct bytes b, size_t len, size_t skip)
{
    static const uint8_t zero[4];
    crc = crc32c_update(crc, b.p, skip);
    crc = crc32c_update(crc, zero, sizeof zero);
    return crc32c_update(crc, b.p + skip + 4, len - skip - 4);
}

static bool csum_tail_good(const struct log *l, struct bytes b)
{
    return !l->tail || csum_skipping(l->seed, b, b.n, b.n - 4) == be32(b, b.n - 4);
}

/* ---- the superblock ---- */

static int super_features(struct log *l, struct bytes b)
{
    const char *name = l->place->name;
    uint32_t type = be32(b, BH_TYPE);
    if (be32(b, BH_MAGIC) != JBD2_MAGIC || (type != TYPE_SUPER1 && type != TYPE_SUPER2))
        return log_damaged(l, 0, "it has no superblock");
    l->tag_size = 8;
    if (type == TYPE_SUPER1)
        return 0;
    l->compat = be32(b, JS_COMPAT);
    l->incompat = be32(b, JS_INCOMPAT);
    if (l->incompat & ~(uint32_t)INCOMPAT_KNOWN)
        return fault_at(l->fault, -ENOTSUP, name, b.at + JS_INCOMPAT,
                        "the journal has features that aren't read here: 0x%x",
                        l->incompat & ~(uint32_t)INCOMPAT_KNOWN);
    bool csum2 = l->incompat & INCOMPAT_CSUM2, csum3 = l->incompat & INCOMPAT_CSUM3;
    if (csum2 && csum3)
        return log_damaged(l, 0, "it has checksums of two kinds");
    if (csum2 || csum3) {
        if (l->compat & COMPAT_CHECKSUM)
            return log_damaged(l, 0, "it has checksums of two kinds");
        if (u8(b, JS_CSUM_TYPE) != CSUM_CRC32C)
            return fault_at(l->fault, -ENOTSUP, name, b.at + JS_CSUM_TYPE,
                            "the journal has checksums of the unknown type %u", u8(b, JS_CSUM_TYPE));
        if (csum_skipping(~0u, b, JBD2_PATCH_SIZE, JS_CSUM) != be32(b, JS_CSUM))
            return log_damaged(l, 0, "its superblock doesn't agree with its checksum");
        l->seed = crc32c_update(~0u, b.p + JS_UUID, UUID_SIZE);
        l->tail = 4;
    }
    if (csum3)
        l->tag_size = 16;
    else
        l->tag_size = (l->incompat & INCOMPAT_64BIT ? 12u : 8u) + (csum2 ? 2u : 0u);
    return 0;
}

static int super_read(struct log *l, struct jbd2_log *ret, struct jbd2_info *info)
{
    const struct jbd2_run *end = &l->place->runs[l->place->n_runs - 1];
    uint64_t blocks = end->logical + end->blocks;
    struct bytes b;
    int r = log_read(l, 0, l->block, &b);
    if (r < 0 || (r = super_features(l, b)) < 0)
        return r;
    l->maxlen = be32(b, JS_MAXLEN);
    l->first = be32(b, JS_FIRST);
    l->sequence = l->end = be32(b, JS_SEQUENCE);
    l->start = be32(b, JS_START);
    info->error = (int32_t)be32(b, JS_ERRNO);
    if (be32(b, JS_BLOCK_SIZE) != l->place->block_size)
        return log_damaged(l, 0, "its blocks have another size than the file system's");
    if (l->maxlen > JOURNAL_BLOCKS_MAX)
        return fault_at(l->fault, -EFBIG, l->place->name, b.at + JS_MAXLEN,
                        "the journal has %u blocks (the limit is %d)", l->maxlen, JOURNAL_BLOCKS_MAX);
    uint32_t fast = 0;
    if (l->incompat & INCOMPAT_FAST && !(fast = be32(b, JS_FC_BLOCKS)))
        fast = FC_BLOCKS_DEFAULT;
    if (l->maxlen > blocks || !l->first || fast >= l->maxlen || l->first >= l->maxlen - fast)
        return log_damaged(l, 0, "its superblock's sizes don't fit");
    l->last = l->maxlen - fast;
    if (l->start && (l->start < l->first || l->start >= l->last))
        return log_damaged(l, 0, "the log starts outside of it");
    memcpy(ret->super, l->block, JBD2_PATCH_SIZE);
    return 0;
}

/* What the superblock says once the log has been replayed. */
static void super_empty(const struct log *l, uint8_t *super)
{
    struct bad bad = { 0 };
    put_be32(super + JS_START, 0);
    put_be32(super + JS_SEQUENCE, l->end + 1);
    if (l->tail)
        put_be32(super + JS_CSUM,
                 csum_skipping(~0u, bytes_of(super, JBD2_PATCH_SIZE, 0, &bad), JBD2_PATCH_SIZE, JS_CSUM));
}

/* ---- tags ---- */

/* Takes the tag at *off of a descriptor and moves on; false at the end. */
static bool tag_next(const struct log *l, struct bytes b, size_t *off, struct tag *t, uint32_t *flags)
{
    if (*flags & TAG_LAST || *off + l->tag_size > b.n - l->tail)
        return false;
    struct bytes g = bytes_sub(b, *off, l->tag_size);
    bool csum3 = l->incompat & INCOMPAT_CSUM3;
    *t = (struct tag){ .block = be32(g, 0), .tid = be32(b, BH_SEQUENCE) };
    *flags = csum3 ? be32(g, 4) : be16(g, 6);
    t->csum = csum3 ? be32(g, 12) : be16(g, 4);
    if (l->incompat & INCOMPAT_64BIT)
        t->block |= (uint64_t)be32(g, 8) << 32;
    t->escaped = *flags & TAG_ESCAPE;
    *off += l->tag_size + (*flags & TAG_SAME_UUID ? 0 : UUID_SIZE);
    return true;
}

static uint32_t tags_count(const struct log *l, struct bytes b)
{
    size_t off = BH_SIZE;
    uint32_t n = 0, flags = 0;
    for (struct tag t; tag_next(l, b, &off, &t, &flags);)
        n++;
    return n;
}

static int tags_add(struct log *l, const struct tag *t)
{
    if (l->n_tags == l->room_tags) {
        size_t room = l->room_tags ? l->room_tags * 2 : 256;
        struct tag *p = reallocarray(l->tags, room, sizeof *p);
        if (!p)
            return -ENOMEM;
        l->tags = p;
        l->room_tags = room;
    }
    l->tags[l->n_tags] = *t;
    l->tags[l->n_tags].order = (uint32_t)l->n_tags;
    l->n_tags++;
    return 0;
}

/* The tags of the descriptor at l->at - 1; its copies lie from l->at on. */
static int tags_gather(struct log *l, struct bytes b)
{
    size_t off = BH_SIZE;
    uint32_t n = 0, flags = 0;
    for (struct tag t; tag_next(l, b, &off, &t, &flags); n++) {
        t.copy = log_place(l, log_ahead(l, n));
        if (t.block < l->place->first_block || t.block >= l->place->fs_blocks)
            return log_damaged(l, log_ahead(l, n), "it has a copy of a block that isn't the file system's");
        int r = tags_add(l, &t);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- revokes ---- */

static int revoke_compare(const void *a, const void *b)
{
    const struct revoke *x = a, *y = b;
    if (x->block != y->block)
        return x->block < y->block ? -1 : 1;
    return x->tid == y->tid ? 0 : tid_before(x->tid, y->tid) ? -1 : 1;
}

/* Sorts, and keeps the last transaction of each block. */
static void revokes_settle(struct log *l)
{
    size_t n = 0;
    if (l->n_revokes)
        qsort(l->revokes, l->n_revokes, sizeof *l->revokes, revoke_compare);
    for (size_t k = 0; k < l->n_revokes; k++) {
        if (n && l->revokes[n - 1].block == l->revokes[k].block)
            n--;
        l->revokes[n++] = l->revokes[k];
    }
    l->n_revokes = n;
}

static int revokes_make_room(struct log *l)
{
    if (l->n_revokes < l->room_revokes)
        return 0;
    revokes_settle(l);
    if (l->n_revokes < l->room_revokes / 2)
        return 0;
    size_t room = l->room_revokes ? l->room_revokes * 2 : 256;
    if (room > REVOKES_MAX)
        return fault_in(l->fault, -EFBIG, l->place->name, "the journal revokes over %d blocks", REVOKES_MAX);
    struct revoke *p = reallocarray(l->revokes, room, sizeof *p);
    if (!p)
        return -ENOMEM;
    l->revokes = p;
    l->room_revokes = room;
    return 0;
}

static int revokes_gather(struct log *l, struct bytes b, uint32_t logical)
{
    size_t record = l->incompat & INCOMPAT_64BIT ? 8 : 4;
    uint32_t count = be32(b, RV_COUNT); /* bytes, with the header */
    if (count > b.n - l->tail)
        return log_damaged(l, logical, "a revoke block holds more than a block can");
    for (size_t off = RV_RECORDS; off + record <= count; off += record) {
        int r = revokes_make_room(l);
        if (r < 0)
            return r;
        l->revokes[l->n_revokes++] =
            (struct revoke){ record == 8 ? be64(b, off) : be32(b, off), be32(b, BH_SEQUENCE) };
    }
    return 0;
}

static bool revokes_hold(const struct log *l, const struct tag *t)
{
    size_t lo = 0, hi = l->n_revokes;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->revokes[mid].block < t->block)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < l->n_revokes && l->revokes[lo].block == t->block && !tid_before(l->revokes[lo].tid, t->tid);
}

/* ---- first pass: where the log ends ---- */

/* CRC-32 (polynomial 0x04C11DB7, high bit first), the old checksum over a whole transaction. */
static uint32_t crc32_be(uint32_t crc, const uint8_t *p, size_t len)
{
    for (; len; p++, len--) {
        crc ^= (uint32_t)*p << 24;
        for (int k = 0; k < 8; k++)
            crc = crc & 0x80000000u ? crc << 1 ^ 0x04C11DB7u : crc << 1;
    }
    return crc;
}

struct scan {
    bool suspect;       /* a descriptor's or revoke block's checksum failed in this transaction */
    uint64_t last_time; /* of the last good commit */
    uint32_t crc1;      /* of the old kind, so far */
};

static int scan_descriptor(struct log *l, struct scan *s, struct bytes b)
{
    uint32_t n = tags_count(l, b);
    if (n > l->left)
        return log_damaged(l, l->at, "a transaction is longer than the log");
    if (l->compat & COMPAT_CHECKSUM) {
        s->crc1 = crc32_be(s->crc1, b.p, b.n);
        for (uint32_t k = 0; k < n; k++) {
            struct bytes data;
            int r = log_read(l, log_ahead(l, k), l->data, &data);
            if (r < 0)
                return r;
            s->crc1 = crc32_be(s->crc1, data.p, data.n);
        }
    }
    s->suspect |= !csum_tail_good(l, b);
    log_step(l, n);
    return 0;
}

static bool commit_csum_good(const struct log *l, const struct scan *s, struct bytes b)
{
    if (l->tail)
        return csum_skipping(l->seed, b, b.n, CO_CSUM) == be32(b, CO_CSUM);
    if (!(l->compat & COMPAT_CHECKSUM))
        return true;
    uint32_t found = be32(b, CO_CSUM);
    uint8_t type = u8(b, CO_CSUM_TYPE), size = u8(b, CO_CSUM_SIZE);
    return (type == CSUM1_CRC32 && size == 4 && found == s->crc1) || (!type && !size && !found);
}

/* 1: the transaction is whole, 0: the log ends before it. */
static int scan_commit(struct log *l, struct scan *s, struct bytes b, uint32_t logical)
{
    uint64_t time = be64(b, CO_SECONDS);
    if (s->suspect) {
        if (time >= s->last_time)
            return log_damaged(l, logical,
                               "a block of a committed transaction doesn't agree with its checksum");
        return 0;
    }
    if (!commit_csum_good(l, s, b))
        return 0;
    s->last_time = time;
    s->crc1 = ~0u;
    return 1;
}

static int log_scan(struct log *l)
{
    struct scan s = { .crc1 = ~0u };
    log_rewind(l);
    for (;;) {
        struct bytes b;
        uint32_t logical = l->at;
        if (!log_step(l, 1))
            return log_damaged(l, logical, "the log has no end");
        int r = log_read(l, logical, l->block, &b);
        if (r < 0)
            return r;
        if (be32(b, BH_MAGIC) != JBD2_MAGIC || be32(b, BH_SEQUENCE) != l->end)
            return 0;
        switch (be32(b, BH_TYPE)) {
        case TYPE_DESCRIPTOR:
            if ((r = scan_descriptor(l, &s, b)) < 0)
                return r;
            break;
        case TYPE_REVOKE:
            s.suspect |= !csum_tail_good(l, b);
            break;
        case TYPE_COMMIT:
            if ((r = scan_commit(l, &s, b, logical)) <= 0)
                return r;
            l->end++;
            break;
        default:
            return 0;
        }
    }
}

/* ---- second pass: what is in it ---- */

static int log_gather(struct log *l)
{
    log_rewind(l);
    for (uint32_t tid = l->sequence; tid != l->end;) {
        struct bytes b;
        uint32_t logical = l->at;
        int r = log_read(l, logical, l->block, &b);
        if (r < 0)
            return r;
        if (!log_step(l, 1))
            return log_damaged(l, logical, "the log has no end");
        uint32_t type = be32(b, BH_TYPE);
        if (type == TYPE_DESCRIPTOR) {
            r = tags_gather(l, b);
            if (!r && !log_step(l, tags_count(l, b)))
                r = log_damaged(l, logical, "the log has no end");
        } else if (type == TYPE_REVOKE) {
            r = revokes_gather(l, b, logical);
        } else {
            tid++; /* the first pass has seen a commit here */
        }
        if (r < 0)
            return r;
    }
    revokes_settle(l);
    return 0;
}

/* The checksum of a copy is over the transaction's number and the bytes as they lie in the journal. */
static int tag_check(struct log *l, const struct tag *t)
{
    if (!l->tail)
        return 0;
    uint8_t number[4];
    put_be32(number, t->tid);
    uint64_t at = t->copy * l->place->block_size;
    if (disk_pread(l->disk, l->data, l->place->block_size, at) < 0)
        return fault_at(l->fault, -EIO, l->place->name, at, "the journal can't be read");
    uint32_t crc = crc32c_update(crc32c_update(l->seed, number, 4), l->data, l->place->block_size);
    if (!(l->incompat & INCOMPAT_CSUM3))
        crc &= 0xffff;
    if (crc == t->csum)
        return 0;
    fault_at(l->fault, -EUCLEAN, l->place->name, at,
             "the journal is damaged: its copy of block %llu doesn't agree with its checksum",
             (unsigned long long)t->block);
    return fault_hint(l->fault, -EUCLEAN, "repair a copy with e2fsck");
}

static int tag_compare(const void *a, const void *b)
{
    const struct tag *x = a, *y = b;
    if (x->block != y->block)
        return x->block < y->block ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* The tags, sorted by block, must not name the journal's own blocks. */
static int tags_check_overlap(struct log *l, size_t n)
{
    for (size_t k = 0; k < l->place->n_runs; k++) {
        const struct jbd2_run *run = &l->place->runs[k];
        size_t lo = 0, hi = n;
        while (lo < hi) {
            size_t mid = lo + (hi - lo) / 2;
            if (l->tags[mid].block < run->block)
                lo = mid + 1;
            else
                hi = mid;
        }
        if (lo < n && l->tags[lo].block - run->block < run->blocks)
            return log_damaged(l, (uint32_t)run->logical, "it has a copy of a block of its own");
    }
    return 0;
}

static int log_publish(struct log *l, struct jbd2_log *ret, struct jbd2_info *info)
{
    size_t n = 0;
    for (size_t k = 0; k < l->n_tags; k++) {
        if (revokes_hold(l, &l->tags[k])) {
            info->revoked++;
            continue;
        }
        int r = tag_check(l, &l->tags[k]);
        if (r < 0)
            return r;
        l->tags[n++] = l->tags[k];
    }
    if (n)
        qsort(l->tags, n, sizeof *l->tags, tag_compare);
    int r = tags_check_overlap(l, n);
    if (r < 0)
        return r;
    ret->entries = calloc(n ? n : 1, sizeof *ret->entries);
    if (!ret->entries)
        return -ENOMEM;
    for (size_t k = 0; k < n; k++) {
        if (ret->n && ret->entries[ret->n - 1].block == l->tags[k].block)
            ret->n--;
        ret->entries[ret->n++] = (struct jbd2_entry){ l->tags[k].block, l->tags[k].copy, l->tags[k].escaped };
    }
    info->blocks = ret->n;
    info->transactions = l->end - l->sequence;
    return 0;
}

/* ---- fast commits ---- */

enum { FC_TAG_PAD = 7, FC_TAG_TAIL = 8, FC_TAG_HEAD = 9, FC_TLV = 4, FC_HEAD_TID = 4, FC_TAIL_CRC = 4 };

/* Are there fast commits that Linux would replay? Little-endian records {tag, length}; the first is a head
 * with the number of the transaction that didn't come, and they count up to a tail whose checksum is good. */
static int log_fast_commits(struct log *l, bool *ret)
{
    uint32_t crc = 0;
    *ret = false;
    if (!(l->incompat & INCOMPAT_FAST))
        return 0;
    for (uint32_t n = l->last + 1; n < l->maxlen; n++) {
        struct bytes b;
        int r = log_read(l, n, l->block, &b);
        if (r < 0)
            return r;
        for (size_t off = 0; off + FC_TLV <= b.n;) {
            uint16_t tag = le16(b, off), len = le16(b, off + 2);
            bool begin = n == l->last + 1 && !off;
            if (!tag || tag > FC_TAG_HEAD || len > b.n - off - FC_TLV || begin != (tag == FC_TAG_HEAD))
                return 0;
            if (begin && (len < 8 || le32(b, off + FC_TLV + FC_HEAD_TID) != l->end))
                return 0;
            if (tag == FC_TAG_TAIL) {
                if (len < 8)
                    return 0;
                crc = crc32c_update(crc, b.p + off, FC_TLV + FC_TAIL_CRC);
                *ret = le32(b, off + FC_TLV) == l->end && crc == le32(b, off + FC_TLV + FC_TAIL_CRC);
                return 0;
            }
            crc = crc32c_update(crc, b.p + off, FC_TLV + (size_t)len);
            off += FC_TLV + (size_t)len;
        }
    }
    return 0;
}

static void log_done(struct log *l)
{
    free(l->block);
    free(l->data);
    free(l->tags);
    free(l->revokes);
}

int jbd2_log_read(struct disk *under, const struct jbd2_place *place, struct jbd2_log *ret,
                  struct jbd2_info *info, struct fault *fault)
{
    _cleanup_(log_done) struct log l = { .disk = under, .place = place, .fault = fault };
    l.block = malloc(place->block_size);
    l.data = malloc(place->block_size);
    int r = !l.block || !l.data ? -ENOMEM : super_read(&l, ret, info);
    if (!r && l.start) {
        if (!(r = log_scan(&l)) && !(r = log_gather(&l)))
            r = log_publish(&l, ret, info);
        if (!r)
            r = log_fast_commits(&l, &info->fast_commits);
    }
    if (r == -ENOMEM)
        return fault_in(fault, r, place->name, "out of memory");
    if (r < 0)
        return r;
    super_empty(&l, ret->super);
    return 0;
}
