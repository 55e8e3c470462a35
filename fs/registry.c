/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys and values as nodes. */
#include "registry.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { INDEX_BITS = 16, EPOCH_BITS = 16, SMALL = 4096 };

static uint64_t hive_part(const struct reg_hive *h)
{
    return h->index | (uint64_t)(h->epoch & 0xffff) << INDEX_BITS;
}

struct node_id registry_key_id(const struct reg_hive *h, uint32_t key)
{
    return (struct node_id){
        .ops = &registry_key_ops,
        .a = hive_part(h),
        .b = key | (uint64_t)hives_generation(h, key) << 32,
    };
}

struct node_id registry_value_id(const struct reg_hive *h, uint32_t key, uint32_t hint, uint64_t hash)
{
    struct node_id id = registry_key_id(h, key);
    id.ops = &registry_value_ops;
    id.a |= (uint64_t)hint << (INDEX_BITS + EPOCH_BITS);
    id.c = hash;
    return id;
}

int registry_subkey_id(const struct reg_hive *h, uint32_t key, struct node_id *ret, mode_t *ret_type)
{
    struct hive_key k;
    int r = hive_key(h->hive, key, &k);
    if (r < 0)
        return r;
    *ret = registry_key_id(h, key);
    *ret_type = k.flags & HIVE_KEY_LINK ? S_IFLNK : S_IFDIR;
    if (k.flags & HIVE_KEY_LINK)
        ret->ops = &registry_link_ops;
    return 0;
}

int registry_begin(struct ferry *f, const struct node_id *id, bool write, struct reg_at *ret)
{
    struct reg_hive *h = hives_at(f, id->a & ((1 << INDEX_BITS) - 1));
    if (!h)
        return -ESTALE;
    int r = write ? hives_write(f, h) : hives_read(f, h);
    if (r < 0)
        return r == -ENOENT ? -ESTALE : r; /* its file is gone, and so is this node */
    uint32_t key = (uint32_t)id->b;
    bool same = (id->a >> INDEX_BITS & 0xffff) == (h->epoch & 0xffff);
    if (!same && key == HIVE_NIL) /* the top of a hive that wasn't open when the node was made */
        same = true;
    if (!same || (key != HIVE_NIL && hives_generation(h, key) != id->b >> 32)) {
        hives_done(h);
        return -ESTALE;
    }
    *ret = (struct reg_at){ h, key == HIVE_NIL ? hive_root(h->hive) : key };
    return 0;
}

struct timespec registry_time(uint64_t filetime)
{
    const uint64_t to_unix = 116444736000000000u;
    if (filetime < to_unix)
        return (struct timespec){ 0 };
    filetime -= to_unix;
    return (struct timespec){ .tv_sec = (time_t)(filetime / 10000000),
                              .tv_nsec = (long)(filetime % 10000000) * 100 };
}

void registry_fill(struct ferry *f, mode_t mode, uint64_t ino, bool writable, struct stat *ret)
{
    mode_t bits = S_ISDIR(mode) ? 0777 : 0666;
    tree_fill_attr(f, (mode & S_IFMT) | (writable ? bits : bits & ~0222u), ino, ret);
    if (S_ISLNK(mode))
        ret->st_mode = S_IFLNK | 0777;
    ret->st_nlink = 1;
}

/* ---- names ---- */

static struct hive_name ascii(const char *text, uint16_t *units)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        units[i] = (uint8_t)text[i];
    return (struct hive_name){ units, n };
}

bool registry_is_current_set(const char *name)
{
    return !strcasecmp(name, "CurrentControlSet");
}

size_t registry_current_set(const struct hive *h, uint32_t key, uint16_t units[16])
{
    uint32_t select, value;
    uint8_t data[4];
    uint16_t name[32];
    struct hive_value v;
    struct bad bad = { 0 };
    char text[16];
    if (key != hive_root(h) || hive_find_key(h, key, ascii("Select", name), &select) < 0 ||
        hive_find_value(h, select, ascii("Current", name), &value) < 0 || hive_value(h, value, &v) < 0 ||
        v.length != 4 || v.type != VALUE_DWORD || hive_value_data(h, value, data, 4, 0) < 0)
        return 0;
    uint32_t current = le32(bytes_of(data, 4, 0, &bad), 0);
    if (current > 999)
        return 0;
    snprintf(text, sizeof text, "ControlSet%03u", (unsigned)current);
    struct hive_name set = ascii(text, units);
    return hive_find_key(h, key, set, &select) < 0 ? 0 : set.n;
}

