/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HIVE_CHECK_H
#define FERRYFS_HIVE_CHECK_H
/* Walks a whole hive and names every broken rule that Windows' loader, or its look-up by name, would stumble
 * over: base block, bins and cells, keys, lists of subkeys with their order, hints and hashes, values and
 * their data, security descriptors with their ring and counts, maxima. What
 * is checked is the hive as it would be read: dirty ones with their logs replayed. */
#include "hive.h"

/* `say` (may be NULL) gets a line for each, "at byte N: what", without a newline; after HIVE_CHECK_LINES only
 * one more. Returns how many there are, or -EIO or -ENOMEM. */
enum { HIVE_CHECK_LINES = 1000 };
int hive_check(struct hive *h, void (*say)(void *ctx, const char *line), void *ctx);
/* The same, and what Windows leaves behind itself and puts up with: cells that nothing refers to, security
 * descriptors that fewer keys use than they count. */
int hive_check_lost(struct hive *h, void (*say)(void *ctx, const char *line), void *ctx);
#endif
