/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_SESSION_OPS_H
#define FERRYFS_SESSION_OPS_H
/* What session.c, session-list.c and session-write.c share: requests, nodes and handles. */
#include "ferry.h"

#include <fuse_lowlevel.h>

struct ferry *session_ferry(fuse_req_t req);
struct node *session_node(struct ferry *f, fuse_ino_t ino);
void session_error(fuse_req_t req, int r); /* 0 or -errno */
/* Seconds that the kernel may keep entries and attributes of such nodes. */
double session_timeout(const struct ferry *f, const struct tree_ops *ops);
/* Fills an entry and counts the look-up; the reply that fails must forget it again. */
int session_entry(struct ferry *f, struct node *dir, const struct node_id *id, struct fuse_entry_param *ret);
/* Opens a node that has `open`: freezes the guest for a view. */
int session_open(struct ferry *f, struct node *n, int flags, struct handle **ret);
void session_reply_create(fuse_req_t req, struct fuse_entry_param *e, struct fuse_file_info *fi,
                          struct handle *h);

/* ---- session-list.c ---- */

void session_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void session_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void session_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);

/* ---- session-write.c ---- */

void session_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void session_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void session_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void session_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                    struct fuse_file_info *fi);
void session_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void session_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void session_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void session_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                    const char *new_name, unsigned flags);
void session_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                     struct fuse_file_info *fi);
/* Before the caller changes the file's data: what then goes of its mode (setuid) goes. */
int session_leave(fuse_req_t req, struct node *n);
void session_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                      int flags);
void session_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void session_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
                   struct fuse_file_info *fi);
void session_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                       struct fuse_file_info *fi);
void session_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void session_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void session_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
#endif
