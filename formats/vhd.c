/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHD, the format of Virtual PC, Virtual Server, Hyper-V (Generation 1), Azure and XenServer.
 *
 *     fixed          data | footer
 *     dynamic        footer | dynamic header | BAT | { sector bitmap, block }... | footer
 *     differencing   the same, with the parent's names somewhere before the blocks
 *
 *     BAT entry i: the sector where the bitmap of the disk's block i begins, its data behind it; all ones:
 * none bitmap: a bit per sector, the most significant first
 *
 *     vhd-header.c   footer and headers to plain values     vhd.c   the disk: map and pread
 *
 * In a differencing disk the bitmap tells which sectors are its own and which are the parent's. In a dynamic
 * one a present block is taken whole, as QEMU and Hyper-V do: a sector whose bit is clear was never written,
 * so that its bytes are zeros anyway, and where a program kept no bitmap they are not.
 *
 * The parent is always demanded. (QEMU reads a differencing disk as if it had none, and gives zeros.)
 *
 * When opening, all of the BAT up to WALK_ENTRIES is looked at: each block must lie in the file, before the
 * footer, not on the headers, and not where another one begins. Behind that, -EIO when it is read. */
#include "checked.h"
#include "image.h"
#include "table32.h"
#include "vhd-header.h"

#include <errno.h>
#include <stdio.h>

#define ABSENT UINT32_MAX

enum {
    WALK_ENTRIES = 4 << 20, /* 16 MiB: 2 TiB, the format's end, in the smallest blocks seen (512 KiB) */
    HEADER_SIZE = 1024,
    FOOTER_SIZE = 512,
    ENTRY_SIZE = 4,
};

struct vhd {
    struct disk disk;
    struct file *file;
    struct cache *cache;
    struct vhd_header h;
    struct table32 bat;
    uint64_t bitmap_owner; /* of sector bitmaps in the cache, by the block's number */
    bool sparse;           /* `file` has holes */
};

static struct vhd *vhd_of(struct disk *d)
{
    return (struct vhd *)(void *)d;
}

static int read_error(int r)
{
    return r == -ENOMEM ? r : -EIO;
}

/* ---- blocks ---- */

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a < b + b_len && b < a + a_len;
}

/* Where the bitmap of block `i` begins, by its BAT entry. -ENODATA: not wholly before the footer (of the
 * disk's last block only the disk's part must be); -EUCLEAN: on one of the headers. */
static int block_place(const struct vhd *v, uint64_t i, uint32_t entry, uint64_t *ret)
{
    const struct vhd_header *h = &v->h;
    uint64_t at = (uint64_t)entry * VHD_SECTOR;
    uint64_t length = h->bitmap_size + min_u64(h->block_size, h->size - i * h->block_size);
    if (overlap(at, length, 0, FOOTER_SIZE) || overlap(at, length, h->header_offset, HEADER_SIZE) ||
        overlap(at, length, h->bat_offset, h->bat_entries * ENTRY_SIZE))
        return -EUCLEAN;
    if (!range_inside(at, length, h->end))
        return -ENODATA;
    *ret = at;
    return 0;
}

/* The same from the BAT; -EIO also for an absent block. */
static int find_block(struct vhd *v, uint64_t i, uint64_t *ret)
{
    uint32_t entry;
    int r = table32_read(&v->bat, i, &entry);
    if (r < 0)
        return r;
    return entry == ABSENT || block_place(v, i, entry, ret) < 0 ? -EIO : 0;
}

/* ---- map ---- */

/* Makes *e end where the file's own answer changes; a hole of the file is zeros. */
static int map_file(struct vhd *v, uint64_t at, struct extent *e)
{
    struct extent under;
    if (!v->sparse || at >= v->file->size)
        return 0;
    int r = file_map(v->file, at, e->length, &under);
    if (r < 0)
        return read_error(r);
    e->length = under.length;
    e->effort += under.effort;
    if (under.kind != EXTENT_DATA)
        e->kind = EXTENT_ZERO;
    return 0;
}

static int load_bitmap(void *ctx, uint64_t id, void *buf, size_t size)
{
    struct vhd *v = ctx;
    uint64_t at;
    int r = find_block(v, id, &at);
    if (!r)
        r = file_pread(v->file, buf, size, at);
    return r < 0 ? read_error(r) : 0;
}

