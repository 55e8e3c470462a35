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
