/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a volume is. One table, in the order of trust:
 *
 *   1. containers whose content isn't a file system though it may look like one: encryption, LVM, RAID (whose
 *      superblock may be at the end, with a plain file system before it)
 *   2. file systems that own the boot sector: they are made over whatever was there, and nothing that is made
 *      later leaves their boot sector intact
 *   3. the others, those that wipe little of what was there last
 *
 * Old signatures survive under new file systems, so the first row that fits is the answer. Types and the
 * words of labels and uuids are blkid's where it knows them (its "vfat" told apart by the width of the
 * table). Source: the formats' own documentation, by fact and offset; libblkid as the oracle in tests. */
#include "signature.h"
#include "../formats/checked.h"
#include "fat.h"
#include "labels.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Says whether row's volume is there, looking further than the magic; may refine ret->type. */
typedef bool (*check_fn)(const struct probed *p, struct signature *ret);

struct row {
    const char *type;
    uint32_t at; /* of the magic, in the head */
    uint8_t length;
    const char *magic;
    check_fn check; /* NULL: the magic is enough */
    uint32_t base;  /* of the structure that holds it, for `label` */
    void (*label)(const struct probed *p, size_t at, struct signature *ret); /* NULL: none */
};

enum { EXT_SUPER = 0x400, BTRFS_SUPER = 0x10000, ISO_SUPER = 0x8000, MD_MAGIC = 0xa92b4efc };

static void set_type(struct signature *s, const char *type)
{
    snprintf(s->type, sizeof s->type, "%s", type);
}

/* A piece from beyond the head. False when the volume has no such place, or it can't be read. */
static bool read_far(const struct probed *p, uint64_t off, void *buf, size_t len)
{
    return range_inside(off, len, p->disk->size) && disk_pread(p->disk, buf, len, off) >= 0;
}

/* ---- 1: containers ---- */

static bool check_luks(const struct probed *p, struct signature *ret)
{
    (void)ret;
    uint16_t version = be16(p->head, 6);
    return version == 1 || version == 2;
}

/* BitLocker To Go looks like a FAT volume, but for a GUID. */
static bool check_to_go(const struct probed *p, struct signature *ret)
{
    (void)ret;
    return bytes_match(p->head, 424, "\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01", 16);
}

static bool check_lvm2(const struct probed *p, struct signature *ret)
{
    for (size_t sector = 0; sector < 4; sector++)
        if (bytes_match(p->head, sector * 512, "LABELONE", 8) &&
            bytes_match(p->head, sector * 512 + 24, "LVM2 001", 8) &&
            le64(p->head, sector * 512 + 8) == sector) {
            label_lvm2(p, sector * 512, ret);
            return true;
        }
    return false;
}

static bool is_md(struct bytes s, uint64_t at, bool version_0)
{
    enum {
        MAJOR = 4,
        SUPER_OFFSET = 144
    }; /* the latter in sectors; before it stand the data's place and length */
    if (le32(s, 0) != MD_MAGIC)
        return false;
    return version_0 ? le32(s, MAJOR) == 0 : le32(s, MAJOR) == 1 && le64(s, SUPER_OFFSET) == at / 512;
}

static bool check_md(const struct probed *p, struct signature *ret)
{
    uint64_t size = p->disk->size, sectors = size / 512;
    const uint64_t places[] = {
        0x1000,                                              /* 1.2 */
        0,                                                   /* 1.1 */
        sectors >= 16 ? ((sectors - 16) & ~7ull) * 512 : 0,  /* 1.0 */
        size >= 0x10000 ? (size & ~0xffffull) - 0x10000 : 0, /* 0.90 */
    };
    for (unsigned i = 0; i < 4; i++) {
        uint8_t buf[256];
        struct bad bad = { 0 };
        struct bytes s = bytes_of(buf, sizeof buf, places[i], &bad);
        if (read_far(p, places[i], buf, sizeof buf) && is_md(s, places[i], i == 3)) {
            label_md(s, ret);
            return true;
        }
    }
    return false;
}

static bool check_ldm(const struct probed *p, struct signature *ret)
{
    char buf[8];
    (void)ret;
    return bytes_match(p->head, 6 * 512, "PRIVHEAD", 8) ||
           (p->disk->size >= 512 && read_far(p, (p->disk->size / 512 - 1) * 512, buf, sizeof buf) &&
            !memcmp(buf, "PRIVHEAD", 8));
}

