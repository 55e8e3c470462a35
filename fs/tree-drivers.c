/* SPDX-License-Identifier: GPL-2.0-or-later */
/* drivers/ of a Windows guest that is writable:
 *
 *     drivers/staging/           packages by cp -r; kept in memory until they are installed
 *     drivers/installed/         each INF\oemN.inf as a directory: its files in the store, and info.json
 *     drivers/log                what was done, or why not
 *
 * A rename from staging/ into installed/ installs; what then stands there is oemN.inf, not the name that was
 * given. rmdir in installed/ uninstalls; unlinks there only hide, so that rm -r comes to the rmdir.
 *
 * Of a node id a is the kind; b the number of a staged node or of an oemN.inf; c the place of a file in the
 * list of the package's files, plus 1. */
#include "drivers.h"

#include "changes.h"
#include "ferry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum kind { TOP = 1, STAGED, INSTALLED, PACKAGE, ENTRY, INFO, LOG };
enum { MAX_ENTRIES = 8192, MAX_LEVELS = 8 };

extern const struct toplevel drivers_toplevel;
static const struct tree_ops drivers_ops;

static struct node_id id_of(enum kind kind, uint64_t b, uint64_t c)
{
    return (struct node_id){ .ops = &drivers_ops, .a = kind, .b = b, .c = c };
}

/* ---- what an installed package has ---- */

struct entry {
    char *path; /* owned: below the package's directory */
    bool dir;
};

struct listing {
    struct prepare *p;
    char root[512];        /* in the guest */
    struct entry *entries; /* owned */
    size_t n;
    const char *at; /* while it is made: of the directory that is listed */
    unsigned depth;
};

static int add_entry(void *ctx, const char *name, uint32_t type)
{
    struct listing *l = ctx;
    char *path = NULL, whole[2600];
    if (!strcmp(name, ".") || !strcmp(name, "..") || l->n == MAX_ENTRIES)
        return 0;
    if (!(l->n & (l->n - 1))) {
        void *grown = realloc(l->entries, (l->n ? 2 * l->n : 1) * sizeof *l->entries);
        if (!grown)
            return -ENOMEM;
        l->entries = grown;
    }
    if (asprintf(&path, "%s%s%s", l->at, *l->at ? "/" : "", name) < 0)
        return -ENOMEM;
    bool dir = (type & S_IFMT) == S_IFDIR;
    l->entries[l->n++] = (struct entry){ path, dir };
    if (!dir || l->depth == MAX_LEVELS ||
        snprintf(whole, sizeof whole, "%s/%s", l->root, path) >= (int)sizeof whole)
        return 0;
    const char *outer = l->at;
    l->at = path;
    l->depth++;
    int r = l->p->ops->list(l->p, whole, add_entry, l);
    l->depth--;
    l->at = outer;
    return r;
}

static void listing_done(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->entries[i].path);
    free(l->entries);
}

/* A list of changes, for looking at the guest, and the list of a package's files. */
static int list_package(struct ferry *f, unsigned oem, struct changes **ret_c, struct listing *ret)
{
    char dir[128], path[200];
    struct driver_guest g;
    struct prepare_stat st;
    struct changes *c = changes_new(f);
    *ret = (struct listing){ .at = "" };
    *ret_c = c;
    if (!c)
        return -ENOMEM;
    struct prepare *p = ret->p = changes_prepare(c);
    int r = drivers_system(f, dir, sizeof dir);
    if (!r)
        r = driver_guest_look(p, dir, &g, NULL);
    if (r)
        return r;
    snprintf(path, sizeof path, "%s/INF/oem%u.inf", dir, oem);
    r = p->ops->stat(p, path, &st);
    if (r)
        return r;
    r = driver_find_store(p, &g, oem);
    if (r == -ENOMEM || !*g.store)
        return r == -ENOMEM ? r : 0;
    snprintf(ret->root, sizeof ret->root, "%s/System32/DriverStore/FileRepository/%s", dir, g.store);
    r = p->ops->list(p, ret->root, add_entry, ret);
    return r == -ENOENT ? 0 : r;
}

