/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A logical volume as a disk over its physical volumes.
 *
 *     volume:    |  piece 0: linear          |  piece 1: striped over two              |
 *                                            | a | b | a | b | a | b |
 *     device 0:  .....[ piece 0 ]....[ a a a ]..        device 1:  ...[ b b b ]...
 *
 * Each answer lies within one area, so that a range of the volume is a range of one device. All is constant
 * after the open, so no lock is needed. */
#include "lvm-metadata.h"

#include "../formats/checked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PREFETCH_PARTS = 64 };

struct lvm_disk {
    struct disk disk; /* first */
    struct lvm_piece *pieces;
    size_t n;
    bool writable;
};

/* A range of one device. */
struct part {
    struct disk *disk;
    uint64_t at, length;
};

static struct lvm_disk *lvm_of(struct disk *d)
{
    return (struct lvm_disk *)(void *)d;
}

/* Where byte `off` lies, and up to `len` bytes behind it. */
static struct part part_at(const struct lvm_disk *l, uint64_t off, uint64_t len)
{
    size_t low = 0, high = l->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (l->pieces[middle].start <= off)
            low = middle;
        else
            high = middle;
    }
    const struct lvm_piece *p = &l->pieces[low];
    uint64_t within = off - p->start;
    len = min_u64(len, p->length - within);
    if (p->n == 1)
        return (struct part){ p->areas[0].disk, p->areas[0].at + within, len };
    uint64_t chunk = within / p->stripe, into = within % p->stripe;
    const struct lvm_piece_area *a = &p->areas[chunk % p->n];
    return (struct part){ a->disk, a->at + chunk / p->n * p->stripe + into, min_u64(len, p->stripe - into) };
}

static int lvm_error(int r)
{
    return r == -EINVAL ? -EIO : r; /* past the end of the device */
}

static int lvm_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    struct part p = part_at(lvm_of(d), off, len);
    return lvm_error(disk_map(p.disk, p.at, p.length, ret));
}

static int lvm_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    struct part p = part_at(lvm_of(d), off, len);
    return lvm_error(disk_find(p.disk, p.at, p.length, ret));
}

static int lvm_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    struct part p = part_at(lvm_of(d), off, len);
    return disk_pread_extent(p.disk, buf, len, p.at, e);
}

static void lvm_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    for (unsigned i = 0; len && i < PREFETCH_PARTS; i++) {
        struct part p = part_at(lvm_of(d), off, len);
        disk_prefetch(p.disk, p.at, p.length);
        off += p.length;
        len -= p.length;
    }
}

static int lvm_write(struct disk *d, const void *buf, size_t len, uint64_t off,
                     int (*write)(struct disk *d, const void *buf, size_t len, uint64_t off))
{
    const uint8_t *from = buf;
    if (!lvm_of(d)->writable)
        return -EROFS;
    while (len) {
        struct part p = part_at(lvm_of(d), off, len);
        int r = lvm_error(write(p.disk, from, p.length, p.at));
        if (r < 0)
            return r;
        from += p.length;
        off += p.length;
        len -= p.length;
    }
    return 0;
}

static int lvm_pwrite(struct disk *d, const void *buf, size_t len, uint64_t off)
{
    return lvm_write(d, buf, len, off, disk_pwrite);
}

static int lvm_pwrite_last(struct disk *d, const void *buf, size_t len, uint64_t off)
{
    return lvm_write(d, buf, len, off, disk_pwrite_last);
}

static enum disk_room lvm_room(struct disk *d)
{
    const struct lvm_disk *l = lvm_of(d);
    enum disk_room least = ROOM_PLENTY;
    for (size_t i = 0; i < l->n; i++)
        for (size_t k = 0; k < l->pieces[i].n; k++) {
            enum disk_room room = disk_room(l->pieces[i].areas[k].disk);
            least = room < least ? room : least;
        }
    return least;
}

static int lvm_discard(struct disk *d, uint64_t off, uint64_t len)
{
    if (!lvm_of(d)->writable)
        return -EROFS;
    while (len) {
        struct part p = part_at(lvm_of(d), off, len);
        int r = lvm_error(disk_discard(p.disk, p.at, p.length));
        if (r < 0)
            return r;
        off += p.length;
        len -= p.length;
    }
    return 0;
}

static bool lvm_writable(const struct disk *d)
{
    const struct lvm_disk *l = (const struct lvm_disk *)(const void *)d;
    for (size_t i = 0; i < l->n; i++)
        for (size_t k = 0; k < l->pieces[i].n; k++)
            if (!disk_writable(l->pieces[i].areas[k].disk))
                return false;
    return l->writable;
}

void lvm_pieces_free(struct lvm_piece *pieces, size_t n)
{
    for (size_t i = 0; pieces && i < n; i++)
        free(pieces[i].areas);
    free(pieces);
}

static void lvm_close(struct disk *d)
{
    lvm_pieces_free(lvm_of(d)->pieces, lvm_of(d)->n);
    free(d);
}

static const struct disk_ops lvm_ops = {
    .name = "lvm",
    .pread = lvm_pread,
    .map = lvm_map,
    .find = lvm_find,
    .prefetch = lvm_prefetch,
    .pwrite = lvm_pwrite,
    .pwrite_last = lvm_pwrite_last,
    .room = lvm_room,
    .discard = lvm_discard,
    .writable = lvm_writable,
    .close = lvm_close,
};

int lvm_disk_new(struct lvm_piece *pieces, size_t n, bool writable, struct disk **ret)
{
    struct lvm_disk *l = calloc(1, sizeof *l);
    if (!l) {
        lvm_pieces_free(pieces, n);
        return -ENOMEM;
    }
    l->disk = (struct disk){ .ops = &lvm_ops, .size = pieces[n - 1].start + pieces[n - 1].length };
    l->pieces = pieces;
    l->n = n;
    l->writable = writable;
    *ret = &l->disk;
    return 0;
}
