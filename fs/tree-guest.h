/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TREE_GUEST_H
#define FERRYFS_TREE_GUEST_H
/* What reading the guest's files (tree-guest.c) and writing them (tree-guest-write.c) share. */
#include "ferry.h"

#include "../guest/walk.h"

struct guest_handle {
    struct handle handle;
    struct volume *volume;
    size_t volume_index;
    uint64_t ino;
    struct volume_file *file;
};

static inline struct guest_handle *guest_handle_of(struct handle *h)
{
    return (struct guest_handle *)(void *)h;
}

struct volume *guest_volume_at(const struct ferry *f, uint64_t i);
/* The node of a thing of that type in directory `dir`. */
struct node_id guest_found_id(const struct node *dir, struct place p, mode_t type);
/* A directory's node in guest/, if `dir` is that in volumes/, and the other way round. */
struct node_id guest_other_tree(const struct node_id *dir);

/* Of a node whose id has the volume's index in a, the inode in b; as in tree_ops. */
int guest_getattr(struct ferry *f, const struct node *n, struct stat *ret);
int guest_link_getattr(struct ferry *f, const struct node *n, struct stat *ret); /* by its readlink */
int guest_listxattr(struct ferry *f, const struct node *n, char *buf, size_t size, size_t *ret_len);
int guest_getxattr(struct ferry *f, const struct node *n, const char *name, void *buf, size_t size,
                   size_t *ret_len);
int guest_link_getxattr(struct ferry *f, const struct node *n, const char *name, void *buf, size_t size,
                        size_t *ret_len);
int guest_open(struct ferry *f, const struct node *n, int flags, struct handle **ret);
int guest_read(struct ferry *f, struct handle *handle, void *buf, size_t len, uint64_t off, size_t *ret_len);
int guest_map(struct ferry *f, struct handle *handle, uint64_t off, struct extent *ret);
void guest_release(struct ferry *f, struct handle *handle);
int guest_statfs(struct ferry *f, const struct node *n, struct statvfs *ret);
/* What readlink shows, see realm_rewrite_link(). */
int guest_link_text(struct ferry *f, const struct node *n, const struct realm *realm,
                    const struct place *ancestors, size_t count, char *buf, size_t size);

int guest_create(struct ferry *f, const struct node *dir, const char *name, const struct tree_new *what,
                 struct node_id *ret);
int guest_hardlink(struct ferry *f, const struct node *n, const struct node *dir, const char *name,
                   struct node_id *ret);
int guest_unlink(struct ferry *f, const struct node *dir, const char *name);
int guest_rmdir(struct ferry *f, const struct node *dir, const char *name);
int guest_rename(struct ferry *f, const struct node *dir, const char *name, const struct node *new_dir,
                 const char *new_name, unsigned flags);
int guest_setattr(struct ferry *f, const struct node *n, const struct stat *st, unsigned which,
                  struct handle *h);
int guest_truncate(struct ferry *f, const struct node *n);
int guest_write(struct ferry *f, struct handle *h, const void *buf, size_t len, uint64_t off);
int guest_fallocate(struct ferry *f, struct handle *h, int mode, uint64_t off, uint64_t len);
int guest_setxattr(struct ferry *f, const struct node *n, const char *name, const void *value, size_t size,
                   int flags);
int guest_removexattr(struct ferry *f, const struct node *n, const char *name);
#endif
