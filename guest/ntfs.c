/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NTFS volume driver: inodes, attributes and files through libntfs-3g.
 *
 *     ntfs.c          open, getattr, link, statfs, sync       ntfs-check.c    boot sector, log, hibernation
 *     ntfs-dir.c      look-up and listing                     ntfs-list.c     listing while names change
 *     ntfs-open.c     open files, and reading them            ntfs-write.c    writing them, sizes, times
 *     ntfs-data.c     runlists, and reading without the lock  ntfs-names.c    create, link, unlink, rename
 *     ntfs-reparse.c  links, devices, placeholders            ntfs-freed.c    which clusters became free
 *     ntfs-xattr.c    streams and attributes as xattrs        ntfs-xattr-write.c
 *     ntfs-device.c   the library's view of the disk
 *
 * An inode number is the MFT record's number, with its sequence number in the upper 16 bits: a record is used
 * again for another file with the next sequence number. VOLUME_ROOT stands for record 5, and the records
 * below 16, which describe the file system itself, are neither listed nor found.
 *
 * Writing: no inode of the library's stays open from one call to the next, and closing one writes it; what it
 * keeps for the whole volume ($MFT's own record and the like) is written by sync. The log isn't written: it
 * is clean, or the volume isn't written, and Windows finds a volume that was shut down. Atomicity is the
 * disk's affair (an overlay that commits). A write that the disk refuses, as the host has no room, would
 * leave half an operation: it waits (late-writes.h), and until the disk takes it nothing new is begun, nor is
 * the volume called synced. Then all goes on.
 *
 * The library trusts a volume not to make it run for ever: an index whose blocks refer to each other in a
 * circle would. The device counts what one call reads and fails beyond a limit, see ntfs_lock(). */
#include "ntfs.h"

#include "../formats/checked.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>

void ntfs_lock(struct ntfs *v)
{
    pthread_mutex_lock(&v->lock);
    ntfs_device_allow(v->lib->dev);
}

void ntfs_unlock(struct ntfs *v)
{
    pthread_mutex_unlock(&v->lock);
}

/* ---- inodes and names ---- */

/* A record that was opened: a base record? (Extension records belong to another inode.) */
static int check_inode(ntfs_inode *ni)
{
    return ni->mrec->base_mft_record ? -EIO : 0;
}

int ntfs_get_record(struct ntfs *v, uint64_t mft, ntfs_inode **ret)
{
    if (mft != FILE_root && mft < FILE_first_user)
        return -ENOENT;
    ntfs_inode *ni = ntfs_inode_open(v->lib, mft);
    if (!ni)
        return errno == ENOENT ? -ENOENT : ntfs_failed();
    int r = check_inode(ni);
    if (r < 0)
        ntfs_inode_close(ni);
    else
        *ret = ni;
    return r;
}

uint64_t ntfs_ino_of(const ntfs_inode *ni)
{
    return ni->mft_no == FILE_root ? VOLUME_ROOT
                                   : MK_MREF(ni->mft_no, le16_to_cpu(ni->mrec->sequence_number));
}

int ntfs_get_inode(struct ntfs *v, uint64_t ino, ntfs_inode **ret)
{
    uint64_t records = (uint64_t)v->lib->mft_na->data_size >> v->lib->mft_record_size_bits;
    if (ino != VOLUME_ROOT && (MREF(ino) < FILE_first_user || MREF(ino) >= records))
        return -ENOENT;
    ntfs_inode *ni;
    int r = ntfs_get_record(v, ino == VOLUME_ROOT ? (uint64_t)FILE_root : MREF(ino), &ni);
    if (r < 0)
        return r;
    if (ntfs_ino_of(ni) != ino) { /* the record is another file's by now */
        ntfs_inode_close(ni);
        return -ENOENT;
    }
    *ret = ni;
    return 0;
}

int ntfs_put_inode(ntfs_inode *ni, int r)
{
    if (ntfs_inode_close(ni) && !r)
        r = ntfs_write_failed();
    return r;
}

/* Calls fn for each $FILE_NAME until it returns nonzero, which is returned. */
int ntfs_each_name(ntfs_inode *ni, int (*fn)(void *ctx, const FILE_NAME_ATTR *name), void *ctx)
{
    ntfs_attr_search_ctx *search = ntfs_attr_get_search_ctx(ni, NULL);
    if (!search)
        return ntfs_failed();
    int r = 0;
    while (!r && !ntfs_attr_lookup(AT_FILE_NAME, AT_UNNAMED, 0, CASE_SENSITIVE, 0, NULL, 0, search)) {
        const ATTR_RECORD *a = search->attr;
        size_t at = le16_to_cpu(a->value_offset), len = le32_to_cpu(a->value_length);
        const FILE_NAME_ATTR *name = (const void *)((const uint8_t *)a + at);
        if (a->non_resident || len < sizeof(FILE_NAME_ATTR) ||
            !range_inside(at, len, le32_to_cpu(a->length)) ||
            !range_inside(sizeof *name, name->file_name_length * sizeof(ntfschar), len))
            r = -EIO;
        else
            r = fn(ctx, name);
    }
    if (!r && errno != ENOENT)
        r = ntfs_failed();
    ntfs_attr_put_search_ctx(search);
    return r;
}

/* ---- attributes ---- */

/* NTFS counts 100 ns since 1601. */
static struct timespec time_of(sle64 stored)
{
    const int64_t second = 10000000, unix_epoch = 11644473600;
    int64_t t = (int64_t)le64_to_cpu(stored);
    int64_t seconds = t / second, rest = t % second;
    if (rest < 0) {
        seconds--;
        rest += second;
    }
    return (struct timespec){ .tv_sec = seconds - unix_epoch, .tv_nsec = rest * 100 };
}

static int count_name(void *ctx, const FILE_NAME_ATTR *name)
{
    *(nlink_t *)ctx += name->file_name_type != FILE_NAME_DOS;
    return 0;
}

/* A directory's size is that of its index blocks; its links aren't counted (1: find must not guess by it). */
static int dir_sizes(struct ntfs *v, ntfs_inode *ni, struct volume_attr *ret)
{
    ret->nlink = 1;
    ntfs_attr *na = ntfs_attr_open(ni, AT_INDEX_ALLOCATION, NTFS_INDEX_I30, 4);
    if (!na)
        return errno == ENOENT ? 0 : ntfs_failed();
    ret->size = (uint64_t)na->data_size;
    ret->allocated = (uint64_t)na->allocated_size;
    if (v->hints) { /* a directory whose attributes are asked for is often listed next */
        v->hints--;
        ntfs_attr_ahead(v, na);
    }
    ntfs_attr_close(na);
    return (int64_t)ret->size < 0 || (int64_t)ret->allocated < 0 ? -EIO : 0;
}

static int file_sizes(struct ntfs *v, ntfs_inode *ni, const struct ntfs_special *s, struct volume_attr *ret)
{
    ret->nlink = le16_to_cpu(ni->mrec->link_count);
    if (ret->nlink != 1) {
        ret->nlink = 0;
        int r = ntfs_each_name(ni, count_name, &ret->nlink);
        if (r < 0)
            return r;
    }
    if (!S_ISREG(s->type))
        return 0;
    if (ni->data_size < 0 || ni->allocated_size < 0)
        return -EIO;
    ret->size = (uint64_t)ni->data_size;
    ret->allocated = (uint64_t)ni->allocated_size;
    /* No blocks would mean "a hole" to tar and cp, and what can't be read isn't one. */
    if ((s->data_error || s->holes_elsewhere) && ret->allocated < ret->size)
        ret->allocated = round_up(ret->size, (uint64_t)1 << v->cluster_shift);
    return 0;
}

static int fill_attr(struct ntfs *v, ntfs_inode *ni, struct volume_attr *ret)
{
    struct ntfs_special s;
    int r = ntfs_special_of(v, ni, &s);
    if (r < 0)
        return r;
    *ret = (struct volume_attr){
        .mode = s.type | 0777,
        .rdev = s.rdev,
        .atime = time_of(ni->last_access_time),
        .mtime = time_of(ni->last_data_change_time),
        .ctime = time_of(ni->last_mft_change_time),
        .birth = time_of(ni->creation_time),
    };
    if (S_ISDIR(s.type))
        return dir_sizes(v, ni, ret);
    if (ni->flags & FILE_ATTR_READONLY && !S_ISLNK(s.type))
        ret->mode &= ~(mode_t)0222;
    r = file_sizes(v, ni, &s, ret);
    if (ntfs_is_gone(v, ntfs_ino_of(ni)))
        ret->nlink = 0;
    if (!r && S_ISLNK(s.type)) {
        char text[PATH_MAX];
        size_t n;
        enum link_style style;
        if (!ntfs_link_text(v, ni, &s, text, sizeof text, &n, &style)) /* else readlink says why */
            ret->size = n;
    }
    return r;
}

static int ntfs_getattr(struct volume *volume, uint64_t ino, struct volume_attr *ret)
{
    struct ntfs *v = ntfs_of(volume);
    struct volume_attr attr;
    ntfs_inode *ni;
    ntfs_lock(v);
    int r = ntfs_get_inode(v, ino, &ni);
    if (!r) {
        r = fill_attr(v, ni, &attr);
        ntfs_inode_close(ni);
    }
    ntfs_unlock(v);
    if (!r)
        *ret = attr;
    return r;
}

static int ntfs_readlink(struct volume *volume, uint64_t ino, char *buf, size_t size,
                         enum link_style *ret_style)
{
    struct ntfs *v = ntfs_of(volume);
    struct ntfs_special s;
    ntfs_inode *ni;
    size_t n;
    ntfs_lock(v);
    int r = ntfs_get_inode(v, ino, &ni);
    if (!r) {
        r = ntfs_special_of(v, ni, &s);
        if (!r)
            r = ntfs_link_text(v, ni, &s, buf, size, &n, ret_style);
        ntfs_inode_close(ni);
    }
    ntfs_unlock(v);
    return r;
}

/* ---- the volume ---- */

/* Clear bits of $Bitmap, which is read once. -1: it can't be. */
static int64_t count_free(struct ntfs *v)
{
    struct ntfs_data d;
    ntfs_lock(v);
    ntfs_inode *ni = ntfs_inode_open(v->lib, FILE_Bitmap);
    int r = ni ? ntfs_data_load(v, ni, AT_DATA, AT_UNNAMED, 0, &d) : -EIO;
    if (ni)
        ntfs_inode_close(ni);
    ntfs_unlock(v);
    if (r < 0)
        return -1;
    /* Not more than the disk has room for, whatever the volume says it has. */
    uint64_t clusters = min_u64(v->clusters, v->disk->size >> v->cluster_shift), used = 0;
    uint64_t bytes = min_u64(clusters / 8, d.size);
    uint64_t words[8192];
    for (uint64_t off = 0; !r && off < bytes; off += sizeof words) {
        size_t n;
        memset(words, 0, sizeof words);
        r = ntfs_data_read(&d, words, min_u64(sizeof words, bytes - off), off, &n);
        for (size_t i = 0; !r && i < sizeof words / sizeof *words; i++)
            used += (unsigned)__builtin_popcountll(words[i]);
    }
    ntfs_data_done(&d);
    return r < 0 ? -1 : (int64_t)(bytes * 8 - used);
}

/* Of a writable volume the library keeps count. */
static int64_t free_now(struct ntfs *v)
{
    ntfs_lock(v);
    int64_t n =
        NVolFreeSpaceKnown(v->lib) || !ntfs_volume_get_free_space(v->lib) ? v->lib->free_clusters : -1;
    v->records = (uint64_t)v->lib->mft_na->data_size >> v->lib->mft_record_size_bits;
    ntfs_unlock(v);
    return n;
}

static int64_t free_once(struct ntfs *v)
{
    int64_t n = atomic_load(&v->free_clusters);
    if (n < 0) {
        n = count_free(v);
        if (n >= 0)
            atomic_store(&v->free_clusters, n);
    }
    return n;
}

static int ntfs_statfs(struct volume *volume, struct statvfs *ret)
{
    struct ntfs *v = ntfs_of(volume);
    int64_t free_clusters = volume->writable ? free_now(v) : free_once(v);
    if (free_clusters < 0)
        return -EIO;
    *ret = (struct statvfs){
        .f_bsize = (unsigned long)1 << v->cluster_shift,
        .f_frsize = (unsigned long)1 << v->cluster_shift,
        .f_blocks = v->clusters,
        .f_bfree = (uint64_t)free_clusters,
        .f_bavail = (uint64_t)free_clusters,
        .f_files = v->records,
        .f_namemax = NTFS_MAX_NAME_LEN,
    };
    return 0;
}

/* The files of the file system itself that the library keeps open. */
static int sync_library(ntfs_volume *lib)
{
    /* The bitmaps' content goes to the disk at once; what is in memory are the records' sizes and runlists.
     */
    ntfs_inode *const system[] = { lib->secure_ni, lib->vol_ni, lib->lcnbmp_ni, lib->mft_ni,
                                   lib->mftmirr_ni };
    int r = 0;
    if (lib->secure_xsii)
        ntfs_index_ctx_reinit(lib->secure_xsii);
    if (lib->secure_xsdh)
        ntfs_index_ctx_reinit(lib->secure_xsdh);
    for (size_t i = 0; i < sizeof system / sizeof *system; i++)
        if (system[i] && ntfs_inode_sync(system[i]) && !r)
            r = ntfs_failed();
    return r;
}

static int ntfs_sync(struct volume *volume)
{
    struct ntfs *v = ntfs_of(volume);
    if (!volume->writable)
        return 0;
    ntfs_lock(v);
    int r = sync_library(v->lib);
    if (!r)
        r = late_writes_settle(&v->late);
    if (!r)
        ntfs_device_discard_freed(v);
    ntfs_unlock(v);
    return r;
}

static void ntfs_close(struct volume *volume)
{
    struct ntfs *v = ntfs_of(volume);
    if (v->lib)
        ntfs_umount(v->lib, FALSE);
    late_writes_done(&v->late);
    ntfs_list_done(v);
    pthread_mutex_destroy(&v->lock);
    pthread_mutex_destroy(&v->nodes_lock);
    notes_done(&v->volume.notes);
    free(v);
}

static const struct volume_ops ntfs_ops = {
    .lookup = ntfs_lookup,
    .getattr = ntfs_getattr,
    .readdir = ntfs_list,
    .link = ntfs_readlink,
    .open = ntfs_open_file,
    .read = ntfs_read_file,
    .map = ntfs_map_file,
    .release = ntfs_release_file,
    .listxattr = ntfs_listxattr,
    .getxattr = ntfs_getxattr,
    .pieces = ntfs_pieces,
    .statfs = ntfs_statfs,
    .close = ntfs_close,
    .create = ntfs_create_file,
    .hardlink = ntfs_hardlink,
    .unlink = ntfs_unlink,
    .rmdir = ntfs_rmdir,
    .rename = ntfs_rename,
    .setattr = ntfs_setattr,
    .write = ntfs_write_file,
    .fallocate = ntfs_allocate,
    .setxattr = ntfs_setxattr,
    .removexattr = ntfs_removexattr,
    .sync = ntfs_sync,
    .recover = ntfs_recover,
};

/* What the library keeps for the whole process. */
static void init_library(void)
{
    ntfs_log_set_handler(ntfs_log_handler_null);
    ntfs_log_set_levels(0);
    ntfs_set_char_encoding("utf8");
}

static int mount_library(struct ntfs *v, const char *name, bool writable, struct fault *fault)
{
    struct ntfs_device *dev = ntfs_disk_device_new(&v->late, name, writable);
    if (!dev)
        return fault_in(fault, -ENOMEM, name, "out of memory");
    /* FORENSIC: the mount itself writes nothing; whether writing is safe is for ntfs_check_state(). */
    v->lib = ntfs_device_mount(dev, writable ? NTFS_MNT_FORENSIC : NTFS_MNT_RDONLY);
    if (!v->lib) {
        int err = errno;
        ntfs_disk_device_free(dev);
        if (err == ENOMEM)
            return fault_in(fault, -ENOMEM, name, "out of memory");
        return fault_in(fault,
                        err == EOPNOTSUPP ? -ENOTSUP
                        : err == EIO      ? -EIO
                                          : -EUCLEAN,
                        name, "the NTFS volume's metadata is damaged or can't be read: %s", strerror(err));
    }
    ntfs_create_lru_caches(v->lib);
    ntfs_set_shown_files(v->lib, FALSE, TRUE, FALSE);
    NVolClearCompression(v->lib); /* of new files; existing compressed ones stay that */
    v->cluster_shift = v->lib->cluster_size_bits;
    v->clusters = (uint64_t)v->lib->nr_clusters;
    v->records = (uint64_t)v->lib->mft_na->data_size >> v->lib->mft_record_size_bits;
    return 0;
}

/* Decides whether the volume is written, and discards a saved session where that was asked for. */
static void make_writable(struct ntfs *v, unsigned flags, bool resumable)
{
    struct volume *volume = &v->volume;
    if (*volume->read_only_why && resumable && flags & VOLUME_DISCARD_HIBERNATION) {
        volume->writable = true; /* for what follows */
        int r = ntfs_discard_session(v);
        if (!r)
            *volume->read_only_why = 0;
        else
            snprintf(volume->read_only_why, sizeof volume->read_only_why,
                     "NTFS: the hibernated session can't be discarded: %s", strerror(-r));
    }
    volume->writable = !*volume->read_only_why;
    if (volume->writable) {
        ntfs_device_watch(v);
    } else {
        NVolSetReadOnly(v->lib);
        ntfs_device_protect(v->lib->dev);
    }
}

static int open_volume(struct disk *disk, const char *name, struct cache *cache, bool writable,
                       unsigned flags, struct volume **ret, struct fault *fault)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_library);
    struct ntfs *v = calloc(1, sizeof *v);
    if (!v)
        return fault_in(fault, -ENOMEM, name, "out of memory");
    v->volume.ops = &ntfs_ops;
    v->volume.caseless = true;
    v->disk = disk;
    late_writes_init(&v->late, disk);
    v->cache = cache;
    for (size_t i = 0; i < sizeof v->units_owner / sizeof v->units_owner[0]; i++)
        v->units_owner[i] = cache_owner_new();
    for (size_t i = 0; i < sizeof v->wof_owner / sizeof v->wof_owner[0]; i++)
        v->wof_owner[i] = cache_owner_new();
    v->free_clusters = -1;
    pthread_mutex_init(&v->lock, NULL);
    pthread_mutex_init(&v->nodes_lock, NULL);
    int r = ntfs_check_boot(disk, name, &v->volume.notes, fault);
    if (!r)
        r = mount_library(v, name, writable, fault);
    if (r < 0) {
        ntfs_close(&v->volume);
        return r;
    }
    bool resumable;
    ntfs_check_state(v, &resumable);
    if (writable)
        make_writable(v, flags, resumable);
    *ret = &v->volume;
    return 0;
}

static int ntfs_open(struct disk *disk, const char *name, struct cache *cache, struct volume **ret,
                     struct fault *fault)
{
    return open_volume(disk, name, cache, false, 0, ret, fault);
}

static int ntfs_open_writable(struct disk *disk, const char *name, struct cache *cache, unsigned flags,
                              struct volume **ret, struct fault *fault)
{
    return open_volume(disk, name, cache, disk_writable(disk), flags, ret, fault);
}

static const char *const ntfs_types[] = { "ntfs", NULL };

const struct volume_driver ntfs_driver = {
    .name = "ntfs",
    .types = ntfs_types,
    .open = ntfs_open,
    .open_writable = ntfs_open_writable,
};
