/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMDK: a descriptor (text) and extents laid end to end, in the order of their lines. One descriptor is one
 * link of a snapshot chain.
 *
 *     descriptor file  ->  extent files                      (split, flat, vmfs, snapshots of ESXi)
 *     KDMV file with its descriptor inside = one extent      (monolithicSparse, streamOptimized)
 *     KDMV file of capacity 0 with a descriptor inside       (a container of the text only)
 *
 * The createType is for people: what decides is each extent's type, a row of extent_types[], and for the
 * sparse ones their magic, a row of sparse_kinds[]. An extent of any kind is a disk (disk.h); the one made
 * here lays them end to end. A new kind is one function and one row.
 *
 * Odd: a file that holds its own descriptor may have been renamed, so the name in its only extent line is
 * never looked at. RDONLY extents hold data, NOACCESS ones read as zeros, both of which QEMU passes over.
 *
 * Source: VMware's "Virtual Disk Format 5.0"; libvmdk's format document. */
#include "image.h"
#include "checked.h"
#include "vmdk-descriptor.h"
#include "vmdk-sparse.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char advice_open_descriptor[] = "open the descriptor, the small .vmdk text file that names it";
static const char advice_clone[] = "clone the disk on its host (vmkfstools -i), or consolidate its snapshots";
static const char advice_decrypt[] = "decrypt the virtual machine with VMware first";
static const char advice_rdm[] =
    "copy the mapped device itself, or clone the disk on its host (vmkfstools -i)";

/* ---- what isn't KDMV ---- */

enum { MAGIC_BYTES = 8 };

/* The kinds of sparse file, by magic. */
struct sparse_kind {
    const char *magic;
    uint8_t length;
    const char *title;
    int (*open)(struct file *file, uint64_t sectors, const struct vmdk_context *ctx, struct disk **ret,
                struct fault *fault);
};

static const struct sparse_kind sparse_kinds[] = {
    { VMDK_MAGIC, 4, "hosted sparse", vmdk_sparse_open },
    { "COWD", 4, "COWD (vmfsSparse)", vmdk_cowd_open },
    { "\xbe\xba\xfe\xca\0\0\0\0", 8, "seSparse", vmdk_sesparse_open },
};

static const struct sparse_kind *sparse_kind_of(struct bytes head)
{
    for (size_t i = 0; i < sizeof sparse_kinds / sizeof sparse_kinds[0]; i++)
        if (bytes_match(head, 0, sparse_kinds[i].magic, sparse_kinds[i].length))
            return &sparse_kinds[i];
    return NULL;
}

static int file_kind(struct file *file, const struct sparse_kind **ret, struct fault *fault)
{
    uint8_t magic[MAGIC_BYTES] = { 0 };
    size_t n = (size_t)min_u64(file->size, sizeof magic);
    struct bad bad = { 0 };
    int r = file_pread_what(file, magic, n, 0, "its beginning", fault);
    if (!r)
        *ret = sparse_kind_of(bytes_of(magic, n, 0, &bad));
    return r;
}

/* ---- flat extents and extents without a file ---- */

struct flat {
    struct disk disk;
    struct file *file; /* NULL: zeros */
    uint64_t start;    /* in the file, bytes */
    bool map_stays;    /* there is a file, and file_map_stays() */
};

static struct flat *flat_of(struct disk *d)
{
    return (struct flat *)(void *)d;
}

static int flat_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    (void)e;
    int r = file_pread(flat_of(d)->file, buf, len, flat_of(d)->start + off);
    return r == -ENODATA ? -EIO : r;
}

/* No flat extent has holes in the chain's sense: what the file system left out are zeros, not the parent's.
 */
static int flat_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    *ret = (struct extent){ .length = len, .kind = EXTENT_ZERO };
    int r = flat_of(d)->file ? file_map(flat_of(d)->file, flat_of(d)->start + off, len, ret) : 0;
    if (ret->kind == EXTENT_HOLE)
        ret->kind = EXTENT_ZERO;
    return r == -EINVAL ? -EIO : r;
}

