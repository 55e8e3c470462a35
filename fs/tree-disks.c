/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disks/: a directory for each disk with its views, info.json and map.json.
 *
 * Node ids: a is the disk's index, b what it is of the disk (see enum). Views are read past the page cache
 * unless `cached` is set; stream.h reads ahead for whoever reads in sequence. */
#include "ferry.h"
#include "map.h"
#include "stream.h"

#include "../formats/checked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_INFO, FILE_MAP, FILE_VIEW }; /* FILE_VIEW + i: the i-th view */

extern const struct toplevel disks_toplevel;
static const struct tree_ops disks_ops, disk_dir_ops, disk_file_ops;

static struct node_id disk_id(uint64_t disk)
{
    return (struct node_id){ .ops = &disk_dir_ops, .a = disk };
}

static struct node_id disk_file_id(uint64_t disk, uint64_t what)
{
    return (struct node_id){ .ops = &disk_file_ops, .a = disk, .b = what };
}

/* ---- disks/ ---- */

static int disks_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    (void)n;
    tree_fill_attr(f, S_IFDIR | 0555, tree_ino(1, 0, 0), ret);
    return 0;
}

static int disks_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    (void)dir;
    for (size_t i = 0; i < f->vm->n_disks; i++) {
        char want[32];
        snprintf(want, sizeof want, "disk%zu", i);
        if (f->vm->disks[i].image && !strcmp(want, name)) {
            *ret = disk_id(i);
            return 0;
        }
    }
    return -ENOENT;
}

static int disks_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    (void)dir;
    for (uint64_t i = cookie; i < f->vm->n_disks; i++) {
        char name[32];
        snprintf(name, sizeof name, "disk%zu", (size_t)i);
        struct node_id id = disk_id(i);
        if (f->vm->disks[i].image && emit(ctx, name, &id, S_IFDIR, i + 1))
            break;
    }
    return 0;
}

static const struct tree_ops disks_ops = {
    .name = "disks",
    .getattr = disks_getattr,
    .lookup = disks_lookup,
    .readdir = disks_readdir,
};

/* ---- disks/diskN/ ---- */

static int disk_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    tree_fill_attr(f, S_IFDIR | 0555, tree_ino(2, n->id.a, 0), ret);
    ret->st_mtim = ret->st_ctim = f->vm->disks[n->id.a].mtime;
    return 0;
}

static const char *file_name(const struct ferry *f, uint64_t what)
{
    return what == FILE_INFO               ? "info.json"
           : what == FILE_MAP              ? "map.json"
           : what - FILE_VIEW < f->n_views ? view_formats[what - FILE_VIEW]->file_name
                                           : NULL;
}

static bool file_present(struct ferry *f, uint64_t disk, uint64_t what)
{
    struct ferry_disk *d;
    if (what < FILE_VIEW)
        return true;
    return ferry_views(f, disk, &d) == 0 && d->views[what - FILE_VIEW];
}

static int disk_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    for (uint64_t i = 0; file_name(f, i); i++)
        if (!strcmp(file_name(f, i), name)) {
            *ret = disk_file_id(dir->id.a, i);
            return file_present(f, dir->id.a, i) ? 0 : -ENOENT;
        }
    return -ENOENT;
}

static int disk_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    for (uint64_t i = cookie; file_name(f, i); i++) {
        struct node_id id = disk_file_id(dir->id.a, i);
        if (file_present(f, dir->id.a, i) && emit(ctx, file_name(f, i), &id, S_IFREG, i + 1))
            break;
    }
    return 0;
}

static const struct tree_ops disk_dir_ops = {
    .name = "disk",
    .getattr = disk_getattr,
    .lookup = disk_lookup,
    .readdir = disk_readdir,
};

/* ---- the files ---- */

struct disk_handle {
    struct handle handle;
    uint64_t what;
    struct view *view;          /* FILE_VIEW */
    struct stream stream;
    const struct text *text;    /* FILE_INFO */
    struct map_writer *map;     /* FILE_MAP */
};

