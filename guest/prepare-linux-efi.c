/* SPDX-License-Identifier: GPL-2.0-or-later */
/* \EFI\BOOT\BOOTX64.EFI in the EFI system partition. A machine's firmware remembers boot entries, "start
 * \EFI\debian\shimx64.efi"; a new VM's has none, and starts this file. Where there is none, the loader
 * of the distribution is copied there, with what it looks for beside itself:
 *
 *     shim            GRUB, and MokManager where there is one
 *     GRUB            its grub.cfg, where there is one
 *
 * and not shim's fbx64.efi: from there it would make boot entries and start the machine anew each time where
 * the firmware doesn't keep them.
 *
 * Where there is one, it may be a shim, which by itself starts nothing: from here it takes fbx64.efi, if that
 * is beside it, and with it the loader that a BOOTX64.CSV of a distribution names; else the loader beside it.
 * Without either it is as good as none. Source: the UEFI specification, "Removable Media Boot Behavior";
 * shim's README.fallback, and its should_use_fallback(). */
#include "../formats/cleanup.h"
#include "prepare-linux.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_LOADER = 32 << 20, MAX_SHIM = 4 << 20, MAX_DIRS = 64, N_BESIDE = 3, N_FALLBACKS = 2 };

static const char reason[] = "a new VM's firmware has no boot entries: it starts the loader that is here";

/* By preference. A loader without its `needs` beside it is none. */
struct loader {
    const char *name, *needs;
    const char *beside[N_BESIDE];
};
struct machine {
    const char *fallback;
    const char *shims[N_FALLBACKS]; /* what a shim starts from there, by a list that is called */
    const char *lists[N_FALLBACKS];
    struct loader loaders[5];
};
static const struct machine machines[] = {
    { "BOOTX64.EFI",
      { "fbx64.efi", "fallback.efi" },
      { "BOOTX64.CSV", "BOOT.CSV" },
      { { "shimx64.efi", "grubx64.efi", { "mmx64.efi", "grub.cfg" } },
        { "shim.efi", "grub.efi", { "MokManager.efi", "grub.cfg" } }, /* SUSE's */
        { "grubx64.efi", NULL, { "grub.cfg" } },
        { "systemd-bootx64.efi", NULL, { NULL } } } },
    { "BOOTAA64.EFI",
      { "fbaa64.efi", "fallback.efi" },
      { "BOOTAA64.CSV", "BOOT.CSV" },
      { { "shimaa64.efi", "grubaa64.efi", { "mmaa64.efi", "grub.cfg" } },
        { "grubaa64.efi", NULL, { "grub.cfg" } },
        { "systemd-bootaa64.efi", NULL, { NULL } } } },
};

struct esp {
    const char *root; /* where the partition is mounted: "boot/efi" */
    char dirs[MAX_DIRS][64];
    size_t n;
    char id[64]; /* ID of os-release: the distribution whose directory is preferred; "" */
};

static int note_dir(void *ctx, const char *name, uint32_t type)
{
    struct esp *e = ctx;
    if ((type & S_IFMT) == S_IFDIR && strcasecmp(name, "BOOT") && strcasecmp(name, "Microsoft") &&
        strlen(name) < sizeof e->dirs[0] && e->n < MAX_DIRS)
        snprintf(e->dirs[e->n++], sizeof e->dirs[0], "%s", name);
    return 0;
}

static void find_id(struct linux_plan *l, char *ret, size_t size)
{
    _cleanup_free_ char *text = NULL;
    *ret = 0;
    if (linux_text(l, "etc/os-release", &text) < 0)
        return;
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, "ID=", 3) != 0)
            continue;
        line += 3 + (line[3] == '"' || line[3] == '\'');
        snprintf(ret, size, "%.*s", (int)strcspn(line, "\"'\n"), line);
        return;
    }
}

