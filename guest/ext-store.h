/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_EXT_STORE_H
#define FERRYFS_EXT_STORE_H
/* Blocks of a writable file system's metadata, held back in memory: one operation changes the same few blocks
 * many times, and only what is left of it at a sync has to reach the disk. Bounded; what doesn't fit goes to
 * the disk early, which harms nothing, as the overlay below makes everything up to a sync one step.
 *
 * Any thread; every call is short, but for reads and writes of the disk. */
#include "../formats/disk.h"

struct ext_store;

/* `disk` isn't owned. -ENOMEM. */
int ext_store_new(struct disk *disk, uint32_t block_size, struct ext_store **ret);
/* What hasn't been flushed is dropped. */
void ext_store_free(struct ext_store *s);
/* One block as it is now. -EIO, -ENOMEM. */
int ext_store_read(struct ext_store *s, uint64_t block, void *buf);
/* One block. -ENOMEM. */
int ext_store_write(struct ext_store *s, uint64_t block, const void *buf);
/* Blocks whose content means nothing any more, or is written past the store. */
void ext_store_forget(struct ext_store *s, uint64_t block, uint64_t count);
/* Lets go of blocks that are about to be written in part past the store: what is held goes to the disk. */
int ext_store_release(struct ext_store *s, uint64_t block, uint64_t count);
/* Puts what is held back of [byte, byte + len) into `buf`, which was read from the disk. */
void ext_store_patch(struct ext_store *s, void *buf, size_t len, uint64_t byte);
/* All that is held back goes to the disk. On an error what remains is still held. */
int ext_store_flush(struct ext_store *s);
#endif
