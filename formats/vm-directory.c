/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A directory as a SOURCE. It is one VM if it holds
 *
 *   - AHV's vdisks, see vm-ahv.c; or
 *   - a descriptor (.ovf), see vm-ovf.c; or
 *   - a .vmx, by its content, see vm-vmx.c; or
 *   - images of which one is left when all those are taken away that others refer to (extents, parents,
 *     backing files): the newest link of a chain, the descriptor of split extents; or
 *   - several such that their names make the disks of one VM: VMware's NAME.vmdk, NAME_1.vmdk, NAME_2.vmdk,
 *     or NAME-disk1, NAME-disk2; or
 *   - no image, but raw files whose names are UUIDs: vdisks that were copied out of AHV.
 *
 * Anything else could be several VMs, and which disk is the first would be a guess; that is refused, and the
 * candidates are named, for the user to choose.
 *
 * What refers to what is found out by opening every image once through a file that takes note of what is
 * opened through it. Files in which no format is recognised (raw ones) don't count here.
 *
 * A link in the directory is a reference like any other: it must lead to a trusted place. */
#include "checked.h"
#include "vm-source.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FILES = 4096 }; /* in the directory; each is looked into */

void vm_listing_done(struct vm_listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->names[i]);
    free(l->names);
}

static int by_name(const void *a, const void *b)
{
    return strverscmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(struct vm_builder *b, const char *dir, struct vm_listing *l, const char *name)
{
    if (l->n >= MAX_FILES)
        return fault_in(b->fault, -EFBIG, dir, "has more than %d entries", MAX_FILES);
    char **names = reallocarray(l->names, l->n + 1, sizeof *names);
    if (names)
        l->names = names;
    if (!names || !(names[l->n] = strdup(name)))
        return vm_no_memory(b);
    l->n++;
    return 0;
}

int vm_list_directory(struct vm_builder *b, const char *path, struct vm_listing *l)
{
    DIR *dir = opendir(path);
    if (!dir)
        return fault_in(b->fault, -errno, path, "can't be opened: %s", strerror(errno));
    int r = 0;
    const struct dirent *e;
    while (!r && (errno = 0, e = readdir(dir)))
        if (e->d_name[0] != '.')
            r = add_name(b, path, l, e->d_name);
    if (!r && errno)
        r = fault_in(b->fault, -EIO, path, "can't be read: %s", strerror(errno));
    closedir(dir);
    if (l->n)
        qsort(l->names, l->n, sizeof *l->names, by_name);
    return r;
}

static int open_entry(struct vm_builder *b, const char *name, struct file **ret, struct fault *fault)
{
    return file_open_inside(b->source->path, name, &b->source->trust, ret, fault);
}

/* ---- descriptors ---- */

static int open_descriptors(struct vm_builder *b, const struct vm_listing *l, struct file **ovfs, size_t *n)
{
    for (size_t i = 0; i < l->n; i++) {
        if (!vm_has_suffix(l->names[i], ".ovf"))
            continue;
        int r = open_entry(b, l->names[i], &ovfs[*n], b->fault);
        if (r < 0)
            return r;
        ++*n;
    }
    return 0;
}

/* Is this entry a .vmx? What can't be opened is none, whyever: if it matters, others say so. Answers 1, 0, or
 * -ENOMEM. */
static int is_vmx(struct vm_builder *b, const char *name, struct file **ret)
{
    uint8_t head[512];
    enum vmx_kind kind = VMX_NONE;
    _cleanup_(file_unrefp) struct file *f = NULL;
    int r = open_entry(b, name, &f, NULL);
    size_t n = r ? 0 : f->size < sizeof head ? (size_t)f->size : sizeof head;
    if (n && f->size <= VMX_MAX_SIZE)
        r = file_pread(f, head, n, 0);
    if (!r && n && f->size <= VMX_MAX_SIZE)
        r = vm_probe_vmx(f, head, n, &kind, NULL);
    if (r == -ENOMEM)
        return vm_no_memory(b);
    if (r || kind != VMX_MACHINE)
        return 0;
    *ret = TAKE_PTR(f);
    return 1;
}

/* VMware keeps the .vmx as it was before as "web01.vmx~". */
static bool is_backup(const char *name)
{
    size_t n = strlen(name);
    return n && name[n - 1] == '~';
}

/* The directory's .vmx, whatever it is called; *ret stays NULL when it has none. Several are several VMs. */
static int find_vmx(struct vm_builder *b, const struct vm_listing *l, struct file **ret)
{
    char names[300] = "";
    size_t n = 0, len = 0;
    for (size_t i = 0; i < l->n; i++) {
        _cleanup_(file_unrefp) struct file *f = NULL;
        int r = is_backup(l->names[i]) ? 0 : is_vmx(b, l->names[i], &f);
        if (r < 0)
            return r;
        if (!r)
            continue;
        if (len < sizeof names)
            len += (size_t)snprintf(names + len, sizeof names - len, "%s%s", n ? ", " : "", l->names[i]);
        if (!n++)
            *ret = TAKE_PTR(f);
    }
    if (n < 2)
        return 0;
    file_unref(TAKE_PTR(*ret));
    fault_in(b->fault, -ENOTSUP, b->source->path, "holds %zu virtual machines (.vmx): %s%s", n, names,
             len >= sizeof names ? "..." : "");
    return fault_hint(b->fault, -ENOTSUP, "name the .vmx of one");
}

static int add_described(struct vm_builder *b, struct file **ovfs, size_t n, struct file *vmx)
{
    if (!n)
        return vm_add_vmx(b, vmx);
    if (!vmx)
        return vm_add_one_ovf(b, ovfs, n, "ovf");
    fault_in(b->fault, -ENOTSUP, b->source->path, "holds both an .ovf and a .vmx: %s, %s",
             vm_base_name(ovfs[0]->name), vm_base_name(vmx->name));
    return fault_hint(b->fault, -ENOTSUP, "name the one that is meant");
}

/* ---- what refers to what ---- */

/* A file that is given out again in place of `host`, so that what is opened from it passes through here. */
struct watched {
    struct file
        *host; /* borrowed of the file given out: a chain's files must not stay open when it is closed */
    struct watch *watch;
    struct watched *next;
};

struct watch {
    struct file_id *referred;
    size_t n;
    size_t walked; /* of `referred`: these were themselves opened, with all that they refer to */
    struct watched *all;
    bool failed; /* no memory */
};

static int watched_open_ref(void *ctx, struct file *from, const char *role, const char *name,
                            struct file **ret, struct fault *fault);

static int watch_file(struct watch *w, struct file *host, struct file **ret)
{
    struct watched *entry = calloc(1, sizeof *entry);
    int r = entry ? file_slice_new(host, 0, host->size, host->name, watched_open_ref, entry, ret) : -ENOMEM;
    if (r < 0) {
        free(entry);
        return r;
    }
    *entry = (struct watched){ .host = host, .watch = w, .next = w->all };
    w->all = entry;
    return 0;
}

static int watched_open_ref(void *ctx, struct file *from, const char *role, const char *name,
                            struct file **ret, struct fault *fault)
{
    struct watched *entry = ctx;
    struct watch *w = entry->watch;
    _cleanup_(file_unrefp) struct file *host = NULL;
    (void)from;
    int r = file_open_ref(entry->host, role, name, &host, fault);
    if (r < 0)
        return r;
    struct file_id *ids = reallocarray(w->referred, w->n + 1, sizeof *ids);
    if (ids) {
        w->referred = ids;
        if (!file_same(host, entry->host)) /* a parent of the child's own name, looked for beside it */
            ids[w->n++] = host->id;
    }
    if (!ids || watch_file(w, host, ret) < 0) {
        w->failed = true;
        return fault_in(fault, -ENOMEM, host->name, "out of memory");
    }
    return 0;
}

static void watch_done(struct watch *w)
{
    while (w->all) {
        struct watched *next = w->all->next;
        free(w->all);
        w->all = next;
    }
    free(w->referred);
}
DEFINE_CLEANUP(struct watch *, watch_done)

static bool is_among(const struct watch *w, size_t n, const struct file *f)
{
    for (size_t i = 0; i < n; i++)
        if (w->referred[i].dev == f->id.dev && w->referred[i].ino == f->id.ino)
            return true;
    return false;
}

/* ---- images ---- */

struct candidates {
    struct file **files;
    size_t n;
};

static void candidates_done(struct candidates *c)
{
    for (size_t i = 0; i < c->n; i++)
        file_unref(c->files[i]);
    free(c->files);
}
DEFINE_CLEANUP(struct candidates *, candidates_done)

/* Is the file at hand an image, of a format that is recognised by its content? Answers 1, 0, or -errno. */
static int look_into(struct vm_builder *b, const char *name, struct file **ret)
{
    const struct format *format = NULL;
    struct fault why = { 0 };
    int r = open_entry(b, name, ret, &why);
    if (r == -EPERM || r == -ENOMEM) {
        if (b->fault && !b->fault->err)
            *b->fault = why;
        return r;
    }
    if (r == -EACCES || r == -EIO)
        notes_add(&b->vm->notes, "%s was not looked into: %s", name, why.what);
    if (r < 0)
        return 0;
    r = image_detect(*ret, &format, NULL);
    return r == -ENOMEM ? vm_no_memory(b) : r == 0 && strcmp(format->name, "raw") != 0;
}

static int find_images(struct vm_builder *b, const struct vm_listing *l, struct candidates *c)
{
    for (size_t i = 0; i < l->n; i++) {
        _cleanup_(file_unrefp) struct file *f = NULL;
        int r = look_into(b, l->names[i], &f);
        if (r < 0)
            return r;
        if (!r)
            continue;
        struct file **files = reallocarray(c->files, c->n + 1, sizeof(struct file *));
        if (!files)
            return vm_no_memory(b);
        c->files = files;
        files[c->n++] = TAKE_PTR(f);
    }
    return 0;
}

/* Moves what was noted since `known` to the walked ones. */
static void keep_walked(struct watch *w, size_t known)
{
    for (size_t i = known; i < w->n; i++) {
        struct file_id id = w->referred[i];
        w->referred[i] = w->referred[w->walked];
        w->referred[w->walked++] = id;
    }
}

/* Opens the images, for their references' sake; whether they open isn't asked here. What the opening of
 * another has already shown is left out: so a chain is walked once and not from each of its links, if only
 * the last name is the newest link's, as it usually is. */
static int find_references(struct vm_builder *b, const struct candidates *c, struct watch *w)
{
    for (size_t i = c->n; i-- > 0;) {
        if (is_among(w, w->walked, c->files[i]))
            continue;
        _cleanup_(file_unrefp) struct file *f = NULL;
        _cleanup_(image_closep) struct image *image = NULL;
        if (watch_file(w, c->files[i], &f) < 0)
            return vm_no_memory(b);
        size_t known = w->n;
        struct fault why = { 0 };
        int r = image_open(f, NULL, b->env, &image, &why);
        if (r == -EPERM && b->fault && !b->fault->err)
            *b->fault = why;
        if (r == -EPERM)
            return r;
        if (r == -ENOMEM || w->failed)
            return vm_no_memory(b);
        if (!r)
            keep_walked(w, known);
    }
    return 0;
}

static void drop_referred(struct candidates *c, const struct watch *w)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (is_among(w, w->n, c->files[i]))
            file_unref(c->files[i]);
        else
            c->files[kept++] = c->files[i];
    }
    c->n = kept;
}