static bool bit(const uint8_t *p, uint64_t i)
{
    return p[i / 8] >> (7 - i % 8) & 1;
}

/* The run of sectors alike in the bitmap from sector `i` on, before sector `n`. */
static uint64_t bitmap_run(const uint8_t *p, uint64_t i, uint64_t n)
{
    const bool first = bit(p, i);
    const uint8_t whole = first ? 0xff : 0;
    uint64_t end = i + 1;
    while (end < n && bit(p, end) == first)
        end += end % 8 == 0 && p[end / 8] == whole ? 8 : 1;
    return min_u64(end, n) - i;
}

/* Cuts *e, which lies in block `i` from byte `within` on, to a run of this disk's own or of the parent's
 * sectors. */
static int map_sectors(struct vhd *v, uint64_t i, uint64_t within, struct extent *e)
{
    struct cache_block *b;
    int r = cache_get(v->cache, v->bitmap_owner, i, v->h.bitmap_size, load_bitmap, v, &b);
    if (r < 0)
        return read_error(r);
    uint64_t sector = within / VHD_SECTOR;
    if (!bit(b->data, sector))
        e->kind = EXTENT_HOLE;
    uint64_t end =
        (sector + bitmap_run(b->data, sector, div_up(within + e->length, VHD_SECTOR))) * VHD_SECTOR;
    cache_put(v->cache, b);
    e->length = min_u64(e->length, end - within);
    e->effort += (unsigned)(e->length / VHD_SECTOR / 8 / EFFORT_ENTRIES);
    return 0;
}

static int vhd_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    struct vhd *v = vhd_of(d);
    const uint64_t size = v->h.block_size, i = off / size, within = off % size;
    struct table32_piece p;
    uint64_t at;
    int r = table32_get(&v->bat, i, &p);
    if (r < 0)
        return r;
    uint32_t entry = table32_at(&p, 0);
    uint64_t absent = table32_run(&p, ABSENT, div_up(within + len, size));
    table32_put(&p);
    if (absent) {
        *ret = (struct extent){ .length = min_u64(len, absent * size - within), .kind = EXTENT_HOLE };
        return 0;
    }
    if (block_place(v, i, entry, &at) < 0)
        return -EIO;
    *ret = (struct extent){ .length = min_u64(len, size - within), .kind = EXTENT_DATA };
    ret->at = at + v->h.bitmap_size + within;
    return v->h.type == VHD_DIFFERENCING ? map_sectors(v, i, within, ret) : 0;
}

static int vhd_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    int r = vhd_find(d, off, len, ret);
    return r < 0 || ret->kind != EXTENT_DATA ? r : map_file(vhd_of(d), ret->at, ret);
}

static int fixed_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA, .at = off };
    return map_file(vhd_of(d), off, ret);
}

/* ---- pread ---- */

static int vhd_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    (void)off;
    int r = file_pread(vhd_of(d)->file, buf, len, e->at);
    return r < 0 ? read_error(r) : 0;
}

static void vhd_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    struct vhd *v = vhd_of(d);
    while (len) {
        struct extent e;
        if (disk_find(d, off, len, &e) < 0)
            return;
        if (e.kind == EXTENT_DATA)
            file_advise(v->file, e.at, e.length);
        off += e.length;
        len -= e.length;
    }
}

static void fixed_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    file_advise(vhd_of(d)->file, off, len);
}

static void vhd_close(struct disk *d)
{
    struct vhd *v = vhd_of(d);
    vhd_header_done(&v->h);
    file_unref(v->file);
    free(v);
}

static const struct disk_ops vhd_ops = {
    .name = "vhd",
    .pread = vhd_pread,
    .map = vhd_map,
    .prefetch = vhd_prefetch,
    .close = vhd_close,
};

static const struct disk_ops fixed_ops = {
    .name = "vhd-fixed",
    .pread = vhd_pread,
    .map = fixed_map,
    .prefetch = fixed_prefetch,
    .close = vhd_close,
};

/* ---- opening ---- */

/* Two blocks that don't overlap never begin in the same slot of a block's length. */
struct bat_walk {
    const struct vhd *v;
    uint64_t stride; /* bytes of a slot */
    uint8_t *taken;  /* a bit per slot of the file */
};