/* A short piece is read as it is, hole or not, see raw.c; but for an extent of zeros, which has no file. */
static int flat_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    if (len > DISK_SHORT || !flat_of(d)->map_stays)
        return flat_map(d, off, len, ret);
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA };
    return 0;
}

static void flat_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    if (flat_of(d)->file)
        file_advise(flat_of(d)->file, flat_of(d)->start + off, len);
}

static void flat_close(struct disk *d)
{
    file_unref(flat_of(d)->file);
    free(d);
}

static const struct disk_ops flat_ops = {
    .name = "vmdk-flat",
    .pread = flat_pread,
    .map = flat_map,
    .find = flat_find,
    .prefetch = flat_prefetch,
    .close = flat_close,
};

static int flat_new(struct file *file, uint64_t start, uint64_t sectors, struct disk **ret)
{
    struct flat *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->disk = (struct disk){ .ops = &flat_ops, .size = sectors * VMDK_SECTOR };
    f->file = file ? file_ref(file) : NULL;
    f->start = start;
    f->map_stays = file && file_map_stays(file);
    *ret = &f->disk;
    return 0;
}

/* ---- the types of extents ---- */

/* One layer that is being opened. */
struct opening {
    struct file *file; /* the one that holds the descriptor */
    struct vmdk_context ctx;
    struct vmdk_descriptor desc;
    bool has_data; /* the file is itself a sparse extent */
};

/* Opens the extent of line `e` that stands in `file`. */
typedef int (*extent_open)(struct opening *o, const struct vmdk_extent *e, struct file *file,
                           struct disk **ret, struct fault *fault);

static int flat_open(struct opening *o, const struct vmdk_extent *e, struct file *file, struct disk **ret,
                     struct fault *fault)
{
    uint64_t start = e->offset_sectors * VMDK_SECTOR, length = e->sectors * VMDK_SECTOR;
    if (file_same(file, o->file))
        return fault_at(fault, -EUCLEAN, o->file->name, e->at,
                        "the descriptor names itself as a flat extent");
    if (!range_inside(start, length, file->size))
        return fault_at(fault, -ENODATA, file->name, file->size,
                        "truncated: the descriptor wants %llu bytes of this extent",
                        (unsigned long long)(start + length));
    int r = flat_new(file, start, e->sectors, ret);
    return r < 0 ? fault_in(fault, r, file->name, "out of memory") : 0;
}

static int sparse_open(struct opening *o, const struct vmdk_extent *e, struct file *file, struct disk **ret,
                       struct fault *fault)
{
    const struct sparse_kind *kind = NULL;
    int r = file_kind(file, &kind, fault);
    if (r < 0)
        return r;
    if (!kind)
        return fault_at(fault, -EUCLEAN, file->name, 0,
                        "damaged: named as a sparse extent, but doesn't begin as one");
    return kind->open(file, e->sectors, &o->ctx, ret, fault);
}

struct extent_type {
    const char *name;
    extent_open open; /* NULL: refused, see `title`; or of zeros, without a file */
    bool zeros;
    const char *title, *advice;
};

static const struct extent_type extent_types[] = {
    { "FLAT", flat_open, false, NULL, NULL },
    { "VMFS", flat_open, false, NULL, NULL },
    { "VMFSTHIN", flat_open, false, NULL, NULL },
    { "SPARSE", sparse_open, false, NULL, NULL },
    { "VMFSSPARSE", sparse_open, false, NULL, NULL },
    { "ZERO", NULL, true, NULL, NULL },
    { "SESPARSE", sparse_open, false, NULL, NULL },
    { "VMFSRDM", NULL, false, "a raw device mapping", advice_rdm },
    { "VMFSRDMP", NULL, false, "a raw device mapping", advice_rdm },
    { "VMFSRAW", NULL, false, "a raw device of its host", advice_rdm },
};

