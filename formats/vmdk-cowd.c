/* SPDX-License-Identifier: GPL-2.0-or-later */
/* COWD: the extent of ESXi's vmfsSparse snapshots (NAME-000001-delta.vmdk), of disks below 2 TiB.
 *
 *     header, 4 sectors | GD | GT | grain | grain | GT | ...       tables and grains as they came to be
 *
 *     GDE: u32, sector of a GT of 4096 entries; 0: none
 *     GTE: u32, sector of the grain; 0: nothing here, ask the parent
 *
 * There is no entry for zeros, no compression and no second copy. A grain is usually one sector. Odd: the
 * header says how many entries the directory has, and the capacity says how many it needs; more is fine. The
 * parent's name in the header is empty in files of today, and the descriptor's counts.
 *
 * Source: libvmdk's format document. */
#include "checked.h"
#include "vmdk-grains.h"

#include <errno.h>

enum {
    COWD_VERSION = 4,
    COWD_FLAGS = 8,
    COWD_CAPACITY = 12,
    COWD_GRAIN_SIZE = 16,
    COWD_GD_OFFSET = 20,
    COWD_GD_ENTRIES = 24,
    COWD_UNCLEAN = 1648,
    COWD_HEADER_BYTES = 2048,
    ENTRY = 4,
    MAX_GRAIN_SECTORS = 2048,
    /* root and "consistency can be checked" are always set, 4 is a mark of the host's; none changes the
     * layout */
    KNOWN_FLAGS = 7,
};

/* The place that an entry names: neither in the header nor in the directory. */
static bool place_of(const struct vmdk_grains *g, uint64_t sector, uint64_t *ret_at)
{
    uint64_t at = sector * VMDK_SECTOR, directory_end = g->directory + g->directory_entries * ENTRY;
    if (at < COWD_HEADER_BYTES || (at >= g->directory && at < directory_end))
        return false;
    *ret_at = at;
    return true;
}

static bool cowd_table(const struct vmdk_grains *g, uint64_t entry, uint64_t *ret_at)
{
    *ret_at = 0;
    return !entry || place_of(g, entry, ret_at);
}

static bool cowd_grain(const struct vmdk_grains *g, uint64_t entry, struct vmdk_grain *ret)
{
    *ret = (struct vmdk_grain){ .kind = entry ? EXTENT_DATA : EXTENT_HOLE };
    return !entry || place_of(g, entry, &ret->at);
}

static const struct vmdk_layout cowd_layout = {
    .entry_bytes = ENTRY,
    .table = cowd_table,
    .grain = cowd_grain,
};

static int check_header(struct bytes b, const char *name, struct fault *fault)
{
    uint32_t version = le32(b, COWD_VERSION), flags = le32(b, COWD_FLAGS);
    if (version != 1)
        return fault_at(fault, -ENOTSUP, name, COWD_VERSION, "version %u of the COWD header is not known",
                        version);
    if (flags & ~(uint32_t)KNOWN_FLAGS)
        return fault_at(fault, -ENOTSUP, name, COWD_FLAGS, "unknown flags 0x%x in its COWD header", flags);
    if (!le32(b, COWD_CAPACITY))
        return fault_at(fault, -EUCLEAN, name, COWD_CAPACITY, "its capacity is 0");
    uint32_t grain = le32(b, COWD_GRAIN_SIZE), gd = le32(b, COWD_GD_OFFSET);
    if (!is_power_of_two(grain) || grain > MAX_GRAIN_SECTORS)
        return fault_at(fault, -EUCLEAN, name, COWD_GRAIN_SIZE, "its grains of %u sectors are impossible",
                        grain);
    if (gd < COWD_HEADER_BYTES / VMDK_SECTOR)
        return fault_at(fault, -EUCLEAN, name, COWD_GD_OFFSET,
                        "its grain directory at sector %u is impossible", gd);
    return 0;
}

int vmdk_cowd_open(struct file *file, uint64_t sectors, const struct vmdk_context *ctx, struct disk **ret,
                   struct fault *fault)
{
    uint8_t raw[COWD_HEADER_BYTES];
    int r = file_pread_what(file, raw, sizeof raw, 0, "its header", fault);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(raw, sizeof raw, 0, &bad);
    r = check_header(b, file->name, fault);
    if (r < 0)
        return r;
    struct vmdk_grains g = {
        .layout = &cowd_layout,
        .capacity_sectors = le32(b, COWD_CAPACITY),
        .grain_sectors = le32(b, COWD_GRAIN_SIZE),
        .directory = (uint64_t)le32(b, COWD_GD_OFFSET) * VMDK_SECTOR,
        .directory_entries = le32(b, COWD_GD_ENTRIES),
    };
    r = vmdk_grains_open(file, sectors, &g, ctx, ret, fault);
    if (!r && le32(b, COWD_UNCLEAN))
        notes_add(&ctx->info->notes, "%s was not closed cleanly by its last writer", file->name);
    return r;
}
