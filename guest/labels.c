/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Labels and identifiers of file systems and containers, in the words in which blkid prints them. What a
 * field doesn't give is left empty: nothing here can fail. The NTFS label is in the file $Volume, the third
 * record of the MFT, which is read by itself; the FAT one in an entry of the root directory, looked for in
 * its first cluster. */
#include "labels.h"
#include "../formats/checked.h"
#include "fat.h"
#include "text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum {
    /* ext: offsets in the superblock */
    EXT_UUID = 0x68,
    EXT_LABEL = 0x78,
    XFS_UUID = 32,
    XFS_LABEL = 108,
    BTRFS_UUID = 0x20,
    BTRFS_LABEL = 0x12b,
    LUKS_VERSION = 6,
    LUKS2_LABEL = 24,
    LUKS_UUID = 168, /* text of 40 bytes, in both versions */
    LVM2_CONTENT = 20,
    LVM2_ID_CHARS = 32,
    SWAP_UUID = 1024 + 12, /* from the volume's start */
    SWAP_LABEL = 1024 + 28,
    F2FS_UUID = 108,
    F2FS_LABEL = 124, /* UTF-16 */
    APFS_UUID = 72,
    EXFAT_SERIAL = 100,
    ISO_LABEL = 40,
    ISO_CREATED = 813, /* YYYYMMDDhhmmsscc and a zone */
    ISO_MODIFIED = 830,
    MD_MAJOR = 4,
    MD1_UUID = 16,
    MD1_NAME = 32,
    MD0_UUID_FIRST = 20,
    MD0_UUID_REST = 52,
};

/* ---- the forms ---- */

static void put_uuid(struct bytes id, struct signature *ret)
{
    static const uint8_t none[16];
    static const char hex[] = "0123456789abcdef";
    if (id.n != 16 || !memcmp(id.p, none, 16))
        return;
    char *o = ret->uuid;
    for (unsigned i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *o++ = '-';
        *o++ = hex[id.p[i] >> 4];
        *o++ = hex[id.p[i] & 15];
    }
    *o = 0;
}

static void put_serial(uint32_t serial, struct signature *ret)
{
    if (serial)
        snprintf(ret->uuid, sizeof ret->uuid, "%04X-%04X", serial >> 16, serial & 0xffff);
}

/* Text that ends with the window, a NUL or blanks. */
static void put_text(struct bytes text, char *out, size_t size)
{
    size_t n = strnlen((const char *)text.p, min_u64(text.n, size - 1));
    while (n && text.p[n - 1] == ' ')
        n--;
    memcpy(out, text.p, n);
    out[n] = 0;
    uint16_t units[256];
    bool utf8 = text_to_utf16(out, units, 256) >= 0;
    for (size_t i = 0; i < n; i++)
        if (iscntrl((unsigned char)out[i]) || (!utf8 && (out[i] & 0x80)))
            out[i] = '?';
}

static void put_utf16(struct bytes text, char *out, size_t size)
{
    uint16_t units[256];
    size_t n = 0;
    while (n < 256 && n < text.n / 2 && (units[n] = le16(text, 2 * n)))
        n++;
    text_from_utf16(units, n, out, size);
}

/* ---- one each ---- */

void label_ext(const struct probed *p, size_t at, struct signature *ret)
{
    put_uuid(bytes_sub(p->head, at + EXT_UUID, 16), ret);
    put_text(bytes_sub(p->head, at + EXT_LABEL, 16), ret->label, sizeof ret->label);
}

void label_xfs(const struct probed *p, size_t at, struct signature *ret)
{
    put_uuid(bytes_sub(p->head, at + XFS_UUID, 16), ret);
    put_text(bytes_sub(p->head, at + XFS_LABEL, 12), ret->label, sizeof ret->label);
}

void label_btrfs(const struct probed *p, size_t at, struct signature *ret)
{
    put_uuid(bytes_sub(p->head, at + BTRFS_UUID, 16), ret);
    put_text(bytes_sub(p->head, at + BTRFS_LABEL, 255), ret->label, sizeof ret->label);
}

void label_luks(const struct probed *p, size_t at, struct signature *ret)
{
    if (be16(p->head, at + LUKS_VERSION) == 2)
        put_text(bytes_sub(p->head, at + LUKS2_LABEL, 48), ret->label, sizeof ret->label);
    put_text(bytes_sub(p->head, at + LUKS_UUID, 40), ret->uuid, sizeof ret->uuid);
}

