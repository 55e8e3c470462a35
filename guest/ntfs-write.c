/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing the content of NTFS files, their sizes, times and flags.
 *
 * The library allocates, splits holes, compresses, and moves a value out of its MFT record when it grows. It
 * can roll back an operation that finds no space, mostly; so that this hardly ever comes to pass, what an
 * operation may need at the most is asked for before it begins (ntfs_room()).
 *
 * Modes: NTFS as we show it has one bit to keep, "read-only", which is the absence of all write permissions.
 * Owners and the rest are accepted and dropped. */
#include "ntfs.h"

#include "../formats/checked.h"

#include <errno.h>
#include <string.h>

#include <linux/falloc.h>

enum {
    RESERVE_BYTES = 128 << 10, /* for the metadata of an operation on names: index blocks, MFT records ... */
    RESERVE_MIN = 16,          /* ... at least so many clusters, where these are large */
};

/* The library can't take a write back, so nothing is begun for which the host might have no room. A commit
 * takes what there is. */
static bool host_has(struct ntfs *v, enum disk_room need)
{
    return v->volume.committing || disk_room(v->disk) >= need;
}

int ntfs_may_write(struct ntfs *v)
{
    int r = late_writes_settle(&v->late);
    return r ? r : host_has(v, ROOM_LOW) ? 0 : -ENOSPC;
}

/* How a change of content went: whoever copies a file learns of a full disk at the write, not only at an
 * fsync, though what is done stays done, and becomes durable with the next commit that finds room. */
static int said(struct ntfs *v, int r)
{
    return r ? r : late_writes_error(&v->late);
}

int ntfs_room(struct ntfs *v, uint64_t clusters)
{
    if (!host_has(v, ROOM_PLENTY))
        return -ENOSPC;
    if (!NVolFreeSpaceKnown(v->lib) && ntfs_volume_get_free_space(v->lib))
        return ntfs_failed();
    uint64_t reserve = RESERVE_BYTES >> v->cluster_shift;
    if (reserve < RESERVE_MIN)
        reserve = RESERVE_MIN;
    uint64_t available = v->lib->free_clusters > 0 ? (uint64_t)v->lib->free_clusters : 0;
    return clusters ? (range_inside(2 * reserve, clusters, available) ? 0 : -ENOSPC)
                    : (available >= reserve ? 0 : -ENOSPC);
}

/* ---- content ---- */

/* NTFS' limit of a file: 2^32 - 1 clusters, and off_t. */
static bool size_allowed(const struct ntfs *v, uint64_t size)
{
    return size <= (uint64_t)INT64_MAX && size <= (uint64_t)UINT32_MAX << v->cluster_shift;
}

