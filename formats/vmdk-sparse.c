/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hosted sparse extents: a directory of tables of grains.
 *
 *     header | descriptor | redundant GD, GTs | GD, GTs | grain | grain | ...           (hosted)
 *     header | descriptor | {grains, GT}... | GD | footer marker | footer | EOS         (stream-optimized)
 *
 *     grain g = sector / grain size;  GD[g / entries] -> GT;  GT[g % entries] -> sector of the grain
 *     GDE 0: no table, as if all its entries were 0
 *     GTE 0: nothing here, ask the parent; 1 with flag 4: zeros, whatever the parent has
 *
 * A compressed grain is `u64 first sector, u32 bytes, zlib stream`. The technote says RFC 1951, the files say
 * RFC 1950. A stream's header may leave the place of the GD to the footer: a second header, 1024 bytes before
 * the end, or further when the file was padded. QEMU writes streams with the GD in front and no footer.
 *
 * Tables come through the cache (vmdk-tables.c). What they place outside the file, where they and their
 * redundant copies contradict each other, and what a stream holds and they don't know (vmdk-stream.c) is
 * refused: at open as far as CHECK_TABLES and CHECK_ITEMS reach, else it is -EIO. Also where the last grain
 * ends is looked at, so that a copy that was cut off anywhere is noticed.
 *
 * Source: VMware's "Virtual Disk Format 5.0"; libvmdk's format document. */
#include "inflate.h"
#include "vmdk-descriptor.h"
#include "vmdk-hosted.h"

#include <errno.h>
#include <string.h>

enum {
    MAX_GD_BYTES = 64 << 20, /* 512 TiB in usual grains, 4 TiB in grains of one sector */
    CHECK_TABLES = 2048,     /* read at open, 4 MiB: all tables of 64 GiB of allocated disk */
    CHECK_ITEMS = 4096,      /* grains and markers of a stream that are looked at when opening */
    SKIP_TABLES = 65536,     /* absent tables that are passed as one when opening */
    LOOK_EMPTY = 8,          /* in one call of map, for empty tables behind a hole */
    PREFETCH_GRAINS = 256,   /* per call: more than one request's worth */
    SIZE_BEFORE = 4,         /* bytes of a stored size that some writers put before a grain without a head */
};

static struct sparse *sparse_of(struct disk *d)
{
    return (struct sparse *)(void *)d;
}

/* ---- grain tables ---- */

static int load_gt(void *ctx, uint64_t gt, void *buf, size_t size)
{
    struct sparse *s = ctx;
    struct gt_place place;
    struct gt_differ differ;
    memset(buf, 0, size);
    int r = sparse_gt_place(s, gt, &place);
    if (!r && !place.sector)
        return -EIO; /* of a prefetch only: others have asked before */
    if (!r)
        r = sparse_gt_read(s, gt, &place, buf, &differ);
    if (!r && !place.copy && s->h.flags & VMDK_FLAG_MARKERS) {
        static const uint8_t absent[GT_ENTRY];
        struct stream_lost lost;
        unsigned effort = UINT32_MAX;
        bool begins = memcmp(buf, absent, GT_ENTRY);
        stream_mark_lost(s, gt, buf, begins ? UINT64_MAX : stream_before(s, gt), &effort, &lost);
    }
    return r;
}

/* A table that isn't absent. */
static int get_gt(struct sparse *s, uint64_t gt, struct cache_block **ret)
{
    return cache_get(s->cache, s->gt_owner, gt, (size_t)s->h.gtes_per_gt * GT_ENTRY, load_gt, s, ret);
}

static uint32_t gte_of(const struct cache_block *b, uint64_t i)
{
    struct bad bad = { 0 };
    return le32(bytes_of(b->data, b->size, 0, &bad), (size_t)i * GT_ENTRY);
}

/* How many entries from `i` on are 0. */
static uint64_t gtes_absent(const struct cache_block *b, uint64_t i)
{
    struct bad bad = { 0 };
    return bytes_zeros(bytes_of(b->data, b->size, 0, &bad), (size_t)i * GT_ENTRY) / GT_ENTRY;
}

