/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disks/: a directory for each disk with its views, info.json and map.json. The directory of a snapshot (see
 * tree-snapshots.c) has the same, of that state.
 *
 * Node ids: a and c as in tree-disks.h, b what it is of the disk's state (see enum). Views are read past the
 * page cache unless `cached` is set; stream.h reads ahead for whoever reads in sequence. */
#include "tree-disks.h"
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

struct node_id disk_dir_id(uint64_t disk, uint64_t snapshot)
{
    return (struct node_id){ .ops = &disk_dir_ops, .a = disk, .c = snapshot };
}

static struct node_id file_id(const struct node *dir, uint64_t what)
{
    return (struct node_id){ .ops = &disk_file_ops, .a = dir->id.a, .b = what, .c = dir->id.c };
}

/* Of the directory or file of it. Its image is open, or there would be no node. */
static struct ferry_state *state_of(struct ferry *f, const struct node *n)
{
    return ferry_state(f, n->id.a, n->id.c);
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
            *ret = disk_dir_id(i, 0);
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
        struct node_id id = disk_dir_id(i, 0);
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

/* ---- disks/diskN/, disks/diskN/snapshots/NAME/ ---- */

static const char snapshots[] = "snapshots", name_xattr[] = "user.ferryfs.name";

static int disk_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    tree_fill_attr(f, S_IFDIR | 0555, tree_ino(2, n->id.a, n->id.c), ret);
    ret->st_mtim = ret->st_ctim = ferry_mtime(f, n->id.a, n->id.c);
    return 0;
}

static const char *file_name(const struct ferry *f, uint64_t what)
{
    return what == FILE_INFO               ? "info.json"
           : what == FILE_MAP              ? "map.json"
           : what - FILE_VIEW < f->n_views ? view_formats[what - FILE_VIEW]->file_name
                                           : NULL;
}

/* A set that has the i-th view, if there is one. */
static struct view_set *get_views(struct ferry *f, struct ferry_state *s, size_t i)
{
    return view_formats[i]->early ? ferry_views_get_early(f, s) : ferry_views_get(f, s);
}

static bool file_present(struct ferry *f, const struct node *dir, uint64_t what)
{
    if (what < FILE_VIEW)
        return true;
    struct ferry_state *s = state_of(f, dir);
    struct view_set *set = get_views(f, s, what - FILE_VIEW);
    bool present = set && set->views[what - FILE_VIEW];
    if (set)
        ferry_views_put(f, s, set);
    return present;
}

static bool has_snapshots(struct ferry *f, const struct node *dir)
{
    return !dir->id.c && snapshots_present(f, dir->id.a);
}

static int disk_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    for (uint64_t i = 0; file_name(f, i); i++)
        if (!strcmp(file_name(f, i), name)) {
            *ret = file_id(dir, i);
            return file_present(f, dir, i) ? 0 : -ENOENT;
        }
    if (!strcmp(name, snapshots) && has_snapshots(f, dir)) {
        *ret = snapshots_id(dir->id.a);
        return 0;
    }
    return digest_lookup(f, dir->id.a, dir->id.c, name, ret) ? 0 : -ENOENT;
}

static int disk_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    uint64_t i = cookie;
    for (; file_name(f, i); i++) {
        struct node_id id = file_id(dir, i);
        if (file_present(f, dir, i) && emit(ctx, file_name(f, i), &id, S_IFREG, i + 1))
            return 0;
    }
    struct node_id id = snapshots_id(dir->id.a);
    if (i == FILE_VIEW + f->n_views && has_snapshots(f, dir))
        emit(ctx, snapshots, &id, S_IFDIR, i + 1);
    return 0;
}

static int disk_listxattr(struct ferry *f, const struct node *n, char *buf, size_t size, size_t *ret_len)
{
    (void)f;
    *ret_len = n->id.c ? sizeof name_xattr : 0;
    if (size && size < *ret_len)
        return -ERANGE;
    if (size && *ret_len)
        memcpy(buf, name_xattr, sizeof name_xattr);
    return 0;
}

/* A snapshot's name as it is stored. */
static int disk_getxattr(struct ferry *f, const struct node *n, const char *name, void *buf, size_t size,
                         size_t *ret_len)
{
    if (!n->id.c || strcmp(name, name_xattr) != 0)
        return -ENODATA;
    const struct image_snapshot *s = &f->vm->disks[n->id.a].image->layers[0].snapshots[n->id.c - 1];
    *ret_len = s->name_n;
    if (size && size < s->name_n)
        return -ERANGE;
    if (size)
        memcpy(buf, s->name, s->name_n);
    return 0;
}

static const struct tree_ops disk_dir_ops = {
    .name = "disk",
    .fresh = true,
    .getattr = disk_getattr,
    .lookup = disk_lookup,
    .readdir = disk_readdir,
    .listxattr = disk_listxattr,
    .getxattr = disk_getxattr,
};

/* ---- the files ---- */

struct disk_handle {
    struct handle handle;
    uint64_t what;
    struct ferry_state *state; /* FILE_VIEW: whose views are used */
    struct view_set *set;
    struct view *view;
    struct stream stream;
    atomic_uint reads; /* while the view isn't complete */
    struct ferry *ferry;
    struct shared_text *text; /* FILE_INFO */
    struct map_writer *map;   /* FILE_MAP */
};

static void fill_from_view(const struct view *v, struct stat *ret)
{
    ret->st_size = (off_t)v->layout.size;
    ret->st_blksize = 1 << 20;
}

