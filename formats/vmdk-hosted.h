/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VMDK_HOSTED_H
#define FERRYFS_VMDK_HOSTED_H
/* What the parts of the reader of hosted sparse extents share: vmdk-sparse.c is the disk, vmdk-tables.c finds
 * and reads grain tables, vmdk-stream.c knows what a stream holds beside them.
 *
 * Constant once it is open; any thread; no locks but the cache's; all of it may block on I/O. */
#include "checked.h"
#include "table32.h"
#include "vmdk-sparse.h"

enum {
    GT_ENTRY = 4, /* bytes of a GD's or GT's entry */
    GRAIN_LBA = 0,
    GRAIN_BYTES = 8,
    GRAIN_HEAD = 12,
    MARKER_SECTORS = 0,
    MARKER_TYPE = 12,
    MARKER_HEAD = 16,
    GTE_ABSENT = 0,
    GTE_ZERO = 1,
};
/* Takes the place of an entry that is known to be wrong, though it looks like one. No grain can lie there. */
#define GTE_BAD UINT32_MAX

struct sparse {
    struct disk disk;
    struct file *file;
    struct cache *cache;
    uint64_t gt_owner, grain_owner; /* of grain tables and of decompressed grains in the cache */
    struct vmdk_header h;
    uint64_t capacity, grain; /* bytes */
    uint64_t n_grains, n_gts;
    struct table32 gd, rgd; /* rgd.n is 0 where there is none */
    bool unfilled; /* redundant tables exist, but nobody ever wrote into them: they contradict nothing */
};

static inline bool sparse_packed(const struct sparse *s)
{
    return s->h.flags & VMDK_FLAG_COMPRESSED;
}

/* ---- vmdk-tables.c ---- */

/* How many entries table gt has. */
uint64_t sparse_gt_entries(const struct sparse *s, uint64_t gt);

/* Where a table lies. */
struct gt_place {
    uint32_t sector; /* 0: it is absent, as if all its entries were 0 */
    uint32_t copy;   /* its redundant copy; 0: none */
};

/* gt < s->n_gts. -EIO when both directories can't be read, or place it where no table can be. */
int sparse_gt_place(struct sparse *s, uint64_t gt, struct gt_place *ret);
/* The end of the run of absent tables from gt on, at most gt + max; gt itself when it isn't one. -EIO. */
int sparse_gt_absent(struct sparse *s, uint64_t gt, uint64_t max, uint64_t *ret);

/* How many tables from gt on, before table `last`, lie in a hole of the file, and so do their copies; 0 where
 * that isn't known. `place` is that of gt. What it took is added to *effort. */
uint64_t sparse_gt_unwritten(struct sparse *s, uint64_t gt, uint64_t last, const struct gt_place *place,
                             unsigned *effort);
/* How many tables from gt on, before table `last`, are absent or have no entries, as far as that is seen at
 * a glance: in the directories, in a hole of the file, or in 32 KiB. A table with a copy isn't empty unless
 * the copy is; one of a stream without copies is never called empty. */
uint64_t sparse_gt_empty(struct sparse *s, uint64_t gt, uint64_t last, unsigned *effort);

/* A difference between a table and its copy. */
struct gt_differ {
    uint64_t n; /* entries */
    size_t first;
    uint32_t here, copy; /* what the first says, and what it says in the copy */
};

/* Reads a table that isn't absent, little-endian as it is stored. An entry which its redundant copy
 * contradicts becomes GTE_BAD. A copy that is all zeros was never filled in, and contradicts nothing. -EIO.
 */
int sparse_gt_read(struct sparse *s, uint64_t gt, const struct gt_place *place, uint8_t *buf,
                   struct gt_differ *differ);

/* How many entries of a directory are looked at when opening, when so many tables may be read. */
uint64_t sparse_gd_checked(const struct sparse *s, uint64_t limit);
/* Finds the directories, and checks that they are whole and that each table can be where it is said to be.
 * `limit`: how many tables may be read. */
int sparse_gd_open(struct sparse *s, uint64_t limit, struct notes *notes, struct fault *fault);

/* ---- vmdk-stream.c ---- */

/* Replaces the header of a stream by its footer. */
int stream_footer_read(struct file *file, struct vmdk_header *h, struct fault *fault);

/* Grains that the stream holds, though the tables say that there are none. */
struct stream_lost {
    uint64_t n;         /* how many there are */
    uint64_t grain, at; /* the first of them, and its byte in the file */
    bool wrong_table;   /* it wasn't seen (`at` means nothing), but its table is none of these grains */
};

/* Looks in the stream from byte `from` on for grains of [first, end). `from` is a grain, or where the first
 * one must be. At most *effort items are looked at, which are taken off it. */
void stream_follow(const struct sparse *s, uint64_t from, uint64_t first, uint64_t end, unsigned *effort,
                   struct stream_lost *lost);
/* Looks for the absent grains of table gt, whose entries are in `buf`; those that are there become GTE_BAD.
 * `before`: a grain of the nearest table before it that has one; where the first grain must be, if none has;
 * UINT64_MAX when that isn't known. */
void stream_mark_lost(const struct sparse *s, uint64_t gt, uint8_t *buf, uint64_t before, unsigned *effort,
                      struct stream_lost *lost);
/* The last grain that a table names: its byte in the file; `otherwise` when it names none. */
uint64_t stream_last_named(const uint8_t *entries, uint64_t n, uint64_t otherwise);
/* What stream_mark_lost() wants as `before`. */
uint64_t stream_before(struct sparse *s, uint64_t gt);
#endif
