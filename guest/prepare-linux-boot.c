/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's command line, where boot loaders have it:
 *
 *     grub.cfg, menu.lst           lines "linux", "linuxefi", "linux16", "kernel"; nothing is evaluated
 *     loader/entries               "options", in /boot and in the EFI system partition
 *     extlinux.conf, syslinux.cfg  "append"
 *     grubenv                      "kernelopts="; the file keeps its 1024 bytes
 *     /etc/kernel/cmdline          entries are made from it later; /etc/default/grub: prepare-linux-grub.c
 *
 * Device names that another bus gives otherwise become UUIDs, and the console is on the serial port as well.
 * Source: the GRUB manual, the Boot Loader Specification, kernel-parameters.txt, kernel-install(8). */
#include "../formats/cleanup.h"
#include "prepare-linux.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRUBENV_SIZE = 1024, MAX_ENTRIES = 64 };

bool linux_wants_console(const struct linux_plan *l)
{
    return l->p->target != PREPARE_HYPERV;
}

const char *linux_boot_reason(const struct linux_plan *l)
{
    return linux_wants_console(l) ? "the kernel finds its root by UUID, and speaks on the serial port"
                                  : "the kernel finds its root by UUID";
}

/* ---- one command line ---- */

static bool word_begins(const char *p, size_t n, const char *with)
{
    return n >= strlen(with) && !memcmp(p, with, strlen(with));
}

/* One argument. */
static int put_argument(struct linux_plan *l, const char *p, size_t n, struct linux_out *o)
{
    static const char *const names[] = { "root=", "resume=" };
    char device[256], steady[160];
    bool lost = false;
    for (size_t i = 0; i < 2; i++) {
        size_t k = strlen(names[i]);
        if (!word_begins(p, n, names[i]) || n - k >= sizeof device)
            continue;
        snprintf(device, sizeof device, "%.*s", (int)(n - k), p + k);
        if (linux_steady_name(l, device, steady, sizeof steady, &lost)) {
            linux_put(o, p, k);
            linux_put(o, steady, strlen(steady));
            return 0;
        }
        if (lost && !i)
            linux_block(l, "name it by its UUID in the boot loader's configuration",
                        "the boot loader has the root at %s, which no volume here can be told to be", device);
    }
    linux_put(o, p, n);
    return 0;
}

bool linux_has_serial(const char *p, size_t n)
{
    static const char *const consoles[] = { "console=ttyS0", "console=hvc0" };
    for (size_t at = 0; at < n; at++)
        for (size_t i = 0; i < 2; i++)
            if ((!at || strchr(" \t\"'", p[at - 1])) && word_begins(p + at, n - at, consoles[i]))
                return true;
    return false;
}

int linux_put_arguments(struct linux_plan *l, const char *p, size_t n, bool console, struct linux_out *o)
{
    static const char serial[] = "console=tty0 console=ttyS0,115200n8";
    bool any = false;
    int r = 0;
    for (size_t at = 0; at < n && r == 0;) {
        size_t space = strspn(p + at, " \t");
        space = space < n - at ? space : n - at;
        linux_put(o, p + at, space);
        at += space;
        size_t word = strcspn(p + at, " \t\n\"'");
        word = word < n - at ? word : n - at;
        if (!word && at < n)
            word = 1; /* a quote */
        l->kernel_names |= word == 14 && word_begins(p + at, word, "net.ifnames=0");
        any |= word > 0;
        r = word ? put_argument(l, p + at, word, o) : 0;
        at += word;
    }
    if (console && !linux_has_serial(p, n) && linux_wants_console(l)) {
        if (any && n && p[n - 1] != ' ')
            linux_put(o, " ", 1);
        linux_put(o, serial, strlen(serial));
    }
    return r;
}

/* ---- lines that have one ---- */

enum kind { KIND_GRUB, KIND_ENTRY, KIND_SYSLINUX, KIND_CMDLINE };

/* If a line has a command line: where in it, and how long. */
static bool find_arguments(enum kind kind, const char *line, size_t n, size_t *ret_at, size_t *ret_n)
{
    static const char *const words[][6] = {
        [KIND_GRUB] = { "linux", "linuxefi", "linux16", "kernel", NULL },
        [KIND_ENTRY] = { "options", NULL },
        [KIND_SYSLINUX] = { "append", "APPEND", NULL },
        [KIND_CMDLINE] = { "", NULL },
    };
    size_t indent = strspn(line, " \t");
    if (indent >= n)
        return false;
    for (const char *const *w = words[kind]; *w; w++) {
        size_t k = strlen(*w), at = indent + k;
        if (!word_begins(line + indent, n - indent, *w))
            continue;
        if (!k || (at < n && (line[at] == ' ' || line[at] == '\t'))) {
            *ret_at = at;
            *ret_n = n - at;
            return true;
        }
    }
    return false;
}

/* An entry that boots a kernel with a root: no memory test, no Xen. GRUB's $kernelopts stands for one that
 * grubenv has. */
static bool is_kernel(const char *p, size_t n)
{
    return memmem(p, n, "root=", 5) != NULL;
}

static int put_line(struct linux_plan *l, enum kind kind, const char *line, size_t n, struct linux_out *o)
{
    size_t at, length;
    if (!find_arguments(kind, line, n, &at, &length) || !is_kernel(line + at, length)) {
        linux_put(o, line, n);
        return 0;
    }
    linux_put(o, line, at);
    int r = linux_put_arguments(l, line + at, length, true, o);
    linux_put(o, line + at + length, n - at - length);
    return r;
}

