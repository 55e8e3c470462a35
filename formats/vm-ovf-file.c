/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a File of an OVF's References to its content.
 *
 *     href                    the file, or with chunkSize   href.000000000 | href.000000001 | ...
 *       └── joined            (file-chunks.c)
 *             └── gunzipped   (file-gzip.c), if it begins as gzip does
 *
 * A package is compressed before it is cut (DMTF DSP0243, "References"). Exporters state a chunkSize for
 * files that fit into one chunk and then leave the name alone, and people join chunks and leave the
 * attribute; so the bare name counts where it is there without a first chunk. All chunks but the last have
 * the chunkSize. Which one is the last nobody says; it is known by being shorter, else from the File's size,
 * which is so often wrong that it is believed only where it says that there must be more.
 *
 * A Disk with a parentRef is a delta. Its image must say so itself, by naming a parent in its format's own
 * way; for the OVF to say it is not enough, since then nobody knows what the image's holes stand for. In
 * return the parent's file may have another name in the package than where the delta was made. */
#include "vm-ovf-file.h"
#include "checked.h"
#include "file-chunks.h"
#include "file-gzip.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    MAX_CHUNKS = 16384,             /* of one VM; an archive's index is searched for each */
    MAX_GZIPS = 64,                 /* of one VM: each keeps inflaters */
    GZIP_MEMORY = 32 * 1024 * 1024, /* bytes, of all indexes of one VM: each may take half of what is left */
};

struct ovf_opened {
    const struct ovf_file *ref;
    struct file *stored, *content; /* references of their own */
};

void ovf_package_done(struct ovf_package *p)
{
    for (size_t i = 0; i < p->n_opened; i++) {
        file_unref(p->opened[i].stored);
        file_unref(p->opened[i].content);
    }
    free(p->opened);
}

static int no_memory(const struct ovf_package *p, struct fault *fault)
{
    return fault_in(fault, -ENOMEM, p->ovf->name, "out of memory");
}

/* ---- names ---- */

/* Any "scheme://": the package then needs the network. */
static bool is_url(const char *href)
{
    size_t n = strspn(href, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    return n && !strncmp(href + n, "://", 3);
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *p = c ? strchr(digits, c | 0x20) : NULL;
    return p ? (int)(p - digits) : -1;
}

/* Replaces each "%XX"; NULL without memory, or when there is none to replace. */
static char *percent_decoded(const char *href)
{
    char *out = strchr(href, '%') ? strdup(href) : NULL, *q = out;
    if (!out)
        return NULL;
    for (const char *p = href; *p; p++) {
        int high = *p == '%' ? hex_digit(p[1]) : -1, low = high < 0 ? -1 : hex_digit(p[2]);
        if (low < 0 || !(high | low)) {
            *q++ = *p;
            continue;
        }
        *q++ = (char)(high << 4 | low);
        p += 2;
    }
    *q = 0;
    return out;
}

/* Opens what an href names: the literal name, else the name that it encodes. */
static int open_href(struct file *ovf, const char *href, struct file **ret, struct fault *fault)
{
    static const char role[] = "disk file";
    if (is_url(href)) {
        fault_in(fault, -EPERM, ovf->name, "the disk file \"%s\" lies outside the package", href);
        return fault_hint(fault, -EPERM, "put the file beside the OVF and name it there");
    }
    struct fault first = { 0 };
    int r = file_open_ref(ovf, role, href, ret, &first);
    _cleanup_free_ char *decoded = r == -ENOENT ? percent_decoded(href) : NULL;
    if (decoded) {
        struct fault second = { 0 };
        int r2 = file_open_ref(ovf, role, decoded, ret, &second);
        if (r2 == -ENOENT)
            r2 = r;
        else
            first = second;
        r = r2;
    }
    if (r < 0 && fault && !fault->err)
        *fault = first;
    return r;
}

/* ---- chunks ---- */

static int open_chunk(struct file *ovf, const char *href, size_t i, struct file **ret, struct fault *fault)
{
    _cleanup_free_ char *name = NULL;
    if (asprintf(&name, "%s.%09zu", href, i) < 0) {
        name = NULL;
        return fault_in(fault, -ENOMEM, ovf->name, "out of memory");
    }
    return open_href(ovf, name, ret, fault);
}

bool ovf_file_exists(struct file *ovf, const struct ovf_file *ref)
{
    _cleanup_(file_unrefp) struct file *f = NULL;
    if (!ref->href[0])
        return false;
    return !open_href(ovf, ref->href, &f, NULL) ||
           (ref->chunk_size && !open_chunk(ovf, ref->href, 0, &f, NULL));
}

struct parts {
    struct file **files;
    size_t n, room;
};

static void parts_done(struct parts *c)
{
    for (size_t i = 0; i < c->n; i++)
        file_unref(c->files[i]);
    free(c->files);
}
DEFINE_CLEANUP(struct parts *, parts_done)

static int add_part(struct ovf_package *p, struct parts *c, struct file *f, struct fault *fault)
{
    if (p->b->n_chunks >= MAX_CHUNKS)
        return fault_in(fault, -EFBIG, f->name, "the VM's files have more than %d chunks", MAX_CHUNKS);
    if (c->n == c->room) {
        size_t room = c->room ? 2 * c->room : 8;
        struct file **files = reallocarray(c->files, room, sizeof(struct file *));
        if (!files)
            return no_memory(p, fault);
        c->files = files;
        c->room = room;
    }
    p->b->n_chunks++;
    c->files[c->n++] = file_ref(f);
    return 0;
}

/* The chunk `i` isn't there. Is that the end of the file, or is it one that is missing? */
static int check_end(struct ovf_package *p, const struct ovf_file *ref, const struct parts *c,
                     struct fault *why, struct fault *fault)
{
    _cleanup_(file_unrefp) struct file *later = NULL;
    bool full = c->n && c->files[c->n - 1]->size == ref->chunk_size;
    uint64_t total = c->n ? (c->n - 1) * ref->chunk_size + c->files[c->n - 1]->size : 0;
    bool more =
        !c->n || (full && total < ref->size) || !open_chunk(p->ovf, ref->href, c->n + 1, &later, NULL);
    if (!more)
        return 0;
    if (fault && !fault->err)
        *fault = *why;
    return fault_hint(fault, -ENOENT, "it is a chunk of %s: put all of them there", ref->href);
}

static int check_length(const struct ovf_file *ref, const struct parts *c, struct fault *fault)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct file *f = c->files[i];
        if (f->size > ref->chunk_size || (f->size < ref->chunk_size && i + 1 < c->n))
            return fault_in(fault, -EUCLEAN, f->name,
                            "the chunk has %llu bytes, but the OVF's chunkSize is %llu",
                            (unsigned long long)f->size, (unsigned long long)ref->chunk_size);
    }
    return 0;
}

