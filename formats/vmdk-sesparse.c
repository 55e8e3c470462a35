/* SPDX-License-Identifier: GPL-2.0-or-later */
/* seSparse: the extent of ESXi's snapshots on VMFS6, and of disks of 2 TiB and more
 * (NAME-000001-sesparse.vmdk).
 *
 *     const header | volatile header | journal header | journal | GD | GTs | free bitmap | backmap | grains
 *
 * all of whose places and sizes the const header has, in sectors, one by one. Grains are of 4 KiB, tables of
 * 4096 entries; all entries are u64.
 *
 *     GDE: 0 none; else 0x10000000 in the upper half, and the number of the table in the lower one
 *     GTE: bits 60..63  0 nothing here, ask the parent (and the rest is 0)
 *                       1 the guest gave it up, 2 zeros: both read as zeros, whatever the parent has
 *                       3 allocated
 *          bits 48..59  the LOWER 12 bits of the grain's number
 *          bits  0..47  its upper 48 bits
 *
 * For 1 the sources disagree: what a guest has unmapped must not show what was there before, so zeros it is,
 * as QEMU has it. A file whose host died has a journal to be replayed; what that looks like nobody has
 * written, so it is refused.
 *
 * Sources: QEMU's description of the format (2019); vmdk-core; there is none by VMware. */
#include "checked.h"
#include "vmdk-descriptor.h"
#include "vmdk-grains.h"

#include <errno.h>

enum {
    CONST_MAGIC = 0,
    CONST_VERSION = 8,
    CONST_CAPACITY = 16,
    CONST_GRAIN_SIZE = 24,
    CONST_TABLE_SIZE = 32,
    CONST_FLAGS = 40,
    CONST_RESERVED = 48, /* 4 fields, 0 */
    CONST_VOLATILE_OFFSET = 80,
    CONST_GD_OFFSET = 128,
    CONST_GD_SIZE = 136,
    CONST_TABLES_OFFSET = 144,
    CONST_GRAINS_OFFSET = 192,
    HEADER_BYTES = 512,

    VOLATILE_MAGIC = 0,
    VOLATILE_REPLAY_JOURNAL = 24,
};

enum { ENTRY = 8, GRAIN_BYTES = 4096, TABLE_BYTES = VMDK_TABLE_ENTRIES * ENTRY };

#define MAX_SECTORS (UINT64_C(1) << 37) /* 64 TiB: ESXi's largest disk has 62 */

static bool sesparse_table(const struct vmdk_grains *g, uint64_t entry, uint64_t *ret_at)
{
    *ret_at = 0;
    if (!entry)
        return true;
    uint64_t at = g->tables_area + (entry & UINT32_MAX) * TABLE_BYTES;
    if (entry >> 32 != 0x10000000 || (at >= g->grains_area && g->grains_area > g->tables_area))
        return false; /* all tables come before all grains */
    *ret_at = at;
    return true;
}

static bool sesparse_grain(const struct vmdk_grains *g, uint64_t entry, struct vmdk_grain *ret)
{
    enum { ABSENT, UNMAPPED, ZERO, ALLOCATED };
    uint64_t number = (entry >> 48 & 0xfff) | (entry & UINT64_C(0xffffffffffff)) << 12;
    *ret = (struct vmdk_grain){ .kind = EXTENT_ZERO };
    switch (entry >> 60) {
    case ABSENT:
        ret->kind = EXTENT_HOLE;
        return !entry;
    case UNMAPPED:
    case ZERO:
        return true;
    case ALLOCATED:
        ret->kind = EXTENT_DATA;
        return checked_mul(number, GRAIN_BYTES, &ret->at) && checked_add(ret->at, g->grains_area, &ret->at);
    default:
        return false;
    }
}

static const struct vmdk_layout sesparse_layout = {
    .entry_bytes = ENTRY,
    .table = sesparse_table,
    .grain = sesparse_grain,
};

