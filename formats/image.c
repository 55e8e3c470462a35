/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Detection, and opening a chain link by link.
 *
 * Detection goes by content. Each format bids bits of evidence and the highest wins; a name never chooses.
 * Raw is what remains when nobody bids, nobody saw traces, no foreign container is recognised, and the name
 * has no container's suffix: a damaged container read as raw would be a silently broken disk.
 *
 * The chain is opened in a loop, not by recursion, so its length costs no stack. */
#include "image.h"
#include "checked.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

void backing_done(struct backing *b)
{
    free(b->name);
    for (size_t i = 0; i < sizeof b->others / sizeof b->others[0]; i++)
        free(b->others[i]);
    free(b->format);
    *b = (struct backing){ 0 };
}

void layer_info_done(struct layer_info *info)
{
    free(info->file);
    free(info->place.path);
    notes_done(&info->notes);
    for (size_t i = 0; i < info->n_snapshots; i++) {
        free(info->snapshots[i].name);
        free(info->snapshots[i].id);
        free(info->snapshots[i].why);
    }
    for (size_t i = 0; i < info->n_bitmaps; i++)
        free(info->bitmaps[i].name);
    free(info->snapshots);
    free(info->bitmaps);
}

/* ---- detection ---- */

struct probe_buffers {
    struct probe probe;
    struct bad bad;
    uint8_t tail[PROBE_TAIL];
    uint8_t head[PROBE_HEAD];
};

static int probe_read(struct file *file, struct probe_buffers *b, struct fault *fault)
{
    size_t head = (size_t)min_u64(file->size, PROBE_HEAD), tail = (size_t)min_u64(file->size, PROBE_TAIL);
    int r = file_pread_what(file, b->head, head, 0, "its beginning", fault);
    if (r < 0)
        return r;
    r = file_pread_what(file, b->tail, tail, file->size - tail, "its end", fault);
    if (r < 0)
        return r;
    b->bad = (struct bad){ 0 };
    b->probe = (struct probe){ .file = file };
    b->probe.head = bytes_of(b->head, head, 0, &b->bad);
    b->probe.tail = bytes_of(b->tail, tail, file->size - tail, &b->bad);
    return 0;
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), s = strlen(suffix);
    if (n && name[n - 1] == ')') /* "web01.ova(disk1.vmdk)" */
        n--;
    if (n > 3 && !strncasecmp(name + n - 3, ".gz", 3)) /* it was read through file-gzip.c */
        n -= 3;
    return n > s && !strncasecmp(name + n - s, suffix, s);
}

static const struct format *format_by_suffix(const char *name)
{
    for (const struct format *const *f = formats; *f; f++)
        for (const char *const *s = (*f)->suffixes; *s; s++)
            if (has_suffix(name, *s))
                return *f;
    return NULL;
}

static const char insist[] = "-o format=raw to insist";

static int refuse_damaged(struct file *file, const char *title, struct fault *fault)
{
    /* files that go with a disk's descriptor and aren't told by their content */
    static const char *const extents[] = { "-flat.vmdk", "-rdm.vmdk", "-rdmp.vmdk" };
    fault_in(fault, -EUCLEAN, file->name, "looks like a damaged %s", title);
    for (size_t i = 0; i < sizeof extents / sizeof extents[0]; i++)
        if (has_suffix(file->name, extents[i]))
            return fault_hint(fault, -EUCLEAN, "open the descriptor that names this extent, or %s", insist);
    if (has_suffix(file->name, "-ctk.vmdk"))
        return fault_hint(fault, -EUCLEAN, "open the disk's descriptor: its -ctk.vmdk never holds data");
    return fault_hint(fault, -EUCLEAN, "%s", insist);
}

/* Suffixes of machines, which vm.c would have found by their content. */
static const char *foreign_by_suffix(const char *name)
{
    static const char *const suffix[][2] = {
        { ".ova", "OVA" },
        { ".ovf", "OVF" },
        { ".vmx", "VMX" },
        { ".vmtx", "VMX" },
    };
    for (size_t i = 0; i < sizeof suffix / sizeof suffix[0]; i++)
        if (has_suffix(name, suffix[i][0]))
            return suffix[i][1];
    return NULL;
}

