/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of subkeys, changed. A leaf is read whole, changed in memory and stored again: in its cell if it
 * fits, else in a new one. A leaf that grows past its limit is split in halves, under an ri; one that becomes
 * empty goes, two neighbours that have become small are joined, and an ri of one leaf is replaced by the
 * leaf.
 *
 * Leaves keep their kind (li, lf, lh), and new ones are of the kind that the hive's version has. A list that
 * breaks a rule (order, hashes, kind) is written anew as a whole when it is first changed. */
#include "hive-edit.h"

#include <stdlib.h>

enum {
    /* What Windows 7 splits at; later ones let leaves grow to 1012. Both read either. */
    LEAF_MAX = 507,
    LEAF_LI_MAX = 1012,
    LEAF_SMALL = 128, /* neighbours that have no more than this together become one */
    RI_MAX = 1012,
};

struct element {
    uint32_t key;
    uint8_t hint[4];
};

struct elements {
    enum hive_leaf_kind kind;
    uint32_t n, room;
    struct element *e;
};

static void elements_done(struct elements *l)
{
    free(l->e);
}

static enum hive_leaf_kind kind_of_version(const struct hive *h)
{
    return hive_has_hashes(h) ? HIVE_LH : HIVE_LF;
}

static uint32_t most_of(enum hive_leaf_kind kind)
{
    return kind == HIVE_LI ? LEAF_LI_MAX : LEAF_MAX;
}

static int elements_reserve(struct elements *l, uint32_t n)
{
    if (n <= l->room)
        return 0;
    uint32_t room = n + n / 2 + 8;
    struct element *e = realloc(l->e, room * sizeof *e);
    if (!e)
        return -ENOMEM;
    l->e = e;
    l->room = room;
    return 0;
}

void hive_hint_make(enum hive_leaf_kind kind, struct hive_name name, uint8_t hint[4])
{
    memset(hint, 0, 4);
    if (kind == HIVE_LH)
        put_le32(hint, hive_name_hash(name));
    for (size_t i = 0; kind == HIVE_LF && i < 4 && i < name.n; i++) {
        if (name.units[i] > 0xff) { /* then there is no hint at all */
            memset(hint, 0, 4);
            break;
        }
        hint[i] = (uint8_t)name.units[i];
    }
}

bool hive_hint_is_good(enum hive_leaf_kind kind, const uint8_t hint[4], struct hive_name name)
{
    uint8_t want[4];
    hive_hint_make(kind, name, want);
    /* Without a hint Windows looks at the name itself. */
    return kind == HIVE_LI || !memcmp(hint, want, 4) || (kind == HIVE_LF && !hint[0]);
}

static int read_leaf(const struct hive *h, const struct hive_leaf *leaf, struct elements *ret)
{
    ret->kind = leaf->kind;
    ret->n = 0;
    int r = elements_reserve(ret, leaf->n + 1);
    for (uint32_t i = 0; !r && i < leaf->n; i++)
        r = hive_leaf_element(h, leaf, i, &ret->e[i].key, ret->e[i].hint);
    if (!r)
        ret->n = leaf->n;
    return r;
}

/* Stores elements [from, from + n) as a leaf; `old` is a cell that may be used or is freed (NIL: none). */
static int store_leaf(struct hive *h, uint32_t old, const struct elements *l, uint32_t from, uint32_t n,
                      uint32_t *ret)
{
    static const char names[][3] = { "li", "lf", "lh" };
    uint32_t step = l->kind == HIVE_LI ? 4 : 8, size = 4 + n * step;
    struct hive_cell c;
    int r = 0;
    _cleanup_free_ uint8_t *b = malloc(size);
    if (!b)
        return -ENOMEM;
    memcpy(b, names[l->kind], 2);
    put_le16(b + 2, (uint16_t)n);
    for (uint32_t i = 0; i < n; i++) {
        put_le32(b + 4 + i * step, l->e[from + i].key);
        if (step == 8)
            memcpy(b + 4 + i * step + 4, l->e[from + i].hint, 4);
    }
    if (old != HIVE_NIL) {
        r = hive_cell_open(h, old, "a list of subkeys", &c);
        if (!r && c.size < size) {
            r = hive_release_cell(h, old);
            old = HIVE_NIL;
        }
    }
    if (!r && old == HIVE_NIL) /* a little room, so that not every insertion moves the leaf */
        r = hive_alloc(h, size + step * (n < 16 ? 1 : n / 8), &old);
    if (!r)
        r = hive_put(h, old, 0, b, size);
    if (!r)
        *ret = old;
    return r;
}

