/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.vhdx and disk-fixed.vhdx: VHDX for Hyper-V and Azure Local.
 *
 *     0      64K       128K      192K     256K     320K   1M    2M         3M         data
 *     | type | header1 | header2 | region | region | zero | log | metadata | BAT, pad | block | block | ...
 *       id     seq 1     seq 2     table    again           0     1 MiB      whole MiB
 *
 * The BAT has an entry of 8 bytes per block, and after each `chunk_ratio` of them one for a sector bitmap,
 * which only differencing files have: 0 here. A block's entry is its offset in the file and state 6 (fully
 * present). The dynamic file holds the allocated blocks in the disk's order, so an entry is a rank; the fixed
 * one holds all, so an entry is a product.
 *
 * Empty blocks are in state 2 (ZERO), not 0 (NOT_PRESENT) as QEMU, VirtualBox and Hyper-V leave fresh ones:
 * the specification calls the content of state 0 undefined, and only 2 promises zeros. All known readers give
 * zeros for both.
 *
 * Blocks are as small as keeps the BAT of the largest disk small: 1 MiB up to 4 TiB, then doubling, so that
 * it never exceeds 33 MiB; the format allows 1 to 256 MiB. Small blocks leave little padding around data.
 * The logical sector size is that of the source, since partition tables and file systems are laid out in it;
 * the physical one is 4096, as Hyper-V makes its own.
 *
 * Source: [MS-VHDX] sections 2.2 to 2.6; section numbers below are its. */
#include "bytes.h"
#include "checked.h"
#include "hash.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const struct view_format vhdx_view, vhdx_fixed_view;

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define TIB(n) ((uint64_t)(n) << 40)

#define VHDX_MAX_SIZE TIB(64) /* 2.6.2.2 */

enum {
    HEADER_LENGTH = 4096,
    REGION_TABLE_LENGTH = 65536, /* its checksum covers all of it */
    METADATA_ITEMS = 65536,      /* from the region's start: behind the table */
    ENTRY_LENGTH = 32,           /* in the region table and in the metadata table */
    BAT_ENTRY = 8,
    PAGE = 4096,
};

#define LOG_OFFSET      MIB(1)
#define LOG_LENGTH      MIB(1)
#define METADATA_OFFSET MIB(2)
#define METADATA_LENGTH MIB(1)
#define BAT_OFFSET      MIB(3)
#define MAX_BLOCKS      (UINT64_C(1) << 22) /* of ours: a BAT of 32 MiB */
#define SECTORS_A_CHUNK (UINT64_C(1) << 23) /* 2.5: the bits of a sector bitmap block */

enum { STATE_ZERO = 2, STATE_PRESENT = 6 }; /* 2.5.1.1 */

static const char bat_guid[] = "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
static const char metadata_guid[] = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";

struct vhdx {
    bool fixed;
    uint64_t size; /* of the disk, bytes */
    uint64_t block_size, n_blocks;
    uint64_t chunk_ratio; /* payload entries before each bitmap entry */
    uint64_t n_entries;   /* of the BAT */
    uint64_t data;        /* file offset of the first block */
};

/* ---- the BAT ---- */

/* A walk over the entries. A division for each would take longer than all else. */
struct bat_walk {
    uint64_t i;      /* the next entry */
    uint64_t within; /* its number in its chunk; chunk_ratio: the sector bitmap's */
    uint64_t block;  /* the next block */
    uint64_t place;  /* that of the next present block among the blocks in the file */
};

static uint64_t next_entry(const struct view *v, struct bat_walk *w)
{
    const struct vhdx *x = v->layout.private;
    if (w->i++ >= x->n_entries)
        return 0; /* padding */
    if (w->within++ == x->chunk_ratio) {
        w->within = 0;
        return 0; /* a sector bitmap that isn't there */
    }
    uint64_t block = w->block++;
    if (!x->fixed && !blockmap_get(v->layout.blocks, block))
        return STATE_ZERO;
    return (x->data + w->place++ * x->block_size) | STATE_PRESENT;
}

