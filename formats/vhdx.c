/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHDX, the disks of Hyper-V: fixed, dynamic and differencing (.avhdx, a checkpoint's).
 *
 *     vhdx-header.c     the header section     vhdx-metadata.c   sizes, and the parent's name
 *     vhdx-log.c        a crashed host's log   vhdx.c            the disk: BAT, map and pread
 *
 *     BAT   | block 0 | block 1 | ... | bitmap of chunk 0 | block n | ...      8 bytes each: offset in MiB,
 * state
 *
 * A chunk is what the 2^23 bits of a sector bitmap block stand for, a bit for each logical sector: 4 GiB, or
 * 32 GiB for sectors of 4096 bytes. After the entries of each chunk's blocks the BAT has one for its bitmap;
 * only differencing disks have bitmaps, and only a block in state 7 needs its.
 *
 * What a block reads as, by its state: 0 the parent (without one: zeros), 1 to 3 zeros, also in a
 * differencing disk, 6 the block in the file, 7 sector by sector this file or the parent. State 5 is what
 * drafts of the specification called 3. The bitmaps' entries of other disks are never looked at: QEMU before
 * 8.0 could leave rubbish in them.
 *
 * Nothing is read behind the disk's end: the last block may be short in the file, as an old QEMU wrote it. A
 * block in the file that is a hole there is zeros, by the file system's word.
 *
 * Source: [MS-VHDX] 2.4 and 2.5. */
#include "bytes.h"
#include "image.h"
#include "vhdx-log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SECTORS_A_CHUNK (UINT64_C(1) << 23)
#define BAT_STATE       UINT64_C(7)
#define BAT_OFFSET_MASK (~UINT64_C(0xfffff))

enum {
    BAT_ENTRY = 8,
    PIECE = 65536,         /* of the BAT and of sector bitmaps; the bits of one are as many sectors as the
                              largest block has, so no block needs two */
    WALK_BYTES = 16 << 20, /* of the BAT looked at when opening: 64 TiB in blocks of 32 MiB, 2 TiB in blocks
                              of 1 MiB; of what lies behind it damage is seen when it is read */
};

enum bat_state {
    STATE_NOT_PRESENT = 0,
    STATE_UNDEFINED = 1,
    STATE_ZERO = 2,
    STATE_UNMAPPED = 3,
    STATE_UNMAPPED_DRAFT = 5,
    STATE_PRESENT = 6,
    STATE_PARTIAL = 7,
};

struct vhdx {
    struct disk disk;
    struct file *file; /* with the log replayed */
    struct cache *cache;
    bool sparse; /* `file` has holes */
    struct vhdx_header header;
    struct vhdx_regions regions;
    struct vhdx_metadata meta;
    uint64_t n_blocks;
    uint64_t chunk_ratio; /* blocks in a chunk */
    uint64_t n_entries;   /* of the BAT */
    uint64_t bat_owner, bitmap_owner;
};

/* What an entry says of a block. */
struct block {
    enum extent_kind kind;
    bool partial;    /* DATA: some sectors are the parent's */
    uint64_t offset; /* DATA: in the file; all that the disk has of the block lies inside */
};

static struct vhdx *vhdx_of(struct disk *d)
{
    return (struct vhdx *)(void *)d;
}

static int read_error(int r)
{
    return r == -ENOMEM ? r : -EIO;
}

/* ---- the BAT ---- */

static int load_bat_piece(void *ctx, uint64_t id, void *buf, size_t size)
{
    const struct vhdx *v = ctx;
    return file_pread(v->file, buf, size, v->regions.bat.offset + id * PIECE);
}

/* The region has whole MiB, so all pieces are whole. */
static int bat_get(struct vhdx *v, uint64_t i, struct cache_block **ret)
{
    int r = cache_get(v->cache, v->bat_owner, i * BAT_ENTRY / PIECE, PIECE, load_bat_piece, v, ret);
    return r < 0 ? read_error(r) : 0;
}

static uint64_t bat_entry(const struct cache_block *b, uint64_t i)
{
    struct bad bad = { 0 };
    return le64(bytes_of(b->data, b->size, 0, &bad), (size_t)(i * BAT_ENTRY % PIECE));
}

static uint64_t bat_index(const struct vhdx *v, uint64_t block)
{
    return block + block / v->chunk_ratio;
}

/* How many bytes of the disk are in the block. */
static uint64_t block_bytes(const struct vhdx *v, uint64_t block)
{
    return min_u64(v->meta.block_size, v->disk.size - block * v->meta.block_size);
}

/* -EUCLEAN when a block or bitmap can't lie there, -ENODATA when the file ends before its end. */
static int check_place(const struct vhdx *v, uint64_t offset, uint64_t length)
{
    struct vhdx_range range = { offset, length };
    if (offset < VHDX_ALIGN)
        return -EUCLEAN;
    if (!range_inside(offset, length, v->file->size))
        return -ENODATA;
    return vhdx_overlap(&range, &v->regions.bat) || vhdx_overlap(&range, &v->regions.metadata) ||
                   vhdx_overlap(&range, &v->header.log)
               ? -EUCLEAN
               : 0;
}

static int block_decode(const struct vhdx *v, uint64_t block, uint64_t entry, struct block *ret)
{
    struct block b = { .kind = EXTENT_ZERO, .offset = entry & BAT_OFFSET_MASK };
    switch ((enum bat_state)(entry & BAT_STATE)) {
    case STATE_NOT_PRESENT:
        b.kind = EXTENT_HOLE;
        break;
    case STATE_UNDEFINED:
    case STATE_ZERO:
    case STATE_UNMAPPED:
    case STATE_UNMAPPED_DRAFT:
        break;
    case STATE_PARTIAL:
        if (!v->meta.has_parent)
            return -EUCLEAN;
        b.partial = true;
        /* fall through */
    case STATE_PRESENT: {
        int r = check_place(v, b.offset, block_bytes(v, block));
        if (r < 0)
            return r;
        b.kind = EXTENT_DATA;
        break;
    }
    default:
        return -EUCLEAN;
    }
    *ret = b;
    return 0;
}

/* ---- sector bitmaps ---- */

/* The id of a piece is its number in the file: bitmap blocks are aligned to MiB. */
static int load_bitmap_piece(void *ctx, uint64_t id, void *buf, size_t size)
{
    return file_pread(((const struct vhdx *)ctx)->file, buf, size, id * PIECE);
}

/* Where the bitmap of the chunk of `block` lies. -EUCLEAN, -ENODATA, or what reading the BAT gives. */
static int bitmap_find(struct vhdx *v, uint64_t block, uint64_t *ret)
{
    struct cache_block *piece;
    uint64_t i = block / v->chunk_ratio * (v->chunk_ratio + 1) + v->chunk_ratio;
    int r = bat_get(v, i, &piece);
    if (r < 0)
        return r;
    uint64_t entry = bat_entry(piece, i);
    cache_put(v->cache, piece);
    if ((entry & BAT_STATE) != STATE_PRESENT)
        return -EUCLEAN;
    *ret = entry & BAT_OFFSET_MASK;
    return check_place(v, *ret, SECTORS_A_CHUNK / 8);
}

static bool bit_at(const uint8_t *p, uint64_t i)
{
    return p[i / 8] >> (i % 8) & 1;
}

/* The end of the run of equal bits that begins at `i`, at most `end`. */
static uint64_t run_end(const uint8_t *p, uint64_t i, uint64_t end)
{
    bool bit = bit_at(p, i);
    uint8_t whole = bit ? 0xff : 0;
    while (i < end && bit_at(p, i) == bit)
        i += i % 8 == 0 && p[i / 8] == whole ? 8 : 1;
    return min_u64(i, end);
}

/* A block in state 7: the run of sectors of one origin, at byte `off` of the disk. */
static int map_partial(struct vhdx *v, uint64_t off, uint64_t len, struct extent *ret)
{
    const uint64_t sector_size = v->meta.sector_size, per_piece = PIECE * UINT64_C(8);
    uint64_t sector = off / sector_size % SECTORS_A_CHUNK, bitmap;
    int r = bitmap_find(v, off / v->meta.block_size, &bitmap);
    if (r < 0)
        return read_error(r);
    struct cache_block *piece;
    r = cache_get(v->cache, v->bitmap_owner, bitmap / PIECE + sector / per_piece, PIECE, load_bitmap_piece, v,
                  &piece);
    if (r < 0)
        return read_error(r);
    uint64_t bit = sector % per_piece, within = off % sector_size;
    uint64_t end = min_u64(per_piece, bit + div_up(within + len, sector_size));
    uint64_t run = run_end(piece->data, bit, end) - bit;
    ret->kind = bit_at(piece->data, bit) ? EXTENT_DATA : EXTENT_HOLE;
    ret->length = min_u64(len, run * sector_size - within);
    ret->effort += (unsigned)(run / 8 / EFFORT_ENTRIES);
    cache_put(v->cache, piece);
    return 0;
}

/* ---- map ---- */

/* Makes *e end where the file's own answer changes; a hole of the file is zeros. */
static int map_file(struct vhdx *v, uint64_t host, struct extent *e)
{
    struct extent under;
    if (!v->sparse)
        return 0;
    int r = file_map(v->file, host, e->length, &under);
    if (r < 0)
        return read_error(r);
    e->length = under.length;
    e->effort += under.effort;
    if (under.kind != EXTENT_DATA)
        e->kind = EXTENT_ZERO;
    return 0;
}

/* How many blocks from `block` on, in the BAT's piece that `b` came from, go on where the one before ends. */
static uint64_t count_run(struct vhdx *v, uint64_t block, const struct block *b, uint64_t max,
                          const struct cache_block *piece)
{
    uint64_t n = 1, first = bat_index(v, block) * BAT_ENTRY / PIECE;
    for (; n < max; n++) {
        struct block next;
        uint64_t i = bat_index(v, block + n);
        if (i * BAT_ENTRY / PIECE != first || block_decode(v, block + n, bat_entry(piece, i), &next) < 0 ||
            next.kind != b->kind || next.partial)
            break;
        if (b->kind == EXTENT_DATA && next.offset != b->offset + n * v->meta.block_size)
            break;
    }
    return n;
}

static int vhdx_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    struct vhdx *v = vhdx_of(d);
    const uint64_t size = v->meta.block_size, block = off / size, within = off % size;
    struct cache_block *piece;
    struct block b;
    uint64_t i = bat_index(v, block), n = 1;
    int r = bat_get(v, i, &piece);
    if (r < 0)
        return r;
    r = block_decode(v, block, bat_entry(piece, i), &b);
    if (!r && !b.partial)
        n = count_run(v, block, &b, div_up(within + len, size), piece);
    cache_put(v->cache, piece);
    if (r < 0)
        return -EIO;
    *ret = (struct extent){ .length = min_u64(len, n * size - within),
                            .kind = b.kind,
                            .at = b.offset + within,
                            .effort = (unsigned)(n / EFFORT_ENTRIES) };
    return b.partial ? map_partial(v, off, ret->length, ret) : 0;
}

