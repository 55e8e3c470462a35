/* SPDX-License-Identifier: GPL-2.0-or-later */
/* \EFI\BOOT\BOOTX64.EFI in the EFI system partition. A machine's firmware remembers boot entries, "start
 * \EFI\debian\shimx64.efi"; a new VM's has none, and starts this file. Where there is none, the loader
 * of the distribution is copied there, with what it looks for beside itself:
 *
 *     shim            GRUB, and MokManager where there is one
 *     GRUB            its grub.cfg, where there is one
 *
 * and not shim's fbx64.efi: from there it would make boot entries and start the machine anew each time where
 * the firmware doesn't keep them. Source: the UEFI specification, "Removable Media Boot Behavior"; shim's
 * README.fallback. */
#include "../formats/cleanup.h"
#include "prepare-linux.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_LOADER = 32 << 20, MAX_DIRS = 64, N_BESIDE = 3 };

static const char reason[] = "a new VM's firmware has no boot entries: it starts the loader that is here";

/* By preference. A loader without its `needs` beside it is none. */
struct loader {
    const char *name, *needs;
    const char *beside[N_BESIDE];
};
struct machine {
    const char *fallback;
    struct loader loaders[5];
};
static const struct machine machines[] = {
    { "BOOTX64.EFI",
      { { "shimx64.efi", "grubx64.efi", { "mmx64.efi", "grub.cfg" } },
        { "shim.efi", "grub.efi", { "MokManager.efi", "grub.cfg" } }, /* SUSE's */
        { "grubx64.efi", NULL, { "grub.cfg" } },
        { "systemd-bootx64.efi", NULL, { NULL } } } },
    { "BOOTAA64.EFI",
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

static int plan_machine(struct linux_plan *l, const struct esp *e, const struct machine *m)
{
    char boot[64];
    const char *dir;
    if (is_in(l, e, "BOOT", m->fallback))
        return 0;
    const struct loader *w = find_loader(l, e, m, &dir);
    if (!w)
        return 0;
    snprintf(boot, sizeof boot, "%s/EFI/BOOT", e->root);
    int r = linux_has(l, boot) ? 0 : l->p->ops->mkdir(l->p, boot, 0755, reason);
    r = r < 0 ? r : copy_to_boot(l, e, dir, w->name, m->fallback);
    if (r == 0 && w->needs)
        r = copy_to_boot(l, e, dir, w->needs, w->needs);
    for (size_t i = 0; i < N_BESIDE && w->beside[i] && r == 0; i++)
        if (is_in(l, e, dir, w->beside[i]))
            r = copy_to_boot(l, e, dir, w->beside[i], w->beside[i]);
    return r;
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
        for (size_t k = 0; k < sizeof machines / sizeof machines[0] && r == 0 && e->n; k++)
            r = plan_machine(l, e, &machines[k]);
    }
    free(e);
    return r;
}
