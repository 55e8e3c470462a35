/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The layer that shows a volume with its journal replayed; the log itself is read by jbd2-log.c.
 *
 *     block of the file system:   0   1   2   3   4   5   6   ...
 *     index (sorted):                 1           4,escaped
 *     answered from:              vol jrn vol vol jrn vol vol         (+ the two patched superblocks)
 *
 * An indexed block is an extent of its own; between two of them the volume's own extents show through. All is
 * constant after the open, so no lock is needed. */
#include "jbd2.h"
#include "../formats/bytes.h"
#include "../formats/checked.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { PATCHES = 2 }; /* the file system's superblock, the journal's */

struct jbd2_layer {
    struct disk disk;
    struct disk *under; /* not owned */
    uint32_t block_size;
    struct jbd2_log log; /* entries owned */
    struct jbd2_patch {
        uint64_t at;
        uint8_t bytes[JBD2_PATCH_SIZE];
    } patches[PATCHES];
    unsigned n_patches;
};

static struct jbd2_layer *layer_of(struct disk *d)
{
    return (struct jbd2_layer *)(void *)d;
}

/* The first entry whose block is `block` or behind it; log.n when there is none. */
static size_t layer_find(const struct jbd2_layer *l, uint64_t block)
{
    size_t lo = 0, hi = l->log.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->log.entries[mid].block < block)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Does this block differ from the volume's? If not, *ret_next is the next one that does. */
static bool layer_differs(const struct jbd2_layer *l, uint64_t block, uint64_t *ret_next)
{
    size_t k = layer_find(l, block);
    uint64_t next = k < l->log.n ? l->log.entries[k].block : UINT64_MAX;
    for (unsigned p = 0; p < l->n_patches; p++) {
        uint64_t patched = l->patches[p].at / l->block_size;
        if (patched >= block)
            next = min_u64(next, patched);
    }
    *ret_next = next;
    return next == block;
}

static int layer_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    struct jbd2_layer *l = layer_of(d);
    uint64_t block = off / l->block_size, next;
    if (layer_differs(l, block, &next)) {
        *ret = (struct extent){ .length = min_u64(len, l->block_size - off % l->block_size),
                                .kind = EXTENT_DATA };
        return 0;
    }
    if (next != UINT64_MAX) /* next * block_size lies in the disk */
        len = min_u64(len, next * l->block_size - off);
    return disk_map(l->under, off, len, ret);
}

static int layer_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    (void)e;
    struct jbd2_layer *l = layer_of(d);
    uint64_t block = off / l->block_size, within = off % l->block_size, next;
    if (!layer_differs(l, block, &next))
        return disk_pread(l->under, buf, len, off);
    size_t k = layer_find(l, block);
    const struct jbd2_entry *entry = k < l->log.n ? &l->log.entries[k] : NULL;
    if (entry && entry->block != block)
        entry = NULL;
    int r = disk_pread(l->under, buf, len, entry ? entry->copy * l->block_size + within : off);
    if (r < 0)
        return r;
    uint8_t *p = buf;
    if (entry && entry->escaped) {
        uint8_t magic[4];
        put_be32(magic, JBD2_MAGIC);
        for (uint64_t at = within; at < sizeof magic && at - within < len; at++)
            p[at - within] = magic[at];
    }
    for (unsigned n = 0; n < l->n_patches; n++) {
        uint64_t at = l->patches[n].at, from = max_u64(at, off),
                 to = min_u64(at + JBD2_PATCH_SIZE, off + len);
        if (from < to)
            memcpy(p + (from - off), l->patches[n].bytes + (from - at), to - from);
    }
    return 0;
}

static void layer_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    disk_prefetch(layer_of(d)->under, off, len);
}

static void layer_close(struct disk *d)
{
    free(layer_of(d)->log.entries);
    free(d);
}

static const struct disk_ops layer_ops = {
    .name = "jbd2",
    .pread = layer_pread,
    .map = layer_map,
    .prefetch = layer_prefetch,
    .close = layer_close,
};

void jbd2_patch(struct disk *layer, uint64_t at, const uint8_t bytes[JBD2_PATCH_SIZE])
{
    struct jbd2_layer *l = layer_of(layer);
    assert(l->n_patches < PATCHES && at / l->block_size == (at + JBD2_PATCH_SIZE - 1) / l->block_size);
    l->patches[l->n_patches].at = at;
    memcpy(l->patches[l->n_patches].bytes, bytes, JBD2_PATCH_SIZE);
    l->n_patches++;
}

int jbd2_open(struct disk *under, const struct jbd2_place *place, struct jbd2_info *ret_info,
              struct disk **ret, struct fault *fault)
{
    struct jbd2_layer *l = calloc(1, sizeof *l);
    if (!l)
        return fault_in(fault, -ENOMEM, place->name, "out of memory");
    l->disk = (struct disk){ .ops = &layer_ops, .size = under->size };
    l->under = under;
    l->block_size = place->block_size;
    struct jbd2_info info = { 0 };
    int r = jbd2_log_read(under, place, &l->log, &info, fault);
    if (r < 0) {
        layer_close(&l->disk);
        return r;
    }
    jbd2_patch(&l->disk, place->runs[0].block * place->block_size, l->log.super);
    *ret_info = info;
    *ret = &l->disk;
    return 0;
}

static int apply_range(struct jbd2_layer *l, struct disk *disk, uint8_t *buf, uint64_t at, size_t len)
{
    int r = disk_pread(&l->disk, buf, len, at);
    if (r == 0)
        r = disk_pwrite(disk, buf, len, at);
    return r == -EINVAL ? -EIO : r;
}

/* The copies lie in the journal, whose blocks none of them replaces. The superblocks come last, so that the
 * journal counts as dirty until everything is in its place. */
int jbd2_apply(struct disk *layer, struct disk *disk)
{
    struct jbd2_layer *l = layer_of(layer);
    _cleanup_free_ uint8_t *buf = malloc(l->block_size);
    int r = buf ? 0 : -ENOMEM;
    for (size_t k = 0; k < l->log.n && r == 0; k++) {
        bool patched = false;
        for (unsigned p = 0; p < l->n_patches; p++)
            patched |= l->patches[p].at / l->block_size == l->log.entries[k].block;
        if (!patched)
            r = apply_range(l, disk, buf, l->log.entries[k].block * l->block_size, l->block_size);
    }
    for (unsigned p = 0; p < l->n_patches && r == 0; p++)
        r = apply_range(l, disk, buf, l->patches[p].at / l->block_size * l->block_size, l->block_size);
    return r;
}
