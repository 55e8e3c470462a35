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
#include <limits.h>
#include <pthread.h>

enum { SECTOR = 512 };

/* Where a layer was last found to have nothing. Deep chains have many layers that hold little, and whoever
 * walks the disk needn't ask each of them at each step. */
struct gap {
    uint64_t start, end;
    unsigned effort; /* of the layer, to find it */
};

struct chain {
    struct disk disk;
    size_t n;
    pthread_mutex_t lock; /* protects the gaps */
    struct gap *gaps;     /* n; NULL for one layer */
    struct disk *layer[];
};

static struct chain *chain_of(struct disk *d)
{
    return (struct chain *)(void *)d;
}

/* The way down from byte `off`: for how long the gaps gone through so far hold together, and what it took to
 * find those that end just there. Their layers are the ones that whoever goes on from there must ask. */
struct descent {
    uint64_t off, len;
    uint64_t ending;
};

static void pass_gap(struct descent *d, const struct gap *g)
{
    enum { ASKING = 8 }; /* a layer may have to load a table */
    uint64_t len = g->end - d->off;
    if (len > d->len)
        return;
    d->ending = (len < d->len ? 0 : d->ending) + ASKING + g->effort;
    d->len = len;
}

/* Counted is what a walk in order asks, not what this call did, which goes by what others left in `gaps`. */
static unsigned descent_effort(const struct descent *d, size_t layers, uint64_t length)
{
    enum { LOOKS = 16 }; /* at gaps, for a unit */
    return (unsigned)min_u64(layers / LOOKS + (length == d->len ? d->ending : 0), UINT_MAX);
}

/* The first layer from `i` on that isn't known to have nothing there. */
static size_t skip_gaps(struct chain *c, size_t i, struct descent *d)
{
    if (!c->gaps)
        return i;
    pthread_mutex_lock(&c->lock);
    for (; i < c->n && c->gaps[i].start <= d->off && d->off < c->gaps[i].end; i++)
        pass_gap(d, &c->gaps[i]);
    pthread_mutex_unlock(&c->lock);
    return i;
}

static void keep_gap(struct chain *c, size_t i, const struct gap *g)
{
    if (!c->gaps)
        return;
    pthread_mutex_lock(&c->lock);
    c->gaps[i] = *g;
    pthread_mutex_unlock(&c->lock);
}

static int walk_down(struct chain *c, int (*map)(struct disk *, uint64_t, uint64_t, struct extent *),
                     uint64_t off, uint64_t len, struct extent *ret)
{
    struct descent d = { .off = off, .len = len };
    for (size_t i = skip_gaps(c, 0, &d); i < c->n; i = skip_gaps(c, i + 1, &d)) {
        struct disk *l = c->layer[i];
        if (off >= l->size)
            break; /* it hides what is below, as it did when its child was made */
        struct extent e;
        int r = map(l, off, len, &e); /* a gap is kept whole, so not d.len */
        if (r < 0)
            return r;
        if (e.kind != EXTENT_HOLE) {
            e.depth = (unsigned)i;
            e.length = min_u64(e.length, d.len);
            e.effort += descent_effort(&d, i, e.length);
            *ret = e;
            return 0;
        }
        struct gap g = { off, off + e.length, e.effort };
        keep_gap(c, i, &g);
        pass_gap(&d, &g);
    }
    *ret = (struct extent){ .length = d.len, .kind = EXTENT_HOLE, .depth = (unsigned)(c->n - 1) };
    ret->effort = descent_effort(&d, c->n, d.len);
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
    free(chain_of(d)->gaps);
    pthread_mutex_destroy(&chain_of(d)->lock);
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
    if (c && n > 1 && !(c->gaps = calloc(n, sizeof *c->gaps))) {
        free(c);
        c = NULL;
    }
    if (!c) {
        for (size_t i = 0; i < n; i++)
            disk_close(layers[i]);
        return size == UINT64_MAX ? -EFBIG : -ENOMEM;
    }
    c->disk = (struct disk){ .ops = &chain_ops, .size = size };
    c->n = n;
    pthread_mutex_init(&c->lock, NULL);
    for (size_t i = 0; i < n; i++)
        c->layer[i] = layers[i];
    *ret = &c->disk;
    return 0;
}

struct disk *chain_layer(const struct disk *chain, size_t i)
{
    return ((const struct chain *)(const void *)chain)->layer[i];
}
