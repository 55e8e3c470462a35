/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_FERRY_H
#define FERRYFS_FERRY_H
/* One mount: the VM, its views and guests, and the node table. What is dear is made when it is first asked
 * for: the views of a disk (a walk over its map), and the scan of the guest's volumes. */
#include "../formats/overlay.h"
#include "../formats/view.h"
#include "../formats/vm.h"
#include "../guest/scan.h"
#include "digest.h"
#include "names.h"
#include "node.h"
#include "options.h"

#include <pthread.h>

enum { MAX_VIEWS = 8 };

/* The views of a state of a disk, as its content was at a moment. */
struct view_set {
    unsigned users; /* the state it is the newest of, and all who use it; protected by ferry.states_lock */
    uint64_t generation; /* of the overlay */
    bool complete;       /* all views are there, with their survey; protected by the lock of the state */
    struct view *views[MAX_VIEWS]; /* as view_formats[]; NULL: absent, see why */
    struct fault why[MAX_VIEWS];
    struct view_digest digests[MAX_VIEWS];
};

/* A state of a disk, with its views: the current one, or an internal snapshot. */
struct ferry_state {
    size_t disk, snapshot; /* snapshot 0: the current state; n: image->layers[0].snapshots[n - 1] */
    pthread_mutex_t lock;  /* held while the image and the views are opened */
    bool opened;
    struct image *image; /* never closed before the end, since read-ahead may use it; NULL: see image_why */
    struct fault *image_why; /* owned */
    struct view_set *set; /* the newest; NULL: none was made. Protected by ferry.states_lock, like `used` */
    uint64_t used;        /* when somebody was done with its views, in ferry.states_clock */
    pthread_mutex_t info_lock;
    struct shared_text *info; /* info.json, made when first asked for, and after edits */
    uint64_t info_generation; /* of the overlay */
};

struct ferry_disk {
    struct disk *disk; /* with the edits, if the mount is writable; NULL: it couldn't be opened */
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
    struct guest *guest;     /* NULL: nothing was found, or no memory */
    struct hives *hives;     /* hives.h */
    struct drivers *drivers; /* drivers.h */
    struct diffs *diffs;     /* diff.h */

    bool (*ended)(
        void *ctx); /* NULL: no. Is the mount at its end, so that long work is for nobody? From any thread */
    void *ended_ctx;

    pthread_mutex_t info_lock; /* held while info.json is made */
    struct shared_text *info;
    uint64_t info_generation; /* of the overlay */

    /* ---- of a writable mount (edits.c) ---- */
    struct overlay *overlay; /* NULL: the mount is read-only */
    struct gate *gate;
    _Atomic uint64_t edits;     /* counts what changed anything */
    _Atomic uint64_t committed; /* of these, what the overlay's last commit has; changes with the gate shut */
    _Atomic bool broken; /* what failed half-way couldn't be taken back: nothing is committed any more */
    pthread_t committer;
    bool committer_runs, committer_stop; /* the latter is protected by committer_lock */
    pthread_mutex_t committer_lock;
    pthread_cond_t committer_wake;
};

/* Opens the sources, and the overlay of a mount. `mountpoint` is absolute (NULL: nothing is mounted). 0, or
 * -errno with a fault. */
int ferry_open(const struct options *o, const char *mountpoint, struct ferry **ret, struct fault *fault);
void ferry_close(struct ferry *f);
/* Ends what is under way for requests that wait; for when no more come. */
void ferry_stop(struct ferry *f);

/* ---- states (state.c) ---- */

int ferry_states_open(struct ferry *f);
void ferry_states_close(struct ferry *f);
/* A state whose image is open: opens a snapshot's at the first call. NULL: there is none, or it can't be
 * opened (image_why of the state, or the snapshot's own `why`). Any thread. */
struct ferry_state *ferry_state(struct ferry *f, size_t disk, size_t snapshot);
/* The views of the state as the overlay's last commit has it, made if they aren't there; kept until the put.
 * Those of snapshots that nobody uses are dropped by and by: a machine may have hundreds of snapshots, and a
 * directory listing looks at them all. NULL: no memory. */
struct view_set *ferry_views_get(struct ferry *f, struct ferry_state *s);
void ferry_views_put(struct ferry *f, struct ferry_state *s, struct view_set *set);
/* The same, but perhaps only those of its views are there, and not complete, whose format is `early`: no walk
 * over the disk's map is waited for. Another ferry_views_get() makes the same set complete. */
struct view_set *ferry_views_get_early(struct ferry *f, struct ferry_state *s);
/* The disk of a state, with the edits. */
struct disk *ferry_state_disk(const struct ferry *f, const struct ferry_state *s);
/* When the state was last changed: by the overlay's last commit, or as the source says. */
struct timespec ferry_mtime(const struct ferry *f, size_t disk, size_t snapshot);

/* The guest, scanned at the first call; NULL when there is none. */
struct guest *ferry_guest(struct ferry *f);

/* info.json of the root, and of a disk's state, as of the overlay's last commit. A reference of the caller's.
 */
int ferry_info(struct ferry *f, struct shared_text **ret);
int ferry_state_info(struct ferry *f, struct ferry_state *s, struct shared_text **ret);

/* ---- edits (edits.c) ---- */

bool ferry_writable(const struct ferry *f);
/* Around whatever changes the guest: -EROFS, or -EBUSY while a view is open. */
int ferry_edit_begin(struct ferry *f);
void ferry_edit_end(struct ferry *f, bool changed);
/* Within ferry_edit_begin and _end: has the guest for this thread alone: no other writer is inside, no view
 * open, and no commit made but by ferry_alone_commit(). What was looked at before may have changed. -EBUSY: a
 * view is open; then there is nothing to end. */
int ferry_alone_begin(struct ferry *f);
int ferry_alone_commit(struct ferry *f);
void ferry_alone_end(struct ferry *f);
/* Makes all edits so far durable. Not between ferry_edit_begin and _end. */
int ferry_commit(struct ferry *f);
/* Commits, and keeps edits out until the thaw. *ret_edits names the state that is frozen. */
int ferry_freeze(struct ferry *f, uint64_t *ret_edits);
void ferry_thaw(struct ferry *f);
/* The thread that commits now and then; stopping it commits for the last time, and may be said twice. */
int ferry_edits_start(struct ferry *f);
int ferry_edits_stop(struct ferry *f);
/* Called by ferry_open: opens the overlay, if one is asked for. */
int ferry_overlay_open(struct ferry *f, const char *mountpoint, struct fault *fault);
#endif
