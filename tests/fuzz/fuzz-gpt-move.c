/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The GPT of any bytes, moved to a new end. The first byte says how far; checksums are made right, or nothing
 * would get past them. Where it is moved, our reader of partition tables, which knows nothing of this, must
 * find the same partitions by either header, and the disk's bytes must be where they were. */
#include "formats/gpt-move.h"
#include "guest/table.h"
#include "../unit/gpt-sample.h"
#include "../unit/memdisk.h"

#include <assert.h>

enum { LENGTH_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct partition_table *table_of(const uint8_t *p, uint64_t n)
{
    struct memdisk d = memdisk_of(p, n);
    struct partition_table *t = calloc(1, sizeof *t);
    bool seen;
    assert(t);
    /* the GPT alone: whether it counts is also for the MBR to say, of which we move nothing but the length */
    t->sector_size = GPT_SECTOR;
    assert(gpt_read(&d.disk, GPT_PRIMARY_BACKUP, t, &seen) == 0);
    return t;
}

static void same_partitions(const struct partition_table *was, uint8_t *p, uint64_t n, bool by_backup)
{
    if (by_backup)
        memset(p + GPT_SECTOR, 0, GPT_SECTOR);
    struct partition_table *is = table_of(p, n);
    assert(is->kind == TABLE_GPT && is->n == was->n && is->backup_used == by_backup);
    for (size_t i = 0; i < is->n; i++)
        assert(!memcmp(&is->partitions[i], &was->partitions[i], sizeof is->partitions[i]));
    partition_table_free(is);
}

static void check_moved(const struct layout *l, const uint8_t *disk, uint64_t size)
{
    uint8_t *p = layout_bytes(l, disk, size);
    assert(p);
    const uint8_t *h = disk + GPT_SECTOR;
    uint64_t usable = (gpt_get64(h + 48) + 1) * GPT_SECTOR;
    assert(usable > 2 * GPT_SECTOR && usable <= l->size);
    uint64_t kept = min_u64(usable, size) - 2 * GPT_SECTOR;
    assert(!memcmp(p + 2 * GPT_SECTOR, disk + 2 * GPT_SECTOR, (size_t)kept));
    struct partition_table *was = table_of(disk, size);
    if (was->kind == TABLE_GPT && !was->backup_used && was->sector_size == GPT_SECTOR) {
        same_partitions(was, p, l->size, false);
        same_partitions(was, p, l->size, true);
    }
    partition_table_free(was);
    free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1 || n > LENGTH_MAX)
        return 0;
    uint64_t more = data[0], size = (n - 1) / GPT_SECTOR * GPT_SECTOR;
    uint8_t *disk = malloc(size + 1);
    assert(disk);
    memcpy(disk, data + 1, (size_t)size);
    gpt_seal(disk, (size_t)size);
    struct memdisk d = memdisk_of(disk, size);
    struct layout l = { 0 };
    int r = gpt_move_layout(&d.disk, size + (1 + more) * GPT_SECTOR, &l);
    assert(r == 0 && (!l.n || l.size == size + (1 + more) * GPT_SECTOR));
    assert(d.reads <= 3);
    if (l.n)
        check_moved(&l, disk, size);
    layout_done(&l);
    free(disk);
    return 0;
}
