/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk that an overlay's file and its source make together.
 *
 * Reads run beside writes. What comes from the source needs no care, as the source never changes. What lies
 * in the file is read cluster by cluster under the cluster's stripe, which whoever replaces or overwrites
 * that cluster holds alone: so nobody sees half a write, and a host cluster can't be given to another place
 * while it is being read. */
#include "checked.h"
#include "overlay-impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct overlay_disk {
    struct disk disk;
    struct overlay_file *f;
};

static struct overlay_file *file_of(struct disk *d)
{
    return ((struct overlay_disk *)(void *)d)->f;
}

static pthread_rwlock_t *stripe_of(struct overlay_file *f, uint64_t cluster)
{
    return &f->stripes[cluster % OVL_STRIPES];
}

/* How much of [off, off + len) lies in the cluster of `off`. */
static size_t piece(uint64_t off, uint64_t len)
{
    return (size_t)min_u64(len, OVL_CLUSTER - off % OVL_CLUSTER);
}

static int entry_of(struct overlay_file *f, uint64_t cluster, uint64_t *ret)
{
    pthread_mutex_lock(&f->lock);
    int r = ovl_entry(f, cluster, ret);
    pthread_mutex_unlock(&f->lock);
    return r == -EUCLEAN ? -EIO : r;
}

/* ---- reading ---- */

static int map_by(int (*source_map)(struct disk *, uint64_t, uint64_t, struct extent *), struct disk *d,
                  uint64_t off, uint64_t len, struct extent *ret)
{
    struct overlay_file *f = file_of(d);
    uint64_t entry, n, clusters = (off % OVL_CLUSTER + len - 1) / OVL_CLUSTER + 1;
    pthread_mutex_lock(&f->lock);
    int r = ovl_entries(f, off >> OVL_SHIFT, clusters, &entry, &n);
    pthread_mutex_unlock(&f->lock);
    if (r < 0)
        return r == -EUCLEAN ? -EIO : r;
    len = min_u64(len, (n << OVL_SHIFT) - off % OVL_CLUSTER);
    if (!(entry & (OVL_ADDRESS | OVL_ZERO))) {
        r = source_map(f->source, off, len, ret);
        ret->depth++; /* the overlay is 0 */
        return r;
    }
    *ret = (struct extent){ .length = len, .kind = entry & OVL_ZERO ? EXTENT_ZERO : EXTENT_DATA };
    ret->effort = (unsigned)(n / EFFORT_ENTRIES);
    return 0;
}

static int overlay_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    return map_by(disk_map, d, off, len, ret);
}

static int overlay_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    return map_by(disk_find, d, off, len, ret);
}

/* A part of one cluster, as it is. The stripe is held. */
static int read_piece(struct overlay_file *f, uint64_t entry, void *buf, size_t len, uint64_t off)
{
    if (entry & OVL_ZERO)
        memset(buf, 0, len);
    else if (entry & OVL_ADDRESS)
        return ovl_pread(f->fd, buf, len, (entry & OVL_ADDRESS) + off % OVL_CLUSTER);
    else
        return disk_pread(f->source, buf, len, off);
    return 0;
}

static int overlay_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    struct overlay_file *f = file_of(d);
    if (e->depth) {
        struct extent below = *e;
        below.depth--;
        return disk_pread_extent(f->source, buf, len, off, &below);
    }
    int r = 0;
    for (uint8_t *p = buf; !r && len;) {
        size_t n = piece(off, len);
        uint64_t entry;
        pthread_rwlock_t *stripe = stripe_of(f, off >> OVL_SHIFT);
        pthread_rwlock_rdlock(stripe);
        r = entry_of(f, off >> OVL_SHIFT, &entry);
        if (!r)
            r = read_piece(f, entry, p, n, off);
        pthread_rwlock_unlock(stripe);
        p += n;
        off += n;
        len -= n;
    }
    return r;
}

static void overlay_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    struct overlay_file *f = file_of(d);
    while (len) {
        uint64_t entry, n;
        pthread_mutex_lock(&f->lock);
        int r = ovl_entries(f, off >> OVL_SHIFT, (off % OVL_CLUSTER + len - 1) / OVL_CLUSTER + 1, &entry, &n);
        pthread_mutex_unlock(&f->lock);
        if (r < 0)
            return;
        n = min_u64(len, (n << OVL_SHIFT) - off % OVL_CLUSTER);
        if (!(entry & (OVL_ADDRESS | OVL_ZERO)))
            disk_prefetch(f->source, off, n);
        else if (entry & OVL_ADDRESS) /* its run lies together more often than not */
            posix_fadvise(f->fd, (off_t)(entry & OVL_ADDRESS), (off_t)n, POSIX_FADV_WILLNEED);
        off += n;
        len -= n;
    }
}

/* ---- writing ---- */

