/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_QCOW2_TABLE_H
#define FERRYFS_QCOW2_TABLE_H
/* From a guest cluster to what its L2 entry says. The tables are read in pieces through the cache; an L1
 * table of at most `keep` bytes is kept.
 *
 *     struct qcow2_l2 l2;
 *     r = qcow2_l2_get(t, cluster, &l2);          entries of `cluster` and of some that follow it
 *     if (r < 0) return r;
 *     if (!l2.block) ...                          no L2 table: l2.n clusters are unallocated
 *     else r = qcow2_l2_cluster(t, &l2, 0, &c);   0 <= index < l2.n
 *     qcow2_l2_put(t, &l2);
 *
 * Any thread; no lock but the cache's; may block on I/O. */
#include "bytes.h"
#include "cache.h"
#include "qcow2-header.h"

/* Bytes of an L1 table that are kept: of the active one, and of each open snapshot's. */
enum { QCOW2_L1_KEPT = 1 << 20, QCOW2_SNAPSHOT_L1_KEPT = 64 << 10 };
enum { QCOW2_SUBCLUSTERS = 32 };

/* The mapping of one guest disk: the active one, or an internal snapshot's with that one's L1 and size. */
struct qcow2_table {
    struct file *file;            /* borrowed */
    struct cache *cache;          /* borrowed */
    const struct qcow2_header *h; /* borrowed */
    size_t keep;                  /* bytes; a larger L1 table is read in pieces */
    uint64_t size;                /* of the disk, bytes */
    uint64_t clusters;            /* of the disk */
    uint64_t l1_offset;           /* bytes in the file */
    uint64_t l1_n;                /* entries that the disk uses and the table has; what is missing is empty */
    uint64_t l2_n;                /* entries of an L2 table */
    size_t l2_entry, l2_piece;    /* bytes */
    uint8_t *l1;                  /* owned, as in the file; NULL: too large, read in pieces */
    uint64_t l1_owner, l2_owner;  /* of the tables' pieces in the cache */
};

/* Reads the L1 table when it is small. The four fields before `size` are filled in. `l1_entries` may be more
 * or less than the disk needs. The borrowed things must outlive the table, and the table must not move. */
int qcow2_table_open(struct qcow2_table *t, uint64_t l1_offset, uint64_t l1_entries, uint64_t size,
                     struct fault *fault);
void qcow2_table_done(struct qcow2_table *t);

/* The first L1 entry that isn't 0, from `i` on: its value in *ret_entry and its index in *ret_index; index
 * t->l1_n and entry 0 when there is none. -EIO. */
int qcow2_l1_next(struct qcow2_table *t, uint64_t i, uint64_t *ret_entry, uint64_t *ret_index);
/* The L2 table's offset by an L1 entry other than 0; -EUCLEAN reserved bits or a place that isn't a
 * cluster's, -ENODATA it doesn't lie wholly inside the file. */
int qcow2_l1_decode(const struct qcow2_table *t, uint64_t entry, uint64_t *ret_offset);

struct qcow2_l2 {
    struct cache_block *block; /* NULL: the clusters have no L2 table */
    size_t first;              /* byte in the block of the first entry */
    uint64_t cluster;          /* guest cluster of the first entry */
    uint64_t n;                /* entries, at least 1, none past the disk's end */
    uint64_t at;               /* file offset of the first entry, for messages */
};

/* cluster < t->clusters. -EIO when a table can't be read or is damaged. */
int qcow2_l2_get(struct qcow2_table *t, uint64_t cluster, struct qcow2_l2 *ret);
void qcow2_l2_put(struct qcow2_table *t, struct qcow2_l2 *l2);
/* The same by a walk that needs no more of the block: its memory is used again first. */
void qcow2_l2_put_used(struct qcow2_table *t, struct qcow2_l2 *l2);
/* How many entries from `i` on are nothing but zeros, and so unallocated: much quicker than decoding them. */
uint64_t qcow2_l2_empty(const struct qcow2_table *t, const struct qcow2_l2 *l2, uint64_t i);

enum qcow2_kind {
    QCOW2_UNALLOCATED, /* the backing file's, else zeros */
    QCOW2_ZERO,
    QCOW2_PLAIN,      /* at `host` */
    QCOW2_COMPRESSED, /* a stream within [host, host + stored) */
    QCOW2_MIXED,      /* extended L2: differs by subcluster, see `alloc` and `zero` */
};

struct qcow2_cluster {
    enum qcow2_kind kind;
    uint64_t host;        /* bytes in the file, or in the data file; PLAIN, MIXED and COMPRESSED */
    uint64_t stored;      /* COMPRESSED: an upper bound of the stream's length */
    uint32_t alloc, zero; /* MIXED: bit i speaks of subcluster i; never both */
};

/* Decodes an L2 entry of guest cluster `cluster`; `bitmap` is only looked at with extended L2. -EUCLEAN when
 * it breaks a rule of the format. Whether `host` lies in the file is for the caller. */
int qcow2_entry_decode(const struct qcow2_header *h, uint64_t cluster, uint64_t entry, uint64_t bitmap,
                       struct qcow2_cluster *ret);
int qcow2_l2_cluster(const struct qcow2_table *t, const struct qcow2_l2 *l2, uint64_t i,
                     struct qcow2_cluster *ret);

/* What lies at byte `within` of a cluster, and up to which byte (of the cluster) it goes on so; never
 * MIXED. */
enum qcow2_kind qcow2_cluster_at(const struct qcow2_header *h, const struct qcow2_cluster *c, uint64_t within,
                                 uint64_t *ret_end);
#endif
