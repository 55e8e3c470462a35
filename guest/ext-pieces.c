/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a file lies: its inode in the table of its group, the block of its extended attributes, the blocks of
 * its tree, and its data. Of what is inline, and of fast links and devices, the inode is the content. */
#include "ext.h"

#include <errno.h>

enum { FILE_RUNS_MAX = 1 << 24 }; /* pieces of one file that are looked at */

struct pieces {
    struct ext_fs *x;
    volume_piece fn;
    void *ctx;
    bool ended;
};

static int give(struct pieces *g, uint64_t off, uint64_t len, int64_t at)
{
    g->ended = g->fn(g->ctx, off, len, at) != 0;
    return g->ended;
}

static int give_node(void *ctx, uint64_t block)
{
    struct pieces *g = ctx;
    return give(g, block * g->x->super.block_size, g->x->super.block_size, PIECE_RECORD);
}

/* Inode tables don't move. */
static uint64_t inode_at(struct ext_fs *x, uint32_t ino)
{
    pthread_mutex_lock(&x->lock);
    uint32_t per = x->lib->super->s_inodes_per_group;
    uint64_t table = ext2fs_inode_table_loc(x->lib, (ino - 1) / per);
    pthread_mutex_unlock(&x->lock);
    return table * x->super.block_size + (uint64_t)((ino - 1) % per) * x->super.inode_size;
}

/* Is the content in blocks of its own? */
static bool is_mapped(const struct ext_inode *i)
{
    if (i->flags & EXT4_INLINE_DATA_FL)
        return false;
    return S_ISREG(i->mode) || S_ISDIR(i->mode) ||
           (S_ISLNK(i->mode) && (i->flags & EXT4_EXTENTS_FL || i->size >= EXT_INODE_BLOCK_SIZE));
}

static int give_data(struct pieces *g, const struct ext_inode *i)
{
    uint64_t size = g->x->super.block_size, end = i->size / size + (i->size % size != 0);
    struct ext_run run;
    unsigned n = 0;
    int r = 0;
    for (uint64_t at = 0; at < end && !r; at += run.blocks) {
        if (++n > FILE_RUNS_MAX)
            return -ENOTSUP;
        r = ext_map(g->x, i, at, &run);
        if (!r && run.block)
            r = give(g, run.block * size, run.blocks * size, (int64_t)(at * size));
    }
    return r;
}

static int give_all(struct pieces *g, const struct ext_inode *i)
{
    bool mapped = is_mapped(i);
    int r = give(g, inode_at(g->x, i->ino), g->x->super.inode_size, mapped ? PIECE_RECORD : 0);
    if (!r && i->acl_block)
        r = give_node(g, i->acl_block);
    if (!r && mapped)
        r = ext_map_nodes(g->x, i, give_node, g);
    return !r && mapped ? give_data(g, i) : r;
}

int ext_pieces(struct volume *v, uint64_t ino, volume_piece fn, void *ctx)
{
    struct pieces g = { .x = &ext_of(v)->fs, .fn = fn, .ctx = ctx };
    struct ext_inode i;
    /* Below a layer with the journal replayed, a block's newest bytes may lie in the journal; a writable
     * volume has them in their places. Attributes in inodes of their own aren't followed. */
    if ((ext_of(v)->replayed && !ext_of(v)->writer) || g.x->super.incompat & EXT4_FEATURE_INCOMPAT_EA_INODE)
        return -ENOTSUP;
    ext_read_begin(ext_of(v));
    int r = ext_inode_get(g.x, ino, &i);
    if (!r)
        r = give_all(&g, &i);
    ext_end(ext_of(v));
    return g.ended ? 0 : r;
}