/* How many bytes of grain g the disk has. */
static uint64_t grain_length(const struct sparse *s, uint64_t g)
{
    return min_u64(s->grain, s->capacity - g * s->grain);
}

enum grain_fault { GRAIN_FINE, GRAIN_OUTSIDE, GRAIN_IN_OVERHEAD };

/* Is what GTE `gte` of grain `g` says possible? `gte` is neither absent nor zero. */
static enum grain_fault judge_grain(const struct sparse *s, uint64_t g, uint32_t gte)
{
    uint64_t need = sparse_packed(s) ? (s->h.flags & VMDK_FLAG_MARKERS ? GRAIN_HEAD : 1) : grain_length(s, g);
    if (gte == GTE_BAD || !range_inside((uint64_t)gte * VMDK_SECTOR, need, s->file->size))
        return GRAIN_OUTSIDE;
    return !sparse_packed(s) && gte < s->h.overhead_sectors ? GRAIN_IN_OVERHEAD : GRAIN_FINE;
}

static int classify(const struct sparse *s, uint64_t g, uint32_t gte, enum extent_kind *ret)
{
    if (gte == GTE_ABSENT)
        *ret = EXTENT_HOLE;
    else if (gte == GTE_ZERO && (s->h.flags & VMDK_FLAG_ZEROED))
        *ret = EXTENT_ZERO;
    else if (judge_grain(s, g, gte) == GRAIN_FINE)
        *ret = EXTENT_DATA;
    else
        return -EIO;
    return 0;
}

/* ---- map ---- */

/* Where table gt begins, as a byte of the disk. */
static uint64_t table_start(const struct sparse *s, uint64_t gt)
{
    return gt >= s->n_gts ? s->disk.size : gt * s->h.gtes_per_gt * s->grain;
}

/* The end of the run of absent and of empty tables that begins at gt, as a byte of the disk. VMware and QEMU
 * make all tables of a new disk, and most of them stay empty. */
static uint64_t empty_until(struct sparse *s, uint64_t gt, uint64_t last, unsigned *effort)
{
    last = min_u64(last, s->n_gts);
    for (unsigned i = 0; i < LOOK_EMPTY && gt < last; i++) {
        uint64_t n = sparse_gt_empty(s, gt, last, effort);
        if (!n)
            break;
        gt += n;
    }
    return table_start(s, gt);
}

/* Where tables that say nothing follow a hole, it goes on. */
static uint64_t go_on(struct sparse *s, uint64_t end, uint64_t until, struct extent *e)
{
    const uint64_t span = s->h.gtes_per_gt * s->grain;
    if (end % span || end >= until || end >= s->capacity)
        return end;
    return empty_until(s, end / span, div_up(until, span), &e->effort);
}

/* The run of grains of one kind that begins at grain g and ends in its table, before `until`. */
static int map_table(struct sparse *s, uint64_t g, uint64_t until, struct extent *ret, uint64_t *ret_end)
{
    uint64_t gt = g / s->h.gtes_per_gt, first = gt * s->h.gtes_per_gt;
    uint64_t last = min_u64(first + sparse_gt_entries(s, gt), until);
    struct cache_block *b;
    int r = get_gt(s, gt, &b);
    if (r < 0)
        return r;
    r = classify(s, g, gte_of(b, g - first), &ret->kind);
    enum { EMPTY_ENTRIES = 4 * EFFORT_ENTRIES };
    enum extent_kind kind = ret->kind;
    uint64_t start = g, empty = 0;
    for (g++; !r && g < last; g++) {
        uint64_t n = kind == EXTENT_HOLE ? min_u64(gtes_absent(b, g - first), last - g) : 0;
        empty += n;
        g += n;
        if (g == last || classify(s, g, gte_of(b, g - first), &kind) < 0 || kind != ret->kind)
            break;
    }
    cache_put(s->cache, b);
    ret->effort = (unsigned)((g - start - empty) / EFFORT_ENTRIES + empty / EMPTY_ENTRIES);
    *ret_end = g;
    return r;
}

