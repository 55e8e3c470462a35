/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diff/files/ and diff/volumes/NAME/files/: what is new or other, as it is now, in the directories above it.
 * Files are read where guest/ reads them, and can't be written here.
 *
 * Node ids: a is the volume's index, b the inode there; of directories c is 1 in diff/files/, 0 in a
 * volume's; of links c is the directory's node. */
#include "diff.h"
#include "tree-guest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static const struct tree_ops letters_ops, dir_ops, file_ops, link_ops;

struct node_id diff_files_id(struct ferry *f)
{
    const struct guest_system *s = diff_system(f);
    if (!s || s->kind == GUEST_WINDOWS)
        return (struct node_id){ .ops = &letters_ops };
    return (struct node_id){ .ops = &dir_ops, .a = s->root, .b = VOLUME_ROOT, .c = 1 };
}

struct node_id diff_volume_files_id(size_t volume)
{
    return (struct node_id){ .ops = &dir_ops, .a = volume, .b = VOLUME_ROOT };
}

/* ---- the letters of a Windows ---- */

static int letters_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    (void)n;
    tree_fill_attr(f, S_IFDIR | 0555, tree_ino(906, 1, 0), ret);
    return 0;
}

static struct node_id root_of(size_t volume)
{
    return (struct node_id){ .ops = &dir_ops, .a = volume, .b = VOLUME_ROOT, .c = 1 };
}

static int letters_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    const struct guest_system *s = diff_system(f);
    struct diff *d = NULL;
    (void)dir;
    int r = diff_get(f, &d);
    if (r < 0)
        return r;
    r = -ENOENT;
    for (size_t i = 0; s && i < s->n_mounts && r; i++)
        if (!strcmp(s->mounts[i].path, name) && diff_has(d, s->mounts[i].volume)) {
            *ret = root_of(s->mounts[i].volume);
            r = 0;
        }
    diff_put(d);
    return r;
}

static int letters_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit,
                           void *ctx)
{
    const struct guest_system *s = diff_system(f);
    struct diff *d = NULL;
    (void)dir;
    int r = diff_get(f, &d);
    if (r < 0)
        return r;
    for (uint64_t i = cookie; s && i < s->n_mounts; i++) {
        struct node_id id = root_of(s->mounts[i].volume);
        if (diff_has(d, s->mounts[i].volume) && emit(ctx, s->mounts[i].path, &id, S_IFDIR, i + 1))
            break;
    }
    diff_put(d);
    return 0;
}

/* ---- directories ---- */

/* Ways to other volumes are in guest/'s tree only. */
static const struct diff_way *way_of(const struct diff *d, const struct node *dir, size_t i)
{
    if (!dir->id.c || i >= d->n_ways)
        return NULL;
    const struct diff_way *w = &d->ways[i];
    return w->dir.volume == dir->id.a && w->dir.ino == dir->id.b ? w : NULL;
}

static const struct diff_way *find_way(const struct diff *d, const struct node *dir, const char *name)
{
    for (size_t i = 0; i < d->n_ways; i++) {
        const struct diff_way *w = way_of(d, dir, i);
        if (w && !strcmp(w->name, name))
            return w;
    }
    return NULL;
}

static struct node_id dir_id(const struct node *dir, struct place p)
{
    return (struct node_id){ .ops = &dir_ops, .a = p.volume, .b = p.ino, .c = dir->id.c };
}

static bool is_shown(const struct volume_diff_node *n)
{
    return n->what != DIFF_REMOVED && n->type;
}

static struct node_id node_id(const struct node *dir, const struct volume_diff_node *n)
{
    struct node_id id = dir_id(dir, (struct place){ dir->id.a, n->ino });
    if (S_ISDIR(n->type))
        return id;
    id.ops = S_ISLNK(n->type) ? &link_ops : &file_ops;
    id.c = S_ISLNK(n->type) ? (uint64_t)(uintptr_t)dir : 0;
    return id;
}

/* The directory's node in the diff; DIFF_NONE: nothing differs there. */
static uint32_t at_dir(const struct diff *d, const struct node *dir)
{
    const struct volume_diff *v = d->volumes[dir->id.a];
    return v ? volume_diff_dir(v, dir->id.b) : DIFF_NONE;
}

static int find_in(const struct diff *d, const struct node *dir, const char *name, struct node_id *ret)
{
    const struct diff_way *w = find_way(d, dir, name);
    const struct volume_diff *v = d->volumes[dir->id.a];
    if (w) {
        *ret = dir_id(dir, w->to);
        return 0;
    }
    uint32_t at = at_dir(d, dir);
    if (at != DIFF_NONE)
        at = volume_diff_child(v, at, name);
    if (at == DIFF_NONE || !is_shown(&v->nodes[at]))
        return -ENOENT;
    *ret = node_id(dir, &v->nodes[at]);
    return 0;
}

