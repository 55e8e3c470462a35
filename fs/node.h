/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_NODE_H
#define FERRYFS_NODE_H
/* The inodes that the kernel knows: one struct node for each, found again by what it stands for, freed when
 * the kernel forgets it. The FUSE inode number is the node's address.
 *
 * One lock for the table, held for a look-up only; a node's own fields never change. */
#include "tree.h"

#include <stdbool.h>

struct node {
    struct node_id id;
    struct node *parent; /* holds a reference; NULL for the root and for regular files (which may have two) */
    struct node *chain;  /* in its bucket */
    uint64_t lookups;    /* the kernel's count, plus one for each child that points here */
};

struct node_table;
struct node_table *node_table_new(const struct node_id *root);
void node_table_free(struct node_table *t);
struct node *node_root(struct node_table *t);

/* The node of `id`, made if need be, with one more look-up counted. `parent` is kept when the node is made
 * and keep_parent is set. NULL: no memory. */
struct node *node_get(struct node_table *t, const struct node_id *id, struct node *parent, bool keep_parent);
/* Takes back n look-ups. */
void node_forget(struct node_table *t, struct node *n, uint64_t lookups);
#endif
