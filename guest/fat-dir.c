/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Directories of FAT: slots of 32 bytes, a slot that begins with 0 ends them.
 *
 *     long name, last 13 units  |  ...  |  long name, first 13 units  |  the entry itself, with its 8.3 name
 *     ord 0x40 + n                         ord 1                         whose checksum the others carry
 *
 * A long name that isn't complete, in order, and of this entry's checksum is an orphan (a DOS program renamed
 * the file) and is ignored, as by Windows. So is one that no system here could use ("." or with a slash).
 * Without a long name, two bits (of Windows NT) say that base or extension are shown in lower case. 8.3 names
 * are in an OEM code page that the volume doesn't tell; it is taken for 437, as Linux does.
 *
 * An inode number is the entry's place on the volume, in slots: stable, and getattr needs no search. Where a
 * volume is written, what moved or is new has other numbers (fat-node.c).
 * Source: Microsoft, FAT32 File System Specification 1.03. */
#include "../formats/checked.h"
#include "fat-write.h"

#include <errno.h>
#include <string.h>

const uint8_t fat_long_places[LONG_UNITS] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };

/* ---- one slot ---- */

static bool is_long(const uint8_t raw[FAT_ENTRY])
{
    return (raw[SLOT_ATTRIBUTES] & 0x3f) == LONG_ATTRIBUTES;
}

bool fat_entry_read(const struct fat *v, const uint8_t raw[FAT_ENTRY], struct fat_entry *ret)
{
    struct bad bad = { 0 };
    struct bytes s = bytes_of(raw, FAT_ENTRY, 0, &bad);
    if (!raw[0] || raw[0] == SLOT_FREE || (raw[SLOT_ATTRIBUTES] & FAT_LABEL) ||
        bytes_match(s, SLOT_NAME, ".          ", 11) || bytes_match(s, SLOT_NAME, "..         ", 11))
        return false;
    *ret = (struct fat_entry){
        .attributes = u8(s, SLOT_ATTRIBUTES),
        .case_bits = u8(s, SLOT_CASE),
        .birth_centis = u8(s, SLOT_BIRTH_CENTIS),
        .birth_time = le16(s, SLOT_BIRTH_TIME),
        .birth_date = le16(s, SLOT_BIRTH_DATE),
        .access_date = le16(s, SLOT_ACCESS_DATE),
        .time = le16(s, SLOT_TIME),
        .date = le16(s, SLOT_DATE),
        .cluster = le16(s, SLOT_CLUSTER_LOW),
        .size = le32(s, SLOT_SIZE),
    };
    if (v->g.bits == 32) /* FAT12 and FAT16 have OS/2's extended attributes there */
        ret->cluster |= (uint32_t)le16(s, SLOT_CLUSTER_HIGH) << 16;
    memcpy(ret->raw_name, raw, sizeof ret->raw_name);
    return true;
}

/* ---- names ---- */

static uint16_t lower(uint16_t u)
{
    /* Only what code page 437 has in both cases. */
    static const uint16_t pairs[][2] = {
        { 0xc7, 0xe7 }, { 0xc4, 0xe4 }, { 0xc5, 0xe5 }, { 0xc9, 0xe9 },   { 0xc6, 0xe6 },
        { 0xd6, 0xf6 }, { 0xdc, 0xfc }, { 0xd1, 0xf1 }, { 0x3a3, 0x3c3 }, { 0x3a6, 0x3c6 },
    };
    if (u >= 'A' && u <= 'Z')
        return u + ('a' - 'A');
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (u == pairs[i][0])
            return pairs[i][1];
    return u;
}

/* `n` stored bytes without the blanks at their end; returns how many units. */
static size_t decode_part(const uint8_t *raw, size_t n, bool lower_case, uint16_t *out)
{
    while (n && raw[n - 1] == ' ')
        n--;
    for (size_t i = 0; i < n; i++) {
        uint16_t u = text_from_cp437(raw[i]);
        out[i] = !u || u == '/' ? '_' : lower_case ? lower(u) : u; /* no name may hold these */
    }
    return n;
}

