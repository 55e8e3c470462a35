/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_SCRATCHDISK_H
#define FERRYFS_TESTS_SCRATCHDISK_H
/* A disk over a temporary file that can be written, so that a file system's own checker can look at it.
 * Writes can be made to fail. */
#include "formats/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

struct scratchdisk {
    struct disk disk;
    int fd;
    int64_t writes_left; /* then -ENOSPC; negative: no limit */
    uint64_t writes, discards, bytes_written;
};

static inline int scratchdisk_pread(struct disk *d, void *buf, size_t len, uint64_t off,
                                    const struct extent *e)
{
    (void)e;
    return pread(((struct scratchdisk *)(void *)d)->fd, buf, len, (off_t)off) == (ssize_t)len ? 0 : -EIO;
}

static inline int scratchdisk_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    (void)d, (void)off;
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA };
    return 0;
}

static inline int scratchdisk_pwrite(struct disk *d, const void *buf, size_t len, uint64_t off)
{
    struct scratchdisk *f = (struct scratchdisk *)(void *)d;
    if (!f->writes_left)
        return -ENOSPC;
    f->writes_left -= f->writes_left > 0;
    f->writes++;
    f->bytes_written += len;
    return pwrite(f->fd, buf, len, (off_t)off) == (ssize_t)len ? 0 : -EIO;
}

/* What a discarded range reads as is open: here it is what no file system wants to find. */
static inline int scratchdisk_discard(struct disk *d, uint64_t off, uint64_t len)
{
    struct scratchdisk *f = (struct scratchdisk *)(void *)d;
    f->discards++;
    return fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) ? -errno : 0;
}

static inline void scratchdisk_close(struct disk *d)
{
    close(((struct scratchdisk *)(void *)d)->fd);
}

static inline int scratchdisk_open(struct scratchdisk *f, const char *path)
{
    static const struct disk_ops ops = {
        .name = "scratchdisk",
        .pread = scratchdisk_pread,
        .map = scratchdisk_map,
        .pwrite = scratchdisk_pwrite,
        .discard = scratchdisk_discard,
        .close = scratchdisk_close,
    };
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    *f = (struct scratchdisk){ .disk = { &ops, (uint64_t)st.st_size }, .fd = fd, .writes_left = -1 };
    return 0;
}
#endif
