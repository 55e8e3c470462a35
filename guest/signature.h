/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_SIGNATURE_H
#define FERRYFS_SIGNATURE_H
/* What a volume is, by its signature. Types: "ntfs" "ext2" "ext3" "ext4" "fat12" "fat16" "fat32" can be shown
 * (see volume.h); others are only named: "exfat" "xfs" "btrfs" "swap" "luks" "lvm2" "bitlocker" "refs" "md"
 * "apfs" "hfsplus" "zfs" "squashfs" "iso9660" "udf" "vmfs" "f2fs" "ldm" "storage-spaces" "jbd" ... Source:
 * fact sheet volumes, 5. */
#include "../formats/disk.h"

#include <stddef.h>

struct signature {
    char type[16];   /* "" when nothing is recognised */
    char label[256]; /* UTF-8; "" none or unknown */
    char uuid[40];   /* as blkid prints it; "" none or unknown */
};

/* -EIO when the places can't be read. Nothing recognised is 0 with an empty type. */
int signature_probe(struct disk *volume, struct signature *ret);
#endif
