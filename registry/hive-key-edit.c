/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys, changed. */
#include "hive-edit.h"

#include <stdlib.h>

/* Steps from the key up to the root. -EUCLEAN when there is no end to them. */
static int depth_of(const struct hive *h, uint32_t key, unsigned *ret)
{
    unsigned n = 0;
    while (key != h->root) {
        struct hive_nk k;
        if (n++ > HIVE_DEPTH_MAX)
            return hive_damage(h, key, "the key lies deeper than %d levels", HIVE_DEPTH_MAX);
        int r = hive_nk(h, key, &k);
        if (r < 0)
            return r;
        key = k.parent;
    }
    *ret = n;
    return 0;
}

static int check_name(struct hive_name name)
{
    if (!name.n)
        return -EINVAL;
    if (name.n > HIVE_KEY_NAME_MAX)
        return -ENAMETOOLONG;
    for (size_t i = 0; i < name.n; i++)
        if (name.units[i] == '\\')
            return -EINVAL;
    return 0;
}

/* -EEXIST when the parent has such a subkey, other than `except`. */
static int check_absent(const struct hive *h, const struct hive_nk *parent, struct hive_name name,
                        uint32_t except)
{
    uint32_t found;
    int r = hive_list_find(h, parent, name, &found);
    if (!r)
        return found == except ? 0 : -EEXIST;
    return r == -ENOENT ? 0 : r;
}

/* ---- a new key ---- */

static int new_key(struct hive *h, const struct hive_nk *parent, struct hive_name name, uint64_t now,
                   uint32_t *ret)
{
    uint8_t nk[NK_NAME] = "nk";
    struct hive_stored s;
    int r = hive_store_name(name, &s);
    if (r < 0)
        return r;
    _cleanup_free_ uint8_t *bytes = s.bytes;
    put_le16(nk + NK_FLAGS, s.compressed ? NK_FLAG_COMPRESSED : 0);
    put_le64(nk + NK_WRITTEN, now);
    put_le32(nk + NK_PARENT, parent->cell.at);
    put_le32(nk + NK_LIST, HIVE_NIL);
    put_le32(nk + NK_VOLATILE_LIST, HIVE_NIL);
    put_le32(nk + NK_VALUE_LIST, HIVE_NIL);
    put_le32(nk + NK_SECURITY, parent->security);
    put_le32(nk + NK_CLASS, HIVE_NIL);
    put_le16(nk + NK_NAME_BYTES, (uint16_t)s.n);
    r = hive_alloc(h, NK_NAME + s.n, ret);
    if (!r)
        r = hive_put(h, *ret, 0, nk, sizeof nk);
    return r < 0 ? r : hive_put(h, *ret, NK_NAME, bytes, s.n);
}

static int add_key(struct hive *h, uint32_t parent, struct hive_name name, uint64_t now, uint32_t *ret)
{
    struct hive_nk k;
    unsigned depth;
    uint32_t key;
    int r = hive_nk(h, parent, &k);
    if (!r)
        r = check_absent(h, &k, name, HIVE_NIL);
    if (!r)
        r = depth_of(h, parent, &depth);
    if (!r && depth + 1 > HIVE_DEPTH_MAX)
        r = -ENAMETOOLONG;
    if (!r)
        r = new_key(h, &k, name, now, &key);
    if (!r)
        r = hive_security_ref(h, k.security);
    if (!r)
        r = hive_list_insert(h, parent, key, name);
    if (!r)
        r = hive_raise(h, parent, NK_MAX_NAME, k.max_name, 2 * (uint32_t)name.n);
    if (!r)
        r = hive_touch(h, parent, now);
    if (!r)
        *ret = key;
    return r;
}

int hive_add_key(struct hive *h, uint32_t parent, struct hive_name name, uint64_t now, uint32_t *ret)
{
    uint32_t key = HIVE_NIL;
    int r = check_name(name);
    if (!r)
        r = hive_edit_begin(h);
    if (r < 0)
        return r;
    r = hive_edit_end(h, add_key(h, parent, name, now, &key));
    if (!r && ret)
        *ret = key;
    return r;
}

/* ---- deleting ---- */

