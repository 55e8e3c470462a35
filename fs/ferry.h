/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_FERRY_H
#define FERRYFS_FERRY_H
/* One mount: the VM, its views and guests, and the node table. What is dear is made when it is first asked
 * for: the views of a disk (a walk over its map), and the scan of the guest's volumes. */
#include "../formats/view.h"
#include "../formats/vm.h"
#include "../guest/scan.h"
#include "node.h"
#include "options.h"

#include <pthread.h>

enum { MAX_VIEWS = 8 };

struct ferry_disk {
    pthread_mutex_t lock; /* held while views are made; protects the fields below until `made` */
    bool made;
    struct view *views[MAX_VIEWS]; /* as view_formats[]; NULL: absent, see why */
    struct fault why[MAX_VIEWS];
    pthread_mutex_t info_lock;
    struct text info; /* disks/diskN/info.json, made when first asked for */
};

struct ferry {
    const struct options *options;
    struct pool *pool;
    struct cache *cache;
    struct vm *vm;
    struct ferry_disk *disks; /* vm->n_disks of them */
    size_t n_views;           /* rows of view_formats[] */
    struct node_table *nodes;
    uid_t uid;
    gid_t gid;
    mode_t umask;
    struct timespec mtime; /* newest of the sources */

    pthread_mutex_t guest_lock; /* held while the guest is scanned */
    bool guest_scanned;
    struct guest *guest; /* NULL: nothing was found, or no memory */

    pthread_mutex_t info_lock; /* held while info.json is made */
    struct text info;
};

/* Opens the sources. 0, or -errno with a fault. */
int ferry_open(const struct options *o, struct ferry **ret, struct fault *fault);
void ferry_close(struct ferry *f);

/* The views of a disk; makes them at the first call. -errno when that isn't possible at all (no memory). */
int ferry_views(struct ferry *f, size_t disk, struct ferry_disk **ret);
/* The guest, scanned at the first call; NULL when there is none. */
struct guest *ferry_guest(struct ferry *f);

/* info.json of the root, and of a disk; made at the first call. Stay valid until ferry_close. */
int ferry_info(struct ferry *f, const struct text **ret);
int ferry_disk_info(struct ferry *f, size_t disk, const struct text **ret);
#endif
