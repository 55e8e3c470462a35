/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_REG_DIFF_H
#define FERRYFS_REG_DIFF_H
/* What differs between two states of a hive, as a .reg file that makes the old one the new one: keys and
 * values that are new or other, `"name"=-` and `[-KEY]` for what is gone. Made piece by piece, as
 * reg-write.h's, in memory that doesn't depend on the hives' size but by the subkeys of the keys on the way
 * down.
 *
 * Names that differ in case only are gone and new: merging would keep the old one. What the format can't say
 * is a comment: another class or security of a key, and a key whose name holds a line break. The order of
 * values and the keys' times aren't compared. */
#include "hive.h"

struct reg_differ;

/* `path` (copied) is what stands in brackets for the roots. `old` outlives the differ, and isn't changed;
 * NULL: there was no hive, and all is new. */
int reg_differ_new(const struct hive *old, struct hive_name path, uint32_t new_root, struct reg_differ **ret);
void reg_differ_free(struct reg_differ *d);
/* The next bytes, up to len. A call compares only so much at a time, so none of them holds `new`, which the
 * caller has locked for reading, for long: it may give 0 bytes before *ret_end says that there are no more.
 */
int reg_differ_read(struct reg_differ *d, const struct hive *new, void *buf, size_t len, size_t *ret_len,
                    bool *ret_end);
/* Has anything been found that differs? The header alone is no difference. */
bool reg_differ_found(const struct reg_differ *d);
#endif