/* ---- several disks ---- */

struct disk_name {
    size_t stem;     /* length of what all disks of the VM have in common */
    uint64_t number; /* 0: the name has none */
    char separator;  /* '_' in "web01_1", 'k' in "web01-disk1", 0 where there is no number */
};

static size_t trailing_digits(const char *name, size_t n)
{
    size_t digits = 0;
    while (digits < n && name[n - 1 - digits] >= '0' && name[n - 1 - digits] <= '9')
        digits++;
    return digits;
}

/* Takes "web01_1-000002.vmdk" apart: the suffix and VMware's number of the snapshot go, "web01" is the stem.
 */
static struct disk_name take_apart(const char *name)
{
    const char *dot = strrchr(name, '.');
    size_t n = dot ? (size_t)(dot - name) : strlen(name);
    if (n > 7 && trailing_digits(name, n) == 6 && name[n - 7] == '-')
        n -= 7;
    size_t digits = trailing_digits(name, n), stem = n - digits;
    struct disk_name d = { .stem = n };
    bool underscore = stem > 1 && name[stem - 1] == '_';
    bool disk = stem > 4 && !memcmp(name + stem - 4, "disk", 4);
    if (!digits || digits > 6 || (!underscore && !disk))
        return d;
    for (size_t i = 0; i < digits; i++)
        d.number = d.number * 10 + (uint64_t)(name[stem + i] - '0');
    d.separator = underscore ? '_' : 'k';
    d.stem = underscore ? stem - 1 : stem;
    return d;
}

