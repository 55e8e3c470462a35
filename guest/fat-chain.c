/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file allocation table: entry n says which cluster follows cluster n.
 *
 *     12 bits   entry n at byte n + n/2, the odd ones in the upper 12 bits
 *     16 bits   entry n at byte 2n
 *     32 bits   entry n at byte 4n, the upper 4 bits mean nothing
 *
 *     0 free | 1 reserved | ...F7 bad | ...F8-FF the chain ends here
 *
 * A chain is walked to its end once, when its file is opened. That it has an end proves that it has no loop;
 * one that loops is noticed by Brent's algorithm, which needs no memory and a few times the chain's length.
 * The walk keeps every cluster of a short chain and every second, fourth, ... of a longer one, so any place
 * is found by a bounded number of steps from the mark before it, and no hostile file can make us keep more.
 */
#include "../formats/checked.h"
#include "fat-write.h"

#include <errno.h>

int fat_pread(struct fat *v, void *buf, size_t len, uint64_t off)
{
    int r = disk_pread(v->disk, buf, len, off);
    if (r == 0 && v->writer)
        block_store_patch(v->writer->store, buf, len, off);
    return r == -EINVAL ? -EIO : r;
}

static int load_piece(void *ctx, uint64_t id, void *buf, size_t size)
{
    struct fat *v = ctx;
    return fat_pread(v, buf, size, id * FAT_PIECE);
}

void fat_cursor_done(struct fat_cursor *c)
{
    if (c->block)
        cache_put(c->fat->cache, c->block);
    c->block = NULL;
    free(c->sector);
    c->sector = NULL;
}

/* Of a writable volume: the part of [off, off+len) that lies in one sector, from the store. */
static int read_sector_part(struct fat_cursor *c, void *buf, size_t len, uint64_t off)
{
    uint32_t size = c->fat->g.sector_size;
    uint64_t at = off / size;
    if (!c->sector || c->sector_at != at) {
        if (!c->sector && !(c->sector = malloc(size)))
            return -ENOMEM;
        c->sector_at = UINT64_MAX;
        int r = block_store_read(c->fat->writer->store, at, c->sector);
        if (r < 0)
            return r;
        c->sector_at = at;
    }
    memcpy(buf, c->sector + off % size, len);
    return 0;
}

/* The part of [off, off+len) that lies in one piece. */
static int read_part(struct fat_cursor *c, void *buf, size_t len, uint64_t off)
{
    uint64_t piece = off / FAT_PIECE;
    if (!c->block || c->piece != piece) {
        fat_cursor_done(c);
        size_t size = (size_t)min_u64(FAT_PIECE, c->fat->disk->size - piece * FAT_PIECE);
        int r = cache_get(c->fat->cache, c->fat->owner, piece, size, load_piece, c->fat, &c->block);
        if (r == -EIO) /* a bad place nearby isn't ours */
            return fat_pread(c->fat, buf, len, off);
        if (r < 0)
            return r;
        c->piece = piece;
    }
    memcpy(buf, c->block->data + off % FAT_PIECE, len);
    return 0;
}

int fat_cursor_read(struct fat_cursor *c, void *buf, size_t len, uint64_t off)
{
    if (!range_inside(off, len, c->fat->disk->size))
        return -EIO;
    uint8_t *p = buf;
    while (len) {
        bool store = c->fat->writer;
        uint64_t piece = store ? c->fat->g.sector_size : FAT_PIECE;
        size_t n = (size_t)min_u64(len, piece - off % piece);
        int r = store ? read_sector_part(c, p, n, off) : read_part(c, p, n, off);
        if (r < 0)
            return r;
        p += n;
        off += n;
        len -= n;
    }
    return 0;
}

bool fat_cluster_valid(const struct fat *v, uint32_t cluster)
{
    return cluster >= FAT_FIRST_CLUSTER && cluster - FAT_FIRST_CLUSTER < v->g.clusters;
}

uint64_t fat_cluster_at(const struct fat *v, uint32_t cluster)
{
    return v->g.data_at + (uint64_t)(cluster - FAT_FIRST_CLUSTER) * v->g.cluster_size;
}

