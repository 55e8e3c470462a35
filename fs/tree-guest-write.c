/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing the guest's files. The gate is passed; each volume sees to its own locking.
 *
 * guest/ and volumes/ show the same things: what one of them changes, the kernel asks the other for anew (the
 * nodes are `fresh`), and a moved directory is moved in both. */
#include "tree-guest.h"

#include "hives.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static struct volume *writable_at(const struct ferry *f, uint64_t i, int *ret)
{
    struct volume *v = guest_volume_at(f, i);
    *ret = v->writable ? 0 : -EROFS;
    return v;
}

/* A name that leads into another volume is the guest's mount point: its own affair. */
static int own_entry(struct ferry *f, const struct node *dir, const char *name, uint64_t *ret_ino)
{
    struct volume *v = guest_volume_at(f, dir->id.a);
    int r = v->ops->lookup(v, dir->id.b, name, ret_ino);
    if (r < 0)
        return r;
    struct node_id id;
    r = dir->id.ops->lookup(f, dir, name, &id);
    return r < 0 ? r : id.a != dir->id.a ? -EBUSY : 0;
}

int guest_create(struct ferry *f, const struct node *dir, const char *name, const struct tree_new *what,
                 struct node_id *ret)
{
    int r;
    uint64_t ino;
    struct volume *v = writable_at(f, dir->id.a, &r);
    struct volume_new new = { what->mode, what->uid, what->gid, what->rdev, what->target, what->masked };
    if (r < 0)
        return r;
    if (!v->ops->create)
        return -EROFS;
    r = v->ops->create(v, dir->id.b, name, &new, &ino);
    if (!r)
        *ret = guest_found_id(dir, (struct place){ dir->id.a, ino }, what->mode & S_IFMT);
    return r;
}

int guest_hardlink(struct ferry *f, const struct node *n, const struct node *dir, const char *name,
                   struct node_id *ret)
{
    int r;
    struct volume *v = writable_at(f, n->id.a, &r);
    if (r < 0)
        return r;
    if (!dir->id.ops->create || dir->id.a != n->id.a)
        return -EXDEV;
    if (!v->ops->hardlink)
        return -EPERM;
    struct volume_attr a;
    r = v->ops->getattr(v, n->id.b, &a);
    if (!r)
        r = v->ops->hardlink(v, n->id.b, dir->id.b, name);
    if (!r)
        *ret = guest_found_id(dir, (struct place){ n->id.a, n->id.b }, a.mode & S_IFMT);
    return r;
}

int guest_unlink(struct ferry *f, const struct node *dir, const char *name)
{
    int r;
    uint64_t ino;
    struct volume *v = writable_at(f, dir->id.a, &r);
    if (!r && !v->ops->unlink)
        r = -EROFS;
    if (!r)
        r = own_entry(f, dir, name, &ino);
    if (!r)
        r = hives_moving(f, dir->id.a, ino);
    if (r < 0)
        return r;
    r = v->ops->unlink(v, dir->id.b, name);
    hives_moved(f, dir->id.a, ino);
    return r;
}

int guest_rmdir(struct ferry *f, const struct node *dir, const char *name)
{
    int r;
    uint64_t ino;
    struct volume *v = writable_at(f, dir->id.a, &r);
    if (!r && !v->ops->rmdir)
        r = -EROFS;
    if (!r)
        r = own_entry(f, dir, name, &ino);
    return r < 0 ? r : v->ops->rmdir(v, dir->id.b, name);
}

/* The directory `ino` of dir's volume now lies in new_dir. */
static void moved(struct ferry *f, uint64_t ino, const struct node *new_dir)
{
    struct node_id id = { .ops = new_dir->id.ops, .a = new_dir->id.a, .b = ino };
    node_moved(f->nodes, &id, (struct node *)(uintptr_t)new_dir);
    id = guest_other_tree(&id);
    node_moved(f->nodes, &id, NULL);
}