static int vhdx_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    int r = vhdx_find(d, off, len, ret);
    return r < 0 || ret->kind != EXTENT_DATA ? r : map_file(vhdx_of(d), ret->at, ret);
}

/* ---- pread ---- */

static int vhdx_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    (void)off;
    int r = file_pread(vhdx_of(d)->file, buf, len, e->at); /* an extent is one run in the file */
    return r < 0 ? read_error(r) : 0;
}

static void vhdx_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    struct vhdx *v = vhdx_of(d);
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

static void vhdx_close(struct disk *d)
{
    struct vhdx *v = vhdx_of(d);
    vhdx_metadata_done(&v->meta);
    file_unref(v->file);
    free(v);
}

static const struct disk_ops vhdx_ops = {
    .name = "vhdx",
    .pread = vhdx_pread,
    .map = vhdx_map,
    .prefetch = vhdx_prefetch,
    .close = vhdx_close,
};

/* ---- detection ---- */

/* Headers and region tables where they belong: the beginning was wiped, as a partition tool does it. One that
 * is plausible tells; of signatures alone, two of the four are no accident. */
static bool has_traces(struct file *file)
{
    static const struct {
        uint64_t at;
        const char *signature;
    } trace[] = { { 65536, "head" }, { 131072, "head" }, { 196608, "regi" }, { 262144, "regi" } };
    unsigned evidence = 0;
    for (size_t i = 0; i < sizeof trace / sizeof trace[0] && evidence < 2; i++) {
        uint8_t p[68];
        struct bad bad = { 0 };
        if (file_pread(file, p, sizeof p, trace[i].at) < 0)
            break;
        struct bytes b = bytes_of(p, sizeof p, trace[i].at, &bad);
        if (!bytes_match(b, 0, trace[i].signature, 4))
            continue;
        /* a header's two versions, 0 and 1; a region table's number of entries */
        bool header = trace[i].signature[0] == 'h';
        evidence += (header ? le32(b, 64) == 0x10000 : le32(b, 8) && le32(b, 8) < 2048) ? 2 : 1;
    }
    return evidence >= 2;
}

