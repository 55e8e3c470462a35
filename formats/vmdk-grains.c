/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk behind the snapshot deltas of ESXi (vmdk-cowd.c, vmdk-sesparse.c):
 *
 *     table of g = directory[g / 4096];  entry of g = table[g % 4096];  g = byte / grain size
 *     no table, or an entry of none: nothing here, ask the parent
 *
 * The directory and the tables come through the cache: the directory in pieces of PIECE entries, the tables
 * one by one, known by their place in the file. Grains are as small as a sector, so what is asked for is
 * looked up run by run in a table that is held meanwhile: a run of entries of one kind is one extent of the
 * map, and a run of grains that lie one behind the other in the file is one read. */
#include "vmdk-grains.h"
#include "checked.h"
#include "vmdk-descriptor.h"

#include <errno.h>
#include <string.h>

enum {
    PIECE = 4096,        /* directory entries: 64 GiB of the disk, in sector grains 8 GiB */
    CHECK_TABLES = 512,  /* read at open, 16 MiB: all tables of a delta of 8 GiB, in sector grains of 1 GiB */
    PREFETCH_RUNS = 256, /* per call: more than one request's worth */
};

struct delta {
    struct disk disk;
    struct file *file;
    struct cache *cache;
    uint64_t directory_owner, table_owner; /* in the cache */
    struct vmdk_grains g;
    uint64_t capacity, grain, table_span; /* bytes of the disk: in all, of a grain, of a table's grains */
    uint64_t n_grains, n_tables;
};

static struct delta *delta_of(struct disk *d)
{
    return (struct delta *)(void *)d;
}

static size_t entries_bytes(const struct delta *d, uint64_t n)
{
    return (size_t)n * d->g.layout->entry_bytes;
}

static uint64_t entry_of(const struct delta *d, const struct cache_block *b, uint64_t i)
{
    struct bad bad = { 0 };
    struct bytes window = bytes_of(b->data, b->size, 0, &bad);
    return d->g.layout->entry_bytes == 8 ? le64(window, (size_t)i * 8) : le32(window, (size_t)i * 4);
}

/* ---- the directory ---- */

static int load_piece(void *ctx, uint64_t piece, void *buf, size_t size)
{
    const struct delta *d = ctx;
    uint64_t first = piece * PIECE;
    size_t n = entries_bytes(d, min_u64(PIECE, d->n_tables - first));
    memset((uint8_t *)buf + n, 0, size - n);
    int r = file_pread(d->file, buf, n, d->g.directory + entries_bytes(d, first));
    return r == -ENODATA ? -EIO : r;
}

static int get_piece(struct delta *d, uint64_t piece, struct cache_block **ret)
{
    return cache_get(d->cache, d->directory_owner, piece, entries_bytes(d, PIECE), load_piece, d, ret);
}

enum verdict { FINE, IMPOSSIBLE, OUTSIDE };

/* Where table t begins, as entry `entry` of the directory has it; 0: there is none. Of the last table, only
 * the entries that the disk needs must be there. */
static enum verdict judge_table(const struct delta *d, uint64_t t, uint64_t entry, uint64_t *ret_at)
{
    uint64_t at, n = min_u64(VMDK_TABLE_ENTRIES, d->n_grains - t * VMDK_TABLE_ENTRIES);
    if (!d->g.layout->table(&d->g, entry, &at))
        return IMPOSSIBLE;
    if (at && !range_inside(at, entries_bytes(d, n), d->file->size))
        return OUTSIDE;
    *ret_at = at;
    return FINE;
}

/* Where table t begins; 0 when there is none, and then how many tables in a row there are none of. */
static int find_table(struct delta *d, uint64_t t, uint64_t *ret_at, uint64_t *ret_absent)
{
    uint64_t last = min_u64(PIECE, d->n_tables - t / PIECE * PIECE), i = t % PIECE, at = 0;
    struct cache_block *b;
    int r = get_piece(d, t / PIECE, &b);
    if (r < 0)
        return r;
    r = judge_table(d, t, entry_of(d, b, i), ret_at) == FINE ? 0 : -EIO;
    if (!r && !*ret_at) {
        uint64_t end = i + 1;
        while (end < last && judge_table(d, t - i + end, entry_of(d, b, end), &at) == FINE && !at)
            end++;
        *ret_absent = end - i;
    }
    cache_put(d->cache, b);
    return r;
}