static int file_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    tree_fill_attr(f, S_IFREG | 0444, tree_ino(3, n->id.a, n->id.b), ret);
    ret->st_mtim = ret->st_ctim = f->vm->disks[n->id.a].mtime;
    if (n->id.b == FILE_INFO) {
        const struct text *t;
        int r = ferry_disk_info(f, n->id.a, &t);
        ret->st_size = r ? 0 : (off_t)t->n;
        return r;
    }
    if (n->id.b == FILE_MAP)
        return 0;
    struct ferry_disk *d;
    int r = ferry_views(f, n->id.a, &d);
    struct view *v = r ? NULL : d->views[n->id.b - FILE_VIEW];
    if (!v)
        return -ENOENT;
    ret->st_size = (off_t)v->layout.size;
    ret->st_blocks = (blkcnt_t)div_up(v->allocated, 512);
    ret->st_blksize = 1 << 20;
    return 0;
}

static int file_open(struct ferry *f, const struct node *n, struct handle **ret)
{
    struct disk_handle *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    h->handle.ops = n->id.ops;
    h->what = n->id.b;
    int r = 0;
    if (h->what == FILE_INFO) {
        r = ferry_disk_info(f, n->id.a, &h->text);
    } else if (h->what == FILE_MAP) {
        h->handle.direct = true; /* its length is only known at its end */
        h->map = map_writer_new(f->vm->disks[n->id.a].image->disk);
        r = h->map ? 0 : -ENOMEM;
    } else {
        struct ferry_disk *d;
        r = ferry_views(f, n->id.a, &d);
        h->view = r ? NULL : d->views[h->what - FILE_VIEW];
        stream_init(&h->stream, h->view, f->cache);
        h->handle.direct = !f->options->cached;
        h->handle.keep_cache = true;
    }
    if (r < 0) {
        free(h);
        return r;
    }
    *ret = &h->handle;
    return 0;
}

static struct disk_handle *disk_handle_of(struct handle *h)
{
    return (struct disk_handle *)(void *)h;
}

/* What of [off, off+len) the view has. */
static size_t within_view(const struct view *v, uint64_t off, size_t len)
{
    return off < v->layout.size ? (size_t)min_u64(len, v->layout.size - off) : 0;
}

static bool file_lend(struct ferry *f, struct handle *handle, size_t len, uint64_t off, struct loan *ret)
{
    (void)f;
    struct disk_handle *h = disk_handle_of(handle);
    size_t n = h->view ? within_view(h->view, off, len) : 0;
    return n && stream_lend(&h->stream, off, n, ret);
}

static int file_read(struct ferry *f, struct handle *handle, void *buf, size_t len, uint64_t off,
                     size_t *ret_len)
{
    (void)f;
    struct disk_handle *h = disk_handle_of(handle);
    if (h->text)
        return text_read(h->text, buf, len, off, ret_len);
    if (h->map)
        return map_writer_read(h->map, buf, len, off, ret_len);
    size_t n = within_view(h->view, off, len);
    int r = n ? view_pread(h->view, buf, n, off) : 0;
    *ret_len = r ? 0 : n;
    return r;
}

static int file_map_extent(struct ferry *f, struct handle *handle, uint64_t off, struct extent *ret)
{
    (void)f;
    struct disk_handle *h = disk_handle_of(handle);
    if (h->view)
        return view_map(h->view, off, h->view->layout.size - off, ret);
    *ret = (struct extent){ .length = UINT64_MAX - off, .kind = EXTENT_DATA };
    return 0;
}

static void file_release(struct ferry *f, struct handle *handle)
{
    (void)f;
    map_writer_free(disk_handle_of(handle)->map);
    free(handle);
}

static const struct tree_ops disk_file_ops = {
    .name = "disk-file",
    .getattr = file_getattr,
    .open = file_open,
    .read = file_read,
    .lend = file_lend,
    .map = file_map_extent,
    .release = file_release,
};

/* ---- in the root ---- */

static int disks_id(struct ferry *f, struct node_id *ret)
{
    (void)f;
    *ret = (struct node_id){ .ops = &disks_ops };
    return 0;
}

static bool disks_present(struct ferry *f)
{
    return f->vm->n_disks > 0;
}

const struct toplevel disks_toplevel = { "disks", S_IFDIR, disks_present, disks_id };
