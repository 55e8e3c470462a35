/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_BLOCKMAP_H
#define FERRYFS_BLOCKMAP_H
/* Which blocks of a disk hold data, with rank and select: one bit a block and a count per 4096 blocks.
 * Immutable once built, so any thread may ask.
 *
 *     blockmap_build(disk, 1 << 20, &map)      walks the disk's map once
 *     blockmap_get(map, i)                     does block i hold data?
 *     blockmap_rank(map, i)                    how many allocated blocks lie before block i
 *     blockmap_select(map, r)                  which block is the r-th allocated one (r from 0) */
#include "disk.h"

#include <stdbool.h>

struct blockmap;

/* A block is set when any byte of it is DATA by the disk's map. -EIO when the map can't be read, -EFBIG over
 * BLOCKMAP_MAX_BLOCKS blocks, -ENOMEM. */
#define BLOCKMAP_MAX_BLOCKS (UINT64_C(1) << 28) /* 32 MiB of bits: 256 TiB in blocks of 1 MiB */
int blockmap_build(struct disk *disk, uint64_t block_size, struct blockmap **ret);
void blockmap_free(struct blockmap *map);

uint64_t blockmap_blocks(const struct blockmap *map);    /* how many blocks the disk has */
uint64_t blockmap_allocated(const struct blockmap *map); /* how many are set */
bool blockmap_get(const struct blockmap *map, uint64_t block);
uint64_t blockmap_rank(const struct blockmap *map, uint64_t block);
uint64_t blockmap_select(const struct blockmap *map, uint64_t rank); /* rank < allocated */
#endif
