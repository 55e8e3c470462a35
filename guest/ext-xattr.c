/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Extended attributes, in two places of one form:
 *
 *     in the inode:   magic | entry entry ... 0000 |  free  | ... value value    offsets from the first entry
 *     in a block:     header (32 bytes) | entries ... 0000 | free | values       offsets from the block
 *
 * An entry has an index that stands for the name's prefix. A value too large for either lies in an inode of
 * its own (ea_inode), with a checksum in that inode's atime.
 *
 * Names and values are given as Linux's listxattr(2) and getxattr(2) give them: an ACL is stored in a shorter
 * form than the one that user space sees. libext2fs has all of this too; it converts an ACL without looking
 * at its length, and takes the length of an inode's value at its word, so it isn't asked. */
#include "ext.h"
#include "../formats/checked.h"
#include "../formats/hash.h"

#include <errno.h>
#include <string.h>

enum {
    XATTR_MAGIC = 0xEA020000,
    HEADER_SIZE = 32,
    HEADER_BLOCKS = 8,
    HEADER_CSUM = 16,
    HEADER_CSUM_END = 20
};
enum {
    XE_NAME_LEN = 0,
    XE_INDEX = 1,
    XE_VALUE_OFFSET = 2,
    XE_VALUE_INODE = 4,
    XE_VALUE_SIZE = 8,
    XE_NAME = 16,
};
enum { INDEX_ACL_ACCESS = 2, INDEX_ACL_DEFAULT = 3, INDEX_SYSTEM = 7 };

/* Prefixes that Linux shows; others (system.data, encryption contexts) are the file system's own. */
static const char *const prefixes[] = {
    [1] = "user.",     [INDEX_ACL_ACCESS] = "system.posix_acl_access",
    [4] = "trusted.",  [INDEX_ACL_DEFAULT] = "system.posix_acl_default",
    [6] = "security.",
};

static const char *xattr_prefix(const struct ext_xattr *a)
{
    if (a->index >= sizeof prefixes / sizeof *prefixes || !prefixes[a->index])
        return NULL;
    bool whole = a->index == INDEX_ACL_ACCESS || a->index == INDEX_ACL_DEFAULT;
    return whole ? (a->name_len ? NULL : prefixes[a->index]) : (a->name_len ? prefixes[a->index] : NULL);
}

/* `entries`: from the first entry to the end of the region; values are found in `values`. */
static int xattr_walk(struct ext_fs *x, struct bytes entries, struct bytes values, ext_xattr_visit visit,
                      void *ctx)
{
    bool inodes = x->super.incompat & EXT4_FEATURE_INCOMPAT_EA_INODE;
    for (size_t off = 0; le32(entries, off);) {
        struct bytes e = bytes_sub(entries, off, entries.n - off);
        struct ext_xattr a = { .index = u8(e, XE_INDEX),
                               .name_len = u8(e, XE_NAME_LEN),
                               .value_inode = le32(e, XE_VALUE_INODE),
                               .size = le32(e, XE_VALUE_SIZE) };
        struct bytes name = bytes_sub(e, XE_NAME, a.name_len);
        if (a.size > EXT_XATTR_VALUE_MAX || (a.value_inode && !inodes) || memchr(name.p, 0, name.n))
            return -EIO;
        if (!a.value_inode) {
            struct bytes v = bytes_sub(values, a.size ? le16(e, XE_VALUE_OFFSET) : 0, a.size);
            a.value = v.p;
        }
        if (entries.bad->set)
            return -EIO;
        a.name = (const char *)name.p;
        int r = visit(ctx, &a);
        if (r)
            return r;
        off += (XE_NAME + a.name_len + 3u) & ~3u;
    }
    return entries.bad->set ? -EIO : 0;
}

static int xattr_walk_inode(struct ext_fs *x, const struct ext_inode *i, ext_xattr_visit visit, void *ctx)
{
    size_t start = 128 + i->extra_size;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(i->raw, i->raw_size, 0, &bad);
    /* an inode whose extra size is 0 has no room set apart for attributes */
    if (!i->extra_size || start + 8 > b.n || le32(b, start) != XATTR_MAGIC)
        return 0;
    struct bytes region = bytes_sub(b, start + 4, b.n - start - 4);
    return xattr_walk(x, region, region, visit, ctx);
}

