/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_GATE_H
#define FERRYFS_GATE_H
/* The gate of a writable mount: writers pass it together; a commit has it for itself; while a view is open it
 * is shut to writers, since a view is a moment.
 *
 * No call is made with a lock held that a writer, a commit or a reader of a view takes. */
#include <stdbool.h>

struct gate;
struct gate *gate_new(void); /* NULL: no memory */
void gate_free(struct gate *g);

/* A writer comes in: waits for a commit under way, and up to 2 s for the views to be closed: then -EBUSY. */
int gate_write_begin(struct gate *g);
void gate_write_end(struct gate *g);

/* A writer that is inside goes out, and comes in again when all others have left, and keeps everybody out
 * until gate_alone_end, after which it is a writer as before. -EBUSY as above, and it is one, too. */
int gate_alone_begin(struct gate *g);
void gate_alone_end(struct gate *g);

/* A commit: waits until the writers that are inside have left; others wait outside meanwhile. */
void gate_commit_begin(struct gate *g);
/* `hold`: a view was opened, and the gate stays shut to writers until gate_view_end. */
void gate_commit_end(struct gate *g, bool hold);
void gate_view_end(struct gate *g);
#endif
