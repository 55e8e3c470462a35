/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_QCOW2_CHECK_H
#define FERRYFS_QCOW2_CHECK_H
/* What is looked at before a qcow2 image is shown: is everything that its tables promise in the file? */
#include "notes.h"
#include "image.h"
#include "qcow2-table.h"

/* Checks every L1 entry; every L2 entry too when the L2 tables are small together or the refcounts say that
 * the file lost its end. `data` is the file that plain clusters lie in. EUCLEAN, ENODATA with the byte, EIO.
 * Reads no more than the file's length and the cost of the refcount table. */
int qcow2_check(struct qcow2_table *t, struct file *data, const struct image_env *env, struct notes *notes,
                struct fault *fault);

/* The same for a snapshot's table, of which there may be many: every L1 entry, and the L2 entries only of
 * small tables. */
int qcow2_check_snapshot(struct qcow2_table *t, struct file *data, struct fault *fault);

/* True when refcounts speak of clusters past the file's end, or lie there themselves. Exposed for tests. */
bool qcow2_refcounts_past_end(struct file *file, const struct qcow2_header *h);
#endif
