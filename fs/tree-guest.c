/* SPDX-License-Identifier: GPL-2.0-or-later */
/* volumes/ and guest/: the guest's files, twice. Directories and links have a node for each of the two places
 * (a directory can't have two parents in the kernel's eyes, and a link's text depends on where it stands); a
 * regular file is one node for both, so that one page cache serves.
 *
 * Node ids: a is the volume's index, b the inode there. For links c is the directory's node. */
#include "tree-guest.h"

#include "../formats/checked.h"
#include "../guest/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

extern const struct toplevel volumes_toplevel, guest_toplevel;
static const struct tree_ops volumes_ops, volumes_dir_ops, volumes_link_ops;
static const struct tree_ops letters_ops, guest_dir_ops, guest_link_ops;
static const struct tree_ops guest_file_ops;

/* The stored target of a link. Linux refuses user xattrs on links before they reach a file system, so it
 * answers under a second name, and is listed under neither: rsync -X and cp -a would try to read the first.
 */
static const char *const target_xattrs[] = { "user.ferryfs.target", "system.ferryfs.target" };

struct volume *guest_volume_at(const struct ferry *f, uint64_t i)
{
    return f->guest->volumes[i].volume;
}

static bool in_guest(const struct node *n)
{
    return n->id.ops == &guest_dir_ops || n->id.ops == &guest_link_ops || n->id.ops == &letters_ops;
}

static const struct guest_system *selected_system(struct ferry *f)
{
    struct guest *g = ferry_guest(f);
    return g && f->options->os < g->n_systems ? &g->systems[f->options->os] : NULL;
}

static struct realm realm_of(struct ferry *f, const struct node *n)
{
    struct realm r = { .guest = f->guest, .volume = n->id.a };
    if (in_guest(n))
        r.system = selected_system(f);
    return r;
}

/* ---- attributes ---- */

static void apply_options(const struct ferry *f, const struct volume_attr *a, struct stat *ret)
{
    const struct options *o = f->options;
    ret->st_uid = a->has_owner && o->uid < 0 ? a->uid : f->uid;
    ret->st_gid = a->has_owner && o->gid < 0 ? a->gid : f->gid;
    if (!S_ISLNK(ret->st_mode) && (!a->has_owner || o->umask >= 0))
        ret->st_mode &= ~f->umask;
}

int guest_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    struct volume *v = guest_volume_at(f, n->id.a);
    struct volume_attr a = { 0 };
    int r = v->ops->getattr(v, n->id.b, &a);
    if (r < 0)
        return r;
    /* 0 is a file that is open and has no name any more; a directory always counts itself. */
    *ret = (struct stat){ .st_mode = a.mode, .st_nlink = a.nlink, .st_blksize = 4096 };
    if (S_ISDIR(a.mode) && !a.nlink)
        ret->st_nlink = 1;
    ret->st_ino = tree_ino(16 + n->id.a, n->id.b, 0);
    ret->st_rdev = a.rdev;
    ret->st_size = (off_t)a.size;
    ret->st_blocks = (blkcnt_t)div_up(a.allocated, 512);
    ret->st_atim = a.atime;
    ret->st_mtim = a.mtime;
    ret->st_ctim = a.ctime;
    apply_options(f, &a, ret);
    return 0;
}

/* ---- names ---- */

/* The node of a thing found in directory `dir`. */
static struct node_id found_id(const struct node *dir, bool guest_tree, struct place p, mode_t type)
{
    struct node_id id = { .a = p.volume, .b = p.ino };
    if (S_ISDIR(type))
        id.ops = guest_tree ? &guest_dir_ops : &volumes_dir_ops;
    else if (S_ISLNK(type))
        id.ops = guest_tree ? &guest_link_ops : &volumes_link_ops;
    else
        id.ops = &guest_file_ops;
    if (S_ISLNK(type))
        id.c = (uint64_t)(uintptr_t)dir;
    return id;
}

struct node_id guest_found_id(const struct node *dir, struct place p, mode_t type)
{
    return found_id(dir, in_guest(dir), p, type);
}

static int place_type(struct ferry *f, struct place p, mode_t *ret)
{
    struct volume *v = guest_volume_at(f, p.volume);
    struct volume_attr a;
    int r = v->ops->getattr(v, p.ino, &a);
    if (!r)
        *ret = a.mode & S_IFMT;
    return r;
}