static int sparse_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    struct sparse *s = sparse_of(d);
    struct extent e = { .kind = EXTENT_HOLE };
    uint64_t end = d->size;
    if (off < s->capacity) {
        uint64_t g = off / s->grain, gt = g / s->h.gtes_per_gt;
        struct gt_place place;
        int r = sparse_gt_place(s, gt, &place);
        if (!r && !place.sector)
            end = table_start(s, gt + 1);
        else if (!r && !(r = map_table(s, g, div_up(off + len, s->grain), &e, &end)))
            end *= s->grain;
        if (r < 0)
            return r;
        if (e.kind == EXTENT_HOLE)
            end = go_on(s, end, off + len, &e);
        else
            end = min_u64(end, s->capacity); /* the last grain may reach past it */
    }
    e.length = min_u64(len, end - off);
    e.compressed = e.kind == EXTENT_DATA && sparse_packed(s);
    *ret = e;
    return 0;
}

/* ---- compressed grains ---- */

static int inflate_grain(const struct sparse *s, uint64_t g, const uint8_t *in, size_t n, uint8_t *buf)
{
    size_t made = 0, size = (size_t)s->grain;
    int r = inflate_zlib(in, n, buf, size, &made);
    if (r < 0)
        return r == -EUCLEAN ? -EIO : r;
    if (made < grain_length(s, g))
        return -EIO;
    memset(buf + made, 0, size - made); /* the last grain may end with the disk */
    return 0;
}

/* The stored bytes [at, at+n) of a grain. */
static int inflate_stored(const struct sparse *s, uint64_t g, uint64_t at, uint64_t n, uint8_t *buf)
{
    uint8_t *in = malloc((size_t)n);
    if (!in)
        return -ENOMEM;
    int r = file_pread(s->file, in, (size_t)n, at);
    if (!r)
        r = inflate_grain(s, g, in, (size_t)n, buf);
    /* without markers, some writers put the size before the stream */
    if (r == -EIO && !(s->h.flags & VMDK_FLAG_MARKERS) && n > SIZE_BEFORE)
        r = inflate_grain(s, g, in + SIZE_BEFORE, (size_t)n - SIZE_BEFORE, buf);
    free(in);
    return r == -ENODATA ? -EIO : r;
}

/* Reads and checks the head of a grain with markers; *ret is how many bytes follow it. */
static int read_grain_head(const struct sparse *s, uint64_t g, uint64_t at, uint32_t *ret)
{
    uint8_t raw[GRAIN_HEAD];
    int r = file_pread(s->file, raw, sizeof raw, at);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(raw, sizeof raw, at, &bad);
    uint32_t n = le32(b, GRAIN_BYTES);
    if (le64(b, GRAIN_LBA) != g * s->h.grain_sectors || !n || n > 2 * s->grain + VMDK_SECTOR)
        return -EUCLEAN;
    *ret = n;
    return range_inside(at + GRAIN_HEAD, n, s->file->size) ? 0 : -ENODATA;
}

static int load_grain(void *ctx, uint64_t g, void *buf, size_t size)
{
    struct sparse *s = ctx;
    uint64_t gt = g / s->h.gtes_per_gt;
    struct cache_block *b;
    (void)size;
    int r = get_gt(s, gt, &b);
    if (r < 0)
        return r;
    uint32_t gte = gte_of(b, g % s->h.gtes_per_gt), n;
    cache_put(s->cache, b);
    enum extent_kind kind;
    r = classify(s, g, gte, &kind);
    if (r < 0 || kind != EXTENT_DATA)
        return -EIO;
    uint64_t at = (uint64_t)gte * VMDK_SECTOR;
    if (!(s->h.flags & VMDK_FLAG_MARKERS))
        return inflate_stored(s, g, at, min_u64(2 * s->grain + VMDK_SECTOR, s->file->size - at), buf);
    r = read_grain_head(s, g, at, &n);
    if (r < 0)
        return r == -ENOMEM ? r : -EIO;
    return inflate_stored(s, g, at + GRAIN_HEAD, n, buf);
}

/* ---- reading ---- */

