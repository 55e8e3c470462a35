/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a guest's boot loader gets an initramfs from:
 *
 *     /boot/initrd*, initramfs*  GRUB's, and those of a system partition that is /boot
 *     loader/entries/X.conf      "initrd" names one, "efi" and "uki" a unified kernel image, from the top of
 *                                the partition that the entry is in (kernel-install keeps copies there)
 *     EFI/Linux/X.efi            unified kernel images, which systemd-boot finds by itself
 *
 * Each is found once: bytes must not be put behind it twice. FAT's names have no case.
 * Source: the UAPI group's "Boot Loader Specification"; kernel-install(8). */
#include "../formats/cleanup.h"
#include "prepare-linux.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The partitions that may have loader/ and EFI/, as they are mounted. */
static const char *const roots[] = { "boot", "boot/efi", "efi" };
enum { N_ROOTS = sizeof roots / sizeof roots[0] };

struct finding {
    struct linux_images *images;
    const char *dir; /* that is being listed */
};

static bool is_spare(const char *name)
{
    static const char *const parts[] = { "kdump", "rescue", ".bak", ".old", ".dpkg-", "~" };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(name, parts[i]))
            return true;
    return false;
}

static void add_image(struct linux_images *i, const char *path, bool unified)
{
    for (size_t k = 0; k < i->n; k++)
        if (!strcasecmp(i->list[k].path, path)) /* also a damaged directory's name that is there twice */
            return;
    if (i->n == LINUX_MAX_IMAGES || strlen(path) >= sizeof i->list[0].path) {
        if (!i->left_out[0])
            snprintf(i->left_out, sizeof i->left_out, "%s", path);
        return;
    }
    struct linux_image *image = &i->list[i->n++];
    snprintf(image->path, sizeof image->path, "%s", path);
    image->unified = unified;
}

/* ---- what a directory has ---- */

static int note_image(void *ctx, const char *name, uint32_t type)
{
    struct finding *f = ctx;
    bool named = !strncmp(name, "initrd", 6) || !strncmp(name, "initramfs", 9);
    char path[300];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    if ((type & S_IFMT) == S_IFREG && named && !is_spare(name) && strlen(name) < 256)
        add_image(f->images, path, false);
    return 0;
}

static int note_unified(void *ctx, const char *name, uint32_t type)
{
    struct finding *f = ctx;
    size_t n = strlen(name);
    char path[300];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    if ((type & S_IFMT) == S_IFREG && n > 4 && n < 256 && !strcasecmp(name + n - 4, ".efi"))
        add_image(f->images, path, true);
    return 0;
}

static int look_in(struct linux_plan *l, struct linux_images *i, const char *dir, prepare_each note)
{
    struct finding f = { i, dir };
    int r = l->p->ops->list(l->p, dir, note, &f);
    return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

/* ---- what an entry names ---- */

/* "/ID/6.1/initrd" below `root`, without empty parts. False: it leads elsewhere, or is too long. */
static bool path_below(const char *root, const char *p, size_t n, char *ret, size_t size)
{
    size_t used = (size_t)snprintf(ret, size, "%s", root);
    for (size_t at = 0; at < n;) {
        size_t part = 0;
        while (at + part < n && p[at + part] != '/')
            part++;
        bool dots = (part == 1 && p[at] == '.') || (part == 2 && !memcmp(p + at, "..", 2));
        if (dots || used + part + 2 > size)
            return false;
        if (part)
            used += (size_t)snprintf(ret + used, size - used, "%s%.*s", used ? "/" : "", (int)part, p + at);
        at += part + 1;
    }
    return true;
}

/* A link's target is found where it lies, or is none of ours. */
static bool is_file(struct linux_plan *l, const char *path)
{
    struct prepare_stat st;
    char link[LINUX_PATH_MAX];
    return l->p->ops->stat(l->p, path, &st) == 0 && S_ISREG(st.mode) &&
           l->p->ops->readlink(l->p, path, link, sizeof link) < 0;
}

/* GRUB takes names from the top of the file system that has /boot: that may be the root. */
static void add_named(struct linux_plan *l, struct linux_images *i, const char *root, const char *p, size_t n,
                      bool unified)
{
    char path[sizeof i->list[0].path];
    const char *const tops[] = { root, !strcmp(root, "boot") ? "" : root };
    for (size_t k = 0; k < 2; k++) {
        if (!path_below(tops[k], p, n, path, sizeof path) || !is_file(l, path))
            continue;
        const char *base = strrchr(path, '/');
        if (!is_spare(base ? base : path))
            add_image(i, path, unified);
        return;
    }
}

static void look_at_line(struct linux_plan *l, struct linux_images *i, const char *root, const char *line,
                         size_t n)
{
    static const char blanks[] = " \t\r";
    const char *end = line + n;
    const char *word = line;
    size_t length = strcspn(word, " \t\r\n");
    bool initrd = length == 6 && !memcmp(word, "initrd", 6);
    bool unified = length == 3 && (!memcmp(word, "efi", 3) || !memcmp(word, "uki", 3));
    if (!initrd && !unified)
        return;
    for (word += length; word < end; word += length) {
        word += strspn(word, blanks);
        length = strcspn(word, " \t\r\n");
        if (!length)
            return;
        add_named(l, i, root, word, length, unified);
    }
}

static int look_at_entries(struct linux_plan *l, struct linux_images *i, const char *root)
{
    _cleanup_free_ struct linux_names *entries = malloc(sizeof *entries);
    char dir[64], path[400];
    if (!entries)
        return -ENOMEM;
    snprintf(dir, sizeof dir, "%s/loader/entries", root);
    int r = linux_list(l, dir, ".conf", entries);
    for (size_t k = 0; k < entries->n && r == 0; k++) {
        _cleanup_free_ char *text = NULL;
        snprintf(path, sizeof path, "%s/%s", dir, entries->names[k]);
        r = linux_text(l, path, &text);
        if (r == -ENOENT)
            r = 0;
        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
            look_at_line(l, i, root, line + strspn(line, " \t"), strcspn(line + strspn(line, " \t"), "\n"));
    }
    return r;
}

int linux_find_images(struct linux_plan *l, struct linux_images *ret)
{
    *ret = (struct linux_images){ .n = 0 };
    int r = look_in(l, ret, "boot", note_image);
    for (size_t k = 0; k < N_ROOTS && r == 0; k++) {
        char dir[64];
        snprintf(dir, sizeof dir, "%s/EFI/Linux", roots[k]);
        r = look_at_entries(l, ret, roots[k]);
        r = r < 0 ? r : look_in(l, ret, dir, note_unified);
    }
    return r;
}
