/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM out of an OVF descriptor, which lies in a directory (.ovf) or in an archive (.ova).
 *
 * The files that it names are opened by file_open_ref() on the descriptor itself. For a host file that looks
 * beside it and asks the trust list, for a member it looks in the archive; so nothing here knows which of
 * the two it is; vm-ovf-file.c does that. What is in a file is found from its content: neither the format URI
 * nor the suffix decides.
 *
 * Archives and directories may hold more than one descriptor (leftovers, macOS's "._x.ovf"): the one counts
 * whose references are all there. */
#include "checked.h"
#include "vm-ovf-file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_DESCRIPTORS = 16, /* in one package: each is read to choose among them */
    SECTOR = 512,
};
/* The largest disk of the formats here is VHDX's 64 TiB. A larger blank one is a slip in its units. */
#define BLANK_MAX (UINT64_C(64) << 40)

/* ---- one disk ---- */

/* A file that may be a disk and that nothing refers to; NULL: there is none. */
static const struct ovf_file *forgotten_file(const struct ovf *o)
{
    static const char *const others[] = { ".iso", ".nvram", ".flp", ".txt", ".xml", ".log" };
    for (size_t i = 0; i < o->n_files; i++) {
        bool other = o->files[i].used;
        for (size_t k = 0; k < sizeof others / sizeof others[0]; k++)
            other |= vm_has_suffix(o->files[i].href, others[k]);
        if (!other)
            return &o->files[i];
    }
    return NULL;
}

/* A disk of zeros must be meant so: where a file is left over, it may just as well be the disk's. */
static int open_blank(struct vm_builder *b, struct file *ovf, const struct ovf *o,
                      const struct ovf_drive *drive)
{
    struct vm_disk *d = &b->vm->disks[b->vm->n_disks - 1];
    struct fault why = { 0 };
    struct image *image = NULL;
    const char *id = drive->disk->id ? drive->disk->id : "without a diskId";
    uint64_t size = round_up(drive->disk->capacity, SECTOR);
    const struct ovf_file *forgotten = forgotten_file(o);
    int r;
    if (forgotten)
        r = fault_in(&why, -EUCLEAN, ovf->name,
                     "the Disk %s names no file, and nothing names the file \"%s\": one of them is damaged",
                     id, forgotten->href);
    else if (!size)
        r = fault_in(&why, -EUCLEAN, ovf->name, "the Disk %s has neither a file nor a capacity", id);
    else if (size > BLANK_MAX)
        r = fault_in(&why, -EFBIG, ovf->name, "the blank Disk %s has %llu bytes, more than 64 TiB", id,
                     (unsigned long long)size);
    else if ((r = vm_blank_image(d->source, size, &image)) < 0)
        fault_in(&why, r, ovf->name, "out of memory");
    else
        image->layers[0].mtime = ovf->id.mtime;
    return vm_settle_disk(b, r, image, &why);
}

static void note_capacity(struct vm_builder *b, uint64_t capacity)
{
    const struct vm_disk *d = &b->vm->disks[b->vm->n_disks - 1];
    uint64_t size = d->image ? d->image->disk->size : capacity;
    if (capacity && size != capacity)
        notes_add(&b->vm->notes,
                  "disk%zu: the image has %llu bytes, %s than the capacity of %llu that the OVF states",
                  b->vm->n_disks - 1, (unsigned long long)size, size > capacity ? "more" : "less",
                  (unsigned long long)capacity);
}

/* What the OVF calls a delta must be one by its image's own word too. */
static void refuse_whole(struct vm_builder *b, const struct ovf_disk *disk)
{
    struct vm_disk *d = &b->vm->disks[b->vm->n_disks - 1];
    if (!d->image || d->image->n_layers > 1)
        return;
    image_close(d->image);
    d->image = NULL;
    fault_in(&d->why, -ENOTSUP, d->source,
             "is a delta of the Disk %s by the OVF (ovf:parentRef), but the image itself names no parent",
             disk->parent_ref);
    fault_hint(&d->why, -ENOTSUP, "consolidate the disk before the export");
}

