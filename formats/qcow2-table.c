/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two levels of qcow2's tables.
 *
 *     guest offset = | L1 index | L2 index | byte in the cluster |
 *
 *     L1 entry   63 copied | 55..9 offset of the L2 table        0: nothing is allocated here
 *     L2 entry   63 copied | 62 compressed | 55..9 offset of the cluster | 0 reads as zeros
 *                compressed: | 61..x sectors - 1 | x-1..0 offset |,  x = 62 - (cluster_bits - 8)
 *     extended   a second word: bit i subcluster i is allocated, bit 32+i it reads as zeros
 *
 * What is odd: a compressed cluster begins at any byte and says its length in sectors, counted from the one
 * that it begins in, so the length is an upper bound. With an external data file, offset 0 is a place like
 * others, told from "nothing" by the copied bit, which else has no meaning for a reader.
 *
 * Reserved bits that are set are refused: whatever wrote them meant something by them. QEMU masks them off
 * or marks the image corrupt, by the place. Source: QEMU's docs/interop/qcow2, "Cluster mapping". */
#include "qcow2-table.h"
#include "checked.h"

#include <errno.h>

#define COPIED        (UINT64_C(1) << 63)
#define COMPRESSED    (UINT64_C(1) << 62)
#define READS_AS_ZERO UINT64_C(1)
#define OFFSET_MASK   UINT64_C(0x00fffffffffffe00)
/* The file can't be longer, so a compressed cluster with such an offset is damaged. */
#define MAX_OFFSET (UINT64_C(1) << 56)

enum { L1_PIECE = 65536, L2_PIECE_MAX = 65536, L1_ENTRY = 8, SECTOR = 512 };

/* ---- L1 ---- */

static int load_l1_piece(void *ctx, uint64_t id, void *buf, size_t size)
{
    const struct qcow2_table *t = ctx;
    return file_pread(t->file, buf, size, t->l1_offset + id * L1_PIECE);
}

int qcow2_table_open(struct qcow2_table *t, uint64_t l1_offset, uint64_t l1_entries, uint64_t size,
                     struct fault *fault)
{
    const struct qcow2_header *h = t->h;
    t->size = size;
    t->clusters = div_up(size, h->cluster_size);
    t->l1_owner = cache_owner_new();
    t->l2_owner = cache_owner_new();
    t->l1_offset = l1_offset;
    t->l1_n = min_u64(l1_entries, div_up(size, qcow2_l1_coverage(h)));
    t->l2_entry = h->extended_l2 ? 16 : 8;
    t->l2_n = h->cluster_size / t->l2_entry;
    t->l2_piece = (size_t)min_u64(h->cluster_size, L2_PIECE_MAX);
    if (t->l1_n * L1_ENTRY > t->keep)
        return 0;
    size_t bytes = (size_t)t->l1_n * L1_ENTRY;
    uint8_t *l1 = malloc(bytes ? bytes : 1);
    if (!l1)
        return fault_in(fault, -ENOMEM, t->file->name, "out of memory");
    int r = file_pread_what(t->file, l1, bytes, l1_offset, "the L1 table", fault);
    if (r < 0) {
        free(l1);
        return r;
    }
    t->l1 = l1;
    return 0;
}

void qcow2_table_done(struct qcow2_table *t)
{
    free(t->l1);
    t->l1 = NULL;
}

/* The first entry other than 0 in [i, n) of `p`, or n. */
static uint64_t skip_empty(const uint8_t *p, uint64_t i, uint64_t n)
{
    static const uint8_t empty[L1_ENTRY];
    while (i < n && !memcmp(p + i * L1_ENTRY, empty, L1_ENTRY))
        i++;
    return i;
}

static uint64_t entry_at(const uint8_t *p, size_t size, uint64_t i)
{
    struct bad bad = { 0 };
    return be64(bytes_of(p, size, 0, &bad), (size_t)i * L1_ENTRY);
}

