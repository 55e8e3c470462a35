/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The requests that change something. Each passes the gate: while a view is open the guest is frozen. */
#define FUSE_USE_VERSION 312
#include "caller.h"
#include "session-ops.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

/* What a tree has no function for: of a mount that is read-only as a whole, that; else it depends. */
static int missing(struct ferry *f)
{
    return ferry_writable(f) ? -EPERM : -EROFS;
}

/* Through the gate, if `has` (the tree's function). */
static int begin(struct ferry *f, bool has)
{
    if (!has)
        return missing(f);
    return ferry_edit_begin(f);
}

/* ---- names ---- */

static void reply_created(fuse_req_t req, struct ferry *f, struct node *dir, const struct node_id *id, int r)
{
    struct fuse_entry_param e;
    if (!r)
        r = session_entry(f, dir, id, &e);
    if (r < 0)
        session_error(req, r);
    else if (fuse_reply_entry(req, &e) < 0)
        node_forget(f->nodes, session_node(f, e.ino), 1);
}

static int create(fuse_req_t req, struct node *dir, const char *name, const struct tree_new *what,
                  struct node_id *ret)
{
    struct ferry *f = session_ferry(req);
    int r = begin(f, dir->id.ops->create != NULL);
    if (r < 0)
        return r;
    r = dir->id.ops->create(f, dir, name, what, ret);
    ferry_edit_end(f, !r);
    return r;
}

/* Whoever isn't in the group that a directory hands down makes no file that runs as that group. Linux 6.0 and
 * later see to it before they ask, as they do where a mode is set. */
static mode_t made_in(fuse_req_t req, struct node *dir, mode_t mode)
{
    struct stat st;
    if ((mode & (S_ISGID | S_IXGRP)) != (S_ISGID | S_IXGRP) || S_ISDIR(mode) ||
        dir->id.ops->getattr(session_ferry(req), dir, &st) < 0 || !(st.st_mode & S_ISGID))
        return mode;
    return caller_may_setgid(req, st.st_gid) ? mode : mode & ~(mode_t)S_ISGID;
}

/* The kernel leaves the umask to us (FUSE_CAP_DONT_MASK), since a default ACL takes its place. */
static struct tree_new new_of(fuse_req_t req, struct node *dir, mode_t mode)
{
    const struct fuse_ctx *c = fuse_req_ctx(req);
    mode_t masked = S_ISLNK(mode) ? 0 : mode & c->umask & 0777;
    mode = made_in(req, dir, mode);
    return (struct tree_new){ .mode = mode & ~masked, .uid = c->uid, .gid = c->gid, .masked = masked };
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev,
                 const char *target)
{
    struct ferry *f = session_ferry(req);
    struct node *dir = session_node(f, parent);
    struct tree_new what = new_of(req, dir, mode);
    struct node_id id;
    what.rdev = rdev;
    what.target = target;
    int r = create(req, dir, name, &what, &id);
    reply_created(req, f, dir, &id, r);
}

void session_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    make(req, parent, name, mode, rdev, NULL);
}

void session_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    make(req, parent, name, S_IFDIR | (mode & ~(mode_t)S_IFMT), 0, NULL);
}

void session_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    make(req, parent, name, S_IFLNK | 0777, 0, target);
}

void session_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                    struct fuse_file_info *fi)
{
    struct ferry *f = session_ferry(req);
    struct node *dir = session_node(f, parent);
    struct tree_new what = new_of(req, dir, S_IFREG | (mode & ~(mode_t)S_IFMT));
    struct node_id id;
    struct fuse_entry_param e;
    struct handle *h = NULL;
    int r = create(req, dir, name, &what, &id);
    if (r == -EEXIST && !(fi->flags & O_EXCL)) /* the kernel didn't know it yet, or it has another case */
        r = dir->id.ops->lookup(f, dir, name, &id);
    if (!r)
        r = session_entry(f, dir, &id, &e);
    if (r < 0) {
        session_error(req, r);
        return;
    }
    struct node *n = session_node(f, e.ino);
    r = n->id.ops->open ? session_open(f, n, fi->flags, &h) : -ENXIO;
    if (r < 0) {
        node_forget(f->nodes, n, 1);
        session_error(req, r);
        return;
    }
    session_reply_create(req, &e, fi, h);
}