static int detect_raw(const struct probe *p, const struct format *trace, const struct format **ret,
                      struct fault *fault)
{
    const char *advice = NULL, *foreign = foreign_name(p, &advice);
    if (foreign) {
        fault_in(fault, -ENOTSUP, p->file->name, "is %s", foreign);
        return advice ? fault_hint(fault, -ENOTSUP, "%s", advice) : -ENOTSUP;
    }
    if (trace)
        return refuse_damaged(p->file, trace->title, fault);
    const struct format *named = format_by_suffix(p->file->name);
    if (named)
        return refuse_damaged(p->file, named->title, fault);
    const char *title = foreign_by_suffix(p->file->name);
    if (title)
        return refuse_damaged(p->file, title, fault);
    *ret = format_by_name("raw");
    return 0;
}

int image_detect(struct file *file, const struct format **ret, struct fault *fault)
{
    if (!file->size)
        return fault_in(fault, -EMEDIUMTYPE, file->name, "is empty");
    struct probe_buffers *b = malloc(sizeof *b);
    if (!b)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    int r = probe_read(file, b, fault);
    const struct format *best = NULL, *trace = NULL;
    unsigned best_bid = PROBE_TRACE;
    for (const struct format *const *f = formats; !r && *f; f++) {
        unsigned bid = (*f)->probe(&b->probe);
        if (bid == PROBE_TRACE)
            trace = *f;
        if (bid > best_bid) {
            best = *f;
            best_bid = bid;
        }
    }
    if (!r && best)
        *ret = best;
    else if (!r)
        r = detect_raw(&b->probe, trace, ret, fault);
    free(b);
    return r;
}

/* ---- chains ---- */

struct chain_builder {
    const struct image_env *env;
    struct file **files; /* of each link, for loops */
    struct disk **disks;
    struct layer_info *infos;
    size_t n, room;
};

static void builder_done(struct chain_builder *b)
{
    for (size_t i = 0; i < b->n; i++) {
        file_unref(b->files[i]);
        if (b->disks)
            disk_close(b->disks[i]);
        if (b->infos)
            layer_info_done(&b->infos[i]);
    }
    free(b->files);
    free(b->disks);
    free(b->infos);
}
DEFINE_CLEANUP(struct chain_builder *, builder_done)

static int builder_grow(struct chain_builder *b)
{
    if (b->n < b->room)
        return 0;
    size_t room = b->room ? 2 * b->room : 4;
    struct file **files = realloc(b->files, room * sizeof *files);
    if (files)
        b->files = files;
    struct disk **disks = realloc(b->disks, room * sizeof *disks);
    if (disks)
        b->disks = disks;
    struct layer_info *infos = realloc(b->infos, room * sizeof *infos);
    if (infos)
        b->infos = infos;
    if (!files || !disks || !infos)
        return -ENOMEM;
    b->room = room;
    return 0;
}