int ntfs_write_attr(ntfs_attr *na, const void *buf, size_t len, uint64_t off)
{
    const uint8_t *p = buf;
    s64 old_size = na->data_size;
    int r = 0;
    while (len && !r) {
        errno = EIO;
        s64 n = ntfs_attr_pwrite(na, (s64)off, (s64)len, p);
        if (n <= 0) {
            r = ntfs_write_failed();
            break;
        }
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    /* A compressed value's last unit is compressed only now. */
    if (!r && na->data_flags & ATTR_COMPRESSION_MASK && ntfs_attr_pclose(na))
        r = ntfs_write_failed();
    if (r < 0 && na->data_size > old_size)
        ntfs_attr_truncate(na, old_size);
    return r;
}

/* Clusters of [off, off+len) that have no place on the volume yet. */
static uint64_t count_missing(const struct ntfs_data *d, uint64_t off, uint64_t len)
{
    unsigned shift = d->ntfs->cluster_shift;
    uint64_t end = min_u64(off + len, d->end_vcn << shift), missing = div_up(len, (uint64_t)1 << shift) + 2;
    if (d->resident || d->unit_shift || d->error)
        return missing;
    for (size_t i = 0; i < d->n; i++) {
        uint64_t begin = d->runs[i].vcn << shift;
        uint64_t to = (i + 1 < d->n ? d->runs[i + 1].vcn : d->end_vcn) << shift;
        begin = begin > off ? begin : off;
        to = min_u64(to, end);
        if (begin >= to || d->runs[i].lcn == NTFS_RUN_HOLE)
            continue;
        missing -= min_u64(missing, (to - begin) >> shift);
    }
    return off + len <= d->end_vcn << shift && missing <= 2 ? 0 : missing;
}

/* Room for what is written into the unnamed stream. */
static int room_for_data(struct ntfs *v, ntfs_inode *ni, uint64_t off, uint64_t len)
{
    enum { UNIT = 16 }; /* clusters: a compressed unit is written anew as a whole */
    uint64_t worst = (len >> v->cluster_shift) + 2 + 2 * UNIT;
    if (!ntfs_room(v, worst))
        return 0;
    struct ntfs_data d;
    int r = ntfs_load_file(v, ni, &d);
    if (r < 0)
        return r;
    uint64_t missing = count_missing(&d, off, len);
    ntfs_data_done(&d);
    return missing ? ntfs_room(v, missing) : 0;
}

/* What was changed by: the archive bit asks backup programs to look. */
static void touched(ntfs_inode *ni)
{
    ni->flags |= FILE_ATTR_ARCHIVE;
    ntfs_inode_update_times(ni, NTFS_UPDATE_MCTIME);
}

/* Content that isn't the file's plain $DATA (packed by WOF, deduplicated, in a cloud) can be emptied, which
 * makes the file a plain one, but not written into. `size` is the size wanted. */
static int make_plain(struct ntfs *v, ntfs_inode *ni, const struct ntfs_special *s, uint64_t size)
{
    static const char packed[] = "WofCompressedData";
    if (!s->tag)
        return 0;
    if (size)
        return -EOPNOTSUPP;
    if (ntfs_remove_ntfs_reparse_data(ni))
        return ntfs_write_failed();
    ntfschar name[sizeof packed];
    for (size_t i = 0; i < sizeof packed; i++)
        name[i] = cpu_to_le16((uint8_t)packed[i]);
    int r = 0;
    if (ntfs_attr_exist(ni, AT_DATA, name, sizeof packed - 1) &&
        ntfs_attr_remove(ni, AT_DATA, name, sizeof packed - 1))
        r = ntfs_write_failed();
    (void)v;
    return r;
}

static int open_data(ntfs_inode *ni, ntfs_attr **ret)
{
    ntfs_attr *na = ntfs_attr_open(ni, AT_DATA, AT_UNNAMED, 0);
    if (!na)
        return ntfs_failed();
    if (na->data_flags & ATTR_IS_ENCRYPTED) {
        ntfs_attr_close(na);
        return -EACCES;
    }
    *ret = na;
    return 0;
}

static int write_data(struct ntfs *v, ntfs_inode *ni, const void *buf, size_t len, uint64_t off)
{
    struct ntfs_special s;
    ntfs_attr *na = NULL;
    int r = ntfs_special_of(v, ni, &s);
    if (!r)
        r = make_plain(v, ni, &s, off + len);
    if (!r)
        r = room_for_data(v, ni, off, len);
    if (!r)
        r = open_data(ni, &na);
    if (r < 0)
        return r;
    r = ntfs_write_attr(na, buf, len, off);
    ntfs_attr_close(na);
    if (!r)
        touched(ni);
    return r;
}

int ntfs_write_file(struct volume_file *f, const void *buf, size_t len, uint64_t off)
{
    struct ntfs *v = ntfs_of(f->volume);
    uint64_t ino = ntfs_file_ino(f), end;
    if (!len)
        return 0;
    if (!checked_add(off, len, &end) || !size_allowed(v, end))
        return -EFBIG;
    ntfs_inode *ni;
    ntfs_lock(v);
    int r = ntfs_may_write(v);
    if (!r && !host_has(v, ROOM_PLENTY))
        r = -ENOSPC;
    if (!r)
        r = ntfs_get_inode(v, ino, &ni);
    if (!r) {
        struct ntfs_node *n = ntfs_change_begin(v, ino);
        r = said(v, ntfs_put_inode(ni, write_data(v, ni, buf, len, off)));
        ntfs_change_end(n);
    }
    ntfs_unlock(v);
    return r;
}

/* ---- size ---- */

/* The library can't lengthen a compressed value but by writing its last byte. */
static int resize_attr(ntfs_attr *na, uint64_t size)
{
    if (na->data_flags & ATTR_COMPRESSION_MASK && (s64)size > na->data_size)
        return ntfs_write_attr(na, "", 1, size - 1);
    errno = EIO;
    return ntfs_attr_truncate(na, (s64)size) ? ntfs_write_failed() : 0;
}

/* Locked, in a change. */
static int set_size(struct ntfs *v, ntfs_inode *ni, uint64_t size)
{
    struct ntfs_special s;
    ntfs_attr *na = NULL;
    if (!size_allowed(v, size))
        return -EFBIG;
    int r = ntfs_special_of(v, ni, &s);
    if (!r && !S_ISREG(s.type))
        r = S_ISDIR(s.type) ? -EISDIR : -EINVAL;
    if (!r)
        r = make_plain(v, ni, &s, size);
    if (!r)
        r = open_data(ni, &na);
    if (r < 0)
        return r;
    s64 old_size = na->data_size;
    if ((s64)size > old_size)
        r = ntfs_room(v, 1);
    if (!r)
        r = resize_attr(na, size);
    ntfs_attr_close(na);
    if (!r)
        touched(ni);
    return r;
}

/* Only the plain form: the file is as long as this at least, with its new part allocated. */
static int allocate(struct ntfs *v, ntfs_inode *ni, uint64_t size)
{
    struct ntfs_special s;
    ntfs_attr *na = NULL;
    int r = ntfs_special_of(v, ni, &s);
    if (!r && s.tag)
        r = -EOPNOTSUPP;
    if (!r)
        r = open_data(ni, &na);
    if (r < 0)
        return r;
    if (na->data_flags & ATTR_COMPRESSION_MASK)
        r = -EOPNOTSUPP;
    else if ((s64)size > na->data_size)
        r = ntfs_room(v, ((size - (uint64_t)na->data_size) >> v->cluster_shift) + 2);
    errno = EIO;
    if (!r && (s64)size > na->data_size) {
        if (ntfs_attr_truncate_solid(na, (s64)size))
            r = ntfs_write_failed();
        else
            touched(ni);
    }
    ntfs_attr_close(na);
    return r;
}

int ntfs_allocate(struct volume_file *f, int mode, uint64_t off, uint64_t len)
{
    struct ntfs *v = ntfs_of(f->volume);
    uint64_t ino = ntfs_file_ino(f), end;
    if (mode)
        return -EOPNOTSUPP;
    if (!checked_add(off, len, &end) || !size_allowed(v, end))
        return -EFBIG;
    ntfs_inode *ni;
    ntfs_lock(v);
    int r = ntfs_may_write(v);
    if (!r)
        r = ntfs_get_inode(v, ino, &ni);
    if (!r) {
        struct ntfs_node *n = ntfs_change_begin(v, ino);
        r = said(v, ntfs_put_inode(ni, allocate(v, ni, end)));
        ntfs_change_end(n);
    }
    ntfs_unlock(v);
    return r;
}

/* ---- attributes ---- */

/* 100 ns since 1601, as far as that reaches. */
static sle64 stored_time(struct timespec t)
{
    const int64_t second = 10000000, unix_epoch = 11644473600;
    int64_t seconds = t.tv_sec + unix_epoch;
    if (t.tv_sec < -unix_epoch)
        seconds = 0;
    else if (t.tv_sec > INT64_MAX / second - unix_epoch - 1)
        seconds = INT64_MAX / second - 1;
    return cpu_to_sle64(seconds * second + t.tv_nsec / 100);
}

static void set_attributes(ntfs_inode *ni, const struct volume_attr *a, unsigned which)
{
    if (which & SET_MODE && !ntfs_is_dir(ni)) {
        ni->flags &= ~FILE_ATTR_READONLY;
        if (!(a->mode & 0222))
            ni->flags |= FILE_ATTR_READONLY;
    }
    ntfs_inode_update_times(ni, NTFS_UPDATE_CTIME); /* marks it, and its names, as changed */
    if (which & SET_ATIME)
        ni->last_access_time = stored_time(a->atime);
    if (which & SET_MTIME)
        ni->last_data_change_time = stored_time(a->mtime);
    if (which & SET_CTIME)
        ni->last_mft_change_time = stored_time(a->ctime);
    if (which & SET_BIRTH)
        ni->creation_time = stored_time(a->birth);
}

int ntfs_setattr(struct volume *volume, uint64_t ino, const struct volume_attr *a, unsigned which)
{
    struct ntfs *v = ntfs_of(volume);
    ntfs_inode *ni;
    ntfs_lock(v);
    int r = ntfs_may_write(v);
    if (!r)
        r = ntfs_get_inode(v, ino, &ni);
    if (!r) {
        if (which & SET_SIZE) {
            struct ntfs_node *n = ntfs_change_begin(v, ino);
            r = set_size(v, ni, a->size);
            ntfs_change_end(n);
        }
        if (!r && which & ~(unsigned)SET_SIZE)
            set_attributes(ni, a, which);
        r = ntfs_put_inode(ni, r);
    }
    ntfs_unlock(v);
    return r;
}
