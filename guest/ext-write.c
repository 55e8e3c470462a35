/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bytes of files: written straight to the disk, past the store, into blocks that are found or taken
 * first.
 *
 *     what a block is      what a write does
 *     written              the bytes
 *     unwritten            the whole block, zeros around the bytes; then it is marked as written
 *     hole                 takes a block, then as above, then puts it into the tree
 *
 * So a block is in the tree only once it has its bytes, and a write that fails gives back what it took.
 *
 * Extents are put into the tree by libext2fs, one block at a time: it joins neighbours. Block maps are the
 * library's own: ext2fs_bmap2() takes the block, and those of numbers above it. */
#include "../formats/checked.h"
#include "ext-write.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* ---- sizes ---- */

int ext_size_check(const struct ext_fs *x, const struct ext_inode *i, uint64_t size)
{
    uint64_t blocks = UINT32_MAX, per = x->super.block_size / 4; /* the last number means no block */
    if (!(i->flags & EXT4_EXTENTS_FL)) /* i_blocks counts 512-byte units in 32 bits without huge_file */
        blocks = min_u64(12 + per + per * per + per * per * per, UINT32_MAX / (x->super.block_size / 512));
    return size > blocks * x->super.block_size || size > INT64_MAX ? -EFBIG : 0;
}

void ext_size_announce(struct ext_fs *x, uint64_t size)
{
    if (size > INT32_MAX && !ext2fs_has_feature_large_file(x->lib->super)) {
        ext2fs_set_feature_large_file(x->lib->super);
        ext2fs_mark_super_dirty(x->lib);
    }
}

/* ---- blocks into the tree ---- */

int ext_map_set(struct ext_fs *x, struct ext_inode *i, uint64_t logical, uint64_t block, bool unwritten)
{
    struct ext2_inode *raw = ext_inode_lib(i);
    if (!(i->flags & EXT4_EXTENTS_FL)) {
        blk64_t b = block;
        return ext_errno(ext2fs_bmap2(x->lib, i->ino, raw, NULL, BMAP_SET, logical, NULL, &b));
    }
    ext2_extent_handle_t h;
    int r = ext_errno(ext2fs_extent_open2(x->lib, i->ino, raw, &h));
    if (r < 0)
        return r;
    r = ext_errno(ext2fs_extent_set_bmap(h, logical, block, unwritten ? EXT2_EXTENT_SET_BMAP_UNINIT : 0));
    ext2fs_extent_free(h);
    return r;
}

/* A block for the hole at `logical`; *goal is where to look, and moves on. The caller puts it into the tree
 * of a file with extents; it is in that of one with a block map. */
static int block_for(struct ext_fs *x, struct ext_inode *i, uint64_t logical, uint64_t *goal, uint64_t *ret)
{
    int r;
    if (i->flags & EXT4_EXTENTS_FL) {
        r = ext_block_take(x, *goal, ret);
    } else {
        blk64_t b = 0;
        r = ext_errno(ext2fs_bmap2(x->lib, i->ino, ext_inode_lib(i), NULL, BMAP_ALLOC, logical, NULL, &b));
        *ret = b;
    }
    *goal = *ret + 1;
    return r;
}

/* `block` is the file's at `logical` from now on. */
static int block_keep(struct ext_fs *x, struct ext_inode *i, uint64_t logical, uint64_t block, bool unwritten)
{
    if (!(i->flags & EXT4_EXTENTS_FL))
        return 0;
    int r = ext_map_set(x, i, logical, block, unwritten);
    if (r == 0)
        r = ext_errno(ext2fs_iblk_add_blocks(x->lib, ext_inode_lib(i), 1));
    return r;
}

static void block_drop(struct ext_fs *x, struct ext_inode *i, uint64_t logical, uint64_t block)
{
    if (i->flags & EXT4_EXTENTS_FL)
        ext_block_free(x, block);
    else
        (void)ext_punch(x, i, logical, logical);
}

/* Where to look for the block of a hole: behind the one before it. */
static uint64_t goal_for(struct ext_fs *x, const struct ext_inode *i, uint64_t logical)
{
    struct ext_run before;
    if (logical && ext_map(x, i, logical - 1, &before) == 0 && before.at)
        return before.at + 1;
    return ext_block_goal(x, i->ino);
}

/* ---- bytes into blocks ---- */

