/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HIVES_H
#define FERRYFS_HIVES_H
/* The guest's registry hives: where each lies and under which name Windows has it, opened when it is first
 * asked for. Or the one hive that is the mount's source.
 *
 * Locks: each hive has a reader-writer lock, taken by hives_read() and hives_write(), which also protects
 * what the trees keep of it (`files`, `merge`). Who holds one takes no second one, but a merge of a .reg
 * file, of which there is one at a time. */
#include "../registry/hive.h"
#include "tree.h"

#include <pthread.h>

enum hive_place { HIVE_MACHINE, HIVE_USERS, HIVE_ALONE, HIVE_BCD };

struct reg_file;
struct bcd_file;
struct reg_merger;

/* A cell that was a key's, and has been given to another: by its generation they are told apart. */
struct reused_cell {
    uint32_t cell, generation;
};

struct reg_hive {
    /* never change */
    char name[256]; /* "SYSTEM", ".DEFAULT", "S-1-5-..." */
    enum hive_place where;
    size_t index;
    struct hives *all;
    char *path;     /* owned: in the guest with slashes ("C/Windows/..."), or the source's */
    bool in_volume; /* path is one in the volume, which needn't be a part of the guest's tree */
    /* Which file of the guest the path is. Written under the list's place_lock; good while `placed`. */
    _Atomic size_t volume; /* index of its volume */
    _Atomic uint64_t ino;
    _Atomic bool placed; /* false: files were moved or removed since; look again */
    unsigned moves;      /* counts that; protected by place_lock */
    pthread_rwlock_t lock;
    /* protected by lock */
    bool tried;
    int err;           /* it can't be opened */
    struct hive *hive; /* NULL: not opened (yet) */
    char why[256];     /* what hive_state or the failed open says */
    bool writable;
    unsigned epoch; /* counts how often it was opened: ids of keys are good for one */
    uint64_t edits, committed;
    struct reused_cell *reused; /* owned: a table hashed by cell, half empty at least (cell 0) */
    size_t n_reused, size_reused;
    struct reg_file *files;     /* open for writing, and scratch; the trees' */
    struct bcd_file *bcd_files; /* the same of bcd/ */
    struct reg_merger *merge;   /* whose savepoint the hive has */
    uint64_t next_file;
};

struct hives;

/* Is there a registry at all? Scans the guest. */
bool hives_present(struct ferry *f);
/* Is the one source of the mount a hive? */
bool hives_alone(const struct ferry *f);
/* With the overlay open: is it that of the one hive? -ESTALE; 0 where the source is no hive. */
int hives_bind(struct ferry *f, struct fault *fault);
/* The hives of a place whose files are there, in the order found: the i-th, or NULL. The first call for
 * HIVE_USERS opens SOFTWARE. */
struct reg_hive *hives_nth(struct ferry *f, enum hive_place where, size_t i);
/* By name, without case; NULL. */
struct reg_hive *hives_find(struct ferry *f, enum hive_place where, const char *name);
/* The index-th of all, also if its file is gone. */
struct reg_hive *hives_at(struct ferry *f, size_t index);
/* Is there a file where it lies? */
bool hives_is_there(struct ferry *f, struct reg_hive *h);

/* Opens the hive if need be and locks it: 0, or why it can't be, and it isn't locked. -ENOENT: its file is
 * gone. */
int hives_read(struct ferry *f, struct reg_hive *h);
/* The same for an edit; -EROFS if it can't be written. A merge that could still be taken back can't any more.
 */
int hives_write(struct ferry *f, struct reg_hive *h);
void hives_done(struct reg_hive *h);

/* A key of the hive is deleted: its cell may come to be another's. Locked for writing. */
void hives_key_gone(struct reg_hive *h, uint32_t key);
/* The same for a key that is about to be deleted with all below it. One too many does no harm. */
void hives_tree_gone(struct reg_hive *h, uint32_t key);
uint32_t hives_generation(const struct reg_hive *h, uint32_t key);
/* The whole names of those that were shown cut, so that a copy of a cut name means the same: how `cp` and
 * `rsync` carry them. Recalled units are the caller's; NULL: unknown. */
void hives_learn(const struct reg_hive *h, uint64_t hash, struct hive_name name);
uint16_t *hives_recall(const struct reg_hive *h, uint64_t hash, size_t *ret_n);
/* Now, as a FILETIME. */
uint64_t hives_now(void);

/* Writes the edits of all hives into their files. No other request is under way. */
int hives_commit(struct ferry *f);
/* A file of the guest is about to be written: -EBUSY if it is a hive that has edits; else it is read anew. */
int hives_guest_write(struct ferry *f, size_t volume, uint64_t ino);
/* A file or directory of the guest is about to be removed, replaced or moved: -EBUSY if a hive is in it, or
 * is it, that has edits. Else such hives are closed, and looked for again at their paths. hives_moved: it has
 * been tried, whatever came of it. */
int hives_moving(struct ferry *f, size_t volume, uint64_t ino);
void hives_moved(struct ferry *f, size_t volume, uint64_t ino);

/* What ferry_open and ferry_close call. Is the source a hive? */
int hives_open(struct ferry *f, struct fault *fault);
void hives_close(struct ferry *f);
#endif