/* ---- 2: boot sectors ---- */

static bool check_fat(const struct probed *p, struct signature *ret)
{
    struct fat_geometry g;
    if (p->head.n < FAT_SECTOR || fat_geometry_read(bytes_sub(p->head, 0, FAT_SECTOR), &g))
        return false;
    if (!bytes_match(p->head, 510, "\x55\xaa", 2) && u8(p->head, 0) != 0xeb && u8(p->head, 0) != 0xe9)
        return false;
    snprintf(ret->type, sizeof ret->type, "fat%u", g.bits);
    return true;
}

/* ---- 3: the others ---- */

static bool check_ext(const struct probed *p, struct signature *ret)
{
    enum {
        LOG_BLOCK_SIZE = 0x18,
        COMPAT = 0x5c,
        INCOMPAT = 0x60,
        RO_COMPAT = 0x64,
        HAS_JOURNAL = 4,
        JOURNAL_DEVICE = 8,
        EXT3_INCOMPAT = 0x2 | 0x4 | 0x10, /* file types, needs recovery, meta_bg */
        EXT3_RO_COMPAT = 0x1 | 0x2 | 0x4, /* sparse_super, large files, btree directories */
    };
    struct bytes s = bytes_sub(p->head, EXT_SUPER, 1024);
    uint32_t incompat = le32(s, INCOMPAT);
    if (le32(s, LOG_BLOCK_SIZE) > 6)
        return false;
    if (incompat & JOURNAL_DEVICE)
        set_type(ret, "jbd");
    else if ((incompat & ~(uint32_t)EXT3_INCOMPAT) || (le32(s, RO_COMPAT) & ~(uint32_t)EXT3_RO_COMPAT))
        set_type(ret, "ext4");
    else
        set_type(ret, le32(s, COMPAT) & HAS_JOURNAL ? "ext3" : "ext2");
    return true;
}

static bool check_xfs(const struct probed *p, struct signature *ret)
{
    (void)ret;
    uint16_t version = be16(p->head, 100) & 0xf;
    return version >= 1 && version <= 5;
}

static bool check_hfsplus(const struct probed *p, struct signature *ret)
{
    (void)ret;
    uint16_t version = be16(p->head, 0x402);
    return version == 4 || version == 5;
}

/* The magic ends the first page, whose size is the machine's. */
static bool check_swap(const struct probed *p, struct signature *ret)
{
    for (size_t page = 4096; page <= 65536; page *= 2) {
        size_t at = page - 10;
        if (bytes_match(p->head, at, "SWAPSPACE2", 10)) {
            label_swap(p, 0, ret);
            return true;
        }
        if (bytes_match(p->head, at, "SWAP-SPACE", 10))
            return true;
        if (bytes_match(p->head, at, "S1SUSPEND", 9) || bytes_match(p->head, at, "S2SUSPEND", 9) ||
            bytes_match(p->head, at, "ULSUSPEND", 9)) {
            set_type(ret, "swsuspend"); /* a hibernated Linux is in it */
            label_swap(p, 0, ret);
            return true;
        }
    }
    return false;
}

static bool check_zfs(const struct probed *p, struct signature *ret)
{
    enum { AT = 128 << 10, SIZE = 128 << 10, STEP = 1024, MAGIC = 0x00bab10c };
    (void)ret;
    uint8_t *buf = malloc(SIZE);
    bool found = false;
    if (buf && read_far(p, AT, buf, SIZE)) {
        struct bad bad = { 0 };
        struct bytes s = bytes_of(buf, SIZE, AT, &bad);
        for (size_t i = 0; i < SIZE && !found; i += STEP)
            found = le64(s, i) == MAGIC || be64(s, i) == MAGIC;
    }
    free(buf);
    return found;
}

static bool check_vmfs(const struct probed *p, struct signature *ret)
{
    char buf[4];
    (void)ret;
    return (read_far(p, 0x200000, buf, 4) && !memcmp(buf, "\x5e\xf1\xab\x2f", 4)) ||
           (read_far(p, 0x100000, buf, 4) && !memcmp(buf, "\x0d\xd0\x01\xc0", 4));
}

