/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_BLOCK_STORE_H
#define FERRYFS_BLOCK_STORE_H
/* Blocks of a writable file system's metadata, held back in memory: one operation changes the same few blocks
 * many times, and only what is left of it at a sync has to reach the disk. Bounded; what doesn't fit goes to
 * the disk early, which harms nothing, as the overlay below makes everything up to a sync one step.
 *
 * Any thread; every call is short, but for reads and writes of the disk. */
#include "../formats/disk.h"

struct block_store;

/* `disk` isn't owned. -ENOMEM. */
int block_store_new(struct disk *disk, uint32_t block_size, struct block_store **ret);
/* What hasn't been flushed is dropped. */
void block_store_free(struct block_store *s);
/* One block as it is now. -EIO, -ENOMEM. */
int block_store_read(struct block_store *s, uint64_t block, void *buf);
/* One block. -ENOMEM. */
int block_store_write(struct block_store *s, uint64_t block, const void *buf);
/* Any bytes; what else is in their blocks stays. -EIO, -ENOMEM. */
int block_store_put(struct block_store *s, const void *buf, size_t len, uint64_t byte);
/* Blocks whose content means nothing any more, or is written past the store. */
void block_store_forget(struct block_store *s, uint64_t block, uint64_t count);
/* Lets go of blocks that are about to be written in part past the store: what is held goes to the disk. */
int block_store_release(struct block_store *s, uint64_t block, uint64_t count);
/* Puts what is held back of [byte, byte + len) into `buf`, which was read from the disk. */
void block_store_patch(struct block_store *s, void *buf, size_t len, uint64_t byte);
/* All that is held back goes to the disk. On an error what remains is still held. */
int block_store_flush(struct block_store *s);
#endif
