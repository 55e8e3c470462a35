/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_BLOCKMAP_H
#define FERRYFS_BLOCKMAP_H
/* Which blocks of a disk hold data, with rank and select: one bit a block and a count per 4096 blocks.
 * Immutable once built, so any thread may ask; nothing takes a lock.
 *
 *     blockmap_build(disk, 1 << 16, &fine)     walks the disk's map once
 *     blockmap_coarsen(fine, 1 << 20, &map)    the same in larger blocks, without a second walk
 *     blockmap_get(map, i)                     does block i hold data?
 *     blockmap_rank(map, i)                    how many allocated blocks lie before block i
 *     blockmap_select(map, r)                  which block is the r-th allocated one (r from 0)
 *     blockmap_next(map, i, until)             the first allocated block from block i on
 *     blockmap_run(map, i, max)                how many allocated blocks follow each other from block i on
 *
 * A damaged table of the disk doesn't make the map fail: blocks of which the table can't say whether they are
 * data are set, so that a reader comes there and gets EIO, never zeros. Nor does a map of more than
 * DISK_WALK_MAX extents hold anybody up: what lies behind them is set too, and a view of it larger than need
 * be. */
#include "disk.h"

#include <stdbool.h>

struct blockmap;

/* A block is set when any byte of it is DATA by the disk's map, or unknown (see map_or_data). `block_size` is
 * a power of two. -EFBIG over BLOCKMAP_MAX_BLOCKS blocks, -ENOMEM. May block on the I/O of disk_map. */
#define BLOCKMAP_MAX_BLOCKS (UINT64_C(1) << 28) /* 32 MiB of bits: 256 TiB in blocks of 1 MiB */
int blockmap_build(struct disk *disk, uint64_t block_size, struct blockmap **ret);
/* `block_size` is a power of two and not smaller than that of `fine`. -ENOMEM. */
int blockmap_coarsen(const struct blockmap *fine, uint64_t block_size, struct blockmap **ret);
/* One more owner; each calls blockmap_free(). */
struct blockmap *blockmap_ref(struct blockmap *map);
void blockmap_free(struct blockmap *map);
DEFINE_CLEANUP(struct blockmap *, blockmap_free)

uint64_t blockmap_block_size(const struct blockmap *map); /* bytes */
uint64_t blockmap_blocks(const struct blockmap *map);     /* how many blocks the disk has */
uint64_t blockmap_allocated(const struct blockmap *map);  /* how many are set */
uint64_t blockmap_data(const struct blockmap *map);       /* bytes of DATA, exact; what is unknown counts */
uint64_t blockmap_compressed(const struct blockmap *map); /* bytes of it that are stored compressed */
bool blockmap_get(const struct blockmap *map, uint64_t block);       /* block < blocks */
uint64_t blockmap_rank(const struct blockmap *map, uint64_t block);  /* block <= blocks */
uint64_t blockmap_select(const struct blockmap *map, uint64_t rank); /* rank < allocated */
/* The first set block in [block, until), or `until` (<= blocks). */
uint64_t blockmap_next(const struct blockmap *map, uint64_t block, uint64_t until);
/* How many blocks from `block` on, at most `max`, are set; 0 when block isn't. */
uint64_t blockmap_run(const struct blockmap *map, uint64_t block, uint64_t max);

/* disk_map in a walk that must not end at a damaged table: where the map can't be read it answers DATA up to
 * the next multiple of *skip, which doubles with each failure that follows another and is MAP_SKIP again
 * after a success. So the work in a damaged region of any size is bounded by its logarithm; the price is that
 * up to as much again behind it counts as DATA too. Set *skip to MAP_SKIP before the first call. off < size,
 * len > 0. -ENOMEM says nothing of the image and is returned. */
#define MAP_SKIP (UINT64_C(1) << 16) /* bytes: no format has smaller blocks of interest to a view */
int map_or_data(struct disk *disk, uint64_t off, uint64_t len, uint64_t *skip, struct extent *ret);
#endif
