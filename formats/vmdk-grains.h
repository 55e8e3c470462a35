/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VMDK_GRAINS_H
#define FERRYFS_VMDK_GRAINS_H
/* What the snapshot deltas of ESXi have in common: a directory of tables of 4096 entries, and uncompressed
 * grains, with no second copy of anything. Each kind of file reads its header into a `struct vmdk_grains`;
 * its `struct vmdk_layout` says what the entries mean. */
#include "vmdk-sparse.h"

struct vmdk_grains;

/* What an entry of a grain table says. */
struct vmdk_grain {
    enum extent_kind kind;
    uint64_t at; /* of DATA: byte in the file, not yet checked against its size */
};

struct vmdk_layout {
    unsigned entry_bytes; /* 4 or 8, of the directory and of the tables */
    /* Decode an entry; false when none such can be. *ret_at: the byte at which the table begins, 0 for none;
     * not yet checked against the file's size. */
    bool (*table)(const struct vmdk_grains *g, uint64_t entry, uint64_t *ret_at);
    bool (*grain)(const struct vmdk_grains *g, uint64_t entry, struct vmdk_grain *ret);
};

/* What a checked header says. Bytes, but where the name says sectors. */
struct vmdk_grains {
    const struct vmdk_layout *layout;
    uint64_t capacity_sectors;         /* not 0, at most VMDK_MAX_SECTORS */
    uint64_t grain_sectors;            /* a power of two, at most 2048 */
    uint64_t directory;                /* where it begins */
    uint64_t directory_entries;        /* as the header has it; those beyond the capacity are passed over */
    uint64_t tables_area, grains_area; /* where places of tables and grains are counted from */
};

enum { VMDK_TABLE_ENTRIES = 4096 };

/* Makes a disk of an extent of `sectors` sectors in `file`; *g is copied. Reads the whole directory, and as
 * many tables as is cheap, and refuses what they show: -ENODATA truncated, -EUCLEAN. What isn't read here is
 * -EIO for whoever reads there. Fills in info's block_size. */
int vmdk_grains_open(struct file *file, uint64_t sectors, const struct vmdk_grains *g,
                     const struct vmdk_context *ctx, struct disk **ret, struct fault *fault);
#endif