/* The disk was added; opens what it is made of. */
static int open_drive(struct ovf_package *p, const struct ovf_drive *drive)
{
    struct vm_builder *b = p->b;
    struct file *ovf = p->ovf;
    const struct ovf_disk *disk = drive->disk;
    struct fault why = { 0 };
    _cleanup_(file_unrefp) struct file *f = NULL;
    int r = 0;
    if (drive->missing)
        r = fault_in(&why, -ENOENT, ovf->name, "the %s that a disk refers to isn't in the OVF",
                     drive->missing);
    else if (!drive->file)
        return open_blank(b, ovf, p->o, drive);
    else
        r = ovf_open_disk(p, disk, drive->file, &f, &why);
    if (r < 0)
        return vm_settle_disk(b, r, NULL, &why);
    struct vm_disk *d = &b->vm->disks[b->vm->n_disks - 1];
    char *source = strdup(f->name);
    if (!source)
        return vm_no_memory(b);
    free(d->source);
    d->source = source;
    r = vm_open_disk(b, f);
    if (!r && disk && disk->parent_ref)
        refuse_whole(b, disk);
    if (!r && disk)
        note_capacity(b, disk->capacity);
    return r;
}

static bool copy_string(char **dst, const char *src)
{
    return !src || (*dst = strdup(src));
}

static int add_drive(struct ovf_package *p, const struct ovf_drive *drive)
{
    struct vm_builder *b = p->b;
    const struct file *ovf = p->ovf;
    const char *id = drive->disk ? drive->disk->id : NULL;
    _cleanup_free_ char *name = NULL;
    const char *part = drive->file ? drive->file->href : drive->missing ? drive->missing : id ? id : "blank";
    if (asprintf(&name, "%s: %s", ovf->name, part) < 0) {
        name = NULL;
        return vm_no_memory(b);
    }
    struct vm_disk *d = vm_add_disk(b, name);
    if (!d)
        return -ENOMEM;
    d->bus = drive->bus;
    d->unit = drive->unit;
    d->capacity = drive->disk ? drive->disk->capacity : 0;
    if (!copy_string(&d->id, id) || !copy_string(&d->controller, drive->controller))
        return vm_no_memory(b);
    return open_drive(p, drive);
}

/* ---- the whole ---- */

static int read_ovf(struct file *f, struct ovf **ret, struct fault *fault)
{
    if (!f->size)
        return fault_in(fault, -EMEDIUMTYPE, f->name, "is empty");
    if (f->size > OVF_MAX_SIZE)
        return fault_in(fault, -EFBIG, f->name, "has %llu bytes, more than the %d MiB that an OVF may have",
                        (unsigned long long)f->size, OVF_MAX_SIZE >> 20);
    _cleanup_free_ char *text = malloc((size_t)f->size);
    if (!text)
        return fault_in(fault, -ENOMEM, f->name, "out of memory");
    int r = file_pread_what(f, text, (size_t)f->size, 0, "the OVF", fault);
    return r < 0 ? r : ovf_parse(text, (size_t)f->size, f->name, ret, fault);
}

/* What the description says of the VM moves over; the first SOURCE that says something wins. */
static void take_description(struct vm *vm, struct ovf *o)
{
    if (!vm->firmware)
        vm->firmware = TAKE_PTR(o->firmware);
    if (!vm->os_type)
        vm->os_type = TAKE_PTR(o->os_type);
    if (!vm->cpus) {
        vm->cpus = o->cpus;
        vm->cores = o->cores;
    }
    if (!vm->memory)
        vm->memory = o->memory;
    for (size_t i = 0; i < o->notes.n; i++)
        notes_add(&vm->notes, "%s", o->notes.lines[i]);
}

static int take_nics(struct vm_builder *b, struct ovf *o)
{
    struct vm *vm = b->vm;
    if (!o->n_nics)
        return 0;
    struct vm_nic *nics = reallocarray(vm->nics, vm->n_nics + o->n_nics, sizeof *nics);
    if (!nics)
        return vm_no_memory(b);
    vm->nics = nics;
    for (size_t i = 0; i < o->n_nics; i++)
        nics[vm->n_nics++] = (struct vm_nic){ .type = TAKE_PTR(o->nics[i].type),
                                              .network = TAKE_PTR(o->nics[i].network),
                                              .mac = TAKE_PTR(o->nics[i].mac) };
    return 0;
}

