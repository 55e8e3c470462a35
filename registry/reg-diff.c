/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two hives, walked in step: a key of the new one with the key of the same name in the old one, if there is
 * one. Of each key, first what the new one lacks is written, then what the old one lacks or has otherwise.
 * The other's key or value is found by its name, so lists needn't be sorted. */
#include "reg-diff.h"
#include "reg-write-impl.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 4096, PIECE = 4096, DESCRIPTOR_MAX = 1 << 20 };

/* What is done with the key at hand, in this order. */
enum stage { STAGE_NEXT, STAGE_KEY, STAGE_GONE_VALUES, STAGE_VALUES, STAGE_GONE_KEYS };

struct reg_differ {
    struct reg_writer *w;
    const struct hive *old;
    enum stage stage;
    uint32_t old_key;                    /* of the key at hand, HIVE_NIL: it is new */
    uint32_t old_parents[REG_DEPTH_MAX]; /* of each level of w's */
    struct reg_cells gone;               /* old values, or old keys, that are looked at */
    bool named;                          /* the key at hand has its line in brackets */
    bool found;
    uint16_t units[HIVE_KEY_NAME_MAX + 1]; /* of a key's name */
};

int reg_differ_new(const struct hive *old, struct hive_name path, uint32_t new_root, struct reg_differ **ret)
{
    struct reg_differ *d = calloc(1, sizeof *d);
    int r = d ? reg_writer_new(&d->w) : -ENOMEM;
    if (!r)
        r = reg_writer_begin(d->w, path, new_root);
    if (r < 0) {
        reg_differ_free(d);
        return r;
    }
    d->old = old;
    d->old_key = old ? hive_root(old) : HIVE_NIL;
    d->stage = STAGE_KEY;
    d->w->pending = false;
    *ret = d;
    return 0;
}

void reg_differ_free(struct reg_differ *d)
{
    if (!d)
        return;
    reg_cells_done(&d->gone);
    reg_writer_free(d->w);
    free(d);
}

bool reg_differ_found(const struct reg_differ *d)
{
    return d->found;
}

/* Damage, or a key that has gone since: passed over by the walk, or told by a comment. */
static bool is_damage(int r)
{
    return r == -EUCLEAN || r == -ENOENT;
}

static struct hive_name path_of(const struct reg_differ *d)
{
    return (struct hive_name){ d->w->path, d->w->path_n };
}

static void put_comment(struct reg_differ *d, const char *what, struct hive_name name)
{
    d->found = true;
    reg_put_comment(d->w, what, name);
}

static void put_brackets(struct reg_differ *d, const char *open)
{
    d->found = true;
    reg_put_ascii(d->w, open);
    reg_put_units(d->w, d->w->path, d->w->path_n);
    reg_put_ascii(d->w, "]\r\n");
}

/* The key's line, before the first of its differences. */
static void name_key(struct reg_differ *d)
{
    if (!d->named)
        put_brackets(d, "[");
    d->named = true;
}

/* ---- names ---- */

static int key_name(struct reg_differ *d, const struct hive *h, uint32_t key, struct hive_name *ret)
{
    size_t n = 0;
    int r = hive_key_name(h, key, d->units, HIVE_KEY_NAME_MAX + 1, &n);
    if (!r && n > HIVE_KEY_NAME_MAX)
        r = -EUCLEAN;
    *ret = (struct hive_name){ d->units, n };
    return r;
}

static int value_name(const struct hive *h, uint32_t value, struct hive_value *v, uint16_t **ret,
                      struct hive_name *ret_name)
{
    size_t n = 0;
    int r = hive_value(h, value, v);
    if (r < 0)
        return r;
    *ret = malloc((v->name_units + 1) * sizeof **ret);
    if (!*ret)
        return -ENOMEM;
    r = hive_value_name(h, value, *ret, v->name_units, &n);
    *ret_name = (struct hive_name){ *ret, n < v->name_units ? n : v->name_units };
    return r;
}

static bool same_units(struct hive_name a, struct hive_name b)
{
    return a.n == b.n && (!a.n || !memcmp(a.units, b.units, a.n * sizeof *a.units));
}

/* ---- what describes a key ---- */

typedef int (*describe)(const struct hive *h, uint32_t key, void *buf, size_t room, size_t *ret_n);

static int get_description(const struct hive *h, uint32_t key, describe fn, uint8_t **ret, size_t *ret_n)
{
    size_t n = 0;
    int r = fn(h, key, NULL, 0, &n);
    if (!r && n > DESCRIPTOR_MAX)
        r = -EUCLEAN;
    if (r < 0)
        return r;
    *ret = malloc(n + 1);
    return *ret ? fn(h, key, *ret, n, ret_n) : -ENOMEM;
}

static int compare_description(struct reg_differ *d, const struct hive *new, describe fn, const char *what)
{
    _cleanup_free_ uint8_t *a = NULL, *b = NULL;
    size_t an = 0, bn = 0;
    int r = get_description(d->old, d->old_key, fn, &a, &an), s = 0;
    if (!r || is_damage(r))
        s = get_description(new, d->w->key, fn, &b, &bn);
    if (is_damage(r) && is_damage(s))
        return 0;
    if ((r < 0 && !is_damage(r)) || (s < 0 && !is_damage(s)))
        return r < 0 && !is_damage(r) ? r : s;
    if (r || s || an != bn || (an && memcmp(a, b, an)))
        put_comment(d, what, path_of(d));
    return 0;
}

