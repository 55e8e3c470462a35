/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values, changed. Data of up to 4 bytes goes into the vk, more into a cell, and more than 16344 bytes into
 * segments where the version has them: what Windows would write, since it reads nothing else. */
#include "hive-edit.h"

#include <stdlib.h>

enum { REUSE_SLACK = 64 }; /* a data cell is kept when no more than this would lie idle in it */

int hive_store_name(struct hive_name name, struct hive_stored *ret)
{
    bool compressed = true;
    for (size_t i = 0; i < name.n; i++)
        compressed = compressed && name.units[i] <= 0xff;
    size_t width = compressed ? 1 : 2;
    uint8_t *bytes = malloc(name.n * width + 1);
    if (!bytes)
        return -ENOMEM;
    for (size_t i = 0; i < name.n; i++) {
        if (compressed)
            bytes[i] = (uint8_t)name.units[i];
        else
            put_le16(bytes + 2 * i, name.units[i]);
    }
    *ret = (struct hive_stored){ compressed, name.n * width, bytes };
    return 0;
}

int hive_touch(struct hive *h, uint32_t key, uint64_t now)
{
    return hive_put64(h, key, NK_WRITTEN, now);
}

int hive_raise(struct hive *h, uint32_t key, uint32_t off, uint32_t was, uint32_t v)
{
    if (v <= was)
        return 0;
    return off == NK_MAX_NAME ? hive_put16(h, key, off, v) : hive_put32(h, key, off, v);
}

/* ---- data ---- */

static int free_segments(struct hive *h, uint32_t db)
{
    uint8_t head[8], word[4];
    struct bad bad = { 0 };
    struct hive_cell c, list;
    size_t got = 0;
    int r = hive_cell_peek(h, db, "big data", head, sizeof head, &c, &got);
    if (r < 0)
        return r;
    struct bytes b = bytes_of(head, got, db, &bad);
    uint32_t n = le16(b, 2), at = le32(b, 4);
    r = hive_cell_open(h, at, "a list of segments", &list);
    for (uint32_t i = 0; !r && i < n; i++) {
        r = hive_cell_read(h, &list, 4 * i, word, sizeof word);
        if (!r)
            r = hive_release_cell(h, le32(bytes_of(word, 4, at, &bad), 0));
    }
    if (!r)
        r = hive_release_cell(h, at);
    return r < 0 ? r : hive_release_cell(h, db);
}

static int free_data(struct hive *h, const struct hive_vk *v)
{
    bool big;
    if (v->in_place || !v->length)
        return 0; /* without data the pointer means nothing */
    int r = hive_vk_is_big(h, v, &big);
    if (r < 0)
        return r;
    return big ? free_segments(h, v->data) : hive_release_cell(h, v->data);
}

static int store_segments(struct hive *h, const uint8_t *data, size_t len, uint32_t *ret)
{
    uint32_t n = (uint32_t)div_up(len, HIVE_SEGMENT), list = HIVE_NIL, db = HIVE_NIL;
    uint8_t head[8] = "db";
    if (n > UINT16_MAX)
        return -EFBIG;
    int r = hive_alloc(h, sizeof head, &db);
    if (!r)
        r = hive_alloc(h, 4 * (size_t)n, &list);
    for (uint32_t i = 0; !r && i < n; i++) {
        size_t from = (size_t)i * HIVE_SEGMENT, k = len - from < HIVE_SEGMENT ? len - from : HIVE_SEGMENT;
        uint32_t segment;
        r = hive_alloc(h, k + 4, &segment); /* hivex takes the last 4 bytes of a segment's cell for none */
        if (!r)
            r = hive_put(h, segment, 0, data + from, k);
        if (!r)
            r = hive_put32(h, list, 4 * i, segment);
    }
    put_le16(head + 2, (uint16_t)n);
    put_le32(head + 4, list);
    if (!r)
        r = hive_put(h, db, 0, head, sizeof head);
    if (!r)
        *ret = db;
    return r;
}

