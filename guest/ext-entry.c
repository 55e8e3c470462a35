/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changing the entries of directories. A directory without an index is written here: an entry goes into the
 * first block with room, from where the last one went; one with an index (htree) gets its entries from
 * libext2fs, which splits its leaves. Removing and replacing is the same for both.
 *
 * Whether a name is there already has to be asked for each new one, and only a look at the whole directory
 * tells that it isn't. So the hashes of the names of the directory last written are kept: what isn't among
 * them isn't there. */
#include "../formats/checked.h"
#include "../formats/hash.h"
#include "ext-write.h"

#include <errno.h>
#include <string.h>

enum { DE_INODE = 0, DE_REC_LEN = 4, DE_NAME_LEN = 6, DE_TYPE = 7, DE_NAME = 8, DE_SIZE = 8, TAIL_SIZE = 12 };
enum { NAME_MAX_LEN = 255, DOT_DOT_AT = 12 };

/* One block of a directory, taken out to be changed. */
struct dir_block {
    uint64_t block; /* of the file system */
    size_t end;     /* bytes of entries: the checksum lies behind */
    uint8_t *p;     /* owned */
    struct bad bad;
};

static void dir_block_done(struct dir_block *b)
{
    free(b->p);
}

static int dir_block_take(struct ext_fs *x, const struct ext_inode *dir, uint64_t logical,
                          struct dir_block *ret)
{
    struct ext_run run;
    int r = ext_map(x, dir, logical, &run);
    if (r < 0 || !run.block)
        return r < 0 ? r : -EIO;
    if (!ret->p && !(ret->p = malloc(x->super.block_size)))
        return -ENOMEM;
    ret->block = run.block;
    ret->end = x->super.block_size - (x->super.has_csum ? TAIL_SIZE : 0);
    return ext_errno(ext2fs_read_dir_block4(x->lib, run.block, ret->p, 0, dir->ino));
}

static int dir_block_give(struct ext_fs *x, const struct ext_inode *dir, struct dir_block *b)
{
    return ext_errno(ext2fs_write_dir_block4(x->lib, b->block, b->p, 0, dir->ino));
}

/* Blocks of 64 KiB have two forms of the largest length. */
static uint32_t rec_len_get(const struct ext_fs *x, const struct dir_block *b, size_t off)
{
    struct bad bad = { 0 };
    uint32_t v = le16(bytes_of(b->p + off, DE_SIZE, 0, &bad), DE_REC_LEN);
    if (x->super.block_size < 65536)
        return v;
    return v == 65535 || !v ? 65536 : (v & 65532) | (v & 3) << 16;
}

static void rec_len_put(const struct ext_fs *x, struct dir_block *b, size_t off, uint32_t len)
{
    if (x->super.block_size < 65536)
        put_le16(b->p + off + DE_REC_LEN, (uint16_t)len);
    else
        put_le16(b->p + off + DE_REC_LEN, len == 65536 ? 65535 : (uint16_t)((len & 65532) | (len >> 16 & 3)));
}

static uint32_t inode_get(const struct dir_block *b, size_t off)
{
    struct bad bad = { 0 };
    return le32(bytes_of(b->p + off, DE_SIZE, 0, &bad), DE_INODE);
}

static size_t name_len_get(const struct ext_fs *x, const struct dir_block *b, size_t off)
{
    size_t n = b->p[off + DE_NAME_LEN];
    if (!(x->super.incompat & EXT2_FEATURE_INCOMPAT_FILETYPE))
        n |= (size_t)b->p[off + DE_NAME_LEN + 1] << 8;
    return n;
}

/* The length of the entry at `off`, checked; 0: it is damaged. */
static uint32_t entry_len(const struct ext_fs *x, const struct dir_block *b, size_t off)
{
    if (off + DE_SIZE > x->super.block_size)
        return 0;
    uint32_t len = rec_len_get(x, b, off);
    bool good = len >= DE_SIZE && len % 4 == 0 && len <= x->super.block_size - off &&
                (!inode_get(b, off) || name_len_get(x, b, off) + DE_SIZE <= len);
    return good ? len : 0;
}

