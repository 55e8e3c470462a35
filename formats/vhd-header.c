/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHD: the footer (512 bytes, at the end, and for dynamic disks a copy at 0), the dynamic header, and the
 * parent locators. All integers are big-endian.
 *
 * What is odd:
 *     - Virtual PC before 2004 wrote a footer of 511 bytes: its last byte, a zero, is missing.
 *     - After a crash only the copy at 0 is left: it is used, and noted.
 *     - Virtual PC showed its guest not the stored size, but what its geometry holds (cylinders * heads *
 *       sectors), up to two megabytes less, or, when the geometry is the largest there is, the stored size.
 *       QEMU holds it so too; yet for every creator that it doesn't know, so that it cuts VirtualBox's disks
 *       short. Here all but Virtual PC are taken at the size that they state.
 *     - A locator's "data space" is in sectors by the specification and in bytes by Microsoft's own tools;
 *       nothing needs it.
 *
 * A fixed VHD is raw but for its last sector, which a raw disk may have too, left there by a disk's former
 * life. So it is one only when the checksum is right and the stated size ends just where the footer begins;
 * else the footer is no more than a trace.
 *
 * Source: Microsoft, "Virtual Hard Disk Image Format Specification" 1.0. */
#include "vhd-header.h"
#include "checked.h"
#include "utf16.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    FOOTER_SIZE = 512,
    FOOTER_OLD_SIZE = 511,
    FOOTER_VERSION = 12,
    FOOTER_DATA_OFFSET = 16,
    FOOTER_CREATOR = 28,
    FOOTER_CURRENT_SIZE = 48,
    FOOTER_CYLINDERS = 56,
    FOOTER_HEADS = 58,
    FOOTER_SECTORS = 59,
    FOOTER_TYPE = 60,
    FOOTER_CHECKSUM = 64,
    FOOTER_ID = 68,
    FOOTER_SAVED_STATE = 84,
};

enum {
    DYNAMIC_SIZE = 1024,
    DYNAMIC_TABLE_OFFSET = 16,
    DYNAMIC_VERSION = 24,
    DYNAMIC_ENTRIES = 28,
    DYNAMIC_BLOCK_SIZE = 32,
    DYNAMIC_CHECKSUM = 36,
    DYNAMIC_PARENT_ID = 40,
    DYNAMIC_PARENT_NAME = 64,
    DYNAMIC_LOCATORS = 576,
};

enum { LOCATOR_SIZE = 24, LOCATOR_LENGTH = 8, LOCATOR_OFFSET = 16, N_LOCATORS = 8 };
#define CODE_W2RU UINT32_C(0x57327275) /* a relative path in UTF-16LE */
#define CODE_W2KU UINT32_C(0x57326b75) /* an absolute one */

enum {
    PARENT_NAME_SIZE = 512,
    ENTRY_SIZE = 4,           /* of the BAT */
    LOCATOR_MAX = 65536,      /* Windows has no longer paths */
    BLOCK_MAX = 256 << 20,    /* 2 MiB is usual, 512 KiB seen; bounds a bitmap to 64 KiB */
    CHS_MAX_CYLINDERS = 65535 /* with 16 heads of 255 sectors: "as large as can be", no size */
};

static const char footer_cookie[8] = "conectix";
static const char dynamic_cookie[8] = "cxsparse";

/* The one's complement of the sum of all bytes but the field's. */
static bool checksum_fits(struct bytes b, size_t field)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < b.n; i++)
        if (i < field || i >= field + 4)
            sum += b.p[i];
    return ~sum == be32(b, field);
}

static bool footer_good(struct bytes b)
{
    return bytes_match(b, 0, footer_cookie, sizeof footer_cookie) && checksum_fits(b, FOOTER_CHECKSUM);
}

/* The footer that ends the window `tail` of the file's end, whole or of 511 bytes; empty when there is none.
 * Its checksum is right. */
static struct bytes footer_at_end(struct bytes tail)
{
    static const size_t sizes[] = { FOOTER_SIZE, FOOTER_OLD_SIZE };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (tail.n < sizes[i])
            continue;
        struct bytes b = bytes_sub(tail, tail.n - sizes[i], sizes[i]);
        if (footer_good(b))
            return b;
    }
    return bytes_sub(tail, 0, 0);
}