static int collect_chunks(struct ovf_package *p, const struct ovf_file *ref, struct parts *c,
                          struct fault *fault)
{
    for (;;) {
        _cleanup_(file_unrefp) struct file *f = NULL;
        struct fault why = { 0 };
        int r = open_chunk(p->ovf, ref->href, c->n, &f, &why);
        if (r == -ENOENT)
            return check_end(p, ref, c, &why, fault);
        if (r < 0 && fault && !fault->err)
            *fault = why;
        if (!r)
            r = add_part(p, c, f, fault);
        if (r < 0)
            return r;
    }
}

static int join_chunks(struct ovf_package *p, const struct ovf_file *ref, struct file **ret,
                       struct fault *fault)
{
    struct parts parts = { 0 };
    _cleanup_(parts_donep) struct parts *c = &parts;
    int r = collect_chunks(p, ref, c, fault);
    if (!r)
        r = check_length(ref, c, fault);
    if (r < 0)
        return r;
    /* "web01.ova(d.vmdk.000000000)" is the first of "web01.ova(d.vmdk)" */
    static const char first[] = ".000000000";
    _cleanup_free_ char *name = strdup(c->files[0]->name);
    if (!name)
        return no_memory(p, fault);
    size_t n = strlen(name), tail = n && name[n - 1] == ')';
    if (n >= sizeof first - 1 + tail)
        memmove(name + n - tail - (sizeof first - 1), name + n - tail, tail + 1);
    r = file_chunks_new(c->files, c->n, name, ret);
    return r < 0
               ? fault_in(fault, r, name, r == -EFBIG ? "the chunks are too large together" : "out of memory")
               : 0;
}

