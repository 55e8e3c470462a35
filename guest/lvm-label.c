/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The label of a physical volume, and its metadata areas.
 *
 *     one of the first 4 sectors:  "LABELONE" | u64 sector | u32 crc | u32 content | "LVM2 001" | ...
 *     content:                     uuid, 32 characters | u64 size
 *                                  {u64 offset, u64 size}...  data areas, ended by zeros
 *                                  {u64 offset, u64 size}...  metadata areas, ended by zeros
 *     a metadata area:             header of 512 bytes | text, a ring: each commit is written behind the last
 *     its header:                  u32 crc | magic | u32 version | u64 start | u64 size
 *                                  {u64 offset, u64 size, u32 crc, u32 flags}   where the committed text lies
 *
 * A text that reaches the area's end goes on behind its header. A second entry in the header is a text that
 * isn't committed yet; it is of no interest. */
#include "lvm-metadata.h"

#include "../formats/bytes.h"
#include "../formats/checked.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <zlib.h>

enum {
    LABEL_SECTORS = 4,
    LABEL_SECTOR = 8,
    LABEL_CRC = 16,
    LABEL_CRC_FROM = 20,
    LABEL_CONTENT = 20,
    LABEL_TYPE = 24,
    PV_UUID_CHARS = 32,
    PV_AREAS = 40,
    PV_AREA_SIZE = 16,
    AREA_CRC_FROM = 4,
    AREA_MAGIC = 4,
    AREA_VERSION = 20,
    AREA_START = 24,
    AREA_SIZE = 32,
    AREA_TEXT = 40, /* the entry of the committed text */
    TEXT_OFFSET = 0,
    TEXT_SIZE = 8,
    TEXT_CRC = 16,
    TEXT_FLAGS = 20,
    TEXT_IGNORED = 1,
    TEXT_MAX = 16 << 20, /* 60,000 logical volumes; LVM's areas are of 1 MiB unless asked for more */
};
#define AREA_MAGIC_BYTES " LVM2 x[5A%r0N*>"

uint32_t lvm_crc(const void *buf, size_t len)
{
    const uint32_t initial = 0xf597a6cf; /* zlib inverts before and after */
    return ~(uint32_t)crc32_z(~initial, buf, len);
}

/* 6-4-4-4-4-4-6. False: not the characters of a uuid. */
static bool format_uuid(struct bytes id, char ret[LVM_UUID_SIZE])
{
    char *o = ret;
    for (unsigned i = 0; i < PV_UUID_CHARS; i++) {
        if (!isalnum(u8(id, i)))
            return false;
        if (i >= 6 && i < 30 && (i - 6) % 4 == 0)
            *o++ = '-';
        *o++ = (char)u8(id, i);
    }
    *o = 0;
    return true;
}

static int parse_content(struct bytes sector, const char *name, struct lvm_label *ret, struct fault *fault)
{
    size_t at = le32(sector, LABEL_CONTENT), lists = 0;
    if (!bytes_has(sector, at, PV_AREAS) || !format_uuid(bytes_sub(sector, at, PV_UUID_CHARS), ret->uuid))
        return fault_at(fault, -EUCLEAN, name, sector.at + LABEL_CONTENT,
                        "the LVM label has no physical volume's header");
    for (at += PV_AREAS; lists < 2; at += PV_AREA_SIZE) { /* a list of data areas, one of metadata areas */
        uint64_t offset = le64(sector, at), size = le64(sector, at + 8);
        if (sector.bad->set)
            return fault_at(fault, -EUCLEAN, name, sector.at + at,
                            "the LVM label's lists of areas don't end");
        if (!offset)
            lists++;
        else if (lists == 1 && ret->n_areas < LVM_AREAS_MAX)
            ret->areas[ret->n_areas++] = (struct lvm_metadata_area){ offset, size };
    }
    return 0;
}

