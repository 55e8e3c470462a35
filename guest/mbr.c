/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The partition table of the PC, in sector 0, and the chain of records that logical partitions hang on.
 *
 *     MBR      entry: a primary partition, or an extended one, from sector E on
 *     E:       EBR, laid out like the MBR: the first logical one (start counted from this EBR),
 *              and the next EBR (start counted from E)
 *     E+next:  EBR, ...
 *
 * Logical partitions are numbered from 5 in the chain's order, also when primary ones are missing, as Linux
 * and Windows number them. The chain need not run forwards, so a set of the sectors seen finds loops. Linux
 * takes data and link from whichever of the four slots has them; so do we, the upper two only when what they
 * say lies in the extended partition. CHS fields say nothing that the sector numbers don't.
 *
 * Facts: common practice; Linux documentation of msdos partitions. */
#include "../formats/checked.h"
#include "signature.h"
#include "table.h"

#include <errno.h>

/* Windows and Linux stop at fewer; more than this is an attack. */
enum { EBR_MAX = 512 };

bool mbr_entries(struct bytes sector, struct mbr_entry ret[4])
{
    if (!bytes_match(sector, MBR_MAGIC, "\x55\xaa", 2))
        return false;
    for (unsigned i = 0; i < 4; i++) {
        struct bytes e = bytes_sub(sector, MBR_ENTRIES + i * MBR_ENTRY_SIZE, MBR_ENTRY_SIZE);
        uint8_t status = u8(e, MBR_ENTRY_STATUS);
        if (status & 0x7f)
            return false;
        ret[i] = (struct mbr_entry){
            .active = status == 0x80,
            .type = u8(e, MBR_ENTRY_TYPE),
            .start = le32(e, MBR_ENTRY_START),
            .count = le32(e, MBR_ENTRY_COUNT),
        };
    }
    return true;
}

