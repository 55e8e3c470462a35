/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The walk over two states of a volume. The entries of a directory are taken from both, sorted and merged;
 * what is kept at a time is the lists of the directories on the way down. Of a directory that has no byte in
 * a changed place only the new list is read, since the old one is the same. */
#include "volume-diff.h"
#include "volume-compare.h"

#include "../formats/cleanup.h"
#include "../formats/keyed-hash.h"

#include <errno.h>
#include <string.h>

enum {
    LISTS_BYTES_MAX = 16 << 20, /* of all lists at a time: a quarter of a million names, in both states */
    NAME_BYTES_MAX = 1024,      /* more than 255 UTF-16 units take */
};

/* ---- lists ---- */

struct entry {
    uint64_t ino;
    size_t name; /* in names */
};

struct entries {
    struct entry *e; /* owned */
    size_t n, room;
    char *names; /* owned */
    size_t names_n, names_room;
    size_t *budget; /* what may still be kept */
    int err;
};

static size_t entry_bytes(size_t name_bytes)
{
    return sizeof(struct entry) + name_bytes;
}

static void entries_done(struct entries *l)
{
    if (l->budget)
        *l->budget += l->n * entry_bytes(0) + l->names_n;
    free(l->e);
    free(l->names);
    *l = (struct entries){ 0 };
}

static bool grow(void **p, size_t *room, size_t want, size_t each)
{
    if (want <= *room)
        return true;
    size_t n = *room ? *room : 64;
    while (n < want)
        n *= 2;
    void *q = realloc(*p, n * each);
    if (!q)
        return false;
    *p = q;
    *room = n;
    return true;
}

static int take_entry(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct entries *l = ctx;
    size_t len = strlen(name) + 1;
    (void)type;
    (void)next;
    if (entry_bytes(len) > *l->budget)
        l->err = -EFBIG;
    else if (!grow((void **)&l->e, &l->room, l->n + 1, sizeof *l->e) ||
             !grow((void **)&l->names, &l->names_room, l->names_n + len, 1))
        l->err = -ENOMEM;
    if (l->err)
        return 1;
    memcpy(l->names + l->names_n, name, len);
    l->e[l->n++] = (struct entry){ ino, l->names_n };
    l->names_n += len;
    *l->budget -= entry_bytes(len);
    return 0;
}

/* The room that was taken ahead is given back. */
static void trim(struct entries *l)
{
    struct entry *e = l->n ? realloc(l->e, l->n * sizeof *e) : NULL;
    char *names = l->names_n ? realloc(l->names, l->names_n) : NULL;
    if (e) {
        l->e = e;
        l->room = l->n;
    }
    if (names) {
        l->names = names;
        l->names_room = l->names_n;
    }
}

static int by_name(const void *a, const void *b, void *names)
{
    return strcmp((char *)names + ((const struct entry *)a)->name,
                  (char *)names + ((const struct entry *)b)->name);
}

static int list(struct volume *v, uint64_t dir, size_t *budget, struct entries *l)
{
    *l = (struct entries){ .budget = budget };
    int r = v->ops->readdir(v, dir, 0, take_entry, l);
    if (l->err)
        r = l->err;
    trim(l);
    if (l->n)
        qsort_r(l->e, l->n, sizeof *l->e, by_name, l->names);
    return r < 0 ? r : 0;
}

static const char *name_at(const struct entries *l, size_t i)
{
    return l->names + l->e[i].name;
}

/* ---- the tree ---- */

struct walk {
    const struct volume_diff_source *s;
    struct volume_diff *d;
    unsigned depth;
    size_t lists; /* bytes that lists may still take */
    uint64_t
        *seen; /* owned: the directories walked so far, hashed; 0: none. Damage can give one many names */
    size_t n_seen, size_seen;
};

static size_t seen_slot(const struct walk *w, uint64_t ino)
{
    size_t i = (size_t)(ino * 0x9e3779b97f4a7c15u >> 20) & (w->size_seen - 1);
    while (w->seen[i] && w->seen[i] != ino)
        i = (i + 1) & (w->size_seen - 1);
    return i;
}