/* ---- the ri ---- */

struct leaves {
    uint32_t n;
    uint32_t *at; /* allocated */
};

static int read_ri(const struct hive *h, const struct hive_list *list, struct leaves *ret)
{
    struct bad bad = { 0 };
    uint32_t n = list->is_ri ? list->n_leaves : 1;
    _cleanup_free_ uint8_t *b = malloc(4 * (size_t)n + 4);
    ret->at = malloc(sizeof *ret->at * (n + 2)); /* room to split one */
    ret->n = 0;
    if (!b || !ret->at)
        return -ENOMEM;
    if (list->is_ri) {
        int r = hive_cell_read(h, &list->cell, 4, b, 4 * (size_t)n);
        if (r < 0)
            return r;
    }
    for (uint32_t i = 0; i < n; i++)
        ret->at[i] =
            list->is_ri ? le32(bytes_of(b, 4 * (size_t)n, 0, &bad), 4 * (size_t)i) : list->leaf.cell.at;
    ret->n = n;
    return 0;
}

/* Stores what the key's list now is. `old_ri`: its ri cell, or NIL. *ret: for the nk, NIL when empty. */
static int store_ri(struct hive *h, uint32_t old_ri, const struct leaves *leaves, uint32_t *ret)
{
    struct hive_cell c;
    int r = 0;
    if (leaves->n <= 1) {
        r = hive_release_cell(h, old_ri);
        if (!r)
            *ret = leaves->n ? leaves->at[0] : HIVE_NIL;
        return r;
    }
    if (leaves->n > UINT16_MAX)
        return -EFBIG;
    size_t size = 4 + 4 * (size_t)leaves->n;
    _cleanup_free_ uint8_t *b = malloc(size);
    if (!b)
        return -ENOMEM;
    memcpy(b, "ri", 2);
    put_le16(b + 2, (uint16_t)leaves->n);
    for (uint32_t i = 0; i < leaves->n; i++)
        put_le32(b + 4 + 4 * (size_t)i, leaves->at[i]);
    if (old_ri != HIVE_NIL) {
        r = hive_cell_open(h, old_ri, "a list of subkeys", &c);
        if (!r && c.size < size) {
            r = hive_release_cell(h, old_ri);
            old_ri = HIVE_NIL;
        }
    }
    if (!r && old_ri == HIVE_NIL)
        r = hive_alloc(h, size + 16, &old_ri);
    if (!r)
        r = hive_put(h, old_ri, 0, b, size);
    if (!r)
        *ret = old_ri;
    return r;
}

int hive_list_free(struct hive *h, const struct hive_nk *k)
{
    struct hive_list list;
    if (k->list == HIVE_NIL || !k->n_subkeys)
        return 0; /* without subkeys the pointer means nothing, as Windows has it */
    int r = hive_list(h, k->list, &list);
    for (uint32_t i = 0; !r && list.is_ri && i < list.n_leaves; i++) {
        struct hive_leaf leaf;
        r = hive_list_leaf(h, &list, i, &leaf);
        if (!r)
            r = hive_release_cell(h, leaf.cell.at);
    }
    return r < 0 ? r : hive_release_cell(h, k->list);
}

/* ---- lists that break a rule ---- */

struct child {
    uint32_t key;
    struct hive_name_buf name;
};

static int compare_children(const void *a, const void *b)
{
    const struct child *const *x = a, *const *y = b;
    return hive_name_compare(hive_name_of(&(*x)->name), hive_name_of(&(*y)->name));
}