size_t registry_alias(void *ctx, const struct hive *h, uint32_t parent, struct hive_name name,
                      uint16_t *units)
{
    uint16_t current[32];
    (void)ctx;
    if (hive_name_compare(name, ascii("CurrentControlSet", current)))
        return 0;
    return registry_current_set(h, parent, units);
}

int registry_name_of_key(const struct hive *h, uint32_t key, uint16_t units[HIVE_KEY_NAME_MAX],
                         struct hive_name *ret)
{
    size_t n = 0;
    int r = hive_key_name(h, key, units, HIVE_KEY_NAME_MAX, &n);
    *ret = (struct hive_name){ units, n };
    return r < 0 ? r : n > HIVE_KEY_NAME_MAX ? -EUCLEAN : 0;
}

int registry_name_of_value(const struct hive *h, uint32_t value, struct hive_name *ret)
{
    struct hive_value v;
    int r = hive_value(h, value, &v);
    uint16_t *units = r < 0 ? NULL : malloc((v.name_units + 1) * sizeof *units);
    if (r < 0 || !units)
        return r < 0 ? r : -ENOMEM;
    size_t n = 0;
    r = hive_value_name(h, value, units, v.name_units, &n);
    if (r < 0) {
        free(units);
        return r;
    }
    *ret = (struct hive_name){ units, n < v.name_units ? n : v.name_units };
    return 0;
}

/* A child whose name has a hash: those whose file's name isn't cut aren't meant. */
struct by_hash {
    const struct hive *h;
    const struct reg_parsed *name;
    uint32_t found;
};

static int key_by_hash(void *ctx, uint32_t index, uint32_t key)
{
    struct by_hash *b = ctx;
    uint16_t units[HIVE_KEY_NAME_MAX];
    struct hive_name name;
    struct reg_file_name file;
    (void)index;
    if (registry_name_of_key(b->h, key, units, &name) < 0 || reg_name_hash(name) != b->name->hash)
        return 0;
    reg_key_file(name, &file);
    b->found = file.cut ? key : b->found;
    return file.cut;
}

static int value_by_hash(void *ctx, uint32_t index, uint32_t value)
{
    struct by_hash *b = ctx;
    struct hive_name name;
    struct reg_file_name file = { .cut = false };
    (void)index;
    if (registry_name_of_value(b->h, value, &name) < 0)
        return 0;
    if (reg_name_hash(name) == b->name->hash)
        reg_value_file(name, b->name->type, b->name->raw, &file);
    free((void *)(uintptr_t)name.units);
    b->found = file.cut ? value : b->found;
    return file.cut;
}

int registry_find_key(const struct hive *h, uint32_t parent, const struct reg_parsed *name, uint32_t *ret)
{
    if (!name->cut)
        return hive_find_key(h, parent, reg_parsed_name(name), ret);
    struct by_hash b = { h, name, HIVE_NIL };
    int r = hive_subkeys(h, parent, 0, key_by_hash, &b, NULL);
    *ret = b.found;
    return r < 0 ? r : b.found == HIVE_NIL ? -ENOENT : 0;
}

int registry_find_value(const struct hive *h, uint32_t key, const struct reg_parsed *name, uint32_t *ret)
{
    if (!name->cut)
        return hive_find_value(h, key, reg_parsed_name(name), ret);
    struct by_hash b = { h, name, HIVE_NIL };
    int r = hive_values(h, key, 0, value_by_hash, &b, NULL);
    *ret = b.found;
    return r < 0 ? r : b.found == HIVE_NIL ? -ENOENT : 0;
}

void registry_recall(const struct reg_hive *h, struct reg_parsed *p)
{
    if (!p->cut)
        return;
    p->units = hives_recall(h, p->hash, &p->n);
    p->cut = !p->units;
}

