/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is particular to stream-optimized extents: the footer, and the stream itself, which holds more than
 * the tables need.
 *
 *     grain:   u64 first sector, u32 bytes (not 0), zlib stream                  | padded to a sector
 *     marker:  u64 sectors, u32 0, u32 type (0 EOS, 1 GT, 2 GD, 3 footer)        | padded to a sector, those
 * sectors follow
 *
 * Writers put grains into the stream in the disk's order, one behind the other, and tables between them
 * (VMware, VirtualBox) or before them all (QEMU, vmware-vdiskmanager). Grains that are zeros are left out. So
 * a table's entry that was lost, or a directory's, which would read as zeros, shows: behind the grain before
 * it the stream goes on with a grain that no table names. Only the heads of grains with an absent neighbour
 * are read for that. A stream in another order, or with other things between its grains, is none the worse:
 * what isn't found there isn't missed. Streams with redundant tables need none of this.
 *
 * Source: VMware's "Virtual Disk Format 5.0"; files of all these writers. */
#include "vmdk-hosted.h"

#include <errno.h>
#include <string.h>

enum {
    SEARCH_FOOTER = 16 << 20, /* padding behind a stream: tar blocks, whole MiB of block devices */
    MARKER_EOS = 0,
    MARKER_GT = 1,
    MARKER_GD = 2,
    MARKER_FOOTER = 3,
    ZLIB_HEAD = 2,
    ZLIB_METHOD = 8,
    WRONG_TABLE = 2,       /* entries in a row that name what isn't their grain */
    FOLLOW_OTHERS = 8,     /* items in a row that aren't of the table in question */
    BACK_TABLES = 8,       /* empty tables passed in search of the grain before one */
    BACK_ABSENT = 1 << 12, /* the same of absent ones */
};

/* ---- the footer ---- */

static int no_footer(struct file *file, struct fault *fault)
{
    fault_at(fault, -ENODATA, file->name, file->size,
             "truncated: the stream's footer, which says where its tables are, is missing");
    return fault_hint(fault, -ENODATA, "copy or export it again");
}

/* The end of the last sector that isn't all zeros, searched for backwards from the end; 0 when there is none
 * within SEARCH_FOOTER. */
static int last_used_sector(struct file *file, uint64_t *ret)
{
    static const uint8_t zeros[VMDK_SECTOR];
    uint8_t buf[64 * VMDK_SECTOR];
    uint64_t end = file->size / VMDK_SECTOR * VMDK_SECTOR,
             stop = end > SEARCH_FOOTER ? end - SEARCH_FOOTER : 0;
    *ret = 0;
    while (end > stop) {
        size_t n = (size_t)min_u64(sizeof buf, end - stop);
        int r = file_pread(file, buf, n, end - n);
        if (r < 0)
            return r;
        for (size_t i = n; i; i -= VMDK_SECTOR)
            if (memcmp(buf + i - VMDK_SECTOR, zeros, VMDK_SECTOR)) {
                *ret = end - n + i;
                return 0;
            }
        end -= n;
    }
    return 0;
}

/* Replaces *h by the footer. Behind the footer there is only the end-of-stream marker, which is a sector of
 * zeros, and whatever zeros the file was padded with. */
int stream_footer_read(struct file *file, struct vmdk_header *h, struct fault *fault)
{
    uint64_t end;
    uint8_t raw[2 * VMDK_SECTOR];
    int r = last_used_sector(file, &end);
    if (r < 0)
        return fault_in(fault, r, file->name, "its end can't be read: %s", strerror(-r));
    if (end < 3 * VMDK_SECTOR || end + VMDK_SECTOR > file->size)
        return no_footer(file, fault);
    r = file_pread_what(file, raw, sizeof raw, end - sizeof raw, "its footer", fault);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(raw, sizeof raw, end - sizeof raw, &bad);
    if (!bytes_match(b, VMDK_SECTOR, VMDK_MAGIC, 4) || le32(b, GRAIN_BYTES) ||
        le32(b, MARKER_TYPE) != MARKER_FOOTER)
        return no_footer(file, fault);
    struct vmdk_header footer;
    r = vmdk_header_read(file, end - VMDK_SECTOR, &footer, fault);
    if (r < 0)
        return r;
    if (footer.gd_sector == VMDK_GD_AT_END || footer.capacity_sectors != h->capacity_sectors ||
        footer.grain_sectors != h->grain_sectors)
        return fault_at(fault, -EUCLEAN, file->name, end - VMDK_SECTOR,
                        "its header and its footer contradict each other");
    *h = footer;
    return 0;
}

/* ---- lost grains ---- */

/* What begins at a sector of the stream. */
struct item {
    bool is_grain;
    uint64_t grain; /* its number */
    uint64_t end;   /* byte at which the next item begins */
};

/* Is there a grain, or a marker of a table that can be passed? */
static bool read_item(const struct sparse *s, uint64_t at, struct item *ret)
{
    uint8_t raw[MARKER_HEAD];
    if (at % VMDK_SECTOR || !range_inside(at, VMDK_SECTOR, s->file->size) ||
        file_pread(s->file, raw, sizeof raw, at) < 0)
        return false;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(raw, sizeof raw, at, &bad);
    uint32_t n = le32(b, GRAIN_BYTES);
    uint64_t lba = le64(b, GRAIN_LBA), bytes;
    if (!n) { /* `lba` is how many sectors follow */
        uint64_t start = at + VMDK_SECTOR;
        *ret = (struct item){ .end = 0 };
        if (le32(b, MARKER_TYPE) != MARKER_GT || !lba || !checked_mul(lba, VMDK_SECTOR, &bytes) ||
            !range_inside(start, bytes, s->file->size))
            return false;
        ret->end = start + bytes;
        return true;
    }
    *ret = (struct item){ .is_grain = true,
                          .grain = lba / s->h.grain_sectors,
                          .end = round_up(at + GRAIN_HEAD + n, VMDK_SECTOR) };
    return n > ZLIB_HEAD && n <= 2 * s->grain + VMDK_SECTOR && lba % s->h.grain_sectors == 0 &&
           ret->grain < s->n_grains && range_inside(at + GRAIN_HEAD, n, s->file->size) &&
           (u8(b, GRAIN_HEAD) & 0xf) == ZLIB_METHOD &&
           (u8(b, GRAIN_HEAD) << 8 | u8(b, GRAIN_HEAD + 1)) % 31 == 0;
}