/* Stores data that doesn't fit into a vk; `old` (may be NULL) is the value that has it now, whose cells are
 * used again or freed. */
static int store_data(struct hive *h, const struct hive_vk *old, const uint8_t *data, size_t len,
                      uint32_t *ret)
{
    bool segments = hive_has_big_data(h) && len > HIVE_SEGMENT, was_big = false;
    struct hive_cell c;
    int r = 0;
    bool reuse = old && !old->in_place && old->length && !segments;
    if (reuse)
        r = hive_vk_is_big(h, old, &was_big);
    if (!r && reuse && !was_big) {
        r = hive_cell_open(h, old->data, "a value's data", &c);
        if (!r && c.size >= len && c.size - len < REUSE_SLACK) {
            *ret = old->data;
            return hive_put(h, old->data, 0, data, len);
        }
    }
    if (!r && old)
        r = free_data(h, old);
    if (!r && segments)
        return store_segments(h, data, len, ret);
    if (!r)
        r = hive_alloc(h, len, ret);
    return r < 0 ? r : hive_put(h, *ret, 0, data, len);
}

/* ---- the list of a key's values ---- */

static int list_append(struct hive *h, const struct hive_nk *k, uint32_t value)
{
    struct hive_cell c = { 0 };
    uint32_t list = k->values;
    bool fits = false;
    int r = 0;
    if (k->n_values) {
        r = hive_cell_open(h, list, "a list of values", &c);
        fits = c.size / 4 > k->n_values;
        if (!r && !fits)
            r = hive_extend(h, &c, 4 * ((size_t)k->n_values + 1), &fits);
    }
    if (!r && !fits) {
        size_t n = k->n_values, bytes = 4 * n;
        _cleanup_free_ uint8_t *b = malloc(bytes + 4);
        if (!b)
            return -ENOMEM;
        r = n ? hive_cell_read(h, &c, 0, b, bytes) : 0;
        if (!r && n)
            r = hive_release_cell(h, list);
        if (!r) /* a little room, so that not every new value moves the list */
            r = hive_alloc(h, bytes + 4 + (n > 8 ? bytes / 4 : 0), &list);
        if (!r)
            r = hive_put(h, list, 0, b, bytes);
        if (!r)
            r = hive_put32(h, k->cell.at, NK_VALUE_LIST, list);
    }
    if (!r)
        r = hive_put32(h, list, 4 * k->n_values, value);
    return r < 0 ? r : hive_put32(h, k->cell.at, NK_VALUES, k->n_values + 1);
}

/* The list's entries, and the index of `value` among them. */
static int read_list(const struct hive *h, const struct hive_nk *k, uint32_t value, uint8_t **ret,
                     uint32_t *ret_index)
{
    struct hive_cell c;
    struct bad bad = { 0 };
    int r = hive_cell_open(h, k->values, "a list of values", &c);
    if (r < 0)
        return r;
    if (k->n_values > c.size / 4)
        return hive_damage(h, k->values, "the cell is too small for the list of values");
    _cleanup_free_ uint8_t *b = malloc(4 * (size_t)k->n_values + 1);
    if (!b)
        return -ENOMEM;
    r = hive_cell_read(h, &c, 0, b, 4 * (size_t)k->n_values);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < k->n_values; i++)
        if (le32(bytes_of(b, 4 * (size_t)k->n_values, 0, &bad), 4 * (size_t)i) == value) {
            *ret = TAKE_PTR(b);
            *ret_index = i;
            return 0;
        }
    return hive_damage(h, value, "the value isn't in its key's list");
}