/* Does the list hold all rules? Also reads all its children when it doesn't. */
static int judge(const struct hive *h, const struct hive_nk *k, bool *ret_good, uint32_t *ret_n)
{
    struct hive_list_iter it;
    struct hive_name_buf before, now;
    uint32_t key, n = 0;
    uint8_t hint[4];
    bool good = true;
    int r = hive_list_begin(h, k->list, &it);
    while (!r && (r = hive_list_next(&it, &key, hint)) == 1) {
        struct hive_nk child;
        r = hive_nk_child(h, key, k->cell.at, &child);
        if (!r)
            r = hive_stored_whole(h, &child.name, &now);
        if (r < 0)
            return r;
        good = good && (it.leaf.kind != HIVE_LH || hive_has_hashes(h)) &&
               hive_hint_is_good(it.leaf.kind, hint, hive_name_of(&now)) &&
               (!n || hive_name_compare(hive_name_of(&before), hive_name_of(&now)) < 0);
        before = now;
        n++;
    }
    if (!r && it.damaged)
        r = hive_damage(h, k->list, "the list of subkeys is damaged");
    if (!r) {
        *ret_good = good && n == k->n_subkeys;
        *ret_n = n;
    }
    return r;
}

/* Writes the sorted children as new leaves. */
static int write_children(struct hive *h, struct child **sorted, uint32_t n, uint32_t *ret)
{
    _cleanup_(elements_done) struct elements l = { .kind = kind_of_version(h) };
    uint32_t most = most_of(l.kind), n_leaves = (uint32_t)div_up(n, most);
    struct leaves leaves = { 0, malloc(sizeof *leaves.at * (n_leaves + 1)) };
    int r = leaves.at ? elements_reserve(&l, n) : -ENOMEM;
    for (uint32_t i = 0; !r && i < n; i++) {
        l.e[i].key = sorted[i]->key;
        hive_hint_make(l.kind, hive_name_of(&sorted[i]->name), l.e[i].hint);
    }
    for (uint32_t i = 0; !r && i < n_leaves; i++) {
        uint32_t from = (uint32_t)((uint64_t)n * i / n_leaves),
                 to = (uint32_t)((uint64_t)n * (i + 1) / n_leaves);
        r = store_leaf(h, HIVE_NIL, &l, from, to - from, &leaves.at[leaves.n]);
        leaves.n += !r;
    }
    if (!r)
        r = store_ri(h, HIVE_NIL, &leaves, ret);
    free(leaves.at);
    return r;
}

static int write_anew(struct hive *h, const struct hive_nk *k, uint32_t n)
{
    struct hive_list_iter it;
    struct child *children = calloc(n ? n : 1, sizeof *children);
    struct child **sorted = calloc(n ? n : 1, sizeof *sorted);
    uint32_t key, list = HIVE_NIL, have = 0;
    int r = children && sorted ? hive_list_begin(h, k->list, &it) : -ENOMEM;
    while (!r && have < n && (r = hive_list_next(&it, &key, NULL)) == 1) {
        struct hive_nk child;
        r = hive_nk_child(h, key, k->cell.at, &child);
        if (!r)
            r = hive_stored_whole(h, &child.name, &children[have].name);
        children[have].key = key;
        sorted[have] = &children[have];
        have++;
    }
    if (!r) {
        qsort(sorted, have, sizeof(struct child *), compare_children);
        for (uint32_t i = 1; !r && i < have; i++)
            if (!compare_children(&sorted[i - 1], &sorted[i]))
                r = hive_damage(h, k->list, "two subkeys have one name");
    }
    if (!r)
        r = hive_list_free(h, k);
    if (!r)
        r = write_children(h, sorted, have, &list);
    if (!r)
        r = hive_put32(h, k->cell.at, NK_LIST, list);
    if (!r)
        r = hive_put32(h, k->cell.at, NK_SUBKEYS, have);
    free(children);
    free(sorted);
    return r;
}