void label_lvm2(const struct probed *p, size_t at, struct signature *ret)
{
    struct bytes sector = bytes_sub(p->head, at, 512);
    struct bytes id = bytes_sub(sector, le32(sector, LVM2_CONTENT), LVM2_ID_CHARS);
    char *o = ret->uuid;
    for (unsigned i = 0; i < id.n; i++) {
        if (!isalnum(id.p[i])) {
            ret->uuid[0] = 0;
            return;
        }
        if (i >= 6 && i < 30 && (i - 6) % 4 == 0) /* 6-4-4-4-4-4-6 */
            *o++ = '-';
        *o++ = (char)id.p[i];
    }
    *o = 0;
}

void label_swap(const struct probed *p, size_t at, struct signature *ret)
{
    (void)at;
    put_uuid(bytes_sub(p->head, SWAP_UUID, 16), ret);
    put_text(bytes_sub(p->head, SWAP_LABEL, 16), ret->label, sizeof ret->label);
}

void label_f2fs(const struct probed *p, size_t at, struct signature *ret)
{
    put_uuid(bytes_sub(p->head, at + F2FS_UUID, 16), ret);
    put_utf16(bytes_sub(p->head, at + F2FS_LABEL, 512), ret->label, sizeof ret->label);
}

void label_apfs(const struct probed *p, size_t at, struct signature *ret)
{
    put_uuid(bytes_sub(p->head, at + APFS_UUID, 16), ret);
}

void label_exfat(const struct probed *p, size_t at, struct signature *ret)
{
    put_serial(le32(p->head, at + EXFAT_SERIAL), ret);
}

void label_iso9660(const struct probed *p, size_t at, struct signature *ret)
{
    put_text(bytes_sub(p->head, at + ISO_LABEL, 32), ret->label, sizeof ret->label);
    struct bytes date = bytes_sub(p->head, at + ISO_MODIFIED, 16);
    if (!date.n || date.p[0] == '0' || !isdigit(date.p[0]))
        date = bytes_sub(p->head, at + ISO_CREATED, 16);
    char *o = ret->uuid;
    for (unsigned i = 0; i < date.n; i++) {
        if (!isdigit(date.p[i])) {
            o = ret->uuid;
            break;
        }
        if (i >= 4 && i % 2 == 0) /* 2020-03-30-23-59-59-00 */
            *o++ = '-';
        *o++ = (char)date.p[i];
    }
    *o = 0;
}

void label_md(struct bytes super, struct signature *ret)
{
    uint8_t id[16];
    if (le32(super, MD_MAJOR) == 1) {
        put_uuid(bytes_sub(super, MD1_UUID, 16), ret);
        put_text(bytes_sub(super, MD1_NAME, 32), ret->label, sizeof ret->label);
        return;
    }
    put_be32(id, le32(super, MD0_UUID_FIRST));
    for (unsigned i = 0; i < 3; i++)
        put_be32(id + 4 + 4 * i, le32(super, MD0_UUID_REST + 4 * i));
    put_uuid(bytes_of(id, sizeof id, 0, super.bad), ret);
}

/* ---- NTFS: $VOLUME_NAME in MFT record 3 ---- */

enum {
    NTFS_SECTOR_SIZE = 11,
    NTFS_CLUSTER_SECTORS = 13, /* above 0x80: 2^(256 - n) */
    NTFS_MFT_CLUSTER = 0x30,
    NTFS_RECORD_CLUSTERS = 0x40, /* clusters, or negative: 2^-n bytes */
    NTFS_SERIAL = 0x48,
    NTFS_RECORD_MAX = 4096,
    VOLUME_RECORD = 3,
    RECORD_FIXUP_AT = 4,
    RECORD_FIXUP_COUNT = 6,
    RECORD_ATTRIBUTES = 0x14,
    FIXUP_STRIDE = 512,
    ATTR_TYPE = 0,
    ATTR_LENGTH = 4,
    ATTR_NON_RESIDENT = 8,
    ATTR_VALUE_LENGTH = 16,
    ATTR_VALUE = 20,
    ATTR_VOLUME_NAME = 0x60,
    ATTR_END = 0xffffffff,
};

