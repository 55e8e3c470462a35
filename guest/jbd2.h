/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_JBD2_H
#define FERRYFS_JBD2_H
/* The journal of ext3 and ext4, replayed in a layer over the volume: a disk over a disk, that has each block
 * as the guest would see it after its next boot. The volume isn't written, and no copy of the data is kept:
 * an index says for each replayed block where in the journal it lies. Source: the kernel's
 * Documentation/filesystems/ext4 (journal), fact sheet ext4-ntfs-libs A.5. */
#include "../formats/disk.h"
#include "../formats/fault.h"

/* Where the journal lies: its block `logical` and those behind it are blocks of the file system. */
struct jbd2_run {
    uint64_t logical;
    uint64_t block;
    uint64_t blocks;
};

struct jbd2_place {
    uint32_t block_size;         /* bytes; a power of two, 1024 to 65536 */
    uint64_t first_block;        /* of the file system that may be written */
    uint64_t fs_blocks;          /* of the file system */
    const struct jbd2_run *runs; /* in the order of `logical`, from 0 on, without gaps; borrowed */
    size_t n_runs;
    const char *name; /* of the volume, for messages */
};

struct jbd2_info {
    uint32_t transactions; /* replayed; 0: the log was empty */
    uint64_t blocks;       /* that the layer changes */
    uint64_t revoked;      /* copies left out, as a later transaction says */
    bool fast_commits;     /* there are some behind the log that would be replayed, and aren't */
    int32_t error;         /* s_errno: the guest aborted this journal */
};

/* Reads the log and makes the layer. `under` isn't owned. -EUCLEAN the journal is damaged so that Linux
 * refuses it, -ENOTSUP it has unknown features, -EIO it can't be read. A log that ends in the middle of a
 * transaction is no damage: that transaction didn't happen. */
int jbd2_open(struct disk *under, const struct jbd2_place *place, struct jbd2_info *ret_info,
              struct disk **ret, struct fault *fault);

/* Bytes [at, at + 1024), in one block, that the layer answers with instead (a superblock whose flag is to be
 * cleared). Once, before the layer is shared. */
enum { JBD2_PATCH_SIZE = 1024 };
void jbd2_patch(struct disk *layer, uint64_t at, const uint8_t bytes[JBD2_PATCH_SIZE]);

/* Writes all that the layer changes into `disk`, which has what is under it: replaying it for good. What was
 * written when an error comes harms nothing; it can be done again. */
int jbd2_apply(struct disk *layer, struct disk *disk);

/* ---- between jbd2.c and jbd2-log.c ---- */

struct jbd2_entry {
    uint64_t block; /* of the file system */
    uint64_t copy;  /* the block that has its replayed content */
    bool escaped;   /* the copy's first four bytes are zeroed; they are the journal's magic number */
};

struct jbd2_log {
    struct jbd2_entry *entries; /* owned; by block, each once */
    size_t n;
    uint8_t super[JBD2_PATCH_SIZE]; /* the journal's superblock, with an empty log */
};

enum { JBD2_MAGIC = 0xC03B3998 };

int jbd2_log_read(struct disk *under, const struct jbd2_place *place, struct jbd2_log *ret,
                  struct jbd2_info *info, struct fault *fault);
#endif