/* ---- values ---- */

static int same_data(const struct hive *a, uint32_t av, const struct hive *b, uint32_t bv, size_t len,
                     bool *ret)
{
    uint8_t x[PIECE], y[PIECE];
    *ret = true;
    for (size_t off = 0; off < len && *ret; off += PIECE) {
        size_t n = len - off < PIECE ? len - off : PIECE;
        int r = hive_value_data(a, av, x, n, off), s = hive_value_data(b, bv, y, n, off);
        if (is_damage(r) && is_damage(s))
            continue;
        if ((r < 0 && !is_damage(r)) || (s < 0 && !is_damage(s)))
            return r < 0 && !is_damage(r) ? r : s;
        *ret = !r && !s && !memcmp(x, y, n);
    }
    return 0;
}

static void put_gone_value(struct reg_differ *d, struct hive_name name)
{
    name_key(d);
    reg_put_value_name(d->w, name.units, name.n);
    reg_put_ascii(d->w, "-\r\n");
}

/* An old value: is there still one of that name, to the letter? */
static int gone_value(struct reg_differ *d, const struct hive *new, uint32_t value)
{
    _cleanup_free_ uint16_t *units = NULL, *other = NULL;
    struct hive_value v, now;
    struct hive_name name, name_now;
    uint32_t cell;
    int r = value_name(d->old, value, &v, &units, &name);
    if (r < 0)
        return is_damage(r) ? 0 : r;
    r = hive_find_value(new, d->w->key, name, &cell);
    if (!r)
        r = value_name(new, cell, &now, &other, &name_now);
    if (r == -ENOENT || (!r && !same_units(name, name_now)))
        put_gone_value(d, name);
    return is_damage(r) ? 0 : r;
}

/* A new value: is it the old one? A damaged one is written, which gives a comment, unless it always was. */
static int new_value(struct reg_differ *d, const struct hive *new, uint32_t value)
{
    _cleanup_free_ uint16_t *units = NULL, *other = NULL;
    struct hive_value v, was;
    struct hive_name name, name_was;
    uint32_t cell;
    bool same = false;
    int r = value_name(new, value, &v, &units, &name);
    if (!r && d->old_key != HIVE_NIL) {
        int s = hive_find_value(d->old, d->old_key, name, &cell);
        if (!s)
            s = value_name(d->old, cell, &was, &other, &name_was);
        same = !s && was.type == v.type && was.length == v.length && same_units(name, name_was);
        if (same)
            s = same_data(d->old, cell, new, value, v.length, &same);
        r = is_damage(s) ? 0 : s;
    } else if (is_damage(r)) {
        return 0; /* nothing is known of it, and so it can't be told from an old one */
    }
    if (r < 0 || same)
        return r;
    name_key(d);
    d->w->value = value;
    return reg_put_value(d->w, new);
}

/* ---- keys ---- */

static int list(struct reg_differ *d, const struct hive *h, uint32_t key, bool values, struct reg_cells *c)
{
    unsigned damaged;
    (void)d;
    return reg_cells_list(values ? hive_values : hive_subkeys, h, key, c, &damaged);
}

static int begin_key(struct reg_differ *d, const struct hive *new)
{
    int r = 0;
    d->named = false;
    d->gone.n = d->gone.next = 0;
    if (d->old_key == HIVE_NIL) {
        name_key(d);
    } else {
        r = compare_description(d, new, hive_key_class, "; can't be written here: another class of ");
        if (!r)
            r = compare_description(d, new, hive_key_security,
                                    "; can't be written here: another security descriptor of ");
        if (!r)
            r = list(d, d->old, d->old_key, true, &d->gone);
    }
    if (!r)
        r = list(d, new, d->w->key, true, &d->w->values);
    d->stage = STAGE_GONE_VALUES;
    return r;
}

/* All values are through. */
static int end_values(struct reg_differ *d, const struct hive *new)
{
    struct reg_writer *w = d->w;
    if (d->named)
        reg_put_ascii(w, "\r\n");
    d->gone.n = d->gone.next = 0;
    if (w->depth >= REG_DEPTH_MAX) {
        d->stage = STAGE_NEXT;
        return 0;
    }
    struct reg_level *l = &w->levels[w->depth];
    *l = (struct reg_level){ .path_n = w->path_n };
    d->old_parents[w->depth++] = d->old_key;
    d->stage = STAGE_GONE_KEYS;
    int r = list(d, new, w->key, false, &l->keys);
    if (!r && d->old_key != HIVE_NIL)
        r = list(d, d->old, d->old_key, false, &d->gone);
    return r;
}