static int grow_seen(struct walk *w)
{
    struct walk more = { .size_seen = w->size_seen ? 2 * w->size_seen : 1024 };
    if (more.size_seen * sizeof *more.seen > w->s->room)
        return -EFBIG;
    more.seen = calloc(more.size_seen, sizeof *more.seen);
    if (!more.seen)
        return -ENOMEM;
    for (size_t i = 0; i < w->size_seen; i++)
        if (w->seen[i])
            more.seen[seen_slot(&more, w->seen[i])] = w->seen[i];
    free(w->seen);
    w->seen = more.seen;
    w->size_seen = more.size_seen;
    return 0;
}

/* -EUCLEAN: the directory was walked already, by another name. */
static int see_dir(struct walk *w, uint64_t ino)
{
    int r = 2 * w->n_seen >= w->size_seen ? grow_seen(w) : 0;
    if (r < 0 || !ino)
        return r;
    size_t i = seen_slot(w, ino);
    if (w->seen[i])
        return -EUCLEAN;
    w->seen[i] = ino;
    w->n_seen++;
    return 0;
}

/* Returns DIFF_NONE with *ret_err. */
static uint32_t add_node(struct walk *w, const struct volume_diff_node *n, const char *name, int *ret_err)
{
    struct volume_diff *d = w->d;
    size_t len = strlen(name) + 1;
    if ((d->n + 1) * sizeof *d->nodes + d->names_n + len > w->s->room || d->n >= DIFF_NONE - 1) {
        *ret_err = -EFBIG;
        return DIFF_NONE;
    }
    if (!grow((void **)&d->nodes, &d->room, d->n + 1, sizeof *d->nodes) ||
        !grow((void **)&d->names, &d->names_room, d->names_n + len, 1)) {
        *ret_err = -ENOMEM;
        return DIFF_NONE;
    }
    uint32_t at = (uint32_t)d->n++;
    d->nodes[at] = *n;
    d->nodes[at].name = (uint32_t)d->names_n;
    memcpy(d->names + d->names_n, name, len);
    d->names_n += len;
    return at;
}

/* Takes back the last node, if it has nothing to say. */
static void drop_if_same(struct walk *w, uint32_t at)
{
    struct volume_diff *d = w->d;
    const struct volume_diff_node *n = &d->nodes[at];
    if (n->what != DIFF_SAME || n->children)
        return;
    d->names_n = n->name;
    d->n--;
}

/* ---- the walk ---- */

static int walk_dir(struct walk *w, uint32_t at, uint64_t old_ino, bool both, bool untouched);

/* Damage of one entry is its own; only what ends the walk comes through. */
static bool ends_walk(int r)
{
    return r == -ENOMEM || r == -EFBIG || r == -EINTR;
}

static int unknown(struct volume_diff_node *n, int r)
{
    if (!r || ends_walk(r))
        return r;
    n->what = DIFF_UNKNOWN;
    n->err = (int16_t)r;
    return 0;
}

static int only_new(struct walk *w, uint64_t ino, struct volume_diff_node *n)
{
    struct volume_attr a = { 0 };
    int r = w->s->new->ops->getattr(w->s->new, ino, &a);
    n->ino = ino;
    n->what = DIFF_ADDED;
    n->type = a.mode & S_IFMT;
    n->size = S_ISREG(a.mode) || S_ISLNK(a.mode) ? a.size : 0;
    return unknown(n, r);
}

static int only_old(struct walk *w, uint64_t ino, struct volume_diff_node *n)
{
    struct volume_attr a = { 0 };
    int r = w->s->old->ops->getattr(w->s->old, ino, &a);
    n->what = DIFF_REMOVED;
    n->old_type = a.mode & S_IFMT;
    n->old_size = S_ISREG(a.mode) || S_ISLNK(a.mode) ? a.size : 0;
    return r == -EIO ? 0 : unknown(n, r); /* it is gone, whatever it was */
}