/* What the package stores: one file, or chunks. */
static int open_stored(struct ovf_package *p, const struct ovf_file *ref, struct file **ret,
                       struct fault *fault)
{
    _cleanup_(file_unrefp) struct file *f = NULL, *chunk = NULL;
    struct fault why = { 0 };
    if (!ref->href[0])
        return fault_in(fault, -EUCLEAN, p->ovf->name, "the File %s has no href", ref->id ? ref->id : "");
    int r = open_href(p->ovf, ref->href, &f, &why);
    if (ref->chunk_size && (r == -ENOENT || !r)) {
        bool chunked = !open_chunk(p->ovf, ref->href, 0, &chunk, NULL);
        if (!r && chunked)
            notes_add(&p->b->vm->notes, "%s: is there whole and in chunks: the chunks count", f->name);
        else if (!r && f->size > ref->chunk_size)
            notes_add(&p->b->vm->notes, "%s: the OVF says that it is cut into chunks, but it is whole",
                      f->name);
        if (r || chunked)
            return join_chunks(p, ref, ret, fault);
    }
    if (r < 0 && fault && !fault->err)
        *fault = why;
    if (!r)
        *ret = TAKE_PTR(f);
    return r;
}

/* ---- compression ---- */

static int gunzip(struct ovf_package *p, struct file *stored, struct file **ret, struct fault *fault)
{
    struct vm_builder *b = p->b;
    if (b->n_gzips >= MAX_GZIPS)
        return fault_in(fault, -EFBIG, stored->name, "the VM has more than %d files that are gzip-compressed",
                        MAX_GZIPS);
    size_t memory = b->gzip_memory < GZIP_MEMORY ? (GZIP_MEMORY - b->gzip_memory) / 2 : 0;
    int r = file_gzip_new(stored, b->env->cache, &memory, &b->vm->notes, ret, fault);
    if (r < 0)
        return r;
    b->n_gzips++;
    b->gzip_memory += memory;
    return 0;
}

/* The content decides whether it is compressed: there are packages with the attribute and without gzip, and
 * the other way round. */
static int decompress(struct ovf_package *p, const struct ovf_file *ref, struct file *stored,
                      struct file **ret, struct fault *fault)
{
    int gzip = file_gzip_probe(stored, fault);
    if (gzip < 0)
        return gzip;
    if (gzip)
        return gunzip(p, stored, ret, fault);
    if (ref->compression && strcasecmp(ref->compression, "gzip") != 0) {
        fault_in(fault, -ENOTSUP, stored->name,
                 "has the compression \"%s\" by the OVF, of which only gzip is read", ref->compression);
        return fault_hint(fault, -ENOTSUP, "unpack the package and the disk, and mount the disk itself");
    }
    if (ref->compression)
        notes_add(&p->b->vm->notes, "%s: the OVF says %s-compressed, but the file isn't", stored->name,
                  ref->compression);
    *ret = file_ref(stored);
    return 0;
}

/* What was opened for this File before, or for another one of the same content, if that was dear. */
static struct file *find_opened(const struct ovf_package *p, const struct ovf_file *ref,
                                const struct file *stored)
{
    for (size_t i = 0; i < p->n_opened; i++) {
        const struct ovf_opened *e = &p->opened[i];
        if (stored ? file_same(e->stored, stored) && e->stored->size == stored->size : e->ref == ref)
            return file_ref(e->content);
    }
    return NULL;
}

static int keep_opened(struct ovf_package *p, const struct ovf_file *ref, struct file *stored,
                       struct file *content, struct fault *fault)
{
    struct ovf_opened *e = reallocarray(p->opened, p->n_opened + 1, sizeof *e);
    if (!e)
        return no_memory(p, fault);
    p->opened = e;
    p->opened[p->n_opened++] = (struct ovf_opened){ ref, file_ref(stored), file_ref(content) };
    return 0;
}

int ovf_open_file(struct ovf_package *p, const struct ovf_file *ref, struct file **ret, struct fault *fault)
{
    if ((*ret = find_opened(p, ref, NULL)))
        return 0;
    _cleanup_(file_unrefp) struct file *stored = NULL, *content = NULL;
    int r = open_stored(p, ref, &stored, fault);
    if (r < 0)
        return r;
    if ((*ret = find_opened(p, ref, stored)))
        return 0;
    r = decompress(p, ref, stored, &content, fault);
    if (!r && (content != stored || ref->chunk_size))
        r = keep_opened(p, ref, stored, content, fault);
    if (!r)
        *ret = TAKE_PTR(content);
    return r;
}

/* ---- deltas ---- */

/* A delta's file, whose parent is what the OVF says. */
struct file_delta {
    struct file file;
    struct file *inner, *parent;
};

static struct file_delta *delta_of(struct file *f)
{
    return (struct file_delta *)(void *)f;
}

static int delta_pread(struct file *f, void *buf, size_t len, uint64_t off)
{
    return file_pread(delta_of(f)->inner, buf, len, off);
}

