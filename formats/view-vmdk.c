/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.vmdk: a monolithicSparse VMDK for VMware Workstation, Fusion and Player, VirtualBox, and tools of
 * vSphere that import one.
 *
 *     sector 0   1            21                                         overHead
 *     | header | descriptor | RGD | GT | GT ... | GD | GT | GT ... | pad | grain | grain | ...
 *       KDMV     text         the redundant copy   the tables             the allocated ones
 *
 * A grain of 128 sectors is found by its entry in a grain table (GT) of 512 entries, which is found by an
 * entry of the grain directory (GD). VMware writes all grain tables, twice, and so they are here; the
 * directories' entries are products. A grain's entry is its sector: a rank, since the grains lie in the
 * disk's order; 0 is a grain that isn't there, which is zeros in a disk without a parent. The tables of 32
 * MiB without a grain are zeros, and holes of the view.
 *
 * All offsets are 32-bit numbers of sectors, so the file ends before 2 TiB; and so does the disk, by VMware's
 * rule for one extent.
 *
 * Sources: VMware, "Virtual Disk Format 5.0"; Metz, "VMware Virtual Disk (VMDK) format specification". */
#include "bytes.h"
#include "checked.h"
#include "hash.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const struct view_format vmdk_view;

#define MAX_SECTORS (UINT64_C(1) << 32) /* of the disk, and of the file */

enum {
    SECTOR = 512,
    GRAIN = 128, /* sectors */
    GRAIN_BYTES = GRAIN * SECTOR,
    ENTRY = 4,
    TABLE_ENTRIES = 512, /* of a grain table */
    TABLE_BYTES = TABLE_ENTRIES * ENTRY,
    TABLE_SECTORS = TABLE_BYTES / SECTOR,
    DESCRIPTOR = 1, /* sector */
    DESCRIPTOR_SECTORS = 20,
    TABLES = DESCRIPTOR + DESCRIPTOR_SECTORS, /* sector */
    NEWLINES_VALID = 1 << 0,                  /* flags */
    REDUNDANT_VALID = 1 << 1,
    HEADS = 255, /* of the geometry, and the sectors of a track */
    TRACK = 63,
    MAX_CYLINDERS = 65535,
};

/* Where things begin, in sectors of the file. */
struct vmdk {
    uint64_t sectors;          /* of the disk */
    uint64_t n_tables;         /* in each copy */
    uint64_t directory_length; /* sectors */
    uint64_t redundant_directory, redundant_tables, directory, tables, data;
    uint64_t end; /* of the file */
};

/* ---- the tables ---- */

static void fill_directory(void *buf, size_t len, uint64_t off, uint64_t tables, uint64_t n)
{
    uint64_t i = off / ENTRY;
    size_t skip = (size_t)(off % ENTRY);
    for (uint8_t *p = buf; len; i++, skip = 0) {
        uint8_t entry[ENTRY];
        size_t part = (size_t)min_u64(len, ENTRY - skip);
        put_le32(entry, i < n ? (uint32_t)(tables + i * TABLE_SECTORS) : 0);
        memcpy(p, entry + skip, part);
        p += part;
        len -= part;
    }
}

static void vmdk_redundant_directory(const struct view *v, void *buf, size_t len, uint64_t off)
{
    const struct vmdk *m = v->layout.private;
    fill_directory(buf, len, off, m->redundant_tables, m->n_tables);
}

static void vmdk_directory(const struct view *v, void *buf, size_t len, uint64_t off)
{
    const struct vmdk *m = v->layout.private;
    fill_directory(buf, len, off, m->tables, m->n_tables);
}

/* Both copies of the grain tables are alike. */
static void vmdk_tables(const struct view *v, void *buf, size_t len, uint64_t off)
{
    const struct vmdk *m = v->layout.private;
    const struct blockmap *grains = v->layout.blocks;
    uint64_t n = blockmap_blocks(grains), i = off / ENTRY;
    uint64_t place = blockmap_rank(grains, min_u64(i, n));
    size_t skip = (size_t)(off % ENTRY);
    for (uint8_t *p = buf; len; i++, skip = 0) {
        uint8_t entry[ENTRY];
        size_t part = (size_t)min_u64(len, ENTRY - skip);
        bool present = i < n && blockmap_get(grains, i);
        put_le32(entry, present ? (uint32_t)(m->data + place++ * GRAIN) : 0);
        memcpy(p, entry + skip, part);
        p += part;
        len -= part;
    }
}

/* ---- header and descriptor ---- */

static void put_header(uint8_t *p, const struct vmdk *m)
{
    memcpy(p, "KDMV", 4);
    put_le32(p + 4, 1); /* version */
    put_le32(p + 8, NEWLINES_VALID | REDUNDANT_VALID);
    put_le64(p + 12, m->sectors);
    put_le64(p + 20, GRAIN);
    put_le64(p + 28, DESCRIPTOR);
    put_le64(p + 36, DESCRIPTOR_SECTORS);
    put_le32(p + 44, TABLE_ENTRIES);
    put_le64(p + 48, m->redundant_directory);
    put_le64(p + 56, m->directory);
    put_le64(p + 64, m->data);
    memcpy(p + 73, "\n \r\n", 4); /* a transfer as text would change them */
}