static size_t entry_size(size_t name_len)
{
    return (DE_SIZE + name_len + 3) & ~(size_t)3;
}

static uint8_t entry_type(const struct ext_fs *x, uint16_t mode)
{
    if (!(x->super.incompat & EXT2_FEATURE_INCOMPAT_FILETYPE))
        return 0;
    switch (mode & S_IFMT) {
    case S_IFREG:
        return EXT2_FT_REG_FILE;
    case S_IFDIR:
        return EXT2_FT_DIR;
    case S_IFCHR:
        return EXT2_FT_CHRDEV;
    case S_IFBLK:
        return EXT2_FT_BLKDEV;
    case S_IFIFO:
        return EXT2_FT_FIFO;
    case S_IFSOCK:
        return EXT2_FT_SOCK;
    default:
        return EXT2_FT_SYMLINK;
    }
}

static void entry_put(const struct ext_fs *x, struct dir_block *b, size_t off, uint32_t ino, const char *name,
                      uint16_t mode)
{
    size_t n = strlen(name);
    put_le32(b->p + off + DE_INODE, ino);
    b->p[off + DE_NAME_LEN] = (uint8_t)n;
    b->p[off + DE_TYPE] = entry_type(x, mode);
    memcpy(b->p + off + DE_NAME, name, n);
}

/* ---- which names there are ---- */

struct ext_names {
    uint32_t dir;
    uint32_t *hashes; /* owned; open addressing, 0: none */
    size_t n, room;
};

enum { NAMES_MAX = 4 << 20, NAMES_WORTH_BLOCKS = 4 };

void ext_names_free(struct ext_names *n)
{
    if (n)
        free(n->hashes);
    free(n);
}

static uint32_t name_hash(const char *name, size_t len)
{
    uint32_t h = crc32c(name, len);
    return h ? h : 1;
}

static bool names_have(const struct ext_names *n, uint32_t hash)
{
    size_t at = hash & (n->room - 1);
    while (n->hashes[at] && n->hashes[at] != hash)
        at = (at + 1) & (n->room - 1);
    return n->hashes[at];
}

static void names_put(struct ext_names *n, uint32_t hash)
{
    size_t at = hash & (n->room - 1);
    while (n->hashes[at] && n->hashes[at] != hash)
        at = (at + 1) & (n->room - 1);
    n->n += !n->hashes[at];
    n->hashes[at] = hash;
}

static int names_add(struct ext_names *n, uint32_t hash)
{
    if (n->n * 2 >= n->room) {
        struct ext_names more = { .room = n->room ? n->room * 2 : 1024 };
        more.hashes = more.room <= NAMES_MAX ? calloc(more.room, sizeof *more.hashes) : NULL;
        if (!more.hashes)
            return -ENOMEM;
        for (size_t k = 0; k < n->room; k++)
            if (n->hashes[k])
                names_put(&more, n->hashes[k]);
        free(n->hashes);
        more.dir = n->dir;
        *n = more;
    }
    names_put(n, hash);
    return 0;
}

static int names_visit(void *ctx, const struct ext_dirent *e)
{
    return names_add(ctx, name_hash(e->name, e->len));
}

static void names_drop(struct ext_writer *w)
{
    ext_names_free(w->names);
    w->names = NULL;
}

/* The names of `dir`, if it is large enough for that to be worth it. */
static struct ext_names *names_of(struct ext_fs *x, struct ext_inode *dir)
{
    struct ext_writer *w = x->writer;
    if (w->names && w->names->dir == dir->ino)
        return w->names;
    if (dir->size / x->super.block_size < NAMES_WORTH_BLOCKS)
        return NULL;
    names_drop(w);
    w->names = calloc(1, sizeof *w->names);
    if (!w->names)
        return NULL;
    w->names->dir = dir->ino;
    if (names_add(w->names, 1) < 0 || ext_dir_each(x, dir, 0, names_visit, w->names) != 0)
        names_drop(w);
    return w->names;
}