/* Opens one link and adds it. `backing` gets what it says of the next one. */
static int builder_add(struct chain_builder *b, struct file *file, const struct format *format,
                       struct backing *backing, struct fault *fault)
{
    for (size_t i = 0; i < b->n; i++)
        if (file_same(b->files[i], file))
            return fault_in(fault, -ELOOP, b->files[b->n - 1]->name,
                            "the chain is a loop: its %s is again %s",
                            backing->role ? backing->role : "parent", b->files[i]->name);
    if (b->n >= IMAGE_MAX_DEPTH)
        return fault_in(fault, -EFBIG, file->name, "the chain has more than %d links", IMAGE_MAX_DEPTH);
    int r = builder_grow(b);
    if (r < 0)
        return fault_in(fault, r, file->name, "out of memory");
    struct layer layer = { 0 };
    struct image_env env = *b->env;
    env.above = (unsigned)b->n;
    r = format->open(file, &env, &layer, fault);
    if (r < 0)
        return r;
    layer.info.format = format->name;
    layer.info.file = strdup(file->name);
    layer.info.mtime = file->id.mtime;
    b->files[b->n] = file_ref(file);
    b->disks[b->n] = layer.disk;
    b->infos[b->n] = layer.info;
    b->n++;
    backing_done(backing);
    *backing = layer.backing;
    if (file_place(file, &b->infos[b->n - 1].place) < 0)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    return layer.info.file ? 0 : fault_in(fault, -ENOMEM, file->name, "out of memory");
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Another try at a name that leads nowhere from here: never the child itself, which may well have its
 * parent's name. */
static int open_elsewhere(struct file *child, const struct backing *backing, const char *name,
                          struct file **ret, struct fault *fault)
{
    struct file *file;
    int r = file_open_ref(child, backing->role, name, &file, fault);
    if (r < 0)
        return r;
    if (file_same(file, child)) {
        file_unref(file);
        return -ENOENT;
    }
    *ret = file;
    return 0;
}

/* "../base/vm.vmdk" for "/vmfs/volumes/5a0b.../base/vm.vmdk": the directory that the file lay in, looked for
 * beside the child's own. NULL: the name has no such, or there is no memory. */
static char *path_beside(const char *name)
{
    const char *base = base_name(name), *dir;
    char *path;
    if (base == name || !*base)
        return NULL;
    for (dir = base - 1; dir > name && dir[-1] != '/';)
        dir--;
    if (*dir == '/' || !strncmp(dir, "./", 2) || !strncmp(dir, "../", 3))
        return NULL;
    return asprintf(&path, "../%s", dir) < 0 ? NULL : path;
}

/* What was tried in vain: the first failure counts, unless something later is there and only needs trust. */
static void note_failure(int r, const struct fault *why, int *ret, struct fault *first)
{
    if (*ret && (r != -EPERM || *ret != -ENOENT))
        return;
    *ret = r;
    *first = *why;
}

/* The file that `backing` names, or, where the format allows it, the one in a directory beside the child's
 * that has the name of the one it lay in, or the one of that base name beside the child: ESXi gives each
 * machine a directory, and a linked clone's parent lies in another machine's. */
static int open_backing(struct file *child, const struct backing *backing, struct file **ret,
                        bool *ret_beside, struct fault *fault)
{
    *ret_beside = false;
    enum { NAMES = 1 + sizeof backing->others / sizeof backing->others[0] };
    const char *const names[NAMES] = { backing->name, backing->others[0], backing->others[1] };
    struct fault first = { 0 };
    int r = 0;
    for (size_t i = 0; i < NAMES; i++) {
        struct fault why = { 0 };
        int err = !names[i] ? 0
                  : i       ? open_elsewhere(child, backing, names[i], ret, &why)
                            : file_open_ref(child, backing->role, names[i], ret, &why);
        if (names[i] && !err)
            return 0;
        if (names[i])
            note_failure(err, &why, &r, &first);
    }
    for (size_t i = 0; backing->search_beside && i < 2 * NAMES; i++) {
        const char *name = names[i / 2];
        _cleanup_free_ char *beside = name && i % 2 == 0 ? path_beside(name) : NULL;
        const char *try = !name || i % 2 == 0 ? beside : base_name(name);
        struct fault why = { 0 };
        if (!try || !*try)
            continue;
        int err = open_elsewhere(child, backing, try, ret, &why);
        *ret_beside = !err;
        if (!err)
            return 0;
        note_failure(err, &why, &r, &first);
    }
    if (fault && !fault->err)
        *fault = first;
    return r;
}

/* A backing file without a stated format is found by content. A guest could have written a container's header
 * into its own raw disk to make us follow it (the format's known hole); what it can then name is only what
 * lies in the trusted directories, like every reference. */
static int backing_format(struct file *file, const struct backing *backing, const struct format **ret,
                          struct fault *fault)
{
    if (!backing->format)
        return image_detect(file, ret, fault);
    *ret = format_by_name(backing->format);
    return *ret ? 0
                : fault_in(fault, -ENOTSUP, file->name,
                           "is to be read as \"%s\", a format that ferryfs doesn't know", backing->format);
}

/* Are these the ids of one state of a disk? What follows a blank is compared where both have it. */
static bool same_id(const char *a, const char *b)
{
    size_t n = strcspn(a, " ");
    if (n != strcspn(b, " ") || strncasecmp(a, b, n))
        return false;
    return !a[n] || !b[n] || !strcasecmp(a + n, b + n);
}

static int check_link(const struct layer_info *child, const struct layer_info *link,
                      const struct backing *expected_of, struct fault *fault)
{
    if (child->sector_size && link->sector_size && child->sector_size != link->sector_size)
        return fault_in(fault, -EUCLEAN, child->file, "its sectors have %u bytes, those of its %s %s have %u",
                        child->sector_size, expected_of->role, link->file, link->sector_size);
    if (!expected_of->link_id[0] || same_id(expected_of->link_id, link->link_id) ||
        (expected_of->link_id2[0] && !strcasecmp(expected_of->link_id2, link->link_id)))
        return 0;
    fault_in(fault, -EUCLEAN, child->file, "its %s %s has the id %s, but %s is expected", expected_of->role,
             link->file, link->link_id[0] ? link->link_id : "(none)", expected_of->link_id);
    return fault_hint(fault, -EUCLEAN, "the %s was changed after the snapshot, or is another disk's",
                      expected_of->role);
}

/* What lies in an archive: a file of its own, which refers to nothing, as its names would count from there.
 */
static int take_part(struct file **file, const struct backing *backing, struct fault *fault)
{
    struct file *whole = *file, *part;
    uint64_t offset = backing->offset, length = backing->length;
    if (offset > whole->size || (length != UINT64_MAX && length > whole->size - offset))
        return fault_at(fault, -ENODATA, whole->name, whole->size,
                        "truncated: the file ends before the %s that lies in it does", backing->role);
    int r = file_slice_new(whole, offset, length == UINT64_MAX ? whole->size - offset : length, whole->name,
                           NULL, NULL, &part);
    if (r < 0)
        return fault_in(fault, r, whole->name, "out of memory");
    file_unref(whole);
    *file = part;
    return 0;
}

static int builder_fill(struct chain_builder *b, struct file *top, const struct format *format,
                        struct fault *fault)
{
    struct backing backing = { 0 };
    int r = builder_add(b, top, format, &backing, fault);
    while (!r && backing.name) {
        _cleanup_(file_unrefp) struct file *file = NULL;
        struct backing expected = backing; /* the strings move along: freed below */
        backing = (struct backing){ .role = expected.role };
        const struct format *f = NULL;
        bool beside = false;
        r = open_backing(b->files[b->n - 1], &expected, &file, &beside, fault);
        if (!r && expected.part)
            r = take_part(&file, &expected, fault);
        if (!r)
            r = backing_format(file, &expected, &f, fault);
        if (!r)
            r = builder_add(b, file, f, &backing, fault);
        if (!r)
            r = check_link(&b->infos[b->n - 2], &b->infos[b->n - 1], &expected, fault);
        if (!r)
            b->infos[b->n - 1].beside = beside;
        backing_done(&expected);
    }
    backing_done(&backing);
    return r;
}

int image_open(struct file *file, const char *format, const struct image_env *env, struct image **ret,
               struct fault *fault)
{
    const struct format *f = NULL;
    int r = 0;
    if (!format)
        r = image_detect(file, &f, fault);
    else if (!(f = format_by_name(format)))
        r = fault_in(fault, -EINVAL, "", "unknown format \"%s\"", format);
    if (r < 0)
        return r;
    struct chain_builder builder = { .env = env };
    _cleanup_(builder_donep) struct chain_builder *b = &builder;
    r = builder_fill(b, file, f, fault);
    if (r < 0)
        return r;
    struct image *image = calloc(1, sizeof *image);
    if (!image)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    r = chain_new(b->disks, b->n, &image->disk);
    free(b->disks); /* the chain owns the disks now, even when it failed */
    b->disks = NULL;
    if (r < 0) {
        free(image);
        return fault_in(fault, r, file->name, r == -EFBIG ? "the disk is too large" : "out of memory");
    }
    image->layers = b->infos;
    image->n_layers = b->n;
    b->infos = NULL;
    *ret = image;
    return 0;
}

void image_close(struct image *image)
{
    if (!image)
        return;
    disk_close(image->disk);
    for (size_t i = 0; i < image->n_layers; i++)
        layer_info_done(&image->layers[i]);
    free(image->layers);
    free(image);
}

unsigned image_sector_size(const struct image *image)
{
    return image->layers[0].sector_size ? image->layers[0].sector_size : 512;
}

/* ---- snapshots ---- */

/* A link as a snapshot's chain shows it: the same file, without the remarks on it. */
static int copy_layer_info(const struct layer_info *info, struct layer_info *ret)
{
    *ret = *info;
    ret->notes = (struct notes){ 0 };
    ret->snapshots = NULL;
    ret->bitmaps = NULL;
    ret->place = (struct file_place){ 0 };
    ret->n_snapshots = ret->n_bitmaps = 0;
    ret->file = strdup(info->file);
    return ret->file ? 0 : -ENOMEM;
}

/* Fills `disks` with the snapshot's layer and windows on the links below the image's top. */
static int snapshot_layers(const struct image *image, struct layer *top, struct disk **disks)
{
    int r = 0;
    disks[0] = TAKE_PTR(top->disk);
    for (size_t i = 1; !r && i < image->n_layers; i++) {
        struct disk *below = chain_layer(image->disk, i);
        r = disk_slice_new(below, 0, below->size, &disks[i]);
    }
    return r;
}

/* Makes the image of a snapshot whose layer is open; `top` is used up. */
static int snapshot_image(const struct image *image, struct layer *top, struct image *ret)
{
    _cleanup_free_ struct disk **disks = calloc(image->n_layers, sizeof *disks);
    ret->layers = calloc(image->n_layers, sizeof *ret->layers);
    int r = disks && ret->layers ? 0 : -ENOMEM;
    for (; !r && ret->n_layers < image->n_layers; ret->n_layers++)
        r = copy_layer_info(&image->layers[ret->n_layers], &ret->layers[ret->n_layers]);
    if (!r) {
        ret->layers[0].virtual_size = top->info.virtual_size;
        memcpy(ret->layers[0].link_id, top->info.link_id, sizeof top->info.link_id);
        ret->layers[0].notes = top->info.notes;
        top->info.notes = (struct notes){ 0 };
        r = snapshot_layers(image, top, disks);
        if (!r)
            return chain_new(disks, image->n_layers, &ret->disk); /* which owns them, even when it fails */
    }
    for (size_t i = 0; disks && i < image->n_layers; i++)
        disk_close(disks[i]);
    disk_close(top->disk);
    return r;
}

int image_open_snapshot(const struct image *image, size_t i, struct image **ret, struct fault *fault)
{
    const struct layer_info *info = &image->layers[0];
    const struct format *format = format_by_name(info->format);
    if (info->snapshots[i].why)
        return fault_in(fault, -EUCLEAN, info->file, "%s", info->snapshots[i].why);
    struct layer top = { 0 };
    int r = format->open_snapshot(chain_layer(image->disk, 0), i, &top, fault);
    if (r < 0)
        return r;
    _cleanup_(image_closep) struct image *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot)
        r = snapshot_image(image, &top, snapshot);
    else
        disk_close(top.disk);
    layer_info_done(&top.info);
    if (!snapshot || r < 0)
        return fault_in(fault, r == -EFBIG ? r : -ENOMEM, info->file,
                        r == -EFBIG ? "the disk is too large" : "out of memory");
    *ret = TAKE_PTR(snapshot);
    return 0;
}
