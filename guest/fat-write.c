/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bytes of files, their sizes and attributes. There are no holes: what lies between a file's end and a
 * write behind it is written as zeros. A write first takes clusters in memory, writes its bytes, and then
 * changes the table and the entry; so one that fails leaves the file as it was. */
#include "../formats/checked.h"
#include "fat-write.h"

#include <errno.h>
#include <string.h>

/* ---- times ---- */

/* The other way round than time_of() in fat.c; what is out of range is taken to its nearest. */
void fat_time_put(struct timespec t, uint16_t *ret_date, uint16_t *ret_time, uint8_t *ret_centis)
{
    static const int64_t least = 315532800, most = 4354819198; /* 1980-01-01, 2107-12-31 23:59:58 */
    time_t s = t.tv_sec < least ? least : t.tv_sec > most ? most : t.tv_sec;
    struct tm tm;
    gmtime_r(&s, &tm);
    *ret_date = (uint16_t)((tm.tm_year - 80) << 9 | (tm.tm_mon + 1) << 5 | tm.tm_mday);
    *ret_time = (uint16_t)(tm.tm_hour << 11 | tm.tm_min << 5 | tm.tm_sec / 2);
    if (ret_centis)
        *ret_centis = (uint8_t)(tm.tm_sec % 2 * 100 + t.tv_nsec / 10000000);
}

static void touch(struct fat_entry *e)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    fat_time_put(now, &e->date, &e->time, NULL);
    e->access_date = e->date;
    e->attributes |= FAT_ARCHIVE;
}

/* The entry, where it lies. */
static int node_write(struct fat *v, struct fat_node *n)
{
    return n->orphan ? 0 : fat_slot_write(v, fat_ino_slot(v, n->ino), &n->entry);
}

/* ---- bytes ---- */

/* The clusters of [off, off + len) are there. buf NULL: zeros. */
static int put_bytes(struct fat *v, struct fat_node *n, const uint8_t *buf, uint64_t len, uint64_t off)
{
    enum { ZEROS = 65536 };
    uint32_t size = v->g.cluster_size;
    _cleanup_free_ uint8_t *zeros = buf ? NULL : calloc(1, ZEROS);
    if (!buf && !zeros)
        return -ENOMEM;
    while (len) {
        uint64_t k = off / size, within = off % size, run = size - within;
        for (uint64_t j = k + 1; run < len && j < n->room && n->clusters[j] == n->clusters[j - 1] + 1; j++)
            run += size;
        uint64_t part = min_u64(run, len);
        if (!buf)
            part = min_u64(part, ZEROS);
        int r = fat_pwrite(v, buf ? buf : zeros, (size_t)part, fat_cluster_at(v, n->clusters[k]) + within);
        if (r < 0)
            return r;
        buf = buf ? buf + part : NULL;
        off += part;
        len -= part;
    }
    return 0;
}

/* Clusters for so many in all, behind those that it has, in memory only. */
static int take_clusters(struct fat *v, struct fat_node *n, uint32_t count)
{
    if (count - n->n > fat_clusters_free(v))
        return -ENOSPC;
    int r = fat_node_room(n, count);
    if (r < 0)
        return r;
    uint32_t goal = n->n ? n->clusters[n->n - 1] + 1 : 0;
    for (uint32_t k = n->n; k < count; k++) {
        n->clusters[k] = fat_cluster_take(v, goal);
        goal = n->clusters[k] + 1;
    }
    return 0;
}

static void untake_clusters(struct fat *v, struct fat_node *n, uint32_t count)
{
    for (uint32_t k = n->n; k < count; k++)
        fat_cluster_untake(v, n->clusters[k]);
}

/* The clusters from n->n on are the file's from now on. */
static int chain_clusters(struct fat *v, struct fat_node *n, uint32_t count)
{
    uint32_t had = n->n;
    n->n = count;
    if (n->orphan) { /* the table doesn't know them */
        v->writer->free += count - had;
        v->writer->held += count - had;
        return 0;
    }
    int r = 0;
    for (uint32_t k = had; k < count && r == 0; k++)
        r = fat_table_link(v, n->clusters[k], k + 1 < count ? n->clusters[k + 1] : 0);
    if (r == 0 && had && count > had)
        r = fat_table_link(v, n->clusters[had - 1], n->clusters[had]);
    if (count)
        n->entry.cluster = n->clusters[0];
    return r;
}

