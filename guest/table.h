/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TABLE_H
#define FERRYFS_TABLE_H
/* What partition.c, mbr.c and gpt.c share; others include partition.h. */
#include "../formats/bytes.h"
#include "partition.h"

enum {
    TABLE_SECTOR = 512, /* the smallest, and what an MBR is counted in */
    MBR_DISK_SIGNATURE = 440,
    MBR_ENTRIES = 446, /* four of 16 bytes */
    MBR_ENTRY_SIZE = 16,
    MBR_ENTRY_STATUS = 0,
    MBR_ENTRY_TYPE = 4,
    MBR_ENTRY_START = 8,  /* sectors */
    MBR_ENTRY_COUNT = 12, /* sectors */
    MBR_MAGIC = 510,      /* 55 AA */
    MBR_TYPE_LDM = 0x42,
    MBR_TYPE_GPT = 0xee,
};

struct mbr_entry {
    bool active;
    uint8_t type;
    uint32_t start, count; /* sectors */
};

/* disk_pread, a range outside the disk being -EIO. */
int table_pread(struct disk *disk, void *buf, size_t len, uint64_t off);
/* Adds a copy of `p`; -ENOMEM. */
int table_add(struct partition_table *t, const struct partition *p);

/* The four entries of a sector. False when there is no magic, or a status that no table has. */
bool mbr_entries(struct bytes sector, struct mbr_entry ret[4]);
/* Fills `t` from the MBR's `entries`, following its extended partitions. -EUCLEAN: they run in a loop. */
int mbr_read(struct disk *disk, const struct mbr_entry entries[4], struct partition_table *t,
             struct fault *fault);

enum gpt_use {
    GPT_PRIMARY,        /* only the primary at LBA 1 */
    GPT_PRIMARY_BACKUP, /* or the backup */
};
/* Fills `t` and sets its kind to TABLE_GPT when a valid GPT is found; 0 and an untouched `t` when there is
 * none. *ret_seen: there was at least the magic of one. */
int gpt_read(struct disk *disk, enum gpt_use use, struct partition_table *t, bool *ret_seen);
#endif
