/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The header of an overlay's qcow2: everything that a commit changes is in the first sector, which disks
 * write whole or not at all.
 *
 *     0      the header, version 3
 *     112    extension: backing format
 *            extension of ours: generation and time of the last commit
 *            end of extensions
 *     4096   the backing file's name, or at 8192: a new name is written where the current one isn't
 *
 * An autoclear bit of ours is set. Who doesn't know it must clear it before he writes the file (qcow2
 * specification, "autoclear_features"), so we learn that the guest was run from the overlay meanwhile. QEMU
 * keeps extensions that it doesn't know, but lays the header out anew. */
#include "bytes.h"
#include "checked.h"
#include "overlay-impl.h"
#include "qcow2-header.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    H_MAGIC = 0,
    H_VERSION = 4,
    H_BACKING_OFFSET = 8,
    H_BACKING_SIZE = 16,
    H_CLUSTER_BITS = 20,
    H_SIZE = 24,
    H_CRYPT = 32,
    H_L1_SIZE = 36,
    H_L1_OFFSET = 40,
    H_REFCOUNT_OFFSET = 48,
    H_REFCOUNT_CLUSTERS = 56,
    H_SNAPSHOTS = 60,
    H_INCOMPATIBLE = 72,
    H_AUTOCLEAR = 88,
    H_REFCOUNT_ORDER = 96,
    H_LENGTH = 100,
    LENGTH = 112,

    X_END = 0,
    X_OURS_SIZE = 24,
};
#define X_BACKING_FORMAT 0xe2792acau
#define X_OURS           0x66727279u /* "frry" */

#define INCOMPATIBLE_DIRTY   UINT64_C(1)
#define INCOMPATIBLE_CORRUPT UINT64_C(2)
#define AUTOCLEAR_OURS       (UINT64_C(1) << 63)

static uint8_t *put_extension(uint8_t *p, uint32_t type, const void *data, uint32_t len)
{
    put_be32(p, type);
    put_be32(p + 4, len);
    memcpy(p + 8, data, len);
    return p + 8 + round_up(len, 8);
}

void ovl_header_encode(const struct ovl_header *h, uint8_t sector[OVL_SECTOR])
{
    memset(sector, 0, OVL_SECTOR);
    put_be32(sector + H_MAGIC, QCOW2_MAGIC);
    put_be32(sector + H_VERSION, 3);
    put_be64(sector + H_BACKING_OFFSET, h->backing_offset);
    put_be32(sector + H_BACKING_SIZE, h->backing_length);
    put_be32(sector + H_CLUSTER_BITS, OVL_SHIFT);
    put_be64(sector + H_SIZE, h->size);
    put_be32(sector + H_L1_SIZE, h->l1_size);
    put_be64(sector + H_L1_OFFSET, h->l1_offset);
    put_be64(sector + H_REFCOUNT_OFFSET, h->refcount_offset);
    put_be32(sector + H_REFCOUNT_CLUSTERS, h->refcount_clusters);
    put_be64(sector + H_INCOMPATIBLE, h->dirty ? INCOMPATIBLE_DIRTY : 0);
    put_be64(sector + H_AUTOCLEAR, AUTOCLEAR_OURS);
    put_be32(sector + H_REFCOUNT_ORDER, 4);
    put_be32(sector + H_LENGTH, LENGTH);
    uint8_t *p = sector + LENGTH, ours[X_OURS_SIZE] = { 0 };
    p = put_extension(p, X_BACKING_FORMAT, h->backing_format, (uint32_t)strlen(h->backing_format));
    put_be64(ours, h->generation);
    put_be64(ours + 8, (uint64_t)h->time.tv_sec);
    put_be32(ours + 16, (uint32_t)h->time.tv_nsec);
    put_extension(p, X_OURS, ours, sizeof ours);
}

static int read_extensions(struct bytes b, uint32_t at, struct ovl_header *h)
{
    for (;;) {
        uint32_t type = be32(b, at), len = be32(b, at + 4);
        if (b.bad->set || type == X_END)
            return 0;
        struct bytes data = bytes_sub(b, at + 8, len);
        if (b.bad->set)
            return 0;
        if (type == X_BACKING_FORMAT && len < sizeof h->backing_format) {
            memcpy(h->backing_format, data.p, len);
        } else if (type == X_OURS && len >= X_OURS_SIZE) {
            h->known = true;
            h->generation = be64(data, 0);
            h->time.tv_sec = (time_t)be64(data, 8);
            h->time.tv_nsec = (long)(be32(data, 16) % 1000000000);
        }
        at += 8 + (uint32_t)round_up(len, 8); /* len < 64 KiB */
    }
}

int ovl_header_decode(struct bytes b, const char *name, struct ovl_header *ret, struct fault *fault)
{
    uint64_t incompatible = be64(b, H_INCOMPATIBLE);
    uint32_t length = be32(b, H_LENGTH);
    struct ovl_header h = {
        .size = be64(b, H_SIZE),
        .l1_size = be32(b, H_L1_SIZE),
        .l1_offset = be64(b, H_L1_OFFSET),
        .refcount_offset = be64(b, H_REFCOUNT_OFFSET),
        .refcount_clusters = be32(b, H_REFCOUNT_CLUSTERS),
        .dirty = incompatible & INCOMPATIBLE_DIRTY,
        .ours = be64(b, H_AUTOCLEAR) & AUTOCLEAR_OURS,
        .backing_offset = be64(b, H_BACKING_OFFSET),
        .backing_length = be32(b, H_BACKING_SIZE),
    };
    if (b.bad->set)
        return fault_at(fault, -ENODATA, name, b.bad->at, "the header is cut short");
    if (be32(b, H_MAGIC) != QCOW2_MAGIC || be32(b, H_VERSION) != 3)
        return fault_at(fault, -EUCLEAN, name, 0, "isn't a QCOW2 of version 3, so no overlay");
    if (incompatible & INCOMPATIBLE_CORRUPT)
        return fault_at(fault, -EUCLEAN, name, H_INCOMPATIBLE, "QEMU found it damaged, and said so in it");
    if (be32(b, H_SNAPSHOTS)) {
        fault_at(fault, -ENOTSUP, name, H_SNAPSHOTS, "has internal snapshots, which an overlay can't keep");
        return fault_hint(fault, -ENOTSUP, "delete them with qemu-img snapshot -d");
    }
    if (be32(b, H_CLUSTER_BITS) != OVL_SHIFT || be32(b, H_REFCOUNT_ORDER) != 4 || be32(b, H_CRYPT) ||
        (incompatible & ~INCOMPATIBLE_DIRTY) || length < 104 || length % 8)
        return fault_at(fault, -ENOTSUP, name, 0, "isn't laid out as an overlay is");
    if (h.l1_offset % OVL_CLUSTER || !h.l1_offset)
        return fault_at(fault, -EUCLEAN, name, H_L1_OFFSET, "the L1 table is out of place");
    read_extensions(b, length, &h);
    if (b.bad->set)
        return fault_at(fault, -EUCLEAN, name, b.bad->at, "a header extension is cut short");
    *ret = h;
    return 0;
}
