/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of subkeys, read: one leaf (lf, lh, li), or an ri over several leaves. All names of a key's list are
 * sorted by their upper case, so that a name is found in as many steps as the list's length has bits.
 *
 * Some writers get the order wrong (old hivex: by UTF-8 bytes), and their keys must be found all the same.
 * When the search says no, the order of that list is proved once, by reading it all, and remembered; only in
 * a list that isn't sorted is each name looked at every time. */
#include "hive-internal.h"

#include <stdatomic.h>
#include <stdlib.h>

int hive_leaf(const struct hive *h, uint32_t at, struct hive_leaf *ret)
{
    uint8_t head[4];
    size_t got = 0;
    struct hive_leaf l = { 0 };
    int r = hive_cell_peek(h, at, "a list of subkeys", head, sizeof head, &l.cell, &got);
    if (r < 0)
        return r;
    if (!memcmp(head, "li", 2))
        l.kind = HIVE_LI;
    else if (!memcmp(head, "lf", 2))
        l.kind = HIVE_LF;
    else if (!memcmp(head, "lh", 2))
        l.kind = HIVE_LH;
    else
        return hive_damage(h, at, "the cell isn't a list of subkeys (lf, lh, li)");
    l.step = l.kind == HIVE_LI ? 4 : 8;
    l.n = l.declared = (uint32_t)head[2] | (uint32_t)head[3] << 8;
    /* What counts is the key's offset: a last hint that is cut off is no reason to lose its key. */
    uint32_t room = l.cell.size < 8 ? 0 : (l.cell.size - 8) / l.step + 1;
    if (l.n > room)
        l.n = room;
    *ret = l;
    return 0;
}

int hive_leaf_element(const struct hive *h, const struct hive_leaf *l, uint32_t i, uint32_t *ret_key,
                      uint8_t hint[4])
{
    uint8_t buf[8] = { 0 };
    uint32_t off = 4 + i * l->step, n = hint ? l->step : 4;
    struct bad bad = { 0 };
    if (n > l->cell.size - off)
        n = 4;
    int r = hive_cell_read(h, &l->cell, off, buf, n);
    if (r < 0)
        return r;
    *ret_key = le32(bytes_of(buf, 4, l->cell.at, &bad), 0);
    if (hint)
        memcpy(hint, buf + 4, 4);
    return 0;
}

int hive_list(const struct hive *h, uint32_t at, struct hive_list *ret)
{
    uint8_t head[4];
    size_t got = 0;
    struct hive_list l = { 0 };
    int r = hive_cell_peek(h, at, "a list of subkeys", head, sizeof head, &l.cell, &got);
    if (r < 0)
        return r;
    if (memcmp(head, "ri", 2)) {
        r = hive_leaf(h, at, &l.leaf);
        if (r < 0)
            return r;
    } else {
        l.is_ri = true;
        l.n_leaves = l.declared = (uint32_t)head[2] | (uint32_t)head[3] << 8;
        if (l.n_leaves > (l.cell.size - 4) / 4)
            l.n_leaves = (l.cell.size - 4) / 4;
    }
    *ret = l;
    return 0;
}

int hive_list_leaf(const struct hive *h, const struct hive_list *l, uint32_t i, struct hive_leaf *ret)
{
    uint8_t word[4];
    struct bad bad = { 0 };
    int r = hive_cell_read(h, &l->cell, 4 + 4 * i, word, sizeof word);
    return r < 0 ? r : hive_leaf(h, le32(bytes_of(word, 4, l->cell.at, &bad), 0), ret);
}

/* ---- all elements ---- */

int hive_list_begin(const struct hive *h, uint32_t at, struct hive_list_iter *it)
{
    *it = (struct hive_list_iter){ .h = h, .index = UINT32_MAX };
    /* A key takes at least 88 bytes. More elements than keys fit is a list that repeats itself. */
    it->most = hive_pages_size(h->pages) / 88 + 1;
    int r = hive_list(h, at, &it->list);
    if (!r && it->list.is_ri && it->list.n_leaves < it->list.declared)
        it->damaged++;
    if (!r && !it->list.is_ri) {
        it->leaf = it->list.leaf;
        if (it->leaf.n < it->leaf.declared)
            it->damaged++;
    }
    return r;
}