static unsigned vhdx_probe(const struct probe *p)
{
    if (bytes_match(p->head, 0, "vhdxfile", 8))
        return 64;
    return has_traces(p->file) ? PROBE_TRACE : PROBE_NONE;
}

/* ---- opening ---- */

static int measure(struct vhdx *v, struct fault *fault)
{
    const uint64_t block_size = v->meta.block_size;
    v->disk = (struct disk){ .ops = &vhdx_ops, .size = v->meta.size };
    v->chunk_ratio = SECTORS_A_CHUNK * v->meta.sector_size / block_size;
    v->n_blocks = div_up(v->meta.size, block_size);
    if (v->meta.has_parent)
        v->n_entries = div_up(v->n_blocks, v->chunk_ratio) * (v->chunk_ratio + 1);
    else if (v->n_blocks)
        v->n_entries = bat_index(v, v->n_blocks - 1) + 1;
    if (v->n_entries * BAT_ENTRY > v->regions.bat.length)
        return fault_at(fault, -EUCLEAN, v->file->name, v->regions.bat.offset,
                        "the BAT is too short: the disk has %" PRIu64 " blocks", v->n_blocks);
    return 0;
}

static int check_block(struct vhdx *v, uint64_t block, uint64_t entry, struct fault *fault)
{
    const char *name = v->file->name;
    const uint64_t guest = block * v->meta.block_size,
                   at = v->regions.bat.offset + bat_index(v, block) * BAT_ENTRY;
    struct block b;
    uint64_t bitmap;
    int r = block_decode(v, block, entry, &b);
    if (r == -ENODATA)
        return fault_at(fault, r, name, v->file->size,
                        "truncated: the file ends before the data of guest byte %" PRIu64, guest);
    if (r < 0)
        return fault_at(fault, r, name, at, "the BAT entry of guest byte %" PRIu64 " is damaged", guest);
    if (!b.partial)
        return 0;
    r = bitmap_find(v, block, &bitmap);
    if (r == -ENODATA)
        return fault_at(fault, r, name, v->file->size,
                        "truncated: the file ends before the sector bitmap of guest byte %" PRIu64, guest);
    return r < 0 ? fault_at(fault, r, name, at, "guest byte %" PRIu64 " has no sector bitmap", guest) : 0;
}