static int dir_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    struct diff *d = NULL;
    int r = diff_get(f, &d);
    if (!r)
        r = find_in(d, dir, name, ret);
    diff_put(d);
    return r;
}

/* The first of the directory's ways behind the cookie. */
static const struct diff_way *next_way(const struct diff *d, const struct node *dir, uint64_t cookie)
{
    const struct diff_way *next = NULL;
    uint64_t least = DIFF_COOKIE_END;
    for (size_t i = 0; i < d->n_ways; i++) {
        const struct diff_way *w = way_of(d, dir, i);
        uint64_t own = w ? volume_diff_cookie(w->name) : 0;
        if (own <= cookie || own >= least)
            continue;
        least = own;
        next = w;
    }
    return next;
}

/* Ways first. Cookies come from the names alone, since an edit may intervene and the next page be of another
 * diff. */
static void list(const struct diff *d, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    const struct volume_diff *v = d->volumes[dir->id.a];
    const struct diff_way *w;
    uint32_t at = at_dir(d, dir);
    while (cookie < DIFF_COOKIE_END && (w = next_way(d, dir, cookie))) {
        struct node_id id = dir_id(dir, w->to);
        cookie = volume_diff_cookie(w->name);
        if (emit(ctx, w->name, &id, S_IFDIR, cookie))
            return;
    }
    if (at == DIFF_NONE)
        return;
    uint64_t behind = cookie > DIFF_COOKIE_END ? cookie - DIFF_COOKIE_END : 0;
    for (uint32_t i = volume_diff_behind(v, at, behind); i < v->nodes[at].children; i++) {
        const struct volume_diff_node *n = &v->nodes[v->kids[v->nodes[at].first + i]];
        struct node_id id = node_id(dir, n);
        const char *name = v->names + n->name;
        if (is_shown(n) && !find_way(d, dir, name) &&
            emit(ctx, name, &id, n->type, DIFF_COOKIE_END + volume_diff_cookie(name)))
            return;
    }
}

static int dir_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    struct diff *d = NULL;
    int r = diff_get(f, &d);
    if (!r)
        list(d, dir, cookie, emit, ctx);
    diff_put(d);
    return r;
}

/* ---- links ---- */

static size_t ancestors_of(const struct node *n, struct place *ret, size_t max)
{
    size_t count = 0;
    const struct node *p;
    for (p = n->parent; p && (p->id.ops == &dir_ops || p->id.ops == &letters_ops); p = p->parent)
        count++;
    size_t i = count;
    for (p = n->parent; i && count <= max; p = p->parent)
        ret[--i] = (struct place){ p->id.ops == &letters_ops ? WALK_LETTERS : p->id.a, p->id.b };
    return count;
}

/* A link resolves inside files/, as one of guest/ does inside guest/. */
static int link_readlink(struct ferry *f, const struct node *n, char *buf, size_t size)
{
    struct place ancestors[WALK_DEPTH];
    node_parents_lock(f->nodes);
    size_t count = ancestors_of(n, ancestors, WALK_DEPTH);
    bool in_guest = n->parent && (n->parent->id.ops == &letters_ops || n->parent->id.c);
    node_parents_unlock(f->nodes);
    struct realm realm = { f->guest, in_guest ? diff_system(f) : NULL, n->id.a };
    return guest_link_text(f, n, &realm, ancestors, count, buf, size);
}

/* ---- files ---- */

/* guest/ may be written meanwhile, under another node: the page cache of this one wouldn't know. */
static int file_open(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    (void)flags;
    int r = guest_open(f, n, O_RDONLY, ret);
    if (!r)
        (*ret)->direct = true;
    return r;
}

static const struct tree_ops letters_ops = {
    .name = "diff-letters",
    .keep_parent = true,
    .fresh = true,
    .getattr = letters_getattr,
    .lookup = letters_lookup,
    .readdir = letters_readdir,
};

static const struct tree_ops dir_ops = {
    .name = "diff-dir",
    .keep_parent = true,
    .fresh = true,
    .getattr = guest_getattr,
    .lookup = dir_lookup,
    .readdir = dir_readdir,
    .listxattr = guest_listxattr,
    .getxattr = guest_getxattr,
    .statfs = guest_statfs,
};

static const struct tree_ops file_ops = {
    .name = "diff-file",
    .fresh = true,
    .getattr = guest_getattr,
    .open = file_open,
    .read = guest_read,
    .map = guest_map,
    .release = guest_release,
    .listxattr = guest_listxattr,
    .getxattr = guest_getxattr,
    .statfs = guest_statfs,
};

static const struct tree_ops link_ops = {
    .name = "diff-link",
    .keep_parent = true,
    .fresh = true,
    .getattr = guest_link_getattr,
    .readlink = link_readlink,
    .listxattr = guest_listxattr,
    .getxattr = guest_link_getxattr,
    .statfs = guest_statfs,
};