static int pread_packed(struct sparse *s, uint8_t *p, size_t len, uint64_t off)
{
    bool pass_by = len >= CACHE_PASS_BY;
    while (len) {
        uint64_t g = off / s->grain, within = off % s->grain;
        size_t n = (size_t)min_u64(len, s->grain - within);
        struct cache_block *b;
        int r;
        if (pass_by && n == s->grain) {
            r = cache_pass_by(s->cache, s->grain_owner, g, p, n, load_grain, s);
        } else if (!(r = cache_get(s->cache, s->grain_owner, g, (size_t)s->grain, load_grain, s, &b))) {
            memcpy(p, b->data + within, n);
            cache_put(s->cache, b);
        }
        if (r < 0)
            return r;
        p += n;
        off += n;
        len -= n;
    }
    return 0;
}

/* How many bytes from `off` on lie one behind the other in the file, within one grain table; where they
 * begin. */
static int find_run(struct sparse *s, uint64_t off, uint64_t len, uint64_t *ret_at, uint64_t *ret_len)
{
    uint64_t g = off / s->grain, gt = g / s->h.gtes_per_gt, first = gt * s->h.gtes_per_gt;
    uint64_t last = min_u64(first + sparse_gt_entries(s, gt), div_up(off + len, s->grain));
    struct cache_block *b;
    int r = get_gt(s, gt, &b);
    if (r < 0)
        return r;
    uint64_t gte = gte_of(b, g - first), next = gte, start = g;
    enum extent_kind kind = EXTENT_HOLE;
    do {
        r = classify(s, g, (uint32_t)next, &kind);
        next += s->h.grain_sectors;
        g++;
    } while (!r && g < last && gte_of(b, g - first) == next);
    cache_put(s->cache, b);
    if (r < 0 || kind != EXTENT_DATA)
        return -EIO;
    *ret_at = gte * VMDK_SECTOR + off % s->grain;
    *ret_len = min_u64(len, (g - start) * s->grain - off % s->grain);
    return 0;
}

static int sparse_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    struct sparse *s = sparse_of(d);
    (void)e;
    if (sparse_packed(s))
        return pread_packed(s, buf, len, off);
    for (uint8_t *p = buf; len;) {
        uint64_t at, n;
        int r = find_run(s, off, len, &at, &n);
        if (!r)
            r = file_pread(s->file, p, (size_t)n, at);
        if (r < 0)
            return r == -ENODATA ? -EIO : r;
        p += n;
        off += n;
        len -= (size_t)n;
    }
    return 0;
}

/* For compressed grains nothing is looked up here, as that might wait for a table: the job itself gives up on
 * a grain that isn't there. */
static void sparse_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    struct sparse *s = sparse_of(d);
    if (off >= s->capacity)
        return;
    uint64_t end = off + min_u64(len, s->capacity - off);
    for (unsigned i = 0; sparse_packed(s) && i < PREFETCH_GRAINS && off < end; i++) {
        uint64_t g = off / s->grain;
        cache_prefetch(s->cache, s->grain_owner, g, (size_t)s->grain, load_grain, s);
        off = (g + 1) * s->grain;
    }
    for (unsigned i = 0; !sparse_packed(s) && i < PREFETCH_GRAINS && off < end; i++) {
        uint64_t at, n;
        if (find_run(s, off, end - off, &at, &n) < 0)
            return;
        file_advise(s->file, at, n);
        off += n;
    }
}

static void sparse_close(struct disk *d)
{
    struct sparse *s = sparse_of(d);
    file_unref(s->file);
    free(s);
}
DEFINE_CLEANUP(struct disk *, sparse_close)

static const struct disk_ops sparse_ops = {
    .name = "vmdk-sparse",
    .pread = sparse_pread,
    .map = sparse_map,
    .prefetch = sparse_prefetch,
    .close = sparse_close,
};

/* ---- opening ---- */

/* What checking the tables at open knows. */
struct check {
    uint8_t *buf; /* for a table */
    uint64_t gt;
    struct gt_place place;
    uint64_t last;     /* the grain that lies last in the file, */
    uint32_t last_gte; /* and where; 0: none so far */
    uint64_t stands;   /* the last grain that the tables so far name: its byte in the file */
    unsigned effort;   /* items of the stream that may still be looked at */
    uint64_t differ;   /* entries that contradict their copies in an image that wasn't closed */
};

