/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocks and inodes, taken and freed, and what is known of them beyond the bitmaps: which were freed since
 * the last sync (to be discarded), which inodes are open, and how often each was freed. */
#include "ext-write.h"
#include "../formats/checked.h"

#include <errno.h>
#include <string.h>

/* ---- which inode numbers had lives before ---- */

static size_t lives_slot(const struct ext_lives *t, size_t room, uint32_t ino)
{
    size_t at = ino * 2654435761u % room;
    while (t[at].ino && t[at].ino != ino)
        at = (at + 1) % room;
    return at;
}

uint32_t ext_lives(const struct ext_fs *x, uint32_t ino)
{
    const struct ext_writer *w = x->writer;
    if (!w || !w->n_lives)
        return 0;
    return w->lives[lives_slot(w->lives, w->room_lives, ino)].count;
}

static int lives_make_room(struct ext_writer *w)
{
    if (w->n_lives * 2 < w->room_lives)
        return 0;
    size_t room = w->room_lives ? w->room_lives * 2 : 256;
    struct ext_lives *t = calloc(room, sizeof *t);
    if (!t)
        return -ENOMEM;
    for (size_t k = 0; k < w->room_lives; k++)
        if (w->lives[k].ino)
            t[lives_slot(t, room, w->lives[k].ino)] = w->lives[k];
    free(w->lives);
    w->lives = t;
    w->room_lives = room;
    return 0;
}

/* There is room. */
static void lives_count(struct ext_writer *w, uint32_t ino)
{
    struct ext_lives *l = &w->lives[lives_slot(w->lives, w->room_lives, ino)];
    w->n_lives += !l->ino;
    l->ino = ino;
    l->count++;
}

/* ---- open files ---- */

struct ext_open *ext_open_find(struct ext_writer *w, uint32_t ino)
{
    struct ext_open *o = w->open[ino % EXT_OPEN_BUCKETS];
    while (o && o->ino != ino)
        o = o->next;
    return o;
}

int ext_open_add(struct ext_writer *w, uint32_t ino)
{
    int r = 0;
    pthread_mutex_lock(&w->lock);
    struct ext_open *o = ext_open_find(w, ino);
    if (!o && (o = calloc(1, sizeof *o))) {
        o->ino = ino;
        o->next = w->open[ino % EXT_OPEN_BUCKETS];
        w->open[ino % EXT_OPEN_BUCKETS] = o;
    }
    if (o)
        o->handles++;
    else
        r = -ENOMEM;
    pthread_mutex_unlock(&w->lock);
    return r;
}

bool ext_open_drop(struct ext_writer *w, uint32_t ino)
{
    bool orphan = false;
    pthread_mutex_lock(&w->lock);
    struct ext_open **at = &w->open[ino % EXT_OPEN_BUCKETS];
    while (*at && (*at)->ino != ino)
        at = &(*at)->next;
    if (*at && !--(*at)->handles) {
        struct ext_open *o = *at;
        orphan = o->orphan;
        *at = o->next;
        free(o);
    }
    pthread_mutex_unlock(&w->lock);
    return orphan;
}

bool ext_is_open(const struct ext_fs *x, uint32_t ino)
{
    if (!x->writer)
        return false;
    pthread_mutex_lock(&x->writer->lock);
    bool open = ext_open_find(x->writer, ino);
    pthread_mutex_unlock(&x->writer->lock);
    return open;
}

/* ---- blocks ---- */

/* What is freed and taken again before the sync isn't discarded: it is looked up there. */
static void freed_add(struct ext_writer *w, uint64_t block, uint64_t count)
{
    struct ext_freed *last = w->n_freed ? &w->freed[w->n_freed - 1] : NULL;
    if (last && last->block + last->count == block) {
        last->count += count;
        return;
    }
    if (last && block + count == last->block) {
        last->block = block;
        last->count += count;
        return;
    }
    if (w->n_freed == w->room_freed) {
        size_t room = w->room_freed ? w->room_freed * 2 : 64;
        struct ext_freed *p = room <= 1 << 16 ? reallocarray(w->freed, room, sizeof *p) : NULL;
        if (!p)
            return; /* only a hint to the disk */
        w->freed = p;
        w->room_freed = room;
    }
    w->freed[w->n_freed++] = (struct ext_freed){ block, count };
}

/* The library tells of every block that it takes or frees. */
static void note_range(ext2_filsys lib, blk64_t block, blk_t count, int taken)
{
    struct ext_fs *x = lib->priv_data;
    dgrp_t first = ext2fs_group_of_blk2(lib, block), last = ext2fs_group_of_blk2(lib, block + count - 1);
    for (dgrp_t g = first; g <= last && g < x->super.groups; g++)
        x->writer->dirty_groups[g] |= EXT_GROUP_BLOCKS;
    if (taken < 0 && !x->writer->hiding) {
        block_store_forget(x->store, block, count);
        freed_add(x->writer, block, count);
    }
}

static void note_block(ext2_filsys lib, blk64_t block, int taken)
{
    note_range(lib, block, 1, taken);
}

int ext_writer_new(struct ext_fs *x, struct ext_writer **ret)
{
    struct ext_writer *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    pthread_mutex_init(&w->lock, NULL);
    w->dirty_groups = calloc(x->super.groups, 1);
    if (!w->dirty_groups) {
        ext_writer_free(w);
        return -ENOMEM;
    }
    w->unreserved = geteuid() == 0;
    x->writer = w;
    x->lib->priv_data = x;
    ext2fs_set_block_alloc_stats_callback(x->lib, note_block, NULL);
    ext2fs_set_block_alloc_stats_range_callback(x->lib, note_range, NULL);
    *ret = w;
    return 0;
}

