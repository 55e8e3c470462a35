/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding a damaged or truncated image before anybody copies from it.
 *
 *     L1 table          always, all of it: at most 32 MiB
 *     L2 tables         when they are at most WALK_BYTES together (128 GiB of guest in clusters of 64 KiB);
 *                       of each snapshot, SNAPSHOT_WALK_BYTES
 *     refcounts         only those of clusters past the end of the file. There should be none: they tell of a
 *                       file that lost its end, and then the L2 tables are walked too, up to LOST_BYTES
 *
 * What QEMU itself leaves out at the end of a file, found by trying (qemu-img 7.2), and therefore allowed:
 *     - the L1 table's cluster, behind the last entry: a new image of 64 KiB clusters has 196616 bytes
 *     - the last data cluster behind the disk's end: converted with preallocation=metadata
 *     - subclusters that aren't allocated
 *     - a compressed cluster's last sector behind the end of its stream
 * It never leaves out allocated bytes that the guest can see. A killed QEMU can leave refcounts without
 * their clusters, which nothing else points to; so refcounts alone condemn no image. */
#include "qcow2-check.h"
#include "checked.h"

#include <errno.h>
#include <stdlib.h>

enum {
    WALK_BYTES = 16 << 20, /* some ten milliseconds, from a file that isn't in the page cache */
    SNAPSHOT_WALK_BYTES = 2 << 20,
    LEAST_READ = 4096,
    LOST_BYTES =
        512 << 20, /* a second; 4 TiB of guest. Behind that, what is missing is EIO when it is read */
    SNAPSHOT_DISTINCT_MAX = 1 << 16,
    DISTINCT_MAX = 1 << 20, /* L2 tables that are compared: 512 TiB of guest in clusters of 64 KiB */
    SECTOR = 512,
    REFCOUNT_ENTRY = 8,
    REFBLOCKS_LOOKED_AT = 8, /* past the end; more of them are reason enough for the walk */
};
#define REFBLOCK_MASK UINT64_C(0xfffffffffffffe00)

/* ---- L1 ---- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* An L2 table has one place in an L1 table (QEMU counts it once). One that stands in many would let a small
 * file describe more extents than anybody can walk. */
static int check_distinct(struct qcow2_table *t, uint64_t tables, struct fault *fault)
{
    _cleanup_free_ uint64_t *v = malloc((size_t)tables * sizeof *v + 1);
    uint64_t entry = 0, n = 0;
    if (!v)
        return fault_in(fault, -ENOMEM, t->file->name, "out of memory");
    for (uint64_t i = 0; n < tables; i++, n++)
        if (qcow2_l1_next(t, i, &entry, &i) < 0 || !entry || qcow2_l1_decode(t, entry, &v[n]) < 0)
            return fault_at(fault, -EIO, t->file->name, t->l1_offset, "the L1 table can't be read");
    qsort(v, (size_t)n, sizeof *v, by_value);
    for (uint64_t i = 1; i < n; i++)
        if (v[i] == v[i - 1])
            return fault_at(fault, -EUCLEAN, t->file->name, t->l1_offset,
                            "the L1 table names the L2 table at byte %llu twice", (unsigned long long)v[i]);
    return 0;
}

/* `distinct_max`: of more tables it isn't looked whether they are distinct. */
static int check_l1(struct qcow2_table *t, uint64_t distinct_max, uint64_t *ret_tables, struct fault *fault)
{
    uint64_t tables = 0, entry = 0, offset;
    for (uint64_t i = 0;; i++, tables++) {
        int r = qcow2_l1_next(t, i, &entry, &i);
        if (r < 0)
            return fault_at(fault, r, t->file->name, t->l1_offset, "the L1 table can't be read");
        if (!entry)
            break;
        r = qcow2_l1_decode(t, entry, &offset);
        if (r == -ENODATA)
            return fault_at(fault, r, t->file->name, t->file->size,
                            "truncated: the file ends before the L2 table of L1 entry %llu",
                            (unsigned long long)i);
        if (r < 0)
            return fault_at(fault, r, t->file->name, t->l1_offset + 8 * i, "L1 entry %llu is damaged",
                            (unsigned long long)i);
    }
    if (tables > t->file->size / t->h->cluster_size)
        return fault_at(fault, -EUCLEAN, t->file->name, t->l1_offset,
                        "the L1 table names more L2 tables than the file can hold");
    *ret_tables = tables;
    return tables > distinct_max ? 0 : check_distinct(t, tables, fault);
}

/* ---- L2 ---- */

/* How many bytes of a plain or mixed cluster the guest can see. */
static uint64_t visible_bytes(const struct qcow2_table *t, const struct qcow2_cluster *c, uint64_t cluster)
{
    uint64_t start = cluster * t->h->cluster_size, end = t->h->cluster_size;
    if (c->kind == QCOW2_MIXED) {
        unsigned used = c->alloc ? 32 - (unsigned)__builtin_clz(c->alloc) : 0;
        end = used * (t->h->cluster_size / QCOW2_SUBCLUSTERS);
    }
    return min_u64(end, t->size - start);
}