static int add_parsed(struct vm_builder *b, struct file *file, struct ovf *o, const char *kind)
{
    if (!o->n_drives)
        return fault_in(b->fault, -EMEDIUMTYPE, file->name, "has no disks");
    if (!b->vm->description && !(b->vm->description = strdup(file->name)))
        return vm_no_memory(b);
    int r = vm_describe(b, kind, o->name);
    if (r < 0)
        return r;
    take_description(b->vm, o);
    r = take_nics(b, o);
    struct ovf_package package = { .b = b, .ovf = file, .o = o };
    _cleanup_(ovf_package_donep) struct ovf_package *p = &package;
    for (size_t i = 0; !r && i < o->n_controllers; i++)
        r = vm_add_controller(b, o->controllers[i].kind, o->controllers[i].subtype, o->controllers[i].bus);
    if (!r && o->boot_order)
        r = vm_add_boot_order(b, o->boot_order);
    for (size_t i = 0; !r && i < o->n_drives; i++)
        r = add_drive(p, &o->drives[i]);
    if (!r)
        r = ovf_record_package(p);
    return r;
}

int vm_add_ovf(struct vm_builder *b, struct file *file, const char *kind)
{
    _cleanup_(ovf_freep) struct ovf *o = NULL;
    int r = read_ovf(file, &o, b->fault);
    return r < 0 ? r : add_parsed(b, file, o, kind);
}

/* Does it name files, and are they all there? */
static bool resolves(struct file *file, const struct ovf *o)
{
    for (size_t i = 0; i < o->n_files; i++)
        if (!ovf_file_exists(file, &o->files[i]))
            return false;
    return o->n_files > 0 && o->n_drives > 0;
}

static int refuse_several(struct vm_builder *b, struct file **ovfs, size_t n)
{
    return fault_in(b->fault, -ENOTSUP, b->source->path,
                    "holds %zu descriptors (.ovf), and not exactly one of them has all its files: %s, %s%s",
                    n, vm_base_name(ovfs[0]->name), vm_base_name(ovfs[1]->name), n > 2 ? ", ..." : "");
}

int vm_add_one_ovf(struct vm_builder *b, struct file **ovfs, size_t n, const char *kind)
{
    if (n == 1)
        return vm_add_ovf(b, ovfs[0], kind);
    _cleanup_(ovf_freep) struct ovf *chosen = NULL;
    struct file *file = NULL;
    for (size_t i = 0; i < n; i++) {
        struct ovf *o = NULL;
        if (read_ovf(ovfs[i], &o, NULL) < 0)
            continue;
        bool fits = resolves(ovfs[i], o);
        if (!fits)
            ovf_free(o);
        if (!fits)
            continue;
        if (chosen) {
            ovf_free(o);
            return refuse_several(b, ovfs, n);
        }
        chosen = o;
        file = ovfs[i];
    }
    if (!chosen)
        return refuse_several(b, ovfs, n);
    notes_add(&b->vm->notes, "of %zu descriptors, %s is the one whose files are all there", n, file->name);
    return add_parsed(b, file, chosen, kind);
}

/* ---- archives ---- */

static int open_descriptors(struct vm_builder *b, const struct tar *tar, struct file **ovfs, size_t *n)
{
    for (size_t i = 0; i < tar->n; i++) {
        const struct tar_member *m = &tar->members[i];
        if (m->kind != TAR_REGULAR || vm_is_junk(m->name) || !vm_has_suffix(m->name, ".ovf") || m->replaced)
            continue;
        if (*n == MAX_DESCRIPTORS)
            return fault_in(b->fault, -EFBIG, tar->file->name, "holds more than %d descriptors (.ovf)",
                            MAX_DESCRIPTORS);
        int r = tar_open_member(m, &ovfs[*n], b->fault);
        if (r < 0)
            return r;
        ++*n;
    }
    return 0;
}

int vm_add_archive(struct vm_builder *b, struct file *archive)
{
    int r = tar_open(archive, &b->source->tar, b->fault);
    if (r < 0)
        return r;
    const struct tar *tar = b->source->tar;
    for (size_t i = 0; i < tar->n; i++)
        if (tar->members[i].replaced)
            notes_add(&b->vm->notes, "the archive holds %s more than once: the last one counts",
                      tar->members[i].name);
    struct file *ovfs[MAX_DESCRIPTORS] = { NULL };
    size_t n = 0;
    r = open_descriptors(b, tar, ovfs, &n);
    if (!r && n)
        r = vm_add_one_ovf(b, ovfs, n, "ova");
    else if (!r) {
        r = fault_in(b->fault, -EMEDIUMTYPE, archive->name, "is a tar archive without an .ovf, not an OVA");
        fault_hint(b->fault, r, "unpack it and mount the disk image");
    }
    for (size_t i = 0; i < n; i++)
        file_unref(ovfs[i]);
    return r;
}