/* ---- tables ---- */

/* A table at byte `at`, its entries up to the end of the file. */
static int load_table(void *ctx, uint64_t at, void *buf, size_t size)
{
    const struct delta *d = ctx;
    size_t n = (size_t)min_u64(size, d->file->size - at);
    memset((uint8_t *)buf + n, 0, size - n); /* entries that the disk has no grains for: see judge_table() */
    int r = file_pread(d->file, buf, n, at);
    return r == -ENODATA ? -EIO : r;
}

/* A table that is being held: the block's, and the grains that it is asked for. */
struct table {
    struct cache_block *block;
    uint64_t first, end; /* grains of the disk */
};

static int get_table(struct delta *d, uint64_t t, uint64_t at, struct table *ret)
{
    ret->first = t * VMDK_TABLE_ENTRIES;
    ret->end = min_u64(ret->first + VMDK_TABLE_ENTRIES, d->n_grains);
    size_t size = entries_bytes(d, VMDK_TABLE_ENTRIES);
    return cache_get(d->cache, d->table_owner, at, size, load_table, d, &ret->block);
}

static enum verdict judge_grain(const struct delta *d, uint64_t g, uint64_t entry, struct vmdk_grain *ret)
{
    uint64_t need = min_u64(d->grain, d->capacity - g * d->grain);
    if (!d->g.layout->grain(&d->g, entry, ret))
        return IMPOSSIBLE;
    return ret->kind != EXTENT_DATA || range_inside(ret->at, need, d->file->size) ? FINE : OUTSIDE;
}

/* What table `t` says of grain g, one of its own. */
static int look_up(const struct delta *d, const struct table *t, uint64_t g, struct vmdk_grain *ret)
{
    return judge_grain(d, g, entry_of(d, t->block, g - t->first), ret) == FINE ? 0 : -EIO;
}

/* ---- map ---- */

/* The run of grains of one kind that begins at grain g and ends in its table, before `until`. */
static int map_table(const struct delta *d, const struct table *t, uint64_t g, uint64_t until,
                     struct extent *ret)
{
    uint64_t start = g, end = min_u64(t->end, until);
    struct vmdk_grain first, next;
    int r = look_up(d, t, g, &first);
    if (r < 0)
        return r;
    for (g++; g < end; g++)
        if (look_up(d, t, g, &next) < 0 || next.kind != first.kind)
            break;
    *ret = (struct extent){ .length = (g - start) * d->grain,
                            .kind = first.kind,
                            .effort = (unsigned)((g - start) / EFFORT_ENTRIES) };
    return 0;
}

static int delta_map(struct disk *disk, uint64_t off, uint64_t len, struct extent *ret)
{
    struct delta *d = delta_of(disk);
    uint64_t g = off / d->grain, t = g / VMDK_TABLE_ENTRIES, at, absent = 0, end = disk->size;
    struct extent e = { .kind = EXTENT_HOLE };
    if (off < d->capacity) {
        int r = find_table(d, t, &at, &absent);
        if (!r && !at) {
            end = t + absent == d->n_tables ? disk->size : (t + absent) * d->table_span;
        } else if (!r) {
            struct table table;
            r = get_table(d, t, at, &table);
            if (r < 0)
                return r;
            r = map_table(d, &table, g, div_up(off + len, d->grain), &e);
            cache_put(d->cache, table.block);
            /* the last grain may reach past the capacity, and that past the disk */
            end = min_u64(g * d->grain + e.length, min_u64(d->capacity, disk->size));
        }
        if (r < 0)
            return r;
    }
    e.length = min_u64(len, end - off);
    *ret = e;
    return 0;
}

/* ---- reading ---- */

