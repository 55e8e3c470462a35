/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables of 32-bit entries, a piece of 64 KiB at a time. */
#include "table32.h"
#include "bytes.h"
#include "checked.h"

#include <errno.h>

enum { ENTRY = 4, PER_PIECE = 65536 / ENTRY };

static int load_piece(void *ctx, uint64_t id, void *buf, size_t size)
{
    const struct table32 *t = ctx;
    return file_pread(t->file, buf, size, t->offset + id * PER_PIECE * ENTRY);
}

int table32_get(struct table32 *t, uint64_t i, struct table32_piece *ret)
{
    uint64_t piece = i / PER_PIECE, first = piece * PER_PIECE;
    size_t n = (size_t)min_u64(PER_PIECE, t->n - first);
    struct cache_block *block;
    int r = cache_get(t->cache, t->owner, piece, n * ENTRY, load_piece, t, &block);
    if (r < 0)
        return r == -ENOMEM ? r : -EIO;
    size_t at = (size_t)(i - first);
    *ret = (struct table32_piece){ .t = t, .block = block, .first = at, .n = n - at };
    return 0;
}

uint32_t table32_at(const struct table32_piece *p, size_t i)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(p->block->data, p->block->size, 0, &bad);
    size_t at = (p->first + i) * ENTRY;
    return p->t->big_endian ? be32(b, at) : le32(b, at);
}

void table32_put(struct table32_piece *p)
{
    cache_put(p->t->cache, p->block);
}

int table32_read(struct table32 *t, uint64_t i, uint32_t *ret)
{
    struct table32_piece p;
    int r = table32_get(t, i, &p);
    if (r < 0)
        return r;
    *ret = table32_at(&p, 0);
    table32_put(&p);
    return 0;
}

uint64_t table32_run(const struct table32_piece *p, uint32_t value, uint64_t max)
{
    size_t n = 0;
    while (n < p->n && n < max && table32_at(p, n) == value)
        n++;
    return n;
}

int table32_walk(struct table32 *t, uint64_t n, table32_check check, void *ctx, struct fault *fault)
{
    for (uint64_t i = 0; i < n;) {
        struct table32_piece p;
        int r = table32_get(t, i, &p);
        if (r < 0)
            return fault_at(fault, r, t->file->name, t->offset + i * ENTRY,
                            "its table of blocks can't be read");
        for (size_t k = 0; !r && k < p.n && i < n; k++, i++)
            r = check(ctx, i, table32_at(&p, k), fault);
        table32_put(&p);
        if (r < 0)
            return r;
    }
    return 0;
}