/* Fields that must have one value, as nobody knows what another would mean. */
static int check_fixed_fields(struct bytes b, const char *file, struct fault *fault)
{
    static const struct {
        size_t at;
        uint64_t value;
        const char *what;
    } fixed[] = {
        { CONST_VERSION, UINT64_C(0x200000001), "its version" },
        { CONST_GRAIN_SIZE, GRAIN_BYTES / VMDK_SECTOR, "its grain size" },
        { CONST_TABLE_SIZE, TABLE_BYTES / VMDK_SECTOR, "its grain table size" },
        { CONST_FLAGS, 0, "its flags" },
        { CONST_RESERVED, 0, "a reserved field" },
        { CONST_RESERVED + 8, 0, "a reserved field" },
        { CONST_RESERVED + 16, 0, "a reserved field" },
        { CONST_RESERVED + 24, 0, "a reserved field" },
    };
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        uint64_t v = le64(b, fixed[i].at);
        if (v != fixed[i].value)
            return fault_at(fault, -ENOTSUP, file, fixed[i].at,
                            "in its seSparse header, %s is 0x%llx, and only 0x%llx is known", fixed[i].what,
                            (unsigned long long)v, (unsigned long long)fixed[i].value);
    }
    return 0;
}

/* The byte that a field's sector is. */
static int read_place(struct bytes b, size_t field, const char *file, uint64_t *ret, struct fault *fault)
{
    uint64_t sector = le64(b, field);
    if (!sector || sector > VMDK_MAX_SECTORS)
        return fault_at(fault, -EUCLEAN, file, field, "its seSparse header places an area at sector %llu",
                        (unsigned long long)sector);
    *ret = sector * VMDK_SECTOR;
    return 0;
}

static int read_const_header(struct file *file, struct vmdk_grains *ret, uint64_t *ret_volatile,
                             struct fault *fault)
{
    uint8_t raw[HEADER_BYTES];
    int r = file_pread_what(file, raw, sizeof raw, 0, "its header", fault);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(raw, sizeof raw, 0, &bad);
    r = check_fixed_fields(b, file->name, fault);
    if (r < 0)
        return r;
    struct vmdk_grains g = {
        .layout = &sesparse_layout,
        .capacity_sectors = le64(b, CONST_CAPACITY),
        .grain_sectors = GRAIN_BYTES / VMDK_SECTOR,
        .directory_entries = min_u64(le64(b, CONST_GD_SIZE), VMDK_MAX_SECTORS) * (VMDK_SECTOR / ENTRY),
    };
    if (!g.capacity_sectors)
        return fault_at(fault, -EUCLEAN, file->name, CONST_CAPACITY, "its capacity is 0");
    if (g.capacity_sectors > MAX_SECTORS)
        return fault_at(fault, -EFBIG, file->name, CONST_CAPACITY,
                        "its capacity of %llu sectors is more than ESXi's largest disk has",
                        (unsigned long long)g.capacity_sectors);
    const struct {
        size_t field;
        uint64_t *place;
    } areas[] = { { CONST_VOLATILE_OFFSET, ret_volatile },
                  { CONST_GD_OFFSET, &g.directory },
                  { CONST_TABLES_OFFSET, &g.tables_area },
                  { CONST_GRAINS_OFFSET, &g.grains_area } };
    for (size_t i = 0; !r && i < sizeof areas / sizeof areas[0]; i++)
        r = read_place(b, areas[i].field, file->name, areas[i].place, fault);
    if (!r)
        *ret = g;
    return r;
}

static int check_volatile_header(struct file *file, uint64_t at, struct fault *fault)
{
    uint8_t raw[HEADER_BYTES];
    int r = file_pread_what(file, raw, sizeof raw, at, "its volatile header", fault);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(raw, sizeof raw, at, &bad);
    if (le64(b, VOLATILE_MAGIC) != 0xcafecafe)
        return fault_at(fault, -EUCLEAN, file->name, at, "damaged: no seSparse volatile header begins here");
    if (!le64(b, VOLATILE_REPLAY_JOURNAL))
        return 0;
    fault_at(fault, -ENOTSUP, file->name, at + VOLATILE_REPLAY_JOURNAL,
             "was not closed cleanly: its seSparse journal must be replayed (replayJournal), which only ESXi "
             "can do");
    return fault_hint(fault, -ENOTSUP, "power the virtual machine on and off, or clone the disk there");
}

int vmdk_sesparse_open(struct file *file, uint64_t sectors, const struct vmdk_context *ctx, struct disk **ret,
                       struct fault *fault)
{
    struct vmdk_grains g;
    uint64_t volatile_at;
    int r = read_const_header(file, &g, &volatile_at, fault);
    if (!r)
        r = check_volatile_header(file, volatile_at, fault);
    return r < 0 ? r : vmdk_grains_open(file, sectors, &g, ctx, ret, fault);
}