static bool is_extended(uint8_t type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

static bool is_used(const struct mbr_entry *e)
{
    return e->type && e->count;
}

/* `base`: the sector that the entry's start counts from. */
static int add_entry(struct partition_table *t, const struct mbr_entry *e, uint64_t base, unsigned number)
{
    const struct partition p = {
        .number = number,
        .start = (base + e->start) * t->sector_size, /* base < 2^33 */
        .length = (uint64_t)e->count * t->sector_size,
        .mbr_type = e->type,
        .active = e->active,
    };
    return table_add(t, &p);
}

struct ebr_walk {
    struct disk *disk;
    struct partition_table *t;
    uint64_t first, count; /* the extended partition, sectors */
    unsigned next_number;
    uint64_t seen[EBR_MAX];
    size_t n_seen;
};

/* Over all extended partitions of the disk: where one has been read it isn't read again. */
static bool mark_seen(struct ebr_walk *w, uint64_t sector)
{
    for (size_t i = 0; i < w->n_seen; i++)
        if (w->seen[i] == sector)
            return false;
    w->seen[w->n_seen++] = sector;
    return true;
}

/* Takes the logical partitions of one record at `sector`; *ret_next is the next record, 0 at the end. */
static int read_record(struct ebr_walk *w, uint64_t sector, uint64_t *ret_next)
{
    uint8_t buf[TABLE_SECTOR];
    struct bad bad = { 0 };
    struct mbr_entry e[4];
    const uint64_t at = sector * w->t->sector_size;
    *ret_next = 0;
    if (table_pread(w->disk, buf, sizeof buf, at) < 0 ||
        !mbr_entries(bytes_of(buf, sizeof buf, at, &bad), e)) {
        notes_add(
            &w->t->notes,
            "the record of logical partitions in sector %llu is damaged: partitions from %u on are missing",
            (unsigned long long)sector, w->next_number);
        return 0;
    }
    for (unsigned i = 0; i < 4; i++) {
        if (!is_used(&e[i]))
            continue;
        if (is_extended(e[i].type)) {
            if (!*ret_next)
                *ret_next = w->first + e[i].start;
            continue;
        }
        uint64_t start = sector + e[i].start - w->first; /* sector >= first: both are sums from it */
        if (i >= 2 && !range_inside(start, e[i].count, w->count))
            continue;
        if (!range_inside(start, e[i].count, w->count))
            notes_add(&w->t->notes, "partition %u lies outside its extended partition", w->next_number);
        int r = add_entry(w->t, &e[i], sector, w->next_number++);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_chain(struct ebr_walk *w, struct fault *fault)
{
    uint64_t sector = w->first;
    do {
        if (w->n_seen == EBR_MAX)
            return fault_at(fault, -EUCLEAN, "", sector * w->t->sector_size,
                            "more than %d logical partitions", EBR_MAX);
        if (!sector || !mark_seen(w, sector))
            return fault_at(fault, -EUCLEAN, "", sector * w->t->sector_size,
                            "the chain of logical partitions runs in a loop");
        int r = read_record(w, sector, &sector);
        if (r < 0)
            return r;
    } while (sector);
    return 0;
}

/* Is there something that is known where such an entry begins? */
static bool leads_somewhere(struct disk *disk, const struct mbr_entry *e, unsigned sector_size)
{
    uint64_t at = (uint64_t)e->start * sector_size;
    struct disk *slice;
    struct signature s;
    struct mbr_entry record[4];
    uint8_t buf[TABLE_SECTOR];
    struct bad bad = { 0 };
    if (!range_inside(at, (uint64_t)e->count * sector_size, disk->size))
        return false;
    if (is_extended(e->type))
        return table_pread(disk, buf, sizeof buf, at) == 0 &&
               mbr_entries(bytes_of(buf, sizeof buf, at, &bad), record);
    if (disk_slice_new(disk, at, (uint64_t)e->count * sector_size, &slice) < 0)
        return false;
    bool known = signature_probe(slice, &s) == 0 && s.type[0];
    disk_close(slice);
    return known;
}

/* The table doesn't say in which sectors it counts: those of the disk, which may have 4096 bytes, in a VHDX,
 * or in a raw file that was a disk with such sectors. They are 512 unless nothing is found so, and something
 * is otherwise, on a disk that has room for all. */
static unsigned sector_size_of(struct disk *disk, const struct mbr_entry entries[4])
{
    enum { LARGE = 4096 };
    bool found = false;
    for (unsigned i = 0; i < 4; i++) {
        if (!is_used(&entries[i]))
            continue;
        if (leads_somewhere(disk, &entries[i], TABLE_SECTOR) ||
            !range_inside((uint64_t)entries[i].start * LARGE, (uint64_t)entries[i].count * LARGE, disk->size))
            return TABLE_SECTOR;
        found = found || leads_somewhere(disk, &entries[i], LARGE);
    }
    return found ? LARGE : TABLE_SECTOR;
}

int mbr_read(struct disk *disk, const struct mbr_entry entries[4], struct partition_table *t,
             struct fault *fault)
{
    t->kind = TABLE_MBR;
    t->sector_size = sector_size_of(disk, entries);
    if (t->sector_size != TABLE_SECTOR)
        notes_add(&t->notes, "the partition table counts in sectors of %u bytes", t->sector_size);
    for (unsigned i = 0; i < 4; i++) {
        if (!is_used(&entries[i]) || is_extended(entries[i].type))
            continue;
        int r = add_entry(t, &entries[i], 0, i + 1);
        if (r < 0)
            return r;
        if (entries[i].type == MBR_TYPE_LDM)
            notes_add(&t->notes,
                      "partition %u belongs to a Windows dynamic disk (LDM); convert the disk to basic",
                      i + 1);
    }
    struct ebr_walk *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    *w = (struct ebr_walk){ .disk = disk, .t = t, .next_number = 5 };
    int r = 0;
    for (unsigned i = 0; i < 4 && r == 0; i++) {
        if (!is_used(&entries[i]) || !is_extended(entries[i].type))
            continue;
        w->first = entries[i].start;
        w->count = entries[i].count;
        r = read_chain(w, fault);
    }
    free(w);
    return r;
}