void session_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
    struct ferry *f = session_ferry(req);
    struct node *n = session_node(f, ino), *dir = session_node(f, new_parent);
    struct node_id id;
    int r = begin(f, n->id.ops->hardlink != NULL);
    if (!r) {
        r = n->id.ops->hardlink(f, n, dir, new_name, &id);
        ferry_edit_end(f, !r);
    }
    reply_created(req, f, dir, &id, r);
}

static void reply_edit(fuse_req_t req, int r)
{
    session_error(req, r);
}

/* Of what may make a file longer: that the file system has no room for the length is no fault of the image.
 */
static void reply_grown(fuse_req_t req, int r)
{
    if (r == -EFBIG)
        fuse_reply_err(req, EFBIG);
    else
        session_error(req, r);
}

void session_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct ferry *f = session_ferry(req);
    struct node *dir = session_node(f, parent);
    int r = begin(f, dir->id.ops->unlink != NULL);
    if (!r) {
        r = dir->id.ops->unlink(f, dir, name);
        ferry_edit_end(f, !r);
    }
    reply_edit(req, r);
}

void session_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct ferry *f = session_ferry(req);
    struct node *dir = session_node(f, parent);
    int r = begin(f, dir->id.ops->rmdir != NULL);
    if (!r) {
        r = dir->id.ops->rmdir(f, dir, name);
        ferry_edit_end(f, !r);
    }
    reply_edit(req, r);
}

void session_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                    const char *new_name, unsigned flags)
{
    struct ferry *f = session_ferry(req);
    struct node *dir = session_node(f, parent), *new_dir = session_node(f, new_parent);
    int r = begin(f, dir->id.ops->rename != NULL);
    if (!r) {
        r = dir->id.ops->rename != new_dir->id.ops->rename
                ? -EXDEV
                : dir->id.ops->rename(f, dir, name, new_dir, new_name, flags);
        ferry_edit_end(f, !r);
    }
    reply_edit(req, r);
}

/* ---- attributes ---- */

static unsigned set_fields(int to_set, struct stat *st)
{
    static const struct {
        int fuse;
        unsigned tree;
    } fields[] = {
        { FUSE_SET_ATTR_MODE, TREE_SET_MODE },   { FUSE_SET_ATTR_UID, TREE_SET_UID },
        { FUSE_SET_ATTR_GID, TREE_SET_GID },     { FUSE_SET_ATTR_SIZE, TREE_SET_SIZE },
        { FUSE_SET_ATTR_ATIME, TREE_SET_ATIME }, { FUSE_SET_ATTR_MTIME, TREE_SET_MTIME },
    };
    unsigned which = 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to_set & FUSE_SET_ATTR_ATIME_NOW)
        st->st_atim = now;
    if (to_set & FUSE_SET_ATTR_MTIME_NOW)
        st->st_mtim = now;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        which |= to_set & fields[i].fuse ? fields[i].tree : 0;
    return which;
}

void session_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    struct ferry *f = session_ferry(req);
    struct node *n = session_node(f, ino);
    struct handle *h = fi ? (struct handle *)(uintptr_t)fi->fh : NULL;
    struct stat st = *attr;
    unsigned which = set_fields(to_set, &st);
    int r = begin(f, n->id.ops->setattr != NULL);
    if (!r) {
        r = n->id.ops->setattr(f, n, &st, which, h);
        if (h && which & TREE_SET_SIZE)
            h->wrote = true;
        ferry_edit_end(f, !r);
    }
    if (!r)
        r = n->id.ops->getattr(f, n, &st);
    if (r < 0)
        reply_grown(req, r);
    else
        fuse_reply_attr(req, &st, session_timeout(f, n->id.ops));
}

/* With the gate. */
static int set_mode(struct ferry *f, struct node *n, mode_t mode)
{
    struct stat st = { .st_mode = mode };
    return n->id.ops->setattr(f, n, &st, TREE_SET_MODE, NULL);
}

