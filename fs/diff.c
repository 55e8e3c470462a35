/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a diff. Which parts of a volume were written is known from its disk's map, in which what the overlay
 * has is at depth 0: a bit for each block. A volume without any has no differences, and isn't looked at. */
#include "diff.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROOM = 24 << 20,      /* bytes that the differences of all volumes may take */
    BLOCK_SHIFT = 16,     /* the overlay's clusters */
    BLOCKS_MAX = 8 << 20, /* larger blocks for what has more: a MiB of bits */
    PATH_PART = 256,
};

const struct guest_system *diff_system(struct ferry *f)
{
    struct guest *g = ferry_guest(f);
    return g && f->options->os < g->n_systems ? &g->systems[f->options->os] : NULL;
}

static const char *path_in_guest(const struct guest_system *s, size_t volume)
{
    for (size_t i = 0; s && i < s->n_mounts; i++)
        if (s->mounts[i].volume == volume)
            return s->mounts[i].path;
    return NULL;
}

bool diff_in_guest(struct ferry *f, size_t volume)
{
    return path_in_guest(diff_system(f), volume) != NULL;
}

/* ---- what was written ---- */

struct written {
    struct ferry *f;
    uint8_t *bits; /* owned */
    uint64_t size; /* of the slice, bytes */
    unsigned shift;
    bool any;
};

static void mark(struct written *w, uint64_t off, uint64_t len)
{
    w->any = true;
    for (uint64_t i = off >> w->shift; i <= (off + len - 1) >> w->shift; i++)
        w->bits[i / 8] |= (uint8_t)(1u << i % 8);
}

/* What can't be told counts as written; so does the rest of a disk whose tables would take too long. */
static int find_written(struct disk *d, struct written *w)
{
    uint64_t work = 0;
    w->shift = BLOCK_SHIFT;
    w->size = d->size;
    while (d->size >> w->shift >= BLOCKS_MAX)
        w->shift++;
    w->bits = calloc(1, (size_t)((d->size >> w->shift) / 8 + 1));
    if (!w->bits)
        return -ENOMEM;
    for (uint64_t off = 0; off < d->size;) {
        struct extent e = { 0 };
        if (disk_map_joined(d, off, d->size - off, &e) < 0)
            e = (struct extent){ .length = 1ull << w->shift };
        if (++work > DISK_WALK_MAX || e.length > d->size - off)
            e = (struct extent){ .length = d->size - off };
        if (!e.depth)
            mark(w, off, e.length);
        off += e.length;
    }
    return 0;
}

static bool is_written(void *ctx, uint64_t off, uint64_t len)
{
    const struct written *w = ctx;
    if (off > w->size || len > w->size - off) /* a damaged file system may name any place */
        return true;
    for (uint64_t i = off >> w->shift; len && i <= (off + len - 1) >> w->shift; i++)
        if (w->bits[i / 8] >> i % 8 & 1)
            return true;
    return false;
}

static bool is_given_up(void *ctx)
{
    const struct ferry *f = ((const struct written *)ctx)->f;
    return f->ended && f->ended(f->ended_ctx);
}

/* ---- volumes ---- */

static const struct guest_volume *find_volume(const struct guest *g, const char *name)
{
    for (size_t i = 0; g && i < g->n_volumes; i++)
        if (!strcmp(g->volumes[i].name, name))
            return &g->volumes[i];
    return NULL;
}

static int compare_volume(struct ferry *f, const struct guest_volume *new, const struct guest *source,
                          size_t room, struct volume_diff **ret)
{
    struct written w = { .f = f };
    const struct guest_volume *old = find_volume(source, new->name);
    if (!old)
        return -EIO;
    int r = find_written(new->slice, &w);
    if (!r && w.any) {
        struct volume_diff_source s = { .old = old->volume,
                                        .new = new->volume,
                                        .changed = is_written,
                                        .given_up = is_given_up,
                                        .ctx = &w,
                                        .room = room };
        r = old->volume ? volume_diff_new(&s, ret) : -EIO;
    }
    free(w.bits);
    return r;
}

static int compare_volumes(struct ferry *f, struct diff *d, const struct guest *source)
{
    size_t room = ROOM;
    for (size_t i = 0; i < d->n; i++) {
        const struct guest_volume *v = &d->guest->volumes[i];
        d->at[i] = path_in_guest(diff_system(f), i);
        int r = v->volume && v->slice ? compare_volume(f, v, source, room, &d->volumes[i]) : 0;
        if (r == -ENOMEM || r == -EFBIG)
            return r;
        d->errs[i] = r;
        if (d->volumes[i])
            room -= d->volumes[i]->bytes < room ? d->volumes[i]->bytes : room;
    }
    return 0;
}

bool diff_has(const struct diff *d, size_t volume)
{
    return d->volumes[volume] && !volume_diff_empty(d->volumes[volume]);
}

/* ---- ways ---- */

static int add_way(struct diff *d, struct place dir, const char *name, struct place to)
{
    for (size_t i = 0; i < d->n_ways; i++)
        if (d->ways[i].dir.volume == dir.volume && d->ways[i].dir.ino == dir.ino &&
            !strcmp(d->ways[i].name, name))
            return 0;
    struct diff_way *ways = realloc(d->ways, (d->n_ways + 1) * sizeof *ways);
    if (!ways)
        return -ENOMEM;
    d->ways = ways;
    ways[d->n_ways] = (struct diff_way){ dir, to, strdup(name) };
    if (!ways[d->n_ways].name)
        return -ENOMEM;
    d->n_ways++;
    return 0;
}