static const struct extent_type *extent_type_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof extent_types / sizeof extent_types[0]; i++)
        if (!strcmp(extent_types[i].name, name))
            return &extent_types[i];
    return NULL;
}

static bool has_prefix(const char *s, const char *prefix)
{
    return !strncasecmp(s, prefix, strlen(prefix));
}

/* "/dev/sdb", "\\.\PhysicalDrive0" (slashes turned), "/vmfs/devices/disks/vml.02..." */
static bool is_device_name(const char *name)
{
    return has_prefix(name, "/dev/") || has_prefix(name, "//./") || has_prefix(name, "/vmfs/devices/");
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Names often come from another machine ("/vmfs/volumes/5a0b.../vm/vm-flat.vmdk"): then the file of that base
 * name beside the descriptor is meant. */
static int open_extent_file(struct opening *o, const struct vmdk_extent *e, struct file **ret,
                            struct fault *fault)
{
    struct fault first = { 0 };
    const char *base = base_name(e->name);
    int r = file_open_ref(o->file, "extent", e->name, ret, &first);
    if (r == -ENOENT && *base && base != e->name && file_open_ref(o->file, "extent", base, ret, NULL) == 0) {
        notes_add(&o->ctx.info->notes, "the extent %s was found beside the descriptor", e->name);
        return 0;
    }
    if (r < 0 && fault && !fault->err)
        *fault = first;
    return r;
}

/* Whether a line of a file with data of its own means that file: its only line does, whatever name it has,
 * since files are renamed; of several, the one that bears its name. */
static bool means_itself(const struct opening *o, const struct vmdk_extent *e)
{
    if (!o->has_data || strcmp(e->type, "SPARSE"))
        return false;
    return o->desc.n_extents == 1 || (e->name && !strcmp(base_name(e->name), base_name(o->file->name)));
}

static int refuse_type(const struct opening *o, const struct vmdk_extent *e, const struct extent_type *type,
                       struct fault *fault)
{
    const char *name = e->name ? e->name : "";
    if (!type)
        return fault_at(fault, -ENOTSUP, o->file->name, e->at, "an extent of the unknown type %s", e->type);
    fault_at(fault, -ENOTSUP, o->file->name, e->at, "the extent \"%.200s\" is %s, which has no data here",
             name, type->title);
    return fault_hint(fault, -ENOTSUP, "%s", type->advice);
}

static int open_zeros(const struct opening *o, const struct vmdk_extent *e, struct disk **ret,
                      struct fault *fault)
{
    int r = flat_new(NULL, 0, e->sectors, ret);
    return r < 0 ? fault_in(fault, r, o->file->name, "out of memory") : 0;
}

static int open_extent(struct opening *o, const struct vmdk_extent *e, struct disk **ret, struct fault *fault)
{
    const struct extent_type *type = extent_type_by_name(e->type);
    if (type && (type->zeros || e->access == VMDK_NOACCESS))
        return open_zeros(o, e, ret, fault);
    if (!type || !type->open)
        return refuse_type(o, e, type, fault);
    if (means_itself(o, e))
        return type->open(o, e, o->file, ret, fault);
    if (!e->name)
        return fault_at(fault, -EUCLEAN, o->file->name, e->at, "an extent of type %s without a file name",
                        e->type);
    if (is_device_name(e->name)) {
        fault_at(fault, -ENOTSUP, o->file->name, e->at, "the extent \"%.200s\" is a device of its host",
                 e->name);
        return fault_hint(fault, -ENOTSUP, "copy the device itself");
    }
    _cleanup_(file_unrefp) struct file *file = NULL;
    int r = open_extent_file(o, e, &file, fault);
    if (r < 0)
        return r;
    if (!file_same(file, o->file))
        o->ctx.info->file_size += file->size;
    return type->open(o, e, file, ret, fault);
}

/* ---- extents end to end ---- */

struct part {
    uint64_t start; /* in the disk, bytes */
    struct disk *disk;
};

struct joined {
    struct disk disk;
    size_t n;
    struct part part[];
};

static struct joined *joined_of(struct disk *d)
{
    return (struct joined *)(void *)d;
}

static const struct part *part_at(const struct joined *j, uint64_t off)
{
    size_t low = 0, high = j->n;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (j->part[mid].start <= off)
            low = mid;
        else
            high = mid;
    }
    return &j->part[low];
}

