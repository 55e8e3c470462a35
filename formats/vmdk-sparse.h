/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VMDK_SPARSE_H
#define FERRYFS_VMDK_SPARSE_H
/* Sparse extents as disks: hosted ones (magic KDMV), plain and stream-optimized, and the two kinds of
 * snapshot deltas of ESXi, COWD and seSparse. */
#include "image.h"

/* A checked header. Sectors are of 512 bytes, always. */
struct vmdk_header {
    uint32_t version; /* 1 to 3 */
    uint32_t flags;
    uint64_t capacity_sectors;
    uint64_t grain_sectors;                         /* a power of two; meaningless when capacity is 0 */
    uint64_t descriptor_sector, descriptor_sectors; /* 0: none embedded */
    uint32_t gtes_per_gt;
    uint64_t rgd_sector, gd_sector; /* gd may be VMDK_GD_AT_END */
    uint64_t overhead_sectors;      /* before the first grain */
    bool unclean;
};

enum vmdk_flag {
    VMDK_FLAG_NEWLINES = 1 << 0, /* the newline test is valid */
    VMDK_FLAG_RGD = 1 << 1,      /* there is a redundant grain directory */
    VMDK_FLAG_ZEROED = 1 << 2,   /* a grain table entry of 1 means zeros */
    VMDK_FLAG_COMPRESSED = 1 << 16,
    VMDK_FLAG_MARKERS = 1 << 17, /* each grain begins with its address and its size */
};

#define VMDK_MAGIC     "KDMV"
#define VMDK_GD_AT_END UINT64_MAX
enum { VMDK_SECTOR = 512, VMDK_HEADER_BYTES = 512 };

/* Reads and checks the header (or the footer) at byte `at`. -ENODATA cut short, -EUCLEAN damaged, -ENOTSUP a
 * version, flag or compression that is not known, -EFBIG. */
int vmdk_header_read(struct file *file, uint64_t at, struct vmdk_header *ret, struct fault *fault);

/* What the opening of every kind of extent needs and adds to. */
struct vmdk_context {
    const struct image_env *env;
    struct layer_info *info; /* block_size, compression, notes are filled in */
    unsigned opened;         /* extents of the disk that are open before this one */
};

/* Opens an extent of `sectors` sectors (0: as many as its header says) that stands in `file`. Where its line
 * and its header differ by rounding, the line decides, and what the tables don't cover is HOLE. Reads the
 * grain directory, and as many grain tables as is cheap, and refuses what they show: -ENODATA truncated,
 * -EUCLEAN. */
int vmdk_sparse_open(struct file *file, uint64_t sectors, const struct vmdk_context *ctx, struct disk **ret,
                     struct fault *fault);
/* The same for ESXi's. -ENOTSUP also for a seSparse whose journal must be replayed. */
int vmdk_cowd_open(struct file *file, uint64_t sectors, const struct vmdk_context *ctx, struct disk **ret,
                   struct fault *fault);
int vmdk_sesparse_open(struct file *file, uint64_t sectors, const struct vmdk_context *ctx, struct disk **ret,
                       struct fault *fault);

/* An extent whose header says something. */
struct vmdk_extent_size {
    uint64_t line_sectors;     /* what the descriptor's line says; 0: nothing */
    uint64_t capacity_sectors; /* what the header says */
    uint64_t grain_sectors;
};

/* How many sectors the extent in `file` has. A difference of rounding gets a note, -EUCLEAN for a line that
 * is further above the header. Whoever knows where the grains are refuses a line that loses some. */
int vmdk_extent_sectors(struct file *file, const struct vmdk_extent_size *size, struct notes *notes,
                        uint64_t *ret, struct fault *fault);
#endif