static bool is_in(struct linux_plan *l, const struct esp *e, const char *dir, const char *name)
{
    char path[256];
    struct prepare_stat st;
    snprintf(path, sizeof path, "%s/EFI/%s/%s", e->root, dir, name);
    return l->p->ops->stat(l->p, path, &st) == 0 && S_ISREG(st.mode);
}

/* The best loader, and the directory that has it. */
static const struct loader *find_loader(struct linux_plan *l, const struct esp *e, const struct machine *m,
                                        const char **ret_dir)
{
    for (const struct loader *w = m->loaders; w->name; w++) {
        *ret_dir = NULL;
        for (size_t i = 0; i < e->n; i++)
            if (is_in(l, e, e->dirs[i], w->name) && (!w->needs || is_in(l, e, e->dirs[i], w->needs)) &&
                (!*ret_dir || !strcasecmp(e->dirs[i], e->id)))
                *ret_dir = e->dirs[i];
        if (*ret_dir)
            return w;
    }
    return NULL;
}

/* Another file of that name there goes with no loader that starts: it is replaced. */
static int copy_to_boot(struct linux_plan *l, const struct esp *e, const char *dir, const char *name,
                        const char *as)
{
    char from[256], to[256];
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    snprintf(from, sizeof from, "%s/EFI/%s/%s", e->root, dir, name);
    snprintf(to, sizeof to, "%s/EFI/BOOT/%s", e->root, as);
    int r = l->p->ops->read(l->p, from, MAX_LOADER, &bytes, &n);
    /* Not linux_file: FAT has no labels to be made. */
    return r < 0 ? r : l->p->ops->file(l->p, to, bytes, n, 0755, reason);
}

/* ---- a shim that is there ---- */

/* Has it the path "\\NAME", in UTF-16? A shim has it of all that it may start. */
static bool names(const uint8_t *bytes, size_t n, const char *name)
{
    char path[128];
    size_t len = 0;
    path[len++] = '\\';
    path[len++] = 0;
    for (const char *c = name; *c && len + 2 <= sizeof path; c++) {
        path[len++] = *c;
        path[len++] = 0;
    }
    return memmem(bytes, n, path, len) != NULL;
}

/* The loader of `m` that EFI/BOOT's goes with, if it is a shim; NULL: it is none, or one that starts another.
 */
static int read_shim(struct linux_plan *l, const struct esp *e, const struct machine *m,
                     const struct loader **ret)
{
    char path[256];
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    *ret = NULL;
    snprintf(path, sizeof path, "%s/EFI/BOOT/%s", e->root, m->fallback);
    int r = l->p->ops->read(l->p, path, MAX_SHIM, &bytes, &n);
    if (r < 0)
        return r == -EFBIG ? 0 : r; /* a unified image */
    if (!names(bytes, n, m->shims[0]) && !names(bytes, n, m->shims[1]))
        return 0;
    for (const struct loader *w = m->loaders; w->name && !*ret; w++)
        if (w->needs && names(bytes, n, w->needs))
            *ret = w;
    return 0;
}

/* The directory of a distribution that has it, rather the guest's own; NULL: none. */
static const char *dir_with(struct linux_plan *l, const struct esp *e, const char *name)
{
    const char *dir = NULL;
    for (size_t i = 0; i < e->n; i++)
        if (is_in(l, e, e->dirs[i], name) && (!dir || !strcasecmp(e->dirs[i], e->id)))
            dir = e->dirs[i];
    return dir;
}

/* fbx64.efi without a list starts the machine anew for ever: it goes. */
static int plan_lists(struct linux_plan *l, const struct esp *e, const struct machine *m, bool *ret_works)
{
    bool there = false, listed = false;
    int r = 0;
    for (size_t i = 0; i < N_FALLBACKS; i++) {
        there |= is_in(l, e, "BOOT", m->shims[i]);
        listed |= dir_with(l, e, m->lists[i]) != NULL;
    }
    *ret_works = there && listed;
    for (size_t i = 0; i < N_FALLBACKS && r == 0 && there && !listed; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/EFI/BOOT/%s", e->root, m->shims[i]);
        if (is_in(l, e, "BOOT", m->shims[i]))
            r = l->p->ops->remove(l->p, path, "shim starts it first, and it finds no list of loaders");
    }
    return r;
}