static int disk_put(struct ext_fs *x, const void *buf, size_t len, uint64_t byte)
{
    uint32_t size = x->super.block_size;
    uint64_t first = byte / size, last = (byte + len - 1) / size;
    if (byte % size == 0 && len % size == 0)
        block_store_forget(x->store, first, last - first + 1);
    else {
        int r = block_store_release(x->store, first, last - first + 1);
        if (r < 0)
            return r;
    }
    int r = disk_pwrite(x->disk, buf, len, byte);
    return r == -EINVAL ? -EIO : r;
}

/* Bytes of one file that are being written. */
struct put {
    struct ext_fs *x;
    struct ext_inode *i;
    const uint8_t *buf; /* NULL: zeros, only where something is written already */
    uint64_t off, end;  /* in the file */
    uint8_t *block;     /* owned: one block, for those that are written in part */
};

/* The bytes for the whole block `logical`, zeros where there are none. */
static const uint8_t *put_whole(struct put *p, uint64_t logical)
{
    uint32_t size = p->x->super.block_size;
    uint64_t at = logical * size, from = max_u64(at, p->off), to = min_u64(at + size, p->end);
    if (to - from == size)
        return p->buf + (from - p->off);
    memset(p->block, 0, size);
    memcpy(p->block + (from - at), p->buf + (from - p->off), to - from);
    return p->block;
}

/* Blocks [first, first + count), all of one kind, have their bytes. */
static int put_run(struct put *p, const struct ext_run *run, uint64_t first, uint64_t count)
{
    uint32_t size = p->x->super.block_size;
    if (run->block) {
        uint64_t from = max_u64(first * size, p->off), to = min_u64((first + count) * size, p->end);
        return disk_put(p->x, p->buf + (from - p->off), to - from, run->block * size + (from - first * size));
    }
    uint64_t goal = run->unwritten ? 0 : goal_for(p->x, p->i, first);
    for (uint64_t n = first; n < first + count; n++) {
        uint64_t block = run->at + (n - first);
        int r = run->unwritten ? 0 : block_for(p->x, p->i, n, &goal, &block);
        if (r < 0)
            return r;
        r = disk_put(p->x, put_whole(p, n), size, block * size);
        if (r == 0)
            r = run->unwritten ? ext_map_set(p->x, p->i, n, block, false)
                               : block_keep(p->x, p->i, n, block, false);
        if (r < 0) {
            if (!run->unwritten)
                block_drop(p->x, p->i, n, block);
            return r;
        }
    }
    return 0;
}

/* How many blocks of [first, last] are holes. */
static int holes_count(struct ext_fs *x, const struct ext_inode *i, uint64_t first, uint64_t last,
                       uint64_t *ret)
{
    *ret = 0;
    for (uint64_t n = first; n <= last;) {
        struct ext_run run;
        int r = ext_map(x, i, n, &run);
        if (r < 0)
            return r;
        uint64_t count = min_u64(run.blocks, last - n + 1);
        *ret += run.at ? 0 : count;
        n += count;
    }
    return 0;
}

int ext_write_mapped(struct ext_fs *x, struct ext_inode *i, const void *buf, size_t len, uint64_t off)
{
    uint32_t size = x->super.block_size;
    uint64_t first = off / size, last = (off + len - 1) / size, holes;
    int r = holes_count(x, i, first, last, &holes);
    if (r < 0 || (r = ext_reserve(x, holes)) < 0)
        return r;
    _cleanup_free_ uint8_t *block = malloc(size);
    if (!block)
        return -ENOMEM;
    struct put p = { x, i, buf, off, off + len, block };
    for (uint64_t n = first; n <= last && r == 0;) {
        struct ext_run run;
        r = ext_map(x, i, n, &run);
        if (r < 0)
            break;
        uint64_t count = min_u64(run.blocks, last - n + 1);
        r = put_run(&p, &run, n, count);
        n += count;
    }
    return r;
}

/* Zeros for bytes [off, end) as far as they are written; they lie in one block. */
static int zero_part(struct ext_fs *x, struct ext_inode *i, uint64_t off, uint64_t end)
{
    uint32_t size = x->super.block_size;
    struct ext_run run;
    if (off >= end)
        return 0;
    int r = ext_map(x, i, off / size, &run);
    if (r < 0 || !run.block)
        return r;
    _cleanup_free_ uint8_t *zeros = calloc(1, size);
    if (!zeros)
        return -ENOMEM;
    return disk_put(x, zeros, end - off, run.block * size + off % size);
}