static int joined_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    const struct part *p = part_at(joined_of(d), off); /* an extent of joined_map never crosses parts */
    return disk_pread_extent(p->disk, buf, len, off - p->start, e);
}

static int joined_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    const struct part *p = part_at(joined_of(d), off);
    return disk_map(p->disk, off - p->start, len, ret);
}

static int joined_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    const struct part *p = part_at(joined_of(d), off);
    return disk_find(p->disk, off - p->start, len, ret);
}

static void joined_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    while (len) {
        const struct part *p = part_at(joined_of(d), off);
        uint64_t n = min_u64(len, p->start + p->disk->size - off);
        disk_prefetch(p->disk, off - p->start, n);
        off += n;
        len -= n;
    }
}

static void joined_close(struct disk *d)
{
    for (size_t i = 0; i < joined_of(d)->n; i++)
        disk_close(joined_of(d)->part[i].disk);
    free(d);
}
DEFINE_CLEANUP(struct disk *, joined_close)

static const struct disk_ops joined_ops = {
    .name = "vmdk",
    .pread = joined_pread,
    .map = joined_map,
    .find = joined_find,
    .prefetch = joined_prefetch,
    .close = joined_close,
};

/* Opens all extents; lines of 0 sectors are passed over, as they add nothing. */
static int open_extents(struct opening *o, struct disk **ret, struct fault *fault)
{
    struct vmdk_descriptor *desc = &o->desc;
    struct joined *j = calloc(1, sizeof *j + desc->n_extents * sizeof j->part[0]);
    if (!j)
        return fault_in(fault, -ENOMEM, o->file->name, "out of memory");
    j->disk.ops = &joined_ops;
    _cleanup_(joined_closep) struct disk *d = &j->disk;
    for (size_t i = 0; i < desc->n_extents; i++) {
        struct disk *part = NULL;
        if (!desc->extents[i].sectors)
            continue;
        int r = open_extent(o, &desc->extents[i], &part, fault);
        if (r < 0)
            return r;
        j->part[j->n++] = (struct part){ d->size, part };
        o->ctx.opened++;
        if (!checked_add(d->size, part->size, &d->size) || d->size > INT64_MAX)
            return fault_in(fault, -EFBIG, o->file->name, "the disk is too large");
    }
    if (!j->n)
        return fault_in(fault, -EUCLEAN, o->file->name, "the descriptor has no extents");
    if (j->n == 1) { /* nothing to join */
        *ret = j->part[0].disk;
        j->n = 0;
        return 0;
    }
    *ret = TAKE_PTR(d);
    return 0;
}

/* ---- the descriptor ---- */

static int parse_at(struct opening *o, uint64_t at, uint64_t n, struct fault *fault)
{
    if (n > VMDK_TEXT_MAX)
        return fault_in(fault, -EFBIG, o->file->name, "the descriptor is larger than %d bytes",
                        VMDK_TEXT_MAX);
    _cleanup_free_ char *text = range_inside(at, n, o->file->size) ? malloc((size_t)n + 1) : NULL;
    if (!text && range_inside(at, n, o->file->size))
        return fault_in(fault, -ENOMEM, o->file->name, "out of memory");
    int r = file_pread_what(o->file, text, (size_t)n, at, "its descriptor", fault);
    if (!r && o->has_data && (!n || !text[0])) {
        fault_in(fault, -ENOTSUP, o->file->name, "is one extent of a split disk");
        return fault_hint(fault, -ENOTSUP, "%s", advice_open_descriptor);
    }
    return r < 0 ? r : vmdk_descriptor_parse(text, (size_t)n, o->file->name, at, &o->desc, fault);
}

