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
 *   SEGMENT_BLOCKS  the allocated blocks of the block map one after the other (dynamic formats): rank/select;
 *                   zeros past the disk's end
 *   SEGMENT_ZERO    zeros
 *
 * All calls on an open view may run in parallel; an open view is immutable, but for the survey, which one
 * that was opened early gets later. */
#include "blockmap.h"
#include "disk.h"
#include "fault.h"

#include <stdatomic.h>

enum segment_kind { SEGMENT_BYTES, SEGMENT_TABLE, SEGMENT_DISK, SEGMENT_BLOCKS, SEGMENT_ZERO };

struct view;

struct segment {
    uint64_t start, length; /* in the view, bytes */
    enum segment_kind kind;
    uint8_t *bytes; /* BYTES: owned; n_bytes of them, the rest of the segment is zeros */
    size_t n_bytes;
    /* TABLE: fills buf with [off, off+len) of the segment. Never fails. */
    void (*table)(const struct view *v, void *buf, size_t len, uint64_t off);
    /* TABLE: if not 0, `unit` bytes of it belong to each block of layout.groups. Those of a clear one are a
     * hole, and never asked for. */
    uint64_t unit;
    uint64_t disk_offset; /* DISK */
};

enum { VIEW_MAX_SEGMENTS = 16 };

struct layout {
    uint64_t size; /* of the view, bytes */
    size_t n;
    struct segment segment[VIEW_MAX_SEGMENTS];
    struct blockmap *blocks; /* owned; of formats with blocks */
    uint64_t block_size;     /* of the view's blocks: that of `blocks`; 0: none */
    struct blockmap *groups; /* owned; `blocks` in larger ones, of formats whose tables have two levels */
    uint32_t block_head;     /* bytes of ones before each block of SEGMENT_BLOCKS (VHD's sector bitmaps) */
    void *private;           /* of the format, freed with free() */
};

struct view_source {
    struct disk *disk;
    uint8_t
        id[32]; /* what identifiers are derived from: a digest of what the disk is; equal disks, equal id */
    unsigned sector_size; /* logical, 512 or 4096 */
    /* What view_survey made of the disk, for all its views, which take references. NULL: view_open walks the
     * disk's map itself. */
    struct blockmap *survey;
};

struct view_format {
    const char *file_name; /* "disk.vhdx" */
    const char *name;      /* "vhdx", for info.json */
    /* Works out the layout with the functions below; `ret` comes zeroed, and on failure the caller frees what
     * is in it. src->survey is there. -EFBIG: the format can't hold a disk of this size. */
    int (*layout)(const struct view_source *src, struct layout *ret, struct fault *fault);
    /* The layout follows from the disk's size alone: view_open_early() can do it, src->survey may be NULL. */
    bool early;
};

/* The table of views.c, ending with NULL. */
extern const struct view_format *const view_formats[];

struct view {
    const struct view_format *format;
    struct disk *disk; /* not owned */
    /* of the disk: where it is clear there are zeros, and the disk needn't be asked; NULL: none yet */
    struct blockmap *_Atomic survey;
    struct layout layout;
    uint64_t owner;     /* of its bytes, for whoever keeps them in a cache */
    uint64_t allocated; /* bytes that view_map calls DATA, for st_blocks; an upper bound where the disk's map
                           is damaged */
};

/* ---- for fs/ ---- */

/* One walk over the disk's map that serves all its views: pass it as view_source.survey, and free it with
 * blockmap_free when they are open. A damaged map is no error (see blockmap.h). -ENOMEM. */
int view_survey(struct disk *disk, struct blockmap **ret);

/* The disk must outlive the view. */
int view_open(const struct view_format *format, const struct view_source *src, struct view **ret,
              struct fault *fault);
/* The same, for a format that is `early`, without a walk over the disk's map: what a first read waits for
 * doesn't grow with the disk. Until view_complete() all calls work, but `allocated` isn't known, and zeros
 * are only told by asking the disk. */
int view_open_early(const struct view_format *format, const struct view_source *src, struct view **ret,
                    struct fault *fault);
/* Gives it a reference of the survey, once; other threads may be using the view. -ENOMEM, and it stays as it
 * was. */
int view_complete(struct view *v, struct blockmap *survey);
bool view_is_complete(const struct view *v);
void view_close(struct view *v);
DEFINE_CLEANUP(struct view *, view_close)

/* All or nothing within [0, layout.size), else -EINVAL; -EIO when the disk's data can't be read. */
int view_pread(struct view *v, void *buf, size_t len, uint64_t off);
/* DATA or HOLE at off (< size, else -EINVAL), at most len bytes; holes are what lseek(SEEK_HOLE) may skip:
 * they read as zeros. Adjacent extents of one kind are joined, up to `len` and DISK_JOIN_MAX. Where the
 * disk's map can't be read it answers DATA, so that a reader goes there and gets EIO. */
int view_map(struct view *v, uint64_t off, uint64_t len, struct extent *ret);
/* The first byte in [off, end) that may be other than zero, or `end`: quick even over TiB of zeros, and
 * rounded down to a block of the survey. end <= layout.size. */
uint64_t view_skip_zeros(const struct view *v, uint64_t off, uint64_t end);
/* Read-ahead hint: starts the disk's prefetch for this range of the view. Never waits for data. */
void view_prefetch(struct view *v, uint64_t off, uint64_t len);

/* The identity of a disk for view_source.id: SHA-256 over its size, its links' ids and its first 64 KiB
 * (where the partition table's own identifiers are). What can't be read is left out. */
struct image;
void view_identity(const struct image *image, uint8_t ret[32]);

/* ---- for layouts ---- */

/* Size of the disk in a view: whole sectors. UINT64_MAX: too large for any. */
uint64_t view_disk_size(const struct view_source *src);

/* Appends a segment and returns it; its length counts at once. A length of 0 is fine. */
struct segment *layout_add(struct layout *l, enum segment_kind kind, uint64_t length);
/* Appends a SEGMENT_BYTES; *ret are n (<= length) bytes of zeros to be filled in, owned by the layout.
 * -ENOMEM. */
int layout_add_bytes(struct layout *l, uint64_t length, size_t n, uint8_t **ret);
/* Fills in blocks and block_size: the survey in blocks of this size (a power of two). -EFBIG for more than
 * BLOCKMAP_MAX_BLOCKS, -ENOMEM. */
int layout_set_blocks(struct layout *l, const struct view_source *src, uint64_t block_size);
/* Fills in groups, of n blocks each (a power of two); blocks are there. -ENOMEM. */
int layout_set_groups(struct layout *l, uint64_t n);
#endif
