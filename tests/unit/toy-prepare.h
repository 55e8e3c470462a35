/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_TOY_PREPARE_H
#define FERRYFS_TESTS_TOY_PREPARE_H
/* A guest in memory, for planners: files, links and directories by their paths. Changes are made at once, so
 * a second plan sees them. There is no registry. */
#include "guest/prepare.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOY_FILES = 128 };

struct toy_file {
    char *path;
    uint8_t *bytes; /* of a link its text; NULL: a directory */
    size_t n;
    bool link;
};

struct toy_guest {
    struct prepare prepare; /* first */
    struct toy_file files[TOY_FILES];
    size_t n, changes, blocks;
    char said[8192];   /* blocks and notes, a line each */
    char advice[1024]; /* what the last block has to do */
};

static inline struct toy_file *toy_find(struct prepare *p, const char *path)
{
    struct toy_guest *g = (struct toy_guest *)(void *)p;
    for (size_t i = 0; i < g->n; i++)
        if (!strcmp(g->files[i].path, path))
            return &g->files[i];
    return NULL;
}

static inline void toy_put(struct toy_guest *g, const char *path, const void *bytes, size_t n, bool link)
{
    struct toy_file *f = toy_find(&g->prepare, path);
    if (!f && g->n == TOY_FILES)
        abort();
    if (!f) {
        f = &g->files[g->n++];
        *f = (struct toy_file){ .path = strdup(path) };
    }
    free(f->bytes);
    f->bytes = bytes ? calloc(1, n + 1) : NULL;
    f->n = n;
    f->link = link;
    if (n)
        memcpy(f->bytes, bytes, n);
}

static inline void toy_text(struct toy_guest *g, const char *path, const char *text)
{
    toy_put(g, path, text, strlen(text), false);
}

static inline int toy_stat(struct prepare *p, const char *path, struct prepare_stat *ret)
{
    struct toy_file *f = toy_find(p, path);
    if (!f || f->link)
        return -ENOENT;
    *ret = (struct prepare_stat){ f->bytes ? S_IFREG | 0644 : S_IFDIR | 0755, f->n };
    return 0;
}

static inline int toy_read(struct prepare *p, const char *path, size_t max, uint8_t **ret, size_t *ret_n)
{
    struct toy_file *f = toy_find(p, path);
    if (!f || f->link)
        return -ENOENT;
    if (!f->bytes)
        return -EISDIR;
    if (f->n > max)
        return -EFBIG;
    *ret = calloc(1, f->n + 1);
    if (f->n)
        memcpy(*ret, f->bytes, f->n);
    *ret_n = f->n;
    return 0;
}

static inline int toy_read_at(struct prepare *p, const char *path, void *buf, size_t len, uint64_t off,
                              size_t *ret)
{
    struct toy_file *f = toy_find(p, path);
    if (!f || f->link || !f->bytes)
        return -ENOENT;
    *ret = off >= f->n ? 0 : len < f->n - off ? len : f->n - (size_t)off;
    if (*ret)
        memcpy(buf, f->bytes + off, *ret);
    return 0;
}

static inline int toy_list(struct prepare *p, const char *path, prepare_each fn, void *ctx)
{
    struct toy_guest *g = (struct toy_guest *)(void *)p;
    size_t length = strlen(path);
    int r = 0;
    bool any = false;
    for (size_t i = 0; i < g->n && !r; i++) {
        struct toy_file *f = &g->files[i];
        if (strncmp(f->path, path, length) || f->path[length] != '/')
            continue;
        any = true;
        if (!strchr(f->path + length + 1, '/'))
            r = fn(ctx, f->path + length + 1, f->link ? S_IFLNK : f->bytes ? S_IFREG : S_IFDIR);
    }
    return any ? r : toy_find(p, path) ? 0 : -ENOENT;
}

static inline int toy_readlink(struct prepare *p, const char *path, char *buf, size_t size)
{
    struct toy_file *f = toy_find(p, path);
    if (!f || !f->link)
        return f ? -EINVAL : -ENOENT;
    snprintf(buf, size, "%s", (const char *)f->bytes);
    return 0;
}