/* ---- detection ---- */

static bool fixed_fits(struct bytes footer)
{
    return be32(footer, FOOTER_TYPE) == VHD_FIXED &&
           be64(footer, FOOTER_CURRENT_SIZE) / VHD_SECTOR == footer.at / VHD_SECTOR;
}

/* The dynamic header that a footer at the end speaks of is there. */
static bool dynamic_fits(const struct probe *p, struct bytes footer)
{
    char cookie[sizeof dynamic_cookie];
    uint32_t type = be32(footer, FOOTER_TYPE);
    if (type != VHD_DYNAMIC && type != VHD_DIFFERENCING)
        return false;
    return !file_pread(p->file, cookie, sizeof cookie, be64(footer, FOOTER_DATA_OFFSET)) &&
           !memcmp(cookie, dynamic_cookie, sizeof cookie);
}

unsigned vhd_header_probe(const struct probe *p)
{
    struct bytes footer = footer_at_end(p->tail);
    /* a cookie and a checksum: 96 bits. More than what a fixed disk's first sector could say of itself */
    if (footer.n && (fixed_fits(footer) || dynamic_fits(p, footer)))
        return 96;
    if (bytes_match(p->head, 0, footer_cookie, sizeof footer_cookie))
        return 64;
    size_t n = p->tail.n;
    if ((n >= FOOTER_SIZE && bytes_match(p->tail, n - FOOTER_SIZE, footer_cookie, sizeof footer_cookie)) ||
        (n >= FOOTER_OLD_SIZE &&
         bytes_match(p->tail, n - FOOTER_OLD_SIZE, footer_cookie, sizeof footer_cookie)) ||
        bytes_match(p->head, FOOTER_SIZE, dynamic_cookie, sizeof dynamic_cookie))
        return PROBE_TRACE;
    return PROBE_NONE;
}

/* ---- the footer ---- */

static void put_id(struct bytes b, size_t at, char *out)
{
    struct bytes id = bytes_sub(b, at, 16);
    char *end = out;
    for (size_t i = 0; i < 16; i++)
        end += snprintf(end, 4, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u8(id, i));
}

static uint64_t disk_size(struct bytes footer, struct notes *notes)
{
    uint64_t size = be64(footer, FOOTER_CURRENT_SIZE) / VHD_SECTOR * VHD_SECTOR;
    unsigned c = be16(footer, FOOTER_CYLINDERS), h = u8(footer, FOOTER_HEADS), s = u8(footer, FOOTER_SECTORS);
    uint64_t chs = (uint64_t)c * h * s * VHD_SECTOR;
    if (!bytes_match(footer, FOOTER_CREATOR, "vpc ", 4) || !chs || chs >= size ||
        (c == CHS_MAX_CYLINDERS && h == 16 && s == 255))
        return size;
    notes_add(notes, "the disk has the %llu bytes of its geometry, as in Virtual PC, not the stated %llu",
              (unsigned long long)chs, (unsigned long long)size);
    return chs;
}

static int parse_footer(struct file *file, struct bytes b, struct vhd_header *h, struct notes *notes,
                        struct fault *fault)
{
    uint32_t version = be32(b, FOOTER_VERSION), type = be32(b, FOOTER_TYPE);
    if (version >> 16 != 1)
        return fault_at(fault, -ENOTSUP, file->name, b.at + FOOTER_VERSION,
                        "has a VHD footer of version %u.%u, which ferryfs doesn't read", version >> 16,
                        version & 0xffff);
    if (type != VHD_FIXED && type != VHD_DYNAMIC && type != VHD_DIFFERENCING)
        return fault_at(fault, -ENOTSUP, file->name, b.at + FOOTER_TYPE,
                        "is a VHD of type %u, which ferryfs doesn't read", type);
    h->type = (enum vhd_type)type;
    h->size = disk_size(b, notes);
    if (!h->size)
        return fault_at(fault, -EUCLEAN, file->name, b.at + FOOTER_CURRENT_SIZE, "states a disk of no bytes");
    h->header_offset = be64(b, FOOTER_DATA_OFFSET);
    put_id(b, FOOTER_ID, h->id);
    if (b.n > FOOTER_SAVED_STATE && u8(b, FOOTER_SAVED_STATE))
        notes_add(notes, "the virtual machine was suspended with this disk, not shut down");
    return 0;
}