static int put_gone_key(struct reg_differ *d, size_t parent_n, struct hive_name name)
{
    if (reg_key_unwritable(name.units, name.n)) {
        put_comment(d, "; left out, since its name can't be written here: the key that is gone, ", name);
        return 0;
    }
    if (!reg_set_path(d->w, parent_n, name.units, name.n, true))
        return -ENOMEM;
    put_brackets(d, "[-");
    reg_put_ascii(d->w, "\r\n");
    return 0;
}

/* An old subkey of the key whose level is the last. */
static int gone_key(struct reg_differ *d, const struct hive *new, uint32_t key)
{
    struct reg_writer *w = d->w;
    struct hive_name name;
    uint32_t cell;
    uint16_t units[HIVE_KEY_NAME_MAX + 1];
    int r = key_name(d, d->old, key, &name);
    if (r < 0)
        return is_damage(r) ? 0 : r;
    r = hive_find_key(new, w->key, name, &cell);
    if (!r) {
        size_t n = 0;
        r = hive_key_name(new, cell, units, HIVE_KEY_NAME_MAX + 1, &n);
        if (!r && same_units(name, (struct hive_name){ units, n }))
            return 0;
    }
    if (r == -EUCLEAN)
        return 0;
    if (r < 0 && r != -ENOENT)
        return r;
    return put_gone_key(d, w->levels[w->depth - 1].path_n, name);
}

/* The old key of that name, if it has it to the letter. */
static int find_old(struct reg_differ *d, uint32_t parent, struct hive_name name, uint32_t *ret)
{
    uint16_t units[HIVE_KEY_NAME_MAX + 1];
    size_t n = 0;
    *ret = HIVE_NIL;
    if (parent == HIVE_NIL)
        return 0;
    uint32_t cell;
    int r = hive_find_key(d->old, parent, name, &cell);
    if (!r)
        r = hive_key_name(d->old, cell, units, HIVE_KEY_NAME_MAX + 1, &n);
    if (!r && same_units(name, (struct hive_name){ units, n }))
        *ret = cell;
    return is_damage(r) ? 0 : r;
}

/* The next key of the walk; *ret_more false: there is none. */
static int next_key(struct reg_differ *d, const struct hive *new, bool *ret_more)
{
    struct reg_writer *w = d->w;
    struct hive_name name;
    while (w->depth && w->levels[w->depth - 1].keys.next == w->levels[w->depth - 1].keys.n)
        reg_cells_done(&w->levels[--w->depth].keys);
    *ret_more = w->depth;
    if (!w->depth)
        return 0;
    struct reg_level *l = &w->levels[w->depth - 1];
    uint32_t key = l->keys.at[l->keys.next++];
    int r = key_name(d, new, key, &name);
    if (r < 0)
        return is_damage(r) ? 0 : r;
    uint32_t old;
    r = find_old(d, d->old_parents[w->depth - 1], name, &old);
    if (r < 0)
        return r;
    if (reg_key_unwritable(name.units, name.n)) {
        if (old == HIVE_NIL)
            put_comment(d, "; left out, since its name can't be written here: the key ", name);
        return 0;
    }
    if (!reg_set_path(w, l->path_n, name.units, name.n, true))
        return -ENOMEM;
    w->key = key;
    d->old_key = old;
    d->stage = STAGE_KEY;
    return 0;
}

/* ---- the walk ---- */

static bool take(struct reg_cells *c, uint32_t *ret)
{
    if (c->next == c->n)
        return false;
    *ret = c->at[c->next++];
    return true;
}

static int step(struct reg_differ *d, const struct hive *new, bool *ret_more)
{
    uint32_t cell;
    *ret_more = true;
    if (d->w->in_value)
        return reg_put_more_hex(d->w, new);
    switch (d->stage) {
    case STAGE_KEY:
        return begin_key(d, new);
    case STAGE_GONE_VALUES:
        if (take(&d->gone, &cell))
            return gone_value(d, new, cell);
        d->stage = STAGE_VALUES;
        return 0;
    case STAGE_VALUES:
        return take(&d->w->values, &cell) ? new_value(d, new, cell) : end_values(d, new);
    case STAGE_GONE_KEYS:
        if (take(&d->gone, &cell))
            return gone_key(d, new, cell);
        d->stage = STAGE_NEXT;
        return 0;
    default:
        return next_key(d, new, ret_more);
    }
}

/* A key that was damaged or has gone while it was looked at ends there, not the walk. */
static int step_over(struct reg_differ *d, const struct hive *new, bool *ret_more)
{
    int r = step(d, new, ret_more);
    if (is_damage(r)) {
        put_comment(d, "; can't be compared, since a hive is damaged: ", path_of(d));
        d->stage = STAGE_NEXT;
        r = 0;
    }
    return !r && d->w->failed ? -ENOMEM : r;
}

int reg_differ_read(struct reg_differ *d, const struct hive *new, void *buf, size_t len, size_t *ret_len,
                    bool *ret_end)
{
    bool more = true;
    reg_out_begin(d->w);
    for (unsigned i = 0; i < STEPS && d->w->out_n < len && more; i++) {
        int r = step_over(d, new, &more);
        if (r < 0)
            return r;
    }
    *ret_len = reg_out_take(d->w, buf, len);
    *ret_end = !more && d->w->out_at == d->w->out_n;
    return 0;
}
