/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_CHECK_HIVE_H
#define FERRYFS_CHECK_HIVE_H
/* --check-hive: prints every broken rule of the hives, "FILE: at byte N: what", on standard output. Logs that
 * lie beside a dirty hive are replayed in memory. Returns the exit status: 0 none, 1 some, 2 one isn't a
 * hive, or can't be read. */
#include <stddef.h>

int check_hives(char **paths, size_t n);
#endif