/* The key, its list in order. */
static int good_list(struct hive *h, uint32_t parent, struct hive_nk *k)
{
    bool good = true;
    uint32_t n = 0;
    int r = hive_nk(h, parent, k);
    if (r < 0 || !k->n_subkeys || hive_sorted_has(h->edits->good, parent))
        return r;
    r = judge(h, k, &good, &n);
    if (!r && !good)
        r = write_anew(h, k, n);
    if (!r && !good)
        r = hive_nk(h, parent, k);
    if (!r) {
        hive_sorted_put(h->edits->good, parent);
        hive_sorted_put(h->sorted, parent);
    }
    return r;
}

/* ---- one more, one less ---- */

/* First element that isn't before the name. */
static int lower_bound(const struct hive *h, const struct elements *l, struct hive_name name, uint32_t *ret)
{
    uint32_t lo = 0, hi = l->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        struct hive_nk k;
        int order = 0, r = hive_nk(h, l->e[mid].key, &k);
        if (!r)
            r = hive_stored_compare(h, &k.name, name, &order);
        if (r < 0)
            return r;
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret = lo;
    return 0;
}

/* The leaf whose range has the name: the first whose last element isn't before it, else the last. */
static int leaf_for(const struct hive *h, const struct leaves *leaves, struct hive_name name, uint32_t *ret)
{
    uint32_t lo = 0, hi = leaves->n - 1;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2, key;
        struct hive_leaf leaf;
        struct hive_nk k;
        int order = 0, r = hive_leaf(h, leaves->at[mid], &leaf);
        if (!r && !leaf.n)
            r = hive_damage(h, leaf.cell.at, "an empty leaf");
        if (!r)
            r = hive_leaf_element(h, &leaf, leaf.n - 1, &key, NULL);
        if (!r)
            r = hive_nk(h, key, &k);
        if (!r)
            r = hive_stored_compare(h, &k.name, name, &order);
        if (r < 0)
            return r;
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret = lo;
    return 0;
}

/* A key's list taken apart around one name. */
struct place {
    struct hive_list list;
    struct leaves leaves;
    uint32_t leaf;     /* index in leaves */
    struct elements l; /* of that leaf */
    uint32_t at;       /* index in l */
};

static void place_done(struct place *p)
{
    free(p->leaves.at);
    free(p->l.e);
}

static int find_place(struct hive *h, const struct hive_nk *k, struct hive_name name, struct place *p)
{
    struct hive_leaf leaf;
    int r = hive_list(h, k->list, &p->list);
    if (!r)
        r = read_ri(h, &p->list, &p->leaves);
    if (!r && !p->leaves.n)
        r = hive_damage(h, k->list, "an empty list of subkeys");
    if (!r)
        r = leaf_for(h, &p->leaves, name, &p->leaf);
    if (!r)
        r = hive_leaf(h, p->leaves.at[p->leaf], &leaf);
    if (!r)
        r = read_leaf(h, &leaf, &p->l);
    return r < 0 ? r : lower_bound(h, &p->l, name, &p->at);
}

static void leaves_insert(struct leaves *l, uint32_t i, uint32_t at)
{
    memmove(l->at + i + 1, l->at + i, (l->n - i) * sizeof *l->at);
    l->at[i] = at;
    l->n++;
}

static void leaves_remove(struct leaves *l, uint32_t i)
{
    memmove(l->at + i, l->at + i + 1, (l->n - i - 1) * sizeof *l->at);
    l->n--;
}

