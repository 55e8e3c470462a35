/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FAT12, FAT16 and FAT32 volumes. What is here reads; for writing see fat-write.h.
 *
 * Of a volume that is only read nothing is kept but the geometry: directories and the allocation table are
 * read through the cache in pieces, an open file keeps its chain's marks (fat-chain.c). No lock is taken; any
 * number of threads may read.
 *
 * A file whose chain is shorter than its size is readable as far as the chain is sound, and EIO from there
 * on. Times are the guest's local time, whose zone the volume doesn't tell; they are taken for UTC. FAT has
 * no owners and no modes: 0777, without w where a file is read-only (on directories the attribute means
 * something else to Windows). Names are compared exactly first, then without case, then by their 8.3 alias.
 */
#include "../formats/checked.h"
#include "fat-write.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    INFO_LEAD = 0,    /* "RRaA" */
    INFO_MAGIC = 484, /* "rrAa" */
    INFO_FREE = 488,  /* clusters; 0xffffffff unknown */
    FREE_UNKNOWN = -1,
};

static struct fat *fat_of(struct volume *v)
{
    return (struct fat *)(void *)v;
}

void fat_read_begin(struct fat *v)
{
    if (v->writer)
        pthread_rwlock_rdlock(&v->gate);
}

void fat_write_begin(struct fat *v)
{
    pthread_rwlock_wrlock(&v->gate);
}

void fat_end(struct fat *v)
{
    if (v->writer)
        pthread_rwlock_unlock(&v->gate);
}

/* ---- names ---- */

static int fat_lookup(struct volume *volume, uint64_t dir, const char *name, uint64_t *ret_ino)
{
    struct fat *v = fat_of(volume);
    struct fat_name f;
    fat_read_begin(v);
    int r = fat_slot_find(v, dir, name, &f);
    fat_end(v);
    if (r == 0)
        *ret_ino = f.ino;
    return r;
}

/* Names are gathered, and given out without the gate: who takes them may ask for more of the volume. */
enum { READDIR_BATCH = 32 };

/* How many were gathered, or -errno. */
static int gather(struct fat *v, uint64_t dir_ino, uint64_t cookie, struct fat_name *names)
{
    struct fat_dir dir;
    int n = 0;
    fat_read_begin(v);
    int r = fat_dir_open(v, dir_ino, (uint32_t)cookie, &dir);
    while (r == 0 && n < READDIR_BATCH && (r = fat_dir_next(&dir, &names[n])) == 1) {
        r = 0;
        n++;
    }
    fat_dir_done(&dir);
    fat_end(v);
    return n ? n : r; /* an error comes with the next batch */
}

static int fat_readdir(struct volume *volume, uint64_t dir_ino, uint64_t cookie, volume_emit emit, void *ctx)
{
    if (cookie > FAT_DIR_MAX)
        return -EINVAL;
    _cleanup_free_ struct fat_name *names = calloc(READDIR_BATCH, sizeof *names);
    if (!names)
        return -ENOMEM;
    int n;
    while ((n = gather(fat_of(volume), dir_ino, cookie, names)) > 0) {
        for (int k = 0; k < n; k++) {
            mode_t type = names[k].entry.attributes & FAT_DIRECTORY ? S_IFDIR : S_IFREG;
            if (emit(ctx, names[k].name, names[k].ino, type, names[k].next))
                return 0;
        }
        cookie = names[n - 1].next;
    }
    return n;
}

/* ---- attributes ---- */

/* Days from 1970-01-01 to a date of the Gregorian calendar; `month` from 1. */
static int64_t days_of(int64_t year, unsigned month, unsigned day)
{
    static const uint16_t before[12] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    int64_t leap_years = year - (month <= 2); /* 1980 to 2107: 2100 is none */
    int64_t leap_days = leap_years / 4 - leap_years / 100 + leap_years / 400 - 477; /* up to 1970 */
    return (year - 1970) * 365 + leap_days + before[month - 1] + day - 1;
}

/* Numbers that no date has are taken to the nearest that one has. */
static struct timespec time_of(uint16_t date, uint16_t time, uint8_t centis)
{
    unsigned month = date >> 5 & 15, day = date & 31;
    month = month < 1 ? 1 : month > 12 ? 12 : month;
    int64_t days = days_of(1980 + (date >> 9), month, day ? day : 1);
    uint64_t hour = min_u64(time >> 11, 23), minute = min_u64(time >> 5 & 63, 59);
    uint64_t second = min_u64(2 * (time & 31), 58);
    uint64_t hundredths = min_u64(centis, 199);
    return (struct timespec){
        .tv_sec = days * 86400 + (int64_t)(hour * 3600 + minute * 60 + second + hundredths / 100),
        .tv_nsec = (long)(hundredths % 100) * 10000000,
    };
}

