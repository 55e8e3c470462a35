/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The target's modules in every initramfs. An archive with those that are missing, all that they need, and
 * the kernel's own index of modules is put behind the image (initramfs.h); no code of the guest is run. A
 * list of them makes its init load them even where no event does. What makes the image anew later gets the
 * same list (prepare-linux-makers.c). Into a unified kernel image nothing can be put: it is only looked at.
 *
 * The index is the root file system's, of the same kernel: kmod finds nothing that the index doesn't have,
 * and an index may name more than there is.
 *
 * Source: modules.dep(5), initramfs-tools(7), dracut.cmdline(7), dracut.conf(5), modules-load.d(5). */
#include "../formats/cleanup.h"
#include "initramfs.h"
#include "prepare-linux.h"
#include "uki.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_INDEX = 16 << 20,
    MAX_MODULE = 16 << 20,
    MAX_SEGMENT = 48 << 20, /* an archive of ours */
    MAX_MODULES = 256,      /* in one archive of ours */
};

/* What the target's disks (and a keyboard for a passphrase) need. `must`: without it there is no disk;
 * `disk`: one of these is enough; `loaded`: if the kernel has it as a module, there is no disk without. */
struct wanted {
    const char *name;
    bool must, disk, loaded;
};
static const struct wanted of_kvm[] = {
    { "virtio_pci", .must = true }, { "virtio_blk", .disk = true }, { "virtio_scsi", .disk = true },
    { "sd_mod", .must = false },    { "ahci", .must = false },      { NULL, .must = false },
};
static const struct wanted of_hyperv[] = {
    { "hv_vmbus", .must = true },    { "hv_storvsc", .disk = true },       { "sd_mod", .loaded = true },
    { "hid_hyperv", .must = false }, { "hyperv_keyboard", .must = false }, { NULL, .must = false },
};
static const struct wanted of_azure[] = {
    { "hv_vmbus", .must = true },
    { "hv_storvsc", .disk = true },
    { "sd_mod", .loaded = true },
    { "hid_hyperv", .must = false },
    { "hyperv_keyboard", .must = false },
    { "pci_hyperv", .must = false },
    { "nvme", .must = false },
    { NULL, .must = false },
};

static const struct wanted *wanted_modules(const struct prepare *p)
{
    static const struct wanted *const of_target[PREPARE_TARGETS] = { of_hyperv, of_azure, of_kvm, of_kvm };
    return of_target[p->target];
}

void linux_needed_modules(const struct prepare *p, char *ret, size_t size)
{
    size_t used = 0;
    *ret = 0;
    for (const struct wanted *w = wanted_modules(p); w->name && used < size; w++)
        if (w->must || w->disk)
            used += (size_t)snprintf(ret + used, size - used, "%s%s", used ? " " : "", w->name);
}

static void remake_advice(struct linux_plan *l, char *ret, size_t size)
{
    char names[256];
    linux_needed_modules(l->p, names, sizeof names);
    linux_remake_advice(l, names, ret, size);
}

static int block_until_remade(struct linux_plan *l, const char *why)
{
    char advice[640];
    remake_advice(l, advice, sizeof advice);
    return linux_block(l, advice, "%s", why);
}

/* ---- a kernel's modules, as the root file system has them ---- */

struct kernel {
    char root[512];      /* "lib/modules/6.1.0-amd64" */
    char *dep, *builtin; /* owned: modules.dep and modules.builtin */
    char names[512];     /* the wanted ones that are modules, each behind a space */
    char missing[512];   /* those of them that the image hasn't, or not with all that they need */
    char lacks[128];     /* the one that it can't do without and lacks */
    bool no_disk;        /* the image as it is finds none */
    const char **add;    /* owned list of places in `dep`: lines' first words */
    size_t add_length[MAX_MODULES];
    size_t n_add;
};

static void kernel_done(struct kernel *k)
{
    free(k->dep);
    free(k->builtin);
    free(k->add);
}

/* "kernel/drivers/scsi/virtio_scsi.ko.xz" is the module NAME: dashes are underscores. */
static bool is_module(const char *path, size_t n, const char *name)
{
    const char *base = memrchr(path, '/', n);
    base = base ? base + 1 : path;
    const char *end = path + n;
    for (; base < end && *name; base++, name++)
        if (*base != *name && !(*base == '-' && *name == '_'))
            return false;
    return !*name && end - base >= 3 && !strncmp(base, ".ko", 3);
}