static bool is_hidden(struct drivers *d, unsigned oem, uint64_t entry)
{
    bool found = false;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->n_hidden; i++)
        found |= d->hidden[i].oem == oem && d->hidden[i].entry == entry;
    pthread_mutex_unlock(&d->lock);
    return found;
}

/* Entry 0 is info.json. */
static int hide(struct drivers *d, unsigned oem, uint64_t entry)
{
    int r = 0;
    pthread_mutex_lock(&d->lock);
    void *grown = realloc(d->hidden, (d->n_hidden + 1) * sizeof *d->hidden);
    if (grown) {
        d->hidden = grown;
        d->hidden[d->n_hidden].oem = oem;
        d->hidden[d->n_hidden++].entry = entry;
    } else {
        r = -ENOMEM;
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}

static void unhide(struct drivers *d, unsigned oem)
{
    pthread_mutex_lock(&d->lock);
    size_t n = 0;
    for (size_t i = 0; i < d->n_hidden; i++)
        if (d->hidden[i].oem != oem)
            d->hidden[n++] = d->hidden[i];
    d->n_hidden = n;
    pthread_mutex_unlock(&d->lock);
}

/* ---- attributes ---- */

static int staged_attr(struct ferry *f, const struct node *n, struct stat *ret)
{
    struct drivers *d = f->drivers;
    pthread_mutex_lock(&d->lock);
    struct staged *s = staged_at(d, n->id.b);
    if (s) {
        tree_fill_attr(f, (s->mode & S_IFMT) | (s->dir ? 0777 : 0666), tree_ino(1300, STAGED, s->id), ret);
        ret->st_size = (off_t)s->n;
    }
    pthread_mutex_unlock(&d->lock);
    return s ? 0 : -ENOENT;
}

static int entry_attr(struct ferry *f, const struct node *n, struct stat *ret)
{
    struct changes *c;
    struct listing l;
    struct prepare_stat st = { 0 };
    char path[3000];
    int r = list_package(f, (unsigned)n->id.b, &c, &l);
    if (!r && n->id.c > l.n)
        r = -ENOENT;
    if (!r) {
        const struct entry *e = &l.entries[n->id.c - 1];
        snprintf(path, sizeof path, "%s/%s", l.root, e->path);
        r = l.p->ops->stat(l.p, path, &st);
        tree_fill_attr(f, e->dir ? S_IFDIR | 0777 : S_IFREG | 0444, tree_ino(1300 + ENTRY, n->id.b, n->id.c),
                       ret);
        ret->st_size = e->dir ? 0 : (off_t)st.size;
    }
    listing_done(&l);
    changes_free(c);
    return r;
}

/* The last one is kept until anything is edited. The count of edits is read before the guest is looked at,
 * and goes up when an edit is made: what is made meanwhile isn't taken for what is later. */
static int info_of(struct ferry *f, unsigned oem, char **ret)
{
    struct drivers *d = f->drivers;
    uint64_t edits = f->edits;
    *ret = NULL;
    pthread_mutex_lock(&d->lock);
    bool known = d->info.text && d->info.oem == oem && d->info.edits == edits;
    if (known)
        *ret = strdup(d->info.text);
    pthread_mutex_unlock(&d->lock);
    int r = !known ? drivers_info(f, oem, ret) : *ret ? 0 : -ENOMEM;
    char *copy = r || known ? NULL : strdup(*ret);
    if (!copy)
        return r;
    pthread_mutex_lock(&d->lock);
    free(d->info.text);
    d->info.text = copy;
    d->info.oem = oem;
    d->info.edits = edits;
    pthread_mutex_unlock(&d->lock);
    return 0;
}

static int text_of(struct ferry *f, const struct node_id *id, char **ret, size_t *ret_n)
{
    struct drivers *d = f->drivers;
    if (id->a == INFO) {
        int r = info_of(f, (unsigned)id->b, ret);
        *ret_n = r ? 0 : strlen(*ret);
        return r;
    }
    pthread_mutex_lock(&d->lock);
    *ret = malloc(d->log_n + 1);
    *ret_n = d->log_n;
    if (*ret && d->log_n)
        memcpy(*ret, d->log, d->log_n);
    pthread_mutex_unlock(&d->lock);
    return *ret ? 0 : -ENOMEM;
}

static int drivers_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    char *text = NULL;
    size_t len;
    int r;
    switch (n->id.a) {
    case STAGED:
        return staged_attr(f, n, ret);
    case ENTRY:
        return entry_attr(f, n, ret);
    case INFO:
    case LOG:
        r = text_of(f, &n->id, &text, &len);
        if (r)
            return r;
        free(text);
        tree_fill_attr(f, S_IFREG | 0444, tree_ino(1300, n->id.a, n->id.b), ret);
        ret->st_size = (off_t)len;
        return 0;
    default:
        tree_fill_attr(f, S_IFDIR | 0777, tree_ino(1300, n->id.a, n->id.b), ret);
        return 0;
    }
}

