/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TABLE32_H
#define FERRYFS_TABLE32_H
/* A table of 32-bit entries in a file (VHD's BAT, VDI's block map), read in pieces through the cache.
 *
 *     struct table32_piece p;
 *     r = table32_get(&t, i, &p);                   entry i and some that follow it
 *     if (r < 0) return r;
 *     first = table32_at(&p, 0);                    0 <= index < p.n
 *     table32_put(&p);
 *
 * Any thread; no lock but the cache's; may block on I/O. */
#include "cache.h"
#include "fault.h"
#include "file.h"

#include <stdbool.h>

struct table32 {
    struct file *file;   /* borrowed */
    struct cache *cache; /* borrowed */
    uint64_t owner;      /* of the pieces in the cache */
    uint64_t offset;     /* bytes in the file */
    uint64_t n;          /* entries */
    bool big_endian;
};

struct table32_piece {
    const struct table32 *t;
    struct cache_block *block;
    size_t first; /* entry of the block that is entry 0 of the piece */
    size_t n;     /* entries, at least 1 */
};

/* i < t->n. -EIO when the table can't be read. */
int table32_get(struct table32 *t, uint64_t i, struct table32_piece *ret);
uint32_t table32_at(const struct table32_piece *p, size_t i);
void table32_put(struct table32_piece *p);
/* One entry. */
int table32_read(struct table32 *t, uint64_t i, uint32_t *ret);
/* How many entries of the piece, from 0 on, are `value`; at most `max`. */
uint64_t table32_run(const struct table32_piece *p, uint32_t value, uint64_t max);

/* Looks at entries [0, n) in order before anybody reads by them. `check` returns 0, or a negative errno and
 * fills the fault. -EIO with a fault when the table can't be read. */
typedef int (*table32_check)(void *ctx, uint64_t i, uint32_t entry, struct fault *fault);
int table32_walk(struct table32 *t, uint64_t n, table32_check check, void *ctx, struct fault *fault);
#endif