/* What lies behind the end in its block is to be zeros before the file grows over it. */
static int zero_tail(struct ext_fs *x, struct ext_inode *i)
{
    return zero_part(x, i, i->size, round_up(i->size, x->super.block_size));
}

/* Of a file with a block map: its numbers in [first, last] become 0. ext2fs_punch() leaves some of them when
 * it isn't told to cut everything behind `first`. */
static int unmap(struct ext_fs *x, struct ext_inode *i, uint64_t first, uint64_t last)
{
    struct ext2_inode *raw = ext_inode_lib(i);
    for (uint64_t n = first; n <= last;) {
        struct ext_run run;
        int r = ext_map(x, i, n, &run);
        if (r < 0)
            return r;
        uint64_t count = min_u64(run.blocks, last - n + 1);
        for (uint64_t k = 0; run.block && k < count && r == 0; k++) {
            blk64_t none = 0;
            r = ext_errno(ext2fs_bmap2(x->lib, i->ino, raw, NULL, BMAP_SET, n + k, NULL, &none));
            if (r == 0) {
                ext_block_free(x, run.block + k);
                r = ext_errno(ext2fs_iblk_sub_blocks(x->lib, raw, 1));
            }
        }
        if (r < 0)
            return r;
        n += count;
    }
    return 0;
}

/* The blocks [first, last] become holes. */
static int punch(struct ext_fs *x, struct ext_inode *i, uint64_t first, uint64_t last)
{
    if (!(i->flags & EXT4_EXTENTS_FL)) {
        uint64_t end = div_up(i->size, x->super.block_size);
        int r = end > first ? unmap(x, i, first, min_u64(last, end)) : 0;
        if (r < 0 || last != UINT64_MAX)
            return r;
    }
    return ext_punch(x, i, first, last);
}

/* The tree and the count of blocks, which the library changed, are in the bytes; the rest is in the fields.
 */
static int commit(struct ext_fs *x, struct ext_inode *i, bool touched)
{
    if (touched)
        i->mtime = i->ctime = ext_now();
    return ext_inode_write(x, i);
}

int ext_resize(struct ext_fs *x, struct ext_inode *i, uint64_t size)
{
    uint32_t block = x->super.block_size;
    int r = ext_size_check(x, i, size);
    if (r < 0)
        return r;
    if (size > i->size) {
        r = zero_tail(x, i);
    } else {
        r = zero_part(x, i, size, min_u64(round_up(size, block), i->size));
        if (r == 0)
            r = punch(x, i, div_up(size, block), ~0ull);
    }
    if (r < 0)
        return r;
    i->size = size;
    ext_size_announce(x, size);
    return commit(x, i, true);
}

/* ---- open files ---- */

static int file_inode(struct volume_file *f, struct ext_inode *ret)
{
    struct ext_fs *x = &ext_of(f->volume)->fs;
    int r = ext_inode_read(x, ext_file_ino(f), ret);
    if (r == 0)
        r = ext_may_change(ret, false);
    return r < 0 ? r : ret->flags & (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL) ? -EIO : 0;
}

static int write_at(struct ext_fs *x, struct ext_inode *i, const void *buf, size_t len, uint64_t off)
{
    uint64_t end;
    if (!checked_add(off, len, &end))
        return -EFBIG;
    int r = ext_size_check(x, i, end);
    if (r < 0)
        return r;
    if (i->flags & EXT2_APPEND_FL && off < i->size)
        return -EPERM;
    if (off > i->size && (r = zero_tail(x, i)) < 0)
        return r;
    r = ext_write_mapped(x, i, buf, len, off);
    if (r == 0) {
        i->size = max_u64(i->size, end);
        ext_size_announce(x, end);
    }
    uint64_t block = x->super.block_size, keep = div_up(i->size, block);
    if (r < 0 && div_up(end, block) > keep) /* what was taken behind the end */
        punch(x, i, max_u64(keep, off / block), UINT64_MAX);
    int e = commit(x, i, r == 0);
    return r < 0 ? r : e;
}

int ext_file_write(struct volume_file *f, const void *buf, size_t len, uint64_t off)
{
    struct ext_volume *v = ext_of(f->volume);
    struct ext_inode i;
    if (!len)
        return 0;
    ext_write_begin(v);
    int r = file_inode(f, &i);
    if (r == 0)
        r = write_at(&v->fs, &i, buf, len, off);
    ext_end(v);
    return r;
}