/* `entries` may be NULL; else they are those of a table that begins with grain `base`. */
static void follow(const struct sparse *s, uint64_t from, uint64_t first, uint64_t end, uint8_t *entries,
                   uint64_t base, unsigned *effort, struct stream_lost *lost)
{
    struct item it;
    for (unsigned others = 0; *effort && others < FOLLOW_OTHERS && read_item(s, from, &it); from = it.end) {
        --*effort;
        if (!it.is_grain || it.grain < first) {
            others++;
            continue;
        }
        if (it.grain >= end)
            return;
        others = 0;
        if (!lost->n++) {
            lost->grain = it.grain;
            lost->at = from;
        }
        if (entries)
            put_le32(entries + (it.grain - base) * GT_ENTRY, GTE_BAD);
    }
}

void stream_follow(const struct sparse *s, uint64_t from, uint64_t first, uint64_t end, unsigned *effort,
                   struct stream_lost *lost)
{
    follow(s, from, first, end, NULL, 0, effort, lost);
}

static uint32_t entry_at(const uint8_t *entries, uint64_t i)
{
    struct bad bad = { 0 };
    return le32(bytes_of(entries + i * GT_ENTRY, GT_ENTRY, 0, &bad), 0);
}

static bool is_named(uint32_t gte)
{
    return gte > GTE_ZERO && gte != GTE_BAD;
}

/* Where the stream goes on behind the grain that entry i < n of table gt names; if that isn't there, behind
 * the one named before it; else `before`. *wrong counts the entries that name what isn't their grain. */
static uint64_t behind(const struct sparse *s, uint64_t gt, const uint8_t *entries, uint64_t i,
                       uint64_t before, unsigned *wrong)
{
    *wrong = 0;
    for (uint64_t k = i + 1; k > 0 && *wrong < WRONG_TABLE; k--) {
        struct item it;
        uint32_t gte = entry_at(entries, k - 1);
        if (!is_named(gte))
            continue;
        if (read_item(s, (uint64_t)gte * VMDK_SECTOR, &it) && it.is_grain &&
            it.grain == gt * s->h.gtes_per_gt + k - 1)
            return it.end;
        ++*wrong;
    }
    return before;
}

/* The absent entries [i, end): a table that is wrong elsewhere isn't believed when it says that there is
 * nothing. */
static void disbelieve(uint8_t *entries, uint64_t i, uint64_t end, uint64_t base, struct stream_lost *lost)
{
    if (!lost->n)
        *lost = (struct stream_lost){ .wrong_table = true, .grain = base + i };
    lost->n += end - i;
    for (; i < end; i++)
        put_le32(entries + i * GT_ENTRY, GTE_BAD);
}

void stream_mark_lost(const struct sparse *s, uint64_t gt, uint8_t *entries, uint64_t before,
                      unsigned *effort, struct stream_lost *lost)
{
    uint64_t n = sparse_gt_entries(s, gt), base = gt * s->h.gtes_per_gt;
    *lost = (struct stream_lost){ 0 };
    for (uint64_t i = 0, end; i < n && *effort; i = end) {
        end = i + 1;
        if (entry_at(entries, i) != GTE_ABSENT)
            continue;
        while (end < n && entry_at(entries, end) == GTE_ABSENT)
            end++;
        unsigned wrong = 0;
        uint64_t from = i ? behind(s, gt, entries, i - 1, before, &wrong) : before;
        --*effort;
        if (wrong == WRONG_TABLE)
            disbelieve(entries, i, end, base, lost);
        else if (end == n || from != (uint64_t)entry_at(entries, end) * VMDK_SECTOR)
            follow(s, from, base + i, base + end, entries, base, effort, lost);
    }
}

uint64_t stream_last_named(const uint8_t *entries, uint64_t n, uint64_t otherwise)
{
    for (; n; n--)
        if (is_named(entry_at(entries, n - 1)))
            return (uint64_t)entry_at(entries, n - 1) * VMDK_SECTOR;
    return otherwise;
}

uint64_t stream_before(struct sparse *s, uint64_t gt)
{
    uint8_t *buf = malloc((size_t)s->h.gtes_per_gt * GT_ENTRY);
    uint64_t found = UINT64_MAX;
    unsigned tables = 0, absent = 0;
    bool known = buf;
    while (known && found == UINT64_MAX && gt && tables < BACK_TABLES && absent < BACK_ABSENT) {
        struct gt_place place;
        struct gt_differ differ;
        known = !sparse_gt_place(s, --gt, &place) &&
                (!place.sector || !sparse_gt_read(s, gt, &place, buf, &differ));
        if (known && place.sector) {
            tables++;
            found = stream_last_named(buf, sparse_gt_entries(s, gt), UINT64_MAX);
        } else {
            absent++;
        }
    }
    free(buf);
    return known && !gt && found == UINT64_MAX ? s->h.overhead_sectors * VMDK_SECTOR : found;
}