static int dir_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    struct realm realm = realm_of(f, dir);
    struct place p;
    mode_t type = 0;
    int r = realm_lookup(&realm, (struct place){ dir->id.a, dir->id.b }, name, &p);
    if (!r)
        r = place_type(f, p, &type);
    if (!r)
        *ret = found_id(dir, in_guest(dir), p, type);
    return r;
}

struct list {
    struct ferry *f;
    const struct node *dir;
    struct realm realm;
    tree_emit emit;
    void *ctx;
};

static int list_one(void *arg, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct list *l = arg;
    struct place p = realm_cross(&l->realm, (struct place){ l->dir->id.a, ino });
    /* A type that the directory doesn't tell is asked for by whoever takes the entry (id.ops NULL). */
    struct node_id id = found_id(l->dir, in_guest(l->dir), p, type);
    if (!type)
        id.ops = NULL;
    return l->emit(l->ctx, name, &id, type, next);
}

static int dir_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    struct volume *v = guest_volume_at(f, dir->id.a);
    struct list l = { f, dir, realm_of(f, dir), emit, ctx };
    return v->ops->readdir(v, dir->id.b, cookie, list_one, &l);
}

/* ---- links ---- */

static int stored_target(struct ferry *f, const struct node *n, char *buf, size_t size,
                         enum link_style *ret_style)
{
    struct volume *v = guest_volume_at(f, n->id.a);
    return v->ops->link(v, n->id.b, buf, size, ret_style);
}

/* The directories from the tree's root to the one that holds link `n`, for realm_rewrite_link(). */
static size_t ancestors_of(const struct node *n, struct place *ret, size_t max)
{
    size_t count = 0;
    for (const struct node *p = n->parent; p && p->id.ops != &root_ops && p->id.ops != &volumes_ops;
         p = p->parent)
        count++;
    size_t i = count;
    for (const struct node *p = n->parent; i && count <= max; p = p->parent)
        ret[--i] = (struct place){ p->id.ops == &letters_ops ? WALK_LETTERS : p->id.a, p->id.b };
    return count;
}

int guest_link_text(struct ferry *f, const struct node *n, const struct realm *realm,
                    const struct place *ancestors, size_t count, char *buf, size_t size)
{
    char target[4097];
    enum link_style style = LINK_POSIX;
    int r = stored_target(f, n, target, sizeof target, &style);
    if (r < 0)
        return r;
    if (!count || count > WALK_DEPTH)
        return -ENAMETOOLONG;
    return realm_rewrite_link(realm, ancestors, count, target, style, buf, size);
}

static int guest_readlink(struct ferry *f, const struct node *n, char *buf, size_t size)
{
    struct place ancestors[WALK_DEPTH];
    struct realm realm = realm_of(f, n);
    node_parents_lock(f->nodes);
    size_t count = ancestors_of(n, ancestors, WALK_DEPTH);
    node_parents_unlock(f->nodes);
    return guest_link_text(f, n, &realm, ancestors, count, buf, size);
}

int guest_link_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    char target[4097];
    int r = guest_getattr(f, n, ret);
    if (!r && n->id.ops->readlink(f, n, target, sizeof target) == 0)
        ret->st_size = (off_t)strlen(target);
    return r;
}

/* ---- xattrs ---- */

int guest_listxattr(struct ferry *f, const struct node *n, char *buf, size_t size, size_t *ret_len)
{
    struct volume *v = guest_volume_at(f, n->id.a);
    *ret_len = 0;
    return v->ops->listxattr ? v->ops->listxattr(v, n->id.b, buf, size, ret_len) : 0;
}

/* What -o umask= takes from a mode it takes from the ACL, whose entries the kernel goes by: the owner's, the
 * mask, which the group's are where there is none, and the others'. Stored: linux/posix_acl_xattr.h. */
static void mask_acl(uint8_t *acl, size_t len, mode_t umask)
{
    enum { HEAD = 4, ENTRY = 8, USER_OBJ = 1, GROUP_OBJ = 4, MASK = 16, OTHER = 32 };
    for (size_t at = HEAD; len >= ENTRY && at <= len - ENTRY; at += ENTRY) {
        unsigned tag = acl[at];
        mode_t bits = tag == USER_OBJ                   ? umask >> 6
                      : tag == GROUP_OBJ || tag == MASK ? umask >> 3
                      : tag == OTHER                    ? umask
                                                        : 0;
        acl[at + 2] &= (uint8_t) ~(bits & 7);
    }
}