static bool cluster_is_there(const struct qcow2_table *t, const struct qcow2_cluster *c, uint64_t cluster,
                             const struct file *data)
{
    switch (c->kind) {
    case QCOW2_PLAIN:
    case QCOW2_MIXED:
        return range_inside(c->host, visible_bytes(t, c, cluster), data->size) ||
               !visible_bytes(t, c, cluster);
    case QCOW2_COMPRESSED: /* the stream may end before its last sector does */
        return c->host < data->size && c->stored - min_u64(c->stored, SECTOR - 1) <= data->size - c->host;
    default:
        return true;
    }
}

static int check_piece(const struct qcow2_table *t, const struct qcow2_l2 *l2, const struct file *data,
                       struct fault *fault)
{
    for (uint64_t i = qcow2_l2_empty(t, l2, 0); i < l2->n; i += 1 + qcow2_l2_empty(t, l2, i + 1)) {
        struct qcow2_cluster c;
        unsigned long long guest = (l2->cluster + i) * t->h->cluster_size;
        int r = qcow2_l2_cluster(t, l2, i, &c);
        if (r < 0)
            return fault_at(fault, r, t->file->name, l2->at + i * t->l2_entry,
                            "the L2 entry of guest byte %llu is damaged", guest);
        if (!cluster_is_there(t, &c, l2->cluster + i, data))
            return fault_at(fault, -ENODATA, data->name, data->size,
                            "truncated: the file ends before the data of guest byte %llu", guest);
    }
    return 0;
}

/* Small tables cost as much as larger ones. */
static uint64_t walk_bytes(const struct qcow2_table *t, uint64_t tables)
{
    return tables * max_u64(t->h->cluster_size, LEAST_READ);
}

static int check_l2(struct qcow2_table *t, uint64_t limit, const struct file *data, struct fault *fault)
{
    uint64_t walked = 0;
    for (uint64_t cluster = 0; cluster < t->clusters && walked < limit;) {
        struct qcow2_l2 l2;
        int r = qcow2_l2_get(t, cluster, &l2);
        if (r < 0)
            return fault_in(fault, r, t->file->name, "the L2 table of guest byte %llu can't be read",
                            (unsigned long long)(cluster * t->h->cluster_size));
        cluster += l2.n;
        if (l2.block) {
            walked += max_u64(l2.n * t->l2_entry, LEAST_READ);
            r = check_piece(t, &l2, data, fault);
        }
        qcow2_l2_put(t, &l2);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- refcounts ---- */

/* Any count other than 0 in the block, from its cluster `first` on? Counts narrower than a byte are packed
 * from the least significant bit. True also when the block isn't there. */
static bool refblock_counts(struct file *file, const struct qcow2_header *h, uint64_t offset, uint64_t first)
{
    uint64_t bit = first << h->refcount_order;
    if (offset % h->cluster_size || !range_inside(offset, h->cluster_size, file->size))
        return true;
    size_t n = (size_t)(h->cluster_size - bit / 8);
    _cleanup_free_ uint8_t *p = malloc(n);
    if (!p || file_pread(file, p, n, offset + bit / 8) < 0)
        return true;
    bool any = p[0] >> (bit % 8);
    for (size_t i = 1; i < n && !any; i++)
        any = p[i];
    return any;
}

bool qcow2_refcounts_past_end(struct file *file, const struct qcow2_header *h)
{
    size_t n = (size_t)h->refcount_bytes;
    _cleanup_free_ uint8_t *table = malloc(n ? n : 1);
    if (!table || file_pread(file, table, n, h->refcount_offset) < 0)
        return true;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(table, n, h->refcount_offset, &bad);
    uint64_t per_block = (h->cluster_size * 8) >> h->refcount_order;
    uint64_t lost = div_up(file->size, h->cluster_size); /* the first cluster that isn't there */
    unsigned looked_at = 0;
    for (size_t at = 0; at < n; at += REFCOUNT_ENTRY) {
        uint64_t i = at / REFCOUNT_ENTRY, offset = be64(b, at) & REFBLOCK_MASK;
        if (!offset)
            continue;
        if (i < lost / per_block) {
            if (!range_inside(offset, h->cluster_size, file->size))
                return true;
            continue;
        }
        uint64_t first = i == lost / per_block ? lost % per_block : 0;
        if (looked_at++ == REFBLOCKS_LOOKED_AT || refblock_counts(file, h, offset, first))
            return true;
    }
    return false;
}

/* ---- all of it ---- */

int qcow2_check(struct qcow2_table *t, struct file *data, const struct image_env *env, struct notes *notes,
                struct fault *fault)
{
    uint64_t tables = 0;
    int r = check_l1(t, DISTINCT_MAX, &tables, fault);
    if (r < 0)
        return r;
    bool past_end = qcow2_refcounts_past_end(t->file, t->h);
    if (past_end || walk_bytes(t, tables) <= image_check_share(env->above, WALK_BYTES))
        r = check_l2(t, image_check_share(env->above, LOST_BYTES), data, fault);
    if (!r && past_end)
        notes_add(notes, "the refcounts speak of clusters past the end of the file; all that the disk needs "
                         "is there");
    return r;
}

int qcow2_check_snapshot(struct qcow2_table *t, struct file *data, struct fault *fault)
{
    uint64_t tables = 0;
    int r = check_l1(t, SNAPSHOT_DISTINCT_MAX, &tables, fault);
    return r < 0 || walk_bytes(t, tables) > SNAPSHOT_WALK_BYTES ? r : check_l2(t, LOST_BYTES, data, fault);
}