static size_t decode_short(const uint8_t raw[11], uint8_t case_bits, uint16_t out[12])
{
    uint8_t base[8];
    memcpy(base, raw, sizeof base);
    if (base[0] == SLOT_FREE_ESCAPED)
        base[0] = SLOT_FREE;
    size_t n = decode_part(base, sizeof base, case_bits & SLOT_CASE_BASE, out);
    size_t extension = decode_part(raw + 8, 3, case_bits & SLOT_CASE_EXTENSION, out + n + 1);
    if (!extension)
        return n;
    out[n] = '.';
    return n + 1 + extension;
}

void fat_label_text(const uint8_t raw[11], char *ret, size_t size)
{
    uint16_t units[11];
    uint8_t copy[11];
    memcpy(copy, raw, sizeof copy);
    if (copy[0] == SLOT_FREE_ESCAPED)
        copy[0] = SLOT_FREE;
    size_t n = decode_part(copy, sizeof copy, false, units);
    text_from_utf16(units, n, ret, size);
}

uint8_t fat_name_checksum(const uint8_t raw[11])
{
    uint8_t sum = 0;
    for (unsigned i = 0; i < 11; i++)
        sum = (uint8_t)((sum << 7 | sum >> 1) + raw[i]);
    return sum;
}

/* The long name as it is collected, slot by slot. */
struct long_name {
    uint16_t units[LONG_SLOTS * LONG_UNITS];
    unsigned slots; /* 0: none */
    unsigned left;  /* that are still to come */
    uint8_t checksum;
};

static void long_name_add(struct long_name *l, const uint8_t raw[FAT_ENTRY])
{
    struct bad bad = { 0 };
    struct bytes s = bytes_of(raw, FAT_ENTRY, 0, &bad);
    unsigned ord = u8(s, LONG_ORD) & LONG_ORD_MASK;
    if (u8(s, LONG_ORD) & LONG_LAST)
        *l = (struct long_name){ .slots = ord, .left = ord, .checksum = u8(s, LONG_CHECKSUM) };
    if (!ord || ord > LONG_SLOTS || ord != l->left || u8(s, LONG_CHECKSUM) != l->checksum) {
        l->slots = 0;
        return;
    }
    l->left = ord - 1;
    for (unsigned i = 0; i < LONG_UNITS; i++)
        l->units[l->left * LONG_UNITS + i] = le16(s, fat_long_places[i]);
}

/* How many slots before the entry are its long name's. */
static uint32_t long_name_slots(const struct long_name *l, const uint8_t raw[11])
{
    return l->slots && !l->left && l->checksum == fat_name_checksum(raw) ? l->slots : 0;
}

static bool is_dots(const uint16_t *units, size_t n)
{
    return n && n <= 2 && units[0] == '.' && units[n - 1] == '.';
}

/* The name's units, at most FAT_NAME_MAX; 0 when it can't be used. */
static size_t long_name_take(const struct long_name *l, const uint8_t raw[11], uint16_t *out)
{
    if (!l->slots || l->left || l->checksum != fat_name_checksum(raw))
        return 0;
    size_t n = 0;
    for (; n < l->slots * LONG_UNITS && l->units[n]; n++) {
        if (n == FAT_NAME_MAX || l->units[n] == '/')
            return 0;
        out[n] = l->units[n];
    }
    return is_dots(out, n) ? 0 : n;
}

/* False when nothing is left that could be a name. */
static bool name_fill(struct fat_name *f, const struct long_name *l)
{
    f->n_alias = decode_short(f->entry.raw_name, 0, f->alias);
    f->n_units = long_name_take(l, f->entry.raw_name, f->units);
    if (!f->n_units)
        f->n_units = decode_short(f->entry.raw_name, f->entry.case_bits, f->units);
    if (!f->n_units || is_dots(f->units, f->n_units))
        return false;
    text_mend_surrogates(f->units, f->n_units);
    text_from_utf16(f->units, f->n_units, f->name, sizeof f->name);
    return true;
}

