/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The values of a key are a list in no order, so that a name is found by looking at each. For a key of many,
 * the second name in a row that is looked for makes a table of them all:
 *
 *     slot(hash of the upper case of the name's beginning)   -> vk cell, and the next slots until an empty
 * one
 *
 * One key has it at a time. Edits keep it up to date; what can't be followed drops it. Every cell that it
 * gives is looked at before it is believed. */
#include "hive-internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    FEW = 256,         /* values: below, looking at each is quick */
    MANY = 1 << 20,    /* above, the table would be too large: 8 bytes a slot */
    HASHED = 64,       /* units of a name */
    PROBES = 1024,     /* slots that one name may pass: names that are alike, or one value many times */
    TABLES = 32 << 20, /* bytes of the tables of all hives */
    EMPTY = 0,         /* no cell is there: bins begin with a header */
    REMOVED = 1,
};

struct slot {
    uint32_t hash, cell;
};

struct hive_value_index {
    pthread_mutex_t lock;
    uint32_t asked; /* the key that was looked into last */
    uint32_t key;   /* whose table this is; HIVE_NIL: nobody's */
    struct slot *slots;
    size_t n_slots, used; /* a power of two, less than half of them used or removed */
    uint32_t refused;     /* the key for which no table can be made */
};

static _Atomic size_t tables;

struct hive_value_index *hive_value_index_new(void)
{
    struct hive_value_index *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    pthread_mutex_init(&x->lock, NULL);
    x->asked = x->key = x->refused = HIVE_NIL;
    return x;
}

static void drop(struct hive_value_index *x)
{
    if (x->slots)
        atomic_fetch_sub(&tables, x->n_slots * sizeof *x->slots);
    free(x->slots);
    x->slots = NULL;
    x->n_slots = x->used = 0;
    x->key = HIVE_NIL;
}