static int next_leaf(struct hive_list_iter *it)
{
    while (it->list.is_ri && it->next_leaf < it->list.n_leaves) {
        int r = hive_list_leaf(it->h, &it->list, it->next_leaf++, &it->leaf);
        it->next = 0;
        if (r == -EUCLEAN) {
            it->leaf.n = 0;
            it->damaged++;
            continue;
        }
        if (!r && it->leaf.n < it->leaf.declared)
            it->damaged++;
        return r < 0 ? r : 1;
    }
    return 0;
}

int hive_list_next(struct hive_list_iter *it, uint32_t *ret_key, uint8_t hint[4])
{
    for (;;) {
        if (it->next >= it->leaf.n) {
            int r = next_leaf(it);
            if (r <= 0)
                return r;
            continue;
        }
        if (it->given++ >= it->most) {
            it->damaged++;
            return 0;
        }
        it->index++;
        int r = hive_leaf_element(it->h, &it->leaf, it->next++, ret_key, hint);
        if (!r)
            return 1;
        if (r != -EUCLEAN)
            return r;
        it->damaged++;
    }
}

/* ---- cells already given, so that a list that names a key twice doesn't show it twice ---- */

struct seen {
    uint32_t *slots; /* 0: free; a key is never at 0 */
    size_t n, room;  /* room: a power of two */
};

static void seen_add(struct seen *s, uint32_t cell, bool *ret_new)
{
    size_t i = (cell >> 3) * 2654435761u & (s->room - 1);
    while (s->slots[i] && s->slots[i] != cell)
        i = (i + 1) & (s->room - 1);
    *ret_new = !s->slots[i];
    if (*ret_new)
        s->n++;
    s->slots[i] = cell;
}

static int seen_put(struct seen *s, uint32_t cell, bool *ret_new)
{
    if (s->n >= s->room / 2) {
        struct seen bigger = { .room = s->room ? s->room * 4 : 64 };
        bool ignored;
        bigger.slots = calloc(bigger.room, sizeof *bigger.slots);
        if (!bigger.slots)
            return -ENOMEM;
        for (size_t i = 0; i < s->room; i++)
            if (s->slots[i])
                seen_add(&bigger, s->slots[i], &ignored);
        free(s->slots);
        *s = bigger;
    }
    seen_add(s, cell, ret_new);
    return 0;
}

int hive_subkeys(const struct hive *h, uint32_t key, uint32_t from, hive_each fn, void *ctx,
                 unsigned *ret_damaged)
{
    struct hive_list_iter it;
    struct hive_nk k, child;
    struct seen seen = { 0 };
    unsigned damaged = 0;
    uint32_t at;
    int r = hive_nk(h, key, &k);
    if (ret_damaged)
        *ret_damaged = 0;
    if (r < 0 || !k.n_subkeys) /* a list that a deleted last subkey left behind has no meaning */
        return r;
    r = hive_list_begin(h, k.list, &it);
    while (!r && (r = hive_list_next(&it, &at, NULL)) == 1) {
        bool is_new;
        r = seen_put(&seen, at, &is_new);
        if (r < 0 || (is_new && it.index < from))
            continue;
        if (is_new)
            r = hive_nk_child(h, at, key, &child);
        if (!is_new || r == -EUCLEAN) {
            damaged++;
            r = 0;
        } else if (!r && fn(ctx, it.index, at)) {
            break;
        }
    }
    free(seen.slots);
    if (r < 0)
        return r;
    if (ret_damaged)
        *ret_damaged = damaged + it.damaged;
    return 0;
}

/* ---- by name ---- */

/* Order of element i of the leaf against the name. */
static int compare_element(const struct hive *h, const struct hive_leaf *l, uint32_t i, uint32_t parent,
                           struct hive_name name, uint32_t *ret_key, int *ret)
{
    struct hive_nk k;
    int r = hive_leaf_element(h, l, i, ret_key, NULL);
    if (!r)
        r = hive_nk_child(h, *ret_key, parent, &k);
    return r < 0 ? r : hive_stored_compare(h, &k.name, name, ret);
}

/* The leaf of the list that has the name if any has: the first whose last element isn't before it. -ENOENT.
 */
static int choose_leaf(const struct hive *h, const struct hive_list *l, uint32_t parent,
                       struct hive_name name, struct hive_leaf *ret)
{
    if (!l->is_ri) {
        *ret = l->leaf;
        return 0;
    }
    uint32_t lo = 0, hi = l->n_leaves, key;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        struct hive_leaf leaf;
        int order = 0, r = hive_list_leaf(h, l, mid, &leaf);
        if (!r && !leaf.n)
            return hive_damage(h, leaf.cell.at, "an empty leaf");
        if (!r)
            r = compare_element(h, &leaf, leaf.n - 1, parent, name, &key, &order);
        if (r < 0)
            return r;
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < l->n_leaves ? hive_list_leaf(h, l, lo, ret) : -ENOENT;
}

