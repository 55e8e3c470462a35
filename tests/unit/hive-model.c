/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unit.h"

#include "hive-model.h"

#include "hive-sample.h"

#include <stdlib.h>
#include <string.h>

static void *copy(const void *p, size_t n)
{
    void *to = malloc(n + 1);
    assert_non_null(to);
    if (n)
        memcpy(to, p, n);
    return to;
}

static struct hive_name name_of(const uint16_t *units, size_t n)
{
    return (struct hive_name){ units, n };
}

/* ---- the tree ---- */

struct model_key *model_find(struct model_key *k, const uint16_t *name, size_t n)
{
    for (size_t i = 0; i < k->n_keys; i++)
        if (!hive_name_compare(name_of(k->keys[i]->name, k->keys[i]->n_name), name_of(name, n)))
            return k->keys[i];
    return NULL;
}

struct model_value *model_value(struct model_key *k, const uint16_t *name, size_t n)
{
    for (size_t i = 0; i < k->n_values; i++)
        if (!hive_name_compare(name_of(k->values[i].name, k->values[i].n_name), name_of(name, n)))
            return &k->values[i];
    return NULL;
}

static void attach(struct model_key *k, struct model_key *parent)
{
    k->parent = parent;
    parent->keys = realloc(parent->keys, (parent->n_keys + 1) * sizeof *parent->keys);
    parent->keys[parent->n_keys++] = k;
}

static void detach(struct model_key *k)
{
    struct model_key *p = k->parent;
    for (size_t i = 0; i < p->n_keys; i++)
        if (p->keys[i] == k) {
            p->keys[i] = p->keys[--p->n_keys];
            return;
        }
    fail();
}

static struct model_key *new_key(struct model *m, const uint16_t *name, size_t n)
{
    struct model_key *k = calloc(1, sizeof *k);
    memcpy(k->name, name, n * sizeof *name);
    k->n_name = n;
    if (m->n_all == m->room_all)
        m->all =
            realloc(m->all, (m->room_all = m->room_all ? 2 * m->room_all : 64) * sizeof(struct model_key *));
    k->at = m->n_all;
    m->all[m->n_all++] = k;
    return k;
}

struct model_key *model_add(struct model *m, struct model_key *parent, const uint16_t *name, size_t n)
{
    struct model_key *k = new_key(m, name, n);
    attach(k, parent);
    k->security = copy(parent->security, parent->n_security);
    k->n_security = parent->n_security;
    return k;
}

static void free_key(struct model *m, struct model_key *k)
{
    while (k->n_keys)
        free_key(m, k->keys[--k->n_keys]);
    while (k->n_values)
        model_unset(k, &k->values[k->n_values - 1]);
    m->all[k->at] = m->all[--m->n_all];
    m->all[k->at]->at = k->at;
    free(k->keys);
    free(k->values);
    free(k->class);
    free(k->security);
    free(k);
}

void model_remove(struct model *m, struct model_key *k)
{
    detach(k);
    free_key(m, k);
}

void model_move(struct model_key *k, struct model_key *parent, const uint16_t *name, size_t n)
{
    detach(k);
    attach(k, parent);
    memcpy(k->name, name, n * sizeof *name);
    k->n_name = n;
}

void model_set(struct model_key *k, const uint16_t *name, size_t n, uint32_t type, const void *data,
               size_t len)
{
    struct model_value *v = model_value(k, name, n);
    if (!v) {
        k->values = realloc(k->values, (k->n_values + 1) * sizeof *v);
        v = &k->values[k->n_values++];
        *v = (struct model_value){ .name = copy(name, n * sizeof *name), .n_name = n };
    }
    free(v->data);
    v->type = type;
    v->data = copy(data, len);
    v->n_data = len;
}

void model_unset(struct model_key *k, struct model_value *v)
{
    free(v->name);
    free(v->data);
    memmove(v, v + 1, (size_t)(k->values + k->n_values - v - 1) * sizeof *v);
    k->n_values--;
}