/* ---- values of nodes ---- */

struct match {
    const struct hive *h;
    uint64_t hash;
    uint32_t found;
};

static int match_value(void *ctx, uint32_t index, uint32_t value)
{
    struct match *m = ctx;
    struct hive_value v;
    struct hive_name name;
    (void)index;
    if (hive_value(m->h, value, &v) < 0 || registry_name_of_value(m->h, value, &name) < 0)
        return 0;
    bool same =
        reg_value_hash(name, v.type, false) == m->hash || reg_value_hash(name, v.type, true) == m->hash;
    free((void *)(uintptr_t)name.units);
    m->found = same ? value : m->found;
    return same;
}

static bool is_value_of(const struct reg_at *at, uint32_t value)
{
    struct hive_name name;
    uint32_t found = HIVE_NIL;
    if (registry_name_of_value(at->h->hive, value, &name) < 0)
        return false;
    int r = hive_find_value(at->h->hive, at->key, name, &found);
    free((void *)(uintptr_t)name.units);
    return !r && found == value;
}

int registry_node_value(const struct reg_at *at, const struct node_id *id, uint32_t *ret)
{
    struct match m = { at->h->hive, id->c, HIVE_NIL };
    uint32_t hint = (uint32_t)(id->a >> (INDEX_BITS + EPOCH_BITS));
    struct hive_key k;
    /* In a hive that had no edits the hint is right; else its cell may be another key's by now. */
    if (hint && match_value(&m, 0, hint) && (!at->h->edits || is_value_of(at, hint))) {
        *ret = hint;
        return 0;
    }
    m.found = HIVE_NIL;
    int r = hive_key(at->h->hive, at->key, &k);
    if (!r)
        r = hive_values(at->h->hive, at->key, 0, match_value, &m, NULL);
    *ret = m.found;
    return r < 0 ? r : m.found == HIVE_NIL ? -ENOENT : 0;
}

int registry_value_load(const struct hive *h, uint32_t value, struct hive_value *ret, uint8_t **ret_data)
{
    int r = hive_value(h, value, ret);
    if (r < 0)
        return r;
    uint8_t *data = malloc(ret->length ? ret->length : 1);
    if (!data)
        return -ENOMEM;
    r = ret->length ? hive_value_data(h, value, data, ret->length, 0) : 0;
    if (r < 0)
        free(data);
    else
        *ret_data = data;
    return r;
}

int registry_value_form(const struct hive *h, uint32_t value, bool *ret_raw, size_t *ret_size)
{
    struct hive_value v;
    uint8_t small[SMALL];
    int r = hive_value(h, value, &v);
    *ret_raw = false;
    if (r < 0)
        return r;
    *ret_size = v.length;
    if (!value_type_is_text(v.type))
        return 0;
    _cleanup_free_ uint8_t *large = v.length > SMALL ? malloc(v.length) : NULL;
    if (v.length > SMALL && !large)
        return -ENOMEM;
    uint8_t *data = large ? large : small;
    r = v.length ? hive_value_data(h, value, data, v.length, 0) : 0;
    if (r < 0)
        return r;
    *ret_raw = value_text_size(v.type, data, v.length, ret_size) < 0;
    if (*ret_raw)
        *ret_size = v.length;
    return 0;
}

int registry_value_content(const struct hive *h, uint32_t value, bool raw, char **ret, size_t *ret_n)
{
    struct hive_value v;
    _cleanup_free_ uint8_t *data = NULL;
    size_t n;
    int r = registry_value_load(h, value, &v, &data);
    if (r < 0)
        return r;
    if (raw || !value_type_is_text(v.type)) {
        *ret = (char *)TAKE_PTR(data);
        *ret_n = v.length;
        return 0;
    }
    if (value_text_size(v.type, data, v.length, &n) < 0)
        return -ENOENT; /* it has come to be one without a text */
    char *text = malloc(n ? n : 1);
    if (!text)
        return -ENOMEM;
    value_to_text(v.type, data, v.length, text);
    *ret = text;
    *ret_n = n;
    return 0;
}
