/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is a file the same in two states of its volume? First by where its bytes lie, then by its attributes, last
 * by reading. */
#include "volume-compare.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <string.h>

enum {
    PIECE = 128 << 10,        /* bytes read at a time */
    XATTR_LIST_MAX = 1 << 20, /* of names; more are taken as different */
    XATTR_MAX = 16 << 20,     /* of a value, likewise */
};

/* ---- places ---- */

struct touching {
    const struct volume_diff_source *s;
    bool record, data;
    uint64_t hash; /* of where the content lies */
};

static void mix(uint64_t *hash, uint64_t v)
{
    *hash = (*hash ^ v) * 0x9e3779b97f4a7c15u;
    *hash ^= *hash >> 29;
}

static int touch_piece(void *ctx, uint64_t off, uint64_t len, int64_t at)
{
    struct touching *t = ctx;
    if (at >= 0) {
        mix(&t->hash, (uint64_t)at);
        mix(&t->hash, off);
        mix(&t->hash, len);
    }
    bool *touched = at >= 0 ? &t->data : &t->record;
    *touched = *touched || t->s->changed(t->s->ctx, off, len);
    return t->data; /* there is nothing more to know */
}

static bool place(const struct volume_diff_source *s, struct volume *v, uint64_t ino, struct touching *ret)
{
    *ret = (struct touching){ .s = s };
    return v->ops->pieces && v->ops->pieces(v, ino, touch_piece, ret) == 0;
}

/* A record in a place where nothing was written is the old one, and so says that the file's other bytes are
 * where they were. If it was written, the old one must say the same of the content. */
enum volume_touch volume_touched(const struct volume_diff_source *s, uint64_t old_ino, uint64_t new_ino)
{
    struct touching new, old;
    if (old_ino != new_ino || !place(s, s->new, new_ino, &new) || new.data)
        return TOUCH_ALL;
    if (!new.record)
        return TOUCH_NONE;
    return place(s, s->old, old_ino, &old) && !old.data && old.hash == new.hash ? TOUCH_RECORD : TOUCH_ALL;
}

/* ---- content ---- */

struct reading {
    struct volume_file *file;
    char *buf; /* owned */
};

static int reading_begin(struct volume *v, uint64_t ino, struct reading *ret)
{
    *ret = (struct reading){ .buf = malloc(PIECE) };
    return ret->buf ? v->ops->open(v, ino, &ret->file) : -ENOMEM;
}

static void reading_end(struct volume *v, struct reading *g)
{
    if (g->file)
        v->ops->release(g->file);
    free(g->buf);
}

/* How many bytes from `off` on are a hole, 0: none. */
static uint64_t hole_at(struct volume *v, struct reading *g, uint64_t off, uint64_t len)
{
    struct extent e = { 0 };
    if (!v->ops->map || v->ops->map(g->file, off, len, &e) < 0 || e.kind == EXTENT_DATA)
        return 0;
    return e.length < len ? e.length : len;
}

static int read_full(struct volume *v, struct reading *g, uint64_t off, size_t want)
{
    for (size_t done = 0; done < want;) {
        size_t n = 0;
        int r = v->ops->read(g->file, g->buf + done, want - done, off + done, &n);
        if (r < 0)
            return r;
        if (!n)
            return -EIO; /* it has become shorter */
        done += n;
    }
    return 0;
}

static int compare_from(const struct volume_diff_source *s, struct reading *a, struct reading *b,
                        uint64_t size, bool *ret_same)
{
    *ret_same = true;
    for (uint64_t off = 0; off < size && *ret_same;) {
        if (s->given_up && s->given_up(s->ctx))
            return -EINTR;
        uint64_t hole = hole_at(s->old, a, off, size - off);
        if (hole)
            hole = hole_at(s->new, b, off, hole);
        if (hole) {
            off += hole;
            continue;
        }
        size_t n = size - off < PIECE ? (size_t)(size - off) : PIECE;
        int r = read_full(s->old, a, off, n);
        if (!r)
            r = read_full(s->new, b, off, n);
        if (r < 0)
            return r;
        *ret_same = !memcmp(a->buf, b->buf, n);
        off += n;
    }
    return 0;
}

static int same_content(const struct volume_diff_source *s, uint64_t old_ino, uint64_t new_ino, uint64_t size,
                        bool *ret)
{
    struct reading a = { 0 }, b = { 0 };
    int r = reading_begin(s->old, old_ino, &a);
    if (!r)
        r = reading_begin(s->new, new_ino, &b);
    if (!r)
        r = compare_from(s, &a, &b, size, ret);
    reading_end(s->old, &a);
    reading_end(s->new, &b);
    return r;
}

static int same_target(const struct volume_diff_source *s, uint64_t old_ino, uint64_t new_ino, bool *ret)
{
    char a[4097], b[4097];
    enum link_style style;
    int r = s->old->ops->link(s->old, old_ino, a, sizeof a, &style);
    if (!r)
        r = s->new->ops->link(s->new, new_ino, b, sizeof b, &style);
    if (!r)
        *ret = !strcmp(a, b);
    return r;
}

/* ---- attributes ---- */

/* What isn't listed: of NTFS. */
static const char *const hidden[] = { "system.ntfs_attrib", "system.ntfs_acl", "system.ntfs_ea",
                                      "system.ntfs_reparse_data" };