bool ext_entry_absent(const struct ext_fs *x, const struct ext_inode *dir, const char *name)
{
    const struct ext_names *n = x->writer ? x->writer->names : NULL;
    size_t len = strlen(name);
    return n && n->dir == dir->ino && len <= NAME_MAX_LEN &&
           !(dir->flags & (EXT4_ENCRYPT_FL | EXT4_CASEFOLD_FL)) && !names_have(n, name_hash(name, len));
}

int ext_entry_find(struct ext_fs *x, struct ext_inode *dir, const char *name, uint32_t *ret_ino)
{
    size_t len = strlen(name);
    if (len > NAME_MAX_LEN)
        return -ENAMETOOLONG;
    if (!S_ISDIR(dir->mode))
        return -ENOTDIR;
    struct ext_names *n = names_of(x, dir);
    if (n && !names_have(n, name_hash(name, len)))
        return -ENOENT;
    return ext_dir_lookup(x, dir, name, ret_ino);
}

/* ---- adding ---- */

/* Puts the entry into the block if there is room. */
static bool block_add(const struct ext_fs *x, struct dir_block *b, const char *name, uint32_t ino,
                      uint16_t mode)
{
    size_t need = entry_size(strlen(name));
    for (size_t off = 0, len; off < b->end; off += len) {
        len = entry_len(x, b, off);
        if (!len || off + len > b->end)
            return false;
        size_t used = inode_get(b, off) ? entry_size(name_len_get(x, b, off)) : 0;
        if (len < used + need)
            continue;
        if (used) {
            rec_len_put(x, b, off, (uint32_t)used);
            rec_len_put(x, b, off + used, (uint32_t)(len - used));
        }
        entry_put(x, b, off + used, ino, name, mode);
        return true;
    }
    return false;
}

/* Looks for room once round, from the hint on. 1: done, 0: no room. */
static int linear_try(struct ext_fs *x, struct ext_inode *dir, const char *name, uint32_t ino, uint16_t mode)
{
    struct ext_writer *w = x->writer;
    _cleanup_(dir_block_done) struct dir_block b = { 0 };
    uint64_t blocks = dir->size / x->super.block_size;
    uint64_t from = w->hint_dir == dir->ino && w->hint_block < blocks ? w->hint_block : 0;
    for (uint64_t k = 0; k < blocks; k++) {
        uint64_t n = (from + k) % blocks;
        int r = dir_block_take(x, dir, n, &b);
        if (r < 0)
            return r;
        if (!block_add(x, &b, name, ino, mode)) {
            if (w->hint_dir == dir->ino && n == blocks - 1)
                return 0; /* what was full before it was asked for is so still, but for what is removed */
            continue;
        }
        w->hint_dir = dir->ino;
        w->hint_block = n;
        r = dir_block_give(x, dir, &b);
        return r < 0 ? r : 1;
    }
    return 0;
}

static int linear_add(struct ext_fs *x, struct ext_inode *dir, const char *name, uint32_t ino, uint16_t mode)
{
    int r = linear_try(x, dir, name, ino, mode);
    if (r)
        return r < 0 ? r : 0;
    r = ext_errno(ext2fs_expand_dir(x->lib, dir->ino));
    if (r < 0 || (r = ext_inode_read(x, dir->ino, dir)) < 0)
        return r;
    x->writer->hint_dir = dir->ino;
    x->writer->hint_block = dir->size / x->super.block_size - 1;
    r = linear_try(x, dir, name, ino, mode);
    return r < 0 ? r : r ? 0 : -EIO;
}

static int indexed_add(struct ext_fs *x, struct ext_inode *dir, const char *name, uint32_t ino, uint16_t mode)
{
    int r = ext_errno(ext2fs_link(x->lib, dir->ino, name, ino, entry_type(x, mode)));
    int e = ext_inode_read(x, dir->ino, dir);
    return r < 0 ? r : e;
}

int ext_entry_add(struct ext_fs *x, struct ext_inode *dir, const char *name, uint32_t ino, uint16_t mode)
{
    bool indexed = dir->flags & EXT2_INDEX_FL && x->super.compat & EXT2_FEATURE_COMPAT_DIR_INDEX;
    int r = indexed ? indexed_add(x, dir, name, ino, mode) : linear_add(x, dir, name, ino, mode);
    struct ext_names *n = x->writer->names;
    if (r == 0 && n && n->dir == dir->ino && names_add(n, name_hash(name, strlen(name))) < 0)
        names_drop(x->writer);
    return r;
}

