/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device that libntfs-3g reads and writes: our disk.
 *
 *     libntfs-3g ── ntfs_device_operations (here) ── disk_pread, disk_pwrite, disk_discard
 *
 * The library seeks only to learn how long the device is: it wants to stand on the volume's last sector and
 * refuses the volume if it can't. A partition that was cut short must still be readable as far as it goes, so
 * seeking succeeds anywhere and reading past the end fails; ntfs-check.c notes such a volume. Metadata is
 * read a record (1 KiB) at a time by the library, which would be a call down the whole disk stack each: short
 * reads are served from a few recent pages, and where a second page of a block is asked for, as mostly when
 * records are read in turn, from a few recent blocks. All calls come with the volume's lock held.
 *
 * Writes go through to the disk at once (file data is read past this device), and change what is kept here
 * too. The library goes on after a write that failed, as well as it can, and leaves half an operation: so
 * what the disk refuses is kept (late-writes.h), and the library sees no failure. */
#include "ntfs.h"

#include "../formats/checked.h"

#include <errno.h>
#include <string.h>

enum {
    BLOCK = 32768, /* bytes; 32 MFT records */
    BLOCKS = 16,   /* direct-mapped by block number: 512 KiB in all */
    PAGE = 4096,   /* bytes; an index block, mostly */
    PAGES = 64,    /* likewise: 256 KiB */
    SHORT = 8192,  /* longer reads pass by */
};
/* Reads of one call into the driver. Most make fewer than ten; the most that is honest is loading a file with
 * an attribute list of the largest size (some 8000 records), or a batch of directory entries that are all
 * system files, which are looked at one by one. */
enum { READS_ALLOWED = 65536 };
#define BLOCK_NONE UINT64_MAX

struct ntfs_disk {
    struct disk *disk;
    struct late_writes *late; /* not owned: all reads and writes of `disk` */
    bool writable;
    struct ntfs_freed *freed;      /* owned; NULL: not watched */
    int64_t pos;                   /* of read, write and seek */
    unsigned allowed;              /* reads left, see ntfs_device_allow() */
    uint64_t touched[BLOCKS];      /* blocks of which a page was read */
    uint64_t held[BLOCKS + PAGES]; /* numbers of the blocks, then of the pages */
    uint8_t blocks[BLOCKS][BLOCK];
    uint8_t pages[PAGES][PAGE];
};

static struct ntfs_disk *disk_of(struct ntfs_device *dev)
{
    return dev->d_private;
}

static int device_open(struct ntfs_device *dev, int flags)
{
    if (NDevOpen(dev)) {
        errno = EBUSY;
        return -1;
    }
    bool write = (flags & O_ACCMODE) != O_RDONLY;
    if (write && !disk_of(dev)->writable) {
        errno = EROFS;
        return -1;
    }
    NDevSetOpen(dev);
    if (!write)
        NDevSetReadOnly(dev);
    return 0;
}

static void free_disk(struct ntfs_device *dev)
{
    if (dev->d_private)
        ntfs_freed_free(disk_of(dev)->freed);
    free(dev->d_private);
    dev->d_private = NULL;
}

static int device_close(struct ntfs_device *dev)
{
    NDevClearOpen(dev);
    free_disk(dev);
    return 0;
}

static s64 device_seek(struct ntfs_device *dev, s64 offset, int whence)
{
    struct ntfs_disk *d = disk_of(dev);
    int64_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? d->pos : (int64_t)d->disk->size, to;
    if (__builtin_add_overflow(from, offset, &to) || to < 0) {
        errno = EINVAL;
        return -1;
    }
    d->pos = to;
    return to;
}

/* One that is kept: a block or a page. */
struct recent {
    uint64_t *held; /* its number */
    uint8_t *bytes;
    size_t size;
};

static struct recent recent_block(struct ntfs_disk *d, size_t slot)
{
    return (struct recent){ &d->held[slot], d->blocks[slot], BLOCK };
}

static struct recent recent_page(struct ntfs_disk *d, size_t slot)
{
    return (struct recent){ &d->held[BLOCKS + slot], d->pages[slot], PAGE };
}

/* What has, or will have, the byte at `off`. *ret_held: it has it. */
static struct recent recent_of(struct ntfs_disk *d, uint64_t off, bool *ret_held)
{
    size_t slot = off / BLOCK % BLOCKS;
    struct recent block = recent_block(d, slot), page = recent_page(d, off / PAGE % PAGES);
    *ret_held = true;
    if (*block.held == off / BLOCK)
        return block;
    if (*page.held == off / PAGE)
        return page;
    *ret_held = false;
    if (d->touched[slot] == off / BLOCK)
        return block;
    d->touched[slot] = off / BLOCK;
    return page;
}

/* A short read; the range lies in the disk. */
static int read_short(struct ntfs_disk *d, uint8_t *buf, size_t len, uint64_t off)
{
    while (len) {
        bool held;
        struct recent recent = recent_of(d, off, &held);
        uint64_t number = off / recent.size, within = off % recent.size;
        size_t n = min_u64(len, recent.size - within);
        if (!held) {
            size_t want = min_u64(recent.size, d->disk->size - number * recent.size);
            *recent.held = BLOCK_NONE;
            int r = late_writes_read(d->late, recent.bytes, want, number * recent.size);
            if (r < 0) /* something near it is damaged: what was asked for may be whole */
                return late_writes_read(d->late, buf, len, off);
            *recent.held = number;
        }
        memcpy(buf, recent.bytes + within, n);
        buf += n;
        off += n;
        len -= n;
    }
    return 0;
}

