/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changing the allocation table, in all of its copies. Which clusters are free is kept as a bitmap, filled
 * when the volume is opened. A file that is open and has no name any more has its clusters in the bitmap
 * only: in the table they are free, so that what a sync leaves is whole. */
#include "../formats/checked.h"
#include "fat-write.h"

#include <errno.h>
#include <string.h>

enum { INFO_FREE = 488, INFO_NEXT = 492, END = 0x0fffffff };

/* ---- the bitmap ---- */

static bool is_used(const struct fat_writer *w, uint32_t cluster)
{
    uint32_t n = cluster - FAT_FIRST_CLUSTER;
    return w->used[n / 8] >> n % 8 & 1;
}

static void set_used(struct fat_writer *w, uint32_t cluster, bool used)
{
    uint32_t n = cluster - FAT_FIRST_CLUSTER;
    w->used[n / 8] = (uint8_t)((w->used[n / 8] & ~(1u << n % 8)) | (unsigned)used << n % 8);
}

uint32_t fat_clusters_free(const struct fat *v)
{
    return v->writer->free - v->writer->held;
}

uint32_t fat_cluster_take(struct fat *v, uint32_t goal)
{
    struct fat_writer *w = v->writer;
    uint32_t last = v->g.clusters + FAT_FIRST_CLUSTER - 1, c = fat_cluster_valid(v, goal) ? goal : w->next;
    while (is_used(w, c))
        c = c == last ? FAT_FIRST_CLUSTER : c + 1;
    set_used(w, c, true);
    w->free--;
    w->next = c == last ? FAT_FIRST_CLUSTER : c + 1;
    w->info_stale = true;
    return c;
}

void fat_cluster_untake(struct fat *v, uint32_t cluster)
{
    set_used(v->writer, cluster, false);
    v->writer->free++;
}

/* ---- the table ---- */

static int entry_put(struct fat *v, uint64_t table, uint32_t cluster, uint32_t value)
{
    uint8_t raw[4];
    struct block_store *s = v->writer->store;
    struct bad bad = { 0 };
    if (v->g.bits == 16) {
        put_le16(raw, (uint16_t)value);
        return block_store_put(s, raw, 2, table + cluster * 2ull);
    }
    bool wide = v->g.bits == 32;
    uint64_t at = table + (wide ? cluster * 4ull : cluster + cluster / 2);
    struct fat_cursor c = { .fat = v };
    int r = fat_cursor_read(&c, raw, wide ? 4 : 2, at);
    fat_cursor_done(&c);
    if (r < 0)
        return r;
    struct bytes b = bytes_of(raw, wide ? 4 : 2, at, &bad);
    if (wide) {
        put_le32(raw, (le32(b, 0) & 0xf0000000) | (value & END));
    } else {
        uint16_t old = le16(b, 0);
        put_le16(raw, cluster & 1 ? (uint16_t)((old & 0xf) | value << 4)
                                  : (uint16_t)((old & 0xf000) | (value & 0xfff)));
    }
    return block_store_put(s, raw, wide ? 4 : 2, at);
}

static int table_put(struct fat *v, uint32_t cluster, uint32_t value)
{
    int r = 0;
    v->writer->info_stale = true;
    for (unsigned n = 0; n < v->g.fats && r == 0; n++)
        r = entry_put(v, v->g.fat_at + n * v->g.fat_size, cluster, value);
    return r;
}

int fat_table_link(struct fat *v, uint32_t cluster, uint32_t next)
{
    return table_put(v, cluster, next ? next : END);
}

static void freed_add(struct fat_writer *w, uint32_t cluster)
{
    struct fat_freed *last = w->n_freed ? &w->freed[w->n_freed - 1] : NULL;
    if (last && last->cluster + last->count == cluster) {
        last->count++;
        return;
    }
    if (w->n_freed == w->room_freed) {
        size_t room = w->room_freed ? w->room_freed * 2 : 64;
        struct fat_freed *p = room <= 1 << 16 ? reallocarray(w->freed, room, sizeof *p) : NULL;
        if (!p)
            return; /* only a hint to the disk */
        w->freed = p;
        w->room_freed = room;
    }
    w->freed[w->n_freed++] = (struct fat_freed){ cluster, 1 };
}

static void forget(struct fat *v, uint32_t cluster)
{
    uint32_t size = v->g.sector_size;
    block_store_forget(v->writer->store, fat_cluster_at(v, cluster) / size, v->g.cluster_size / size);
    freed_add(v->writer, cluster);
}

int fat_table_free(struct fat *v, uint32_t cluster, bool keep)
{
    struct fat_writer *w = v->writer;
    int r = table_put(v, cluster, 0);
    if (r < 0)
        return r;
    w->free++;
    if (keep) {
        w->held++;
        return 0;
    }
    set_used(w, cluster, false);
    forget(v, cluster);
    return 0;
}

void fat_orphan_free(struct fat *v, uint32_t cluster)
{
    set_used(v->writer, cluster, false);
    v->writer->held--;
    forget(v, cluster);
}

/* ---- bytes ---- */