/* A directory's size is its chain's, as far as it is sound. */
static int directory_size(struct fat *v, uint64_t ino, uint64_t *ret)
{
    struct fat_dir dir;
    int r = fat_dir_open(v, ino, 0, &dir);
    *ret = dir.fixed_root ? v->g.root_size : dir.chain.clusters * v->g.cluster_size;
    fat_dir_done(&dir);
    return r == -EIO ? 0 : r; /* it can be looked at, but not into */
}

static int read_attributes(struct fat *v, uint64_t ino, struct volume_attr *ret)
{
    struct fat_entry e = { .attributes = FAT_DIRECTORY };
    struct fat_entry gone;
    struct volume_attr a = { .nlink = ino == VOLUME_ROOT || !fat_orphan_entry(v, ino, &gone) };
    int r = ino == VOLUME_ROOT ? 0 : fat_inode(v, ino, &e);
    if (r < 0)
        return r;
    bool directory = e.attributes & FAT_DIRECTORY;
    a.mode = directory ? S_IFDIR | 0777 : S_IFREG | (e.attributes & FAT_RDONLY ? 0555 : 0777);
    a.size = e.size;
    if (directory)
        r = directory_size(v, ino, &a.size);
    if (r < 0)
        return r;
    a.allocated = round_up(a.size, v->g.cluster_size);
    if (ino != VOLUME_ROOT) { /* the root has no entry, hence no times */
        a.mtime = a.ctime = time_of(e.date, e.time, 0);
        a.atime = e.access_date ? time_of(e.access_date, 0, 0) : a.mtime;
        if (e.birth_date)
            a.birth = time_of(e.birth_date, e.birth_time, e.birth_centis);
    }
    *ret = a;
    return 0;
}

static int fat_getattr(struct volume *volume, uint64_t ino, struct volume_attr *ret)
{
    struct fat *v = fat_of(volume);
    fat_read_begin(v);
    int r = read_attributes(v, ino, ret);
    fat_end(v);
    return r;
}

static int fat_link(struct volume *v, uint64_t ino, char *buf, size_t size, enum link_style *ret_style)
{
    (void)v, (void)ino, (void)buf, (void)size, (void)ret_style;
    return -EINVAL; /* FAT has no links */
}

/* ---- files ---- */

struct fat_file {
    struct volume_file file;
    uint64_t size;
    struct fat_chain chain;
    struct fat_node *node; /* of a writable volume, in place of both */
};

static struct fat_file *file_of(struct volume_file *f)
{
    return (struct fat_file *)(void *)f;
}

static int open_node(struct fat *v, uint64_t ino, struct volume_file **ret)
{
    struct fat_file *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->file.volume = &v->volume;
    fat_read_begin(v);
    int r = fat_node_get(v, ino, &f->node);
    fat_end(v);
    if (r < 0)
        free(f);
    else
        *ret = &f->file;
    return r;
}

static int fat_file_open(struct volume *volume, uint64_t ino, struct volume_file **ret)
{
    struct fat *v = fat_of(volume);
    struct fat_entry e;
    if (ino == VOLUME_ROOT)
        return -EISDIR;
    if (v->writer)
        return open_node(v, ino, ret);
    int r = fat_inode(v, ino, &e);
    if (r < 0)
        return r;
    if (e.attributes & FAT_DIRECTORY)
        return -EISDIR;
    struct fat_file *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->file.volume = volume;
    f->size = e.size;
    r = e.size ? fat_chain_walk(v, e.cluster, &f->chain) : 0;
    if (r < 0) {
        free(f);
        return r;
    }
    *ret = &f->file;
    return 0;
}

/* Where the file's bytes from `off` on lie, and how many of them (at most `len`) lie in one piece. */
static int find_run(struct fat_file *f, uint64_t off, size_t len, uint64_t *ret_at, size_t *ret_len)
{
    struct fat *v = fat_of(f->file.volume);
    uint64_t size = v->g.cluster_size, index = off / size;
    struct fat_cursor c = { .fat = v };
    uint32_t cluster, next;
    int r = fat_chain_at(&c, &f->chain, index, &cluster);
    if (r == 0)
        *ret_at = fat_cluster_at(v, cluster) + off % size;
    uint64_t n = size - off % size;
    for (; r == 0 && n < len && ++index < f->chain.clusters; n += size, cluster = next) {
        enum fat_link link;
        r = fat_link_of(&c, cluster, &link, &next);
        if (r < 0 || next != cluster + 1)
            break;
    }
    fat_cursor_done(&c);
    *ret_len = (size_t)min_u64(n, len);
    return r;
}

