/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attributes of inodes: modes, owners, sizes and times. */
#include "ext-write.h"

#include <errno.h>

int ext_may_change(const struct ext_inode *i, bool append_too)
{
    uint32_t marks = EXT2_IMMUTABLE_FL | (append_too ? EXT2_APPEND_FL : 0);
    return i->flags & marks ? -EPERM : 0;
}

static void take_fields(struct ext_inode *i, const struct volume_attr *a, unsigned which)
{
    if (which & SET_MODE)
        i->mode = (uint16_t)((i->mode & S_IFMT) | (a->mode & 07777));
    if (which & SET_UID)
        i->uid = a->uid;
    if (which & SET_GID)
        i->gid = a->gid;
    if (which & SET_ATIME)
        i->atime = a->atime;
    if (which & SET_MTIME)
        i->mtime = a->mtime;
    i->ctime = which & SET_CTIME ? a->ctime : ext_now();
    if (which & SET_BIRTH)
        i->birth = a->birth;
}

static int set_size(struct ext_fs *x, struct ext_inode *i, uint64_t size)
{
    if (!S_ISREG(i->mode))
        return S_ISDIR(i->mode) ? -EISDIR : -EINVAL;
    if (i->flags & (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL))
        return -EIO;
    return ext_resize(x, i, size);
}

static int set_attributes(struct ext_fs *x, struct ext_inode *i, const struct volume_attr *a, unsigned which)
{
    int r = ext_may_change(i, true);
    if (r == 0 && which & SET_SIZE)
        r = set_size(x, i, a->size);
    if (r < 0)
        return r;
    take_fields(i, a, which);
    r = ext_inode_write(x, i);
    return r == 0 && which & SET_MODE ? ext_acl_follow_mode(x, i) : r;
}

int ext_setattr(struct volume *v, uint64_t ino, const struct volume_attr *a, unsigned which)
{
    struct ext_fs *x = &ext_of(v)->fs;
    struct ext_inode i;
    ext_write_begin(ext_of(v));
    int r = ext_inode_get(x, ino, &i);
    if (r == 0)
        r = set_attributes(x, &i, a, which);
    ext_end(ext_of(v));
    return r;
}
