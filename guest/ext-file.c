/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Open files and links: data is read from the disk, straight into the reader's buffer, without a lock. An
 * open file holds its inode as it was at the open, with the root of its extents in it; the tree's blocks come
 * from the cache as they are needed (see ext-map.c). */
#include "ext.h"
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

void ext_file_release(struct volume_file *f)
{
    free(file_of(f)->inline_data);
    free(f);
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
    int r = ext_inode_get(x, ino, &f->inode);
    if (!r && !S_ISREG(f->inode.mode))
        r = S_ISDIR(f->inode.mode) ? -EISDIR : -EINVAL;
    if (!r && f->inode.flags & EXT4_ENCRYPT_FL)
        r = -ENOKEY;
    if (!r && f->inode.flags & EXT4_INLINE_DATA_FL)
        r = file_load_inline(x, f);
    if (r < 0) {
        ext_file_release(&f->file);
        return r;
    }
    *ret = &f->file;
    return 0;
}

int ext_file_read(struct volume_file *vf, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    struct ext_file *f = file_of(vf);
    *ret_len = 0;
    if (off >= f->inode.size)
        return 0;
    len = (size_t)min_u64(len, f->inode.size - off);
    if (f->inline_data) {
        memcpy(buf, f->inline_data + off, len);
    } else {
        int r = ext_read_mapped(fs_of(vf), &f->inode, buf, len, off);
        if (r < 0)
            return r;
    }
    *ret_len = len;
    return 0;
}

/* Runs that follow each other are joined, up to this many: a call does a bounded amount of work. */
enum { MAP_STEPS = 64 };

int ext_file_map(struct volume_file *vf, uint64_t off, uint64_t len, struct extent *ret)
{
    struct ext_file *f = file_of(vf);
    uint32_t size = fs_of(vf)->super.block_size;
    if (off >= f->inode.size || !len)
        return -EINVAL;
    len = min_u64(len, f->inode.size - off);
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA };
    if (f->inline_data)
        return 0;
    uint64_t at = off;
    for (int step = 0; step < MAP_STEPS && at - off < len; step++) {
        struct ext_run run;
        int r = ext_map(fs_of(vf), &f->inode, at / size, &run);
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