/* Finds a damaged or truncated image before anybody copies from it. */
static int check_bat(struct vhdx *v, uint64_t limit, struct fault *fault)
{
    struct cache_block *piece = NULL;
    uint64_t loaded = UINT64_MAX;
    int r = 0;
    for (uint64_t block = 0; block < v->n_blocks && !r; block++) {
        uint64_t i = bat_index(v, block), id = i * BAT_ENTRY / PIECE;
        if (i * BAT_ENTRY >= limit)
            break;
        if (id != loaded) {
            if (piece)
                cache_put(v->cache, piece);
            piece = NULL;
            r = bat_get(v, i, &piece);
            if (r < 0)
                return fault_at(fault, r, v->file->name, v->regions.bat.offset + id * PIECE,
                                "the BAT can't be read");
            loaded = id;
        }
        r = check_block(v, block, bat_entry(piece, i), fault);
    }
    if (piece)
        cache_put(v->cache, piece);
    return r;
}

static void give_info(struct vhdx *v, uint64_t file_size, struct layer *ret)
{
    struct layer_info *info = &ret->info;
    const struct vhdx_metadata *m = &v->meta;
    snprintf(info->subformat, sizeof info->subformat, "%s",
             m->has_parent ? "differencing"
             : m->fixed    ? "fixed"
                           : "dynamic");
    snprintf(info->link_id, sizeof info->link_id, "%s", v->header.data_write_id);
    info->virtual_size = m->size;
    info->file_size = file_size;
    info->block_size = m->block_size;
    info->sector_size = m->sector_size;
    if (v->header.dirty)
        notes_add(&info->notes, "the machine or its host crashed; the log was replayed in memory");
    if (!m->has_parent)
        return;
    ret->backing = (struct backing){
        .role = "parent",
        .name = TAKE_PTR(v->meta.parent[0]),
        .others = { TAKE_PTR(v->meta.parent[1]), TAKE_PTR(v->meta.parent[2]) },
        .search_beside = true,
    };
    snprintf(ret->backing.link_id, sizeof ret->backing.link_id, "%s", m->parent_id);
    snprintf(ret->backing.link_id2, sizeof ret->backing.link_id2, "%s", m->parent_id2);
}