int guest_getxattr(struct ferry *f, const struct node *n, const char *name, void *buf, size_t size,
                   size_t *ret_len)
{
    struct volume *v = guest_volume_at(f, n->id.a);
    int r = v->ops->getxattr ? v->ops->getxattr(v, n->id.b, name, buf, size, ret_len) : -ENODATA;
    if (!r && size && f->options->umask >= 0 && !strcmp(name, "system.posix_acl_access"))
        mask_acl(buf, *ret_len, f->umask);
    return r;
}

int guest_link_getxattr(struct ferry *f, const struct node *n, const char *name, void *buf, size_t size,
                        size_t *ret_len)
{
    if (strcmp(name, target_xattrs[0]) && strcmp(name, target_xattrs[1]))
        return guest_getxattr(f, n, name, buf, size, ret_len);
    char target[4097];
    enum link_style style;
    int r = stored_target(f, n, target, sizeof target, &style);
    if (r < 0)
        return r;
    *ret_len = strlen(target);
    if (size && size < *ret_len)
        return -ERANGE;
    if (size)
        memcpy(buf, target, *ret_len);
    return 0;
}

/* ---- files ---- */

void guest_release(struct ferry *f, struct handle *handle)
{
    (void)f;
    struct guest_handle *h = guest_handle_of(handle);
    h->volume->ops->release(h->file);
    free(h);
}

int guest_open(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
    if (writes && !guest_volume_at(f, n->id.a)->writable)
        return -EROFS;
    struct guest_handle *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    h->handle = (struct handle){ .ops = n->id.ops, .keep_cache = !f->overlay };
    h->volume = guest_volume_at(f, n->id.a);
    h->volume_index = n->id.a;
    h->ino = n->id.b;
    int r = h->volume->ops->open(h->volume, n->id.b, &h->file);
    if (r < 0) {
        free(h);
        return r;
    }
    if (flags & O_TRUNC && (r = guest_truncate(f, n)) < 0) {
        guest_release(f, &h->handle);
        return r;
    }
    *ret = &h->handle;
    return 0;
}

int guest_read(struct ferry *f, struct handle *handle, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    (void)f;
    struct guest_handle *h = guest_handle_of(handle);
    return h->volume->ops->read(h->file, buf, len, off, ret_len);
}

int guest_map(struct ferry *f, struct handle *handle, uint64_t off, struct extent *ret)
{
    (void)f;
    struct guest_handle *h = guest_handle_of(handle);
    if (h->volume->ops->map)
        return h->volume->ops->map(h->file, off, UINT64_MAX - off, ret);
    *ret = (struct extent){ .length = UINT64_MAX - off, .kind = EXTENT_DATA };
    return 0;
}

int guest_statfs(struct ferry *f, const struct node *n, struct statvfs *ret)
{
    struct volume *v = guest_volume_at(f, n->id.a);
    return v->ops->statfs(v, ret);
}

/* ---- volumes/ ---- */

static int volumes_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    (void)n;
    tree_fill_attr(f, S_IFDIR | 0555, tree_ino(4, 0, 0), ret);
    return 0;
}

static int volumes_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    (void)dir;
    struct guest *g = ferry_guest(f);
    for (size_t i = 0; g && i < g->n_volumes; i++)
        if (g->volumes[i].volume && !strcmp(g->volumes[i].name, name)) {
            *ret = (struct node_id){ .ops = &volumes_dir_ops, .a = i, .b = VOLUME_ROOT };
            return 0;
        }
    return -ENOENT;
}

static int volumes_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit,
                           void *ctx)
{
    (void)dir;
    struct guest *g = ferry_guest(f);
    for (uint64_t i = cookie; g && i < g->n_volumes; i++) {
        struct node_id id = { .ops = &volumes_dir_ops, .a = i, .b = VOLUME_ROOT };
        if (g->volumes[i].volume && emit(ctx, g->volumes[i].name, &id, S_IFDIR, i + 1))
            break;
    }
    return 0;
}

static bool volumes_present(struct ferry *f)
{
    struct guest *g = ferry_guest(f);
    for (size_t i = 0; g && i < g->n_volumes; i++)
        if (g->volumes[i].volume)
            return true;
    return false;
}

static int volumes_id(struct ferry *f, struct node_id *ret)
{
    (void)f;
    *ret = (struct node_id){ .ops = &volumes_ops };
    return 0;
}

/* ---- guest/ of Windows: the letters ---- */

