/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The GUID partition table.
 *
 *     sector 0      a protective MBR
 *     sector 1      header: where the entries are, how many, how long, CRCs of itself and of them
 *     sector 2...   the entries
 *     ...
 *     last sectors  the entries again, and then the backup header
 *
 * A header is taken when its CRC, its own place and its entries' CRC are right. The primary wins; else the
 * backup, which lies where the primary says, or in the last sector. Sectors have the disk's logical size: the
 * table of a disk with 4096-byte sectors that was copied into an image of 512-byte ones is found at byte
 * 4096.
 *
 * Source: UEFI specification, chapter 5.3. */
#include "../formats/checked.h"
#include "table.h"
#include "text.h"

#include <errno.h>
#include <zlib.h>

enum {
    HDR_MAGIC = 0,
    HDR_REVISION = 8,
    HDR_SIZE = 12,
    HDR_CRC = 16,
    HDR_MY_LBA = 24,
    HDR_ALTERNATE_LBA = 32,
    HDR_DISK_GUID = 56,
    HDR_ENTRIES_LBA = 72,
    HDR_ENTRY_COUNT = 80,
    HDR_ENTRY_SIZE = 84,
    HDR_ENTRIES_CRC = 88,
    HDR_MIN_SIZE = 92,

    ENTRY_TYPE = 0,
    ENTRY_GUID = 16,
    ENTRY_FIRST_LBA = 32,
    ENTRY_LAST_LBA = 40, /* inclusive */
    ENTRY_ATTRIBUTES = 48,
    ENTRY_NAME = 56,
    ENTRY_NAME_UNITS = 36,
    ENTRY_MIN_SIZE = 128,

    /* 8192 entries of the usual size, 64 times what anyone makes */
    ENTRIES_MAX_BYTES = 1 << 20,
};

static const char magic[] = "EFI PART";

struct gpt {
    uint64_t alternate; /* LBA */
    uint8_t disk_guid[16];
    uint32_t count, entry_size;
    uint8_t *entries;    /* owned; count * entry_size bytes, whose CRC was right */
    uint64_t entries_at; /* byte on the disk */
};

static uint32_t header_crc(const uint8_t *h, size_t size)
{
    static const uint8_t zeros[4];
    uLong crc = crc32(0, h, HDR_CRC);
    crc = crc32(crc, zeros, 4);
    return (uint32_t)crc32(crc, h + HDR_CRC + 4, (uInt)(size - HDR_CRC - 4));
}

/* 1: valid; 0: not; -ENOMEM. *ret_seen is set when the magic was there; ret->alternate even when no more than
 * the header was right. */
static int load_gpt(struct disk *disk, unsigned sector_size, uint64_t lba, struct gpt *ret, bool *ret_seen)
{
    uint8_t buf[4096];
    uint64_t at, entries_at;
    *ret = (struct gpt){ 0 };
    if (!checked_mul(lba, sector_size, &at) || table_pread(disk, buf, sector_size, at) < 0)
        return 0;
    struct bad bad = { 0 };
    struct bytes h = bytes_of(buf, sector_size, at, &bad);
    if (!bytes_match(h, HDR_MAGIC, magic, 8))
        return 0;
    *ret_seen = true;
    uint32_t size = le32(h, HDR_SIZE);
    if (size < HDR_MIN_SIZE || size > sector_size || header_crc(buf, size) != le32(h, HDR_CRC) ||
        le64(h, HDR_MY_LBA) != lba || le32(h, HDR_REVISION) >> 16 != 1)
        return 0;
    ret->alternate = le64(h, HDR_ALTERNATE_LBA);
    ret->count = le32(h, HDR_ENTRY_COUNT);
    ret->entry_size = le32(h, HDR_ENTRY_SIZE);
    memcpy(ret->disk_guid, bytes_sub(h, HDR_DISK_GUID, 16).p, 16);
    uint64_t bytes = (uint64_t)ret->count * ret->entry_size; /* two 32-bit values */
    if (ret->entry_size < ENTRY_MIN_SIZE || !is_power_of_two(ret->entry_size) || !bytes ||
        bytes > ENTRIES_MAX_BYTES || !checked_mul(le64(h, HDR_ENTRIES_LBA), sector_size, &entries_at) ||
        !range_inside(entries_at, bytes, disk->size))
        return 0;
    uint8_t *entries = malloc(bytes);
    if (!entries)
        return -ENOMEM;
    if (table_pread(disk, entries, bytes, entries_at) < 0 ||
        crc32(0, entries, (uInt)bytes) != le32(h, HDR_ENTRIES_CRC)) {
        free(entries);
        return 0;
    }
    ret->entries = entries;
    ret->entries_at = entries_at;
    return 1;
}

