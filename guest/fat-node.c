/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inode numbers of a volume that is written, and the files that are open.
 *
 * A number is the entry's slot as long as nothing has happened to it. What is created gets a number of its
 * own; what moves keeps the one that it has; and a number whose file is gone leads nowhere, even when another
 * file has its slot. Two tables say so, for what isn't as it was. */
#include "../formats/checked.h"
#include "fat-write.h"

#include <errno.h>
#include <string.h>

enum { GONE = 1 }; /* no slot of a file: it lies in the boot sector */

static struct fat_place *place_of(const struct fat_places *t, uint64_t key)
{
    size_t at = (size_t)(key * 0x9e3779b97f4a7c15ull >> 20) & (t->room - 1);
    while (t->p[at].key && t->p[at].key != key)
        at = (at + 1) & (t->room - 1);
    return &t->p[at];
}

/* 0: unknown. */
static uint64_t places_get(const struct fat_places *t, uint64_t key)
{
    return t->n ? place_of(t, key)->value : 0;
}

/* There is room. */
static void places_put(struct fat_places *t, uint64_t key, uint64_t value)
{
    struct fat_place *p = place_of(t, key);
    t->n += !p->key;
    *p = (struct fat_place){ key, value };
}

static int places_room(struct fat_places *t, size_t more)
{
    if ((t->n + more) * 2 <= t->room)
        return 0;
    struct fat_places u = { .room = t->room ? t->room * 2 : 256 };
    u.p = calloc(u.room, sizeof *u.p);
    if (!u.p)
        return -ENOMEM;
    for (size_t k = 0; k < t->room; k++)
        if (t->p[k].key)
            places_put(&u, t->p[k].key, t->p[k].value);
    free(t->p);
    *t = u;
    return 0;
}

int fat_ino_reserve(struct fat *v)
{
    int r = places_room(&v->writer->slot_of, 4);
    return r < 0 ? r : places_room(&v->writer->ino_of, 4);
}

uint64_t fat_ino_slot(const struct fat *v, uint64_t ino)
{
    const struct fat_writer *w = v->writer;
    if (!w)
        return ino;
    uint64_t slot = places_get(&w->slot_of, ino);
    if (slot)
        return slot == GONE ? 0 : slot;
    return places_get(&w->ino_of, ino) ? 0 : ino;
}

uint64_t fat_slot_ino(const struct fat *v, uint64_t slot)
{
    uint64_t ino = v->writer ? places_get(&v->writer->ino_of, slot) : 0;
    return ino ? ino : slot;
}

void fat_ino_move(struct fat *v, uint64_t ino, uint64_t slot)
{
    places_put(&v->writer->slot_of, ino, slot);
    places_put(&v->writer->ino_of, slot, ino);
}

void fat_ino_drop(struct fat *v, uint64_t ino)
{
    places_put(&v->writer->slot_of, ino, GONE);
}

uint64_t fat_ino_new(struct fat *v, uint64_t slot)
{
    uint64_t ino = v->writer->next_ino++;
    fat_ino_move(v, ino, slot);
    return ino;
}

/* ---- nodes ---- */

struct fat_node *fat_node_find(struct fat *v, uint64_t ino)
{
    struct fat_node *n = v->writer->nodes[ino % FAT_NODE_BUCKETS];
    while (n && n->ino != ino)
        n = n->next;
    return n;
}

bool fat_orphan_entry(struct fat *v, uint64_t ino, struct fat_entry *ret)
{
    if (!v->writer)
        return false;
    pthread_mutex_lock(&v->writer->lock);
    struct fat_node *n = fat_node_find(v, ino);
    bool orphan = n && n->orphan;
    if (orphan)
        *ret = n->entry;
    pthread_mutex_unlock(&v->writer->lock);
    return orphan;
}

int fat_node_room(struct fat_node *n, uint32_t clusters)
{
    if (clusters <= n->room)
        return 0;
    uint32_t room = n->room ? n->room : 16;
    while (room < clusters)
        room = room > UINT32_MAX / 2 ? UINT32_MAX : room * 2;
    uint32_t *p = reallocarray(n->clusters, room, sizeof *p);
    if (!p)
        return -ENOMEM;
    n->clusters = p;
    n->room = room;
    return 0;
}

