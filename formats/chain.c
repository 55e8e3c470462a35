/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A chain: layers on each other, top first. `map` walks down until a layer knows the place; the extent then
 * carries the layer's number in `depth`, so that `pread` goes straight there.
 *
 * Here, and only here, it is decided what lies past an end: past a layer's end there are zeros for all that
 * stands on it, whatever lies further down, and a disk that doesn't end on a sector is padded with zeros to
 * one. A layer may well be smaller than both its neighbours (it was shrunk, then a larger child was made). */
#include "checked.h"
#include "image.h"

#include <errno.h>

enum { SECTOR = 512 };

struct chain {
    struct disk disk;
    size_t n;
    struct disk *layer[];
};

static struct chain *chain_of(struct disk *d)
{
    return (struct chain *)(void *)d;
}

static int walk_down(struct chain *c, int (*map)(struct disk *, uint64_t, uint64_t, struct extent *),
                     uint64_t off, uint64_t len, struct extent *ret)
{
    unsigned effort = 0;
    for (size_t i = 0; i < c->n; i++) {
        struct disk *l = c->layer[i];
        if (off >= l->size)
            break; /* it hides what is below, as it did when its child was made */
        struct extent e;
        int r = map(l, off, len, &e);
        if (r < 0)
            return r;
        if (e.kind != EXTENT_HOLE) {
            e.depth = (unsigned)i;
            e.effort += effort;
            *ret = e;
            return 0;
        }
        effort += 1 + e.effort;
        len = min_u64(len, e.length);
    }
    *ret = (struct extent){
        .length = len, .kind = EXTENT_HOLE, .depth = (unsigned)(c->n - 1), .effort = effort
    };
    return 0;
}

static int chain_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    return walk_down(chain_of(d), disk_map, off, len, ret);
}

static int chain_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    return walk_down(chain_of(d), disk_find, off, len, ret);
}

/* The extent is the layer's own but for its depth, which no layer looks at. */
static int chain_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    return disk_pread_extent(chain_of(d)->layer[e->depth], buf, len, off, e);
}

static void chain_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    while (len) {
        struct extent e;
        if (disk_find(d, off, len, &e) < 0)
            return;
        if (e.kind == EXTENT_DATA)
            disk_prefetch(chain_of(d)->layer[e.depth], off, e.length);
        off += e.length;
        len -= e.length;
    }
}

static void chain_close(struct disk *d)
{
    for (size_t i = 0; i < chain_of(d)->n; i++)
        disk_close(chain_of(d)->layer[i]);
    free(d);
}

static const struct disk_ops chain_ops = {
    .name = "chain",
    .pread = chain_pread,
    .map = chain_map,
    .find = chain_find,
    .prefetch = chain_prefetch,
    .close = chain_close,
};

int chain_new(struct disk **layers, size_t n, struct disk **ret)
{
    uint64_t size = round_up(layers[0]->size, SECTOR);
    struct chain *c = size == UINT64_MAX ? NULL : calloc(1, sizeof *c + n * sizeof c->layer[0]);
    if (!c) {
        for (size_t i = 0; i < n; i++)
            disk_close(layers[i]);
        return size == UINT64_MAX ? -EFBIG : -ENOMEM;
    }
    c->disk = (struct disk){ .ops = &chain_ops, .size = size };
    c->n = n;
    for (size_t i = 0; i < n; i++)
        c->layer[i] = layers[i];
    *ret = &c->disk;
    return 0;
}

struct disk *chain_layer(const struct disk *chain, size_t i)
{
    return ((const struct chain *)(const void *)chain)->layer[i];
}
