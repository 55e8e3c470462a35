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
 * The GD is kept in memory, checked; grain tables come through the cache one by one. Where the redundant GD
 * knows a table whose primary lies outside the file or is lacking, or can't be read, its copy is taken. What
 * the tables place outside the file is refused: at open as far as CHECK_TABLES reach, else it is -EIO. Also
 * the last grain, so that a copy that was cut off anywhere is noticed.
 *
 * Source: VMware's "Virtual Disk Format 5.0"; libvmdk's format document. */
#include "vmdk-sparse.h"
#include "checked.h"
#include "inflate.h"
#include "vmdk-descriptor.h"

#include <errno.h>
#include <string.h>

enum {
    ENTRY = 4,                /* bytes of a GD's or GT's entry */
    MAX_GD_BYTES = 64 << 20,  /* 512 TiB in usual grains, 4 TiB in grains of one sector */
    CHECK_TABLES = 2048,      /* read at open, 4 MiB: all tables of 64 GiB of allocated disk */
    SKIP_TABLES = 65536,      /* absent tables passed in one call of map */
    READ_EMPTY = 32 << 10,    /* bytes of tables that are looked at in one go, for whether they are empty */
    READ_EMPTIES = 8,         /* so often in one call of map */
    PREFETCH_GRAINS = 256,    /* per call: more than one request's worth */
    SEARCH_FOOTER = 16 << 20, /* padding behind a stream: tar blocks, whole MiB of block devices */
    GRAIN_LBA = 0,
    GRAIN_BYTES = 8,
    GRAIN_HEAD = 12,
    MARKER_TYPE = 12,
    MARKER_FOOTER = 3,
    GTE_ABSENT = 0,
    GTE_ZERO = 1,
};

struct sparse {
    struct disk disk;
    struct file *file;
    struct cache *cache;
    uint64_t gt_owner, grain_owner; /* of grain tables and of decompressed grains in the cache */
    struct vmdk_header h;
    uint64_t capacity, grain; /* bytes */
    uint64_t n_grains, n_gts;
    uint32_t *gd;  /* sectors; 0 or inside the file */
    uint32_t *rgd; /* the same; NULL: none */
};

static struct sparse *sparse_of(struct disk *d)
{
    return (struct sparse *)(void *)d;
}

static bool packed(const struct sparse *s)
{
    return s->h.flags & VMDK_FLAG_COMPRESSED;
}

/* ---- grain tables ---- */

static uint64_t gt_entries(const struct sparse *s, uint64_t gt)
{
    return min_u64(s->h.gtes_per_gt, s->n_grains - gt * s->h.gtes_per_gt);
}

static int read_gt(const struct sparse *s, uint64_t gt, void *buf)
{
    size_t n = (size_t)gt_entries(s, gt) * ENTRY;
    int r = file_pread(s->file, buf, n, (uint64_t)s->gd[gt] * VMDK_SECTOR);
    if (r < 0 && r != -ENOMEM && s->rgd && s->rgd[gt] && s->rgd[gt] != s->gd[gt])
        r = file_pread(s->file, buf, n, (uint64_t)s->rgd[gt] * VMDK_SECTOR);
    return r == -ENODATA ? -EIO : r;
}

static int load_gt(void *ctx, uint64_t gt, void *buf, size_t size)
{
    const struct sparse *s = ctx;
    memset(buf, 0, size);
    return read_gt(s, gt, buf);
}

/* The table of a GDE that isn't 0. */
static int get_gt(struct sparse *s, uint64_t gt, struct cache_block **ret)
{
    return cache_get(s->cache, s->gt_owner, gt, (size_t)s->h.gtes_per_gt * ENTRY, load_gt, s, ret);
}

static uint32_t gte_of(const struct cache_block *b, uint64_t i)
{
    struct bad bad = { 0 };
    return le32(bytes_of(b->data, b->size, 0, &bad), (size_t)i * ENTRY);
}