/* Frees all that the key has, and itself; its parent's list is another's matter. */
static int free_key(struct hive *h, uint32_t key, unsigned depth)
{
    struct hive_nk k;
    struct hive_list_iter it;
    uint32_t child;
    int r = hive_nk(h, key, &k);
    if (!r && depth > HIVE_DEPTH_MAX)
        r = hive_damage(h, key, "the key lies deeper than %d levels", HIVE_DEPTH_MAX);
    if (!r && k.flags & NK_FLAG_NO_DELETE)
        r = -EPERM;
    if (!r && k.n_subkeys) {
        r = hive_list_begin(h, k.list, &it);
        while (!r && (r = hive_list_next(&it, &child, NULL)) == 1)
            r = free_key(h, child, depth + 1);
        if (!r && it.damaged)
            r = hive_damage(h, k.list, "the list of subkeys is damaged");
    }
    if (!r)
        r = hive_list_free(h, &k);
    if (!r)
        r = hive_values_free(h, &k);
    if (!r && k.class_bytes)
        r = hive_release_cell(h, k.class);
    if (!r)
        r = hive_security_unref(h, k.security);
    hive_sorted_drop(h->sorted, key);
    hive_value_index_drop(h->value_index, key);
    hive_sorted_drop(h->edits->good, key);
    return r < 0 ? r : hive_release_cell(h, key);
}

static int delete_key(struct hive *h, uint32_t key, bool whole, uint64_t now)
{
    struct hive_nk k;
    struct hive_name_buf name;
    int r = hive_nk(h, key, &k);
    if (!r && (key == h->root || k.flags & NK_FLAG_NO_DELETE))
        r = -EPERM;
    if (!r && k.n_subkeys && !whole)
        r = -ENOTEMPTY;
    if (!r)
        r = hive_stored_whole(h, &k.name, &name);
    if (!r)
        r = hive_list_remove(h, k.parent, key, hive_name_of(&name));
    if (!r)
        r = free_key(h, key, 0);
    return r < 0 ? r : hive_touch(h, k.parent, now);
}

int hive_delete_key(struct hive *h, uint32_t key, bool whole, uint64_t now)
{
    int r = hive_edit_begin(h);
    return r < 0 ? r : hive_edit_end(h, delete_key(h, key, whole, now));
}

/* ---- moving ---- */

/* How many levels lie below the key. */
static int height_of(const struct hive *h, uint32_t key, unsigned depth, unsigned *ret)
{
    struct hive_nk k;
    struct hive_list_iter it;
    uint32_t child;
    *ret = 0;
    int r = hive_nk(h, key, &k);
    if (r < 0 || !k.n_subkeys)
        return r;
    if (depth > HIVE_DEPTH_MAX)
        return hive_damage(h, key, "the key lies deeper than %d levels", HIVE_DEPTH_MAX);
    r = hive_list_begin(h, k.list, &it);
    while (!r && (r = hive_list_next(&it, &child, NULL)) == 1) {
        unsigned below;
        r = height_of(h, child, depth + 1, &below);
        if (below + 1 > *ret)
            *ret = below + 1;
    }
    return r;
}

/* -EINVAL when the key is `parent` or above it; -ENAMETOOLONG when its subkeys would lie too deep. */
static int check_target(const struct hive *h, uint32_t key, uint32_t parent)
{
    unsigned depth, height = 0;
    int r = depth_of(h, parent, &depth);
    for (uint32_t at = parent; !r;) {
        struct hive_nk k;
        if (at == key)
            return -EINVAL;
        if (at == h->root)
            break;
        r = hive_nk(h, at, &k);
        at = k.parent;
    }
    if (!r)
        r = height_of(h, key, 0, &height);
    return !r && depth + 1 + height > HIVE_DEPTH_MAX ? -ENAMETOOLONG : r;
}

static int set_parents(struct hive *h, const struct hive_nk *k, uint32_t to)
{
    struct hive_list_iter it;
    uint32_t child;
    if (!k->n_subkeys)
        return 0;
    int r = hive_list_begin(h, k->list, &it);
    while (!r && (r = hive_list_next(&it, &child, NULL)) == 1)
        r = hive_put32(h, child, NK_PARENT, to);
    return r;
}

/* Stores the key's new name, in another cell if its own is too small: then all its subkeys learn of it. */
static int rename_cell(struct hive *h, const struct hive_nk *k, struct hive_name name, uint32_t *ret)
{
    struct hive_stored s;
    uint8_t nk[NK_NAME];
    bool fits;
    uint32_t to = k->cell.at;
    int r = hive_store_name(name, &s);
    if (r < 0)
        return r;
    _cleanup_free_ uint8_t *bytes = s.bytes;
    r = hive_cell_read(h, &k->cell, 0, nk, sizeof nk);
    if (!r)
        r = hive_extend(h, &k->cell, NK_NAME + s.n, &fits);
    put_le16(nk + NK_FLAGS,
             (uint16_t)((k->flags & ~NK_FLAG_COMPRESSED) | (s.compressed ? NK_FLAG_COMPRESSED : 0)));
    put_le16(nk + NK_NAME_BYTES, (uint16_t)s.n);
    if (!r && !fits) {
        hive_sorted_drop(h->sorted, k->cell.at);
        hive_value_index_drop(h->value_index, k->cell.at);
        hive_sorted_drop(h->edits->good, k->cell.at);
        r = hive_release_cell(h, k->cell.at);
        if (!r)
            r = hive_alloc(h, NK_NAME + s.n, &to);
        if (!r)
            r = set_parents(h, k, to);
    }
    if (!r)
        r = hive_put(h, to, 0, nk, sizeof nk);
    if (!r)
        r = hive_put(h, to, NK_NAME, bytes, s.n);
    if (!r)
        *ret = to;
    return r;
}

