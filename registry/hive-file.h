/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HIVE_FILE_H
#define FERRYFS_HIVE_FILE_H
/* Hives that lie in host files, and in memory.
 *
 * A host file opened for writing is never changed in place: the first pwrite makes a copy beside it (with its
 * mode and owner), and sync puts the copy in its place by a rename. Until then, and if that never comes, the
 * file stays as it was. Calls as hive.h says: reads may run in parallel. */
#include "hive.h"

/* -errno of open(2) with a fault; -EISDIR and -EMEDIUMTYPE for what is no regular file. */
int hive_file_open(const char *path, bool writable, struct hive_file **ret, struct fault *fault);
/* The hive and the logs that lie beside it: its name and .LOG, .LOG1, .LOG2 in any case. A log that can't be
 * opened is an error: without it a dirty hive would be shown as something that it isn't. */
int hive_files_open(const char *path, bool writable, struct hive_files *ret, struct fault *fault);
/* Writable bytes in memory, for tests and fuzz targets; copies `data`. */
int hive_file_memory(const void *data, size_t len, const char *name, struct hive_file **ret);
/* What a memory file now holds. */
const uint8_t *hive_file_bytes(const struct hive_file *f);
#endif