static void read_name(struct bytes entry, struct partition *p)
{
    uint16_t units[ENTRY_NAME_UNITS];
    size_t n = 0;
    while (n < ENTRY_NAME_UNITS && (units[n] = le16(entry, ENTRY_NAME + 2 * n)))
        n++;
    text_from_utf16(units, n, p->name, sizeof p->name);
}

static int add_entries(const struct gpt *g, unsigned sector_size, struct partition_table *t)
{
    static const uint8_t unused[16];
    struct bad bad = { 0 };
    struct bytes all = bytes_of(g->entries, (size_t)g->count * g->entry_size, g->entries_at, &bad);
    for (uint32_t i = 0; i < g->count; i++) {
        struct bytes e = bytes_sub(all, (size_t)i * g->entry_size, g->entry_size);
        if (bytes_match(e, ENTRY_TYPE, unused, 16))
            continue;
        uint64_t first = le64(e, ENTRY_FIRST_LBA), last = le64(e, ENTRY_LAST_LBA), end;
        if (last < first || last == UINT64_MAX || !checked_mul(last + 1, sector_size, &end)) {
            notes_add(&t->notes, "partition %u is empty or ends before it begins", i + 1);
            continue;
        }
        struct partition p = {
            .number = i + 1,
            .start = first * sector_size,
            .length = (last - first + 1) * sector_size,
            .attributes = le64(e, ENTRY_ATTRIBUTES),
        };
        memcpy(p.type_guid, e.p + ENTRY_TYPE, 16);
        memcpy(p.guid, e.p + ENTRY_GUID, 16);
        read_name(e, &p);
        int r = table_add(t, &p);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Says what is odd about the backup of a good primary. */
static void check_backup(struct disk *disk, unsigned sector_size, const struct gpt *primary,
                         struct partition_table *t)
{
    uint64_t last = disk->size / sector_size - 1;
    struct gpt backup;
    bool seen = false;
    if (primary->alternate != last)
        notes_add(&t->notes,
                  "the backup GPT is not at the end of the disk: the table says sector %llu of %llu",
                  (unsigned long long)primary->alternate, (unsigned long long)(last + 1));
    if (load_gpt(disk, sector_size, primary->alternate, &backup, &seen) != 1)
        notes_add(&t->notes, "the backup GPT is %s", seen ? "damaged" : "missing");
    free(backup.entries);
}

static int take(const struct gpt *g, unsigned sector_size, struct partition_table *t)
{
    t->kind = TABLE_GPT;
    t->sector_size = sector_size;
    memcpy(t->disk_guid, g->disk_guid, 16);
    if (sector_size != TABLE_SECTOR)
        notes_add(&t->notes, "the partition table counts in sectors of %u bytes", sector_size);
    return add_entries(g, sector_size, t);
}

static int read_as(struct disk *disk, unsigned sector_size, enum gpt_use use, struct partition_table *t,
                   bool *ret_seen)
{
    if (disk->size / sector_size < 3)
        return 0;
    struct gpt g;
    uint64_t last = disk->size / sector_size - 1;
    int r = load_gpt(disk, sector_size, 1, &g, ret_seen);
    if (r == 1) {
        r = take(&g, sector_size, t);
        if (r == 0)
            check_backup(disk, sector_size, &g, t);
    } else if (r == 0 && use == GPT_PRIMARY_BACKUP) {
        uint64_t alternate = g.alternate;
        if (alternate > 1)
            r = load_gpt(disk, sector_size, alternate, &g, ret_seen);
        if (r == 0 && alternate != last)
            r = load_gpt(disk, sector_size, last, &g, ret_seen);
        if (r == 1) {
            t->backup_used = true;
            notes_add(&t->notes, "the primary GPT is damaged: its backup is used");
            r = take(&g, sector_size, t);
        }
    }
    free(g.entries);
    return r;
}

int gpt_read(struct disk *disk, enum gpt_use use, struct partition_table *t, bool *ret_seen)
{
    *ret_seen = false;
    int r = read_as(disk, TABLE_SECTOR, use, t, ret_seen);
    if (r == 0 && t->kind != TABLE_GPT)
        r = read_as(disk, 4096, use, t, ret_seen);
    return r;
}
