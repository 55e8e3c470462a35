/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Open files and links: data is read from the disk, straight into the reader's buffer. An open file holds its
 * inode as it was at the open, with the root of its extents in it; the tree's blocks come from the cache as
 * they are needed (see ext-map.c), and no lock is taken. On a writable volume the inode is read anew for each
 * request, and its file counts as open, so that its data outlives its last name. */
#include "ext-write.h"
#include "../formats/checked.h"

#include <errno.h>
#include <string.h>

struct ext_file {
    struct volume_file file;
    struct ext_inode inode;
    uint8_t *inline_data; /* inode.size bytes, or NULL; owned */
};

static struct ext_fs *fs_of(struct volume_file *f)
{
    return &((struct ext_volume *)(void *)f->volume)->fs;
}

static struct ext_file *file_of(struct volume_file *f)
{
    return (struct ext_file *)(void *)f;
}

uint32_t ext_file_ino(struct volume_file *f)
{
    return file_of(f)->inode.ino;
}

static void file_free(struct ext_file *f)
{
    free(f->inline_data);
    free(f);
}

void ext_file_release(struct volume_file *f)
{
    struct ext_volume *v = ext_of(f->volume);
    struct ext_inode i;
    if (v->writer) {
        ext_read_begin(v);
        bool orphan = ext_open_drop(v->writer, ext_file_ino(f));
        ext_end(v);
        if (orphan) {
            ext_write_begin(v);
            if (ext_inode_read(&v->fs, ext_file_ino(f), &i) == 0)
                ext_inode_free(&v->fs, &i);
            ext_end(v);
        }
    }
    file_free(file_of(f));
}

static int file_load_inline(struct ext_fs *x, struct ext_file *f)
{
    uint8_t buf[EXT_INLINE_MAX];
    size_t len;
    int r = ext_inline_read(x, &f->inode, buf, &len);
    if (r < 0)
        return r;
    f->inline_data = malloc(len ? len : 1);
    if (!f->inline_data)
        return -ENOMEM;
    memcpy(f->inline_data, buf, len);
    return 0;
}

int ext_file_open(struct volume *v, uint64_t ino, struct volume_file **ret)
{
    struct ext_file *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->file.volume = v;
    struct ext_fs *x = fs_of(&f->file);
    ext_read_begin(ext_of(v));
    int r = ext_inode_get(x, ino, &f->inode);
    if (!r && !S_ISREG(f->inode.mode))
        r = S_ISDIR(f->inode.mode) ? -EISDIR : -EINVAL;
    if (!r && f->inode.flags & EXT4_ENCRYPT_FL)
        r = -ENOKEY;
    if (!r && f->inode.flags & EXT4_INLINE_DATA_FL)
        r = file_load_inline(x, f);
    if (!r && x->writer)
        r = ext_open_add(x->writer, f->inode.ino);
    ext_end(ext_of(v));
    if (r < 0) {
        file_free(f);
        return r;
    }
    *ret = &f->file;
    return 0;
}

/* The inode as it is now: the file's own, or `copy`. */
static int file_current(struct ext_file *f, struct ext_inode *copy, const struct ext_inode **ret)
{
    struct ext_fs *x = fs_of(&f->file);
    *ret = x->writer ? copy : &f->inode;
    return x->writer ? ext_inode_read(x, f->inode.ino, copy) : 0;
}

static int file_read(struct ext_file *f, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    struct ext_inode copy;
    const struct ext_inode *i;
    int r = file_current(f, &copy, &i);
    if (r < 0 || off >= i->size)
        return r;
    len = (size_t)min_u64(len, i->size - off);
    if (f->inline_data)
        memcpy(buf, f->inline_data + off, len);
    else
        r = ext_read_mapped(fs_of(&f->file), i, buf, len, off);
    *ret_len = r < 0 ? 0 : len;
    return r;
}

int ext_file_read(struct volume_file *f, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    *ret_len = 0;
    ext_read_begin(ext_of(f->volume));
    int r = file_read(file_of(f), buf, len, off, ret_len);
    ext_end(ext_of(f->volume));
    return r;
}

/* Runs that follow each other are joined, up to this many: a call does a bounded amount of work. */
enum { MAP_STEPS = 64 };

static int file_map(struct ext_file *f, uint64_t off, uint64_t len, struct extent *ret)
{
    struct ext_fs *x = fs_of(&f->file);
    uint32_t size = x->super.block_size;
    struct ext_inode copy;
    const struct ext_inode *i;
    int r = file_current(f, &copy, &i);
    if (r < 0)
        return r;
    if (off >= i->size || !len)
        return -EINVAL;
    len = min_u64(len, i->size - off);
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA };
    if (f->inline_data)
        return 0;
    uint64_t at = off;
    for (int step = 0; step < MAP_STEPS && at - off < len; step++) {
        struct ext_run run;
        r = ext_map(x, i, at / size, &run);
        if (r < 0 && at == off)
            return r;
        enum extent_kind kind = !r && run.block ? EXTENT_DATA : EXTENT_HOLE;
        if (r < 0 || (at != off && kind != ret->kind))
            break; /* an error further on is for whoever asks there */
        ret->kind = kind;
        at = (at / size + run.blocks) * size;
    }
    ret->length = min_u64(len, at - off);
    return 0;
}

int ext_file_map(struct volume_file *f, uint64_t off, uint64_t len, struct extent *ret)
{
    ext_read_begin(ext_of(f->volume));
    int r = file_map(file_of(f), off, len, ret);
    ext_end(ext_of(f->volume));
    return r;
}

int ext_link_read(struct ext_fs *x, const struct ext_inode *i, char *buf, size_t size)
{
    if (!S_ISLNK(i->mode))
        return -EINVAL;
    if (i->flags & EXT4_ENCRYPT_FL)
        return -ENOKEY;
    if (!i->size || i->size > x->super.block_size)
        return -EIO;
    if (i->size >= size)
        return -ENAMETOOLONG;
    size_t len = (size_t)i->size;
    int r = 0;
    if (i->flags & EXT4_INLINE_DATA_FL) {
        uint8_t data[EXT_INLINE_MAX];
        r = ext_inline_read(x, i, data, &len);
        if (!r)
            memcpy(buf, data, len);
    } else if (len < EXT_INODE_BLOCK_SIZE) { /* whatever its flags say, as in Linux */
        if (i->raw[EXT_INODE_BLOCK + len])
            return -EIO;
        memcpy(buf, i->raw + EXT_INODE_BLOCK, len);
    } else {
        r = ext_read_mapped(x, i, buf, len, 0);
    }
    if (r < 0)
        return r;
    buf[len] = 0;
    return strlen(buf) == len ? 0 : -EIO;
}
