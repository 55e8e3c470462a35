/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing the slots of directories, and making names for them.
 *
 *     README.TXT             fits 8.3: one slot
 *     readme.txt, Readme     fits but for its case, all of one kind in each part: one slot, with Windows NT's
 * bits A long name.html       slots for the long name, and a short one: ALONGN~1.HTM
 *
 * A short name is unlike every other one in its directory: by a number, and when the first few are taken, by
 * a hash of the long name and a number, as Windows does. */
#include "../formats/checked.h"
#include "../formats/hash.h"
#include "fat-write.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- names ---- */

int fat_name_check(const char *name, uint16_t units[FAT_NAME_MAX], size_t *ret_n)
{
    int n = text_to_utf16(name, units, FAT_NAME_MAX);
    if (n < 0)
        return n == -ENAMETOOLONG ? n : -EINVAL;
    if (!n || units[n - 1] == '.' || units[n - 1] == ' ')
        return -EINVAL;
    for (int k = 0; k < n; k++)
        if (units[k] < ' ' || (units[k] < 0x80 && strchr("\"*/:<>?\\|", units[k])))
            return -EINVAL;
    *ret_n = (size_t)n;
    return 0;
}

static bool short_char(uint16_t u)
{
    return (u >= 'A' && u <= 'Z') || (u >= 'a' && u <= 'z') || (u >= '0' && u <= '9') ||
           (u > ' ' && u < 0x80 && strchr("!#$%&'()-@^_`{}~", u));
}

static bool is_lower(uint16_t u)
{
    return u >= 'a' && u <= 'z';
}

static uint8_t upper(uint16_t u)
{
    return (uint8_t)(is_lower(u) ? u - ('a' - 'A') : u);
}

/* One part of a name that fits as it is; *ret_lower: it is all in lower case. */
static bool short_part(const uint16_t *units, size_t n, size_t max, uint8_t *raw, bool *ret_lower)
{
    bool low = false, high = false;
    if (n > max)
        return false;
    for (size_t k = 0; k < n; k++) {
        if (!short_char(units[k]))
            return false;
        low |= is_lower(units[k]);
        high |= units[k] >= 'A' && units[k] <= 'Z';
        raw[k] = upper(units[k]);
    }
    *ret_lower = low;
    return !(low && high);
}

/* Does the name fit without a long one? */
static bool short_exact(const uint16_t *units, size_t n, uint8_t raw[11], uint8_t *ret_case)
{
    size_t dot = n;
    bool base = false, extension = false;
    for (size_t k = 0; k < n; k++)
        if (units[k] == '.')
            dot = k;
    memset(raw, ' ', 11);
    if (!dot || !short_part(units, dot, 8, raw, &base) ||
        (dot < n && !short_part(units + dot + 1, n - dot - 1, 3, raw + 8, &extension)))
        return false;
    *ret_case = (base ? SLOT_CASE_BASE : 0) | (extension ? SLOT_CASE_EXTENSION : 0);
    return true;
}

/* What of the long name goes into the short one; returns the length of the base. */
static size_t short_basis(const uint16_t *units, size_t n, uint8_t raw[11])
{
    size_t dot = n, base = 0, extension = 0;
    memset(raw, ' ', 11);
    for (size_t k = 1; k < n; k++)
        if (units[k] == '.')
            dot = k;
    for (size_t k = 0; k < dot && base < 8; k++)
        if (units[k] != ' ' && units[k] != '.')
            raw[base++] = short_char(units[k]) ? upper(units[k]) : '_';
    for (size_t k = dot + 1; k < n && extension < 3; k++)
        if (units[k] != ' ')
            raw[8 + extension++] = short_char(units[k]) ? upper(units[k]) : '_';
    if (!base)
        raw[base++] = '_';
    return base;
}

/* ---- directories ---- */

static bool slot_live(const uint8_t raw[FAT_ENTRY])
{
    return raw[0] && raw[0] != SLOT_FREE && (raw[SLOT_ATTRIBUTES] & 0x3f) != LONG_ATTRIBUTES;
}

/* Reads slot `index`; 1, 0 at the directory's end, or -EIO. */
static int slot_read(struct fat_dir *d, uint32_t index, uint8_t raw[FAT_ENTRY], uint64_t *ret_at)
{
    int r = index >= FAT_DIR_MAX ? 0 : fat_dir_slot_at(d, index, ret_at);
    if (r == 1 && (r = fat_cursor_read(&d->cursor, raw, FAT_ENTRY, *ret_at)) == 0)
        r = 1;
    return r;
}

