/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_REGISTRY_H
#define FERRYFS_REGISTRY_H
/* What the files of the registry's tree share.
 *
 * Node ids. Of a key, its hive's top directory included: a is the hive's index and epoch, b the cell and its
 * generation. Of a value: the same of its key, with the value's cell as a hint in a, and c the hash of its
 * file's name. Of a file that is open for writing, or scratch, the hint is 0. */
#include "../registry/names.h"
#include "../registry/reg-read.h"
#include "../registry/value-text.h"
#include "ferry.h"
#include "hives.h"

extern const struct tree_ops registry_ops, registry_place_ops, registry_key_ops, registry_link_ops;
extern const struct tree_ops registry_value_ops, registry_scratch_ops, registry_export_ops;
extern const struct tree_ops registry_error_ops;

/* A key, with its hive locked. */
struct reg_at {
    struct reg_hive *h;
    uint32_t key;
};

/* Locks the hive of a key's or value's node: -ESTALE when the key is gone. Undone by hives_done(at.h). */
int registry_begin(struct ferry *f, const struct node_id *id, bool write, struct reg_at *ret);
struct node_id registry_key_id(const struct reg_hive *h, uint32_t key);
struct node_id registry_value_id(const struct reg_hive *h, uint32_t key, uint32_t hint, uint64_t hash);
/* The node that stands for a subkey: a directory, or a link. */
int registry_subkey_id(const struct reg_hive *h, uint32_t key, struct node_id *ret, mode_t *ret_type);
struct timespec registry_time(uint64_t filetime);
void registry_fill(struct ferry *f, mode_t mode, uint64_t ino, bool writable, struct stat *ret);

/* ---- names (registry.c); the hive is locked ---- */

/* "ControlSet001", if the hive has control sets and the key is its root: units, 0 when there is none. */
size_t registry_current_set(const struct hive *h, uint32_t key, uint16_t units[16]);
bool registry_is_current_set(const char *name);
/* Follows what a .reg file's path may go through. */
size_t registry_alias(void *ctx, const struct hive *h, uint32_t parent, struct hive_name name,
                      uint16_t *units);
int registry_find_key(const struct hive *h, uint32_t parent, const struct reg_parsed *name, uint32_t *ret);
int registry_find_value(const struct hive *h, uint32_t key, const struct reg_parsed *name, uint32_t *ret);
/* A cut name that nothing here has: what it was shown for elsewhere, if that is known. */
void registry_recall(const struct reg_hive *h, struct reg_parsed *p);
/* The value of a node; -ENOENT. */
int registry_node_value(const struct reg_at *at, const struct node_id *id, uint32_t *ret);
/* A name of the hive's, owned by the caller. */
int registry_name_of_value(const struct hive *h, uint32_t value, struct hive_name *ret);
int registry_name_of_key(const struct hive *h, uint32_t key, uint16_t units[HIVE_KEY_NAME_MAX],
                         struct hive_name *ret);
/* All bytes of a value, owned by the caller (at least one byte is allocated). */
int registry_value_load(const struct hive *h, uint32_t value, struct hive_value *ret, uint8_t **ret_data);
/* Is the value listed with its bytes, having no exact text? And how long is its file's content? */
int registry_value_form(const struct hive *h, uint32_t value, bool *ret_raw, size_t *ret_size);
/* The content of a value's file. Owned by the caller. */
int registry_value_content(const struct hive *h, uint32_t value, bool raw, char **ret, size_t *ret_n);
/* As many "../" as lead from inside a key's directory to registry/, then the path; NUL-terminated. */
int registry_key_path(const struct reg_hive *h, uint32_t key, struct hive_name *ret);

/* ---- files that are open for writing, and scratch files (registry-file.c) ----
 * Kept in their hive, under its lock. */
struct reg_file {
    struct reg_file *next;
    uint32_t key;
    uint64_t hash; /* of a value's file; a number of its own for a scratch file */
    bool scratch;
    char name[1024]; /* of a scratch file */
    uint16_t *units; /* owned: of a value's name */
    size_t n_units;
    uint32_t type;
    bool raw;
    unsigned refs; /* handles */
    bool gone;     /* its name was taken away while it is open */

    char *text; /* owned: the content */
    size_t n, room;
    size_t checked; /* of the content, see value_text_check() */
    bool created;   /* the value isn't there yet */
    bool opened;    /* some handle was there: without one any more it can go */
    bool written, truncated, gap, refused, emptied;
    /* what the value was before */
    bool had;
    uint32_t old_type;
    uint8_t *old; /* owned */
    size_t old_n;
    /* a scratch file that was a value, which stays in the hive until it is committed somewhere */
    bool from;
    uint32_t from_key;
    uint16_t *from_units; /* owned */
    size_t from_n;
};

struct reg_file *registry_file_find(const struct reg_at *at, const struct node_id *id);
struct reg_file *registry_file_pending(const struct reg_at *at, uint64_t hash);
struct reg_file *registry_scratch_find(const struct reg_at *at, const char *name);
bool registry_has_scratch(const struct reg_at *at);
/* Is this value now a scratch file? */
bool registry_is_hidden(const struct reg_at *at, struct hive_name name);
struct reg_file *registry_file_new(struct reg_hive *h, uint32_t key);
/* Away with it, now or when its last handle is closed. */
void registry_file_remove(struct reg_hive *h, struct reg_file *file);
/* The states of a value's file that is deleted or renamed. */
void registry_file_forget(const struct reg_at *at, struct hive_name name);
/* Sets a value if that changes anything; what was hidden under the name is seen again. */
int registry_set_value(const struct reg_at *at, struct hive_name name, uint32_t type, const void *data,
                       size_t n);
/* The bytes of a file's content. */
int registry_content_bytes(uint32_t type, bool raw, const char *text, size_t n, uint8_t **ret, size_t *ret_n);
void registry_files_drop(struct reg_hive *h);

/* ---- the rest ---- */

/* A merge that was under way can't be taken back any more (registry-export.c). */
void registry_merge_settled(struct reg_hive *h);

int registry_create(struct ferry *f, const struct node *dir, const char *name, const struct tree_new *what,
                    struct node_id *ret);
int registry_unlink(struct ferry *f, const struct node *dir, const char *name);
int registry_rmdir(struct ferry *f, const struct node *dir, const char *name);
int registry_rename(struct ferry *f, const struct node *dir, const char *name, const struct node *new_dir,
                    const char *new_name, unsigned flags);
int registry_drop_attributes(struct ferry *f, const struct node *n, const struct stat *st, unsigned which,
                             struct handle *h);
int registry_removexattr(struct ferry *f, const struct node *n, const char *name);
#endif