/* The whole chain, as far as it is sound; a loop is longer than the volume. */
static int load_chain(struct fat *v, struct fat_node *n)
{
    struct fat_cursor c = { .fat = v };
    uint32_t cluster = n->entry.cluster;
    enum fat_link link = cluster ? FAT_NEXT : FAT_END;
    int r = 0;
    while (link == FAT_NEXT && r == 0) {
        n->damaged = !fat_cluster_valid(v, cluster) || n->n >= v->g.clusters;
        if (n->damaged || (r = fat_node_room(n, n->n + 1)) < 0)
            break;
        uint32_t next;
        if (fat_link_of(&c, cluster, &link, &next) < 0 || link == FAT_FREE || link == FAT_STRAY) {
            n->damaged = true;
            n->n += link == FAT_STRAY; /* as reading it alone has it */
            if (link == FAT_STRAY)
                n->clusters[n->n - 1] = cluster;
            break;
        }
        n->clusters[n->n++] = cluster;
        cluster = next;
    }
    fat_cursor_done(&c);
    n->damaged |= n->n != div_up(n->entry.size, v->g.cluster_size);
    return r;
}

static int node_new(struct fat *v, uint64_t ino, struct fat_node **ret)
{
    struct fat_entry e;
    int r = ino == VOLUME_ROOT ? -EISDIR : fat_inode(v, ino, &e);
    if (r < 0)
        return r;
    if (e.attributes & FAT_DIRECTORY)
        return -EISDIR;
    struct fat_node *n = calloc(1, sizeof *n);
    if (!n)
        return -ENOMEM;
    n->ino = ino;
    n->entry = e;
    r = load_chain(v, n);
    if (r < 0) {
        free(n->clusters);
        free(n);
        return r;
    }
    *ret = n;
    return 0;
}

int fat_node_get(struct fat *v, uint64_t ino, struct fat_node **ret)
{
    struct fat_writer *w = v->writer;
    pthread_mutex_lock(&w->lock);
    struct fat_node *n = fat_node_find(v, ino), *other;
    if (n)
        n->handles++;
    pthread_mutex_unlock(&w->lock);
    *ret = n;
    if (n)
        return 0;
    int r = node_new(v, ino, &n);
    if (r < 0)
        return r;
    pthread_mutex_lock(&w->lock);
    other = fat_node_find(v, ino);
    if (!other) {
        n->next = w->nodes[ino % FAT_NODE_BUCKETS];
        w->nodes[ino % FAT_NODE_BUCKETS] = n;
        other = n;
        n = NULL;
    }
    other->handles++;
    pthread_mutex_unlock(&w->lock);
    if (n) { /* somebody was quicker */
        free(n->clusters);
        free(n);
    }
    *ret = other;
    return 0;
}

void fat_node_put(struct fat *v, struct fat_node *n)
{
    struct fat_writer *w = v->writer;
    pthread_mutex_lock(&w->lock);
    bool last = !--n->handles;
    if (last) {
        struct fat_node **at = &w->nodes[n->ino % FAT_NODE_BUCKETS];
        while (*at != n)
            at = &(*at)->next;
        *at = n->next;
    }
    pthread_mutex_unlock(&w->lock);
    if (!last)
        return;
    for (uint32_t k = 0; n->orphan && k < n->n; k++)
        fat_orphan_free(v, n->clusters[k]);
    free(n->clusters);
    free(n);
}

int fat_node_read(struct fat *v, const struct fat_node *n, void *buf, size_t len, uint64_t off)
{
    uint32_t size = v->g.cluster_size;
    uint8_t *p = buf;
    while (len) {
        uint64_t k = off / size, within = off % size;
        if (k >= n->n)
            return -EIO;
        uint64_t run = size - within;
        for (uint64_t j = k + 1; run < len && j < n->n && n->clusters[j] == n->clusters[j - 1] + 1; j++)
            run += size;
        size_t part = (size_t)min_u64(run, len);
        int r = fat_pread(v, p, part, fat_cluster_at(v, n->clusters[k]) + within);
        if (r < 0)
            return r;
        p += part;
        off += part;
        len -= part;
    }
    return 0;
}