/* How many entries from `i` on are 0. */
static uint64_t gtes_absent(const struct cache_block *b, uint64_t i)
{
    struct bad bad = { 0 };
    return bytes_zeros(bytes_of(b->data, b->size, 0, &bad), (size_t)i * ENTRY) / ENTRY;
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
    uint64_t need = packed(s) ? (s->h.flags & VMDK_FLAG_MARKERS ? GRAIN_HEAD : 1) : grain_length(s, g);
    if (!range_inside((uint64_t)gte * VMDK_SECTOR, need, s->file->size))
        return GRAIN_OUTSIDE;
    return !packed(s) && gte < s->h.overhead_sectors ? GRAIN_IN_OVERHEAD : GRAIN_FINE;
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

/* The run of absent tables that begins at gt, before table `last`. */
static uint64_t count_absent(const struct sparse *s, uint64_t gt, uint64_t last)
{
    uint64_t end = gt;
    for (last = min_u64(last, gt + SKIP_TABLES); end < last && !s->gd[end]; end++)
        ;
    return end - gt;
}

/* The tables from gt on that follow each other in the file too, before table `last`. */
static uint64_t count_adjacent(const struct sparse *s, uint64_t gt, uint64_t last)
{
    uint64_t sectors = div_up((uint64_t)s->h.gtes_per_gt * ENTRY, VMDK_SECTOR), end = gt + 1;
    for (last = min_u64(last, gt + SKIP_TABLES); end < last; end++)
        if (s->gd[end] != s->gd[gt] + (end - gt) * sectors)
            break;
    return end - gt;
}

static uint64_t gt_bytes(const struct sparse *s)
{
    return (uint64_t)s->h.gtes_per_gt * ENTRY;
}

/* How many tables from gt on, where there is one, lie in a hole of the file. VMware and QEMU make all tables
 * of a new disk, mostly so, and most of them stay empty. */
static uint64_t count_unwritten(const struct sparse *s, uint64_t gt, uint64_t last, unsigned *effort)
{
    const uint64_t size = gt_bytes(s);
    struct extent e;
    if (size % VMDK_SECTOR ||
        file_map(s->file, (uint64_t)s->gd[gt] * VMDK_SECTOR, (last - gt) * size, &e) < 0)
        return 0;
    *effort += e.effort;
    return e.kind == EXTENT_HOLE && e.length >= size ? count_adjacent(s, gt, gt + e.length / size) : 0;
}

/* How many are all zeros, of those that are read in one go. */
static uint64_t count_zeroed(const struct sparse *s, uint64_t gt, uint64_t last, unsigned *effort)
{
    enum { BYTES_READ = 512 }; /* for a unit of effort */
    uint64_t at = (uint64_t)s->gd[gt] * VMDK_SECTOR;
    if (gt_bytes(s) % VMDK_SECTOR || gt_bytes(s) > READ_EMPTY)
        return 0;
    last = min_u64(last, gt + READ_EMPTY / gt_bytes(s));
    size_t n = (size_t)(count_adjacent(s, gt, last) * gt_bytes(s));
    uint8_t buf[READ_EMPTY];
    if (file_pread(s->file, buf, n, at) < 0)
        return 0; /* who asks there gets the error, or the redundant copy */
    *effort += (unsigned)(n / BYTES_READ);
    struct bad bad = { 0 };
    return bytes_zeros(bytes_of(buf, n, at, &bad), 0) / gt_bytes(s);
}

static uint64_t count_empty(const struct sparse *s, uint64_t gt, uint64_t last, unsigned *effort)
{
    if (!s->gd[gt])
        return count_absent(s, gt, last);
    uint64_t n = count_unwritten(s, gt, last, effort);
    return n ? n : count_zeroed(s, gt, last, effort);
}

/* The end of the run of absent and of empty tables that begins at gt, as a byte of the disk. */
static uint64_t empty_until(const struct sparse *s, uint64_t gt, uint64_t last, unsigned *effort)
{
    last = min_u64(last, s->n_gts);
    for (unsigned i = 0; i < READ_EMPTIES && gt < last; i++) {
        uint64_t n = count_empty(s, gt, last, effort);
        if (!n)
            break;
        gt += n;
    }
    return gt == s->n_gts ? s->disk.size : gt * s->h.gtes_per_gt * s->grain;
}

/* The run of grains of one kind that begins at grain g and ends in its table, before `until`. */
static int map_table(struct sparse *s, uint64_t g, uint64_t until, struct extent *ret, uint64_t *ret_end)
{
    uint64_t gt = g / s->h.gtes_per_gt, first = gt * s->h.gtes_per_gt;
    uint64_t last = min_u64(first + gt_entries(s, gt), until);
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

/* Where tables that say nothing follow a hole, it goes on. */
static uint64_t go_on(const struct sparse *s, uint64_t end, uint64_t until, struct extent *e)
{
    const uint64_t span = s->h.gtes_per_gt * s->grain;
    if (end % span || end >= until || end >= s->capacity)
        return end;
    return empty_until(s, end / span, div_up(until, span), &e->effort);
}

static int sparse_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    struct sparse *s = sparse_of(d);
    struct extent e = { .kind = EXTENT_HOLE };
    uint64_t end = d->size;
    if (off < s->capacity) {
        uint64_t g = off / s->grain, gt = g / s->h.gtes_per_gt;
        int r = 0;
        if (!s->gd[gt]) {
            end = gt * s->h.gtes_per_gt * s->grain;
        } else if (!(r = map_table(s, g, div_up(off + len, s->grain), &e, &end))) {
            end *= s->grain;
        }
        if (r < 0)
            return r;
        if (e.kind == EXTENT_HOLE)
            end = go_on(s, end, off + len, &e);
        else
            end = min_u64(end, s->capacity); /* the last grain may reach past it */
    }
    e.length = min_u64(len, end - off);
    e.compressed = e.kind == EXTENT_DATA && packed(s);
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
    if (r == -EIO && !(s->h.flags & VMDK_FLAG_MARKERS) && n > ENTRY)
        r = inflate_grain(s, g, in + ENTRY, (size_t)n - ENTRY, buf);
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
    if (!s->gd[gt])
        return -EIO; /* of a prefetch only: whoever reads has asked map */
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
    uint64_t last = min_u64(first + gt_entries(s, gt), div_up(off + len, s->grain));
    struct cache_block *b;
    if (!s->gd[gt])
        return -EIO;
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
    if (packed(s))
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
    for (unsigned i = 0; packed(s) && i < PREFETCH_GRAINS && off < end; i++) {
        uint64_t g = off / s->grain;
        if (s->gd[g / s->h.gtes_per_gt])
            cache_prefetch(s->cache, s->grain_owner, g, (size_t)s->grain, load_grain, s);
        off = (g + 1) * s->grain;
    }
    for (unsigned i = 0; !packed(s) && i < PREFETCH_GRAINS && off < end; i++) {
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
    free(s->gd);
    free(s->rgd);
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

/* ---- the footer ---- */

static int no_footer(struct file *file, struct fault *fault)
{
    fault_at(fault, -ENODATA, file->name, file->size,
             "truncated: the stream's footer, which says where its tables are, is missing");
    return fault_hint(fault, -ENODATA, "copy or export it again");
}

/* The end of the last sector that isn't all zeros, searched for backwards from the end; 0 when there is none
 * within SEARCH_FOOTER. */
static int last_used_sector(struct file *file, uint64_t *ret)
{
    static const uint8_t zeros[VMDK_SECTOR];
    uint8_t buf[64 * VMDK_SECTOR];
    uint64_t end = file->size / VMDK_SECTOR * VMDK_SECTOR,
             stop = end > SEARCH_FOOTER ? end - SEARCH_FOOTER : 0;
    *ret = 0;
    while (end > stop) {
        size_t n = (size_t)min_u64(sizeof buf, end - stop);
        int r = file_pread(file, buf, n, end - n);
        if (r < 0)
            return r;
        for (size_t i = n; i; i -= VMDK_SECTOR)
            if (memcmp(buf + i - VMDK_SECTOR, zeros, VMDK_SECTOR)) {
                *ret = end - n + i;
                return 0;
            }
        end -= n;
    }
    return 0;
}

/* Replaces *h by the footer. Behind the footer there is only the end-of-stream marker, which is a sector of
 * zeros, and whatever zeros the file was padded with. */
static int read_footer(struct file *file, struct vmdk_header *h, struct fault *fault)
{
    uint64_t end;
    uint8_t raw[2 * VMDK_SECTOR];
    int r = last_used_sector(file, &end);
    if (r < 0)
        return fault_in(fault, r, file->name, "its end can't be read: %s", strerror(-r));
    if (end < 3 * VMDK_SECTOR || end + VMDK_SECTOR > file->size)
        return no_footer(file, fault);
    r = file_pread_what(file, raw, sizeof raw, end - sizeof raw, "its footer", fault);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(raw, sizeof raw, end - sizeof raw, &bad);
    if (!bytes_match(b, VMDK_SECTOR, VMDK_MAGIC, 4) || le32(b, GRAIN_BYTES) ||
        le32(b, MARKER_TYPE) != MARKER_FOOTER)
        return no_footer(file, fault);
    struct vmdk_header footer;
    r = vmdk_header_read(file, end - VMDK_SECTOR, &footer, fault);
    if (r < 0)
        return r;
    if (footer.gd_sector == VMDK_GD_AT_END || footer.capacity_sectors != h->capacity_sectors ||
        footer.grain_sectors != h->grain_sectors)
        return fault_at(fault, -EUCLEAN, file->name, end - VMDK_SECTOR,
                        "its header and its footer contradict each other");
    *h = footer;
    return 0;
}

/* ---- opening ---- */

/* Reads a grain directory to *ret, host-endian, entries unchecked. */
static int read_gd(const struct sparse *s, uint64_t sector, const char *what, uint32_t **ret,
                   struct fault *fault)
{
    uint64_t at, n = s->n_gts * ENTRY;
    if (!sector || !checked_mul(sector, VMDK_SECTOR, &at))
        return fault_at(fault, -EUCLEAN, s->file->name, 0, "%s at sector %llu is impossible", what,
                        (unsigned long long)sector);
    if (!range_inside(at, n, s->file->size))
        return fault_at(fault, -ENODATA, s->file->name, s->file->size,
                        "truncated: the file ends before the end of %s", what);
    uint32_t *gd = malloc((size_t)n);
    if (!gd)
        return fault_in(fault, -ENOMEM, s->file->name, "out of memory");
    int r = file_pread_what(s->file, gd, (size_t)n, at, what, fault);
    for (uint64_t i = 0; !r && i < s->n_gts; i++)
        gd[i] = le32toh(gd[i]);
    if (r < 0)
        free(gd);
    else
        *ret = gd;
    return r;
}

/* Is a table's place possible: behind the header and the descriptor's beginning, and inside the file? */
static bool gt_inside(const struct sparse *s, uint64_t gt, uint32_t sector)
{
    return sector != s->h.descriptor_sector &&
           range_inside((uint64_t)sector * VMDK_SECTOR, gt_entries(s, gt) * ENTRY, s->file->size);
}

/* Takes the redundant directory's word where the primary has none or an impossible one. */
static int settle_gd(struct sparse *s, struct notes *notes, struct fault *fault)
{
    uint64_t taken = 0;
    for (uint64_t i = 0; i < s->n_gts; i++) {
        bool fine = !s->gd[i] || gt_inside(s, i, s->gd[i]);
        if (s->rgd && s->rgd[i] && !gt_inside(s, i, s->rgd[i]))
            s->rgd[i] = 0;
        if (s->rgd && s->rgd[i] && (!s->gd[i] || !fine)) {
            s->gd[i] = s->rgd[i];
            taken++;
        } else if (!fine) {
            uint64_t at = (uint64_t)s->gd[i] * VMDK_SECTOR;
            int err = at >= s->file->size ? -ENODATA : -EUCLEAN;
            return fault_at(fault, err, s->file->name, s->h.gd_sector * VMDK_SECTOR + i * ENTRY,
                            "%s: the grain directory places table %llu at byte %llu of a file of %llu",
                            err == -ENODATA ? "truncated" : "damaged", (unsigned long long)i,
                            (unsigned long long)at, (unsigned long long)s->file->size);
        }
    }
    if (taken)
        notes_add(notes, "%llu grain tables of %s are read from their redundant copies",
                  (unsigned long long)taken, s->file->name);
    return 0;
}

static int load_gd(struct sparse *s, struct notes *notes, struct fault *fault)
{
    struct fault first = { 0 };
    if (s->h.flags & VMDK_FLAG_RGD && s->h.rgd_sector)
        read_gd(s, s->h.rgd_sector, "its redundant grain directory", &s->rgd, NULL);
    int r = read_gd(s, s->h.gd_sector, "its grain directory", &s->gd, &first);
    if (r < 0 && (r == -ENOMEM || !s->rgd)) {
        if (fault && !fault->err)
            *fault = first;
        return r;
    }
    if (r < 0) {
        notes_add(notes, "the grain directory of %s can't be read; its redundant copy is used",
                  s->file->name);
        s->gd = TAKE_PTR(s->rgd);
    }
    return settle_gd(s, notes, fault);
}

static int refuse_grain(const struct sparse *s, uint64_t g, uint32_t gte, bool outside, struct fault *fault)
{
    uint64_t gt = g / s->h.gtes_per_gt, at = (uint64_t)s->gd[gt] * VMDK_SECTOR + g % s->h.gtes_per_gt * ENTRY;
    if (outside)
        return fault_at(fault, -ENODATA, s->file->name, at,
                        "truncated or damaged: grain %llu is to lie at byte %llu of a file of %llu",
                        (unsigned long long)g, (unsigned long long)gte * VMDK_SECTOR,
                        (unsigned long long)s->file->size);
    return fault_at(fault, -EUCLEAN, s->file->name, at,
                    "damaged: grain %llu is to lie at byte %llu, which is not among the grains",
                    (unsigned long long)g, (unsigned long long)gte * VMDK_SECTOR);
}

struct last_grain {
    uint64_t grain;
    uint32_t gte;
};

static int check_table(const struct sparse *s, uint64_t gt, uint8_t *buf, struct last_grain *last,
                       struct fault *fault)
{
    size_t n = (size_t)gt_entries(s, gt);
    if (read_gt(s, gt, buf) < 0)
        return 0; /* the device's failure: -EIO for those who read there */
    struct bad bad = { 0 };
    struct bytes b = bytes_of(buf, n * ENTRY, (uint64_t)s->gd[gt] * VMDK_SECTOR, &bad);
    for (size_t i = bytes_zeros(b, 0) / ENTRY; i < n; i += 1 + bytes_zeros(b, (i + 1) * ENTRY) / ENTRY) {
        uint32_t gte = le32(b, i * ENTRY);
        uint64_t g = gt * s->h.gtes_per_gt + i;
        enum extent_kind kind;
        if (classify(s, g, gte, &kind) < 0)
            return refuse_grain(s, g, gte, judge_grain(s, g, gte) == GRAIN_OUTSIDE, fault);
        if (kind == EXTENT_DATA && gte > last->gte)
            *last = (struct last_grain){ g, gte };
    }
    return 0;
}

/* The stored bytes of the last grain, whose length only its head tells. */
static int check_last_packed(const struct sparse *s, const struct last_grain *last, struct fault *fault)
{
    uint64_t at = (uint64_t)last->gte * VMDK_SECTOR;
    uint32_t n;
    if (!last->gte || !(s->h.flags & VMDK_FLAG_MARKERS))
        return 0;
    int r = read_grain_head(s, last->grain, at, &n);
    if (r == -ENODATA)
        return fault_at(fault, r, s->file->name, s->file->size, "truncated: the file ends within grain %llu",
                        (unsigned long long)last->grain);
    if (r == -EUCLEAN)
        return fault_at(fault, r, s->file->name, at, "damaged: grain %llu doesn't begin here",
                        (unsigned long long)last->grain);
    return 0;
}

static int check_tables(const struct sparse *s, uint64_t limit, struct fault *fault)
{
    struct last_grain last = { 0 };
    uint8_t *buf = malloc((size_t)s->h.gtes_per_gt * ENTRY);
    if (!buf)
        return fault_in(fault, -ENOMEM, s->file->name, "out of memory");
    int r = 0;
    unsigned tables = 0, effort = 0;
    for (uint64_t gt = 0; !r && gt < s->n_gts && tables < limit; gt++)
        if (s->gd[gt] && !count_unwritten(s, gt, gt + 1, &effort)) {
            r = check_table(s, gt, buf, &last, fault);
            tables++;
        }
    free(buf);
    return r < 0 ? r : check_last_packed(s, &last, fault);
}

/* Refuses if one of the `n` entries at `at` isn't 0. What lies outside the file is none. */
static int want_no_entries(const struct sparse *s, uint64_t at, uint64_t n, struct fault *fault)
{
    for (uint64_t end = at + n * ENTRY; at < end; at += ENTRY) {
        static const uint8_t none[ENTRY];
        uint8_t entry[ENTRY];
        if (file_pread(s->file, entry, ENTRY, at) < 0)
            return 0;
        if (memcmp(entry, none, ENTRY) != 0)
            return fault_at(fault, -EUCLEAN, s->file->name, at,
                            "damaged: its tables have grains behind the end that its header states");
    }
    return 0;
}

/* Where the descriptor's line is longer than the header's capacity, the tail is a hole, unless the tables
 * know of grains there: then the header is damaged, and zeros would stand for them. The directory is looked
 * at up to the end of its sector only, since what follows may be a table. */
static int check_tail(const struct sparse *s, struct fault *fault)
{
    enum { PER_SECTOR = VMDK_SECTOR / ENTRY };
    uint64_t grains = div_up(s->disk.size, s->grain), gts = div_up(grains, s->h.gtes_per_gt);
    uint64_t gd_end = min_u64(gts, round_up(s->n_gts, PER_SECTOR));
    int r = want_no_entries(s, s->h.gd_sector * VMDK_SECTOR + s->n_gts * ENTRY, gd_end - s->n_gts, fault);
    uint64_t gt = s->n_gts - 1, used = gt_entries(s, gt);
    uint64_t end = min_u64(s->h.gtes_per_gt, grains - gt * s->h.gtes_per_gt);
    if (!r && s->gd[gt])
        r = want_no_entries(s, (uint64_t)s->gd[gt] * VMDK_SECTOR + used * ENTRY, end - used, fault);
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
    if (s->n_gts > MAX_GD_BYTES / ENTRY)
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
    if (packed(s))
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
    _cleanup_(sparse_closep) struct disk *d = &s->disk;
    int r = vmdk_header_read(file, 0, &s->h, fault);
    if (!r && s->h.gd_sector == VMDK_GD_AT_END)
        r = read_footer(file, &s->h, fault);
    if (!r && !s->h.capacity_sectors)
        r = fault_in(fault, -EUCLEAN, file->name, "is named as an extent, but its capacity is 0");
    if (!r)
        r = derive_sizes(s, sectors, &ctx->info->notes, fault);
    if (!r)
        r = load_gd(s, &ctx->info->notes, fault);
    if (!r)
        r = check_tables(s, image_check_share(ctx->env->above + ctx->opened, CHECK_TABLES), fault);
    if (!r && s->disk.size > s->capacity)
        r = check_tail(s, fault);
    if (r < 0)
        return r;
    tell_info(s, ctx->info);
    *ret = TAKE_PTR(d);
    return 0;
}
