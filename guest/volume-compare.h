/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VOLUME_COMPARE_H
#define FERRYFS_VOLUME_COMPARE_H
/* Compares one file of two states of a volume: volume-diff.c's. */
#include "volume-diff.h"

/* Could anything of the inode differ, by where its bytes lie? */
enum volume_touch {
    TOUCH_NONE,   /* it is the same, all of it */
    TOUCH_RECORD, /* its content is the same, what describes it may differ */
    TOUCH_ALL,
};
enum volume_touch volume_touched(const struct volume_diff_source *s, uint64_t old_ino, uint64_t new_ino);

/* Fills in types, sizes, what and attributes of `n`, for two inodes of one name: DIFF_SAME if nothing
 * differs. A directory's entries aren't looked at. */
int volume_compare(const struct volume_diff_source *s, uint64_t old_ino, uint64_t new_ino,
                   enum volume_touch touch, struct volume_diff_node *n);
#endif