/* The entry, widened to 28 bits so that the marks are the same for all types. */
static int read_entry(struct fat_cursor *c, uint32_t cluster, uint32_t *ret)
{
    const struct fat_geometry *g = &c->fat->g;
    uint8_t raw[4] = { 0 };
    uint64_t off = g->bits == 12 ? (uint64_t)cluster + cluster / 2 : (uint64_t)cluster * (g->bits / 8);
    int r = fat_cursor_read(c, raw, g->bits == 32 ? 4 : 2, g->fat_at + off);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    uint32_t v = le32(bytes_of(raw, 4, off, &bad), 0);
    if (g->bits == 12)
        v = cluster & 1 ? v >> 4 : v & 0xfff;
    uint32_t mask = g->bits == 32 ? 0x0fffffff : (1u << g->bits) - 1;
    v &= mask;
    *ret = v >= mask - 8 ? v | 0x0ffffff0 : v; /* ...F7 and up; F0-F6 are clusters of a full FAT12 or FAT16 */
    return 0;
}

int fat_link_of(struct fat_cursor *c, uint32_t cluster, enum fat_link *ret_link, uint32_t *ret)
{
    uint32_t v;
    int r = read_entry(c, cluster, &v);
    if (r < 0)
        return r;
    if (v == 0 || v == 0x0ffffff7)
        *ret_link = FAT_FREE;
    else if (v >= 0x0ffffff8)
        *ret_link = FAT_END;
    else
        *ret_link = fat_cluster_valid(c->fat, v) ? FAT_NEXT : FAT_STRAY;
    *ret = v;
    return 0;
}

void fat_chain_done(struct fat_chain *chain)
{
    free(chain->marks);
    chain->marks = NULL;
}

static int add_mark(struct fat_chain *chain, uint32_t cluster)
{
    uint64_t index = chain->clusters++;
    if (index % chain->stride)
        return 0;
    if (chain->n_marks == FAT_MARKS) {
        for (uint32_t i = 0; i < FAT_MARKS / 2; i++)
            chain->marks[i] = chain->marks[2 * i];
        chain->n_marks = FAT_MARKS / 2;
        chain->stride *= 2; /* and FAT_MARKS * the old stride, this index, is a multiple of it */
    } else if (!(chain->n_marks & (chain->n_marks - 1))) { /* 0, 1, 2, 4, ...: full */
        uint32_t n = chain->n_marks ? 2 * chain->n_marks : 1;
        uint32_t *more = reallocarray(chain->marks, n, sizeof *more);
        if (!more)
            return -ENOMEM;
        chain->marks = more;
    }
    chain->marks[chain->n_marks++] = cluster;
    return 0;
}

/* After Brent's algorithm found a loop of `lap` clusters: how many clusters come before one is met again. */
static int count_before_loop(struct fat_cursor *c, uint32_t first, uint64_t lap, uint64_t *ret)
{
    uint32_t front = first, back = first;
    uint64_t n = 0;
    enum fat_link link;
    int r = 0;
    for (uint64_t i = 0; i < lap && r == 0; i++)
        r = fat_link_of(c, front, &link, &front);
    while (r == 0 && front != back) {
        r = fat_link_of(c, front, &link, &front);
        if (r == 0)
            r = fat_link_of(c, back, &link, &back);
        n++;
    }
    *ret = lap + n;
    return r;
}

int fat_chain_walk(struct fat *v, uint32_t first, struct fat_chain *ret)
{
    struct fat_cursor c = { .fat = v };
    *ret = (struct fat_chain){ .stride = 1, .damaged = first && !fat_cluster_valid(v, first) };
    uint32_t cluster = first, anchor = first;
    uint64_t lap = 0, power = 1;
    int r = 0;
    while (first && !ret->damaged) {
        enum fat_link link;
        uint32_t next;
        if (fat_link_of(&c, cluster, &link, &next) < 0 || link == FAT_FREE) {
            ret->damaged = true;
            break;
        }
        r = add_mark(ret, cluster);
        if (r < 0 || link == FAT_END)
            break;
        ret->damaged = link == FAT_STRAY;
        cluster = next;
        lap++;
        if (cluster == anchor) {
            ret->damaged = true;
            if (count_before_loop(&c, first, lap, &ret->clusters) < 0)
                ret->clusters = 0;
        } else if (lap == power) {
            anchor = cluster;
            power *= 2;
            lap = 0;
        }
    }
    fat_cursor_done(&c);
    if (r < 0)
        fat_chain_done(ret);
    return r;
}

int fat_chain_at(struct fat_cursor *c, const struct fat_chain *chain, uint64_t index, uint32_t *ret)
{
    if (index >= chain->clusters)
        return -EIO;
    uint32_t cluster = chain->marks[index / chain->stride];
    for (uint64_t i = index % chain->stride; i; i--) {
        enum fat_link link;
        int r = fat_link_of(c, cluster, &link, &cluster);
        if (r < 0)
            return r;
        if (link != FAT_NEXT)
            return -EIO;
    }
    *ret = cluster;
    return 0;
}
