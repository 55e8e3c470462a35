/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_FILEDISK_H
#define FERRYFS_TESTS_FILEDISK_H
/* A disk over a file, which can be written and on which other programs can look. Its writes can be made to
 * fail. */
#include "formats/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct filedisk {
    struct disk disk;
    int fd;
    long fail_after; /* so many writes more succeed; negative: all do */
    int fail_with;   /* -errno of those that don't */
    bool fail_once;  /* only one of them doesn't */
    long writes, failed;
    uint64_t discarded; /* bytes */
};

static inline struct filedisk *filedisk_of(struct disk *d)
{
    return (struct filedisk *)(void *)d;
}

static inline int filedisk_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    (void)e;
    return pread(filedisk_of(d)->fd, buf, len, (off_t)off) == (ssize_t)len ? 0 : -EIO;
}

static inline int filedisk_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    (void)d, (void)off;
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA };
    return 0;
}

static inline int filedisk_pwrite(struct disk *d, const void *buf, size_t len, uint64_t off)
{
    struct filedisk *f = filedisk_of(d);
    if (!f->fail_after) {
        f->failed++;
        if (f->fail_once)
            f->fail_after = -1;
        return f->fail_with;
    }
    if (f->fail_after > 0)
        f->fail_after--;
    f->writes++;
    return pwrite(f->fd, buf, len, (off_t)off) == (ssize_t)len ? 0 : -EIO;
}

static inline int filedisk_discard(struct disk *d, uint64_t off, uint64_t len)
{
    struct filedisk *f = filedisk_of(d);
    f->discarded += len;
    return fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) ? -errno : 0;
}

static inline void filedisk_close(struct disk *d)
{
    close(filedisk_of(d)->fd);
}

static const struct disk_ops filedisk_ops = {
    .name = "filedisk",
    .pread = filedisk_pread,
    .map = filedisk_map,
    .pwrite = filedisk_pwrite,
    .discard = filedisk_discard,
    .close = filedisk_close,
};

/* Opens the file; false with errno. */
static inline bool filedisk_open(struct filedisk *f, const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    *f = (struct filedisk){ .disk = { .ops = &filedisk_ops, .size = (uint64_t)size },
                            .fd = fd,
                            .fail_after = -1,
                            .fail_with = -EIO };
    return size >= 0;
}
#endif
