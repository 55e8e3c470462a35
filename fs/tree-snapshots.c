/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disks/diskN/snapshots/: a directory for each internal snapshot of the disk's top image that can be opened.
 * What is in them is tree-disks.c's, as for the current state; why one is missing is in
 * disks/diskN/info.json. The name as it is stored is the xattr user.ferryfs.name of a snapshot's directory.
 */
#include "tree-disks.h"

#include <errno.h>
#include <string.h>

static const struct tree_ops snapshots_ops;

struct node_id snapshots_id(uint64_t disk)
{
    return (struct node_id){ .ops = &snapshots_ops, .a = disk };
}

bool snapshots_present(struct ferry *f, uint64_t disk)
{
    for (size_t i = 1; i <= f->disks[disk].n_snapshots; i++)
        if (ferry_state(f, disk, i))
            return true;
    return false;
}

static int snapshots_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    tree_fill_attr(f, S_IFDIR | 0555, tree_ino(8, n->id.a, 0), ret);
    ret->st_mtim = ret->st_ctim = f->vm->disks[n->id.a].mtime;
    return 0;
}

static int snapshots_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    const struct ferry_disk *d = &f->disks[dir->id.a];
    for (size_t i = 0; i < d->n_snapshots; i++)
        if (!strcmp(d->names[i], name)) {
            *ret = disk_dir_id(dir->id.a, i + 1);
            return ferry_state(f, dir->id.a, i + 1) ? 0 : -ENOENT;
        }
    return -ENOENT;
}

static int snapshots_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit,
                             void *ctx)
{
    const struct ferry_disk *d = &f->disks[dir->id.a];
    for (uint64_t i = cookie; i < d->n_snapshots; i++) {
        struct node_id id = disk_dir_id(dir->id.a, i + 1);
        if (ferry_state(f, dir->id.a, i + 1) && emit(ctx, d->names[i], &id, S_IFDIR, i + 1))
            break;
    }
    return 0;
}

static const struct tree_ops snapshots_ops = {
    .name = "snapshots",
    .getattr = snapshots_getattr,
    .lookup = snapshots_lookup,
    .readdir = snapshots_readdir,
};