/* Does the source read as zeros in the whole cluster, by its map? */
static bool source_is_zero(struct overlay_file *f, uint64_t cluster)
{
    uint64_t off = cluster << OVL_SHIFT, end = min_u64(off + OVL_CLUSTER, f->source->size);
    while (off < end) {
        struct extent e;
        if (disk_map(f->source, off, end - off, &e) < 0 || e.kind == EXTENT_DATA)
            return false;
        off += e.length;
    }
    return true;
}

static int set_entry(struct overlay_file *f, uint64_t cluster, uint64_t entry)
{
    pthread_mutex_lock(&f->lock);
    int r = ovl_set_entry(f, cluster, entry);
    if (!r && entry & OVL_ADDRESS)
        f->uncommitted += OVL_CLUSTER;
    pthread_mutex_unlock(&f->lock);
    return r == -EUCLEAN ? -EIO : r;
}

/* The clusters [from, end) of the file, which the host may have already. -ENOSPC. */
static int set_aside(struct overlay_file *f, uint64_t from, uint64_t end)
{
    int r = ovl_set_aside(f->io, f->fd, from << OVL_SHIFT, (end - from) << OVL_SHIFT);
    if (!r)
        f->spare_end = end;
    else if (r == -ENOSPC || r == -EDQUOT)
        return -ENOSPC;
    else
        f->spare_unknown = true; /* as ever: a write finds room or not */
    return 0;
}

/* Behind the end there are blocks for `spare` clusters, so that what is begun can be completed and committed
 * when the host's disk is full. `lock` is held. -ENOSPC: not as many. */
static int spare_keep(struct overlay_file *f)
{
    uint64_t end = f->clusters.end, want = end + f->spare, from = max_u64(f->spare_end, end);
    int r = -ENOSPC;
    if (f->spare_unknown || (f->spare && f->spare_end >= want))
        return 0;
    if (f->spare) /* not for each cluster anew, where that can be */
        return set_aside(f, from, want + f->spare / 2) ? set_aside(f, from, want) : 0;
    for (uint64_t n = OVL_SPARE; r < 0 && n; n /= 2) { /* at most half of what there is */
        r = set_aside(f, end, end + 2 * n);
        f->spare = n;
    }
    f->spare_unknown |= r < 0; /* full already */
    return 0;
}

/* One cluster. What is free in the file is anyone's; at its end only `last` may take what the spare ones are
 * for. `lock` is held. */
static int take_cluster(struct overlay_file *f, bool last, uint64_t *ret)
{
    uint64_t end = f->clusters.end;
    int r = ovl_clusters_alloc(&f->clusters, 1, ret);
    if (!r && f->clusters.end > end && (r = spare_keep(f)) < 0) {
        if (last)
            return 0;
        ovl_clusters_untake(&f->clusters, *ret, 1, end);
    }
    return r;
}

/* The whole cluster as it is to be, at a new place. */
static int write_new(struct overlay_file *f, uint64_t cluster, const void *data, bool last)
{
    uint64_t at;
    pthread_mutex_lock(&f->lock);
    int r = f->broken ? f->broken : take_cluster(f, last, &at);
    pthread_mutex_unlock(&f->lock);
    if (r < 0)
        return r;
    r = ovl_pwrite(f->io, f->fd, data, OVL_CLUSTER, at << OVL_SHIFT);
    if (!r)
        r = set_entry(f, cluster, at << OVL_SHIFT | OVL_COPIED);
    if (r < 0) {
        pthread_mutex_lock(&f->lock);
        ovl_clusters_drop(&f->clusters, at, 1);
        pthread_mutex_unlock(&f->lock);
    }
    return r;
}

/* Zeros need no cluster of the file, and where the source has them too nothing at all. */
static int write_zeros(struct overlay_file *f, uint64_t cluster, uint64_t entry)
{
    if (entry & OVL_ZERO || (!(entry & OVL_ADDRESS) && source_is_zero(f, cluster)))
        return 0;
    return set_entry(f, cluster, OVL_ZERO);
}

/* Replaces the cluster by its old content with the new bytes in it. */
static int write_composed(struct overlay_file *f, uint64_t entry, const void *buf, size_t len, uint64_t off,
                          bool last)
{
    uint64_t cluster = off >> OVL_SHIFT, start = cluster << OVL_SHIFT;
    size_t in_disk = (size_t)min_u64(OVL_CLUSTER, f->source->size - start);
    _cleanup_free_ uint8_t *data = malloc(OVL_CLUSTER);
    if (!data)
        return -ENOMEM;
    int r = len < in_disk ? read_piece(f, entry, data, in_disk, start) : 0;
    if (r < 0)
        return r;
    memset(data + in_disk, 0, OVL_CLUSTER - in_disk);
    memcpy(data + (off - start), buf, len);
    return ovl_is_zero(data, OVL_CLUSTER) ? write_zeros(f, cluster, entry)
                                          : write_new(f, cluster, data, last);
}

