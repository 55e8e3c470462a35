/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values (vk cells), read: up to 4 bytes of data lie in the vk itself; more in a cell of its own; and since
 * version 1.4 more than 16344 bytes in segments of that size under a db cell. hivex writes large data as one
 * plain cell into newer hives too: what doesn't begin with "db" is taken as that, when it is large enough. */
#include "hive-internal.h"

int hive_vk(const struct hive *h, uint32_t at, struct hive_vk *ret)
{
    uint8_t buf[VK_NAME + HIVE_NAME_HEAD];
    size_t got = 0;
    struct hive_vk v = { 0 };
    int r = hive_cell_peek(h, at, "a value", buf, sizeof buf, &v.cell, &got);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(buf, got, at, &bad);
    if (!bytes_match(b, 0, "vk", 2))
        return hive_damage(h, at, "the cell isn't a value (vk)");
    uint32_t length = le32(b, VK_LENGTH);
    v.type = le32(b, VK_TYPE);
    v.flags = le16(b, VK_FLAGS);
    v.in_place = length & HIVE_INLINE_BIT;
    v.length = length & ~HIVE_INLINE_BIT;
    v.data = le32(b, VK_DATA);
    v.name.at = at + 4 + VK_NAME;
    v.name.bytes = le16(b, VK_NAME_BYTES);
    v.name.compressed = v.flags & VK_FLAG_COMPRESSED;
    if (bad.set || v.name.bytes > v.cell.size - VK_NAME)
        return hive_damage(h, at, "the value's cell is too small for it and its name");
    if (v.in_place && v.length > HIVE_INLINE_MAX)
        return hive_damage(h, at, "%u bytes of data can't lie in the value itself", v.length);
    if (v.length > HIVE_VALUE_MAX)
        return hive_damage(h, at, "the value's data has %u bytes", v.length);
    memcpy(v.bytes, buf + VK_DATA, sizeof v.bytes);
    v.name.n_head = (uint32_t)min_u64(v.name.bytes, got - VK_NAME);
    memcpy(v.name.head, buf + VK_NAME, v.name.n_head);
    *ret = v;
    return 0;
}

int hive_vk_is_big(const struct hive *h, const struct hive_vk *v, bool *ret)
{
    struct hive_cell c;
    uint8_t sig[2];
    size_t got = 0;
    *ret = false;
    if (!hive_has_big_data(h) || v->in_place || v->length <= HIVE_SEGMENT)
        return 0;
    int r = hive_cell_peek(h, v->data, "a value's data", sig, sizeof sig, &c, &got);
    if (r < 0)
        return r;
    *ret = c.size < v->length && got == 2 && !memcmp(sig, "db", 2);
    return 0;
}

int hive_value(const struct hive *h, uint32_t value, struct hive_value *ret)
{
    struct hive_vk v;
    int r = hive_vk(h, value, &v);
    if (r < 0)
        return r;
    *ret = (struct hive_value){ v.type, v.length, hive_stored_units(&v.name) };
    return 0;
}

int hive_value_name(const struct hive *h, uint32_t value, uint16_t *units, size_t room, size_t *ret_n)
{
    struct hive_vk v;
    int r = hive_vk(h, value, &v);
    if (r < 0)
        return r;
    size_t n = hive_stored_units(&v.name);
    r = hive_stored_read(h, &v.name, 0, units, n < room ? n : room);
    if (!r)
        *ret_n = n;
    return r;
}