/* The two footers must agree on what places and sizes depend on. */
static bool footers_agree(struct bytes a, struct bytes b)
{
    return be64(a, FOOTER_DATA_OFFSET) == be64(b, FOOTER_DATA_OFFSET) &&
           be64(a, FOOTER_CURRENT_SIZE) == be64(b, FOOTER_CURRENT_SIZE) &&
           be32(a, FOOTER_TYPE) == be32(b, FOOTER_TYPE) && !memcmp(a.p + FOOTER_ID, b.p + FOOTER_ID, 16);
}

/* Finds the footer to believe. */
static int read_footer(struct file *file, struct vhd_header *h, struct notes *notes, struct fault *fault)
{
    uint8_t head_bytes[FOOTER_SIZE], tail_bytes[FOOTER_SIZE];
    struct bad bad = { 0 };
    size_t n = (size_t)min_u64(file->size, FOOTER_SIZE);
    int r = file_pread_what(file, head_bytes, n, 0, "its beginning", fault);
    if (!r)
        r = file_pread_what(file, tail_bytes, n, file->size - n, "its footer", fault);
    if (r < 0)
        return r;
    struct bytes copy = bytes_of(head_bytes, n, 0, &bad);
    struct bytes footer = footer_at_end(bytes_of(tail_bytes, n, file->size - n, &bad));
    bool copied = n == FOOTER_SIZE && footer_good(copy) && be32(copy, FOOTER_TYPE) != VHD_FIXED;
    if (copied && footer.n && be32(footer, FOOTER_TYPE) == VHD_FIXED && !fixed_fits(footer))
        footer = bytes_sub(footer, 0, 0); /* cut off where a VHD ends that the guest keeps on its disk */
    h->end = footer.n ? footer.at : file->size;
    if (!footer.n && !copied) {
        fault_at(fault, -EUCLEAN, file->name, file->size - n,
                 "has no valid VHD footer: it is truncated, or damaged");
        return fault_hint(fault, -EUCLEAN, "copy or download it again");
    }
    if (!footer.n)
        notes_add(notes, "the footer at the end is missing or damaged; its copy at the beginning is used");
    else if (be32(footer, FOOTER_TYPE) != VHD_FIXED && !copied)
        notes_add(notes, "the footer's copy at the beginning is damaged; the one at the end is used");
    else if (be32(footer, FOOTER_TYPE) != VHD_FIXED && !footers_agree(footer, copy))
        notes_add(notes, "the footer's copy at the beginning differs; the one at the end is used");
    return parse_footer(file, footer.n ? footer : copy, h, notes, fault);
}

/* ---- the dynamic header ---- */

static int parse_dynamic(struct file *file, struct bytes b, struct vhd_header *h, struct fault *fault)
{
    const char *name = file->name;
    if (!bytes_match(b, 0, dynamic_cookie, sizeof dynamic_cookie) || !checksum_fits(b, DYNAMIC_CHECKSUM))
        return fault_at(fault, -EUCLEAN, name, b.at, "its dynamic header is damaged");
    uint32_t version = be32(b, DYNAMIC_VERSION), block = be32(b, DYNAMIC_BLOCK_SIZE);
    if (version >> 16 != 1)
        return fault_at(fault, -ENOTSUP, name, b.at + DYNAMIC_VERSION,
                        "has a dynamic header of version %u.%u, which ferryfs doesn't read", version >> 16,
                        version & 0xffff);
    if (!is_power_of_two(block) || block < VHD_SECTOR)
        return fault_at(fault, -EUCLEAN, name, b.at + DYNAMIC_BLOCK_SIZE, "states blocks of %u bytes", block);
    if (block > BLOCK_MAX)
        return fault_at(fault, -EFBIG, name, b.at + DYNAMIC_BLOCK_SIZE,
                        "has blocks of %u bytes, more than %u", block, BLOCK_MAX);
    h->block_size = block;
    h->bitmap_size = (uint32_t)round_up(div_up(block / VHD_SECTOR, 8), VHD_SECTOR);
    h->blocks = div_up(h->size, block);
    h->bat_entries = be32(b, DYNAMIC_ENTRIES);
    h->bat_offset = be64(b, DYNAMIC_TABLE_OFFSET);
    if (h->bat_entries < h->blocks)
        return fault_at(fault, -EUCLEAN, name, b.at + DYNAMIC_ENTRIES,
                        "its BAT has %llu entries, but the disk has %llu blocks",
                        (unsigned long long)h->bat_entries, (unsigned long long)h->blocks);
    if (!range_inside(h->bat_offset, h->bat_entries * ENTRY_SIZE, h->end))
        return fault_at(fault, -ENODATA, name, file->size,
                        "truncated: the file ends before the BAT's %llu entries from byte %llu",
                        (unsigned long long)h->bat_entries, (unsigned long long)h->bat_offset);
    return 0;
}