/* ---- changing ---- */

/* The entry of this name in the block; *ret_before: the one before it, or itself. */
static bool block_find(const struct ext_fs *x, const struct dir_block *b, const char *name, size_t *ret,
                       size_t *ret_before)
{
    size_t n = strlen(name), before = 0;
    for (size_t off = 0, len; off < x->super.block_size && (len = entry_len(x, b, off)); off += len) {
        if (inode_get(b, off) && name_len_get(x, b, off) == n && !memcmp(b->p + off + DE_NAME, name, n)) {
            *ret = off;
            *ret_before = before;
            return true;
        }
        before = off;
    }
    return false;
}

/* The block that has the name, from the hint on. */
static int entry_locate(struct ext_fs *x, struct ext_inode *dir, const char *name, struct dir_block *b,
                        size_t *ret, size_t *ret_before)
{
    struct ext_writer *w = x->writer;
    uint64_t blocks = dir->size / x->super.block_size;
    uint64_t from = w->hint_dir == dir->ino && w->hint_block < blocks ? w->hint_block : 0;
    uint64_t leaf = ext_dir_leaf(x, dir, name);
    if (leaf)
        from = leaf;
    for (uint64_t k = 0; k < blocks; k++) {
        uint64_t n = (from + k) % blocks;
        int r = dir_block_take(x, dir, n, b);
        if (r < 0)
            return r;
        if (block_find(x, b, name, ret, ret_before)) {
            w->hint_dir = dir->ino;
            w->hint_block = n;
            return 0;
        }
    }
    return -ENOENT;
}

int ext_entry_remove(struct ext_fs *x, struct ext_inode *dir, const char *name)
{
    _cleanup_(dir_block_done) struct dir_block b = { 0 };
    size_t at, before;
    int r = entry_locate(x, dir, name, &b, &at, &before);
    if (r < 0)
        return r;
    if (at == before)
        put_le32(b.p + at + DE_INODE, 0);
    else
        rec_len_put(x, &b, before, rec_len_get(x, &b, before) + rec_len_get(x, &b, at));
    return dir_block_give(x, dir, &b);
}

int ext_entry_replace(struct ext_fs *x, struct ext_inode *dir, const char *name, uint32_t ino, uint16_t mode)
{
    _cleanup_(dir_block_done) struct dir_block b = { 0 };
    size_t at, before;
    int r = entry_locate(x, dir, name, &b, &at, &before);
    if (r < 0)
        return r;
    entry_put(x, &b, at, ino, name, mode);
    return dir_block_give(x, dir, &b);
}

/* ".." is the second entry of the first block, behind "." in its 12 bytes. */
static int parent_take(struct ext_fs *x, struct ext_inode *dir, struct dir_block *b)
{
    int r = dir_block_take(x, dir, 0, b);
    if (r < 0)
        return r;
    bool good = entry_len(x, b, 0) == DOT_DOT_AT && entry_len(x, b, DOT_DOT_AT) &&
                name_len_get(x, b, DOT_DOT_AT) == 2 && !memcmp(b->p + DOT_DOT_AT + DE_NAME, "..", 2);
    return good ? 0 : -EIO;
}

int ext_entry_set_parent(struct ext_fs *x, struct ext_inode *dir, uint32_t parent)
{
    _cleanup_(dir_block_done) struct dir_block b = { 0 };
    int r = parent_take(x, dir, &b);
    if (r < 0)
        return r;
    put_le32(b.p + DOT_DOT_AT + DE_INODE, parent);
    return dir_block_give(x, dir, &b);
}

int ext_entry_parent(struct ext_fs *x, struct ext_inode *dir, uint32_t *ret)
{
    _cleanup_(dir_block_done) struct dir_block b = { 0 };
    int r = parent_take(x, dir, &b);
    if (r == 0)
        *ret = inode_get(&b, DOT_DOT_AT);
    return r;
}