/* ---- directories ---- */

/* "oem3.inf" */
static bool oem_of(const char *name, unsigned *ret)
{
    int used = 0;
    char again[24];
    if (strncasecmp(name, "oem", 3) || sscanf(name + 3, "%5u%n", ret, &used) != 1)
        return false;
    snprintf(again, sizeof again, "oem%u.inf", *ret);
    return !strcasecmp(again, name);
}

static int lookup_oem(struct ferry *f, const char *name, struct node_id *ret)
{
    unsigned oem;
    char dir[128], path[200];
    struct prepare_stat st;
    if (!oem_of(name, &oem))
        return -ENOENT;
    int r = drivers_system(f, dir, sizeof dir);
    _cleanup_(changes_freep) struct changes *c = r ? NULL : changes_new(f);
    if (!c)
        return r ? r : -ENOMEM;
    snprintf(path, sizeof path, "%s/INF/oem%u.inf", dir, oem);
    r = changes_prepare(c)->ops->stat(changes_prepare(c), path, &st);
    *ret = id_of(PACKAGE, oem, 0);
    return r;
}

/* The part of a path behind the directory's, if it lies in it itself; else NULL. */
static const char *name_in(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    if (strncmp(path, dir, n) || (n && path[n] != '/'))
        return NULL;
    path += n + (n != 0);
    return strchr(path, '/') ? NULL : path;
}

static int lookup_entry(struct ferry *f, const struct node_id *dir, const char *name, struct node_id *ret)
{
    struct changes *c;
    struct listing l;
    unsigned oem = (unsigned)dir->b;
    if (dir->a == PACKAGE && !strcmp(name, "info.json")) {
        *ret = id_of(INFO, oem, 0);
        return is_hidden(f->drivers, oem, 0) ? -ENOENT : 0;
    }
    int r = list_package(f, oem, &c, &l), found = -ENOENT;
    const char *in = dir->a == PACKAGE ? "" : !r && dir->c <= l.n ? l.entries[dir->c - 1].path : NULL;
    for (size_t i = 0; !r && in && i < l.n; i++) {
        const char *own = name_in(l.entries[i].path, in);
        if (own && !strcasecmp(own, name) && !is_hidden(f->drivers, oem, i + 1)) {
            *ret = id_of(ENTRY, oem, i + 1);
            found = 0;
        }
    }
    listing_done(&l);
    changes_free(c);
    return r ? r : found;
}

static const struct {
    const char *name;
    enum kind kind;
    uint64_t b;
    mode_t type;
} tops[] = {
    { "installed", INSTALLED, 0, S_IFDIR },
    { "log", LOG, 0, S_IFREG },
    { "staging", STAGED, 1, S_IFDIR },
};
enum { N_TOPS = sizeof tops / sizeof tops[0] };

static int drivers_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    struct drivers *d = f->drivers;
    struct staged *s, *child;
    switch (dir->id.a) {
    case TOP:
        for (size_t i = 0; i < N_TOPS; i++)
            if (!strcmp(tops[i].name, name)) {
                *ret = id_of(tops[i].kind, tops[i].b, 0);
                return 0;
            }
        return -ENOENT;
    case STAGED:
        pthread_mutex_lock(&d->lock);
        s = staged_at(d, dir->id.b);
        child = s && s->dir ? staged_child(s, name) : NULL;
        if (child)
            *ret = id_of(STAGED, child->id, 0);
        pthread_mutex_unlock(&d->lock);
        return child ? 0 : -ENOENT;
    case INSTALLED:
        return lookup_oem(f, name, ret);
    case PACKAGE:
    case ENTRY:
        return lookup_entry(f, &dir->id, name, ret);
    default:
        return -ENOTDIR;
    }
}