/* buf NULL: only the size changes, to off. */
static int extend(struct fat *v, struct fat_node *n, const void *buf, size_t len, uint64_t off)
{
    uint64_t end = off + len, size = n->entry.size;
    uint32_t count = (uint32_t)max_u64(div_up(end, v->g.cluster_size), n->n);
    int r = take_clusters(v, n, count);
    if (r < 0)
        return r;
    if (off > size)
        r = put_bytes(v, n, NULL, off - size, size);
    if (r == 0 && len)
        r = put_bytes(v, n, buf, len, off);
    if (r < 0) {
        untake_clusters(v, n, count);
        return r;
    }
    r = chain_clusters(v, n, count);
    n->entry.size = (uint32_t)max_u64(end, size);
    touch(&n->entry);
    int e = node_write(v, n);
    return r < 0 ? r : e;
}

int fat_file_write(struct fat *v, struct fat_node *n, const void *buf, size_t len, uint64_t off)
{
    uint64_t end;
    if (!checked_add(off, len, &end) || end > UINT32_MAX)
        return -EFBIG;
    return n->damaged ? -EIO : extend(v, n, buf, len, off);
}

static int cut(struct fat *v, struct fat_node *n, uint64_t size)
{
    uint32_t count = (uint32_t)div_up(size, v->g.cluster_size), had = n->n;
    int r = 0;
    if (count && count < had && !n->orphan)
        r = fat_table_link(v, n->clusters[count - 1], 0);
    for (uint32_t k = count; k < had && r == 0; k++) {
        if (n->orphan)
            fat_orphan_free(v, n->clusters[k]);
        else
            r = fat_table_free(v, n->clusters[k], false);
    }
    if (r < 0)
        return r;
    n->n = count;
    n->entry.cluster = count ? n->clusters[0] : 0;
    n->entry.size = (uint32_t)size;
    touch(&n->entry);
    return node_write(v, n);
}

int fat_file_resize(struct fat *v, struct fat_node *n, uint64_t size)
{
    if (size > UINT32_MAX)
        return -EFBIG;
    if (n->damaged)
        return -EIO;
    return size > n->entry.size ? extend(v, n, NULL, 0, size) : cut(v, n, size);
}

int fat_node_unlink(struct fat *v, struct fat_node *n)
{
    bool keep = n->handles > 1; /* the caller has one */
    int r = 0;
    if (n->damaged) /* whose clusters these are isn't sure */
        return -EIO;
    for (uint32_t k = 0; k < n->n && r == 0; k++)
        r = fat_table_free(v, n->clusters[k], keep);
    n->orphan = keep;
    return r;
}

/* ---- attributes ---- */

static void set_fields(struct fat_entry *e, const struct volume_attr *a, unsigned which)
{
    uint16_t unused;
    if (which & SET_MODE && !(e->attributes & FAT_DIRECTORY))
        e->attributes = (uint8_t)(a->mode & 0222 ? e->attributes & ~FAT_RDONLY : e->attributes | FAT_RDONLY);
    if (which & SET_MTIME)
        fat_time_put(a->mtime, &e->date, &e->time, NULL);
    if (which & SET_ATIME)
        fat_time_put(a->atime, &e->access_date, &unused, NULL);
    if (which & SET_BIRTH)
        fat_time_put(a->birth, &e->birth_date, &e->birth_time, &e->birth_centis);
}

static int set_file(struct fat *v, uint64_t ino, const struct volume_attr *a, unsigned which)
{
    struct fat_node *n;
    int r = fat_node_get(v, ino, &n);
    if (r < 0)
        return r;
    if (which & SET_SIZE)
        r = fat_file_resize(v, n, a->size);
    if (r == 0) {
        set_fields(&n->entry, a, which);
        r = node_write(v, n);
    }
    fat_node_put(v, n);
    return r;
}

static int set_directory(struct fat *v, uint64_t ino, const struct volume_attr *a, unsigned which)
{
    struct fat_entry e;
    if (which & SET_SIZE)
        return -EISDIR;
    if (ino == VOLUME_ROOT) /* it has no entry */
        return 0;
    int r = fat_inode(v, ino, &e);
    if (r < 0)
        return r;
    set_fields(&e, a, which);
    return fat_slot_write(v, fat_ino_slot(v, ino), &e);
}

int fat_setattr(struct volume *volume, uint64_t ino, const struct volume_attr *a, unsigned which)
{
    struct fat *v = (struct fat *)(void *)volume;
    struct fat_entry e = { .attributes = FAT_DIRECTORY };
    fat_write_begin(v);
    int r = ino == VOLUME_ROOT ? 0 : fat_inode(v, ino, &e);
    if (r == 0)
        r = e.attributes & FAT_DIRECTORY ? set_directory(v, ino, a, which) : set_file(v, ino, a, which);
    fat_end(v);
    return r;
}
