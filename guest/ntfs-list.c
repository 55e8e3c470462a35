/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listing the directories of an NTFS volume that is written.
 *
 * Where an entry lies in a directory's tree changes as names come and go, so a cookie can't be a place (as it
 * is while nothing is written, see ntfs-dir.c). Here entries are listed in the order of a key that stays:
 *
 *     key = MFT number << 15 | 15 bits that tell a file's several names in one directory apart
 *
 * which is mostly the order in which files were made, and good for whoever reads them in turn. The entries
 * with the next WINDOW keys are collected by a walk through the whole directory, and kept for the next call,
 * until a name of the directory changes. */
#include "ntfs.h"

#include "../formats/checked.h"

#include <errno.h>
#include <string.h>

enum {
    WINDOW = 4096,    /* entries */
    LISTINGS_MAX = 4, /* windows kept */
    KEY_SHIFT = 15,
};

struct entry {
    uint64_t key, ino;
    mode_t type;
    char *name; /* owned */
};

struct ntfs_listing {
    struct ntfs_listing *next; /* protected by the volume's lock; the rest is constant */
    atomic_uint refs;
    uint64_t dir;  /* MFT number */
    uint64_t from; /* holds the entries with keys over this ... */
    uint64_t to;   /* ... up to this */
    size_t n;
    struct entry entries[];
};

static void put_listing(struct ntfs_listing *l)
{
    if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    for (size_t i = 0; i < l->n; i++)
        free(l->entries[i].name);
    free(l);
}

/* ---- collecting ---- */

/* The entries so far; sorted and cut to WINDOW when there are twice as many. */
struct walk {
    struct ntfs *ntfs;
    uint64_t from, to;
    struct entry *entries; /* owned */
    size_t n, seen;
    int error;
};

static int by_key(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void cut(struct walk *w)
{
    qsort(w->entries, w->n, sizeof *w->entries, by_key);
    if (w->n <= WINDOW)
        return;
    w->to = w->entries[WINDOW - 1].key;
    while (w->n > WINDOW)
        free(w->entries[--w->n].name);
}

static uint64_t key_of(uint64_t mft, const ntfschar *name, int len)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (int i = 0; i < len; i++)
        hash = (hash ^ le16_to_cpu(name[i])) * 16777619u;
    return mft << KEY_SHIFT | ((hash ^ hash >> KEY_SHIFT) & ((1u << KEY_SHIFT) - 1));
}

static int take_entry(void *ctx, const ntfschar *ucs, const int len, const int name_type, const s64 pos,
                      const MFT_REF mref, const unsigned dt_type)
{
    enum { ALLOW_EVERY = 4096 };
    struct walk *w = ctx;
    (void)pos;
    if (!(++w->seen % ALLOW_EVERY)) /* the walk gets on: a directory of any length */
        ntfs_device_allow(w->ntfs->lib->dev);
    if (name_type == FILE_NAME_DOS || MREF(mref) < FILE_first_user)
        return 0; /* 8.3 names are found but not listed; metadata, "." and ".." of the root */
    uint64_t key = key_of(MREF(mref), ucs, len);
    if (key <= w->from || key > w->to)
        return 0;
    char *name = NULL;
    if (ntfs_ucstombs(ucs, len, &name, 0) < 0) {
        free(name);
        w->error = errno == ENOMEM ? -ENOMEM : 0;
        return w->error ? -1 : 0;
    }
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..") ||
        ntfs_is_gone_name(name, mref)) {
        free(name); /* can't be a name here, or is a file's that has none any more */
        return 0;
    }
    if (w->n == 2 * WINDOW)
        cut(w);
    mode_t type = dt_type == NTFS_DT_REG ? S_IFREG : dt_type == NTFS_DT_DIR ? S_IFDIR : 0;
    w->entries[w->n++] = (struct entry){ key, mref, type, name };
    return 0;
}