void hive_value_index_free(struct hive_value_index *x)
{
    if (!x)
        return;
    drop(x);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

void hive_value_index_drop(struct hive_value_index *x, uint32_t key)
{
    pthread_mutex_lock(&x->lock);
    if (key == HIVE_NIL || key == x->key)
        drop(x);
    pthread_mutex_unlock(&x->lock);
}

/* ---- the table ---- */

static uint32_t hash_of(struct hive_name name)
{
    size_t n = name.n;
    name.n = min_u64(n, HASHED);
    return hive_name_hash(name) ^ (uint32_t)n * 0x9e3779b1u;
}

static size_t slot_of(const struct hive_value_index *x, uint32_t hash)
{
    return (hash * 0x9e3779b1u) & (x->n_slots - 1);
}

static bool put(struct hive_value_index *x, uint32_t hash, uint32_t cell)
{
    size_t i = slot_of(x, hash);
    for (int n = 0; x->slots[i].cell != EMPTY; n++) {
        if (n == PROBES)
            return false;
        i = (i + 1) & (x->n_slots - 1);
    }
    x->slots[i] = (struct slot){ hash, cell };
    x->used++;
    return true;
}

/* Room for a table of n slots, within what all hives may have. */
static int make_slots(struct hive_value_index *x, size_t n)
{
    size_t bytes = n * sizeof *x->slots;
    if (atomic_fetch_add(&tables, bytes) + bytes > TABLES || !(x->slots = calloc(n, sizeof *x->slots))) {
        atomic_fetch_sub(&tables, bytes);
        return -ENOMEM;
    }
    x->n_slots = n;
    return 0;
}

struct filling {
    const struct hive *h;
    struct hive_value_index *x;
    int err;
};

static int fill(void *ctx, uint32_t index, uint32_t cell)
{
    struct filling *f = ctx;
    struct hive_vk v;
    uint16_t units[HASHED];
    (void)index;
    f->err = hive_vk(f->h, cell, &v);
    size_t n = hive_stored_units(&v.name);
    if (!f->err)
        f->err = hive_stored_read(f->h, &v.name, 0, units, n < HASHED ? n : HASHED);
    if (f->err < 0 || 2 * f->x->used >= f->x->n_slots)
        return 1;
    if (!put(f->x, hash_of((struct hive_name){ units, n }), cell))
        f->err = -EOPNOTSUPP;
    return f->err;
}

/* The key's list says how many values there are; a damaged one may have fewer. */
static int build(const struct hive *h, const struct hive_nk *k)
{
    struct hive_value_index *x = h->value_index;
    size_t n = 4 * FEW;
    drop(x);
    while (n < 4 * (size_t)k->n_values)
        n *= 2;
    struct filling f = { h, x, 0 };
    int r = make_slots(x, n);
    if (!r)
        r = hive_values(h, k->cell.at, 0, fill, &f, NULL);
    if (r >= 0)
        r = f.err;
    if (r < 0)
        drop(x);
    else
        x->key = k->cell.at;
    if (r == -EOPNOTSUPP)
        x->refused = k->cell.at;
    return r;
}

/* The slot of the first value of this name; NULL: there is none. */
static int look(const struct hive *h, struct hive_name name, struct slot **ret)
{
    struct hive_value_index *x = h->value_index;
    uint32_t hash = hash_of(name);
    *ret = NULL;
    for (size_t i = slot_of(x, hash); x->slots[i].cell != EMPTY; i = (i + 1) & (x->n_slots - 1)) {
        struct hive_vk v;
        int order = 1;
        if (x->slots[i].cell == REMOVED || x->slots[i].hash != hash)
            continue;
        int r = hive_vk(h, x->slots[i].cell, &v);
        if (!r && hive_stored_units(&v.name) == name.n)
            r = hive_stored_compare(h, &v.name, name, &order);
        if (r < 0)
            return r;
        if (!order) {
            *ret = &x->slots[i];
            return 0;
        }
    }
    return 0;
}

/* ---- for the others ---- */

int hive_value_index_find(const struct hive *h, const struct hive_nk *k, struct hive_name name, uint32_t *ret)
{
    struct hive_value_index *x = h->value_index;
    struct slot *slot;
    if (k->n_values < FEW || k->n_values > MANY)
        return -EOPNOTSUPP;
    pthread_mutex_lock(&x->lock);
    bool again = x->asked == k->cell.at;
    x->asked = k->cell.at;
    int r = x->key == k->cell.at ? 0 : again && x->refused != k->cell.at ? build(h, k) : -EOPNOTSUPP;
    if (!r)
        r = look(h, name, &slot);
    if (!r && slot)
        *ret = slot->cell;
    else if (!r)
        r = -ENOENT;
    pthread_mutex_unlock(&x->lock);
    return r == -ENOMEM ? -EOPNOTSUPP : r;
}

void hive_value_index_added(struct hive *h, uint32_t key, struct hive_name name, uint32_t value)
{
    struct hive_value_index *x = h->value_index;
    pthread_mutex_lock(&x->lock);
    if (x->key == key && (2 * x->used + 2 >= x->n_slots || !put(x, hash_of(name), value)))
        drop(x); /* the next look makes a larger one */
    if (x->refused == key)
        x->refused = HIVE_NIL;
    pthread_mutex_unlock(&x->lock);
}

void hive_value_index_removed(struct hive *h, uint32_t key, struct hive_name name, uint32_t value)
{
    struct hive_value_index *x = h->value_index;
    pthread_mutex_lock(&x->lock);
    if (x->key == key) {
        uint32_t hash = hash_of(name);
        size_t i = slot_of(x, hash);
        while (x->slots[i].cell != EMPTY && x->slots[i].cell != value)
            i = (i + 1) & (x->n_slots - 1);
        if (x->slots[i].cell == value)
            x->slots[i].cell = REMOVED;
        else
            drop(x);
    }
    pthread_mutex_unlock(&x->lock);
}
