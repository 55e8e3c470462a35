/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_FILE_CHUNKS_H
#define FERRYFS_FILE_CHUNKS_H
/* Several files, one after the other, as one. */
#include "file.h"

/* Takes references of its own of the parts (at least one). The file has the identity of the first part, whose
 * references are its own; `name` is copied. -EFBIG: too large together, -ENOMEM; no fault. */
int file_chunks_new(struct file *const *parts, size_t n, const char *name, struct file **ret);
#endif