/* The node of one name, and of all below it. `old`, `new`: NULL where there is none. */
static int walk_entry(struct walk *w, uint32_t parent, const char *name, const uint64_t *old,
                      const uint64_t *new)
{
    struct volume_diff_node n = { .parent = parent };
    enum volume_touch touch = TOUCH_ALL;
    int r = 0;
    if (old && new) {
        touch = volume_touched(w->s, *old, *new);
        n.ino = *new;
        if (touch == TOUCH_NONE) { /* all there is to know is whether it is a directory */
            struct volume_attr a = { 0 };
            r = w->s->new->ops->getattr(w->s->new, *new, &a);
            n.type = n.old_type = a.mode & S_IFMT;
            if (r < 0 || !S_ISDIR(a.mode))
                return ends_walk(r) ? r : 0; /* damaged as it was before */
        } else {
            r = unknown(&n, volume_compare(w->s, *old, *new, touch, &n));
        }
    } else {
        r = new ? only_new(w, *new, &n) : only_old(w, *old, &n);
    }
    if (r < 0)
        return r;
    bool below = S_ISDIR(n.type) && n.what != DIFF_UNKNOWN;
    if (!below && n.what == DIFF_SAME)
        return 0;
    uint32_t at = add_node(w, &n, name, &r);
    if (at == DIFF_NONE)
        return r;
    bool both = old && new &&S_ISDIR(n.old_type);
    if (below)
        r = walk_dir(w, at, both ? *old : 0, both, touch == TOUCH_NONE);
    drop_if_same(w, at);
    if (w->d->n > at)
        w->d->nodes[parent].children++;
    return r;
}

static int merge(struct walk *w, uint32_t at, const struct entries *old, const struct entries *new)
{
    int r = 0;
    for (size_t i = 0, k = 0; !r && (i < old->n || k < new->n);) {
        int order = i >= old->n ? 1 : k >= new->n ? -1 : strcmp(name_at(old, i), name_at(new, k));
        const char *name = order < 0 ? name_at(old, i) : name_at(new, k);
        uint64_t *a = order <= 0 ? &old->e[i++].ino : NULL, *b = order >= 0 ? &new->e[k++].ino : NULL;
        if (w->s->given_up && w->s->given_up(w->s->ctx))
            r = -EINTR;
        else
            r = walk_entry(w, at, name, a, b);
    }
    return r;
}

/* What can't be read of an old directory is taken for new: rather too much than too little. */
static int list_old(struct walk *w, uint32_t at, uint64_t ino, struct entries *ret)
{
    return unknown(&w->d->nodes[at], list(w->s->old, ino, &w->lists, ret));
}

/* `untouched`: the old list is the new one. */
static int walk_dir(struct walk *w, uint32_t at, uint64_t old_ino, bool both, bool untouched)
{
    struct entries old = { 0 }, new = { 0 };
    if (w->depth >= DIFF_DEPTH_MAX)
        return unknown(&w->d->nodes[at], -ELOOP);
    int r = see_dir(w, w->d->nodes[at].ino);
    if (r < 0)
        return unknown(&w->d->nodes[at], r);
    r = list(w->s->new, w->d->nodes[at].ino, &w->lists, &new);
    if (!r && both && !untouched)
        r = list_old(w, at, old_ino, &old);
    if (r < 0) {
        r = unknown(&w->d->nodes[at], r);
    } else {
        w->depth++;
        r = merge(w, at, both && untouched ? &new : &old, &new);
        w->depth--;
    }
    entries_done(&old);
    entries_done(&new);
    return r;
}

/* ---- finding ---- */

static int by_ino(const void *a, const void *b, void *ctx)
{
    const struct volume_diff *d = ctx;
    uint64_t x = d->nodes[*(const uint32_t *)a].ino, y = d->nodes[*(const uint32_t *)b].ino;
    return x < y ? -1 : x > y;
}

/* What the hash doesn't tell apart is told by a second one, of which letters are large. */
uint64_t volume_diff_cookie(const char *name)
{
    char large[NAME_BYTES_MAX + 1];
    size_t n = 0;
    for (; name[n] && n < NAME_BYTES_MAX; n++)
        large[n] = name[n] >= 'A' && name[n] <= 'Z' ? '1' : '0';
    large[n] = 0;
    return keyed_hash(keyed_hash(0, name), large) % (DIFF_COOKIE_END - 1) + 1;
}

struct kid {
    uint64_t cookie;
    uint32_t parent, node;
};

static int by_cookie(const void *a, const void *b)
{
    const struct kid *x = a, *y = b;
    if (x->parent != y->parent)
        return x->parent < y->parent ? -1 : 1;
    return x->cookie < y->cookie ? -1 : x->cookie > y->cookie;
}

