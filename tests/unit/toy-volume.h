/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_TOY_VOLUME_H
#define FERRYFS_TESTS_TOY_VOLUME_H
/* A file system that is a list of paths. */
#include "guest/volume.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct toy_entry {
    const char *path; /* from the root, without a leading slash; the inode is the index + 2 */
    char type;        /* d directory, f file (text is its content), l link, w Windows link */
    const char *text;
};

struct toy_volume {
    struct volume volume;
    const struct toy_entry *entries; /* ends with a NULL path */
};

static const struct toy_entry *entry(struct volume *v, uint64_t ino)
{
    static const struct toy_entry root = { "", 'd', NULL };
    return ino == VOLUME_ROOT ? &root : &((struct toy_volume *)(void *)v)->entries[ino - 2];
}

static int toy_lookup(struct volume *v, uint64_t dir, const char *name, uint64_t *ret)
{
    const struct toy_entry *d = entry(v, dir), *all = ((struct toy_volume *)(void *)v)->entries;
    char want[512];
    if (d->type != 'd')
        return -ENOTDIR;
    snprintf(want, sizeof want, "%s%s%s", d->path, d->path[0] ? "/" : "", name);
    for (size_t i = 0; all[i].path; i++)
        if (v->caseless ? !strcasecmp(all[i].path, want) : !strcmp(all[i].path, want)) {
            *ret = i + 2;
            return 0;
        }
    return -ENOENT;
}

static int toy_getattr(struct volume *v, uint64_t ino, struct volume_attr *ret)
{
    char t = entry(v, ino)->type;
    *ret = (struct volume_attr){ .mode = t == 'd' ? S_IFDIR : t == 'f' ? S_IFREG : S_IFLNK };
    return 0;
}

static int toy_link(struct volume *v, uint64_t ino, char *buf, size_t size, enum link_style *style)
{
    snprintf(buf, size, "%s", entry(v, ino)->text ? entry(v, ino)->text : "");
    *style = entry(v, ino)->type == 'w' ? LINK_WINDOWS : LINK_POSIX;
    return 0;
}

struct toy_file {
    struct volume_file file;
    const char *text;
};

static int toy_open(struct volume *v, uint64_t ino, struct volume_file **ret)
{
    struct toy_file *f = calloc(1, sizeof *f);
    f->text = entry(v, ino)->text;
    *ret = &f->file;
    return 0;
}

static int toy_read(struct volume_file *f, void *buf, size_t len, uint64_t off, size_t *ret)
{
    const char *text = ((struct toy_file *)(void *)f)->text;
    size_t n = strlen(text);
    *ret = off >= n ? 0 : n - off < len ? n - off : len;
    memcpy(buf, text + off, *ret);
    return 0;
}

static void toy_release(struct volume_file *f)
{
    free(f);
}

static void toy_close(struct volume *v)
{
    (void)v;
}

static const struct volume_ops toy_ops = {
    .lookup = toy_lookup,
    .getattr = toy_getattr,
    .link = toy_link,
    .open = toy_open,
    .read = toy_read,
    .release = toy_release,
    .close = toy_close,
};
#endif
