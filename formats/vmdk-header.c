/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 512 bytes that a hosted sparse extent begins with, and that a stream ends with as its footer. All
 * fields are little-endian; the second half of the fields is unaligned.
 *
 * Source: VMware's "Virtual Disk Format 5.0"; capacity 0 beside an embedded descriptor is a container of that
 * text only. */
#include "vmdk-sparse.h"
#include "checked.h"
#include "vmdk-descriptor.h"

#include <errno.h>

enum {
    KDMV_MAGIC = 0,
    KDMV_VERSION = 4,
    KDMV_FLAGS = 8,
    KDMV_CAPACITY = 12,
    KDMV_GRAIN_SIZE = 20,
    KDMV_DESCRIPTOR_OFFSET = 28,
    KDMV_DESCRIPTOR_SIZE = 36,
    KDMV_GTES_PER_GT = 44,
    KDMV_RGD_OFFSET = 48,
    KDMV_GD_OFFSET = 56,
    KDMV_OVERHEAD = 64,
    KDMV_UNCLEAN = 72,
    KDMV_NEWLINES = 73,
    KDMV_COMPRESSION = 77,
};

enum {
    MAX_VERSION = 3,
    MAX_GRAIN_SECTORS = 1 << 21,        /* 1 GiB, as others read */
    MAX_PACKED_GRAIN_SECTORS = 1 << 15, /* 16 MiB: such a grain is unpacked as a whole in memory */
    MAX_GTES = 1 << 16,                 /* 512 by the specification; powers of two from 128 are met */
    COMPRESSION_DEFLATE = 1,
    ROUNDING_SECTORS = 255 * 63, /* how far a line and a header may differ: a cylinder */
};

static int check_flags(const struct vmdk_header *h, uint16_t compression, const char *name, uint64_t at,
                       struct fault *fault)
{
    uint32_t unknown = h->flags & ~(uint32_t)(VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS) & 0xffff0000u;
    bool packed = h->flags & VMDK_FLAG_COMPRESSED;
    if (h->version < 1 || h->version > MAX_VERSION)
        return fault_at(fault, -ENOTSUP, name, at + KDMV_VERSION,
                        "version %u of the sparse extent header is not known", h->version);
    if (unknown)
        return fault_at(fault, -ENOTSUP, name, at + KDMV_FLAGS, "unknown incompatible flags 0x%x", unknown);
    if (compression > COMPRESSION_DEFLATE)
        return fault_at(fault, -ENOTSUP, name, at + KDMV_COMPRESSION, "unknown compression %u", compression);
    if (packed != (compression == COMPRESSION_DEFLATE))
        return fault_at(fault, -EUCLEAN, name, at + KDMV_COMPRESSION,
                        "its flags and its compression (%u) contradict each other", compression);
    if ((h->flags & VMDK_FLAG_MARKERS) && !packed)
        return fault_at(fault, -EUCLEAN, name, at + KDMV_FLAGS,
                        "its flags 0x%x have markers without compression", h->flags);
    return 0;
}

static int check_sizes(const struct vmdk_header *h, const char *name, uint64_t at, struct fault *fault)
{
    bool packed = h->flags & VMDK_FLAG_COMPRESSED;
    if (!h->capacity_sectors && h->descriptor_sector)
        return 0;
    if (!h->capacity_sectors)
        return fault_at(fault, -EUCLEAN, name, at + KDMV_CAPACITY, "its capacity is 0");
    if (h->capacity_sectors > VMDK_MAX_SECTORS)
        return fault_at(fault, -EUCLEAN, name, at + KDMV_CAPACITY,
                        "its capacity of %llu sectors is impossible",
                        (unsigned long long)h->capacity_sectors);
    if (!is_power_of_two(h->grain_sectors))
        return fault_at(fault, -EUCLEAN, name, at + KDMV_GRAIN_SIZE,
                        "its grain size of %llu sectors is no power of two",
                        (unsigned long long)h->grain_sectors);
    if (h->grain_sectors > (uint64_t)(packed ? MAX_PACKED_GRAIN_SECTORS : MAX_GRAIN_SECTORS))
        return fault_at(fault, -EFBIG, name, at + KDMV_GRAIN_SIZE, "its grains of %llu sectors are too large",
                        (unsigned long long)h->grain_sectors);
    if (!h->gtes_per_gt || h->gtes_per_gt > MAX_GTES)
        return fault_at(fault, -EUCLEAN, name, at + KDMV_GTES_PER_GT,
                        "its grain tables of %u entries are impossible", h->gtes_per_gt);
    return 0;
}

int vmdk_header_read(struct file *file, uint64_t at, struct vmdk_header *ret, struct fault *fault)
{
    static const char newlines[] = "\n \r\n";
    uint8_t raw[VMDK_HEADER_BYTES];
    int r = file_pread_what(file, raw, sizeof raw, at, at ? "its footer" : "its header", fault);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(raw, sizeof raw, at, &bad);
    if (!bytes_match(b, KDMV_MAGIC, VMDK_MAGIC, 4))
        return fault_at(fault, -EUCLEAN, file->name, at, "no VMDK sparse extent begins here");
    struct vmdk_header h = {
        .version = le32(b, KDMV_VERSION),
        .flags = le32(b, KDMV_FLAGS),
        .capacity_sectors = le64(b, KDMV_CAPACITY),
        .grain_sectors = le64(b, KDMV_GRAIN_SIZE),
        .descriptor_sector = le64(b, KDMV_DESCRIPTOR_OFFSET),
        .descriptor_sectors = le64(b, KDMV_DESCRIPTOR_SIZE),
        .gtes_per_gt = le32(b, KDMV_GTES_PER_GT),
        .rgd_sector = le64(b, KDMV_RGD_OFFSET),
        .gd_sector = le64(b, KDMV_GD_OFFSET),
        .overhead_sectors = le64(b, KDMV_OVERHEAD),
        .unclean = u8(b, KDMV_UNCLEAN),
    };
    if ((h.flags & VMDK_FLAG_NEWLINES) && !bytes_match(b, KDMV_NEWLINES, newlines, 4)) {
        fault_at(fault, -EUCLEAN, file->name, at + KDMV_NEWLINES,
                 "damaged: its line ends were changed, as a transfer in text mode does");
        return fault_hint(fault, -EUCLEAN, "transfer it again in binary mode");
    }
    r = check_flags(&h, le16(b, KDMV_COMPRESSION), file->name, at, fault);
    if (!r)
        r = check_sizes(&h, file->name, at, fault);
    if (!r)
        *ret = h;
    return r;
}

int vmdk_extent_sectors(struct file *file, const struct vmdk_extent_size *size, struct notes *notes,
                        uint64_t *ret, struct fault *fault)
{
    uint64_t line = size->line_sectors, capacity = size->capacity_sectors;
    if (line > capacity + max_u64(size->grain_sectors, ROUNDING_SECTORS))
        return fault_in(fault, -EUCLEAN, file->name,
                        "the descriptor wants %llu sectors of an extent that has %llu",
                        (unsigned long long)line, (unsigned long long)capacity);
    if (line && line != capacity)
        notes_add(notes, "%s: the descriptor says %llu sectors, the header %llu; the descriptor decides",
                  file->name, (unsigned long long)line, (unsigned long long)capacity);
    *ret = line ? line : capacity;
    return 0;
}