/* The descriptor within a sparse file. */
static int parse_embedded(struct opening *o, struct fault *fault)
{
    struct vmdk_header h;
    uint64_t at, n;
    int r = vmdk_header_read(o->file, 0, &h, fault);
    if (r < 0)
        return r;
    o->has_data = h.capacity_sectors != 0;
    if (!h.descriptor_sector)
        return parse_at(o, 0, 0, fault);
    if (!checked_mul(h.descriptor_sector, VMDK_SECTOR, &at) ||
        !checked_mul(h.descriptor_sectors, VMDK_SECTOR, &n))
        return fault_in(fault, -EUCLEAN, o->file->name, "the place of its descriptor is impossible");
    r = parse_at(o, at, n, fault);
    if (r < 0 || o->desc.n_extents || !o->has_data)
        return r;
    notes_add(&o->ctx.info->notes, "the descriptor of %s has no extent line", o->file->name);
    o->desc.extents = calloc(1, sizeof o->desc.extents[0]);
    if (!o->desc.extents)
        return fault_in(fault, -ENOMEM, o->file->name, "out of memory");
    o->desc.n_extents = 1;
    o->desc.extents[0] = (struct vmdk_extent){ .sectors = h.capacity_sectors, .type = "SPARSE", .at = at };
    return 0;
}

static int parse_any(struct opening *o, struct fault *fault)
{
    const struct sparse_kind *kind = NULL;
    int r = file_kind(o->file, &kind, fault);
    if (r < 0)
        return r;
    if (kind && kind->open == vmdk_sparse_open)
        return parse_embedded(o, fault);
    if (kind) {
        fault_in(fault, -ENOTSUP, o->file->name, "is a %s extent, not a disk by itself", kind->title);
        return fault_hint(fault, -ENOTSUP, "%s", advice_open_descriptor);
    }
    uint8_t head[PROBE_HEAD];
    size_t n = (size_t)min_u64(o->file->size, sizeof head);
    r = file_pread_what(o->file, head, n, 0, "its beginning", fault);
    if (r < 0)
        return r;
    if (!vmdk_descriptor_probe((const char *)head, n))
        return fault_in(fault, -EMEDIUMTYPE, o->file->name,
                        "is no VMDK: neither a sparse extent nor a descriptor");
    return parse_at(o, 0, o->file->size, fault);
}

static int check_descriptor(const struct opening *o, struct fault *fault)
{
    const struct vmdk_descriptor *d = &o->desc;
    const char *native = d->value[VMDK_NATIVE_SNAPSHOT], *name = o->file->name;
    enum { MAX_VERSION = 4 };
    if (d->encrypted) {
        fault_in(fault, -ENOTSUP, name, "the disk is encrypted");
        return fault_hint(fault, -ENOTSUP, "%s", advice_decrypt);
    }
    if (d->version < 1 || d->version > MAX_VERSION)
        return fault_in(fault, -ENOTSUP, name, "version %u of the descriptor is not known", d->version);
    if (native && !strcasecmp(native, "yes")) {
        fault_in(fault, -ENOTSUP, name, "is a native snapshot, whose data only its storage array has");
        return fault_hint(fault, -ENOTSUP, "%s", advice_clone);
    }
    bool hint = d->value[VMDK_PARENT_HINT] && *d->value[VMDK_PARENT_HINT];
    if (hint != (d->parent_cid != VMDK_NO_PARENT))
        return fault_in(
            fault, -EUCLEAN, name,
            hint ? "the descriptor names the parent \"%.200s\", but its parentCID says there is none"
                 : "the descriptor has a parentCID, but names no parent%.0s",
            hint ? d->value[VMDK_PARENT_HINT] : "");
    return 0;
}

/* The id that links are compared by: the CID. Disks that were never written since they were made all have the
 * same, VMDK_LONG_CID; what tells them apart is the long content id, whose last digits are the CID. It is of
 * the disk's own content: a child that was written has another than its parent, so it says something of the
 * parent only while the child has that CID too. */