static int read_node(struct fat *v, struct fat_node *n, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    fat_read_begin(v);
    len = off < n->entry.size ? (size_t)min_u64(len, n->entry.size - off) : 0;
    int r = fat_node_read(v, n, buf, len, off);
    fat_end(v);
    *ret_len = r < 0 ? 0 : len;
    return r;
}

static int fat_read(struct volume_file *file, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    struct fat_file *f = file_of(file);
    uint8_t *p = buf;
    if (f->node)
        return read_node(fat_of(file->volume), f->node, buf, len, off, ret_len);
    len = off < f->size ? (size_t)min_u64(len, f->size - off) : 0;
    for (size_t done = 0, n; done < len; done += n) {
        uint64_t at;
        int r = find_run(f, off + done, len - done, &at, &n);
        if (r == 0)
            r = fat_pread(fat_of(file->volume), p + done, n, at);
        if (r < 0)
            return r;
    }
    *ret_len = len;
    return 0;
}

static int fat_write(struct volume_file *f, const void *buf, size_t len, uint64_t off)
{
    struct fat *v = fat_of(f->volume);
    if (!len)
        return 0;
    fat_write_begin(v);
    int r = fat_file_write(v, file_of(f)->node, buf, len, off);
    fat_end(v);
    return r;
}

static void fat_release(struct volume_file *f)
{
    struct fat *v = fat_of(f->volume);
    fat_chain_done(&file_of(f)->chain);
    if (file_of(f)->node) {
        fat_write_begin(v);
        fat_node_put(v, file_of(f)->node);
        fat_end(v);
    }
    free(f);
}

/* ---- the volume ---- */

/* What FSInfo says, or FREE_UNKNOWN. */
static int64_t free_by_info(struct fat *v)
{
    uint8_t buf[FAT_SECTOR];
    struct bad bad = { 0 };
    struct bytes s = bytes_of(buf, sizeof buf, 0, &bad);
    if (!v->g.info_sector || v->g.dirty ||
        fat_pread(v, buf, sizeof buf, (uint64_t)v->g.info_sector * v->g.sector_size) < 0 ||
        !bytes_match(s, INFO_LEAD, "RRaA", 4) || !bytes_match(s, INFO_MAGIC, "rrAa", 4))
        return FREE_UNKNOWN;
    uint32_t n = le32(s, INFO_FREE);
    return n <= v->g.clusters ? (int64_t)n : FREE_UNKNOWN;
}

static int count_free(struct fat *v, int64_t *ret)
{
    struct fat_cursor c = { .fat = v };
    int64_t n = 0;
    int r = 0;
    for (uint32_t i = 0; i < v->g.clusters && r == 0; i++) {
        enum fat_link link;
        uint32_t entry;
        r = fat_link_of(&c, FAT_FIRST_CLUSTER + i, &link, &entry);
        n += r == 0 && entry == 0;
    }
    fat_cursor_done(&c);
    *ret = n;
    return r;
}

static int fat_statfs(struct volume *volume, struct statvfs *ret)
{
    struct fat *v = fat_of(volume);
    fat_read_begin(v);
    int64_t n = v->writer ? fat_clusters_free(v) : atomic_load(&v->free_clusters);
    fat_end(v);
    if (n == FREE_UNKNOWN)
        n = free_by_info(v);
    if (n == FREE_UNKNOWN) {
        int r = count_free(v, &n);
        if (r < 0)
            return r;
    }
    atomic_store(&v->free_clusters, n);
    *ret = (struct statvfs){
        .f_bsize = v->g.cluster_size,
        .f_frsize = v->g.cluster_size,
        .f_blocks = v->g.clusters,
        .f_bfree = (fsblkcnt_t)n,
        .f_bavail = (fsblkcnt_t)n,
        .f_namemax = FAT_NAME_MAX,
    };
    return 0;
}

static void fat_close(struct volume *volume)
{
    fat_writer_free(fat_of(volume));
    pthread_rwlock_destroy(&fat_of(volume)->gate);
    notes_done(&volume->notes);
    free(volume);
}