/* The place and size of record 3; false when the boot sector makes no sense. */
static bool find_volume_record(struct bytes boot, uint64_t *ret_at, size_t *ret_size)
{
    uint64_t sector = le16(boot, NTFS_SECTOR_SIZE), at;
    unsigned per_cluster = u8(boot, NTFS_CLUSTER_SECTORS), record = u8(boot, NTFS_RECORD_CLUSTERS);
    uint64_t cluster = per_cluster <= 0x80 ? sector * per_cluster : 0;
    if (per_cluster >= 256 - 12)
        cluster = sector << (256 - per_cluster);
    uint64_t size = record < 0x80 ? cluster * record : 0;
    if (record >= 256 - 12)
        size = 1ull << (256 - record);
    if (size < FIXUP_STRIDE || size > NTFS_RECORD_MAX || !is_power_of_two(size) ||
        !checked_mul(le64(boot, NTFS_MFT_CLUSTER), cluster, &at) ||
        !checked_add(at, VOLUME_RECORD * size, &at))
        return false;
    *ret_at = at;
    *ret_size = (size_t)size;
    return true;
}

/* Puts back the last two bytes of each 512, which stand in the update sequence array. */
static bool undo_fixups(uint8_t *buf, struct bytes record)
{
    size_t at = le16(record, RECORD_FIXUP_AT), n = le16(record, RECORD_FIXUP_COUNT);
    if (n != record.n / FIXUP_STRIDE + 1 || !bytes_has(record, at, 2 * n))
        return false;
    for (size_t i = 1; i < n; i++) {
        uint8_t *end = buf + i * FIXUP_STRIDE - 2;
        if (memcmp(end, buf + at, 2) != 0)
            return false;
        memcpy(end, buf + at + 2 * i, 2);
    }
    return true;
}

void label_ntfs(const struct probed *p, size_t at, struct signature *ret)
{
    uint8_t buf[NTFS_RECORD_MAX];
    struct bytes boot = bytes_sub(p->head, at, 512);
    uint64_t serial = le64(boot, NTFS_SERIAL), place;
    size_t size;
    if (serial)
        snprintf(ret->uuid, sizeof ret->uuid, "%016llX", (unsigned long long)serial);
    if (!find_volume_record(boot, &place, &size) || disk_pread(p->disk, buf, size, place) < 0)
        return;
    struct bad bad = { 0 };
    struct bytes record = bytes_of(buf, size, place, &bad);
    if (!bytes_match(record, 0, "FILE", 4) || !undo_fixups(buf, record))
        return;
    for (size_t off = le16(record, RECORD_ATTRIBUTES); !bad.set;) {
        uint32_t type = le32(record, off + ATTR_TYPE), length = le32(record, off + ATTR_LENGTH);
        struct bytes a = bytes_sub(record, off, length);
        if (type == ATTR_END || length < 24 || !a.n)
            return;
        if (type == ATTR_VOLUME_NAME && !u8(a, ATTR_NON_RESIDENT)) {
            put_utf16(bytes_sub(a, le16(a, ATTR_VALUE), le32(a, ATTR_VALUE_LENGTH)), ret->label,
                      sizeof ret->label);
            return;
        }
        off += length;
    }
}

/* ---- FAT ---- */

enum { FAT_LABEL_SCAN = 65536 }; /* of the root directory, in which labels stand near the start */

/* The label entry of the root directory. */
static bool find_fat_label(const struct probed *p, const struct fat_geometry *g, uint8_t ret[11])
{
    uint64_t at = g->root_at, size = g->root_size;
    if (g->bits == 32) {
        at = g->data_at + (uint64_t)(g->root_cluster - FAT_FIRST_CLUSTER) * g->cluster_size;
        size = g->cluster_size;
    }
    size = min_u64(size, FAT_LABEL_SCAN);
    uint8_t *buf = malloc(size);
    bool found = false;
    if (buf && disk_pread(p->disk, buf, size, at) >= 0)
        for (size_t i = 0; i + FAT_ENTRY <= size && buf[i] && !found; i += FAT_ENTRY) {
            /* 0xe5: deleted; 0x0f: part of a long name; a label has no cluster */
            found = buf[i] != 0xe5 && (buf[i + 11] & 0x3f) != 0x0f &&
                    (buf[i + 11] & (FAT_LABEL | FAT_DIRECTORY)) == FAT_LABEL;
            if (found)
                memcpy(ret, buf + i, 11);
        }
    free(buf);
    return found;
}

void label_fat(const struct probed *p, size_t at, struct signature *ret)
{
    struct fat_geometry g;
    uint8_t raw[11];
    if (fat_geometry_read(bytes_sub(p->head, at, FAT_SECTOR), &g))
        return;
    if (g.has_serial)
        put_serial(g.serial, ret);
    if (find_fat_label(p, &g, raw))
        fat_label_text(raw, ret->label, sizeof ret->label);
    else if (g.label[0] && memcmp(g.label, "NO NAME    ", 11) != 0)
        fat_label_text((const uint8_t *)g.label, ret->label, sizeof ret->label);
}