static int refuse_grain(const struct sparse *s, const struct check *c, uint64_t i, uint32_t gte,
                        struct fault *fault)
{
    uint64_t g = c->gt * s->h.gtes_per_gt + i, at = (uint64_t)c->place.sector * VMDK_SECTOR + i * GT_ENTRY;
    if (judge_grain(s, g, gte) == GRAIN_OUTSIDE)
        return fault_at(fault, -ENODATA, s->file->name, at,
                        "truncated or damaged: grain %llu is to lie at byte %llu of a file of %llu",
                        (unsigned long long)g, (unsigned long long)gte * VMDK_SECTOR,
                        (unsigned long long)s->file->size);
    return fault_at(fault, -EUCLEAN, s->file->name, at,
                    "damaged: grain %llu is to lie at byte %llu, which is not among the grains",
                    (unsigned long long)g, (unsigned long long)gte * VMDK_SECTOR);
}

/* The copies of a table contradict each other. That is damage, unless the last writer was cut off between
 * one and the other: then only those grains can't be read. */
static int weigh_difference(const struct sparse *s, struct check *c, const struct gt_differ *d,
                            struct fault *fault)
{
    uint64_t g = c->gt * s->h.gtes_per_gt + d->first;
    enum extent_kind ignored;
    if (d->n && classify(s, g, d->here, &ignored) < 0)
        return refuse_grain(s, c, d->first, d->here, fault);
    if (!d->n || s->h.unclean) {
        c->differ += d->n;
        return 0;
    }
    return fault_at(
        fault, -EUCLEAN, s->file->name, (uint64_t)c->place.sector * VMDK_SECTOR + d->first * GT_ENTRY,
        "damaged: a grain table's entry, of grain %llu, is %u, but %u in the table's redundant copy",
        (unsigned long long)g, d->here, d->copy);
}

static int refuse_lost(const struct sparse *s, uint64_t at, const struct stream_lost *lost,
                       struct fault *fault)
{
    if (lost->wrong_table)
        return fault_at(fault, -EUCLEAN, s->file->name, at,
                        "damaged: the table of grain %llu names places where its grains are not",
                        (unsigned long long)lost->grain);
    return fault_at(fault, -EUCLEAN, s->file->name, at,
                    "damaged: its tables say that there is no grain %llu, but it lies at byte %llu",
                    (unsigned long long)lost->grain, (unsigned long long)lost->at);
}

/* Table c->gt, in c->place. */
static int check_table(struct sparse *s, struct check *c, struct fault *fault)
{
    struct gt_differ differ;
    struct stream_lost lost = { 0 };
    uint64_t n = sparse_gt_entries(s, c->gt);
    if (sparse_gt_read(s, c->gt, &c->place, c->buf, &differ) < 0)
        return 0; /* the device's failure: -EIO for those who read there */
    int r = weigh_difference(s, c, &differ, fault);
    struct bad bad = { 0 };
    struct bytes b = bytes_of(c->buf, (size_t)n * GT_ENTRY, 0, &bad);
    for (uint64_t i = 0; !r && i < n; i++) {
        uint32_t gte = le32(b, (size_t)i * GT_ENTRY);
        uint64_t g = c->gt * s->h.gtes_per_gt + i;
        enum extent_kind kind;
        if (gte == GTE_BAD && differ.n)
            continue;
        if (classify(s, g, gte, &kind) < 0)
            r = refuse_grain(s, c, i, gte, fault);
        else if (kind == EXTENT_DATA && gte > c->last_gte)
            c->last = g, c->last_gte = gte;
    }
    if (r < 0 || c->place.copy || !(s->h.flags & VMDK_FLAG_MARKERS))
        return r;
    stream_mark_lost(s, c->gt, c->buf, c->stands, &c->effort, &lost);
    c->stands = stream_last_named(c->buf, n, c->stands);
    uint64_t entry = lost.grain % s->h.gtes_per_gt * GT_ENTRY;
    return lost.n ? refuse_lost(s, (uint64_t)c->place.sector * VMDK_SECTOR + entry, &lost, fault) : 0;
}