static int check_entry(void *ctx, uint64_t i, uint32_t entry, struct fault *fault)
{
    struct bat_walk *w = ctx;
    const struct vhd *v = w->v;
    uint64_t at, entry_at = v->h.bat_offset + i * ENTRY_SIZE;
    if (entry == ABSENT)
        return 0;
    int r = block_place(v, i, entry, &at);
    if (r == -ENODATA)
        return fault_at(fault, r, v->file->name, v->h.end,
                        "truncated: the file ends before block %llu, which lies at byte %llu",
                        (unsigned long long)i, (unsigned long long)entry * VHD_SECTOR);
    if (r < 0)
        return fault_at(fault, r, v->file->name, entry_at, "BAT entry %llu points into the headers",
                        (unsigned long long)i);
    uint64_t slot = at / w->stride;
    if (w->taken[slot / 8] & 1 << slot % 8)
        return fault_at(fault, -EUCLEAN, v->file->name, entry_at,
                        "BAT entry %llu points to another block's place", (unsigned long long)i);
    w->taken[slot / 8] |= (uint8_t)(1 << slot % 8);
    return 0;
}

static int check_bat(struct vhd *v, uint64_t limit, struct fault *fault)
{
    struct bat_walk w = { .v = v, .stride = v->h.bitmap_size + v->h.block_size };
    /* entries are sectors in 32 bits: however long the file, blocks begin in its first 2 TiB */
    uint64_t reach = min_u64(v->file->size, (uint64_t)ABSENT * VHD_SECTOR);
    uint64_t n = min_u64(v->h.blocks, limit);
    if (reach / w.stride > (uint64_t)8 * WALK_ENTRIES)
        return 0; /* blocks far smaller than any that were seen: left to the reads */
    _cleanup_free_ uint8_t *taken = calloc(1, (size_t)(reach / w.stride / 8 + 1));
    if (!taken)
        return fault_in(fault, -ENOMEM, v->file->name, "out of memory");
    w.taken = taken;
    return table32_walk(&v->bat, n, check_entry, &w, fault);
}

static int open_bat(struct vhd *v, const struct image_env *env, struct fault *fault)
{
    if (v->h.type == VHD_FIXED)
        return 0;
    v->bitmap_owner = cache_owner_new();
    v->bat = (struct table32){
        .file = v->file,
        .cache = env->cache,
        .owner = cache_owner_new(),
        .offset = v->h.bat_offset,
        .n = v->h.blocks,
        .big_endian = true,
    };
    return check_bat(v, image_check_share(env->above, WALK_ENTRIES), fault);
}

static void give_layer(struct vhd *v, struct layer *ret)
{
    struct layer_info *info = &ret->info;
    static const char *const subformat[] = {
        [VHD_FIXED] = "fixed",
        [VHD_DYNAMIC] = "dynamic",
        [VHD_DIFFERENCING] = "differencing",
    };
    snprintf(info->subformat, sizeof info->subformat, "%s", subformat[v->h.type]);
    snprintf(info->link_id, sizeof info->link_id, "%s", v->h.id);
    info->virtual_size = v->h.size;
    info->file_size = v->file->size;
    info->block_size = v->h.block_size;
    ret->disk = &v->disk;
    if (v->h.type != VHD_DIFFERENCING)
        return;
    ret->backing.role = "parent";
    ret->backing.search_beside = true;
    ret->backing.name = TAKE_PTR(v->h.parent_name);
    snprintf(ret->backing.link_id, sizeof ret->backing.link_id, "%s", v->h.parent_id);
}

static int vhd_open(struct file *file, const struct image_env *env, struct layer *ret, struct fault *fault)
{
    struct vhd *v = calloc(1, sizeof *v);
    if (!v)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    v->file = file_ref(file);
    v->cache = env->cache;
    int r = vhd_header_read(file, &v->h, &ret->info.notes, fault);
    if (!r)
        r = open_bat(v, env, fault);
    if (r < 0) {
        vhd_close(&v->disk);
        notes_done(&ret->info.notes);
        return r;
    }
    v->disk = (struct disk){ .ops = v->h.type == VHD_FIXED ? &fixed_ops : &vhd_ops, .size = v->h.size };
    v->sparse = file_has_holes(file);
    give_layer(v, ret);
    return 0;
}

const struct format vhd_format = {
    .name = "vhd",
    .title = "VHD",
    .suffixes = { ".vhd", ".avhd", ".vpc", NULL },
    .probe = vhd_header_probe,
    .open = vhd_open,
};