static void vhdx_bat(const struct view *v, void *buf, size_t len, uint64_t off)
{
    const struct vhdx *x = v->layout.private;
    uint64_t stride = x->chunk_ratio + 1;
    struct bat_walk w = { .i = off / BAT_ENTRY };
    w.within = w.i % stride;
    w.block = min_u64(w.i - w.i / stride, x->n_blocks); /* in the padding there is none */
    w.place = x->fixed ? w.block : blockmap_rank(v->layout.blocks, w.block);
    size_t skip = (size_t)(off % BAT_ENTRY);
    for (uint8_t *p = buf; len; skip = 0) {
        uint8_t entry[BAT_ENTRY];
        size_t n = (size_t)min_u64(len, BAT_ENTRY - skip);
        put_le64(entry, next_entry(v, &w));
        memcpy(p, entry + skip, n);
        p += n;
        len -= n;
    }
}

/* ---- the header section (2.2) ---- */

static int add_identifier(struct layout *l)
{
    static const char creator[] = "ferryfs";
    uint8_t *p;
    int r = layout_add_bytes(l, KIB(64), PAGE, &p);
    if (r < 0)
        return r;
    memcpy(p, "vhdxfile", 8);
    for (size_t i = 0; creator[i]; i++)
        put_le16(p + 8 + 2 * i, (uint8_t)creator[i]);
    return 0;
}

/* 2.2.2. No log GUID: there is nothing to replay. */
static int add_header(struct layout *l, const struct view_source *src, const char *name, uint64_t sequence)
{
    char role[40];
    uint8_t *p;
    int r = layout_add_bytes(l, KIB(64), HEADER_LENGTH, &p);
    if (r < 0)
        return r;
    memcpy(p, "head", 4);
    put_le64(p + 8, sequence);
    snprintf(role, sizeof role, "%s file write", name);
    guid_derive(src->id, role, p + 16);
    snprintf(role, sizeof role, "%s data write", name);
    guid_derive(src->id, role, p + 32);
    put_le16(p + 66, 1); /* version */
    put_le32(p + 68, (uint32_t)LOG_LENGTH);
    put_le64(p + 72, LOG_OFFSET);
    put_le32(p + 4, crc32c(p, HEADER_LENGTH)); /* the field itself is still 0, as it must count */
    return 0;
}

static void put_region(uint8_t *p, const char *guid, uint64_t offset, uint64_t length)
{
    memcpy(p, guid, 16);
    put_le64(p + 16, offset);
    put_le32(p + 24, (uint32_t)length);
    put_le32(p + 28, 1); /* required */
}

/* 2.2.3 */
static int add_region_table(struct layout *l, const struct vhdx *x)
{
    uint8_t *p;
    int r = layout_add_bytes(l, REGION_TABLE_LENGTH, PAGE, &p);
    if (r < 0)
        return r;
    memcpy(p, "regi", 4);
    put_le32(p + 8, 2); /* entries */
    put_region(p + 16, bat_guid, BAT_OFFSET, x->data - BAT_OFFSET);
    put_region(p + 16 + ENTRY_LENGTH, metadata_guid, METADATA_OFFSET, METADATA_LENGTH);

    static const uint8_t zeros[PAGE];
    uint32_t crc = crc32c_update(~0u, p, PAGE);
    for (size_t at = PAGE; at < REGION_TABLE_LENGTH; at += PAGE)
        crc = crc32c_update(crc, zeros, PAGE);
    put_le32(p + 4, ~crc);
    return 0;
}

/* ---- metadata (2.6) ---- */

enum { IS_VIRTUAL_DISK = 2, IS_REQUIRED = 4 };

static const struct {
    const char *guid;
    uint8_t offset, length; /* within the items */
    uint8_t flags;
} metadata_items[] = {
    /* file parameters */
    { "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b", 0, 8, IS_REQUIRED },
    /* virtual disk size */
    { "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8", 8, 8,
      IS_REQUIRED | IS_VIRTUAL_DISK },
    /* virtual disk id */
    { "\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46", 16, 16,
      IS_REQUIRED | IS_VIRTUAL_DISK },
    /* logical sector size */
    { "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f", 32, 4,
      IS_REQUIRED | IS_VIRTUAL_DISK },
    /* physical sector size */
    { "\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56", 36, 4,
      IS_REQUIRED | IS_VIRTUAL_DISK },
};

enum { N_ITEMS = sizeof metadata_items / sizeof metadata_items[0] };

