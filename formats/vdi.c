/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VDI, VirtualBox's format.
 *
 *     text | header | block map | blocks
 *
 *     map entry i: where the disk's block i lies, counted in blocks from the data's beginning; all ones:
 * never written, all ones but one: zeros by the guest's word (discarded)
 *
 * All integers are little-endian. A fixed VDI has a map too, usually 0, 1, 2, ..., and it counts.
 *
 * Read: dynamic and fixed. Refused by name: differencing and undo images, which name their parent only by its
 * id (its path is in the machine's .vbox file), and headers before 1.1 (VirtualBox before 2007).
 *
 * What is odd: the text in front is free, so the magic behind it is what counts. A block may be preceded by
 * bytes for the driver's own use ("block extra"), though no program is known to keep any.
 *
 * When opening, all of the map up to WALK_ENTRIES is looked at: each block must lie in the file, and be the
 * place of only one block of the disk. Behind that, -EIO when it is read. All writers fill a file without
 * gaps, and when a block is discarded the last one takes its place: so a place that no entry names, with one
 * behind it that is named, shows that an entry was lost, which would read as zeros. The last place itself may
 * be that of a write which a crash cut off: then the header counts one more than the map has, and info.json
 * says so.
 *
 * Source: VirtualBox' VDICore.h as described by others; images by VirtualBox and QEMU. */
#include "checked.h"
#include "image.h"
#include "table32.h"

#include <errno.h>
#include <stdio.h>

#define MAP_FREE UINT32_MAX
#define MAP_ZERO (UINT32_MAX - 1)

enum {
    VDI_MAGIC = 0x40,
    VDI_VERSION = 0x44,
    VDI_HEADER_SIZE = 0x48,
    VDI_TYPE = 0x4c,
    VDI_MAP_OFFSET = 0x154,
    VDI_DATA_OFFSET = 0x158,
    VDI_SECTOR_SIZE = 0x168,
    VDI_DISK_SIZE = 0x170,
    VDI_BLOCK_SIZE = 0x178,
    VDI_BLOCK_EXTRA = 0x17c,
    VDI_BLOCKS = 0x180,
    VDI_ALLOCATED = 0x184,
    VDI_ID = 0x188,
    VDI_PARENT_ID = 0x1a8,
    VDI_END = 0x1c8, /* of what is read */
};

enum { TYPE_DYNAMIC = 1, TYPE_FIXED = 2, TYPE_UNDO = 3, TYPE_DIFFERENCING = 4 };

enum {
    VERSION = 0x00010001,
    HEADER_SIZE_MIN = VDI_END - VDI_HEADER_SIZE,
    SECTOR = 512,
    ENTRY_SIZE = 4,
    ID_SIZE = 16,
    ID_TEXT = 40,
    BLOCK_MAX = 256 << 20,  /* 1 MiB is what all programs write */
    WALK_ENTRIES = 4 << 20, /* 16 MiB: 4 TiB in blocks of 1 MiB */
};

static const uint8_t magic[] = { 0x7f, 0x10, 0xda, 0xbe };

struct vdi {
    struct disk disk;
    struct file *file;
    struct table32 map;
    bool fixed, sparse; /* `sparse`: the file has holes */
    uint64_t size;      /* of the disk, bytes */
    uint64_t block;     /* bytes of a block's data */
    uint64_t extra;     /* bytes before it */
    uint64_t data;      /* byte in the file of the first block */
    uint32_t allocated; /* how many blocks its header counts */
    char id[ID_TEXT];
};

static struct vdi *vdi_of(struct disk *d)
{
    return (struct vdi *)(void *)d;
}

static int read_error(int r)
{
    return r == -ENOMEM ? r : -EIO;
}

/* ---- blocks ---- */

/* Where block `i`, whose entry is neither MAP_FREE nor MAP_ZERO, has its data. -ENODATA: not wholly in the
 * file (of the disk's last block only the disk's part must be). */
static int block_place(const struct vdi *v, uint64_t i, uint32_t entry, uint64_t *ret)
{
    /* 2^32 * (2^28 + 2^28) + 2^32: no overflow, by the limits of parse_layout */
    uint64_t at = v->data + entry * (v->extra + v->block) + v->extra;
    if (!range_inside(at, min_u64(v->block, v->size - i * v->block), v->file->size))
        return -ENODATA;
    *ret = at;
    return 0;
}

/* ---- map and pread ---- */

/* A hole of the file is zeros. */
static int map_file(struct vdi *v, uint64_t at, struct extent *e)
{
    struct extent under;
    if (!v->sparse)
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

static int vdi_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    struct vdi *v = vdi_of(d);
    const uint64_t i = off / v->block, within = off % v->block;
    struct table32_piece p;
    uint64_t at;
    int r = table32_get(&v->map, i, &p);
    if (r < 0)
        return r;
    uint32_t entry = table32_at(&p, 0);
    uint64_t run = table32_run(&p, entry, div_up(within + len, v->block));
    table32_put(&p);
    if (entry == MAP_FREE || entry == MAP_ZERO) {
        *ret = (struct extent){ .length = min_u64(len, run * v->block - within),
                                .kind = entry == MAP_FREE ? EXTENT_HOLE : EXTENT_ZERO };
        return 0;
    }
    if (block_place(v, i, entry, &at) < 0)
        return -EIO;
    *ret =
        (struct extent){ .length = min_u64(len, v->block - within), .kind = EXTENT_DATA, .at = at + within };
    return 0;
}

static int vdi_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    int r = vdi_find(d, off, len, ret);
    return r < 0 || ret->kind != EXTENT_DATA ? r : map_file(vdi_of(d), ret->at, ret);
}