static int write_piece(struct overlay_file *f, const void *buf, size_t len, uint64_t off, bool last)
{
    uint64_t cluster = off >> OVL_SHIFT, entry;
    pthread_mutex_lock(&f->lock);
    int r = f->broken ? f->broken : ovl_entry(f, cluster, &entry);
    bool fresh = !r && entry & OVL_ADDRESS && !(entry & OVL_ZERO) &&
                 ovl_clusters_is_fresh(&f->clusters, (entry & OVL_ADDRESS) >> OVL_SHIFT);
    if (fresh)
        f->changed = true; /* it is already, but for scratch files */
    pthread_mutex_unlock(&f->lock);
    if (r < 0)
        return r == -EUCLEAN ? -EIO : r;
    if (len == OVL_CLUSTER && ovl_is_zero(buf, len))
        return write_zeros(f, cluster, entry);
    if (fresh)
        return ovl_pwrite(f->io, f->fd, buf, len, (entry & OVL_ADDRESS) + off % OVL_CLUSTER);
    return len == OVL_CLUSTER ? write_new(f, cluster, buf, last)
                              : write_composed(f, entry, buf, len, off, last);
}

static int write_all(struct disk *d, const void *buf, size_t len, uint64_t off, bool last)
{
    struct overlay_file *f = file_of(d);
    int r = 0;
    for (const uint8_t *p = buf; !r && len;) {
        size_t n = piece(off, len);
        pthread_rwlock_t *stripe = stripe_of(f, off >> OVL_SHIFT);
        pthread_rwlock_wrlock(stripe);
        r = write_piece(f, p, n, off, last);
        pthread_rwlock_unlock(stripe);
        p += n;
        off += n;
        len -= n;
    }
    return r;
}

static int overlay_pwrite(struct disk *d, const void *buf, size_t len, uint64_t off)
{
    return write_all(d, buf, len, off, false);
}

static int overlay_pwrite_last(struct disk *d, const void *buf, size_t len, uint64_t off)
{
    return write_all(d, buf, len, off, true);
}

static enum disk_room overlay_room(struct disk *d)
{
    struct overlay_file *f = file_of(d);
    enum disk_room room = ROOM_PLENTY;
    pthread_mutex_lock(&f->lock);
    if (spare_keep(f) < 0) {
        uint64_t n = ovl_clusters_free(&f->clusters);
        if (f->spare_end > f->clusters.end)
            n += f->spare_end - f->clusters.end;
        room = n >= f->spare ? ROOM_PLENTY : n > f->spare / 4 ? ROOM_LOW : ROOM_LAST;
    }
    pthread_mutex_unlock(&f->lock);
    return room;
}

static int discard_cluster(struct overlay_file *f, uint64_t cluster)
{
    pthread_rwlock_t *stripe = stripe_of(f, cluster);
    pthread_rwlock_wrlock(stripe);
    uint64_t entry;
    int r = entry_of(f, cluster, &entry);
    if (!r)
        r = write_zeros(f, cluster, entry);
    pthread_rwlock_unlock(stripe);
    return r;
}

/* Only whole clusters; the rest stays as it was. Long stretches in which neither the overlay nor the source
 * has anything are passed over by their maps. */
static int overlay_discard(struct disk *d, uint64_t off, uint64_t len)
{
    uint64_t end = off + len == d->size ? round_up(d->size, OVL_CLUSTER) : off + len;
    uint64_t last = end >> OVL_SHIFT;
    for (uint64_t i = div_up(off, OVL_CLUSTER); i < last;) {
        struct extent e;
        int r = disk_map(d, i << OVL_SHIFT, (last - i) << OVL_SHIFT, &e);
        if (r < 0)
            return r;
        if (e.kind != EXTENT_DATA && e.length >= OVL_CLUSTER) {
            i += e.length >> OVL_SHIFT;
            continue;
        }
        uint64_t n = max_u64(1, e.length >> OVL_SHIFT);
        for (; n; n--, i++) {
            r = discard_cluster(file_of(d), i);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static void overlay_disk_close(struct disk *d)
{
    free(d);
}

static const struct disk_ops overlay_ops = {
    .name = "overlay",
    .pread = overlay_pread,
    .map = overlay_map,
    .find = overlay_find,
    .prefetch = overlay_prefetch,
    .pwrite = overlay_pwrite,
    .pwrite_last = overlay_pwrite_last,
    .room = overlay_room,
    .discard = overlay_discard,
    .close = overlay_disk_close,
};

int ovl_disk_new(struct overlay_file *f, struct disk **ret)
{
    struct overlay_disk *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    d->disk = (struct disk){ .ops = &overlay_ops, .size = f->source->size };
    d->f = f;
    *ret = &d->disk;
    return 0;
}