static int add_metadata(struct layout *l, const struct view_source *src, const struct vhdx *x)
{
    uint8_t *p;
    int r = layout_add_bytes(l, METADATA_ITEMS, PAGE, &p);
    if (r < 0)
        return r;
    memcpy(p, "metadata", 8);
    put_le16(p + 10, N_ITEMS);
    for (size_t i = 0; i < N_ITEMS; i++) {
        uint8_t *entry = p + (i + 1) * ENTRY_LENGTH;
        memcpy(entry, metadata_items[i].guid, 16);
        put_le32(entry + 16, METADATA_ITEMS + metadata_items[i].offset);
        put_le32(entry + 20, metadata_items[i].length);
        put_le32(entry + 24, metadata_items[i].flags);
    }
    r = layout_add_bytes(l, METADATA_LENGTH - METADATA_ITEMS, PAGE, &p);
    if (r < 0)
        return r;
    put_le32(p, (uint32_t)x->block_size);
    put_le32(p + 4, x->fixed); /* LeaveBlockAllocated; HasParent, bit 1, is not set */
    put_le64(p + 8, x->size);
    guid_derive(src->id, "vhdx disk", p + 16); /* one disk, one id, dynamic or fixed */
    put_le32(p + 32, src->sector_size);
    put_le32(p + 36, 4096);
    return 0;
}

/* ---- the layout ---- */

static void vhdx_measure(struct vhdx *x, unsigned sector_size)
{
    x->block_size = MIB(1);
    while (div_up(x->size, x->block_size) > MAX_BLOCKS)
        x->block_size *= 2;
    x->n_blocks = div_up(x->size, x->block_size);
    x->chunk_ratio = SECTORS_A_CHUNK * sector_size / x->block_size;
    x->n_entries = x->n_blocks + (x->n_blocks - 1) / x->chunk_ratio;
    x->data = BAT_OFFSET + round_up(x->n_entries * BAT_ENTRY, MIB(1));
}

static int add_segments(struct layout *l, const struct view_source *src, const char *name)
{
    const struct vhdx *x = l->private;
    int r = add_identifier(l);
    if (!r)
        r = add_header(l, src, name, 1);
    if (!r)
        r = add_header(l, src, name, 2); /* the higher number makes it the current one */
    for (int i = 0; !r && i < 2; i++)
        r = add_region_table(l, x);
    if (r < 0)
        return r;
    layout_add(l, SEGMENT_ZERO, METADATA_OFFSET - l->size); /* reserved, and the log */
    r = add_metadata(l, src, x);
    if (r < 0)
        return r;
    uint64_t table = round_up(x->n_entries * BAT_ENTRY, PAGE);
    layout_add(l, SEGMENT_TABLE, table)->table = vhdx_bat;
    layout_add(l, SEGMENT_ZERO, x->data - BAT_OFFSET - table);
    if (x->fixed) {
        layout_add(l, SEGMENT_DISK, x->n_blocks * x->block_size);
        return 0;
    }
    r = layout_set_blocks(l, src, x->block_size);
    if (!r)
        layout_add(l, SEGMENT_BLOCKS, blockmap_allocated(l->blocks) * x->block_size);
    return r;
}

static int vhdx_layout_as(const struct view_source *src, const char *name, bool fixed, struct layout *ret,
                          struct fault *fault)
{
    uint64_t size = view_disk_size(src);
    if (!size)
        return fault_in(fault, -ENOTSUP, "", "an empty disk can't be a VHDX");
    if (size > VHDX_MAX_SIZE)
        return fault_in(fault, -EFBIG, "", "a VHDX holds at most 64 TiB, the disk has %" PRIu64 " bytes",
                        size);
    struct vhdx *x = calloc(1, sizeof *x);
    if (!x)
        return -ENOMEM;
    ret->private = x;
    x->fixed = fixed;
    x->size = size;
    vhdx_measure(x, src->sector_size);
    return add_segments(ret, src, name);
}

static int vhdx_layout(const struct view_source *src, struct layout *ret, struct fault *fault)
{
    return vhdx_layout_as(src, vhdx_view.name, false, ret, fault);
}

static int vhdx_fixed_layout(const struct view_source *src, struct layout *ret, struct fault *fault)
{
    return vhdx_layout_as(src, vhdx_fixed_view.name, true, ret, fault);
}

const struct view_format vhdx_view = {
    .file_name = "disk.vhdx",
    .name = "vhdx",
    .layout = vhdx_layout,
};

const struct view_format vhdx_fixed_view = {
    .file_name = "disk-fixed.vhdx",
    .name = "vhdx-fixed",
    .layout = vhdx_fixed_layout,
};
