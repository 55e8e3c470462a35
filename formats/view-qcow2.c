/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.qcow2: QCOW2 version 3 for QEMU, KVM, Proxmox, OpenStack.
 *
 *     cluster 0  1                n             m             l1         l2                  data
 *     | header | refcount table | refcounts   | L1        | L2 | L2 | ... | cluster | cluster | ... |
 *                8 B a block      2 B a cluster  8 B an L2   those needed   the allocated ones
 *
 * A cluster of the disk is found by two tables: the entry of L1 names an L2 table, whose entry names the
 * cluster. In the file are only the clusters with data and the L2 tables that name any, both in the disk's
 * order; so an entry of L2 is a rank among the clusters, and one of L1 a rank among the tables. Whatever has
 * no entry reads as zeros, since there is no backing file. Every cluster of the file has the refcount 1, and
 * says so in its entry (COPIED).
 *
 * The refcounts count themselves and their table too, so their size is worked out in rounds.
 *
 * Clusters are of 64 KiB, QEMU's default, up to a disk of 16 TiB; then they double, up to the format's 2 MiB,
 * so that the map of a disk is never over 32 MiB. There is nothing in the file but what follows from the
 * disk: no identifier, no time.
 *
 * Source: QEMU's docs/interop/qcow2. */
#include "bytes.h"
#include "checked.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

extern const struct view_format qcow2_view;

#define MAX_CLUSTER (UINT64_C(1) << 21)
#define COPIED      (UINT64_C(1) << 63)

enum {
    MIN_CLUSTER = 65536,
    HEADER_LENGTH = 104, /* of version 3, without the compression type */
    REFCOUNT_ORDER = 4,  /* 16 bits */
    REFCOUNT = 2,        /* bytes */
    ENTRY = 8,           /* of all other tables */
    PAGE = 4096,
};

struct qcow2 {
    uint64_t size;                                    /* of the disk, bytes */
    uint64_t cluster;                                 /* bytes */
    uint64_t n_l1, n_refcount_blocks, n_clusters;     /* entries; clusters of the file */
    uint64_t refcount_table, refcounts, l1, l2, data; /* where each begins, in clusters */
};

/* ---- the tables ---- */

/* A walk over a table's entries in sequence. */
struct walk {
    uint64_t i;     /* the next entry, within the segment */
    uint64_t index; /* the cluster or group that it is about */
    uint64_t place; /* that of the next set one, among those in the file */
};

static uint64_t refcount_table_entry(const struct view *v, struct walk *w)
{
    const struct qcow2 *q = v->layout.private;
    uint64_t i = w->i++;
    return i < q->n_refcount_blocks ? (q->refcounts + i) * q->cluster : 0;
}

static uint64_t l1_entry(const struct view *v, struct walk *w)
{
    const struct qcow2 *q = v->layout.private;
    const struct blockmap *groups = v->layout.groups;
    uint64_t i = w->i++;
    if (i >= blockmap_blocks(groups) || !blockmap_get(groups, i))
        return 0;
    return (q->l2 + w->place++) * q->cluster | COPIED;
}

/* Between two tables clusters may be passed over, but only clear ones, which have no place. */
static uint64_t l2_entry(const struct view *v, struct walk *w)
{
    const struct qcow2 *q = v->layout.private;
    const struct blockmap *clusters = v->layout.blocks;
    uint64_t entries = q->cluster / ENTRY;
    if (w->i % entries == 0)
        w->index = blockmap_select(v->layout.groups, w->i / entries) * entries;
    w->i++;
    uint64_t i = w->index++;
    if (i >= blockmap_blocks(clusters) || !blockmap_get(clusters, i))
        return 0;
    return (q->data + w->place++) * q->cluster | COPIED;
}

static void fill_entries(const struct view *v, void *buf, size_t len, size_t skip, struct walk *w,
                         uint64_t (*next)(const struct view *v, struct walk *w))
{
    for (uint8_t *p = buf; len; skip = 0) {
        uint8_t entry[ENTRY];
        size_t n = (size_t)min_u64(len, ENTRY - skip);
        put_be64(entry, next(v, w));
        memcpy(p, entry + skip, n);
        p += n;
        len -= n;
    }
}

static void fill_refcount_table(const struct view *v, void *buf, size_t len, uint64_t off)
{
    struct walk w = { .i = off / ENTRY };
    fill_entries(v, buf, len, off % ENTRY, &w, refcount_table_entry);
}

/* 1 for each cluster of the file, big-endian. */
static void fill_refcounts(const struct view *v, void *buf, size_t len, uint64_t off)
{
    const struct qcow2 *q = v->layout.private;
    uint8_t *p = buf;
    for (size_t i = 0; i < len; i++)
        p[i] = (off + i) % REFCOUNT && (off + i) / REFCOUNT < q->n_clusters;
}

static void fill_l1(const struct view *v, void *buf, size_t len, uint64_t off)
{
    const struct blockmap *groups = v->layout.groups;
    struct walk w = { .i = off / ENTRY };
    w.place = blockmap_rank(groups, min_u64(w.i, blockmap_blocks(groups)));
    fill_entries(v, buf, len, off % ENTRY, &w, l1_entry);
}