/* ---- the parent ---- */

static char *slashed(char *name)
{
    for (char *c = name; c && *c; c++)
        if (*c == '\\')
            *c = '/';
    return name;
}

/* The path of a locator with this platform code; *ret stays NULL when there is none that makes sense. */
static int locator_name(struct file *file, struct bytes header, uint32_t code, char **ret,
                        struct fault *fault)
{
    for (size_t i = 0; i < N_LOCATORS && !*ret; i++) {
        struct bytes l = bytes_sub(header, DYNAMIC_LOCATORS + i * LOCATOR_SIZE, LOCATOR_SIZE);
        uint32_t length = be32(l, LOCATOR_LENGTH);
        if (be32(l, 0) != code || !length || length > LOCATOR_MAX)
            continue;
        uint64_t offset = be64(l, LOCATOR_OFFSET);
        struct bad bad = { 0 };
        _cleanup_free_ uint8_t *data = malloc(length);
        if (!data)
            return fault_in(fault, -ENOMEM, file->name, "out of memory");
        int r = file_pread_what(file, data, length, offset, "its parent's name", fault);
        if (r < 0)
            return r;
        char *name = utf16_name(bytes_of(data, length, offset, &bad), false);
        if (!name)
            return fault_in(fault, -ENOMEM, file->name, "out of memory");
        if (*name)
            *ret = name;
        else
            free(name);
    }
    return 0;
}

static int parse_parent(struct file *file, struct bytes b, struct vhd_header *h, struct fault *fault)
{
    char *name = NULL;
    put_id(b, DYNAMIC_PARENT_ID, h->parent_id);
    int r = locator_name(file, b, CODE_W2RU, &name, fault);
    if (!r && !name)
        r = locator_name(file, b, CODE_W2KU, &name, fault);
    if (r < 0)
        return r;
    if (!name && !(name = utf16_name(bytes_sub(b, DYNAMIC_PARENT_NAME, PARENT_NAME_SIZE), true)))
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    h->parent_name = slashed(name);
    if (*name)
        return 0;
    return fault_at(fault, -EUCLEAN, file->name, b.at + DYNAMIC_PARENT_NAME,
                    "is a differencing VHD without its parent's name; the parent has the id %s",
                    h->parent_id);
}

/* ---- */

int vhd_header_read(struct file *file, struct vhd_header *ret, struct notes *notes, struct fault *fault)
{
    struct vhd_header h = { 0 };
    int r = read_footer(file, &h, notes, fault);
    if (r < 0)
        return r;
    if (h.type == VHD_FIXED) {
        if (h.size > h.end)
            return fault_at(fault, -ENODATA, file->name, h.end,
                            "truncated: the file ends before the disk of %llu bytes",
                            (unsigned long long)h.size);
        *ret = h;
        return 0;
    }
    uint8_t buf[DYNAMIC_SIZE];
    struct bad bad = { 0 };
    r = file_pread_what(file, buf, sizeof buf, h.header_offset, "its dynamic header", fault);
    if (r < 0)
        return r;
    struct bytes b = bytes_of(buf, sizeof buf, h.header_offset, &bad);
    r = parse_dynamic(file, b, &h, fault);
    if (!r && h.type == VHD_DIFFERENCING)
        r = parse_parent(file, b, &h, fault);
    if (r < 0) {
        vhd_header_done(&h);
        return r;
    }
    *ret = h;
    return 0;
}

void vhd_header_done(struct vhd_header *h)
{
    free(h->parent_name);
    h->parent_name = NULL;
}
