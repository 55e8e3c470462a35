/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which partition table a disk has. Several can be seen at once, and old ones survive under new ones, so:
 *
 *     sector 0 has a protective entry (EE)   GPT, primary or backup; never the entry itself. Other entries
 *                                            beside it (a hybrid MBR) are left alone.
 *     ... is a file system's boot sector     no table, even where its code looks like one (mkfs.fat writes
 * such a table on purpose, with a partition from sector 0)
 *     ... is an MBR with partitions          MBR; a GPT without its protective entry is a leftover
 *     ... anything else                      a GPT counts (someone wiped sector 0), its backup only when the
 *                                            disk isn't a file system as a whole (mkfs doesn't wipe the end)
 *
 * That is what Linux, Windows and libblkid do, but for the last line, where they give up. */
#include "partition.h"
#include "../formats/checked.h"
#include "signature.h"
#include "table.h"

#include <errno.h>

int table_pread(struct disk *disk, void *buf, size_t len, uint64_t off)
{
    int r = disk_pread(disk, buf, len, off);
    return r == -EINVAL ? -EIO : r;
}

int table_add(struct partition_table *t, const struct partition *p)
{
    if (!(t->n & (t->n - 1))) { /* 0, 1, 2, 4, ...: full */
        struct partition *more = reallocarray(t->partitions, t->n ? 2 * t->n : 1, sizeof *more);
        if (!more)
            return -ENOMEM;
        t->partitions = more;
    }
    t->partitions[t->n++] = *p;
    return 0;
}

void partition_table_free(struct partition_table *t)
{
    if (!t)
        return;
    notes_done(&t->notes);
    free(t->partitions);
    free(t);
}
DEFINE_CLEANUP(struct partition_table *, partition_table_free)

/* ---- tables that we only name ---- */

static const struct {
    uint32_t offset;
    const char *magic;
    uint8_t length;
    const char *name;
} other_tables[] = {
    { 512, "PM\0\0", 4, "an Apple partition map" },   { 512, "\x57\x45\x56\x82", 4, "a BSD disklabel" },
    { 64, "\x57\x45\x56\x82", 4, "a BSD disklabel" }, { 508, "\xda\xbe", 2, "a Sun disklabel" },
    { 0, "\x0b\xe5\xa9\x41", 4, "an SGI disklabel" },
};

static void name_other_table(struct bytes head, struct partition_table *t)
{
    for (size_t i = 0; i < sizeof other_tables / sizeof other_tables[0]; i++)
        if (bytes_match(head, other_tables[i].offset, other_tables[i].magic, other_tables[i].length)) {
            notes_add(&t->notes, "the disk has %s, which ferryfs doesn't read", other_tables[i].name);
            return;
        }
}

/* ---- remarks on the partitions found ---- */

static int by_start(const void *a, const void *b)
{
    const struct partition *p = *(const struct partition *const *)a, *q = *(const struct partition *const *)b;
    if (p->start != q->start)
        return p->start < q->start ? -1 : 1;
    return (p->number > q->number) - (p->number < q->number);
}

static int by_number(const void *a, const void *b)
{
    const struct partition *p = a, *q = b;
    return (p->number > q->number) - (p->number < q->number);
}

/* Start and length are products of at most 2^64, so that their sum doesn't overflow: see mbr.c and gpt.c. */
static int check_partitions(struct disk *disk, struct partition_table *t)
{
    if (!t->n)
        return 0;
    qsort(t->partitions, t->n, sizeof *t->partitions, by_number);
    _cleanup_free_ const struct partition **sorted = calloc(t->n, sizeof(void *));
    if (!sorted)
        return -ENOMEM;
    for (size_t i = 0; i < t->n; i++)
        sorted[i] = &t->partitions[i];
    qsort(sorted, t->n, sizeof *sorted, by_start);
    const struct partition *widest = NULL; /* the one that reaches furthest so far */
    for (size_t i = 0; i < t->n; i++) {
        const struct partition *p = sorted[i];
        if (!range_inside(p->start, p->length, disk->size))
            notes_add(&t->notes, "partition %u ends at byte %llu, past the end of the disk at %llu",
                      p->number, (unsigned long long)(p->start + p->length), (unsigned long long)disk->size);
        if (p->start < TABLE_SECTOR)
            notes_add(&t->notes, "partition %u begins at sector 0, over the partition table", p->number);
        if (widest && p->start < widest->start + widest->length)
            notes_add(&t->notes, "partitions %u and %u overlap", widest->number, p->number);
        if (!widest || p->start + p->length > widest->start + widest->length)
            widest = p;
    }
    return 0;
}