static int index_kids(struct volume_diff *d)
{
    uint32_t at = 0;
    struct kid *all = malloc(d->n * sizeof *all);
    if (!all)
        return -ENOMEM;
    for (uint32_t i = 0; i < d->n; i++) {
        d->nodes[i].first = at;
        at += d->nodes[i].children;
    }
    for (uint32_t i = 1; i < d->n; i++)
        all[i - 1] = (struct kid){ volume_diff_cookie(volume_diff_name(d, i)), d->nodes[i].parent, i };
    qsort(all, d->n - 1, sizeof *all, by_cookie);
    for (size_t i = 0; i + 1 < d->n; i++)
        d->kids[i] = all[i].node;
    free(all);
    return 0;
}

static int make_index(struct volume_diff *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++)
        d->n_dirs += S_ISDIR(d->nodes[i].type);
    d->kids = malloc(d->n * sizeof *d->kids);
    d->dirs = malloc((d->n_dirs ? d->n_dirs : 1) * sizeof *d->dirs);
    if (!d->kids || !d->dirs)
        return -ENOMEM;
    int r = index_kids(d);
    if (r < 0)
        return r;
    for (size_t i = 0; i < d->n; i++)
        if (S_ISDIR(d->nodes[i].type))
            d->dirs[n++] = (uint32_t)i;
    qsort_r(d->dirs, n, sizeof *d->dirs, by_ino, d);
    return 0;
}

uint32_t volume_diff_dir(const struct volume_diff *d, uint64_t ino)
{
    size_t from = 0, to = d->n_dirs;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (d->nodes[d->dirs[middle]].ino < ino)
            from = middle + 1;
        else
            to = middle;
    }
    return from < d->n_dirs && d->nodes[d->dirs[from]].ino == ino ? d->dirs[from] : DIFF_NONE;
}

uint32_t volume_diff_behind(const struct volume_diff *d, uint32_t dir, uint64_t cookie)
{
    const uint32_t *kids = d->kids + d->nodes[dir].first;
    uint32_t from = 0, to = d->nodes[dir].children;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (volume_diff_cookie(volume_diff_name(d, kids[middle])) <= cookie)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

uint32_t volume_diff_child(const struct volume_diff *d, uint32_t dir, const char *name)
{
    const uint32_t *kids = d->kids + d->nodes[dir].first;
    uint64_t cookie = volume_diff_cookie(name);
    for (uint32_t i = volume_diff_behind(d, dir, cookie - 1); i < d->nodes[dir].children; i++) {
        const char *other = volume_diff_name(d, kids[i]);
        if (!strcmp(other, name))
            return kids[i];
        if (volume_diff_cookie(other) != cookie)
            break;
    }
    return DIFF_NONE;
}

/* ---- the whole ---- */

int volume_diff_new(const struct volume_diff_source *s, struct volume_diff **ret)
{
    _cleanup_(volume_diff_freep) struct volume_diff *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    struct walk w = { .s = s, .d = d, .lists = LISTS_BYTES_MAX };
    struct volume_diff_node root = {
        .parent = DIFF_NONE, .ino = VOLUME_ROOT, .type = S_IFDIR, .what = DIFF_ADDED
    };
    int r = 0;
    enum volume_touch touch = TOUCH_ALL;
    if (s->old) {
        touch = volume_touched(s, VOLUME_ROOT, VOLUME_ROOT);
        r = unknown(&root, volume_compare(s, VOLUME_ROOT, VOLUME_ROOT, touch, &root));
    }
    if (!r && add_node(&w, &root, "", &r) != DIFF_NONE)
        r = walk_dir(&w, 0, VOLUME_ROOT, s->old != NULL, touch == TOUCH_NONE);
    free(w.seen);
    if (!r)
        r = make_index(d);
    if (r < 0)
        return r;
    d->bytes = d->room * sizeof *d->nodes + d->names_room + (d->n + d->n_dirs) * sizeof *d->dirs;
    *ret = TAKE_PTR(d);
    return 0;
}

void volume_diff_free(struct volume_diff *d)
{
    if (!d)
        return;
    free(d->nodes);
    free(d->names);
    free(d->kids);
    free(d->dirs);
    free(d);
}
