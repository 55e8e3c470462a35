/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_FILE_GZIP_H
#define FERRYFS_FILE_GZIP_H
/* The content of a gzip file as a file, read at random. Nothing is unpacked but what is asked for, and the
 * bytes around it, in the cache. */
#include "cache.h"
#include "file.h"
#include "notes.h"

#include <stdbool.h>

/* 1: the file begins as gzip does, 0: it doesn't, or -errno. */
int file_gzip_probe(struct file *f, struct fault *fault);

/* Inflates all of `stored` once, to check it and to find places to begin at: seconds for each GB. Takes its
 * own reference of it. `*memory` is how many bytes may be used for these places, and on success becomes how
 * many are. The new file has the name and the identity of `stored`, and its references are those of `stored`.
 * Runs of zeros are holes. Errors as gzip_index_build(). `notes` may be NULL. */
int file_gzip_new(struct file *stored, struct cache *cache, size_t *memory, struct notes *notes,
                  struct file **ret, struct fault *fault);
#endif