/* How many bytes from `off` on lie one behind the other in the file, within the table; where they begin. */
static int find_run(const struct delta *d, const struct table *t, uint64_t off, uint64_t len,
                    uint64_t *ret_at, uint64_t *ret_len)
{
    uint64_t start = off / d->grain, g = start, end = min_u64(t->end, div_up(off + len, d->grain));
    struct vmdk_grain first, next;
    int r = look_up(d, t, g, &first);
    if (r < 0 || first.kind != EXTENT_DATA)
        return -EIO;
    for (g++; g < end; g++)
        if (look_up(d, t, g, &next) < 0 || next.kind != EXTENT_DATA ||
            next.at != first.at + (g - start) * d->grain)
            break;
    *ret_at = first.at + off % d->grain;
    *ret_len = min_u64(len, (g - start) * d->grain - off % d->grain);
    return 0;
}

/* Reads what of [off, off+len) the table knows, all of it DATA; *ret: how much that is. */
static int read_table(const struct delta *d, const struct table *t, uint64_t off, size_t len, uint8_t *p)
{
    while (len) {
        uint64_t at, n;
        int r = find_run(d, t, off, len, &at, &n);
        if (!r)
            r = file_pread(d->file, p, (size_t)n, at);
        if (r < 0)
            return r == -ENODATA ? -EIO : r;
        p += n;
        off += n;
        len -= (size_t)n;
    }
    return 0;
}

static int delta_pread(struct disk *disk, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    struct delta *d = delta_of(disk);
    (void)e;
    for (uint8_t *p = buf; len;) {
        uint64_t t = off / d->table_span, at, absent;
        size_t n = (size_t)min_u64(len, d->table_span - off % d->table_span);
        struct table table;
        int r = find_table(d, t, &at, &absent);
        if (!r)
            r = at ? get_table(d, t, at, &table) : -EIO;
        if (r < 0)
            return r;
        r = read_table(d, &table, off, n, p);
        cache_put(d->cache, table.block);
        if (r < 0)
            return r;
        p += n;
        off += n;
        len -= n;
    }
    return 0;
}

static void delta_prefetch(struct disk *disk, uint64_t off, uint64_t len)
{
    struct delta *d = delta_of(disk);
    uint64_t end = off + min_u64(len, off < d->capacity ? d->capacity - off : 0), at, absent;
    struct table table;
    if (off >= end || find_table(d, off / d->table_span, &at, &absent) < 0 || !at ||
        get_table(d, off / d->table_span, at, &table) < 0)
        return;
    end = min_u64(end, table.end * d->grain); /* the next table is for the next call */
    for (unsigned i = 0; i < PREFETCH_RUNS && off < end; i++) {
        uint64_t n;
        if (find_run(d, &table, off, end - off, &at, &n) < 0)
            break;
        file_advise(d->file, at, n);
        off += n;
    }
    cache_put(d->cache, table.block);
}

static void delta_close(struct disk *disk)
{
    file_unref(delta_of(disk)->file);
    free(disk);
}
DEFINE_CLEANUP(struct disk *, delta_close)

/* ---- opening ---- */

static int refuse_table(const struct delta *d, uint64_t t, uint64_t entry, enum verdict why,
                        struct fault *fault)
{
    uint64_t at = d->g.directory + entries_bytes(d, t);
    if (why == OUTSIDE)
        return fault_at(fault, -ENODATA, d->file->name, at,
                        "truncated or damaged: grain table %llu (0x%llx) is to lie outside the file",
                        (unsigned long long)t, (unsigned long long)entry);
    return fault_at(fault, -EUCLEAN, d->file->name, at,
                    "damaged: the grain directory's entry %llu is 0x%llx, which none can be",
                    (unsigned long long)t, (unsigned long long)entry);
}

static int check_table(struct delta *d, uint64_t t, uint64_t at, struct fault *fault)
{
    struct table table;
    int r = get_table(d, t, at, &table);
    if (r < 0) /* the device's failure is -EIO for those who read there */
        return r == -ENOMEM ? fault_in(fault, r, d->file->name, "out of memory") : 0;
    for (uint64_t g = table.first; !r && g < table.end; g++) {
        struct vmdk_grain grain;
        uint64_t entry = entry_of(d, table.block, g - table.first);
        uint64_t place = at + entries_bytes(d, g - table.first);
        enum verdict why = judge_grain(d, g, entry, &grain);
        if (why == OUTSIDE)
            r = fault_at(fault, -ENODATA, d->file->name, place,
                         "truncated or damaged: grain %llu is to lie at byte %llu of a file of %llu",
                         (unsigned long long)g, (unsigned long long)grain.at,
                         (unsigned long long)d->file->size);
        else if (why == IMPOSSIBLE)
            r = fault_at(fault, -EUCLEAN, d->file->name, place,
                         "damaged: the grain table's entry of grain %llu is 0x%llx, which none can be",
                         (unsigned long long)g, (unsigned long long)entry);
        else if (grain.kind == EXTENT_DATA && g * d->grain >= d->disk.size)
            r = fault_at(fault, -EUCLEAN, d->file->name, place,
                         "damaged: grain %llu lies behind the end that the descriptor states",
                         (unsigned long long)g);
    }
    cache_put(d->cache, table.block);
    return r;
}

