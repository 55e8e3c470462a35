/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which clusters were freed: seen in $Bitmap, as the library tells nobody.
 *
 *     bitmap before a write   0 1 1 0 ...  ┐ or'ed over all writes since the last call: `seen`
 *     bitmap before another   0 1 1 1 ...  ┘
 *     bitmap now              0 0 1 0 ...     seen and clear now: was somebody's, is nobody's
 *
 * So clusters that came and went in between (a temporary file's) count too. Kept by pieces of the bitmap, as
 * far as those are written; past a number of pieces the rest is let go, which costs room on the disk only. */
#include "ntfs.h"

#include "../formats/checked.h"

#include <string.h>

enum {
    PIECE = 4096,      /* bytes of the bitmap: 128 MiB of a volume with clusters of 4 KiB */
    PIECES_MAX = 1024, /* 4 MiB of memory */
};

struct piece {
    uint64_t number;
    uint8_t *seen; /* owned; PIECE bytes */
};

struct ntfs_freed {
    struct ntfs_data bitmap; /* owned */
    struct piece *pieces;    /* owned; n, by number */
    size_t n;
};

struct ntfs_freed *ntfs_freed_new(struct ntfs_data *bitmap)
{
    struct ntfs_freed *f = bitmap->resident || bitmap->error ? NULL : calloc(1, sizeof *f);
    if (f)
        f->bitmap = *bitmap;
    else
        ntfs_data_done(bitmap);
    return f;
}

static void drop_pieces(struct ntfs_freed *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->pieces[i].seen);
    free(f->pieces);
    f->pieces = NULL;
    f->n = 0;
}

void ntfs_freed_free(struct ntfs_freed *f)
{
    if (!f)
        return;
    drop_pieces(f);
    ntfs_data_done(&f->bitmap);
    free(f);
}

/* The place of piece `number`, or where it belongs. */
static size_t place_of(const struct ntfs_freed *f, uint64_t number)
{
    size_t lo = 0, hi = f->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (f->pieces[mid].number < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* NULL: too many, or no memory. */
static uint8_t *piece_of(struct ntfs_freed *f, uint64_t number)
{
    size_t at = place_of(f, number);
    if (at < f->n && f->pieces[at].number == number)
        return f->pieces[at].seen;
    if (f->n == PIECES_MAX)
        return NULL;
    struct piece *grown = realloc(f->pieces, (f->n + 1) * sizeof *grown);
    if (!grown)
        return NULL;
    f->pieces = grown;
    uint8_t *seen = calloc(1, PIECE);
    if (!seen)
        return NULL;
    memmove(&grown[at + 1], &grown[at], (f->n - at) * sizeof *grown);
    grown[at] = (struct piece){ number, seen };
    f->n++;
    return seen;
}

/* Bytes [off, off+len) of the bitmap, within one piece, are about to change. */
static void note_piece(struct ntfs_freed *f, uint64_t off, size_t len)
{
    uint8_t old[PIECE], *seen = piece_of(f, off / PIECE);
    size_t n;
    if (!seen || ntfs_data_read(&f->bitmap, old, len, off, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++)
        seen[off % PIECE + i] |= old[i];
}

void ntfs_freed_note(struct ntfs_freed *f, uint64_t off, uint64_t len)
{
    const struct ntfs_data *d = &f->bitmap;
    unsigned shift = d->ntfs->cluster_shift;
    for (size_t i = 0; i < d->n; i++) {
        uint64_t first = d->runs[i].vcn << shift;
        uint64_t size = ((i + 1 < d->n ? d->runs[i + 1].vcn : d->end_vcn) << shift) - first;
        if (d->runs[i].lcn == NTFS_RUN_HOLE)
            continue;
        uint64_t begin = (uint64_t)d->runs[i].lcn << shift;
        uint64_t from = begin > off ? begin : off, to = min_u64(begin + size, off + len);
        while (from < to) {
            uint64_t at = first + (from - begin);
            size_t n = min_u64(to - from, PIECE - at % PIECE);
            note_piece(f, at, n);
            from += n;
        }
    }
}

struct taker {
    void (*fn)(void *ctx, uint64_t cluster, uint64_t n);
    void *ctx;
    uint64_t first, n; /* the run so far */
};

static void take_bit(struct taker *t, uint64_t cluster, bool is_freed)
{
    if (is_freed && t->n && t->first + t->n == cluster) {
        t->n++;
        return;
    }
    if (t->n)
        t->fn(t->ctx, t->first, t->n);
    *t = (struct taker){ t->fn, t->ctx, cluster, is_freed };
}

void ntfs_freed_take(struct ntfs_freed *f, void (*fn)(void *ctx, uint64_t cluster, uint64_t n), void *ctx)
{
    struct taker t = { fn, ctx, 0, 0 };
    for (size_t i = 0; i < f->n; i++) {
        uint8_t now[PIECE];
        size_t n;
        if (ntfs_data_read(&f->bitmap, now, PIECE, f->pieces[i].number * PIECE, &n) < 0)
            continue;
        for (size_t at = 0; at < n; at++) {
            unsigned freed = f->pieces[i].seen[at] & ~now[at] & 0xffu;
            for (unsigned bit = 0; freed && bit < 8; bit++)
                take_bit(&t, (f->pieces[i].number * PIECE + at) * 8 + bit, freed >> bit & 1);
        }
    }
    take_bit(&t, 0, false);
    drop_pieces(f);
}
