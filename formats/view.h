/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VIEW_H
#define FERRYFS_VIEW_H
/* A view: a disk converted to another format, as a pure function. Any byte range can be computed by itself;
 * nothing is staged. A view format is one file (formats/view-NAME.c) that lays out segments, and one row in
 * views.c; everything else is the engine's (view.c).
 *
 * A layout is a list of segments, in order and without gaps:
 *   SEGMENT_BYTES   constant bytes, kept (headers: a few hundred bytes, padded by the engine with zeros)
 *   SEGMENT_TABLE   computed by a function for any range of it (allocation tables)
 *   SEGMENT_DISK    the disk's bytes from a disk offset on, zeros past its end
 *   SEGMENT_BLOCKS  the allocated blocks of the block map one after the other (dynamic formats): rank/select
 *   SEGMENT_ZERO    zeros
 *
 * All calls on an open view may run in parallel; an open view is immutable. */
#include "blockmap.h"
#include "disk.h"
#include "fault.h"

enum segment_kind { SEGMENT_BYTES, SEGMENT_TABLE, SEGMENT_DISK, SEGMENT_BLOCKS, SEGMENT_ZERO };

struct view;

struct segment {
    uint64_t start, length; /* in the view, bytes */
    enum segment_kind kind;
    uint8_t *bytes; /* BYTES: owned; n_bytes of them, the rest of the segment is zeros */
    size_t n_bytes;
    /* TABLE: fills buf with [off, off+len) of the segment. Never fails. */
    void (*table)(const struct view *v, void *buf, size_t len, uint64_t off);
    uint64_t disk_offset; /* DISK */
};

enum { VIEW_MAX_SEGMENTS = 16 };

struct layout {
    uint64_t size; /* of the view, bytes */
    size_t n;
    struct segment segment[VIEW_MAX_SEGMENTS];
    struct blockmap *blocks; /* owned; of formats with blocks */
    uint64_t block_size;     /* of the view's blocks; 0: none */
    void *private;           /* of the format, freed with free() */
};

struct view_source {
    struct disk *disk;
    uint8_t
        id[32]; /* what identifiers are derived from: a digest of what the disk is; equal disks, equal id */
    unsigned sector_size; /* logical, 512 or 4096 */
};

struct view_format {
    const char *file_name; /* "disk.vhdx" */
    const char *name;      /* "vhdx", for info.json */
    /* Works out the layout; on failure leaves nothing. -EFBIG: the format can't hold a disk of this size. */
    int (*layout)(const struct view_source *src, struct layout *ret, struct fault *fault);
};

/* The table of views.c, ending with NULL. */
extern const struct view_format *const view_formats[];

struct view {
    const struct view_format *format;
    struct disk *disk; /* not owned */
    struct layout layout;
    uint64_t allocated; /* bytes that aren't holes, for st_blocks */
};

/* Walks the disk's map once. The disk must outlive the view. */
int view_open(const struct view_format *format, const struct view_source *src, struct view **ret,
              struct fault *fault);
void view_close(struct view *v);

/* All or nothing within [0, layout.size); -EIO when the disk's data can't be read. */
int view_pread(struct view *v, void *buf, size_t len, uint64_t off);
/* DATA or HOLE at off (< size), at most len bytes; holes are what lseek(SEEK_HOLE) may skip: they read as
 * zeros. Adjacent extents of one kind are joined, up to `len`. */
int view_map(struct view *v, uint64_t off, uint64_t len, struct extent *ret);
/* Read-ahead hint: starts the disk's prefetch for what lies behind this range of the view. */
void view_prefetch(struct view *v, uint64_t off, uint64_t len);

/* The identity of a disk for view_source.id: SHA-256 over its size, its links' ids and its first 64 KiB
 * (where the partition table's own identifiers are). What can't be read is left out. */
struct image;
void view_identity(const struct image *image, uint8_t ret[32]);
#endif