/* The directories of a mount's path. Where it can't be walked (a link is on it), the volume is shown by
 * itself, as if it weren't mounted. */
static int way_to(struct diff *d, const struct realm *realm, const char *path)
{
    struct place at, next;
    int r = realm_root(realm, &at);
    while (!r && *path) {
        char part[PATH_PART];
        size_t n = strcspn(path, "/");
        if (n >= sizeof part)
            return -ENAMETOOLONG;
        memcpy(part, path, n);
        part[n] = 0;
        path += n + (path[n] == '/');
        if (!n)
            continue;
        r = realm_lookup(realm, at, part, &next);
        if (!r)
            r = add_way(d, at, part, next);
        at = next;
    }
    return r;
}

static int find_ways(struct ferry *f, struct diff *d)
{
    const struct guest_system *s = diff_system(f);
    struct realm realm = { d->guest, s, 0 };
    for (size_t i = 0; s && s->kind == GUEST_LINUX && i < s->n_mounts; i++) {
        const struct guest_mount *m = &s->mounts[i];
        if (m->volume == s->root || !diff_has(d, m->volume))
            continue;
        int r = way_to(d, &realm, m->path);
        if (r == -ENOMEM)
            return r;
        if (r < 0)
            d->at[m->volume] = NULL;
    }
    return 0;
}

/* ---- the whole ---- */

static void diff_free(struct diff *d)
{
    for (size_t i = 0; d->volumes && i < d->n; i++)
        volume_diff_free(d->volumes[i]);
    for (size_t i = 0; i < d->n_ways; i++)
        free(d->ways[i].name);
    free(d->volumes);
    free(d->errs);
    free(d->at);
    free(d->ways);
    free(d);
}

void diff_put(struct diff *d)
{
    if (d && --d->refs == 0)
        diff_free(d);
}

static int make(struct ferry *f, const struct guest *source, struct diff **ret)
{
    struct guest *g = ferry_guest(f);
    size_t n = g ? g->n_volumes : 0, room = n ? n : 1;
    _cleanup_(diff_putp) struct diff *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    *d = (struct diff){ .refs = 1, .edits = f->edits, .guest = g, .n = n };
    d->volumes = calloc(room, sizeof *d->volumes);
    d->errs = calloc(room, sizeof *d->errs);
    d->at = calloc(room, sizeof *d->at);
    if (!d->volumes || !d->errs || !d->at)
        return -ENOMEM;
    /* what the file systems hold in memory goes where the walk looks for it */
    int r = ferry_commit(f);
    if (!r)
        r = compare_volumes(f, d, source);
    if (!r)
        r = find_ways(f, d);
    if (!r)
        *ret = TAKE_PTR(d);
    return r;
}

/* With the lock held. */
static struct guest *source_locked(struct ferry *f)
{
    struct diffs *ds = f->diffs;
    if (ds->scanned)
        return ds->source;
    struct disk **disks = calloc(f->vm->n_disks + 1, sizeof *disks);
    for (size_t i = 0; disks && i < f->vm->n_disks; i++)
        disks[i] = f->vm->disks[i].image ? f->vm->disks[i].image->disk : NULL;
    if (disks)
        ds->source = guest_scan(disks, f->vm->n_disks, f->cache, NULL);
    ds->scanned = ds->source != NULL;
    free(disks);
    return ds->source;
}

struct guest *diff_source(struct ferry *f)
{
    pthread_mutex_lock(&f->diffs->lock);
    struct guest *g = source_locked(f);
    pthread_mutex_unlock(&f->diffs->lock);
    return g;
}

int diff_get(struct ferry *f, struct diff **ret)
{
    struct diffs *ds = f->diffs;
    int r = 0;
    ferry_guest(f);
    pthread_mutex_lock(&ds->lock);
    if (!ds->newest || ds->newest->edits != f->edits) {
        struct diff *d = NULL;
        diff_put(ds->newest); /* before the next takes memory */
        ds->newest = NULL;
        struct guest *source = source_locked(f);
        r = source ? make(f, source, &d) : -ENOMEM;
        ds->newest = d;
    }
    if (!r) {
        *ret = ds->newest;
        (*ret)->refs++;
    }
    pthread_mutex_unlock(&ds->lock);
    return r;
}

int diffs_open(struct ferry *f, struct fault *fault)
{
    f->diffs = calloc(1, sizeof *f->diffs);
    if (!f->diffs)
        return fault_in(fault, -ENOMEM, "", "out of memory");
    pthread_mutex_init(&f->diffs->lock, NULL);
    pthread_mutex_init(&f->diffs->hives_lock, NULL);
    return 0;
}

void diffs_close(struct ferry *f)
{
    struct diffs *ds = f->diffs;
    if (!ds)
        return;
    diff_put(ds->newest);
    guest_free(ds->source);
    free(ds->hives);
    pthread_mutex_destroy(&ds->lock);
    pthread_mutex_destroy(&ds->hives_lock);
    free(ds);
    f->diffs = NULL;
}