static int vdi_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    (void)off;
    int r = file_pread(vdi_of(d)->file, buf, len, e->at);
    return r < 0 ? read_error(r) : 0;
}

static void vdi_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    struct vdi *v = vdi_of(d);
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

static void vdi_close(struct disk *d)
{
    file_unref(vdi_of(d)->file);
    free(d);
}

static const struct disk_ops vdi_ops = {
    .name = "vdi",
    .pread = vdi_pread,
    .map = vdi_map,
    .prefetch = vdi_prefetch,
    .close = vdi_close,
};

/* ---- the header ---- */

/* As VirtualBox writes it. */
static void put_id(struct bytes b, size_t at, char *out)
{
    int n = snprintf(out, ID_TEXT, "%08x-%04x-%04x-%02x%02x-", le32(b, at), le16(b, at + 4), le16(b, at + 6),
                     u8(b, at + 8), u8(b, at + 9));
    for (size_t i = 10; i < ID_SIZE; i++, n += 2)
        snprintf(out + n, 3, "%02x", u8(b, at + i));
}

/* What this image is, and whether it is one that we read. */
static int parse_kind(struct vdi *v, struct bytes b, struct fault *fault)
{
    static const uint8_t none[ID_SIZE];
    const char *name = v->file->name;
    if (!bytes_match(b, VDI_MAGIC, magic, sizeof magic))
        return fault_at(fault, -EUCLEAN, name, VDI_MAGIC, "has no VDI header");
    uint32_t version = le32(b, VDI_VERSION), type = le32(b, VDI_TYPE), size = le32(b, VDI_HEADER_SIZE);
    if (version != VERSION) {
        fault_at(fault, -ENOTSUP, name, VDI_VERSION,
                 "has a VDI header of version %u.%u, which ferryfs doesn't read: only 1.1", version >> 16,
                 version & 0xffff);
        return fault_hint(fault, -ENOTSUP, "clone it with VirtualBox");
    }
    if (size < HEADER_SIZE_MIN)
        return fault_at(fault, -EUCLEAN, name, VDI_HEADER_SIZE, "states a header of %u bytes", size);
    if (type == TYPE_UNDO || type == TYPE_DIFFERENCING || !bytes_match(b, VDI_PARENT_ID, none, ID_SIZE)) {
        char parent[ID_TEXT];
        put_id(b, VDI_PARENT_ID, parent);
        fault_at(fault, -ENOTSUP, name, VDI_PARENT_ID,
                 "is a differencing VDI, which ferryfs doesn't read; its parent is {%s}", parent);
        return fault_hint(fault, -ENOTSUP, "VBoxManage clonemedium joins it with its parents");
    }
    if (type != TYPE_DYNAMIC && type != TYPE_FIXED)
        return fault_at(fault, -ENOTSUP, name, VDI_TYPE, "is a VDI of type %u, which ferryfs doesn't read",
                        type);
    v->fixed = type == TYPE_FIXED;
    put_id(b, VDI_ID, v->id);
    return 0;
}

