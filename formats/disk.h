/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_DISK_H
#define FERRYFS_DISK_H
/* A disk: a byte array with a map. Containers, chains, partitions and journal layers are all disks, stacked.
 *
 * Nobody calls through the table but the wrappers below: disk_pread() checks the range, splits it at extents,
 * gives zeros for what isn't data, and asks the layer only for data. All calls on one disk may run in
 * parallel and may block on I/O; sources are immutable, so no lock is taken but a cache's.
 *
 * A *layer* (one link of a chain) is also a disk, whose HOLE means "ask the layer below"; image.h joins
 * layers to a whole disk, whose HOLE reads as zeros. */
#include "cleanup.h"
#include "extent.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;

/* What the host's disk has set aside for pwrite_last. */
enum disk_room {
    ROOM_LAST,  /* little: for a commit */
    ROOM_LOW,   /* some of it was used: for what gives room back */
    ROOM_PLENTY /* all */
};

struct disk_ops {
    const char *name;
    /* Fills all of buf or returns -errno: EIO the device failed, or the stored data is damaged or cut off.
     * The range begins where the DATA extent `e` does, which `find` gave for `off`, and isn't longer. */
    int (*pread)(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e);
    /* What lies at `off`. 0 < len, off + len <= size; 1 <= ret->length <= len; may be shorter than the true
     * extent: a call does a bounded amount of work. -EIO when the table that would tell can't be read or is
     * damaged. */
    int (*map)(struct disk *d, uint64_t off, uint64_t len, struct extent *ret);
    /* `map` for a reader, who goes on to `pread` what it answers: DATA is one piece for `pread`, while `map`
     * may join what lies apart. NULL: map. */
    int (*find)(struct disk *d, uint64_t off, uint64_t len, struct extent *ret);
    /* Hint that the range is read soon: start whatever helps, never wait. May be NULL. */
    void (*prefetch)(struct disk *d, uint64_t off, uint64_t len);
    /* Writing: only overlays, and what lies over them (windows, logical volumes), have these; NULL: -EROFS.
     * The range lies in the disk. All of it or -errno; a failed write leaves the old bytes or the new ones in
     * each cluster. Safe from any thread, beside reads too: a read sees each cluster before or after. */
    int (*pwrite)(struct disk *d, const void *buf, size_t len, uint64_t off);
    /* As pwrite, and may take what the host's disk has set aside (`room`): for metadata that completes what
     * is begun. NULL: pwrite. */
    int (*pwrite_last)(struct disk *d, const void *buf, size_t len, uint64_t off);
    /* How much of that there is. NULL: it isn't known, so ROOM_PLENTY. */
    enum disk_room (*room)(struct disk *d);
    /* The range reads as zeros from now on, or as it was (its bytes are of no use to anyone). */
    int (*discard)(struct disk *d, uint64_t off, uint64_t len);
    /* Of what lies over another disk: can that be written? NULL: with a pwrite it can. */
    bool (*writable)(const struct disk *d);
    /* Frees everything, children too. Nothing is under way. */
    void (*close)(struct disk *d);
};

/* Bytes: whoever reads no more at once, mostly reads data. */
enum { DISK_SHORT = 65536 };

struct disk {
    const struct disk_ops *ops;
    uint64_t size; /* bytes */
};

/* All or nothing; -EINVAL when the range isn't in the disk. */
int disk_pread(struct disk *d, void *buf, size_t len, uint64_t off);
/* -EINVAL when off >= size or len is 0; len is clipped to the disk's end. */
int disk_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret);
/* disk_map() by the layer's `find`: for those who read there next. */
int disk_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret);
/* disk_pread() of a range within an extent that disk_find() gave for `off`. */
int disk_pread_extent(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e);
/* How many extents, each counted as 1 + its effort, whoever joins them, or counts their bytes, looks at in
 * one go: a hostile table of a MiB can name 2^30 of them, and a request that walks all of those blocks its
 * caller for minutes. */
enum { DISK_JOIN_MAX = 1 << 18, DISK_WALK_MAX = 1 << 24 };

/* disk_map, with following extents of the same kind (DATA or not DATA) and depth joined, up to `len` and at
 * most DISK_JOIN_MAX of them. */
int disk_map_joined(struct disk *d, uint64_t off, uint64_t len, struct extent *ret);
void disk_prefetch(struct disk *d, uint64_t off, uint64_t len);
/* -EROFS where it can't be written, -EINVAL when the range isn't in the disk. */
int disk_pwrite(struct disk *d, const void *buf, size_t len, uint64_t off);
int disk_pwrite_last(struct disk *d, const void *buf, size_t len, uint64_t off);
enum disk_room disk_room(struct disk *d);
int disk_discard(struct disk *d, uint64_t off, uint64_t len);
bool disk_writable(const struct disk *d);
void disk_close(struct disk *d);
DEFINE_CLEANUP(struct disk *, disk_close)

/* A window on a disk (a partition). Doesn't own `under`, which must outlive it. The part of [off, off+len)
 * past the end of `under` reads as -EIO: a partition that the disk is too short for never gives zeros. */
int disk_slice_new(struct disk *under, uint64_t off, uint64_t len, struct disk **ret);
#endif