static int make_listing(struct ntfs *v, struct walk *w, uint64_t dir, struct ntfs_listing **ret)
{
    cut(w);
    struct ntfs_listing *l = malloc(sizeof *l + w->n * sizeof *l->entries);
    if (!l)
        return -ENOMEM;
    *l = (struct ntfs_listing){ .dir = dir, .from = w->from, .to = w->to, .n = w->n };
    atomic_init(&l->refs, 1);
    memcpy(l->entries, w->entries, w->n * sizeof *l->entries);
    for (size_t i = 1; i < l->n; i++) /* of names whose bits are the same */
        if (l->entries[i].key <= l->entries[i - 1].key)
            l->entries[i].key = l->entries[i - 1].key + 1;
    w->n = 0;
    for (size_t i = 0; i < l->n; i++)
        l->entries[i].ino = ntfs_complete_ino(v, l->entries[i].ino);
    *ret = l;
    return 0;
}

/* The window behind `cookie`, by a walk. Locked. */
static int collect(struct ntfs *v, ntfs_inode *dir, uint64_t cookie, struct ntfs_listing **ret)
{
    struct walk w = { .ntfs = v, .from = cookie, .to = UINT64_MAX };
    uint32_t block;
    s64 pos = 0;
    int r = ntfs_check_index(dir, &block);
    if (r < 0)
        return r;
    w.entries = malloc(2 * WINDOW * sizeof *w.entries);
    if (!w.entries)
        return -ENOMEM;
    errno = EIO;
    if (ntfs_readdir(dir, &pos, &w, take_entry))
        r = w.error ? w.error : ntfs_failed();
    if (!r)
        r = make_listing(v, &w, dir->mft_no, ret);
    while (w.n)
        free(w.entries[--w.n].name);
    free(w.entries);
    return r;
}

/* ---- keeping ---- */

static struct ntfs_listing *find_kept(struct ntfs *v, uint64_t dir, uint64_t cookie)
{
    for (struct ntfs_listing *l = v->listings; l; l = l->next)
        if (l->dir == dir && l->from <= cookie && cookie < l->to)
            return l;
    return NULL;
}

/* Takes over the reference. */
static void keep(struct ntfs *v, struct ntfs_listing *l)
{
    l->next = v->listings;
    v->listings = l;
    struct ntfs_listing **at = &v->listings;
    for (size_t i = 0; i < LISTINGS_MAX && *at; i++)
        at = &(*at)->next;
    while (*at) {
        struct ntfs_listing *old = *at;
        *at = old->next;
        put_listing(old);
    }
}

void ntfs_list_changed(struct ntfs *v, uint64_t dir_mft)
{
    for (struct ntfs_listing **at = &v->listings; *at;) {
        struct ntfs_listing *l = *at;
        if (l->dir != dir_mft) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        put_listing(l);
    }
}

void ntfs_list_done(struct ntfs *v)
{
    while (v->listings)
        ntfs_list_changed(v, v->listings->dir);
}

/* A window that holds what follows on `cookie`; the caller's reference. */
static int get_listing(struct ntfs *v, uint64_t dir, uint64_t cookie, struct ntfs_listing **ret)
{
    ntfs_inode *ni;
    ntfs_lock(v);
    v->hints = NTFS_HINTS;
    int r = ntfs_get_inode(v, dir, &ni);
    if (!r) {
        struct ntfs_listing *l = NULL;
        if (!ntfs_is_dir(ni))
            r = -ENOTDIR;
        else if (!(l = find_kept(v, ni->mft_no, cookie)) && !(r = collect(v, ni, cookie, &l)))
            keep(v, l);
        if (!r) {
            atomic_fetch_add(&l->refs, 1);
            *ret = l;
        }
        ntfs_inode_close(ni);
    }
    ntfs_unlock(v);
    return r;
}

int ntfs_list_writable(struct ntfs *v, uint64_t dir, uint64_t cookie, volume_emit emit, void *ctx)
{
    bool stopped = false;
    while (!stopped && cookie != UINT64_MAX) {
        struct ntfs_listing *l = NULL;
        int r = get_listing(v, dir, cookie, &l);
        if (r == -ENOENT && dir != VOLUME_ROOT)
            return 0; /* removed while somebody lists it: nothing is in it */
        if (r < 0)
            return r;
        for (size_t i = 0; i < l->n && !stopped; i++) {
            const struct entry *e = &l->entries[i];
            if (e->key > cookie)
                stopped = emit(ctx, e->name, e->ino, e->type, e->key);
        }
        cookie = l->to;
        put_listing(l);
    }
    return 0;
}