int qcow2_l1_next(struct qcow2_table *t, uint64_t i, uint64_t *ret_entry, uint64_t *ret_index)
{
    const uint64_t per_piece = L1_PIECE / L1_ENTRY;
    uint64_t entry = 0;
    if (t->l1) {
        i = skip_empty(t->l1, i, t->l1_n);
        if (i < t->l1_n)
            entry = entry_at(t->l1, (size_t)t->l1_n * L1_ENTRY, i);
    }
    while (!t->l1 && !entry && i < t->l1_n) {
        uint64_t piece = i / per_piece, first = piece * per_piece;
        uint64_t n = min_u64(per_piece, t->l1_n - first);
        struct cache_block *b;
        int r = cache_get(t->cache, t->l1_owner, piece, (size_t)n * L1_ENTRY, load_l1_piece, t, &b);
        if (r < 0)
            return r == -ENOMEM ? r : -EIO;
        uint64_t at = skip_empty(b->data, i - first, n);
        if (at < n)
            entry = entry_at(b->data, b->size, at);
        cache_put(t->cache, b);
        i = first + at;
    }
    *ret_entry = entry;
    *ret_index = i;
    return 0;
}

int qcow2_l1_decode(const struct qcow2_table *t, uint64_t entry, uint64_t *ret_offset)
{
    uint64_t offset = entry & OFFSET_MASK;
    if ((entry & ~(COPIED | OFFSET_MASK)) || !offset || offset % t->h->cluster_size)
        return -EUCLEAN;
    if (!range_inside(offset, t->h->cluster_size, t->file->size))
        return -ENODATA;
    *ret_offset = offset;
    return 0;
}

/* ---- L2 ---- */

/* The id of a piece is its number in the file: tables are cluster aligned and so are the pieces. */
static int load_l2_piece(void *ctx, uint64_t id, void *buf, size_t size)
{
    return file_pread(((const struct qcow2_table *)ctx)->file, buf, size, id * size);
}

int qcow2_l2_get(struct qcow2_table *t, uint64_t cluster, struct qcow2_l2 *ret)
{
    uint64_t entry = 0, l1_at = cluster / t->l2_n, table, next = t->l1_n;
    int r = qcow2_l1_next(t, l1_at, &entry, &next);
    if (r < 0)
        return r;
    uint64_t left = t->clusters - cluster;
    *ret = (struct qcow2_l2){ .cluster = cluster };
    if (next > l1_at || !entry) {
        ret->n = next < t->l1_n ? next * t->l2_n - cluster : left;
        return 0;
    }
    r = qcow2_l1_decode(t, entry, &table);
    if (r < 0)
        return -EIO;
    uint64_t in_table = (cluster % t->l2_n) * t->l2_entry; /* bytes */
    uint64_t piece = (table + in_table) / t->l2_piece;
    r = cache_get(t->cache, t->l2_owner, piece, t->l2_piece, load_l2_piece, t, &ret->block);
    if (r < 0)
        return r == -ENOMEM ? r : -EIO;
    ret->first = (size_t)(in_table % t->l2_piece);
    ret->n = min_u64((t->l2_piece - ret->first) / t->l2_entry, left);
    ret->at = table + in_table;
    return 0;
}

void qcow2_l2_put(struct qcow2_table *t, struct qcow2_l2 *l2)
{
    if (l2->block)
        cache_put(t->cache, l2->block);
    l2->block = NULL;
}

void qcow2_l2_put_used(struct qcow2_table *t, struct qcow2_l2 *l2)
{
    if (l2->block)
        cache_put_used(t->cache, l2->block);
    l2->block = NULL;
}

uint64_t qcow2_l2_empty(const struct qcow2_table *t, const struct qcow2_l2 *l2, uint64_t i)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(l2->block->data, l2->block->size, 0, &bad);
    uint64_t n = bytes_zeros(b, l2->first + (size_t)i * t->l2_entry) / t->l2_entry;
    return min_u64(n, l2->n - i);
}

