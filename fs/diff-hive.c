/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diff/registry/: each hive beside the one of the source, which is opened anew for each reader, with its logs
 * replayed as the mount's own was. */
#include "diff.h"
#include "hives-impl.h"
#include "registry.h"

#include "../formats/cleanup.h"
#include "../registry/hive-file.h"
#include "../registry/reg-diff.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SOURCE_CACHE = 2 << 20 /* bytes of clean pages of a source's hive */ };

struct diff_hive {
    pthread_mutex_t lock; /* protects the rest; taken before the hive's */
    struct reg_hive *h;
    unsigned epoch;
    struct hive *source; /* owned; NULL: the hive is new */
    struct reg_differ *differ;
    uint64_t at;
    bool end;
};

struct reg_hive *diff_hive_nth(struct ferry *f, size_t i)
{
    static const enum hive_place places[] = { HIVE_ALONE, HIVE_MACHINE, HIVE_USERS, HIVE_BCD };
    for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
        struct reg_hive *h;
        for (size_t n = 0; (h = hives_nth(f, places[k], n)); n++)
            if (!i--)
                return h;
    }
    return NULL;
}

/* A name that begins with a dot isn't seen. */
void diff_hive_name(const struct reg_hive *h, char *ret, size_t size)
{
    snprintf(ret, size, "%s.reg", h->name + (h->name[0] == '.'));
}

/* ---- the text ---- */

static int open_source(struct ferry *f, const struct reg_hive *h, struct hive **ret)
{
    struct hive_files files = { 0 };
    struct fault fault = { 0 };
    const struct guest *source = hives_alone(f) ? NULL : diff_source(f);
    if (!source && !hives_alone(f))
        return -ENOMEM;
    int r = hives_alone(f) ? hive_files_open(h->path, false, &files, &fault)
                           : hives_source_files(f, h, source, &files);
    if (r == -ENOENT && !hives_alone(f))
        return 0;
    return r < 0 ? r : hive_open(&files, 0, SOURCE_CACHE, ret, &fault);
}

static int begin(struct ferry *f, struct diff_hive *x)
{
    struct hive_name path;
    reg_differ_free(x->differ);
    x->differ = NULL;
    x->at = 0;
    x->end = false;
    int r = hives_read(f, x->h);
    if (r < 0)
        return r;
    x->epoch = x->h->epoch;
    uint32_t root = hive_root(x->h->hive);
    r = registry_key_path(x->h, root, &path);
    hives_done(x->h);
    if (!r) {
        r = reg_differ_new(x->source, path, root, &x->differ);
        free((void *)(uintptr_t)path.units);
    }
    return r;
}

int diff_hive_open(struct ferry *f, struct reg_hive *h, struct diff_hive **ret)
{
    struct diff_hive *x = calloc(1, sizeof *x);
    if (!x)
        return -ENOMEM;
    pthread_mutex_init(&x->lock, NULL);
    x->h = h;
    int r = open_source(f, h, &x->source);
    if (!r)
        r = begin(f, x);
    if (r < 0) {
        diff_hive_close(x);
        return r == -EMEDIUMTYPE ? -EUCLEAN : r;
    }
    *ret = x;
    return 0;
}

