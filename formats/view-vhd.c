/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.vhd and disk-fixed.vhd: VHD for Hyper-V's first generation, Azure, XenServer.
 *
 *     dynamic   | footer | header | BAT | pad | gap, bitmap, block | gap, bitmap, block | ... | footer
 *               0        512      1536        whole 4 KiB
 *     fixed     | the disk | zeros to a whole MiB | footer
 *
 * A BAT entry is the sector of the block's bitmap, or all ones. Bitmaps are all ones: what a block holds, it
 * holds whole. Before each bitmap there is a gap of seven sectors, so that blocks lie on 4 KiB, as
 * XenServer's own writer has it; the engine gives it ones too, and nobody looks.
 *
 * The size of the disk is stated twice, in bytes and as cylinders * heads * sectors, which are mostly less.
 * Which one a reader takes goes by the creator: "win ", Windows itself, is the one of whom all take the
 * bytes.
 *
 * Azure wants fixed files of a whole number of MiB. Where that makes the disk longer and it has a GPT, see
 * gpt-move.h. Both formats count in sectors of 512 bytes, so a disk of larger ones is none that they can
 * hold: its partition table would be read at a wrong scale.
 *
 * Source: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0; Azure's rules for uploads. */
#include "bytes.h"
#include "checked.h"
#include "gpt-move.h"
#include "hash.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

extern const struct view_format vhd_view, vhd_fixed_view;

#define MIB(n)    ((uint64_t)(n) << 20)
#define MAX_SIZE  (UINT64_C(2040) << 30) /* Hyper-V's and QEMU's */
#define NO_OFFSET UINT64_MAX
#define BLOCK     MIB(2)

enum {
    SECTOR = 512,
    HEADER_AT = 512,
    HEADER_LENGTH = 1024,
    BAT_AT = HEADER_AT + HEADER_LENGTH,
    BAT_ENTRY = 4,
    HEAD = 4096, /* before a block: the gap and the bitmap */
    BITMAP = BLOCK / SECTOR / 8,
    FIXED = 2,
    DYNAMIC = 3,
    /* 2026-01-01 in seconds from 2000 on: the time of writing would differ between mounts */
    TIME_STAMP = 820540800,
};
#define ABSENT UINT32_MAX

struct vhd {
    uint64_t blocks_at; /* byte of the file where the first block's head begins */
    uint64_t n_blocks;
};

/* ---- footer and header ---- */

struct geometry {
    uint16_t cylinders;
    uint8_t heads, sectors;
};

/* The specification's appendix, in its own steps. */
static struct geometry geometry_of(uint64_t size)
{
    uint64_t total = min_u64(size / SECTOR, UINT64_C(65535) * 16 * 255), per_track = 17, heads, tracks;
    if (total >= UINT64_C(65535) * 16 * 63)
        return (struct geometry){ (uint16_t)(total / 255 / 16), 16, 255 };
    tracks = total / per_track;
    heads = max_u64(4, (tracks + 1023) / 1024);
    if (tracks >= heads * 1024 || heads > 16) {
        per_track = 31;
        heads = 16;
        tracks = total / per_track;
    }
    if (tracks >= heads * 1024) {
        per_track = 63;
        heads = 16;
        tracks = total / per_track;
    }
    return (struct geometry){ (uint16_t)(tracks / heads), (uint8_t)heads, (uint8_t)per_track };
}

/* Over n bytes in which the field itself is still 0. */
static uint32_t checksum(const uint8_t *p, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += p[i];
    return ~sum;
}

static void put_footer(uint8_t *p, const struct view_source *src, const char *name, uint32_t type,
                       uint64_t size)
{
    struct geometry g = geometry_of(size);
    memcpy(p, "conectix", 8);
    put_be32(p + 8, 2); /* reserved, always set */
    put_be32(p + 12, 0x00010000);
    put_be64(p + 16, type == FIXED ? NO_OFFSET : HEADER_AT);
    put_be32(p + 24, TIME_STAMP);
    memcpy(p + 28, "win ", 4);
    put_be32(p + 32, 0x00060002);
    memcpy(p + 36, "Wi2k", 4);
    put_be64(p + 40, size);
    put_be64(p + 48, size);
    put_be16(p + 56, g.cylinders);
    p[58] = g.heads;
    p[59] = g.sectors;
    put_be32(p + 60, type);
    guid_derive(src->id, name, p + 68);
    put_be32(p + 64, checksum(p, SECTOR));
}