int guest_rename(struct ferry *f, const struct node *dir, const char *name, const struct node *new_dir,
                 const char *new_name, unsigned flags)
{
    int r;
    uint64_t ino, other;
    struct volume *v = writable_at(f, dir->id.a, &r);
    if (r < 0)
        return r;
    if (dir->id.ops != new_dir->id.ops || dir->id.a != new_dir->id.a)
        return -EXDEV;
    if (!v->ops->rename)
        return -EROFS;
    r = own_entry(f, dir, name, &ino);
    if (r < 0)
        return r;
    int there = own_entry(f, new_dir, new_name, &other);
    if (there < 0 && there != -ENOENT)
        return there;
    r = hives_moving(f, dir->id.a, ino);
    if (!r && !there)
        r = hives_moving(f, dir->id.a, other);
    if (r < 0)
        return r;
    r = v->ops->rename(v, dir->id.b, name, new_dir->id.b, new_name, flags);
    hives_moved(f, dir->id.a, ino);
    if (!there)
        hives_moved(f, dir->id.a, other);
    if (r < 0)
        return r;
    moved(f, ino, new_dir);
    if (flags & RENAME_EXCHANGE && !there)
        moved(f, other, dir);
    return 0;
}

int guest_setattr(struct ferry *f, const struct node *n, const struct stat *st, unsigned which,
                  struct handle *h)
{
    int r;
    struct volume *v = writable_at(f, n->id.a, &r);
    (void)h;
    struct volume_attr a = {
        .mode = st->st_mode,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .size = (uint64_t)st->st_size,
        .atime = st->st_atim,
        .mtime = st->st_mtim,
    };
    static const struct {
        unsigned tree, volume;
    } fields[] = {
        { TREE_SET_MODE, SET_MODE }, { TREE_SET_UID, SET_UID },     { TREE_SET_GID, SET_GID },
        { TREE_SET_SIZE, SET_SIZE }, { TREE_SET_ATIME, SET_ATIME }, { TREE_SET_MTIME, SET_MTIME },
    };
    unsigned set = 0;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        set |= which & fields[i].tree ? fields[i].volume : 0;
    if (!r && !v->ops->setattr)
        r = -EROFS;
    if (!r && set & SET_SIZE)
        r = hives_guest_write(f, n->id.a, n->id.b);
    return r < 0 ? r : v->ops->setattr(v, n->id.b, &a, set);
}

int guest_truncate(struct ferry *f, const struct node *n)
{
    struct stat st = { .st_size = 0 };
    int r = ferry_edit_begin(f);
    if (r < 0)
        return r;
    r = guest_setattr(f, n, &st, TREE_SET_SIZE, NULL);
    ferry_edit_end(f, !r);
    return r;
}

int guest_write(struct ferry *f, struct handle *handle, const void *buf, size_t len, uint64_t off)
{
    struct guest_handle *h = guest_handle_of(handle);
    if (!h->volume->writable || !h->volume->ops->write)
        return -EROFS;
    int r = hives_guest_write(f, h->volume_index, h->ino);
    return r < 0 ? r : h->volume->ops->write(h->file, buf, len, off);
}

int guest_fallocate(struct ferry *f, struct handle *handle, int mode, uint64_t off, uint64_t len)
{
    struct guest_handle *h = guest_handle_of(handle);
    if (!h->volume->writable)
        return -EROFS;
    if (!h->volume->ops->fallocate)
        return -EOPNOTSUPP;
    int r = hives_guest_write(f, h->volume_index, h->ino);
    return r < 0 ? r : h->volume->ops->fallocate(h->file, mode, off, len);
}

int guest_setxattr(struct ferry *f, const struct node *n, const char *name, const void *value, size_t size,
                   int flags)
{
    int r;
    struct volume *v = writable_at(f, n->id.a, &r);
    if (r < 0)
        return r;
    return v->ops->setxattr ? v->ops->setxattr(v, n->id.b, name, value, size, flags) : -EOPNOTSUPP;
}

int guest_removexattr(struct ferry *f, const struct node *n, const char *name)
{
    int r;
    struct volume *v = writable_at(f, n->id.a, &r);
    if (r < 0)
        return r;
    return v->ops->removexattr ? v->ops->removexattr(v, n->id.b, name) : -EOPNOTSUPP;
}