/* A machine that has BIOS boots its guest by another way. */
static bool boots_by_bios(struct linux_plan *l)
{
    static const char *const ways[] = { "boot/grub/i386-pc", "boot/grub2/i386-pc", "boot/extlinux",
                                        "boot/syslinux" };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (linux_has(l, ways[i]))
            return true;
    return false;
}

static int say_lone(struct linux_plan *l, const struct esp *e, const struct machine *m, const char *needs)
{
    if (boots_by_bios(l))
        return linux_note(l, "%s/EFI/BOOT/%s is a shim without %s, which it would start: a VM with EFI won't",
                          e->root, m->fallback, needs);
    return linux_block(
        l, "install the packages of shim and of GRUB for EFI anew in the guest",
        "%s/EFI/BOOT/%s, which a new VM's firmware starts, is a shim, and the %s that it would start "
        "is nowhere",
        e->root, m->fallback, needs);
}

/* ---- one kind of processor ---- */

/* A loader with what is to be beside it. */
static int copy_set(struct linux_plan *l, const struct esp *e, const struct machine *m,
                    const struct loader *w, const char *dir)
{
    char boot[64];
    snprintf(boot, sizeof boot, "%s/EFI/BOOT", e->root);
    int r = linux_has(l, boot) ? 0 : l->p->ops->mkdir(l->p, boot, 0755, reason);
    if (r == 0 && is_in(l, e, dir, w->name))
        r = copy_to_boot(l, e, dir, w->name, m->fallback);
    if (r == 0 && w->needs)
        r = copy_to_boot(l, e, dir, w->needs, w->needs);
    for (size_t i = 0; i < N_BESIDE && w->beside[i] && r == 0; i++)
        if (is_in(l, e, dir, w->beside[i]))
            r = copy_to_boot(l, e, dir, w->beside[i], w->beside[i]);
    return r;
}

static int plan_machine(struct linux_plan *l, const struct esp *e, const struct machine *m)
{
    const char *dir = NULL;
    const struct loader *shim = NULL, *w;
    bool works = false;
    if (is_in(l, e, "BOOT", m->fallback)) {
        int r = read_shim(l, e, m, &shim);
        if (r == 0 && shim)
            r = plan_lists(l, e, m, &works);
        if (r < 0 || !shim || works || is_in(l, e, "BOOT", shim->needs))
            return r;
    }
    w = find_loader(l, e, m, &dir);
    if (shim && (!w || !w->needs) && dir_with(l, e, shim->needs)) {
        w = shim; /* which is signed, and stays: without it, GRUB wouldn't be let in by Secure Boot */
        dir = dir_with(l, e, shim->needs);
    }
    if (w)
        return copy_set(l, e, m, w, dir);
    return shim ? say_lone(l, e, m, shim->needs) : 0;
}

int linux_plan_efi(struct linux_plan *l)
{
    static const char *const roots[] = { "boot/efi", "efi", "boot" };
    struct esp *e = calloc(1, sizeof *e);
    int r = e ? 0 : -ENOMEM;
    if (e)
        find_id(l, e->id, sizeof e->id);
    for (size_t i = 0; i < sizeof roots / sizeof roots[0] && r == 0; i++) {
        char path[32];
        e->root = roots[i];
        e->n = 0;
        snprintf(path, sizeof path, "%s/EFI", roots[i]);
        r = l->p->ops->list(l->p, path, note_dir, e);
        r = r == -ENOENT || r == -ENOTDIR ? 0 : r;
        for (size_t k = 0; k < sizeof machines / sizeof machines[0] && r == 0; k++)
            r = plan_machine(l, e, &machines[k]);
    }
    free(e);
    return r;
}
