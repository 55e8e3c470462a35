/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The header section of a VHDX: who is current, and where the regions lie.
 *
 *     0      64K       128K      192K     256K     320K   1M
 *     | type | header1 | header2 | region | region | zero | log, BAT, metadata, blocks: in any order
 *       id                         table    again
 *
 * Headers are written in turns: the valid one with the higher sequence number is current. A torn write leaves
 * one without a valid checksum, which is then named in a warning. Two valid ones of one number contradict
 * each other, unless they are equal byte by byte, as Disk2vhd writes them. Of the two region tables any valid
 * one will do: they differ only while they are being written.
 *
 * Source: [MS-VHDX] 2.2; section numbers below are its. */
#include "vhdx-header.h"
#include "bytes.h"
#include "hash.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

enum {
    HEADER_LENGTH = 4096,
    REGION_TABLE_LENGTH = 65536,
    CHECKSUM_AT = 4, /* in headers and region tables */
    CHECKSUM_LENGTH = 4,
};
static const uint64_t header_at[2] = { 65536, 131072 }, region_table_at[2] = { 196608, 262144 };

/* 2.2.2 */
enum {
    HDR_SEQUENCE = 8,
    HDR_DATA_WRITE_GUID = 32,
    HDR_LOG_GUID = 48,
    HDR_LOG_VERSION = 64,
    HDR_VERSION = 66,
    HDR_LOG_LENGTH = 68,
    HDR_LOG_OFFSET = 72,
};

/* 2.2.3 */
enum {
    REGION_COUNT = 8,
    REGION_ENTRIES = 16,
    REGION_ENTRY = 32,
    REGION_MAX = 2047,
    ENTRY_OFFSET = 16,
    ENTRY_LENGTH = 24,
    ENTRY_FLAGS = 28,
};

static const char bat_guid[] = "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
static const char metadata_guid[] = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";

void vhdx_guid_text(const uint8_t guid[16], char ret[VHDX_GUID_TEXT])
{
    guid_format(guid, ret);
    for (char *p = ret; *p; p++)
        *p = (char)tolower((unsigned char)*p);
}

/* The signature, and the CRC-32C over all of it with the checksum's field taken as 0. */
static bool is_valid(const uint8_t *p, size_t n, const char *signature)
{
    static const uint8_t zeros[CHECKSUM_LENGTH];
    struct bad bad = { 0 };
    uint32_t crc = crc32c_update(~0u, p, CHECKSUM_AT);
    crc = crc32c_update(crc, zeros, sizeof zeros);
    crc = crc32c_update(crc, p + CHECKSUM_AT + CHECKSUM_LENGTH, n - CHECKSUM_AT - CHECKSUM_LENGTH);
    return !memcmp(p, signature, 4) && le32(bytes_of(p, n, 0, &bad), CHECKSUM_AT) == ~crc;
}

/* ---- the headers ---- */

static int check_log_range(struct file *file, uint64_t at, struct vhdx_range *log, struct fault *fault)
{
    if (!log->length)
        return 0;
    if (log->offset < VHDX_ALIGN || log->offset % VHDX_ALIGN || log->length % VHDX_ALIGN)
        return fault_at(fault, -EUCLEAN, file->name, at + HDR_LOG_LENGTH,
                        "the log isn't aligned to whole MiB");
    if (!range_inside(log->offset, log->length, file->size))
        return fault_at(fault, -ENODATA, file->name, file->size,
                        "truncated: the file ends before the end of the log");
    return 0;
}

static int take_header(struct file *file, const uint8_t *p, uint64_t at, struct vhdx_header *ret,
                       struct fault *fault)
{
    static const uint8_t none[16];
    struct bad bad = { 0 };
    struct bytes b = bytes_of(p, HEADER_LENGTH, at, &bad);
    struct vhdx_header h = { .log = { le64(b, HDR_LOG_OFFSET), le32(b, HDR_LOG_LENGTH) } };
    if (le16(b, HDR_VERSION) != 1)
        return fault_at(fault, -ENOTSUP, file->name, at + HDR_VERSION,
                        "is a VHDX of version %u; ferryfs reads version 1", le16(b, HDR_VERSION));
    vhdx_guid_text(p + HDR_DATA_WRITE_GUID, h.data_write_id);
    memcpy(h.log_guid, p + HDR_LOG_GUID, sizeof h.log_guid);
    h.dirty = memcmp(h.log_guid, none, sizeof none) != 0;
    if (h.dirty && le16(b, HDR_LOG_VERSION))
        return fault_at(fault, -ENOTSUP, file->name, at + HDR_LOG_VERSION,
                        "has a log of version %u to replay; ferryfs reads version 0",
                        le16(b, HDR_LOG_VERSION));
    if (h.dirty && !h.log.length)
        return fault_at(fault, -EUCLEAN, file->name, at + HDR_LOG_LENGTH,
                        "a log must be replayed, but there is none");
    int r = check_log_range(file, at, &h.log, fault);
    if (!r)
        *ret = h;
    return r;
}