static s64 device_pread(struct ntfs_device *dev, void *buf, s64 count, s64 offset)
{
    struct ntfs_disk *d = disk_of(dev);
    int r = -EIO;
    if (!d->allowed)
        goto out;
    d->allowed--;
    if (count >= 0 && offset >= 0 && range_inside((uint64_t)offset, (uint64_t)count, d->disk->size))
        r = count <= SHORT ? read_short(d, buf, (size_t)count, (uint64_t)offset)
                           : late_writes_read(d->late, buf, (size_t)count, (uint64_t)offset);
out:
    if (r < 0) {
        errno = -r;
        return -1;
    }
    return count;
}

static s64 device_read(struct ntfs_device *dev, void *buf, s64 count)
{
    s64 n = device_pread(dev, buf, count, disk_of(dev)->pos);
    if (n > 0)
        disk_of(dev)->pos += n;
    return n;
}

/* What is kept of [off, off+len) is from now on what was written there; NULL: nothing is kept of it. */
static void update_recent(struct ntfs_disk *d, const uint8_t *buf, uint64_t len, uint64_t off)
{
    for (size_t i = 0; i < BLOCKS + PAGES; i++) {
        struct recent recent = i < BLOCKS ? recent_block(d, i) : recent_page(d, i - BLOCKS);
        if (*recent.held == BLOCK_NONE)
            continue;
        uint64_t begin = *recent.held * recent.size, end = begin + recent.size;
        uint64_t from = begin > off ? begin : off, to = min_u64(end, off + len);
        if (from >= to)
            continue;
        if (buf)
            memcpy(recent.bytes + (from - begin), buf + (from - off), to - from);
        else
            *recent.held = BLOCK_NONE;
    }
}

static s64 device_pwrite(struct ntfs_device *dev, const void *buf, s64 count, s64 offset)
{
    struct ntfs_disk *d = disk_of(dev);
    int r = -EIO;
    if (!d->writable || NDevReadOnly(dev)) {
        r = -EROFS;
    } else if (count >= 0 && offset >= 0 && range_inside((uint64_t)offset, (uint64_t)count, d->disk->size)) {
        if (d->freed)
            ntfs_freed_note(d->freed, (uint64_t)offset, (uint64_t)count);
        r = late_writes_put(d->late, buf, (size_t)count, (uint64_t)offset);
        update_recent(d, r < 0 ? NULL : buf, (uint64_t)count, (uint64_t)offset);
    }
    if (r < 0) {
        errno = -r;
        return -1;
    }
    return count;
}

static s64 device_write(struct ntfs_device *dev, const void *buf, s64 count)
{
    s64 n = device_pwrite(dev, buf, count, disk_of(dev)->pos);
    if (n > 0)
        disk_of(dev)->pos += n;
    return n;
}

static int device_sync(struct ntfs_device *dev)
{
    (void)dev;
    return 0;
}

static int device_stat(struct ntfs_device *dev, struct stat *buf)
{
    *buf = (struct stat){ .st_mode = S_IFREG | 0444, .st_size = (off_t)disk_of(dev)->disk->size };
    return 0;
}

static int device_ioctl(struct ntfs_device *dev, unsigned long request, void *argp)
{
    (void)dev, (void)request, (void)argp;
    errno = ENOTTY;
    return -1;
}

static struct ntfs_device_operations device_ops = {
    .open = device_open,
    .close = device_close,
    .seek = device_seek,
    .read = device_read,
    .write = device_write,
    .pread = device_pread,
    .pwrite = device_pwrite,
    .sync = device_sync,
    .stat = device_stat,
    .ioctl = device_ioctl,
};

struct ntfs_device *ntfs_disk_device_new(struct late_writes *late, const char *name, bool writable)
{
    struct ntfs_disk *d = malloc(sizeof *d);
    if (!d)
        return NULL;
    d->disk = late->disk;
    d->late = late;
    d->writable = writable;
    d->freed = NULL;
    d->pos = 0;
    d->allowed = READS_ALLOWED;
    memset(d->touched, 0xff, sizeof d->touched); /* BLOCK_NONE */
    memset(d->held, 0xff, sizeof d->held);
    struct ntfs_device *dev = ntfs_device_alloc(name, 0, &device_ops, d);
    if (!dev)
        free(d);
    return dev;
}

void ntfs_disk_device_free(struct ntfs_device *dev)
{
    free_disk(dev);
    ntfs_device_free(dev);
}

void ntfs_device_allow(struct ntfs_device *dev)
{
    disk_of(dev)->allowed = READS_ALLOWED;
}

void ntfs_device_protect(struct ntfs_device *dev)
{
    NDevSetReadOnly(dev);
    disk_of(dev)->writable = false;
}

/* ---- what became free ---- */

void ntfs_device_watch(struct ntfs *v)
{
    struct ntfs_data bitmap;
    ntfs_inode *ni = v->lib->lcnbmp_ni;
    if (ntfs_data_load(v, ni, AT_DATA, AT_UNNAMED, 0, &bitmap) < 0)
        return;
    disk_of(v->lib->dev)->freed = ntfs_freed_new(&bitmap);
}

static void discard_clusters(void *ctx, uint64_t cluster, uint64_t n)
{
    struct ntfs *v = ctx;
    struct ntfs_disk *d = disk_of(v->lib->dev);
    if (cluster >= v->clusters)
        return;
    n = min_u64(n, v->clusters - cluster);
    update_recent(d, NULL, n << v->cluster_shift, cluster << v->cluster_shift);
    disk_discard(d->disk, cluster << v->cluster_shift, n << v->cluster_shift); /* or it stays: no harm */
}

void ntfs_device_discard_freed(struct ntfs *v)
{
    struct ntfs_disk *d = disk_of(v->lib->dev);
    if (d->freed)
        ntfs_freed_take(d->freed, discard_clusters, v);
}
