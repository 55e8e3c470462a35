/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_DRIVERS_H
#define FERRYFS_DRIVERS_H
/* What the drivers/ tree keeps: the packages that are being put together in staging/ (in memory, until they
 * are installed or the mount ends), and the log. One lock protects all of it; it is held for no call of
 * others. */
#include "tree.h"

#include "../guest/driver-install.h"

#include <pthread.h>

enum {
    STAGING_DEPTH = 64, /* levels: what walks the tree is recursive */
    STAGING_NODES = 1 << 16,
    STAGING_BYTES = 1 << 30,
    DRIVERS_LOG_MAX = 1 << 20,
};

/* A file or directory below staging/, which is number 1 itself. */
struct staged {
    uint64_t id;                             /* its place in drivers.nodes, plus 1; never given twice */
    struct staged *parent, *next, *children; /* parent NULL: it was removed */
    char *name;                              /* owned */
    bool dir;
    mode_t mode;
    uint8_t *bytes; /* owned */
    size_t n, room;
    unsigned opens; /* handles; a removed one goes with the last */
};

struct drivers {
    char *store; /* owned: -o drivers=, absolute; NULL: none. Never changes */
    pthread_mutex_t lock;
    struct staged **nodes; /* owned; NULL for those that are gone */
    size_t n_nodes, bytes;
    char *log; /* owned */
    size_t log_n;
    struct { /* owned: unlinked in installed/, but not uninstalled yet */
        unsigned oem;
        uint64_t entry;
    } * hidden;
    size_t n_hidden;
    struct { /* the info.json that was last made: each getattr needs its length */
        unsigned oem;
        uint64_t edits; /* of the mount when that began */
        char *text;     /* owned; NULL: none */
    } info;
};

/* What ferry_open and ferry_close call. */
int drivers_open(struct ferry *f, struct fault *fault);
void drivers_close(struct ferry *f);

/* A line at the end of drivers/log, with the time. */
void drivers_say(struct drivers *d, const char *line);

/* ---- staging/ (drivers-staging.c); called with the lock held ---- */

struct staged *staged_at(struct drivers *d, uint64_t id); /* NULL: gone */
struct staged *staged_child(const struct staged *dir, const char *name);
/* Errors: -EEXIST, -ENOSPC and -ENAMETOOLONG over a limit, -ENOMEM. */
int staged_make(struct drivers *d, struct staged *dir, const char *name, mode_t mode, struct staged **ret);
/* -ENOTEMPTY for a directory that isn't empty. */
int staged_remove(struct drivers *d, struct staged *s);
/* One that was removed, when its last handle is closed. */
void staged_discard(struct drivers *d, struct staged *s);
void staged_remove_all(struct drivers *d, struct staged *s);
int staged_rename(struct drivers *d, struct staged *s, struct staged *dir, const char *name, unsigned flags);
int staged_resize(struct drivers *d, struct staged *s, size_t n);
int staged_write(struct drivers *d, struct staged *s, const void *buf, size_t len, uint64_t off);
/* The files below `dir`, whose bytes stay the nodes'; owned paths. */
int staged_package(const struct staged *dir, struct driver_package_file **ret, size_t *ret_n);
void staged_package_free(struct driver_package_file *files, size_t n);

/* ---- doing (drivers-edit.c); within ferry_edit_begin() ---- */

/* Installs all INFs of the directory `name` in the staged directory `dir`, which then is gone: see the
 * contract for what mv hears. */
int drivers_install(struct ferry *f, uint64_t dir, const char *name);
int drivers_uninstall(struct ferry *f, unsigned oem);
/* "C/Windows" of the guest; -ENOENT: it has none. */
int drivers_system(struct ferry *f, char *ret, size_t size);
/* info.json of an installed package; owned by the caller. */
int drivers_info(struct ferry *f, unsigned oem, char **ret);

/* ---- the store of -o drivers= (drivers-store.c) ---- */

struct changes;
/* Plans to install what the guest lacks of virtio's disk, network and balloon drivers, as far as the store
 * has them for this Windows: chosen by the hardware ids of the INFs, the Windows that they are for, and their
 * versions. Nothing without a store. What can't be taken is a note of the plan; a policy blocks it. */
int drivers_plan_virtio(struct ferry *f, struct changes *c, const char *root);
#endif