static int add_footer(struct layout *l, const struct view_source *src, const char *name, uint32_t type,
                      uint64_t size)
{
    uint8_t *p;
    int r = layout_add_bytes(l, SECTOR, SECTOR, &p);
    if (!r)
        put_footer(p, src, name, type, size);
    return r;
}

static int add_header(struct layout *l, uint64_t n_blocks)
{
    uint8_t *p;
    int r = layout_add_bytes(l, HEADER_LENGTH, HEADER_LENGTH, &p);
    if (r < 0)
        return r;
    memcpy(p, "cxsparse", 8);
    put_be64(p + 8, NO_OFFSET);
    put_be64(p + 16, BAT_AT);
    put_be32(p + 24, 0x00010000);
    put_be32(p + 28, (uint32_t)n_blocks);
    put_be32(p + 32, (uint32_t)BLOCK);
    put_be32(p + 36, checksum(p, HEADER_LENGTH));
    return 0;
}

/* ---- the BAT ---- */

static void vhd_bat(const struct view *v, void *buf, size_t len, uint64_t off)
{
    const struct vhd *x = v->layout.private;
    const struct blockmap *blocks = v->layout.blocks;
    uint64_t i = off / BAT_ENTRY;
    uint64_t rank = blockmap_rank(blocks, min_u64(i, x->n_blocks));
    size_t skip = (size_t)(off % BAT_ENTRY);
    for (uint8_t *p = buf; len; skip = 0, i++) {
        uint8_t entry[BAT_ENTRY];
        size_t n = (size_t)min_u64(len, BAT_ENTRY - skip);
        uint32_t value = ABSENT;
        if (i < x->n_blocks && blockmap_get(blocks, i))
            value = (uint32_t)((x->blocks_at + rank++ * (HEAD + BLOCK) + HEAD - BITMAP) / SECTOR);
        put_be32(entry, value);
        memcpy(p, entry + skip, n);
        p += n;
        len -= n;
    }
}

/* ---- layouts ---- */

static int check_size(const struct view_source *src, uint64_t size, struct fault *fault)
{
    if (!size)
        return fault_in(fault, -ENOTSUP, "", "an empty disk can't be a VHD");
    if (src->sector_size != SECTOR)
        return fault_in(fault, -ENOTSUP, "", "a VHD has sectors of 512 bytes, the disk has sectors of %u",
                        src->sector_size);
    if (size > MAX_SIZE)
        return fault_in(fault, -EFBIG, "", "a VHD holds at most 2040 GiB, the disk has %" PRIu64 " bytes",
                        size);
    return 0;
}

static int vhd_layout(const struct view_source *src, struct layout *l, struct fault *fault)
{
    uint64_t size = view_disk_size(src);
    int r = check_size(src, size, fault);
    struct vhd *x = r ? NULL : calloc(1, sizeof *x);
    if (!x)
        return r ? r : -ENOMEM;
    l->private = x;
    x->n_blocks = div_up(size, BLOCK);
    uint64_t bat = round_up(x->n_blocks * BAT_ENTRY, SECTOR);
    x->blocks_at = round_up(BAT_AT + bat, HEAD);
    r = add_footer(l, src, vhd_view.name, DYNAMIC, size);
    if (!r)
        r = add_header(l, x->n_blocks);
    if (!r)
        r = layout_set_blocks(l, src, BLOCK);
    if (r < 0)
        return r;
    layout_add(l, SEGMENT_TABLE, bat)->table = vhd_bat;
    layout_add(l, SEGMENT_ZERO, x->blocks_at - BAT_AT - bat);
    l->block_head = HEAD;
    layout_add(l, SEGMENT_BLOCKS, blockmap_allocated(l->blocks) * (HEAD + BLOCK));
    return add_footer(l, src, vhd_view.name, DYNAMIC, size);
}

static int vhd_fixed_layout(const struct view_source *src, struct layout *l, struct fault *fault)
{
    uint64_t size = view_disk_size(src);
    int r = check_size(src, size, fault);
    if (r < 0)
        return r;
    uint64_t padded = round_up(size, MIB(1));
    if (padded > size)
        r = gpt_move_layout(src->disk, padded, l);
    if (r < 0)
        return r;
    if (!l->size) /* it stays as it is */
        layout_add(l, SEGMENT_DISK, padded);
    return add_footer(l, src, vhd_fixed_view.name, FIXED, padded);
}

const struct view_format vhd_view = {
    .file_name = "disk.vhd",
    .name = "vhd",
    .layout = vhd_layout,
};

const struct view_format vhd_fixed_view = {
    .file_name = "disk-fixed.vhd",
    .name = "vhd-fixed",
    .layout = vhd_fixed_layout,
};
