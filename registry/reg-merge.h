/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_REG_MERGE_H
#define FERRYFS_REG_MERGE_H
/* Merges the text of a .reg file into hives: all of it, or nothing. */
#include "reg-read.h"

enum { REG_MERGE_HIVES = 256 };

struct reg_merge {
    void *ctx;
    /* Which hive the path `parts` lies in, and how many of its parts lead to the hive's root. The hive is
     * locked for writing by this, and stays so. An error of it is the merge's, and it says what is wrong. */
    int (*resolve)(void *ctx, const struct hive_name *parts, size_t n, struct hive **ret, size_t *ret_used,
                   struct reg_error *error);
    /* A part of the path within `hive` that stands for another: a link, such as CurrentControlSet. NULL, or
     * it puts the name's replacement into `units` (HIVE_KEY_NAME_MAX of room) and gives its length, 0: none.
     */
    size_t (*alias)(void *ctx, const struct hive *hive, uint32_t parent, struct hive_name name,
                    uint16_t *units);
    /* A key is about to be deleted, with all below it; may be NULL. */
    void (*deleting)(void *ctx, struct hive *hive, uint32_t key);
    uint64_t now; /* FILETIME */

    /* What was touched: each hive has a savepoint, for the caller to release or roll back. */
    struct hive *hives[REG_MERGE_HIVES];
    size_t n_hives;
};

/* 0; or an error, and every hive is as it was (and has no savepoint). -EBADMSG: the text is wrong, or asks
 * for what can't be, and `error` says where. Hives that have a savepoint already must not come up. */
int reg_merge(struct reg_merge *m, const void *text, size_t n, struct reg_error *error);
#endif
