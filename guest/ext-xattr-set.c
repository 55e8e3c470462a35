/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Setting and removing extended attributes, through libext2fs, which places them in the inode or in a block.
 *
 * The library takes what it reads at its word; so an inode's attributes are first looked through by our own
 * reader. An ACL and the mode are two views of one thing: setting one changes the other, as in Linux. */
#include "ext-write.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

static const char acl_access[] = "system.posix_acl_access", acl_default[] = "system.posix_acl_default";
enum { ACL_VERSION = 2, ACL_HEADER = 4, ACL_ENTRY = 8 };
enum { ACL_USER_OBJ = 1, ACL_USER = 2, ACL_GROUP_OBJ = 4, ACL_GROUP = 8, ACL_MASK = 16, ACL_OTHER = 32 };

static bool is_acl(const char *name)
{
    return !strcmp(name, acl_access) || !strcmp(name, acl_default);
}

static int check_name(const struct ext_inode *i, const char *name)
{
    static const char *const spaces[] = { "user.", "trusted.", "security." };
    if (is_acl(name))
        return S_ISLNK(i->mode) || (!strcmp(name, acl_default) && !S_ISDIR(i->mode)) ? -EOPNOTSUPP : 0;
    for (size_t k = 0; k < sizeof spaces / sizeof *spaces; k++) {
        size_t n = strlen(spaces[k]);
        if (!strncmp(name, spaces[k], n))
            return !name[n] ? -EINVAL : strlen(name + n) > 255 ? -ERANGE : 0;
    }
    return -EOPNOTSUPP;
}

/* As setfacl makes it: the entries in order, one each of the owner, the group and others. */
static int check_acl(const uint8_t *p, size_t n)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(p, n, 0, &bad);
    uint16_t last = 0, seen = 0;
    if (n < ACL_HEADER || (n - ACL_HEADER) % ACL_ENTRY || le32(b, 0) != ACL_VERSION)
        return -EINVAL;
    for (size_t off = ACL_HEADER; off < n; off += ACL_ENTRY) {
        uint16_t tag = le16(b, off);
        bool named = tag == ACL_USER || tag == ACL_GROUP;
        if (!tag || tag & (tag - 1) || tag > ACL_OTHER || le16(b, off + 2) > 7 || tag < last ||
            (tag == last && !named))
            return -EINVAL;
        last = tag;
        seen |= tag;
    }
    bool whole = seen & ACL_USER_OBJ && seen & ACL_GROUP_OBJ && seen & ACL_OTHER;
    bool masked = !(seen & (ACL_USER | ACL_GROUP)) || seen & ACL_MASK;
    return whole && masked ? 0 : -EINVAL;
}

/* The permissions that a mode and an ACL share: 0700 the owner's, 0070 the mask's (or the group's), 0007. */
static unsigned acl_shift(uint16_t tag, bool masked)
{
    return tag == ACL_USER_OBJ                          ? 6
           : tag == (masked ? ACL_MASK : ACL_GROUP_OBJ) ? 3
           : tag == ACL_OTHER                           ? 0
                                                        : 16;
}

static bool acl_masked(struct bytes b)
{
    for (size_t off = ACL_HEADER; off < b.n; off += ACL_ENTRY)
        if (le16(b, off) == ACL_MASK)
            return true;
    return false;
}

static uint16_t acl_mode(struct bytes b)
{
    bool masked = acl_masked(b);
    uint16_t mode = 0;
    for (size_t off = ACL_HEADER; off < b.n; off += ACL_ENTRY) {
        unsigned shift = acl_shift(le16(b, off), masked);
        if (shift < 16)
            mode |= (uint16_t)((le16(b, off + 2) & 7) << shift);
    }
    return mode;
}

/* Does it say no more than a mode can? */
static bool acl_is_mode(const uint8_t *p, size_t n)
{
    (void)p;
    return n == ACL_HEADER + 3 * ACL_ENTRY;
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
        r = ext_xattr_get(x, i, k ? acl_default : acl_access, NULL, 0, &len);
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

/* The library writes at once. What it can't place leaves everything as it was. */
static int attribute_put(struct ext_fs *x, struct ext_inode *i, const char *name, const void *value,
                         size_t size)
{
    struct ext2_xattr_handle *h;
    int r = attributes_take(x, i, &h);
    if (r < 0)
        return r;
    r = ext_errno(value ? ext2fs_xattr_set(h, name, value, size) : ext2fs_xattr_remove(h, name));
    ext2fs_xattrs_close(&h);
    int e = ext_inode_read(x, i->ino, i);
    if (r < 0 || e < 0)
        return r < 0 ? r : e;
    if (x->lib->super->s_feature_compat & EXT2_FEATURE_COMPAT_EXT_ATTR)
        return 0;
    ext2fs_set_feature_xattr(x->lib->super);
    ext2fs_mark_super_dirty(x->lib);
    return 0;
}

int ext_acl_follow_mode(struct ext_fs *x, struct ext_inode *i)
{
    uint8_t *buf;
    size_t n;
    int r = ext_xattr_get(x, i, acl_access, NULL, 0, &n);
    if (r < 0)
        return r == -ENODATA ? 0 : r;
    _cleanup_free_ uint8_t *p = buf = malloc(n);
    if (!p)
        return -ENOMEM;
    if ((r = ext_xattr_get(x, i, acl_access, buf, n, &n)) < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(buf, n, 0, &bad);
    bool masked = acl_masked(b);
    for (size_t off = ACL_HEADER; off + ACL_ENTRY <= n; off += ACL_ENTRY) {
        unsigned shift = acl_shift(le16(b, off), masked);
        if (shift < 16)
            put_le16(buf + off + 2, (uint16_t)(i->mode >> shift & 7));
    }
    return attribute_put(x, i, acl_access, buf, n);
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
    if (is_acl(name) && (r = check_acl(value, size)) < 0)
        return r;
    r = ext_xattr_get(x, i, name, NULL, 0, &len);
    if (r < 0 && r != -ENODATA)
        return r;
    if ((flags & XATTR_CREATE && !r) || (flags & XATTR_REPLACE && r))
        return r ? r : -EEXIST;
    bool there = !r, access = !strcmp(name, acl_access);
    if ((r = ext_reserve(x, 1)) < 0)
        return r;
    if (access && acl_is_mode(value, size)) {
        r = there ? attribute_put(x, i, name, NULL, 0) : 0;
    } else {
        r = attribute_put(x, i, name, size ? value : "", size);
    }
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    if (access)
        i->mode = (uint16_t)((i->mode & ~0777) | acl_mode(bytes_of(value, size, 0, &bad)));
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
    if (r < 0 || (r = ext_may_change(i, true)) < 0 || (r = ext_xattr_get(x, i, name, NULL, 0, &len)) < 0 ||
        (r = ext_reserve(x, 1)) < 0 || (r = attribute_put(x, i, name, NULL, 0)) < 0)
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