static void link_id(const struct vmdk_descriptor *d, uint32_t cid, char *buf, size_t size)
{
    const char *longer = d->value[VMDK_LONG_CONTENT_ID];
    bool tell = cid == VMDK_LONG_CID && d->has_cid && d->cid == cid && longer && *longer;
    snprintf(buf, size, "%08x%s%s", cid, tell ? " " : "", tell ? longer : "");
    for (char *c = buf; *c; c++)
        *c = (char)tolower((unsigned char)*c);
}

static int describe(struct opening *o, struct layer *l, struct fault *fault)
{
    struct vmdk_descriptor *d = &o->desc;
    const char *type = d->value[VMDK_CREATE_TYPE];
    snprintf(l->info.subformat, sizeof l->info.subformat, "%s", type ? type : "");
    l->info.file_size += o->file->size;
    l->info.virtual_size = l->disk->size;
    for (size_t i = 0; i < d->n_extents; i++) /* QEMU passes over extents that aren't RW */
        if (d->extents[i].access != VMDK_RW || !strcmp(d->extents[i].type, "ZERO"))
            l->info.odd = true;
    if (d->has_cid)
        link_id(d, d->cid, l->info.link_id, sizeof l->info.link_id);
    if (d->parent_cid == VMDK_NO_PARENT)
        return 0;
    l->backing.name = TAKE_PTR(d->value[VMDK_PARENT_HINT]);
    l->backing.role = "parent";
    l->backing.format = strdup("vmdk");
    l->backing.search_beside = true;
    link_id(d, d->parent_cid, l->backing.link_id, sizeof l->backing.link_id);
    return l->backing.format ? 0 : fault_in(fault, -ENOMEM, o->file->name, "out of memory");
}

static int vmdk_open(struct file *file, const struct image_env *env, struct layer *ret, struct fault *fault)
{
    struct layer l = { 0 };
    struct opening o = { .file = file, .ctx = { .env = env, .info = &l.info } };
    int r = parse_any(&o, fault);
    if (!r)
        r = check_descriptor(&o, fault);
    if (!r)
        r = open_extents(&o, &l.disk, fault);
    if (!r)
        r = describe(&o, &l, fault);
    vmdk_descriptor_done(&o.desc);
    if (r < 0) {
        disk_close(l.disk);
        backing_done(&l.backing);
        notes_done(&l.info.notes);
        return r;
    }
    *ret = l;
    return 0;
}

/* ---- detection ---- */

/* A header that was overwritten leaves its descriptor, a stream's leaves its footer. */
static bool has_traces(const struct probe *p)
{
    static const char title[] = "# Disk DescriptorFile";
    enum { EMBEDDED = VMDK_SECTOR, FOOTER = 2 * VMDK_SECTOR };
    if (bytes_match(p->head, EMBEDDED, title, strlen(title)) || bytes_match(p->head, 0, title, 8))
        return true;
    if (p->tail.n >= FOOTER && bytes_match(p->tail, p->tail.n - FOOTER, VMDK_MAGIC, 4))
        return true;
    size_t n = min_u64(p->head.n, EMBEDDED + 20 * VMDK_SECTOR);
    return memmem(p->head.p, n, "createType=\"", 12) || memmem(p->head.p, n, "parentCID=", 10);
}

static unsigned vmdk_probe(const struct probe *p)
{
    const struct sparse_kind *kind = sparse_kind_of(p->head);
    if (kind)
        return 8u * kind->length;
    unsigned text = vmdk_descriptor_probe((const char *)p->head.p, p->head.n);
    if (text)
        return text;
    return has_traces(p) ? PROBE_TRACE : PROBE_NONE;
}

const struct format vmdk_format = {
    .name = "vmdk",
    .title = "VMDK",
    .suffixes = { ".vmdk", NULL },
    .probe = vmdk_probe,
    .open = vmdk_open,
};