void diff_hive_close(struct diff_hive *x)
{
    reg_differ_free(x->differ);
    if (x->source)
        hive_close(x->source);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

/* Some bytes, fewer than asked for, or x->end. */
static int read_some(struct ferry *f, struct diff_hive *x, void *buf, size_t len, size_t *ret_len)
{
    int r = hives_read(f, x->h);
    *ret_len = 0;
    if (r < 0)
        return r;
    /* read anew since: the cells aren't those any more */
    r = x->epoch != x->h->epoch ? -ESTALE
                                : reg_differ_read(x->differ, x->h->hive, buf, len, ret_len, &x->end);
    hives_done(x->h);
    x->at += *ret_len;
    return r;
}

static int read_at(struct ferry *f, struct diff_hive *x, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    char skipped[4096];
    int r = off < x->at || !x->differ ? begin(f, x) : 0;
    while (!r && !x->end && x->at < off) {
        size_t n;
        r = read_some(f, x, skipped, off - x->at < sizeof skipped ? (size_t)(off - x->at) : sizeof skipped,
                      &n);
    }
    while (!r && !x->end && *ret_len < len) {
        size_t n;
        r = read_some(f, x, (char *)buf + *ret_len, len - *ret_len, &n);
        *ret_len += n;
    }
    return r;
}

int diff_hive_read(struct ferry *f, struct diff_hive *x, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    *ret_len = 0;
    pthread_mutex_lock(&x->lock);
    int r = read_at(f, x, buf, len, off, ret_len);
    pthread_mutex_unlock(&x->lock);
    return r;
}

/* ---- does it differ at all? ---- */

/* Can anything of the hive differ? Its file or one of its logs must, or it is the same. */
static bool is_touched(const struct diff *d, const struct reg_hive *h)
{
    const struct volume_diff *v = h->volume < d->n ? d->volumes[h->volume] : NULL;
    const char *slash = strrchr(h->path, '/'), *base = slash ? slash + 1 : h->path;
    size_t n = strlen(base);
    if (h->volume < d->n && d->errs[h->volume])
        return true;
    for (size_t i = 0; v && i < v->n; i++) {
        const char *name = volume_diff_name(v, (uint32_t)i);
        bool named = !strncasecmp(name, base, n) && (!name[n] || !strncasecmp(name + n, ".LOG", 4));
        bool same = v->nodes[i].what == DIFF_SAME || v->nodes[i].what == DIFF_ATTRIBUTES;
        if ((named || v->nodes[i].ino == h->ino) && !same)
            return true;
    }
    return false;
}

/* A hive's file that was deleted is among those that are gone; there is nothing to merge. */
static bool is_gone(const struct diff *d, const struct reg_hive *h)
{
    struct volume_attr a;
    struct volume *v = h->volume < d->n ? d->guest->volumes[h->volume].volume : NULL;
    int r = v ? v->ops->getattr(v, h->ino, &a) : 0;
    return r == -ENOENT || r == -ESTALE || (!r && !a.nlink);
}

static int compare(struct ferry *f, struct reg_hive *h, bool *ret)
{
    struct diff_hive *x = NULL;
    char buf[4096];
    int r = diff_hive_open(f, h, &x);
    if (r < 0)
        return r;
    while (!r && !x->end && !reg_differ_found(x->differ)) {
        size_t n;
        r = read_some(f, x, buf, sizeof buf, &n);
    }
    *ret = reg_differ_found(x->differ);
    diff_hive_close(x);
    return r;
}

static bool find_difference(struct ferry *f, struct reg_hive *h)
{
    struct diff *d = NULL;
    bool differs = true;
    if (!hives_alone(f)) {
        if (diff_get(f, &d) < 0)
            return true;
        bool touched = is_touched(d, h) && !is_gone(d, h);
        diff_put(d);
        if (!touched)
            return false;
    }
    return compare(f, h, &differs) < 0 || differs;
}

static bool is_known(struct diffs *ds, const struct reg_hive *h, uint64_t edits, bool *ret)
{
    if (h->index >= ds->n_hives || !ds->hives[h->index].known || ds->hives[h->index].edits != edits)
        return false;
    *ret = ds->hives[h->index].differs;
    return true;
}

/* Without memory it is found out anew each time. */
static void keep(struct diffs *ds, const struct reg_hive *h, uint64_t edits, bool differs)
{
    if (h->index >= ds->n_hives) {
        struct diff_hive_state *all = realloc(ds->hives, (h->index + 1) * sizeof *all);
        if (!all)
            return;
        memset(all + ds->n_hives, 0, (h->index + 1 - ds->n_hives) * sizeof *all);
        ds->hives = all;
        ds->n_hives = h->index + 1;
    }
    ds->hives[h->index] = (struct diff_hive_state){ true, differs, edits };
}

bool diff_hive_differs(struct ferry *f, struct reg_hive *h)
{
    struct diffs *ds = f->diffs;
    uint64_t edits = f->edits;
    bool differs = true;
    pthread_mutex_lock(&ds->hives_lock);
    if (!is_known(ds, h, edits, &differs)) {
        differs = find_difference(f, h);
        keep(ds, h, edits, differs);
    }
    pthread_mutex_unlock(&ds->hives_lock);
    return differs;
}
