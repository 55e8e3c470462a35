/* SPDX-License-Identifier: GPL-2.0-or-later */
/* POSIX ACLs, in the form that user space gives and sees: a version, and entries of 8 bytes.
 *
 * An access ACL and the mode are two views of one thing: who sets one changes the other. A directory's
 * default ACL becomes the access ACL of what is made in it, and the default ACL of directories: acl(5). What
 * an image says is checked before it is handed on. */
#include "ext-write.h"

#include <errno.h>
#include <string.h>

enum { ACL_VERSION = 2, ACL_HEADER = 4, ACL_ENTRY = 8 };
enum { ACL_USER_OBJ = 1, ACL_USER = 2, ACL_GROUP_OBJ = 4, ACL_GROUP = 8, ACL_MASK = 16, ACL_OTHER = 32 };

bool ext_acl_empty(const void *value, size_t n)
{
    struct bad bad = { 0 };
    return !n || (n == ACL_HEADER && le32(bytes_of(value, n, 0, &bad), 0) == ACL_VERSION);
}

int ext_acl_check(const void *value, size_t n)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(value, n, 0, &bad);
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
    for (size_t off = ACL_HEADER; off + ACL_ENTRY <= b.n; off += ACL_ENTRY)
        if (le16(b, off) == ACL_MASK)
            return true;
    return false;
}

uint16_t ext_acl_mode(const void *value, size_t n)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(value, n, 0, &bad);
    bool masked = acl_masked(b);
    uint16_t mode = 0;
    for (size_t off = ACL_HEADER; off + ACL_ENTRY <= b.n; off += ACL_ENTRY) {
        unsigned shift = acl_shift(le16(b, off), masked);
        if (shift < 16)
            mode |= (uint16_t)((le16(b, off + 2) & 7) << shift);
    }
    return mode;
}

bool ext_acl_is_mode(size_t n)
{
    return n == ACL_HEADER + 3 * ACL_ENTRY;
}

/* The shared permissions become (mask & what they are) | set. */
static void acl_change(uint8_t *p, size_t n, uint16_t mask, uint16_t set)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(p, n, 0, &bad);
    bool masked = acl_masked(b);
    for (size_t off = ACL_HEADER; off + ACL_ENTRY <= n; off += ACL_ENTRY) {
        unsigned shift = acl_shift(le16(b, off), masked);
        if (shift < 16)
            put_le16(p + off + 2, (uint16_t)((le16(b, off + 2) & (mask >> shift & 7)) | (set >> shift & 7)));
    }
}

/* The inode's ACL of this name; *ret, owned, is NULL where there is none. */
static int acl_get(struct ext_fs *x, const struct ext_inode *i, const char *name, uint8_t **ret,
                   size_t *ret_n)
{
    *ret = NULL;
    int r = ext_xattr_get(x, i, name, NULL, 0, ret_n);
    if (r < 0 || !*ret_n)
        return r == -ENODATA ? 0 : r;
    uint8_t *p = malloc(*ret_n);
    if (!p)
        return -ENOMEM;
    r = ext_xattr_get(x, i, name, p, *ret_n, ret_n);
    if (r < 0)
        free(p);
    else
        *ret = p;
    return r;
}

int ext_acl_follow_mode(struct ext_fs *x, struct ext_inode *i)
{
    _cleanup_free_ uint8_t *p = NULL;
    size_t n;
    int r = acl_get(x, i, EXT_ACL_ACCESS, &p, &n);
    if (r < 0 || !p)
        return r;
    acl_change(p, n, 0, i->mode);
    return ext_xattr_put(x, i, EXT_ACL_ACCESS, p, n);
}

int ext_acl_inherit(struct ext_fs *x, const struct ext_inode *dir, uint16_t *mode, mode_t masked,
                    struct ext_acl_new *ret)
{
    *ret = (struct ext_acl_new){ 0 };
    if (S_ISLNK(*mode))
        return 0;
    int r = acl_get(x, dir, EXT_ACL_DEFAULT, &ret->of_dir, &ret->size);
    if (r < 0 || !ret->of_dir)
        return r;
    if (ext_acl_empty(ret->of_dir, ret->size)) {
        ext_acl_new_done(ret);
        return 0;
    }
    if (ext_acl_check(ret->of_dir, ret->size) < 0) {
        ext_acl_new_done(ret);
        return -EIO;
    }
    uint16_t wanted = (uint16_t)(*mode | (masked & 0777));
    *mode = (uint16_t)((wanted & ~0777) | (wanted & ext_acl_mode(ret->of_dir, ret->size)));
    return 0;
}

int ext_acl_give(struct ext_fs *x, struct ext_inode *i, const struct ext_acl_new *a)
{
    int r = 0;
    if (!a->of_dir)
        return 0;
    if (S_ISDIR(i->mode))
        r = ext_xattr_put(x, i, EXT_ACL_DEFAULT, a->of_dir, a->size);
    if (r < 0 || ext_acl_is_mode(a->size))
        return r;
    _cleanup_free_ uint8_t *p = malloc(a->size);
    if (!p)
        return -ENOMEM;
    memcpy(p, a->of_dir, a->size);
    acl_change(p, a->size, i->mode, 0);
    return ext_xattr_put(x, i, EXT_ACL_ACCESS, p, a->size);
}

void ext_acl_new_done(struct ext_acl_new *a)
{
    free(a->of_dir);
    *a = (struct ext_acl_new){ 0 };
}