/* The line of a module: its path, up to ':' or the line's end. */
static const char *find_module(const char *index, const char *name, size_t *ret_n)
{
    for (const char *line = index; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        size_t n = strcspn(line, ":\n");
        if (is_module(line, n, name)) {
            *ret_n = n;
            return line;
        }
    }
    return NULL;
}

/* A path in a kernel's directory that can only be that. */
static bool is_inside(const char *path, size_t n)
{
    return n && n < 1024 && path[0] != '/' && !memmem(path, n, "..", 2);
}

/* A module's path with the suffix that the image's modules have: "kernel/a.ko" for "kernel/a.ko.xz". */
static void as_in_image(const struct initramfs *i, const char *path, char *ret, size_t size)
{
    const char *base = strrchr(path, '/'), *suffix = strstr(base ? base : path, ".ko");
    int n = suffix && i->module_suffix[0] ? (int)(suffix - path) : (int)strlen(path);
    snprintf(ret, size, "%.*s%s", n, path, suffix ? i->module_suffix : "");
}

static int want_path(struct kernel *k, const struct initramfs *i, const char *path, size_t n)
{
    char name[1024], other[1040];
    if (!is_inside(path, n))
        return -EUCLEAN;
    snprintf(name, sizeof name, "%.*s", (int)n, path);
    as_in_image(i, name, other, sizeof other);
    if (initramfs_has_module(i, name) || initramfs_has_module(i, other))
        return 0;
    for (size_t m = 0; m < k->n_add; m++)
        if (k->add_length[m] == n && !memcmp(k->add[m], path, n))
            return 0;
    if (k->n_add == MAX_MODULES)
        return -EFBIG;
    k->add[k->n_add] = path;
    k->add_length[k->n_add++] = n;
    return 0;
}

/* A module with all that it needs: depmod lists those of those, too. */
static int want_line(struct kernel *k, const struct initramfs *i, const char *line, size_t n)
{
    int r = want_path(k, i, line, n);
    const char *p = line + n + (line[n] == ':');
    while (r == 0 && *p && *p != '\n') {
        p += strspn(p, " \t");
        n = strcspn(p, " \t\n");
        r = n ? want_path(k, i, p, n) : 0;
        p += n;
    }
    return r;
}

/* " NAME" at the end of a text, once. */
static void add_word(char *text, size_t size, const char *name)
{
    size_t used = strlen(text), n = strlen(name);
    for (const char *p = strstr(text, name); p; p = strstr(p + 1, name))
        if (p > text && p[-1] == ' ' && (!p[n] || p[n] == ' '))
            return;
    snprintf(text + used, size - used, " %s", name);
}

static int want_modules(struct kernel *k, const struct initramfs *i, const struct wanted *w)
{
    const char *disk = NULL;
    bool has_disk = false, found_disk = false;
    for (; w->name; w++) {
        size_t n;
        const char *line = find_module(k->dep, w->name, &n);
        bool there = line || find_module(k->builtin, w->name, &n);
        if (w->disk && !disk)
            disk = w->name;
        has_disk |= w->disk && there;
        if (w->must && !there)
            snprintf(k->lacks, sizeof k->lacks, "%s", w->name);
        if (!line) {
            found_disk |= w->disk && there;
            continue;
        }
        size_t before = k->n_add;
        add_word(k->names, sizeof k->names, w->name);
        int r = want_line(k, i, line, n);
        if (r < 0)
            return r;
        if (k->n_add > before) {
            add_word(k->missing, sizeof k->missing, w->name);
            k->no_disk |= w->must || w->loaded;
        } else {
            found_disk |= w->disk;
        }
    }
    k->no_disk |= !found_disk;
    if (!has_disk && !k->lacks[0])
        snprintf(k->lacks, sizeof k->lacks, "%s", disk);
    return 0;
}

static int index_text(struct linux_plan *l, const char *root, const char *file, char **ret)
{
    char path[1024];
    uint8_t *bytes;
    size_t n;
    snprintf(path, sizeof path, "%s/%s", root, file);
    int r = l->p->ops->read(l->p, path, MAX_INDEX, &bytes, &n);
    if (r == 0)
        *ret = (char *)bytes;
    return r;
}