int session_leave(fuse_req_t req, struct node *n)
{
    struct ferry *f = session_ferry(req);
    struct stat st;
    if (!n->id.ops->setattr || n->id.ops->getattr(f, n, &st) < 0)
        return 0; /* the open says what is wrong */
    mode_t left = caller_leaves(req, st.st_mode);
    if (left == st.st_mode)
        return 0;
    int r = begin(f, true);
    if (!r) {
        r = set_mode(f, n, left);
        ferry_edit_end(f, !r);
    }
    return r;
}

/* An ACL sets the mode, and as chmod does it takes S_ISGID away where the caller couldn't set it. With the
 * gate.
 */
static int after_acl(fuse_req_t req, struct node *n)
{
    struct ferry *f = session_ferry(req);
    struct stat st;
    int r = n->id.ops->setattr ? n->id.ops->getattr(f, n, &st) : 0;
    if (r < 0 || !n->id.ops->setattr || !(st.st_mode & S_ISGID) || caller_may_setgid(req, st.st_gid))
        return r;
    return set_mode(f, n, st.st_mode & ~(mode_t)S_ISGID);
}

void session_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                      int flags)
{
    struct ferry *f = session_ferry(req);
    struct node *n = session_node(f, ino);
    int r = !n->id.ops->setxattr && ferry_writable(f) ? -EOPNOTSUPP : begin(f, n->id.ops->setxattr != NULL);
    if (!r) {
        r = n->id.ops->setxattr(f, n, name, value, size, flags);
        if (!r && !strcmp(name, "system.posix_acl_access"))
            r = after_acl(req, n);
        ferry_edit_end(f, !r);
    }
    reply_edit(req, r);
}

void session_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct ferry *f = session_ferry(req);
    struct node *n = session_node(f, ino);
    int r =
        !n->id.ops->removexattr && ferry_writable(f) ? -EOPNOTSUPP : begin(f, n->id.ops->removexattr != NULL);
    if (!r) {
        r = n->id.ops->removexattr(f, n, name);
        ferry_edit_end(f, !r);
    }
    reply_edit(req, r);
}

/* ---- data ---- */

void session_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
                   struct fuse_file_info *fi)
{
    struct ferry *f = session_ferry(req);
    struct handle *h = (struct handle *)(uintptr_t)fi->fh;
    (void)ino;
    int r = begin(f, h->ops->write != NULL);
    if (!r) {
        h->wrote = true;
        r = h->ops->write(f, h, buf, size, (uint64_t)off);
        ferry_edit_end(f, !r);
    }
    if (r < 0)
        reply_grown(req, r);
    else
        fuse_reply_write(req, size);
}

void session_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                       struct fuse_file_info *fi)
{
    struct ferry *f = session_ferry(req);
    struct handle *h = (struct handle *)(uintptr_t)fi->fh;
    (void)ino;
    int r = h->ops->fallocate ? begin(f, true) : -EOPNOTSUPP;
    if (!r) {
        r = h->ops->fallocate(f, h, mode, (uint64_t)off, (uint64_t)len);
        ferry_edit_end(f, !r);
    }
    reply_grown(req, r);
}

void session_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct ferry *f = session_ferry(req);
    struct handle *h = (struct handle *)(uintptr_t)fi->fh;
    int r = 0;
    (void)ino;
    if (h->wrote && h->ops->flush && !(r = ferry_edit_begin(f))) {
        h->wrote = false;
        r = h->ops->flush(f, h);
        ferry_edit_end(f, !r);
    } else if (!h->wrote && h->ops->flush) {
        r = h->ops->flush(f, h);
    }
    h->wrote = false;
    reply_edit(req, r);
}

void session_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct ferry *f = session_ferry(req);
    struct handle *h = fi ? (struct handle *)(uintptr_t)fi->fh : NULL;
    int r = 0;
    (void)ino;
    (void)datasync;
    if (h && h->wrote && h->ops->flush && !(r = ferry_edit_begin(f))) {
        r = h->ops->flush(f, h);
        ferry_edit_end(f, !r);
    }
    if (!r)
        r = ferry_commit(f);
    reply_edit(req, r);
}

void session_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    (void)datasync;
    (void)fi;
    reply_edit(req, ferry_commit(session_ferry(req)));
}
