/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HIVE_EDIT_H
#define FERRYFS_HIVE_EDIT_H
/* What the editing parts of the engine share.
 *
 * Nothing of this exists until the first edit. That walks the whole hive once (hive-check.c): damage that an
 * edit could make worse, such as two pointers to one cell, makes the hive read-only; and it finds the free
 * cells and how many keys use each security descriptor. From then on both are kept up to date, with a log of
 * their changes so that a rollback takes them back too. */
#include "hive-internal.h"

struct hive_free; /* the free cells: hive-free.c */

/* A security descriptor and how many keys really use it; the count in its cell may be wrong as found (reged
 * doesn't raise it), and is put right when an edit changes it. */
struct hive_sk_use {
    uint32_t cell, refs;
    uint32_t hash; /* of the descriptor's bytes; 0: not computed yet */
};

enum hive_undo_kind { UNDO_FREE_PUT, UNDO_FREE_TAKE, UNDO_SK };
struct hive_undo {
    enum hive_undo_kind kind;
    uint32_t at, was; /* a free cell and its size; or a descriptor's index and its count */
};

struct hive_edits {
    struct hive_free *free;
    struct hive_sk_use *sks; /* one whose refs are 0 has no cell any more */
    size_t n_sks, room_sks;
    struct hive_undo *undo;
    size_t n_undo, room_undo;
    size_t marks[HIVE_LEVELS]; /* n_undo at each savepoint */
    unsigned n_levels;
    struct hive_sorted *good; /* keys whose list of subkeys holds all rules */
};

/* Each edit stands between these. begin: -EROFS, or what the walk says. end: keeps what was done if r is 0,
 * else undoes it; gives r. */
int hive_edit_begin(struct hive *h);
int hive_edit_end(struct hive *h, int r);

/* Remembers what is about to change, for a rollback. -ENOMEM. */
int hive_undo_add(struct hive *h, enum hive_undo_kind kind, uint32_t at, uint32_t was);

/* ---- hive-free.c ---- */
int hive_free_new(struct hive_free **ret);
void hive_free_free(struct hive_free *f);
int hive_free_put(struct hive_free *f, uint32_t at, uint32_t size);
void hive_free_take(struct hive_free *f, uint32_t at);

/* A cell with room for `payload` bytes (-EFBIG: the hive would be too large), its slack zeroed. */
int hive_alloc(struct hive *h, size_t payload, uint32_t *ret);
/* Joins it with free neighbours. NIL: nothing. */
int hive_release_cell(struct hive *h, uint32_t at);
/* Makes the cell's payload at least `payload` bytes where it is, if what follows it is free. *ret: done. */
int hive_extend(struct hive *h, const struct hive_cell *c, size_t payload, bool *ret);
/* Into the payload; the range must be in it. */
int hive_put(struct hive *h, uint32_t cell, uint32_t off, const void *buf, size_t len);
int hive_put16(struct hive *h, uint32_t cell, uint32_t off, uint32_t v);
int hive_put32(struct hive *h, uint32_t cell, uint32_t off, uint32_t v);
int hive_put64(struct hive *h, uint32_t cell, uint32_t off, uint64_t v);

/* ---- hive-list-edit.c: changes the key's list and its count ---- */
int hive_list_insert(struct hive *h, uint32_t parent, uint32_t key, struct hive_name name);
int hive_list_remove(struct hive *h, uint32_t parent, uint32_t key, struct hive_name name);
int hive_list_free(struct hive *h, const struct hive_nk *k); /* the list's cells, not the keys */
/* What stands beside a key in a leaf: nothing (li), the name's first characters (lf), its hash (lh). */
void hive_hint_make(enum hive_leaf_kind kind, struct hive_name name, uint8_t hint[4]);
bool hive_hint_is_good(enum hive_leaf_kind kind, const uint8_t hint[4], struct hive_name name);

/* ---- hive-security.c ---- */
int hive_security_ref(struct hive *h, uint32_t sk);
int hive_security_unref(struct hive *h, uint32_t sk);

/* ---- hive-value-edit.c ---- */
int hive_values_free(struct hive *h, const struct hive_nk *k); /* all of the key's values and their list */

/* ---- names ---- */
struct hive_stored {
    bool compressed;
    size_t n;
    uint8_t *bytes; /* allocated */
};
/* The name as it is stored. */
int hive_store_name(struct hive_name name, struct hive_stored *ret);
/* The key was changed now; its field at `off` is raised to at least v (a maximum). */
int hive_touch(struct hive *h, uint32_t key, uint64_t now);
int hive_raise(struct hive *h, uint32_t key, uint32_t off, uint32_t was, uint32_t v);

/* ---- hive-check.c: the walk before the first edit; fills e. -EROFS with state.why set ---- */
int hive_survey(struct hive *h, struct hive_edits *e);
#endif
