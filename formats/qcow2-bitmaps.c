/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The directory of persistent bitmaps, for info.json: what a backup program keeps in the image to know what
 * was written since its last run. The bits themselves aren't read.
 *
 *     header extension 0x23852875: number, size and offset of the directory
 *     directory entry, at a multiple of 8:
 *         0   table of the bits: offset, entries      16  type: 1, what was written
 *         12  flags: 1 in use, 2 enabled              17  log2 of the granularity
 *         24  extra data, name                        18  length of the name (u16), of the extra data (u32)
 *
 * A program that doesn't know bitmaps clears an autoclear bit of the header when it writes the disk, and all
 * of them are stale from then on. Source: QEMU's docs/interop/qcow2, "Bitmaps". */
#include "checked.h"
#include "qcow2-extras.h"

#include <errno.h>

enum { B_FLAGS = 12, B_TYPE = 16, B_GRANULARITY = 17, B_NAME_LENGTH = 18, B_EXTRA_LENGTH = 20, B_FIXED = 24 };
enum { FLAG_IN_USE = 1, FLAG_ENABLED = 2, TYPE_DIRTY = 1 };
enum { MIN_GRANULARITY = 9, MAX_GRANULARITY = 31, MAX_NAME = 1023 /* QEMU's */ };

/* The entry at *pos, which lies in the file with all that [*pos, end) has. 1 and *pos behind it; 0 when it
 * is no entry; -ENOMEM. */
static int add_entry(struct file *file, uint64_t *pos, uint64_t end, struct layer_info *info)
{
    uint8_t buf[B_FIXED];
    struct bad bad = { 0 };
    struct bytes b = bytes_of(buf, sizeof buf, *pos, &bad);
    if (end - *pos < B_FIXED || file_pread(file, buf, sizeof buf, *pos) < 0)
        return 0;
    uint32_t flags = be32(b, B_FLAGS), extra = be32(b, B_EXTRA_LENGTH), name_n = be16(b, B_NAME_LENGTH);
    unsigned bits = u8(b, B_GRANULARITY);
    uint64_t left = end - *pos - B_FIXED;
    if (extra > left || name_n > left - extra || name_n > MAX_NAME || u8(b, B_TYPE) != TYPE_DIRTY ||
        bits < MIN_GRANULARITY || bits > MAX_GRANULARITY)
        return 0;
    _cleanup_free_ char *name = calloc(1, name_n + 1);
    if (!name)
        return -ENOMEM;
    if (file_pread(file, name, name_n, *pos + B_FIXED + extra) < 0)
        return 0;
    info->bitmaps[info->n_bitmaps++] = (struct image_bitmap){
        .name = TAKE_PTR(name),
        .granularity = UINT64_C(1) << bits,
        .enabled = flags & FLAG_ENABLED,
        .in_use = flags & FLAG_IN_USE,
    };
    *pos = min_u64(end, round_up(*pos + B_FIXED + extra + name_n, 8));
    return 1;
}

int qcow2_bitmaps_read(struct file *file, const struct qcow2_header *h, struct layer_info *info)
{
    const uint32_t n = (uint32_t)min_u64(h->n_bitmaps, IMAGE_MAX_BITMAPS);
    uint64_t pos = h->bitmaps_offset;
    int more = 1;
    if (!n)
        return 0;
    if (!pos || pos % h->cluster_size || !range_inside(pos, h->bitmaps_size, file->size)) {
        notes_add(&info->notes, "the directory of its bitmaps lies at an impossible place, byte %llu",
                  (unsigned long long)pos);
        return 0;
    }
    info->bitmaps = calloc(n, sizeof *info->bitmaps);
    if (!info->bitmaps)
        return -ENOMEM;
    while (more > 0 && info->n_bitmaps < n)
        more = add_entry(file, &pos, h->bitmaps_offset + h->bitmaps_size, info);
    if (more < 0)
        return more;
    if (!more)
        notes_add(&info->notes,
                  "the directory of bitmaps is damaged at byte %llu: only %zu of its %u are known",
                  (unsigned long long)pos, info->n_bitmaps, h->n_bitmaps);
    else if (n < h->n_bitmaps)
        notes_add(&info->notes, "has %u bitmaps, of which only the first %u are looked at", h->n_bitmaps, n);
    for (size_t i = 0; i < info->n_bitmaps; i++)
        info->bitmaps[i].in_use |= !h->bitmaps_consistent;
    if (!h->bitmaps_consistent)
        notes_add(&info->notes,
                  "its bitmaps are stale: a program that doesn't know them has written the disk");
    return 0;
}