int fat_pwrite(struct fat *v, const void *buf, size_t len, uint64_t off)
{
    uint32_t size = v->g.sector_size;
    uint64_t first = off / size, count = div_up(off + len, size) - first;
    int r = 0;
    if (off % size == 0 && len % size == 0)
        block_store_forget(v->writer->store, first, count);
    else
        r = block_store_release(v->writer->store, first, count);
    if (r == 0)
        r = disk_pwrite(v->disk, buf, len, off);
    return r == -EINVAL ? -EIO : r;
}

int fat_cluster_clear(struct fat *v, uint32_t cluster)
{
    _cleanup_free_ uint8_t *zeros = calloc(1, v->g.cluster_size);
    return zeros ? fat_pwrite(v, zeros, v->g.cluster_size, fat_cluster_at(v, cluster)) : -ENOMEM;
}

/* ---- opening and syncing ---- */

/* A guest reads any of the copies; if they differ, what is here isn't what it has. */
static bool copies_agree(struct fat *v, uint64_t bytes)
{
    enum { STEP = 65536 };
    _cleanup_free_ uint8_t *a = malloc(STEP), *b = malloc(STEP);
    bool same = a && b;
    for (unsigned n = 1; n < v->g.fats; n++) {
        for (uint64_t at = 0; at < bytes && same; at += STEP) {
            size_t len = (size_t)min_u64(STEP, bytes - at);
            same = fat_pread(v, a, len, v->g.fat_at + at) == 0 &&
                   fat_pread(v, b, len, v->g.fat_at + n * v->g.fat_size + at) == 0 && !memcmp(a, b, len);
        }
    }
    return same;
}

static int count_used(struct fat *v)
{
    struct fat_cursor c = { .fat = v };
    int r = 0;
    for (uint32_t i = 0; i < v->g.clusters && r == 0; i++) {
        enum fat_link link;
        uint32_t cluster = FAT_FIRST_CLUSTER + i, entry;
        r = fat_link_of(&c, cluster, &link, &entry);
        if (r == 0 && entry)
            set_used(v->writer, cluster, true);
        v->writer->free += r == 0 && !entry;
    }
    fat_cursor_done(&c);
    return r;
}

const char *fat_writer_new(struct fat *v)
{
    struct fat_writer *w = calloc(1, sizeof *w);
    if (!w)
        return "out of memory";
    pthread_mutex_init(&w->lock, NULL);
    w->next = FAT_FIRST_CLUSTER;
    w->next_ino = 1ull << 48; /* no volume has so many slots */
    w->used = calloc(v->g.clusters / 8 + 1, 1);
    v->writer = w;
    if (!w->used || block_store_new(v->disk, v->g.sector_size, &w->store) < 0)
        return "out of memory";
    if (count_used(v) < 0)
        return "its allocation table can't be read";
    if (!copies_agree(v, div_up((v->g.clusters + 2ull) * v->g.bits, 8)))
        return "the copies of its allocation table differ; run a check of the disk in the guest";
    atomic_store(&v->free_clusters, w->free);
    return NULL;
}

void fat_writer_free(struct fat *v)
{
    struct fat_writer *w = v->writer;
    if (!w)
        return;
    for (size_t k = 0; k < FAT_NODE_BUCKETS; k++) {
        for (struct fat_node *n = w->nodes[k], *next; n; n = next) {
            next = n->next;
            free(n->clusters);
            free(n);
        }
    }
    block_store_free(w->store);
    pthread_mutex_destroy(&w->lock);
    free(w->used);
    free(w->freed);
    free(w->slot_of.p);
    free(w->ino_of.p);
    free(w);
    v->writer = NULL;
}

/* FSInfo, where there is one: how many clusters are free, and where to look for one. */
static int info_write(struct fat *v)
{
    struct fat_writer *w = v->writer;
    uint64_t at = (uint64_t)v->g.info_sector * v->g.sector_size;
    uint8_t buf[FAT_SECTOR], raw[8];
    if (!v->g.info_sector || !w->info_stale)
        return 0;
    int r = fat_pread(v, buf, sizeof buf, at);
    if (r < 0)
        return r;
    if (memcmp(buf, "RRaA", 4) != 0 || memcmp(buf + 484, "rrAa", 4) != 0)
        return 0;
    put_le32(raw, w->free);
    put_le32(raw + 4, w->next);
    r = block_store_put(w->store, raw, sizeof raw, at + INFO_FREE);
    w->info_stale = r < 0;
    return r;
}

/* That the disk can't take the hint is no error. */
static void discard_freed(struct fat *v)
{
    struct fat_writer *w = v->writer;
    for (size_t k = 0; k < w->n_freed; k++) {
        uint32_t end = w->freed[k].cluster + w->freed[k].count;
        for (uint32_t c = w->freed[k].cluster, first = c; c <= end; c++) {
            if (c < end && !is_used(w, c))
                continue;
            if (c > first)
                (void)disk_discard(v->disk, fat_cluster_at(v, first),
                                   (uint64_t)(c - first) * v->g.cluster_size);
            first = c + 1;
        }
    }
    w->n_freed = 0;
}

int fat_sync(struct volume *volume)
{
    struct fat *v = (struct fat *)(void *)volume;
    fat_write_begin(v);
    discard_freed(v);
    int r = info_write(v), e = block_store_flush(v->writer->store);
    fat_end(v);
    return r < 0 ? r : e;
}
