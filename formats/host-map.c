/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asking the file system where a file has data.
 *
 * FIEMAP tells hundreds of extents in one call. SEEK_DATA and SEEK_HOLE tell one place in two, and each
 * SEEK_HOLE walks over every extent up to the next hole, however far that is; they are left for file systems
 * without FIEMAP (tmpfs, network file systems). Either way the answers are kept in batches: for a range of
 * the file, all runs of data in it.
 *
 *     file      |dddd....dd......ddddddddddd|.....
 *     batch     from                        until     runs {from, .}, {., .}, {., until}
 *
 * Extents that are allocated, but were never written, are holes. But data that isn't on the disk yet may
 * stand over them in the page cache; so where there are such extents the file is flushed once, which writes
 * nothing that wasn't written by others, and asked again. Some file systems don't tell of all the data that
 * has no place on the disk yet (XFS, where blocks are shared): there the first call flushes at once.
 *
 * Not done: asking SEEK_DATA about unwritten extents. It calls them data once somebody has read them, since
 * their zeros are in the page cache then, and two mounts of one file would differ. */
#include "host-map.h"
#include "checked.h"
#include "cleanup.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* Extents asked for in a call: few for who looks here and there, more and more for who goes on. */
enum { FEWEST = 16, MOST = 512, GROWTH = 4 };

struct run {
    uint64_t start, end;
};

struct host_batch {
    uint64_t from, until; /* of the file, bytes */
    unsigned asked;       /* extents, of the call */
    size_t n;
    struct run run[]; /* of data, in order, none touching another */
};

/* ---- answers at hand ---- */