static int plan_text(struct linux_plan *l, const char *path, enum kind kind)
{
    _cleanup_free_ char *text = NULL;
    struct linux_out o = { 0 };
    int r = linux_text(l, path, &text);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (const char *line = text; *line && r == 0;) {
        size_t n = strcspn(line, "\n");
        r = put_line(l, kind, line, n, &o);
        linux_put(&o, line + n, line[n] == '\n');
        line += n + (line[n] == '\n');
    }
    r = r < 0 ? r : linux_out_done(&o);
    r = r < 0 ? r : linux_file(l, path, o.p, 0644, linux_boot_reason(l));
    free(o.p);
    return r;
}

/* ---- grubenv ---- */

static int plan_grubenv(struct linux_plan *l, const char *path)
{
    static const char name[] = "kernelopts=";
    _cleanup_free_ char *text = NULL;
    struct linux_out o = { 0 };
    int r = linux_text(l, path, &text);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (strlen(text) != GRUBENV_SIZE || strncmp(text, "# GRUB Environment Block\n", 25) != 0)
        return 0;
    size_t content = GRUBENV_SIZE;
    while (content && text[content - 1] == '#')
        content--;
    for (size_t at = 0; at < content && r == 0;) {
        size_t n = strcspn(text + at, "\n"), k = strlen(name);
        n = n < content - at ? n : content - at;
        if (word_begins(text + at, n, name)) {
            linux_put(&o, name, k);
            r = linux_put_arguments(l, text + at + k, n - k, true, &o);
        } else {
            linux_put(&o, text + at, n);
        }
        at += n;
        if (at < content)
            linux_put(&o, text + at++, 1);
    }
    if (r == 0 && o.n > GRUBENV_SIZE)
        r = linux_note(l, "/%s isn't changed: it has no room", path);
    else if (r == 0) {
        while (o.n < GRUBENV_SIZE && !o.failed)
            linux_put(&o, "#", 1);
        r = linux_out_done(&o);
        r = r < 0 ? r : linux_file(l, path, o.p, 0644, linux_boot_reason(l));
    }
    free(o.p);
    return r;
}

/* ---- files ---- */

static int plan_entries(struct linux_plan *l, const char *dir)
{
    struct linux_names *e = malloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    int r = linux_list(l, dir, ".conf", e);
    for (size_t i = 0; i < e->n && r == 0; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", dir, e->names[i]);
        r = plan_text(l, path, KIND_ENTRY);
    }
    free(e);
    return r;
}

struct distributions {
    char names[MAX_ENTRIES][64];
    size_t n;
};

static int note_distribution(void *ctx, const char *name, uint32_t type)
{
    struct distributions *d = ctx;
    if ((type & S_IFMT) == S_IFDIR && strlen(name) < sizeof d->names[0] && d->n < MAX_ENTRIES)
        snprintf(d->names[d->n++], sizeof d->names[0], "%s", name);
    return 0;
}

/* RHEL's GRUB for EFI has its grub.cfg and grubenv in the EFI system partition. */
static int plan_efi(struct linux_plan *l)
{
    struct distributions *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    int r = l->p->ops->list(l->p, "boot/efi/EFI", note_distribution, d);
    r = r == -ENOENT || r == -ENOTDIR ? 0 : r;
    for (size_t i = 0; i < d->n && r == 0; i++) {
        char path[128];
        snprintf(path, sizeof path, "boot/efi/EFI/%s/grub.cfg", d->names[i]);
        r = plan_text(l, path, KIND_GRUB);
        snprintf(path, sizeof path, "boot/efi/EFI/%s/grubenv", d->names[i]);
        r = r < 0 ? r : plan_grubenv(l, path);
    }
    free(d);
    return r;
}

int linux_plan_boot(struct linux_plan *l)
{
    static const struct {
        const char *path;
        enum kind kind;
    } texts[] = {
        { "boot/grub/grub.cfg", KIND_GRUB },
        { "boot/grub2/grub.cfg", KIND_GRUB },
        { "boot/grub/menu.lst", KIND_GRUB },
        { "boot/extlinux.conf", KIND_SYSLINUX },
        { "boot/extlinux/extlinux.conf", KIND_SYSLINUX },
        { "boot/syslinux.cfg", KIND_SYSLINUX },
        { "boot/syslinux/syslinux.cfg", KIND_SYSLINUX },
        { "etc/kernel/cmdline", KIND_CMDLINE },
    };
    int r = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && r == 0; i++)
        r = plan_text(l, texts[i].path, texts[i].kind);
    r = r < 0 ? r : linux_plan_grub_defaults(l);
    r = r < 0 ? r : plan_entries(l, "boot/loader/entries");
    r = r < 0 ? r : plan_entries(l, "boot/efi/loader/entries");
    r = r < 0 ? r : plan_entries(l, "efi/loader/entries");
    r = r < 0 ? r : plan_grubenv(l, "boot/grub2/grubenv");
    r = r < 0 ? r : plan_grubenv(l, "boot/grub/grubenv");
    r = r < 0 ? r : plan_efi(l);
    return r < 0 ? r : linux_plan_efi(l);
}
