/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The grain directories and grain tables of hosted sparse extents.
 *
 * Most files have both twice. Both copies are read, and have to say the same: an entry that one of them lost
 * would read as zeros, and nothing else could tell. Where only one copy makes sense (the other one can't be
 * read, or says what can't be), that one is taken. Directories come through the cache in pieces, so a disk of
 * many extents, or a chain of many links, keeps none of them in memory. */
#include "vmdk-hosted.h"

#include <errno.h>
#include <string.h>

enum {
    FILLED_TABLES = 64,  /* always looked at to learn whether redundant tables are in use */
    CHECK_ENTRIES = 512, /* of a directory, for each table that may be read: 32 TiB of disk in usual grains */
    SKIP_TABLES = 65536, /* looked at in one go, in the directories only */
    READ_EMPTY = 32 << 10,             /* bytes of tables looked at in one go, for whether they are empty */
    PASS_ENTRIES = 4 * EFFORT_ENTRIES, /* of a directory that are passed, for a unit of effort */
};

uint64_t sparse_gt_entries(const struct sparse *s, uint64_t gt)
{
    return min_u64(s->h.gtes_per_gt, s->n_grains - gt * s->h.gtes_per_gt);
}

/* ---- the directories ---- */

/* Is a table's place possible: behind the header and the descriptor's beginning, and inside the file? */
static bool gt_inside(const struct sparse *s, uint64_t gt, uint32_t sector)
{
    return sector != s->h.descriptor_sector &&
           range_inside((uint64_t)sector * VMDK_SECTOR, sparse_gt_entries(s, gt) * GT_ENTRY, s->file->size);
}

/* What both directories say about a table, and what follows from it. */
static bool settle(const struct sparse *s, uint64_t gt, uint32_t primary, uint32_t redundant,
                   struct gt_place *ret)
{
    bool fine = !primary || gt_inside(s, gt, primary);
    if (redundant && !gt_inside(s, gt, redundant))
        redundant = 0;
    *ret = (struct gt_place){ .sector = fine ? primary : 0, .copy = redundant };
    if (!ret->sector || ret->sector == ret->copy)
        *ret = (struct gt_place){ .sector = ret->sector ? ret->sector : redundant };
    return fine || redundant;
}

int sparse_gt_place(struct sparse *s, uint64_t gt, struct gt_place *ret)
{
    uint32_t primary = 0, redundant = 0;
    int r = table32_read(&s->gd, gt, &primary), r2 = 0;
    if (s->rgd.n)
        r2 = table32_read(&s->rgd, gt, &redundant);
    if (r == -ENOMEM || r2 == -ENOMEM)
        return -ENOMEM;
    if (!settle(s, gt, primary, redundant, ret) || (r < 0 && !ret->sector))
        return -EIO;
    return 0;
}

int sparse_gt_absent(struct sparse *s, uint64_t gt, uint64_t max, uint64_t *ret)
{
    uint64_t last = gt + min_u64(max, s->n_gts - gt);
    bool whole = true;
    while (whole && gt < last) {
        struct table32_piece p;
        int r = table32_get(&s->gd, gt, &p);
        if (r < 0)
            return r;
        uint64_t n = min_u64(p.n, last - gt), run = table32_run(&p, 0, n);
        table32_put(&p);
        if (run && s->rgd.n) {
            r = table32_get(&s->rgd, gt, &p);
            if (r < 0)
                return r;
            run = table32_run(&p, 0, run);
            table32_put(&p);
        }
        whole = run == n;
        gt += run;
    }
    *ret = gt;
    return 0;
}

/* ---- empty tables ---- */

static uint64_t table_bytes(const struct sparse *s)
{
    return (uint64_t)s->h.gtes_per_gt * GT_ENTRY;
}

/* Is it `k` tables behind `first`? */
static bool lies_behind(const struct sparse *s, const struct gt_place *first, uint64_t k,
                        const struct gt_place *place)
{
    uint64_t sectors = k * (table_bytes(s) / VMDK_SECTOR);
    return place->sector && place->sector == first->sector + sectors &&
           place->copy == (first->copy ? first->copy + sectors : 0);
}

/* The tables from gt on, before table `last`, that follow each other in the file too, as do their copies. */
static uint64_t count_adjacent(struct sparse *s, uint64_t gt, uint64_t last, const struct gt_place *first)
{
    uint64_t n = 0;
    bool goes_on = true;
    for (last = min_u64(last, gt + SKIP_TABLES); goes_on && gt + n < last;) {
        struct table32_piece p, r = { 0 };
        if (table32_get(&s->gd, gt + n, &p) < 0)
            break;
        goes_on = !s->rgd.n || !table32_get(&s->rgd, gt + n, &r);
        for (size_t i = 0; goes_on && i < p.n && (!s->rgd.n || i < r.n) && gt + n < last; i++) {
            struct gt_place place;
            goes_on = settle(s, gt + n, table32_at(&p, i), s->rgd.n ? table32_at(&r, i) : 0, &place) &&
                      lies_behind(s, first, n, &place);
            n += goes_on;
        }
        table32_put(&p);
        if (r.n)
            table32_put(&r);
    }
    return n;
}

/* How many whole tables from a sector on lie in a hole of the file. */
static uint64_t tables_in_hole(const struct sparse *s, uint32_t sector, uint64_t max, unsigned *effort)
{
    struct extent e;
    if (file_map(s->file, (uint64_t)sector * VMDK_SECTOR, max * table_bytes(s), &e) < 0)
        return 0;
    *effort += e.effort;
    return e.kind == EXTENT_HOLE ? e.length / table_bytes(s) : 0;
}

/* May an empty table of a place be passed without a look at anything else? The absent entries of a stream
 * are believed only after a look at the stream. */
static bool can_pass(const struct sparse *s, const struct gt_place *place)
{
    return table_bytes(s) % VMDK_SECTOR == 0 && place->sector &&
           (place->copy || !(s->h.flags & VMDK_FLAG_MARKERS));
}

uint64_t sparse_gt_unwritten(struct sparse *s, uint64_t gt, uint64_t last, const struct gt_place *place,
                             unsigned *effort)
{
    if (!can_pass(s, place))
        return 0;
    uint64_t n = tables_in_hole(s, place->sector, last - gt, effort);
    if (n && place->copy && !s->unfilled)
        n = tables_in_hole(s, place->copy, n, effort);
    if (n)
        n = count_adjacent(s, gt, gt + n, place);
    *effort += (unsigned)(n / PASS_ENTRIES);
    return n;
}

/* How many whole tables from a sector on are all zeros, of `n` that are read. */
static uint64_t tables_zeroed(const struct sparse *s, uint32_t sector, uint64_t n, unsigned *effort)
{
    uint8_t buf[READ_EMPTY];
    size_t bytes = (size_t)(n * table_bytes(s));
    uint64_t at = (uint64_t)sector * VMDK_SECTOR;
    struct bad bad = { 0 };
    if (file_pread(s->file, buf, bytes, at) < 0)
        return 0; /* who asks there gets the error, or the redundant copy */
    *effort += (unsigned)(bytes / EFFORT_READ);
    return bytes_zeros(bytes_of(buf, bytes, at, &bad), 0) / table_bytes(s);
}

static uint64_t count_zeroed(struct sparse *s, uint64_t gt, uint64_t last, const struct gt_place *place,
                             unsigned *effort)
{
    if (!can_pass(s, place) || table_bytes(s) > READ_EMPTY)
        return 0;
    uint64_t n = count_adjacent(s, gt, min_u64(last, gt + READ_EMPTY / table_bytes(s)), place);
    if (n)
        n = tables_zeroed(s, place->sector, n, effort);
    if (n && place->copy && !s->unfilled)
        n = tables_zeroed(s, place->copy, n, effort);
    return n;
}

uint64_t sparse_gt_empty(struct sparse *s, uint64_t gt, uint64_t last, unsigned *effort)
{
    struct gt_place place;
    uint64_t end;
    if (sparse_gt_place(s, gt, &place) < 0)
        return 0;
    if (!place.sector) {
        if (sparse_gt_absent(s, gt, min_u64(last - gt, SKIP_TABLES), &end) < 0)
            return 0;
        *effort += (unsigned)((end - gt) / PASS_ENTRIES);
        return end - gt;
    }
    uint64_t n = sparse_gt_unwritten(s, gt, last, &place, effort);
    return n ? n : count_zeroed(s, gt, last, &place, effort);
}

/* ---- opening ---- */

/* Finds a directory of n_gts entries at a sector; its entries are unchecked. */
static int find_gd(const struct sparse *s, uint64_t sector, const char *what, struct table32 *ret,
                   struct fault *fault)
{
    uint64_t at, n = s->n_gts * GT_ENTRY;
    if (!sector || !checked_mul(sector, VMDK_SECTOR, &at))
        return fault_at(fault, -EUCLEAN, s->file->name, 0, "%s at sector %llu is impossible", what,
                        (unsigned long long)sector);
    if (!range_inside(at, n, s->file->size))
        return fault_at(fault, -ENODATA, s->file->name, s->file->size,
                        "truncated: the file ends before the end of %s", what);
    *ret = (struct table32){
        .file = s->file, .cache = s->cache, .owner = cache_owner_new(), .offset = at, .n = s->n_gts
    };
    return 0;
}

static int refuse_place(const struct sparse *s, uint64_t gt, uint32_t sector, struct fault *fault)
{
    uint64_t at = (uint64_t)sector * VMDK_SECTOR;
    int err = at >= s->file->size ? -ENODATA : -EUCLEAN;
    return fault_at(fault, err, s->file->name, s->gd.offset + gt * GT_ENTRY,
                    "%s: the grain directory places table %llu at byte %llu of a file of %llu",
                    err == -ENODATA ? "truncated" : "damaged", (unsigned long long)gt, (unsigned long long)at,
                    (unsigned long long)s->file->size);
}

uint64_t sparse_gd_checked(const struct sparse *s, uint64_t limit)
{
    return min_u64(s->n_gts, max_u64(limit, 1) * CHECK_ENTRIES);
}

/* Counts in *taken the tables for which the redundant directory's word is taken. */
static int check_pieces(struct sparse *s, uint64_t limit, uint64_t *taken, struct fault *fault)
{
    for (uint64_t gt = 0; gt < sparse_gd_checked(s, limit);) {
        struct table32_piece p, r = { 0 };
        int err = table32_get(&s->gd, gt, &p);
        if (err < 0)
            return err;
        if (s->rgd.n && table32_get(&s->rgd, gt, &r) < 0)
            r.n = 0;
        for (size_t i = 0; !err && i < p.n; i++, gt++) {
            struct gt_place place;
            uint32_t primary = table32_at(&p, i);
            if (!settle(s, gt, primary, i < r.n ? table32_at(&r, i) : 0, &place))
                err = refuse_place(s, gt, primary, fault);
            else if (place.sector != primary)
                ++*taken;
        }
        table32_put(&p);
        if (r.n)
            table32_put(&r);
        if (err < 0)
            return err;
    }
    return 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

static bool is_empty(const struct sparse *s, uint32_t sector, uint8_t *buf, size_t n)
{
    return file_pread(s->file, buf, n, (uint64_t)sector * VMDK_SECTOR) < 0 || all_zero(buf, n);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

/* Where nothing else tells whether a directory's entry is the right one, no two of them may name one table,
 * unless it is empty. */
static int check_overlaps(struct sparse *s, uint64_t limit, struct fault *fault)
{
    if (s->rgd.n || s->h.flags & VMDK_FLAG_MARKERS || s->n_gts > sparse_gd_checked(s, limit))
        return 0;
    uint64_t *places = calloc((size_t)s->n_gts, sizeof *places); /* sector, table */
    size_t bytes = (size_t)s->h.gtes_per_gt * GT_ENTRY, n = 0;
    uint8_t *buf = malloc(bytes);
    int r = places && buf ? 0 : fault_in(fault, -ENOMEM, s->file->name, "out of memory");
    for (uint64_t gt = 0; !r && gt < s->n_gts; gt++) {
        struct gt_place place;
        if (!sparse_gt_place(s, gt, &place) && place.sector)
            places[n++] = (uint64_t)place.sector << 32 | gt;
    }
    if (!r)
        qsort(places, n, sizeof *places, compare_u64);
    for (size_t i = 1; !r && i < n; i++) {
        uint64_t before = places[i - 1] >> 32, at = places[i] >> 32, gt = places[i] & UINT32_MAX;
        uint64_t length = sparse_gt_entries(s, places[i - 1] & UINT32_MAX) * GT_ENTRY;
        if (before + div_up(length, VMDK_SECTOR) <= at)
            continue;
        if (!is_empty(s, (uint32_t)at, buf, (size_t)sparse_gt_entries(s, gt) * GT_ENTRY))
            r = fault_at(fault, -EUCLEAN, s->file->name, s->gd.offset + gt * GT_ENTRY,
                         "damaged: the grain tables %llu and %llu overlap at byte %llu",
                         (unsigned long long)(places[i - 1] & UINT32_MAX), (unsigned long long)gt,
                         (unsigned long long)at * VMDK_SECTOR);
    }
    free(places);
    free(buf);
    return r;
}

/* Are there tables with entries, and none of their copies has any? Looks at `limit` tables at most. */
static bool copies_unfilled(struct sparse *s, uint64_t limit)
{
    uint8_t *buf = malloc((size_t)s->h.gtes_per_gt * GT_ENTRY);
    bool unfilled = false, filled = !buf;
    for (uint64_t gt = 0; gt < s->n_gts && gt < max_u64(limit, FILLED_TABLES) && s->rgd.n && !filled; gt++) {
        struct gt_place place;
        size_t n = (size_t)sparse_gt_entries(s, gt) * GT_ENTRY;
        if (sparse_gt_place(s, gt, &place) < 0 || !place.copy)
            continue;
        filled = !is_empty(s, place.copy, buf, n);
        unfilled = unfilled || (!filled && !is_empty(s, place.sector, buf, n));
    }
    free(buf);
    return unfilled && !filled;
}

int sparse_gd_open(struct sparse *s, uint64_t limit, struct notes *notes, struct fault *fault)
{
    struct fault first = { 0 };
    uint64_t taken = 0;
    if (s->h.flags & VMDK_FLAG_RGD && s->h.rgd_sector)
        find_gd(s, s->h.rgd_sector, "its redundant grain directory", &s->rgd, NULL);
    int r = find_gd(s, s->h.gd_sector, "its grain directory", &s->gd, &first);
    if (!r)
        r = check_pieces(s, limit, &taken, &first);
    if (r < 0 && r != -ENOMEM && s->rgd.n && (r == -EIO || !s->gd.n)) {
        notes_add(notes, "the grain directory of %s can't be read; its redundant copy is used",
                  s->file->name);
        s->gd = s->rgd;
        s->rgd.n = 0;
        taken = 0;
        first = (struct fault){ 0 };
        r = check_pieces(s, limit, &taken, &first);
    }
    if (r < 0 && !first.err)
        return fault_in(fault, r, s->file->name, "its grain directory can't be read: %s", strerror(-r));
    if (r < 0) {
        if (fault && !fault->err)
            *fault = first;
        return r;
    }
    s->unfilled = copies_unfilled(s, limit);
    if (s->unfilled)
        notes_add(notes, "%s has redundant grain tables that were never filled in", s->file->name);
    if (taken)
        notes_add(notes, "%llu grain tables of %s are read from their redundant copies",
                  (unsigned long long)taken, s->file->name);
    return check_overlaps(s, limit, fault);
}

/* ---- tables ---- */

static void mark_differing(uint8_t *buf, const uint8_t *copy, size_t n, struct gt_differ *differ)
{
    if (!memcmp(buf, copy, n * GT_ENTRY))
        return;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(buf, n * GT_ENTRY, 0, &bad), c = bytes_of(copy, n * GT_ENTRY, 0, &bad);
    for (size_t i = 0; i < n; i++) {
        uint32_t here = le32(b, i * GT_ENTRY), there = le32(c, i * GT_ENTRY);
        if (here == there)
            continue;
        if (!differ->n++)
            *differ = (struct gt_differ){ 1, i, here, there };
        put_le32(buf + i * GT_ENTRY, GTE_BAD);
    }
}

int sparse_gt_read(struct sparse *s, uint64_t gt, const struct gt_place *place, uint8_t *buf,
                   struct gt_differ *differ)
{
    size_t n = (size_t)sparse_gt_entries(s, gt);
    *differ = (struct gt_differ){ 0 };
    int r = file_pread(s->file, buf, n * GT_ENTRY, (uint64_t)place->sector * VMDK_SECTOR);
    if (r < 0 && r != -ENOMEM && place->copy)
        r = file_pread(s->file, buf, n * GT_ENTRY, (uint64_t)place->copy * VMDK_SECTOR);
    else if (!r && place->copy && !s->unfilled) {
        uint8_t *copy = malloc(n * GT_ENTRY);
        if (!copy)
            return -ENOMEM;
        if (!file_pread(s->file, copy, n * GT_ENTRY, (uint64_t)place->copy * VMDK_SECTOR))
            mark_differing(buf, copy, n, differ);
        free(copy);
    }
    return r == -ENODATA ? -EIO : r;
}