/* The run that `off` lies in, or else the first one behind it; b->n: none. */
static size_t run_at(const struct host_batch *b, uint64_t off)
{
    size_t low = 0, high = b->n; /* all before low end at or before off, those from high on behind it */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (b->run[middle].end <= off)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool answers(const struct host_batch *b, uint64_t off, uint64_t len, struct extent *ret)
{
    if (!b || off < b->from || off >= b->until)
        return false;
    size_t i = run_at(b, off);
    bool data = i < b->n && b->run[i].start <= off;
    uint64_t end = data ? b->run[i].end : i < b->n ? b->run[i].start : b->until;
    *ret = (struct extent){ .length = min_u64(len, end - off), .kind = data ? EXTENT_DATA : EXTENT_HOLE };
    return true;
}

static bool at_hand(struct host_map *m, uint64_t off, uint64_t len, struct extent *ret, unsigned *ret_ask)
{
    bool found = false;
    *ret_ask = FEWEST;
    pthread_mutex_lock(&m->lock);
    for (unsigned i = 0; i < HOST_BATCHES && !found; i++) {
        const struct host_batch *b = m->batch[i];
        found = answers(b, off, len, ret);
        if (b && b->until == off && b->asked * GROWTH > *ret_ask)
            *ret_ask = b->asked < MOST / GROWTH ? b->asked * GROWTH : MOST;
    }
    pthread_mutex_unlock(&m->lock);
    return found;
}

static void keep(struct host_map *m, struct host_batch *b)
{
    pthread_mutex_lock(&m->lock);
    struct host_batch *old = m->batch[m->next];
    m->batch[m->next] = b;
    m->next = (m->next + 1) % HOST_BATCHES;
    pthread_mutex_unlock(&m->lock);
    free(old);
}

/* ---- asking ---- */

/* Is it shorter than it was? Then what was cut off looks like a hole. */
static bool shrunk(const struct host_map *m)
{
    struct stat st;
    return fstat(m->fd, &st) < 0 || (uint64_t)st.st_size < m->size;
}

static struct host_batch *batch_new(uint64_t from, size_t runs, unsigned asked)
{
    struct host_batch *b = malloc(sizeof *b + runs * sizeof b->run[0]);
    if (b)
        *b = (struct host_batch){ .from = from, .asked = asked };
    return b;
}

static void add_run(struct host_batch *b, uint64_t start, uint64_t end)
{
    if (b->n && b->run[b->n - 1].end == start)
        b->run[b->n - 1].end = end;
    else
        b->run[b->n++] = (struct run){ start, end };
}

static bool is_data(const struct fiemap_extent *e)
{
    return !(e->fe_flags & FIEMAP_EXTENT_UNWRITTEN);
}

static bool any_unwritten(const struct fiemap *f)
{
    for (unsigned i = 0; i < f->fm_mapped_extents; i++)
        if (!is_data(&f->fm_extents[i]))
            return true;
    return false;
}

static int call_fiemap(const struct host_map *m, uint64_t from, unsigned n, bool flush, struct fiemap *f)
{
    *f = (struct fiemap){
        .fm_start = from,
        .fm_length = m->size - from,
        .fm_flags = flush ? FIEMAP_FLAG_SYNC : 0,
        .fm_extent_count = n,
    };
    return ioctl(m->fd, FS_IOC_FIEMAP, f) < 0 || f->fm_mapped_extents > n ? -EIO : 0;
}

/* The first `n` extents from `from` on, or what there are, after a flush where it takes one. */
static int get_extents(struct host_map *m, uint64_t from, unsigned n, struct fiemap *f)
{
    bool flush = m->flush_first && !m->flushed;
    int r = call_fiemap(m, from, n, flush, f);
    if (!r && !flush && !m->flushed && any_unwritten(f)) {
        flush = true;
        r = call_fiemap(m, from, n, flush, f);
    }
    if (!r && flush)
        m->flushed = true;
    return r;
}

/* NULL: the extents can't be right, the file has become shorter, or there is no memory. */
static struct host_batch *batch_of_extents(const struct host_map *m, uint64_t from, const struct fiemap *f)
{
    _cleanup_free_ struct host_batch *b = batch_new(from, f->fm_mapped_extents, f->fm_extent_count);
    if (!b)
        return NULL;
    b->until = from;
    for (unsigned i = 0; i < f->fm_mapped_extents; i++) {
        const struct fiemap_extent *e = &f->fm_extents[i];
        uint64_t start = max_u64(e->fe_logical, from), end;
        if (start < b->until || !checked_add(e->fe_logical, e->fe_length, &end))
            return NULL;
        end = min_u64(end, m->size);
        if (end <= start)
            continue;
        if (is_data(e))
            add_run(b, start, end);
        b->until = end;
    }
    if (f->fm_mapped_extents < f->fm_extent_count) { /* there are no more */
        if (b->until < m->size && shrunk(m))
            return NULL;
        b->until = m->size;
    }
    return b->until > from ? TAKE_PTR(b) : NULL;
}

static struct host_batch *ask_fiemap(struct host_map *m, uint64_t from, unsigned n)
{
    _cleanup_free_ struct fiemap *f = malloc(sizeof *f + n * sizeof f->fm_extents[0]);
    if (!f || get_extents(m, from, n, f) < 0)
        return NULL;
    return batch_of_extents(m, from, f);
}

static struct host_batch *ask_seek(const struct host_map *m, uint64_t from)
{
    off_t data = lseek(m->fd, (off_t)from, SEEK_DATA), hole = 0;
    if (data < 0 && (errno != ENXIO || shrunk(m)))
        return NULL;
    bool here = data >= 0 && (uint64_t)data <= from;
    if (here && ((hole = lseek(m->fd, (off_t)from, SEEK_HOLE)) < 0 || (uint64_t)hole <= from))
        return NULL;
    struct host_batch *b = batch_new(from, here, 1);
    if (!b)
        return NULL;
    b->until = data < 0 ? m->size : min_u64(here ? (uint64_t)hole : (uint64_t)data, m->size);
    if (here)
        add_run(b, from, b->until);
    return b;
}

void host_map_at(struct host_map *m, uint64_t off, uint64_t len, struct extent *ret)
{
    unsigned n;
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA };
    if (m->asking == HOST_NEVER || at_hand(m, off, len, ret, &n))
        return;
    struct host_batch *b = m->asking == HOST_FIEMAP ? ask_fiemap(m, off, n) : ask_seek(m, off);
    if (!b)
        return;
    answers(b, off, len, ret);
    keep(m, b);
}

/* ---- opening ---- */

static bool tells_all(int fd)
{
    struct statfs st;
    return fstatfs(fd, &st) == 0 && (st.f_type == EXT4_SUPER_MAGIC || st.f_type == BTRFS_SUPER_MAGIC);
}

static enum host_asking way_to_ask(int fd, uint64_t size)
{
    struct stat st;
    if (!size || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return HOST_NEVER;
    struct fiemap f = { .fm_length = 1 }; /* room for no extents: they are only counted */
    if (ioctl(fd, FS_IOC_FIEMAP, &f) == 0)
        return HOST_FIEMAP;
    return lseek(fd, 0, SEEK_HOLE) >= 0 || errno == ENXIO ? HOST_SEEK : HOST_NEVER;
}

void host_map_init(struct host_map *m, int fd, uint64_t size)
{
    *m = (struct host_map){ .fd = fd, .size = size, .asking = way_to_ask(fd, size) };
    m->flush_first = m->asking == HOST_FIEMAP && !tells_all(fd);
    pthread_mutex_init(&m->lock, NULL);
}

void host_map_done(struct host_map *m)
{
    for (unsigned i = 0; i < HOST_BATCHES; i++)
        free(m->batch[i]);
    pthread_mutex_destroy(&m->lock);
}