static int view_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    struct ferry_state *s = state_of(f, n);
    struct view_set *set = ferry_views_get(f, s);
    if (!set)
        return -ENOMEM;
    const struct view *v = set->views[n->id.b - FILE_VIEW];
    if (v) {
        fill_from_view(v, ret);
        ret->st_blocks = (blkcnt_t)div_up(v->allocated, 512);
    }
    ferry_views_put(f, s, set);
    return v ? 0 : -ENOENT;
}

static void fill_file_attr(struct ferry *f, const struct node *n, struct stat *ret)
{
    tree_fill_attr(f, S_IFREG | 0444, tree_ino(3, n->id.a, n->id.b | n->id.c << 16), ret);
    ret->st_mtim = ret->st_ctim = ferry_mtime(f, n->id.a, n->id.c);
}

static int file_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    fill_file_attr(f, n, ret);
    if (n->id.b == FILE_INFO) {
        struct shared_text *t;
        int r = ferry_state_info(f, state_of(f, n), &t);
        if (!r) {
            ret->st_size = (off_t)t->text.n;
            shared_text_unref(t);
        }
        return r;
    }
    return n->id.b == FILE_MAP ? 0 : view_getattr(f, n, ret);
}

/* Whoever opens disk.raw to read a little at its beginning doesn't wait for the walk over the disk's map. */
static int file_entry(struct ferry *f, const struct node *n, struct stat *ret)
{
    if (n->id.b < FILE_VIEW || !view_formats[n->id.b - FILE_VIEW]->early)
        return file_getattr(f, n, ret);
    struct ferry_state *s = state_of(f, n);
    struct view_set *set = ferry_views_get_early(f, s);
    if (!set)
        return -ENOMEM;
    const struct view *v = set->views[n->id.b - FILE_VIEW];
    bool incomplete = v && !view_is_complete(v);
    if (incomplete) {
        fill_file_attr(f, n, ret);
        fill_from_view(v, ret);
    }
    ferry_views_put(f, s, set);
    return incomplete ? 1 : file_getattr(f, n, ret);
}

static int open_view(struct ferry *f, struct ferry_state *s, struct disk_handle *h)
{
    h->set = get_views(f, s, h->what - FILE_VIEW);
    if (!h->set)
        return -ENOMEM;
    h->view = h->set->views[h->what - FILE_VIEW];
    if (!h->view) {
        ferry_views_put(f, s, h->set);
        return -ENOENT;
    }
    h->state = s;
    stream_init(&h->stream, h->view, f->cache, f->pool);
    h->ferry = f;
    h->handle.direct = !f->options->cached;
    h->handle.keep_cache = !f->overlay;
    return 0;
}

static int file_open(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    (void)flags;
    struct ferry_state *s = state_of(f, n);
    struct disk_handle *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    h->handle.ops = n->id.ops;
    h->what = n->id.b;
    int r = 0;
    if (h->what == FILE_INFO) {
        r = ferry_state_info(f, s, &h->text);
    } else if (h->what == FILE_MAP) {
        h->handle.direct = true; /* its length is only known at its end */
        h->map = map_writer_new(ferry_state_disk(f, s));
        r = h->map ? 0 : -ENOMEM;
    } else {
        r = open_view(f, s, h);
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

static void complete_view(struct disk_handle *h)
{
    if (view_is_complete(h->view))
        return;
    struct view_set *set = ferry_views_get(h->ferry, h->state); /* the one that the handle has */
    if (set)
        ferry_views_put(h->ferry, h->state, set);
}

/* Who reads on wants zeros without delay. */
static void count_read(struct disk_handle *h)
{
    enum { EARLY_READS = 16 };
    if (!view_is_complete(h->view) && atomic_fetch_add(&h->reads, 1) >= EARLY_READS)
        complete_view(h);
}

/* Inflating keeps all cores busy as it is: there, the page cache's copy is only one more. */
static bool file_either(struct ferry *f, struct handle *handle)
{
    (void)f;
    struct disk_handle *h = disk_handle_of(handle);
    if (!h->view)
        return false;
    complete_view(h);
    const struct blockmap *survey = h->view->survey;
    return survey && blockmap_compressed(survey) <= blockmap_data(survey) / 8;
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
    if (h->view)
        count_read(h);
    size_t n = h->view ? within_view(h->view, off, len) : 0;
    return n && stream_lend(&h->stream, off, n, ret);
}

static int file_read(struct ferry *f, struct handle *handle, void *buf, size_t len, uint64_t off,
                     size_t *ret_len)
{
    (void)f;
    struct disk_handle *h = disk_handle_of(handle);
    if (h->text)
        return text_read(&h->text->text, buf, len, off, ret_len);
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
    if (h->view) {
        complete_view(h);
        return view_map(h->view, off, h->view->layout.size - off, ret);
    }
    *ret = (struct extent){ .length = UINT64_MAX - off, .kind = EXTENT_DATA };
    return 0;
}

static void view_idle(struct stream *s)
{
    struct disk_handle *h = (struct disk_handle *)(void *)((char *)s - offsetof(struct disk_handle, stream));
    ferry_views_put(h->ferry, h->state, h->set);
    free(h);
}

static void file_release(struct ferry *f, struct handle *handle)
{
    (void)f;
    struct disk_handle *h = disk_handle_of(handle);
    if (h->state) {
        stream_done(&h->stream, view_idle);
        return;
    }
    map_writer_free(h->map);
    shared_text_unref(h->text);
    free(handle);
}

static const struct tree_ops disk_file_ops = {
    .name = "disk-file",
    .fresh = true,
    .frozen = true,
    .getattr = file_getattr,
    .entry = file_entry,
    .open = file_open,
    .either = file_either,
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
