/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_PARTITION_H
#define FERRYFS_PARTITION_H
/* Partition tables: MBR with logical partitions, GPT (by its backup where the primary is damaged). Source:
 * UEFI specification chapter 5; facts of MBR from common practice of Windows and Linux. */
#include "../formats/disk.h"
#include "../formats/fault.h"
#include "../formats/notes.h"

#include <stdbool.h>

enum table_kind {
    TABLE_NONE, /* no table: the disk as a whole may be a file system */
    TABLE_MBR,
    TABLE_GPT,
};

struct partition {
    unsigned number;        /* as the table numbers it: GPT entry + 1; MBR 1-4, logical ones from 5 */
    uint64_t start, length; /* bytes; the end may lie past the disk's end (a thin export cut short): noted */
    uint8_t mbr_type;       /* MBR */
    bool active;            /* MBR: status 0x80 */
    uint8_t type_guid[16];  /* GPT, as stored */
    uint8_t guid[16];       /* GPT, as stored */
    uint64_t attributes;    /* GPT */
    char name[36 * 3 + 1];  /* GPT, UTF-8 */
};

struct partition_table {
    enum table_kind kind;
    unsigned sector_size;   /* in which the table counts: 512, or 4096 when only so something is found */
    uint32_t mbr_signature; /* NT disk signature, also of a GPT's protective MBR */
    uint8_t disk_guid[16];  /* GPT */
    bool backup_used;       /* GPT: the primary was damaged */
    struct partition *partitions; /* owned, in the order of their numbers */
    size_t n;
    struct notes notes;
};

/* -EUCLEAN: there is a table, and it is damaged beyond use (both GPT headers, a loop of EBRs). -EIO: it can't
 * be read. A disk without a table succeeds with TABLE_NONE. */
int partition_table_read(struct disk *disk, struct partition_table **ret, struct fault *fault);
void partition_table_free(struct partition_table *t);
#endif