static int letters_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    (void)n;
    tree_fill_attr(f, S_IFDIR | 0555, tree_ino(5, 0, 0), ret);
    return 0;
}

static int letters_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    struct realm realm = realm_of(f, dir);
    struct place p;
    int r = realm_lookup(&realm, (struct place){ WALK_LETTERS, VOLUME_ROOT }, name, &p);
    if (!r)
        *ret = (struct node_id){ .ops = &guest_dir_ops, .a = p.volume, .b = p.ino };
    return r;
}

static int letters_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit,
                           void *ctx)
{
    (void)dir;
    const struct guest_system *s = selected_system(f);
    for (uint64_t i = cookie; s && i < s->n_mounts; i++) {
        struct node_id id = { .ops = &guest_dir_ops, .a = s->mounts[i].volume, .b = VOLUME_ROOT };
        if (emit(ctx, s->mounts[i].path, &id, S_IFDIR, i + 1))
            break;
    }
    return 0;
}

static bool guest_present(struct ferry *f)
{
    return selected_system(f) != NULL;
}

static int guest_id(struct ferry *f, struct node_id *ret)
{
    const struct guest_system *s = selected_system(f);
    if (!s)
        return -ENOENT;
    if (s->kind == GUEST_WINDOWS)
        *ret = (struct node_id){ .ops = &letters_ops };
    else
        *ret = (struct node_id){ .ops = &guest_dir_ops, .a = s->root, .b = VOLUME_ROOT };
    return 0;
}

/* ---- tables ---- */

static const struct tree_ops volumes_ops = {
    .name = "volumes",
    .keep_parent = true,
    .getattr = volumes_getattr,
    .lookup = volumes_lookup,
    .readdir = volumes_readdir,
};

static const struct tree_ops letters_ops = {
    .name = "letters",
    .keep_parent = true,
    .caseless = true,
    .getattr = letters_getattr,
    .lookup = letters_lookup,
    .readdir = letters_readdir,
};

#define GUEST_DIR_OPS(tree)                                                                                  \
    {                                                                                                        \
        .name = tree, .keep_parent = true, .caseless = true, .fresh = true, .getattr = guest_getattr,        \
        .lookup = dir_lookup, .readdir = dir_readdir, .listxattr = guest_listxattr,                          \
        .getxattr = guest_getxattr, .statfs = guest_statfs, .create = guest_create, .unlink = guest_unlink,  \
        .rmdir = guest_rmdir, .rename = guest_rename, .setattr = guest_setattr, .setxattr = guest_setxattr,  \
        .removexattr = guest_removexattr,                                                                    \
    }
#define GUEST_LINK_OPS(tree)                                                                                 \
    {                                                                                                        \
        .name = tree, .keep_parent = true, .fresh = true, .getattr = guest_link_getattr,                     \
        .readlink = guest_readlink, .listxattr = guest_listxattr, .getxattr = guest_link_getxattr,           \
        .statfs = guest_statfs, .hardlink = guest_hardlink, .setattr = guest_setattr,                        \
        .setxattr = guest_setxattr, .removexattr = guest_removexattr,                                        \
    }
static const struct tree_ops volumes_dir_ops = GUEST_DIR_OPS("volumes-dir");
static const struct tree_ops guest_dir_ops = GUEST_DIR_OPS("guest-dir");
static const struct tree_ops volumes_link_ops = GUEST_LINK_OPS("volumes-link");
static const struct tree_ops guest_link_ops = GUEST_LINK_OPS("guest-link");

static const struct tree_ops guest_file_ops = {
    .name = "guest-file",
    .getattr = guest_getattr,
    .open = guest_open,
    .read = guest_read,
    .map = guest_map,
    .release = guest_release,
    .listxattr = guest_listxattr,
    .getxattr = guest_getxattr,
    .statfs = guest_statfs,
    .fresh = true,
    .hardlink = guest_hardlink,
    .setattr = guest_setattr,
    .write = guest_write,
    .fallocate = guest_fallocate,
    .setxattr = guest_setxattr,
    .removexattr = guest_removexattr,
};

struct node_id guest_other_tree(const struct node_id *dir)
{
    struct node_id id = *dir;
    id.ops = dir->ops == &guest_dir_ops ? &volumes_dir_ops : &guest_dir_ops;
    return id;
}

const struct toplevel volumes_toplevel = { "volumes", S_IFDIR, volumes_present, volumes_id };
const struct toplevel guest_toplevel = { "guest", S_IFDIR, guest_present, guest_id };