int qcow2_l2_cluster(const struct qcow2_table *t, const struct qcow2_l2 *l2, uint64_t i,
                     struct qcow2_cluster *ret)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(l2->block->data, l2->block->size, 0, &bad);
    size_t at = l2->first + (size_t)i * t->l2_entry;
    uint64_t entry = be64(b, at), bitmap = t->h->extended_l2 ? be64(b, at + 8) : 0;
    if (bad.set)
        return -EUCLEAN;
    return qcow2_entry_decode(t->h, l2->cluster + i, entry, bitmap, ret);
}

/* ---- entries ---- */

static int decode_compressed(const struct qcow2_header *h, uint64_t entry, struct qcow2_cluster *ret)
{
    unsigned x = 62 - (h->cluster_bits - 8);
    uint64_t offset = entry & ((UINT64_C(1) << x) - 1);
    uint64_t sectors = ((entry & ~(COPIED | COMPRESSED)) >> x) + 1;
    if (h->data_file || offset >= MAX_OFFSET)
        return -EUCLEAN; /* a copied bit is against the rules too, but harms nobody: QEMU's check mends it */
    *ret = (struct qcow2_cluster){
        .kind = QCOW2_COMPRESSED,
        .host = offset,
        .stored = sectors * SECTOR - offset % SECTOR,
    };
    return 0;
}

static int decode_extended(uint64_t bitmap, bool placed, uint64_t host, struct qcow2_cluster *ret)
{
    uint32_t alloc = (uint32_t)bitmap, zero = (uint32_t)(bitmap >> 32);
    if ((alloc & zero) || (alloc && !placed))
        return -EUCLEAN;
    *ret = (struct qcow2_cluster){ .kind = QCOW2_MIXED, .host = host, .alloc = alloc, .zero = zero };
    if (alloc == UINT32_MAX)
        ret->kind = QCOW2_PLAIN;
    else if (zero == UINT32_MAX)
        ret->kind = QCOW2_ZERO;
    else if (!alloc && !zero)
        ret->kind = QCOW2_UNALLOCATED;
    return 0;
}

int qcow2_entry_decode(const struct qcow2_header *h, uint64_t cluster, uint64_t entry, uint64_t bitmap,
                       struct qcow2_cluster *ret)
{
    if (entry & COMPRESSED)
        return decode_compressed(h, entry, ret);
    uint64_t host = entry & OFFSET_MASK;
    bool zero = entry & READS_AS_ZERO, placed = host || (h->data_file && (entry & COPIED));
    if ((entry & ~(COPIED | OFFSET_MASK | READS_AS_ZERO)) || host % h->cluster_size)
        return -EUCLEAN;
    if (zero && (h->version < 3 || h->extended_l2))
        return -EUCLEAN;
    if (placed && h->data_file && host != cluster * h->cluster_size)
        return -EUCLEAN; /* guest and data file run in parallel, always */
    if (h->extended_l2)
        return decode_extended(bitmap, placed, host, ret);
    *ret = (struct qcow2_cluster){ .kind = zero     ? QCOW2_ZERO
                                           : placed ? QCOW2_PLAIN
                                                    : QCOW2_UNALLOCATED,
                                   .host = host };
    return 0;
}

static enum qcow2_kind subcluster_kind(const struct qcow2_cluster *c, unsigned sub)
{
    if (c->alloc >> sub & 1)
        return QCOW2_PLAIN;
    return c->zero >> sub & 1 ? QCOW2_ZERO : QCOW2_UNALLOCATED;
}

enum qcow2_kind qcow2_cluster_at(const struct qcow2_header *h, const struct qcow2_cluster *c, uint64_t within,
                                 uint64_t *ret_end)
{
    *ret_end = h->cluster_size;
    if (c->kind != QCOW2_MIXED)
        return c->kind;
    uint64_t size = h->cluster_size / QCOW2_SUBCLUSTERS;
    unsigned sub = (unsigned)(within / size), end = sub + 1;
    enum qcow2_kind kind = subcluster_kind(c, sub);
    while (end < QCOW2_SUBCLUSTERS && subcluster_kind(c, end) == kind)
        end++;
    *ret_end = end * size;
    return kind;
}