/* Cookies of staged nodes are their numbers: what is removed while it is listed moves no other. */
static int list_staged(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    struct drivers *d = f->drivers;
    pthread_mutex_lock(&d->lock);
    for (uint64_t i = cookie; i < d->n_nodes; i++) {
        struct staged *s = d->nodes[i], *in = staged_at(d, dir->id.b);
        if (!s || !in || s->parent != in || s == in)
            continue;
        struct node_id id = id_of(STAGED, s->id, 0);
        if (emit(ctx, s->name, &id, s->dir ? S_IFDIR : S_IFREG, i + 1))
            break;
    }
    pthread_mutex_unlock(&d->lock);
    return 0;
}

struct oems {
    unsigned *list; /* owned */
    size_t n;
};

static int add_oem(void *ctx, unsigned oem)
{
    struct oems *o = ctx;
    void *grown = realloc(o->list, (o->n + 1) * sizeof *o->list);
    if (!grown)
        return -ENOMEM;
    o->list = grown;
    o->list[o->n++] = oem;
    return 0;
}

static int by_number(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

/* Cookies are the numbers, plus 1. */
static int list_installed(struct ferry *f, uint64_t cookie, tree_emit emit, void *ctx)
{
    struct oems o = { 0 };
    struct driver_guest g = { 0 };
    int r = drivers_system(f, g.dir, sizeof g.dir);
    _cleanup_(changes_freep) struct changes *c = r ? NULL : changes_new(f);
    if (!c)
        return r ? r : -ENOMEM;
    r = driver_each(changes_prepare(c), &g, add_oem, &o);
    if (o.n)
        qsort(o.list, o.n, sizeof *o.list, by_number);
    for (size_t i = 0; i < o.n && !r; i++) {
        char name[24];
        struct node_id id = id_of(PACKAGE, o.list[i], 0);
        snprintf(name, sizeof name, "oem%u.inf", o.list[i]);
        if (o.list[i] >= cookie && emit(ctx, name, &id, S_IFDIR, (uint64_t)o.list[i] + 1))
            break;
    }
    free(o.list);
    return r;
}

/* Cookies are the places in the list, plus 1; info.json comes first. */
static int list_entries(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    struct changes *c;
    struct listing l;
    unsigned oem = (unsigned)dir->id.b;
    int r = list_package(f, oem, &c, &l);
    const char *in = dir->id.a == PACKAGE     ? ""
                     : !r && dir->id.c <= l.n ? l.entries[dir->id.c - 1].path
                                              : NULL;
    bool full = false;
    if (!r && in && dir->id.a == PACKAGE && !cookie && !is_hidden(f->drivers, oem, 0)) {
        struct node_id id = id_of(INFO, oem, 0);
        full = emit(ctx, "info.json", &id, S_IFREG, 1);
    }
    for (size_t i = cookie ? cookie - 1 : 0; !r && in && !full && i < l.n; i++) {
        const char *name = name_in(l.entries[i].path, in);
        struct node_id id = id_of(ENTRY, oem, i + 1);
        if (name && !is_hidden(f->drivers, oem, i + 1))
            full = emit(ctx, name, &id, l.entries[i].dir ? S_IFDIR : S_IFREG, i + 2);
    }
    listing_done(&l);
    changes_free(c);
    return r;
}

static int drivers_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit,
                           void *ctx)
{
    switch (dir->id.a) {
    case TOP:
        for (uint64_t i = cookie; i < N_TOPS; i++) {
            struct node_id id = id_of(tops[i].kind, tops[i].b, 0);
            if (emit(ctx, tops[i].name, &id, tops[i].type, i + 1))
                break;
        }
        return 0;
    case STAGED:
        return list_staged(f, dir, cookie, emit, ctx);
    case INSTALLED:
        return list_installed(f, cookie, emit, ctx);
    case PACKAGE:
    case ENTRY:
        return list_entries(f, dir, cookie, emit, ctx);
    default:
        return -ENOTDIR;
    }
}

