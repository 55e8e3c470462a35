/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `sgdisk --move-second-header` does, as a layout:
 *
 *     | MBR' | header' | the disk ...    | zeros | entries | backup header |
 *     0      512       1024                                 the last sector
 *
 * The old backup stays where it is, unless the new one comes to lie over it. Partitions are never touched:
 * the new backup lies behind the old one's beginning, and that behind the last usable sector. */
#include "gpt-move.h"
#include "bytes.h"
#include "checked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    SECTOR = 512,
    ENTRIES_MAX = 256 << 10, /* bytes; usual are 16 KiB */
    HEADER_MIN = 92,
    MBR_TABLE = 446,
    MBR_ENTRY = 16,
};

struct gpt {
    uint8_t mbr[SECTOR], header[SECTOR];
    uint32_t header_size;
    uint64_t first_usable, last_usable;
    size_t entry_size;
    uint8_t *entries;        /* owned */
    uint64_t entries_length; /* bytes, whole sectors */
    size_t entries_used;     /* bytes that their checksum covers */
};

static uint32_t checksum(const uint8_t *p, size_t n)
{
    return (uint32_t)crc32(0, p, (uInt)n);
}

/* Of the header, whose own checksum field counts as 0. */
static uint32_t header_checksum(const struct gpt *g)
{
    uint8_t copy[SECTOR];
    memcpy(copy, g->header, sizeof copy);
    memset(copy + 16, 0, 4);
    return checksum(copy, g->header_size);
}

static bool header_is_sound(struct gpt *g, uint64_t *ret_entries_at)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(g->header, SECTOR, SECTOR, &bad);
    g->header_size = le32(b, 12);
    if (memcmp(g->header, "EFI PART", 8) != 0 || g->header_size < HEADER_MIN || g->header_size > SECTOR ||
        le32(b, 16) != header_checksum(g) || le64(b, 24) != 1)
        return false;
    g->first_usable = le64(b, 40);
    g->last_usable = le64(b, 48);
    uint64_t n = le32(b, 80), size = le32(b, 84), used;
    if (!checked_mul(n, size, &used) || !used || used > ENTRIES_MAX || size < 128)
        return false;
    g->entries_used = (size_t)used;
    g->entry_size = (size_t)size;
    g->entries_length = round_up(used, SECTOR);
    return checked_mul(le64(b, 72), SECTOR, ret_entries_at);
}

/* Do all partitions lie where the header says that they may? Behind that, the new backup may come to lie. */
static bool partitions_inside(const struct gpt *g)
{
    static const uint8_t unused[16];
    for (size_t at = 0; at + g->entry_size <= g->entries_used; at += g->entry_size) {
        struct bad bad = { 0 };
        struct bytes b = bytes_of(g->entries + at, g->entry_size, 0, &bad);
        if (memcmp(g->entries + at, unused, sizeof unused) != 0 &&
            (le64(b, 32) < g->first_usable || le64(b, 40) > g->last_usable))
            return false;
    }
    return true;
}

/* 1: there is a sound one. 0: none. -ENOMEM. */
static int read_gpt(struct disk *disk, struct gpt *g)
{
    uint64_t at;
    if (disk->size < 2 * SECTOR || disk_pread(disk, g->mbr, SECTOR, 0) < 0 ||
        disk_pread(disk, g->header, SECTOR, SECTOR) < 0 || !header_is_sound(g, &at) ||
        !range_inside(at, g->entries_length, disk->size) || at < 2 * SECTOR ||
        div_up(at + g->entries_length, SECTOR) > g->first_usable || g->first_usable > g->last_usable)
        return 0; /* the primary entries lie in front of the partitions, so never where the backup goes */
    g->entries = malloc(g->entries_length);
    if (!g->entries)
        return -ENOMEM;
    struct bad bad = { 0 };
    return disk_pread(disk, g->entries, g->entries_length, at) == 0 &&
           checksum(g->entries, g->entries_used) == le32(bytes_of(g->header, SECTOR, SECTOR, &bad), 88) &&
           partitions_inside(g);
}

/* The protective MBR's entry states the whole disk behind its own sector; only that is made longer. */
static void stretch_mbr(uint8_t *mbr, uint64_t was, uint64_t is)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(mbr, SECTOR, 0, &bad);
    for (size_t i = 0; i < 4; i++) {
        size_t at = MBR_TABLE + i * MBR_ENTRY;
        if (mbr[at + 4] == 0xee && le32(b, at + 8) == 1 && le32(b, at + 12) == min_u64(was - 1, UINT32_MAX))
            put_le32(mbr + at + 12, (uint32_t)min_u64(is - 1, UINT32_MAX));
    }
}

static int add_copy(struct layout *l, const void *bytes, size_t n)
{
    uint8_t *p;
    int r = layout_add_bytes(l, n, n, &p);
    if (!r)
        memcpy(p, bytes, n);
    return r;
}

/* The header for the sector `here`, with the other copy in `there` and its entries at `entries`. */
static int add_header(struct layout *l, struct gpt *g, uint64_t here, uint64_t there, uint64_t entries)
{
    put_le64(g->header + 24, here);
    put_le64(g->header + 32, there);
    put_le64(g->header + 72, entries);
    put_le32(g->header + 16, header_checksum(g));
    return add_copy(l, g->header, SECTOR);
}

static int add_segments(struct disk *disk, struct gpt *g, uint64_t size, struct layout *l)
{
    uint64_t last = size / SECTOR - 1, entries = last - g->entries_length / SECTOR, at = entries * SECTOR;
    struct bad bad = { 0 };
    uint64_t primary_entries = le64(bytes_of(g->header, SECTOR, SECTOR, &bad), 72);
    stretch_mbr(g->mbr, div_up(disk->size, SECTOR), size / SECTOR);
    put_le64(g->header + 48, entries - 1); /* the last usable sector */
    int r = add_copy(l, g->mbr, SECTOR);
    if (!r)
        r = add_header(l, g, 1, last, primary_entries);
    if (r < 0)
        return r;
    layout_add(l, SEGMENT_DISK, at - l->size)->disk_offset = 2 * SECTOR;
    r = add_copy(l, g->entries, g->entries_length);
    return r < 0 ? r : add_header(l, g, last, 1, entries);
}

int gpt_move_layout(struct disk *disk, uint64_t size, struct layout *ret)
{
    struct gpt g = { .entries = NULL };
    int r = read_gpt(disk, &g);
    /* room for the backup behind all that partitions may use */
    uint64_t need = g.entries_length / SECTOR + 1;
    if (r == 1 && size / SECTOR > need && g.last_usable < size / SECTOR - need && g.last_usable > 1)
        r = add_segments(disk, &g, size, ret);
    free(g.entries);
    return r < 0 ? r : 0;
}
