/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The wrappers around disk_ops, and the slice. */
#include "disk.h"
#include "checked.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

typedef int (*map_function)(struct disk *d, uint64_t off, uint64_t len, struct extent *ret);

static int map_by(map_function map, struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    if (off >= d->size || !len)
        return -EINVAL;
    len = min_u64(len, d->size - off);
    struct extent e = { 0 };
    int r = map(d, off, len, &e);
    if (r < 0)
        return r;
    assert(e.length >= 1 && e.length <= len);
    *ret = e;
    return 0;
}

int disk_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    return map_by(d->ops->map, d, off, len, ret);
}

int disk_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    return map_by(d->ops->find ? d->ops->find : d->ops->map, d, off, len, ret);
}

int disk_pread_extent(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    assert(len <= e->length && range_inside(off, len, d->size));
    if (e->kind == EXTENT_DATA)
        return d->ops->pread(d, buf, len, off, e);
    memset(buf, 0, len);
    return 0;
}

int disk_map_joined(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    struct extent e;
    int r = disk_map(d, off, len, &e);
    if (r < 0)
        return r;
    len = min_u64(len, d->size - off);
    for (uint64_t n = e.effort; e.length < len && n < DISK_JOIN_MAX; n++) {
        struct extent next;
        /* an error further on is for whoever asks there */
        if (disk_map(d, off + e.length, len - e.length, &next) < 0)
            break;
        if ((next.kind == EXTENT_DATA) != (e.kind == EXTENT_DATA) || next.depth != e.depth ||
            next.kind != e.kind)
            break;
        e.length += next.length;
        n += next.effort;
    }
    *ret = e;
    return 0;
}

int disk_pread(struct disk *d, void *buf, size_t len, uint64_t off)
{
    if (!range_inside(off, len, d->size))
        return -EINVAL;
    uint8_t *p = buf;
    while (len) {
        struct extent e;
        int r = disk_find(d, off, len, &e);
        if (r < 0)
            return r;
        size_t n = (size_t)e.length; /* <= len */
        r = disk_pread_extent(d, p, n, off, &e);
        if (r < 0)
            return r;
        p += n;
        off += n;
        len -= n;
    }
    return 0;
}

void disk_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    if (d->ops->prefetch && off < d->size && len)
        d->ops->prefetch(d, off, min_u64(len, d->size - off));
}

int disk_pwrite(struct disk *d, const void *buf, size_t len, uint64_t off)
{
    if (!d->ops->pwrite)
        return -EROFS;
    if (!range_inside(off, len, d->size))
        return -EINVAL;
    return len ? d->ops->pwrite(d, buf, len, off) : 0;
}

int disk_pwrite_last(struct disk *d, const void *buf, size_t len, uint64_t off)
{
    if (!d->ops->pwrite_last)
        return disk_pwrite(d, buf, len, off);
    if (!range_inside(off, len, d->size))
        return -EINVAL;
    return len ? d->ops->pwrite_last(d, buf, len, off) : 0;
}

enum disk_room disk_room(struct disk *d)
{
    return d->ops->room ? d->ops->room(d) : ROOM_PLENTY;
}

int disk_discard(struct disk *d, uint64_t off, uint64_t len)
{
    if (!d->ops->pwrite)
        return -EROFS;
    if (!range_inside(off, len, d->size))
        return -EINVAL;
    return len && d->ops->discard ? d->ops->discard(d, off, len) : 0;
}

bool disk_writable(const struct disk *d)
{
    return d->ops->writable ? d->ops->writable(d) : d->ops->pwrite != NULL;
}

void disk_close(struct disk *d)
{
    if (d)
        d->ops->close(d);
}

/* ---- slice ---- */

struct disk_slice {
    struct disk disk;
    struct disk *under;
    uint64_t off;
};

static struct disk_slice *slice_of(struct disk *d)
{
    return (struct disk_slice *)(void *)d;
}

static int slice_error(int r)
{
    return r == -EINVAL ? -EIO : r; /* past the end of what it is a slice of */
}

static int slice_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    return disk_pread_extent(slice_of(d)->under, buf, len, slice_of(d)->off + off, e);
}

static int slice_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    return slice_error(disk_map(slice_of(d)->under, slice_of(d)->off + off, len, ret));
}

static int slice_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    return slice_error(disk_find(slice_of(d)->under, slice_of(d)->off + off, len, ret));
}

static void slice_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    disk_prefetch(slice_of(d)->under, slice_of(d)->off + off, len);
}

static int slice_pwrite(struct disk *d, const void *buf, size_t len, uint64_t off)
{
    return slice_error(disk_pwrite(slice_of(d)->under, buf, len, slice_of(d)->off + off));
}

static int slice_pwrite_last(struct disk *d, const void *buf, size_t len, uint64_t off)
{
    return slice_error(disk_pwrite_last(slice_of(d)->under, buf, len, slice_of(d)->off + off));
}

static enum disk_room slice_room(struct disk *d)
{
    return disk_room(slice_of(d)->under);
}

static int slice_discard(struct disk *d, uint64_t off, uint64_t len)
{
    return slice_error(disk_discard(slice_of(d)->under, slice_of(d)->off + off, len));
}

static bool slice_writable(const struct disk *d)
{
    return disk_writable(((const struct disk_slice *)(const void *)d)->under);
}

static void slice_close(struct disk *d)
{
    free(d);
}

static const struct disk_ops slice_ops = {
    .name = "slice",
    .pread = slice_pread,
    .map = slice_map,
    .find = slice_find,
    .prefetch = slice_prefetch,
    .pwrite = slice_pwrite,
    .pwrite_last = slice_pwrite_last,
    .room = slice_room,
    .discard = slice_discard,
    .writable = slice_writable,
    .close = slice_close,
};

int disk_slice_new(struct disk *under, uint64_t off, uint64_t len, struct disk **ret)
{
    uint64_t end;
    if (!checked_add(off, len, &end))
        return -EINVAL;
    struct disk_slice *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->disk = (struct disk){ .ops = &slice_ops, .size = len };
    s->under = under;
    s->off = off;
    *ret = &s->disk;
    return 0;
}