/* -ENOENT: the guest hasn't its modules. */
static int open_kernel(struct linux_plan *l, const char *version, struct kernel *k)
{
    *k = (struct kernel){ .add = calloc(MAX_MODULES, sizeof *k->add) };
    if (!k->add)
        return -ENOMEM;
    if (strlen(version) > 200 || !is_inside(version, strlen(version)) || strchr(version, '/'))
        return -ENOENT;
    snprintf(k->root, sizeof k->root, "lib/modules/%s", version);
    int r = index_text(l, k->root, "modules.dep", &k->dep);
    if (r < 0)
        return r;
    r = index_text(l, k->root, "modules.builtin", &k->builtin);
    return r == -ENOENT ? (k->builtin = strdup("")) ? 0 : -ENOMEM : r;
}

/* ---- the archive that is put behind ---- */

struct segment {
    struct linux_plan *l;
    const struct initramfs *image;
    const struct kernel *kernel;
    bool unpack; /* the image's modules have another suffix than the root's */
    struct cpio_out out;
    struct initramfs_dirs dirs;
};

static void add_text(struct segment *s, const char *name, const char *text)
{
    initramfs_add(s->image, &s->out, &s->dirs, name, text, strlen(text));
}

/* What a file of the kernel's directory is called in the image. */
static void name_there(const struct segment *s, const char *file, char *ret, size_t size)
{
    snprintf(ret, size, "%s%s/%s", s->image->lib_is_link ? "usr/" : "", s->kernel->root, file);
}

/* A file of the kernel's directory; a module without its compression where those of the image have another:
 * what they are packed with may be unknown to the image's kmod. kmod goes by the bytes, not by the name. */
static int copy_in(struct segment *s, const char *file, size_t max)
{
    char from[2048], to[2048];
    _cleanup_free_ uint8_t *bytes = NULL, *plain = NULL;
    size_t n;
    snprintf(from, sizeof from, "%s/%s", s->kernel->root, file);
    name_there(s, file, to, sizeof to);
    int r = s->l->p->ops->read(s->l->p, from, max, &bytes, &n);
    if (r == 0 && s->unpack && max == MAX_MODULE)
        r = initramfs_unpack(bytes, n, max, &plain, &n);
    if (r == 0 && (n > MAX_SEGMENT || s->out.n > MAX_SEGMENT - n))
        r = -EFBIG;
    if (r == 0)
        initramfs_add(s->image, &s->out, &s->dirs, to, plain ? plain : bytes, n);
    return r;
}