static int delta_map(struct file *f, uint64_t off, uint64_t len, struct extent *ret)
{
    return file_map(delta_of(f)->inner, off, len, ret);
}

static void delta_advise(struct file *f, uint64_t off, uint64_t len)
{
    file_advise(delta_of(f)->inner, off, len);
}

/* The parent that the image names is the OVF's: under its name, or, where nothing else has that, under any.
 */
static int delta_open_ref(struct file *f, const char *role, const char *name, struct file **ret,
                          struct fault *fault)
{
    const struct file_delta *d = delta_of(f);
    if (strcmp(role, "parent") != 0 && strcmp(role, "backing file") != 0)
        return file_open_ref(d->inner, role, name, ret, fault);
    _cleanup_(file_unrefp) struct file *named = NULL;
    int r = file_open_ref(d->inner, role, name, &named, NULL);
    if (r == -ENOMEM)
        return fault_in(fault, r, f->name, "out of memory");
    if (!r && !file_same(named, d->parent) && !file_same(named, d->inner))
        return fault_in(fault, -EUCLEAN, f->name, "its %s is %s, but the OVF's parentRef says %s", role,
                        named->name, d->parent->name);
    *ret = file_ref(d->parent);
    return 0;
}

static void delta_close(struct file *f)
{
    file_unref(delta_of(f)->inner);
    file_unref(delta_of(f)->parent);
    free(f);
}

static const struct file_ops delta_ops = {
    .name = "delta",
    .pread = delta_pread,
    .map = delta_map,
    .advise = delta_advise,
    .open_ref = delta_open_ref,
    .close = delta_close,
};

static int delta_new(struct ovf_package *p, struct file *inner, struct file *parent, struct file **ret,
                     struct fault *fault)
{
    struct file_delta *d = calloc(1, sizeof *d);
    char *name = strdup(inner->name);
    if (!d || !name) {
        free(d);
        free(name);
        return no_memory(p, fault);
    }
    d->file =
        (struct file){ .ops = &delta_ops, .refs = 1, .size = inner->size, .name = name, .id = inner->id };
    d->inner = file_ref(inner);
    d->parent = file_ref(parent);
    *ret = &d->file;
    return 0;
}

static const struct ovf_disk *find_disk(const struct ovf *o, const char *id)
{
    for (size_t i = 0; i < o->n_disks; i++)
        if (o->disks[i].id && !strcmp(o->disks[i].id, id))
            return &o->disks[i];
    return NULL;
}

static const struct ovf_file *find_file(const struct ovf *o, const char *id)
{
    for (size_t i = 0; i < o->n_files; i++)
        if (o->files[i].id && !strcmp(o->files[i].id, id))
            return &o->files[i];
    return NULL;
}

struct line_of_disks { /* a disk, its parent, and so on */
    const struct ovf_file *file[IMAGE_MAX_DEPTH];
    size_t n;
};

static int find_parents(struct ovf_package *p, const struct ovf_disk *disk, struct line_of_disks *line,
                        struct fault *fault)
{
    const char *ovf = p->ovf->name;
    for (size_t steps = 0; disk->parent_ref; steps++) {
        const char *id = disk->parent_ref;
        if (steps >= p->o->n_disks)
            return fault_in(fault, -ELOOP, ovf, "the parents of the Disk %s (ovf:parentRef) are a loop", id);
        if (!(disk = find_disk(p->o, id)))
            return fault_in(fault, -ENOENT, ovf, "the Disk %s that a disk is a delta of isn't in the OVF",
                            id);
        const struct ovf_file *file = disk->file_ref ? find_file(p->o, disk->file_ref) : NULL;
        if (!file)
            return fault_in(fault, -ENOENT, ovf, "the Disk %s that a disk is a delta of has no file", id);
        if (line->n == IMAGE_MAX_DEPTH)
            return fault_in(fault, -EFBIG, ovf, "the chain of deltas has more than %d links",
                            IMAGE_MAX_DEPTH);
        line->file[line->n++] = file;
    }
    return 0;
}