/* The content id is the end of the long one. 0, fffffffe and ffffffff are no ids: they say "unknown", "see
 * the long one" and "no parent". */
static uint32_t content_id(const struct view_source *src, char long_id[33])
{
    uint8_t id[16];
    guid_derive(src->id, "vmdk content", id);
    uint32_t cid = (uint32_t)id[12] << 24 | (uint32_t)id[13] << 16 | (uint32_t)id[14] << 8 | id[15];
    if (!cid || cid >= 0xfffffffe)
        cid = 1;
    for (size_t i = 0; i < 12; i++)
        snprintf(long_id + 2 * i, 3, "%02x", id[i]);
    snprintf(long_id + 24, 9, "%08" PRIx32, cid);
    return cid;
}

static void put_descriptor(uint8_t *p, const struct view_source *src, const struct vmdk *m)
{
    char long_id[33];
    uint32_t cid = content_id(src, long_id);
    uint64_t cylinders = max_u64(1, min_u64(MAX_CYLINDERS, m->sectors / (HEADS * TRACK)));
    snprintf((char *)p, DESCRIPTOR_SECTORS * SECTOR,
             "# Disk DescriptorFile\n"
             "version=1\n"
             "encoding=\"UTF-8\"\n"
             "CID=%08" PRIx32 "\n"
             "parentCID=ffffffff\n"
             "createType=\"monolithicSparse\"\n"
             "\n"
             "# Extent description\n"
             "RW %" PRIu64 " SPARSE \"%s\"\n"
             "\n"
             "# The Disk Data Base\n"
             "#DDB\n"
             "\n"
             "ddb.adapterType = \"lsilogic\"\n"
             "ddb.geometry.cylinders = \"%" PRIu64 "\"\n"
             "ddb.geometry.heads = \"%d\"\n"
             "ddb.geometry.sectors = \"%d\"\n"
             "ddb.longContentID = \"%s\"\n"
             "ddb.virtualHWVersion = \"4\"\n",
             cid, m->sectors, vmdk_view.file_name, cylinders, HEADS, TRACK, long_id);
}

/* ---- the layout ---- */

static void vmdk_measure(struct vmdk *m, const struct layout *l)
{
    m->n_tables = blockmap_blocks(l->groups);
    m->directory_length = div_up(m->n_tables * ENTRY, SECTOR);
    m->redundant_directory = TABLES;
    m->redundant_tables = m->redundant_directory + m->directory_length;
    m->directory = m->redundant_tables + m->n_tables * TABLE_SECTORS;
    m->tables = m->directory + m->directory_length;
    m->data = round_up(m->tables + m->n_tables * TABLE_SECTORS, GRAIN);
    m->end = m->data + blockmap_allocated(l->blocks) * GRAIN;
}

static int add_segments(struct layout *l, const struct view_source *src, const struct vmdk *m)
{
    uint8_t *p;
    int r = layout_add_bytes(l, TABLES * SECTOR, TABLES * SECTOR, &p);
    if (r < 0)
        return r;
    put_header(p, m);
    put_descriptor(p + DESCRIPTOR * SECTOR, src, m);
    for (int copy = 0; copy < 2; copy++) {
        struct segment *s = layout_add(l, SEGMENT_TABLE, m->directory_length * SECTOR);
        s->table = copy ? vmdk_directory : vmdk_redundant_directory;
        s = layout_add(l, SEGMENT_TABLE, m->n_tables * TABLE_BYTES);
        s->table = vmdk_tables;
        s->unit = TABLE_BYTES;
    }
    layout_add(l, SEGMENT_ZERO, m->data * SECTOR - l->size);
    layout_add(l, SEGMENT_BLOCKS, (m->end - m->data) * SECTOR);
    return 0;
}

static int vmdk_layout(const struct view_source *src, struct layout *ret, struct fault *fault)
{
    uint64_t size = view_disk_size(src);
    if (!size)
        return fault_in(fault, -ENOTSUP, "", "an empty disk can't be a VMDK");
    if (src->sector_size != SECTOR) /* a partition table would be read at a wrong scale */
        return fault_in(fault, -ENOTSUP, "", "a VMDK has sectors of 512 bytes, the disk has sectors of %u",
                        src->sector_size);
    if (size > MAX_SECTORS * SECTOR)
        return fault_in(fault, -EFBIG, "",
                        "a sparse VMDK holds at most 2 TiB, the disk has %" PRIu64 " bytes", size);
    struct vmdk *m = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    ret->private = m;
    m->sectors = size / SECTOR;
    int r = layout_set_blocks(ret, src, GRAIN_BYTES);
    if (!r)
        r = layout_set_groups(ret, TABLE_ENTRIES);
    if (r < 0)
        return r;
    vmdk_measure(m, ret);
    if (m->end > MAX_SECTORS)
        return fault_in(fault, -EFBIG, "",
                        "a sparse VMDK is a file of at most 2 TiB, this disk's data would need %" PRIu64
                        " bytes",
                        m->end * SECTOR);
    return add_segments(ret, src, m);
}

const struct view_format vmdk_view = {
    .file_name = "disk.vmdk",
    .name = "vmdk",
    .layout = vmdk_layout,
};