static int parse_layout(struct vdi *v, struct bytes b, struct fault *fault)
{
    const char *name = v->file->name;
    uint32_t block = le32(b, VDI_BLOCK_SIZE), extra = le32(b, VDI_BLOCK_EXTRA), entries = le32(b, VDI_BLOCKS);
    uint32_t sector = le32(b, VDI_SECTOR_SIZE);
    v->size = le64(b, VDI_DISK_SIZE);
    if (!v->size)
        return fault_at(fault, -EUCLEAN, name, VDI_DISK_SIZE, "states a disk of no bytes");
    if (sector && sector != SECTOR)
        return fault_at(fault, -ENOTSUP, name, VDI_SECTOR_SIZE,
                        "has sectors of %u bytes, which ferryfs doesn't read in a VDI", sector);
    if (!block || block % SECTOR || extra % SECTOR)
        return fault_at(fault, -EUCLEAN, name, VDI_BLOCK_SIZE, "states blocks of %u bytes behind %u", block,
                        extra);
    if (block > BLOCK_MAX || extra > BLOCK_MAX)
        return fault_at(fault, -EFBIG, name, VDI_BLOCK_SIZE, "has blocks of %u bytes behind %u, more than %u",
                        block, extra, BLOCK_MAX);
    v->block = block;
    v->extra = extra;
    v->allocated = le32(b, VDI_ALLOCATED);
    v->map.n = div_up(v->size, block);
    v->map.offset = le32(b, VDI_MAP_OFFSET);
    v->data = le32(b, VDI_DATA_OFFSET);
    if (entries < v->map.n)
        return fault_at(fault, -EUCLEAN, name, VDI_BLOCKS, "its map has %u entries, but the disk %llu blocks",
                        entries, (unsigned long long)v->map.n);
    if (v->map.offset < VDI_END || v->data < v->map.offset + v->map.n * ENTRY_SIZE)
        return fault_at(fault, -EUCLEAN, name, VDI_MAP_OFFSET,
                        "header, block map (from byte %llu) and data (from byte %llu) overlap",
                        (unsigned long long)v->map.offset, (unsigned long long)v->data);
    if (!range_inside(v->map.offset, v->map.n * ENTRY_SIZE, v->file->size))
        return fault_at(fault, -ENODATA, name, v->file->size,
                        "truncated: the file ends before the block map's %llu entries from byte %llu",
                        (unsigned long long)v->map.n, (unsigned long long)v->map.offset);
    return 0;
}

/* ---- opening ---- */

struct map_walk {
    const struct vdi *v;
    uint64_t places; /* for blocks in the file */
    uint8_t *taken;  /* a bit for each */
    uint64_t named;  /* how many are taken */
    uint64_t end;    /* behind the last one that is */
};

static int check_entry(void *ctx, uint64_t i, uint32_t entry, struct fault *fault)
{
    struct map_walk *w = ctx;
    const struct vdi *v = w->v;
    uint64_t at;
    if (entry == MAP_FREE || entry == MAP_ZERO)
        return 0;
    if (block_place(v, i, entry, &at) < 0 || entry >= w->places)
        return fault_at(fault, -ENODATA, v->file->name, v->file->size,
                        "truncated: the file ends before block %llu, which is its %u-th from byte %llu on",
                        (unsigned long long)i, entry, (unsigned long long)v->data);
    if (w->taken[entry / 8] & 1 << entry % 8)
        return fault_at(fault, -EUCLEAN, v->file->name, v->map.offset + i * ENTRY_SIZE,
                        "map entry %llu points to another block's place", (unsigned long long)i);
    w->taken[entry / 8] |= (uint8_t)(1 << entry % 8);
    w->named++;
    w->end = max_u64(w->end, (uint64_t)entry + 1);
    return 0;
}