static void fill_l2(const struct view *v, void *buf, size_t len, uint64_t off)
{
    const struct qcow2 *q = v->layout.private;
    uint64_t entries = q->cluster / ENTRY;
    struct walk w = { .i = off / ENTRY };
    w.index = blockmap_select(v->layout.groups, w.i / entries) * entries + w.i % entries;
    w.place = blockmap_rank(v->layout.blocks, min_u64(w.index, blockmap_blocks(v->layout.blocks)));
    fill_entries(v, buf, len, off % ENTRY, &w, l2_entry);
}

/* ---- the layout ---- */

/* The blocks and groups are there: how many clusters each part takes, and so where it begins. */
static void qcow2_measure(struct qcow2 *q, const struct layout *l)
{
    uint64_t n_l2 = blockmap_allocated(l->groups);
    q->n_l1 = blockmap_blocks(l->groups);
    uint64_t l1_clusters = max_u64(1, div_up(q->n_l1 * ENTRY, q->cluster));
    uint64_t others = 1 + l1_clusters + n_l2 + blockmap_allocated(l->blocks);
    uint64_t table = 0, blocks = 0, before;
    do { /* more clusters take more refcounts, which are more clusters: never fewer, so this ends */
        before = table + blocks;
        blocks = div_up((others + before) * REFCOUNT, q->cluster);
        table = div_up(blocks * ENTRY, q->cluster);
    } while (table + blocks != before);
    q->n_refcount_blocks = blocks;
    q->n_clusters = others + before;
    q->refcount_table = 1;
    q->refcounts = q->refcount_table + table;
    q->l1 = q->refcounts + blocks;
    q->l2 = q->l1 + l1_clusters;
    q->data = q->l2 + n_l2;
}

static int add_header(struct layout *l, const struct qcow2 *q)
{
    uint8_t *p;
    int r = layout_add_bytes(l, q->cluster, HEADER_LENGTH + ENTRY, &p); /* the end of extensions: zeros */
    if (r < 0)
        return r;
    memcpy(p, "QFI\xfb", 4);
    put_be32(p + 4, 3); /* version */
    put_be32(p + 20, shift_of(q->cluster));
    put_be64(p + 24, q->size);
    put_be32(p + 36, (uint32_t)q->n_l1);
    put_be64(p + 40, q->l1 * q->cluster);
    put_be64(p + 48, q->refcount_table * q->cluster);
    put_be32(p + 56, (uint32_t)(q->refcounts - q->refcount_table));
    put_be32(p + 96, REFCOUNT_ORDER);
    put_be32(p + 100, HEADER_LENGTH);
    return 0;
}

/* A table of `length` bytes and what is left of its clusters, up to the cluster `end`. */
static void add_table(struct layout *l, const struct qcow2 *q, uint64_t length, uint64_t end,
                      void (*table)(const struct view *v, void *buf, size_t len, uint64_t off))
{
    layout_add(l, SEGMENT_TABLE, round_up(length, PAGE))->table = table;
    layout_add(l, SEGMENT_ZERO, end * q->cluster - l->size);
}

static int add_segments(struct layout *l, const struct qcow2 *q)
{
    int r = add_header(l, q);
    if (r < 0)
        return r;
    add_table(l, q, q->n_refcount_blocks * ENTRY, q->refcounts, fill_refcount_table);
    add_table(l, q, q->n_clusters * REFCOUNT, q->l1, fill_refcounts);
    add_table(l, q, q->n_l1 * ENTRY, q->l2, fill_l1);
    layout_add(l, SEGMENT_TABLE, (q->data - q->l2) * q->cluster)->table = fill_l2;
    layout_add(l, SEGMENT_BLOCKS, (q->n_clusters - q->data) * q->cluster);
    return 0;
}

static int qcow2_layout(const struct view_source *src, struct layout *ret, struct fault *fault)
{
    uint64_t size = view_disk_size(src), cluster = MIN_CLUSTER;
    if (size > BLOCKMAP_MAX_BLOCKS * MAX_CLUSTER)
        return fault_in(fault, -EFBIG, "",
                        "a QCOW2 is made of at most 512 TiB, the disk has %" PRIu64 " bytes", size);
    while (div_up(size, cluster) > BLOCKMAP_MAX_BLOCKS)
        cluster *= 2;
    struct qcow2 *q = calloc(1, sizeof *q);
    if (!q)
        return -ENOMEM;
    ret->private = q;
    q->size = size;
    q->cluster = cluster;
    int r = layout_set_blocks(ret, src, cluster);
    if (!r)
        r = layout_set_groups(ret, cluster / ENTRY);
    if (r < 0)
        return r;
    qcow2_measure(q, ret);
    return add_segments(ret, q);
}

const struct view_format qcow2_view = {
    .file_name = "disk.qcow2",
    .name = "qcow2",
    .layout = qcow2_layout,
};