int vhdx_header_read(struct file *file, struct vhdx_header *ret, struct notes *notes, struct fault *fault)
{
    uint8_t p[2][HEADER_LENGTH];
    uint64_t sequence[2];
    bool valid[2];
    for (int i = 0; i < 2; i++) {
        struct bad bad = { 0 };
        int r = file_pread_what(file, p[i], HEADER_LENGTH, header_at[i], "the headers", fault);
        if (r < 0)
            return r;
        valid[i] = is_valid(p[i], HEADER_LENGTH, "head");
        sequence[i] = le64(bytes_of(p[i], HEADER_LENGTH, header_at[i], &bad), HDR_SEQUENCE);
    }
    if (!valid[0] && !valid[1])
        return fault_at(fault, -EUCLEAN, file->name, header_at[0], "both headers are damaged");
    if (valid[0] && valid[1] && sequence[0] == sequence[1] && memcmp(p[0], p[1], HEADER_LENGTH) != 0)
        return fault_at(fault, -EUCLEAN, file->name, header_at[1] + HDR_SEQUENCE,
                        "the headers contradict each other: both have the sequence number %llu",
                        (unsigned long long)sequence[0]);
    int current = !valid[0] || (valid[1] && sequence[1] > sequence[0]);
    if (!valid[!current])
        notes_add(notes, "header %d is damaged; header %d was used", 2 - current, current + 1);
    return take_header(file, p[current], header_at[current], ret, fault);
}

/* ---- the region table ---- */

static int take_region(struct file *file, struct bytes e, const char *name, struct vhdx_range *ret,
                       struct fault *fault)
{
    struct vhdx_range range = { le64(e, ENTRY_OFFSET), le32(e, ENTRY_LENGTH) };
    if (ret->length)
        return fault_at(fault, -EUCLEAN, file->name, e.at, "the region table names two %s regions", name);
    if (range.offset < VHDX_ALIGN || range.offset % VHDX_ALIGN || !range.length || range.length % VHDX_ALIGN)
        return fault_at(fault, -EUCLEAN, file->name, e.at, "the %s region isn't aligned to whole MiB", name);
    if (!range_inside(range.offset, range.length, file->size))
        return fault_at(fault, -ENODATA, file->name, file->size,
                        "truncated: the file ends before the end of the %s region", name);
    *ret = range;
    return 0;
}

static int refuse_region(struct file *file, struct bytes e, struct fault *fault)
{
    char guid[VHDX_GUID_TEXT];
    vhdx_guid_text(e.p, guid);
    return fault_at(fault, -ENOTSUP, file->name, e.at,
                    "can't be read without its region {%s}, which ferryfs doesn't know", guid);
}

static int check_regions(struct file *file, uint64_t at, const struct vhdx_header *h,
                         const struct vhdx_regions *r, struct fault *fault)
{
    if (!r->bat.length || !r->metadata.length)
        return fault_at(fault, -EUCLEAN, file->name, at, "the region table names no %s region",
                        r->bat.length ? "metadata" : "BAT");
    if (vhdx_overlap(&r->bat, &r->metadata) || vhdx_overlap(&r->bat, &h->log) ||
        vhdx_overlap(&r->metadata, &h->log))
        return fault_at(fault, -EUCLEAN, file->name, at, "the BAT, the metadata and the log overlap");
    return 0;
}

static int take_regions(struct file *file, struct bytes b, const struct vhdx_header *h,
                        struct vhdx_regions *ret, struct fault *fault)
{
    struct vhdx_regions regions = { 0 };
    uint32_t n = le32(b, REGION_COUNT);
    int r = 0;
    if (n > REGION_MAX)
        return fault_at(fault, -EUCLEAN, file->name, b.at + REGION_COUNT, "the region table has %u entries",
                        n);
    for (uint32_t i = 0; i < n && !r; i++) {
        struct bytes e = bytes_sub(b, REGION_ENTRIES + (size_t)i * REGION_ENTRY, REGION_ENTRY);
        if (bytes_match(e, 0, bat_guid, 16))
            r = take_region(file, e, "BAT", &regions.bat, fault);
        else if (bytes_match(e, 0, metadata_guid, 16))
            r = take_region(file, e, "metadata", &regions.metadata, fault);
        else if (le32(e, ENTRY_FLAGS) & 1)
            r = refuse_region(file, e, fault);
    }
    if (!r)
        r = check_regions(file, b.at, h, &regions, fault);
    if (!r)
        *ret = regions;
    return r;
}

int vhdx_regions_read(struct file *file, const struct vhdx_header *h, struct vhdx_regions *ret,
                      struct notes *notes, struct fault *fault)
{
    _cleanup_free_ uint8_t *p = malloc(REGION_TABLE_LENGTH);
    if (!p)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    for (int i = 0; i < 2; i++) {
        struct bad bad = { 0 };
        int r = file_pread_what(file, p, REGION_TABLE_LENGTH, region_table_at[i], "the region tables", fault);
        if (r < 0)
            return r;
        if (!is_valid(p, REGION_TABLE_LENGTH, "regi"))
            continue;
        if (i)
            notes_add(notes, "the first region table is damaged; the second was used");
        return take_regions(file, bytes_of(p, REGION_TABLE_LENGTH, region_table_at[i], &bad), h, ret, fault);
    }
    return fault_at(fault, -EUCLEAN, file->name, region_table_at[0], "both region tables are damaged");
}
