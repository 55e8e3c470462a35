/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VHDX_LOG_H
#define FERRYFS_VHDX_LOG_H
/* A VHDX whose host crashed: the file as it is once its log has been replayed, in memory. */
#include "vhdx-header.h"

/* Gives a new reference of `file` when there is nothing to replay, else a file of its own that lays what the
 * log holds over `file` (of which it takes a reference). It has the same name and identity, refers to what
 * `file` refers to, and is as long as the log says, or longer. Its reads take no lock.
 *
 * EUCLEAN no valid sequence of entries is in the log, ENODATA the file is shorter than it was when the log
 * was written, EFBIG over one of our limits. Memory: 24 bytes for each 4 KiB that were logged. */
int vhdx_log_replay(struct file *file, const struct vhdx_header *h, struct file **ret, struct fault *fault);
#endif