static int list_remove(struct hive *h, const struct hive_nk *k, uint32_t value)
{
    _cleanup_free_ uint8_t *b = NULL;
    uint32_t i, n = k->n_values;
    int r = read_list(h, k, value, &b, &i);
    if (!r && n == 1) {
        r = hive_release_cell(h, k->values);
        if (!r)
            r = hive_put32(h, k->cell.at, NK_VALUE_LIST, HIVE_NIL);
    } else if (!r) { /* those behind move up; the last place keeps what it has, as slack */
        r = hive_put(h, k->values, 4 * i, b + 4 * (size_t)i + 4, 4 * (size_t)(n - 1 - i));
    }
    return r < 0 ? r : hive_put32(h, k->cell.at, NK_VALUES, n - 1);
}

static int list_replace(struct hive *h, const struct hive_nk *k, uint32_t from, uint32_t to)
{
    _cleanup_free_ uint8_t *b = NULL;
    uint32_t i;
    int r = read_list(h, k, from, &b, &i);
    return r < 0 ? r : hive_put32(h, k->values, 4 * i, to);
}

/* ---- values ---- */

/* A vk with this name and no data yet. */
static int new_value(struct hive *h, struct hive_name name, uint32_t *ret)
{
    struct hive_stored s;
    uint8_t vk[VK_NAME] = "vk";
    int r = hive_store_name(name, &s);
    if (r < 0)
        return r;
    _cleanup_free_ uint8_t *bytes = s.bytes;
    put_le16(vk + VK_NAME_BYTES, (uint16_t)s.n);
    put_le32(vk + VK_LENGTH, HIVE_INLINE_BIT);
    put_le16(vk + VK_FLAGS, name.n && s.compressed ? VK_FLAG_COMPRESSED : 0);
    r = hive_alloc(h, VK_NAME + s.n, ret);
    if (!r)
        r = hive_put(h, *ret, 0, vk, sizeof vk);
    return r < 0 ? r : hive_put(h, *ret, VK_NAME, bytes, s.n);
}

/* Gives the vk type and data; `old` says what it has (NULL: it is new). */
static int fill_value(struct hive *h, uint32_t value, const struct hive_vk *old, uint32_t type,
                      const void *data, size_t len)
{
    uint8_t fields[12] = { 0 }; /* length, data, type */
    int r = 0;
    if (len <= HIVE_INLINE_MAX) {
        if (old)
            r = free_data(h, old);
        put_le32(fields, HIVE_INLINE_BIT | (uint32_t)len);
        if (len)
            memcpy(fields + 4, data, len);
    } else {
        uint32_t cell = HIVE_NIL;
        r = store_data(h, old, data, len, &cell);
        put_le32(fields, (uint32_t)len);
        put_le32(fields + 4, cell);
    }
    put_le32(fields + 8, type);
    return r < 0 ? r : hive_put(h, value, VK_LENGTH, fields, sizeof fields);
}

static int set_value(struct hive *h, uint32_t key, struct hive_name name, uint32_t type, const void *data,
                     size_t len, uint64_t now, uint32_t *ret)
{
    struct hive_nk k;
    struct hive_vk old;
    uint32_t value;
    int r = hive_nk(h, key, &k);
    if (r < 0)
        return r;
    r = hive_find_value(h, key, name, &value);
    if (!r) {
        r = hive_vk(h, value, &old);
        if (!r)
            r = fill_value(h, value, &old, type, data, len);
    } else if (r == -ENOENT) {
        r = new_value(h, name, &value);
        if (!r)
            r = fill_value(h, value, NULL, type, data, len);
        if (!r)
            r = list_append(h, &k, value);
        if (!r)
            hive_value_index_added(h, key, name, value);
        if (!r)
            r = hive_raise(h, key, NK_MAX_VALUE_NAME, k.max_value_name, 2 * (uint32_t)name.n);
    }
    if (!r)
        r = hive_raise(h, key, NK_MAX_VALUE_DATA, k.max_value_data, (uint32_t)len);
    if (!r)
        r = hive_touch(h, key, now);
    if (!r && ret)
        *ret = value;
    return r;
}

