/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_REG_WRITE_H
#define FERRYFS_REG_WRITE_H
/* Writes keys and all below them as regedit 5 exports them: UTF-16LE with a byte order mark, lines that end
 * in CR LF, hex broken at 80 columns. Made piece by piece, so that a hive of any size costs little memory.
 *
 * Two things differ on purpose, so that merging the text gives the same values: bytes that aren't just a
 * terminated text are written in hex though their type is sz (regedit cuts them off), and a key whose name
 * holds a line break is left out, with a comment that says so (its text would be something else). */
#include "hive.h"

struct reg_writer;

/* -ENOMEM. */
int reg_writer_new(struct reg_writer **ret);
void reg_writer_free(struct reg_writer *w);

/* Begins with a key: `path` (copied) is what stands in brackets for it, `root` its cell. Called again when
 * the text of the one before has been read. The first call writes the header, too. */
int reg_writer_begin(struct reg_writer *w, struct hive_name path, uint32_t root);
/* The next bytes: up to len, 0 at the end of what was begun. The caller holds the hive for reading, during
 * each call. A hive that changes between calls gives a text of some keys before and some after the change. */
int reg_writer_read(struct reg_writer *w, const struct hive *h, void *buf, size_t len, size_t *ret_len);
#endif
