/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disks/diskN/disk.vhdx.sha256 and its like: the SHA-256 of a view, in the format of sha256sum. Not listed,
 * found by name. Opening one computes the digest and takes as long as that; see digest.h.
 *
 * Node ids: as in tree-disks.h, b is the view's index. */
#include "tree-disks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct tree_ops digest_ops;
static const char suffix[] = ".sha256";

bool digest_lookup(struct ferry *f, uint64_t disk, uint64_t snapshot, const char *name, struct node_id *ret)
{
    struct ferry_state *s = NULL;
    for (size_t i = 0; i < f->n_views; i++) {
        size_t n = strlen(view_formats[i]->file_name);
        if (strncmp(name, view_formats[i]->file_name, n) != 0 || strcmp(name + n, suffix) != 0 ||
            !(s = ferry_state(f, disk, snapshot)))
            continue;
        struct view_set *set = ferry_views_get(f, s);
        bool found = set && set->views[i];
        if (set)
            ferry_views_put(f, s, set);
        *ret = (struct node_id){ .ops = &digest_ops, .a = disk, .b = i, .c = snapshot };
        return found;
    }
    return false;
}

static int digest_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    tree_fill_attr(f, S_IFREG | 0444, tree_ino(9, n->id.a, n->id.b | n->id.c << 16), ret);
    ret->st_mtim = ret->st_ctim = ferry_mtime(f, n->id.a, n->id.c);
    return 0;
}

/* ---- opening ---- */

struct digest_handle {
    struct handle handle;
    struct text text; /* its bytes follow the struct */
};

struct opening {
    struct digest_waiter waiter;
    struct tree_later *later;
    struct ferry *ferry;
    struct ferry_state *state;
    struct view_set *set;
    size_t view;
};

static struct opening *opening_of(struct digest_waiter *w)
{
    return (struct opening *)(void *)w;
}

/* The line that sha256sum would print in the directory. */
static struct handle *make_handle(const uint8_t sum[32], const char *file_name)
{
    size_t room = 64 + 2 + strlen(file_name) + 2;
    struct digest_handle *h = calloc(1, sizeof *h + room);
    if (!h)
        return NULL;
    char *line = (char *)(h + 1);
    for (size_t i = 0; i < 32; i++)
        snprintf(line + 2 * i, 3, "%02x", sum[i]);
    snprintf(line + 64, room - 64, "  %s\n", file_name);
    h->text = (struct text){ .bytes = line, .n = strlen(line) };
    h->handle.ops = &digest_ops;
    h->handle.direct = true; /* its length is 0 by stat, like that of all that is computed */
    return &h->handle;
}

static void opening_done(struct digest_waiter *w, int r, const uint8_t sum[32])
{
    struct opening *o = opening_of(w);
    struct handle *h = NULL;
    if (o->set)
        ferry_views_put(o->ferry, o->state, o->set);
    ferry_thaw(o->ferry);
    if (!r && !(h = make_handle(sum, view_formats[o->view]->file_name)))
        r = -ENOMEM;
    o->later->done(o->later, r, h);
    free(o);
}

static bool opening_given_up(struct digest_waiter *w)
{
    struct tree_later *l = opening_of(w)->later;
    return l->given_up(l);
}

static void digest_open(struct ferry *f, const struct node *n, struct tree_later *l)
{
    struct ferry_state *s = ferry_state(f, n->id.a, n->id.c);
    struct opening *o = s ? malloc(sizeof *o) : NULL;
    if (!o) {
        l->done(l, s ? -ENOMEM : -ENOENT, NULL);
        return;
    }
    *o = (struct opening){ .waiter = { .done = opening_done, .given_up = opening_given_up },
                           .later = l,
                           .ferry = f,
                           .state = s,
                           .view = n->id.b };
    uint64_t edits;
    int r = ferry_freeze(f, &edits); /* until the digest is there */
    if (r < 0) {
        l->done(l, r, NULL);
        free(o);
        return;
    }
    o->set = ferry_views_get(f, s);
    if (o->set && o->set->views[o->view])
        digest_ask(f->digesters, &o->set->digests[o->view], o->set->views[o->view], &o->waiter);
    else
        opening_done(&o->waiter, -ENOENT, NULL);
}

static int digest_read(struct ferry *f, struct handle *h, void *buf, size_t len, uint64_t off,
                       size_t *ret_len)
{
    (void)f;
    return text_read(&((struct digest_handle *)(void *)h)->text, buf, len, off, ret_len);
}

static void digest_release(struct ferry *f, struct handle *h)
{
    (void)f;
    free(h);
}

static const struct tree_ops digest_ops = {
    .name = "digest",
    .fresh = true,
    .getattr = digest_getattr,
    .open_later = digest_open,
    .read = digest_read,
    .release = digest_release,
};