static int move_key(struct hive *h, uint32_t key, uint32_t parent, struct hive_name name, uint64_t now,
                    uint32_t *ret)
{
    struct hive_nk k, p;
    struct hive_name_buf old;
    uint32_t to = key;
    int r = hive_nk(h, key, &k);
    if (!r && key == h->root)
        r = -EPERM;
    if (!r)
        r = hive_nk(h, parent, &p);
    if (!r && parent != k.parent)
        r = check_target(h, key, parent);
    if (!r)
        r = check_absent(h, &p, name, key);
    if (!r)
        r = hive_stored_whole(h, &k.name, &old);
    if (!r)
        r = hive_list_remove(h, k.parent, key, hive_name_of(&old));
    if (!r)
        r = rename_cell(h, &k, name, &to);
    if (!r)
        r = hive_put32(h, to, NK_PARENT, parent);
    if (!r)
        r = hive_list_insert(h, parent, to, name);
    if (!r)
        r = hive_raise(h, parent, NK_MAX_NAME, p.max_name, 2 * (uint32_t)name.n);
    if (!r)
        r = hive_raise(h, parent, NK_MAX_CLASS, p.max_class, k.class_bytes);
    if (!r)
        r = hive_touch(h, k.parent, now);
    if (!r)
        r = hive_touch(h, parent, now);
    if (!r)
        r = hive_touch(h, to, now);
    if (!r)
        *ret = to;
    return r;
}

int hive_move_key(struct hive *h, uint32_t key, uint32_t parent, struct hive_name name, uint64_t now,
                  uint32_t *ret)
{
    uint32_t to = key;
    int r = check_name(name);
    if (!r)
        r = hive_edit_begin(h);
    if (r < 0)
        return r;
    r = hive_edit_end(h, move_key(h, key, parent, name, now, &to));
    if (!r && ret)
        *ret = to;
    return r;
}

/* ---- class and flags ---- */

static int set_class(struct hive *h, uint32_t key, const void *bytes, size_t len)
{
    struct hive_nk k, p;
    uint32_t cell = HIVE_NIL;
    int r = hive_nk(h, key, &k);
    if (!r && k.class_bytes)
        r = hive_release_cell(h, k.class);
    if (!r && len)
        r = hive_alloc(h, len, &cell);
    if (!r && len)
        r = hive_put(h, cell, 0, bytes, len);
    if (!r)
        r = hive_put32(h, key, NK_CLASS, cell);
    if (!r)
        r = hive_put16(h, key, NK_CLASS_BYTES, (uint32_t)len);
    if (r < 0 || key == h->root)
        return r;
    r = hive_nk(h, k.parent, &p);
    return r < 0 ? r : hive_raise(h, k.parent, NK_MAX_CLASS, p.max_class, (uint32_t)len);
}

int hive_set_class(struct hive *h, uint32_t key, const void *bytes, size_t len)
{
    if (len > UINT16_MAX)
        return -ENAMETOOLONG;
    int r = hive_edit_begin(h);
    return r < 0 ? r : hive_edit_end(h, set_class(h, key, bytes, len));
}

static int set_flags(struct hive *h, uint32_t key, uint32_t flags)
{
    struct hive_nk k;
    const uint32_t all = HIVE_KEY_ROOT | HIVE_KEY_NO_DELETE | HIVE_KEY_LINK;
    int r = hive_nk(h, key, &k);
    if (!r && ((k.flags & all) ^ flags) & ~(uint32_t)HIVE_KEY_LINK)
        r = -EINVAL;
    return r < 0 ? r : hive_put16(h, key, NK_FLAGS, (k.flags & ~all) | flags);
}

int hive_set_key_flags(struct hive *h, uint32_t key, uint32_t flags)
{
    int r = hive_edit_begin(h);
    return r < 0 ? r : hive_edit_end(h, set_flags(h, key, flags));
}