/* The modules that the image has, by the names that the root's index has for them. */
static void link_modules(struct segment *s)
{
    char path[1024], other[1040], name[2048];
    for (const char *line = s->kernel->dep; *line;) {
        size_t n = strcspn(line, ":\n");
        if (is_inside(line, n)) {
            snprintf(path, sizeof path, "%.*s", (int)n, line);
            as_in_image(s->image, path, other, sizeof other);
            name_there(s, path, name, sizeof name);
            const char *base = strrchr(other, '/');
            if (strcmp(path, other) && initramfs_has_module(s->image, other) &&
                !initramfs_has_module(s->image, path))
                initramfs_add_link(s->image, &s->out, &s->dirs, name, base ? base + 1 : other);
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
}

static int copy_modules(struct segment *s)
{
    static const char *const index[] = { "modules.dep",       "modules.dep.bin", "modules.alias",
                                         "modules.alias.bin", "modules.softdep", "modules.devname" };
    int r = 0;
    for (size_t m = 0; m < s->kernel->n_add && r == 0; m++) {
        char name[1024];
        snprintf(name, sizeof name, "%.*s", (int)s->kernel->add_length[m], s->kernel->add[m]);
        r = copy_in(s, name, MAX_MODULE);
    }
    for (size_t k = 0; k < sizeof index / sizeof index[0] && r == 0; k++) {
        r = copy_in(s, index[k], MAX_INDEX);
        r = r == -ENOENT ? 0 : r;
    }
    return r;
}

void linux_put_words(struct linux_out *o, const char *names, const char *have, const char *after)
{
    for (const char *p = names + strspn(names, " "); *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        bool there = false;
        for (const char *line = have; line && *line && !there;
             line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
            there = strcspn(line, "\n \t") == n && !memcmp(line, p, n);
        if (!there) {
            linux_put(o, p, n);
            linux_put(o, after, strlen(after));
        }
        p += n;
    }
}

/* How its init is told to load them. */
static int add_lists(struct segment *s)
{
    const char *target = prepare_target_name(s->l->p->target), *load = s->image->load;
    struct linux_out o = { 0 };
    char name[128];
    int r = 0;
    if (s->image->maker == INITRAMFS_TOOLS) {
        linux_put(&o, load ? load : "", load ? strlen(load) : 0);
        if (o.n && o.p[o.n - 1] != '\n')
            linux_put(&o, "\n", 1);
        linux_put_words(&o, s->kernel->names, load, "\n");
        if ((r = linux_out_done(&o)) == 0)
            add_text(s, "conf/modules", o.p);
    } else if (s->image->maker == INITRAMFS_DRACUT) {
        linux_put_words(&o, s->kernel->names, NULL, "\n");
        if ((r = linux_out_done(&o)) == 0) {
            snprintf(name, sizeof name, "etc/modules-load.d/ferryfs-%s.conf", target);
            add_text(s, name, o.p);
            o.n = 0;
            linux_put(&o, "rd.driver.pre=", 14);
            linux_put_words(&o, s->kernel->names, NULL, ",");
            o.n--; /* the last comma */
            linux_put(&o, "\n", 1);
            r = linux_out_done(&o);
        }
        if (r == 0) {
            snprintf(name, sizeof name, "etc/cmdline.d/ferryfs-%s.conf", target);
            add_text(s, name, o.p);
        }
    }
    free(o.p);
    return r;
}

/* ---- names of adapters ---- */

/* The root's .link files come too late where the image's udev names adapters for good. */
static size_t links_to_add(const struct linux_plan *l, const struct initramfs *i, struct segment *s)
{
    size_t n = 0;
    for (size_t k = 0; k < l->n_links && initramfs_names_for_good(i); k++) {
        const char *text = initramfs_link_text(i, l->links[k].path);
        if (text && !strcmp(text, l->links[k].text))
            continue;
        n++;
        if (s)
            add_text(s, l->links[k].path, l->links[k].text);
    }
    return n;
}

static void put_reason(const struct segment *s, size_t links, char *ret, size_t size)
{
    int n = 0;
    if (s->kernel->n_add)
        n = snprintf(ret, size, "the kernel finds its root there by%s: %zu modules of %s were missing%s",
                     s->kernel->names, s->kernel->n_add, s->kernel->root, links ? "; " : "");
    if (links)
        snprintf(ret + n, size - (size_t)n, "its udev names the adapters, and nothing renames them later");
}

static int append_segment(struct segment *s, const char *path, const struct initramfs_file *f)
{
    _cleanup_free_ uint8_t *bytes = NULL;
    char reason[1200];
    size_t n;
    int r = s->kernel->n_add ? copy_modules(s) : 0;
    if (r == 0 && s->unpack)
        link_modules(s);
    if (r == 0 && s->kernel->n_add)
        r = add_lists(s);
    put_reason(s, links_to_add(s->l, s->image, s), reason, sizeof reason);
    r = r < 0 ? r : initramfs_segment(s->image, f, &s->out, &bytes, &n);
    if (r == -ENOTSUP)
        return linux_block(s->l, "pack it with another compressor in the guest",
                           "%s has bytes behind its lz4 stream", path);
    if (r == -EFBIG)
        return linux_block(s->l, "make it anew in the guest, with the modules that are missing",
                           "%s would need more than %d MiB of modules", path, MAX_SEGMENT >> 20);
    if (r < 0)
        return r;
    return s->l->p->ops->append(s->l->p, path, bytes, n, reason);
}

/* ---- one image ---- */

/* Bytes that all images of a guest may have when they are unpacked. */
#define BUDGET (UINT64_C(4) << 30)

/* Where the modules of the image and those of the root are stored in another way, the root's index would hide
 * the image's, but for links. Debian's initramfs-tools unpack .ko.xz. */
static bool other_suffix(const struct initramfs *i, const struct kernel *k)
{
    for (size_t m = 0; m < k->n_add; m++) {
        size_t n = strlen(i->module_suffix);
        if (n && (k->add_length[m] < n || memcmp(k->add[m] + k->add_length[m] - n, i->module_suffix, n)))
            return true;
    }
    return false;
}

static int block_suffix(struct linux_plan *l, const char *path, const struct initramfs *i)
{
    char why[400];
    snprintf(why, sizeof why, "%.300s has modules named %s, and those of the root are named otherwise", path,
             i->module_suffix);
    return block_until_remade(l, why);
}

/* One kernel that won't do is no harm where there is another. */
static int note_lacking(struct linux_plan *l, const char *version, const char *module)
{
    snprintf(l->lacking, sizeof l->lacking, "the kernel %.200s has no %.100s", version, module);
    return linux_note(l, "%s", l->lacking);
}

/* ---- a unified image ---- */

/* The first root= of its command line that another bus would give another name; false: none. */
static bool find_root_by_hardware(struct linux_plan *l, const struct initramfs_file *whole, char *ret,
                                  size_t size)
{
    char line[4096], steady[160];
    uint64_t at, n;
    size_t got = 0;
    bool lost;
    if (uki_find_section(whole, ".cmdline", &at, &n) < 0 ||
        whole->read(whole->ctx, line, n < sizeof line - 1 ? n : sizeof line - 1, at, &got) < 0)
        return false;
    line[got] = 0;
    for (const char *p = line + strspn(line, " \n"); *p; p += strspn(p, " \n")) {
        size_t length = strcspn(p, " \n");
        snprintf(ret, size, "%.*s", (int)length, p);
        if (!strncmp(ret, "root=", 5) &&
            (linux_steady_name(l, ret + 5, steady, sizeof steady, &lost) || lost))
            return true;
        p += length;
    }
    return false;
}

/* One that won't do. Another image may be what is booted: so it stands in the way only where there is none.
 */
static int note_unified(struct linux_plan *l, const char *path, const struct kernel *k, const char *root,
                        const struct initramfs_file *whole)
{
    char lacks[300] = "", has[300] = "";
    if (k->n_add)
        snprintf(lacks, sizeof lacks, " lacks%.200s", k->missing);
    if (root)
        snprintf(has, sizeof has, "%s has %.200s in its command line, which is another name here",
                 lacks[0] ? ", and" : "", root);
    snprintf(l->unified, sizeof l->unified,
             "%.200s%s%s; nothing is put into a unified kernel image, which is %s as a whole", path, lacks,
             has, uki_is_signed(whole) == 1 ? "signed" : "made");
    if (k->n_add)
        remake_advice(l, l->unified_advice, sizeof l->unified_advice);
    else
        snprintf(l->unified_advice, sizeof l->unified_advice,
                 "where the guest runs, have the root by its UUID in /etc/kernel/cmdline, and make the image "
                 "anew");
    return linux_note(l, "%s", l->unified);
}

/* ---- one image ---- */

static int plan_image(struct linux_plan *l, const char *path, const struct initramfs *i,
                      const struct initramfs_file *f, const struct initramfs_file *unified)
{
    struct kernel k = { 0 };
    char root[300];
    bool elsewhere = unified && find_root_by_hardware(l, unified, root, sizeof root);
    const char *version = i->kernel;
    if (!version || i->several_kernels)
        return linux_note(l, "%s isn't changed: it has modules of %s kernel", path,
                          version ? "more than one" : "no");
    int r = open_kernel(l, version, &k);
    if (r == -ENOENT)
        r = linux_note(l, "%s isn't changed: the guest has no modules of its kernel %s", path, version);
    else if (r == 0 && (r = want_modules(&k, i, wanted_modules(l->p))) == 0) {
        l->boots |= !k.lacks[0] && (!unified || (!k.no_disk && !elsewhere));
        for (const struct wanted *w = wanted_modules(l->p); w->name; w++)
            if (strstr(k.names, w->name))
                add_word(l->modules, sizeof l->modules, w->name);
        if (k.lacks[0])
            r = note_lacking(l, version, k.lacks);
        else if (unified && (k.no_disk || elsewhere))
            r = note_unified(l, path, &k, elsewhere ? root : NULL, unified);
        else if (unified && k.n_add)
            r = linux_note(
                l, "%s lacks%s; nothing is put into a unified kernel image, and it finds its root without",
                path, k.missing);
        else if (k.n_add && other_suffix(i, &k) && i->maker == INITRAMFS_UNKNOWN)
            r = block_suffix(l, path, i);
        else if (k.n_add || (!unified && links_to_add(l, i, NULL))) {
            struct segment s = { .l = l, .image = i, .kernel = &k, .unpack = other_suffix(i, &k) };
            r = append_segment(&s, path, f);
            free(s.out.p);
            initramfs_dirs_done(&s.dirs);
        }
    }
    kernel_done(&k);
    return r;
}

struct image_file {
    struct prepare *p;
    const char *path;
    uint64_t at; /* where the image begins in the file */
};

static int read_image(void *ctx, void *buf, size_t len, uint64_t off, size_t *ret)
{
    struct image_file *f = ctx;
    return f->p->ops->read_at(f->p, f->path, buf, len, f->at + off, ret);
}

static int look_at_image(struct linux_plan *l, const char *path, bool unified)
{
    struct image_file file = { l->p, path, 0 }, whole_file = file;
    struct prepare_stat st;
    struct initramfs image = { 0 };
    struct fault why = { 0 };
    int r = l->p->ops->stat(l->p, path, &st);
    if (r < 0)
        return r;
    struct initramfs_file f = { read_image, &file, st.size, path, BUDGET - l->unpacked };
    if (l->unpacked >= BUDGET)
        return linux_note(l, "an initramfs isn't looked at: %s is one too many", path);
    struct initramfs_file whole = f;
    whole.ctx = &whole_file;
    if (unified) {
        uint64_t n;
        r = uki_find_section(&f, ".initrd", &file.at, &n);
        if (r < 0)
            return r == -ENOENT ? 0 : r;
        f.size = n;
        l->unified_images++;
    }
    r = initramfs_read(&f, &image, &why);
    l->unpacked += image.unpacked;
    if (r == 0) {
        l->n_read++;
        r = plan_image(l, path, &image, &f, unified ? &whole : NULL);
    } else if (r == -EUCLEAN || r == -ENOTSUP || r == -EFBIG) {
        char text[1600];
        fault_format(&why, text, sizeof text);
        snprintf(l->unread, sizeof l->unread, "%.800s", text);
        r = linux_note(l, "an initramfs isn't changed: %s", text);
    }
    initramfs_done(&image);
    return r;
}

/* ---- all of them ---- */

/* Has fstab a volume of its own for /boot? Then *ret is its file system. */
static bool boot_is_volume(struct linux_plan *l, char ret[16])
{
    _cleanup_free_ char *text = NULL;
    char where[8], copy[512];
    if (linux_text(l, "etc/fstab", &text) < 0)
        return false;
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        snprintf(copy, sizeof copy, "%.*s", (int)strcspn(line, "\n"), line);
        if (copy[0] != '#' && sscanf(copy, "%*s %7s %15s", where, ret) == 2 && !strcmp(where, "/boot"))
            return true;
    }
    return false;
}

/* Nothing to put modules into. A /boot that can't be read, or shows none, isn't one without an initramfs. */
static int say_no_image(struct linux_plan *l)
{
    static const char *const written[] = { "ext2", "ext3", "ext4", "vfat", "auto", NULL };
    char type[16], why[256];
    if (!boot_is_volume(l, type))
        return l->unified_images ? 0 : linux_note(l, "there is no initramfs in /boot");
    for (const char *const *w = written; *w; w++)
        if (!strcmp(type, *w))
            return linux_block(l, "name all disks of the guest as sources, or prepare it where it runs",
                               "there is no initramfs to be seen in /boot, which is a volume of its own");
    snprintf(why, sizeof why, "/boot is a volume of %s, and the initramfs in it can't be changed here", type);
    return block_until_remade(l, why);
}

int linux_plan_initramfs(struct linux_plan *l)
{
    _cleanup_free_ struct linux_images *i = malloc(sizeof *i);
    size_t plain = 0;
    int r = i ? linux_find_images(l, i) : -ENOMEM;
    for (size_t k = 0; r == 0 && k < i->n; k++) {
        r = look_at_image(l, i->list[k].path, i->list[k].unified);
        plain += !i->list[k].unified;
    }
    if (r == 0 && i->left_out[0])
        r = linux_note(l, "an initramfs isn't looked at: %s is one too many", i->left_out);
    if (r == 0 && !plain)
        r = say_no_image(l);
    if (r == 0 && l->lacking[0] && !l->boots)
        r = linux_block(
            l,
            prepare_is_hyperv(l->p)
                ? "make the VM one of Generation 1, whose disks are IDE, or install a newer kernel"
                : "give the VM a SATA disk, or install a newer kernel",
            "%s", l->lacking);
    else if (r == 0 && l->unified[0] && !l->boots)
        r = linux_block(l, l->unified_advice, "%s", l->unified);
    else if (r == 0 && l->unread[0] && !l->n_read) {
        char why[1000];
        snprintf(why, sizeof why, "what its initramfs has isn't known: %s", l->unread);
        r = block_until_remade(l, why);
    }
    return r < 0 ? r : linux_plan_makers(l);
}