/* ---- files ---- */

struct drivers_handle {
    struct handle handle;
    struct node_id id;
    struct staged *staged; /* NULL: another kind */
    struct text text;      /* of info.json and the log, as they were at the open */
    char path[3000];       /* of an installed file, in the guest */
};

static struct drivers_handle *of_handle(struct handle *h)
{
    return (struct drivers_handle *)(void *)h;
}

static int open_staged(struct ferry *f, const struct node *n, int flags, struct drivers_handle *h)
{
    struct drivers *d = f->drivers;
    pthread_mutex_lock(&d->lock);
    struct staged *s = staged_at(d, n->id.b);
    int r = s ? 0 : -ENOENT;
    if (s && flags & O_TRUNC)
        r = staged_resize(d, s, 0);
    if (!r) {
        s->opens++;
        h->staged = s;
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}

static int open_entry(struct ferry *f, const struct node *n, struct drivers_handle *h)
{
    struct changes *c;
    struct listing l;
    int r = list_package(f, (unsigned)n->id.b, &c, &l);
    if (!r && n->id.c > l.n)
        r = -ENOENT;
    if (!r)
        snprintf(h->path, sizeof h->path, "%s/%s", l.root, l.entries[n->id.c - 1].path);
    listing_done(&l);
    changes_free(c);
    return r;
}

static int drivers_file_open(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
    if (writes && n->id.a != STAGED)
        return -EPERM;
    struct drivers_handle *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    h->handle = (struct handle){ .ops = &drivers_ops, .direct = true };
    h->id = n->id;
    int r = n->id.a == STAGED  ? open_staged(f, n, flags, h)
            : n->id.a == ENTRY ? open_entry(f, n, h)
                               : text_of(f, &n->id, &h->text.bytes, &h->text.n);
    if (r) {
        free(h);
        return r;
    }
    *ret = &h->handle;
    return 0;
}

static int drivers_read(struct ferry *f, struct handle *handle, void *buf, size_t len, uint64_t off,
                        size_t *ret_len)
{
    struct drivers_handle *h = of_handle(handle);
    struct drivers *d = f->drivers;
    if (h->id.a == ENTRY) {
        _cleanup_(changes_freep) struct changes *c = changes_new(f);
        struct prepare *p = c ? changes_prepare(c) : NULL;
        return p ? p->ops->read_at(p, h->path, buf, len, off, ret_len) : -ENOMEM;
    }
    if (!h->staged)
        return text_read(&h->text, buf, len, off, ret_len);
    pthread_mutex_lock(&d->lock);
    struct text text = { (char *)h->staged->bytes, h->staged->n };
    int r = text_read(&text, buf, len, off, ret_len);
    pthread_mutex_unlock(&d->lock);
    return r;
}

static int drivers_write(struct ferry *f, struct handle *handle, const void *buf, size_t len, uint64_t off)
{
    struct drivers_handle *h = of_handle(handle);
    if (!h->staged)
        return -EPERM;
    pthread_mutex_lock(&f->drivers->lock);
    int r = staged_write(f->drivers, h->staged, buf, len, off);
    pthread_mutex_unlock(&f->drivers->lock);
    return r;
}

static void drivers_release(struct ferry *f, struct handle *handle)
{
    struct drivers_handle *h = of_handle(handle);
    struct drivers *d = f->drivers;
    if (h->staged) {
        pthread_mutex_lock(&d->lock);
        if (!--h->staged->opens && !h->staged->parent)
            staged_discard(d, h->staged);
        pthread_mutex_unlock(&d->lock);
    }
    free(h->text.bytes);
    free(h);
}

static int drivers_setattr(struct ferry *f, const struct node *n, const struct stat *st, unsigned which,
                           struct handle *h)
{
    (void)h;
    if (n->id.a != STAGED)
        return -EPERM;
    if (!(which & TREE_SET_SIZE))
        return 0; /* cp -a: who owns it, and since when, is nothing to a package */
    if (st->st_size < 0 || st->st_size > STAGING_BYTES)
        return -ENOSPC;
    pthread_mutex_lock(&f->drivers->lock);
    struct staged *s = staged_at(f->drivers, n->id.b);
    int r = !s ? -ENOENT : s->dir ? -EISDIR : staged_resize(f->drivers, s, (size_t)st->st_size);
    pthread_mutex_unlock(&f->drivers->lock);
    return r;
}

/* ---- names ---- */

static int drivers_create(struct ferry *f, const struct node *dir, const char *name,
                          const struct tree_new *what, struct node_id *ret)
{
    struct staged *made;
    if (dir->id.a != STAGED)
        return -EPERM;
    pthread_mutex_lock(&f->drivers->lock);
    struct staged *in = staged_at(f->drivers, dir->id.b);
    int r = in && in->dir ? staged_make(f->drivers, in, name, what->mode, &made) : -ENOENT;
    if (!r)
        *ret = id_of(STAGED, made->id, 0);
    pthread_mutex_unlock(&f->drivers->lock);
    return r;
}

static int staged_take(struct ferry *f, const struct node *dir, const char *name, bool directory)
{
    pthread_mutex_lock(&f->drivers->lock);
    struct staged *in = staged_at(f->drivers, dir->id.b), *s = in ? staged_child(in, name) : NULL;
    int r = !s ? -ENOENT : s->dir != directory ? (s->dir ? -EISDIR : -ENOTDIR) : staged_remove(f->drivers, s);
    pthread_mutex_unlock(&f->drivers->lock);
    return r;
}

static int drivers_unlink(struct ferry *f, const struct node *dir, const char *name)
{
    struct node_id id;
    if (dir->id.a == STAGED)
        return staged_take(f, dir, name, false);
    if (dir->id.a != PACKAGE && dir->id.a != ENTRY)
        return -EPERM;
    int r = lookup_entry(f, &dir->id, name, &id);
    return r ? r : hide(f->drivers, (unsigned)id.b, id.c);
}

static int drivers_rmdir(struct ferry *f, const struct node *dir, const char *name)
{
    struct node_id id;
    unsigned oem;
    if (dir->id.a == STAGED)
        return staged_take(f, dir, name, true);
    if (dir->id.a != INSTALLED)
        return drivers_unlink(f, dir, name); /* a directory of a package is hidden, too */
    int r = lookup_oem(f, name, &id);
    if (r || !oem_of(name, &oem))
        return r ? r : -ENOENT;
    r = drivers_uninstall(f, oem);
    unhide(f->drivers, oem);
    return r;
}

static int drivers_rename(struct ferry *f, const struct node *dir, const char *name,
                          const struct node *new_dir, const char *new_name, unsigned flags)
{
    struct drivers *d = f->drivers;
    if (dir->id.a != STAGED)
        return -EPERM;
    if (new_dir->id.a == INSTALLED)
        return flags & ~(unsigned)RENAME_NOREPLACE ? -EPERM : drivers_install(f, dir->id.b, name);
    if (new_dir->id.a != STAGED)
        return -EPERM;
    pthread_mutex_lock(&d->lock);
    struct staged *in = staged_at(d, dir->id.b), *to = staged_at(d, new_dir->id.b);
    struct staged *s = in ? staged_child(in, name) : NULL;
    int r = s && to && to->dir ? staged_rename(d, s, to, new_name, flags) : -ENOENT;
    pthread_mutex_unlock(&d->lock);
    return r;
}

static const struct tree_ops drivers_ops = {
    .name = "drivers",
    .fresh = true,
    .caseless = true,
    .getattr = drivers_getattr,
    .lookup = drivers_lookup,
    .readdir = drivers_readdir,
    .open = drivers_file_open,
    .read = drivers_read,
    .write = drivers_write,
    .release = drivers_release,
    .create = drivers_create,
    .unlink = drivers_unlink,
    .rmdir = drivers_rmdir,
    .rename = drivers_rename,
    .setattr = drivers_setattr,
};

static bool drivers_present(struct ferry *f)
{
    char dir[128];
    return ferry_writable(f) && !drivers_system(f, dir, sizeof dir);
}

static int drivers_id(struct ferry *f, struct node_id *ret)
{
    (void)f;
    *ret = id_of(TOP, 0, 0);
    return 0;
}

const struct toplevel drivers_toplevel = { "drivers", S_IFDIR, drivers_present, drivers_id };
