/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_NODE_H
#define FERRYFS_NODE_H
/* The inodes that the kernel knows: one struct node for each, found again by what it stands for, freed when
 * the kernel forgets it. The FUSE inode number is the node's address.
 *
 * One lock for the table, held for a look-up only; a node's own fields never change, but for the parent of
 * one that was renamed: whoever walks along parents holds node_parents_lock(). */
#include "tree.h"

#include <stdbool.h>

struct node {
    struct node_id id;
    struct node *parent; /* holds a reference; NULL for the root and for regular files (which may have two) */
    struct node *chain;  /* in its bucket */
    bool moved;          /* to where isn't known yet */
    uint64_t lookups;    /* the kernel's count, plus one for each child that points here */
};

struct node_table;
struct node_table *node_table_new(const struct node_id *root);
void node_table_free(struct node_table *t);
struct node *node_root(struct node_table *t);

/* The node of `id`, made if need be, with one more look-up counted. `parent` is kept when the node is made
 * and keep_parent is set. NULL: no memory. */
struct node *node_get(struct node_table *t, const struct node_id *id, struct node *parent, bool keep_parent);
/* The thing of `id` was moved below `parent` (of the same tree): its node, if there is one, is put there.
 * With NULL: to where isn't known; the next node_get that comes from a directory says it. */
void node_moved(struct node_table *t, const struct node_id *id, struct node *parent);
/* Keeps parents as they are; many at once. */
void node_parents_lock(struct node_table *t);
void node_parents_unlock(struct node_table *t);
/* Takes back n look-ups. */
void node_forget(struct node_table *t, struct node *n, uint64_t lookups);
#endif