static int search_sorted(const struct hive *h, const struct hive_nk *k, struct hive_name name, uint32_t *ret)
{
    struct hive_list list;
    struct hive_leaf leaf;
    int r = hive_list(h, k->list, &list);
    if (!r)
        r = choose_leaf(h, &list, k->cell.at, name, &leaf);
    if (r < 0)
        return r;
    uint32_t lo = 0, hi = leaf.n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2, key;
        int order = 0;
        r = compare_element(h, &leaf, mid, k->cell.at, name, &key, &order);
        if (r < 0)
            return r;
        if (!order) {
            *ret = key;
            return 0;
        }
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -ENOENT;
}

/* Looks at every element: finds the name wherever it is, and tells whether the list is whole and sorted. */
static int search_all(const struct hive *h, const struct hive_nk *k, struct hive_name name, bool *ret_sorted,
                      uint32_t *ret)
{
    struct hive_list_iter it;
    struct hive_name_buf before, now;
    bool sorted = true, first = true;
    uint32_t key, found = HIVE_NIL;
    int r = hive_list_begin(h, k->list, &it);
    while (!r && (r = hive_list_next(&it, &key, NULL)) == 1) {
        struct hive_nk child;
        r = hive_nk_child(h, key, k->cell.at, &child);
        if (!r)
            r = hive_stored_whole(h, &child.name, &now);
        if (r == -EUCLEAN) {
            sorted = false;
            r = 0;
            continue;
        }
        if (r < 0)
            return r;
        if (found == HIVE_NIL && !hive_name_compare(hive_name_of(&now), name))
            found = key;
        sorted = sorted && (first || hive_name_compare(hive_name_of(&before), hive_name_of(&now)) < 0);
        before = now;
        first = false;
    }
    if (r < 0)
        return r;
    *ret_sorted = sorted && !it.damaged;
    *ret = found;
    return found == HIVE_NIL ? -ENOENT : 0;
}

int hive_list_find(const struct hive *h, const struct hive_nk *k, struct hive_name name, uint32_t *ret)
{
    bool sorted;
    uint32_t found;
    if (!k->n_subkeys || name.n > HIVE_KEY_NAME_MAX)
        return -ENOENT;
    int r = search_sorted(h, k, name, ret);
    if (!r || (r != -ENOENT && r != -EUCLEAN) || (r == -ENOENT && hive_sorted_has(h->sorted, k->cell.at)))
        return r;
    r = search_all(h, k, name, &sorted, &found);
    if ((!r || r == -ENOENT) && sorted)
        hive_sorted_put(h->sorted, k->cell.at);
    if (!r)
        *ret = found;
    return r;
}

/* ---- which lists are sorted ---- */

/* A direct-mapped table: a newer entry takes an older one's place. Written by parallel readers. */
struct hive_sorted {
    _Atomic uint32_t keys[8192];
};

static _Atomic uint32_t *sorted_slot(struct hive_sorted *s, uint32_t key)
{
    return &s->keys[(key >> 3) * 2654435761u >> 19];
}

struct hive_sorted *hive_sorted_new(void)
{
    return calloc(1, sizeof(struct hive_sorted));
}

void hive_sorted_free(struct hive_sorted *s)
{
    free(s);
}

bool hive_sorted_has(struct hive_sorted *s, uint32_t key)
{
    return atomic_load_explicit(sorted_slot(s, key), memory_order_relaxed) == key;
}

void hive_sorted_put(struct hive_sorted *s, uint32_t key)
{
    atomic_store_explicit(sorted_slot(s, key), key, memory_order_relaxed);
}

void hive_sorted_drop(struct hive_sorted *s, uint32_t key)
{
    if (key == HIVE_NIL) {
        for (size_t i = 0; i < sizeof s->keys / sizeof s->keys[0]; i++)
            atomic_store_explicit(&s->keys[i], 0, memory_order_relaxed);
    } else if (hive_sorted_has(s, key)) {
        atomic_store_explicit(sorted_slot(s, key), 0, memory_order_relaxed);
    }
}
