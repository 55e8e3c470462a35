/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hives/: the hive that is the mount's source, as a clean file to copy out, with the edits. */
#include "hives.h"

#include "ferry.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

extern const struct toplevel hives_toplevel;
static const struct tree_ops hives_dir_ops, image_ops;

static int dir_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    (void)n;
    tree_fill_attr(f, S_IFDIR | 0555, tree_ino(903, 0, 0), ret);
    return 0;
}

static int dir_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    (void)dir;
    struct reg_hive *h = hives_find(f, HIVE_ALONE, name);
    if (h)
        *ret = (struct node_id){ .ops = &image_ops, .a = h->index };
    return h ? 0 : -ENOENT;
}

static int dir_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    struct reg_hive *h;
    (void)dir;
    for (uint64_t i = cookie; (h = hives_nth(f, HIVE_ALONE, i)); i++) {
        struct node_id id = { .ops = &image_ops, .a = h->index };
        if (emit(ctx, h->name, &id, S_IFREG, i + 1))
            break;
    }
    return 0;
}

static int file_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    struct reg_hive *h = hives_at(f, n->id.a);
    int r = hives_read(f, h);
    if (r < 0)
        return r;
    tree_fill_attr(f, S_IFREG | 0444, tree_ino(904, n->id.a, 0), ret);
    ret->st_size = (off_t)hive_image_size(h->hive);
    ret->st_blocks = ret->st_size / 512;
    hives_done(h);
    return 0;
}

struct image_handle {
    struct handle handle;
    struct reg_hive *hive;
};

static int file_open(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    struct image_handle *h = calloc(1, sizeof *h);
    (void)flags;
    if (!h)
        return -ENOMEM;
    h->handle = (struct handle){ .ops = n->id.ops, .keep_cache = !ferry_writable(f) };
    h->hive = hives_at(f, n->id.a);
    *ret = &h->handle;
    return 0;
}

static int file_read(struct ferry *f, struct handle *handle, void *buf, size_t len, uint64_t off,
                     size_t *ret_len)
{
    struct reg_hive *h = ((struct image_handle *)(void *)handle)->hive;
    int r = hives_read(f, h);
    if (r < 0)
        return r;
    uint64_t size = hive_image_size(h->hive);
    *ret_len = off < size ? size - off < len ? (size_t)(size - off) : len : 0;
    r = *ret_len ? hive_image_read(h->hive, buf, *ret_len, off) : 0;
    hives_done(h);
    return r;
}

static void file_release(struct ferry *f, struct handle *h)
{
    (void)f;
    free(h);
}

static const struct tree_ops hives_dir_ops = {
    .name = "hives",
    .caseless = true,
    .getattr = dir_getattr,
    .lookup = dir_lookup,
    .readdir = dir_readdir,
};

static const struct tree_ops image_ops = {
    .name = "hive-image",
    .fresh = true,
    .frozen = true,
    .getattr = file_getattr,
    .open = file_open,
    .read = file_read,
    .release = file_release,
};

static bool present(struct ferry *f)
{
    return hives_alone(f);
}

static int hives_id(struct ferry *f, struct node_id *ret)
{
    (void)f;
    *ret = (struct node_id){ .ops = &hives_dir_ops };
    return 0;
}

const struct toplevel hives_toplevel = { "hives", S_IFDIR, present, hives_id };
