/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_MEMDISK_H
#define FERRYFS_TESTS_MEMDISK_H
/* A disk over bytes that the test owns and may change, with a place that can't be read. Used by unit tests
 * and fuzz targets. */
#include "formats/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct memdisk {
    struct disk disk;
    const uint8_t *data;
    uint64_t bad_at, bad_length; /* reads that touch it are -EIO */
    uint64_t reads, bytes_read;
};

static inline int memdisk_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    struct memdisk *m = (struct memdisk *)(void *)d;
    (void)e;
    if (m->bad_length && off < m->bad_at + m->bad_length && m->bad_at < off + len)
        return -EIO;
    memcpy(buf, m->data + off, len);
    __atomic_add_fetch(&m->reads, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&m->bytes_read, len, __ATOMIC_RELAXED);
    return 0;
}

static inline int memdisk_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    (void)d, (void)off;
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA };
    return 0;
}

static inline void memdisk_close(struct disk *d)
{
    (void)d;
}

static const struct disk_ops memdisk_ops = {
    .name = "memdisk",
    .pread = memdisk_pread,
    .map = memdisk_map,
    .close = memdisk_close,
};

static inline struct memdisk memdisk_of(const void *data, size_t len)
{
    return (struct memdisk){ .disk = { .ops = &memdisk_ops, .size = len }, .data = data };
}
#endif