/* The descriptors of UDF follow those of ISO 9660, where there are any. */
static bool check_udf(const struct probed *p, struct signature *ret)
{
    (void)ret;
    for (size_t at = ISO_SUPER; at + 2048 <= p->head.n; at += 2048)
        if (bytes_match(p->head, at + 1, "NSR02", 5) || bytes_match(p->head, at + 1, "NSR03", 5))
            return true;
    return false;
}

static const struct row rows[] = {
    { "luks", 0, 6, "LUKS\xba\xbe", check_luks, 0, label_luks },
    { "bitlocker", 3, 8, "-FVE-FS-", NULL, 0, NULL },
    { "bitlocker", 3, 8, "MSWIN4.1", check_to_go, 0, NULL },
    { "lvm2", 0, 0, "", check_lvm2, 0, NULL },
    { "md", 0, 0, "", check_md, 0, NULL },
    { "ldm", 0, 0, "", check_ldm, 0, NULL },
    { "storage-spaces", 0, 8, "SPACEDB ", NULL, 0, NULL },
    { "storage-spaces", 4096, 8, "SPACEDB ", NULL, 0, NULL },

    { "ntfs", 3, 8, "NTFS    ", NULL, 0, label_ntfs },
    { "refs", 3, 8, "ReFS\0\0\0\0", NULL, 0, NULL },
    { "exfat", 3, 8, "EXFAT   ", NULL, 0, label_exfat },
    { "fat", 0, 0, "", check_fat, 0, label_fat },
    { "xfs", 0, 4, "XFSB", check_xfs, 0, label_xfs },

    { "btrfs", BTRFS_SUPER + 0x40, 8, "_BHRfS_M", NULL, BTRFS_SUPER, label_btrfs },
    { "ext", EXT_SUPER + 0x38, 2, "\x53\xef", check_ext, EXT_SUPER, label_ext },
    { "f2fs", EXT_SUPER, 4, "\x10\x20\xf5\xf2", NULL, EXT_SUPER, label_f2fs },
    { "hfsplus", EXT_SUPER, 2, "H+", check_hfsplus, 0, NULL },
    { "hfsplus", EXT_SUPER, 2, "HX", check_hfsplus, 0, NULL },
    { "apfs", 32, 4, "NXSB", NULL, 0, label_apfs },
    { "squashfs", 0, 4, "hsqs", NULL, 0, NULL },
    { "swap", 0, 0, "", check_swap, 0, NULL },
    { "vmfs", 0, 0, "", check_vmfs, 0, NULL },
    { "zfs", 0, 0, "", check_zfs, 0, NULL },
    { "udf", 0, 0, "", check_udf, 0, NULL },
    { "iso9660", ISO_SUPER + 1, 5, "CD001", NULL, ISO_SUPER, label_iso9660 },
};

/* What can be read of the head, in steps, so that a bad place far behind doesn't hide the start. */
static int read_head(struct disk *disk, uint8_t *buf, size_t *ret_n)
{
    enum { STEP = 4096 };
    size_t size = (size_t)min_u64(PROBE_HEAD, disk->size), n = 0;
    if (disk_pread(disk, buf, size, 0) >= 0)
        n = size;
    while (n < size) {
        size_t step = (size_t)min_u64(STEP, size - n);
        if (disk_pread(disk, buf + n, step, n) < 0)
            break;
        n += step;
    }
    *ret_n = n;
    return size && !n ? -EIO : 0;
}

int signature_probe(struct disk *volume, struct signature *ret)
{
    uint8_t *buf = malloc(PROBE_HEAD);
    if (!buf)
        return -ENOMEM;
    size_t n;
    struct bad bad = { 0 };
    struct signature s = { .type = "" };
    int r = read_head(volume, buf, &n);
    struct probed p = { .disk = volume, .head = bytes_of(buf, r < 0 ? 0 : n, 0, &bad) };
    for (size_t i = 0; r == 0 && i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        if (!bytes_match(p.head, row->at, row->magic, row->length) || (row->check && !row->check(&p, &s)))
            continue;
        if (!s.type[0])
            set_type(&s, row->type);
        if (row->label)
            row->label(&p, row->base, &s);
        break;
    }
    free(buf);
    if (r == 0)
        *ret = s;
    return r;
}
