/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FAT12, FAT16 and FAT32 volumes, read-only.
 *
 * Nothing is kept but the geometry: directories and the allocation table are read through the cache in
 * pieces, an open file keeps its chain's marks (fat-chain.c). No lock is taken; any number of threads may
 * read.
 *
 * A file whose chain is shorter than its size is readable as far as the chain is sound, and EIO from there
 * on. Times are the guest's local time, whose zone the volume doesn't tell; they are taken for UTC. FAT has
 * no owners and no modes: 0777, without w where a file is read-only (on directories the attribute means
 * something else to Windows). Names are compared exactly first, then without case, then by their 8.3 alias.
 */
#include "../formats/checked.h"
#include "fat.h"

#include <errno.h>
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

/* ---- names ---- */

static bool same_folded(const uint16_t *a, size_t n, const uint16_t *folded, size_t n_folded)
{
    if (n != n_folded)
        return false;
    for (size_t i = 0; i < n; i++)
        if (text_upcase(a[i]) != folded[i])
            return false;
    return true;
}

static int fat_lookup(struct volume *volume, uint64_t dir_ino, const char *name, uint64_t *ret_ino)
{
    uint16_t want[FAT_NAME_MAX];
    int n = text_to_utf16(name, want, FAT_NAME_MAX);
    if (n < 0)
        return n == -ENAMETOOLONG ? n : -ENOENT;
    for (int i = 0; i < n; i++)
        want[i] = text_upcase(want[i]);
    struct fat_dir dir;
    struct fat_name f;
    uint64_t caseless = 0, alias = 0; /* no entry has the number 0 */
    int r = fat_dir_open(fat_of(volume), dir_ino, 0, &dir);
    while (r == 0 && (r = fat_dir_next(&dir, &f)) == 1) {
        r = 0;
        if (!strcmp(f.name, name)) {
            fat_dir_done(&dir);
            *ret_ino = f.ino;
            return 0;
        }
        if (!caseless && same_folded(f.units, f.n_units, want, (size_t)n))
            caseless = f.ino;
        if (!alias && same_folded(f.alias, f.n_alias, want, (size_t)n))
            alias = f.ino;
    }
    fat_dir_done(&dir);
    if (caseless || alias) /* a damage behind it may hide a better match, but this one is no wrong one */
        *ret_ino = caseless ? caseless : alias;
    else if (r == 0)
        return -ENOENT;
    return caseless || alias ? 0 : r;
}

static int fat_readdir(struct volume *volume, uint64_t dir_ino, uint64_t cookie, volume_emit emit, void *ctx)
{
    if (cookie > FAT_DIR_MAX)
        return -EINVAL;
    struct fat_dir dir;
    struct fat_name f;
    int r = fat_dir_open(fat_of(volume), dir_ino, (uint32_t)cookie, &dir);
    while (r == 0 && (r = fat_dir_next(&dir, &f)) == 1) {
        mode_t type = f.entry.attributes & FAT_DIRECTORY ? S_IFDIR : S_IFREG;
        r = 0;
        if (emit(ctx, f.name, f.ino, type, f.next))
            break;
    }
    fat_dir_done(&dir);
    return r;
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

static int fat_getattr(struct volume *volume, uint64_t ino, struct volume_attr *ret)
{
    struct fat *v = fat_of(volume);
    struct fat_entry e = { .attributes = FAT_DIRECTORY };
    struct volume_attr a = { .nlink = 1 };
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
};

static struct fat_file *file_of(struct volume_file *f)
{
    return (struct fat_file *)(void *)f;
}

static int fat_file_open(struct volume *volume, uint64_t ino, struct volume_file **ret)
{
    struct fat *v = fat_of(volume);
    struct fat_entry e;
    if (ino == VOLUME_ROOT)
        return -EISDIR;
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

static int fat_read(struct volume_file *file, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    struct fat_file *f = file_of(file);
    uint8_t *p = buf;
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

static void fat_release(struct volume_file *f)
{
    fat_chain_done(&file_of(f)->chain);
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
    int64_t n = atomic_load(&v->free_clusters);
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

static int fat_open(struct disk *disk, const char *name, struct cache *cache, struct volume **ret,
                    struct fault *fault)
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
    r = check_volume(v, name, fault);
    if (r < 0) {
        fat_close(&v->volume);
        return r;
    }
    *ret = &v->volume;
    return 0;
}

static const char *const fat_types[] = { "fat12", "fat16", "fat32", NULL };

const struct volume_driver fat_driver = {
    .name = "fat",
    .types = fat_types,
    .open = fat_open,
};
