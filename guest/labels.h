/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_LABELS_H
#define FERRYFS_LABELS_H
/* What signature.c and labels.c share; others include signature.h. */
#include "../formats/bytes.h"
#include "signature.h"

/* A volume that is being looked at. */
struct probed {
    struct disk *disk;
    struct bytes head; /* its first PROBE_HEAD bytes, or all that can be read of them */
};
enum { PROBE_HEAD = 0x11000 }; /* up to the superblock of btrfs, and the descriptors of ISO 9660 */

/* Each fills label and uuid of a volume whose type is known, and leaves what it can't read empty. `at` is the
 * byte in the head where the magic's structure begins. Labels come out as valid UTF-8. */
void label_ext(const struct probed *p, size_t at, struct signature *ret);
void label_xfs(const struct probed *p, size_t at, struct signature *ret);
void label_btrfs(const struct probed *p, size_t at, struct signature *ret);
void label_luks(const struct probed *p, size_t at, struct signature *ret);
void label_lvm2(const struct probed *p, size_t at, struct signature *ret);
void label_swap(const struct probed *p, size_t at, struct signature *ret);
void label_f2fs(const struct probed *p, size_t at, struct signature *ret);
void label_apfs(const struct probed *p, size_t at, struct signature *ret);
void label_exfat(const struct probed *p, size_t at, struct signature *ret);
void label_iso9660(const struct probed *p, size_t at, struct signature *ret);
void label_ntfs(const struct probed *p, size_t at, struct signature *ret);
void label_fat(const struct probed *p, size_t at, struct signature *ret);
/* A Linux RAID superblock, wherever it was read from. */
void label_md(struct bytes super, struct signature *ret);
#endif