int hive_set_value(struct hive *h, uint32_t key, struct hive_name name, uint32_t type, const void *data,
                   size_t len, uint64_t now, uint32_t *ret)
{
    if (name.n > HIVE_VALUE_NAME_MAX)
        return -ENAMETOOLONG;
    if (len > HIVE_VALUE_MAX)
        return -EFBIG;
    int r = hive_edit_begin(h);
    return r < 0 ? r : hive_edit_end(h, set_value(h, key, name, type, data, len, now, ret));
}

static int free_value(struct hive *h, uint32_t value)
{
    struct hive_vk v;
    int r = hive_vk(h, value, &v);
    if (!r)
        r = free_data(h, &v);
    return r < 0 ? r : hive_release_cell(h, value);
}

int hive_values_free(struct hive *h, const struct hive_nk *k)
{
    struct hive_cell c;
    struct bad bad = { 0 };
    if (!k->n_values)
        return 0;
    int r = hive_cell_open(h, k->values, "a list of values", &c);
    for (uint32_t i = 0; !r && i < k->n_values; i++) {
        uint8_t word[4];
        r = hive_cell_read(h, &c, 4 * i, word, sizeof word);
        if (!r)
            r = free_value(h, le32(bytes_of(word, 4, k->values, &bad), 0));
    }
    return r < 0 ? r : hive_release_cell(h, k->values);
}

static int delete_value(struct hive *h, uint32_t key, struct hive_name name, uint64_t now)
{
    struct hive_nk k;
    uint32_t value;
    int r = hive_nk(h, key, &k);
    if (!r)
        r = hive_find_value(h, key, name, &value);
    if (!r)
        r = list_remove(h, &k, value);
    if (!r)
        hive_value_index_removed(h, key, name, value);
    if (!r)
        r = free_value(h, value);
    return r < 0 ? r : hive_touch(h, key, now);
}

int hive_delete_value(struct hive *h, uint32_t key, struct hive_name name, uint64_t now)
{
    int r = hive_edit_begin(h);
    return r < 0 ? r : hive_edit_end(h, delete_value(h, key, name, now));
}

/* Moves the vk's fields into a new cell under another name. */
static int rename_cell(struct hive *h, const struct hive_nk *k, const struct hive_vk *v, struct hive_name to)
{
    uint8_t fields[12];
    uint32_t value;
    int r = hive_cell_read(h, &v->cell, VK_LENGTH, fields, sizeof fields);
    if (!r)
        r = new_value(h, to, &value);
    if (!r)
        r = hive_put(h, value, VK_LENGTH, fields, sizeof fields);
    if (!r)
        r = list_replace(h, k, v->cell.at, value);
    hive_value_index_drop(h->value_index, k->cell.at);
    return r < 0 ? r : hive_release_cell(h, v->cell.at);
}

static int rename_value(struct hive *h, uint32_t key, struct hive_name from, struct hive_name to,
                        uint64_t now)
{
    struct hive_nk k;
    struct hive_vk v;
    uint32_t value, other;
    int r = hive_nk(h, key, &k);
    if (!r)
        r = hive_find_value(h, key, from, &value);
    if (!r)
        r = hive_vk(h, value, &v);
    if (r < 0)
        return r;
    r = hive_find_value(h, key, to, &other);
    if (!r && other != value)
        return -EEXIST;
    if (r < 0 && r != -ENOENT)
        return r;
    r = rename_cell(h, &k, &v, to);
    if (!r)
        r = hive_raise(h, key, NK_MAX_VALUE_NAME, k.max_value_name, 2 * (uint32_t)to.n);
    return r < 0 ? r : hive_touch(h, key, now);
}

int hive_rename_value(struct hive *h, uint32_t key, struct hive_name from, struct hive_name to, uint64_t now)
{
    if (to.n > HIVE_VALUE_NAME_MAX)
        return -ENAMETOOLONG;
    int r = hive_edit_begin(h);
    return r < 0 ? r : hive_edit_end(h, rename_value(h, key, from, to, now));
}
