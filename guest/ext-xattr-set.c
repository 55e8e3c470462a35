/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Setting and removing extended attributes, through libext2fs, which places them in the inode or in a block.
 *
 * The library takes what it reads at its word; so an inode's attributes are first looked through by our own
 * reader. */
#include "ext-write.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

static bool is_acl(const char *name)
{
    return !strcmp(name, EXT_ACL_ACCESS) || !strcmp(name, EXT_ACL_DEFAULT);
}

static int check_name(const struct ext_inode *i, const char *name)
{
    static const char *const spaces[] = { "user.", "trusted.", "security." };
    if (is_acl(name))
        return S_ISLNK(i->mode) || (!strcmp(name, EXT_ACL_DEFAULT) && !S_ISDIR(i->mode)) ? -EOPNOTSUPP : 0;
    for (size_t k = 0; k < sizeof spaces / sizeof *spaces; k++) {
        size_t n = strlen(spaces[k]);
        if (!strncmp(name, spaces[k], n))
            return !name[n] ? -EINVAL : strlen(name + n) > 255 ? -ERANGE : 0;
    }
    return -EOPNOTSUPP;
}

static int visit_all(void *ctx, const struct ext_xattr *a)
{
    (void)ctx, (void)a;
    return 0;
}

/* The library's handle with all attributes in it. */
static int attributes_take(struct ext_fs *x, const struct ext_inode *i, struct ext2_xattr_handle **ret)
{
    int r = ext_xattr_each(x, i, visit_all, NULL);
    if (r < 0)
        return r;
    size_t len;
    for (int k = 0; k < 2; k++) { /* an ACL that can't be converted is damage */
        r = ext_xattr_get(x, i, k ? EXT_ACL_DEFAULT : EXT_ACL_ACCESS, NULL, 0, &len);
        if (r < 0 && r != -ENODATA)
            return r;
    }
    struct ext2_xattr_handle *h = NULL;
    r = ext_errno(ext2fs_xattrs_open(x->lib, i->ino, &h));
    if (r == 0 && (r = ext_errno(ext2fs_xattrs_read(h))) < 0)
        ext2fs_xattrs_close(&h);
    if (r == 0)
        *ret = h;
    return r;
}

static int put(struct ext_fs *x, struct ext_inode *i, const char *name, const void *value, size_t size)
{
    struct ext2_xattr_handle *h;
    int r = attributes_take(x, i, &h);
    if (r < 0)
        return r;
    r = ext_errno(value ? ext2fs_xattr_set(h, name, value, size) : ext2fs_xattr_remove(h, name));
    ext2fs_xattrs_close(&h);
    int e = ext_inode_read(x, i->ino, i);
    return r < 0 ? r : e;
}

/* The library writes at once. What it can't place leaves everything as it was. It wants the feature to be
 * there, which the first attribute brings. */
int ext_xattr_put(struct ext_fs *x, struct ext_inode *i, const char *name, const void *value, size_t size)
{
    if (ext2fs_has_feature_xattr(x->lib->super))
        return put(x, i, name, value, size);
    if (!value)
        return -ENODATA;
    ext2fs_set_feature_xattr(x->lib->super);
    int r = put(x, i, name, value, size);
    if (r < 0)
        ext2fs_clear_feature_xattr(x->lib->super);
    else
        ext2fs_mark_super_dirty(x->lib);
    return r;
}

/* An access ACL that says no more than a mode can isn't kept; one without entries is none at all. */
static int value_put(struct ext_fs *x, struct ext_inode *i, const char *name, const void *value, size_t size,
                     bool there)
{
    bool access = !strcmp(name, EXT_ACL_ACCESS);
    if (is_acl(name) && (ext_acl_empty(value, size) || (access && ext_acl_is_mode(size))))
        return there ? ext_xattr_put(x, i, name, NULL, 0) : 0;
    return ext_xattr_put(x, i, name, size ? value : "", size);
}

static int set_value(struct ext_fs *x, struct ext_inode *i, const char *name, const void *value, size_t size,
                     int flags)
{
    size_t len;
    int r = check_name(i, name);
    if (r < 0 || (r = ext_may_change(i, true)) < 0)
        return r;
    if (size > EXT_XATTR_VALUE_MAX)
        return -E2BIG;
    bool empty = is_acl(name) && ext_acl_empty(value, size);
    if (is_acl(name) && !empty && (r = ext_acl_check(value, size)) < 0)
        return r;
    r = ext_xattr_get(x, i, name, NULL, 0, &len);
    if (r < 0 && r != -ENODATA)
        return r;
    if ((flags & XATTR_CREATE && !r) || (flags & XATTR_REPLACE && r))
        return r ? r : -EEXIST;
    bool there = !r;
    if ((r = ext_reserve(x, 1)) < 0 || (r = value_put(x, i, name, value, size, there)) < 0)
        return r;
    if (!strcmp(name, EXT_ACL_ACCESS) && !empty)
        i->mode = (uint16_t)((i->mode & ~0777) | ext_acl_mode(value, size));
    i->ctime = ext_now();
    return ext_inode_write(x, i);
}

int ext_setxattr(struct volume *v, uint64_t ino, const char *name, const void *value, size_t size, int flags)
{
    struct ext_fs *x = &ext_of(v)->fs;
    struct ext_inode i;
    ext_write_begin(ext_of(v));
    int r = ext_inode_get(x, ino, &i);
    if (r == 0)
        r = set_value(x, &i, name, value, size, flags);
    ext_end(ext_of(v));
    return r;
}

static int remove_value(struct ext_fs *x, struct ext_inode *i, const char *name)
{
    size_t len;
    int r = check_name(i, name);
    if (r < 0 || (r = ext_may_change(i, true)) < 0)
        return r;
    r = ext_xattr_get(x, i, name, NULL, 0, &len);
    if (r == -ENODATA && is_acl(name)) /* as Linux: there is none afterwards either */
        return 0;
    if (r < 0 || (r = ext_reserve(x, 1)) < 0 || (r = ext_xattr_put(x, i, name, NULL, 0)) < 0)
        return r;
    i->ctime = ext_now();
    return ext_inode_write(x, i);
}

int ext_removexattr(struct volume *v, uint64_t ino, const char *name)
{
    struct ext_fs *x = &ext_of(v)->fs;
    struct ext_inode i;
    ext_write_begin(ext_of(v));
    int r = ext_inode_get(x, ino, &i);
    if (r == 0)
        r = remove_value(x, &i, name);
    ext_end(ext_of(v));
    return r;
}