/* Stores the changed leaf of the place, in halves if it is too long, and the key's list and count. */
static int store_place(struct hive *h, const struct hive_nk *k, struct place *p, uint32_t n_subkeys)
{
    uint32_t *at = &p->leaves.at[p->leaf], list = HIVE_NIL;
    int r;
    if (!p->l.n) {
        r = hive_release_cell(h, *at);
        leaves_remove(&p->leaves, p->leaf);
    } else if (p->l.n > most_of(p->l.kind)) {
        uint32_t half = p->l.n / 2, second;
        r = store_leaf(h, *at, &p->l, 0, half, at);
        if (!r)
            r = store_leaf(h, HIVE_NIL, &p->l, half, p->l.n - half, &second);
        if (!r)
            leaves_insert(&p->leaves, p->leaf + 1, second);
    } else {
        r = store_leaf(h, *at, &p->l, 0, p->l.n, at);
    }
    if (!r)
        r = store_ri(h, p->list.is_ri ? p->list.cell.at : HIVE_NIL, &p->leaves, &list);
    if (!r && list != k->list)
        r = hive_put32(h, k->cell.at, NK_LIST, list);
    return r < 0 ? r : hive_put32(h, k->cell.at, NK_SUBKEYS, n_subkeys);
}

/* Takes the next leaf's elements into this one if both are small and of a kind. */
static int join_next(struct hive *h, struct place *p)
{
    struct hive_leaf next;
    if (p->leaf + 1 >= p->leaves.n || p->l.n > LEAF_SMALL)
        return 0;
    int r = hive_leaf(h, p->leaves.at[p->leaf + 1], &next);
    if (r < 0 || next.kind != p->l.kind || next.n + p->l.n > LEAF_SMALL)
        return r;
    r = elements_reserve(&p->l, p->l.n + next.n);
    for (uint32_t i = 0; !r && i < next.n; i++, p->l.n++)
        r = hive_leaf_element(h, &next, i, &p->l.e[p->l.n].key, p->l.e[p->l.n].hint);
    if (!r)
        r = hive_release_cell(h, next.cell.at);
    if (!r)
        leaves_remove(&p->leaves, p->leaf + 1);
    return r;
}

static int insert_first(struct hive *h, const struct hive_nk *k, uint32_t key, struct hive_name name)
{
    struct element e = { .key = key };
    struct elements l = { kind_of_version(h), 1, 1, &e };
    uint32_t list;
    hive_hint_make(l.kind, name, e.hint);
    int r = store_leaf(h, HIVE_NIL, &l, 0, 1, &list);
    if (!r)
        r = hive_put32(h, k->cell.at, NK_LIST, list);
    return r < 0 ? r : hive_put32(h, k->cell.at, NK_SUBKEYS, 1);
}

int hive_list_insert(struct hive *h, uint32_t parent, uint32_t key, struct hive_name name)
{
    struct hive_nk k;
    _cleanup_(place_done) struct place p = { 0 };
    int r = good_list(h, parent, &k);
    if (r < 0)
        return r;
    if (!k.n_subkeys)
        return insert_first(h, &k, key, name);
    r = find_place(h, &k, name, &p);
    if (!r)
        r = elements_reserve(&p.l, p.l.n + 1);
    if (r < 0)
        return r;
    memmove(p.l.e + p.at + 1, p.l.e + p.at, (p.l.n - p.at) * sizeof *p.l.e);
    p.l.e[p.at].key = key;
    hive_hint_make(p.l.kind, name, p.l.e[p.at].hint);
    p.l.n++;
    return store_place(h, &k, &p, k.n_subkeys + 1);
}

int hive_list_remove(struct hive *h, uint32_t parent, uint32_t key, struct hive_name name)
{
    struct hive_nk k;
    _cleanup_(place_done) struct place p = { 0 };
    int r = good_list(h, parent, &k);
    if (!r && !k.n_subkeys)
        r = hive_damage(h, parent, "the key has no subkeys");
    if (!r)
        r = find_place(h, &k, name, &p);
    if (!r && (p.at >= p.l.n || p.l.e[p.at].key != key))
        r = hive_damage(h, key, "the key isn't in its parent's list");
    if (r < 0)
        return r;
    memmove(p.l.e + p.at, p.l.e + p.at + 1, (p.l.n - p.at - 1) * sizeof *p.l.e);
    p.l.n--;
    r = p.l.n ? join_next(h, &p) : 0;
    return r < 0 ? r : store_place(h, &k, &p, k.n_subkeys - 1);
}
