/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_MAP_H
#define FERRYFS_MAP_H
/* map.json: a disk's extents as text, written while it is read, so that a million of them cost no memory. */
#include "../formats/disk.h"

struct map_writer;

/* NULL: no memory. The disk must outlive it. */
struct map_writer *map_writer_new(struct disk *disk);
void map_writer_free(struct map_writer *w);
/* Up to len bytes of the text at off; fewer only at its end. In sequence it is a stream; going back begins
 * anew. Calls on one writer exclude each other (a lock inside). -EIO when the disk's map can't be read. */
int map_writer_read(struct map_writer *w, void *buf, size_t len, uint64_t off, size_t *ret_len);
#endif