/* Is there an entry with this short name? */
static int short_taken(struct fat *v, uint64_t dir, const uint8_t name[11])
{
    struct fat_dir d;
    uint8_t raw[FAT_ENTRY];
    uint64_t at;
    int found = 0, r = fat_dir_open(v, dir, 0, &d);
    for (uint32_t n = 0; r == 0 && !found && (r = slot_read(&d, n, raw, &at)) == 1 && raw[0]; n++) {
        found = slot_live(raw) && !memcmp(raw, name, 11);
        r = 0;
    }
    fat_dir_done(&d);
    return r < 0 ? r : found;
}

enum { PLAIN_TAILS = 4, HASHED_TAILS = 999 };

static int short_make(struct fat *v, uint64_t dir, const uint16_t *units, size_t n, uint8_t raw[11])
{
    uint8_t basis[11];
    size_t base = short_basis(units, n, basis);
    uint32_t hash = crc32c(units, n * sizeof *units);
    for (unsigned k = 1; k <= HASHED_TAILS; k++) {
        char tail[16];
        bool hashed = k > PLAIN_TAILS;
        int len = hashed ? snprintf(tail, sizeof tail, "%04X~%u", (hash + k / 9) & 0xffff, k % 9 + 1)
                         : snprintf(tail, sizeof tail, "~%u", k);
        size_t room = 8 - (size_t)len, keep = hashed ? min_u64(base, 2) : base;
        keep = min_u64(keep, room);
        memcpy(raw, basis, 11);
        memset(raw + keep, ' ', 8 - keep);
        memcpy(raw + keep, tail, (size_t)len);
        int r = short_taken(v, dir, raw);
        if (r <= 0)
            return r;
    }
    return -ENOSPC;
}

/* Adds a cluster of zeros to a directory. */
static int dir_grow(struct fat *v, struct fat_dir *d)
{
    uint32_t last;
    if (d->fixed_root || !fat_clusters_free(v) || d->chain.damaged || !d->chain.clusters)
        return -ENOSPC;
    int r = fat_chain_at(&d->cursor, &d->chain, d->chain.clusters - 1, &last);
    if (r < 0)
        return r;
    uint32_t c = fat_cluster_take(v, last + 1);
    if ((r = fat_cluster_clear(v, c)) < 0 || (r = fat_table_link(v, c, 0)) < 0 ||
        (r = fat_table_link(v, last, c)) < 0)
        fat_cluster_untake(v, c);
    return r;
}

/* The first of `count` free slots that follow each other; the directory grows as needed. */
static int slots_find(struct fat *v, uint64_t dir, uint32_t count, struct fat_dir *d, uint32_t *ret)
{
    uint8_t raw[FAT_ENTRY];
    uint64_t at;
    uint32_t n = 0, run = 0;
    bool end = false; /* behind the mark nothing is in use, whatever is there */
    int r = fat_dir_open(v, dir, 0, d);
    while (r == 0 && run < count) {
        if (n >= FAT_DIR_MAX)
            return -ENOSPC;
        r = slot_read(d, n, raw, &at);
        if (r == 0 && (r = dir_grow(v, d)) == 0) {
            fat_dir_done(d);
            r = fat_dir_open(v, dir, 0, d);
            continue;
        }
        if (r < 0)
            break;
        r = 0;
        end |= !raw[0];
        run = end || raw[0] == SLOT_FREE ? run + 1 : 0;
        n++;
    }
    *ret = n - count;
    return r;
}

static void long_slot(const uint16_t *units, size_t n, unsigned ord, bool last, uint8_t sum,
                      uint8_t raw[FAT_ENTRY])
{
    memset(raw, 0, FAT_ENTRY);
    raw[LONG_ORD] = (uint8_t)(ord | (last ? LONG_LAST : 0));
    raw[SLOT_ATTRIBUTES] = LONG_ATTRIBUTES;
    raw[LONG_CHECKSUM] = sum;
    for (size_t k = 0; k < LONG_UNITS; k++) {
        size_t at = (ord - 1) * LONG_UNITS + k;
        put_le16(raw + fat_long_places[k], at < n ? units[at] : at == n ? 0 : 0xffff);
    }
}