/* ---- directories ---- */

int fat_inode(struct fat *v, uint64_t ino, struct fat_entry *ret)
{
    const struct fat_geometry *g = &v->g;
    uint8_t raw[FAT_ENTRY];
    uint64_t at;
    if (fat_orphan_entry(v, ino, ret))
        return 0;
    if (!checked_mul(fat_ino_slot(v, ino), FAT_ENTRY, &at) || at < g->root_at || at >= g->size)
        return -ESTALE;
    struct fat_cursor c = { .fat = v };
    int r = fat_cursor_read(&c, raw, sizeof raw, at);
    fat_cursor_done(&c);
    if (r < 0)
        return r;
    return fat_entry_read(v, raw, ret) ? 0 : -ESTALE;
}

int fat_dir_open(struct fat *v, uint64_t ino, uint32_t index, struct fat_dir *ret)
{
    *ret = (struct fat_dir){ .cursor.fat = v, .index = index };
    uint32_t first = v->g.root_cluster;
    ret->fixed_root = ino == VOLUME_ROOT && v->g.bits != 32;
    if (ret->fixed_root)
        return 0;
    if (ino != VOLUME_ROOT) {
        struct fat_entry e;
        int r = fat_inode(v, ino, &e);
        if (r < 0)
            return r;
        if (!(e.attributes & FAT_DIRECTORY))
            return -ENOTDIR;
        first = e.cluster;
        /* 0 would be the root in "..", where it may be; a directory below itself has no end */
        if (!first || (v->g.bits == 32 && first == v->g.root_cluster))
            return -EIO;
    }
    return fat_chain_walk(v, first, &ret->chain);
}

void fat_dir_done(struct fat_dir *dir)
{
    fat_cursor_done(&dir->cursor);
    fat_chain_done(&dir->chain);
}

int fat_dir_slot_at(struct fat_dir *d, uint32_t index, uint64_t *ret_at)
{
    const struct fat_geometry *g = &d->cursor.fat->g;
    uint64_t off = (uint64_t)index * FAT_ENTRY;
    if (d->fixed_root) {
        if (off >= g->root_size)
            return 0;
        *ret_at = g->root_at + off;
        return 1;
    }
    uint32_t cluster;
    if (off / g->cluster_size >= d->chain.clusters)
        return d->chain.damaged ? -EIO : 0;
    int r = fat_chain_at(&d->cursor, &d->chain, off / g->cluster_size, &cluster);
    if (r < 0)
        return r;
    *ret_at = fat_cluster_at(d->cursor.fat, cluster) + off % g->cluster_size;
    return 1;
}

/* Reads the next slot. 1: done; 0: the directory's space ends here; -EIO. *ret_at: where it lies. */
static int next_slot(struct fat_dir *d, uint8_t raw[FAT_ENTRY], uint64_t *ret_at)
{
    int r = fat_dir_slot_at(d, d->index, ret_at);
    if (r <= 0)
        return r;
    if (d->index >= FAT_DIR_MAX)
        return -EIO;
    r = fat_cursor_read(&d->cursor, raw, FAT_ENTRY, *ret_at);
    if (r < 0)
        return r;
    d->index++;
    return 1;
}

int fat_dir_next(struct fat_dir *dir, struct fat_name *ret)
{
    struct long_name l = { .slots = 0 };
    uint8_t raw[FAT_ENTRY];
    uint64_t at;
    int r;
    while ((r = next_slot(dir, raw, &at)) == 1) {
        if (!raw[0])
            return 0;
        if (raw[0] != SLOT_FREE && is_long(raw)) {
            long_name_add(&l, raw);
            continue;
        }
        if (fat_entry_read(dir->cursor.fat, raw, &ret->entry) && name_fill(ret, &l)) {
            ret->ino = fat_slot_ino(dir->cursor.fat, at / FAT_ENTRY);
            ret->next = dir->index;
            ret->slots = 1 + long_name_slots(&l, ret->entry.raw_name);
            return 1;
        }
        l.slots = 0;
    }
    return r;
}