/* A value, or that there is none (*ret NULL). -EFBIG. */
static int get_xattr(struct volume *v, uint64_t ino, const char *name, char **ret, size_t *ret_n)
{
    size_t n = 0;
    *ret = NULL;
    *ret_n = 0;
    int r = v->ops->getxattr(v, ino, name, NULL, 0, &n);
    if (r == -ENODATA || r == -EOPNOTSUPP || r == -ENOTSUP)
        return 0;
    if (!r && n > XATTR_MAX)
        r = -EFBIG;
    char *value = r < 0 ? NULL : malloc(n + 1);
    if (!r && !value)
        r = -ENOMEM;
    if (!r && n)
        r = v->ops->getxattr(v, ino, name, value, n, ret_n);
    if (r < 0) {
        free(value);
        return r;
    }
    *ret = value;
    return 0;
}

static int same_xattr(const struct volume_diff_source *s, uint64_t old_ino, uint64_t new_ino,
                      const char *name, bool *ret)
{
    _cleanup_free_ char *a = NULL, *b = NULL;
    size_t an, bn;
    int r = get_xattr(s->old, old_ino, name, &a, &an);
    if (!r)
        r = get_xattr(s->new, new_ino, name, &b, &bn);
    if (!r)
        *ret = !a == !b && an == bn && (!a || !memcmp(a, b, an));
    return r;
}

static int list_xattrs(struct volume *v, uint64_t ino, char **ret, size_t *ret_n)
{
    size_t n = 0;
    int r = v->ops->listxattr(v, ino, NULL, 0, &n);
    if (!r && n > XATTR_LIST_MAX)
        r = -EFBIG;
    if (r < 0)
        return r;
    *ret = calloc(1, n + 1);
    if (!*ret)
        return -ENOMEM;
    *ret_n = n;
    return n ? v->ops->listxattr(v, ino, *ret, n, ret_n) : 0;
}

static bool has_name(const char *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i += strlen(list + i) + 1)
        if (!strcmp(list + i, name))
            return true;
    return false;
}

static int same_xattrs(const struct volume_diff_source *s, uint64_t old_ino, uint64_t new_ino, bool *ret)
{
    _cleanup_free_ char *a = NULL, *b = NULL;
    size_t an = 0, bn = 0, old_count = 0, new_count = 0;
    *ret = true;
    if (!s->new->ops->listxattr || !s->new->ops->getxattr)
        return 0;
    int r = list_xattrs(s->old, old_ino, &a, &an);
    if (!r)
        r = list_xattrs(s->new, new_ino, &b, &bn);
    for (size_t i = 0; !r && *ret && i < an; i += strlen(a + i) + 1, old_count++)
        *ret = has_name(b, bn, a + i) && !(r = same_xattr(s, old_ino, new_ino, a + i, ret)) && *ret;
    for (size_t i = 0; !r && i < bn; i += strlen(b + i) + 1)
        new_count++;
    if (!r && *ret)
        *ret = old_count == new_count;
    for (size_t i = 0; !r && *ret && i < sizeof hidden / sizeof *hidden; i++)
        r = same_xattr(s, old_ino, new_ino, hidden[i], ret);
    if (r == -EFBIG) {
        *ret = false;
        r = 0;
    }
    return r;
}

static int compare_attributes(const struct volume_diff_source *s, const struct volume_attr *a,
                              const struct volume_attr *b, struct volume_diff_node *n, uint64_t old_ino)
{
    bool same = true;
    int r = same_xattrs(s, old_ino, n->ino, &same);
    n->attributes = same ? 0 : DIFF_XATTRS;
    if ((a->mode & 07777) != (b->mode & 07777))
        n->attributes |= DIFF_MODE;
    if (a->uid != b->uid || a->gid != b->gid)
        n->attributes |= DIFF_OWNER;
    if (!S_ISDIR(b->mode) && (a->mtime.tv_sec != b->mtime.tv_sec || a->mtime.tv_nsec != b->mtime.tv_nsec))
        n->attributes |= DIFF_MTIME;
    return r;
}

/* ---- the whole ---- */

static int compare_content(const struct volume_diff_source *s, uint64_t old_ino, const struct volume_attr *a,
                           const struct volume_attr *b, struct volume_diff_node *n, bool *ret)
{
    *ret = true;
    switch (b->mode & S_IFMT) {
    case S_IFREG:
        return same_content(s, old_ino, n->ino, b->size, ret);
    case S_IFLNK:
        return same_target(s, old_ino, n->ino, ret);
    case S_IFCHR:
    case S_IFBLK:
        *ret = a->rdev == b->rdev;
        return 0;
    default:
        return 0;
    }
}

static bool has_size(mode_t type)
{
    return S_ISREG(type) || S_ISLNK(type);
}

int volume_compare(const struct volume_diff_source *s, uint64_t old_ino, uint64_t new_ino,
                   enum volume_touch touch, struct volume_diff_node *n)
{
    struct volume_attr a = { 0 }, b = { 0 };
    n->ino = new_ino;
    n->what = DIFF_SAME;
    int r = s->new->ops->getattr(s->new, new_ino, &b);
    if (r < 0)
        return r;
    n->type = b.mode & S_IFMT;
    n->size = has_size(b.mode) ? b.size : 0;
    r = s->old->ops->getattr(s->old, old_ino, &a);
    if (r < 0)
        return r;
    n->old_type = a.mode & S_IFMT;
    n->old_size = has_size(a.mode) ? a.size : 0;
    bool same = true;
    if (n->old_type != n->type)
        same = false;
    else if (S_ISREG(n->type) && n->old_size != n->size)
        same = false;
    else if (touch == TOUCH_ALL)
        r = compare_content(s, old_ino, &a, &b, n, &same);
    if (!r)
        r = compare_attributes(s, &a, &b, n, old_ino);
    if (!r)
        n->what = !same ? DIFF_CHANGED : n->attributes ? DIFF_ATTRIBUTES : DIFF_SAME;
    return r;
}