void model_done(struct model *m)
{
    if (m->root)
        free_key(m, m->root);
    free(m->all);
    *m = (struct model){ 0 };
}

/* ---- out of a hive ---- */

struct load {
    struct model *m;
    const struct hive *h;
    struct model_key *k;
};

static int load_value(void *ctx, uint32_t index, uint32_t cell)
{
    struct load *l = ctx;
    struct hive_value v;
    uint16_t name[HIVE_VALUE_NAME_MAX];
    size_t n;
    (void)index;
    assert_int_equal(hive_value(l->h, cell, &v), 0);
    assert_int_equal(hive_value_name(l->h, cell, name, HIVE_VALUE_NAME_MAX, &n), 0);
    uint8_t *data = malloc(v.length + 1);
    assert_int_equal(hive_value_data(l->h, cell, data, v.length, 0), 0);
    model_set(l->k, name, n, v.type, data, v.length);
    free(data);
    return 0;
}

static void load_fields(struct load *l, uint32_t cell)
{
    uint8_t buf[65536];
    struct hive_key k;
    l->k->cell = cell;
    assert_int_equal(hive_key(l->h, cell, &k), 0);
    l->k->written = k.last_written;
    assert_int_equal(hive_key_class(l->h, cell, buf, sizeof buf, &l->k->n_class), 0);
    l->k->class = copy(buf, l->k->n_class);
    assert_int_equal(hive_key_security(l->h, cell, buf, sizeof buf, &l->k->n_security), 0);
    free(l->k->security);
    l->k->security = copy(buf, l->k->n_security);
    assert_int_equal(hive_values(l->h, cell, 0, load_value, l, NULL), 0);
}

static int load_key(void *ctx, uint32_t index, uint32_t cell)
{
    struct load *l = ctx, below = *l;
    uint16_t name[HIVE_KEY_NAME_MAX];
    size_t n;
    (void)index;
    assert_int_equal(hive_key_name(l->h, cell, name, HIVE_KEY_NAME_MAX, &n), 0);
    below.k = l->k ? model_add(l->m, l->k, name, n) : new_key(l->m, name, n);
    if (!l->k)
        l->m->root = below.k;
    load_fields(&below, cell);
    assert_int_equal(hive_subkeys(l->h, cell, 0, load_key, &below, NULL), 0);
    return 0;
}

void model_load(struct model *m, const struct hive *h)
{
    struct load l = { m, h, NULL };
    load_key(&l, 0, hive_root(h));
}

/* ---- against a hive ---- */

struct compare {
    const struct hive *h;
    const struct model_key *k;
    size_t n;
    uint16_t before[HIVE_KEY_NAME_MAX];
    size_t n_before;
};

static int compare_value(void *ctx, uint32_t index, uint32_t cell)
{
    struct compare *c = ctx;
    const struct model_value *want = &c->k->values[index];
    struct hive_value v;
    uint16_t name[HIVE_VALUE_NAME_MAX];
    uint32_t found;
    size_t n;
    assert_true(index < c->k->n_values);
    assert_int_equal(hive_value(c->h, cell, &v), 0);
    assert_int_equal(v.type, want->type);
    assert_int_equal(v.length, want->n_data);
    assert_int_equal(hive_value_name(c->h, cell, name, HIVE_VALUE_NAME_MAX, &n), 0);
    assert_int_equal(n, want->n_name);
    assert_memory_equal(name, want->name, n * sizeof *name);
    uint8_t *data = malloc(v.length + 1);
    assert_int_equal(hive_value_data(c->h, cell, data, v.length, 0), 0);
    assert_memory_equal(data, want->data, v.length);
    free(data);
    if (c->k->n_values < 100) {
        assert_int_equal(hive_find_value(c->h, c->k->cell, name_of(name, n), &found), 0);
        assert_int_equal(found, cell);
    }
    c->n++;
    return 0;
}

