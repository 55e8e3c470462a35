/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the user's SOURCEs to a virtual machine. What a SOURCE is follows from its content:
 *
 *     a directory                  vm-directory.c
 *     a tar header, checksum right vm-ovf.c, an OVA
 *     a '<'                        vm-ovf.c, an OVF descriptor
 *     text with a .vmx's keys      vm-vmx.c
 *     all else                     a disk image, whose format image.c finds
 *
 * With -o format= every SOURCE is a disk image of that format.
 *
 * Trust: each SOURCE has a list of its own, the directory that it really lies in (for a directory: itself)
 * and those of -o trust=. A SOURCE that can't be opened at all is the user's mistake, and fatal; an image in
 * which something is wrong costs only that disk, as long as another is left. A reference that leaves the
 * trusted directories is always fatal: whoever made it meant no good, or the user wants to know. */
#include "ovf.h"
#include "vm-source.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* Whole files of text up to this size are no disks: a .vmx, a certificate, a manifest. */
enum { TEXT_MAX = 1024 * 1024, MAX_BOOT_WORDS = 64 };

/* ---- what the kinds of SOURCE share ---- */

const char *vm_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool vm_is_junk(const char *path)
{
    return !strncmp(vm_base_name(path), "._", 2);
}

bool vm_has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), s = strlen(suffix);
    return n > s && !strcasecmp(name + n - s, suffix);
}

int vm_no_memory(struct vm_builder *b)
{
    return fault_in(b->fault, -ENOMEM, b->source ? b->source->path : "", "out of memory");
}

struct vm_disk *vm_add_disk(struct vm_builder *b, const char *name)
{
    struct vm *vm = b->vm;
    struct vm_disk *disks = reallocarray(vm->disks, vm->n_disks + 1, sizeof *disks);
    if (disks)
        vm->disks = disks;
    char *copy = disks ? strdup(name) : NULL;
    if (!copy) {
        vm_no_memory(b);
        return NULL;
    }
    struct vm_disk *d = &disks[vm->n_disks++];
    memset(d, 0, sizeof *d);
    d->source = copy;
    d->bus = d->unit = -1;
    return d;
}

int vm_settle_disk(struct vm_builder *b, int r, struct image *image, const struct fault *why)
{
    struct vm_disk *d = &b->vm->disks[b->vm->n_disks - 1];
    if (r == -EPERM || r == -ENOMEM) {
        if (b->fault && !b->fault->err)
            *b->fault = *why;
        return r;
    }
    if (r < 0) {
        d->why = *why;
        return 0;
    }
    d->image = image;
    for (size_t i = 0; i < image->n_layers; i++) {
        const struct timespec *t = &image->layers[i].mtime;
        if (t->tv_sec > d->mtime.tv_sec || (t->tv_sec == d->mtime.tv_sec && t->tv_nsec > d->mtime.tv_nsec))
            d->mtime = *t;
    }
    return 0;
}

int vm_open_disk(struct vm_builder *b, struct file *file)
{
    struct fault why = { 0 };
    struct image *image = NULL;
    int r = image_open(file, b->options->format, b->env, &image, &why);
    return vm_settle_disk(b, r, image, &why);
}

int vm_describe(struct vm_builder *b, const char *kind, const char *name)
{
    struct vm *vm = b->vm;
    if (!vm->kind && !(vm->kind = strdup(kind)))
        return vm_no_memory(b);
    if (!vm->name && name && !(vm->name = strdup(name)))
        return vm_no_memory(b);
    return 0;
}

int vm_add_controller(struct vm_builder *b, const char *kind, const char *subtype, int bus)
{
    struct vm *vm = b->vm;
    for (size_t i = 0; i < vm->n_controllers; i++)
        if (vm->controllers[i].bus == bus && !strcmp(vm->controllers[i].kind, kind))
            return 0;
    struct vm_controller *more = reallocarray(vm->controllers, vm->n_controllers + 1, sizeof *more);
    if (!more)
        return vm_no_memory(b);
    vm->controllers = more;
    struct vm_controller *c = &more[vm->n_controllers++];
    *c = (struct vm_controller){ .kind = strdup(kind), .bus = bus };
    if (!c->kind || (subtype && !(c->subtype = strdup(subtype))))
        return vm_no_memory(b);
    return 0;
}

int vm_add_boot_order(struct vm_builder *b, const char *words)
{
    struct vm *vm = b->vm;
    for (const char *p = words; *p;) {
        size_t n = strcspn(p, ", \t");
        char **more = n && vm->n_boot_order < MAX_BOOT_WORDS
                          ? reallocarray(vm->boot_order, vm->n_boot_order + 1, sizeof *more)
                          : NULL;
        if (more) {
            vm->boot_order = more;
            if (!(more[vm->n_boot_order] = strndup(p, n)))
                return vm_no_memory(b);
            vm->n_boot_order++;
        }
        p += n;
        p += strspn(p, ", \t");
    }
    return 0;
}

