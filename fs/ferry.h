/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_FERRY_H
#define FERRYFS_FERRY_H
/* One mount: the VM, its views and guests, and the node table. What is dear is made when it is first asked
 * for: the views of a disk (a walk over its map), and the scan of the guest's volumes. */
#include "../formats/view.h"
#include "../formats/vm.h"
#include "../guest/scan.h"
#include "digest.h"
#include "names.h"
#include "node.h"
#include "options.h"

#include <pthread.h>

enum { MAX_VIEWS = 8 };

/* A state of a disk, with its views: the current one, or an internal snapshot. */
struct ferry_state {
    size_t disk, snapshot; /* snapshot 0: the current state; n: image->layers[0].snapshots[n - 1] */
    pthread_mutex_t lock;  /* held while the image and the views are opened */
    bool opened;
    struct image *image; /* never closed before the end, since read-ahead may use it; NULL: see image_why */
    struct fault *image_why; /* owned */
    bool made;
    struct view *views[MAX_VIEWS]; /* as view_formats[]; NULL: absent, see why */
    struct fault why[MAX_VIEWS];
    unsigned users; /* of the views; protected by ferry.states_lock, like `used` */
    uint64_t used;  /* when the last of them was done, in ferry.states_clock */
    struct view_digest digests[MAX_VIEWS];
    pthread_mutex_t info_lock;
    struct text info; /* info.json, made when first asked for */
};

struct ferry_disk {
    struct ferry_state current;
    struct ferry_state *snapshots;    /* n_snapshots of them */
    char (*names)[FILE_NAME_MAX + 1]; /* of their directories */
    size_t n_snapshots;
};

struct ferry {
    const struct options *options;
    struct pool *pool;
    struct cache *cache;
    struct vm *vm;
    struct ferry_disk *disks; /* vm->n_disks of them */
    struct digesters *digesters;
    pthread_mutex_t states_lock; /* who uses which views; no other lock is taken under it */
    uint64_t states_clock;
    size_t n_views; /* rows of view_formats[] */
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
/* Ends what is under way for requests that wait; for when no more come. */
void ferry_stop(struct ferry *f);

/* ---- states (state.c) ---- */

int ferry_states_open(struct ferry *f);
void ferry_states_close(struct ferry *f);
/* A state whose image is open: opens a snapshot's at the first call. NULL: there is none, or it can't be
 * opened (image_why of the state, or the snapshot's own `why`). Any thread. */
struct ferry_state *ferry_state(struct ferry *f, size_t disk, size_t snapshot);
/* Makes the views if they aren't there, and keeps them until the put. Those of snapshots that nobody uses are
 * dropped by and by: a machine may have hundreds of snapshots, and a directory listing looks at them all. */
void ferry_views_get(struct ferry *f, struct ferry_state *s);
void ferry_views_put(struct ferry *f, struct ferry_state *s);

/* The guest, scanned at the first call; NULL when there is none. */
struct guest *ferry_guest(struct ferry *f);

/* info.json of the root, and of a disk's state; made at the first call. Stay valid until ferry_close. */
int ferry_info(struct ferry *f, const struct text **ret);
int ferry_state_info(struct ferry *f, struct ferry_state *s, const struct text **ret);
#endif