static int compare_subkey(void *ctx, uint32_t index, uint32_t cell)
{
    struct compare *c = ctx;
    uint16_t name[HIVE_KEY_NAME_MAX];
    uint32_t found;
    size_t n;
    (void)index;
    assert_int_equal(hive_key_name(c->h, cell, name, HIVE_KEY_NAME_MAX, &n), 0);
    if (c->n)
        assert_true(hive_name_compare(name_of(c->before, c->n_before), name_of(name, n)) < 0);
    memcpy(c->before, name, n * sizeof *name);
    c->n_before = n;
    assert_int_equal(hive_find_key(c->h, c->k->cell, name_of(name, n), &found), 0);
    assert_int_equal(found, cell);
    c->n++;
    return 0;
}

static void compare_key(const struct hive *h, const struct model_key *k)
{
    uint8_t buf[65536];
    struct hive_key key;
    uint16_t name[HIVE_KEY_NAME_MAX];
    size_t n;
    assert_int_equal(hive_key(h, k->cell, &key), 0);
    assert_int_equal(key.n_subkeys, k->n_keys);
    assert_int_equal(key.n_values, k->n_values);
    assert_true(key.last_written == k->written);
    assert_int_equal(hive_key_name(h, k->cell, name, HIVE_KEY_NAME_MAX, &n), 0);
    assert_int_equal(n, k->n_name);
    assert_memory_equal(name, k->name, n * sizeof *name);
    assert_int_equal(hive_key_class(h, k->cell, buf, sizeof buf, &n), 0);
    assert_int_equal(n, k->n_class);
    assert_memory_equal(buf, k->class, n);
    assert_int_equal(hive_key_security(h, k->cell, buf, sizeof buf, &n), 0);
    assert_int_equal(n, k->n_security);
    assert_memory_equal(buf, k->security, n);
    if (k->parent)
        assert_int_equal(key.parent, k->parent->cell);
    struct compare c = { .h = h, .k = k };
    assert_int_equal(hive_values(h, k->cell, 0, compare_value, &c, NULL), 0);
    assert_int_equal(c.n, k->n_values);
    c.n = 0;
    assert_int_equal(hive_subkeys(h, k->cell, 0, compare_subkey, &c, NULL), 0);
    assert_int_equal(c.n, k->n_keys);
    for (size_t i = 0; i < k->n_keys; i++)
        compare_key(h, k->keys[i]);
}

void model_compare(const struct model *m, const struct hive *h)
{
    assert_int_equal(m->root->cell, hive_root(h));
    compare_key(h, m->root);
}

/* ---- for other programs ---- */

/* `n` bytes of `path`; names may hold NULs. */
static void dump_key(const struct model_key *k, const char *path, size_t n, FILE *out)
{
    char *sub = malloc(n + 4 * HIVE_KEY_NAME_MAX + 8), *name = malloc(4 * HIVE_VALUE_NAME_MAX + 8);
    fputs("K ", out);
    fwrite(path, 1, n, out);
    fputc('\n', out);
    for (size_t i = 0; i < k->n_values; i++) {
        const struct model_value *v = &k->values[i];
        size_t len = sample_utf8(v->name, v->n_name, name);
        fputs("V ", out);
        fwrite(path, 1, n, out);
        fputc('\t', out);
        fwrite(name, 1, len, out);
        fprintf(out, "\t%u\t", v->type);
        for (size_t j = 0; j < v->n_data; j++)
            fprintf(out, "%02x", v->data[j]);
        fputc('\n', out);
    }
    for (size_t i = 0; i < k->n_keys; i++) {
        memcpy(sub, path, n);
        sub[n] = '\\';
        size_t len = sample_utf8(k->keys[i]->name, k->keys[i]->n_name, sub + n + 1);
        dump_key(k->keys[i], sub, n + 1 + len, out);
    }
    free(sub);
    free(name);
}

void model_dump(const struct model *m, FILE *out)
{
    dump_key(m->root, "", 0, out);
}