/* Blocks for all holes in [first, last], without bytes. */
static int preallocate(struct ext_fs *x, struct ext_inode *i, uint64_t first, uint64_t last)
{
    uint64_t holes;
    int r = holes_count(x, i, first, last, &holes);
    if (r < 0 || (r = ext_reserve(x, holes)) < 0)
        return r;
    for (uint64_t n = first; n <= last && r == 0;) {
        struct ext_run run;
        r = ext_map(x, i, n, &run);
        uint64_t count = r < 0 ? 1 : min_u64(run.blocks, last - n + 1), goal = 0;
        if (r == 0 && !run.at)
            goal = goal_for(x, i, n);
        for (uint64_t k = 0; r == 0 && !run.at && k < count; k++) {
            uint64_t block;
            r = block_for(x, i, n + k, &goal, &block);
            if (r == 0 && (r = block_keep(x, i, n + k, block, true)) < 0)
                block_drop(x, i, n + k, block);
        }
        n += count;
    }
    return r;
}

/* Bytes [off, end) read as zeros, the whole blocks among them are holes. */
static int make_hole(struct ext_fs *x, struct ext_inode *i, uint64_t off, uint64_t end)
{
    uint32_t size = x->super.block_size;
    uint64_t first = div_up(off, size), last = end / size; /* whole blocks: [first, last) */
    int r = zero_part(x, i, off, min_u64(end, first * size));
    if (r == 0 && last >= first)
        r = zero_part(x, i, last * size, end);
    if (r == 0 && last > first)
        r = punch(x, i, first, last - 1);
    return r;
}

static int allocate(struct ext_fs *x, struct ext_inode *i, int mode, uint64_t off, uint64_t end)
{
    bool keep = mode & FALLOC_FL_KEEP_SIZE;
    int r = 0;
    mode &= ~FALLOC_FL_KEEP_SIZE;
    if (mode && mode != FALLOC_FL_PUNCH_HOLE && mode != FALLOC_FL_ZERO_RANGE)
        return -EOPNOTSUPP;
    if (mode == FALLOC_FL_PUNCH_HOLE && !keep)
        return -EOPNOTSUPP;
    if (mode != FALLOC_FL_PUNCH_HOLE && !(i->flags & EXT4_EXTENTS_FL))
        return -EOPNOTSUPP;
    uint64_t holes = 0, block = x->super.block_size;
    if (mode != FALLOC_FL_PUNCH_HOLE)
        r = holes_count(x, i, off / block, (end - 1) / block, &holes);
    if (r < 0 || (r = ext_reserve(x, holes)) < 0) /* before anything is changed: a hole may split an extent */
        return r;
    bool grows = mode != FALLOC_FL_PUNCH_HOLE && !keep && end > i->size;
    if (grows || mode == FALLOC_FL_ZERO_RANGE)
        r = zero_tail(x, i);
    if (r == 0 && mode)
        r = make_hole(x, i, off,
                      mode == FALLOC_FL_PUNCH_HOLE ? min_u64(end, round_up(i->size, x->super.block_size))
                                                   : end);
    if (r == 0 && mode != FALLOC_FL_PUNCH_HOLE)
        r = preallocate(x, i, off / x->super.block_size, (end - 1) / x->super.block_size);
    if (r == 0 && grows) {
        i->size = end;
        ext_size_announce(x, end);
    }
    int e = commit(x, i, true);
    return r < 0 ? r : e;
}

int ext_file_fallocate(struct volume_file *f, int mode, uint64_t off, uint64_t len)
{
    struct ext_volume *v = ext_of(f->volume);
    struct ext_inode i;
    uint64_t end;
    if (!len)
        return -EINVAL;
    ext_write_begin(v);
    int r = file_inode(f, &i);
    if (r == 0 && i.flags & EXT2_APPEND_FL && mode & ~FALLOC_FL_KEEP_SIZE)
        r = -EPERM;
    if (r == 0)
        r = checked_add(off, len, &end) ? ext_size_check(&v->fs, &i, end) : -EFBIG;
    if (r == 0)
        r = allocate(&v->fs, &i, mode, off, end);
    ext_end(v);
    return r;
}