/* The base name without its suffix, for a VM whose description gives none; NULL: no memory. */
static char *source_name(const char *path, bool directory)
{
    _cleanup_free_ char *copy = strdup(path);
    for (size_t n = copy ? strlen(copy) : 0; n > 1 && copy[n - 1] == '/'; n--)
        copy[n - 1] = 0;
    const char *base = copy ? vm_base_name(copy) : "";
    if (copy && (!strcmp(base, ".") || !strcmp(base, ".."))) { /* no name of their own */
        char *real = realpath(copy, NULL);
        free(copy);
        copy = real;
        base = real ? vm_base_name(real) : "";
    }
    const char *dot = directory ? NULL : strrchr(base, '.');
    return dot && dot != base ? strndup(base, (size_t)(dot - base)) : strdup(base);
}

/* ---- a SOURCE that is a file ---- */

bool vm_is_text(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((p[i] < ' ' && !strchr("\t\r\n\f", p[i])) || p[i] == 0x7f || !p[i])
            return false;
    return n > 0;
}

/* Where nothing speaks for an image's format, the file would be a raw disk. Two things are no disks: text,
 * and an archive whose first header is damaged. */
static int refuse_no_disk(struct file *f, const uint8_t *head, size_t n, struct fault *fault)
{
    const struct format *format;
    bool text = f->size <= TEXT_MAX && vm_is_text(head, n);
    bool tar = n == TAR_BLOCK && tar_probe(head) == TAR_MAGIC;
    if (!text && !tar)
        return 0;
    struct fault unused = { 0 };
    int r = image_detect(f, &format, &unused);
    if (r < 0 || strcmp(format->name, "raw") != 0)
        return 0; /* image_open() says what is to say */
    if (tar) {
        fault_at(fault, -EUCLEAN, f->name, 0, "looks like a damaged OVA: the first tar header is invalid");
        return fault_hint(fault, -EUCLEAN, "-o format=raw to insist on a raw disk");
    }
    fault_in(fault, -EMEDIUMTYPE, f->name, "is a text file, neither a disk image nor an OVF or .vmx");
    return fault_hint(fault, -EMEDIUMTYPE, "-o format=raw to insist on a raw disk");
}

static int add_image(struct vm_builder *b, struct file *file)
{
    return vm_add_disk(b, file->name) ? vm_open_disk(b, file) : -ENOMEM;
}

static int add_file(struct vm_builder *b)
{
    _cleanup_(file_unrefp) struct file *f = NULL;
    int r = file_open_source(b->source->path, &b->source->trust, &f, b->fault);
    if (r < 0)
        return r;
    if (!f->size)
        return fault_in(b->fault, -EMEDIUMTYPE, f->name, "is empty");
    if (b->options->format)
        return add_image(b, f);
    uint8_t head[TAR_BLOCK];
    size_t n = f->size < sizeof head ? (size_t)f->size : sizeof head;
    r = file_pread_what(f, head, n, 0, "its beginning", b->fault);
    if (r < 0)
        return r;
    if (n == TAR_BLOCK && tar_probe(head) == TAR_HEADER)
        return vm_add_archive(b, f);
    if (ovf_looks_like_xml(head, n))
        return vm_add_ovf(b, f, "ovf");
    enum vmx_kind kind;
    r = vm_probe_vmx(f, head, n, &kind, b->fault);
    if (r < 0)
        return r;
    if (kind == VMX_MACHINE)
        return vm_add_vmx(b, f);
    if (kind == VMX_SNAPSHOTS) {
        fault_in(b->fault, -EMEDIUMTYPE, f->name,
                 "is a .vmsd: VMware's list of a machine's snapshots, which names no disk to show");
        return fault_hint(b->fault, -EMEDIUMTYPE, "mount the .vmx beside it, or a snapshot's .vmdk");
    }
    r = refuse_no_disk(f, head, n, b->fault);
    return r < 0 ? r : add_image(b, f);
}

/* ---- SOURCEs ---- */