/* What the map, which was looked at as a whole, lacks. */
static int check_lost(const struct map_walk *w, struct notes *notes, struct fault *fault)
{
    const struct vdi *v = w->v;
    uint64_t gap = 0;
    while (gap < w->end && w->taken[gap / 8] & 1 << gap % 8)
        gap++;
    if (gap < w->end)
        return fault_at(fault, -EUCLEAN, v->file->name, v->data + gap * (v->extra + v->block),
                        "damaged: its map has no entry for the block here, though it has for one behind it");
    if (w->named < v->allocated)
        notes_add(notes, "%s: its header counts %u blocks, its map has %llu", v->file->name, v->allocated,
                  (unsigned long long)w->named);
    return 0;
}

static int check_map(struct vdi *v, struct notes *notes, struct fault *fault)
{
    uint64_t n = min_u64(v->map.n, WALK_ENTRIES);
    struct map_walk w = { .v = v };
    w.places = v->data < v->file->size ? div_up(v->file->size - v->data, v->extra + v->block) : 0;
    if (w.places > (uint64_t)8 * WALK_ENTRIES)
        return 0; /* blocks far smaller than any that were seen: left to the reads */
    _cleanup_free_ uint8_t *taken = calloc(1, (size_t)(w.places / 8 + 1));
    if (!taken)
        return fault_in(fault, -ENOMEM, v->file->name, "out of memory");
    w.taken = taken;
    int r = table32_walk(&v->map, n, check_entry, &w, fault);
    return r < 0 || n < v->map.n ? r : check_lost(&w, notes, fault);
}

static int open_all(struct vdi *v, const struct image_env *env, struct notes *notes, struct fault *fault)
{
    uint8_t buf[VDI_END];
    struct bad bad = { 0 };
    int r = file_pread_what(v->file, buf, sizeof buf, 0, "its header", fault);
    if (r < 0)
        return r;
    struct bytes b = bytes_of(buf, sizeof buf, 0, &bad);
    v->map = (struct table32){ .file = v->file, .cache = env->cache, .owner = cache_owner_new() };
    r = parse_kind(v, b, fault);
    if (!r)
        r = parse_layout(v, b, fault);
    return r < 0 ? r : check_map(v, notes, fault);
}

static int vdi_open(struct file *file, const struct image_env *env, struct layer *ret, struct fault *fault)
{
    struct vdi *v = calloc(1, sizeof *v);
    if (!v)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    v->file = file_ref(file);
    int r = open_all(v, env, &ret->info.notes, fault);
    if (r < 0) {
        notes_done(&ret->info.notes);
        vdi_close(&v->disk);
        return r;
    }
    v->disk = (struct disk){ .ops = &vdi_ops, .size = v->size };
    v->sparse = file_has_holes(file);
    ret->disk = &v->disk;
    ret->info.virtual_size = v->size;
    ret->info.file_size = file->size;
    ret->info.block_size = (uint32_t)v->block;
    snprintf(ret->info.subformat, sizeof ret->info.subformat, "%s", v->fixed ? "fixed" : "dynamic");
    snprintf(ret->info.link_id, sizeof ret->info.link_id, "%s", v->id);
    return 0;
}

/* The text in front, where the magic behind it is gone. */
static bool has_text(const struct probe *p)
{
    return bytes_match(p->head, 0, "<<< ", 4) && p->head.n >= VDI_MAGIC &&
           memmem(p->head.p, VDI_MAGIC, "Disk Image >>>", 14);
}

static unsigned vdi_probe(const struct probe *p)
{
    if (!bytes_match(p->head, VDI_MAGIC, magic, sizeof magic))
        return has_text(p) ? PROBE_TRACE : PROBE_NONE;
    return has_text(p) ? 64 : 32;
}

const struct format vdi_format = {
    .name = "vdi",
    .title = "VDI",
    .suffixes = { ".vdi", NULL },
    .probe = vdi_probe,
    .open = vdi_open,
};