void ext_writer_free(struct ext_writer *w)
{
    if (!w)
        return;
    for (size_t k = 0; k < EXT_OPEN_BUCKETS; k++) {
        for (struct ext_open *o = w->open[k], *next; o; o = next) {
            next = o->next;
            free(o);
        }
    }
    pthread_mutex_destroy(&w->lock);
    ext_names_free(w->names);
    free(w->dirty_groups);
    free(w->freed);
    free(w->lives);
    free(w);
}

/* Blocks of a tree and of a directory that any operation may need beside. */
enum { RESERVE_BASE = 12, RESERVE_ENTRIES = 60 };

int ext_reserve(struct ext_fs *x, uint64_t blocks)
{
    uint64_t have = ext2fs_free_blocks_count(x->lib->super), need;
    uint64_t kept = x->writer->unreserved ? 0 : x->super.reserved_blocks;
    if (!checked_add(blocks, blocks / RESERVE_ENTRIES + RESERVE_BASE + kept, &need) || need > have)
        return -ENOSPC;
    return 0;
}

int ext_block_take(struct ext_fs *x, uint64_t goal, uint64_t *ret)
{
    blk64_t b;
    if (goal < x->super.first_data_block || goal >= x->super.blocks)
        goal = x->super.first_data_block;
    int r = ext_errno(ext2fs_new_block2(x->lib, goal, NULL, &b));
    if (r < 0)
        return r;
    ext2fs_block_alloc_stats2(x->lib, b, +1);
    *ret = b;
    return 0;
}

void ext_block_free(struct ext_fs *x, uint64_t block)
{
    ext2fs_block_alloc_stats2(x->lib, block, -1);
}

uint64_t ext_block_goal(struct ext_fs *x, uint32_t ino)
{
    dgrp_t group = ext2fs_group_of_ino(x->lib, ino);
    return ext2fs_group_first_block2(x->lib, group);
}

/* ---- inodes ---- */

int ext_inode_take(struct ext_fs *x, uint32_t dir, uint16_t mode, uint32_t *ret, uint32_t *ret_generation)
{
    ext2_ino_t ino;
    struct ext2_inode old;
    int r = ext_errno(ext2fs_new_inode(x->lib, dir, mode, NULL, &ino));
    if (r < 0)
        return r;
    *ret_generation = ext2fs_read_inode(x->lib, ino, &old) ? 1 : old.i_generation + 1;
    ext2fs_inode_alloc_stats2(x->lib, ino, +1, S_ISDIR(mode));
    x->writer->dirty_groups[ext2fs_group_of_ino(x->lib, ino)] |= EXT_GROUP_INODES;
    *ret = ino;
    return 0;
}

void ext_inode_untake(struct ext_fs *x, uint32_t ino, bool directory)
{
    ext2fs_inode_alloc_stats2(x->lib, ino, -1, directory);
    x->writer->dirty_groups[ext2fs_group_of_ino(x->lib, ino)] |= EXT_GROUP_INODES;
}

/* A block for the extent tree, which a hole may split: it can't be the one that isn't there (see below). */
static errcode_t take_in_punch(ext2_filsys lib, blk64_t goal, blk64_t *ret)
{
    struct ext_fs *x = lib->priv_data;
    ext2fs_blocks_count_set(lib->super, x->super.blocks);
    errcode_t e = ext2fs_new_block2(lib, goal, NULL, ret);
    ext2fs_blocks_count_set(lib->super, x->super.blocks + 1);
    return e;
}

/* The library refuses to free an extent that ends with the file system's last block (it compares with >=
 * where > is meant), so it is told of one block more for the time being. */
int ext_punch(struct ext_fs *x, struct ext_inode *i, uint64_t first, uint64_t last)
{
    struct ext2_super_block *super = x->lib->super;
    errcode_t (*before)(ext2_filsys, blk64_t, blk64_t *);
    ext2fs_blocks_count_set(super, x->super.blocks + 1);
    ext2fs_set_alloc_block_callback(x->lib, take_in_punch, &before);
    errcode_t e = ext2fs_punch(x->lib, i->ino, ext_inode_lib(i), NULL, first, last);
    ext2fs_set_alloc_block_callback(x->lib, before, NULL);
    ext2fs_blocks_count_set(super, x->super.blocks);
    return ext_errno(e);
}

int ext_inode_free(struct ext_fs *x, struct ext_inode *i)
{
    struct ext2_inode *raw = ext_inode_lib(i);
    int r = lives_make_room(x->writer);
    if (r < 0)
        return r;
    bool directory = S_ISDIR(i->mode);
    if (ext2fs_inode_has_valid_blocks2(x->lib, raw))
        r = ext_punch(x, i, 0, UINT64_MAX);
    if (r == 0 && i->acl_block)
        r = ext_errno(ext2fs_free_ext_attr(x->lib, i->ino, (struct ext2_inode_large *)(void *)raw));
    if (r < 0)
        return r;
    raw->i_links_count = 0;
    raw->i_dtime = (uint32_t)ext_now().tv_sec;
    r = ext_errno(ext2fs_write_inode_full(x->lib, i->ino, raw, (int)i->raw_size));
    ext_inode_untake(x, i->ino, directory);
    lives_count(x->writer, i->ino);
    return r;
}