/* The directory that the SOURCE really lies in, and those that the user trusts. */
static int fill_trust(struct vm_builder *b, struct vm_source *s, bool *ret_is_directory)
{
    _cleanup_free_ char *real = realpath(s->path, NULL);
    struct stat st;
    if (!real || stat(real, &st) < 0) {
        int err = errno;
        if (err == ENOENT)
            return fault_in(b->fault, -ENOENT, s->path, "no such file");
        return fault_in(b->fault, -err, s->path, "can't be opened: %s", strerror(err));
    }
    *ret_is_directory = S_ISDIR(st.st_mode);
    char *slash = strrchr(real, '/');
    if (!*ret_is_directory && slash)
        slash[slash == real ? 1 : 0] = 0;
    int r = trust_add(&s->trust, real, b->fault);
    for (size_t i = 0; !r && i < b->options->n_trust; i++)
        r = trust_add(&s->trust, b->options->trust[i], b->fault);
    return r;
}

static int add_source(struct vm_builder *b, const char *path)
{
    struct vm_source *s = calloc(1, sizeof *s);
    if (!s)
        return vm_no_memory(b);
    s->path = path;
    s->next = b->vm->private;
    b->vm->private = b->source = s;
    bool directory = false;
    int r = fill_trust(b, s, &directory);
    if (r < 0)
        return r;
    r = directory ? vm_add_directory(b) : add_file(b);
    _cleanup_free_ char *name = r < 0 ? NULL : source_name(path, directory);
    return r < 0 ? r : vm_describe(b, "disks", name);
}

/* The VM has its disks; is any of them there? */
static int check_disks(struct vm_builder *b)
{
    const struct vm *vm = b->vm;
    for (size_t i = 0; i < vm->n_disks; i++)
        if (vm->disks[i].image)
            return 0;
    if (!vm->n_disks)
        return fault_in(b->fault, -EMEDIUMTYPE, b->source ? b->source->path : "", "has no disks");
    if (b->fault && !b->fault->err)
        *b->fault = vm->disks[0].why;
    if (b->fault && !b->fault->hint[0] && vm->n_disks > 1)
        fault_hint(b->fault, b->fault->err, "none of the machine's %zu disks can be shown", vm->n_disks);
    return vm->disks[0].why.err;
}

int vm_open(const struct vm_options *o, const struct image_env *env, struct vm **ret, struct fault *fault)
{
    _cleanup_(vm_closep) struct vm *vm = calloc(1, sizeof *vm);
    struct vm_builder b = { .options = o, .env = env, .fault = fault, .vm = vm };
    if (!vm)
        return vm_no_memory(&b);
    for (size_t i = 0; i < o->n_sources; i++) {
        int r = add_source(&b, o->sources[i]);
        if (r < 0)
            return r;
    }
    int r = check_disks(&b);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(vm);
    return 0;
}

int vm_none(const char *source, const char *kind, struct vm **ret, struct fault *fault)
{
    _cleanup_(vm_closep) struct vm *vm = calloc(1, sizeof *vm);
    if (vm) {
        vm->name = strdup(vm_base_name(source));
        vm->kind = strdup(kind);
    }
    if (!vm || !vm->name || !vm->kind)
        return fault_in(fault, -ENOMEM, source, "out of memory");
    *ret = TAKE_PTR(vm);
    return 0;
}

static void close_sources(struct vm_source *s)
{
    while (s) {
        struct vm_source *next = s->next;
        tar_close(s->tar);
        trust_done(&s->trust);
        free(s);
        s = next;
    }
}

static void close_packages(struct vm *vm)
{
    for (size_t i = 0; i < vm->n_packages; i++) {
        struct vm_package *p = &vm->packages[i];
        file_unref(p->ovf);
        file_unref(p->manifest);
        file_unref(p->certificate);
        for (size_t k = 0; k < p->n_references; k++)
            free(p->references[k].name);
        free(p->references);
        free(p->ovf_name);
    }
    free(vm->packages);
}

void vm_close(struct vm *vm)
{
    if (!vm)
        return;
    for (size_t i = 0; i < vm->n_disks; i++) {
        image_close(vm->disks[i].image);
        free(vm->disks[i].source);
        free(vm->disks[i].id);
        free(vm->disks[i].controller);
        free(vm->disks[i].mode);
        free(vm->disks[i].sharing);
        free(vm->disks[i].device_type);
    }
    for (size_t i = 0; i < vm->n_nics; i++) {
        free(vm->nics[i].type);
        free(vm->nics[i].network);
        free(vm->nics[i].mac);
    }
    close_packages(vm);
    for (size_t i = 0; i < vm->n_controllers; i++) {
        free(vm->controllers[i].kind);
        free(vm->controllers[i].subtype);
    }
    for (size_t i = 0; i < vm->n_boot_order; i++)
        free(vm->boot_order[i]);
    close_sources(vm->private);
    notes_done(&vm->notes);
    free(vm->disks);
    free(vm->nics);
    free(vm->controllers);
    free(vm->boot_order);
    free(vm->name);
    free(vm->kind);
    free(vm->description);
    free(vm->firmware);
    free(vm->os_type);
    free(vm);
}