int lvm_label_read(struct disk *disk, const char *name, struct lvm_label *ret, struct fault *fault)
{
    uint8_t buf[LABEL_SECTORS * LVM_SECTOR] = { 0 };
    size_t n = (size_t)min_u64(sizeof buf, disk->size);
    if (disk_pread(disk, buf, n, 0) < 0)
        return fault_at(fault, -EIO, name, 0, "the LVM label can't be read");
    struct bad bad = { 0 };
    bool wrong = false;
    for (size_t i = 0; i < LABEL_SECTORS; i++) {
        struct bytes s = bytes_sub(bytes_of(buf, sizeof buf, 0, &bad), i * LVM_SECTOR, LVM_SECTOR);
        if (!bytes_match(s, 0, "LABELONE", 8) || !bytes_match(s, LABEL_TYPE, "LVM2 001", 8) ||
            le64(s, LABEL_SECTOR) != i)
            continue;
        if (lvm_crc(s.p + LABEL_CRC_FROM, LVM_SECTOR - LABEL_CRC_FROM) != le32(s, LABEL_CRC)) {
            wrong = true;
            continue;
        }
        struct lvm_label label = { 0 };
        int r = parse_content(s, name, &label, fault);
        if (!r)
            *ret = label;
        return r;
    }
    return fault_at(fault, -EUCLEAN, name, 0,
                    wrong ? "the LVM label doesn't agree with its checksum" : "there is no LVM label");
}

/* ---- a metadata area ---- */

static int parse_area(struct bytes h, const char *name, const struct lvm_metadata_area *area,
                      struct fault *fault)
{
    if (!bytes_match(h, AREA_MAGIC, AREA_MAGIC_BYTES, 16) ||
        lvm_crc(h.p + AREA_CRC_FROM, LVM_SECTOR - AREA_CRC_FROM) != le32(h, 0))
        return fault_at(fault, -EUCLEAN, name, h.at,
                        "the header of the LVM metadata doesn't agree with its checksum");
    if (le32(h, AREA_VERSION) != 1)
        return fault_at(fault, -ENOTSUP, name, h.at + AREA_VERSION, "LVM metadata of version %u",
                        le32(h, AREA_VERSION));
    if (le64(h, AREA_START) != area->at || le64(h, AREA_SIZE) != area->size)
        return fault_at(fault, -EUCLEAN, name, h.at + AREA_START,
                        "the LVM metadata lies elsewhere than its label says");
    return 0;
}

static int read_text(struct disk *disk, struct bytes entry, const char *name,
                     const struct lvm_metadata_area *area, char **ret, size_t *ret_len, struct fault *fault)
{
    uint64_t off = le64(entry, TEXT_OFFSET), size = le64(entry, TEXT_SIZE);
    if (off < LVM_SECTOR || off >= area->size || !size || size > area->size - LVM_SECTOR)
        return fault_at(fault, -EUCLEAN, name, entry.at, "the LVM metadata's text lies outside its area");
    if (size > TEXT_MAX)
        return fault_at(fault, -EFBIG, name, entry.at + TEXT_SIZE,
                        "an LVM metadata text of %llu bytes (the limit is %d)", (unsigned long long)size,
                        TEXT_MAX);
    _cleanup_free_ char *text = malloc(size + 1);
    if (!text)
        return fault_in(fault, -ENOMEM, name, "out of memory");
    uint64_t first = min_u64(size, area->size - off);
    int r = disk_pread(disk, text, first, area->at + off);
    if (r >= 0 && first < size) /* around the ring */
        r = disk_pread(disk, text + first, size - first, area->at + LVM_SECTOR);
    if (r < 0)
        return fault_at(fault, -EIO, name, area->at + off, "the LVM metadata's text can't be read");
    if (lvm_crc(text, size) != le32(entry, TEXT_CRC))
        return fault_at(fault, -EUCLEAN, name, area->at + off,
                        "the LVM metadata's text doesn't agree with its checksum");
    text[size] = 0;
    *ret = TAKE_PTR(text);
    *ret_len = size;
    return 0;
}

int lvm_area_read(struct disk *disk, const char *name, const struct lvm_metadata_area *area, char **ret,
                  size_t *ret_len, struct fault *fault)
{
    uint8_t buf[LVM_SECTOR];
    if (area->size < sizeof buf || !range_inside(area->at, area->size, disk->size))
        return fault_at(fault, -EUCLEAN, name, disk->size,
                        "the LVM metadata lies past the end of the volume");
    if (disk_pread(disk, buf, sizeof buf, area->at) < 0)
        return fault_at(fault, -EIO, name, area->at, "the LVM metadata can't be read");
    struct bad bad = { 0 };
    struct bytes header = bytes_of(buf, sizeof buf, area->at, &bad);
    int r = parse_area(header, name, area, fault);
    if (r < 0)
        return r;
    struct bytes entry = bytes_sub(header, AREA_TEXT, TEXT_FLAGS + 4);
    if (!le64(entry, TEXT_OFFSET) || le32(entry, TEXT_FLAGS) & TEXT_IGNORED)
        return -ENODATA;
    return read_text(disk, entry, name, area, ret, ret_len, fault);
}