/* The run of absent tables from c->gt on; *end is where it ends. */
static int check_absent(struct sparse *s, struct check *c, uint64_t *end, struct fault *fault)
{
    struct stream_lost lost = { 0 };
    if (sparse_gt_absent(s, c->gt, SKIP_TABLES, end) < 0 || *end == c->gt) {
        *end = c->gt + 1;
        return 0;
    }
    if (s->rgd.n || !(s->h.flags & VMDK_FLAG_MARKERS))
        return 0;
    stream_follow(s, c->stands, c->gt * s->h.gtes_per_gt, min_u64(*end * s->h.gtes_per_gt, s->n_grains),
                  &c->effort, &lost);
    uint64_t entry = lost.grain / s->h.gtes_per_gt * GT_ENTRY;
    return lost.n ? refuse_lost(s, s->gd.offset + entry, &lost, fault) : 0;
}

/* The stored bytes of the last grain, whose length only its head tells. */
static int check_last_packed(const struct sparse *s, const struct check *c, struct fault *fault)
{
    uint64_t at = (uint64_t)c->last_gte * VMDK_SECTOR;
    uint32_t n;
    if (!c->last_gte || !(s->h.flags & VMDK_FLAG_MARKERS))
        return 0;
    int r = read_grain_head(s, c->last, at, &n);
    if (r == -ENODATA)
        return fault_at(fault, r, s->file->name, s->file->size, "truncated: the file ends within grain %llu",
                        (unsigned long long)c->last);
    if (r == -EUCLEAN)
        return fault_at(fault, r, s->file->name, at, "damaged: grain %llu doesn't begin here",
                        (unsigned long long)c->last);
    return 0;
}

static int check_tables(struct sparse *s, uint64_t limit, struct notes *notes, struct fault *fault)
{
    struct check c = { .stands = s->h.overhead_sectors * VMDK_SECTOR, .effort = CHECK_ITEMS };
    c.buf = malloc((size_t)s->h.gtes_per_gt * GT_ENTRY);
    if (!c.buf)
        return fault_in(fault, -ENOMEM, s->file->name, "out of memory");
    int r = 0;
    unsigned ignored = 0;
    uint64_t end = sparse_gd_checked(s, limit);
    for (uint64_t tables = 0, next; !r && c.gt < end && tables < limit; tables++, c.gt = next) {
        next = c.gt + 1;
        if (sparse_gt_place(s, c.gt, &c.place) < 0)
            continue; /* as above */
        uint64_t unwritten = sparse_gt_unwritten(s, c.gt, end, &c.place, &ignored);
        if (unwritten)
            next = c.gt + unwritten;
        else
            r = c.place.sector ? check_table(s, &c, fault) : check_absent(s, &c, &next, fault);
    }
    free(c.buf);
    if (c.differ)
        notes_add(
            notes,
            "%s: %llu grain table entries contradict their redundant copies; those grains can't be read",
            s->file->name, (unsigned long long)c.differ);
    return r < 0 ? r : check_last_packed(s, &c, fault);
}

/* Refuses if one of the `n` entries at `at` isn't 0. What lies outside the file is none. */
static int want_no_entries(const struct sparse *s, uint64_t at, uint64_t n, struct fault *fault)
{
    for (uint64_t end = at + n * GT_ENTRY; at < end; at += GT_ENTRY) {
        static const uint8_t none[GT_ENTRY];
        uint8_t entry[GT_ENTRY];
        if (file_pread(s->file, entry, GT_ENTRY, at) < 0)
            return 0;
        if (memcmp(entry, none, GT_ENTRY) != 0)
            return fault_at(fault, -EUCLEAN, s->file->name, at,
                            "damaged: its tables have grains behind the end that its header states");
    }
    return 0;
}

/* Where the descriptor's line is longer than the header's capacity, the tail is a hole, unless the tables
 * know of grains there: then the header is damaged, and zeros would stand for them. The directory is looked
 * at up to the end of its sector only, since what follows may be a table. */
