/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_QCOW2_EXTRAS_H
#define FERRYFS_QCOW2_EXTRAS_H
/* What a qcow2 image keeps beside the current state of its disk: internal snapshots and persistent bitmaps.
 * The disk is readable without either, so damage here is a remark in info->notes, never a refusal; what was
 * found before it counts. Both end with layer_info_done(). */
#include "image.h"
#include "qcow2-header.h"

/* What opens a snapshot; belongs to the entry of info->snapshots with the same index. */
struct qcow2_snapshot {
    uint64_t l1_offset;  /* of its L1 table, cluster aligned when the snapshot may be shown */
    uint64_t l1_entries; /* and at least what its disk needs */
    uint64_t size;       /* of its disk, bytes */
};

/* Fills info->snapshots, at most IMAGE_MAX_SNAPSHOTS of them, and as many *ret (owned; NULL: none). -ENOMEM.
 */
int qcow2_snapshots_read(struct file *file, const struct qcow2_header *h, struct qcow2_snapshot **ret,
                         struct layer_info *info);
/* Fills info->bitmaps, at most IMAGE_MAX_BITMAPS of them. -ENOMEM. */
int qcow2_bitmaps_read(struct file *file, const struct qcow2_header *h, struct layer_info *info);
#endif