static const char *name_at(const struct candidates *c, size_t i)
{
    return vm_base_name(c->files[i]->name);
}

/* Do the names, which are sorted, make the disks of one VM? NAME_1 needs NAME before it: "web_1" and "web_2"
 * alone may as well be two machines. */
static bool is_one_vm(const struct candidates *c)
{
    const char *first = name_at(c, 0);
    struct disk_name a = take_apart(first), last = a;
    if (a.separator == '_')
        return false;
    for (size_t i = 1; i < c->n; i++) {
        struct disk_name d = take_apart(name_at(c, i));
        char want = a.separator ? a.separator : '_';
        if (d.stem != a.stem || memcmp(name_at(c, i), first, a.stem) != 0 || d.separator != want ||
            d.number <= last.number)
            return false;
        last = d;
    }
    return true;
}

static int by_number(const void *a, const void *b)
{
    const char *x = vm_base_name((*(struct file *const *)a)->name);
    const char *y = vm_base_name((*(struct file *const *)b)->name);
    struct disk_name dx = take_apart(x), dy = take_apart(y);
    return dx.number != dy.number ? (dx.number > dy.number) - (dx.number < dy.number) : strverscmp(x, y);
}

static int refuse_ambiguous(struct vm_builder *b, const struct candidates *c)
{
    char names[300] = "";
    for (size_t i = 0, n = 0; i < c->n && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", name_at(c, i));
    fault_in(b->fault, -ENOTSUP, b->source->path,
             "holds %zu disk images, and neither an .ovf nor a .vmx says whether they are one VM: %s%s", c->n,
             names, strlen(names) + 1 == sizeof names ? "..." : "");
    return fault_hint(b->fault, -ENOTSUP, "name the disks of one VM, in their order");
}

/* No image was found: raw ones are recognised by nothing, but a vdisk's name is telling. */
static int add_copied_vdisks(struct vm_builder *b, struct vm_listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (vm_is_vdisk_name(l->names[i]))
            return vm_add_vdisks(b, b->source->path, l);
    return fault_in(b->fault, -EMEDIUMTYPE, b->source->path,
                    "holds no virtual machine: neither an .ovf or .vmx nor a disk image");
}

static int add_images(struct vm_builder *b, struct vm_listing *l)
{
    struct candidates candidates = { 0 };
    _cleanup_(candidates_donep) struct candidates *c = &candidates;
    struct watch watching = { 0 };
    _cleanup_(watch_donep) struct watch *w = &watching;
    int r = find_images(b, l, c);
    if (!r)
        r = find_references(b, c, w);
    if (r < 0)
        return r;
    size_t found = c->n;
    drop_referred(c, w);
    if (!found)
        return add_copied_vdisks(b, l);
    if (!c->n)
        return fault_in(b->fault, -ELOOP, b->source->path, "each of its %zu disk images is another's parent",
                        found);
    qsort(c->files, c->n, sizeof(struct file *), by_number);
    if (c->n > 1 && !is_one_vm(c))
        return refuse_ambiguous(b, c);
    for (size_t i = 0; i < c->n; i++) {
        r = vm_add_disk(b, c->files[i]->name) ? vm_open_disk(b, c->files[i]) : -ENOMEM;
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_listed(struct vm_builder *b, struct vm_listing *l)
{
    size_t n = 0;
    _cleanup_(file_unrefp) struct file *vmx = NULL;
    struct file **ovfs = calloc(l->n + 1, sizeof(struct file *));
    if (!ovfs)
        return vm_no_memory(b);
    int r = open_descriptors(b, l, ovfs, &n);
    if (!r)
        r = find_vmx(b, l, &vmx);
    if (!r)
        r = n || vmx ? add_described(b, ovfs, n, vmx) : add_images(b, l);
    for (size_t i = 0; i < n; i++)
        file_unref(ovfs[i]);
    free(ovfs);
    return r;
}

int vm_add_directory(struct vm_builder *b)
{
    struct vm_listing listing = { 0 };
    _cleanup_(vm_listing_donep) struct vm_listing *l = &listing;
    _cleanup_free_ char *vdisks = vm_vdisk_directory(b->source->path);
    int r = vm_list_directory(b, vdisks ? vdisks : b->source->path, l);
    if (r < 0)
        return r;
    return vdisks ? vm_add_vdisks(b, vdisks, l) : add_listed(b, l);
}