static int check_directory(struct delta *d, uint64_t limit, struct fault *fault)
{
    unsigned checked = 0;
    for (uint64_t piece = 0; piece * PIECE < d->n_tables; piece++) {
        struct cache_block *b;
        int r = get_piece(d, piece, &b);
        if (r < 0)
            return fault_in(fault, r, d->file->name, "its grain directory can't be read: %s", strerror(-r));
        uint64_t n = min_u64(PIECE, d->n_tables - piece * PIECE);
        for (uint64_t i = 0; !r && i < n; i++) {
            uint64_t t = piece * PIECE + i, entry = entry_of(d, b, i), at = 0;
            enum verdict why = judge_table(d, t, entry, &at);
            if (why != FINE)
                r = refuse_table(d, t, entry, why, fault);
            else if (at && checked++ < limit)
                r = check_table(d, t, at, fault);
        }
        cache_put(d->cache, b);
        if (r < 0)
            return r;
    }
    return 0;
}

static int derive_sizes(struct delta *d, uint64_t sectors, struct layer_info *info, struct fault *fault)
{
    const struct vmdk_grains *g = &d->g;
    struct vmdk_extent_size size = { sectors, g->capacity_sectors, g->grain_sectors };
    int r = vmdk_extent_sectors(d->file, &size, &info->notes, &sectors, fault);
    if (r < 0)
        return r;
    d->disk.size = sectors * VMDK_SECTOR;
    d->capacity = g->capacity_sectors * VMDK_SECTOR;
    d->grain = g->grain_sectors * VMDK_SECTOR;
    d->table_span = d->grain * VMDK_TABLE_ENTRIES;
    d->n_grains = div_up(g->capacity_sectors, g->grain_sectors);
    d->n_tables = div_up(d->n_grains, VMDK_TABLE_ENTRIES);
    if (d->n_tables > g->directory_entries)
        return fault_in(fault, -EUCLEAN, d->file->name,
                        "damaged: a grain directory of %llu entries for a disk that needs %llu",
                        (unsigned long long)g->directory_entries, (unsigned long long)d->n_tables);
    uint64_t bytes;
    if (!checked_mul(d->n_tables, g->layout->entry_bytes, &bytes) ||
        !range_inside(g->directory, bytes, d->file->size))
        return fault_at(fault, -ENODATA, d->file->name, d->file->size,
                        "truncated: the file ends before the end of its grain directory");
    if (!info->block_size)
        info->block_size = (uint32_t)d->grain;
    return 0;
}

static const struct disk_ops delta_ops = {
    .name = "vmdk-delta",
    .pread = delta_pread,
    .map = delta_map,
    .prefetch = delta_prefetch,
    .close = delta_close,
};

int vmdk_grains_open(struct file *file, uint64_t sectors, const struct vmdk_grains *g,
                     const struct vmdk_context *ctx, struct disk **ret, struct fault *fault)
{
    struct delta *d = calloc(1, sizeof *d);
    if (!d)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    d->disk.ops = &delta_ops;
    d->file = file_ref(file);
    d->cache = ctx->env->cache;
    d->directory_owner = cache_owner_new();
    d->table_owner = cache_owner_new();
    d->g = *g;
    _cleanup_(delta_closep) struct disk *disk = &d->disk;
    int r = derive_sizes(d, sectors, ctx->info, fault);
    if (!r)
        r = check_directory(d, image_check_share(ctx->env->above + ctx->opened, CHECK_TABLES), fault);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(disk);
    return 0;
}
