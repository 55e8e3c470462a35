/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TREE_DISKS_H
#define FERRYFS_TREE_DISKS_H
/* What the files of disks/ know of each other. In all of their node ids a is the disk's index and c the
 * number of the snapshot, 0 for the current state. */
#include "ferry.h"

/* The directory of a state, in tree-disks.c. */
struct node_id disk_dir_id(uint64_t disk, uint64_t snapshot);

/* disks/diskN/snapshots/, in tree-snapshots.c; absent when no snapshot can be shown. */
bool snapshots_present(struct ferry *f, uint64_t disk);
struct node_id snapshots_id(uint64_t disk);

/* The digest of a view, in tree-digests.c: the node of the name VIEW.sha256 in a state's directory; false
 * when `name` isn't of that form, or there is no such view. */
bool digest_lookup(struct ferry *f, uint64_t disk, uint64_t snapshot, const char *name, struct node_id *ret);
#endif
