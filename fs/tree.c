/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the trees have in common, and the root directory. */
#include "ferry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint64_t tree_ino(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t h = 0x2545f4914f6cdd1d;
    const uint64_t words[] = { a, b, c };
    for (size_t i = 0; i < 3; i++) {
        h = (h ^ words[i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    h &= INT64_MAX;
    return h > 16 ? h : h + 16;
}

void tree_fill_attr(const struct ferry *f, mode_t mode, uint64_t ino, struct stat *ret)
{
    *ret = (struct stat){ .st_ino = ino, .st_nlink = S_ISDIR(mode) ? 2 : 1, .st_blksize = 4096 };
    ret->st_mode = mode & ~f->umask;
    ret->st_uid = f->uid;
    ret->st_gid = f->gid;
    ret->st_atim = ret->st_mtim = ret->st_ctim = f->mtime;
}

int text_read(const struct text *t, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    size_t n = off < t->n ? t->n - (size_t)off : 0;
    if (n > len)
        n = len;
    if (n)
        memcpy(buf, t->bytes + off, n);
    *ret_len = n;
    return 0;
}

struct shared_text *shared_text_new(char *bytes)
{
    struct shared_text *t = bytes ? malloc(sizeof *t) : NULL;
    if (!t) {
        free(bytes);
        return NULL;
    }
    t->refs = 1;
    t->text = (struct text){ bytes, strlen(bytes) };
    return t;
}

struct shared_text *shared_text_ref(struct shared_text *t)
{
    t->refs++;
    return t;
}

void shared_text_unref(struct shared_text *t)
{
    if (t && --t->refs == 0) {
        free(t->text.bytes);
        free(t);
    }
}

/* ---- the root directory ---- */

static int root_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    (void)n;
    tree_fill_attr(f, S_IFDIR | 0555, 1, ret);
    return 0;
}

static bool is_present(struct ferry *f, const struct toplevel *t)
{
    return !t->present || t->present(f);
}

static int root_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    (void)dir;
    for (const struct toplevel *const *t = toplevels; *t; t++)
        if (!strcmp((*t)->name, name))
            return is_present(f, *t) ? (*t)->id(f, ret) : -ENOENT;
    return -ENOENT;
}

static int root_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    (void)dir;
    size_t n = 0;
    while (toplevels[n])
        n++;
    for (uint64_t i = cookie; i < n; i++) {
        struct node_id id;
        if (is_present(f, toplevels[i]) && toplevels[i]->id(f, &id) == 0 &&
            emit(ctx, toplevels[i]->name, &id, toplevels[i]->type, i + 1))
            break;
    }
    return 0;
}

const struct tree_ops root_ops = {
    .name = "root",
    .getattr = root_getattr,
    .lookup = root_lookup,
    .readdir = root_readdir,
};