void fat_entry_write(const struct fat *v, const struct fat_entry *e, uint8_t raw[FAT_ENTRY])
{
    memset(raw, 0, FAT_ENTRY);
    memcpy(raw, e->raw_name, 11);
    raw[SLOT_ATTRIBUTES] = e->attributes;
    raw[SLOT_CASE] = e->case_bits;
    raw[SLOT_BIRTH_CENTIS] = e->birth_centis;
    put_le16(raw + SLOT_BIRTH_TIME, e->birth_time);
    put_le16(raw + SLOT_BIRTH_DATE, e->birth_date);
    put_le16(raw + SLOT_ACCESS_DATE, e->access_date);
    if (v->g.bits == 32)
        put_le16(raw + SLOT_CLUSTER_HIGH, (uint16_t)(e->cluster >> 16));
    put_le16(raw + SLOT_TIME, e->time);
    put_le16(raw + SLOT_DATE, e->date);
    put_le16(raw + SLOT_CLUSTER_LOW, (uint16_t)e->cluster);
    put_le32(raw + SLOT_SIZE, e->size);
}

int fat_slot_write(struct fat *v, uint64_t slot, const struct fat_entry *e)
{
    uint8_t raw[FAT_ENTRY], old[FAT_ENTRY];
    uint64_t at = slot * FAT_ENTRY;
    struct fat_cursor c = { .fat = v };
    int r = fat_cursor_read(&c, old, sizeof old, at);
    fat_cursor_done(&c);
    if (r < 0)
        return r;
    fat_entry_write(v, e, raw);
    memcpy(raw, old, 11); /* the name is the slot's */
    raw[SLOT_CASE] = old[SLOT_CASE];
    if (v->g.bits != 32)
        memcpy(raw + SLOT_CLUSTER_HIGH, old + SLOT_CLUSTER_HIGH, 2); /* OS/2's attributes */
    return block_store_put(v->writer->store, raw, sizeof raw, at);
}

int fat_slot_add(struct fat *v, uint64_t dir, const char *name, const struct fat_entry *e, uint64_t *ret_slot)
{
    uint16_t units[FAT_NAME_MAX];
    struct fat_entry put = *e;
    struct fat_dir d = { .fixed_root = true };
    size_t n;
    uint32_t first;
    int r = fat_name_check(name, units, &n);
    if (r < 0)
        return r;
    bool exact = short_exact(units, n, put.raw_name, &put.case_bits);
    if (exact && (r = short_taken(v, dir, put.raw_name)) != 0)
        exact = r < 0; /* it is somebody's who has another long name */
    if (r < 0)
        return r;
    if (!exact) {
        put.case_bits = 0;
        if ((r = short_make(v, dir, units, n, put.raw_name)) < 0)
            return r;
    }
    uint32_t longs = exact ? 0 : (uint32_t)div_up(n, LONG_UNITS);
    r = slots_find(v, dir, longs + 1, &d, &first);
    uint64_t at = 0;
    for (uint32_t k = 0; k <= longs && r == 0; k++) {
        uint8_t raw[FAT_ENTRY];
        if (k < longs)
            long_slot(units, n, longs - k, !k, fat_name_checksum(put.raw_name), raw);
        else
            fat_entry_write(v, &put, raw);
        r = fat_dir_slot_at(&d, first + k, &at);
        r = r == 1 ? block_store_put(v->writer->store, raw, sizeof raw, at) : r ? r : -EIO;
    }
    fat_dir_done(&d);
    *ret_slot = at / FAT_ENTRY;
    return r;
}

/* The first bytes of an entry's slots: taken into `saved` and marked as free, or put back. */
static int slots_mark(struct fat *v, uint64_t dir, const struct fat_name *f, uint8_t *saved, bool back)
{
    static const uint8_t mark = SLOT_FREE;
    struct fat_dir d;
    int r = fat_dir_open(v, dir, 0, &d);
    for (uint32_t k = 0; k < f->slots && r == 0; k++) {
        uint8_t raw[FAT_ENTRY];
        uint64_t at;
        r = slot_read(&d, f->next - f->slots + k, raw, &at);
        if (r == 1 && !back)
            saved[k] = raw[0];
        r = r == 1 ? block_store_put(v->writer->store, back ? &saved[k] : &mark, 1, at) : r ? r : -EIO;
    }
    fat_dir_done(&d);
    return r;
}

int fat_slot_remove(struct fat *v, uint64_t dir, const struct fat_name *f, uint8_t saved[FAT_SLOTS_MAX])
{
    return slots_mark(v, dir, f, saved, false);
}

int fat_slot_restore(struct fat *v, uint64_t dir, const struct fat_name *f, uint8_t saved[FAT_SLOTS_MAX])
{
    return slots_mark(v, dir, f, saved, true);
}