int ovf_open_disk(struct ovf_package *p, const struct ovf_disk *disk, const struct ovf_file *file,
                  struct file **ret, struct fault *fault)
{
    if (!disk || !disk->parent_ref)
        return ovf_open_file(p, file, ret, fault);
    struct line_of_disks line = { .n = 1 };
    line.file[0] = file;
    int r = find_parents(p, disk, &line, fault);
    _cleanup_(file_unrefp) struct file *below = NULL;
    for (size_t i = line.n; !r && i-- > 0;) {
        _cleanup_(file_unrefp) struct file *f = NULL;
        r = ovf_open_file(p, line.file[i], &f, fault);
        if (r < 0)
            return r;
        struct file *parent = below;
        below = NULL;
        r = parent ? delta_new(p, f, parent, &below, fault) : 0;
        if (!parent)
            below = TAKE_PTR(f);
        file_unref(parent);
    }
    if (!r)
        *ret = TAKE_PTR(below);
    return r;
}

/* ---- the manifest ---- */

/* What the descriptor is called in its own directory, as far as its suffix: owned; NULL: no such suffix, or
 * no memory. */
static char *stem_of(const struct ovf_package *p)
{
    const struct tar *tar = p->b->source->tar;
    size_t archive = tar ? strlen(tar->file->name) + 1 : 0; /* "web01.ova(" */
    const char *base = vm_base_name(p->ovf->name + archive);
    size_t n = strlen(base) - (tar != NULL);
    static const char suffix[] = ".ovf";
    if (n <= sizeof suffix - 1 || strncasecmp(base + n - 4, suffix, 4) != 0)
        return NULL;
    return strndup(base, n - 4);
}

/* Opens the descriptor's side file, if it has it. */
static struct file *open_side_file(struct ovf_package *p, const char *stem, const char *const suffixes[2])
{
    for (size_t i = 0; i < 2; i++) {
        _cleanup_free_ char *name = NULL;
        struct file *f = NULL;
        struct fault why = { 0 };
        if (asprintf(&name, "%s%s", stem, suffixes[i]) < 0) {
            name = NULL;
            return NULL;
        }
        int r = file_open_ref(p->ovf, "side file", name, &f, &why);
        if (!r)
            return f;
        if (r != -ENOENT)
            notes_add(&p->b->vm->notes, "%s: %s", why.file, why.what);
    }
    return NULL;
}

/* The name under which a File is there, or would be: its literal one, else the one that it encodes. */
static char *stored_name(struct file *ovf, const char *href)
{
    struct file *f = NULL;
    char *decoded = NULL;
    if (file_open_ref(ovf, "file", href, &f, NULL) == -ENOENT && (decoded = percent_decoded(href))) {
        if (!file_open_ref(ovf, "file", decoded, &f, NULL)) {
            file_unref(f);
            return decoded;
        }
        free(decoded);
    } else {
        file_unref(f);
    }
    return strdup(href);
}

static int add_references(const struct ovf_package *p, struct vm_package *pack)
{
    const struct ovf *o = p->o;
    pack->references = calloc(o->n_files ? o->n_files : 1, sizeof *pack->references);
    if (!pack->references)
        return -ENOMEM;
    for (size_t i = 0; i < o->n_files; i++) {
        if (!o->files[i].href[0] || is_url(o->files[i].href))
            continue;
        char *name = stored_name(p->ovf, o->files[i].href);
        if (!name)
            return -ENOMEM;
        pack->references[pack->n_references++] =
            (struct vm_reference){ .name = name, .chunked = o->files[i].chunk_size > 0 };
    }
    return 0;
}

int ovf_record_package(struct ovf_package *p)
{
    static const char *const manifest[] = { ".mf", ".MF" }, *const certificate[] = { ".cert", ".CERT" };
    struct vm *vm = p->b->vm;
    _cleanup_free_ char *stem = stem_of(p);
    _cleanup_(file_unrefp) struct file *mf = stem ? open_side_file(p, stem, manifest) : NULL;
    if (!mf)
        return 0;
    struct vm_package *packs = reallocarray(vm->packages, vm->n_packages + 1, sizeof *packs);
    if (!packs)
        return vm_no_memory(p->b);
    vm->packages = packs;
    struct vm_package *pack = &packs[vm->n_packages++];
    *pack = (struct vm_package){ .ovf = file_ref(p->ovf), .manifest = TAKE_PTR(mf) };
    pack->certificate = open_side_file(p, stem, certificate);
    if (asprintf(&pack->ovf_name, "%s%s", stem,
                 p->ovf->name + strlen(p->ovf->name) - (p->b->source->tar ? 5 : 4)) < 0) {
        pack->ovf_name = NULL;
        return vm_no_memory(p->b);
    }
    if (p->b->source->tar)
        pack->ovf_name[strlen(pack->ovf_name) - 1] = 0; /* the archive's ")" */
    return add_references(p, pack) < 0 ? vm_no_memory(p->b) : 0;
}