static bool xattr_block_csum_good(const struct ext_fs *x, struct bytes b, uint64_t block)
{
    uint8_t number[8];
    const uint8_t zero[4] = { 0 };
    put_le64(number, block);
    uint32_t c = crc32c_update(x->super.csum_seed, number, sizeof number);
    c = crc32c_update(c, b.p, HEADER_CSUM);
    c = crc32c_update(c, zero, sizeof zero);
    return crc32c_update(c, b.p + HEADER_CSUM_END, b.n - HEADER_CSUM_END) == le32(b, HEADER_CSUM);
}

static int xattr_walk_block(struct ext_fs *x, const struct ext_inode *i, ext_xattr_visit visit, void *ctx)
{
    struct cache_block *held;
    int r = ext_block_get(x, i->acl_block, &held);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(held->data, held->size, 0, &bad);
    if (le32(b, 0) != XATTR_MAGIC || le32(b, HEADER_BLOCKS) != 1 ||
        (x->super.has_csum && !xattr_block_csum_good(x, b, i->acl_block)))
        r = -EIO;
    else
        r = xattr_walk(x, bytes_sub(b, HEADER_SIZE, b.n - HEADER_SIZE), b, visit, ctx);
    ext_block_put(x, held);
    return r;
}

int ext_xattr_each(struct ext_fs *x, const struct ext_inode *i, ext_xattr_visit visit, void *ctx)
{
    int r = xattr_walk_inode(x, i, visit, ctx);
    if (r || !i->acl_block)
        return r;
    return xattr_walk_block(x, i, visit, ctx);
}

/* ---- inline data ---- */

struct inline_find {
    uint8_t *buf;
    size_t len;
};

static int inline_visit(void *ctx, const struct ext_xattr *a)
{
    struct inline_find *f = ctx;
    if (a->index != INDEX_SYSTEM || a->name_len != 4 || memcmp(a->name, "data", 4) != 0)
        return 0;
    if (!a->value || a->size > EXT_INLINE_MAX - EXT_INODE_BLOCK_SIZE)
        return -EIO;
    memcpy(f->buf + EXT_INODE_BLOCK_SIZE, a->value, a->size);
    f->len = EXT_INODE_BLOCK_SIZE + a->size;
    return 1;
}

int ext_inline_read(struct ext_fs *x, const struct ext_inode *i, uint8_t *buf, size_t *ret_len)
{
    struct inline_find f = { .buf = buf };
    memcpy(buf, i->raw + EXT_INODE_BLOCK, EXT_INODE_BLOCK_SIZE);
    if (!(x->super.incompat & EXT4_FEATURE_INCOMPAT_INLINE_DATA))
        return -EIO;
    int r = xattr_walk_inode(x, i, inline_visit, &f);
    if (r < 0)
        return r;
    if (!r) /* Linux always makes the attribute, also when i_block is enough */
        f.len = EXT_INODE_BLOCK_SIZE;
    if (i->size > f.len)
        return -EIO;
    *ret_len = (size_t)i->size;
    return 0;
}

/* ---- values ---- */

static int xattr_value_inode(struct ext_fs *x, const struct ext_xattr *a, uint8_t *buf)
{
    _cleanup_free_ struct ext_inode *i = malloc(sizeof *i);
    if (!i)
        return -ENOMEM;
    int r = ext_inode_read(x, a->value_inode, i);
    if (r < 0)
        return r;
    if (!(i->flags & EXT4_EA_INODE_FL) || !S_ISREG(i->mode) || i->size != a->size ||
        i->flags & EXT4_INLINE_DATA_FL)
        return -EIO;
    r = ext_read_mapped(x, i, buf, a->size, 0);
    if (r < 0)
        return r;
    return x->super.has_csum && crc32c_update(x->super.csum_seed, buf, a->size) != i->value_hash ? -EIO : 0;
}

enum { ACL_STORED_VERSION = 1, ACL_VERSION = 2, ACL_USER = 0x02, ACL_GROUP = 0x08 };
static const uint32_t acl_no_id = 0xFFFFFFFF;