static int read_segments(const struct hive *h, const struct hive_vk *v, uint8_t *buf, size_t len, size_t off)
{
    uint8_t head[8], word[4];
    struct bad bad = { 0 };
    struct hive_cell db, list, segment;
    size_t got = 0;
    int r = hive_cell_peek(h, v->data, "big data", head, sizeof head, &db, &got);
    if (r < 0)
        return r;
    struct bytes b = bytes_of(head, got, v->data, &bad);
    uint32_t n = le16(b, 2), at = le32(b, 4);
    if (bad.set || n != div_up(v->length, HIVE_SEGMENT))
        return hive_damage(h, v->data, "the big data has %u segments for %u bytes", n, v->length);
    r = hive_cell_open(h, at, "a list of segments", &list);
    for (; !r && len;) {
        uint32_t i = (uint32_t)(off / HIVE_SEGMENT), in = (uint32_t)(off % HIVE_SEGMENT);
        size_t k = HIVE_SEGMENT - in < len ? HIVE_SEGMENT - in : len;
        r = hive_cell_read(h, &list, 4 * i, word, sizeof word);
        if (!r)
            r = hive_cell_open(h, le32(bytes_of(word, 4, at, &bad), 0), "a segment of data", &segment);
        if (!r)
            r = hive_cell_read(h, &segment, in, buf, k);
        buf += k;
        off += k;
        len -= k;
    }
    return r;
}

int hive_value_data(const struct hive *h, uint32_t value, void *buf, size_t len, size_t off)
{
    struct hive_vk v;
    struct hive_cell c;
    bool big;
    int r = hive_vk(h, value, &v);
    if (r < 0)
        return r;
    if (!range_inside(off, len, v.length))
        return -EINVAL;
    if (!len)
        return 0;
    if (v.in_place) {
        memcpy(buf, v.bytes + off, len);
        return 0;
    }
    r = hive_vk_is_big(h, &v, &big);
    if (r < 0)
        return r;
    if (big)
        return read_segments(h, &v, buf, len, off);
    r = hive_cell_open(h, v.data, "a value's data", &c);
    if (r < 0)
        return r;
    if (v.length > c.size)
        return hive_damage(h, v.data, "the cell has %u bytes, the value's data %u", c.size, v.length);
    return hive_cell_read(h, &c, (uint32_t)off, buf, len);
}

int hive_values(const struct hive *h, uint32_t key, uint32_t from, hive_each fn, void *ctx,
                unsigned *ret_damaged)
{
    struct hive_nk k;
    struct hive_cell c;
    unsigned damaged = 0;
    int r = hive_nk(h, key, &k);
    if (!r && k.n_values)
        r = hive_cell_open(h, k.values, "a list of values", &c);
    if (r < 0)
        return r;
    for (uint32_t i = from; i < k.n_values; i++) {
        uint8_t word[4];
        struct hive_vk v;
        struct bad bad = { 0 };
        if (4 * (uint64_t)i + 4 > c.size) {
            damaged++; /* the list says that it has more than its cell holds */
            break;
        }
        r = hive_cell_read(h, &c, 4 * i, word, sizeof word);
        uint32_t at = le32(bytes_of(word, 4, 0, &bad), 0);
        if (!r)
            r = hive_vk(h, at, &v);
        if (r == -EUCLEAN)
            damaged++;
        else if (r < 0)
            return r;
        else if (fn(ctx, i, at))
            break;
    }
    if (ret_damaged)
        *ret_damaged = damaged;
    return 0;
}

struct find {
    const struct hive *h;
    struct hive_name name;
    uint32_t found;
    int err;
};

static int match_value(void *ctx, uint32_t index, uint32_t cell)
{
    struct find *f = ctx;
    struct hive_vk v;
    int order;
    (void)index;
    f->err = hive_vk(f->h, cell, &v);
    if (f->err < 0 || hive_stored_units(&v.name) != f->name.n)
        return f->err < 0;
    f->err = hive_stored_compare(f->h, &v.name, f->name, &order);
    if (!f->err && !order)
        f->found = cell;
    return f->err < 0 || !order;
}

int hive_find_value(const struct hive *h, uint32_t key, struct hive_name name, uint32_t *ret)
{
    struct hive_nk k;
    int r = hive_nk(h, key, &k);
    if (!r)
        r = hive_value_index_find(h, &k, name, ret);
    if (r != -EOPNOTSUPP)
        return r;
    struct find f = { h, name, HIVE_NIL, 0 };
    r = hive_values(h, key, 0, match_value, &f, NULL);
    if (!r)
        r = f.err;
    if (!r && f.found == HIVE_NIL)
        r = -ENOENT;
    if (!r)
        *ret = f.found;
    return r;
}
