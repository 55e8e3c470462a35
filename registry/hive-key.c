/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys (nk cells): their fields, names, class names and security descriptors, read. */
#include "hive-internal.h"

int hive_nk(const struct hive *h, uint32_t at, struct hive_nk *ret)
{
    uint8_t buf[NK_NAME + HIVE_NAME_HEAD];
    size_t got = 0;
    struct hive_nk k = { 0 };
    int r = hive_cell_peek(h, at, "a key", buf, sizeof buf, &k.cell, &got);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(buf, got, at, &bad);
    if (!bytes_match(b, 0, "nk", 2))
        return hive_damage(h, at, "the cell isn't a key (nk)");
    k.flags = le16(b, NK_FLAGS);
    k.last_written = le64(b, NK_WRITTEN);
    k.layered = u8(b, NK_LAYERED);
    k.parent = le32(b, NK_PARENT);
    k.n_subkeys = le32(b, NK_SUBKEYS);
    k.list = le32(b, NK_LIST);
    k.n_values = le32(b, NK_VALUES);
    k.values = le32(b, NK_VALUE_LIST);
    k.security = le32(b, NK_SECURITY);
    k.class = le32(b, NK_CLASS);
    k.max_name = le16(b, NK_MAX_NAME);
    k.max_class = le32(b, NK_MAX_CLASS);
    k.max_value_name = le32(b, NK_MAX_VALUE_NAME);
    k.max_value_data = le32(b, NK_MAX_VALUE_DATA);
    k.class_bytes = k.class == HIVE_NIL ? 0 : le16(b, NK_CLASS_BYTES);
    k.name.at = at + 4 + NK_NAME;
    k.name.bytes = le16(b, NK_NAME_BYTES);
    k.name.compressed = k.flags & NK_FLAG_COMPRESSED;
    if (bad.set || k.name.bytes > k.cell.size - NK_NAME)
        return hive_damage(h, at, "the key's cell is too small for it and its name");
    k.name.n_head = (uint32_t)min_u64(k.name.bytes, got - NK_NAME);
    memcpy(k.name.head, buf + NK_NAME, k.name.n_head);
    *ret = k;
    return 0;
}

int hive_nk_child(const struct hive *h, uint32_t at, uint32_t parent, struct hive_nk *ret)
{
    struct hive_nk k;
    int r = hive_nk(h, at, &k);
    if (r < 0)
        return r;
    /* Every key has one parent, so no walk down from the root can come round in a circle. */
    if (k.parent != parent || at == h->root)
        return hive_damage(h, at, "the key says that it is another key's subkey");
    *ret = k;
    return 0;
}

uint32_t hive_root(const struct hive *h)
{
    return h->root;
}

int hive_key(const struct hive *h, uint32_t key, struct hive_key *ret)
{
    struct hive_nk k;
    int r = hive_nk(h, key, &k);
    if (r < 0)
        return r;
    *ret = (struct hive_key){
        .last_written = k.last_written,
        .parent = k.parent,
        .flags = k.flags & (HIVE_KEY_ROOT | HIVE_KEY_NO_DELETE | HIVE_KEY_LINK),
        .n_subkeys = k.n_subkeys,
        .n_values = k.n_values,
        .security = k.security,
        .name_units = hive_stored_units(&k.name),
        .class_bytes = k.class_bytes,
    };
    return 0;
}

int hive_key_name(const struct hive *h, uint32_t key, uint16_t *units, size_t room, size_t *ret_n)
{
    struct hive_nk k;
    int r = hive_nk(h, key, &k);
    if (r < 0)
        return r;
    size_t n = hive_stored_units(&k.name);
    r = hive_stored_read(h, &k.name, 0, units, n < room ? n : room);
    if (!r)
        *ret_n = n;
    return r;
}

int hive_key_class(const struct hive *h, uint32_t key, void *buf, size_t room, size_t *ret_n)
{
    struct hive_nk k;
    struct hive_cell c;
    int r = hive_nk(h, key, &k);
    if (r < 0)
        return r;
    if (k.class_bytes) {
        r = hive_cell_open(h, k.class, "a class name", &c);
        if (r < 0)
            return r;
        if (k.class_bytes > c.size)
            return hive_damage(h, k.class, "the cell is too small for the class name");
        r = hive_cell_read(h, &c, 0, buf, k.class_bytes < room ? k.class_bytes : room);
        if (r < 0)
            return r;
    }
    *ret_n = k.class_bytes;
    return 0;
}

int hive_sk(const struct hive *h, uint32_t at, struct hive_sk *ret)
{
    uint8_t buf[SK_DESCRIPTOR];
    size_t got = 0;
    struct hive_sk s = { 0 };
    int r = hive_cell_peek(h, at, "a security descriptor", buf, sizeof buf, &s.cell, &got);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(buf, got, at, &bad);
    if (!bytes_match(b, 0, "sk", 2))
        return hive_damage(h, at, "the cell isn't a security descriptor (sk)");
    s.next = le32(b, SK_NEXT);
    s.previous = le32(b, SK_PREVIOUS);
    s.refs = le32(b, SK_REFS);
    s.length = le32(b, SK_LENGTH);
    if (bad.set || s.length > s.cell.size - SK_DESCRIPTOR)
        return hive_damage(h, at, "the cell is too small for the security descriptor");
    *ret = s;
    return 0;
}

int hive_key_security(const struct hive *h, uint32_t key, void *buf, size_t room, size_t *ret_n)
{
    struct hive_nk k;
    struct hive_sk s;
    int r = hive_nk(h, key, &k);
    if (!r)
        r = hive_sk(h, k.security, &s);
    if (!r)
        r = hive_cell_read(h, &s.cell, SK_DESCRIPTOR, buf, s.length < room ? s.length : room);
    if (!r)
        *ret_n = s.length;
    return r;
}

int hive_find_key(const struct hive *h, uint32_t parent, struct hive_name name, uint32_t *ret)
{
    struct hive_nk k;
    int r = hive_nk(h, parent, &k);
    return r < 0 ? r : hive_list_find(h, &k, name, ret);
}
