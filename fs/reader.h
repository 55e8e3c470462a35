/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_READER_H
#define FERRYFS_READER_H
/* How a program will read the file that it opens: a hint for speed, never for what it gets. */
#include <stdbool.h>
#include <sys/types.h>

/* Is it one of those that ask for holes (SEEK_DATA) and never read them? False for who can't be told.
 *
 * It matters because each way of reading has one thing that it does badly. The page cache fetches ahead while
 * the reader works, which direct I/O can't, but every page of a hole must be made, copied and thrown away:
 * three times the time for a reader that reads a sparse disk with all its holes. */
bool reader_skips_holes(pid_t pid);
#endif