static bool same_folded(const uint16_t *a, size_t n, const uint16_t *folded, size_t n_folded)
{
    if (n != n_folded)
        return false;
    for (size_t i = 0; i < n; i++)
        if (text_upcase(a[i]) != folded[i])
            return false;
    return true;
}

int fat_slot_find(struct fat *v, uint64_t dir_ino, const char *name, struct fat_name *ret)
{
    uint16_t want[FAT_NAME_MAX];
    int n = text_to_utf16(name, want, FAT_NAME_MAX);
    if (n < 0)
        return n == -ENAMETOOLONG ? n : -ENOENT;
    for (int i = 0; i < n; i++)
        want[i] = text_upcase(want[i]);
    struct fat_dir dir;
    struct fat_name f;
    unsigned found = 0; /* 1: by its short name, 2: but for its case, 3: exactly */
    int r = fat_dir_open(v, dir_ino, 0, &dir);
    while (found < 3 && r == 0 && (r = fat_dir_next(&dir, &f)) == 1) {
        unsigned match = !strcmp(f.name, name)                              ? 3
                         : same_folded(f.units, f.n_units, want, (size_t)n) ? 2
                         : same_folded(f.alias, f.n_alias, want, (size_t)n) ? 1
                                                                            : 0;
        r = 0;
        if (match > found) {
            found = match;
            *ret = f;
        }
    }
    fat_dir_done(&dir);
    /* a damage behind it may hide a better match, but this one is no wrong one */
    return found ? 0 : r < 0 ? r : -ENOENT;
}

/* ---- directories among each other ---- */

int fat_dir_cluster(struct fat *v, uint64_t dir, uint32_t *ret)
{
    struct fat_entry e;
    *ret = 0;
    if (dir == VOLUME_ROOT)
        return 0;
    int r = fat_inode(v, dir, &e);
    if (r == 0)
        *ret = e.cluster;
    return r < 0 ? r : e.attributes & FAT_DIRECTORY ? 0 : -ENOTDIR;
}

int fat_dir_init(struct fat *v, uint32_t cluster, uint32_t parent, const struct fat_entry *e)
{
    uint8_t raw[2 * FAT_ENTRY];
    struct fat_entry dots = *e;
    int r = fat_cluster_clear(v, cluster);
    dots.case_bits = 0;
    dots.size = 0;
    memcpy(dots.raw_name, ".          ", 11);
    dots.cluster = cluster;
    fat_entry_write(v, &dots, raw);
    memcpy(dots.raw_name, "..         ", 11);
    dots.cluster = parent;
    fat_entry_write(v, &dots, raw + FAT_ENTRY);
    return r < 0 ? r : block_store_put(v->writer->store, raw, sizeof raw, fat_cluster_at(v, cluster));
}

static int parent_read(struct fat *v, uint32_t cluster, uint8_t raw[FAT_ENTRY])
{
    struct fat_cursor c = { .fat = v };
    int r = fat_cluster_valid(v, cluster)
                ? fat_cursor_read(&c, raw, FAT_ENTRY, fat_cluster_at(v, cluster) + FAT_ENTRY)
                : -EIO;
    fat_cursor_done(&c);
    return r < 0 ? r : memcmp(raw, "..         ", 11) != 0 ? -EIO : 0;
}

int fat_dir_get_parent(struct fat *v, uint32_t cluster, uint32_t *ret)
{
    uint8_t raw[FAT_ENTRY];
    struct bad bad = { 0 };
    int r = parent_read(v, cluster, raw);
    if (r < 0)
        return r;
    struct bytes b = bytes_of(raw, sizeof raw, 0, &bad);
    *ret = le16(b, SLOT_CLUSTER_LOW) | (v->g.bits == 32 ? (uint32_t)le16(b, SLOT_CLUSTER_HIGH) << 16 : 0);
    if (v->g.bits == 32 && *ret == v->g.root_cluster)
        *ret = 0;
    return 0;
}

int fat_dir_set_parent(struct fat *v, uint32_t cluster, uint32_t parent)
{
    uint8_t raw[FAT_ENTRY];
    int r = parent_read(v, cluster, raw);
    if (r < 0)
        return r;
    put_le16(raw + SLOT_CLUSTER_LOW, (uint16_t)parent);
    if (v->g.bits == 32)
        put_le16(raw + SLOT_CLUSTER_HIGH, (uint16_t)(parent >> 16));
    return block_store_put(v->writer->store, raw, sizeof raw, fat_cluster_at(v, cluster) + FAT_ENTRY);
}