static int check_tail(struct sparse *s, struct fault *fault)
{
    enum { PER_SECTOR = VMDK_SECTOR / GT_ENTRY };
    uint64_t grains = div_up(s->disk.size, s->grain), gts = div_up(grains, s->h.gtes_per_gt);
    uint64_t gd_end = min_u64(gts, round_up(s->n_gts, PER_SECTOR));
    int r = want_no_entries(s, s->gd.offset + s->n_gts * GT_ENTRY, gd_end - s->n_gts, fault);
    uint64_t gt = s->n_gts - 1, used = sparse_gt_entries(s, gt);
    uint64_t end = min_u64(s->h.gtes_per_gt, grains - gt * s->h.gtes_per_gt);
    struct gt_place place;
    if (!r && !sparse_gt_place(s, gt, &place) && place.sector)
        r = want_no_entries(s, (uint64_t)place.sector * VMDK_SECTOR + used * GT_ENTRY, end - used, fault);
    return r;
}

/* Fills in what follows from the header; refuses tables larger than we keep. */
static int derive_sizes(struct sparse *s, uint64_t sectors, struct notes *notes, struct fault *fault)
{
    const struct vmdk_header *h = &s->h;
    uint64_t overhead;
    struct vmdk_extent_size size = { sectors, h->capacity_sectors, h->grain_sectors };
    int r = vmdk_extent_sectors(s->file, &size, notes, &sectors, fault);
    if (r < 0)
        return r;
    s->disk.size = sectors * VMDK_SECTOR;
    s->capacity = h->capacity_sectors * VMDK_SECTOR;
    s->grain = h->grain_sectors * VMDK_SECTOR;
    s->n_grains = div_up(h->capacity_sectors, h->grain_sectors);
    s->n_gts = div_up(s->n_grains, h->gtes_per_gt);
    if (s->n_gts > MAX_GD_BYTES / GT_ENTRY)
        return fault_in(fault, -EFBIG, s->file->name, "its grain directory is larger than %d bytes",
                        MAX_GD_BYTES);
    if (!checked_mul(h->overhead_sectors, VMDK_SECTOR, &overhead) || overhead > s->file->size)
        return fault_at(fault, -ENODATA, s->file->name, s->file->size,
                        "truncated: the file ends before its first grain");
    return 0;
}

static void tell_info(const struct sparse *s, struct layer_info *info)
{
    if (!info->block_size)
        info->block_size = (uint32_t)s->grain;
    if (sparse_packed(s))
        strcpy(info->compression, "zlib");
    if (s->h.unclean)
        notes_add(&info->notes, "%s was not closed cleanly by its last writer", s->file->name);
}

int vmdk_sparse_open(struct file *file, uint64_t sectors, const struct vmdk_context *ctx, struct disk **ret,
                     struct fault *fault)
{
    struct sparse *s = calloc(1, sizeof *s);
    if (!s)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    s->disk.ops = &sparse_ops;
    s->file = file_ref(file);
    s->cache = ctx->env->cache;
    s->gt_owner = cache_owner_new();
    s->grain_owner = cache_owner_new();
    uint64_t limit = image_check_share(ctx->env->above + ctx->opened, CHECK_TABLES);
    _cleanup_(sparse_closep) struct disk *d = &s->disk;
    int r = vmdk_header_read(file, 0, &s->h, fault);
    if (!r && s->h.gd_sector == VMDK_GD_AT_END)
        r = stream_footer_read(file, &s->h, fault);
    if (!r && !s->h.capacity_sectors)
        r = fault_in(fault, -EUCLEAN, file->name, "is named as an extent, but its capacity is 0");
    if (!r)
        r = derive_sizes(s, sectors, &ctx->info->notes, fault);
    if (!r)
        r = sparse_gd_open(s, limit, &ctx->info->notes, fault);
    if (!r)
        r = check_tables(s, limit, &ctx->info->notes, fault);
    if (!r && s->disk.size > s->capacity)
        r = check_tail(s, fault);
    if (r < 0)
        return r;
    tell_info(s, ctx->info);
    *ret = TAKE_PTR(d);
    return 0;
}