static int open_parts(struct vhdx *v, struct file *file, const struct image_env *env, struct notes *notes,
                      struct fault *fault)
{
    int r = vhdx_header_read(file, &v->header, notes, fault);
    if (!r)
        r = vhdx_log_replay(file, &v->header, &v->file, fault);
    if (!r)
        r = vhdx_regions_read(v->file, &v->header, &v->regions, notes, fault);
    if (!r)
        r = vhdx_metadata_read(v->file, &v->regions.metadata, &v->meta, fault);
    if (!r)
        r = measure(v, fault);
    return r ? r : check_bat(v, image_check_share(env->above, WALK_BYTES), fault);
}

static int vhdx_open(struct file *file, const struct image_env *env, struct layer *ret, struct fault *fault)
{
    struct vhdx *v = calloc(1, sizeof *v);
    if (!v)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    v->cache = env->cache;
    v->bat_owner = cache_owner_new();
    v->bitmap_owner = cache_owner_new();
    uint8_t magic[8];
    int r = file_pread_what(file, magic, sizeof magic, 0, "the header section", fault);
    if (!r && memcmp(magic, "vhdxfile", sizeof magic) != 0)
        r = fault_at(fault, -EUCLEAN, file->name, 0, "doesn't begin as a VHDX does");
    if (!r)
        r = open_parts(v, file, env, &ret->info.notes, fault);
    if (r < 0) {
        vhdx_close(&v->disk);
        notes_done(&ret->info.notes);
        return r;
    }
    v->sparse = file_has_holes(v->file);
    give_info(v, file->size, ret);
    ret->disk = &v->disk;
    return 0;
}

const struct format vhdx_format = {
    .name = "vhdx",
    .title = "VHDX",
    .suffixes = { ".vhdx", ".avhdx", NULL },
    .probe = vhdx_probe,
    .open = vhdx_open,
};
