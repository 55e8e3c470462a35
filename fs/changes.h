/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_CHANGES_H
#define FERRYFS_CHANGES_H
/* A list of changes to the guest's files and registry that are made together or not at all, and can be taken
 * back later.
 *
 *     struct changes *c = changes_new(f);
 *     changes_file(c, ...); changes_value(c, ...);      what must be so; only what isn't is kept
 *     changes_print(c, &out);                           a line for each: the plan
 *     r = ferry_alone_begin(f);
 *     r = r < 0 ? r : changes_apply(c, "drivers-oem3", &fault);
 *
 * What a list was when it was applied is its record: kept in the overlay's directory under a name, bound to
 * the commit that made the changes (a note in commit.json names it with its digest). It has the old and new
 * state of each thing.
 *
 * Paths, keys, and errors of the calls that add: see guest/prepare.h, whose `struct prepare` a list is: hand
 * changes_prepare(c) to a planner. The first error of an adding call sticks: later ones do nothing and
 * changes_apply() returns it.
 *
 * A list belongs to one thread. It takes the locks of hives and volumes for a moment in each call. A plan can
 * be made at any time; to be sure that it is applied to what was looked at, the caller makes and applies it
 * between ferry_alone_begin() and ferry_alone_end(). */
#include "ferry.h"

#include "../formats/json.h"
#include "../guest/prepare.h"

struct changes;

struct changes *changes_new(struct ferry *f); /* NULL: no memory */
/* How many bytes may be kept in memory, of what is there, for taking changes back (512 MiB), and of what is
 * made of it (1 GiB): -EFBIG above that. */
void changes_keep(struct changes *c, uint64_t kept, uint64_t made);
void changes_free(struct changes *c); /* NULL is fine */
DEFINE_CLEANUP(struct changes *, changes_free)
/* For planners; target and macs are for the caller to set. */
struct prepare *changes_prepare(struct changes *c);

/* ---- adding ---- */

int changes_file(struct changes *c, const char *path, const void *bytes, size_t n, mode_t mode,
                 const char *reason);
int changes_append(struct changes *c, const char *path, const void *bytes, size_t n, const char *reason);
int changes_remove(struct changes *c, const char *path, const char *reason);
int changes_mkdir(struct changes *c, const char *path, mode_t mode, const char *reason);
int changes_rmdir(struct changes *c, const char *path, const char *reason);
int changes_link(struct changes *c, const char *path, const char *target, const char *reason);
int changes_value(struct changes *c, const char *key, const char *name, uint32_t type, const void *bytes,
                  size_t n, const char *reason);
int changes_value_gone(struct changes *c, const char *key, const char *name, const char *reason);
int changes_key(struct changes *c, const char *key, const char *reason);
int changes_key_gone(struct changes *c, const char *key, const char *reason);
int changes_block(struct changes *c, const char *why, const char *what_to_do);
int changes_note(struct changes *c, const char *text);

/* ---- looking ---- */

size_t changes_count(const struct changes *c);
bool changes_blocked(const struct changes *c);
int changes_error(const struct changes *c); /* the first error of an adding call, or 0 */
/* The plan as a text: a line for each change, or "nothing to do", or "BLOCKED: why; what to do". */
void changes_print(const struct changes *c, struct json_out *out);
/* Members of a JSON array, each after ",\n" but the first; `target` (NULL: none) is a member of each. */
void changes_json(const struct changes *c, const char *target, bool *first, struct json_out *out);

/* ---- doing; only between ferry_alone_begin() and ferry_alone_end() ---- */

/* Makes all changes and commits them with the record. With any error what was done is taken back, in reverse,
 * and nothing of it is committed. -EPERM: the plan is blocked. `record` names the record ([a-z0-9.-], at most
 * 100 bytes); where there is one of that name already, the new one has its changes, too, so that undo takes
 * them all back. NULL: none is kept. */
int changes_apply(struct changes *c, const char *record, struct fault *fault);
/* Takes back what the record says, commits, and removes the record. -ENOENT: there is none. -EBUSY: something
 * was changed since (the fault says what): nothing is done. -EUCLEAN: the record is damaged. */
int changes_undo(struct ferry *f, const char *record, struct fault *fault);
/* The record, to be looked at. -ENOENT. At any time. */
int changes_read_record(struct ferry *f, const char *record, struct changes **ret, struct fault *fault);
#endif
