/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The boot sector of a FAT file system: the BIOS parameter block.
 *
 *     reserved sectors | FAT | FAT copy ... | root directory (FAT12, FAT16) | clusters from number 2 on
 *
 * Whether it is FAT32 is told by the 16-bit FAT size being 0, as Linux decides (small volumes made with
 * mkfs.fat -F 32 have too few clusters by Microsoft's count, and are FAT32 all the same); FAT12 or FAT16 by
 * the count of clusters. The strings "FAT16   " mean nothing.
 *
 * Source: Microsoft, FAT32 File System Specification 1.03. */
#include "../formats/checked.h"
#include "fat.h"

enum {
    BPB_SECTOR_SIZE = 11,
    BPB_SECTORS_PER_CLUSTER = 13,
    BPB_RESERVED = 14, /* sectors */
    BPB_FATS = 16,
    BPB_ROOT_ENTRIES = 17,
    BPB_TOTAL_16 = 19, /* sectors */
    BPB_MEDIA = 21,
    BPB_FAT_SIZE_16 = 22, /* sectors */
    BPB_TOTAL_32 = 32,
    BPB16_EXTENDED = 38, /* 0x29: serial and label follow; 0x28: the serial. The byte before: bit 0, in use */
    BPB32_FAT_SIZE = 36,
    BPB32_FLAGS = 40, /* bit 7: one copy is in use, bits 0-3: which */
    BPB32_VERSION = 42,
    BPB32_ROOT_CLUSTER = 44,
    BPB32_INFO_SECTOR = 48,
    BPB32_EXTENDED = 66, /* likewise */

    FAT12_MAX = 4084, /* clusters */
    FAT16_MAX = 65524,
    FAT32_MAX = 0x0ffffff5, /* the numbers from 0x0ffffff7 on are marks */
};

static void read_identity(struct bytes s, size_t extended, struct fat_geometry *g)
{
    uint8_t mark = u8(s, extended);
    g->dirty = u8(s, extended - 1) & 1;
    g->has_serial = mark == 0x28 || mark == 0x29;
    g->serial = le32(s, extended + 1);
    if (mark == 0x29)
        memcpy(g->label, bytes_sub(s, extended + 5, 11).p, 11);
}

/* The type, and how many clusters there are. */
static const char *count_clusters(struct fat_geometry *g, uint64_t fat_sectors)
{
    if (g->data_at >= g->size)
        return "its tables are larger than the file system";
    uint64_t clusters = (g->size - g->data_at) / g->cluster_size;
    if (!g->bits)
        g->bits = clusters <= FAT12_MAX ? 12 : 16;
    if (clusters > (g->bits == 32 ? FAT32_MAX : FAT16_MAX))
        return "it has more clusters than its type allows";
    /* As Linux: clusters that the table has no entries for don't exist. */
    uint64_t entries = fat_sectors * g->sector_size * 8 / g->bits;
    if (entries <= FAT_FIRST_CLUSTER)
        return "its allocation table is too small";
    g->clusters = (uint32_t)min_u64(clusters, entries - FAT_FIRST_CLUSTER);
    return NULL;
}

static const char *read_fat32(struct bytes s, struct fat_geometry *g, unsigned fats, unsigned *ret_active)
{
    uint16_t flags = le16(s, BPB32_FLAGS);
    g->bits = 32;
    if (flags & 0x80) {
        *ret_active = flags & 0xf;
        g->fats = 1;
    }
    if (*ret_active >= fats)
        return "the copy of the allocation table in use is one that it doesn't have";
    if (le16(s, BPB32_VERSION))
        return "its version of FAT32 is unknown";
    g->root_cluster = le32(s, BPB32_ROOT_CLUSTER);
    g->info_sector = le16(s, BPB32_INFO_SECTOR);
    if (g->info_sector == 0xffff)
        g->info_sector = 0;
    read_identity(s, BPB32_EXTENDED, g);
    return NULL;
}

const char *fat_geometry_read(struct bytes s, struct fat_geometry *ret)
{
    struct fat_geometry g = { .sector_size = le16(s, BPB_SECTOR_SIZE) };
    uint32_t per_cluster = u8(s, BPB_SECTORS_PER_CLUSTER), reserved = le16(s, BPB_RESERVED);
    unsigned fats = u8(s, BPB_FATS), media = u8(s, BPB_MEDIA), active = 0;
    uint64_t fat_sectors = le16(s, BPB_FAT_SIZE_16), total = le16(s, BPB_TOTAL_16);
    if (!is_power_of_two(g.sector_size) || g.sector_size < FAT_SECTOR || g.sector_size > 4096)
        return "the sector size of its boot sector is wrong";
    if (!is_power_of_two(per_cluster))
        return "the cluster size of its boot sector is wrong";
    if (!reserved || !fats || fats > 16 || (media != 0xf0 && media < 0xf8))
        return "its boot sector is damaged";
    if (!total)
        total = le32(s, BPB_TOTAL_32);
    const char *why = NULL;
    g.fats = fats;
    if (!fat_sectors) {
        fat_sectors = le32(s, BPB32_FAT_SIZE);
        why = read_fat32(s, &g, fats, &active);
    } else {
        read_identity(s, BPB16_EXTENDED, &g);
    }
    if (why)
        return why;
    /* at most 2^16 + 16 * 2^32 sectors of 2^12 bytes */
    g.cluster_size = per_cluster * g.sector_size;
    g.fat_size = fat_sectors * g.sector_size;
    g.fat_at = (reserved + active * fat_sectors) * g.sector_size;
    g.root_at = (reserved + fats * fat_sectors) * g.sector_size;
    g.root_size = (uint64_t)le16(s, BPB_ROOT_ENTRIES) * FAT_ENTRY;
    g.data_at = g.root_at + round_up(g.root_size, g.sector_size);
    g.size = total * g.sector_size;
    why = count_clusters(&g, fat_sectors);
    if (why)
        return why;
    if (g.bits != 32 && !g.root_size)
        return "it has no root directory";
    if (g.bits == 32 &&
        (g.root_cluster < FAT_FIRST_CLUSTER || g.root_cluster - FAT_FIRST_CLUSTER >= g.clusters))
        return "its root directory lies outside of it";
    *ret = g;
    return NULL;
}