/* ---- the choice ---- */

/* File systems whose boot sector is at the very start and ends with the MBR's magic. */
static bool is_boot_sector(const char *type)
{
    static const char *const types[] = { "ntfs", "exfat", "refs", "bitlocker", "fat12", "fat16", "fat32" };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (!strcmp(type, types[i]))
            return true;
    return false;
}

static bool has_type(const struct mbr_entry e[4], uint8_t type, bool others)
{
    for (unsigned i = 0; i < 4; i++)
        if (e[i].type && (e[i].type == type) != others)
            return true;
    return false;
}

static int read_protected(struct disk *disk, const struct mbr_entry e[4], struct partition_table *t,
                          struct fault *fault)
{
    bool seen;
    int r = gpt_read(disk, GPT_PRIMARY_BACKUP, t, &seen);
    if (r < 0)
        return r;
    if (t->kind != TABLE_GPT)
        return fault_at(fault, -EUCLEAN, "", TABLE_SECTOR, "the GPT is damaged, and so is its backup");
    if (has_type(e, MBR_TYPE_GPT, true))
        notes_add(&t->notes, "hybrid MBR: its partitions are those of the GPT");
    return 0;
}

/* Sector 0 says nothing. */
static int read_unprotected(struct disk *disk, const char *whole, struct bytes head,
                            struct partition_table *t)
{
    bool seen;
    int r = gpt_read(disk, whole[0] ? GPT_PRIMARY : GPT_PRIMARY_BACKUP, t, &seen);
    if (r < 0)
        return r;
    if (t->kind == TABLE_GPT)
        notes_add(&t->notes, "the protective MBR is missing: the GPT is used without it");
    else if (!whole[0])
        name_other_table(head, t);
    return 0;
}

static int read_table(struct disk *disk, struct bytes head, struct partition_table *t, struct fault *fault)
{
    struct mbr_entry e[4];
    struct signature whole;
    bool mbr = mbr_entries(head, e);
    if (bytes_match(head, MBR_MAGIC, "\x55\xaa", 2))
        t->mbr_signature = le32(head, MBR_DISK_SIGNATURE);
    if (mbr && has_type(e, MBR_TYPE_GPT, false))
        return read_protected(disk, e, t, fault);
    int r = signature_probe(disk, &whole);
    if (r < 0)
        return fault_in(fault, r, "", "the start of the disk can't be read");
    if (is_boot_sector(whole.type)) {
        t->mbr_signature = 0;
        return 0;
    }
    if (!mbr || !has_type(e, 0, true))
        return read_unprotected(disk, whole.type, head, t);
    bool seen;
    r = mbr_read(disk, e, t, fault);
    if (r == 0) {
        struct partition_table leftover = { .sector_size = TABLE_SECTOR };
        r = gpt_read(disk, GPT_PRIMARY, &leftover, &seen);
        if (leftover.kind == TABLE_GPT)
            notes_add(&t->notes,
                      "there is also a GPT, but no entry of the MBR protects it: it is taken for a leftover");
        notes_done(&leftover.notes);
        free(leftover.partitions);
    }
    return r;
}

int partition_table_read(struct disk *disk, struct partition_table **ret, struct fault *fault)
{
    uint8_t buf[2 * TABLE_SECTOR];
    struct bad bad = { 0 };
    _cleanup_(partition_table_freep) struct partition_table *t = calloc(1, sizeof *t);
    if (!t)
        return fault_in(fault, -ENOMEM, "", "out of memory");
    t->sector_size = TABLE_SECTOR;
    if (disk->size >= TABLE_SECTOR) {
        size_t n = (size_t)min_u64(sizeof buf, disk->size);
        int r = table_pread(disk, buf, n, 0);
        if (r < 0) /* sector 1 matters less: a GPT has its backup */
            r = table_pread(disk, buf, n = TABLE_SECTOR, 0);
        if (r < 0)
            return fault_at(fault, r, "", 0, "the partition table can't be read");
        r = read_table(disk, bytes_of(buf, n, 0, &bad), t, fault);
        if (r == 0)
            r = check_partitions(disk, t);
        if (r < 0)
            return fault_in(fault, r, "", "out of memory");
    }
    *ret = TAKE_PTR(t);
    return 0;
}
