/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_DIFF_H
#define FERRYFS_DIFF_H
/* What the edits have changed: the source's volumes, read without the overlay, beside those of the mount.
 *
 * A `struct diff` is of one state of the guest and never changes. It is made by whoever asks first after an
 * edit, in that request; who asks meanwhile waits for it. Everybody else goes on, edits too: what is written
 * during the walk may be in it or not, and the next question has a newer one.
 *
 * A guest's files are in `files`, at their paths in guest/; volumes that are no part of guest/ have a
 * directory of their own. */
#include "ferry.h"
#include "hives.h"

#include "../guest/volume-diff.h"
#include "../guest/walk.h"

/* A name in a directory of files/ that leads to another volume, or on the way to where one is mounted. */
struct diff_way {
    struct place dir, to;
    char *name; /* owned */
};

struct diff {
    _Atomic unsigned refs;
    uint64_t edits;               /* of the state: ferry.edits */
    const struct guest *guest;    /* as it is now */
    size_t n;                     /* volumes of it */
    struct volume_diff **volumes; /* owned; NULL: nothing was written there, or see errs */
    int *errs;                    /* why a volume can't be compared, 0: it can */
    const char **at;       /* of each volume: its path in guest/ (borrowed), NULL: it is no part of that */
    struct diff_way *ways; /* owned */
    size_t n_ways;
};

/* Of the state as it is now. -EFBIG: more differs than is kept (some 200,000 files). */
int diff_get(struct ferry *f, struct diff **ret);
void diff_put(struct diff *d); /* NULL is fine */
DEFINE_CLEANUP(struct diff *, diff_put)
/* Has the volume anything to show? */
bool diff_has(const struct diff *d, size_t volume);
/* The system of guest/, NULL: none. */
const struct guest_system *diff_system(struct ferry *f);
/* Is the volume a part of guest/? */
bool diff_in_guest(struct ferry *f, size_t volume);

/* ---- hives (diff-hive.c) ---- */

/* Hives in the order of the directory; NULL behind the last. */
struct reg_hive *diff_hive_nth(struct ferry *f, size_t i);
/* "SYSTEM.reg" */
void diff_hive_name(const struct reg_hive *h, char *ret, size_t size);
/* Differs it from the source's? True as well when that can't be told. */
bool diff_hive_differs(struct ferry *f, struct reg_hive *h);

struct diff_hive;
/* The text, read in sequence (backwards costs all of it anew). Calls of one exclude each other. */
int diff_hive_open(struct ferry *f, struct reg_hive *h, struct diff_hive **ret);
int diff_hive_read(struct ferry *f, struct diff_hive *x, void *buf, size_t len, uint64_t off,
                   size_t *ret_len);
void diff_hive_close(struct diff_hive *x);

/* ---- lists (diff-print.c) ---- */

enum diff_list { DIFF_CHANGES, DIFF_REMOVED_FILES };
enum { DIFF_GUEST = SIZE_MAX };
struct diff_text;
/* changes.json, of all; or removed.txt, of guest/ (DIFF_GUEST) or a volume. */
int diff_text_open(struct ferry *f, enum diff_list which, size_t volume, struct diff_text **ret);
int diff_text_read(struct ferry *f, struct diff_text *t, void *buf, size_t len, uint64_t off,
                   size_t *ret_len);
void diff_text_close(struct diff_text *t);

/* ---- nodes ---- */

/* tree-diff-files.c: files/, and volumes/NAME/files/. */
struct node_id diff_files_id(struct ferry *f);
struct node_id diff_volume_files_id(size_t volume);

/* What diff-hive.c keeps of each hive. */
struct diff_hive_state {
    bool known, differs;
    uint64_t edits;
};
/* Of a mount. */
struct diffs {
    pthread_mutex_t lock; /* held while a diff is made */
    struct guest *source; /* owned; made at the first question */
    bool scanned;
    struct diff *newest;           /* a reference */
    pthread_mutex_t hives_lock;    /* protects what follows; held while a hive is compared */
    struct diff_hive_state *hives; /* owned; by index */
    size_t n_hives;
};
/* The guest as the source has it; NULL: no memory. */
struct guest *diff_source(struct ferry *f);
int diffs_open(struct ferry *f, struct fault *fault);
void diffs_close(struct ferry *f);
#endif
