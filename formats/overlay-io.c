/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The calls of the system that change an overlay's files, in one place: a test that fails or stops the n-th
 * of them sees all of them. */
#include "overlay-impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct overlay_io overlay_io_system = {
    .pwrite = pwrite,
    .fallocate = fallocate,
    .ftruncate = ftruncate,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .renameat = renameat,
};

int ovl_pwrite(const struct overlay_io *io, int fd, const void *buf, size_t len, uint64_t off)
{
    const uint8_t *p = buf;
    while (len) {
        ssize_t n = io->pwrite(fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int ovl_pread(int fd, void *buf, size_t len, uint64_t off)
{
    uint8_t *p = buf;
    while (len) {
        ssize_t n = pread(fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == ENOMEM ? -ENOMEM : -EIO;
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int ovl_fdatasync(const struct overlay_io *io, int fd)
{
    return io->fdatasync(fd) < 0 ? -errno : 0;
}

int ovl_reserve(const struct overlay_io *io, int fd, uint64_t off, uint64_t len)
{
    while (io->fallocate(fd, 0, (off_t)off, (off_t)len) < 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

int ovl_set_aside(const struct overlay_io *io, int fd, uint64_t off, uint64_t len)
{
    int r;
    do
        r = io->fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

bool ovl_is_zero(const void *buf, size_t len)
{
    const uint8_t *p = buf;
    return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}