static const struct volume_ops fat_ops = {
    .lookup = fat_lookup,
    .getattr = fat_getattr,
    .readdir = fat_readdir,
    .link = fat_link,
    .open = fat_file_open,
    .read = fat_read,
    .release = fat_release,
    .statfs = fat_statfs,
    .close = fat_close,
    .create = fat_create,
    .unlink = fat_unlink,
    .rmdir = fat_rmdir,
    .rename = fat_rename,
    .setattr = fat_setattr,
    .write = fat_write,
    .sync = fat_sync,
};

/* Refuses what can't work, and notes what is odd. */
static int check_volume(struct fat *v, const char *name, struct fault *fault)
{
    const struct fat_geometry *g = &v->g;
    if (g->data_at > v->disk->size)
        return fault_at(fault, -EUCLEAN, name, v->disk->size,
                        "the FAT file system's tables reach past the end of the volume");
    if (g->size > v->disk->size)
        notes_add(&v->volume.notes,
                  "the FAT file system has %llu bytes, its volume only %llu: files in the missing part can't "
                  "be read",
                  (unsigned long long)g->size, (unsigned long long)v->disk->size);
    if (g->dirty)
        notes_add(&v->volume.notes, "the FAT file system was not unmounted cleanly");
    if (g->bits != 32)
        return 0;
    struct fat_chain root;
    int r = fat_chain_walk(v, g->root_cluster, &root);
    if (r < 0)
        return fault_in(fault, r, name, "out of memory");
    fat_chain_done(&root);
    if (!root.clusters)
        return fault_at(fault, -EUCLEAN, name, g->fat_at + 4ull * g->root_cluster,
                        "the FAT file system's root directory is not allocated");
    if (root.damaged)
        notes_add(&v->volume.notes, "the FAT file system's root directory is damaged");
    return 0;
}

/* Prefers writers: a crowd of readers must not keep one waiting. */
static void gate_init(pthread_rwlock_t *gate)
{
    pthread_rwlockattr_t a;
    pthread_rwlockattr_init(&a);
    pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(gate, &a);
    pthread_rwlockattr_destroy(&a);
}

/* Fills read_only_why, or makes it writable. */
static void begin_writing(struct fat *v, bool wanted)
{
    const char *why = NULL;
    if (v->g.dirty)
        why = "it was not unmounted cleanly; run a check of the disk in the guest";
    else if (v->g.size > v->disk->size)
        why = "it is larger than its volume";
    else if (wanted && disk_writable(v->disk) && !(why = fat_writer_new(v)))
        v->volume.writable = true;
    if (!why)
        return;
    snprintf(v->volume.read_only_why, sizeof v->volume.read_only_why, "the FAT file system: %s", why);
    fat_writer_free(v);
}

static int open_as(struct disk *disk, const char *name, struct cache *cache, bool writable,
                   struct volume **ret, struct fault *fault)
{
    uint8_t buf[FAT_SECTOR];
    struct bad bad = { 0 };
    struct fat_geometry g;
    int r = disk_pread(disk, buf, sizeof buf, 0);
    if (r < 0)
        return fault_at(fault, r == -EINVAL ? -EUCLEAN : r, name, 0, "the boot sector can't be read");
    const char *why = fat_geometry_read(bytes_of(buf, sizeof buf, 0, &bad), &g);
    if (why)
        return fault_at(fault, -EUCLEAN, name, 0, "not a FAT file system that can be shown: %s", why);
    struct fat *v = calloc(1, sizeof *v);
    if (!v)
        return fault_in(fault, -ENOMEM, name, "out of memory");
    v->volume = (struct volume){ .ops = &fat_ops, .caseless = true };
    v->disk = disk;
    v->cache = cache;
    v->owner = cache_owner_new();
    v->g = g;
    atomic_init(&v->free_clusters, FREE_UNKNOWN);
    gate_init(&v->gate);
    r = check_volume(v, name, fault);
    if (r < 0) {
        fat_close(&v->volume);
        return r;
    }
    begin_writing(v, writable);
    *ret = &v->volume;
    return 0;
}

static int fat_open(struct disk *disk, const char *name, struct cache *cache, struct volume **ret,
                    struct fault *fault)
{
    return open_as(disk, name, cache, false, ret, fault);
}

static int fat_open_writable(struct disk *disk, const char *name, struct cache *cache, unsigned flags,
                             struct volume **ret, struct fault *fault)
{
    (void)flags;
    return open_as(disk, name, cache, true, ret, fault);
}

static const char *const fat_types[] = { "fat12", "fat16", "fat32", NULL };

const struct volume_driver fat_driver = {
    .name = "fat",
    .types = fat_types,
    .open = fat_open,
    .open_writable = fat_open_writable,
};
