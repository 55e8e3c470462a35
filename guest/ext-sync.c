/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a sync leaves on the disk: a file system as after a clean unmount.
 *
 * Files that are open and have no name any more are the difference: in memory they have their inode and their
 * blocks, on the disk they are gone. So they are freed for the moment in which the bitmaps and counts are
 * written, and taken again behind it. If we go down, nothing is left to be cleaned up. */
#include "ext-write.h"

#include <errno.h>

/* ---- orphans ---- */

struct hidden {
    struct hidden *next;
    struct ext_inode inode;
    bool acl_freed;
    struct ext_freed *runs; /* owned */
    size_t n, room;
    int error;
};

static int hidden_visit(ext2_filsys lib, blk64_t *block, e2_blkcnt_t n, blk64_t ref, int offset, void *ctx)
{
    struct hidden *h = ctx;
    (void)lib, (void)n, (void)ref, (void)offset;
    struct ext_freed *last = h->n ? &h->runs[h->n - 1] : NULL;
    if (last && last->block + last->count == *block) {
        last->count++;
        return 0;
    }
    if (h->n == h->room) {
        size_t room = h->room ? h->room * 2 : 16;
        struct ext_freed *p = reallocarray(h->runs, room, sizeof *p);
        if (!p) {
            h->error = -ENOMEM;
            return BLOCK_ABORT;
        }
        h->runs = p;
        h->room = room;
    }
    h->runs[h->n++] = (struct ext_freed){ *block, 1 };
    return 0;
}

static void hidden_free(struct hidden *h)
{
    free(h->runs);
    free(h);
}

static void hidden_account(struct ext_fs *x, const struct hidden *h, int taken)
{
    for (size_t k = 0; k < h->n; k++)
        ext2fs_block_alloc_stats_range(x->lib, h->runs[k].block, (blk_t)h->runs[k].count, taken);
    ext2fs_inode_alloc_stats2(x->lib, h->inode.ino, taken, 0);
    x->writer->dirty_groups[ext2fs_group_of_ino(x->lib, h->inode.ino)] |= EXT_GROUP_INODES;
}

/* A block of attributes may be shared by several inodes. */
static int hidden_share(struct ext_fs *x, struct hidden *h, int by)
{
    uint32_t left;
    if (!h->inode.acl_block)
        return 0;
    if (by > 0 && h->acl_freed)
        ext2fs_block_alloc_stats2(x->lib, h->inode.acl_block, +1);
    int r = ext_errno(ext2fs_adjust_ea_refcount3(x->lib, h->inode.acl_block, NULL, by, &left, h->inode.ino));
    if (r == 0 && by < 0 && !left) {
        ext2fs_block_alloc_stats2(x->lib, h->inode.acl_block, -1);
        h->acl_freed = true;
    }
    return r;
}

static int hide_one(struct ext_fs *x, uint32_t ino, struct hidden **list)
{
    struct hidden *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    struct ext2_inode *raw = ext_inode_lib(&h->inode);
    int r = ext_inode_read(x, ino, &h->inode);
    if (r == 0 && ext2fs_inode_has_valid_blocks2(x->lib, raw)) {
        r = ext_errno(ext2fs_block_iterate3(x->lib, ino, BLOCK_FLAG_READ_ONLY, NULL, hidden_visit, h));
        r = h->error ? h->error : r;
    }
    if (r == 0)
        r = hidden_share(x, h, -1);
    if (r < 0) {
        hidden_free(h);
        return r;
    }
    raw->i_dtime = (uint32_t)ext_now().tv_sec;
    r = ext_errno(ext2fs_write_inode_full(x->lib, ino, raw, (int)h->inode.raw_size));
    hidden_account(x, h, -1);
    h->next = *list;
    *list = h;
    return r;
}

static int hide_orphans(struct ext_fs *x, struct hidden **list)
{
    int r = 0;
    x->writer->hiding = true;
    for (size_t k = 0; k < EXT_OPEN_BUCKETS && r == 0; k++)
        for (struct ext_open *o = x->writer->open[k]; o && r == 0; o = o->next)
            r = o->orphan ? hide_one(x, o->ino, list) : 0;
    return r;
}

static int show_orphans(struct ext_fs *x, struct hidden *list)
{
    int r = 0;
    for (struct hidden *h = list, *next; h; h = next) {
        next = h->next;
        hidden_account(x, h, +1);
        int e = hidden_share(x, h, +1);
        r = r < 0 ? r : e;
        hidden_free(h);
    }
    x->writer->hiding = false;
    return r;
}

/* ---- what is written ---- */

/* Blocks that were freed and are free still are of no use to anyone. That the disk can't take the hint is no
 * error. */
static void discard_freed(struct ext_fs *x)
{
    struct ext_writer *w = x->writer;
    uint64_t size = x->super.block_size;
    for (size_t k = 0; k < w->n_freed; k++) {
        uint64_t end = w->freed[k].block + w->freed[k].count;
        for (uint64_t b = w->freed[k].block, first = b; b <= end; b++) {
            if (b < end && !ext2fs_test_block_bitmap2(x->lib->block_map, b))
                continue;
            if (b > first)
                (void)disk_discard(x->disk, first * size, (b - first) * size);
            first = b + 1;
        }
    }
    w->n_freed = 0;
}

static int flush(struct ext_fs *x)
{
    int r = 0;
    if (x->lib->flags & EXT2_FLAG_DIRTY) {
        x->lib->super->s_state |= EXT2_VALID_FS;
        r = ext_errno(ext2fs_flush2(x->lib, EXT2_FLAG_FLUSH_NO_SYNC));
    }
    int e = block_store_flush(x->store);
    return r < 0 ? r : e;
}

int ext_fs_sync(struct ext_fs *x)
{
    struct hidden *list = NULL;
    discard_freed(x); /* while the orphans' blocks count as used */
    int r = hide_orphans(x, &list);
    if (r == 0)
        r = flush(x);
    int e = show_orphans(x, list);
    return r < 0 ? r : e;
}

int ext_sync(struct volume *v)
{
    ext_write_begin(ext_of(v));
    int r = ext_fs_sync(&ext_of(v)->fs);
    ext_end(ext_of(v));
    return r;
}