/* Stored: {tag, permissions} of 4 bytes, with a 32-bit id behind it for named users and groups only. Shown:
 * 8 bytes each. buf may be NULL, to learn the length. */
static int xattr_acl_convert(const uint8_t *p, size_t n, uint8_t *buf, size_t *ret_len)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(p, n, 0, &bad);
    if (le32(b, 0) != ACL_STORED_VERSION)
        return -EIO;
    size_t out = 4;
    if (buf)
        put_le32(buf, ACL_VERSION);
    for (size_t off = 4; off < n && !bad.set; out += 8) {
        uint16_t tag = le16(b, off);
        bool named = tag == ACL_USER || tag == ACL_GROUP;
        uint32_t id = named ? le32(b, off + 4) : acl_no_id;
        if (buf && !bad.set) {
            put_le16(buf + out, tag);
            put_le16(buf + out + 2, le16(b, off + 2));
            put_le32(buf + out + 4, id);
        }
        off += named ? 8 : 4;
    }
    if (bad.set)
        return -EIO;
    *ret_len = out;
    return 0;
}

static int xattr_give(const struct ext_xattr *a, const uint8_t *value, void *buf, size_t size,
                      size_t *ret_len)
{
    size_t len = a->size;
    bool acl = a->index == INDEX_ACL_ACCESS || a->index == INDEX_ACL_DEFAULT;
    int r = acl ? xattr_acl_convert(value, a->size, NULL, &len) : 0;
    if (r < 0)
        return r;
    *ret_len = len;
    if (!size)
        return 0;
    if (size < len)
        return -ERANGE;
    if (acl)
        return xattr_acl_convert(value, a->size, buf, &len);
    if (len)
        memcpy(buf, value, len);
    return 0;
}

struct xattr_find {
    struct ext_fs *x;
    const char *name;
    void *buf;
    size_t size;
    size_t *ret_len;
};

static int xattr_find_visit(void *ctx, const struct ext_xattr *a)
{
    struct xattr_find *f = ctx;
    const char *prefix = xattr_prefix(a);
    size_t n = prefix ? strlen(prefix) : 0;
    if (!prefix || strncmp(f->name, prefix, n) != 0 || strlen(f->name) != n + a->name_len ||
        memcmp(f->name + n, a->name, a->name_len) != 0)
        return 0;
    if (!a->value_inode) {
        int r = xattr_give(a, a->value, f->buf, f->size, f->ret_len);
        return r < 0 ? r : 1;
    }
    _cleanup_free_ uint8_t *value = malloc(a->size ? a->size : 1);
    if (!value)
        return -ENOMEM;
    int r = xattr_value_inode(f->x, a, value);
    if (!r)
        r = xattr_give(a, value, f->buf, f->size, f->ret_len);
    return r < 0 ? r : 1;
}

int ext_xattr_get(struct ext_fs *x, const struct ext_inode *i, const char *name, void *buf, size_t size,
                  size_t *ret_len)
{
    struct xattr_find f = { x, name, buf, size, ret_len };
    int r = ext_xattr_each(x, i, xattr_find_visit, &f);
    return r < 0 ? r : r ? 0 : -ENODATA;
}

struct xattr_names {
    char *buf;
    size_t size, len; /* of buf; needed so far */
};

static int xattr_list_visit(void *ctx, const struct ext_xattr *a)
{
    struct xattr_names *l = ctx;
    const char *prefix = xattr_prefix(a);
    if (!prefix)
        return 0;
    size_t n = strlen(prefix), whole = n + a->name_len + 1;
    if (l->len <= l->size && whole <= l->size - l->len) {
        memcpy(l->buf + l->len, prefix, n);
        memcpy(l->buf + l->len + n, a->name, a->name_len);
        l->buf[l->len + whole - 1] = 0;
    }
    l->len += whole;
    return 0;
}

int ext_xattr_list(struct ext_fs *x, const struct ext_inode *i, char *buf, size_t size, size_t *ret_len)
{
    struct xattr_names l = { .buf = buf, .size = size };
    int r = ext_xattr_each(x, i, xattr_list_visit, &l);
    if (r < 0)
        return r;
    *ret_len = l.len;
    return size && l.len > size ? -ERANGE : 0;
}
