/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_REG_WRITE_IMPL_H
#define FERRYFS_REG_WRITE_IMPL_H
/* What writing a whole key (reg-write.c) and what differs (reg-diff.c) share: the buffer, and the pieces of
 * the text. All add to the buffer, and set `failed` without memory. */
#include "reg-write.h"

enum { REG_DEPTH_MAX = 512 };

struct reg_cells {
    uint32_t *at; /* owned */
    size_t n, room, next;
};

struct reg_level {
    struct reg_cells keys;
    size_t path_n; /* of the path before a name of this level */
};

struct reg_writer {
    uint8_t *out; /* owned */
    size_t out_n, out_at, out_room;
    bool begun;     /* the header was written */
    uint16_t *path; /* owned: of the key at hand */
    size_t path_n, path_room;
    struct reg_level *levels; /* owned */
    size_t depth;
    struct reg_cells values; /* of the key at hand */
    bool in_key;
    uint32_t key;
    bool pending; /* key `key` is to be begun */
    /* a value in hex that has begun */
    bool in_value;
    uint32_t value;
    size_t offset, length, column;
    bool failed; /* -ENOMEM at some append */
};

void reg_put_header(struct reg_writer *w); /* once */
void reg_put_ascii(struct reg_writer *w, const char *text);
void reg_put_units(struct reg_writer *w, const uint16_t *units, size_t n);
/* `"name"=` or `@=`. Gives the columns that it took. */
size_t reg_put_value_name(struct reg_writer *w, const uint16_t *units, size_t n);
/* A line for people about what isn't here. */
void reg_put_comment(struct reg_writer *w, const char *what, struct hive_name name);
/* Value w->value with its name, or a comment if it is damaged. Afterwards in_value may be set: then
 * reg_put_more_hex() is called until it isn't. */
int reg_put_value(struct reg_writer *w, const struct hive *h);
int reg_put_more_hex(struct reg_writer *w, const struct hive *h);
/* Has a key of this name no line in a .reg file, as a line break or a backslash would make it another one? */
bool reg_key_unwritable(const uint16_t *units, size_t n);
/* w->path from unit `at` on. */
bool reg_set_path(struct reg_writer *w, size_t at, const uint16_t *units, size_t n, bool separator);
/* The subkeys or values of a key: `each` is hive_subkeys or hive_values. */
int reg_cells_list(int (*each)(const struct hive *, uint32_t, uint32_t, hive_each, void *, unsigned *),
                   const struct hive *h, uint32_t key, struct reg_cells *c, unsigned *ret_damaged);
void reg_cells_done(struct reg_cells *c);
/* What was read is dropped from the buffer; and up to len bytes of it are read. */
void reg_out_begin(struct reg_writer *w);
size_t reg_out_take(struct reg_writer *w, void *buf, size_t len);
#endif