/* /dev/sda1 and /dev/vda1 are a volume of this UUID; nothing else is. */
static inline int toy_uuid(struct prepare *p, const char *device, char *buf, size_t size)
{
    (void)p;
    if (strcmp(device, "/dev/sda1") && strcmp(device, "/dev/vda1"))
        return -ENOENT;
    snprintf(buf, size, "0f-a1");
    return 0;
}

static inline int toy_change(struct prepare *p, const char *path, const void *bytes, size_t n, bool link)
{
    struct toy_guest *g = (struct toy_guest *)(void *)p;
    struct toy_file *f = toy_find(p, path);
    if (f && f->bytes && f->n == n && f->link == link && !memcmp(f->bytes, bytes, n))
        return 0;
    g->changes++;
    toy_put(g, path, bytes, n, link);
    return 0;
}

static inline int toy_write(struct prepare *p, const char *path, const void *bytes, size_t n, mode_t mode,
                            const char *reason)
{
    (void)mode;
    (void)reason;
    return toy_change(p, path, bytes, n, false);
}

static inline int toy_append(struct prepare *p, const char *path, const void *bytes, size_t n,
                             const char *reason)
{
    struct toy_file *f = toy_find(p, path);
    (void)reason;
    uint8_t *all = malloc(f->n + n);
    if (f->n)
        memcpy(all, f->bytes, f->n);
    memcpy(all + f->n, bytes, n);
    int r = toy_change(p, path, all, f->n + n, false);
    free(all);
    return r;
}

static inline int toy_remove(struct prepare *p, const char *path, const char *reason)
{
    struct toy_guest *g = (struct toy_guest *)(void *)p;
    struct toy_file *f = toy_find(p, path);
    (void)reason;
    if (!f)
        return 0;
    free(f->path);
    free(f->bytes);
    *f = g->files[--g->n];
    g->changes++;
    return 0;
}

static inline int toy_mkdir(struct prepare *p, const char *path, mode_t mode, const char *reason)
{
    struct toy_guest *g = (struct toy_guest *)(void *)p;
    (void)mode;
    (void)reason;
    if (!toy_find(p, path)) {
        g->changes++;
        toy_put(g, path, NULL, 0, false);
    }
    return 0;
}

/* A directory is an entry without bytes. */
static inline int toy_rmdir(struct prepare *p, const char *path, const char *reason)
{
    struct toy_file *f = toy_find(p, path);
    return f && f->bytes ? -ENOTDIR : toy_remove(p, path, reason);
}

static inline int toy_link(struct prepare *p, const char *path, const char *target, const char *reason)
{
    (void)reason;
    return toy_change(p, path, target, strlen(target), true);
}

static inline int toy_say(struct toy_guest *g, const char *a, const char *b)
{
    size_t n = strlen(g->said);
    snprintf(g->said + n, sizeof g->said - n, "%s%s\n", a, b);
    return 0;
}

static inline int toy_block(struct prepare *p, const char *why, const char *what_to_do)
{
    struct toy_guest *g = (struct toy_guest *)(void *)p;
    snprintf(g->advice, sizeof g->advice, "%s", what_to_do);
    g->blocks++;
    return toy_say(g, "BLOCKED: ", why);
}

static inline int toy_note(struct prepare *p, const char *text)
{
    return toy_say((struct toy_guest *)(void *)p, "", text);
}

static const struct prepare_ops toy_ops = {
    .stat = toy_stat,
    .read = toy_read,
    .read_at = toy_read_at,
    .list = toy_list,
    .readlink = toy_readlink,
    .uuid = toy_uuid,
    .file = toy_write,
    .append = toy_append,
    .remove = toy_remove,
    .mkdir = toy_mkdir,
    .rmdir = toy_rmdir,
    .link = toy_link,
    .block = toy_block,
    .note = toy_note,
};

static inline struct toy_guest *toy_new(enum prepare_target target)
{
    struct toy_guest *g = calloc(1, sizeof *g);
    if (!g)
        abort();
    g->prepare.ops = &toy_ops;
    g->prepare.target = target;
    return g;
}

static inline void toy_free(struct toy_guest *g)
{
    for (size_t i = 0; i < g->n; i++) {
        free(g->files[i].path);
        free(g->files[i].bytes);
    }
    free(g);
}
#endif
